"""Data disks: custom volumes of a pool, attached to their machine.

Owns: making, taking over, growing and destroying them. Must not go here: the machine's other devices (machines).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from drivers.incus import marks as marking
from drivers.incus import units
from drivers.incus.act import Act, Denied, write
from drivers.incus.api import NotFound
from drivers.incus.reading import COPIES, disk_name, is_volume, volume_identity, volume_marks, volumes_at
from drivers.incus.records import Volume


def path_of(volume: Volume) -> str:
    return f"/1.0/storage-pools/{volume.pool}/volumes/custom/{volume.name}"


def marks_of(act: Act, volume: Volume) -> Any:
    return volume_marks(volume, act.view.seal, act.view.base)


async def owned(act: Act, uid: str) -> list[Volume]:
    """The volumes that were made for, or handed on to, the machine with this uid, on whichever member."""
    found = [each for each in await act.node.volumes(await act.node.pool()) if each.project == act.project]
    return [volume for volume in found if (marks := marks_of(act, volume)) is not None and marks.uid == uid]


async def disk(act: Act) -> None:
    """Make a data disk and attach it, or take it over from the machine that this one replaces."""
    name, want = str(act.arg("name")), dict(act.arg("disk"))
    source = act.step.args.get("from")
    volume = await _mine(act, act.step.uid, name)
    if volume is None and source:
        volume = await _take_over(act, str(source), name, want)
    if volume is None:
        volume = await _make(act, name, want)
    elif want.get("size"):
        await _grow(act, volume, int(want["size"]))
    instance = act.here.instance
    devices = dict(instance.devices)
    device = name if name not in devices else f"disk-{name}"
    devices[device] = {"type": "disk", "pool": volume.pool, "source": volume.name, "path": str(want.get("path"))}
    await write(act, {**instance.config, **act.marked(instance.native_id)}, devices)


async def _mine(act: Act, uid: str, name: str) -> Volume | None:
    here = volumes_at(await owned(act, uid), act.node.member(act.step.target))
    return next((volume for volume in here if volume.config.get(marking.DISK) == name), None)


def query(act: Act, volume: Volume) -> dict[str, str]:
    """What sends a call to where the volume lies."""
    placed = act.node.placed(act.step.target)
    return {"project": act.project, **(placed and {"target": volume.location or placed["target"]})}


def config_of(act: Act, volume: Volume, name: str, size: Any) -> dict[str, str]:
    config = dict(volume.config)
    config[marking.DISK] = name
    config[marking.MARKS] = marking.write(act.written(), volume_identity(volume), act.view.seal)
    if size:
        config["size"] = units.write_size(int(size))
    return config


async def _make(act: Act, name: str, want: Mapping[str, Any]) -> Volume:
    pool = await act.node.pool()
    volume = Volume(name=f"{act.step.uid.replace('-', '')[:12]}-{name}", pool=pool, project=act.project)
    volume.config = config_of(act, volume, name, want.get("size"))
    body = {"name": volume.name, "type": "custom", "content_type": "filesystem", "config": volume.config}
    query = {"project": act.project, **act.node.placed(act.step.target)}
    await act.api.change("POST", f"/1.0/storage-pools/{pool}/volumes/custom", body, **query)
    return volume


async def _take_over(act: Act, source: str, name: str, want: Mapping[str, Any]) -> Volume | None:
    """First off the old machine, then ours by its marks: cut short in between, it is found by the old ones."""
    volume = await _mine(act, source, name)
    if volume is None:
        return None
    held = units.size(volume.config.get("size", "0"))
    if isinstance(held, int) and want.get("size") and int(want["size"]) < held:
        raise Denied(f"the disk {name} holds {held} bytes and cannot shrink to {want['size']}")
    old = await act.node.bearer(source, act.view, fence=act.context.fence)
    if old is not None:
        kept = {
            key: device
            for key, device in old.instance.devices.items()
            if not (is_volume(device) and device["source"] == volume.name)
        }
        if kept.keys() != old.instance.devices.keys():
            instance = old.instance
            body = {
                "architecture": instance.architecture, "config": instance.config, "devices": kept,
                "ephemeral": instance.ephemeral, "profiles": instance.profiles, "description": instance.description,
            }  # fmt: skip
            path = f"/1.0/instances/{instance.name}"
            await act.api.change("PUT", path, body, etag=old.etag, project=act.project)
    await put(act, volume, config_of(act, volume, name, None))
    return volume


async def put(act: Act, volume: Volume, config: Mapping[str, str]) -> None:
    """Write the whole configuration of a volume."""
    where = query(act, volume)
    said, etag = await act.api.read(path_of(volume), **where)
    body = {"config": dict(config), "description": said.get("description", "")}
    await act.api.change("PUT", path_of(volume), body, etag=etag, **where)
    volume.config = dict(config)


async def _grow(act: Act, volume: Volume, size: int) -> None:
    held = units.size(volume.config.get("size", "0"))
    if held == size:
        return
    if isinstance(held, int) and size < held:
        raise Denied(f"the disk holds {held} bytes and cannot shrink to {size}")
    await put(act, volume, {**volume.config, "size": units.write_size(size)})


async def resize(act: Act, disks: Mapping[str, Any], attached: Mapping[str, tuple[str, str]]) -> None:
    for name, want in disks.items():
        volume = act.view.volumes.get(attached.get(name, ("", "")))
        if volume is None:
            raise Denied(f"the disk {name} comes or goes by a step of its own")
        if want.get("size"):
            await _grow(act, volume, int(want["size"]))
        if COPIES not in want:
            await tidy(act, volume)


async def tidy(act: Act, volume: Volume) -> None:
    """Of what lies on several members, the one where the machine is counts. That it is there was seen a moment ago;
    the others are what moves left behind that were cut short. A copy that is still being made is waited for: taken away
    meanwhile it would stay on the storage, and no API would see it."""
    if act.view.copies.get((volume.pool, volume.name)):
        await act.node.settle(volume.name, act.project, act.step.places)
    for member in act.view.copies.get((volume.pool, volume.name), ()):
        left = msgspec.structs.replace(volume, location=member)
        act.context.progress(f"what an earlier move left of {volume.name} on {member} is taken away")
        await destroy_volume(act, left)


async def destroy_disk(act: Act) -> None:
    """For good, with what it holds."""
    act.unprotected()
    name = str(act.arg("name"))
    instance = act.here.instance
    gone = {}
    for key, device in instance.devices.items():
        if is_volume(device):
            volume = act.view.volumes.get((device["pool"], device["source"]))
            if disk_name(key, volume) == name:
                gone[key] = volume
    devices = {key: device for key, device in instance.devices.items() if key not in gone}
    await write(act, {**instance.config, **act.marked(instance.native_id)}, devices)
    for volume in gone.values():
        if volume is not None:
            await tidy(act, volume)
            await destroy_volume(act, volume)


async def destroy_volume(act: Act, volume: Volume) -> None:
    try:
        await act.api.change("DELETE", path_of(volume), **query(act, volume))
    except NotFound:
        return
