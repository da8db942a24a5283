"""What is not ours: its addresses, its names, and what is written of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drivers.incus.shape import IncusShape
from reconciler.core.adopt import stands_for
from reconciler.core.adoptable import draft
from reconciler.core.desired import Constraints, NodeMember, Resource
from reconciler.core.ledger import Ledger
from reconciler.core.observed import Marks, Object
from reconciler.core.plan import Hold, Plan
from reconciler.core.planner import Planner
from reconciler.core.refs import Ref, Target, Uid
from tests.builders import desired, image, machine, network, node, plan_of, report, request, small_site

EDGE = Target("edge1")
EDGE_A = Target("edge1/a")


def stranger(ip: str) -> Object:
    fields: Mapping[str, Any] = {"memory": 1, "nics": {"app": {"ip": f"{ip}/24", "mac": "02:00:00:00:00:09"}}}
    return Object("Machine", "by-hand", "n-1", fields, digest=ip, marks=None, lifecycle="live")


def addresses(plan: Plan) -> dict[str, str]:
    return {change.ref: change.addresses[0].ip for change in plan.changes if change.addresses}


def test_an_address_that_an_unmanaged_machine_has_is_not_given_away() -> None:
    wanted = small_site(machine("a"), machine("b"))
    plan = plan_of(wanted, report(objects=[stranger("10.0.1.10")]))
    assert addresses(plan) == {"Machine/acme/a": "10.0.1.11", "Machine/acme/b": "10.0.1.12"}


def test_an_authored_address_that_an_unmanaged_machine_has_is_held() -> None:
    wanted = small_site(machine("a", ips={"Network/acme/app": "10.0.1.5"}))
    plan = plan_of(wanted, report(objects=[stranger("10.0.1.5")]))
    assert [(hold.ref, hold.rule) for hold in plan.holds] == [(Ref("Machine/acme/a"), "address")]
    assert "by by-hand, which is not managed" in plan.holds[0].sentence


def test_it_is_free_again_once_the_stranger_has_gone() -> None:
    plan = plan_of(small_site(machine("a")), report(objects=[stranger("10.0.1.10")]), report())
    assert addresses(plan) == {"Machine/acme/a": "10.0.1.10"}


class Host:
    """One on which machines and networks are called by their names, and what was planned for it last."""

    def __init__(self, *wanted: Resource, members: tuple[str, ...] = (), projects: bool = False) -> None:
        self.planner = Planner({"incus": IncusShape()}, Ledger())
        named = {each: NodeMember() for each in members}
        self.targets = [f"edge1/{each}" for each in members] or ["edge1"]
        host = node(driver="incus", members=named, projects=projects)
        self.planner.world.take_desired(desired(image(), network(), *wanted, nodes=[host]))
        self.began = 10**9

    def plan(self, **strange: Any) -> Plan:
        """With these objects that nobody marked, by target."""
        self.began += 1
        for target in self.targets:
            found = strange.get(target.rpartition("/")[2], ())
            self.planner.take_report(report(target, found, began=self.began))
        return self.planner.plan(request())

    def holds(self, **strange: Any) -> dict[str, Hold]:
        return {hold.ref: hold for hold in self.plan(**strange).holds}


def named(name: str, kind: str = "Machine") -> Object:
    fields = {"hostname": name, "memory": 1} if kind == "Machine" else {"subnet": "10.9.0.0/24"}
    return Object(kind, name, f"n-{name}", fields, digest=f"{kind}{name}")


def test_a_name_that_an_unmanaged_machine_has_is_held_until_it_is_free() -> None:
    host = Host(machine("web"), machine("db"))
    held = host.holds(edge1=[named("web")])
    assert list(held) == ["Machine/acme/web"]
    hold = held["Machine/acme/web"]
    assert (hold.rule, hold.target) == ("name", "edge1")
    assert hold.sentence == "edge1 has a machine web already, which is not managed"
    assert hold.lifts == "trueup adopt edge1, or give one of the two another name"
    assert "Machine/acme/db" in {change.ref for change in host.plan(edge1=[named("web")]).changes}
    assert {"Machine/acme/db", "Machine/acme/web"} <= {change.ref for change in host.plan().changes}


def test_members_of_a_cluster_have_one_name_once() -> None:
    host = Host(machine("web", constraints=Constraints(node=EDGE_A)), members=("a", "b"))
    assert host.holds(b=[named("web")])["Machine/acme/web"].sentence.startswith("edge1/b has a machine web already")
    assert not host.holds(b=[named("db")])


def test_a_hostname_is_what_counts_and_a_project_has_names_of_its_own() -> None:
    host = Host(machine("web", body={"hostname": "www"}))
    assert not host.holds(edge1=[named("web")])
    assert host.holds(edge1=[named("www")])
    host = Host(machine("web"), projects=True)
    assert not {
        each for each, hold in host.holds(edge1=[in_project("zeta"), named("web")]).items() if hold.rule == "name"
    }
    assert host.holds(edge1=[in_project("acme")])["Machine/acme/web"].rule == "name"


def test_a_network_of_that_name_holds_what_would_stand_on_it_too() -> None:
    held = Host(machine("web")).holds(edge1=[named("app", "Network")])
    assert {ref: hold.rule for ref, hold in held.items()} == {"Network/acme/app": "name", "Machine/acme/web": "needs"}
    assert held["Machine/acme/web"].lifts == held["Network/acme/app"].lifts
    shared = Host(machine("web", constraints=Constraints(node=EDGE_A)), members=("a", "b"))
    assert not shared.holds(a=[named("app", "Network")]), "it may be another member's, which bears marks there"


def test_where_machines_are_called_otherwise_a_name_is_not_taken() -> None:
    assert not plan_of(small_site(machine("web")), report(objects=[named("web")])).holds


def test_documents_are_drafted_for_the_node_that_was_named_alone() -> None:
    def network(name: str) -> Object:
        fields = {"tag": "app", "subnet": "10.9.0.0/24", "gateway": "10.9.0.1"}
        return Object("Network", name, name, fields, digest=name, marks=None, lifecycle="live")

    reports = {Target(each): report(each, objects=[network(each.replace("/", "-"))]) for each in ("a", "other", "a/x")}
    drafted = draft(node("a"), reports, "acme")
    assert sorted(each["metadata"]["name"] for each in drafted.documents) == ["a", "a-x"]
    drafted = draft(node("other"), reports, "acme")
    assert [each["metadata"]["name"] for each in drafted.documents] == ["other"]


def in_project(project: str, name: str = "web") -> Object:
    fields: Mapping[str, Any] = {"hostname": name, "project": project, "image": "sha256:1", "memory": 1}
    return Object("Machine", f"{project}/{name}", f"n-{project}", fields, digest=project)


def test_what_lives_in_a_project_is_taken_over_by_its_tenant_alone() -> None:
    assert stands_for(in_project("acme"), machine())
    assert not stands_for(in_project("zeta"), machine())
    marks = Marks(Uid("u"), Ref("Image/debian"), "dc", 1, 1, 1, "tree:1", "x")
    image = Object("Image", "i", "i", {"digest": "sha256:1", "type": "rootfs", "os": "linux"}, digest="i", marks=marks)
    found = report(objects=[in_project("acme"), in_project("zeta", "db"), image])
    made = draft(node(), {EDGE: found}, "acme")
    (web,) = [each for each in made.documents if each["kind"] == "Machine"]
    assert (web["metadata"]["name"], web["spec"]["image"]) == ("web", "debian"), "an image of ours has its name already"
    assert [each.reason for each in made.skipped] == ["it lives in the project zeta: say --tenant zeta"]


def by_hand(**fields: Any) -> Object:
    whole: Mapping[str, Any] = {"hostname": "web", "image": "sha256:1", "memory": 2**30, **fields}
    return Object("Machine", "web", "n-web", whole, digest="web")


def drafted(thing: Object) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """The spec of its package and its own, and why it has none."""
    marks = Marks(Uid("u"), Ref("Image/debian"), "dc", 1, 1, 1, "tree:1", "x")
    image = Object("Image", "i", "i", {"digest": "sha256:1", "type": "rootfs", "os": "linux"}, digest="i", marks=marks)
    net = Object("Network", "app", "app", {"subnet": "10.0.0.0/24"}, digest="app", marks=marks)
    made = draft(node(), {EDGE: report(objects=[thing, image, net])}, "acme")
    spec = {each["kind"]: each["spec"] for each in made.documents}
    return spec.get("Package", {}), spec.get("Machine", {}), [each.reason for each in made.skipped]


def test_processors_that_a_machine_is_pinned_to_are_left_to_the_node() -> None:
    package, machine, why = drafted(by_hand(vcpus="0-1", cpu="fancy", threads=200))
    assert (package, why) == ({"memory": "1Gi", "swap": "1Gi", "threads": 200}, [])
    assert machine["ignore"] == ["/cpu", "/vcpus"]


def test_a_cap_is_said_in_processors() -> None:
    package, _, _ = drafted(by_hand(cpu=1500))
    assert package["cpu"] == 1.5


def test_how_fast_a_disk_may_be_used_is_said_unless_it_is_in_operations() -> None:
    package, machine, why = drafted(by_hand(ioPriority=300, ioRead=20 * 2**20, ioWrite="100iops"))
    assert (package, why) == ({"memory": "1Gi", "swap": "1Gi", "ioPriority": 300, "ioRead": "20Mi"}, [])
    assert machine["ignore"] == ["/ioWrite"]


def test_a_machine_without_a_first_interface_has_no_document() -> None:
    nics = {"app": {"ip": "10.0.0.2/24", "mac": "02:00:00:00:00:09", "primary": False}}
    _, machine, why = drafted(by_hand(nics=nics))
    assert machine == {}
    assert "eth0" in why[0]
    assert drafted(by_hand(nics={"app": {**nics["app"], "primary": True}}))[2] == []
