"""From normalised fields to configuration and devices of an instance or a network. Pure.

Owns: writing. Each field owns its keys: what a field does not say is unset, and keys of fields not touched stay.
Must not go here: reading (reading), sending (machines, networks).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping, Set
from typing import Any

import msgspec

from drivers.incus import marks as marking
from drivers.incus import paces, schedules, units
from drivers.incus.keys import PRIORITY, is_extra
from drivers.incus.reading import NO_ROUTER, SSH_HEAD, is_nic, is_root, is_volume
from drivers.incus.records import Config, Devices, Instance
from reconciler.core.values import Fields, digest

NAME_LIMIT = 15
"""Of a network: it becomes an interface of the kernel's."""


class Unwritable(Exception):
    """A field that cannot be written, or names what is not there. One sentence for people."""


class Wanted(msgspec.Struct, frozen=True):
    """What an instance is written from. `networks`: form name to native name; `volumes`: disk name to (pool, volume);
    `mounts`: the same for the Volumes of its tenant; `ours`: all Volumes; `secrets`: values by name."""

    fields: Fields
    metadata: Mapping[str, Any] = {}
    user_data: Any = None
    networks: Mapping[str, str] = {}
    volumes: Mapping[str, tuple[str, str]] = {}
    mounts: Mapping[str, tuple[str, str]] = {}
    ours: Collection[tuple[str, str]] = ()
    pool: str = ""
    secrets: Mapping[str, str] = {}


ALL = frozenset({
    "memory", "swap", "cpu", "cpuShares", "vcpus", "threads", "ioPriority", "ioRead", "ioWrite", "disk", "nics",
    "disks", "volumes", "snapshots", "sshKeys", "userData", "metadata", "extra",
})  # fmt: skip
"""Fields that configuration and devices stand for; state, image, brand and hostname are made by verbs."""
_OF_ROOT = frozenset({"disk", *paces.KEYS})
"""Those that the root's device stands for."""


def changed(instance: Instance, wanted: Wanted, touched: Set[str]) -> tuple[Config, Devices]:
    """All of the local configuration and devices as they should be, the fields touched written anew."""
    config, devices = dict(instance.config), {name: dict(device) for name, device in instance.devices.items()}
    for key, value in _config(wanted, touched, config).items():
        config.pop(key, None)
        if value is not None:
            config[key] = value
    _write_devices(instance, devices, wanted, touched)
    return config, devices


def _config(wanted: Wanted, touched: Collection[str], old: Config) -> dict[str, str | None]:
    """Keys to set, or to unset with None."""
    fields = wanted.fields
    keys: dict[str, str | None] = {}
    if "memory" in touched:
        keys["limits.memory"] = _some(fields.get("memory"), units.write_size)
    if "swap" in touched and "project" not in fields:
        keys["limits.memory.swap"] = "false" if fields.get("swap") == 0 else None
    if "threads" in touched:
        keys["limits.processes"] = _some(fields.get("threads"), str)
    if "vcpus" in touched:
        keys["limits.cpu"] = _some(fields.get("vcpus"), str)
    if "cpu" in touched or "cpuShares" in touched:
        keys["limits.cpu.allowance"], keys[marking.SHARES] = _allowance(fields)
    if "snapshots" in touched:
        keys.update(_snapshots(fields.get("snapshots"), old))
    if "sshKeys" in touched:
        lines = "".join(f"  - {key}\n" for key in fields.get("sshKeys", ()))
        keys["cloud-init.vendor-data"] = SSH_HEAD + lines if lines else None
    if "userData" in touched or "metadata" in touched:
        _texts(keys, wanted, old)
    if "extra" in touched:
        extra = fields.get("extra", {})
        keys.update({key: extra.get(key) for key in {*old, *extra} if is_extra(key, fields) and not _of_devices(key)})
    if "ioPriority" in touched:
        weight = fields.get("ioPriority")
        keys[PRIORITY] = str(units.priority(weight)) if isinstance(weight, int) else weight
        keys[marking.PRIORITY] = str(weight) if isinstance(weight, int) else None
    return keys


def _of_devices(key: str) -> bool:
    """Whether a key among `extra` stands for a device, or a part of one."""
    return key.startswith("device.") or paces.is_strange(key)


def _some(value: Any, spell: Any) -> str | None:
    return None if value is None else str(spell(value))


