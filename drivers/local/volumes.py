"""What each step of a Volume does here: a dataset (subvolume, folder) of its own, `volumes/UID`, that zones mount.

Owns: its verbs. Must not go here: mounting it into a zone (verbs.py writes that down), data disks (of one machine).

One in quarantine keeps its name and contents, and bears until when it is kept: whatever mounts it has let go of it, so
nothing writes to it any more.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from drivers.local import config, marks
from drivers.local.node import Node
from drivers.local.verbs import Deed, Refused


class VolumeVerbs:
    def __init__(self, node: Node) -> None:
        self._node = node
        self.table: dict[str, Callable[[Deed], None]] = {
            "create": self.create,
            "update": self.update,
            "quarantine": self.quarantine,
            "restore": self.restore,
            "purge": self.purge,
            "mark": self._mark,
            "forget": self.forget,
        }

    def create(self, deed: Deed) -> None:
        name = f"volumes/{deed.step.uid}"
        mark = marks.born(deed.marks, deed.seen.identity, name)
        self._node.storage.create(name, mark=mark, form="{}", disk=deed.args["fields"]["size"])

    def update(self, deed: Deed) -> None:
        size, held = deed.args["set"]["/size"], deed.volume.disk
        if size is None or (held is not None and size < held):
            raise Refused(f"it holds {held} bytes and cannot shrink to {size}")
        self._mark(deed, disk=size)

    def _mark(self, deed: Deed, *, disk: int | None = None, until: float | None = None) -> None:
        kept = msgspec.structs.replace(deed.marks, quarantined_until=until)
        self._node.storage.set(deed.volume, mark=marks.bound(kept, deed.volume.guid), disk=disk)

    def quarantine(self, deed: Deed) -> None:
        user = self._mounted_in(deed.volume.name)
        if user is not None:
            raise Refused(f"it is mounted in {user}")
        self._mark(deed, until=deed.context.now + float(deed.args["quarantine"]))

    def _mounted_in(self, volume: str) -> str | None:
        """A zone, running or not, whose configuration mounts it; what rests in quarantine is configured anew first.
        Raises Refused where one cannot be read: it may."""
        path, place = str(self._node.storage.path(volume)), self._node.place
        for name in sorted(self._node.storage.read().volumes):
            folder, _, zone = name.partition("/")
            if folder != "zones":
                continue
            try:
                written = config.parse((place.zone(zone) / "config").read_text())
            except FileNotFoundError:
                continue  # not configured yet, or it goes at this moment
            except (OSError, ValueError) as error:
                raise Refused(f"zone {zone} may mount it, and its configuration cannot be read: {error}") from error
            if path in written.mounts:
                return str(written.fields.get("hostname", zone))
        return None

    def restore(self, deed: Deed) -> None:
        self._mark(deed)

    def purge(self, deed: Deed) -> None:
        found = deed.seen.object.marks if deed.seen.object else None
        until = found.quarantined_until if found else None
        if until is None or deed.context.now < until:
            raise Refused("its time in quarantine is not over")
        self._node.storage.destroy(deed.volume.name)

    def forget(self, deed: Deed) -> None:
        self._node.storage.unmark(deed.volume)
