"""What goes with a machine from one member of a cluster to another: its data disks, and Volumes that it alone mounts.

Owns: copying them there, and taking away where they were; going on from where an earlier move was cut short. Must not
go here: the machine itself (machines), what an earlier move left behind that nobody goes on with (volumes).

They are copied first and stay where they are until the machine has arrived: whatever happens in between, the one that
counts is that on the member where the machine is.
"""

from __future__ import annotations

from typing import Any

from drivers.incus import marks as marking
from drivers.incus.act import Act, Denied
from drivers.incus.api import NotFound, Stale
from drivers.incus.node import HALVES, is_half
from drivers.incus.reading import disk_name, is_root, is_volume, users, volumes_at
from drivers.incus.records import Instance, Volume
from drivers.incus.volumes import config_of, destroy_volume, marks_of, path_of, put, query

BY_ITSELF = "cluster_internal_custom_volume_copy"
"""A server that has this copies between members in one call (Incus); LXD 5.0 has one member pull from the other. So has
Incus 6.0 in every project but its `default`: asked to copy by itself, it looks for the volume in that one alone."""


async def went_on(act: Act) -> bool:
    """Puts right what an earlier move left of the machine itself; whether it has arrived by that.

    LXD copies a machine, takes the first one away and gives the copy its name. While the first is whole, a copy is
    nothing yet, and goes. A first one whose root is gone is a record and no more: then the copy is all there is, and
    gets the name."""
    instance = act.here.instance
    for half in (f"{prefix}{instance.native_id}" for prefix in HALVES):
        left = await act.node.instance(half, act.project) if half != instance.name else None
        if left is None or not is_half(left.instance):
            continue
        if await _has_root(act, instance):
            act.context.progress(f"{half} is what an earlier move left behind: taken away")
            await act.api.change("DELETE", f"/1.0/instances/{half}", project=act.project)
            continue
        if not await _has_root(act, left.instance):
            raise Denied(f"there is no root of {instance.name}, and none of {half}: neither is taken away")
        act.context.progress(f"{half} holds all that there is of {instance.name}: it gets the name")
        await act.api.change("DELETE", f"/1.0/instances/{instance.name}", project=act.project)
        await act.api.change("POST", f"/1.0/instances/{half}", {"name": instance.name}, project=act.project)
        if left.instance.location != act.node.member(act.step.target):
            raise Denied(f"an earlier move took it to {left.instance.location}")
        return True
    return False


async def _has_root(act: Act, instance: Instance) -> bool:
    pool = next((device["pool"] for device in instance.expanded_devices.values() if is_root(device)), None)
    if pool is None:
        raise Denied(f"{instance.name} has no root, and there may be another half of it")
    path = f"/1.0/storage-pools/{pool}/volumes/{instance.type}/{instance.name}"
    try:
        await act.api.get(path, project=act.project, target=instance.location)
    except NotFound:
        return False
    return True


async def copy_over(act: Act) -> list[Volume]:
    """Copy the disks and volumes of a stopped machine; those where it is. Raises Stale if somebody had it meanwhile."""
    source = act.node.member(act.step.source or act.step.target)
    carried = []
    for name, device in sorted(act.here.instance.expanded_devices.items()):
        if not is_volume(device):
            continue
        volume = act.view.volumes.get((device["pool"], device["source"]))
        if volume is None or volume.location != source:
            raise Denied(f"the volume of the disk {name} is not on {source}")
        await _its_alone(act, disk_name(name, volume), volume)
        await _make_way(act, volume)
        await _copy(act, volume)
        carried.append(volume)
    instance = act.here.instance
    again = await act.node.instance(instance.name, act.project) if carried else act.found
    if again is not None and again.etag != act.here.etag:
        raise Stale("it was started, or changed, while its disks were copied")
    return carried


async def leave(act: Act, carried: list[Volume]) -> None:
    """The machine has arrived: what was copied goes."""
    for volume in carried:
        await destroy_volume(act, volume)


async def _its_alone(act: Act, name: str, volume: Volume) -> None:
    """One that people attached to this machine alone is marked as its disk, so that a copy is known for one."""
    marks = marks_of(act, volume)
    if marks is not None and marks.uid == act.step.uid and marking.DISK in volume.config:
        return
    if users(volume.used_by) != [act.here.instance.name]:
        raise Denied(f"the disk {name} is not its alone, and stays where it is")
    if marks is not None and marks.uid in act.step.args.get("volumes", {}):
        return
    if marks is not None:
        raise Denied(f"the step says nothing of the disk {name}, which is of {marks.ref}")
    await put(act, volume, config_of(act, volume, name, None))


async def _make_way(act: Act, volume: Volume) -> None:
    """What an attempt that was cut short has left there is no more than that: the machine is not there."""
    await act.node.settle(volume.name, act.project, act.step.places)
    member = act.node.member(act.step.target)
    for left in volumes_at(await act.node.volumes(volume.pool), member):
        if (left.name, left.project) == (volume.name, act.project):
            marks, own = marks_of(act, left), marks_of(act, volume)
            if marks is None or own is None or marks.uid != own.uid:
                raise Denied(f"{member} has another volume {volume.name}")
            act.context.progress(f"{volume.name} on {member} is what an earlier move left behind: taken away")
            await destroy_volume(act, left)


async def _copy(act: Act, volume: Volume) -> None:
    whole = act.project == "default" and BY_ITSELF in act.server.api_extensions
    body = {
        "name": volume.name, "type": "custom", "content_type": volume.content_type,
        "config": volume.config,  # all of it: `volatile.idmap.*` tell whose numbers the files bear
        "source": _there(volume) if whole else await _offered(act, volume),
    }  # fmt: skip
    path = f"/1.0/storage-pools/{volume.pool}/volumes/custom"
    await act.api.change("POST", path, body, project=act.project, **act.node.placed(act.step.target))


def _there(volume: Volume) -> dict[str, Any]:
    """The project goes without saying: Incus refuses it where it is that of the call."""
    return {"type": "copy", "location": volume.location, "name": volume.name, "pool": volume.pool}


async def _offered(act: Act, volume: Volume) -> dict[str, Any]:
    """What the other member needs to fetch it from where it lies."""
    where = next((each.url for each in await act.node.members() if each.server_name == volume.location), "")
    begun = await act.api.begin(path_of(volume), {"name": volume.name, "migration": True}, **query(act, volume))
    return {
        "type": "migration", "mode": "pull", "name": volume.name, "pool": volume.pool,
        "operation": f"{where}/1.0/operations/{begun.id}", "secrets": begun.metadata or {},
        "certificate": act.server.environment.certificate,
    }  # fmt: skip
