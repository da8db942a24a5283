"""Tenants that have a project of their own on a node: made before what lives in it, kept as git says, gone if empty."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from reconciler.core.desired import Constraints, Desired, Drain, Limits, Lineage, NodeMember, Policy, Resource
from reconciler.core.observed import Object
from reconciler.core.plan import Action, Plan
from reconciler.core.refs import Ref, Target, make_ref
from tests.builders import NOW, Fleet, GiB, MiB, desired, image, machine, network, node, resource, volume

ACME = Ref("Tenant/acme")
EDGE = Target("edge1")


def tenant(name: str = "acme", **body: Any) -> Resource:
    return resource(make_ref("Tenant", name), {"limits": {}, "certificates": {}, **body})


def site(
    *resources: Resource, projects: bool = True, policy: Policy | None = None, who: Resource | None = None
) -> Desired:
    whose = [who or tenant()] if who is not False else []
    return desired(image(), network(), *whose, *resources, nodes=[node(projects=projects)], policy=policy)


def limited(*resources: Resource, **limits: int) -> Desired:
    policy = Policy(limits={"acme": Limits(**limits)})
    return site(*resources, policy=policy, who=tenant(limits=limits))


def settled(wanted: Desired) -> Fleet:
    fleet = Fleet()
    fleet.apply(fleet.plan(wanted))
    assert not fleet.plan(wanted).changes
    return fleet


def refs(plan: Plan) -> list[str]:
    return [change.ref for change in plan.changes if change.ref.startswith(("Tenant", "Machine", "Volume"))]


def hold(plan: Plan, ref: str) -> Any:
    return next(hold for hold in plan.holds if hold.ref == ref)


def removed(fleet: Fleet, wanted: Desired, *gone: str, now: float = NOW) -> Plan:
    return fleet.plan(wanted, now=now, lineage=Lineage(removed=frozenset(map(Ref, gone))))


def alone(**more: Any) -> Desired:
    """Without the tenant's document."""
    return desired(image(), network(), nodes=[node(projects=True)], **more)


def test_project_is_made_first_and_machines_live_in_it() -> None:
    plan = Fleet().plan(site(machine(), volume()))
    made = {change.ref: change for change in plan.changes}
    assert made["Machine/acme/web"].after["project"] == "acme"  # type: ignore[index]
    assert made["Volume/acme/shop"].after["project"] == "acme"  # type: ignore[index]
    for ref in ("Machine/acme/web", "Volume/acme/shop"):
        assert made[ACME].steps[-1].id in made[ref].steps[0].needs
    assert plan.proved


def test_nothing_is_made_where_tenants_share_the_node() -> None:
    plan = Fleet().plan(site(machine(), projects=False))
    assert refs(plan) == ["Machine/acme/web"]
    assert "project" not in plan.changes[-1].after  # type: ignore[operator]


def test_tenant_without_machines_there_has_no_project_there() -> None:
    assert refs(Fleet().plan(site())) == []


def test_machine_waits_for_a_project_that_is_held() -> None:
    fleet = settled(site(machine()))
    held = fleet.plan(site(machine(), machine("other", "umbrella", nics=())), now=NOW)
    assert "Machine/umbrella/other" not in refs(held) or "Tenant/umbrella" not in refs(held)


def test_certificates_and_networks_of_a_tenant_are_kept_up_to_date() -> None:
    held = {"alice": {"fingerprint": "aa", "pem": "x"}}
    fleet = settled(site(machine(), who=tenant(certificates=held, networks=["Network/acme/app"])))
    plan = fleet.plan(site(machine(), who=tenant(certificates={"bob": {"fingerprint": "bb", "pem": "y"}})))
    (change,) = plan.changes
    assert {each.path for each in change.differences} == {"/certificates/alice", "/certificates/bob", "/networks"}


def test_project_goes_only_when_nothing_is_in_it() -> None:
    fleet = settled(site(machine(), volume()))
    gone = ("Tenant/acme", "Machine/acme/web", "Volume/acme/shop")
    plan = removed(fleet, alone(), *gone)
    assert set(refs(plan)) == {"Machine/acme/web", "Volume/acme/shop"}
    assert hold(plan, ACME).rule == "in-use"
    assert "and 1 more are in its project" in hold(plan, ACME).sentence
    fleet.apply(plan)
    fleet.apply(removed(fleet, alone(), *gone, now=NOW + 7 * 86400), now=NOW + 7 * 86400)
    last = removed(fleet, alone(), *gone, now=NOW + 7 * 86400)
    assert [(change.ref, change.action) for change in last.changes if change.ref == ACME] == [(ACME, Action.DESTROY)]


