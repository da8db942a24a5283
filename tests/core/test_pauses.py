"""A pause counts at once, is written on the object, outlives the ledger there, and ends by itself or by a word."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from reconciler.core.compact import compacted
from reconciler.core.desired import Behaviour, Desired, Lineage, Policy
from reconciler.core.ledger import Ledger, Paused, Record, Resumed
from reconciler.core.observed import Object
from reconciler.core.pauses import refusal
from reconciler.core.plan import Action, Change, Expect, Plan
from reconciler.core.rebuild import rebuilt
from reconciler.core.refs import Ref
from reconciler.core.single import marking
from tests.builders import NOW, Fleet, GiB, machine, node, planner, small_site

WEB = Ref("Machine/acme/web")
SITE, GROWN = small_site(machine()), small_site(machine(memory=2 * GiB))
LOOKING = Paused(WEB, NOW + 600, "looking")


def fleet_of(site: Desired = SITE, *targets: str) -> Fleet:
    fleet = Fleet(*targets)
    fleet.apply(fleet.plan(site))
    assert not fleet.plan(site).changes
    return fleet


def paused_fleet() -> Fleet:
    """The pause was said, and written on the machine."""
    fleet = fleet_of()
    fleet.journal(LOOKING)
    fleet.apply(fleet.plan(SITE))
    return fleet


def web(fleet: Fleet) -> Object:
    (found,) = (
        each for here in fleet.objects.values() for each in here.values() if each.marks and each.marks.ref == WEB
    )
    return found


def borne(fleet: Fleet) -> tuple[float | None, str | None]:
    marks = web(fleet).marks
    assert marks is not None
    return marks.paused_until, marks.paused_reason


def verbs(plan: Plan) -> list[tuple[str, list[str]]]:
    return [(change.ref, [step.verb for step in change.steps]) for change in plan.changes]


def rules(plan: Plan) -> list[tuple[str, str]]:
    return [(hold.ref, hold.rule) for hold in plan.holds]


def test_a_pause_is_written_on_the_object_and_nothing_else_is_touched() -> None:
    fleet = fleet_of()
    before = web(fleet)
    fleet.journal(LOOKING)
    plan = fleet.plan(GROWN)
    assert verbs(plan) == [(WEB, ["mark"])]
    assert plan.proved
    assert plan.changes[0].reason.sentence == "it is paused: looking"
    fleet.apply(plan)
    after = web(fleet)
    assert borne(fleet) == (NOW + 600, "looking")
    assert after.fields == before.fields
    assert before.marks is not None
    assert after.marks is not None
    kept = {"paused_until": None, "paused_reason": None, "generation": before.marks.generation}
    assert msgspec.structs.replace(after.marks, **kept) == before.marks
    assert (verbs(fleet.plan(GROWN)), rules(fleet.plan(GROWN))) == ([], [(WEB, "paused")])


def test_what_the_object_bears_holds_without_a_ledger_and_goes_back_into_it() -> None:
    fleet = paused_fleet()
    fleet.records.clear()
    plan = fleet.plan(SITE)
    assert (verbs(plan), rules(plan)) == ([], [(WEB, "paused")])
    assert LOOKING in plan.entries
    assert rules(fleet.plan(GROWN)) == [(WEB, "paused")]
    fleet.apply(fleet.plan(GROWN))
    assert fleet.ledger().pauses == {WEB: LOOKING}
    assert not any(isinstance(entry, Paused) for entry in fleet.plan(GROWN).entries)
    assert verbs(fleet.plan(GROWN, now=NOW + 601)) == [(WEB, ["update"])]


def test_a_rebuilt_ledger_knows_the_pauses_that_objects_bear() -> None:
    fleet = paused_fleet()
    assert LOOKING in rebuilt(SITE, fleet.reports(), NOW)
    assert not any(isinstance(entry, Paused) for entry in rebuilt(SITE, fleet.reports(), NOW + 601))


def test_a_pause_that_is_over_is_left_where_it_is() -> None:
    fleet = paused_fleet()
    late = fleet.plan(SITE, now=NOW + 601)
    assert (verbs(late), rules(late)) == ([], [])
    fleet.records.clear()
    late = fleet.plan(SITE, now=NOW + 601)
    assert not any(isinstance(entry, Paused) for entry in late.entries)
    assert rules(late) == []


def test_resuming_takes_it_off_the_object() -> None:
    fleet = paused_fleet()
    fleet.journal(Resumed(WEB))
    plan = fleet.plan(SITE)
    assert (verbs(plan), rules(plan)) == ([(WEB, ["mark"])], [])
    assert plan.changes[0].reason.sentence == "its pause was ended"
    fleet.apply(plan)
    assert borne(fleet) == (None, None)
    assert verbs(fleet.plan(SITE)) == []


def test_a_change_that_is_made_anyway_takes_the_ended_pause_with_it() -> None:
    fleet = paused_fleet()
    fleet.journal(Resumed(WEB))
    plan = fleet.plan(GROWN)
    assert verbs(plan) == [(WEB, ["update"])]
    fleet.apply(plan)
    assert borne(fleet) == (None, None)
    assert verbs(fleet.plan(GROWN)) == []


@pytest.mark.parametrize("until", [NOW + 60, NOW + 6000])
def test_the_later_word_counts_however_long_it_is(until: float) -> None:
    """The first pause is on the object; another one was said since, then that was ended too."""
    fleet = paused_fleet()
    fleet.journal(Paused(WEB, until, "again"))
    assert verbs(fleet.plan(SITE)) == [(WEB, ["mark"])]
    assert verbs(fleet.plan(SITE, now=until + 1)) == ([(WEB, ["mark"])] if until < NOW + 600 else [])
    assert rules(fleet.plan(GROWN, now=until + 1)) == []
    fleet.journal(Resumed(WEB))
    assert rules(fleet.plan(GROWN)) == []
    fleet.journal(LOOKING)
    assert rules(fleet.plan(GROWN)) == [(WEB, "paused")]
    assert verbs(fleet.plan(GROWN)) == []


def test_a_plan_of_before_the_pause_changes_nothing() -> None:
    """The node itself refuses, even where the controller that planned it never heard of the pause."""
    fleet = fleet_of()
    (old,) = fleet.plan(GROWN).changes
    fleet.journal(LOOKING)
    fleet.apply(fleet.plan(SITE))
    assert old.steps[0].precondition.mismatch(web(fleet)) == "it was paused, or its pause was ended"


def test_a_begun_change_goes_on() -> None:
    site = small_site(machine(body={"hostname": "other"}))
    fleet = fleet_of()
    (change,) = fleet.plan(site).changes
    assert [step.verb for step in change.steps] == ["stop", "configure", "start"]
    assert [step.precondition.paused for step in change.steps] == [None, msgspec.UNSET, msgspec.UNSET]


def _first(plan: Plan) -> Any:
    return plan.changes[0].steps[0]


def test_the_executor_looks_again_before_a_change_begins() -> None:
    fleet = fleet_of()
    step = _first(fleet.plan(GROWN))
    assert refusal(fleet.ledger(), step, NOW) is None
    fleet.journal(LOOKING)
    told = "Machine/acme/web is paused until 2027-01-15 08:10Z: looking"
    assert refusal(fleet.ledger(), step, NOW) == told
    assert refusal(fleet.ledger(), step, NOW + 601) is None
    assert refusal(fleet.ledger(), _first(fleet.plan(GROWN)), NOW) is None
    fleet.journal(Paused("Node/edge1", NOW + 60, "new disks"))
    told = "Node/edge1 is paused until 2027-01-15 08:01Z: new disks"
    assert refusal(fleet.ledger(), step, NOW) == told


def test_on_a_paused_node_no_pause_is_written_either() -> None:
    fleet = fleet_of()
    fleet.journal(LOOKING, Paused("Node/edge1", NOW + 60, "new disks"))
    assert verbs(fleet.plan(SITE)) == []
    assert verbs(fleet.plan(SITE, now=NOW + 61)) == [(WEB, ["mark"])]


def test_a_node_that_was_not_claimed_yet_is_not_written_to() -> None:
    fleet = fleet_of()
    fleet.journal(LOOKING)
    fleet.claimed["edge1"] = False  # type: ignore[index]
    assert (WEB, ["mark"]) not in verbs(fleet.plan(SITE))


def test_a_pause_keeps_what_lies_in_quarantine_from_its_purge() -> None:
    fleet = fleet_of()
    gone = small_site()
    fleet.apply(fleet.plan(gone, lineage=Lineage(removed=frozenset({WEB}))))
    ends = NOW + Policy().quarantine
    fleet.journal(Paused(WEB, ends + 600, "evidence"), at=ends - 60)
    fleet.apply(fleet.plan(gone, now=ends - 60))
    assert borne(fleet) == (ends + 600, "evidence")
    assert web(fleet).lifecycle == "quarantined"
    assert rules(fleet.plan(gone, now=ends + 1)) == [(WEB, "paused")]
    fleet.records.clear()
    assert (WEB, "paused") in rules(fleet.plan(gone, now=ends + 1))
    assert (WEB, "paused") not in rules(fleet.plan(gone, now=ends + 601))


def test_a_rename_waits_for_the_pause_of_the_former_name() -> None:
    renamed = machine("front", behaviour=Behaviour(renamed_from=WEB))
    for fleet in (fleet_of(), paused_fleet()):
        fleet.journal(LOOKING)
        held = {hold.rule: hold for hold in fleet.plan(small_site(renamed)).holds}
        assert held["paused"].lifts == f"trueup resume {WEB}"
        assert not [change for change in fleet.plan(small_site(renamed)).changes if change.action is Action.RENAME]


def test_a_network_is_paused_on_every_target_that_has_it() -> None:
    site = small_site(machine("a"), machine("b"), nodes=[node("edge1"), node("edge2")])
    fleet = fleet_of(site, "edge1", "edge2")
    app = Ref("Network/acme/app")
    fleet.journal(Paused(app, NOW + 600, "renumbering"))
    plan = fleet.plan(site)
    assert [(change.ref, change.target) for change in plan.changes] == [(app, "edge1"), (app, "edge2")]
    fleet.apply(plan)
    assert (verbs(fleet.plan(site)), rules(fleet.plan(site))) == ([], [(app, "paused")])
    fleet.records.clear()
    assert rules(fleet.plan(site)) == [(app, "paused")]


def test_only_what_was_asked_for_is_marked() -> None:
    fleet = fleet_of()
    fleet.journal(LOOKING)
    assert verbs(fleet.plan(SITE, only=frozenset({Ref("Machine/acme/db")}))) == []
    assert verbs(fleet.plan(SITE, only=frozenset({WEB}))) == [(WEB, ["mark"])]


def test_a_pause_by_itself_makes_a_plan_of_one_step() -> None:
    fleet = fleet_of(small_site(machine(), machine("db")))
    fleet.journal(LOOKING, Paused(Ref("Machine/acme/db"), NOW + 600, "too"))
    world = planner(GROWN, *fleet.reports(), remembered=fleet.ledger()).world
    plan = marking(world, WEB, NOW)
    assert verbs(plan) == [(WEB, ["mark"])]
    fleet.apply(plan)
    world = planner(GROWN, *fleet.reports(), remembered=fleet.ledger()).world
    assert marking(world, WEB, NOW).changes == ()


def test_a_compacted_ledger_says_the_same_of_pauses() -> None:
    words = [
        LOOKING,
        Paused(WEB, NOW + 60, "again"),
        Resumed(WEB),
        Paused(WEB, NOW + 90, "once more"),
        Paused("Node/edge1", NOW + 60, "new disks"),
        Resumed("Node/edge1"),
        Resumed("Node/edge1"),
        Paused(WEB, NOW + 60, "as before"),
    ]
    ledger = Ledger(Record(number, NOW, entry) for number, entry in enumerate(words, 1))
    again = Ledger(compacted(ledger))
    assert (again.pauses, again.lifted) == (ledger.pauses, ledger.lifted)
    assert ledger.lifted == {WEB: frozenset({NOW + 600, NOW + 90}), "Node/edge1": frozenset({NOW + 60})}


def test_the_step_says_which_pause_it_leaves() -> None:
    fleet = fleet_of()
    fleet.journal(LOOKING)
    change: Change = fleet.plan(SITE).changes[0]
    (step,) = change.steps
    marks = web(fleet).marks
    assert marks is not None
    assert step.effect == Expect("live", applied=marks.applied, paused=NOW + 600)
    assert step.precondition == Expect("live", applied=marks.applied, ref=WEB, paused=None)
