"""What nodes themselves are held for: claims, members, removal."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.core.desired import Lineage
from reconciler.core.ledger import Claimed, Ledger, Paused, Record, Result, Spent
from reconciler.core.observed import Claim, Object
from reconciler.core.plan import Action, Hold, Plan
from reconciler.core.planner import make_plan
from reconciler.core.refs import Target
from tests.builders import (
    NOW,
    SHAPES,
    Fleet,
    GiB,
    ledger,
    machine,
    node,
    plan_of,
    report,
    request,
    small_site,
)  # fmt: skip
from tests.core.test_guard_rules import DB, REMOVED, WEB, actions, settled


def test_a_node_is_claimed_first_and_only_once() -> None:
    fleet, site = Fleet(claimed=False), small_site(machine())
    plan = fleet.plan(site)
    claim = plan.changes[0]
    assert (claim.action, claim.ref, claim.steps[0].on_applied) == (
        Action.ADOPT, "Node/edge1", (Claimed(Target("edge1"), "guid-edge1"),),
    )  # fmt: skip
    assert all(claim.steps[0].id in change.steps[0].needs for change in plan.changes[1:])
    fleet.apply(plan)
    assert not fleet.plan(site).changes


@pytest.mark.parametrize(
    ("asked", "entries", "rule"),
    [
        ({"lineage": Lineage(older=True)}, (), "older"),
        ({"intent": False}, (), "follow"),
        ({}, (Paused("Node/edge1", NOW + 60, "new disks"),), "paused"),
    ],
)
def test_a_claim_that_is_held_keeps_everything_off_its_node(asked: Any, entries: Any, rule: str) -> None:
    plan = plan_of(small_site(machine()), report(claimed=False), remembered=ledger(*entries), **asked)
    assert not plan.changes
    assert ("Node/edge1", rule) in {(hold.ref, hold.rule) for hold in plan.holds}


@pytest.mark.parametrize(
    ("told", "entries", "problem"),
    [
        ({"claimed": False}, (Claimed(Target("edge1"), "guid-edge1"),), "it bears no claim although it was claimed"),
        ({"claim": Claim("0" * 36, "guid-edge1")}, (), "it is claimed by another datacenter"),
        ({"claim": Claim("6f1c8f3e-4d0a-5f37-9d5b-0c8f1f6f2a11", "x")}, (), "the mark was copied"),
        ({}, (Claimed(Target("edge1"), "another"),), "it is not the node that was claimed under this name"),
        ({"identity": None, "claimed": False}, (), "its identity could not be read"),
    ],
)
def test_a_node_whose_word_does_not_count_is_touched_by_nothing(told: Any, entries: Any, problem: str) -> None:
    plan = plan_of(small_site(machine()), report(**told), remembered=ledger(*entries))
    assert not plan.changes
    assert any(problem in each for each in plan.problems)
    assert not plan.complete


def test_a_node_of_nobody_that_holds_our_objects_is_not_claimed() -> None:
    fleet, site = settled(machine())
    fleet.claimed[Target("edge1")] = False
    fleet.records.clear()
    plan = fleet.plan(site)
    assert not plan.changes
    assert any("holds objects of this datacenter but bears no claim" in each for each in plan.problems)


def test_a_removed_node_document_is_missed_while_something_lives_there() -> None:
    fleet, _ = settled(machine())
    bare = small_site(machine(), nodes=[node("edge2")])
    plan = make_plan(bare, [*fleet.reports(), report("edge2")], fleet.ledger(), SHAPES, request())
    assert [(hold.ref, hold.rule) for hold in plan.holds] == []
    fleet.journal(Claimed(Target("edge1"), "guid-edge1"))
    plan = make_plan(bare, [*fleet.reports(), report("edge2")], fleet.ledger(), SHAPES, request())
    assert [(hold.ref, hold.rule) for hold in plan.holds] == [("Node/edge1", "node")]
    assert "1 machine of ours may live there" in plan.holds[0].sentence
    gone = make_plan(small_site(nodes=[node("edge2")]), [report("edge2")], fleet.ledger(), SHAPES,
                     request(lineage=REMOVED))  # fmt: skip
    assert {(hold.ref, hold.rule) for hold in gone.holds} == {("Node/edge1", "node"), (WEB, "unknown")}


def test_a_driver_that_is_not_installed_makes_its_node_unknown() -> None:
    plan = plan_of(small_site(machine(), nodes=[node(driver="other")]))
    assert [hold.rule for hold in plan.holds] == ["coverage"]
    assert "its driver other is not installed here" in plan.problems[0]


def test_a_partial_listing_proves_what_it_lists_and_nothing_else() -> None:
    fleet, _ = settled(machine(), machine("db"))
    here = list(fleet.objects[Target("edge1")].values())
    told = report(objects=[each for each in here if each.marks and each.marks.ref != DB], complete=False,
                  problem="cut short")  # fmt: skip
    grown = small_site(machine(memory=2 * GiB), machine("db", memory=2 * GiB))
    plan = make_plan(grown, [told], fleet.ledger(), SHAPES, request())
    assert actions(plan) == [("update", WEB)]
    assert [(hold.ref, hold.rule) for hold in plan.holds] == [(DB, "unknown")]


def test_a_listing_that_began_before_our_last_write_proves_no_absence() -> None:
    fleet, site = settled(machine())
    fleet.objects[Target("edge1")].clear()
    stale = fleet.reports()
    fleet.journal(Result("p", "s", Target("edge1"), WEB, "applied"))
    plan = make_plan(site, stale, fleet.ledger(), SHAPES, request())
    assert not plan.changes
    assert {hold.rule for hold in plan.holds} <= {"unknown"}
    fresh = make_plan(site, fleet.reports(), fleet.ledger(), SHAPES, request())
    assert WEB in [hold.ref for hold in fresh.holds if hold.rule == "vanished"]


def test_an_unmanaged_object_is_counted_and_never_touched() -> None:
    foreign = Object("Machine", "old", "old", {"memory": 60 * GiB}, "x")
    plan = plan_of(small_site(machine(memory=8 * GiB)), report(objects=[foreign]))
    assert plan.unmanaged == 1
    assert "needs" in only(plan, "placement").sentence


def only(plan: Plan, rule: str) -> Hold:
    (hold,) = [each for each in plan.holds if each.rule == rule]
    return hold


def test_records_are_folded_in_any_clock() -> None:
    spent = Spent("destroys", WEB, Target("edge1"))
    jumped = Ledger([Record(1, NOW, spent), Record(2, NOW - 7200, spent), Record(3, NOW + 9, spent)])
    assert [at for at, _ in jumped.spent] == [NOW - 7200, NOW, NOW + 9]
    assert [at for at, _ in jumped.spent_after(NOW - 1)] == [NOW, NOW + 9]
