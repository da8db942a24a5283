"""What a crash in the middle of a move leaves behind, and how it goes on."""

from __future__ import annotations

import msgspec
import pytest

from reconciler.core.compact import compacted
from reconciler.core.desired import (
    Constraints,
    Desired,
)
from reconciler.core.ledger import Intent, Ledger, Moving, Result
from reconciler.core.observed import Capacity
from reconciler.core.plan import Plan
from reconciler.core.refs import Target
from tests.builders import (
    NOW,
    Fleet,
    GiB,
    machine,
    plan_of,
    report,
)  # fmt: skip
from tests.core.test_moves import DB, FANS, WEB, A, B, C, cluster, live, moves, on_a, rules_of, site, the_move


def begun(fleet: Fleet, plan: Plan, steps: int) -> None:
    """Journal a run's intents and do its steps, as far as the given number of whole steps."""
    fleet.journal(*plan.entries)
    for change in plan.changes:
        if change.ref != WEB:
            fleet.take(change)
    for step in the_move(plan).steps[:steps]:
        fleet.journal(Intent("p", step.id, step.target, step.ref, step.uid, step.source), *step.on_intent)
        fleet._act(step, the_move(plan), NOW)
        fleet.journal(Result("p", step.id, step.target, step.ref, "applied", source=step.source), *step.on_applied)


@pytest.mark.parametrize("steps", [0, 1, 2, 3])
def test_a_move_cut_short_after_any_step_is_taken_up_again(steps: int) -> None:
    fleet = on_a(machine())
    wanted = site(machine(), at=cluster(a=FANS))
    begun(fleet, fleet.plan(wanted), steps)
    assert len(live(fleet)) == 1
    for _ in range(3):
        fleet.apply(fleet.plan(wanted))
    assert live(fleet) == [(C if steps == 1 else B, "running")], "where it did not get to is asked last"
    rest = fleet.plan(wanted)
    assert (rest.changes, rest.entries, rest.holds) == ((), (), ())


def under_way(fleet: Fleet, wanted: Desired) -> Plan:
    """The controller died while the node carried it over: an intent without an outcome."""
    plan = fleet.plan(wanted)
    begun(fleet, plan, 1)
    move = the_move(plan).steps[1]
    fleet.journal(Intent("p", move.id, move.target, move.ref, move.uid, move.source), *move.on_intent)
    return plan


@pytest.mark.parametrize("silent", [A, B])
def test_while_nobody_knows_where_it_is_it_is_made_nowhere(silent: Target) -> None:
    """It is not on the member that answers; so it may be on the other one, whichever that is."""
    fleet = on_a(machine())
    wanted = site(machine(), at=cluster(a=FANS))
    plan = under_way(fleet, wanted)
    step = the_move(plan).steps[1]
    found = fleet.objects[A].pop(step.uid)
    fleet.journal(Result("p", step.id, step.target, step.ref, "unconfirmed", source=step.source))
    dumb = report(silent, (), identity=None, complete=False, claimed=False, problem="no answer")
    told = [dumb if each.target == silent else each for each in fleet.reports()]
    plan = plan_of(wanted, *told, remembered=fleet.ledger(), heal_all=True)
    assert [change for change in plan.changes if change.ref == WEB] == []
    assert (WEB, "unknown") in rules_of(plan)
    fleet.objects[B][step.uid] = found
    fleet.apply(fleet.plan(wanted))
    assert live(fleet) == [(B, "running")]


def test_both_members_are_waited_for_while_the_step_is_in_flight() -> None:
    fleet = on_a(machine())
    wanted = site(machine(), at=cluster(a=FANS))
    plan = under_way(fleet, wanted)
    fleet.objects[A].pop(the_move(plan).uid)
    plan = fleet.plan(wanted, heal_all=True)
    assert [change for change in plan.changes if change.ref == WEB] == []


def test_it_has_its_room_at_both_ends_until_it_has_arrived() -> None:
    wanted = site(machine(memory=40 * GiB), at=cluster("a", "b", a=FANS))
    fleet = on_a(machine(memory=40 * GiB))
    under_way(fleet, wanted)
    more = site(machine(memory=40 * GiB), machine("db", memory=30 * GiB), at=cluster("a", "b", a=FANS))
    plan = plan_of(more, *(each for each in fleet.reports() if each.target != C), remembered=fleet.ledger())
    assert (DB, "placement") in rules_of(plan)


def test_its_room_at_the_other_end_is_kept_from_others() -> None:
    """Whether it is still wanted there or not: nobody knows yet that it did not arrive."""
    big = machine(memory=40 * GiB)
    fleet = on_a(big)
    fleet.journal(Moving(WEB, the_move(fleet.plan(site(big, at=cluster(a=FANS)))).uid, B))
    more = site(big, machine("db", memory=30 * GiB, constraints=Constraints(node="inc/b")))
    plan = fleet.plan(more)
    assert (DB, "placement") in rules_of(plan)
    fleet.apply(plan)
    assert [change.target for change in fleet.plan(more).changes if change.ref == DB] == [B]


def test_room_that_a_move_took_is_given_back_once_the_drain_is_lifted() -> None:
    fleet = on_a(machine())
    begun(fleet, fleet.plan(site(machine(), at=cluster(a=FANS))), 1)
    assert fleet.ledger().bindings.of(WEB)[0].moving == B
    plan = fleet.plan(site(machine()))
    assert [step.verb for change in plan.changes for step in change.steps] == ["start"]
    fleet.apply(plan)
    assert fleet.ledger().bindings.of(WEB)[0].moving is None
    assert fleet.plan(site(machine())).entries == ()


def test_a_place_taken_in_vain_does_not_stand_in_its_own_way() -> None:
    """It was on its way to the only member that can take it, and goes there again."""
    wanted = site(machine(memory=40 * GiB), at=cluster("a", "b", a=FANS))
    fleet = on_a(machine(memory=40 * GiB))
    plan = fleet.plan(wanted)
    fleet.journal(Moving(WEB, the_move(plan).uid, B))
    two = [each for each in fleet.reports() if each.target != C]
    assert moves(plan_of(wanted, *two, remembered=fleet.ledger())) == [(WEB, A, B)]
    full = msgspec.structs.replace(two[1], capacity=Capacity(GiB, 1000, GiB), digest="full")
    plan = plan_of(wanted, two[0], full, remembered=fleet.ledger())
    assert (moves(plan), rules_of(plan)) == ([], [(WEB, "move")])


def test_the_binding_goes_with_the_machine() -> None:
    fleet = on_a(machine())
    before = fleet.ledger().bindings.of(WEB)[0]
    plan = fleet.plan(site(machine(), at=cluster(a=FANS)))
    begun(fleet, plan, 2)
    (after,) = fleet.ledger().bindings.of(WEB)
    assert (after.target, after.moving) == (B, None)
    assert (after.uid, after.incarnation, after.addresses) == (before.uid, before.incarnation, before.addresses)
    assert after.applied == before.applied, "what was applied to it last still tells drift from intent"


def test_a_shortened_ledger_remembers_both_ends() -> None:
    fleet = on_a(machine())
    begun(fleet, fleet.plan(site(machine(), at=cluster(a=FANS))), 1)
    kept = Ledger(compacted(fleet.ledger())).bindings.of(WEB)
    assert kept == fleet.ledger().bindings.of(WEB)
    assert kept[0].moving == B
