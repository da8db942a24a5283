"""Which storage a node gets: asked for, kept from before, or found by probing.

Owns: the probe and its order. Must not go here: how each storage works.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from drivers.local import files
from drivers.local.chamber import run
from drivers.local.locks import Locks
from drivers.local.place import Place
from drivers.local.storage import Settings, Storage, StorageFailed

PLAIN = "copy"
"""The storage that is read without commands."""


def choose(place: Place, locks: Locks, settings: Settings) -> Storage:
    """The storage of this node. Once chosen it is kept, so that a module loaded later does not hide what is there.
    Raises StorageFailed where a host cannot hold what is asked for."""
    before = kept(place)
    backend = settings.backend or before or probe()
    reason = unusable(backend)
    if reason:
        raise StorageFailed(f"storage {backend}: {reason}")
    if before is None:
        files.put(_kept(place), backend + "\n")
    settings = msgspec.structs.replace(settings, backend=backend)
    if backend == "zfs":
        from drivers.local.storage.zfs import Zfs

        return Zfs(place, locks, settings)
    if backend == "zfs-fuse":
        from drivers.local.storage.fuse import FuseZfs

        return FuseZfs(place, locks, settings)
    if backend == "btrfs":
        from drivers.local.storage.btrfs import Btrfs

        return Btrfs(place, settings)
    from drivers.local.storage.copies import Copies

    return Copies(place, settings)


def _kept(place: Place) -> Path:
    return place.folder / "storage"


def kept(place: Place) -> str | None:
    """What was chosen before; None: nothing yet."""
    try:
        return _kept(place).read_text().strip() or None
    except FileNotFoundError:
        return None


def probe() -> str:
    """The best that this host has."""
    return next(backend for backend in ("zfs", "zfs-fuse", "btrfs", PLAIN) if unusable(backend) is None)


def unusable(backend: str) -> str | None:
    """Why this host cannot hold zones that way; None if it can."""
    if backend == PLAIN:
        return None
    import shutil

    if backend == "zfs":
        # zfs-fuse has no `zfs version`; OpenZFS answers it with its kernel module
        usable = os.path.exists("/dev/zfs") and shutil.which("zfs") and run(["zfs", "version"]).code == 0
        return None if usable else "OpenZFS is not loaded"
    if backend == "zfs-fuse":
        if shutil.which("zfs-fuse") is None:
            return "zfs-fuse is not installed (apt-get install zfs-fuse)"
        return None if os.path.exists("/dev/fuse") else "there is no /dev/fuse"
    if backend == "btrfs":
        if shutil.which("mkfs.btrfs") is None:
            return "btrfs-progs is not installed"
        known = "btrfs" in Path("/proc/filesystems").read_text().split()
        return None if known else "this kernel has no btrfs"
    return "there is no such storage: zfs, zfs-fuse, btrfs or copy"
