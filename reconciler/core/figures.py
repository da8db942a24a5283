"""The figures that stand beside a plan: headroom of the targets it touches, budgets it spends.

Owns: sums for people. Must not go here: anything that decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from reconciler.core import rules
from reconciler.core.desired import Demand
from reconciler.core.placement import PLENTY, plus
from reconciler.core.plan import BudgetUse, Change, Headroom
from reconciler.core.refs import Target
from reconciler.core.work import Work, grown
from reconciler.core.world import World


def headroom(world: World, works: Iterable[Work], freed: Mapping[Target, Demand]) -> tuple[Headroom, ...]:
    """Free room on the targets that machines of the plan touch: now, and once all is done."""
    touching: dict[Target, list[Work]] = {}
    leaving: dict[Target, Demand] = {}
    for work in works:
        if rules.is_single(work.ref):
            touching.setdefault(work.target, []).append(work)
        if work.source is not None:
            touching.setdefault(work.source, [])
            leaving[work.source] = plus(leaving.get(work.source, Demand()), world.facts[work.ref].demand)
    found = []
    for target in sorted(touching):
        room = world.rooms.by_target[target]
        back = plus(freed.get(target, Demand()), leaving.get(target, Demand()))
        grow = [_takes(work, world) for work in touching[target]]
        pairs = {}
        for name in ("memory", "cpu", "disk"):
            # The room counts what is desired already, so what grows is added back for "before".
            base = getattr(room, name) - getattr(room.used, name)
            before = base + sum(getattr(more, name) for more in grow)
            pairs[name] = (before, base + getattr(back, name)) if getattr(room, name) < PLENTY >> 1 else None
        found.append(Headroom(target, pairs["memory"], pairs["cpu"], pairs["disk"], room.closed or ""))
    return tuple(found)


def _takes(work: Work, world: World) -> Demand:
    return grown(work, world) if work.source is None else world.facts[work.ref].demand


def budget_uses(world: World, changes: Iterable[Change], now: float) -> tuple[BudgetUse, ...]:
    """What the plan spends of each budget that is limited, what the window has spent before included."""
    assert world.desired is not None, "budgets are policy"
    machines = max(len(world.facts), 1)
    planned: dict[str, int] = {}
    for change in changes:
        for step in change.steps:
            for entry in step.on_intent:
                name = getattr(entry, "budget", None)
                if name is not None:
                    planned[name] = planned.get(name, 0) + 1
    policy = world.desired.policy
    uses = []
    for name, budget in (("destroys", policy.destroys), ("restarts", policy.restarts)):
        for window in ("per plan", *rules.WINDOWS):
            allowed = rules.allowance(budget, window, machines)
            if allowed is None or name not in planned:
                continue
            before = rules.spent_in(world.ledger, name, window, now) if window != "per plan" else 0
            uses.append(BudgetUse(name, window, before + planned[name], allowed))
    return tuple(uses)
