"""Seeing the node: datasets, control groups, LXC's configurations and the kernel's links, as they are now.

Owns: from those to Objects and the Report. One reading of the storage and one of the links serve all zones; the rest
are files. Must not go here: repairing, deciding, our own records of what we did.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from drivers.local import cgroups, config, guest, marks
from drivers.local.firewall import Passing
from drivers.local.netlink import Link, Netlink
from drivers.local.node import Node
from drivers.local.shape import HELD, LocalShape
from drivers.local.storage import HALF, Listing, Volume
from reconciler.core.observed import Capacity, Claim, Lifecycle, Marks, Object, Report
from reconciler.core.refs import Target, name_of, tenant_of
from reconciler.core.values import digest

_FILES = ("config", "leaves.json", *(f"guest/{name}" for name in guest.FILES))
LXC_PATH = Path("/var/lib/lxc")
_KINDS = {
    "zones": "Machine", "images": "Image", "networks": "Network", "volumes": "Volume", "quarantine": "Machine",
}  # fmt: skip


class Seen(msgspec.Struct, frozen=True):
    """One object, for a step that is about to act on it, with what is needed beside."""

    volume: Volume | None
    object: Object | None
    claim: Claim | None
    identity: str


class Observer:
    """Reads through a node's parts. Keeps only what cannot change: images' records, and files parsed before."""

    def __init__(self, node: Node, shape: LocalShape) -> None:
        self._node = node
        self._shape = shape
        self._images: dict[str, Mapping[str, Any]] = {}
        """Name of an image's volume to its record: an image with clones is neither changed nor made anew."""
        self._strays: dict[str, str] = {}
        """uid to volume, of adopted things: their names are not made from their uids."""
        self._learned = False
        self._parsed: dict[str, tuple[tuple[int, ...], config.Written, Mapping[str, Any]]] = {}

    # The whole node

    def report(self, target: Target, began: int) -> Report:
        """Raises StorageDead, StorageFailed."""
        listing = self._node.storage.read()
        self._learn(listing)
        with Netlink() as netlink:
            seeing = _Seeing(self._node, listing, netlink)
            found = [self._object(volume, seeing) for volume in listing.volumes.values()]
        objects = [each for each in found if each is not None]
        objects += self._unmanaged(listing)
        objects.sort(key=lambda each: (each.kind, each.native_name))
        claim = marks.claim(listing.node_mark)
        capacity = Capacity(disk=listing.capacity, **cgroups.capacity())
        body = [listing.identity, claim, capacity, True, [each.digest for each in objects]]
        return Report(
            target,
            began,
            complete=True,
            identity=listing.identity,
            claim=claim,
            capacity=capacity,
            objects=tuple(objects),
            digest=digest(msgspec.to_builtins(body)),
            carries=self._node.networks.carries(),
            facts=self._facts(),
        )

    def _facts(self) -> dict[str, Any]:
        return {
            **self._node.storage.facts(),
            "kernel": platform.release(),
            "cgroups": "v1" if self._node.cgroups.legacy else "v2",
            "enforces": ["memory", "cpu", "threads", *(["disk"] if self._node.storage.limits else [])],
            "userNamespaces": self._node.storage.idmap,
        }

    def remember(self, uid: str, name: str) -> None:
        """Something was adopted: its name need not be its uid."""
        self._strays[uid] = name

    def _learn(self, listing: Listing) -> None:
        strays: dict[str, str] = {}
        for name, volume in listing.volumes.items():
            folder, _, own = name.partition("/")
            if name.endswith(HALF):
                continue
            found = self._proved(volume, listing)
            if found is not None and folder != "disks" and own != found.uid:
                strays[found.uid] = name
        self._images, self._strays, self._learned = _images(listing), strays, True

    def _proved(self, volume: Volume, listing: Listing) -> Marks | None:
        return marks.proved(volume.mark, guid=volume.guid, pool=listing.identity, name=volume.name)

    # One object

    def one(self, uid: str, kind: str, disks: Iterable[str] = ()) -> Seen:
        """The object that bears this uid, and its data disks of these names. Raises StorageDead, StorageFailed."""
        names = [f"{folder}/{uid}" for folder, held in _KINDS.items() if held == kind]
        if uid in self._strays:
            names.append(self._strays[uid])
        names += [f"disks/{uid}.{disk}" for disk in disks]
        if kind == "Machine":
            names += self._beside(self._strays.get(uid, uid).rpartition("/")[2])
        listing = self._node.storage.read(names)
        self._images |= _images(listing)
        claim = marks.claim(listing.node_mark)
        for volume in listing.volumes.values():
            folder = volume.name.partition("/")[0]
            found = self._proved(volume, listing) if _KINDS.get(folder) == kind else None
            if found is not None and found.uid == uid:
                with Netlink() as netlink:
                    seeing = _Seeing(self._node, listing, netlink)
                    return Seen(volume, self._object(volume, seeing), claim, listing.identity)
        if not self._learned:
            self._learn(self._node.storage.read())  # it may be a stray: only the whole listing tells
            if uid in self._strays:
                return self.one(uid, kind, disks)
        return Seen(None, None, claim, listing.identity)

    def _beside(self, zone: str) -> list[str]:
        """What is asked for with a zone, so that one reading tells all: by its configuration (one that cannot be read
        is told of later) the Volumes that it mounts, and its image unless that is known."""
        try:
            written, _ = self.written(zone)
        except (ValueError, KeyError, OSError):
            return []
        if written is None:
            return []
        image = [written.image] if written.image.startswith("images/") and written.image not in self._images else []
        return [*self._node.mounted(written, "volumes"), *image]

    def volumes_named(self, tenant: str | None) -> dict[str, str]:
        """The Volumes of a tenant that can be mounted: by what they are called, the names that they are stored by."""
        listing, found = self._node.storage.read(), {}
        for name, volume in listing.volumes.items():
            known = self._proved(volume, listing) if name.startswith("volumes/") else None
            if known is not None and known.quarantined_until is None and tenant_of(known.ref) == tenant:
                found[name_of(known.ref)] = name
        return found

    def image_named(self, image: str) -> str | None:
        """The volume that holds the image of this digest."""
        for again in (False, True):
            for name, record in list(self._images.items()):
                if record.get("digest", "") == image:
                    return name
            if not again:
                self._learn(self._node.storage.read())
        return None

    # Objects

    def _object(self, volume: Volume, seeing: _Seeing) -> Object | None:
        folder = volume.name.partition("/")[0]
        if folder == "disks" or volume.name.endswith(HALF):
            return None if self._is_owned(volume, seeing.listing) else _stray("Volume", volume)
        kind = _KINDS[folder]
        unknown: dict[str, str] = {}
        found = self._proved(volume, seeing.listing)
        if found is None:
            fields = self.machine(volume, None, seeing, unknown) if folder == "zones" else {}
            return _stray(kind, volume, self._shape.normalise(kind, fields))
        resting = folder == "quarantine" or (kind == "Volume" and found.quarantined_until is not None)
        lifecycle: Lifecycle = "quarantined" if resting else "live"
        if kind == "Machine":
            fields = self.machine(volume, found, seeing, unknown)
        elif kind == "Volume":
            fields = {"size": volume.disk}
        else:
            form = volume.record
            form.pop("name", None)
            fields = form if kind == "Image" else seeing.network(form)
        held = self._shape.normalise(kind, fields)
        name = volume.name.partition("/")[2]
        body = [kind, name, volume.guid, held, msgspec.to_builtins(found), lifecycle, unknown]
        return Object(kind, name, volume.guid, held, digest(body), found, lifecycle, unknown)

    def _is_owned(self, volume: Volume, listing: Listing) -> bool:
        return volume.name.endswith(HALF) or self._proved(volume, listing) is not None

    def machine(self, volume: Volume, found: Marks | None, seeing: _Seeing, unknown: dict[str, str]) -> dict[str, Any]:
        """A zone's fields: from its configuration, and while it runs from what is in force. `unknown` is filled."""
        zone = volume.name.partition("/")[2]
        running = volume.name.startswith("zones/") and self._node.zones.running(zone)
        try:
            written, told = self.written(zone)
        except (ValueError, KeyError, OSError) as error:
            written, told = None, {}
            reason = f"{self._node.place.zone(zone)} cannot be read: {error}"
            unknown.update({f"/{key}": reason for key in HELD["Machine"] if key not in ("state", "image", "disk")})
        fields: dict[str, Any] = {**written.fields, **told} if written else {}
        if running and written is not None:
            for cap in cgroups.CAPS:
                fields.pop(cap, None)
            fields.update(self._live_caps(zone, written.fields, unknown))
            fields["nics"] = seeing.nics(written)
        if fields.get("hostname") == zone:
            del fields["hostname"]  # nobody wrote one
        fields["state"] = "running" if running else "stopped"
        image = self.image(volume.origin)
        if image:
            fields["image"] = image
        else:
            unknown["/image"] = "it is no clone of an image of this node"
        if volume.disk is not None:
            fields["disk"] = volume.disk
        if found is not None and (disks := self._disks(found.uid, written, seeing)):
            fields["disks"] = disks
        if found is not None and written is not None and (volumes := self._volumes(written, seeing.listing)):
            fields["volumes"] = volumes
        return fields

    def _volumes(self, written: config.Written, listing: Listing) -> dict[str, Any]:
        """The Volumes that its configuration mounts, by what they are called now; one that is nobody's, or not there,
        by what it is stored as."""
        found: dict[str, Any] = {}
        for name in self._node.mounted(written, "volumes"):
            volume = listing.volumes.get(name)
            known = self._proved(volume, listing) if volume is not None else None
            path = str(self._node.storage.path(name))
            mount = {"path": written.mounts[path], "readOnly": path in written.read_only}
            found[name_of(known.ref) if known is not None else name] = mount
        return found

    def _disks(self, uid: str, written: config.Written | None, seeing: _Seeing) -> dict[str, Any]:
        """Data disks of a machine; once it has a configuration, where that mounts them."""
        found: dict[str, Any] = {}
        for name, disk in seeing.disks.get(uid, {}).items():
            found[name] = dict(disk)
            if written is not None:
                path = written.mounts.get(str(self._node.storage.path(f"disks/{uid}.{name}")))
                if path != disk.get("path", f"/data/{name}"):
                    found[name]["path"] = path or ""
        return found

    def _live_caps(self, zone: str, written: Mapping[str, Any], unknown: dict[str, str]) -> dict[str, int]:
        caps, unread = self._node.cgroups.caps(self._node.zones.group(zone))
        unknown.update({f"/{cap}": why for cap, why in unread.items()})
        shares = written.get("cpuShares")
        if not self._node.cgroups.legacy and shares is not None and "cpuShares" in caps:
            weight = cgroups.shares_to_weight(caps["cpuShares"])
            if weight == cgroups.shares_to_weight(shares):
                caps["cpuShares"] = shares  # several shares make one weight
        if not self._node.cgroups.counts_swap and "swap" in written:
            caps["swap"] = written["swap"]
        return caps

    def image(self, origin: str | None) -> str:
        """Digest of the image it is a clone of; empty where it is none of ours, or was promoted."""
        return str(self.image_record(origin).get("digest", ""))

    def image_record(self, origin: str | None) -> Mapping[str, Any]:
        """What was written of that image when it was made. Read once: a loop of 50 zones asks for it 50 times."""
        if origin is None:
            return {}
        if origin not in self._images:
            found = self._node.storage.read([origin]).volumes.get(origin) if "@" not in origin else None
            self._images[origin] = found.record if found else {}
        return self._images[origin]

    def written(self, zone: str) -> tuple[config.Written | None, Mapping[str, Any]]:
        """Configuration and what the guest is told; read again only if one of the files changed."""
        folder = f"{self._node.place.zones}/{zone}/"
        stamps: list[int] = []
        for name in _FILES:
            try:
                stat = os.stat(folder + name)
            except FileNotFoundError:
                if name == "config":
                    return None, {}
                continue
            stamps += [stat.st_ino, stat.st_mtime_ns, stat.st_size]
        key = tuple(stamps)
        kept = self._parsed.get(zone)
        if kept is None or kept[0] != key:
            path = Path(folder)
            kept = (key, config.parse((path / "config").read_text()), guest.read(path))
            self._parsed[zone] = kept
        return kept[1], kept[2]

    def _unmanaged(self, listing: Listing) -> list[Object]:
        """Other datasets of the pool, and containers that LXC has elsewhere, or here without a dataset."""
        found = [_stray("Volume", Volume(name, guid)) for name, guid in listing.others.items()]
        if LXC_PATH.is_dir():
            found += [_container(folder) for folder in LXC_PATH.iterdir() if (folder / "config").exists()]
        for entry in os.scandir(self._node.place.zones):
            if not {f"zones/{entry.name}", f"quarantine/{entry.name}"} & listing.volumes.keys():
                found.append(_container(Path(entry.path)))
        return found


