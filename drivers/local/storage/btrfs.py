"""btrfs subvolumes, on a file of ours or in a folder of a btrfs that is there.

Owns: subvolumes, snapshots, quota groups, the loop file. Must not go here: names and marks (folders.py).

Deleting the root of a running zone succeeds here: whoever calls stops the zone first.
"""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Mapping
from pathlib import Path

from drivers.local.chamber import run
from drivers.local.storage import DEFAULT_SIZE, StorageFailed
from drivers.local.storage.folders import Folders

_SUBVOL_INFO = 0x81F8943C
"""BTRFS_IOC_GET_SUBVOL_INFO; its answer is 504 bytes: the id at 0, the uuid at 296 (linux/btrfs.h)."""


class Btrfs(Folders):
    backend = "btrfs"
    idmap = True
    limits = True

    @property
    def _file(self) -> Path:
        return Path(self._settings.file) if self._settings.file else self._place.pool_file

    @property
    def _top(self) -> Path:
        return Path(self._settings.pool) if self._settings.pool else self._place.pool

    def bring_up(self) -> None:
        if not self._settings.pool and not os.path.ismount(self._top):
            self._mount_file()
        if not self._settings.pool:
            self._place.pool_made.touch()
            _btrfs("quota", "enable", str(self._top))
        super().bring_up()

    def _mount_file(self) -> None:
        if not self._file.exists():
            self._make_file()
        done = run(["mount", "-o", "loop,noatime", str(self._file), str(self._top)])
        if done.code != 0:
            raise StorageFailed(f"btrfs on {self._file}: {done.text}")

    def _make_file(self) -> None:
        """Aside, and renamed when there is a file system in it."""
        if self._place.pool_made.exists():
            raise StorageFailed(f"the pool's file {self._file} is missing; bring it back, or tear the node down")
        aside = self._file.with_name(f"{self._file.name}.new")
        with aside.open("wb") as file:
            file.truncate(self._settings.size or DEFAULT_SIZE)
        done = run(["mkfs.btrfs", "-q", "-f", str(aside)])
        if done.code != 0:
            raise StorageFailed(f"btrfs on {self._file}: {done.text}")
        aside.rename(self._file)

    def alive(self) -> bool:
        return (self._top / "zones").is_dir()

    def _make_root(self, root: Path) -> None:
        _btrfs("subvolume", "create", str(root))

    def _copy_root(self, source: Path, root: Path) -> None:
        _btrfs("subvolume", "snapshot", str(source), str(root))

    def _freeze(self, root: Path) -> None:
        _btrfs("property", "set", "-ts", str(root), "ro", "true")

    def _remove_root(self, root: Path) -> None:
        group = f"0/{_info(root)[0]}"
        _btrfs("subvolume", "delete", str(root))
        run(["btrfs", "qgroup", "destroy", group, str(self._top)])  # else they pile up

    def _limit(self, root: Path, disk: int, *, cloned: bool) -> None:
        exclusive = ["-e"] if cloned else []
        _btrfs("qgroup", "limit", *exclusive, str(disk), str(root))

    def _guid(self, root: Path) -> str:
        return _info(root)[1]

    def _disks(self) -> Mapping[str, int]:
        """`qgroup show -re --raw`: group, referenced, exclusive, limit of each."""
        done = run(["btrfs", "qgroup", "show", "-re", "--raw", str(self._top)])
        limits: dict[str, int] = {}
        for line in done.out.splitlines():
            cells = line.split()
            if len(cells) >= 5 and cells[0].startswith("0/"):
                limit = next((int(cell) for cell in cells[3:5] if cell.isdigit()), None)
                if limit is not None:
                    limits[cells[0][2:]] = limit
        return {guid: limits[number] for guid, number in self._groups().items() if number in limits}

    def _groups(self) -> Mapping[str, str]:
        groups: dict[str, str] = {}
        for name in self._names():
            try:
                number, guid = _info(self._top / name / "root")
            except OSError:
                continue
            groups[guid] = str(number)
        return groups

    def snapshot(self, name: str, label: str) -> None:
        folder = self._top / name / "snapshots"
        folder.mkdir(exist_ok=True)
        if not (folder / label).exists():
            _btrfs("subvolume", "snapshot", "-r", str(self._top / name / "root"), str(folder / label))

    def tear_down(self) -> None:
        if self._settings.pool:
            super().tear_down()
            return
        run(["umount", "-l", str(self._top)])
        if not self._settings.file:
            self._file.unlink(missing_ok=True)


def _info(root: Path) -> tuple[int, str]:
    """Number and uuid of a subvolume. Raises OSError."""
    answer = bytearray(504)
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(descriptor, _SUBVOL_INFO, answer)
    finally:
        os.close(descriptor)
    return int.from_bytes(answer[:8], "little"), str(uuid.UUID(bytes=bytes(answer[296:312])))


def _btrfs(*args: str) -> None:
    done = run(["btrfs", *args], timeout=120)
    if done.code != 0:
        raise StorageFailed(done.text)
