"""zfs-fuse: ZFS as a process, in the node's private mount namespace.

Owns: starting it, telling whether it lives, recovering from its death.
Must not go here: ZFS commands (zfs.py), restarting the zones whose roots died with it (driver).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from drivers.local.chamber import Hung, run, spawn
from drivers.local.locks import Locks
from drivers.local.place import Place
from drivers.local.storage import Settings, StorageDead, StorageFailed
from drivers.local.storage.zfs import Zfs

_START = 10.0
"""Seconds within which a fresh daemon answers; 0.1 is usual."""
_STOP = 20.0
"""Seconds for a clean end: unmount and sync, about 5."""


class FuseZfs(Zfs):
    """Every call is made by a thread that lives in the namespace."""

    def __init__(self, place: Place, locks: Locks, settings: Settings) -> None:
        super().__init__(place, locks, settings, backend="zfs-fuse")
        self._silent = False

    def alive(self) -> bool:
        found = super().alive()
        self._silent = not found  # not to wait for the same silence twice
        return found

    def bring_up(self) -> None:
        """Raises StorageFailed. A daemon that hangs is killed: its file systems are dead anyway."""
        useless = self._silent or not self._answers() or self._lost()
        self._silent = False
        if useless:
            self._exclude_others()
            for pid in self._daemons():
                _kill(pid, signal.SIGKILL)
            for mount in _fuse_mounts():
                run(["umount", "-l", mount])
            self._start()
        super().bring_up()
        self.must("mount", "-a", mounting=True)

    def loosen(self) -> None:
        if not self._answers():
            for pid in self._daemons():
                _kill(pid, signal.SIGKILL)

    def _answers(self) -> bool:
        try:
            return run(["zpool", "list", "-H", "-o", "name"], timeout=10).code == 0
        except Hung:
            return False

    def _lost(self) -> bool:
        """Whether it answers, but has lost its pool under it: only a new one finds it again."""
        known = run(["zpool", "list", "-H", "-o", "name", self.pool], timeout=10).code == 0
        return known and self.zfs("list", "-H", "-o", "name", self.pool).code != 0

    def _start(self) -> None:
        """A killed daemon keeps its lock until its last thread is gone, and another one ends at once while it does:
        so again, until one stays."""
        # -x: extended attributes, which file capabilities need; -p: or it would write over the host's own pid file
        log = self._place.folder / "zfs-fuse.log"
        for attempt in range(int(_START / 0.05)):
            if attempt % 5 == 0 and not any(self._daemons()):
                spawn(["zfs-fuse", "-n", "--no-kstat-mount", "-x", "-p", "/run/zfs/pid"], log=log)
            if self._answers():
                return
            time.sleep(0.05)
        raise StorageFailed(f"zfs-fuse did not start within {_START:g} s, see {log}")

    def _daemons(self) -> Iterator[int]:
        """Ours alone: those that live in this node's namespace, a former one too. Two of them at once would ruin the
        pool: nothing stops a second one from opening it."""
        seen = f" {self._place.seen} "
        return (pid for pid in _living() if seen in _text(f"/proc/{pid}/mountinfo"))

    def _exclude_others(self) -> None:
        """A pool that is not ours alone may be open already. Raises StorageFailed."""
        if self._settings.pool is None:
            return
        ours = set(self._daemons())
        for pid in _living():
            if pid not in ours and _holds(pid, self._settings.file):
                raise StorageFailed(
                    f"another zfs-fuse, process {pid}, may have the pool {self.pool} open, and two would ruin it: stop "
                    "that one (on a host with systemd: systemctl disable --now zfs-fuse)"
                )

    def tear_down(self) -> None:
        with suppress(StorageDead, StorageFailed, Hung):  # what does not answer is killed below, and its file goes
            super().tear_down()
        for pid in self._daemons():
            _kill(pid, signal.SIGTERM, within=_STOP)
        for mount in _fuse_mounts():
            run(["umount", "-l", mount])
        if not self._settings.file:
            self._place.pool_file.unlink(missing_ok=True)


def _living() -> Iterator[int]:
    """Every zfs-fuse on this host."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _text(f"{entry}/comm") == "zfs-fuse\n" and _state(int(entry.name)) != "Z":
            yield int(entry.name)


def _holds(pid: int, file: str | None) -> bool:
    """Whether it has this file open, or any disk if no file is named."""
    try:
        paths = {os.readlink(each) for each in Path(f"/proc/{pid}/fd").iterdir()}
        return file in paths if file else any(Path(path).is_block_device() for path in paths)
    except OSError:
        return False  # ended meanwhile


def _text(path: str) -> str:
    """Empty for a process that ended meanwhile."""
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _kill(pid: int, sign: signal.Signals, within: float = 5.0) -> None:
    """End a process, and see that it ended; a polite signal is followed by a rude one."""
    try:
        os.kill(pid, sign)
        for _ in range(int(within / 0.02)):
            if _state(pid) in ("", "Z"):
                return
            time.sleep(0.02)
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _state(pid: int) -> str:
    return _text(f"/proc/{pid}/stat").rpartition(") ")[2][:1]


def _fuse_mounts() -> list[str]:
    """Mount points of zfs-fuse in this namespace, the deepest first."""
    lines = Path("/proc/thread-self/mounts").read_text().splitlines()
    found = [line.split()[1] for line in lines if line.split()[2] == "fuse.zfs"]
    return sorted((mount.replace("\\040", " ") for mount in found), reverse=True)
