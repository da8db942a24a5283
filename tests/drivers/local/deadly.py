"""Killing a process at the n-th thing it does to the host: a file written, a command begun, a firewall rule laid.

Owns: the points and the three ways to die there. Must not go here: what is done, assertions.

The points come from Python's own audit events and from wrappers round starting a command and calling nftables: the
driver knows nothing of them. They are armed in a process that is about to die, and never taken away.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from enum import StrEnum
from pathlib import Path
from typing import Any

from drivers.local.nft import Nft
from drivers.local.place import Place

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_ACTS = frozenset({"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.chown", "os.truncate"})
_BEYOND = ("/sys/fs/cgroup/", "/proc/sys/", "/run/")
_MOMENTS = 5


class Death(StrEnum):
    BEFORE = "before"
    """The process, before it acts."""
    WHILE = "while"
    """The process, once a command has begun, which goes on without it."""
    TOGETHER = "together"
    """The process and the command that it waits for, some moments into it."""


class Points:
    """Counts what the process does; it dies at the point asked for."""

    def __init__(self, place: Place, deadly: int, death: Death) -> None:
        self._place = place
        self._deadly = deadly
        self._death = death
        self._passed = 0
        self._lock = threading.Lock()

    def arm(self) -> None:
        """From now on, for the rest of this process's life. It leads a process group of its own."""
        os.setpgid(0, 0)
        begin, nft = subprocess.Popen.__init__, Nft.run

        def begun(popen: Any, *args: Any, **kwargs: Any) -> None:
            last = self._passes()
            if last and self._death is Death.BEFORE:
                self._die()
            begin(popen, *args, **kwargs)
            if last:
                if self._death is Death.TOGETHER:
                    time.sleep(0.001 * (self._deadly % _MOMENTS))
                self._die()

        def ruled(rules: Nft, text: str) -> str:
            if not text.startswith("list") and self._passes():
                self._die()
            return nft(rules, text)

        subprocess.Popen.__init__ = begun  # type: ignore[method-assign,assignment]
        Nft.run = ruled  # type: ignore[method-assign]
        if self._death is Death.BEFORE:  # the others are about commands
            sys.addaudithook(self._hear)

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = args
            counts = isinstance(flags, int) and bool(flags & _WRITING)
        else:
            path, counts = args[0] if args else None, event in _ACTS
        if counts and isinstance(path, str | Path) and self._is_ours(str(path)) and self._passes():
            self._die()

    def _is_ours(self, path: str) -> bool:
        """Not the locks: taking one changes nothing."""
        if path.startswith(str(self._place.locks)):
            return False
        return path.startswith((str(self._place.folder), str(self._place.seen), *_BEYOND))

    def _passes(self) -> bool:
        with self._lock:
            self._passed += 1
            return self._passed == self._deadly

    def _die(self) -> None:
        if self._death is Death.TOGETHER:
            os.killpg(0, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
