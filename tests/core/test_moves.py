"""Machines leave their place: drains that move, drains that stop, documents that name another member."""

from __future__ import annotations

from typing import Any

import msgspec

from drivers.sim.shape import SimShape
from reconciler.core.desired import (
    Affinity,
    Behaviour,
    Budget,
    Constraints,
    Desired,
    Drain,
    Lineage,
    NodeMember,
    NodeWant,
    Policy,
    Resource,
    Update,
)
from reconciler.core.ledger import Bound, Moving, Spent
from reconciler.core.plan import Action, Cause, Change, Manner, Plan, Risk, Undo
from reconciler.core.planner import make_plan
from reconciler.core.refs import Ref, Target, Uid
from reconciler.core.render.plan import plan_text
from tests.builders import (
    Fleet,
    GiB,
    desired,
    image,
    machine,
    network,
    node,
    plan_of,
    report,
    request,
)  # fmt: skip

A, B, C = Target("inc/a"), Target("inc/b"), Target("inc/c")
WEB, DB = Ref("Machine/acme/web"), Ref("Machine/acme/db")
FANS = Drain("move", "new fans", "2026-12-01")
POWER = Drain("stop", "power works")


def cluster(*names: str, **drains: Drain) -> NodeWant:
    return node("inc", members={name: NodeMember(drain=drains.get(name)) for name in names or ("a", "b", "c")})


def site(*machines: Resource, at: NodeWant | None = None, **more: Any) -> Desired:
    return desired(image(), network(), *machines, nodes=[at or cluster()], **more)


def on_a(*machines: Resource, **more: Any) -> Fleet:
    """A cluster whose machines all live on member a."""
    fleet = Fleet(A, B, C)
    fleet.apply(fleet.plan(site(*machines, at=cluster("a", "b", "c", b=FANS, c=FANS), **more)))
    assert {change.target for change in fleet.plan(site(*machines, **more)).changes} == set()
    return fleet


def moves(plan: Plan) -> list[tuple[str, str | None, str]]:
    return [(change.ref, change.source, change.target) for change in plan.changes if change.action is Action.MOVE]


def the_move(plan: Plan) -> Change:
    return next(change for change in plan.changes if change.action is Action.MOVE)


def rules_of(plan: Plan) -> list[tuple[str, str]]:
    return [(hold.ref, hold.rule) for hold in plan.holds]


def live(fleet: Fleet, ref: Ref = WEB) -> list[tuple[Target, str]]:
    return [
        (target, found.fields["state"])
        for target, here in fleet.objects.items()
        for found in here.values()
        if found.marks is not None and found.marks.ref == ref and found.lifecycle == "live"
    ]


# -- drain: move --------------------------------------------------------------------------------------------------


def test_a_machine_on_a_drained_member_moves_and_the_next_plan_is_empty() -> None:
    fleet = on_a(machine())
    wanted = site(machine(), at=cluster(a=FANS))
    plan = fleet.plan(wanted)
    assert moves(plan) == [(WEB, A, B)]
    assert plan.proved, plan.problems
    change = the_move(plan)
    assert [(step.verb, step.target, step.source) for step in change.steps] == [
        ("stop", A, None), ("move", B, A), ("start", B, None),
    ]  # fmt: skip
    assert change.reason.sentence == "inc/a is being drained by 2026-12-01: new fans"
    (where,) = change.differences
    assert (where.path, where.before, where.after, where.cause, where.manner) == (
        "/node", A, B, Cause.OPERATION, Manner.MOVE,
    )  # fmt: skip
    assert (change.risk, change.undo) == (Risk.RESTART, Undo.EXACT)
    fleet.apply(plan)
    assert live(fleet) == [(B, "running")]
    after = fleet.plan(wanted)
    assert (after.changes, after.entries, after.holds) == ((), (), ())


def test_what_it_needs_is_brought_to_the_member_first() -> None:
    plan = on_a(machine()).plan(site(machine(), at=cluster(a=FANS)))
    ends = {change.ref: change.steps[-1].id for change in plan.changes if change.target == B}
    assert set(ends) == {WEB, "Image/debian", "Network/acme/app"}
    assert set(the_move(plan).steps[0].needs) >= {ends["Image/debian"], ends["Network/acme/app"]}


