"""What each verb does to a machine: an instance of the server.

Owns: one function a verb. Each finds its precondition proved a moment ago, and writes only if the instance is still
as it was read (ETag). Must not go here: proofs (driver), data disks (volumes), readiness (ready).
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from contextlib import suppress
from typing import Any

import msgspec

from drivers.incus import carry, interfaces, leftovers, paces, units, volumes
from drivers.incus import marks as marking
from drivers.incus.act import Act, Denied, keep, write
from drivers.incus.api import ApiError, NotFound, Stale
from drivers.incus.node import Found
from drivers.incus.reading import (
    disk_name,
    instance_marks,
    is_mount,
    is_nic,
    is_root,
    is_volume,
    network_ref,
    stashed,
    volume_ref,
)
from drivers.incus.records import Devices, Instance
from drivers.incus.writing import ALL, Unwritable, Wanted, changed
from reconciler.core.refs import name_of, tenant_of
from reconciler.core.values import find, replaced, segments

ENFORCED = {"memory": "limits.memory", "cpu": "limits.cpu.allowance", "threads": "limits.processes"}
SNAPSHOT = "trueup-quarantine"
STOP_SECONDS = 30
"""For the guest to shut down by itself; then it is stopped by force."""
SLACK = 4 * 2**20
"""A quota is never set closer than this to what is used."""


def wanted(act: Act, fields: Mapping[str, Any], attached: Mapping[str, tuple[str, str]] | None = None) -> Wanted:
    args = act.step.args
    ours = {key: ref for key, volume in act.view.volumes.items() if (ref := volume_ref(volume, act.view))}
    return Wanted(
        fields,
        metadata=args.get("metadata") or {},
        user_data=args.get("userData"),
        networks=_networks(act, fields),
        volumes=attached or {},
        mounts={name_of(ref): key for key, ref in ours.items() if tenant_of(ref) == tenant_of(act.step.ref)},
        ours=ours,
        secrets=act.context.secrets,
    )


def _networks(act: Act, fields: Mapping[str, Any]) -> dict[str, str]:
    """Native names of the networks that a machine's NICs name: ours by their refs, the tenant's before the
    datacenter's; else one that people made under that name."""
    ours = {ref: network.name for network in act.view.networks.values() if (ref := network_ref(network, act.view))}
    tenant = tenant_of(act.step.ref)
    names = {}
    for name in fields.get("nics", {}):
        native = ours.get(f"Network/{tenant}/{name}") or ours.get(f"Network/{name}")
        if native is None and name in act.view.networks:
            native = name
        if native is not None:
            names[name] = native
    return names


async def create(act: Act) -> None:
    """One call makes the instance with all of its configuration and its marks. Where it may be told to be there and go
    away again, its marks count only once it is known to be made: by a call of their own."""
    fields = act.arg("fields")
    name = str(fields.get("hostname") or name_of(act.step.ref))
    pool = await act.node.pool()
    blank = Instance(name=name)
    plan = msgspec.structs.replace(wanted(act, fields), pool=pool)
    await _addresses_free(act, name, plan)
    config, devices = changed(blank, plan, ALL - {"disks"})
    own, takes_back = act.project == act.node.project, _takes_back(act)
    whole = own and not takes_back
    config.update(act.marked(act.step.uid if whole else marking.unborn(act.project, name)))
    if own:
        config["volatile.uuid"] = act.step.uid
    if takes_back:
        config["volatile.apply_template"] = "create"
    body: dict[str, Any] = {
        "name": name,
        "type": "virtual-machine" if fields.get("brand") == "vm" else "container",
        "profiles": [],
        "config": config,
        "devices": devices,
        "source": {"type": "image", "fingerprint": await _fingerprint(act, str(fields["image"]))},
    }
    if act.found is not None:
        await _unmake(act, act.found.instance)
    query = {"project": act.project, **act.node.placed(act.step.target)}
    await leftovers.make(act, body, query)
    if not whole:
        await _born(act, name)
    _named(act, name)


