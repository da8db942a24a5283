"""Budgets: how much harm is allowed in one plan, in a rolling hour and day, and in a rolling hour on one node, in one
rack and to one tenant (invariant I5).

Owns: the arithmetic that the planner and the executor share, so that both say the same of the same ledger, and what a
plan's works spend. Must not go here: figures for people (figures).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping

from reconciler.core import order, rules
from reconciler.core.desired import Budget, NodeWant, Policy
from reconciler.core.ledger import Ledger, Spent
from reconciler.core.plan import WORDS, Action, BudgetUse, Cause, Difference, Hold, Manner
from reconciler.core.refs import Ref, Target, kind_of, node_of, tenant_of
from reconciler.core.work import Work
from reconciler.core.world import World

NAMES = ("destroys", "restarts", "creates")
PLAN = "per plan"
SECONDS = {"per hour": 3600.0, "per day": 86400.0, "per node": 3600.0, "per rack": 3600.0, "per tenant": 3600.0}
"""The rolling windows. The last three are of one target, rack or tenant each; a member of a cluster is a node."""
WINDOWS = (PLAN, *SECONDS)
Account = tuple[str, str]
"""A window, and whose: a target, a rack, a tenant; empty where it is everybody's."""
Census = Callable[[Account], int]
"""How many machines an account is of: what shares are shares of. Asked only where there is a share."""


def budget_of(policy: Policy, name: str) -> Budget:
    found: Budget = getattr(policy, name)
    return found


def allowance(budget: Budget, account: Account, census: Census) -> int | None:
    """How many a budget allows: the larger of the count and the share of the machines concerned; None if it is not
    limited."""
    name = account[0].replace(" ", "_")
    count: int | None = getattr(budget, name)
    share: float = getattr(budget, f"{name}_share")
    if not share:
        return count
    return max(count or 0, int(share * census(account)))


def accounts(nodes: Mapping[str, NodeWant], ref: Ref, target: Target) -> Iterator[Account]:
    """Every account that something done to a machine on a target counts against."""
    for window in (PLAN, "per hour", "per day"):
        yield window, ""
    yield "per node", target
    rack = rack_of(nodes, target)
    if rack is not None:
        yield "per rack", rack
    tenant = tenant_of(ref)
    if tenant is not None:
        yield "per tenant", tenant


def rack_of(nodes: Mapping[str, NodeWant], target: Target) -> str | None:
    """The rack of a node, or of a member that has one of its own; None if nobody says."""
    node = nodes.get(node_of(target))
    if node is None:
        return None
    member = node.members.get(target.partition("/")[2])
    return (member.rack if member is not None else None) or node.rack


_NONE = Budget()


class Tally:
    """What was spent of each account in the windows that end now (unix seconds), and is about to be."""

    def __init__(
        self, ledger: Ledger, policy: Policy, nodes: Mapping[str, NodeWant], census: Census, now: float
    ) -> None:
        self._policy = policy
        self._nodes = nodes
        self._census = census
        self._spent: defaultdict[tuple[str, Account], int] = defaultdict(int)
        self._lost: set[tuple[str, str]] = set()
        """Budget and window: it began before the ledger did, which was rebuilt since."""
        limited = any([policy.destroys != _NONE, policy.restarts != _NONE, policy.creates != _NONE])
        for at, entry in ledger.spent_after(now - max(SECONDS.values())) if limited else ():
            for account in accounts(nodes, entry.ref, entry.target):
                if at <= now - SECONDS.get(account[0], 0.0) or account[0] == PLAN:
                    continue
                self._spent[entry.budget, account] += 1
            if kind_of(entry.ref) == "Datacenter":  # what a rebuilt ledger begins with
                self._lost.update((entry.budget, window) for window, seconds in SECONDS.items() if at > now - seconds)

    def spend(self, spending: Spent) -> None:
        for account in accounts(self._nodes, spending.ref, spending.target):
            self._spent[spending.budget, account] += 1

    def lose(self, count: int) -> None:
        """Machines that vanished: nobody knows when and how, so they count as destroyed in this plan, hour and day."""
        for window in (PLAN, "per hour", "per day") if count else ():
            self._spent["destroys", (window, "")] += count

    def take(self, works: Iterable[Work]) -> list[tuple[Work, Hold]]:
        """Spend what these take, in canonical order; those that are beyond a budget spend nothing, and have Holds."""
        over: list[tuple[Work, Hold]] = []
        for work in sorted([work for work in works if rules.is_single(work.ref)], key=order.rank):
            place = work.source or work.target
            spending = [Spent(name, work.ref, place) for name, spends in _SPENDS.items() if spends(work)]
            why = next((why for each in spending if (why := self.refusal(each)) is not None), None)
            if why is not None:
                lifts = "wait, or raise the budget in git"
                over.append((work, Hold(work.ref, "budget", why, lifts, work.target, work.action)))
            for each in spending if why is None else ():
                self.spend(each)
        return over

    def uses(self, spending: Iterable[Spent]) -> Iterator[BudgetUse]:
        """How far the accounts are used that these count against; of nodes, racks and tenants the one used most."""
        touched = {
            (each.budget, each_of)
            for each in spending if budget_of(self._policy, each.budget) != Budget()
            for each_of in accounts(self._nodes, each.ref, each.target)
        }  # fmt: skip
        found: dict[tuple[str, str], list[BudgetUse]] = {}
        for name, account in sorted(touched):
            allowed = allowance(budget_of(self._policy, name), account, self._census)
            if allowed is not None:
                use = BudgetUse(name, account[0], self._spent[name, account], allowed, account[1])
                found.setdefault((name, account[0]), []).append(use)
        for key in sorted(found, key=lambda key: (NAMES.index(key[0]), WINDOWS.index(key[1]))):
            yield max(found[key], key=lambda use: (use.spent - use.allowed, use.of))

    def refusal(self, spending: Spent) -> str | None:
        """Why one more unit cannot be spent; None if it can."""
        budget, census = budget_of(self._policy, spending.budget), self._census
        if budget == Budget():
            return None
        for account in accounts(self._nodes, spending.ref, spending.target):
            window, whose = account
            allowed = allowance(budget, account, census)
            if allowed is None:
                continue
            lost = whose and (spending.budget, window) in self._lost
            if lost or self._spent[spending.budget, account] >= allowed:
                return f"the budget of {allowed} {spending.budget} {WORDS[window].format(whose)} is spent"
        return None