def test_nothing_moves_back_once_the_drain_is_lifted() -> None:
    fleet = on_a(machine())
    fleet.apply(fleet.plan(site(machine(), at=cluster(a=FANS))))
    assert fleet.plan(site(machine())).changes == ()


def test_a_stopped_machine_moves_and_stays_stopped() -> None:
    resting = machine(body={"state": "stopped"})
    fleet = on_a(resting)
    plan = fleet.plan(site(resting, at=cluster(a=FANS)))
    change = the_move(plan)
    assert [step.verb for step in change.steps] == ["move"]
    assert change.risk is Risk.DISRUPTIVE
    assert plan.proved
    fleet.apply(plan)
    assert live(fleet) == [(B, "stopped")]
    assert fleet.plan(site(resting, at=cluster(a=FANS))).changes == ()


def test_what_else_changed_is_written_on_the_way() -> None:
    fleet = on_a(machine())
    wanted = site(machine(memory=2 * GiB, body={"hostname": "www"}), at=cluster(a=FANS))
    plan = fleet.plan(wanted)
    assert [step.verb for step in the_move(plan).steps] == ["stop", "move", "configure", "start"]
    assert plan.proved, plan.problems
    fleet.apply(plan)
    assert fleet.plan(wanted).changes == ()


def test_what_takes_a_new_object_waits_until_it_has_moved() -> None:
    other = image("alpine", content="2")
    fleet = on_a(machine())
    fresh = machine(uses=other, behaviour=Behaviour(replace=True))
    wanted = desired(image(), other, network(), fresh, nodes=[cluster(a=FANS)])
    plan = fleet.plan(wanted)
    assert moves(plan) == [(WEB, A, B)]
    assert (WEB, "move") in rules_of(plan)
    fleet.apply(plan)
    plan = fleet.plan(wanted)
    assert [change.action for change in plan.changes if change.ref == WEB] == [Action.REPLACE]


def test_a_machine_that_was_renamed_has_its_new_name_first() -> None:
    fleet = on_a(machine())
    wanted = site(machine("www", behaviour=Behaviour(renamed_from=WEB)), at=cluster(a=FANS))
    plan = fleet.plan(wanted)
    assert [change.action for change in plan.changes] == [Action.RENAME]
    assert rules_of(plan) == [("Machine/acme/www", "move")]
    fleet.apply(plan)
    assert moves(fleet.plan(wanted)) == [("Machine/acme/www", A, B)]


def test_a_machine_gets_a_new_address_as_it_moves() -> None:
    both = ("Network/acme/app", "Network/acme/db")
    fleet = on_a(machine())
    back = network("db", subnet="10.0.2.0/24")
    wanted = desired(image(), network(), back, machine(nics=both), nodes=[cluster(a=FANS)])
    plan = fleet.plan(wanted)
    change = the_move(plan)
    assert [each.network for each in change.addresses] == list(both)
    bound = [entry for entry in change.steps[0].on_intent if isinstance(entry, Bound)]
    assert [entry.target for entry in bound] == [A], "its new address is taken before it is stopped"
    fleet.apply(plan)
    assert fleet.plan(wanted).changes == ()


def test_the_least_loaded_member_that_can_take_it_is_chosen() -> None:
    fleet = on_a(machine(), machine("db", constraints=Constraints(node="inc/a")))
    pinned = machine("db", memory=4 * GiB, constraints=Constraints(node="inc/b"))
    fleet.apply(fleet.plan(site(machine(), pinned)))
    assert moves(fleet.plan(site(machine(), pinned, at=cluster(a=FANS)))) == [(WEB, A, C)]


def test_without_room_it_stays_up_where_it_is_and_the_hold_says_why() -> None:
    big = machine(memory=60 * GiB)
    fleet = on_a(big)
    tight = Policy(reserve={"memory": 0.5})
    plan = fleet.plan(site(big, at=cluster(a=FANS), policy=tight))
    assert plan.changes == ()
    assert rules_of(plan) == [(WEB, "move")]
    assert "inc/b: needs" in plan.holds[0].sentence


