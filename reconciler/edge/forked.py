"""A forked process that works for this one, and the two pipes to it: bytes go over, never objects.

Owns: the process from its birth to its end, and messages that arrive whole.
Must not go here: what it works at, what the messages mean.
"""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import BinaryIO

_LENGTH = struct.Struct("<Q")

Work = Callable[[BinaryIO, BinaryIO], None]
"""What the process does, with the pipes from and to us."""


def possible() -> bool:
    """Whether this system forks, and has a second core to make it worth while."""
    return len(os.sched_getaffinity(0)) > 1 and hasattr(os, "fork")


def telling(work: Callable[[Callable[[bytes], object]], object]) -> Forked:
    """A process that is told nothing, and tells what comes of its work in messages."""

    def tell(_: BinaryIO, sink: BinaryIO) -> None:
        def send(data: bytes) -> None:
            sink.write(framed(data))
            sink.flush()

        work(send)

    return Forked(tell)


def framed(data: bytes) -> bytes:
    """A message as it goes over a pipe: its length, then itself."""
    return _LENGTH.pack(len(data)) + data


def receive(pipe: BinaryIO) -> bytes:
    """One message. Raises EOFError if the other side has gone."""
    head = pipe.read(_LENGTH.size)
    data = pipe.read(_LENGTH.unpack(head)[0]) if len(head) == _LENGTH.size else b""
    if not data:
        raise EOFError
    return data


class Forked:
    def __init__(self, work: Work) -> None:
        to_child, from_parent = os.pipe()
        to_parent, from_child = os.pipe()
        widen(to_parent)
        with warnings.catch_warnings():
            # newer Pythons warn of forking beside threads: the child takes no lock that another thread may hold
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid = os.fork()
        if self.pid == 0:
            _child(work, (from_parent, to_parent), to_child, from_child)
        os.close(to_child)
        os.close(from_child)
        self.sink, self.source = from_parent, to_parent
        self._bytes = bytearray()

    def tell(self, data: bytes) -> None:
        """Raises BrokenPipeError if the process has gone."""
        view = memoryview(framed(data))
        while view:
            view = view[os.write(self.sink, view) :]

    def hear(self) -> Iterator[bytes]:
        """Every message that has come whole. Waits for something to come; raises EOFError if the process has gone."""
        read = os.read(self.source, 1 << 20)
        if not read:
            raise EOFError
        self._bytes += read
        begin = 0
        while len(self._bytes) - begin >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._bytes, begin)
            end = begin + _LENGTH.size + length
            if len(self._bytes) < end:
                break
            yield bytes(memoryview(self._bytes)[begin + _LENGTH.size : end])
            begin = end
        del self._bytes[:begin]

    def answer(self) -> bytes:
        """The one message that is still to come. Raises EOFError if the process has gone."""
        while True:
            for message in list(self.hear()):
                return message

    def leave(self) -> None:
        """Lets it come to its end, which it does once nobody talks to it any more, and waits for that."""
        os.close(self.sink)
        os.close(self.source)
        os.waitpid(self.pid, 0)

    def end(self) -> None:
        """Ends it, whatever it is doing, and waits for it."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.sink)
        os.close(self.source)


def widen(pipe: int) -> None:
    """Room for what is said while this process is busy."""
    with suppress(OSError, AttributeError):  # where there is no more to be had it waits
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 1 << 20)


def _child(work: Work, foreign: tuple[int, int], source: int, sink: int) -> None:  # pragma: no cover - in the fork
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is told, and ends us
        for descriptor in foreign:
            os.close(descriptor)
        with os.fdopen(source, "rb") as read, os.fdopen(sink, "wb") as write:
            work(read, write)
        code = 0
    finally:
        os._exit(code)
