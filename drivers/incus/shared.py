"""What each verb does to a Volume: a custom volume that is a thing of its own, which machines mount.

Owns: one function a verb. Must not go here: data disks, which belong to one machine (volumes); mounting (writing).
"""

from __future__ import annotations

from typing import Any

from drivers.incus import marks as marking
from drivers.incus import units, volumes
from drivers.incus.act import Act, Denied
from drivers.incus.reading import COPIES, users, volume_identity
from drivers.incus.records import Config, Volume
from reconciler.core.refs import name_of


def _here(act: Act) -> Volume:
    if act.volume is None:
        raise Denied(f"there is no volume with the uid {act.step.uid}")
    return act.volume


def _marked(act: Act, volume: Volume, **more: Any) -> Config:
    text = marking.write(act.written(**more), volume_identity(volume), act.view.seal)
    return {marking.MARKS: text, marking.REF: act.marks.ref}


async def create(act: Act) -> None:
    pool = await act.node.pool()
    name = f"{act.step.uid.replace('-', '')[:12]}-{name_of(act.step.ref)}"
    volume = Volume(name=name, pool=pool, project=act.project)
    config = {"size": units.write_size(int(act.arg("fields")["size"])), **_marked(act, volume)}
    body = {"name": volume.name, "type": "custom", "content_type": "filesystem", "config": config}
    query = {"project": act.project, **act.node.placed(act.step.target)}
    await act.api.change("POST", f"/1.0/storage-pools/{pool}/volumes/custom", body, **query)


async def update(act: Act) -> None:
    """Let it grow, and take away what a move that was cut short has left of it elsewhere."""
    volume, wanted, config = _here(act), act.arg("set"), None
    if "/size" in wanted:
        size, held = wanted["/size"], units.size(volume.config.get("size", "0"))
        if size is None or (isinstance(held, int) and size < held):
            raise Denied(f"it holds {held} bytes and cannot shrink to {size}")
        config = {**volume.config, "size": units.write_size(int(size))}
    if f"/{COPIES}" in wanted:
        await volumes.tidy(act, volume)
    await _keep(act, config)


async def _keep(act: Act, config: Config | None = None, **more: Any) -> None:
    volume = _here(act)
    await volumes.put(act, volume, {**(volume.config if config is None else config), **_marked(act, volume, **more)})


async def mark(act: Act) -> None:
    await _keep(act)


async def forget(act: Act) -> None:
    volume = _here(act)
    kept = {key: value for key, value in volume.config.items() if key not in (marking.MARKS, marking.REF)}
    await volumes.put(act, volume, kept)


async def quarantine(act: Act) -> None:
    """Set aside as it is, once nothing mounts it. It bears until when it is kept."""
    act.unprotected()
    used = users(_here(act).used_by)
    if used:
        raise Denied(f"it is mounted in {used[0]}")
    await _keep(act, quarantined_until=act.context.now + float(act.arg("quarantine")))


async def restore(act: Act) -> None:
    await _keep(act, quarantined_until=None)


async def purge(act: Act) -> None:
    """For good, and never before the time that the volume itself bears."""
    act.expired()
    await volumes.destroy_volume(act, _here(act))
