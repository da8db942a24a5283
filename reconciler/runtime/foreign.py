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


def of_the_call(error: BaseException) -> Exception:
    """The error that concerns the call alone. Raises it as it is if what runs here was cancelled, or a person
    interrupted."""
    if isinstance(error, Exception):
        return error
    if _ours(error):
        raise error
    return _loose(error)


def _ours(error: BaseException) -> bool:
    """Whether it was meant to end more than the call."""
    if isinstance(error, GeneratorExit | KeyboardInterrupt):
        return True
    import anyio

    return anyio.current_effective_deadline() == -inf and isinstance(error, anyio.get_cancelled_exc_class())


def _loose(error: BaseException) -> BrokeLoose:
    text = " ".join(str(error).split())
    return BrokeLoose(f"{type(error).__name__}: {text}" if text else type(error).__name__)


class _Contained:
    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and not isinstance(error, Exception) and not _ours(error):
            raise _loose(error) from error


contained = _Contained()
"""`with contained:` around a call of such code, in an event loop. Raises Exceptions only, and cancellation if what runs
here was cancelled. A person's Ctrl-C passes."""
