"""Which storage a node gets: asked for, kept from before, or found by probing.

Owns: the probe and its order. Must not go here: how each storage works.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec

from drivers.local import files
from drivers.local.chamber import run
from drivers.local.locks import Locks
from drivers.local.place import Place
from drivers.local.storage import Settings, Storage, StorageFailed
from drivers.local.storage.fuse import FuseZfs
from drivers.local.storage.zfs import Zfs


def choose(place: Place, locks: Locks, settings: Settings) -> Storage:
    """The storage of this node. Once chosen it is kept, so that a module loaded later does not hide what is there.
    Raises StorageFailed where a host cannot hold what is asked for."""
    kept = place.folder / "storage"
    backend = settings.backend or (kept.read_text().strip() if kept.exists() else None) or probe()
    reason = unusable(backend)
    if reason:
        raise StorageFailed(f"storage {backend}: {reason}")
    if not kept.exists():
        files.put(kept, backend + "\n")
    settings = msgspec.structs.replace(settings, backend=backend)
    if backend == "zfs":
        return Zfs(place, locks, settings)
    if backend == "zfs-fuse":
        return FuseZfs(place, locks, settings)
    if backend == "btrfs":
        from drivers.local.storage.btrfs import Btrfs

        return Btrfs(place, settings)
    from drivers.local.storage.copies import Copies

    return Copies(place, settings)


def probe() -> str:
    """The best that this host has."""
    return next(backend for backend in ("zfs", "zfs-fuse", "btrfs", "copy") if unusable(backend) is None)


def unusable(backend: str) -> str | None:
    """Why this host cannot hold zones that way; None if it can."""
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
    return None if backend == "copy" else "there is no such storage: zfs, zfs-fuse, btrfs or copy"
