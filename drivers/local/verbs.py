"""What each step of a machine does on the node. Each is idempotent and leaves the marks as the step brings them.

Owns: the verbs of machines. Must not go here: precondition, effect, fence and locks (driver.py), networks, images and
the claim (plain.py), how any part does its work.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from drivers.local import config, files, guest, marks
from drivers.local.cgroups import CAPS
from drivers.local.network import subnet_of
from drivers.local.node import Node, ports
from drivers.local.observe import Observer, Seen
from drivers.local.place import short
from drivers.local.storage import StorageFailed, Volume
from drivers.local.zones import ZoneFailed
from reconciler.core.observed import Marks
from reconciler.core.plan import Step
from reconciler.core.refs import tenant_of
from reconciler.core.values import canonical, segments
from reconciler.driver import StepContext

_SHIFT_FIRST, _SHIFT_RANGES = 1 << 20, 16_000
_PATIENCE = 20
_INFANCY = 0.06
"""Seconds in which an image that cannot boot is caught in the act; other zones are made meanwhile."""


class Deed(msgspec.Struct, frozen=True):
    """A step whose precondition was just found to hold, with what was found."""

    step: Step
    context: StepContext
    seen: Seen

    @property
    def args(self) -> Mapping[str, Any]:
        return self.step.args

    @property
    def marks(self) -> Marks:
        """As the step brings them; fence and generation are the executor's."""
        return msgspec.structs.replace(
            marks.from_args(self.args), fence=self.context.fence, generation=self.context.generation
        )

    @property
    def volume(self) -> Volume:
        if self.seen.volume is None:
            raise StorageFailed("it is not there")
        return self.seen.volume

    @property
    def zone(self) -> str:
        return self.volume.name.partition("/")[2]


class Refused(Exception):
    """The step may not be done now; the text is one sentence."""


