"""The node's private mount namespace, where its pool is mounted and its zones are born.

Owns: making it, telling whether it is there, taking it away. Must not go here: what is mounted in it.

Why private: any process that copies the host's mounts while a dataset is mounted keeps it busy for as long as that
process lives, after a clean unmount too. In a namespace of our own nobody can copy them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from drivers.local import files
from drivers.local.chamber import run
from drivers.local.place import Place
from drivers.local.storage import StorageFailed

_SETUP = """
mkdir -p /run/zfs /run/lock/zfs /var/lib/zfs /etc/zfs
mount -t tmpfs -o mode=700 trueup /run/zfs
mount -t tmpfs -o mode=700 trueup /run/lock/zfs
mount --bind "$1/etc" /etc/zfs
mount --bind "$1/var" /var/lib/zfs
mount --bind "$1" "$2"
"""
"""A second zfs-fuse needs all four of its own: sharing zpool.cache alone makes it import the first one's pool."""


def present(place: Place) -> bool:
    """Whether the namespace is there: it is gone after a boot of the host."""
    try:
        return os.stat(place.pin).st_dev != os.stat(place.mounts).st_dev
    except (FileNotFoundError, PermissionError):
        return False


def ensure(place: Place, keep: Sequence[int]) -> bool:
    """Make the namespace unless it is there; True if it was made. It is made aside and moved to its pin when complete:
    half of one is never entered. `keep`: descriptors of the caller's lock, which the commands inherit, so that
    nobody begins anew while those of a killed process go on. Raises StorageFailed."""
    if present(place):
        return False
    var = place.folder / "var"
    for folder in (place.mounts / "pool", place.folder / "etc", var / place.seen.name):
        folder.mkdir(parents=True, exist_ok=True)
    _configuration(place)
    mounts, aside = str(place.mounts), _aside(place)
    if not _mounted(place.mounts):
        _must("mount", "--bind", mounts, mounts, keep=keep)
    _must("mount", "--make-private", mounts, keep=keep)
    if _mounted(aside):
        _must("umount", "-l", str(aside), keep=keep)
    for file in (aside, place.pin):
        file.touch()
    setup = ["sh", "-ec", _SETUP, "sh", str(place.folder), str(place.seen)]
    _must("unshare", f"--mount={aside}", "--propagation", "private", *setup, keep=keep)
    _must("mount", "--move", str(aside), str(place.pin), keep=keep)
    return True


def _aside(place: Place) -> Path:
    return place.pin.with_name("ns.new")


def remove(place: Place) -> None:
    """What is mounted only in there goes with it, once no process is left inside."""
    for mount in (_aside(place), place.pin, place.mounts):
        if _mounted(mount):
            run(["umount", "-l", str(mount)])


def _mounted(path: Path) -> bool:
    """By the kernel's table: a bind mount within one file system does not show in device numbers."""
    escaped = str(path).replace(" ", "\\040")
    return any(line.split()[4] == escaped for line in Path("/proc/thread-self/mountinfo").read_text().splitlines())


def _configuration(place: Place) -> None:
    """zfs-fuse reads its settings from /etc/zfs/zfsrc; the cache of 100 MB is Debian's own choice."""
    target = place.folder / "etc" / "zfsrc"
    if not target.exists():
        source = Path("/etc/zfs/zfsrc")
        files.put(target, source.read_text() if source.exists() else "max-arc-size = 100\n")


def _must(*argv: str, keep: Sequence[int]) -> None:
    done = run(argv, keep=keep)
    if done.code != 0:
        raise StorageFailed(f"a private mount namespace could not be made: {done.text}")
