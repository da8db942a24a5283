"""What is said of a machine and not every driver can do: it goes, and stays, where it has an effect."""

from __future__ import annotations

import msgspec

from drivers.sim.shape import SimShape
from reconciler.core.desired import Constraints, Desired, Resource
from reconciler.core.explain import where
from reconciler.core.ledger import Bound
from reconciler.core.plan import Plan
from reconciler.core.planner import Planner
from reconciler.core.refs import Ref, Target, Uid
from reconciler.core.shape import NativeContext
from reconciler.core.values import Fields
from tests.builders import SHAPES, Fleet, desired, image, ledger, machine, network, node, report, request

WEB = Ref("Machine/acme/web")
BOTH = [node("edge1", driver="plain"), node("edge2")]


class Plain(SimShape):
    capability = msgspec.structs.replace(SimShape.capability, fields=frozenset())

    def native(self, resource: Resource, context: NativeContext) -> Fields:
        return {key: value for key, value in super().native(resource, context).items() if key != "snapshots"}


def made(wanted: Desired, fleet: Fleet, **more: object) -> Planner:
    planner = Planner({**SHAPES, "plain": Plain()}, more.pop("remembered", None) or fleet.ledger())  # type: ignore[arg-type]
    planner.world.take_desired(wanted)
    for each in fleet.reports():
        planner.take_report(each)
    return planner


def site(*, snapshots: bool, nodes: list | None = None) -> Desired:  # type: ignore[type-arg]
    fields = ("snapshots",) if snapshots else ()
    body = {"snapshots": {"schedule": "0 3 * * *", "keep": 3}} if snapshots else {}
    web = machine(body=body, constraints=Constraints(fields=fields))
    return desired(image(), network(), web, nodes=nodes or BOTH)


def homes(plan: Plan) -> dict[str, str]:
    return {change.ref: change.target for change in plan.changes if change.ref == WEB}


def test_machine_with_a_schedule_goes_where_somebody_keeps_it() -> None:
    assert homes(made(site(snapshots=False), Fleet("edge1", "edge2")).plan(request())) == {WEB: "edge1"}
    planner = made(site(snapshots=True), Fleet("edge1", "edge2"))
    assert homes(planner.plan(request())) == {WEB: "edge2"}
    told = where(planner, WEB)
    assert told is not None
    assert told.rejected == {Target("edge1"): "its driver does nothing for snapshots"}


def test_machine_with_a_schedule_is_held_where_nobody_could_keep_it() -> None:
    plan = made(site(snapshots=True, nodes=BOTH[:1]), Fleet("edge1")).plan(request())
    assert not homes(plan)
    (hold,) = [each for each in plan.holds if each.ref == WEB]
    assert "edge1: its driver does nothing for snapshots" in hold.sentence


def test_schedule_that_comes_to_a_machine_where_nobody_keeps_it_is_a_hold_until_it_goes() -> None:
    fleet = Fleet("edge1", "edge2")
    fleet.apply(made(site(snapshots=False), fleet).plan(request()))
    assert any(found for found in fleet.objects[Target("edge1")].values() if found.kind == "Machine")
    plan = made(site(snapshots=True), fleet).plan(request())
    assert not plan.changes
    (hold,) = plan.holds
    assert (hold.ref, hold.rule) == (WEB, "move")
    assert hold.sentence.startswith("it lives on edge1, but its driver does nothing for snapshots")
    assert not made(site(snapshots=False), fleet).plan(request()).holds


def test_machine_that_was_never_made_is_placed_anew_for_its_schedule() -> None:
    bound = ledger(Bound(WEB, Uid("u"), 1, Target("edge1")))
    planner = made(site(snapshots=True), Fleet("edge1", "edge2"), remembered=bound)
    assert homes(planner.plan(request())) == {WEB: "edge2"}


def test_what_a_driver_that_is_not_here_can_do_is_not_judged() -> None:
    fleet = Fleet("edge1", "edge2")
    fleet.apply(made(site(snapshots=False), fleet).plan(request()))
    planner = Planner(SHAPES, fleet.ledger())
    planner.world.take_desired(site(snapshots=True))
    planner.take_report(report("edge1", fleet.objects[Target("edge1")].values()))
    plan = planner.plan(request())
    assert WEB not in {each.ref for each in (*plan.changes, *plan.holds)}
    assert any("its driver plain is not installed here" in problem for problem in plan.problems)
