"""Compressing beside the rest: zlib lets the interpreter go on meanwhile, on the second core.

Owns: the thread. Must not go here: what is compressed (core.sights).

A plain thread, for which the end of the process need not wait: what it makes is of this process alone.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable
from functools import cache
from queue import SimpleQueue


class _Packed:
    """What one piece comes to. zlib fails on memory alone, which is told to whoever asks."""

    def __init__(self, data: bytes) -> None:
        self._data: bytes | None = data
        self._found: bytes | BaseException = b""
        self._done = threading.Event()

    def work(self) -> None:
        data, self._data = self._data or b"", None
        try:
            self._found = zlib.compress(data, 1)
        except BaseException as error:
            self._found = error
        self._done.set()

    def result(self) -> bytes:
        self._done.wait()
        if isinstance(self._found, bytes):
            return self._found
        raise self._found


def compress(data: bytes) -> Callable[[], bytes]:
    """Begins; who calls what it returns waits for it."""
    packed = _Packed(data)
    _queue().put(packed)
    return packed.result


@cache
def _queue() -> SimpleQueue[_Packed]:
    queue: SimpleQueue[_Packed] = SimpleQueue()
    threading.Thread(target=_work, args=(queue,), name="compress", daemon=True).start()
    return queue


def _work(queue: SimpleQueue[_Packed]) -> None:
    while True:
        queue.get().work()
