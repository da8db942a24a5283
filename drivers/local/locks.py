"""The node's own locks: files under flock, shared by every process that acts on this node.

Owns: which locks there are and in which order they are taken: node (shared or whole), then object, then mounting.
`entering` is taken before any of them.
Must not go here: what is done under them.

`whole` is for what concerns every object: the claim, a higher fence, recovery. Steps take the node shared, so that a
higher fence waits for the steps in hand and stops the next ones. Who has put a fence down goes on with a step of its
own by lowering `whole` to `shared`: flock gives up the one before it takes the other, so whoever wants the node whole
takes the door first, and the door is held until then.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PATIENCE = 60.0
"""Seconds; longer than any storage command that is not stuck, an image's import aside."""
_ONE_OBJECT = 15.0
"""Seconds; a second controller at the same object is rare, a command that is stuck there less so."""


class Stuck(Exception):
    """A lock is held by a command whose storage does not answer. The text is one sentence."""


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
    def _held(self, name: str, operation: int, patience: float | None = None) -> Iterator[int]:
        """The descriptor. Raises Stuck after `patience` seconds, if there are any."""
        descriptor = os.open(self._folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if patience is None:
                fcntl.flock(descriptor, operation)
            else:
                self._wait(descriptor, operation, patience)
            self._mine.descriptors = [*self.held(), descriptor]
            yield descriptor
        finally:
            self._mine.descriptors = [each for each in self.held() if each != descriptor]
            os.close(descriptor)

    def _wait(self, descriptor: int, operation: int, patience: float) -> None:
        end, pause = time.monotonic() + patience, 0.002
        while True:
            try:
                fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > end:
                    raise Stuck("a command that was begun here does not come to its end") from None
                time.sleep(pause)
                pause = min(2 * pause, 0.05)

    @contextmanager
    def shared(self, patience: float = PATIENCE) -> Iterator[None]:
        with self._held("node", fcntl.LOCK_SH, patience):
            yield

    @contextmanager
    def whole(self, patience: float = PATIENCE) -> Iterator[Callable[[], None]]:
        """Gives what lowers it to `shared`, with no moment between in which somebody else has it whole."""
        with ExitStack() as door:
            door.enter_context(self._held("door", fcntl.LOCK_EX, patience))
            with self._held("node", fcntl.LOCK_EX, patience) as node:

                def lower() -> None:
                    fcntl.flock(node, fcntl.LOCK_SH)
                    door.close()

                yield lower

    @contextmanager
    def object(self, uid: str) -> Iterator[None]:
        """One thing at a time per object. Two uids may share a lock: that costs time, never safety."""
        with self._held(f"object-{uid[:3]}", fcntl.LOCK_EX, _ONE_OBJECT):
            yield

    @contextmanager
    def entering(self) -> Iterator[None]:
        """While the namespace is made: not one of the node's, which a storage that hangs can hold."""
        with self._held("entering", fcntl.LOCK_EX, PATIENCE):
            yield

    @contextmanager
    def mounting(self) -> Iterator[None]:
        with self._held("mounting", fcntl.LOCK_EX):
            yield

    @contextmanager
    def network(self) -> Iterator[None]:
        with self._held("network", fcntl.LOCK_EX):
            yield
