"""What zones are stored in: one small interface over OpenZFS, zfs-fuse, btrfs and plain copies.

Owns: the interface, and what a stored thing looks like. Must not go here: what is stored and why, marks' meaning.

Names are relative to the node's own part of the pool: `zones/<uid>`, `images/<uid>`, `networks/<uid>`,
`disks/<uid>.<name>`, `volumes/<uid>`, `quarantine/<uid>`. All calls block; they run in the chamber's threads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

FOLDERS = ("zones", "images", "networks", "disks", "volumes", "quarantine")
FINAL = "final"
HALF = ".new"
"""What the name of an image ends with while it is being filled."""


class StorageFailed(Exception):
    """The storage refused; the text is one sentence."""


class StorageDead(StorageFailed):
    """The storage does not answer at all: it has to be recovered before anything else is said of it."""


class Volume(msgspec.Struct, frozen=True):
    """One stored thing: a dataset, a subvolume, a folder."""

    name: str
    guid: str
    """The storage's own identity of it."""
    mark: str | None = None
    """As set on this very thing; never inherited or received."""
    form: str | None = None
    """What has no native place: an image's digest, a network's settings. Set like the mark."""
    disk: int | None = None
    """Bytes that may be written to it beyond its image; None: no limit."""
    origin: str | None = None
    """Name of the image that it is a clone of."""
    mounted: bool = True

    @property
    def record(self) -> dict[str, Any]:
        """What the form says; nothing, if it was made unreadable by hand."""
        try:
            found = msgspec.json.decode(self.form or "{}")
        except msgspec.DecodeError:
            return {}
        return found if isinstance(found, dict) else {}


class Listing(msgspec.Struct, frozen=True):
    """What a reading found. `others` are things of the same pool that lie outside our part: name to identity."""

    identity: str
    """Of the pool itself."""
    node_mark: str | None
    capacity: int | None
    volumes: Mapping[str, Volume]
    others: Mapping[str, str] = {}


class Storage(Protocol):
    backend: str
    """`zfs`, `zfs-fuse`, `btrfs` or `copy`."""
    idmap: bool
    """Whether a zone's root can be mounted with shifted ids, so that its root is nobody on the host."""
    limits: bool
    """Whether `disk` is enforced."""

    def bring_up(self) -> None:
        """Make it usable, from whatever state a kill or a crash has left. Raises StorageFailed."""
        ...

    def alive(self) -> bool: ...

    def loosen(self) -> None:
        """If it hangs, end what hangs, so that commands that wait for it end too."""
        ...

    def read(self, names: Sequence[str] | None = None) -> Listing:
        """The things named (those missing are left out; an image may stand beside its clone), or everything. Raises
        StorageDead."""
        ...

    def mark_node(self, text: str | None) -> None: ...

    def create(self, name: str, *, mark: str, form: str | None = None, disk: int | None = None) -> None: ...

    def clone(self, image: str, name: str, *, mark: str, disk: int | None = None) -> None: ...

    def set(
        self, volume: Volume, *, mark: str | None = None, form: str | None = None, disk: int | None = None
    ) -> None: ...

    def seal(self, name: str, final: str) -> None:
        """Make a filled volume an image under the name `final`: from now on it can be cloned."""
        ...

    def unmark(self, volume: Volume) -> None:
        """From now on nobody's; what is said of it stays."""
        ...

    def snapshot(self, name: str, label: str) -> None:
        """Nothing happens if there is one of that label."""
        ...

    def drop_snapshot(self, name: str, label: str) -> None:
        """Nothing happens if there is none."""
        ...

    def rename(self, name: str, new: str) -> None:
        """Afterwards it is not mounted."""
        ...

    def mount(self, name: str) -> Path:
        """Where it is mounted, after proving that it is."""
        ...

    def unmount(self, name: str) -> None: ...

    def destroy(self, name: str) -> None:
        """With its snapshots. Nothing happens if it is not there."""
        ...

    def path(self, name: str) -> Path: ...

    def facts(self) -> Mapping[str, Any]: ...

    def tear_down(self) -> None:
        """Let go of everything; a pool that we made on a file of ours goes with its file."""
        ...


class Settings(msgspec.Struct, frozen=True):
    """`spec.storage` of the node. Without `pool`, one of our own on a file."""

    pool: str | None = None
    file: str | None = None
    size: int | None = None
    """Bytes of that file; it is sparse."""
    backend: str | None = None


DEFAULT_SIZE = 32 * 2**30