def over_budget(tally: Callable[[], Tally], policy: Policy, spending: Iterable[Spent]) -> str | None:
    """The executor's own look, just before an intent that spends: None, or why not. `tally`: of the ledger as it is."""
    limited = [each for each in spending if budget_of(policy, each.budget) != Budget()]
    return next((why for why in _refusals(tally(), limited) if why is not None), None) if limited else None


def _refusals(tally: Tally, spending: Iterable[Spent]) -> Iterator[str | None]:
    for each in spending:
        yield tally.refusal(each)
        tally.spend(each)


def census_of(world: World) -> Census:
    """By the tables of a world: machines that are there, or should be."""

    known: dict[Account, int] = {}

    def machines(account: Account) -> int:
        if account not in known:
            known[account] = counted(account)
        return known[account]

    def counted(account: Account) -> int:
        window, whose = account
        if window == "per node":
            return len(world.homes.get(Target(whose), ()))
        if window == "per rack":
            return sum(len(home) for at, home in world.homes.items() if rack_of(world.nodes, at) == whose)
        if window == "per tenant":
            return world.taken[whose].machines if whose in world.taken else 0
        return max(len(world.facts), 1)

    return machines


def tally_of(world: World, now: float, *, gone: int = 0) -> Tally:
    """What a plan begins with. `gone`: machines that vanished without a destroy of ours."""
    assert world.desired is not None, "budgets are policy"
    tally = Tally(world.ledger, world.desired.policy, world.nodes, census_of(world), now)
    tally.lose(gone)
    return tally


def destroys(work: Work) -> bool:
    """A machine that lives goes to quarantine, or a data disk of it is destroyed."""
    away = work.action in (Action.DESTROY, Action.REPLACE) and work.found is not None and work.found.lifecycle == "live"
    return away or any(map(rules.loses_disk, work.differences))


def restarts(work: Work) -> bool:
    """A machine that runs is stopped for a change of it."""
    running = work.found is not None and work.found.fields.get("state") == "running"
    if not running or work.action in (Action.REPLACE, Action.MOVE):
        return running
    cold = any([difference.manner in (Manner.REBOOT, Manner.STOPPED) for difference in work.differences])
    return (cold and work.action in (Action.UPDATE, Action.RENAME)) or halts(work.differences)


def halts(differences: Iterable[Difference]) -> bool:
    """Whether a drain stops the machine."""
    return any([each.path == "/state" and each.cause is Cause.OPERATION for each in differences])


def creates(work: Work) -> bool:
    """A machine takes room that it did not have: made new, or back from quarantine."""
    return work.action in (Action.CREATE, Action.RESTORE) and rules.is_single(work.ref)


_SPENDS: Mapping[str, Callable[[Work], bool]] = {"destroys": destroys, "restarts": restarts, "creates": creates}