def _takes_back(act: Act) -> bool:
    """Whether a server tells of an instance while it is not certain to stay. A member of an LXD cluster that is cut off
    in the middle of making one makes it up to its last touches, cannot write those down, and takes it away once it can
    write again. One of these touches is what templates wait for: what says so itself is not written again, and without
    that, LXD forgets the folder of a root that nobody can take away then."""
    said = act.server.environment
    return said.server == "lxd" and said.server_clustered


async def _unmake(act: Act, instance: Instance) -> None:
    """Of ours, never made whole, and never run."""
    act.context.progress(f"{instance.name} was never made whole: made again")
    path = f"/1.0/instances/{instance.name}"
    if "security.protection.delete" in instance.config:
        await act.api.change("PATCH", path, {"config": {"security.protection.delete": ""}}, project=act.project)
    await act.api.change("DELETE", path, project=act.project)


async def _born(act: Act, name: str) -> None:
    """What was made is bound to the identity that it has got. In a restricted project nobody chooses that."""
    act.found = await act.node.instance(name, act.project)
    if act.found is None:
        raise Denied(f"{name} was made, and is not there")
    await keep(act)


def _named(act: Act, name: str | None) -> None:
    if act.node.names is not None:
        if name is None:
            act.node.names.pop(act.step.uid, None)
        else:
            act.node.names[act.step.uid] = (act.project, name)


async def _fingerprint(act: Act, image: str) -> str:
    for listed in (act.node.lately_images.get, act.node.images):
        for found in await listed():
            said = (found.properties or {}).get(marking.DIGEST) or f"sha256:{found.fingerprint}"
            if said == image:
                return found.fingerprint
    raise Denied(f"the image {image} has not been imported")


async def _addresses_free(act: Act, name: str, plan: Wanted) -> None:
    """The server takes an address that another machine has, and then starts neither. It tells the leases of one project
    alone."""
    if act.node.projects:
        await _addresses_free_everywhere(act, name, plan)
        return
    for network, nic in plan.fields.get("nics", {}).items():
        address = str(nic.get("ip") or "").partition("/")[0]
        native = plan.networks.get(network)
        if not address or native is None:
            continue
        try:
            leases = await act.api.get(f"/1.0/networks/{native}/leases", project=act.project)
        except NotFound:
            continue
        for lease in leases or ():
            same = lease.get("hostname") == name or lease.get("hwaddr") == nic.get("mac")
            if lease.get("address") == address and lease.get("type") == "static" and not same:
                raise Denied(f"{address} is already used on {network} by {lease.get('hostname')}")


async def _addresses_free_everywhere(act: Act, name: str, plan: Wanted) -> None:
    wants = {
        (plan.networks.get(network), str(nic["ip"]).partition("/")[0]): network
        for network, nic in plan.fields.get("nics", {}).items() if nic.get("ip")
    }  # fmt: skip
    for instance in await act.node.instances() if wants else ():
        if (instance.project, instance.name) == (act.project, name):
            continue
        for device in instance.expanded_devices.values():
            address = device.get("ipv4.address") or device.get("ipv6.address") or ""
            network = wants.get((device.get("network"), address))
            if network is not None:
                raise Denied(f"{address} is already used on {network} by {instance.name}")


async def configure(act: Act) -> None:
    """Write all of the configuration for the next boot."""
    fields = act.arg("fields")
    _must_be(act, "stopped")
    await interfaces.take_back(act)
    for key in ("image", "brand", "project"):
        if key in act.fields and fields.get(key) != act.fields[key]:
            raise Denied(f"{key} is given at creation: it is {act.fields[key]}, not {fields.get(key)}")
    here, there = set(fields.get("disks", {})), set(act.fields.get("disks", {}))
    if here != there:
        raise Denied(
            f"its disks are {sorted(there)}, not {sorted(here)}: making and destroying takes a step of its own"
        )
    name = fields.get("hostname")
    if name and name != act.here.instance.name:
        await rename(act, str(name))
    await _apply_fields(act, fields, ALL)


