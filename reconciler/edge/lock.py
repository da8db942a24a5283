"""The datacenter's lock: one process acts at a time, and every holder has a higher fence than those before.

Owns: the lock file and the persisted counter. Must not go here: checking fences on nodes (drivers do).

The lock lies on this host; a controller on another host has a state folder of its own, and it is the fence, written on
every node and checked there, that keeps two such from undoing each other's work (invariant I12).
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from reconciler.edge.state import State, write_whole
from reconciler.errors import LockHeld, StateUnusable

_LOOK = 5.0
"""Seconds that a look at who holds it may take: it is over in some microseconds, unless its process is held up."""


class DatacenterLock:
    """Held from `acquire` until `release`, or the process's end however it comes. Use as a context manager."""

    def __init__(self, state: State, handle: int, fence: int) -> None:
        self._state = state
        self._handle = handle
        self._fence = fence
        self._seen = _stamp(state.fence)

    @classmethod
    def acquire(cls, state: State, *, purpose: str) -> DatacenterLock:
        """Takes the lock and the next fence, durable before it returns. `purpose` is told to others: `trueup run`.

        Raises LockHeld saying who holds it, StateUnusable.
        """
        try:
            handle = os.open(state.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateUnusable(f"{state.lock}: cannot be opened: {error.strerror}") from error
        try:
            if not _taken(handle):
                raise LockHeld(
                    f"another process acts on this datacenter: {_holder(handle)}",
                    hint="wait for it to end; a running loop takes plans over its socket",
                )
            try:
                os.ftruncate(handle, 0)
                os.pwrite(handle, msgspec.json.encode({"pid": os.getpid(), "purpose": purpose}), 0)
            except OSError as error:
                raise StateUnusable(f"{state.lock}: cannot be written: {error.strerror}") from error
            fence = _counted(state.fence) + 1
            _write_counter(state.fence, fence)
            return cls(state, handle, fence)
        except BaseException:
            os.close(handle)
            raise

    @property
    def fence(self) -> int:
        return self._fence

    def lost(self) -> bool:
        """Whether another process has counted the fence on: someone removed the lock file under us."""
        if self._handle < 0:
            return True
        now = _stamp(self._state.fence)
        if now == self._seen:
            return False
        if _counted(self._state.fence) != self._fence:
            return True
        self._seen = now
        return False

    def raise_above(self, seen: int) -> int:
        """Counts on past a fence that a node remembers, after the state folder was lost; gives the new fence.

        Only on a person's word (`journal rebuild`): done unasked, two controllers would outbid each other for ever.
        """
        if seen >= self._fence:
            _write_counter(self._state.fence, seen + 1)
            self._fence = seen + 1
            self._seen = _stamp(self._state.fence)
        return self._fence

    def release(self) -> None:
        handle, self._handle = self._handle, -1
        if handle >= 0:
            fcntl.flock(handle, fcntl.LOCK_UN)  # a process that was forked meanwhile has the file open, too
            os.close(handle)

    def __enter__(self) -> DatacenterLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def holder(state: State) -> str | None:
    """Who holds the lock now, in words; None if nobody does."""
    try:
        handle = os.open(state.lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _holder(handle)
    finally:
        os.close(handle)
    return None


def _taken(handle: int) -> bool:
    """Whether the lock is ours now. Whoever only looks shares it for a moment (`holder`), which is waited for."""
    until = time.monotonic() + _LOOK
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        fcntl.flock(handle, fcntl.LOCK_UN)
        if time.monotonic() > until:
            return False
        time.sleep(0.001)


def _holder(handle: int) -> str:
    try:
        told = msgspec.json.decode(os.pread(handle, 4096, 0))
        return f"process {told['pid']} ({told['purpose']})"
    except (msgspec.DecodeError, KeyError, TypeError):
        return "one that has only just begun"


def _counted(path: Path) -> int:
    try:
        return int(path.read_text())
    except FileNotFoundError:
        return 0
    except (OSError, ValueError) as error:
        raise StateUnusable(
            f"{path}: the fence cannot be read: {error}",
            hint="write into it a number that is higher than any fence `trueup get node` shows",
        ) from error


def _write_counter(path: Path, fence: int) -> None:
    if fence >= sys.maxsize:
        raise StateUnusable(f"{path}: the fence is out of range")
    try:
        write_whole(path, f"{fence}\n".encode())
    except OSError as error:
        raise StateUnusable(f"{path}: the fence cannot be written: {error.strerror}") from error


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0)
    return (found.st_ino, found.st_mtime_ns)
