"""What is told quickly of machines at rest is what is told of them at length, and it is told of those at rest alone."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from reconciler.core.classify import Bucket
from reconciler.core.decide import decide_machine
from reconciler.core.desired import Constraints, Demand, Desired, NicWant, Resource
from reconciler.core.ledger import Ledger
from reconciler.core.observed import Object
from reconciler.core.planner import Planner
from reconciler.core.refs import Ref, Target, Uid
from reconciler.core.resting import glimpsed, resting, resting_as_told, rests
from reconciler.core.values import plain
from reconciler.core.world import World
from tests.builders import NOW, SHAPES, Fleet, machine, network, node, resource, small_site

EDGE1 = Target("edge1")
APP, DB = Ref("Network/acme/app"), Ref("Network/acme/db")
MACHINES = (
    machine("plain"),
    machine("two", nics=(APP, DB)),
    machine("none", nics=()),
    machine("fixed", ips={APP: "10.0.1.9"}),
    msgspec.structs.replace(machine("pool"), nics=(NicWant((APP, DB), primary=True),)),
)
REFS = {each.ref for each in MACHINES}
ALIKE = {each.ref for each in MACHINES[:3]}
"""Those whose form is that of others."""


def site(*machines: Resource) -> Desired:
    return small_site(network("db", subnet="10.0.2.0/24"), *machines)


@pytest.fixture
def fleet() -> Fleet:
    """On which all of it was made."""
    made = Fleet("edge1")
    made.apply(made.plan(site(*MACHINES)))
    assert not made.plan(site(*MACHINES)).changes
    return made


def world_of(fleet: Fleet, wanted: Desired) -> World:
    """All is known and nothing is decided."""
    world = Planner(SHAPES, fleet.ledger()).world
    world.take_desired(wanted)
    for report in fleet.reports():
        world.take_report(report)
    return world


def test_machines_at_rest_are_told_together_with_their_facts(fleet: Fleet) -> None:
    world = world_of(fleet, site(*MACHINES))
    assert world.dirty >= REFS
    assert set(resting(world, EDGE1)) == REFS
    assert not REFS & world.dirty
    for ref in REFS:
        assert world.facts[ref] == world.facts_of(ref)
        assert rests(world, ref)
        assert decide_machine(world, ref, NOW) == ()
    assert resting(world, EDGE1) == []


def told_of(fleet: Fleet, wanted: Desired, ledger: Ledger) -> set[Ref]:
    """Those that a glimpse takes for machines at rest; what it leaves out it tells as it was seen."""
    world = World(SHAPES, ledger)
    world.take_desired(wanted)
    [report] = fleet.reports()
    glimpse = glimpsed(world, report)
    told = {*glimpse.resting.refs} if glimpse.resting is not None else set[Ref]()
    assert [found for found in report.objects if found.marks is None or found.marks.ref not in told] == [
        *glimpse.report.objects
    ]
    return told


def other(field: str, value: object) -> Callable[[Object], Object]:
    return lambda found: msgspec.structs.replace(found, fields={**found.fields, field: value})


@pytest.mark.parametrize(
    "disturb",
    [
        other("memory", 1),
        other("nics", {}),
        lambda found: msgspec.structs.replace(found, unknown={"/state": "not read"}),
        lambda found: msgspec.structs.replace(found, lifecycle="quarantined"),
        lambda found: msgspec.structs.replace(found, marks=msgspec.structs.replace(found.marks, uid="another")),
        lambda found: msgspec.structs.replace(found, marks=msgspec.structs.replace(found.marks, incarnation=2)),
        lambda found: msgspec.structs.replace(found, marks=msgspec.structs.replace(found.marks, protected=True)),
        lambda found: msgspec.structs.replace(found, marks=msgspec.structs.replace(found.marks, paused_until=NOW + 9)),
        lambda found: msgspec.structs.replace(found, marks=msgspec.structs.replace(found.marks, applied="")),
        lambda found: msgspec.structs.replace(found, marks=msgspec.structs.replace(found.marks, datacenter="other")),
        lambda found: msgspec.structs.replace(found, marks=None),
    ],
)
def test_one_that_differs_is_left_out(fleet: Fleet, disturb: Callable[[Object], Object]) -> None:
    plain = MACHINES[0].ref
    objects = fleet.objects[EDGE1]
    name = next(name for name, found in objects.items() if found.marks is not None and found.marks.ref == plain)
    objects[name] = disturb(objects[name])
    world = world_of(fleet, site(*MACHINES))
    told = set(resting(world, EDGE1))
    assert plain not in told
    assert not rests(world, plain)
    assert told == REFS - {plain}
    assert told_of(fleet, site(*MACHINES), fleet.ledger()) == ALIKE - {plain}


@pytest.mark.parametrize(
    "remembered",
    [
        {"uid": Uid("another")},
        {"incarnation": 2},
        {"target": Target("edge2")},
        {"sealed": None},
        {"quarantined_until": NOW + 9},
        {"moving": Target("edge2")},
        {"demand": (1, 2, 3)},
        {"addresses": ()},
    ],
    ids=str,
)
def test_one_that_is_remembered_otherwise_is_left_out(fleet: Fleet, remembered: dict[str, object]) -> None:
    plain, ledger = MACHINES[0].ref, fleet.ledger()
    binding = ledger.bindings.sole(plain)
    assert binding is not None
    changed = msgspec.structs.replace(binding, **remembered)
    ledger.bindings[plain, changed.target] = changed
    world = World(SHAPES, ledger)
    world.take_desired(site(*MACHINES))
    for report in fleet.reports():
        world.take_report(report)
    assert set(resting(world, EDGE1)) == REFS - {plain}
    assert not rests(world, plain)
    assert told_of(fleet, site(*MACHINES), ledger) == ALIKE - {plain}


def test_two_of_one_name_or_identity_are_left_out(fleet: Fleet) -> None:
    plain, two = MACHINES[0].ref, MACHINES[1].ref
    objects = fleet.objects[EDGE1]
    of = {found.marks.ref: found for found in objects.values() if found.marks is not None}
    objects["twin"] = msgspec.structs.replace(of[plain], native_id="twin", native_name="twin")
    marks = msgspec.structs.replace(of[two].marks, ref=Ref("Machine/acme/copy"))
    objects["copy"] = msgspec.structs.replace(of[two], native_id="copy", native_name="copy", marks=marks)
    assert plain not in told_of(fleet, site(*MACHINES), fleet.ledger())
    assert set(resting(world_of(fleet, site(*MACHINES)), EDGE1)) == REFS - {plain, two}


def test_one_that_is_seen_in_two_places_is_in_conflict_and_the_others_rest() -> None:
    """Its mark was copied: the first look at either place tells nothing of the other."""
    fleet, plain = Fleet("edge1", "edge2"), on("edge1", MACHINES[0])
    others = [on("edge1", machine(name)) for name in ("beside", "third")]
    wanted = small_site(plain, *others, nodes=[node("edge1"), node("edge2")])
    fleet.apply(fleet.plan(wanted))
    assert not fleet.plan(wanted).changes
    of = {found.marks.ref: found for found in fleet.objects[EDGE1].values() if found.marks is not None}
    copied = of[plain.ref]
    fleet.objects[Target("edge2")]["copy"] = msgspec.structs.replace(copied, native_id="copy", native_name="copy")
    marks = msgspec.structs.replace(copied.marks, ref=Ref("Machine/acme/beside"))
    fleet.objects[Target("edge2")]["twin"] = msgspec.structs.replace(copied, native_id="twin", marks=marks)
    planner = Planner(SHAPES, fleet.ledger())
    planner.world.take_desired(wanted)
    for report in reversed(fleet.reports()):
        planner.take_report(report)
    assert planner.world.sights.places(plain.ref) == (Target("edge2"), EDGE1)
    planner.settle(NOW)
    assert {ref for ref, _ in planner.pending} >= {plain.ref, Ref("Machine/acme/beside")}
    assert Bucket.CONFLICT in {each.bucket for found in planner.pending.values() for each in found}


def test_one_that_is_wanted_otherwise_is_left_out(fleet: Fleet) -> None:
    wanted = (machine("plain", memory=2**31), *MACHINES[1:])
    assert set(resting(world_of(fleet, site(*wanted)), EDGE1)) == REFS - {MACHINES[0].ref}
    assert told_of(fleet, site(*wanted), fleet.ledger()) == ALIKE - {MACHINES[0].ref}


def test_one_that_may_not_stay_is_left_out(fleet: Fleet) -> None:
    away = msgspec.structs.replace(MACHINES[0], constraints=Constraints(node="edge2"))
    assert set(resting(world_of(fleet, site(away, *MACHINES[1:])), EDGE1)) == REFS - {away.ref}
    assert told_of(fleet, site(away, *MACHINES[1:]), fleet.ledger()) == ALIKE - {away.ref}


def test_nothing_is_said_of_a_target_that_is_not_trusted(fleet: Fleet) -> None:
    world = world_of(fleet, small_site(network("db", subnet="10.0.2.0/24"), *MACHINES, nodes=[node("edge2")]))
    assert resting(world, EDGE1) == []
    assert resting(world, Target("edge2")) == []


def test_the_same_hour_told_of_one_name_on_two_targets_is_one_hour(fleet: Fleet) -> None:
    both = Fleet("edge1", "edge2")
    plain = MACHINES[0].ref
    found = next(each for each in fleet.objects[EDGE1].values() if each.marks is not None and each.marks.ref == plain)
    marks = msgspec.structs.replace(found.marks, quarantined_until=NOW + 100)
    for target in both.objects:
        both.objects[target]["old"] = msgspec.structs.replace(found, marks=marks, lifecycle="quarantined")
    world = world_of(both, small_site(nodes=[node("edge1"), node("edge2")]))
    assert world.next_timer == NOW + 100
    world.due(NOW + 200)
    assert world.next_timer is None


def firewall(*parties: Ref) -> Resource:
    """The network of all, that lets these in."""
    made = network()
    rule = {"from": None, "to": list(parties), "allow": ["tcp/1"]}
    return resource(made.ref, {**plain(made.body), "firewall": [rule]}, network=made.network, parties=parties)


def on(target: str, one: Resource) -> Resource:
    return msgspec.structs.replace(one, constraints=msgspec.structs.replace(one.constraints, node=target))


@pytest.mark.parametrize("limited", [False, True])
def test_what_many_take_together_is_what_each_of_them_takes(limited: bool) -> None:
    """Several of one kind, told of by others, watched by a firewall that is elsewhere too: all is as if each was looked
    at."""
    fleet, edge2 = Fleet("edge1", "edge2"), Target("edge2")
    many = [on("edge1", each) for each in (*(machine(f"many-{number}") for number in range(5)), *MACHINES)]
    nodes, networks = [node("edge1"), node("edge2")], (firewall(many[0].ref), network("db", subnet="10.0.2.0/24"))
    wanted = small_site(*networks, *many, on("edge2", machine("far")), nodes=nodes)
    fleet.apply(fleet.plan(wanted))
    here, there = fleet.reports()
    looker, quick, told, slow = (World(SHAPES, fleet.ledger()) for _ in range(4))
    for world in (looker, quick, told, slow):
        world.take_desired(wanted)
    glimpse = glimpsed(looker, here)
    assert glimpse.resting is not None
    for world in (quick, told, slow):
        world.take_report(there)
        world.refresh([Ref("Machine/acme/far")])
        assert not limited or len(world.taken) == 1
        if world is told:
            world.take_glimpse(glimpse, glimpse.resting)
        else:
            world.take_report(here)
        world.refresh([])
        world.dirty_at.clear()
    assert len(resting(quick, EDGE1)) == len(many)
    assert len(resting_as_told(told, EDGE1, glimpse.resting)) == len(many) - 2
    assert firewall().ref in told.dirty_at[edge2]
    for world in (told, slow):
        world.refresh()
    assert quick.dirty_at == told.dirty_at == slow.dirty_at
    for table in ("facts", "homes", "needs", "taken"):
        assert dict(getattr(quick, table)) == dict(getattr(told, table)) == dict(getattr(slow, table))
    assert quick.rooms.by_target == told.rooms.by_target == slow.rooms.by_target
    taken = [{of: found.by_number for of, found in world.holders.items()} for world in (quick, told, slow)]
    assert taken[0] == taken[1] == taken[2]


def test_what_is_known_of_one_at_rest_is_brought_up_to_date(fleet: Fleet) -> None:
    world = world_of(fleet, site(*MACHINES))
    resting(world, EDGE1)
    more = (machine("plain", memory=2**31), *MACHINES[1:])
    fleet.apply(fleet.plan(site(*more)))
    later = world_of(fleet, site(*more))
    later.refresh([])
    later.put_facts(MACHINES[0].ref, world.facts[MACHINES[0].ref])
    assert set(resting(later, EDGE1)) == REFS
    assert later.facts[MACHINES[0].ref].demand.memory == 2**31
    assert later.rooms.by_target[EDGE1].used == most_of(later)


def most_of(world: World) -> Demand:
    """What all machines take together."""
    demands = [facts.demand for facts in world.facts.values()]
    return Demand(
        sum(each.memory for each in demands), sum(each.cpu for each in demands), sum(each.disk for each in demands)
    )
