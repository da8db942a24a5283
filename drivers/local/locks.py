"""The node's own locks: files under flock, shared by every process that acts on this node.

Owns: which locks there are and in which order they are taken: node (shared or whole), then object, then mounting.
Must not go here: what is done under them.

`whole` is for what concerns every object: the claim, a higher fence, recovery. Steps take the node shared, so that a
higher fence waits for the steps in hand and stops the next ones.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Locks:
    """Storage commands inherit the locks that their thread holds: a command goes on when its controller is killed, and
    nobody else may act on the object, or mount, before it has ended."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mine = threading.local()

    def held(self) -> list[int]:
        """Descriptors of the locks that the calling thread holds, for a command to inherit."""
        return list(getattr(self._mine, "descriptors", ()))

    @contextmanager
    def _held(self, name: str, operation: int) -> Iterator[None]:
        descriptor = os.open(self._folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, operation)
            self._mine.descriptors = [*self.held(), descriptor]
            yield
        finally:
            self._mine.descriptors = [each for each in self.held() if each != descriptor]
            os.close(descriptor)

    @contextmanager
    def shared(self) -> Iterator[None]:
        with self._held("node", fcntl.LOCK_SH):
            yield

    @contextmanager
    def whole(self) -> Iterator[None]:
        with self._held("node", fcntl.LOCK_EX):
            yield

    @contextmanager
    def object(self, uid: str) -> Iterator[None]:
        """One thing at a time per object. Two uids may share a lock: that costs time, never safety."""
        with self._held(f"object-{uid[:3]}", fcntl.LOCK_EX):
            yield

    @contextmanager
    def mounting(self) -> Iterator[None]:
        with self._held("mounting", fcntl.LOCK_EX):
            yield

    @contextmanager
    def network(self) -> Iterator[None]:
        with self._held("network", fcntl.LOCK_EX):
            yield