async def update(act: Act) -> None:
    """Set fields while it runs, and for the next boot."""
    fields: Mapping[str, Any] = act.fields
    touched = set()
    for path, value in act.arg("set").items():
        touched.add(segments(path)[0])
        fields = replaced(fields, path, value)
    strange = touched - ALL
    if strange:
        raise Denied(f"{sorted(strange)[0]} cannot be set while it runs")
    await _apply_fields(act, fields, frozenset(touched))


async def _apply_fields(act: Act, fields: Mapping[str, Any], touched: frozenset[str]) -> None:
    instance = act.here.instance
    if "disk" in touched and fields.get("disk") != act.fields.get("disk"):
        await _fits_use(act, fields.get("disk"))
    plan = wanted(act, fields, _attached(act))
    if "nics" in touched:
        await _addresses_free(act, instance.name, plan)
    if "disks" in touched:
        await volumes.resize(act, fields.get("disks", {}), plan.volumes)
    config, devices = changed(instance, plan, touched)
    if await _reasserted(act, config, touched):
        await _apply_fields(act, fields, touched)
        return
    await _lifted(act, devices, touched)
    config.update(act.marked(instance.native_id))
    await write(act, config, devices)


async def _reasserted(act: Act, config: Mapping[str, str], touched: frozenset[str]) -> bool:
    """A limit that was edited in the kernel is not set again by writing what is written already: it is taken out
    first, or, where a project demands one, spelled otherwise. True if that was done, and the instance read anew."""
    instance = act.here.instance
    kernel = act.view.kernel.get(instance.unit, {})
    stubborn = {
        key: _otherwise(field, config[key])
        for field, key in ENFORCED.items()
        if field in touched and field in kernel and config.get(key) and config.get(key) == instance.config.get(key)
    }
    if not stubborn:
        return False
    path = f"/1.0/instances/{instance.name}"
    await act.api.change("PATCH", path, {"config": stubborn}, etag=act.here.etag, project=act.project)
    act.found = await act.node.instance(instance.name, instance.project)
    return True


async def _lifted(act: Act, devices: Devices, touched: Set[str]) -> None:
    """Caps that would stay in the kernel are taken out of it; the instance is read anew then."""
    instance = act.here.instance
    if act.fields.get("state") != "running":
        return
    free = paces.lifted(instance.expanded_devices, devices, touched, act.view.kernel.get(instance.unit, {}))
    if free:
        path = f"/1.0/instances/{instance.name}"
        await act.api.change("PATCH", path, {"devices": free}, etag=act.here.etag, project=act.project)
        act.found = await act.node.instance(instance.name, instance.project)


def _otherwise(field: str, written: str) -> str:
    size = units.size(written) if field == "memory" else written
    return f"{size}B" if isinstance(size, int) and f"{size}B" != written else ""


def _attached(act: Act) -> dict[str, tuple[str, str]]:
    """The volume behind each data disk."""
    found = {}
    for name, device in act.here.instance.expanded_devices.items():
        if is_volume(device):
            key = (device["pool"], device["source"])
            volume = act.view.volumes.get(key)
            if volume is None or volume_ref(volume, act.view) is None:
                found[disk_name(name, volume)] = key
    return found


async def _fits_use(act: Act, size: Any) -> None:
    """A quota below what is used is half made: the server keeps the old one in its books, the kernel the new one, and
    the machine can neither write nor delete any more. So it is refused before anything is asked."""
    if not isinstance(size, int):
        return
    instance = act.here.instance
    state = await act.api.get(f"/1.0/instances/{instance.name}/state", project=act.project)
    for name, device in instance.expanded_devices.items():
        used = ((state.get("disk") or {}).get(name) or {}).get("usage") or 0
        if is_root(device) and used > 0 and size < used + SLACK:
            raise Denied(f"{used} bytes of the disk are in use: it cannot shrink to {size}")


