"""A network's firewall tells of machines' addresses: it follows them, in the plan that gives them out."""

from __future__ import annotations

from typing import Any

import msgspec

from reconciler.core.desired import Desired, NicWant, Resource
from reconciler.core.ledger import Paused
from reconciler.core.plan import Action
from reconciler.core.refs import Ref
from reconciler.core.values import plain
from tests.builders import NOW, Fleet, GiB, desired, image, machine, network, resource

WEB, DB = Ref("Machine/acme/web"), Ref("Machine/acme/db")
BOTH = ("Network/acme/db",)


def guarded(*rules: dict[str, Any], subnet: str = "10.0.2.0/24") -> Resource:
    """The network `db` with these rules."""
    plain_one = network("db", subnet=subnet)
    body = {**plain(plain_one.body), "firewall": list(rules)}
    parties = {Ref(who) for rule in rules for side in ("from", "to") for who in rule[side] or () if "Machine" in who}
    return resource(plain_one.ref, body, network=plain_one.network, parties=tuple(sorted(parties)))


def rule(*, sources: list[str] | None = None, to: list[str] | None = None) -> dict[str, Any]:
    return {"from": sources, "to": to, "allow": ["tcp/5432"]}


def site(*resources: Resource, rules: list[dict[str, Any]]) -> Desired:
    return desired(image(), network(), guarded(*rules), *resources)


def firewall(fleet: Fleet) -> Any:
    found = [thing for here in fleet.objects.values() for thing in here.values() if thing.fields.get("subnet")]
    return next(thing.fields.get("firewall") for thing in found if thing.fields["subnet"] == "10.0.2.0/24")


def settled(wanted: Desired, fleet: Fleet | None = None) -> Fleet:
    fleet = fleet or Fleet()
    plan = fleet.plan(wanted)
    assert plan.proved, plan.problems
    fleet.apply(plan)
    again = fleet.plan(wanted)
    assert not again.changes, [change.id for change in again.changes]
    return fleet


RULES = [rule(sources=[WEB, "192.0.2.0/24"], to=[DB])]


def test_addresses_that_a_plan_gives_out_are_in_the_firewall_that_it_makes() -> None:
    fleet = settled(site(machine("web"), machine("db", nics=BOTH), rules=RULES))
    assert firewall(fleet) == [{"from": ["10.0.1.10", "192.0.2.0/24"], "to": ["10.0.2.10"], "allow": ["tcp/5432"]}]


def test_new_machine_changes_the_firewall_in_the_plan_that_makes_it() -> None:
    fleet = settled(site(machine("db", nics=BOTH), rules=RULES))
    assert firewall(fleet)[0]["from"] == ["192.0.2.0/24"]
    settled(site(machine("web"), machine("db", nics=BOTH), rules=RULES), fleet)
    assert firewall(fleet)[0]["from"] == ["10.0.1.10", "192.0.2.0/24"]


def test_machine_lets_in_only_on_the_network_that_the_rule_is_on() -> None:
    both = machine("db", nics=("Network/acme/app", "Network/acme/db"))
    assert firewall(settled(site(both, rules=[rule(to=[DB])])))[0]["to"] == ["10.0.2.10"]


def test_everybody_and_the_whole_network_stand_as_no_word() -> None:
    assert firewall(settled(site(machine("db", nics=BOTH), rules=[rule()]))) == [{"allow": ["tcp/5432"]}]


def test_new_address_is_followed() -> None:
    fleet = settled(site(machine("web"), machine("db", nics=BOTH), rules=RULES))
    moved = machine("web", ips={"Network/acme/app": "10.0.1.5"})
    settled(site(moved, machine("db", nics=BOTH), rules=RULES), fleet)
    assert firewall(fleet)[0]["from"] == ["10.0.1.5", "192.0.2.0/24"]


def test_firewall_that_somebody_changed_is_drift_of_its_network() -> None:
    wanted = site(machine("db", nics=BOTH), rules=[rule(to=[DB])])
    fleet = settled(wanted)
    here = fleet.objects[next(iter(fleet.objects))]
    for uid, thing in here.items():
        if thing.fields.get("subnet") == "10.0.2.0/24":
            here[uid] = msgspec.structs.replace(
                thing, fields={**thing.fields, "firewall": "changed by hand"}, digest="x"
            )
    (hold,) = fleet.plan(wanted).holds
    assert hold.rule == "drift"
    (change,) = fleet.plan(wanted, heal_all=True).changes
    assert change.action is Action.UPDATE


def test_plan_of_one_machine_alone_leaves_the_firewall_for_later() -> None:
    fleet = settled(site(machine("db", nics=BOTH), rules=RULES))
    wanted = site(machine("web"), machine("db", nics=BOTH), rules=RULES)
    plan = fleet.plan(wanted, only=frozenset({WEB}))
    assert {change.ref for change in plan.changes} == {WEB, "Network/acme/app"}
    fleet.apply(plan)
    assert [change.ref for change in fleet.plan(wanted).changes] == ["Network/acme/db"]


def test_held_change_of_a_firewall_is_told_once() -> None:
    """It is decided twice in one plan: once as it stood, once with the addresses that the plan gives out."""
    fleet = settled(site(machine("db", nics=BOTH), rules=RULES))
    wanted = site(machine("web"), machine("db", nics=BOTH), rules=RULES)

    fleet.journal(Paused("Network/acme/db", NOW + 60, "audit"))
    plan = fleet.plan(wanted)
    assert [hold.rule for hold in plan.holds if hold.ref == "Network/acme/db"] == ["paused"]


def test_pool_of_networks_lets_in_where_the_machine_came_to_lie() -> None:
    pool = machine("db", nics=BOTH)
    wants = (NicWant((Ref("Network/acme/db"), Ref("Network/acme/app")), primary=True),)
    pool = msgspec.structs.replace(pool, nics=wants, digest="pool")
    assert firewall(settled(site(pool, rules=[rule(to=[DB])])))[0]["to"] == ["10.0.2.10"]


def test_change_that_gives_out_no_other_address_leaves_the_firewall_alone() -> None:
    fleet = settled(site(machine("web"), machine("db", nics=BOTH), rules=RULES))
    plan = fleet.plan(site(machine("web", memory=2 * GiB), machine("db", nics=BOTH), rules=RULES))
    assert [change.ref for change in plan.changes] == [WEB]
