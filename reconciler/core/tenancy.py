"""Whether what is planned fits the limits of a tenant's project.

Owns: what a project is full of, and the works that it has no room for. A node counts all that is in a project: what
rests in quarantine, and what people made there.
Must not go here: what the machines of a tenant may take in all (the loader checks that offline), how a project is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reconciler.core.compare import takes_of
from reconciler.core.desired import Demand, Limits
from reconciler.core.known import Taken
from reconciler.core.placement import plus
from reconciler.core.plan import Action, Hold
from reconciler.core.refs import kind_of, name_of, node_of, tenant_of
from reconciler.core.render.quantities import size
from reconciler.core.work import Work, together
from reconciler.core.world import World

COUNTED = ("machines", "memory", "disk")
"""Limits that a node keeps."""

Fall = tuple[Work, Hold]


def overfull(works: Sequence[Work], holds: Sequence[Hold], world: World) -> Iterator[Fall]:
    """Limits below what is there already, and what would go beyond them, in order."""
    concerned = [
        work for work in works
        if work.resource is not None and (node := world.targets.get(work.target)) is not None and node.projects
    ]  # fmt: skip
    full: dict[tuple[str, str], Taken] = {}
    for work in sorted(concerned, key=lambda work: (kind_of(work.ref) != "Tenant", work.ref, work.target)):
        whose = name_of(work.ref) if kind_of(work.ref) == "Tenant" else tenant_of(work.ref)
        limits = world.desired.policy.limits.get(whose or "") if world.desired is not None else None
        if limits is None or whose is None:
            continue
        key = (whose, node_of(work.target))
        if key not in full:
            full[key] = _taken(world, *key)
        if kind_of(work.ref) == "Tenant":
            found = _too_low(work, limits, full[key])
        else:
            then = _with(full[key], work).plus(_twice(work, world))
            found = _beyond(work, limits, full[key], then)
            full[key] = full[key] if found else then
        if found is not None:
            yield work, found


def _taken(world: World, tenant: str, node: str) -> Taken:
    """What is in the tenant's project on all members of a node: they share it."""
    taken = Taken()
    for target, declared in world.targets.items():
        for found in world.inside(tenant, target) if declared.name == node else ():
            taken = taken.plus(takes_of(found.fields, Demand()))
            taken = taken._replace(machines=taken.machines + (found.kind == "Machine"))
    return taken


def _with(taken: Taken, work: Work) -> Taken:
    """With what the change brings into the project: what is set aside stays in it, but for disks that are handed on."""
    after = takes_of(work.after or {}, Demand())
    old = work.found
    if work.action is Action.REPLACE and old is not None:
        kept = takes_of({"disks": old.fields.get("disks") or {}}, Demand())
        return taken.plus(after).plus(kept, -1)._replace(machines=taken.machines + 1)
    if old is None:
        return taken.plus(after)._replace(machines=taken.machines + (kind_of(work.ref) == "Machine"))
    return taken.plus(after).plus(takes_of(old.fields, Demand()), -1)


def _twice(work: Work, world: World) -> Demand:
    """What is at both ends until a machine has arrived. Several may be on their way at once, so it counts for all."""
    if work.source is None or work.found is None:
        return Demand()
    own = takes_of({"disks": work.found.fields.get("disks") or {}}, Demand())
    return plus(own, together(world, work.along))


def _too_low(work: Work, limits: Limits, taken: Taken) -> Hold | None:
    changed = {difference.path.split("/")[2] for difference in work.differences if difference.path.count("/") == 2}
    whole = any(difference.path == "/limits" for difference in work.differences)
    for what in COUNTED:
        limit, there = getattr(limits, what), getattr(taken, what)
        if limit is not None and there > limit and (whole or what in changed):
            sentence = f"limits.{what} is {_told(what, limit)}, and {_told(what, there)} of it are taken already"
            lifts = "raise it, or wait until what rests in quarantine there is purged"
            return Hold(work.ref, "limits", sentence, lifts, work.target, work.action)
    return None


def _beyond(work: Work, limits: Limits, before: Taken, after: Taken) -> Hold | None:
    if limits.disk is not None and kind_of(work.ref) == "Machine" and (work.after or {}).get("disk") is None:
        sentence = "limits.disk of its tenant is kept by the node, and its own disk has no size"
        return Hold(work.ref, "limits", sentence, "say `disk` in its package", work.target, work.action)
    for what in COUNTED:
        limit, there, then = getattr(limits, what), getattr(before, what), getattr(after, what)
        if limit is not None and then > limit and then > there:
            held = f"{_told(what, there)} of it are taken, by what rests in quarantine too"
            if work.source is not None and what == "disk":
                held += ", and what it carries along is there twice while it moves"
            sentence = f"limits.{what} of its tenant is {_told(what, limit)} on {node_of(work.target)}, and {held}"
            lifts = "raise it, or wait for the purge: trueup get machine tells when"
            return Hold(work.ref, "limits", sentence, lifts, work.target, work.action)
    return None


def _told(what: str, amount: int) -> str:
    return str(amount) if what == "machines" else size(amount)
