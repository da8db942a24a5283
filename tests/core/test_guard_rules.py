"""Every rule that withholds a change: when it does, and what lifts it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from reconciler.core.desired import Behaviour, Budget, Constraints, Desired, Lineage, Policy, Resource
from reconciler.core.ledger import Covered, Held, Paused, Spent
from reconciler.core.plan import Action, Hold, Plan
from reconciler.core.planner import make_plan
from reconciler.core.refs import Ref, Target, short
from reconciler.core.values import digest, replaced
from tests.builders import (
    NOW,
    SHAPES,
    Fleet,
    GiB,
    image,
    ledger,
    machine,
    network,
    node,
    plan_of,
    report,
    request,
    small_site,
)  # fmt: skip

WEB, DB = Ref("Machine/acme/web"), Ref("Machine/acme/db")
HEAL = Policy(drift="heal")
REMOVED = Lineage(removed=frozenset({WEB}))


def settled(*machines: Resource, **more: Any) -> tuple[Fleet, Desired]:
    """A fleet on which these machines were made."""
    fleet, site = Fleet(), small_site(*machines, **more)
    fleet.apply(fleet.plan(site))
    assert not fleet.plan(site).changes
    return fleet, site


def drifted(fleet: Fleet, ref: Ref, path: str, value: Any, **more: Any) -> None:
    """Somebody changes a field by hand; `more`: what else is other of the object."""
    for here in fleet.objects.values():
        for key, found in here.items():
            if found.marks and found.marks.ref == ref:
                whole = msgspec.structs.replace(found, fields=replaced(found.fields, path, value), digest="", **more)
                here[key] = msgspec.structs.replace(whole, digest=digest(msgspec.to_builtins(whole)))


def marked(fleet: Fleet, ref: Ref, **marks: Any) -> None:
    for here in fleet.objects.values():
        for key, found in here.items():
            if found.marks and found.marks.ref == ref:
                here[key] = msgspec.structs.replace(found, marks=msgspec.structs.replace(found.marks, **marks))


def only_hold(plan: Plan) -> Hold:
    assert not plan.changes
    (hold,) = plan.holds
    return hold


def actions(plan: Plan) -> list[tuple[str, str]]:
    return [(change.action, change.ref) for change in plan.changes]


# -- people's wishes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("subject", ["Machine/acme/web", "Node/edge1"])
def test_a_pause_of_a_machine_or_of_its_node_holds_its_changes_until_it_ends(subject: str) -> None:
    fleet, _ = settled(machine())
    fleet.journal(Paused(subject, NOW + 60, "new disks"))
    grown = small_site(machine(memory=2 * GiB))
    fleet.apply(fleet.plan(grown))
    hold = only_hold(fleet.plan(grown))
    assert (hold.rule, hold.wanted, hold.lifts) == ("paused", Action.UPDATE, f"trueup resume {subject}")
    assert hold.sentence == "paused until 2027-01-15 08:01Z: new disks"
    assert actions(fleet.plan(grown, now=NOW + 61)) == [("update", WEB)]


def test_a_pause_marked_on_the_object_holds_without_a_ledger() -> None:
    fleet, _ = settled(machine())
    marked(fleet, WEB, paused_until=NOW + 60, paused_reason="looking")
    fleet.records.clear()
    assert only_hold(fleet.plan(small_site(machine(memory=2 * GiB)))).rule == "paused"


def test_nothing_new_goes_to_a_node_that_is_paused() -> None:
    site = small_site(machine(), nodes=[node("edge1"), node("edge2")])
    pause = ledger(Paused("Node/edge1", NOW + 60, "new disks"), Paused("Node/gone", NOW + 60, "old"))
    plan = plan_of(site, report("edge1"), report("edge2"), remembered=pause)
    assert {change.target for change in plan.changes} == {"edge2"}


def test_a_ref_kept_by_hand_rests_until_its_document_changes_or_it_is_healed() -> None:
    fleet, _ = settled(machine())
    grown = machine(memory=2 * GiB)
    fleet.journal(Held(WEB, "restored by hand", grown.digest))
    assert only_hold(fleet.plan(small_site(grown))).rule == "kept"
    assert actions(fleet.plan(small_site(machine(memory=3 * GiB)))) == [("update", WEB)]
    assert actions(fleet.plan(small_site(grown), heal=frozenset({WEB}))) == [("update", WEB)]


def test_an_older_revision_changes_nothing() -> None:
    fleet, _ = settled(machine())
    assert only_hold(fleet.plan(small_site(machine(memory=2 * GiB)), lineage=Lineage(older=True))).rule == "older"


# -- witnesses and protection --------------------------------------------------------------------------------


def test_a_destroy_needs_a_witness() -> None:
    fleet, _ = settled(machine())
    hold = only_hold(fleet.plan(small_site()))
    assert (hold.rule, hold.wanted) == ("witness", Action.DESTROY)
    assert actions(fleet.plan(small_site(), lineage=REMOVED)) == [("destroy", WEB)]
    assert actions(fleet.plan(small_site(), lineage=Lineage(accepted=True))) == [("destroy", WEB)]


def test_without_lineage_every_deletion_is_held() -> None:
    fleet, _ = settled(machine())
    broken = Lineage(removed=frozenset({WEB}), broken="the history was rewritten")
    assert "the history was rewritten" in only_hold(fleet.plan(small_site(), lineage=broken)).sentence


@pytest.mark.parametrize("forgetful", [False, True])
def test_protection_outlives_the_document_and_the_ledger(forgetful: bool) -> None:
    fleet, _ = settled(machine(protected=True))
    if forgetful:
        fleet.records.clear()
    assert only_hold(fleet.plan(small_site(), lineage=REMOVED)).rule == "protected"
    lifted = small_site(machine())
    plan = fleet.plan(lifted)
    assert (actions(plan), plan.changes[0].reason.sentence) == ([("update", WEB)], "deletion protection is lifted")
    fleet.apply(plan)
    assert actions(fleet.plan(small_site(), lineage=REMOVED)) == [("destroy", WEB)]


def test_protection_is_set_by_a_change_of_its_own() -> None:
    fleet, _ = settled(machine())
    assert fleet.plan(small_site(machine(protected=True))).changes[0].reason.sentence == "deletion protection is set"


# -- what cannot be known ------------------------------------------------------------------------------------


def test_two_objects_of_one_name_are_both_left_alone() -> None:
    site = small_site(machine(memory=2 * GiB), nodes=[node("edge1"), node("edge2")])
    fleet = Fleet("edge1", "edge2")
    fleet.apply(fleet.plan(small_site(machine(), nodes=[node("edge1"), node("edge2")])))
    (uid,) = [uid for uid, found in fleet.objects[Target("edge1")].items() if found.kind == "Machine"]
    fleet.objects[Target("edge2")][uid] = fleet.objects[Target("edge1")][uid]
    assert only_hold(fleet.plan(site)).rule == "conflict"


def test_two_realisations_on_one_target_are_both_left_alone() -> None:
    fleet, _ = settled(machine())
    here = fleet.objects[Target("edge1")]
    (found,) = [found for found in here.values() if found.kind == "Network"]
    here["copy"] = msgspec.structs.replace(found, native_id="copy", native_name="copy")  # type: ignore[index]
    site = small_site(machine())
    assert "network" not in [hold.rule for hold in fleet.plan(site).holds]
    assert only_hold(fleet.plan(site)).rule == "conflict"


def test_one_identity_under_two_names_is_a_conflict_of_both() -> None:
    fleet, site = settled(machine(), machine("db"))
    here = fleet.objects[Target("edge1")]
    web, db = (next(found for found in here.values() if found.marks and found.marks.ref == ref) for ref in (WEB, DB))
    assert web.marks is not None
    assert db.marks is not None
    here[db.marks.uid] = msgspec.structs.replace(db, marks=msgspec.structs.replace(db.marks, uid=web.marks.uid))
    plan = fleet.plan(site)
    assert {(hold.ref, hold.rule) for hold in plan.holds} == {(WEB, "conflict"), (DB, "conflict")}


def test_a_machine_that_cannot_be_seen_is_held_only_if_it_is_wanted_otherwise() -> None:
    fleet, site = settled(machine())
    silent = report(complete=False, identity=None, claimed=False, problem="no answer")
    assert not make_plan(site, [silent], fleet.ledger(), SHAPES, request()).holds
    grown = make_plan(small_site(machine(memory=2 * GiB)), [silent], fleet.ledger(), SHAPES, request())
    assert only_hold(grown).rule == "unknown"
    gone = make_plan(small_site(), [silent], fleet.ledger(), SHAPES, request(lineage=REMOVED))
    assert only_hold(gone).rule == "unknown"


def test_what_vanished_is_held_and_made_anew_only_on_demand() -> None:
    fleet, site = settled(machine())
    old = next(uid for uid, found in fleet.objects[Target("edge1")].items() if found.kind == "Machine")
    del fleet.objects[Target("edge1")][old]
    hold = only_hold(fleet.plan(site))
    assert (hold.rule, hold.wanted) == ("vanished", Action.CREATE)
    plan = fleet.plan(site, heal_all=True)
    assert actions(plan) == [("create", WEB)]
    assert plan.changes[0].uid != old
    assert plan.changes[0].addresses[0].ip == "10.0.1.10"
    fleet.apply(plan)
    assert not fleet.plan(site).changes


def test_what_vanished_and_is_not_wanted_is_forgotten_on_demand() -> None:
    fleet, _ = settled(machine())
    fleet.objects[Target("edge1")] = {
        uid: found for uid, found in fleet.objects[Target("edge1")].items() if found.kind != "Machine"
    }
    hold = only_hold(fleet.plan(small_site(), lineage=REMOVED))
    assert (hold.rule, hold.wanted) == ("vanished", None)
    plan = fleet.plan(small_site(), lineage=REMOVED, heal_all=True)
    assert not plan.changes
    fleet.apply(plan)
    assert not fleet.plan(small_site(), lineage=REMOVED).holds


def test_a_create_waits_until_every_node_was_listed_once() -> None:
    site = small_site(machine(), nodes=[node("edge1"), node("edge2")])
    silent = report("edge2", complete=False, identity=None, claimed=False, problem="no answer")
    assert [hold.rule for hold in plan_of(site, report("edge1"), silent).holds] == ["coverage"]
    covered = ledger(Covered(Target("edge2")))
    assert ("create", WEB) in actions(plan_of(site, report("edge1"), silent, remembered=covered))


def test_the_first_complete_listing_is_remembered_with_what_it_lists() -> None:
    """A node that falls silent before anything is changed there never makes its machines be made elsewhere."""
    nodes = [node("edge1"), node("edge2")]
    fleet = Fleet("edge1", "edge2")
    site = small_site(machine(), nodes=nodes)
    fleet.apply(fleet.plan(site))
    home = next(
        target for target, here in fleet.objects.items() if any(each.kind == "Machine" for each in here.values())
    )
    fleet.records.clear()
    fleet.apply(fleet.plan(site))
    told = [each if each.target != home else report(home, complete=False, identity=None, claimed=False)
            for each in fleet.reports()]  # fmt: skip
    assert not make_plan(site, told, fleet.ledger(), SHAPES, request()).changes


# -- drift, git and the node ---------------------------------------------------------------------------------


def test_drift_is_told_with_both_ways_back_and_healed_on_demand() -> None:
    fleet, site = settled(machine())
    drifted(fleet, WEB, "/memory", 3 * GiB, culprit="bob")
    hold = only_hold(fleet.plan(site))
    assert (hold.rule, hold.sentence) == ("drift", "changed on the node by bob")
    assert [difference.path for difference in hold.differences] == ["/memory"]
    assert actions(fleet.plan(site, heal=frozenset({WEB}))) == [("update", WEB)]
    assert actions(fleet.plan(small_site(machine(), policy=HEAL))) == [("update", WEB)]


def test_drift_off_says_nothing_and_does_nothing() -> None:
    fleet, site = settled(machine(behaviour=Behaviour(drift="off")))
    drifted(fleet, WEB, "/memory", 3 * GiB)
    plan = fleet.plan(site)
    assert not plan.changes
    assert not plan.holds


def test_ignored_fields_and_the_state_that_people_own_are_not_compared() -> None:
    site = small_site(machine(behaviour=Behaviour(ignore=("/memory",), any_state=True)))
    fleet = Fleet()
    fleet.apply(fleet.plan(site))
    drifted(fleet, WEB, "/memory", 3 * GiB)
    drifted(fleet, WEB, "/state", "stopped")
    plan = fleet.plan(site)
    assert not plan.changes
    assert not plan.holds


def test_a_field_that_cannot_be_read_is_neither_equal_nor_different() -> None:
    fleet, site = settled(machine())
    drifted(fleet, WEB, "/memory", None, unknown={"/memory": "the daemon does not say"})
    hold = only_hold(fleet.plan(site))
    assert (hold.rule, hold.sentence) == ("unknown", "memory could not be read: the daemon does not say")


def test_where_git_is_not_followed_only_drift_is_acted_on() -> None:
    fleet, site = settled(machine(), policy=HEAL)
    drifted(fleet, WEB, "/memory", 3 * GiB)
    assert actions(fleet.plan(site, intent=False)) == [("update", WEB)]
    changed = small_site(machine(memory=3 * GiB, cpu=2000), policy=HEAL)
    assert only_hold(fleet.plan(changed, intent=False)).rule == "follow"
    new = small_site(machine(), machine("db"), policy=HEAL)
    assert [(hold.ref, hold.rule) for hold in fleet.plan(new, intent=False).holds] == [(DB, "follow")]


def test_a_network_that_was_removed_on_the_node_is_healed_by_the_loop_and_by_an_apply() -> None:
    fleet, site = settled(machine(), policy=HEAL)
    here = fleet.objects[Target("edge1")]
    fleet.objects[Target("edge1")] = {uid: found for uid, found in here.items() if found.kind != "Network"}
    assert actions(fleet.plan(site, intent=False)) == [("create", "Network/acme/app")]
    reported = small_site(machine())
    assert [hold.rule for hold in fleet.plan(reported, intent=False).holds] == ["follow"]
    assert actions(fleet.plan(reported)) == [("create", "Network/acme/app")]


def test_an_unfollowed_loop_finishes_a_heal_that_was_cut_short() -> None:
    fleet, site = settled(machine(), policy=HEAL)
    marked(fleet, WEB, applied="")
    plan = fleet.plan(site, intent=False)
    assert not plan.changes
    digest_of = rest(fleet, WEB)
    marked(fleet, WEB, applied="of another time")
    assert [change.reason.code for change in fleet.plan(site, intent=False).changes] == ["marks"]
    assert digest_of == ""


def rest(fleet: Fleet, ref: Ref) -> str:
    return next(found.marks.applied for here in fleet.objects.values() for found in here.values()
                if found.marks and found.marks.ref == ref)  # fmt: skip


def test_what_is_withheld_stays_intent_and_never_becomes_drift() -> None:
    fleet, _ = settled(machine())
    other = image("alpine", content="2")
    wanted = small_site(other, machine(uses=other, memory=2 * GiB))
    plan = fleet.plan(wanted)
    assert [(change.action, [each.path for each in change.differences]) for change in plan.changes
            if change.ref == WEB] == [("update", ["/memory"])]  # fmt: skip
    assert [(hold.rule, hold.wanted) for hold in plan.holds] == [("replace", Action.REPLACE)]
    fleet.apply(plan)
    for again in (fleet.plan(wanted), lost(fleet).plan(wanted)):
        assert not [change for change in again.changes if change.ref == WEB]
        assert [hold.rule for hold in again.holds] == ["replace"]


def lost(fleet: Fleet) -> Fleet:
    fleet.records.clear()
    return fleet


def test_a_value_that_the_node_cannot_take_is_held() -> None:
    fleet, _ = settled(machine())
    assert only_hold(fleet.plan(small_site(machine(disk=GiB)))).rule == "impossible"


def test_a_replace_is_made_where_it_is_allowed() -> None:
    fleet, _ = settled(machine(body={"disks": {"data": {"size": GiB, "path": "/data"}}}))
    other = image("alpine", content="2")
    again = machine(
        uses=other, behaviour=Behaviour(replace=True), body={"disks": {"data": {"size": GiB, "path": "/data"}}}
    )
    plan = fleet.plan(small_site(other, again))
    change = next(each for each in plan.changes if each.ref == WEB)
    assert (change.action, change.addresses[0].ip) == (Action.REPLACE, "10.0.1.10")
    verbs = [step.verb for step in change.steps]
    assert verbs == ["stop", "quarantine", "create", "disk", "configure", "start"]
    assert change.steps[3].args["from"] == change.steps[0].uid != change.uid
    fleet.apply(plan)
    assert not fleet.plan(small_site(other, again)).changes


def test_a_machine_that_lives_elsewhere_than_its_document_says_stays_and_tells() -> None:
    nodes = [node("edge1"), node("edge2")]
    fleet = Fleet("edge1", "edge2")
    fleet.apply(fleet.plan(small_site(machine(constraints=Constraints(node="edge1")), nodes=nodes)))
    moved = small_site(machine(constraints=Constraints(node="edge2")), nodes=nodes)
    assert only_hold(fleet.plan(moved)).rule == "move"


# -- budgets -------------------------------------------------------------------------------------------------


def many(count: int, **more: Any) -> list[Resource]:
    return [machine(f"m{number}", **more) for number in range(count)]


def removal(count: int) -> Lineage:
    return Lineage(removed=frozenset(Ref(f"Machine/acme/m{number}") for number in range(count)))


def test_a_destroy_budget_exists_without_anybody_asking() -> None:
    fleet, _ = settled(*many(12))
    plan = fleet.plan(small_site(), lineage=removal(12))
    assert [change.action for change in plan.changes].count(Action.DESTROY) == 5
    assert [hold.rule for hold in plan.holds] == ["budget"] * 7
    assert [(use.budget, use.window, use.spent, use.allowed) for use in plan.budgets] == [
        ("destroys", "per plan", 5, 5), ("destroys", "per day", 5, 10),
    ]  # fmt: skip


def test_what_was_spent_in_the_window_counts_and_what_is_past_it_does_not() -> None:
    fleet, _ = settled(*many(6))
    spent = [Spent("destroys", Ref(f"Machine/acme/x{number}"), Target("edge1")) for number in range(8)]
    fleet.journal(*spent, at=NOW - 3600)
    assert len(fleet.plan(small_site(), lineage=removal(6)).changes) == 2
    assert len(fleet.plan(small_site(), lineage=removal(6), now=NOW + 86400).changes) == 5


def test_a_budget_of_a_node_is_its_own() -> None:
    policy = Policy(destroys=Budget(per_node=1))
    nodes = [node("edge1"), node("edge2")]
    fleet = Fleet("edge1", "edge2")
    fleet.apply(fleet.plan(small_site(*many(4), nodes=nodes)))
    plan = fleet.plan(small_site(nodes=nodes, policy=policy), lineage=removal(4))
    assert sorted(change.target for change in plan.changes) == ["edge1", "edge2"]
    assert [hold.sentence for hold in plan.holds] == [
        "the budget of 1 destroys an hour on edge1 is spent", "the budget of 1 destroys an hour on edge2 is spent",
    ]  # fmt: skip


def test_what_vanished_counts_against_the_destroys() -> None:
    fleet, site = settled(*many(3), policy=Policy(destroys=Budget(per_plan=1)))
    here = fleet.objects[Target("edge1")]
    lost_one = next(uid for uid, found in here.items() if found.marks and found.marks.ref == "Machine/acme/m0")
    del here[lost_one]
    without = small_site(machine("m0"), machine("m1"), policy=Policy(destroys=Budget(per_plan=1)))
    plan = fleet.plan(without, lineage=Lineage(removed=frozenset({Ref("Machine/acme/m2")})))
    assert {hold.rule for hold in plan.holds} == {"vanished", "budget"}
    assert site != without


def test_restarts_have_a_budget_and_a_replace_takes_of_both() -> None:
    policy = Policy(restarts=Budget(per_plan=1))
    fleet, _ = settled(*many(2), policy=policy)
    renamed_host = small_site(*many(2, body={"hostname": "x"}), policy=policy)
    plan = fleet.plan(renamed_host)
    assert [hold.rule for hold in plan.holds] == ["budget"]
    spent = [entry for step in plan.steps for entry in step.on_intent if isinstance(entry, Spent)]
    assert [entry.budget for entry in spent] == ["restarts"]
    other = image("alpine", content="2")
    again = small_site(other, *many(2, uses=other, behaviour=Behaviour(replace=True)), policy=policy)
    plan = fleet.plan(again)
    assert [hold.rule for hold in plan.holds] == ["budget"]
    spent = [entry for step in plan.steps for entry in step.on_intent if isinstance(entry, Spent)]
    assert sorted(entry.budget for entry in spent) == ["destroys", "restarts"]


# -- images, networks, clocks --------------------------------------------------------------------------------


def test_an_image_goes_only_once_nothing_stands_on_it() -> None:
    fleet, _ = settled(machine(), machine("db"))
    gone = Lineage(removed=frozenset({WEB, DB, Ref("Image/debian")}))
    bare = small_site()
    empty = msgspec.structs.replace(bare, resources={network().ref: network()})
    plan = fleet.plan(empty, lineage=gone)
    assert ("destroy", "Image/debian") not in actions(plan)
    (hold,) = plan.holds
    assert hold.rule == "in-use"
    assert hold.sentence == f"{min(short(WEB), short(DB))} and 1 more were made from it"
    fleet.apply(plan)
    fleet.apply(fleet.plan(empty, now=NOW + 8 * 86400, lineage=gone), now=NOW + 8 * 86400)
    later = fleet.plan(empty, now=NOW + 8 * 86400, lineage=gone)
    assert actions(later) == [("destroy", "Image/debian")]


def test_a_network_goes_only_once_nobody_is_on_it() -> None:
    fleet, _ = settled(machine(), machine("db", nics=()))
    bare = small_site(machine(nics=()), machine("db", nics=()))
    without = msgspec.structs.replace(
        bare, resources={ref: each for ref, each in bare.resources.items() if each != network()}
    )
    gone = Lineage(removed=frozenset({network().ref}))
    plan = fleet.plan(without, lineage=gone)
    assert actions(plan) == [("update", WEB), ("destroy", network().ref)]
    assert plan.changes[1].steps[0].needs == (plan.changes[0].steps[-1].id,)
    fleet.journal(Paused(WEB, NOW + 60, "looking"))
    assert [hold.rule for hold in fleet.plan(without, lineage=gone).holds] == ["paused", "in-use"]


def test_quarantine_is_kept_to_its_end() -> None:
    fleet, _ = settled(machine())
    fleet.apply(fleet.plan(small_site(), lineage=REMOVED))
    assert not fleet.plan(small_site(), now=NOW + 6 * 86400).changes
    plan = fleet.plan(small_site(), now=NOW + 7 * 86400)
    assert actions(plan) == [("purge", WEB)]
    fleet.apply(plan)
    assert not fleet.ledger().bindings.of(WEB)
