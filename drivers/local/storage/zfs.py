"""ZFS datasets, for OpenZFS in the kernel and for zfs-fuse: only what both of them have.

Owns: the zfs and zpool commands, reading their output, retrying what is busy, the mounting lock.
Must not go here: keeping zfs-fuse alive (fuse.py), what marks mean.

Three rules that each cost a real failure: every command that mounts runs under one lock per daemon (two racing mounts
hang zfs-fuse for ever); unmount first, then destroy or rename, both retried while busy; nothing is written or started
unless the dataset is mounted (a failed destroy leaves it unmounted, and writes would go into its parent).
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from drivers.local.chamber import Done, Hung, run
from drivers.local.locks import Locks
from drivers.local.place import Place
from drivers.local.storage import DEFAULT_SIZE, FINAL, FOLDERS, Listing, Settings, StorageDead, StorageFailed, Volume

_PROPERTIES = "guid,refquota,referenced,origin,mounted,trueup:mark,trueup:form"
_COLUMNS = ("-o", "name,property,value,source")
_NODE = "available,used,trueup:node"
_TIMEOUT = 60.0
_READING = 10.0
"""Seconds: a listing takes milliseconds, so one that takes this long is answered by nobody."""
_BUSY = ("busy", "umount failed")
_GONE = ("does not exist", "not currently mounted", "could not find any snapshots")
_DEAD = ("Connection re", "connect:", "Broken pipe", "internal error: failed to initialize ZFS library", "/dev/zfs")
_TRIES = 150

_Rows = dict[str, dict[str, tuple[str, str]]]
"""By dataset and property: its value, and where that comes from."""


class Zfs:
    """Datasets below `base`. `noauto`: OpenZFS would mount them for the whole host at boot; ours are mounted by us."""

    idmap = False
    limits = True

    def __init__(self, place: Place, locks: Locks, settings: Settings, *, backend: str = "zfs") -> None:
        self.backend = backend
        self._place = place
        self._locks = locks
        self._settings = settings
        self._owned = settings.pool is None or settings.file is not None
        self.pool = settings.pool or f"trueup_{place.tag}"
        self.base = self.pool if self._owned else f"{self.pool}/trueup"
        self._noauto = backend == "zfs"
        self._sizes: dict[str, int] = {}
        """Bytes that a sealed image refers to; it never changes."""

    # Commands

    def zfs(self, *args: str, mounting: bool = False, timeout: float = _TIMEOUT) -> Done:
        """One zfs command, under the mounting lock if it mounts. Raises StorageDead if nobody answers."""
        try:
            if mounting:
                with self._locks.mounting():
                    done = run(["zfs", *args], timeout=timeout, keep=self._locks.held())
            else:
                done = run(["zfs", *args], timeout=timeout, keep=self._locks.held())
        except Hung as hung:
            raise StorageDead(str(hung)) from None
        if done.code != 0 and any(sign in done.err for sign in _DEAD):
            raise StorageDead(f"zfs does not answer: {done.text}")
        return done

    def must(self, *args: str, mounting: bool = False) -> Done:
        done = self.zfs(*args, mounting=mounting)
        if done.code != 0:
            raise StorageFailed(done.text)
        return done

    def _patient(self, *args: str, mounting: bool = False, gone: tuple[str, ...] = _GONE) -> None:
        """Again while it is busy: a FUSE unmount is not over when its command is, and freed space counts only after
        the next transaction group."""
        for attempt in range(_TRIES):
            done = self.zfs(*args, mounting=mounting)
            if done.code == 0 or any(sign in done.err for sign in gone):
                return
            if not any(sign in done.err for sign in _BUSY):
                raise StorageFailed(done.text)
            time.sleep(0.01 if attempt < 20 else 0.05)
        raise StorageFailed(f"still busy: {done.text}")

    def _name(self, name: str) -> str:
        return f"{self.base}/{name}" if name else self.base

    def path(self, name: str) -> Path:
        return self._place.pool / name

    # Reading

    def read(self, names: Sequence[str] | None = None) -> Listing:
        if names is None:
            done = self.zfs("get", "-Hpr", *_COLUMNS, f"{_PROPERTIES},{_NODE}", self.pool, timeout=_READING)
            if done.code != 0:
                raise self._unreadable(done)
            return self._listing(_rows(done.out))
        targets = [self._name(name) for name in names]
        images = [f"{self._name(name)}@{FINAL}" for name in names if name.startswith("images/")]
        rows = self._some([self.pool, *targets, *(image for image in images if image not in self._sizes)])
        images = self._sealed(rows)
        return self._listing(rows | self._some(images) if images else rows)

    def _some(self, targets: Sequence[str]) -> _Rows:
        """Of these, those that are there."""
        done = self.zfs("get", "-Hp", *_COLUMNS, f"{_PROPERTIES},{_NODE}", *targets, timeout=_READING)
        strange = [line for line in done.err.splitlines() if line and "does not exist" not in line]
        if strange or f"'{self.pool}'" in done.err:
            raise self._unreadable(done)
        return _rows(done.out)

    def _sealed(self, rows: _Rows) -> list[str]:
        """The images that these are clones of, and what fills them, unless that is known: who looks at a clone asks for
        both, and one command tells them."""
        snapshots = {row["origin"][0] for row in rows.values()} - self._sizes.keys() - rows.keys()
        sealed = sorted(each for each in snapshots if each.endswith(f"@{FINAL}"))
        return [name for each in sealed for name in (each.removesuffix(f"@{FINAL}"), each)]

    def _unreadable(self, done: Done) -> StorageFailed:
        """A pool that is gone is to be brought up again; anything else is told as it is."""
        gone = f"'{self.pool}'" in done.err and "does not exist" in done.err
        return StorageDead(f"the pool {self.pool} is not there") if gone else StorageFailed(done.text)

    def _listing(self, rows: _Rows) -> Listing:
        prefix, final = f"{self.base}/", f"@{FINAL}"
        for name, row in rows.items():
            if name.endswith(final):
                self._sizes[name] = int(row["referenced"][0])
        volumes: dict[str, Volume] = {}
        others: dict[str, str] = {}
        for name, row in rows.items():
            if "@" in name or name in (self.pool, self.base):
                continue
            relative = name.removeprefix(prefix)
            if not name.startswith(prefix) or relative.partition("/")[0] not in FOLDERS:
                others[name] = row["guid"][0]
            elif "/" in relative:
                volumes[relative] = self._volume(relative, row)
        root = rows[self.pool]
        capacity = int(root["available"][0]) + int(root["used"][0])
        return Listing(root["guid"][0], _local(root, "trueup:node"), capacity, volumes, others)

    def _volume(self, name: str, row: Mapping[str, tuple[str, str]]) -> Volume:
        origin = row["origin"][0]
        quota = int(row["refquota"][0])
        return Volume(
            name,
            row["guid"][0],
            mark=_local(row, "trueup:mark"),
            form=_local(row, "trueup:form"),
            disk=quota - self._size(origin) if quota else None,
            origin=None if origin == "-" else origin.removeprefix(f"{self.base}/").removesuffix(f"@{FINAL}"),
            mounted=row["mounted"][0] == "yes",
        )

    def _size(self, snapshot: str) -> int:
        """What the image of a clone takes: `refquota` counts it, `disk` does not."""
        if snapshot == "-":
            return 0
        if snapshot not in self._sizes:
            done = self.must("get", "-Hp", "-o", "value", "referenced", snapshot)
            self._sizes[snapshot] = int(done.out)
        return self._sizes[snapshot]

    # Writing

    def mark_node(self, text: str | None) -> None:
        if text is None:
            self.must("inherit", "trueup:node", self.pool)
        else:
            self.must("set", f"trueup:node={text}", self.pool)

    def create(self, name: str, *, mark: str, form: str | None = None, disk: int | None = None) -> None:
        options = {"trueup:mark": mark}
        if form is not None:
            options["trueup:form"] = form
        if disk is not None:
            options["refquota"] = str(disk)
        unmounted = name.startswith("networks/")
        if unmounted or self._noauto:
            options["canmount"] = "off" if unmounted else "noauto"
        done = self.zfs("create", *_options(options), self._name(name), mounting=True)
        if done.code != 0 and not self._is_half_made(name):
            raise StorageFailed(done.text)
        if done.code != 0:
            for key, value in reversed(options.items()):  # the mark last
                self.must("set", f"{key}={value}", self._name(name), mounting=True)
        if not unmounted:
            self.mount(name)

    def _is_half_made(self, name: str) -> bool:
        """There, but nothing is said of it: the daemon died in the middle of making it."""
        found = self.read([name]).volumes.get(name)
        return found is not None and found.mark is None and found.form is None

    def clone(self, image: str, name: str, *, mark: str, disk: int | None = None) -> None:
        snapshot = self._name(f"{image}@{FINAL}")
        options = {"trueup:mark": mark}
        if disk is not None:
            options["refquota"] = str(disk + self._size(snapshot))
        if self._noauto:
            options["canmount"] = "noauto"
        self.must("clone", *_options(options), snapshot, self._name(name), mounting=True)
        if self._noauto:
            self.mount(name)

    def set(self, volume: Volume, *, mark: str | None = None, form: str | None = None, disk: int | None = None) -> None:
        """zfs-fuse takes one property a call; the mark comes last, so that it never tells of what was not done."""
        if disk is not None:
            image = f"{self._name(volume.origin)}@{FINAL}" if volume.origin else "-"
            self._limit(volume.name, disk + self._size(image))
        for key, value in (("trueup:form", form), ("trueup:mark", mark)):
            if value is not None:
                self.must("set", f"{key}={value}", self._name(volume.name))

    def _limit(self, name: str, quota: int) -> None:
        done = self.zfs("set", f"refquota={quota}", self._name(name))
        if done.code == 0:
            return
        if "less than current used" not in done.err:
            raise StorageFailed(done.text)
        used = self.must("get", "-Hp", "-o", "value", "referenced", self._name(name)).out.strip()
        raise StorageFailed(f"the disk cannot shrink to {quota} bytes: {used} are in use (image included)")

    def seal(self, name: str, final: str) -> None:
        self.must("snapshot", f"{self._name(name)}@{FINAL}")
        self.rename(name, final)

    def snapshot(self, name: str, label: str) -> None:
        done = self.zfs("snapshot", f"{self._name(name)}@{label}")
        if done.code != 0 and "already exists" not in done.err:
            raise StorageFailed(done.text)

    def drop_snapshot(self, name: str, label: str) -> None:
        self._patient("destroy", f"{self._name(name)}@{label}")

    def unmark(self, volume: Volume) -> None:
        self.must("inherit", "trueup:mark", self._name(volume.name))

    def rename(self, name: str, new: str) -> None:
        self.unmount(name)
        self._patient("rename", self._name(name), self._name(new), mounting=True, gone=())

    def mount(self, name: str) -> Path:
        path = self.path(name)
        if not _mounted(path):
            done = self.zfs("mount", self._name(name), mounting=True)
            if done.code != 0 and "already mounted" not in done.err:
                raise StorageFailed(done.text)
            if not _mounted(path):
                raise StorageFailed(f"{self._name(name)} is not mounted at {path}: nothing is written there")
        return path

    def unmount(self, name: str) -> None:
        if _mounted(self.path(name)):
            self._patient("unmount", self._name(name))

    def destroy(self, name: str) -> None:
        self.unmount(name)
        self._patient("destroy", "-r", self._name(name))

    # Life

    def alive(self) -> bool:
        try:
            return self.zfs("list", "-H", "-o", "name", self.pool, timeout=_READING).code == 0
        except StorageDead:
            return False

    def loosen(self) -> None:
        """A kernel that hangs cannot be helped from here."""

    def bring_up(self) -> None:
        """Import the pool, or make it on a file of ours; then our folders in it."""
        if run(["zpool", "list", "-H", "-o", "name", self.pool]).code != 0 and not self._import():
            self._make()
        if self.zfs("list", "-H", "-o", "name", self.pool).code != 0:
            raise StorageFailed(self._unusable())
        self._point()
        if self._owned:
            self._place.pool_made.touch()
            self._place.pool_making.unlink(missing_ok=True)
        if not self._owned or self._noauto:
            self.mount("")
        for folder in FOLDERS:
            name = self._name(folder)
            if self.zfs("list", "-H", "-o", "name", name).code != 0:
                self.must("create", "-o", "canmount=off", name)

    def _point(self) -> None:
        """What is ours is mounted in our folder: made so, or made so now if we were killed when the pool was half made.
        What is mounted elsewhere is another node's. Raises StorageFailed."""
        mountpoint = f"mountpoint={self._place.pool}"
        done = self.zfs("get", "-H", "-o", "value", "mountpoint", self.base)
        if done.code != 0:
            self.must("create", "-o", mountpoint, "-o", "canmount=noauto", self.base)
        elif done.out.strip() != str(self._place.pool):
            if not self._place.pool_making.exists():
                raise StorageFailed(
                    f"{self.base} belongs to another node: it is mounted at {done.out.strip()}; give each node a pool "
                    f"of its own, or, if that node is gone for good, `zfs set {mountpoint} {self.base}`"
                )
            self.must("set", mountpoint, self.base, mounting=True)

    def _unusable(self) -> str:
        if self._owned and not self._file.exists():
            return f"the pool's file {self._file} is missing; bring it back, or tear the node down"
        return f"the pool {self.pool} is there but not usable: {run(['zpool', 'status', '-x']).text}"

    @property
    def _file(self) -> Path:
        return Path(self._settings.file) if self._settings.file else self._place.pool_file

    def _import(self) -> bool:
        where = ["-d", str(self._file.parent)] if self._owned else []
        if self._owned and (not self._file.exists() or self._file.stat().st_blocks == 0):
            return False
        with self._locks.mounting():
            done = run(["zpool", "import", *where, "-N", self.pool], timeout=60, keep=self._locks.held())
            if "invalid option" in done.err:
                done = run(["zpool", "import", *where, self.pool], timeout=60, keep=self._locks.held())
        half = self._place.pool_making.exists() and not self._place.pool_made.exists()
        if done.code != 0 and self._owned and not half:
            raise StorageFailed(f"the pool in {self._file} cannot be imported: {done.text}")
        return done.code == 0

    def _make(self) -> None:
        if not self._owned:
            raise StorageFailed(f"there is no pool {self.pool} on this host; make it, or leave out storage.pool")
        if self._place.pool_made.exists():
            # an empty pool in its place would look like a node on which nothing was ever made
            raise StorageFailed(
                f"the pool's file {self._file} is missing or empty; bring it back, or tear the node down"
            )
        self._place.pool_making.touch()
        self._file.parent.mkdir(parents=True, exist_ok=True)
        size = self._settings.size or (self._file.exists() and self._file.stat().st_size) or DEFAULT_SIZE
        with self._file.open("wb") as file:  # there is nothing in it, or half a pool
            file.truncate(size)
        options = ["-O", "atime=off", "-m", str(self._place.pool)]
        if self._noauto:
            options += ["-O", "canmount=noauto"]
        with self._locks.mounting():
            done = run(["zpool", "create", *options, self.pool, str(self._file)], timeout=60, keep=self._locks.held())
        if done.code != 0:
            raise StorageFailed(f"pool {self.pool}: {done.text}")

    def facts(self) -> Mapping[str, Any]:
        return {"storage": self.backend, "pool": self.pool, "base": self.base}

    def tear_down(self) -> None:
        if self._owned:
            run(["zpool", "export" if self._settings.file else "destroy", self.pool], timeout=60)
            if not self._settings.file:
                self._place.pool_file.unlink(missing_ok=True)
        elif self.zfs("list", "-H", "-o", "name", self.base).code == 0:
            for folder in FOLDERS:
                self._patient("destroy", "-R", self._name(folder))
            self._patient("destroy", "-r", self.base)


def _rows(out: str) -> _Rows:
    rows: _Rows = {}
    for line in out.splitlines():
        name, key, value, source = line.split("\t")
        rows.setdefault(name, {})[key] = (value, source)
    return rows


def _options(options: Mapping[str, str]) -> list[str]:
    return [part for key, value in options.items() for part in ("-o", f"{key}={value}")]


def _local(row: Mapping[str, tuple[str, str]], key: str) -> str | None:
    """Inherited and received properties are not ours: they travel to children, and with send and copy."""
    value, source = row.get(key, ("-", "-"))
    return value if source == "local" else None


def _mounted(path: Path) -> bool:
    """Whether a live file system is mounted at the path itself; the pool would say `yes` of a dead one too."""
    try:
        return os.stat(path).st_dev != os.stat(path.parent).st_dev
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StorageDead(f"{path} does not answer: {error.strerror}") from None