async def rename(act: Act, name: str) -> None:
    """Only a stopped instance has its name changed."""
    old = act.here.instance.name
    await act.api.change("POST", f"/1.0/instances/{old}", {"name": name}, project=act.project)
    _named(act, name)
    found = await act.node.instance(name, act.project)
    if found is None:
        raise Denied(f"it was renamed to {name}, and is not there")
    act.found = found


async def start(act: Act) -> None:
    await interfaces.take_back(act)
    await _state(act, {"action": "start", "timeout": STOP_SECONDS, "force": False})
    await _mark_if_behind(act)


async def stop(act: Act) -> None:
    """The guest is asked to shut down, and stopped by force if it will not."""
    seconds = max(1, min(STOP_SECONDS, int(act.context.deadline / 2)))
    try:
        await _state(act, {"action": "stop", "timeout": seconds, "force": False})
    except ApiError:
        act.context.progress(f"{act.here.instance.name} did not shut down within {seconds} s: stopped by force")
        await _state(act, {"action": "stop", "timeout": -1, "force": True})
    await _mark_if_behind(act)


async def move(act: Act) -> None:
    """Carried over to another member while stopped, with all it holds. The server lists it where it was until the last
    moment, and then where it is: never twice, never not at all."""
    _must_be(act, "stopped")
    name = act.here.instance.name
    if await carry.went_on(act):
        await _arrived(act)
        return
    carried = await carry.copy_over(act)
    await interfaces.put_aside(act)
    query = {"project": act.project, **act.node.placed(act.step.target)}
    try:
        await act.api.change("POST", f"/1.0/instances/{name}", {"name": name, "migration": True}, **query)
    except ApiError:
        with suppress(ApiError, Denied, Stale):
            act.found = await _again(act)
            await interfaces.take_back(act)
        raise
    await _arrived(act)
    await carry.leave(act, carried)


async def _arrived(act: Act) -> None:
    """Wherever it is: with its interfaces and our marks, in one call."""
    act.found = await _again(act)
    instance = act.here.instance
    if interfaces.are_aside(instance):
        config, devices = interfaces.taken_back(instance)
        await write(act, {**config, **act.marked(instance.native_id)}, devices)
    elif not act.object or act.object.marks != act.written():
        await keep(act)


async def _again(act: Act) -> Found:
    found = await act.node.instance(act.here.instance.name, act.project)
    if found is None:
        raise Denied("it vanished meanwhile")
    return found


async def _state(act: Act, body: Mapping[str, Any]) -> None:
    path = f"/1.0/instances/{act.here.instance.name}/state"
    await act.api.change("PUT", path, body, project=act.project)


async def _mark_if_behind(act: Act) -> None:
    """Starting and stopping changed the tag, so look again; write the marks unless they are there already."""
    marks = act.object.marks if act.object else None
    if marks != act.written():
        act.found = await _again(act)
        await keep(act)


async def snapshot(act: Act) -> None:
    path = f"/1.0/instances/{act.here.instance.name}/snapshots"
    name = str(act.step.args.get("name") or f"trueup-{act.context.generation}")
    await act.api.change("POST", path, {"name": name, "stateful": False}, project=act.project)
    await _mark_if_behind(act)


