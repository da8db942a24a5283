"""What is told quickly of machines at rest is what is told of them at length, and it is told of those at rest alone."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from reconciler.core.decide import decide_machine
from reconciler.core.desired import Desired, NicWant, Resource
from reconciler.core.observed import Object
from reconciler.core.planner import Planner
from reconciler.core.refs import Ref, Target
from reconciler.core.resting import resting, rests
from reconciler.core.world import World
from tests.builders import NOW, SHAPES, Fleet, machine, network, node, small_site

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


def test_two_of_one_name_or_identity_are_left_out(fleet: Fleet) -> None:
    plain, two = MACHINES[0].ref, MACHINES[1].ref
    objects = fleet.objects[EDGE1]
    of = {found.marks.ref: found for found in objects.values() if found.marks is not None}
    objects["twin"] = msgspec.structs.replace(of[plain], native_id="twin", native_name="twin")
    marks = msgspec.structs.replace(of[two].marks, ref=Ref("Machine/acme/copy"))
    objects["copy"] = msgspec.structs.replace(of[two], native_id="copy", native_name="copy", marks=marks)
    assert set(resting(world_of(fleet, site(*MACHINES)), EDGE1)) == REFS - {plain, two}


def test_one_that_is_wanted_otherwise_is_left_out(fleet: Fleet) -> None:
    wanted = (machine("plain", memory=2**31), *MACHINES[1:])
    assert set(resting(world_of(fleet, site(*wanted)), EDGE1)) == REFS - {MACHINES[0].ref}


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
