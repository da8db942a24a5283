"""What a person says by name, and memory made anew: healing, accepting, forgetting, rebuilding, compacting."""

from __future__ import annotations

import msgspec
import pytest

from reconciler.core.compact import compacted
from reconciler.core.ledger import (
    Accepted,
    Applied,
    Bound,
    Claimed,
    Covered,
    Forgotten,
    Ledger,
    Paused,
    Purged,
    Released,
)
from reconciler.core.plan import Action, Cause
from reconciler.core.rebuild import rebuilt
from reconciler.core.refs import Ref, Target, Uid
from reconciler.core.single import forgetting, releasing
from tests.builders import NOW, Fleet, GiB, machine, node, planner, report, small_site

WEB = Ref("Machine/acme/web")


def settled_fleet(*machines: object) -> Fleet:
    fleet = Fleet("edge1")
    wanted = small_site(*(machines or (machine(),)))
    fleet.apply(fleet.plan(wanted))
    fleet.apply(fleet.plan(wanted))
    assert not fleet.plan(wanted).changes
    return fleet


def one(fleet: Fleet, kind: str = "Machine") -> tuple[str, object]:
    (found,) = ((uid, each) for uid, each in fleet.objects[Target("edge1")].items() if each.kind == kind)
    return found


def test_what_our_own_cut_short_change_left_is_no_drift() -> None:
    fleet = settled_fleet()
    uid, thing = one(fleet)
    marks = msgspec.structs.replace(thing.marks, applied="")
    halfway = msgspec.structs.replace(thing, fields={**thing.fields, "memory": 2 * GiB}, marks=marks)
    fleet.objects[Target("edge1")][uid] = halfway
    (change,) = fleet.plan(small_site(machine())).changes
    assert {found.cause for found in change.differences} == {Cause.INTENT}


def test_healing_makes_anew_what_vanished_although_intent_is_not_followed() -> None:
    fleet = settled_fleet()
    uid, _ = one(fleet)
    del fleet.objects[Target("edge1")][uid]
    held = fleet.plan(small_site(machine()), intent=False)
    assert [hold.rule for hold in held.holds] == ["vanished"]
    healed = fleet.plan(small_site(machine()), intent=False, heal=frozenset({WEB}))
    assert [change.action for change in healed.changes] == [Action.CREATE]


def test_an_accepted_revision_is_used_up_by_applying_it() -> None:
    applied = Applied("p", 1, 1, "abc", "tree", "main", "", "repo")
    fleet = Fleet()
    fleet.journal(Accepted("abc"), Accepted("def"), applied)
    assert fleet.ledger().accepted == {"def"}


def test_forgetting_takes_the_marks_off_and_leaves_the_object() -> None:
    fleet = settled_fleet()
    made = planner(small_site(), *fleet.reports(), remembered=fleet.ledger())
    plan = forgetting(made.world, WEB, NOW)
    assert [(change.action, change.steps[0].verb) for change in plan.changes] == [(Action.FORGET, "forget")]
    fleet.journal(*plan.changes[0].steps[-1].on_applied)
    assert not fleet.ledger().bindings.of(WEB)


def test_forgetting_what_is_only_remembered_asks_nothing_of_a_node() -> None:
    fleet = settled_fleet()
    uid, _ = one(fleet)
    del fleet.objects[Target("edge1")][uid]
    made = planner(small_site(), *fleet.reports(), remembered=fleet.ledger())
    plan = forgetting(made.world, WEB, NOW)
    assert not plan.changes
    assert [type(entry) for entry in plan.entries] == [Forgotten]


def test_a_node_is_given_up_with_all_that_is_bound_there() -> None:
    fleet = settled_fleet()
    entries = releasing(small_site(), fleet.ledger(), "edge1")
    assert entries[-1] == Released(Target("edge1"))
    fleet.journal(*entries)
    assert not fleet.ledger().bindings
    assert not fleet.ledger().claims


@pytest.mark.parametrize("quarantined", [False, True])
def test_a_rebuilt_ledger_plans_as_the_lost_one_did(quarantined: bool) -> None:
    fleet = settled_fleet(machine(), machine("db"))
    wanted = small_site(machine(), machine("db"))
    fleet.journal(Applied("p", 5, 5, "c0", "t0", "main", "", "repo"))
    if quarantined:
        wanted = small_site(machine("db"))
        fleet.journal(Applied("p", 6, 6, "c1", "t1", "main", "", "repo", removed=(WEB,)))
        fleet.apply(fleet.plan(wanted))
    entries = rebuilt(wanted, fleet.reports(), NOW)
    before, fleet.records = fleet.ledger(), []
    fleet.journal(*entries)
    after = fleet.ledger()
    assert after.bindings.keys() == before.bindings.keys()
    for key, binding in before.bindings.items():
        again = after.bindings[key]
        assert (again.uid, again.incarnation, again.quarantined_until) == (
            binding.uid,
            binding.incarnation,
            binding.quarantined_until,
        )
        assert {(a.network, a.ip, a.mac) for a in again.addresses} == {
            (a.network, a.ip, a.mac) for a in binding.addresses
        }
    assert not fleet.plan(wanted).changes
    assert after.spent, "budgets count as spent for one window"


