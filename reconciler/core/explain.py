"""Why a machine is where it is, or would go where it would go: the question asked of every target.

Owns: gathering, from a planner, what `trueup explain` shows. Must not go here: the page itself (render/explain).
"""

from __future__ import annotations

import msgspec

from reconciler.core.placement import choose, rejections
from reconciler.core.planner import Planner
from reconciler.core.refs import Ref, Target
from reconciler.core.siting import Siting


class Where(msgspec.Struct, frozen=True):
    """`home`: where it is bound; `choice`: where it would go if it had to be placed now. `rejected`: every target that
    cannot take it with the reason; `possible`: those that can, the least loaded first."""

    home: Target | None
    choice: Target | None
    possible: tuple[Target, ...]
    rejected: dict[Target, str]


def where(planner: Planner, ref: Ref) -> Where | None:
    """None for a ref that is not a wanted machine. What the machine itself takes now is not counted against it."""
    world = planner.world
    planner.settle()
    resource = world.resource(ref)
    if resource is None or not resource.ref.startswith("Machine/"):
        return None
    home = world.where(ref)
    own = {home: world.facts[ref].demand} if home is not None else {}
    with Siting(world) as siting:
        wanted = siting.wanted(resource)
        rejected = rejections(wanted, world.rooms, own)
        order = [room.target for room in world.rooms.by_load() if room.target not in rejected]
        choice = choose(wanted, world.rooms, own)
    return Where(home, choice, tuple(order), rejected)


def users(planner: Planner, ref: Ref) -> tuple[Ref, ...]:
    """The machines that refer to a network or an image, in canonical order."""
    return tuple(sorted(planner.world.users(ref)))
