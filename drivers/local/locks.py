"""The node's own locks: files under flock, shared by every process that acts on this node.

Owns: which locks there are and in which order they are taken: node (shared or whole), then object, then mounting.
Must not go here: what is done under them.

`whole` is for what concerns every object: the claim, a higher fence, recovery. Steps take the node shared, so that a
higher fence waits for the steps in hand and stops the next ones.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Locks:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def _held(self, name: str, operation: int) -> Iterator[int]:
        descriptor = os.open(self._folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, operation)
            yield descriptor
        finally:
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
    def mounting(self) -> Iterator[int]:
        """Gives the descriptor, for the command to inherit: the lock then lasts as long as the command, even if
        this process is killed."""
        with self._held("mounting", fcntl.LOCK_EX) as descriptor:
            yield descriptor

    @contextmanager
    def network(self) -> Iterator[None]:
        with self._held("network", fcntl.LOCK_EX):
            yield
