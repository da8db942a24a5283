"""People's own code beside the loop, in kopf's manner: what a file of handlers imports.

    from reconciler.handlers import TemporaryError, on, timer

    @on.created("Machine")
    async def register(ref, after, logger, **_):
        ...

Owns: the decorators, the two errors, loading a file of handlers. Must not go here: calling them (runtime.handling).

A handler is called by keyword with what it asks for of: `event`, `ref`, `uid`, `target`, `before`, `after` (normalised
fields, or None), `differences`, `reason` (a sentence), `retry` (0 for the first attempt), `logger`. It may be
`async`, or plain: then it runs in a thread. No value of a secret is ever among what it gets.
"""

from __future__ import annotations

import inspect
import re
import runpy
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from reconciler.core.refs import Ref, kind_of, short
from reconciler.errors import UsageError

Function = TypeVar("Function", bound=Callable[..., Any])

EVENTS = frozenset(
    {
        *("created", "updated", "moved", "renamed", "replaced", "restored", "destroyed", "purged"),
        *("drifted", "failed", "planned"),
    }
)


class TemporaryError(Exception):
    """Not now: call again after `delay` seconds (None: the handler's own backoff)."""

    def __init__(self, message: str = "", *, delay: float | None = None) -> None:
        super().__init__(message)
        self.delay = delay


class PermanentError(Exception):
    """Never: do not call again for this."""


class Handler(msgspec.Struct, frozen=True, kw_only=True):
    """One function and what it is called for. `backoff` s after the first failure, doubled each time, `retries` times;
    an attempt may take `timeout` s."""

    function: Callable[..., Any]
    event: str
    kind: str = "*"
    ref: str = "*"
    """A pattern over the short ref: `shop/web-*`."""
    field: str = ""
    """Only if this field, or one beneath it, is among the differences: `/memory`."""
    retries: int = 5
    backoff: float = 5.0
    timeout: float = 60.0

    @property
    def name(self) -> str:
        return getattr(self.function, "__name__", "handler")

    def wants(self, event: str, ref: Ref, paths: tuple[str, ...] = ()) -> bool:
        if event != self.event or self.kind not in ("*", kind_of(ref)) or not fnmatchcase(short(ref), self.ref):
            return False
        return not self.field or any(path == self.field or path.startswith(f"{self.field}/") for path in paths)


class Timer(msgspec.Struct, frozen=True, kw_only=True):
    """A function called every `interval` s, never twice at once; the first time one interval after the start."""

    function: Callable[..., Any]
    interval: float
    timeout: float = 60.0

    @property
    def name(self) -> str:
        return getattr(self.function, "__name__", "timer")


class Handlers:
    """All that was registered."""

    def __init__(self) -> None:
        self.handlers: list[Handler] = []
        self.timers: list[Timer] = []

    def wanting(self, event: str, ref: Ref, paths: tuple[str, ...] = ()) -> list[Handler]:
        return [handler for handler in self.handlers if handler.wants(event, ref, paths)]


_registering = Handlers()


class _On:
    """`@on.created(KIND)`, `@on.updated(KIND, field="/memory")`, … one decorator an event."""

    def __getattr__(self, event: str) -> Callable[..., Callable[[Function], Function]]:
        if event not in EVENTS:
            raise AttributeError(f"there is no event {event!r}; there are {', '.join(sorted(EVENTS))}")

        def about(kind: str = "*", **more: Any) -> Callable[[Function], Function]:
            def register(function: Function) -> Function:
                if event == "planned" and inspect.iscoroutinefunction(function):
                    raise TypeError(f"{function.__name__}: a `planned` handler answers at once, it cannot be async")
                _registering.handlers.append(Handler(function=function, event=event, kind=kind, **more))
                return function

            return register

        return about


on = _On()


def timer(interval: float | str, **more: Any) -> Callable[[Function], Function]:
    """`@timer("10m")`, or seconds."""
    seconds = _seconds(interval) if isinstance(interval, str) else float(interval)

    def register(function: Function) -> Function:
        _registering.timers.append(Timer(function=function, interval=seconds, **more))
        return function

    return register


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h|d)", text)
    if found is None or not float(found[1]):
        raise ValueError(f"{text!r} is no length of time: 90s, 30m, 2h, 7d")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]]


def load(paths: list[Path], *, outside: Path | None = None) -> Handlers:
    """Run files of handlers and take what they register. `outside`: the specs repository, from which nothing is run.
    Raises UsageError."""
    global _registering
    _registering = found = Handlers()
    for path in paths:
        real = path.resolve()
        if outside is not None and real.is_relative_to(outside.resolve()):
            raise UsageError(
                f"{path} lies in the specs repository, and no code of a specs repository is run",
                hint="keep handlers on the controller, beside its state folder",
            )
        if not real.is_file():
            raise UsageError(f"{path}: there is no such file of handlers")
        try:
            runpy.run_path(str(real), run_name=real.stem)
        except Exception as error:
            raise UsageError(f"{path}: {type(error).__name__}: {error}", hint="the loop was not started") from error
    return found
