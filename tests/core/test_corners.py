"""Rare turns: what was cut short, seen late, renamed twice, bound in vain; and a planner that lives through a life."""

from __future__ import annotations

from typing import Any

import msgspec

from drivers.sim.shape import CAPABILITY, SimShape
from reconciler.core.desired import Behaviour, Constraints, Lineage, NicWant, Policy, Resource
from reconciler.core.ledger import Bound, Claimed, Forgotten, Intent, Paused, Purged, Record, Result, Settled
from reconciler.core.observed import Capacity, Object
from reconciler.core.plan import Action, Manner, Plan, to_json
from reconciler.core.planner import Planner, make_plan
from reconciler.core.refs import Ref, Target, Uid, mint
from reconciler.core.world import World
from tests.builders import (
    DATACENTER,
    NOW,
    SHAPES,
    Fleet,
    GiB,
    desired,
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
APP = Ref("Network/acme/app")
EDGE = Target("edge1")
GONE = Lineage(removed=frozenset({WEB}))


def made(*machines: Resource, **more: Any) -> Fleet:
    fleet = Fleet()
    fleet.apply(fleet.plan(small_site(*machines, **more)))
    return fleet


def rules_of(plan: Plan) -> list[tuple[str, str]]:
    return [(hold.ref, hold.rule) for hold in plan.holds]


def without(fleet: Fleet, *, kind: str = "", uid: str = "") -> None:
    here = fleet.objects[EDGE]
    fleet.objects[EDGE] = {key: found for key, found in here.items() if found.kind != kind and key != uid}


def partial(fleet: Fleet) -> Any:
    told = msgspec.structs.replace(fleet.reports()[0], complete=False, problem="cut short")
    return msgspec.structs.replace(told, digest=f"{told.digest} in part")


# -- incarnations -----------------------------------------------------------------------------------------------


def replaced() -> tuple[Fleet, Any, str]:
    fleet, other = made(machine()), image("alpine", content="2")
    site = small_site(other, machine(uses=other, behaviour=Behaviour(replace=True)))
    plan = fleet.plan(site)
    fleet.apply(plan)
    return fleet, site, next(change.uid for change in plan.changes if change.ref == WEB)


def test_an_old_incarnation_in_quarantine_is_not_taken_for_the_new_one_that_vanished() -> None:
    fleet, site, new = replaced()
    without(fleet, uid=new)
    assert rules_of(fleet.plan(site)) == [(WEB, "vanished")]
    assert rules_of(plan_of(site, partial(fleet), remembered=fleet.ledger())) == []
    grown = desired(*site.resources.values(), machine(memory=2 * GiB))
    assert rules_of(plan_of(grown, partial(fleet), remembered=fleet.ledger())) == [(WEB, "unknown")]


def test_an_old_incarnation_that_is_back_beside_a_new_one_is_a_conflict() -> None:
    fleet, site, new = replaced()
    here = fleet.objects[EDGE]
    old = next(uid for uid, found in here.items() if found.lifecycle == "quarantined")
    here[old] = msgspec.structs.replace(here[old], lifecycle="live")
    del here[Uid(new)]
    (hold,) = fleet.plan(site).holds
    assert hold.rule == "conflict"
    assert "is an older one than that which was made on edge1" in hold.sentence


def test_a_replace_begun_in_the_ledger_alone_goes_on_from_quarantine() -> None:
    fleet, site, new = replaced()
    without(fleet, uid=new)
    fleet.records = [record for record in fleet.records if not (
        isinstance(record.entry, Settled) and record.entry.uid == new
    )]  # fmt: skip
    plan = fleet.plan(site)
    assert [(change.action, change.ref) for change in plan.changes] == [(Action.REPLACE, WEB)]
    fleet.apply(plan)
    assert not fleet.plan(site).changes


def test_what_was_seen_in_quarantine_before_our_last_write_is_left_alone() -> None:
    fleet = made(machine())
    fleet.apply(fleet.plan(small_site(), lineage=GONE))
    stale = fleet.reports()
    fleet.journal(Result("p", "s", EDGE, WEB, "applied"))
    assert rules_of(plan_of(small_site(machine()), *stale, remembered=fleet.ledger())) == [(WEB, "unknown")]
    flying = ledger(*(record.entry for record in fleet.records), Intent("p", "t", EDGE, WEB, Uid("u")))
    assert rules_of(plan_of(small_site(machine()), *fleet.reports(), remembered=flying)) == [(WEB, "unknown")]


def test_a_growth_that_was_taken_back_frees_what_was_kept_for_it() -> None:
    fleet, site = made(machine()), small_site(machine())
    (binding,) = fleet.ledger().bindings.of(WEB)
    fleet.journal(Bound(WEB, binding.uid, 1, EDGE, binding.addresses, (9 * GiB, 1000, 10 * GiB)))
    plan = fleet.plan(site)
    assert [entry.demand for entry in plan.entries if isinstance(entry, Bound)] == [(GiB, 1000, 10 * GiB)]
    fleet.apply(plan)
    assert not fleet.plan(site).entries
    fleet.journal(Bound(WEB, binding.uid, 1, EDGE, binding.addresses, (9 * GiB, 1000, 10 * GiB)))
    assert not fleet.plan(small_site(), lineage=GONE).entries


# -- bound in vain ----------------------------------------------------------------------------------------------


def silent() -> Any:
    return report(complete=False, identity=None, claimed=False, problem="no answer")


def test_a_machine_of_which_nobody_knows_whether_it_was_made_is_held() -> None:
    bound = ledger(Bound(WEB, Uid("u"), 1, EDGE))
    assert rules_of(plan_of(small_site(machine()), silent(), remembered=bound)) == [
        ("Image/debian", "unknown"), (WEB, "unknown"), (APP, "unknown"),
    ]  # fmt: skip
    half = ledger(Bound(WEB, Uid("u"), 1, EDGE), Bound(APP, Uid("n"), 1, EDGE))
    assert (APP, "unknown") in rules_of(plan_of(small_site(machine()), silent(), remembered=half))


def test_a_machine_that_was_never_made_and_is_not_wanted_is_forgotten() -> None:
    plan = plan_of(small_site(), remembered=ledger(Bound(WEB, Uid("u"), 1, EDGE)))
    assert Forgotten(WEB, Uid("u"), EDGE) in plan.entries


def test_a_network_that_went_with_its_document_is_forgotten() -> None:
    fleet = made(machine())
    without(fleet, kind="Network")
    without(fleet, kind="Machine")
    plan = fleet.plan(desired(image()), lineage=Lineage(accepted=True))
    assert [entry.ref for entry in plan.entries if isinstance(entry, Purged)] == [APP]


def test_an_authored_address_that_the_ledger_lost_is_no_change() -> None:
    wanted = machine(ips={APP: "10.0.1.2"})
    fleet = made(wanted)
    (binding,) = fleet.ledger().bindings.of(WEB)
    fleet.records = [record for record in fleet.records if not isinstance(record.entry, Bound)]
    fleet.journal(Bound(WEB, binding.uid, 1, EDGE))
    site = msgspec.structs.replace(wanted, nics=(NicWant((APP,), "10.0.1.2", binding.addresses[0].mac, primary=True),))
    assert not fleet.plan(small_site(msgspec.structs.replace(site, digest="x"))).changes


# -- held together ----------------------------------------------------------------------------------------------


def test_nothing_is_made_on_a_node_whose_claim_is_held() -> None:
    policy = Policy(drift="heal")
    fleet = made(machine(), policy=policy)
    fleet.claimed[EDGE] = False
    fleet.objects[EDGE].clear()
    fleet.records = [record for record in fleet.records if not isinstance(record.entry, Claimed)]
    plan = fleet.plan(small_site(machine(), policy=policy), intent=False)
    assert not plan.changes
    assert {("Node/edge1", "follow"), (APP, "claim")} <= set(rules_of(plan))
    some = fleet.plan(small_site(machine(), policy=policy), intent=False, only=frozenset({WEB}))
    assert {ref for ref, _ in rules_of(some)} <= {WEB, APP, "Image/debian"}


class Narrow(Fleet):
    def reports(self) -> list[Any]:
        return [msgspec.structs.replace(each, capacity=Capacity(8 * GiB, 32_000, 200 * GiB), digest=f"n{each.digest}")
                for each in super().reports()]  # fmt: skip


def test_what_waits_for_room_falls_with_the_change_that_would_have_given_it() -> None:
    fleet = Narrow()
    fleet.apply(fleet.plan(small_site(machine("a", memory=6 * GiB), machine("c", ips={APP: "10.0.1.2"}))))
    shrunk = machine("a", memory=GiB, ips={APP: "10.0.1.2"})
    plan = fleet.plan(small_site(shrunk, machine("b", memory=5 * GiB), machine("c", ips={APP: "10.0.1.2"})))
    assert not plan.changes
    assert rules_of(plan) == [("Machine/acme/a", "address"), ("Machine/acme/b", "capacity")]


def test_a_circle_holds_its_own_and_nobody_else() -> None:
    def site(first: str, second: str, memory: int) -> Any:
        return small_site(machine("a", ips={APP: first}), machine("b", ips={APP: second}), machine("c", memory=memory))

    fleet = Fleet()
    fleet.apply(fleet.plan(site("10.0.1.2", "10.0.1.3", GiB)))
    plan = fleet.plan(site("10.0.1.3", "10.0.1.2", 2 * GiB))
    assert [change.ref for change in plan.changes] == ["Machine/acme/c"]


def test_an_abandoned_node_with_nothing_on_it_is_not_missed() -> None:
    claims = ledger(Claimed(Target("edge9"), "guid"))
    assert not plan_of(small_site(), remembered=claims).holds
    bound = ledger(Claimed(Target("edge9"), "guid"), Bound(WEB, Uid("u"), 1, Target("edge9")))
    assert ("Node/edge9", "node") in rules_of(plan_of(small_site(), remembered=bound))
    assert ("Node/edge9", "node") not in rules_of(plan_of(small_site(), remembered=bound, only=frozenset({WEB})))


def test_what_would_have_to_move_is_held() -> None:
    shapes = {"sim": SimShape({"hostname": Manner.MOVE})}
    fleet = made(machine())
    moved = make_plan(small_site(machine(body={"hostname": "x"})), fleet.reports(), fleet.ledger(), shapes, request())
    assert rules_of(moved) == [(WEB, "move")]


def test_a_driver_that_makes_no_networks_is_asked_for_none() -> None:
    class Bare(SimShape):
        capability = msgspec.structs.replace(CAPABILITY, kinds=frozenset({"Machine", "Image"}))

    plan = make_plan(small_site(machine()), [report()], ledger(), {"sim": Bare()}, request())
    assert [change.ref for change in plan.changes] == ["Image/debian", WEB]


def test_a_nic_takes_the_network_of_its_pool_that_the_node_carries() -> None:
    far = network("far", subnet="10.0.9.0/24", nic_tag="far")
    base = machine()
    pooled = msgspec.structs.replace(base, nics=(NicWant((far.ref, APP), primary=True),), digest="x",
                                     references=(*base.references, far.ref))  # fmt: skip
    plan = plan_of(desired(image(), network(), far, pooled))
    assert [change.addresses[0].network for change in plan.changes if change.ref == WEB] == [APP]


# -- a planner that lives on ------------------------------------------------------------------------------------


class Kept:
    """A planner that hears of everything as it comes, beside one that is made anew for each plan."""

    def __init__(self) -> None:
        self.fleet = Fleet()
        self.planner = Planner(SHAPES)
        self.told = 0
        self.site = small_site()

    def hear(self) -> None:
        for record in self.fleet.records[self.told :]:
            self.planner.world.take_record(record)
        self.told = len(self.fleet.records)

    def plan(self, site: Any, **asked: Any) -> Plan:
        self.site = site
        self.hear()
        self.planner.world.take_desired(site)
        for each in self.fleet.reports():
            self.planner.take_report(each)
        return self.again(**asked)

    def again(self, **asked: Any) -> Plan:
        plan = self.planner.plan(request(**asked))
        anew = make_plan(self.site, self.fleet.reports(), self.fleet.ledger(), SHAPES, request(**asked))
        assert to_json(plan) == to_json(anew)
        return plan


def test_a_kept_planner_goes_through_a_whole_life() -> None:
    kept = Kept()
    assert not kept.planner.take_report(report(began=0))
    kept.fleet.apply(kept.plan(small_site(machine(), machine("db"))))
    assert not kept.plan(small_site(machine(), machine("db"))).changes
    kept.fleet.apply(kept.plan(small_site(machine("db")), lineage=GONE))
    kept.plan(small_site(machine("db")))
    assert kept.planner.world.next_timer == NOW + 7 * 86400
    late = NOW + 7 * 86400
    assert [change.action for change in kept.again(now=late).changes] == [Action.PURGE]
    assert not kept.again(now=NOW).changes
    plan = kept.again(now=late)
    kept.fleet.apply(plan, now=late)
    assert not kept.plan(small_site(machine("db")), now=late).changes
    assert WEB not in kept.planner.world.facts
    assert kept.planner.world.next_timer is None


def test_a_kept_planner_hears_of_intents_pauses_and_nodes() -> None:
    kept = Kept()
    site = small_site(machine(), nodes=[node("edge1"), node("edge2")])
    kept.fleet = Fleet("edge1", "edge2")
    kept.fleet.apply(kept.plan(site))
    kept.plan(site)
    without(kept.fleet, kind="Machine")
    assert rules_of(kept.plan(site)) == [(WEB, "vanished")]
    kept.fleet.journal(Intent("p", "s", EDGE, WEB, Uid("u")))
    kept.hear()
    told = kept.planner.plan(request())
    assert rules_of(told) == []
    kept.fleet.journal(Result("p", "s", EDGE, WEB, "deferred"), Paused(WEB, NOW + 60, "looking"))
    assert rules_of(kept.plan(site)) == [(WEB, "paused"), (WEB, "vanished")]
    kept.planner.world.drop_report(Target("edge2"))
    kept.planner.world.drop_report(Target("nowhere"))
    bare = small_site(machine(), nodes=[node("edge1")])
    kept.fleet.objects.pop(Target("edge2"))
    assert rules_of(kept.plan(bare)) == [(WEB, "paused"), (WEB, "vanished")]


def test_a_kept_planner_hears_of_a_network_that_is_renamed() -> None:
    kept = Kept()
    kept.fleet.apply(kept.plan(small_site(machine())))
    kept.plan(small_site(machine()))
    lan = msgspec.structs.replace(network("lan"), behaviour=Behaviour(renamed_from=APP), digest="lan")
    kept.fleet.apply(kept.plan(desired(image(), lan, machine(nics=(lan.ref,)))))
    assert not kept.plan(desired(image(), lan, machine(nics=(lan.ref,)))).changes
    plain = msgspec.structs.replace(lan, behaviour=Behaviour(), digest="plain")
    assert not kept.plan(desired(image(), plain, machine(nics=(lan.ref,)))).changes


def test_another_datacenter_is_another_world() -> None:
    kept = Kept()
    kept.fleet.apply(kept.plan(small_site(machine())))
    kept.plan(small_site(machine()))
    other = msgspec.structs.replace(small_site(machine()), datacenter_id=DATACENTER.replace("6f1c", "6f1d"))
    kept.planner.world.take_desired(other)
    assert any("claimed by another datacenter" in problem for problem in kept.planner.plan(request()).problems)


def test_a_world_answers_what_it_was_never_told() -> None:
    world = World(SHAPES)
    assert world.binding(WEB) is None
    assert world.seen(WEB) == ()
    assert world.sights.on(WEB, EDGE) == []
    assert world.unreadable(EDGE) == "its Node document is not there, so it cannot be asked"
    assert world.where(WEB) is None
    world.take_desired(small_site())
    assert world.mint(WEB, 1) == (mint(DATACENTER, WEB, 1), 1)


def test_records_may_come_before_the_revision() -> None:
    planner = Planner(SHAPES)
    planner.world.take_record(Record(1, NOW, Claimed(EDGE, "guid-edge1")))
    planner.world.take_desired(small_site(machine(constraints=Constraints(node="edge1"))))
    planner.take_report(report())
    assert [change.ref for change in planner.plan(request()).changes] == ["Image/debian", APP, WEB]


def test_many_are_asked_for_in_turn_and_answers_are_not_kept_for_ever() -> None:
    fleet = made(*(machine(f"m{number}", nics=(), memory=GiB // 8, cpu=None, disk=GiB) for number in range(300)))
    fleet.records.clear()
    planner = Planner(SHAPES)
    planner.world.take_desired(small_site())
    for each in fleet.reports():
        planner.take_report(each)
    refs = [Ref(f"Machine/acme/m{number}") for number in range(300)]
    proved = [planner.world.binding(ref) for ref in (*refs, *refs)]
    assert {each.incarnation for each in proved if each is not None} == {1}
    assert len(proved) == 600


def test_a_name_seen_on_two_targets_and_then_on_one() -> None:
    nodes = [node("edge1"), node("edge2")]
    fleet = Fleet("edge1", "edge2")
    site = small_site(machine(constraints=Constraints(node="edge1")), nodes=nodes)
    fleet.apply(fleet.plan(site))
    kept = Kept()
    kept.fleet = fleet
    (uid,) = [uid for uid, found in fleet.objects[EDGE].items() if found.kind == "Machine"]
    fleet.objects[Target("edge2")][uid] = fleet.objects[EDGE][uid]
    assert rules_of(kept.plan(site)) == [(WEB, "conflict")]
    del fleet.objects[Target("edge2")][uid]
    assert not kept.plan(site).holds


def test_an_address_that_an_unmanaged_machine_has_is_not_given_away_and_nics_without_one_count_for_nothing() -> None:
    nics = {"app": {"ip": "10.0.1.10/24"}, "bare": {"mac": "02:00:00:00:00:01"}}
    foreign = Object("Machine", "old", "old", {"nics": nics}, "x")
    plan = plan_of(small_site(machine()), report(objects=[foreign]))
    assert next(change for change in plan.changes if change.ref == WEB).addresses[0].ip == "10.0.1.11"


def test_no_address_is_taken_while_somebody_may_have_it_where_nobody_has_looked() -> None:
    nodes = [node("edge1"), node("edge2")]
    fleet = Fleet("edge1", "edge2")
    fleet.apply(fleet.plan(small_site(machine(nics=(), constraints=Constraints(node="edge1")), nodes=nodes)))
    site = small_site(machine(constraints=Constraints(node="edge1")), nodes=nodes)
    unlisted = report("edge2", complete=False, identity=None, claimed=False, problem="no answer")
    plan = plan_of(site, fleet.reports()[0], unlisted)
    assert (WEB, "coverage") in rules_of(plan)
    assert WEB not in {change.ref for change in plan.changes}
    assert WEB in {change.ref for change in plan_of(site, *fleet.reports()).changes}


def test_a_configuration_is_written_only_over_what_it_was_made_from() -> None:
    fleet = made(machine())
    change = next(each for each in fleet.plan(small_site(machine(body={"hostname": "x"}))).changes if each.ref == WEB)
    written = next(step for step in change.steps if step.verb == "configure")
    assert written.precondition.fields["/hostname"] == "web"
    assert set(written.precondition.fields["/nics"]) == {"app"}
