"""Where machines go, which addresses they get, and what room there is."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from reconciler.core.addresses import Pool, mac_for
from reconciler.core.desired import (
    Affinity,
    Constraints,
    Demand,
    Desired,
    Drain,
    Lineage,
    NetworkFacts,
    NicWant,
    NodeMember,
    Policy,
    Resource,
)
from reconciler.core.explain import users, where
from reconciler.core.ledger import Bound, Paused
from reconciler.core.observed import Capacity
from reconciler.core.placement import PLENTY, Room, Rooms
from reconciler.core.plan import Action, Change, Plan
from reconciler.core.refs import Ref, Target, Uid
from reconciler.core.shape import Capability
from tests.builders import (
    NOW,
    Fleet,
    GiB,
    desired,
    image,
    machine,
    network,
    node,
    plan_of,
    planner,
    report,
    request,
    small_site,
)

WEB, DB = Ref("Machine/acme/web"), Ref("Machine/acme/db")


def homes(plan: Plan) -> dict[str, str]:
    return {change.ref: change.target for change in plan.changes if change.ref.startswith("Machine/")}


def site(*machines: Resource, **more: Any) -> Desired:
    return small_site(*machines, nodes=more.pop("nodes", [node("edge1"), node("edge2")]), **more)


def told(*targets: str, **more: Any) -> list[Any]:
    return [report(target, **more) for target in targets or ("edge1", "edge2")]


def refusal(plan: Plan) -> str:
    (hold,) = [hold for hold in plan.holds if hold.rule == "placement"]
    return hold.sentence


# -- placement -----------------------------------------------------------------------------------------------


def test_the_least_loaded_node_takes_the_next_machine_and_the_choice_is_always_the_same() -> None:
    plan = plan_of(site(*(machine(f"m{number}") for number in range(4))), *told())
    assert sorted(homes(plan).values()) == ["edge1", "edge1", "edge2", "edge2"]
    assert plan == plan_of(site(*(machine(f"m{number}") for number in (3, 1, 0, 2))), *told("edge2", "edge1"))


@pytest.mark.parametrize(
    ("wants", "refused"),
    [
        ({"memory": 65 * GiB}, "memory"),
        ({"cpu": 33_000}, "cpu"),
        ({"disk": 2001 * GiB}, "disk"),
        ({"constraints": Constraints(traits={"ssd": True})}, "trait ssd is False, not True"),
        ({"constraints": Constraints(brand="lx-old")}, "its driver has no brand lx-old"),
        ({"constraints": Constraints(image_type="oci")}, "its driver takes no image of type oci"),
        ({"constraints": Constraints(node="edge9")}, "the document asks for node edge9"),
        ({"nics": ("Network/acme/far",)}, "it does not carry far"),
    ],
)
def test_every_node_that_cannot_take_a_machine_says_why(wants: Any, refused: str) -> None:
    resources = desired(image(), network(), network("far", nic_tag="far"), machine(**wants))
    plan = plan_of(msgspec.structs.replace(resources, nodes={"edge1": node()}))
    assert "edge1" in refusal(plan)
    assert refused in refusal(plan)


def test_a_brand_that_one_node_cannot_run_goes_to_another() -> None:
    edge1, edge2 = told()
    edge1 = msgspec.structs.replace(edge1, cannot={"vm": "it runs no virtual machines: KVM support is missing"})
    big = machine(constraints=Constraints(brand="vm"))
    assert homes(plan_of(site(big, machine("db")), edge1, edge2)) == {WEB: "edge2", DB: "edge1"}
    alone = plan_of(site(big, nodes=[node("edge1")]), edge1)
    assert refusal(alone).endswith("edge1: it runs no virtual machines: KVM support is missing")


def test_traits_of_a_member_are_beside_those_of_its_node() -> None:
    cluster = node("inc", members={"a": NodeMember(traits={"ssd": True}), "b": NodeMember(cordon="old disks")})
    wants = Constraints(traits={"ssd": True, "gen": "2"})
    plan = plan_of(
        site(machine(constraints=wants), nodes=[msgspec.structs.replace(cluster, traits={"gen": "2"})]),
        *told("inc/a", "inc/b"),
    )
    assert homes(plan) == {WEB: "inc/a"}
    assert homes(plan_of(site(machine(constraints=Constraints(node="inc")), nodes=[cluster]), *told("inc/a", "inc/b")))
    assert "cordoned: old disks" in refusal(
        plan_of(site(machine(memory=65 * GiB), nodes=[cluster]), *told("inc/a", "inc/b"))
    )


def test_nothing_new_goes_to_a_cordoned_or_drained_node() -> None:
    shut = [node("edge1", cordon="old disks"), node("edge2", drain=Drain("move", "new fans"))]
    sentence = refusal(plan_of(site(machine(), nodes=shut), *told()))
    assert "edge1: it is cordoned: old disks" in sentence
    assert "edge2: it is being drained: new fans" in sentence


def test_a_refusal_names_three_nodes_and_counts_the_others() -> None:
    nodes = [node(f"edge{number}") for number in range(5)]
    plan = plan_of(site(machine(memory=65 * GiB), nodes=nodes), *told(*(each.name for each in nodes)))
    assert refusal(plan).endswith("(and 2 more)")


def test_without_any_node_the_hold_says_so() -> None:
    assert refusal(plan_of(small_site(machine(), nodes=[]))) == "there is no node"


def test_reserves_and_over_provisioning_change_what_may_be_promised() -> None:
    big = machine(memory=40 * GiB)
    assert homes(plan_of(site(big), *told()))
    assert "memory" in refusal(plan_of(site(big, policy=Policy(reserve={"memory": 0.5})), *told()))
    reserved = [node("edge1", reserve={"memory": 30 * GiB})]
    assert "memory" in refusal(plan_of(site(big, nodes=reserved)))
    huge = machine(memory=100 * GiB)
    assert homes(plan_of(site(huge, policy=Policy(overprovision={"memory": 2.0})), *told()))


def test_a_target_that_cannot_tell_its_capacity_takes_what_comes() -> None:
    assert homes(plan_of(site(machine(memory=900 * GiB)), *told(capacity=Capacity()))) == {WEB: "edge1"}


def test_what_a_node_really_carries_counts() -> None:
    assert "does not carry fabric" in refusal(plan_of(site(machine()), *told(carries=())))


SPREAD = Affinity((Ref("Machine/acme/m0"), Ref("Machine/acme/m1"), Ref("Machine/acme/m2")), hard=True)


def spread(over: str = "node", *, hard: bool = True, count: int = 3) -> list[Resource]:
    group = Affinity(SPREAD.machines, over=over, hard=hard)
    return [machine(f"m{number}", constraints=Constraints(spread=group)) for number in range(count)]


def test_a_hard_spread_keeps_machines_on_different_nodes() -> None:
    plan = plan_of(site(*spread()), *told())
    assert sorted(homes(plan).values()) == ["edge1", "edge2"]
    assert "must be apart" in refusal(plan)


def test_a_soft_spread_does_what_it_can() -> None:
    plan = plan_of(site(*spread(hard=False)), *told())
    assert sorted(homes(plan).values()) == ["edge1", "edge1", "edge2"]


def test_a_spread_over_racks_takes_racks_for_places() -> None:
    nodes = [node("edge1", rack="r1"), node("edge2", rack="r1"), node("edge3", rack="r2")]
    plan = plan_of(site(*spread("rack", count=2), nodes=nodes), *told("edge1", "edge2", "edge3"))
    assert "edge3" in homes(plan).values()
    assert len(set(homes(plan).values())) == 2


def test_near_follows_and_avoid_keeps_away() -> None:
    near = Constraints(near=Affinity((DB,), hard=True))
    fleet = Fleet("edge1", "edge2")
    first = site(machine("db", memory=8 * GiB))
    fleet.apply(fleet.plan(first))
    assert homes(fleet.plan(site(machine("db", memory=8 * GiB), machine(constraints=near)))) == {WEB: "edge1"}
    avoid = Constraints(avoid=Affinity((DB,), hard=True), node="edge1")
    assert "must be apart" in refusal(fleet.plan(site(machine("db", memory=8 * GiB), machine(constraints=avoid))))
    far = Constraints(near=Affinity((DB,), hard=True), node="edge2")
    assert "near are elsewhere" in refusal(fleet.plan(site(machine("db", memory=8 * GiB), machine(constraints=far))))
    soft = Constraints(near=Affinity((DB, WEB)))
    assert homes(fleet.plan(site(machine("db", memory=8 * GiB), machine(constraints=soft)))) == {WEB: "edge1"}


def test_nobody_to_be_near_to_is_no_obstacle() -> None:
    assert homes(plan_of(site(machine(constraints=Constraints(near=Affinity((DB,), hard=True)))), *told()))


def test_an_explanation_tells_of_every_node() -> None:
    fleet = Fleet("edge1", "edge2")
    wanted = site(machine(), nodes=[node("edge1"), node("edge2", cordon="old disks")])
    fleet.apply(fleet.plan(wanted))
    made = planner(wanted, *fleet.reports(), remembered=fleet.ledger())
    made.plan(request())
    found = where(made, WEB)
    assert found is not None
    assert (found.home, found.choice, found.possible) == ("edge1", "edge1", ("edge1",))
    assert found.rejected == {"edge2": "it is cordoned: old disks"}
    assert where(made, DB) is None
    assert where(made, Ref("Image/debian")) is None
    assert users(made, Ref("Image/debian")) == (WEB,)
    new = where(planner(site(machine("db")), *told()), DB)
    assert new is not None
    assert (new.home, new.choice) == (None, "edge1")


# -- room ----------------------------------------------------------------------------------------------------


class Narrow(Fleet):
    """Nodes with 8 GiB of memory."""

    def reports(self) -> list[Any]:
        return [
            report(target, found.values(), began=len(self.records), capacity=Capacity(8 * GiB, 32_000, 200 * GiB))
            for target, found in self.objects.items()
        ]


def change_of(plan: Plan, ref: str) -> Change:
    return next(change for change in plan.changes if change.ref == ref)


def test_what_fits_only_into_freed_room_waits_for_it() -> None:
    fleet = Narrow()
    fleet.apply(fleet.plan(small_site(machine(memory=6 * GiB))))
    swap = small_site(machine("db", memory=6 * GiB))
    plan = fleet.plan(swap, lineage=Lineage(removed=frozenset({WEB})))
    assert change_of(plan, DB).steps[0].needs[-1:] == (change_of(plan, WEB).steps[-1].id,)
    assert plan.headroom[0].memory == (2 * GiB, 2 * GiB)


def test_shrinking_gives_room_only_once_it_is_done() -> None:
    fleet = Narrow()
    fleet.apply(fleet.plan(small_site(machine(memory=6 * GiB))))
    plan = fleet.plan(small_site(machine(memory=2 * GiB), machine("db", memory=5 * GiB)))
    assert change_of(plan, WEB).steps[-1].id in change_of(plan, DB).steps[0].needs


def test_room_is_not_given_by_a_shrink_that_is_held() -> None:
    fleet = Narrow()
    fleet.apply(fleet.plan(small_site(machine(memory=6 * GiB))))
    fleet.journal(Paused(WEB, NOW + 60, "looking"))
    plan = fleet.plan(small_site(machine(memory=2 * GiB), machine("db", memory=5 * GiB)))
    assert [[step.verb for step in change.steps] for change in plan.changes] == [["mark"]]
    assert {hold.rule for hold in plan.holds} == {"paused", "placement"}


def test_machines_grow_as_far_as_there_is_room_the_first_first() -> None:
    fleet = Narrow()
    fleet.apply(fleet.plan(small_site(machine("a", memory=2 * GiB), machine("b", memory=2 * GiB))))
    plan = fleet.plan(small_site(machine("a", memory=5 * GiB), machine("b", memory=5 * GiB)))
    assert [change.ref for change in plan.changes] == ["Machine/acme/a"]
    assert [(hold.ref, hold.rule) for hold in plan.holds] == [("Machine/acme/b", "capacity")]


def test_growing_into_room_that_is_given_back_waits_for_it() -> None:
    fleet = Narrow()
    fleet.apply(fleet.plan(small_site(machine("a", memory=4 * GiB), machine("b", memory=4 * GiB))))
    plan = fleet.plan(small_site(machine("a", memory=7 * GiB), machine("b", memory=GiB)))
    assert change_of(plan, "Machine/acme/b").steps[-1].id in change_of(plan, "Machine/acme/a").steps[0].needs


def test_coming_back_from_quarantine_takes_room() -> None:
    fleet = Narrow()
    fleet.apply(fleet.plan(small_site(machine(memory=6 * GiB))))
    fleet.apply(fleet.plan(small_site(), lineage=Lineage(removed=frozenset({WEB}))))
    fleet.apply(fleet.plan(small_site(machine("db", memory=6 * GiB))))
    plan = fleet.plan(small_site(machine(memory=6 * GiB), machine("db", memory=6 * GiB)))
    assert not plan.changes
    assert [(hold.ref, hold.rule, hold.wanted) for hold in plan.holds] == [(WEB, "capacity", Action.RESTORE)]


def test_a_machine_that_was_bound_and_never_made_goes_elsewhere_if_its_document_says_so() -> None:
    fleet = Fleet("edge1", "edge2")
    fleet.journal(Bound(WEB, Uid("u1"), 1, Target("edge1"), (), (GiB, 1000, 10 * GiB)))
    assert homes(fleet.plan(site(machine()))) == {WEB: "edge1"}
    plan = fleet.plan(site(machine(constraints=Constraints(node="edge2"))))
    assert homes(plan) == {WEB: "edge2"}
    fleet.apply(plan)
    assert [binding.target for binding in fleet.ledger().bindings.of(WEB)] == ["edge2"]


def test_rooms_are_mended_in_place() -> None:
    def room(target: str, memory: int) -> Room:
        return Room(Target(target), Capability(frozenset(), frozenset(), frozenset()), memory, 1, 1)

    rooms = Rooms([room("a", 10), room("b", 10)])
    rooms.promise(Target("a"), Demand(5))
    rooms.promise(Target("nowhere"), Demand(5))
    assert [each.target for each in rooms.by_load()] == ["b", "a"]
    rooms.put(room("a", 100))
    assert rooms.by_target[Target("a")].used == Demand(5)
    rooms.put(room("c", 0))
    rooms.drop(Target("b"))
    rooms.drop(Target("nowhere"))
    assert [each.target for each in rooms.by_load()] == ["a", "c"]
    for number in range(70):
        rooms.put(room(f"n{number:02}", 10))
    assert len(list(rooms.by_load())) == 72
    assert PLENTY > 1 << 60


# -- addresses -----------------------------------------------------------------------------------------------


def facts(**more: Any) -> NetworkFacts:
    return NetworkFacts(**{"nic_tag": "t", "subnet": "10.0.0.0/24", "first": "10.0.0.10", "last": "10.0.0.13", **more})


def test_the_lowest_free_address_is_given_and_reserved_ones_never() -> None:
    pool = Pool(facts(reserved=("10.0.0.11", "10.0.0.12-10.0.0.12", "10.0.0.12 - 10.0.0.13"), gateway="10.0.0.10"))
    assert pool.lowest() is None
    pool = Pool(facts(reserved=("10.0.0.11",)))
    assert pool.lowest() == "10.0.0.10"
    pool.take("10.0.0.10", WEB)
    assert pool.lowest() == "10.0.0.12"
    pool.take("10.0.0.12", DB)
    pool.take("10.0.0.13", DB)
    assert pool.lowest() is None
    pool.free("10.0.0.12", DB)
    pool.free("10.0.0.12", DB)
    assert pool.lowest() == "10.0.0.12"


def test_several_may_want_one_address() -> None:
    pool = Pool(facts())
    for holder in (WEB, DB, WEB):
        pool.take("10.0.0.10", holder)
    assert pool.holders("10.0.0.10") == (DB, WEB)
    pool.free("10.0.0.10", WEB)
    assert pool.holders("10.0.0.10") == (DB,)
    pool.free("10.0.0.10", DB)
    assert pool.holders("10.0.0.10") == ()


def test_a_network_without_a_range_gives_nothing_and_one_without_an_end_its_whole_subnet() -> None:
    assert Pool(facts(first=None, last=None)).lowest() is None
    assert Pool(facts(first="10.0.0.254", last=None)).lowest() == "10.0.0.254"
    assert Pool(facts(first="10.0.0.255", last=None)).lowest() is None


def test_a_wide_span_of_ipv6_is_not_counted_out() -> None:
    pool = Pool(facts(subnet="fd00::/64", first="fd00::1", last="fd00::ffff:ffff", reserved=("fd00::1-fd00::ffff:0",)))
    assert pool.lowest() == "fd00::ffff:1"
    pool.take("fd00::ffff:1", WEB)
    assert pool.lowest() == "fd00::ffff:2"
    assert pool.contains("fd00::9")


def test_a_mac_follows_from_identity_and_network() -> None:
    assert mac_for(Uid("u"), Ref("Network/a")) == mac_for(Uid("u"), Ref("Network/a"))
    assert mac_for(Uid("u"), Ref("Network/a")).startswith("02:")


def ip_of(plan: Plan, ref: str) -> str:
    return change_of(plan, ref).addresses[0].ip


def test_addresses_are_sticky_although_the_range_moves_and_lower_ones_become_free() -> None:
    fleet = Fleet()
    fleet.apply(fleet.plan(small_site(machine("a"), machine("b"))))
    moved = desired(image(), network(first="10.0.1.100"), machine("a"), machine("b"))
    assert not fleet.plan(moved).changes
    plan = fleet.plan(desired(image(), network(first="10.0.1.100"), machine("a"), machine("b"), machine("c")))
    assert ip_of(plan, "Machine/acme/c") == "10.0.1.100"


def test_an_authored_address_and_mac_are_taken_as_they_are() -> None:
    nic = NicWant((Ref("Network/acme/app"),), ip="10.0.1.2", mac="02:00:00:00:00:01", primary=True)
    wanted = msgspec.structs.replace(machine(ips={"Network/acme/app": "10.0.1.2"}), nics=(nic,), digest="x")
    plan = plan_of(small_site(wanted))
    (address,) = change_of(plan, WEB).addresses
    assert (address.ip, address.mac, address.authored) == ("10.0.1.2", "02:00:00:00:00:01", True)
    fleet = Fleet()
    fleet.apply(plan)
    other = msgspec.structs.replace(wanted, nics=(msgspec.structs.replace(nic, mac="02:00:00:00:00:02"),), digest="y")
    assert change_of(fleet.plan(small_site(other)), WEB).addresses[0].mac == "02:00:00:00:00:02"


def test_a_pool_of_networks_goes_on_to_the_second_when_the_first_is_full() -> None:
    first = network("app", last="10.0.1.10")
    second = network("more", subnet="10.0.2.0/24")
    wants = (NicWant((first.ref, second.ref), primary=True),)

    def pooled(name: str) -> Resource:
        base = machine(name)
        return msgspec.structs.replace(base, nics=wants, references=(*base.references, second.ref), digest=name)

    plan = plan_of(desired(image(), first, second, pooled("a"), pooled("b")))
    assert [change.addresses[0].network for change in plan.changes if change.addresses] == [first.ref, second.ref]
    full = plan_of(
        desired(image(), first, network("more", last="10.0.2.10", subnet="10.0.2.0/24"), *map(pooled, "abc"))
    )
    assert [(hold.ref, hold.rule) for hold in full.holds] == [("Machine/acme/c", "address")]


def test_an_authored_address_picks_its_network_out_of_a_pool() -> None:
    first, second = network("app"), network("more", subnet="10.0.2.0/24")
    base = machine()
    wants = (NicWant((first.ref, second.ref), ip="10.0.2.2", primary=True),)
    pooled = msgspec.structs.replace(base, nics=wants, references=(*base.references, second.ref), digest="x")
    assert change_of(plan_of(desired(image(), first, second, pooled)), WEB).addresses[0].network == second.ref


def test_an_address_stays_reserved_while_its_machine_is_in_quarantine() -> None:
    fleet = Fleet()
    fleet.apply(fleet.plan(small_site(machine(ips={"Network/acme/app": "10.0.1.2"}))))
    gone = Lineage(removed=frozenset({WEB}))
    taker = machine("db", ips={"Network/acme/app": "10.0.1.2"})
    plan = fleet.plan(small_site(taker), lineage=gone)
    assert [(hold.ref, hold.sentence) for hold in plan.holds] == [
        (DB, f"10.0.1.2 stays reserved for {WEB} until its purge")
    ]
    fleet.apply(plan)
    for forgetful in (False, True):
        if forgetful:
            fleet.records.clear()
        assert [hold.rule for hold in fleet.plan(small_site(taker)).holds] == ["address"]
    late = NOW + 7 * 86400
    plan = fleet.plan(small_site(taker), now=late)
    assert [(change.action, change.ref) for change in plan.changes] == [("create", DB), ("purge", WEB)]
    assert change_of(plan, WEB).steps[-1].id in change_of(plan, DB).steps[0].needs


def test_an_address_moves_between_machines_in_one_commit_and_a_swap_does_not() -> None:
    def pair(first: str, second: str) -> Desired:
        return small_site(machine("a", ips={"Network/acme/app": first}), machine("b", ips={"Network/acme/app": second}))

    fleet = Fleet()
    fleet.apply(fleet.plan(pair("10.0.1.2", "10.0.1.3")))
    plan = fleet.plan(pair("10.0.1.4", "10.0.1.2"))
    giver, taker = (change_of(plan, f"Machine/acme/{name}") for name in "ab")
    assert giver.steps[-1].id in taker.steps[0].needs
    swapped = fleet.plan(pair("10.0.1.3", "10.0.1.2"))
    assert not swapped.changes
    assert [hold.rule for hold in swapped.holds] == ["cycle", "cycle"]
    fleet.journal(Paused(Ref("Machine/acme/a"), NOW + 60, "looking"))
    held = fleet.plan(pair("10.0.1.4", "10.0.1.2"))
    assert [(hold.ref, hold.rule) for hold in held.holds] == [
        ("Machine/acme/a", "paused"),
        ("Machine/acme/b", "address"),
    ]


def test_of_two_that_want_one_free_address_the_first_gets_it() -> None:
    plan = plan_of(small_site(*(machine(name, ips={"Network/acme/app": "10.0.1.2"}) for name in "ab")))
    assert ip_of(plan, "Machine/acme/a") == "10.0.1.2"
    assert [(hold.ref, hold.sentence) for hold in plan.holds] == [
        ("Machine/acme/b", "10.0.1.2 is taken by Machine/acme/a")
    ]


def test_a_nic_that_is_added_gets_an_address_where_the_machine_is() -> None:
    fleet = Fleet()
    fleet.apply(fleet.plan(small_site(machine(nics=()))))
    plan = fleet.plan(small_site(machine()))
    assert ip_of(plan, WEB) == "10.0.1.10"
    assert [step.verb for step in change_of(plan, WEB).steps] == ["stop", "configure", "start"]
    full = desired(image(), network(last="10.0.1.10", reserved=("10.0.1.10",)), machine())
    assert [hold.rule for hold in fleet.plan(full).holds] == ["address"]


def test_a_nic_waits_for_a_network_that_is_held() -> None:
    fleet = Fleet()
    fleet.apply(fleet.plan(small_site(machine(nics=()))))
    told_late = msgspec.structs.replace(fleet.reports()[0], complete=False, problem="cut short", digest="x")
    plan = plan_of(small_site(machine()), told_late, remembered=fleet.ledger())
    assert {(hold.ref, hold.rule) for hold in plan.holds} == {("Network/acme/app", "unknown"), (WEB, "needs")}
