"""Budgets by plan, hour, day, node, rack and tenant: the planner and the executor say the same of them (I5)."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from reconciler.core.budgets import Tally, accounts, rack_of
from reconciler.core.desired import Budget, Constraints, Desired, Limits, Lineage, NodeMember, Policy
from reconciler.core.ledger import Entry, Ledger, Spent
from reconciler.core.plan import Action, BudgetUse, LimitUse, Plan
from reconciler.core.rebuild import rebuilt
from reconciler.core.refs import Ref, Target, tenant_of
from reconciler.core.render.plan import plan_text
from reconciler.runtime.cycle import allowance_of, machines_of
from tests.builders import NOW, Fleet, GiB, desired, image, ledger, machine, network, node

NODES = {
    "a": node("a", rack="r1"),
    "b": node("b", rack="r1"),
    "c": node("c", rack="r2"),
    "inc": node("inc", rack="r3", members={"x": NodeMember(), "y": NodeMember(rack="r4")}),
}
WEB, DB = Ref("Machine/acme/web"), Ref("Machine/blue/db")


def site(policy: Policy, *names: str, **more: Any) -> Desired:
    """Machines `tenant/name@node`, all that each needs, and the nodes."""
    made = []
    for each in names:
        ref, _, where = each.partition("@")
        tenant, _, name = ref.partition("/")
        about = {"nics": (), "constraints": _on(where), **more}
        made.append(machine(name, tenant, **about))
    return desired(image(), network(), *made, nodes=NODES.values(), policy=policy)


def _on(where: str) -> Constraints:
    return Constraints(node=where or None)


def fleet_of(*names: str) -> Fleet:
    fleet = Fleet("a", "b", "c", "inc/x", "inc/y")
    fleet.apply(fleet.plan(site(Policy(), *names)))
    return fleet


def removal(*names: str) -> Lineage:
    return Lineage(removed=frozenset(Ref(f"Machine/{each.partition('@')[0]}") for each in names))


def kept(plan: Plan) -> list[str]:
    return [hold.sentence for hold in plan.holds if hold.rule == "budget"]


SIX = ("acme/m1@a", "acme/m2@a", "acme/m3@b", "blue/m4@b", "blue/m5@c", "blue/m6@c")


@pytest.mark.parametrize(
    ("budget", "most"),
    [
        (Budget(per_plan=4), {("", ""): 4}),
        (Budget(per_plan_share=0.5), {("", ""): 3}),
        (Budget(per_hour=2, per_hour_share=0.5), {("", ""): 3}),
        (Budget(per_day=2, per_day_share=0.1), {("", ""): 2}),
        (Budget(per_node=1), {("node", "a"): 1, ("node", "b"): 1, ("node", "c"): 1}),
        (Budget(per_node_share=0.5), {("node", "a"): 1, ("node", "b"): 1, ("node", "c"): 1}),
        (Budget(per_rack=1), {("rack", "r1"): 1, ("rack", "r2"): 1}),
        (Budget(per_rack_share=0.5), {("rack", "r1"): 2, ("rack", "r2"): 1}),
        (Budget(per_tenant=1), {("tenant", "acme"): 1, ("tenant", "blue"): 1}),
        (Budget(per_tenant_share=0.7, per_tenant=1), {("tenant", "acme"): 2, ("tenant", "blue"): 2}),
        (Budget(per_plan=0), {("", ""): 0}),
    ],
)
def test_a_plan_keeps_within_each_budget_and_uses_it_up(budget: Budget, most: dict[tuple[str, str], int]) -> None:
    fleet = fleet_of(*SIX)
    plan = fleet.plan(site(Policy(destroys=budget)), lineage=removal(*SIX))
    done: Counter[tuple[str, str]] = Counter({key: 0 for key in most})
    for change in plan.changes:
        for key in (("", ""), ("node", change.target), ("rack", rack_of(NODES, change.target) or ""),
                    ("tenant", tenant_of(change.ref) or "")):  # fmt: skip
            if key in most:
                done[key] += 1
    assert dict(done) == most
    assert len(plan.changes) + len(kept(plan)) == 6


def test_a_data_disk_that_goes_is_a_destroy() -> None:
    disks = {"disks": {name: {"size": GiB, "path": f"/{name}"} for name in ("data", "logs")}}
    fleet = Fleet("a", "b", "c", "inc/x", "inc/y")
    fleet.apply(fleet.plan(site(Policy(), "acme/m1@a", body=disks)))
    wanted = site(Policy(destroys=Budget(per_plan=1)), "acme/m1@a")
    (change,) = fleet.plan(wanted).changes
    spent = [entry for step in change.steps for entry in step.on_intent if isinstance(entry, Spent)]
    assert [step.verb for step in change.steps].count("destroy-disk") == 2
    assert spent == [Spent("destroys", change.ref, Target("a"))]
    held = fleet.plan(site(Policy(destroys=Budget(per_plan=0)), "acme/m1@a"))
    assert not held.changes
    assert kept(held) == ["the budget of 0 destroys a plan is spent"]


def test_a_hold_says_whose_budget_it_is() -> None:
    fleet = fleet_of(*SIX)

    def sentences(budget: Budget) -> set[str]:
        return set(kept(fleet.plan(site(Policy(destroys=budget)), lineage=removal(*SIX))))

    assert sentences(Budget(per_plan=1)) == {"the budget of 1 destroys a plan is spent"}
    assert sentences(Budget(per_day=1)) == {"the budget of 1 destroys a day is spent"}
    assert sentences(Budget(per_rack=2)) == {"the budget of 2 destroys an hour in rack r1 is spent"}
    assert sentences(Budget(per_tenant=2)) == {
        "the budget of 2 destroys an hour of acme is spent", "the budget of 2 destroys an hour of blue is spent",
    }  # fmt: skip


def test_a_member_counts_as_a_node_and_has_the_rack_that_it_says() -> None:
    assert [rack_of(NODES, Target(each)) for each in ("a", "inc/x", "inc/y", "gone")] == ["r1", "r3", "r4", None]
    found = list(accounts(NODES, WEB, Target("inc/y")))
    assert found[3:] == [("per node", "inc/y"), ("per rack", "r4"), ("per tenant", "acme")]
    assert [window for window, _ in accounts({}, Ref("Machine/web"), Target("a"))][3:] == ["per node"]


@pytest.mark.parametrize("window", ["per_hour", "per_node", "per_rack", "per_tenant"])
def test_what_was_spent_by_other_plans_within_the_hour_counts(window: str) -> None:
    policy = Policy(destroys=Budget(**{window: 1}))
    fleet = fleet_of("acme/m1@a", "acme/m2@a")
    fleet.journal(Spent("destroys", Ref("Machine/acme/x"), Target("a")), at=NOW - 1800)
    wanted = site(policy)
    assert len(kept(fleet.plan(wanted, lineage=removal("acme/m1", "acme/m2")))) == 2
    assert len(kept(fleet.plan(wanted, lineage=removal("acme/m1", "acme/m2"), now=NOW + 1801))) == 1


def test_what_another_place_or_tenant_spent_does_not_count() -> None:
    fleet = fleet_of("acme/m1@a")
    fleet.journal(Spent("destroys", DB, Target("c")), Spent("restarts", WEB, Target("a")), at=NOW - 60)
    for window in ("per_node", "per_rack", "per_tenant"):
        wanted = site(Policy(destroys=Budget(**{window: 1})))
        assert kept(fleet.plan(wanted, lineage=removal("acme/m1"))) == []


def test_restarts_are_counted_where_they_happen() -> None:
    fleet = fleet_of(*SIX)
    wanted = site(Policy(restarts=Budget(per_rack=1)), *SIX, body={"hostname": "other"})
    plan = fleet.plan(wanted)
    assert sorted(change.target for change in plan.changes) == ["a", "c"]
    assert {hold.wanted for hold in plan.holds} == {Action.UPDATE}


def test_capacity_is_taken_within_a_budget() -> None:
    fleet = fleet_of()
    policy = Policy(creates=Budget(per_plan=3, per_node=1))
    plan = fleet.plan(site(policy, *SIX))
    made = [change for change in plan.changes if change.ref.startswith("Machine/")]
    assert sorted(change.target for change in made) == ["a", "b", "c"]
    assert kept(plan)[0] == "the budget of 1 creates an hour on a is spent"
    spent = [entry for change in made for entry in change.steps[0].on_intent if isinstance(entry, Spent)]
    assert {entry.budget for entry in spent} == {"creates"}
    assert len(spent) == 3
    fleet.apply(plan)
    assert len(kept(fleet.plan(site(policy, *SIX)))) == 3
    assert not kept(fleet.plan(site(policy, *SIX), now=NOW + 3601))


def test_what_comes_back_from_quarantine_takes_capacity_too() -> None:
    fleet = fleet_of("acme/m1@a")
    fleet.apply(fleet.plan(site(Policy()), lineage=removal("acme/m1")))
    plan = fleet.plan(site(Policy(creates=Budget(per_tenant=0)), "acme/m1@a"))
    assert kept(plan) == ["the budget of 0 creates an hour of acme is spent"]
    assert not plan.changes


def test_without_a_budget_nothing_is_journalled_for_what_is_made() -> None:
    plan = fleet_of().plan(site(Policy(), *SIX))
    assert not [entry for step in plan.steps for entry in step.on_intent if isinstance(entry, Spent)]


def refused(policy: Policy, spent: Ledger, *entries: Entry, now: float = NOW) -> str | None:
    asked = tuple(entry for entry in entries if isinstance(entry, Spent))
    return allowance_of(site(policy, *SIX))(asked, spent, now)


ONE = Spent("destroys", Ref("Machine/acme/m1"), Target("a"))
NEXT = Spent("destroys", Ref("Machine/acme/m2"), Target("b"))


def test_the_executor_looks_at_every_window_again() -> None:
    full = ledger(ONE, at=NOW - 60)
    for window, words in (("per_hour", "an hour"), ("per_day", "a day"), ("per_node", "an hour on a"),
                          ("per_rack", "an hour in rack r1"), ("per_tenant", "an hour of acme")):  # fmt: skip
        policy = Policy(destroys=Budget(**{window: 1}), restarts=Budget())
        assert refused(policy, full, ONE) == f"the budget of 1 destroys {words} is spent"
        assert refused(policy, full, Spent("restarts", ONE.ref, ONE.target)) is None
        assert refused(policy, full, ONE, now=NOW + 86400) is None
        assert refused(policy, Ledger(), ONE) is None
    assert (
        refused(Policy(destroys=Budget(per_rack=1)), full, NEXT)
        == "the budget of 1 destroys an hour in rack r1 is spent"
    )
    assert refused(Policy(destroys=Budget(per_node=1)), full, NEXT) is None


def test_what_one_step_spends_together_is_looked_at_together() -> None:
    assert refused(Policy(destroys=Budget(per_hour=1)), Ledger(), ONE, NEXT) is not None
    assert refused(Policy(destroys=Budget(per_hour=2)), Ledger(), ONE, NEXT) is None
    both = (ONE, Spent("restarts", ONE.ref, ONE.target))
    assert refused(Policy(destroys=Budget(per_hour=1), restarts=Budget(per_hour=0)), Ledger(), *both) is not None


def test_shares_are_of_the_machines_concerned() -> None:
    fleet = fleet_of(*SIX)
    counted = machines_of(site(Policy(), *SIX), fleet.ledger())
    assert counted["per plan", ""] == 6
    assert counted["per node", "a"] == 2
    assert counted["per rack", "r1"] == 4
    assert counted["per tenant", "blue"] == 3
    assert refused(Policy(destroys=Budget(per_node_share=0.5)), fleet.ledger(), ONE) is None
    assert refused(Policy(destroys=Budget(per_node_share=0.4)), fleet.ledger(), ONE) is not None


def test_after_a_rebuild_every_limited_window_counts_as_used_up() -> None:
    fleet = fleet_of(*SIX)
    for budget in (Budget(per_hour=2), Budget(per_node=5), Budget(per_rack=5), Budget(per_tenant=5)):
        policy = Policy(destroys=budget, restarts=budget)
        entries = rebuilt(site(policy, *SIX), fleet.reports(), NOW)
        again = ledger(*entries, at=NOW)
        assert refused(policy, again, ONE) is not None
        assert refused(policy, again, Spent("restarts", ONE.ref, ONE.target)) is not None
        assert refused(policy, again, ONE, now=NOW + 3601) is None
    entries = rebuilt(site(Policy(destroys=Budget()), *SIX), fleet.reports(), NOW)
    assert not [entry for entry in entries if isinstance(entry, Spent)]


def test_the_fullest_account_of_each_window_is_told() -> None:
    fleet = fleet_of(*SIX)
    fleet.journal(Spent("destroys", Ref("Machine/blue/x"), Target("c")), at=NOW - 60)
    policy = Policy(destroys=Budget(per_plan=9, per_node=2, per_tenant=9))
    plan = fleet.plan(site(policy), lineage=removal(*SIX))
    assert plan.budgets == (
        BudgetUse("destroys", "per plan", 5, 9),
        BudgetUse("destroys", "per node", 2, 2, "c"),
        BudgetUse("destroys", "per tenant", 3, 9, "blue"),
    )
    told = next(line for line in plan_text(plan).splitlines() if line.startswith("Budgets"))
    assert told == "Budgets       destroys 5 of 9 a plan, 2 of 2 an hour on c, 3 of 9 an hour of blue"


def test_a_tally_counts_machines_that_vanished_as_destroyed() -> None:
    tally = Tally(Ledger(), Policy(destroys=Budget(per_day=2)), {}, lambda _: 0, NOW)
    tally.lose(2)
    assert tally.refusal(ONE) == "the budget of 2 destroys a day is spent"


# -- limits of tenants ------------------------------------------------------------------------------------------------


def limited(**limits: int) -> Policy:
    return Policy(limits={"acme": Limits(**limits)}, destroys=Budget())


def test_a_plan_tells_what_it_makes_of_the_limits_of_its_tenants() -> None:
    policy = limited(memory=8 * GiB, machines=4, cpu=8000, disk=100 * GiB)
    fleet = fleet_of("acme/m1@a", "blue/m2@a")
    plan = fleet.plan(site(policy, "acme/m1@a", "acme/m3@b", "blue/m2@a", memory=2 * GiB))
    assert plan.limits == (
        LimitUse("acme", "machines", 1, 2, 4),
        LimitUse("acme", "memory", GiB, 4 * GiB, 8 * GiB),
        LimitUse("acme", "cpu", 1000, 2000, 8000),
        LimitUse("acme", "disk", 10 * GiB, 20 * GiB, 100 * GiB),
    )
    told = next(line for line in plan_text(plan).splitlines() if line.startswith("Limits"))
    assert told == (
        "Limits        acme machines 1 → 2 of 4   acme memory 1Gi → 4Gi of 8Gi   acme cpu 1 → 2 of 8   "
        "acme disk 10Gi → 20Gi of 100Gi"
    )


def test_what_is_destroyed_keeps_only_its_disk_until_the_purge() -> None:
    policy = limited(memory=8 * GiB, machines=4, disk=100 * GiB)
    fleet = fleet_of("acme/m1@a", "acme/m2@a")
    plan = fleet.plan(site(policy, "acme/m1@a"), lineage=removal("acme/m2"))
    assert plan.limits == (
        LimitUse("acme", "machines", 2, 1, 4), LimitUse("acme", "memory", 2 * GiB, GiB, 8 * GiB),
    )  # fmt: skip
    fleet.apply(plan)
    late = NOW + Policy().quarantine + 1
    fleet.journal(Spent("destroys", DB, Target("c")), at=late - 60)
    purge = fleet.plan(site(policy, "acme/m1@a"), now=late)
    assert purge.limits == (LimitUse("acme", "disk", 20 * GiB, 10 * GiB, 100 * GiB),)
    back = fleet.plan(site(policy, "acme/m1@a", "acme/m2@a"))
    assert back.limits == (
        LimitUse("acme", "machines", 1, 2, 4), LimitUse("acme", "memory", GiB, 2 * GiB, 8 * GiB),
    )  # fmt: skip


def test_what_shrinks_gives_back_and_what_is_not_touched_is_not_told() -> None:
    fleet = fleet_of("acme/m1@a", "blue/m2@a")
    smaller = site(limited(memory=8 * GiB), "acme/m1@a", "blue/m2@a", memory=GiB // 2)
    assert fleet.plan(smaller).limits == (LimitUse("acme", "memory", GiB, GiB // 2, 8 * GiB),)
    assert fleet.plan(site(limited(memory=8 * GiB), "acme/m1@a")).limits == ()
    assert fleet.plan(site(limited(machines=3), "acme/m1@a", "blue/m2@a", memory=GiB // 2)).limits == ()
