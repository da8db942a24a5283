"""Whether a target's word can be taken: the node mark, the listing, its freshness (invariant I1).

Owns: from a Report, the claims in the ledger and the declared nodes to "usable" or the reason why not.
Must not go here: what is done about it.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from reconciler.core.desired import Drain, NodeWant
from reconciler.core.ledger import Ledger
from reconciler.core.observed import Report
from reconciler.core.refs import Target, node_of


class Standing(msgspec.Struct, frozen=True):
    """`problem`: why nothing there can be trusted (all is Unknown). `partial`: what is listed is there, what is not
    listed is Unknown. `unclaimed`: readable, and nobody's yet. `another`: what answers is not the node that was
    claimed, so a person may give that one up. `cannot`: as in a report."""

    problem: str | None = None
    partial: str | None = None
    unclaimed: bool = False
    another: bool = False
    cannot: Mapping[str, str] = {}


def declared_targets(nodes: Mapping[str, NodeWant]) -> dict[Target, NodeWant]:
    """Every target of declared nodes: the node itself, or its members."""
    found: dict[Target, NodeWant] = {}
    for name in sorted(nodes):
        found.update(dict.fromkeys(targets_of(nodes[name]), nodes[name]))
    return found


def targets_of(node: NodeWant) -> tuple[Target, ...]:
    """The node itself, or its members."""
    return tuple(Target(f"{node.name}/{member}") for member in sorted(node.members)) or (Target(node.name),)


def drain_of(node: NodeWant, target: Target) -> Drain | None:
    """What is asked of this target: the member's own word comes first."""
    member = node.members.get(target.partition("/")[2])
    return (member.drain if member is not None else None) or node.drain


def standing(target: Target, report: Report | None, claims: Mapping[Target, str], datacenter_id: str) -> Standing:
    """Judge one target. A node is claimed once: a report that lacks our claim although we made it is of a node that was
    reimaged, is another host, or has another pool; then nothing it says counts."""
    if report is None:
        return Standing(problem="it has not been observed")
    if report.identity is None:
        return Standing(problem=report.problem or "its identity could not be read")
    known = claims.get(target)
    claim = report.claim
    if claim is None:
        if known is not None:
            return _another("it bears no claim although it was claimed: reimaged, another host or another pool", target)
        if any(thing.marks is not None and thing.marks.datacenter == datacenter_id for thing in report.objects):
            return Standing(problem="it holds objects of this datacenter but bears no claim")
        partial = None if report.complete else report.problem or "its listing is incomplete"
        return Standing(partial=partial, unclaimed=True, cannot=report.cannot)
    if claim.datacenter != datacenter_id:
        return Standing(problem=f"it is claimed by another datacenter, {claim.datacenter}")
    if claim.identity != report.identity:
        return Standing(problem="its claim was written for another node: the mark was copied")
    if known is not None and known != report.identity:
        return _another("it is not the node that was claimed under this name", target)
    partial = None if report.complete else report.problem or "its listing is incomplete"
    return Standing(partial=partial, cannot=report.cannot)


def _another(sentence: str, target: Target) -> Standing:
    remedy = f"if the one that was is gone for good: trueup forget Node/{node_of(target)}"
    return Standing(problem=f"{sentence} ({remedy})", another=True)


UNDECLARED = Standing(problem="its Node document is not there, so it cannot be asked")


def lists_absence(target: Target, report: Report | None, state: Standing, ledger: Ledger) -> str | None:
    """None if what the report does not list is proved absent; else why it is not."""
    if state.problem is not None:
        return state.problem
    if state.partial is not None:
        return state.partial
    if ledger.flying.get(target):
        return "a step of ours is under way there, or was cut short; the next apply finishes it"
    if report is None or report.began < ledger.written.get(target, 0):
        return "it was listed before our last write there had ended"
    return None
