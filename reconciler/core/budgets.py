"""Budgets of a plan: which works are beyond what the policy allows (invariant I5).

Owns: counting works against the limits of a plan, of rolling windows and of a node, in canonical order.
Must not go here: the executor's own look at the windows (rules.over_budget), figures for people (figures).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from reconciler.core import order, rules
from reconciler.core.desired import Budget
from reconciler.core.plan import Action, Cause, Difference, Hold
from reconciler.core.refs import Target
from reconciler.core.work import Work
from reconciler.core.world import World


def beyond(works: Iterable[Work], world: World, now: float, *, gone: int) -> list[tuple[Work, Hold]]:
    """The works that must wait, with their Holds. `gone`: machines that vanished without a destroy of ours; they count
    as destroyed in this plan."""
    assert world.desired is not None, "budgets are policy"
    policy = world.desired.policy
    machines = sorted((work for work in works if rules.is_single(work.ref)), key=order.rank)
    windows = _Windows(world, now)
    over = dict(_over(machines, windows, ("destroys", policy.destroys, destroys), spent=gone))
    rest = [work for work in machines if work.id not in over]
    over.update(_over(rest, windows, ("restarts", policy.restarts, restarts)))
    return [(work, over[work.id]) for work in machines if work.id in over]


class _Windows:
    """How much is left of a budget: in this plan, and in the rolling windows that end now."""

    def __init__(self, world: World, now: float) -> None:
        self.world = world
        self.now = now

    def left(self, name: str, budget: Budget) -> int | None:
        machines = max(len(self.world.facts), 1)
        limits = [rules.allowance(budget, "per plan", machines)]
        for window in rules.WINDOWS:
            allowed = rules.allowance(budget, window, machines)
            if allowed is not None:
                limits.append(allowed - rules.spent_in(self.world.ledger, name, window, self.now))
        return min((limit for limit in limits if limit is not None), default=None)

    def on_target(self, target: Target, budget: Budget) -> int | None:
        return rules.allowance(budget, "per node", len(self.world.homes.get(target, ())))


def destroys(work: Work) -> bool:
    """A machine that lives goes to quarantine."""
    return work.action in (Action.DESTROY, Action.REPLACE) and work.found is not None and work.found.lifecycle == "live"


def restarts(work: Work) -> bool:
    """A machine that runs is stopped for a change of it."""
    running = work.found is not None and work.found.fields.get("state") == "running"
    cold = any(difference.manner.value in ("reboot", "stopped") for difference in work.differences)
    whole = work.action in (Action.REPLACE, Action.MOVE)
    return running and (whole or (cold and work.action in (Action.UPDATE, Action.RENAME)) or halts(work.differences))


def halts(differences: Iterable[Difference]) -> bool:
    """Whether a drain stops the machine."""
    return any(each.path == "/state" and each.cause is Cause.OPERATION for each in differences)


def _over(
    works: Iterable[Work], windows: _Windows, kind: tuple[str, Budget, Callable[[Work], bool]], *, spent: int = 0
) -> Iterator[tuple[str, Hold]]:
    name, budget, spends = kind
    limit = windows.left(name, budget)
    on_node: Counter[Target] = Counter()
    for work in works:
        if not spends(work):
            continue
        place = work.source or work.target
        local = windows.on_target(place, budget)
        if limit is not None and spent >= limit:
            sentence = f"the budget of {max(limit, 0)} {name} is spent"
        elif local is not None and on_node[place] >= local:
            sentence = f"the budget of {local} {name} on {place} is spent"
        else:
            spent += 1
            on_node[place] += 1
            continue
        yield work.id, Hold(work.ref, "budget", sentence, "wait, or raise the budget in git", work.target, work.action)