def test_a_machine_that_cannot_go_is_still_kept_as_git_says() -> None:
    fleet = on_a(machine())
    grown = machine(memory=2 * GiB)
    everywhere = cluster(a=FANS, b=FANS, c=FANS)
    plan = fleet.plan(site(grown, at=everywhere))
    assert [(change.action, change.target) for change in plan.changes] == [(Action.UPDATE, A)]
    assert rules_of(plan) == [(WEB, "move")]
    fleet.apply(plan)
    assert fleet.plan(site(grown, at=everywhere)).changes == ()


def test_it_gets_an_address_even_where_it_cannot_go() -> None:
    both = ("Network/acme/app", "Network/acme/db")
    fleet = on_a(machine())
    back = network("db", subnet="10.0.2.0/24")
    everywhere = cluster(a=FANS, b=FANS, c=FANS)
    plan = fleet.plan(desired(image(), network(), back, machine(nics=both), nodes=[everywhere]))
    assert [(change.action, change.target) for change in plan.changes if change.ref == WEB] == [(Action.UPDATE, A)]


def test_without_an_address_there_it_stays() -> None:
    both = ("Network/acme/app", "Network/acme/db")
    fleet = on_a(machine())
    full = network("db", subnet="10.0.2.0/24", first=None)
    plan = fleet.plan(desired(image(), network(), full, machine(nics=both), nodes=[cluster(a=FANS)]))
    assert moves(plan) == []
    assert (WEB, "address") in rules_of(plan)


def test_a_single_node_moves_nothing() -> None:
    fleet = Fleet("edge1")
    fleet.apply(fleet.plan(desired(image(), network(), machine())))
    plan = fleet.plan(desired(image(), network(), machine(), nodes=[node("edge1", drain=FANS), node("edge2")]))
    assert plan.changes == ()
    assert rules_of(plan) == [(WEB, "move")]
    assert "nothing carries a machine from one node to another" in plan.holds[0].sentence


def test_what_a_driver_cannot_carry_stays() -> None:
    class Heavy(SimShape):
        def manner(self, kind: str, path: str, before: Any, after: Any, fields: Any) -> Manner:
            return Manner.IMPOSSIBLE if path == "/node" else super().manner(kind, path, before, after, fields)

    fleet = on_a(machine())
    plan = make_plan(
        site(machine(), at=cluster(a=FANS)), fleet.reports(), fleet.ledger(), {"sim": Heavy()}, request()
    )  # fmt: skip
    assert plan.changes == ()
    assert "the driver sim cannot carry such a machine" in plan.holds[0].sentence


def test_a_driver_that_forgets_to_move_is_named() -> None:
    class Lazy(SimShape):
        def steps(self, draft: Any) -> Any:
            steps = super().steps(draft)
            if draft.change.action is not Action.MOVE:
                return steps
            return tuple(msgspec.structs.replace(step, source=None) for step in steps)

    fleet = on_a(machine())
    plan = make_plan(site(machine(), at=cluster(a=FANS)), fleet.reports(), fleet.ledger(), {"sim": Lazy()}, request())
    assert not plan.proved
    assert plan.problems == ("Machine/acme/web@inc/b: driver sim would leave it on inc/a",)


def test_a_machine_whose_state_cannot_be_read_stays() -> None:
    fleet = on_a(machine())
    for uid, found in fleet.objects[A].items():
        if found.kind == "Machine":
            fields = {key: value for key, value in found.fields.items() if key != "state"}
            fleet.objects[A][uid] = msgspec.structs.replace(
                found, fields=fields, unknown={"/state": "no answer"}, digest="other"
            )
    plan = fleet.plan(site(machine(), at=cluster(a=FANS)))
    assert moves(plan) == []
    assert "whether it runs could not be read: no answer" in {h.rule: h for h in plan.holds}["move"].sentence


