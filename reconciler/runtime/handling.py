"""Calling people's handlers beside the loop: what happened, in order for each thing, tried again where it fails.

Owns: lanes of what happened, retries, timers, and asking `planned` handlers for holds. Must not go here: registering
(reconciler.handlers), anything that waits for a handler: the loop never does, but for the plain answer of `planned`.
What happened before a restart is not told again: handlers that must not miss anything compare, as the loop does.
"""

from __future__ import annotations

import inspect
import logging
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import msgspec
from anyio.abc import TaskGroup

from reconciler.core.plan import Action, Cause, Change, Difference, Hold, Plan
from reconciler.core.refs import Ref, Target, Uid
from reconciler.handlers import Handler, Handlers, PermanentError, TemporaryError, Timer
from reconciler.runtime.foreign import contained
from reconciler.runtime.summary import Summary

_EVENTS: Mapping[Action, str] = {
    Action.CREATE: "created",
    Action.UPDATE: "updated",
    Action.MOVE: "moved",
    Action.RENAME: "renamed",
    Action.REPLACE: "replaced",
    Action.RESTORE: "restored",
    Action.DESTROY: "destroyed",
    Action.PURGE: "purged",
}
_DRIFT = frozenset({"drift", "both", "vanished"})
_AT_ONCE = 16
"""Handlers that run side by side."""


class Happening(msgspec.Struct, frozen=True):
    """What a handler is told of."""

    event: str
    ref: Ref
    uid: Uid | None
    target: Target | None
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    differences: tuple[Difference, ...]
    reason: str