def _allowance(fields: Fields) -> tuple[str | None, str | None]:
    """One key holds either a cap or a weight; the form says only one of them."""
    if fields.get("cpu") is not None:
        cpu = fields["cpu"]
        return (units.write_quota(cpu) if isinstance(cpu, int) else str(cpu)), None
    if fields.get("cpuShares") is not None:
        return f"{units.share_percent(fields['cpuShares'])}%", str(fields["cpuShares"])
    return None, None


def _snapshots(wanted: Mapping[str, Any] | None, old: Config) -> dict[str, str | None]:
    """The server takes them. It counts none: as many are kept as are taken until they expire."""
    if wanted is None:
        ours = marking.KEEP in old
        return dict.fromkeys(("snapshots.schedule", "snapshots.expiry", marking.KEEP)) if ours else {}
    try:
        minutes = int(wanted["keep"]) * schedules.every(wanted["schedule"])
    except ValueError as error:
        raise Unwritable(f"snapshots.schedule: {error}") from error
    expiry = schedules.write_minutes(minutes)
    return {"snapshots.schedule": wanted["schedule"], "snapshots.expiry": expiry, marking.KEEP: str(wanted["keep"])}


def _texts(keys: dict[str, str | None], wanted: Wanted, old: Config) -> None:
    """User data and metadata, and the note of which of them came from a secret."""
    for key in old:
        if key.startswith("user.") and not key.startswith(marking.PREFIX):
            keys[key] = None
    keys["cloud-init.user-data"] = None
    notes: dict[str, list[str]] = {}
    for name, leaf in sorted(wanted.fields.get("metadata", {}).items()):
        keys[f"user.{name}"] = _text(f"user.{name}", leaf, wanted.metadata.get(name), wanted, notes)
    if wanted.fields.get("userData"):
        leaf = wanted.fields["userData"]
        keys["cloud-init.user-data"] = _text("userData", leaf, wanted.user_data, wanted, notes)
    keys[marking.SECRETS] = msgspec.json.encode(notes, order="sorted").decode() if notes else None


def _text(key: str, leaf: str, source: Any, wanted: Wanted, notes: dict[str, list[str]]) -> str:
    if isinstance(source, Mapping) and isinstance(source.get("secret"), str):
        if source["secret"] not in wanted.secrets:
            raise Unwritable(f"no value was handed over for the secret {source['secret']}")
        value = wanted.secrets[source["secret"]]
        notes[key] = [leaf, digest(value)]
        return value
    if source is None and leaf.startswith(("text:", "secret:")):
        raise Unwritable(f"the step does not bring the text of {key}")
    return str(leaf if source is None else source)


def _write_devices(instance: Instance, devices: Devices, wanted: Wanted, touched: Set[str]) -> None:
    if touched & _OF_ROOT:
        _root(instance, devices, wanted, touched)
    if "nics" in touched:
        _nics(instance, devices, wanted)
    if "disks" in touched:
        _disks(devices, wanted)
    if "volumes" in touched:
        _mounts(devices, wanted)
    if "extra" in touched:
        keep = wanted.fields.get("extra", {})
        for name, device in list(devices.items()):
            strange = not (is_root(device) or is_volume(device) or (is_nic(device) and "network" in device))
            if strange and device.get("type") != "none" and f"device.{name}" not in keep:
                del devices[name]
            elif is_volume(device):
                paces.clear(name, device, keep)


def _root(instance: Instance, devices: Devices, wanted: Wanted, touched: Set[str]) -> None:
    name = next((name for name, device in devices.items() if is_root(device)), None)
    if name is None:
        inherited = next(((key, each) for key, each in instance.expanded_devices.items() if is_root(each)), None)
        name, device = inherited or ("root", {"type": "disk", "path": "/", "pool": wanted.pool})
        devices[name] = dict(device)
    if "disk" in touched:
        devices[name].pop("size", None)
        if wanted.fields.get("disk") is not None:
            devices[name]["size"] = units.write_size(wanted.fields["disk"])
    paces.write(devices[name], wanted.fields, touched)


def _nics(instance: Instance, devices: Devices, wanted: Wanted) -> None:
    """One device a network. Names of devices that are there already are kept, for the server remembers by them."""
    there = {
        device["network"]: name
        for name, device in {**instance.expanded_devices, **devices}.items()
        if is_nic(device) and "network" in device
    }
    want = {wanted.networks.get(name): nic for name, nic in wanted.fields.get("nics", {}).items()}
    for native, name in there.items():
        if native not in want:
            devices.pop(name, None)
            if name in instance.expanded_devices and name not in instance.devices:
                devices[name] = {"type": "none"}
    for name, nic in sorted(wanted.fields.get("nics", {}).items()):
        native = wanted.networks.get(name, "")
        if not native:
            raise Unwritable(f"there is no network {name} to attach to")
        key = there.get(native) or _free(name, devices)
        devices[key] = _nic({**instance.expanded_devices, **devices}.get(key, {}), native, nic)