def test_a_member_that_does_not_answer_is_unknown_and_nothing_of_it_is_made_elsewhere() -> None:
    fleet = on_a(machine())
    silent = report(A, (), identity=None, complete=False, claimed=False, problem="no answer")
    told = [silent, *(each for each in fleet.reports() if each.target != A)]
    plan = plan_of(site(machine(), at=cluster(a=FANS)), *told, remembered=fleet.ledger())
    assert plan.changes == ()
    assert rules_of(plan) == [(WEB, "unknown")]


def test_the_loop_that_does_not_follow_git_moves_nothing() -> None:
    plan = on_a(machine()).plan(site(machine(), at=cluster(a=FANS)), intent=False)
    assert plan.changes == ()
    assert rules_of(plan) == [(WEB, "follow")]


def test_what_lies_in_quarantine_there_waits() -> None:
    fleet = on_a(machine())
    fleet.apply(fleet.plan(site(), lineage=Lineage(removed=frozenset({WEB}))))
    plan = fleet.plan(site(machine(), at=cluster(a=FANS)))
    assert plan.changes == ()
    assert rules_of(plan) == [(WEB, "drain")]
    assert fleet.plan(site(machine())).changes[0].action is Action.RESTORE


# -- company, batches, budgets ------------------------------------------------------------------------------------


def test_machines_that_must_be_apart_are_apart_after_every_step() -> None:
    apart = Affinity((WEB, DB), hard=True)
    pair = [machine(name, constraints=Constraints(spread=apart)) for name in ("web", "db")]
    fleet = Fleet(A, B, C)
    fleet.apply(fleet.plan(site(*pair, at=cluster("a", "b", "c", c=FANS))))
    assert {live(fleet, WEB)[0][0], live(fleet, DB)[0][0]} == {A, B}
    plan = fleet.plan(site(*pair, at=cluster(a=FANS, b=FANS)))
    assert len(moves(plan)) == 1, "one of them has the last member; the other would join it"
    assert [hold.rule for hold in plan.holds] == ["move"]


def test_machines_that_belong_together_leave_together() -> None:
    near = Affinity((WEB, DB), hard=True)
    pair = [machine(name, constraints=Constraints(near=near)) for name in ("web", "db")]
    fleet = on_a(*pair)
    plan = fleet.plan(site(*pair, at=cluster(a=FANS)))
    assert moves(plan) == [(DB, A, B), (WEB, A, B)]


def test_a_group_moves_batch_by_batch() -> None:
    group = [machine(f"web-{n}", behaviour=Behaviour(update=Update("web", canary=1, batch=2))) for n in range(1, 5)]
    plan = on_a(*group).plan(site(*group, at=cluster(a=FANS)))
    gated = [change for change in plan.changes if change.action is Action.MOVE and change.steps[0].gates]
    assert [change.ref[-1] for change in gated] == ["2", "3", "4"]
    first = next(change for change in plan.changes if change.ref == "Machine/acme/web-1")
    assert gated[0].steps[0].gates[0].steps == (first.steps[-1].id,)


def test_moves_count_as_restarts_where_they_come_from() -> None:
    group = [machine(f"web-{n}") for n in range(1, 5)]
    fleet = on_a(*group)
    policy = Policy(restarts=Budget(per_plan=2))
    plan = fleet.plan(site(*group, at=cluster(a=FANS), policy=policy))
    assert len(moves(plan)) == 2
    assert [hold.rule for hold in plan.holds] == ["budget", "budget"]
    spent = [entry for change in plan.changes for step in change.steps for entry in step.on_intent
             if isinstance(entry, Spent)]  # fmt: skip
    assert [entry.target for entry in spent] == [A, A]
    per_node = Policy(restarts=Budget(per_node=1))
    assert len(moves(fleet.plan(site(*group, at=cluster(a=FANS), policy=per_node)))) == 1


def test_the_page_shows_the_room_at_both_ends() -> None:
    plan = on_a(machine(memory=2 * GiB)).plan(site(machine(memory=2 * GiB), at=cluster(a=FANS)))
    assert {room.target: room.memory for room in plan.headroom} == {
        A: (62 * GiB, 64 * GiB), B: (64 * GiB, 62 * GiB),
    }  # fmt: skip


# -- documents that name another place -----------------------------------------------------------------------------


