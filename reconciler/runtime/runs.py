"""Executions under way side by side, and the nodes that they hold.

Owns: which nodes are busy and with how many steps, plans that were promised to somebody and wait for their nodes.
Must not go here: what is executed and when (loop), how (execute).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

import anyio
import msgspec
from anyio.abc import TaskGroup

from reconciler.core.ledger import Bound, Entry, Forgotten, Purged, Quarantined, Settled
from reconciler.core.plan import Change, Plan
from reconciler.core.refs import PER_TARGET, Ref, Target, kind_of
from reconciler.errors import TrueupError, TryLater
from reconciler.runtime.dispatch import nodes_of
from reconciler.runtime.events import Emit, Event, StepEnded, StepStarted, harmless
from reconciler.runtime.execute import Execution
from reconciler.runtime.summary import Summary
from reconciler.runtime.worker import Means, Pace

_OF_THINGS = (Bound, Settled, Quarantined, Purged, Forgotten)
"""Entries that say of one thing how it is."""


class Promise:
    """A plan that somebody approved and waits for: it is carried out whole, as soon as its nodes are free."""

    def __init__(self, plan: Plan, emit: Emit | None = None, *, moves: bool = True) -> None:
        self.plan = plan
        self.moves = moves
        self.emit = harmless(emit)
        self.nodes = nodes_of(plan.changes)
        self._done = anyio.Event()
        self._result: Summary | TrueupError | None = None

    def settle(self, result: Summary | TrueupError) -> None:
        self._result = result
        self._done.set()

    async def result(self) -> Summary:
        """Raises what ended it."""
        await self._done.wait()
        assert self._result is not None, "it is settled"
        if isinstance(self._result, TrueupError):
            raise self._result
        return self._result


class _Hold:
    """What one execution holds: its changes by step, how many steps of each have not ended, which have started."""

    def __init__(self, changes: Iterable[Change]) -> None:
        self.of = {step.id: change for change in changes for step in change.steps}
        self.left = {change.id: len(change.steps) for change in self.of.values()}
        self.started: set[str] = set()


class Runs:
    """`freed` hears of a node on which nothing is under way any more, `ended` of an execution that has come to its
    end, `told` what became of its changes, `heard` of every event; `settled` tells whether a target was read since our
    last write. `group`, in which executions run, is given before the first of them begins.

    A node is busy from the start of a change there to the end of it. A change that waits (for others, for a pause
    between batches) holds only the thing itself.
    """

    group: TaskGroup

    def __init__(
        self,
        pace: Pace,
        *,
        freed: Callable[[str], None],
        ended: Callable[[Summary | TrueupError], None],
        settled: Callable[[Target], bool],
        heard: Emit | None = None,
        told: Callable[[tuple[Change, ...], Summary], None] = lambda _changes, _summary: None,
    ) -> None:
        self.busy: Counter[str] = Counter()
        """Changes under way, by node; no node with none."""
        self.held: set[str] = set()
        """What a change is under way or waiting for (see `subject`)."""
        self.promised: list[Promise] = []
        self._pace = pace
        self._heard = harmless(heard)
        self._freed = freed
        self._ended = ended
        self._told = told
        self._settled = settled
        self._under_way: list[Execution] = []
        self._stopped: str | None = None

    def frees(self, change: Change) -> bool:
        """False while another change of the same thing, or of its nodes, is under way or promised."""
        nodes = nodes_of([change])
        if subject(change.ref, change.target) in self.held or not nodes.isdisjoint(self.busy):
            return False
        return all(nodes.isdisjoint(promise.nodes) for promise in self.promised)

    def proved(self, plan: Plan) -> Plan:
        """The plan without housekeeping that may be out of date: of what is under way, and of targets that were not
        read since our last write. What the ledger seems to remember wrongly may be just about to come true."""

        def holds(entry: Entry) -> bool:
            if isinstance(entry, _OF_THINGS):
                return subject(entry.ref, entry.target) not in self.held and self._settled(entry.target)
            return True

        return msgspec.structs.replace(plan, entries=tuple(filter(holds, plan.entries)))

    def ripe(self) -> list[Promise]:
        """Promises whose nodes are free, first come first served; they are taken."""
        held, ripe = set(self.busy), []
        for promise in self.promised:
            if held.isdisjoint(promise.nodes) and subjects(promise.plan).isdisjoint(self.held):
                ripe.append(promise)
            held |= promise.nodes
        self.promised = [promise for promise in self.promised if promise not in ripe]
        return ripe

    async def begin(
        self,
        plan: Plan,
        means: Means,
        *,
        changes: frozenset[str] | None = None,
        moves: bool = True,
        promise: Promise | None = None,
    ) -> None:
        """Carry out a plan, or these changes of it; returns once it has begun. Nothing may be planned before: what it
        reserves would be taken twice."""
        plan = self.proved(plan)
        hold = _Hold(change for change in plan.changes if changes is None or change.id in changes)
        self.held.update(subject(change.ref, change.target) for change in hold.of.values())

        def emit(event: Event) -> None:
            if isinstance(event, StepStarted | StepEnded):
                self._follow(hold, event)
            if self._heard is not None:
                self._heard(event)
            if promise is not None and promise.emit is not None:
                promise.emit(event)

        execution = Execution(plan, means, changes=changes, pace=self._pace, emit=emit, moves=moves)
        self._under_way.append(execution)
        if self._stopped is not None:
            execution.stop(self._stopped)
        self.group.start_soon(self._carry_out, execution, hold, promise)
        await execution.begun.wait()

    @property
    def executing(self) -> bool:
        """Whether a plan is under way."""
        return bool(self._under_way)

    def stop(self, reason: str) -> None:
        """Let all executions finish what is in hand; promises that wait are told no."""
        self._stopped = reason
        for promise in self.promised:
            promise.settle(TryLater(f"not begun: {reason}", hint="apply it again"))
        self.promised = []
        for execution in self._under_way:
            execution.stop(reason)

    async def _carry_out(self, execution: Execution, hold: _Hold, promise: Promise | None) -> None:
        result: Summary | TrueupError = TryLater("interrupted before its end", hint="apply it again: it is resumed")
        try:
            result = await execution.run()
        except TrueupError as error:
            result = error
        finally:
            self._under_way.remove(execution)
            for change in {change.id: change for change in hold.of.values()}.values():
                if change.id in hold.left:
                    self._let_go(hold, change)
            if promise is not None:
                promise.settle(result)
            if isinstance(result, Summary):
                self._told(execution.changes, result)
            self._ended(result)

    def _follow(self, hold: _Hold, event: StepStarted | StepEnded) -> None:
        change = hold.of[event.step]
        if isinstance(event, StepEnded):
            hold.left[change.id] -= 1
            if not hold.left[change.id]:
                self._let_go(hold, change)
        elif change.id not in hold.started:
            hold.started.add(change.id)
            self.busy.update(nodes_of([change]))

    def _let_go(self, hold: _Hold, change: Change) -> None:
        del hold.left[change.id]
        self.held.discard(subject(change.ref, change.target))
        if change.id not in hold.started:
            return
        for node in nodes_of([change]):
            self.busy[node] -= 1
            if not self.busy[node]:
                del self.busy[node]
                self._freed(node)


def subject(ref: Ref, target: Target) -> str:
    """The thing that a change or an entry is about: for kinds that have one on each target, the one there."""
    return f"{ref}@{target}" if kind_of(ref) in PER_TARGET else ref


def subjects(plan: Plan) -> set[str]:
    """All that a plan is about, housekeeping included."""
    about = {subject(change.ref, change.target) for change in plan.changes}
    return about | {subject(entry.ref, entry.target) for entry in plan.entries if isinstance(entry, _OF_THINGS)}
