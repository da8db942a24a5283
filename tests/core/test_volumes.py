"""Volumes: things of their own that lie where their machines are, come before them and go after them."""

from __future__ import annotations

import msgspec

from reconciler.core.desired import Constraints, Lineage
from reconciler.core.ledger import Paused
from reconciler.core.plan import Action, Plan
from reconciler.core.refs import Ref
from tests.builders import NOW, Fleet, GiB, desired, image, machine, network, node, volume

SHOP = "Volume/acme/shop"
BOTH = [node("edge1"), node("edge2")]


def site(*resources, nodes=None):  # type: ignore[no-untyped-def]
    return desired(image(), network(), *resources, nodes=nodes or BOTH)


def placed(plan: Plan) -> dict[str, str]:
    return {change.ref: change.target for change in plan.changes if not change.ref.startswith(("Node", "Image", "Net"))}


def settled(*resources, nodes=None) -> Fleet:  # type: ignore[no-untyped-def]
    fleet = Fleet("edge1", "edge2")
    fleet.apply(fleet.plan(site(*resources, nodes=nodes)))
    assert not fleet.plan(site(*resources, nodes=nodes)).changes
    return fleet


def test_volume_is_made_where_its_machine_goes_and_before_it() -> None:
    plan = Fleet("edge1", "edge2").plan(site(volume(), machine(mounts=(SHOP,), constraints=Constraints(node="edge2"))))
    assert placed(plan) == {SHOP: "edge2", "Machine/acme/web": "edge2"}
    made = next(change for change in plan.changes if change.ref == SHOP)
    first = next(change for change in plan.changes if change.ref == "Machine/acme/web").steps[0]
    assert made.steps[-1].id in first.needs


def test_machines_that_share_a_volume_share_its_place() -> None:
    both = (machine("a", mounts=(SHOP,)), machine("b", mounts=(SHOP,)))
    assert len(set(placed(Fleet("edge1", "edge2").plan(site(volume(), *both))).values())) == 1


def test_new_machine_goes_where_its_volume_is() -> None:
    there = volume(constraints=Constraints(node="edge2"))
    fleet = settled(there)
    assert placed(fleet.plan(site(there, machine(mounts=(SHOP,))))) == {"Machine/acme/web": "edge2"}


def test_machine_is_held_where_its_volume_is_elsewhere() -> None:
    there = volume(constraints=Constraints(node="edge2"))
    fleet = settled(there)
    plan = fleet.plan(site(there, machine(mounts=(SHOP,), constraints=Constraints(node="edge1"))))
    assert not plan.changes
    assert "Volume/acme/shop is on edge2, and it is mounted from where it is" in plan.holds[0].sentence


def test_mount_is_held_where_machine_and_volume_live_apart() -> None:
    before = (volume(constraints=Constraints(node="edge2")), machine(constraints=Constraints(node="edge1")))
    fleet = settled(*before)
    after = machine(constraints=Constraints(node="edge1"), mounts=(SHOP,))
    plan = fleet.plan(site(before[0], after))
    assert not plan.changes
    assert [(hold.rule, hold.sentence) for hold in plan.holds] == [("needs", f"it mounts {SHOP}, which is on edge2")]


def test_mount_is_held_while_its_volume_cannot_be_made() -> None:
    fleet = settled(machine())
    huge = volume(size=9000 * GiB)
    plan = fleet.plan(site(huge, machine(mounts=(SHOP,))))
    assert not plan.changes
    assert ("needs", f"it mounts {SHOP}, which is not there") in [(hold.rule, hold.sentence) for hold in plan.holds]


def test_volume_goes_to_quarantine_after_its_machine_let_it_go_and_comes_back() -> None:
    fleet = settled(volume(), machine(mounts=(SHOP,)))
    gone = Lineage(removed=frozenset({Ref(SHOP)}))
    plan = fleet.plan(site(machine()), lineage=gone)
    going = next(change for change in plan.changes if change.ref == SHOP)
    assert (going.action, [step.verb for step in going.steps]) == (Action.DESTROY, ["quarantine"])
    assert going.recoverable_for == 7 * 86400
    letting = next(change for change in plan.changes if change.ref == "Machine/acme/web")
    assert letting.steps[-1].id in going.steps[0].needs
    fleet.apply(plan)
    back = fleet.plan(site(volume(size=2 * GiB), machine(mounts=(SHOP,))))
    coming = next(change for change in back.changes if change.ref == SHOP)
    assert (coming.action, [step.verb for step in coming.steps]) == (Action.RESTORE, ["restore", "update"])
    fleet.apply(back)
    assert not fleet.plan(site(volume(size=2 * GiB), machine(mounts=(SHOP,)))).changes


def test_volume_that_comes_back_as_it_was_is_only_restored() -> None:
    fleet = settled(volume())
    fleet.apply(fleet.plan(site(), lineage=Lineage(removed=frozenset({Ref(SHOP)}))))
    (change,) = fleet.plan(site(volume())).changes
    assert [step.verb for step in change.steps] == ["restore"]


def test_volume_is_purged_when_its_time_is_over() -> None:
    fleet = settled(volume())
    gone = {"lineage": Lineage(removed=frozenset({Ref(SHOP)}))}
    fleet.apply(fleet.plan(site(), **gone))
    assert not fleet.plan(site(), **gone).changes
    (change,) = fleet.plan(site(), now=NOW + 7 * 86400, **gone).changes
    assert change.action is Action.PURGE


def test_protected_volume_stays_though_its_document_goes() -> None:
    fleet = settled(volume(protected=True))
    plan = fleet.plan(site(), lineage=Lineage(removed=frozenset({Ref(SHOP)})))
    assert not plan.changes
    assert plan.holds[0].rule == "protected"


def test_volume_grows_and_never_shrinks() -> None:
    fleet = settled(volume(size=2 * GiB))
    (grown,) = fleet.plan(site(volume(size=3 * GiB))).changes
    assert [step.verb for step in grown.steps] == ["update"]
    plan = fleet.plan(site(volume(size=GiB)))
    assert not plan.changes
    assert plan.holds[0].rule == "impossible"


def test_node_whose_driver_makes_no_volumes_takes_neither_volume_nor_its_machine() -> None:
    from reconciler.core.planner import Planner
    from tests.builders import SHAPES, report, request

    class Plain(type(SHAPES["sim"])):  # type: ignore[misc]
        capability = msgspec.structs.replace(SHAPES["sim"].capability, kinds=frozenset({"Machine", "Network", "Image"}))

    planner = Planner({"sim": Plain()})
    planner.world.take_desired(desired(image(), network(), volume(), machine(mounts=(SHOP,))))
    planner.take_report(report())
    told = {hold.ref: hold.sentence for hold in planner.plan(request()).holds}
    assert set(told) == {SHOP, "Machine/acme/web"}
    assert all("its driver makes no Volume" in sentence for sentence in told.values())


def test_pause_of_a_volume_is_shown_with_its_place() -> None:
    fleet = settled(volume(constraints=Constraints(node="edge2")))
    fleet.journal(Paused(SHOP, NOW + 60, "backup"))
    (hold,) = fleet.plan(site(volume(constraints=Constraints(node="edge2")))).holds
    assert (hold.rule, hold.target) == ("paused", "edge2")