def test_a_document_that_names_another_member_moves_it() -> None:
    fleet = on_a(machine())
    wanted = site(machine(constraints=Constraints(node="inc/c")))
    plan = fleet.plan(wanted)
    assert moves(plan) == [(WEB, A, C)]
    assert the_move(plan).differences[0].cause is Cause.INTENT
    fleet.apply(plan)
    assert fleet.plan(wanted).changes == ()


def test_a_document_that_names_another_node_is_held() -> None:
    fleet = on_a(machine())
    elsewhere = machine(constraints=Constraints(node="edge1"))
    plan = fleet.plan(desired(image(), network(), elsewhere, nodes=[cluster(), node("edge1")]))
    assert plan.changes == ()
    assert rules_of(plan) == [(WEB, "move")]
    assert "the document asks for node edge1" in plan.holds[0].sentence


# -- what is shown and kept ----------------------------------------------------------------------------------------


def test_moves_of_a_group_fold_by_where_they_come_from() -> None:
    group = [machine(f"web-{n}", behaviour=Behaviour(update=Update("web", canary=1, batch=2))) for n in range(1, 4)]
    page = plan_text(on_a(*group).plan(site(*group, at=cluster(a=FANS))))
    assert "> 3 machines will be moved: from inc/a, about 1 s down each" in page
    assert "acme/web-[1-3]   inc/b c b   web-1; then 2; stops at the first failure" in page
    assert "(inc/a is being drained by 2026-12-01: new fans)" in page
    assert "undo: exact, one more restart" in page


def test_one_move_shows_both_ends_and_what_else_changes() -> None:
    fleet = on_a(machine())
    page = plan_text(fleet.plan(site(machine(memory=2 * GiB), at=cluster(a=FANS))))
    assert "> Machine/acme/web will be moved" in page
    assert "inc/a → inc/b, about 2 s down" in page
    assert "~ memory  1Gi → 2Gi" in page
    assert "/node" not in page
    assert "stop → move from inc/a to inc/b → write the configuration → start" in page


def test_moves_of_what_is_stopped_take_nobody_down() -> None:
    group = [machine(f"web-{n}", body={"state": "stopped"}) for n in range(1, 4)]
    page = plan_text(on_a(*group).plan(site(*group, at=cluster(a=FANS))))
    assert "> 3 machines will be moved: from inc/a\n" in page


def test_what_a_drain_stops_is_called_so() -> None:
    page = plan_text(on_a(machine()).plan(site(machine(), at=cluster(a=POWER))))
    assert "~ Machine/acme/web will be stopped" in page
    assert "(inc/a is being drained: power works)" in page


def test_a_move_of_another_thing_of_that_name_says_nothing() -> None:
    fleet = on_a(machine())
    fleet.journal(Moving(WEB, Uid("another"), B))
    assert fleet.ledger().bindings.of(WEB)[0].moving is None


def test_drift_of_a_network_there_does_not_keep_it_away() -> None:
    fleet = on_a(machine())
    there = machine("db", constraints=Constraints(node="inc/b"))
    fleet.apply(fleet.plan(site(machine(), there)))
    for uid, found in fleet.objects[B].items():
        if found.kind == "Network":
            fields = {**found.fields, "mtu": 9000}
            fleet.objects[B][uid] = msgspec.structs.replace(found, fields=fields, digest="other")
    plan = fleet.plan(site(machine(), there, at=cluster(a=FANS, c=FANS)))
    assert ("Network/acme/app", "drift") in rules_of(plan)
    assert moves(plan) == [(WEB, A, B)]


def test_where_an_attempt_came_to_nothing_is_asked_last() -> None:
    fleet = on_a(machine())
    wanted = site(machine(), at=cluster(a=FANS))
    uid = the_move(fleet.plan(wanted)).uid
    fleet.journal(Moving(WEB, uid, B))
    assert moves(fleet.plan(wanted)) == [(WEB, A, C)]
    fleet.journal(Moving(WEB, uid, C))
    assert moves(fleet.plan(wanted)) == [(WEB, A, B)]
    assert moves(fleet.plan(site(machine(), at=cluster(a=FANS, b=FANS)))) == [(WEB, A, C)], "it is the only one"