class MachineVerbs:
    def __init__(self, node: Node, observer: Observer) -> None:
        self._node = node
        self._observer = observer
        self.table: dict[str, Callable[[Deed], None]] = {
            "create": self.create,
            "disk": self.disk,
            "destroy-disk": self.destroy_disk,
            "configure": self.configure,
            "start": self.start,
            "stop": self.stop,
            "update": self.update,
            "snapshot": self.snapshot,
            "quarantine": self.quarantine,
            "restore": self.restore,
            "purge": self.purge,
            "mark": self.mark,
            "ready": self.mark,
            "forget": self.forget,
            "adopt": self.adopt,
        }

    def check(self, deed: Deed) -> None:
        """What else has to hold, before anything at all is written. Raises Refused."""
        if deed.step.verb == "create" and self._observer.image_named(deed.args["fields"]["image"]) is None:
            raise Refused(f"the image {deed.args.get('image', {}).get('name', '')} is not on this node")
        if deed.step.verb == "purge":
            found = deed.seen.object.marks if deed.seen.object else None
            until = found.quarantined_until if found else None
            if until is None or deed.context.now < until:
                raise Refused("its time in quarantine is not over")

    # Marks

    def mark(self, deed: Deed, volume: Volume | None = None) -> None:
        """Only if they are not there already: writing costs a transaction."""
        volume = volume or deed.volume
        text = marks.bound(deed.marks, volume.guid)
        found = marks.proved(volume.mark, guid=volume.guid, pool=deed.seen.identity, name=volume.name)
        if found == deed.marks and (not deed.marks.applied or marks.is_bound(volume.mark)):
            return
        self._node.storage.set(volume, mark=text)

    # Coming into being

    def create(self, deed: Deed) -> None:
        image = self._observer.image_named(deed.args["fields"]["image"])
        assert image is not None, "checked"
        name = f"zones/{deed.step.uid}"
        mark, disk = marks.born(deed.marks, deed.seen.identity, name), deed.args["fields"].get("disk")
        try:
            self._node.storage.clone(image, name, mark=mark, disk=disk)
        except StorageFailed:
            half = self._half_made(deed.step.uid, image)
            if half is None:
                raise
            self._node.storage.set(half, mark=mark, disk=disk)
        self._node.zones.forget(deed.step.uid)  # what a purged namesake may have left

    def _half_made(self, uid: str, image: str) -> Volume | None:
        """A clone that bears no mark yet, since its storage died in the middle. One that has a configuration is no such
        thing but somebody's: we let go of it once."""
        found = self._node.storage.read([f"zones/{uid}"]).volumes.get(f"zones/{uid}")
        if found is None or found.mark is not None or found.origin != image or self._node.place.zone(uid).exists():
            return None
        return found

    def disk(self, deed: Deed) -> None:
        """A data disk of its own; `from` names the machine that had it before (a replace)."""
        name, disk = deed.args["name"], deed.args["disk"]
        storage, volume = self._node.storage, f"disks/{deed.step.uid}.{deed.args['name']}"
        form = _disk_form(name, disk)
        if (
            deed.args.get("from")
            and f"disks/{deed.args['from']}.{name}" in storage.read([f"disks/{deed.args['from']}.{name}"]).volumes
        ):
            storage.rename(f"disks/{deed.args['from']}.{name}", volume)
        listing = storage.read([volume])
        if volume not in listing.volumes:
            born = marks.born(deed.marks, deed.seen.identity, volume)
            storage.create(volume, mark=born, form=form, disk=disk.get("size"))
            self._own(storage.mount(volume), deed.zone)
        else:
            found = listing.volumes[volume]
            storage.set(found, form=form, mark=marks.bound(deed.marks, found.guid), disk=disk.get("size"))
        path = disk.get("path") or f"/data/{name}"
        self._rewrite(deed.zone, lambda text: config.with_mount(text, storage.path(volume), path))
        self.mark(deed)

    def _rewrite(self, zone: str, change: Callable[[str], str]) -> None:
        """Change a configuration that is there, whole or not at all."""
        file = self._node.place.zone(zone) / "config"
        if file.exists():
            files.put(file, change(file.read_text()))

    def destroy_disk(self, deed: Deed) -> None:
        """For good, and only while nothing of the machine can use it."""
        if self._node.zones.running(deed.zone):
            raise Refused("the machine runs, and has the disk mounted")
        storage, volume = self._node.storage, f"disks/{deed.step.uid}.{deed.args['name']}"
        self._rewrite(deed.zone, lambda text: config.without_mount(text, storage.path(volume)))
        storage.destroy(volume)
        self.mark(deed)

    def _own(self, path: Path, zone: str) -> None:
        """The top of a new disk belongs to the zone's root."""
        if self._node.storage.idmap:
            os.chown(path, _shift(zone), _shift(zone))

    def configure(self, deed: Deed) -> None:
        """Everything for the next boot; the zone is stopped."""
        fields = deed.args["fields"]
        self._disks(deed, fields.get("disks", {}))
        self._write(deed, fields, _told(deed.args, fields))
        self._limit(deed.volume, fields)
        self.mark(deed)

    def _limit(self, volume: Volume, fields: Mapping[str, Any]) -> None:
        if "disk" in fields and fields["disk"] != volume.disk:
            self._node.storage.set(volume, disk=fields["disk"])

    def _disks(self, deed: Deed, want: Mapping[str, Any]) -> None:
        """What is said of data disks beside their size: where they are mounted at the next boot."""
        storage, have = self._node.storage, _held(deed, "disks")
        for name in sorted(have.keys() & want.keys()):
            if have[name] != want[name]:
                volume = f"disks/{deed.step.uid}.{name}"
                found = storage.read([volume]).volumes[volume]
                storage.set(found, form=_disk_form(name, want[name]), disk=want[name].get("size"))

    def _write(self, deed: Deed, fields: Mapping[str, Any], told: guest.Told | None) -> None:
        """The configuration, what the guest is told, and what it may send."""
        node, zone = self._node, deed.zone
        folder = node.place.zone(zone)
        folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        before, _ = self._observer.written(zone)
        shift = _shift(zone) if node.storage.idmap else None
        if told is not None:
            guest.write(folder, told, deed.context.secrets, owner=shift or 0)
        attachments = {name: self._attachment(nic) for name, nic in fields.get("nics", {}).items()}
        boot = config.Boot(
            root=node.storage.path(deed.volume.name),
            image=deed.volume.origin or "",
            systemd=self._systemd(deed.volume),
            binds=[
                *guest.binds(folder, node.place.inside(folder)),
                *self._disk_binds(deed.step.uid, fields),
                *self._volume_binds(tenant_of(deed.step.ref), fields),
            ],
            attachments=attachments,
            shift=shift,
            swap=node.cgroups.counts_swap,
        )
        text = config.render(node.place, zone, fields, boot)
        allowed = ports(config.parse(text))
        with node.locks.network():
            if before is not None and ports(before) != allowed:
                node.firewall.remove_ports(ports(before))
            files.put(folder / "config", text)
            node.firewall.add_ports(allowed)  # always: we may have been killed right here the last time
        node.zones.on_boot(zone, starts=fields.get("state", "stopped") == "running")

    def _attachment(self, nic: Mapping[str, Any]) -> config.Attachment:
        return self._node.networks.segment(nic["tag"], nic.get("vlan"), subnet_of(nic["ip"])).attachment

    def _systemd(self, volume: Volume) -> bool:
        """Whether its image boots systemd."""
        return bool(self._observer.image_record(volume.origin).get("systemd"))

    def _disk_binds(self, uid: str, fields: Mapping[str, Any]) -> list[tuple[Path, str, str]]:
        found = []
        for name, disk in sorted(fields.get("disks", {}).items()):
            path = disk.get("path") or f"/data/{name}"
            found.append((self._node.storage.path(f"disks/{uid}.{name}"), path, "bind,create=dir"))
        return found

    def _volume_binds(self, tenant: str | None, fields: Mapping[str, Any]) -> list[tuple[Path, str, str]]:
        """Where zones have ids of their own, each sees the owners in a volume as they are in it."""
        wanted, found = fields.get("volumes", {}), []
        there = self._observer.volumes_named(tenant) if wanted else {}
        for name, mount in sorted(wanted.items()):
            if name not in there:
                raise Refused(f"there is no volume {name} to mount")
            how = ["bind", "create=dir", *(["ro"] if mount.get("readOnly") else [])]
            how += ["idmap=container"] if self._node.storage.idmap else []
            found.append((self._node.storage.path(there[name]), mount["path"], ",".join(how)))
        return found

    def _mounted(self, zone: str, *folders: str) -> list[str]:
        """What its configuration mounts of these."""
        written, _ = self._observer.written(zone)
        return self._node.mounted(written, *folders) if written else []

    # Running

    def start(self, deed: Deed) -> None:
        """Never from a root that is not mounted: it would write into the folder above."""
        zone, storage = deed.zone, self._node.storage
        storage.mount(deed.volume.name)
        for each in self._mounted(zone, "disks", "volumes"):
            storage.mount(each)
        self._node.zones.start(zone)
        self._node.zones.on_boot(zone, starts=True)
        if (words := self._node.zones.died(zone, within=_INFANCY)) is not None:
            raise ZoneFailed(words)  # unmarked: what is tried again is no drift
        self.mark(deed)

    def stop(self, deed: Deed) -> None:
        self._node.zones.on_boot(deed.zone, starts=False)
        self._node.zones.stop(deed.zone, patience=min(_PATIENCE, int(deed.context.deadline)))
        self.mark(deed)

    def update(self, deed: Deed) -> None:
        """For the next boot first, then live: cut short in between, the live values still tell that it is to do."""
        changes: Mapping[str, Any] = deed.args["set"]
        written, told = self._observer.written(deed.zone)
        if written is not None:
            base = {**written.fields, **told, "state": deed.args["fields"].get("state")}
            base["disks"] = _held(deed, "disks")
            base["volumes"] = _held(deed, "volumes")
            fields = merged(base, changes)
            tells = any(segments(path)[0] in guest.FIELDS for path in changes)
            self._write(deed, fields, _told(deed.args, fields) if tells else None)
        elif any(path != "/disk" for path in changes):
            raise Refused("it has no configuration yet")
        self._live(deed, changes)
        self.mark(deed)

    def _live(self, deed: Deed, changes: Mapping[str, Any]) -> None:
        storage = self._node.storage
        caps = {path[1:]: value for path, value in changes.items() if path[1:] in CAPS}
        if caps and self._node.zones.running(deed.zone):
            self._node.cgroups.set_caps(self._node.zones.group(deed.zone), caps)
        if changes.get("/disk") is not None:
            storage.set(deed.volume, disk=changes["/disk"])
        for path, value in changes.items():
            parts = segments(path)
            if parts[0] == "disks" and parts[-1] == "size" and value is not None:
                name = f"disks/{deed.step.uid}.{parts[1]}"
                storage.set(storage.read([name]).volumes[name], disk=value)

    # Going, and coming back

    def snapshot(self, deed: Deed) -> None:
        self._node.storage.snapshot(deed.volume.name, str(deed.args.get("label", f"step-{deed.context.generation}")))
        self.mark(deed)

    def quarantine(self, deed: Deed) -> None:
        """Stopped, snapshotted, set aside with the time until which it is kept. Data disks stay where they are: their
        names are the machine's."""
        seconds = deed.args.get("quarantine")
        if seconds is None:
            raise Refused("the step does not say how long it is kept")
        storage, zone, volume = self._node.storage, deed.zone, deed.volume
        self._node.zones.stop(zone)
        written, _ = self._observer.written(zone)
        if written is not None:
            with self._node.locks.network():
                self._node.firewall.remove_ports(ports(written))
        kept = msgspec.structs.replace(deed.marks, quarantined_until=deed.context.now + seconds)
        storage.set(volume, mark=marks.bound(kept, volume.guid))
        label = _label(kept.generation)
        storage.snapshot(volume.name, label)
        if not deed.args.get("keepDisks"):
            for disk in self._mounted(zone, "disks"):
                storage.snapshot(disk, label)
        storage.rename(volume.name, f"quarantine/{zone}")
        self._node.zones.on_boot(zone, starts=False)

    def restore(self, deed: Deed) -> None:
        storage, zone = self._node.storage, deed.zone
        found = deed.seen.object.marks if deed.seen.object else None
        written, _ = self._observer.written(zone)
        if written is not None:
            with self._node.locks.network():
                self._node.firewall.add_ports(ports(written))
        if found is not None:
            for name in (deed.volume.name, *self._mounted(zone, "disks")):
                storage.drop_snapshot(name, _label(found.generation))
        storage.rename(deed.volume.name, f"zones/{zone}")
        volume = storage.read([f"zones/{zone}"]).volumes[f"zones/{zone}"]
        storage.mount(volume.name)
        self._node.storage.set(volume, mark=marks.bound(_live_marks(deed.marks), volume.guid))

    def purge(self, deed: Deed) -> None:
        """For good; that its time is over was checked."""
        for name in list(self._node.storage.read().volumes):
            if name.startswith(f"disks/{deed.step.uid}."):
                self._node.storage.destroy(name)
        self._node.storage.destroy(deed.volume.name)
        self._node.zones.forget(deed.zone)

    def forget(self, deed: Deed) -> None:
        self._node.storage.unmark(deed.volume)

    def adopt(self, deed: Deed) -> None:
        """Take over a zone of this node that bears no marks; it is named by what it is, not by what it is called."""
        listing = self._node.storage.read()
        for folder in ("zones", "images"):
            volume = listing.volumes.get(f"{folder}/{deed.args['native']}")
            if volume is not None and volume.guid == deed.args["nativeId"]:
                self._node.storage.set(volume, mark=marks.bound(deed.marks, volume.guid))
                self._observer.remember(deed.step.uid, volume.name)
                return
        raise Refused(f"{deed.args['native']} is not a zone of this node's pool, or another one by now")


