"""Volumes go with the machine that alone mounts them, in the step that carries it, or both stay."""

from __future__ import annotations

import msgspec
import pytest

from reconciler.core.desired import Constraints, Desired
from reconciler.core.ledger import Bound, Moving, Paused, Result
from reconciler.core.observed import Capacity
from reconciler.core.plan import Action, Plan
from reconciler.core.refs import Ref, Target
from reconciler.core.values import replaced
from tests.builders import NOW, Fleet, GiB, machine, plan_of, volume
from tests.core.test_moves import FANS, WEB, A, B, C, cluster, moves, on_a, rules_of, site, the_move

SHOP = Ref("Volume/acme/shop")
LOGS = Ref("Volume/acme/logs")


def web(*mounts: Ref, **more):  # type: ignore[no-untyped-def]
    return machine(mounts=mounts or (SHOP,), **more)


def drained(*wanted, **drains) -> Desired:  # type: ignore[no-untyped-def]
    return site(*wanted, at=cluster("a", "b", "c", **(drains or {"a": FANS})))


def where(fleet: Fleet, ref: Ref) -> list[Target]:
    return [target for target, found in fleet.objects.items() for each in found.values() if each.marks.ref == ref]  # type: ignore[union-attr]


def test_a_volume_goes_with_the_one_machine_that_mounts_it() -> None:
    wanted = (volume(), web())
    fleet = on_a(*wanted)
    plan = fleet.plan(drained(*wanted))
    assert moves(plan) == [(WEB, A, B)]
    assert not plan.holds
    assert plan.proved
    _, move, _ = the_move(plan).steps
    (uid,) = move.args["volumes"]
    assert move.args["volumes"] == {uid: SHOP}
    assert move.args["bytes"] == 11 * GiB
    assert move.summary == "move from inc/a to inc/b, with Volume/acme/shop"
    assert Bound(SHOP, uid, 1, B, (), (0, 0, GiB)) in move.on_applied
    assert Moving(SHOP, uid, B) in the_move(plan).steps[0].on_intent
    fleet.apply(plan)
    assert where(fleet, SHOP) == where(fleet, WEB) == [B]
    rest = fleet.plan(drained(*wanted))
    assert (rest.changes, rest.holds, rest.entries) == ((), (), ())
    assert fleet.plan(site(*wanted)).changes == (), "nothing moves back"


def test_all_volumes_of_a_machine_go_and_its_room_counts_them() -> None:
    wanted = (volume(size=50 * GiB), volume("logs", size=50 * GiB), web(SHOP, LOGS, disk=10 * GiB))
    fleet = on_a(*wanted)
    small = Capacity(memory=64 * GiB, cpu=16000, disk=100 * GiB)
    seen = [
        msgspec.structs.replace(each, capacity=small) if each.target == B else each for each in fleet.reports()
    ]  # fmt: skip
    plan = plan_of(drained(*wanted), *seen, remembered=fleet.ledger())
    assert moves(plan) == [(WEB, A, C)], "b would hold the machine, and not its volumes"
    head = {each.target: each.disk for each in plan.headroom}
    before, after = head[C] or (0, 0)
    assert before - after == 110 * GiB
    before, after = head[A] or (0, 0)
    assert after - before == 110 * GiB


def test_a_volume_grows_before_it_goes() -> None:
    fleet = on_a(volume(), web())
    wanted = (volume(size=2 * GiB), web())
    plan = fleet.plan(drained(*wanted))
    grown = next(change for change in plan.changes if change.ref == SHOP)
    assert (grown.action, grown.target) == (Action.UPDATE, A)
    assert grown.steps[-1].id in the_move(plan).steps[0].needs
    fleet.apply(plan)
    assert not fleet.plan(drained(*wanted)).changes


def test_a_shared_volume_stays_with_all_that_mount_it() -> None:
    wanted = (volume(), web(), machine("cron", mounts=(SHOP,)), machine("ci", mounts=(SHOP,)))
    fleet = on_a(*wanted)
    plan = fleet.plan(drained(*wanted))
    assert not plan.changes
    assert rules_of(plan) == [("Machine/acme/ci", "move"), ("Machine/acme/cron", "move"), (WEB, "move"), (SHOP, "move")]
    said = {hold.ref: hold.sentence for hold in plan.holds}
    assert "Volume/acme/shop stays, which Machine/acme/ci and 1 more mount too" in said[WEB]
    assert "it goes with the one machine that mounts it, and none goes" in said[SHOP]


def test_two_that_share_one_say_each_others_name() -> None:
    wanted = (volume(), web(), machine("cron", mounts=(SHOP,)))
    (_, held, _) = on_a(*wanted).plan(drained(*wanted)).holds
    assert "which Machine/acme/cron mounts too" in held.sentence


def test_a_volume_that_nobody_mounts_stays() -> None:
    plan = on_a(volume(), machine()).plan(drained(volume(), machine()))
    assert moves(plan) == [(WEB, A, B)]
    assert rules_of(plan) == [(SHOP, "move")]