def test_project_with_something_that_people_made_stays() -> None:
    fleet = settled(site(machine()))
    uid = next(uid for uid, thing in fleet.objects[EDGE].items() if thing.kind == "Tenant")
    fleet.objects[EDGE] = {
        uid: msgspec.structs.replace(fleet.objects[EDGE][uid], holds=("profiles/theirs",), digest="h")
    }
    plan = removed(fleet, alone(), "Tenant/acme", "Machine/acme/web")
    assert hold(plan, ACME).sentence == "profiles/theirs is in its project"


def test_switch_of_a_node_moves_nothing_that_is_there() -> None:
    fleet = settled(site(machine(), projects=False))
    plan = fleet.plan(site(machine()))
    assert "Machine/acme/web" not in refs(plan)
    held = hold(plan, "Machine/acme/web")
    assert held.sentence == "it lives in the project that all share, and Node/edge1 says in the project acme"
    assert "put `tenants` of Node/edge1 back" in held.lifts
    back = settled(site(machine())).plan(site(machine(), projects=False))
    assert "it lives in the project acme" in hold(back, "Machine/acme/web").sentence


def test_replace_takes_place_in_the_project_that_the_machine_is_in() -> None:
    fleet = settled(site(machine(), projects=False))
    newer = image("newer", content="2")
    allowed = machine(uses=newer, behaviour=msgspec.structs.replace(machine().behaviour, replace=True))
    wanted = desired(image(), newer, network(), tenant(), allowed, nodes=[node(projects=True)])
    change = next(change for change in fleet.plan(wanted).changes if change.ref == "Machine/acme/web")
    assert change.action is Action.REPLACE
    assert "project" not in (change.after or {})


def test_limits_below_what_is_taken_are_refused_by_name() -> None:
    fleet = settled(limited(machine(), machines=2, memory=2 * GiB, disk=30 * GiB))
    for limits, said in (
        (
            {"machines": 2, "memory": 512 * MiB, "disk": 30 * GiB},
            "limits.memory is 512Mi, and 1Gi of it are taken already",
        ),
        ({"machines": 0, "memory": 2 * GiB, "disk": 30 * GiB}, "limits.machines is 0, and 1 of it are taken already"),
    ):
        plan = fleet.plan(limited(machine(), **limits))
        assert plan.changes == ()
        assert hold(plan, ACME).sentence == said
    assert [change.ref for change in fleet.plan(limited(machine(), machines=1)).changes] == [ACME]


def test_limits_that_come_where_there_were_none_are_checked_too() -> None:
    fleet = settled(site(machine()))
    assert hold(fleet.plan(limited(machine(), memory=MiB)), ACME).rule == "limits"


def test_what_rests_in_quarantine_counts_as_the_node_counts_it() -> None:
    wanted = limited(machine(), machines=1)
    fleet = settled(wanted)
    fleet.apply(removed(fleet, limited(machines=1), "Machine/acme/web"))
    plan = fleet.plan(limited(machine("new"), machines=1))
    assert "1 of it are taken, by what rests in quarantine too" in hold(plan, "Machine/acme/new").sentence
    back = fleet.plan(wanted)
    assert [(change.ref, change.action) for change in back.changes] == [("Machine/acme/web", Action.RESTORE)]


def test_replace_needs_room_for_both() -> None:
    newer = image("newer", content="2")
    allowed = msgspec.structs.replace(machine().behaviour, replace=True)

    def wanted(machines: int) -> Desired:
        policy = Policy(limits={"acme": Limits(machines=machines)})
        return desired(
            image(), newer, network(), tenant(limits={"machines": machines}), machine(uses=newer, behaviour=allowed),
            nodes=[node(projects=True)], policy=policy,
        )  # fmt: skip

    fleet = settled(limited(machine(behaviour=allowed), machines=1))
    assert hold(fleet.plan(wanted(1)), "Machine/acme/web").rule == "limits"
    assert any(change.action is Action.REPLACE for change in fleet.plan(wanted(2)).changes)


def test_growing_beyond_the_limit_is_held_and_within_it_is_not() -> None:
    fleet = settled(limited(machine(), machine("b"), memory=3 * GiB))
    plan = fleet.plan(limited(machine(memory=2 * GiB), machine("b", memory=2 * GiB), memory=3 * GiB))
    assert refs(plan) == ["Machine/acme/b"]
    assert hold(plan, "Machine/acme/web").rule == "limits"