def _images(listing: Listing) -> dict[str, Mapping[str, Any]]:
    """What is said of the images that are whole."""
    return {
        name: volume.record
        for name, volume in listing.volumes.items()
        if name.startswith("images/") and volume.form and not name.endswith(HALF)
    }


def _stray(kind: str, volume: Volume, fields: Mapping[str, Any] = MappingProxyType({})) -> Object:
    """Bears no mark of ours that counts: listed, never touched."""
    name = volume.name.partition("/")[2] if kind != "Volume" else volume.name
    return Object(kind, name, volume.guid, dict(fields), digest([kind, volume.name, volume.guid, dict(fields)]))


def _container(folder: Path) -> Object:
    return Object("Machine", folder.name, str(folder), {}, digest(["container", str(folder)]))


class _Seeing:
    """One look: a listing, the links, and what is asked of them once and used for many."""

    def __init__(self, node: Node, listing: Listing, netlink: Netlink) -> None:
        self._node = node
        self.listing = listing
        self._netlink = netlink
        self._links: dict[str, Link | None] = {}
        self._passing: list[Passing | None] = []
        self.disks = _disks(listing)

    def link(self, name: str) -> Link | None:
        if name not in self._links:
            self._links[name] = self._netlink.named(name)
        return self._links[name]

    def addresses(self, link: Link) -> list[str]:
        return self._netlink.addresses(link.index)

    def passing(self) -> Passing | None:
        if not self._passing:
            self._passing.append(self._node.firewall.seen())
        return self._passing[0]

    def network(self, form: Mapping[str, Any]) -> dict[str, Any]:
        if not {"tag", "subnet"} <= form.keys():
            return {}
        return self._node.networks.observed(form, self)

    def nics(self, written: config.Written) -> dict[str, Any]:
        """Interfaces in force: one that is not plugged in where it should be is not there."""
        found: dict[str, Any] = {}
        for name, nic in written.fields["nics"].items():
            outer, bridge = self.link(written.veths[name]), self.link(written.links[name])
            if outer is None or bridge is None or not outer.up:
                continue
            if outer.master != bridge.index or outer.namespace is None:
                continue
            try:
                inner = self._netlink.inside(outer.namespace, outer.peer)
                addresses = self._netlink.addresses(outer.peer, outer.namespace)
            except OSError:
                continue  # it ended while we looked
            if inner is not None and inner.up:
                found[name] = _in_force(nic, inner, addresses)
        return found


def _in_force(nic: Mapping[str, Any], inner: Link, addresses: list[str]) -> dict[str, Any]:
    seen = {**nic, "mac": inner.mac, "ip": ", ".join(sorted(addresses))}
    if "mtu" in nic or inner.mtu != 1500:
        seen["mtu"] = inner.mtu
    return seen


def _disks(listing: Listing) -> dict[str, dict[str, Any]]:
    """Data disks by their machine's uid."""
    found: dict[str, dict[str, Any]] = {}
    for volume in listing.volumes.values():
        if not volume.name.startswith("disks/") or not volume.form:
            continue
        owner = marks.proved(volume.mark, guid=volume.guid, pool=listing.identity, name=volume.name)
        if owner is None:
            continue
        disk = volume.record
        name = disk.pop("name", volume.name.rpartition(".")[2])
        if volume.disk is not None:
            disk["size"] = volume.disk
        found.setdefault(owner.uid, {})[name] = disk
    return found