@pytest.mark.parametrize("ref", ["Machine/acme/cron", None])
def test_who_mounts_it_on_the_node_counts_whatever_is_wanted(ref: str | None) -> None:
    wanted = (volume(), web(), machine("cron"))
    fleet = on_a(*wanted)
    uid, cron = next((uid, each) for uid, each in fleet.objects[A].items() if each.marks.ref == "Machine/acme/cron")  # type: ignore[union-attr]
    fields = replaced(cron.fields, "/volumes", {"shop": {"path": "/srv", "readOnly": False}})
    marks = cron.marks if ref is not None else None
    fleet.objects[A][uid] = msgspec.structs.replace(cron, fields=fields, marks=marks)
    plan = fleet.plan(drained(*wanted))
    assert WEB not in [change.ref for change in plan.changes]
    (sentence,) = [hold.sentence for hold in plan.holds if hold.ref == WEB]
    assert f"which {ref or cron.native_name} mounts too" in sentence


def test_what_another_tenant_mounts_under_that_name_is_its_own() -> None:
    theirs = Ref("Volume/other/shop")
    wanted = (volume(), web(), volume(tenant="other"), machine("cron", "other", mounts=(theirs,)))
    fleet = on_a(*wanted)
    plan = fleet.plan(drained(*wanted))
    assert {ref for ref, *_ in moves(plan)} == {WEB, "Machine/other/cron"}
    fleet.apply(plan)
    assert where(fleet, theirs) == where(fleet, Ref("Machine/other/cron"))
    assert not fleet.plan(drained(*wanted)).changes


def test_mounts_change_before_the_machine_moves() -> None:
    fleet = on_a(volume(), machine())
    wanted = (volume(), web())
    plan = fleet.plan(drained(*wanted))
    assert not moves(plan)
    assert "what it mounts is changed first" in next(hold.sentence for hold in plan.holds if hold.ref == WEB)
    fleet.apply(plan)
    assert moves(fleet.plan(drained(*wanted))) == [(WEB, A, B)]


def test_a_paused_volume_stays_and_so_does_its_machine() -> None:
    wanted = (volume(), web())
    fleet = on_a(*wanted)
    fleet.journal(Paused(SHOP, NOW + 3600, "being copied"))
    plan = fleet.plan(drained(*wanted))
    assert not moves(plan)
    assert any("being copied" in hold.sentence for hold in plan.holds if hold.ref == WEB)


def test_a_volume_in_quarantine_does_not_go() -> None:
    wanted = (volume(), web())
    fleet = on_a(*wanted)
    uid, shop = next((uid, each) for uid, each in fleet.objects[A].items() if each.kind == "Volume")
    fleet.objects[A][uid] = msgspec.structs.replace(shop, lifecycle="quarantined")
    plan = fleet.plan(drained(*wanted))
    assert not moves(plan)
    assert any("is not known to be on inc/a" in hold.sentence for hold in plan.holds if hold.ref == WEB)


def test_a_volume_that_is_to_be_on_another_member_says_where_to() -> None:
    wanted = (volume(constraints=Constraints(node="inc/c")), web())
    fleet = on_a(volume(), web())
    assert moves(fleet.plan(drained(*wanted))) == [(WEB, A, C)]


def test_a_volume_that_is_to_stay_keeps_its_machine() -> None:
    wanted = (volume(constraints=Constraints(node="inc/a")), web())
    plan = on_a(*wanted).plan(drained(*wanted))
    assert not moves(plan)
    assert any("Volume/acme/shop is to be on inc/a" in hold.sentence for hold in plan.holds if hold.ref == WEB)


def begun(fleet: Fleet, plan: Plan, steps: int) -> None:
    change = the_move(plan)
    for step in change.steps[:steps]:
        fleet.journal(step.intent("p"), *step.on_intent)
        fleet._act(step, change, NOW)
        fleet.journal(Result("p", step.id, step.target, step.ref, "applied", source=step.source), *step.on_applied)


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("lifted", [False, True])
def test_a_move_cut_short_leaves_both_together(steps: int, lifted: bool) -> None:
    wanted = (volume(), web())
    fleet = on_a(*wanted)
    begun(fleet, fleet.plan(drained(*wanted)), steps)
    after = site(*wanted) if lifted else drained(*wanted)
    for _ in range(3):
        fleet.apply(fleet.plan(after))
    assert where(fleet, SHOP) == where(fleet, WEB)
    assert (A in where(fleet, WEB)) == (lifted and steps == 1)
    rest = fleet.plan(after)
    assert (rest.changes, rest.entries, rest.holds) == ((), (), ())


def test_while_nobody_knows_what_became_of_it_nothing_is_made_anew() -> None:
    wanted = (volume(), web())
    fleet = on_a(*wanted)
    plan = fleet.plan(drained(*wanted))
    begun(fleet, plan, 1)
    move = the_move(plan).steps[1]
    fleet.journal(move.intent("p"), *move.on_intent)
    del fleet.objects[A][next(uid for uid, each in fleet.objects[A].items() if each.kind == "Volume")]
    later = fleet.plan(drained(*wanted))
    assert [change.ref for change in later.changes if change.action is Action.CREATE] == []


def test_what_was_carried_unheard_is_found_where_it_is() -> None:
    wanted = (volume(), web())
    fleet = on_a(*wanted)
    plan = fleet.plan(drained(*wanted))
    begun(fleet, plan, 1)
    change = the_move(plan)
    move = change.steps[1]
    fleet.journal(move.intent("p"), *move.on_intent)
    fleet._act(move, change, NOW)
    fleet.journal(Result("p", move.id, move.target, move.ref, "unconfirmed", source=move.source))
    for _ in range(2):
        fleet.apply(fleet.plan(drained(*wanted)))
    assert where(fleet, SHOP) == where(fleet, WEB) == [B]
    assert fleet.ledger().bindings[SHOP, B].moving is None
    assert not fleet.plan(drained(*wanted)).changes
