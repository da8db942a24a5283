"""Code that is not ours: what comes out of a driver's or a handler's call concerns that call alone.

Owns: making an ordinary error of what would end more than the call. Must not go here: what follows from the error (who
calls).

A cancellation that nobody asked for (a task or a future of somebody's own that was cancelled) ends a task silently and,
with it, the whole group that the task is in: whatever ran there would stand still in a process that goes on.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType


class BrokeLoose(Exception):
    """What was raised would have ended more than the call."""


class _Contained:
    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, Exception | GeneratorExit | KeyboardInterrupt):
            return
        import anyio

        ours = anyio.current_effective_deadline() == -inf
        if not (ours and isinstance(error, anyio.get_cancelled_exc_class())):
            text = " ".join(str(error).split())
            raise BrokeLoose(f"{type(error).__name__}: {text}" if text else type(error).__name__) from error


contained = _Contained()
"""`with contained:` around a call of such code, in an event loop. Raises Exceptions only, and cancellation if what runs
here was cancelled. A person's Ctrl-C passes."""