async def quarantine(act: Act) -> None:
    """Put it aside whole, under another name, without addresses and not started at boot: nothing is lost yet. Volumes
    that it mounts are things of their own, and are let go."""
    _must_be(act, "stopped")
    act.unprotected()
    await interfaces.take_back(act)
    name = f"q-{act.step.uid.replace('-', '')[:12]}"
    old = act.here.instance
    if old.name != name:
        await _fresh_snapshot(act, old.name)
        await rename(act, name)
    instance = act.here.instance
    nics = {key: device for key, device in instance.expanded_devices.items() if is_nic(device)}
    aside = interfaces.stash(devices=nics, name=stashed(instance).get("name", old.name), **_autostart(instance))
    devices = {
        key: device for key, device in instance.devices.items() if not is_nic(device) and not is_mount(device, act.view)
    }
    devices.update({key: interfaces.NONE for key in nics if key not in instance.devices})
    until = act.context.now + float(act.arg("quarantine"))
    config = {**instance.config, **act.marked(instance.native_id, quarantined_until=until), **aside}
    config["boot.autostart"] = "false"
    await write(act, config, devices)


def _autostart(instance: Instance) -> dict[str, str]:
    said = instance.config.get("boot.autostart")
    return {"autostart": said} if said else {}


async def _fresh_snapshot(act: Act, name: str) -> None:
    path = f"/1.0/instances/{name}/snapshots"
    with suppress(NotFound):
        await act.api.change("DELETE", f"{path}/{SNAPSHOT}", project=act.project)
    await act.api.change("POST", path, {"name": SNAPSHOT, "stateful": False}, project=act.project)


async def restore(act: Act) -> None:
    """Back under its name, with its interfaces, stopped; what it should hold is written by the next step."""
    instance = act.here.instance
    stash = stashed(instance)
    name = str(stash.get("name") or act.step.args.get("fields", {}).get("hostname") or instance.name)
    if name != instance.name:
        await rename(act, name)
    instance = act.here.instance
    kept = {key: device for key, device in instance.devices.items() if device.get("type") != "none"}
    devices: Devices = {**kept, **stash.get("devices", {})}
    config = {**instance.config, **act.marked(instance.native_id, quarantined_until=None)}
    config.pop(marking.STASH, None)
    config.pop("boot.autostart", None)
    if stash.get("autostart"):
        config["boot.autostart"] = stash["autostart"]
    await write(act, config, devices)


async def purge(act: Act) -> None:
    """For good, and never before the time that the object itself bears."""
    act.expired()
    instance = act.here.instance
    own = await volumes.owned(act, act.step.uid)
    if any(is_volume(device) for device in instance.devices.values()):
        devices = {key: device for key, device in instance.devices.items() if not is_volume(device)}
        await write(act, dict(instance.config), devices)
    for volume in own:
        await volumes.destroy_volume(act, volume)
    await act.api.change("DELETE", f"/1.0/instances/{instance.name}", project=act.project)
    _named(act, None)


async def mark(act: Act) -> None:
    await keep(act)


async def adopt(act: Act) -> None:
    """Write marks on an instance that bears none."""
    name, identity = act.arg("native"), act.arg("nativeId")
    project, _, own = name.rpartition("/")
    found = await act.node.instance(own, project or act.node.project)
    if found is None or found.instance.native_id != identity:
        raise Denied(f"there is no machine {name} with the identity {identity}")
    marks = instance_marks(found.instance, act.view.seal, act.view.base)
    if marks is not None:
        raise Denied(f"{name} is managed already, as {marks.ref}")
    act.found = Found(found.instance, found.etag)
    await keep(act)
    _named(act, found.instance.name)


async def forget(act: Act) -> None:
    """Take the marks off and leave the machine as it is."""
    instance = act.here.instance
    config = {key: value for key, value in instance.config.items() if key not in (marking.MARKS, marking.REF)}
    await write(act, config, dict(instance.devices))
    _named(act, None)


def _must_be(act: Act, state: str) -> None:
    if find(act.fields, "/state") != state:
        raise Denied(f"it is {act.fields.get('state')}, not {state}")


__all__ = ["Unwritable", "adopt", "configure", "create", "forget", "mark", "move", "purge", "quarantine", "restore",
           "snapshot", "start", "stop", "units", "update"]  # fmt: skip
