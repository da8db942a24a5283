"""What a target can take: its room as placement sees it.

Owns: from a declared target, its report and the policy to a Room. Must not go here: what is promised there (world), the
choice of a target (placement).
"""

from __future__ import annotations

from reconciler.core.desired import Demand, Drain, NodeMember, NodeWant, Policy
from reconciler.core.observed import Report
from reconciler.core.placement import PLENTY, Room
from reconciler.core.refs import Target
from reconciler.core.shape import Capability
from reconciler.core.standing import Standing, drain_of

NOTHING = Capability(kinds=frozenset(), image_types=frozenset(), brands=frozenset())
"""What a driver that is not installed can take."""


def sizing(policy: Policy) -> tuple[object, object]:
    """What of the policy decides how much room a target has."""
    return policy.overprovision, policy.reserve


def room_of(
    target: Target, node: NodeWant, report: Report | None, *, state: Standing, policy: Policy, strange: Demand
) -> Room:
    """The room with nothing promised and no capability yet; a capacity that the driver cannot tell is PLENTY.
    `strange`: what is taken there by what is not ours."""
    member = node.members.get(target.partition("/")[2], NodeMember())
    declared = frozenset(node.nics)
    carried = declared if report is None or report.carries is None else declared & frozenset(report.carries)

    def promised(name: str) -> int:
        total = getattr(report.capacity, name) if report is not None else None
        if total is None:
            return PLENTY
        factor = policy.overprovision.get(name, 1.0) * (1 - policy.reserve.get(name, 0.0))
        return int(total * factor) - node.reserve.get(name, 0)

    return Room(
        target,
        NOTHING,
        promised("memory") - strange.memory,
        promised("cpu") - strange.cpu,
        promised("disk") - strange.disk,
        rack=member.rack or node.rack,
        traits={**node.traits, **member.traits},
        tags=carried,
        cannot=report.cannot if report is not None else {},
        closed=_closed(node, member, state, drain_of(node, target)),
    )


def _closed(node: NodeWant, member: NodeMember, state: Standing, drain: Drain | None) -> str | None:
    cordon = node.cordon or member.cordon
    if cordon:
        return f"it is cordoned: {cordon}"
    return f"it {drain.sentence}" if drain is not None else state.problem
