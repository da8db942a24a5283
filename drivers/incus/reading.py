"""From what a server says of an object to normalised fields. Pure.

Owns: reading, for every kind. What people did not write and the server added is left out; what they wrote and no field
stands for is `extra`, so that it is seen.
Must not go here: writing (writing), asking the server (listing).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from drivers.incus import acl, forwards, paces, schedules, units
from drivers.incus import marks as marking
from drivers.incus.keys import PRIORITY, is_extra
from drivers.incus.records import Image, Instance, Network, View, Volume
from reconciler.core.observed import Marks
from reconciler.core.refs import kind_of, name_of, tenant_of
from reconciler.core.values import digest

RUNNING = frozenset({"Running", "Ready"})
STOPPED = frozenset({"Stopped"})
PAGE = 4096
COPIES = "copies"
"""Of a data disk or a Volume: the members on which a move that was cut short left it too. Nobody wants any."""
OS = "trueup.os"
"""The property of an image that keeps what its document says it is."""
NO_ROUTER = "dhcp-option=option:router"
"""In a bridge's raw.dnsmasq: guests are told of no gateway."""


class Read(msgspec.Struct):
    """`unknown`: field to the reason it could not be read."""

    fields: dict[str, Any]
    unknown: dict[str, str] = {}


def instance_marks(instance: Instance, seal: str, base: str) -> Marks | None:
    """The marks of an instance, if they count: in a tenant's project only those of what is the tenant's."""
    marks = marking.bound(instance.config, instance.native_id, seal)
    return marks if marks is None or _may_live(marks, instance.project, base) else None


def unborn_marks(instance: Instance, seal: str, base: str) -> Marks | None:
    """Those of an instance that was never made whole, and never ran."""
    if "volatile.last_state.power" in instance.config:
        return None
    marks = marking.bound(instance.config, marking.unborn(instance.project, instance.name), seal)
    return marks if marks is None or _may_live(marks, instance.project, base) else None


def _may_live(marks: Marks, project: str, base: str) -> bool:
    return project in (base, tenant_of(marks.ref))


def native_name(instance: Instance, base: str) -> str:
    return instance.name if instance.project == base else f"{instance.project}/{instance.name}"


def machine(instance: Instance, view: View) -> Read:
    stash = stashed(instance)
    config = instance.expanded_config or instance.config
    devices = dict(instance.expanded_devices or instance.devices)
    if instance.status not in RUNNING:  # what runs has no interface but those that it was started with
        devices.update(stash.get("devices", {}))
    fields: dict[str, Any] = {
        "brand": "vm" if instance.type == "virtual-machine" else "zone",
        "hostname": stash.get("name", instance.name),
    }
    if instance.project != view.base:
        fields["project"] = instance.project
    unknown: dict[str, str] = {}
    if instance.status in RUNNING or instance.status in STOPPED:
        fields["state"] = "running" if instance.status in RUNNING else "stopped"
    else:
        unknown["/state"] = f"it is {instance.status or 'of no known status'}"
    image = config.get(f"image.{marking.DIGEST}") or config.get("volatile.base_image")
    if image:
        fields["image"] = image if ":" in image else f"sha256:{image}"
    fields.update(_limits(config))
    if fields["brand"] == "zone" and (priority := config.get(PRIORITY)):
        fields["ioPriority"] = _weight(priority, config.get(marking.PRIORITY))
    if "project" in fields and instance.type == "container":
        fields["swap"] = 0
    if marking.KEEP in instance.config:
        fields["snapshots"] = _snapshots(instance.config)
    _devices(fields, devices, instance, view)
    _enforced(fields, view.kernel.get(instance.unit, {}))
    fields = {key: value for key, value in fields.items() if key not in view.cannot}
    _content(fields, config)
    extra = {key: value for key, value in instance.config.items() if is_extra(key, fields)}
    extra.update(_strange(instance.devices))
    if extra:
        fields["extra"] = extra
    return Read(fields, unknown)


def _enforced(fields: dict[str, Any], kernel: Mapping[str, Any]) -> None:
    """What the kernel enforces is what is, whatever is written. It keeps memory in whole pages."""
    for key, found in kernel.items():
        written = fields.get(key)
        if key == "memory" and isinstance(written, int) and isinstance(found, int):
            if written // PAGE == found // PAGE:
                continue
        elif written == found or isinstance(written, str):
            continue
        fields.pop(key, None)
        if found is not None:
            fields[key] = found


def half_made(instance: Instance) -> bool:
    """A server that dies while it creates leaves a record of an instance that has no disk, and says nothing of it. One
    that was made whole waits for its templates, until it has run."""
    return "volatile.apply_template" not in instance.config and "volatile.last_state.power" not in instance.config