class Handling:
    """`run` works until it is cancelled. `warn` is told what a person should read: a handler that was given up."""

    def __init__(self, handlers: Handlers, *, warn: Callable[[str], None]) -> None:
        self._handlers = handlers
        self._warn = warn
        self._logger = logging.getLogger("trueup.handlers")
        self._limit = anyio.Semaphore(_AT_ONCE)
        self._lanes: dict[Ref, deque[Happening]] = {}
        self._group: TaskGroup | None = None
        self._drifted: dict[tuple[Ref, str], object] = {}

    async def run(self) -> None:
        async with anyio.create_task_group() as group:
            self._group = group
            for lane in list(self._lanes):
                group.start_soon(self._work, lane)
            for timer in self._handlers.timers:
                group.start_soon(self._tick, timer)
            await anyio.sleep_forever()

    # -- what the loop tells -----------------------------------------------------------------------------------------

    def ended(self, changes: tuple[Change, ...], summary: Summary) -> None:
        """An execution came to its end."""
        left = set(summary.unfinished)
        failed = {failure.step: failure for failure in summary.failures}
        for change in changes:
            if change.id not in left and change.action in _EVENTS:
                self._tell(_of(change, _EVENTS[change.action], change.reason.sentence))
            elif change.id in left:
                found = next((failed[step.id] for step in change.steps if step.id in failed), None)
                if found is not None and found.status != "deferred":
                    self._tell(_of(change, "failed", found.reason))

    def planned(self, plan: Plan) -> Mapping[str, str]:
        """A plan that is about to be carried out: drift that is new in it is told; the changes that a handler holds,
        with why. A handler that fails holds: it was put there to guard."""
        self._drift(plan)
        held: dict[str, str] = {}
        for change in plan.changes:
            for handler in self._handlers.wanting("planned", change.ref, _paths(change.differences)):
                why = self._asked(handler, change)
                if why:
                    held[change.id] = why
                    break
        return held

    def _asked(self, handler: Handler, change: Change) -> str | None:
        try:
            with contained:
                answer = handler.function(**self._arguments(handler.function, _of(change, "planned", ""), 0))
        except Exception as error:
            return f"{handler.name} failed: {error}"
        return str(answer) if answer else None

    def _drift(self, plan: Plan) -> None:
        now: dict[tuple[Ref, str], object] = {}
        told: list[Happening] = []
        for hold in plan.holds:
            if hold.rule in _DRIFT:
                self._seen(now, told, _held(hold))
        for change in plan.changes:
            if any(found.cause is not Cause.INTENT for found in change.differences):
                self._seen(now, told, _of(change, "drifted", change.reason.sentence))
        self._drifted = now
        for happening in told:
            self._tell(happening)

    def _seen(self, now: dict[tuple[Ref, str], object], told: list[Happening], found: Happening) -> None:
        key = (found.ref, found.target or "")
        now[key] = found.differences
        if self._drifted.get(key) != found.differences or key not in self._drifted:
            told.append(found)

    def _tell(self, happening: Happening) -> None:
        if not self._handlers.wanting(happening.event, happening.ref, _paths(happening.differences)):
            return
        lane = self._lanes.get(happening.ref)
        if lane is not None:
            lane.append(happening)
            return
        self._lanes[happening.ref] = deque([happening])
        if self._group is not None:
            self._group.start_soon(self._work, happening.ref)

    # -- calling -----------------------------------------------------------------------------------------------------

    async def _work(self, ref: Ref) -> None:
        """What happened to one thing, one after the other."""
        lane = self._lanes[ref]
        while lane:
            happening = lane[0]
            for handler in self._handlers.wanting(happening.event, ref, _paths(happening.differences)):
                await self._handle(handler, happening)
            lane.popleft()
        del self._lanes[ref]

    async def _handle(self, handler: Handler, happening: Happening) -> None:
        for retry in range(handler.retries + 1):
            delay = handler.backoff * 2**retry
            try:
                async with self._limit:
                    await self._call(
                        handler.function, self._arguments(handler.function, happening, retry), handler.timeout
                    )
            except PermanentError as error:
                self._warn(f"Handler {handler.name} gave {happening.ref} up: {error}")
                return
            except TemporaryError as error:
                why, delay = str(error), delay if error.delay is None else error.delay
            except TimeoutError:
                why = f"it took longer than {handler.timeout:g} s"
            except Exception as error:
                why = f"{type(error).__name__}: {error}"
            else:
                return
            if retry < handler.retries:
                await anyio.sleep(delay)
        self._warn(f"Handler {handler.name} failed {handler.retries + 1} times for {happening.ref}: {why}")

    async def _tick(self, timer: Timer) -> None:
        while True:
            await anyio.sleep(timer.interval)
            try:
                await self._call(timer.function, self._chosen(timer.function, {"logger": self._logger}), timer.timeout)
            except Exception as error:
                self._warn(f"Timer {timer.name}: {type(error).__name__}: {error}")

    async def _call(self, function: Callable[..., Any], arguments: Mapping[str, Any], timeout: float) -> None:
        with contained, anyio.fail_after(timeout):
            if inspect.iscoroutinefunction(function):
                await function(**arguments)
            else:
                await anyio.to_thread.run_sync(partial(function, **arguments), abandon_on_cancel=True)

    def _arguments(self, function: Callable[..., Any], happening: Happening, retry: int) -> Mapping[str, Any]:
        known = {name: getattr(happening, name) for name in happening.__struct_fields__}
        return self._chosen(function, {**known, "retry": retry, "logger": self._logger})

    @staticmethod
    def _chosen(function: Callable[..., Any], known: Mapping[str, Any]) -> Mapping[str, Any]:
        """Those that the function asks for by name, or all if it takes `**_`."""
        parameters = inspect.signature(function).parameters
        if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values()):
            return known
        return {name: value for name, value in known.items() if name in parameters}


def _paths(differences: tuple[Difference, ...]) -> tuple[str, ...]:
    return tuple(difference.path for difference in differences)


def _of(change: Change, event: str, reason: str) -> Happening:
    return Happening(
        event, change.ref, change.uid, change.target, change.before, change.after, change.differences, reason
    )


def _held(hold: Hold) -> Happening:
    target = Target(hold.target) if hold.target else None
    return Happening("drifted", Ref(hold.ref), None, target, None, None, hold.differences, hold.sentence)
