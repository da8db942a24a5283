"""Why a machine leaves the place where it lives, and among which targets it may choose another.

Owns: the causes of a move (a document that names another node, or wants what this one's driver cannot do; a drain), and
what makes one impossible.
Must not go here: the choice of the target (siting), the work of a move (work), how it is carried over (shapes).

A machine is carried over by one driver, between the targets of one node. Nothing moves back by itself: once a drain is
lifted its target is one among others for whatever is placed next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from reconciler.core.desired import Resource
from reconciler.core.observed import Object
from reconciler.core.placement import unserved
from reconciler.core.plan import PLACE, Cause, Difference, Manner, Reason
from reconciler.core.refs import Target, node_of
from reconciler.core.standing import targets_of

if TYPE_CHECKING:
    from reconciler.core.known import Known


class Departure(msgspec.Struct, frozen=True):
    """Why it may not stay."""

    cause: Cause
    reason: Reason


def departure(world: Known, resource: Resource, target: Target) -> Departure | None:
    """None if a machine may stay on this target."""
    node = resource.constraints.node
    if node is not None and node not in (target, node_of(target)):
        return Departure(Cause.INTENT, Reason("place", f"the document asks for node {node}"))
    if resource.constraints.fields and (why := _unserved(world, resource, target)) is not None:
        return Departure(Cause.INTENT, Reason("place", why))
    drain = world.drains.get(target)
    if drain is None or drain.how != "move":
        return None
    return Departure(Cause.OPERATION, Reason("drain", f"{target} {drain.sentence}"))


def _unserved(world: Known, resource: Resource, target: Target) -> str | None:
    node = world.targets.get(target)
    shape = world.shapes.get(node.driver) if node is not None else None
    return unserved(resource, shape.capability) if shape is not None else None


def reachable(world: Known, source: Target, found: Object) -> tuple[Target, ...] | str:
    """The targets that a machine on `source` can be carried to, whether there is room or not; else why it can be
    carried nowhere."""
    node = world.targets[source]
    others = tuple(target for target in targets_of(node) if target != source)
    if not others:
        return "nothing carries a machine from one node to another"
    if "/state" in found.unknown:
        return f"whether it runs could not be read: {found.unknown['/state']}"
    if world.shape_of(source).manner(found.kind, PLACE, source, others[0], found.fields) is not Manner.MOVE:
        return f"the driver {node.driver} cannot carry such a machine to another member"
    return others


def moving(source: Target, target: Target, cause: Cause) -> Difference:
    return Difference(PLACE, source, target, cause, Manner.MOVE)
