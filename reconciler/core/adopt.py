"""Taking over what people made by hand: a plan that writes marks and nothing else.

Owns: which unmanaged object stands for which document, and the plan that binds them. Must not go here: writing the
documents (adoptable), deciding anything of objects that are ours already (planner).

An object is taken over only if it is what its document says, field by field; where it is not, the difference is told
and nothing is planned, so that an adoption can never be the first half of a change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from reconciler.core.checks import claims
from reconciler.core.compare import compare, settled
from reconciler.core.desired import Resource
from reconciler.core.finish import make_change, stitch
from reconciler.core.ledger import Address
from reconciler.core.observed import Object, Report
from reconciler.core.order import edges, rank
from reconciler.core.plan import Action, Change, Difference, Hold, Plan, Reason, plan_digest, rest_digest
from reconciler.core.refs import PER_TARGET, Ref, Target, kind_of, name_of, node_of, short, tenant_of
from reconciler.core.work import Work
from reconciler.core.world import World

DESIGNATIONS = frozenset({"/tag"})
"""Which physical network it is on is said by people alone: no object tells."""
REASON = Reason("adopt", "it is there already, as its document says")


def stands_for(thing: Object, resource: Resource) -> bool:
    """Whether an unmanaged object is the one that a document describes: an image by its content, the rest by name. What
    lives in a project is the tenant's of that name."""
    if thing.marks is not None or thing.kind != kind_of(resource.ref):
        return False
    if thing.fields.get("project", tenant_of(resource.ref)) != tenant_of(resource.ref):
        return False
    if thing.kind == "Image":
        return bool(thing.fields.get("digest")) and thing.fields["digest"] in resource.body.decode()
    return thing.native_name in (name_of(resource.ref), short(resource.ref)) or (
        thing.fields.get("hostname") == name_of(resource.ref)
    )


def adoption(made: Plan, world: World, reports: Mapping[Target, Report], node: str) -> Plan:
    """The plan that takes over what stands on the node for documents that have no object of ours. `made`: the ordinary
    plan of the same world, which would make them new."""
    works: list[Work] = []
    holds: list[Hold] = []
    for target, report in sorted(reports.items()):
        if node_of(target) != node or target not in world.targets or not report.complete:
            continue
        claim = next((change for change in made.changes if change.id == f"Node/{target}@{target}"), None)
        if claim is not None:
            after = {"identity": report.identity}
            works.append(Work(claim.ref, target, Action.ADOPT, claim.uid, 1, claim.reason, after=after))
        for resource in _wanted_there(world, target):
            thing = next((each for each in report.objects if stands_for(each, resource)), None)
            if thing is None or world.seen_on(resource.ref, target):
                continue
            found = _work(world, resource, thing, target)
            (works if isinstance(found, Work) else holds).append(found)  # type: ignore[arg-type]
    changes = _changes(works, world)
    digest = plan_digest(made.datacenter_id, made.tree, changes)
    problems = tuple(f"{target}: {why}" for target, why in sorted(world.troubled.items()) if node_of(target) == node)
    return msgspec.structs.replace(
        made, changes=changes, holds=tuple(holds), digest=digest, removed=(), returned=(), headroom=(), budgets=(),
        complete=not problems, problems=problems, proved=True,
    )  # fmt: skip


def _wanted_there(world: World, target: Target) -> Iterable[Resource]:
    """Documents that a target could hold an object for: machines asked for there, and what is realised per target."""
    for ref in sorted(world.resources):
        resource = world.resources[ref]
        asked = kind_of(ref) == "Machine" and resource.constraints.node in (target, node_of(target))
        if asked or (kind_of(ref) in PER_TARGET and world.realised(ref, target)):
            yield resource


def _work(world: World, resource: Resource, thing: Object, target: Target) -> Work | Hold:
    addresses = tuple(
        Address(world.network_for(nic), nic.ip, nic.mac or "", authored=True) for nic in resource.nics if nic.ip
    )
    if len(addresses) != len(resource.nics):
        return _hold(resource.ref, target, "an interface has no address in its document", "write ip: and mac: there")
    context = world.context(resource, target, addresses)
    comparison = compare(resource, thing, None, world.shape_of(target), context)
    left = [each for each in comparison.differences if not (each.path in DESIGNATIONS and each.before is None)]
    if left or comparison.unknown:
        return _hold(resource.ref, target, f"it is not what its document says: {_told(left)}", "mend the document")
    rest = settled(comparison, comparison.differences)
    uid, incarnation = world.mint(resource.ref, world.incarnation(resource.ref) + 1)
    if kind_of(resource.ref) in PER_TARGET:
        uid, incarnation = world.mint(resource.ref, 1, target)
    return Work(
        resource.ref, target, Action.ADOPT, uid, incarnation, REASON, resource, thing, context,
        after={**thing.fields, **{each.path[1:]: each.after for each in comparison.differences}}, settled=rest,
        applied=rest_digest(resource.ref, rest, protected=resource.protected), addresses=addresses,
    )  # fmt: skip


def _told(differences: list[Difference]) -> str:
    return (
        "; ".join(f"{each.path} is {each.before!r}, not {each.after!r}" for each in differences) or "it cannot be read"
    )


def _hold(ref: Ref, target: Target, sentence: str, lifts: str) -> Hold:
    return Hold(ref, "adopt", sentence, lifts, target, Action.ADOPT)


def _changes(works: list[Work], world: World) -> tuple[Change, ...]:
    ordered = sorted(works, key=rank)
    changes = [make_change(work, world) for work in ordered]
    return stitch((change for change in changes if change.steps), edges(ordered, claims(ordered), world), {})
