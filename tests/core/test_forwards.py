"""Forwards follow the machines that they lead to: to their addresses, and to where they live."""

from __future__ import annotations

from typing import Any

import msgspec

from reconciler.core.desired import Constraints, Desired, Drain, NodeMember, Resource
from reconciler.core.refs import Ref, Target
from reconciler.core.values import plain
from tests.builders import Fleet, desired, image, machine, network, node, resource

WEB = Ref("Machine/acme/web")
FORWARD = {"listen": "192.0.2.10", "to": WEB, "ports": ["tcp/80", "tcp/8443:443"]}


def forwarding(*forwards: dict[str, Any]) -> Resource:
    known = network()
    body = {**plain(known.body), "forwards": list(forwards)} if forwards else plain(known.body)
    return resource(known.ref, body, network=known.network, parties=tuple({Ref(each["to"]) for each in forwards}))


def site(*machines: Resource, forwards: tuple[dict[str, Any], ...] = (FORWARD,), **more: Any) -> Desired:
    return desired(image(), forwarding(*forwards), *machines, **more)


def settled(wanted: Desired, fleet: Fleet) -> Fleet:
    plan = fleet.plan(wanted)
    assert plan.proved, plan.problems
    fleet.apply(plan)
    again = fleet.plan(wanted)
    assert not again.changes, [change.id for change in again.changes]
    return fleet


def forwarded(fleet: Fleet) -> dict[str, Any]:
    found = {}
    for target, things in fleet.objects.items():
        for thing in things.values():
            if "subnet" in thing.fields:
                found[target] = thing.fields.get("forwards")
    return found


def test_forward_leads_to_the_address_that_the_plan_gives_out_and_goes_with_its_line() -> None:
    fleet = settled(site(machine()), Fleet("edge1"))
    assert forwarded(fleet) == {"edge1": {"192.0.2.10": {"tcp/80": "10.0.1.10", "tcp/8443": "10.0.1.10:443"}}}
    assert forwarded(settled(site(machine(), forwards=()), fleet)) == {"edge1": None}


def test_forward_is_only_where_its_machine_lives() -> None:
    nodes = [node("edge1"), node("edge2")]
    other = machine("other", constraints=Constraints(node="edge2"))
    fleet = settled(site(machine(constraints=Constraints(node="edge1")), other, nodes=nodes), Fleet("edge1", "edge2"))
    assert {target: bool(found) for target, found in forwarded(fleet).items()} == {"edge1": True, "edge2": False}


def test_machine_that_moves_takes_its_forward_along() -> None:
    def cluster(drain: Drain | None = None) -> list[Any]:
        return [node("inc", members={"a": NodeMember(drain=drain), "b": NodeMember()})]

    fleet = settled(site(machine(), nodes=cluster()), Fleet("inc/a", "inc/b"))
    assert forwarded(fleet).keys() == {"inc/a"}
    settled(site(machine(), nodes=cluster(Drain("move", "new fans"))), fleet)
    found = forwarded(fleet)
    assert found[Target("inc/b")] == {"192.0.2.10": {"tcp/80": "10.0.1.10", "tcp/8443": "10.0.1.10:443"}}
    assert not found.get(Target("inc/a"))


def test_machine_without_an_address_there_and_everything_of_an_address() -> None:
    apart = machine("apart", nics=("Network/acme/back",))
    rest = {"listen": "192.0.2.11", "to": WEB, "ports": ["any"]}
    lost = {"listen": "192.0.2.12", "to": apart.ref, "ports": ["any"]}
    wanted = site(machine(), apart, forwards=(rest, lost))
    both = {**wanted.resources, Ref("Network/acme/back"): network("back", subnet="10.0.9.0/24")}
    fleet = settled(msgspec.structs.replace(wanted, resources=both), Fleet("edge1"))
    assert {"192.0.2.11": {"any": "10.0.1.10"}} in [
        thing.fields.get("forwards") for thing in fleet.objects[Target("edge1")].values()
    ]


def test_forward_of_ipv6_tells_its_port_apart() -> None:
    six = network(subnet="fd00:1::/64")
    facts = msgspec.structs.replace(six.network, first="fd00:1::10", last="fd00:1::f0", gateway=None)  # type: ignore[type-var]
    body = {
        **plain(six.body),
        "gateway": None,
        "forwards": [{"listen": "fd00:9::1", "to": WEB, "ports": ["tcp/8443:443"]}],
    }
    made = resource(six.ref, body, network=facts, parties=(WEB,))
    fleet = settled(desired(image(), made, machine()), Fleet("edge1"))
    assert forwarded(fleet)[Target("edge1")] == {"fd00:9::1": {"tcp/8443": "[fd00:1::10]:443"}}