def _free(name: str, devices: Devices) -> str:
    return name if name not in devices else f"nic-{name}"


def _nic(old: Mapping[str, str], native: str, nic: Mapping[str, Any]) -> dict[str, str]:
    ours = ("ipv4.address", "ipv6.address", "hwaddr", "name")
    device = {key: value for key, value in old.items() if key not in ours}
    device.update({"type": "nic", "network": native})
    if nic.get("ip"):
        address = str(nic["ip"]).partition("/")[0]
        device["ipv6.address" if ":" in address else "ipv4.address"] = address
    if nic.get("mac"):
        device["hwaddr"] = nic["mac"]
    if nic.get("primary"):
        device["name"] = "eth0"
    elif old.get("name") and old["name"] != "eth0":
        device["name"] = old["name"]
    return device


def _disks(devices: Devices, wanted: Wanted) -> None:
    """Attach what is wanted at its path. Making and destroying volumes are verbs of their own."""
    by_volume = {(device["pool"], device["source"]): name for name, device in devices.items() if is_volume(device)}
    for name, disk in wanted.fields.get("disks", {}).items():
        volume = wanted.volumes.get(name)
        if volume is None:
            raise Unwritable(f"the disk {name} has no volume")
        device = by_volume.get(volume) or (name if name not in devices else f"disk-{name}")
        devices[device] = {"type": "disk", "pool": volume[0], "source": volume[1], "path": str(disk.get("path"))}


def _mounts(devices: Devices, wanted: Wanted) -> None:
    """Mount the Volumes that are wanted, and let go of the others of `ours`."""
    there = {key: name for name, device in devices.items() if (key := _source(device)) in wanted.ours}
    want = wanted.fields.get("volumes", {})
    for name in want:
        if name not in wanted.mounts:
            raise Unwritable(f"there is no volume {name} to mount")
    kept = {wanted.mounts[name] for name in want}
    for volume, device in there.items():
        if volume not in kept:
            del devices[device]
    for name, mount in sorted(want.items()):
        pool, native = wanted.mounts[name]
        device = there.get((pool, native)) or (name if name not in devices else f"volume-{name}")
        devices[device] = {"type": "disk", "pool": pool, "source": native, "path": str(mount["path"])}
        if mount.get("readOnly"):
            devices[device]["readonly"] = "true"


def _source(device: Mapping[str, str]) -> tuple[str, str]:
    """(pool, volume) of a device that is one."""
    return device.get("pool", ""), device.get("source", "")


def network_name(name: str, ref: str) -> str:
    """A native name for a network: its own where it can be an interface's, else one made of its ref."""
    fits = 1 < len(name) <= NAME_LIMIT and name[0].isalpha() and all(each.isalnum() or each == "-" for each in name)
    return name if fits else f"tu{digest(ref)[:12]}"


NETWORK_KEYS = (
    "ipv4.address", "ipv4.nat", "ipv6.address", "ipv6.nat", "raw.dnsmasq", "bridge.mtu", "bridge.external_interfaces",
    marking.TAG, marking.VLAN,
)  # fmt: skip
"""What the form of a network stands for."""


def network_config(fields: Fields) -> Config:
    """Of a managed bridge. Raises Unwritable."""
    subnet = ipaddress.ip_network(fields["subnet"])
    version, other = ("ipv6", "ipv4") if subnet.version == 6 else ("ipv4", "ipv6")
    gateway = fields.get("gateway")
    own = ipaddress.ip_address(gateway) if gateway else subnet[-2]
    config = {
        f"{version}.address": f"{own}/{subnet.prefixlen}",
        f"{version}.nat": "true" if fields.get("nat") else "false",
        f"{other}.address": "none",
    }
    if not gateway:
        config["raw.dnsmasq"] = NO_ROUTER
    if fields.get("mtu") is not None:
        config["bridge.mtu"] = str(fields["mtu"])
    if fields.get("interface"):
        config["bridge.external_interfaces"] = str(fields["interface"])
    if fields.get("tag"):
        config[marking.TAG] = str(fields["tag"])
    if fields.get("vlan") is not None:
        config[marking.VLAN] = str(fields["vlan"])
    return config
