"""Drains that stop machines where they are."""

from __future__ import annotations

import msgspec
import pytest

from reconciler.core.desired import (
    Behaviour,
    Budget,
    Policy,
)
from reconciler.core.ledger import Spent
from reconciler.core.plan import Cause
from tests.builders import (
    Fleet,
    desired,
    image,
    machine,
    network,
    node,
)  # fmt: skip
from tests.core.test_moves import POWER, WEB, A, cluster, live, on_a, rules_of, site


@pytest.mark.parametrize("behaviour", [Behaviour(), Behaviour(any_state=True), Behaviour(ignore=("/state",))])
def test_a_drain_stops_what_runs_there_and_shows_it(behaviour: Behaviour) -> None:
    fleet = on_a(machine(behaviour=behaviour))
    wanted = site(machine(behaviour=behaviour), at=cluster(a=POWER))
    plan = fleet.plan(wanted)
    assert plan.proved, plan.problems
    (change,) = plan.changes
    assert [step.verb for step in change.steps] == ["stop"]
    assert [(each.path, each.cause) for each in change.differences] == [("/state", Cause.OPERATION)]
    assert change.reason.sentence == "inc/a is being drained: power works"
    fleet.apply(plan)
    assert live(fleet) == [(A, "stopped")]
    rest = fleet.plan(wanted)
    assert rest.changes == ()
    assert [(hold.ref, hold.rule) for hold in rest.holds] == [("Node/inc/a", "drain")]
    assert "what lives there (1) stays stopped" in rest.holds[0].sentence


def test_it_is_up_again_once_the_drain_is_lifted() -> None:
    fleet = on_a(machine())
    fleet.apply(fleet.plan(site(machine(), at=cluster(a=POWER))))
    plan = fleet.plan(site(machine()))
    assert [step.verb for change in plan.changes for step in change.steps] == ["start"]
    fleet.apply(plan)
    assert live(fleet) == [(A, "running")]
    assert fleet.plan(site(machine())).changes == ()


def test_a_machine_that_git_wants_stopped_is_stopped_by_git() -> None:
    fleet = on_a(machine())
    plan = fleet.plan(site(machine(body={"state": "stopped"}), at=cluster(a=POWER)))
    assert [each.cause for change in plan.changes for each in change.differences] == [Cause.INTENT]


def test_who_starts_it_by_hand_meanwhile_has_drifted() -> None:
    fleet = on_a(machine())
    wanted = site(machine(), at=cluster(a=POWER))
    fleet.apply(fleet.plan(wanted))
    for uid, found in fleet.objects[A].items():
        if found.kind == "Machine":
            fields = {**found.fields, "state": "running"}
            fleet.objects[A][uid] = msgspec.structs.replace(found, fields=fields, digest="other")
    plan = fleet.plan(wanted)
    assert plan.changes == ()
    assert (WEB, "drift") in rules_of(plan)


def test_stops_by_a_drain_spend_the_budget_of_restarts() -> None:
    group = [machine(f"web-{n}") for n in range(1, 4)]
    policy = Policy(restarts=Budget(per_plan=2))
    plan = on_a(*group).plan(site(*group, at=cluster(a=POWER), policy=policy))
    spent = [entry for change in plan.changes for step in change.steps for entry in step.on_intent
             if isinstance(entry, Spent)]  # fmt: skip
    assert (len(plan.changes), len(spent)) == (2, 2)


def test_a_whole_node_is_drained_as_each_of_its_members() -> None:
    fleet = Fleet("edge1")
    fleet.apply(fleet.plan(desired(image(), network(), machine())))
    plan = fleet.plan(desired(image(), network(), machine(), nodes=[node("edge1", drain=POWER)]))
    assert [step.verb for change in plan.changes for step in change.steps] == ["stop"]
    everywhere = msgspec.structs.replace(cluster(), drain=POWER)
    assert [change.target for change in on_a(machine()).plan(site(machine(), at=everywhere)).changes] == [A]
