"""Work beside the rest that lets the interpreter go on meanwhile: zlib's, on the second core, and the disk's.

Owns: the thread. Must not go here: what is compressed (core.sights), what is written (plans).

A plain thread, for which the end of the process need not wait: who wants what it makes waits for that.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable
from functools import cache, partial
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Begun(Generic[T]):
    """One piece of work, and what it comes to: what it raises is raised to whoever asks."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work: Callable[[], T] | None = work
        self._found: list[T] = []
        self._error: BaseException | None = None
        self._done = threading.Event()

    def done(self, *, within: float = 0) -> bool:
        """Waits for it so many seconds at most."""
        return self._done.wait(within)

    def run(self) -> None:
        work, self._work = self._work, None
        assert work is not None, "it is done once"
        try:
            self._found.append(work())
        except BaseException as error:
            self._error = error
        self._done.set()

    def result(self) -> T:
        """Waits for it."""
        self._done.wait()
        if self._error is not None:
            raise self._error
        return self._found[0]


def begun(work: Callable[[], T]) -> Begun[T]:
    """One after the other, as they were begun."""
    made = Begun(work)
    _queue().put(made)
    return made


def compress(data: bytes) -> Callable[[], bytes]:
    """Begins; who calls what it returns waits for it."""
    return begun(partial(zlib.compress, data, 1)).result


@cache
def _queue() -> SimpleQueue[Begun[Any]]:
    queue: SimpleQueue[Begun[Any]] = SimpleQueue()
    threading.Thread(target=_work, args=(queue,), name="beside", daemon=True).start()
    return queue


def _work(queue: SimpleQueue[Begun[Any]]) -> None:
    while True:
        queue.get().run()
