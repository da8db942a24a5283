"""The volumes that go along with a machine that moves, and why one stays.

Owns: whether a machine can take what it mounts with it. Must not go here: where to (siting), the entries and arguments
that come of it (finish), how it is carried over (drivers).

A volume that one machine alone mounts goes with it, in the step that carries the machine. What several mount stays, and
they with it: all of them would have to stop first and start last.
"""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.core import pauses
from reconciler.core.desired import Resource, volumes_of
from reconciler.core.observed import Object
from reconciler.core.refs import Ref, Target, name_of, tenant_of
from reconciler.core.render.quantities import moment
from reconciler.core.world import World


def passengers(world: World, resource: Resource, source: Target, found: Object, now: float) -> tuple[Ref, ...] | str:
    """The volumes of a machine that moves from `source`, where it was `found`; else why it has to stay, in words.
    `now`: unix seconds, for pauses."""
    volumes = tuple(sorted(volumes_of(resource)))
    if {name_of(volume) for volume in volumes} != set(found.fields.get("volumes") or {}):
        return "what it mounts is changed first"
    for volume in volumes:
        why = _stays(world, volume, resource.ref, source, now)
        if why is not None:
            return f"{volume} stays, {why}"
    return volumes


def _stays(world: World, volume: Ref, machine: Ref, source: Target, now: float) -> str | None:
    others = sorted({*world.users(volume), *_mounting(world, volume, machine, source)} - {machine})
    if others:
        more = f" and {len(others) - 1} more mount" if len(others) > 1 else " mounts"
        return f"which {others[0]}{more} too"
    thing = world.only(volume, source)
    if thing is None or thing.marks is None or thing.lifecycle != "live":
        return f"which is not known to be on {source}, and there alone"
    pause = pauses.standing(world.ledger, volume, thing.marks, now)
    return f"which is paused until {moment(pause.until)}: {pause.reason}" if pause is not None else None


def _mounting(world: World, volume: Ref, machine: Ref, source: Target) -> Iterator[str]:
    """Who else has it mounted now, whatever is wanted, ours or not."""
    for each in world.sights.objects(source):
        ref = each.marks.ref if each.marks is not None else None
        if each.kind != "Machine" or ref == machine or name_of(volume) not in (each.fields.get("volumes") or {}):
            continue
        if ref is None or tenant_of(volume) in (None, tenant_of(ref)):
            yield ref or each.native_name