def stashed(instance: Instance) -> dict[str, Any]:
    """What quarantine put aside: {name, devices, autostart}."""
    text = instance.config.get(marking.STASH)
    try:
        stash: dict[str, Any] = msgspec.json.decode(text) if text else {}
    except msgspec.DecodeError:
        return {}
    if not isinstance(stash, dict):
        return {}
    # Whoever may edit the instance may have written this: interfaces on networks come back, and nothing else.
    devices = stash.get("devices")
    nics = devices if isinstance(devices, dict) else {}
    told = {name: each for name, each in nics.items() if isinstance(each, dict) and is_nic(each) and "network" in each}
    return {**stash, "devices": told}


def _limits(config: Mapping[str, str]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if memory := config.get("limits.memory"):
        fields["memory"] = units.size(memory)
    if config.get("limits.memory.swap") in ("false", "0"):
        fields["swap"] = 0
    if processes := config.get("limits.processes"):
        fields["threads"] = units.count(processes)
    if processors := config.get("limits.cpu"):
        fields["vcpus"] = units.count(processors)
    allowance = config.get("limits.cpu.allowance")
    if allowance:
        quota, percent = units.quota(allowance), units.percent(allowance)
        if percent is not None:
            fields["cpuShares"] = _shares(percent, config.get(marking.SHARES))
        else:
            fields["cpu"] = quota if quota is not None else allowance
    return fields


def _snapshots(config: Mapping[str, str]) -> dict[str, Any]:
    """As they were asked for, if the server is still told so; a schedule that people wrote themselves is theirs."""
    schedule, expiry, keep = (config.get(key, "") for key in ("snapshots.schedule", "snapshots.expiry", marking.KEEP))
    try:
        right = schedules.write_minutes(int(keep) * schedules.every(schedule)) == expiry
    except ValueError:
        right = False
    return {"schedule": schedule, "keep": int(keep) if right else f"for {expiry or 'ever'}"}


def _shares(percent: int, written: str | None) -> int:
    """Several shares make one percentage: the one that we wrote, if it still stands for it."""
    if written and written.isdigit() and units.share_percent(int(written)) == percent:
        return int(written)
    return units.percent_shares(percent)


def _weight(priority: str, written: str | None) -> int | str:
    """As with shares."""
    if not priority.isdigit():
        return priority
    if written and written.isdigit() and units.priority(int(written)) == int(priority):
        return int(written)
    return units.priority_weight(int(priority))


def is_nic(device: Mapping[str, str]) -> bool:
    return device.get("type") == "nic"


def is_root(device: Mapping[str, str]) -> bool:
    return device.get("type") == "disk" and device.get("path") == "/" and not device.get("source")


def is_volume(device: Mapping[str, str]) -> bool:
    return device.get("type") == "disk" and bool(device.get("pool")) and bool(device.get("source"))


def _strange(devices: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Devices that no field stands for, as text: a path of the host, a unix device, a NIC on no managed network. Of the
    disks beside the root, how fast they may be used."""
    strange = {}
    for name, device in sorted(devices.items()):
        if is_volume(device):
            strange.update(paces.strange(name, device))
        if (
            device.get("type") == "none"
            or is_root(device)
            or is_volume(device)
            or (is_nic(device) and "network" in device)
        ):
            continue
        strange[f"device.{name}"] = msgspec.json.encode(device, order="sorted").decode()
    return strange


def _devices(fields: dict[str, Any], devices: Mapping[str, dict[str, str]], instance: Instance, view: View) -> None:
    nics: dict[str, Any] = {}
    disks: dict[str, Any] = {}
    mounts: dict[str, Any] = {}
    count = sum(is_nic(device) for device in devices.values())
    for name, device in sorted(devices.items()):
        if is_root(device):
            if device.get("size"):
                fields["disk"] = units.size(device["size"])
            if fields["brand"] == "zone":
                fields.update(paces.read(device))
        elif is_volume(device):
            volume = view.volumes.get((device["pool"], device["source"]))
            ours = volume_ref(volume, view) if volume is not None else None
            if ours is not None:
                mounts[name_of(ours)] = _mount(device)
            else:
                disks[disk_name(name, volume)] = _disk(device, volume, view)
        elif is_nic(device) and "network" in device and not lost(name, device, instance, view):
            nics[network_name(device["network"], view)] = _nic(name, device, instance, view, alone=count == 1)
    if nics:
        fields["nics"] = nics
    if disks:
        fields["disks"] = disks
    if mounts:
        fields["volumes"] = mounts


def disk_name(device: str, volume: Volume | None) -> str:
    return (volume.config.get(marking.DISK) if volume else None) or device


def _disk(device: Mapping[str, str], volume: Volume | None, view: View) -> dict[str, Any]:
    disk: dict[str, Any] = {}
    if elsewhere := view.copies.get((device["pool"], device["source"])):
        disk[COPIES] = list(elsewhere)
    if volume is not None and volume.config.get("size"):
        disk["size"] = units.size(volume.config["size"])
    if device.get("path"):
        disk["path"] = device["path"]
    return disk


def _mount(device: Mapping[str, str]) -> dict[str, Any]:
    return {"path": device.get("path", ""), "readOnly": device.get("readonly") in ("true", "1")}


def volume(found: Volume, base: str = "default", elsewhere: Sequence[str] = ()) -> dict[str, Any]:
    """`elsewhere`: members on which a move that was cut short has left it too."""
    fields: dict[str, Any] = {} if found.project == base else {"project": found.project}
    if elsewhere:
        fields[COPIES] = list(elsewhere)
    if found.config.get("size"):
        fields["size"] = units.size(found.config["size"])
    return fields


def volume_identity(found: Volume) -> str:
    """Volumes have no identity but their place and name, which a copy does not have."""
    place = found.pool if found.project == "default" else f"{found.pool}/{found.project}"
    return f"volume:{place}/{found.name}"


def volume_marks(found: Volume, seal: str, base: str) -> Marks | None:
    """As of an instance."""
    marks = marking.bound(found.config, volume_identity(found), seal)
    return marks if marks is None or _may_live(marks, found.project, base) else None


def volumes_at(volumes: Iterable[Volume], member: str | None) -> list[Volume]:
    return [volume for volume in volumes if member is None or volume.location in (member, "none", "")]


def copies(volumes: Iterable[Volume], here: Iterable[Volume], seal: str, base: str) -> dict[tuple[str, str], list[str]]:
    """For each of `here` the other members on which a volume of its name is the same thing: the same Volume, or a data
    disk of the same machine."""
    by_name: dict[tuple[str, str, str], list[Volume]] = {}
    for each in volumes:
        by_name.setdefault((each.project, each.pool, each.name), []).append(each)
    found = {}
    for own in here:
        same_name = by_name.get((own.project, own.pool, own.name), ())
        others = [each for each in same_name if each.location != own.location]
        marks = volume_marks(own, seal, base) if others else None
        same = [each.location for each in others if marks is not None and _is_same(each, own, marks.uid, seal, base)]
        if same:
            found[own.pool, own.name] = sorted(same)
    return found


def _is_same(found: Volume, own: Volume, uid: str, seal: str, base: str) -> bool:
    marks = volume_marks(found, seal, base)
    alike = (marking.DISK in found.config) == (marking.DISK in own.config)
    return alike and marks is not None and marks.uid == uid


def mounted_at(found: Volume, instances: Iterable[Instance]) -> set[str]:
    """The members on which a machine has a device of its name."""
    return {
        instance.location
        for instance in instances
        for device in instance.expanded_devices.values()
        if instance.project == found.project
        and is_volume(device)
        and (device["pool"], device["source"]) == (found.pool, found.name)
    }


def volume_ref(found: Volume, view: View) -> str | None:
    """The Ref of a Volume of ours; None for a data disk, and for what is not ours."""
    marks = volume_marks(found, view.seal, view.base)
    return marks.ref if marks is not None and kind_of(marks.ref) == "Volume" else None


def is_disk(found: Volume, view: View) -> bool:
    """Whether it belongs to one machine: made as its data disk, or attached to one by people."""
    return marking.DISK in found.config or (volume_ref(found, view) is None and bool(users(found.used_by)))


def is_mount(device: Mapping[str, str], view: View) -> bool:
    """Whether the device mounts a Volume of ours."""
    found = view.volumes.get((device.get("pool", ""), device.get("source", "")))
    return is_volume(device) and found is not None and volume_ref(found, view) is not None


def users(used_by: list[str] | None) -> list[str]:
    """Names of the instances that a thing is used by, as the server tells."""
    return [path.rpartition("/")[2].partition("?")[0] for path in used_by or () if "/instances/" in path]


def network_name(native: str, view: View) -> str:
    """What a form calls a network: the name in its ref if it is ours, else its own."""
    network = view.networks.get(native)
    ours = network_ref(network, view) if network else None
    return name_of(ours) if ours else native


def network_ref(network: Network, view: View) -> str | None:
    """The Ref that our marks on a network bear, whichever member's they are."""
    for key, text in sorted(network.config.items()):
        if key == marking.MARKS or key.startswith(marking.MARKS + "."):
            marks = marking.read(text, network_identity(network), view.seal)
            if marks is not None:
                return marks.ref
    return None


def network_identity(network: Network) -> str:
    """Networks have no identity but their name, which cannot be copied within a server."""
    return f"network:{network.project}/{network.name}"


def lost(name: str, device: Mapping[str, str], instance: Instance, view: View) -> bool:
    """A half-failed change can take an interface away from a running machine, and no answer of the API says so."""
    if view.attached is None or instance.status not in RUNNING or instance.type != "container":
        return False
    there = view.attached.get(device["network"])
    host = instance.config.get(f"volatile.{name}.host_name")
    return there is not None and (host is None or host not in there)


def _nic(name: str, device: Mapping[str, str], instance: Instance, view: View, *, alone: bool) -> dict[str, Any]:
    nic: dict[str, Any] = {}
    address = device.get("ipv4.address") or device.get("ipv6.address")
    if address and address != "none":
        network = view.networks.get(device["network"])
        prefix = _prefix(network, address)
        nic["ip"] = f"{address}/{prefix}" if prefix else address
    mac = device.get("hwaddr") or instance.config.get(f"volatile.{name}.hwaddr")
    if mac:
        nic["mac"] = mac.lower()
    called = device.get("name") or instance.config.get(f"volatile.{name}.name")  # the server gives one to what has none
    nic["primary"] = called == "eth0" or (alone and not called)
    return nic


def _prefix(network: Network | None, address: str) -> int | None:
    key = "ipv6.address" if ":" in address else "ipv4.address"
    own = network.config.get(key, "") if network else ""
    return ipaddress.ip_interface(own).network.prefixlen if "/" in own else None


SSH_HEAD = "#cloud-config\nssh_authorized_keys:\n"


def _content(fields: dict[str, Any], config: Mapping[str, str]) -> None:
    written = _secrets(config)
    user = config.get("cloud-init.user-data")
    if user:
        fields["userData"] = _opaque("userData", user, written) or f"text:{digest(user)}"
    vendor = config.get("cloud-init.vendor-data", "")
    if vendor.startswith(SSH_HEAD):
        fields["sshKeys"] = [line.removeprefix("  - ") for line in vendor[len(SSH_HEAD) :].splitlines() if line]
    elif vendor:
        fields["sshKeys"] = [f"text:{digest(vendor)}"]
    metadata = {
        key.removeprefix("user."): _opaque(key, value, written) or value
        for key, value in sorted(config.items())
        if key.startswith("user.") and not key.startswith(marking.PREFIX)
    }
    if metadata:
        fields["metadata"] = metadata


def _secrets(config: Mapping[str, str]) -> dict[str, list[str]]:
    """For each text that came from a secret: the leaf that stands for it, and a digest of what was written."""
    text = config.get(marking.SECRETS)
    try:
        return msgspec.json.decode(text, type=dict[str, list[str]]) if text else {}
    except msgspec.DecodeError:
        return {}


def _opaque(key: str, value: str, written: Mapping[str, list[str]]) -> str | None:
    """The leaf of a secret; one that was changed by hand is never shown, only that it was."""
    if key not in written:
        return None
    leaf, was = written[key]
    return leaf if digest(value) == was else f"{leaf.rpartition(':')[0]}:changed by hand"


def network(found: Network, view: View) -> dict[str, Any]:
    config = found.config
    fields: dict[str, Any] = {}
    own = next((config[key] for key in ("ipv4.address", "ipv6.address") if "/" in config.get(key, "")), None)
    if own:
        interface = ipaddress.ip_interface(own)
        fields["subnet"] = str(interface.network)
        if NO_ROUTER not in config.get("raw.dnsmasq", ""):
            fields["gateway"] = str(interface.ip)
    version = "ipv6" if own and ":" in own else "ipv4"
    fields["nat"] = config.get(f"{version}.nat") in ("true", "1")
    if config.get("bridge.mtu"):
        fields["mtu"] = units.count(config["bridge.mtu"])
    if config.get("bridge.external_interfaces"):
        fields["interface"] = config["bridge.external_interfaces"]
    if acl.name_of_acl(found.name) in config.get(acl.ATTACHED, "").split(","):
        there = view.acls.get(acl.name_of_acl(found.name), {})
        fields["firewall"] = acl.read(there, config, fields.get("subnet", ""))
    if f"{forwards.LISTED}{view.suffix}" in config and (there := forwards.read(view.forwards.get(found.name, ()))):
        fields["forwards"] = there
    if config.get(marking.TAG):
        fields["tag"] = config[marking.TAG]
    if config.get(marking.VLAN):
        fields["vlan"] = units.count(config[marking.VLAN])
    return fields


def image(found: Image) -> dict[str, Any]:
    said = found.properties or {}
    return {
        "digest": said.get(marking.DIGEST) or f"sha256:{found.fingerprint}",
        "type": said.get(marking.IMAGE_TYPE) or ("disk" if found.type == "virtual-machine" else "rootfs"),
        "os": said.get(OS) or said.get("os", "linux").lower(),
    }
