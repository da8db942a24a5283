"""The figures that stand beside a plan: headroom of the targets it touches, limits of the tenants, budgets it spends.

Owns: sums for people. Must not go here: anything that decides.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from reconciler.core import rules
from reconciler.core.budgets import Tally
from reconciler.core.desired import Demand, Limits
from reconciler.core.known import Taken
from reconciler.core.ledger import Spent
from reconciler.core.placement import PLENTY
from reconciler.core.plan import Action, BudgetUse, Change, Headroom, LimitUse
from reconciler.core.refs import Target, kind_of, tenant_of
from reconciler.core.work import Freed, Work, freed_by, freed_of, grown, together
from reconciler.core.world import World


def headroom(world: World, works: Collection[Work]) -> tuple[Headroom, ...]:
    """Free room on the targets that machines of the plan touch: now, and once all is done."""
    touching: dict[Target, list[Work]] = {}
    freed = freed_by(works, world)
    for work in works:
        if rules.is_single(work.ref):
            touching.setdefault(work.target, []).append(work)
        if work.source is not None:
            touching.setdefault(work.source, [])
    found = []
    for target in sorted(touching):
        room = world.rooms.by_target[target]
        back = freed.get(target, Freed()).demand
        grow = [_takes(work, world) for work in touching[target]]
        pairs = {}
        for name in ("memory", "cpu", "disk"):
            # The room counts what is desired already, so what grows is added back for "before".
            base = getattr(room, name) - getattr(room.used, name)
            before = base + sum([getattr(more, name) for more in grow])
            pairs[name] = (before, base + getattr(back, name)) if getattr(room, name) < PLENTY >> 1 else None
        found.append(Headroom(target, pairs["memory"], pairs["cpu"], pairs["disk"], room.closed or ""))
    return tuple(found)


def _takes(work: Work, world: World) -> Demand:
    return grown(work, world) if work.source is None else together(world, (work.ref, *work.along))


def limit_uses(world: World, works: Iterable[Work]) -> tuple[LimitUse, ...]:
    """What the tenants that have limits take of them, before the plan and after it, where it changes that."""
    assert world.desired is not None, "limits are policy"
    limits = world.desired.policy.limits
    touched: dict[str, list[Work]] = {}
    for work in works if limits else ():
        tenant = tenant_of(work.ref)
        if tenant is not None and tenant in limits and rules.is_single(work.ref):
            touched.setdefault(tenant, []).append(work)
    return tuple(use for tenant in sorted(touched) for use in _of_tenant(world, tenant, touched[tenant]))


def _of_tenant(world: World, tenant: str, works: list[Work]) -> Iterator[LimitUse]:
    """What is there counts as what is desired of it, or was: the larger; so what grows is taken off for "before"."""
    base, limits = world.taken.get(tenant, Taken()), world.desired.policy.limits[tenant] if world.desired else Limits()
    before, after = Taken(*base), Taken(*base)
    for work in works:
        more, less = grown(work, world), freed_of(work, world)
        appears = work.action in (Action.CREATE, Action.RESTORE)
        before, after = (before, after.plus(more)) if appears else (before.plus(more, -1), after)
        count = (appears - (work.action is Action.DESTROY)) * (kind_of(work.ref) == "Machine")
        after = after.plus(less, -1)._replace(machines=after.machines + count)
    for what in Taken._fields:
        limit, was, becomes = getattr(limits, what), getattr(before, what), getattr(after, what)
        if limit is not None and was != becomes:
            yield LimitUse(tenant, what, was, becomes, limit)


def budget_uses(tally: Tally, changes: Iterable[Change]) -> tuple[BudgetUse, ...]:
    """How far budgets are used that are limited and that the plan spends of, what was spent before included."""
    entries = (entry for change in changes for step in change.steps for entry in step.on_intent)
    return tuple(tally.uses([entry for entry in entries if isinstance(entry, Spent)]))