def test_machine_without_a_size_cannot_live_under_a_limit_of_disk() -> None:
    plan = Fleet().plan(limited(machine(disk=0, body={"disk": None}), disk=GiB))
    assert "its own disk has no size" in hold(plan, "Machine/acme/web").sentence


def test_what_people_made_in_a_project_counts() -> None:
    fleet = settled(limited(machine(), machines=2))
    theirs = Object("Machine", "acme/own", "n", {"project": "acme", "memory": GiB}, "d")
    fleet.objects[EDGE]["theirs"] = theirs
    plan = fleet.plan(limited(machine(), machine("b"), machines=2))
    assert hold(plan, "Machine/acme/b").rule == "limits"


def test_members_of_a_cluster_share_the_limits_of_a_project() -> None:
    places = node("inc", projects=True, members={"a": NodeMember(), "b": NodeMember()})

    def wanted(*machines: Resource) -> Desired:
        policy = Policy(limits={"acme": Limits(machines=1)})
        return desired(image(), network(), tenant(limits={"machines": 1}), *machines, nodes=[places], policy=policy)

    fleet = Fleet("inc/a", "inc/b")
    first = machine(constraints=Constraints(node="inc/a"))
    fleet.apply(fleet.plan(wanted(first)))
    plan = fleet.plan(wanted(first, machine("b", constraints=Constraints(node="inc/b"))))
    assert hold(plan, "Machine/acme/b").rule == "limits"


@pytest.mark.parametrize(("spare", "goes"), [(3 * GiB, True), (3 * GiB - 1, False)])
def test_what_a_machine_carries_along_needs_room_twice_while_it_moves(spare: int, goes: bool) -> None:
    fans = Drain("move", "new fans")
    limits = {"disk": 10 * GiB + 3 * GiB + spare}
    disks = {"data": {"size": 2 * GiB, "path": "/data"}}

    def wanted(**drains: Drain) -> Desired:
        places = node("inc", projects=True, members={name: NodeMember(drain=drains.get(name)) for name in ("a", "b")})
        web = machine(disk=10 * GiB, mounts=(Ref("Volume/acme/shop"),), body={"disks": disks})
        things = (image(), network(), tenant(limits=limits), volume(size=GiB), web)
        return desired(*things, nodes=[places], policy=Policy(limits={"acme": Limits(**limits)}))

    fleet = Fleet("inc/a", "inc/b")
    fleet.apply(fleet.plan(wanted(b=fans)))
    plan = fleet.plan(wanted(a=fans))
    moved = [(change.ref, change.target) for change in plan.changes if change.action is Action.MOVE]
    assert moved == ([("Machine/acme/web", "inc/b")] if goes else [])
    if not goes:
        held = hold(plan, "Machine/acme/web")
        assert held.rule == "limits"
        assert "and 13Gi of it are taken" in held.sentence
        assert held.sentence.endswith("and what it carries along is there twice while it moves")


def test_what_was_changed_on_the_node_never_makes_a_new_object_unasked() -> None:
    allowed = msgspec.structs.replace(machine().behaviour, replace=True)
    wanted = site(machine(behaviour=allowed), policy=Policy(drift="heal"))
    fleet = settled(wanted)
    uid, thing = next((uid, thing) for uid, thing in fleet.objects[EDGE].items() if thing.kind == "Machine")
    forged = {**thing.fields, "image": "sha256:other"}
    fleet.objects[EDGE][uid] = msgspec.structs.replace(thing, fields=forged, digest="forged")
    plan = fleet.plan(wanted)
    assert plan.changes == ()
    assert hold(plan, "Machine/acme/web").rule == "drift"
    asked = fleet.plan(wanted, heal=frozenset({Ref("Machine/acme/web")}))
    assert [change.action for change in asked.changes] == [Action.REPLACE]


def test_machines_alike_of_two_tenants_rest_each_in_its_project() -> None:
    common = network(tenant=None)
    both = [machine("web", each, nics=("Network/app",), ips=None) for each in ("acme", "umbrella")]
    wanted = desired(image(), common, tenant(), tenant("umbrella"), *both, nodes=[node(projects=True)])
    fleet = settled(wanted)
    lives = {thing.fields["project"] for thing in fleet.objects[EDGE].values() if thing.kind == "Machine"}
    assert lives == {"acme", "umbrella"}
