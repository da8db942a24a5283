"""What btrfs and plain copies share: a folder per thing, its marks in `trusted.*` attributes of that folder, and the
guest's root in `root` beneath, so that no guest ever sees or writes its own marks.

Owns: names, marks, listing. Must not go here: how a root is cloned, snapshotted or limited.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from drivers.local.place import Place
from drivers.local.storage import FOLDERS, Listing, Settings, StorageFailed, Volume

_MARK = "trusted.trueup.mark"
_FORM = "trusted.trueup.form"
_NODE = "trusted.trueup.node"
_ORIGIN = "trusted.trueup.origin"
_SNAPSHOTS = "snapshots"


class Folders:
    backend = "copy"
    idmap = False
    limits = False

    def __init__(self, place: Place, settings: Settings) -> None:
        self._place = place
        self._settings = settings

    @property
    def _top(self) -> Path:
        return self._place.pool

    # What the two differ in

    def _make_root(self, root: Path) -> None:
        root.mkdir()

    def _copy_root(self, source: Path, root: Path) -> None:
        raise NotImplementedError

    def _freeze(self, root: Path) -> None:
        """An image's root cannot be written from now on, where the storage can say so."""

    def _remove_root(self, root: Path) -> None:
        import shutil

        shutil.rmtree(root, ignore_errors=False)

    def _limit(self, root: Path, disk: int, *, cloned: bool) -> None:
        """Bytes that may be written to it."""

    def _guid(self, root: Path) -> str:
        return str(os.stat(root).st_ino)

    def _disks(self) -> Mapping[str, int]:
        """Limits as they are, by guid."""
        return {}

    # The interface

    def bring_up(self) -> None:
        for folder in FOLDERS:
            (self._top / folder).mkdir(parents=True, exist_ok=True)

    def alive(self) -> bool:
        return self._top.is_dir()

    def loosen(self) -> None:
        """Nothing waits here."""

    def read(self, names: Sequence[str] | None = None) -> Listing:
        limits = self._disks()
        found = self._names() if names is None else names
        volumes = {name: volume for name in found if (volume := self._volume(name, limits)) is not None}
        stat = os.statvfs(self._top)
        return Listing(self._identity(), _get(self._top, _NODE), stat.f_blocks * stat.f_frsize, volumes)

    def _identity(self) -> str:
        """The file system and the folder in it."""
        return f"{os.statvfs(self._top).f_fsid:x}-{os.stat(self._top).st_ino:x}"

    def _names(self) -> Iterator[str]:
        for folder in FOLDERS:
            for entry in sorted((self._top / folder).iterdir()):
                yield f"{folder}/{entry.name}"

    def _volume(self, name: str, limits: Mapping[str, int]) -> Volume | None:
        folder = self._top / name
        try:
            guid = self._guid(folder / "root")
        except FileNotFoundError:
            return None
        form = _get(folder, _FORM)
        kept = _get(folder, "trusted.trueup.disk")
        disk = limits.get(guid) if self.limits else (int(kept) if kept else None)
        return Volume(name, guid, _get(folder, _MARK), form, disk, _get(folder, _ORIGIN))

    def mark_node(self, text: str | None) -> None:
        _set(self._top, _NODE, text)

    def create(self, name: str, *, mark: str, form: str | None = None, disk: int | None = None) -> None:
        self._born(name, mark, form, disk, None)

    def clone(self, image: str, name: str, *, mark: str, disk: int | None = None) -> None:
        self._born(name, mark, None, disk, image)

    def _born(self, name: str, mark: str, form: str | None, disk: int | None, image: str | None) -> None:
        """Complete or not at all: made aside, then renamed."""
        folder, aside = self._top / name, self._top / f".new-{name.replace('/', '-')}"
        if folder.exists():
            raise StorageFailed(f"{name} is there already")
        if aside.exists():
            self._remove(aside)
        aside.mkdir(mode=0o711)
        if image is None:
            self._make_root(aside / "root")
        else:
            self._copy_root(self._top / image / "root", aside / "root")
        for key, value in ((_MARK, mark), (_FORM, form), (_ORIGIN, image)):
            _set(aside, key, value)
        if disk is not None:
            self._set_disk(aside, disk, cloned=image is not None)
        aside.rename(folder)

    def _set_disk(self, folder: Path, disk: int, *, cloned: bool) -> None:
        self._limit(folder / "root", disk, cloned=cloned)
        _set(folder, "trusted.trueup.disk", str(disk))

    def set(self, volume: Volume, *, mark: str | None = None, form: str | None = None, disk: int | None = None) -> None:
        folder = self._top / volume.name
        if disk is not None:
            self._set_disk(folder, disk, cloned=volume.origin is not None)
        for key, value in ((_FORM, form), (_MARK, mark)):
            if value is not None:
                _set(folder, key, value)

    def seal(self, name: str, final: str) -> None:
        self._freeze(self._top / name / "root")
        self.rename(name, final)

    def snapshot(self, name: str, label: str) -> None:
        """Where the storage has none, a stopped root that is kept is its own snapshot."""

    def drop_snapshot(self, name: str, label: str) -> None:
        snapshot = self._top / name / _SNAPSHOTS / label
        if snapshot.exists():
            self._remove_root(snapshot)

    def unmark(self, volume: Volume) -> None:
        _set(self._top / volume.name, _MARK, None)

    def rename(self, name: str, new: str) -> None:
        if (self._top / new).exists():
            raise StorageFailed(f"{new} is there already")
        (self._top / name).rename(self._top / new)

    def mount(self, name: str) -> Path:
        path = self.path(name)
        if not path.is_dir():
            raise StorageFailed(f"{path} is missing: nothing is written there")
        return path

    def unmount(self, name: str) -> None:
        """Nothing is mounted by itself here."""

    def destroy(self, name: str) -> None:
        folder = self._top / name
        if folder.exists():
            if name.startswith("images/"):
                self._unused(name)
            self._remove(folder)

    def _unused(self, image: str) -> None:
        users = [volume.name for volume in self.read().volumes.values() if volume.origin == image]
        if users:
            raise StorageFailed(f"{image} has dependent clones: {', '.join(users)}")

    def _remove(self, folder: Path) -> None:
        import shutil

        for snapshot in (folder / _SNAPSHOTS).glob("*"):
            self._remove_root(snapshot)
        if (folder / "root").exists():
            self._remove_root(folder / "root")
        shutil.rmtree(folder)

    def path(self, name: str) -> Path:
        return self._top / name / "root"

    def facts(self) -> Mapping[str, Any]:
        return {"storage": self.backend, "pool": str(self._top)}

    def tear_down(self) -> None:
        for name in list(self._names()):
            self._remove(self._top / name)


def _get(path: Path, key: str) -> str | None:
    try:
        return os.getxattr(path, key).decode()
    except OSError:
        return None


def _set(path: Path, key: str, value: str | None) -> None:
    if value is not None:
        os.setxattr(path, key, value.encode())
    elif _get(path, key) is not None:
        os.removexattr(path, key)
