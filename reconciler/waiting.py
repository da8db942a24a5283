"""Doing without an event loop until something has to wait.

Owns: running a command's coroutine, and the moment at which the event loop begins. Must not go here: what waits.

Most of what a command awaits is done at once: git answers, files are read, nobody else runs meanwhile. Importing an
event loop takes longer than all of that, so a command runs without one as far as it comes. Whoever has to wait (tasks
side by side, deadlines, signals, sockets) awaits `loop()` first, and the same coroutine goes on in the loop. Code that
runs in a loop anyway (`trueup run`, tests) notices nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import ContextVar
from types import coroutine
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

_WITHOUT = ContextVar("without", default=False)
"""Whether what runs here has no loop because `run` has not begun one. Other threads have contexts of their own."""
_BEGIN = object()
"""What a coroutine yields to have the loop begun."""


async def loop() -> None:
    """There is an event loop when this returns. To be awaited before the first use of anyio."""
    if _WITHOUT.get():
        await _begin()


def alone() -> bool:
    """Whether there is no loop yet: no task, no signal of it, so the process may be forked."""
    return _WITHOUT.get()


async def blocking(function: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
    """What the function returns, or raises. It blocks, so a thread runs it, unless there is no loop to be held up."""
    if _WITHOUT.get():
        return function(*arguments)
    import anyio.to_thread

    return await anyio.to_thread.run_sync(function, *arguments)


def run(command: Coroutine[Any, Any, T]) -> T:
    """Run it to its end, in an event loop from the moment on that it asks for one. Raises what it raises."""
    token = _WITHOUT.set(True)
    try:
        asked = command.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    finally:
        _WITHOUT.reset(token)
    if asked is not _BEGIN:
        command.close()
        raise RuntimeError(f"waits for {asked!r} without an event loop")
    import anyio

    return anyio.run(_rest, command)


def before(function: Callable[[], T]) -> T:
    """What a command does before its coroutine runs: there is no loop either."""
    token = _WITHOUT.set(True)
    try:
        return function()
    finally:
        _WITHOUT.reset(token)


@coroutine
def _begin() -> Generator[object, None, None]:
    yield _BEGIN


async def _rest(command: Coroutine[Any, Any, T]) -> T:
    return await _Begun(command)


class _Begun(Awaitable[T]):
    """The rest of a coroutine that has begun already: a second `await` of it is no business of the language's."""

    def __init__(self, command: Coroutine[Any, Any, T]) -> None:
        self._command = command

    def __await__(self) -> Generator[Any, Any, T]:
        return (yield from self._command.__await__())