def test_a_target_whose_word_does_not_count_restores_nothing() -> None:
    fleet = settled_fleet()
    reports = [msgspec.structs.replace(each, identity="another") for each in fleet.reports()]
    assert all(type(entry).__name__ == "Spent" for entry in rebuilt(small_site(machine()), reports, NOW))


def test_a_compacted_ledger_plans_the_same() -> None:
    fleet = settled_fleet(machine(), machine("db"))
    fleet.journal(
        Applied("p", 5, 5, "c0", "t0", "main", "", "repo", removed=(Ref("Machine/acme/gone"),)),
        Bound(Ref("Machine/acme/old"), Uid("u"), 3, Target("edge1")),
        Purged(Ref("Machine/acme/old"), Uid("u"), Target("edge1")),
        Paused("Machine/acme/db", NOW + 60, "why"),
        Accepted("abc"),
    )
    lost, again = fleet.ledger(), Ledger(compacted(fleet.ledger()))
    assert again.bindings.incarnations == lost.bindings.incarnations
    for name in ("bindings", "claims", "covered", "accepted", "pauses", "held", "witnessed", "spent"):
        assert getattr(again, name) == getattr(lost, name), name
    assert again.sequence >= len(compacted(lost))
    wanted = small_site(machine(memory=2 * GiB))
    asked = [planner(wanted, *fleet.reports(), remembered=each) for each in (lost, again)]
    from tests.builders import request

    assert asked[0].plan(request()) == asked[1].plan(request())


def test_what_lies_in_quarantine_is_not_forgotten_and_never_settled_things_are_compacted() -> None:
    fleet = settled_fleet()
    fleet.journal(Applied("p", 6, 6, "c1", "t1", "main", "", "repo", removed=(WEB,)))
    fleet.apply(fleet.plan(small_site()))
    made = planner(small_site(), *fleet.reports(), remembered=fleet.ledger())
    plan = forgetting(made.world, WEB, NOW)
    assert not plan.changes
    assert not plan.entries
    fleet.journal(Bound(Ref("Machine/acme/new"), Uid("u"), 1, Target("edge1")))
    again = Ledger(compacted(fleet.ledger()))
    assert again.bindings == fleet.ledger().bindings
    fleet.journal(Claimed(Target("edge1"), "guid"), Covered(Target("edge1")))
    again = Ledger(compacted(fleet.ledger()))
    assert (again.claims, again.covered) == (fleet.ledger().claims, fleet.ledger().covered)
    assert compacted(Ledger()) == ()


def test_a_rebuild_goes_by_the_newest_generation_and_leaves_strangers_alone() -> None:
    fleet = settled_fleet(machine(), machine("db"))
    here = fleet.objects[Target("edge1")]
    uid, thing = next((uid, each) for uid, each in here.items() if each.kind == "Machine")
    here[uid] = msgspec.structs.replace(thing, marks=msgspec.structs.replace(thing.marks, generation=99))
    here["stranger"] = msgspec.structs.replace(thing, native_id="x", marks=None)
    partial = [msgspec.structs.replace(each, complete=False, claim=None) for each in fleet.reports()]
    entries = rebuilt(small_site(machine()), fleet.reports(), NOW)
    (applied,) = (entry for entry in entries if isinstance(entry, Applied))
    assert applied.generation == 99
    assert all(type(entry).__name__ == "Spent" for entry in rebuilt(small_site(machine()), partial, NOW))


def test_only_a_complete_listing_covers_and_a_node_of_nobody_restores_nothing() -> None:
    fleet = settled_fleet()
    wanted = small_site(machine(), nodes=[node("edge1"), node("edge2")])
    partial = [msgspec.structs.replace(each, complete=False) for each in fleet.reports()]
    kinds = [type(entry).__name__ for entry in rebuilt(wanted, [*partial, report("edge2", claimed=False)], NOW)]
    assert kinds.count("Covered") == 1
    assert kinds.count("Claimed") == 1
