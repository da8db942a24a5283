"""A thread that goes into one node's mount namespace after the other, for a look each, while who asks waits for it.

Owns: that thread, and how long it is waited for. Must not go here: what is looked at, acting on a node (chamber.py).

Why one thread for all nodes of a host: threads that look side by side spend twice the time of looking on handing each
other the interpreter's lock. Why a thread at all: who asks keeps its own root and folder, and can stop waiting.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from drivers.local import chamber

T = TypeVar("T")


class Late(Exception):
    """It takes longer than can be waited for. It comes to its end by itself, and nobody hears of it."""


def look(pin: Path, function: Callable[[], T], *, patience: float) -> T:
    """What the function returns, or raises, called in the mount namespace that is pinned there. The caller waits, for
    so many seconds. Raises Late, and OSError where there is no such namespace."""
    global _lookout
    if _lookout is None or _lookout.process != os.getpid():  # threads do not come along where a process forks
        _lookout = _Lookout()
    lookout = _lookout
    answer: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
    lookout.asked.put((os.open(pin, os.O_RDONLY | os.O_CLOEXEC), function, answer))
    try:
        found, error = answer.get(timeout=patience)
    except Empty:
        lookout.asked.put(None)
        _lookout = None
        raise Late from None
    if error is not None:
        raise error
    result: T = found
    return result


class _Lookout:
    """`asked`: descriptor of a namespace, what to do there, and where to tell what came of it; None ends it."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.asked: SimpleQueue[tuple[int, Callable[[], Any], SimpleQueue[Any]] | None] = SimpleQueue()
        threading.Thread(target=self._serve, name="lookout", daemon=True).start()

    def _serve(self) -> None:
        home = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        while (asked := self.asked.get()) is not None:
            namespace, function, answer = asked
            try:
                chamber.enter(namespace)
                try:
                    answer.put((function(), None))
                finally:
                    chamber.enter(home)  # a namespace is gone only once nobody is in it
            except BaseException as error:
                answer.put((None, error))
            finally:
                os.close(namespace)
        os.close(home)


_lookout: _Lookout | None = None