def merged(fields: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The fields with the changed paths put in; None takes one out."""
    copy: dict[str, Any] = {key: dict(value) if isinstance(value, Mapping) else value for key, value in fields.items()}
    for path, value in changes.items():
        *way, last = segments(path)
        inner = copy
        for part in way:
            inner[part] = dict(inner.get(part) or {})
            inner = inner[part]
        if value is None:
            inner.pop(last, None)
        else:
            inner[last] = value
    return copy


def _held(deed: Deed, field: str) -> Mapping[str, Any]:
    held: Mapping[str, Any] = (deed.seen.object.fields if deed.seen.object else {}).get(field, {})
    return held


def _told(args: Mapping[str, Any], fields: Mapping[str, Any]) -> guest.Told:
    return guest.Told(
        resolvers=fields.get("resolvers", ()),
        search=fields.get("search", ()),
        keys=fields.get("sshKeys", ()),
        metadata=args.get("metadata") or {},
        user_data=args.get("userData"),
    )


def _disk_form(name: str, disk: Mapping[str, Any]) -> str:
    return canonical({**{key: value for key, value in disk.items() if key != "size"}, "name": name}).decode()


def _live_marks(found: Marks) -> Marks:
    return msgspec.structs.replace(found, quarantined_until=None)


def _label(generation: int) -> str:
    return f"quarantine-{generation}"


def _shift(zone: str) -> int:
    """First of the 65536 host ids that a zone's ids are shifted to: its own, but for rare chance."""
    return _SHIFT_FIRST + int(short(zone, 8), 16) % _SHIFT_RANGES * 65536
