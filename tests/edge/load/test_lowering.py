"""What documents come to: the bodies and facts that the core and the drivers read."""

# ruff: noqa: E501
from __future__ import annotations

from typing import Any

import msgspec
import pytest
from trees import BASE, HEAD, loaded

from reconciler.core.desired import Affinity, Budget, Constraints, Demand, Limits, NicWant, Resource, Update
from reconciler.core.ledger import Address
from reconciler.core.refs import Ref, Target
from reconciler.core.values import canonical, plain
from reconciler.driver import NativeContext
from reconciler.driver.forms import native_form
from specs.rules import COMPARED

GiB = 2**30


def machine(spec: str, name: str = "x") -> Resource:
    return loaded({"acme/x.yaml": HEAD + spec}).desired.resources[Ref(f"Machine/acme/{name}")]


def body(spec: str, name: str = "x") -> Any:
    return plain(machine(spec, name).body)


def test_a_machine_has_its_package_flattened_in() -> None:
    found = body("  package: m\n")
    assert {key: found[key] for key in ("memory", "swap", "cpu", "disk", "brand", "state")} == {
        "memory": 2 * GiB, "swap": GiB, "cpu": 1500, "disk": 20 * GiB, "brand": "zone", "state": "running",
    }  # fmt: skip
    assert "cpuShares" not in found
    assert "threads" not in found


def test_a_machine_names_its_image_with_what_drivers_need() -> None:
    found = body("  package: s\n")["image"]
    assert found["name"] == "deb"
    assert found["digest"].startswith("recipe:")
    assert (found["type"], found["os"]) == ("rootfs", "linux")


def test_a_machine_takes_what_its_package_and_disks_say() -> None:
    assert machine("  package: m\n  disks: {data: {size: 5Gi}, logs: {size: 1Gi}}\n").demand == Demand(
        2 * GiB, 1500, 26 * GiB
    )


VOLUME = "apiVersion: trueup/v1\nkind: Volume\nmetadata: {name: shop}\nspec: {size: 2Gi, %s}\n"
MOUNTS = HEAD + "  volumes: {shop: {path: /srv, readOnly: true}}\n"


def test_a_volume_has_its_size_and_is_counted_where_it_lies() -> None:
    files = {"acme/v.yaml": VOLUME % "deletionProtection: true, drift: heal"}
    found = loaded(files).desired.resources[Ref("Volume/acme/shop")]
    assert plain(found.body) == {"size": 2 * GiB}
    assert (found.demand, found.protected, found.behaviour.drift) == (Demand(disk=2 * GiB), True, "heal")


def test_a_machine_goes_where_a_volume_that_it_mounts_is_said_to_be() -> None:
    files = {"acme/v.yaml": VOLUME % "node: inc/b", "acme/x.yaml": MOUNTS}
    found = loaded(files).desired.resources[Ref("Machine/acme/x")]
    assert plain(found.body)["volumes"] == {"shop": {"path": "/srv", "readOnly": True}}
    assert found.references[-1] == "Volume/acme/shop"
    assert found.constraints.node == "inc/b"
    assert found.demand.disk == 10 * GiB


def test_a_machine_that_names_its_own_place_keeps_it() -> None:
    files = {"acme/v.yaml": VOLUME % "node: inc", "acme/x.yaml": MOUNTS + "  node: inc/b\n"}
    assert loaded(files).desired.resources[Ref("Machine/acme/x")].constraints.node == "inc/b"


def test_the_root_disk_can_be_larger_than_the_package() -> None:
    spec = "  disks: {root: {size: 40Gi}, data: {size: 5Gi, path: /srv, delegated: true}}\n"
    assert machine(spec).demand.disk == 45 * GiB
    assert body(spec)["disk"] == 40 * GiB
    assert body(spec)["disks"] == {"data": {"size": 5 * GiB, "path": "/srv", "delegated": True}}


def test_the_first_interface_is_primary() -> None:
    found = machine("  nics: [app, public]\n")
    assert found.nics == (NicWant((Ref("Network/app"),), primary=True), NicWant((Ref("Network/public"),)))
    assert plain(found.body)["nics"] == [
        {"networks": ["Network/app"], "primary": True},
        {"networks": ["Network/public"], "primary": False},
    ]


def test_another_interface_can_be_primary() -> None:
    found = machine("  nics: [app, {network: public, primary: true}]\n")
    assert [nic.primary for nic in found.nics] == [False, True]


def test_an_authored_address_and_mac_are_kept() -> None:
    found = machine("  nics: [{network: app, ip: 10.0.1.5, mac: 02-00-5E-10-00-0A}]\n")
    assert found.nics == (NicWant((Ref("Network/app"),), ip="10.0.1.5", mac="02:00:5e:10:00:0a", primary=True),)
    assert plain(found.body)["nics"][0]["ip"] == "10.0.1.5"


POOL = {
    "pool.yaml": "apiVersion: trueup/v1\nkind: NetworkPool\nmetadata: {name: pool}\nspec: {networks: [public, app]}\n"
}


def test_a_pool_gives_its_networks_in_order() -> None:
    found = loaded(POOL | {"acme/x.yaml": HEAD + "  nics: [pool]\n"}).desired.resources[Ref("Machine/acme/x")]
    assert found.nics[0].networks == ("Network/public", "Network/app")
    assert set(found.references) >= {"Network/public", "Network/app"}


def test_an_address_chooses_the_network_of_a_pool() -> None:
    files = POOL | {"acme/x.yaml": HEAD + "  nics: [{network: pool, ip: 10.0.1.5}]\n"}
    assert loaded(files).desired.resources[Ref("Machine/acme/x")].nics[0].networks == ("Network/app",)


def test_references_are_the_image_and_the_networks() -> None:
    assert machine("  nics: [app, public]\n").references == ("Image/deb", "Network/app", "Network/public")


def test_resolvers_are_the_machines_own_or_the_networks_or_the_datacenters() -> None:
    assert body("  resolvers: [1.1.1.1]\n")["resolvers"] == ["1.1.1.1"]
    assert body("  state: running\n")["resolvers"] == ["9.9.9.9"]
    files = {
        "networks.yaml": BASE["networks.yaml"].replace("gateway: 10.0.1.1", "gateway: 10.0.1.1, resolvers: [10.0.1.2]"),
        "acme/x.yaml": HEAD + "  nics: [app]\n",
    }
    assert plain(loaded(files).desired.resources[Ref("Machine/acme/x")].body)["resolvers"] == ["10.0.1.2"]


def test_keys_of_the_tenant_come_in_the_order_of_their_holders() -> None:
    assert body("  sshKeys: tenant\n")["sshKeys"] == ["ssh-ed25519 AAAA al", "ssh-ed25519 BBBB bob"]
    assert body("  sshKeys: ['ssh-rsa CCCC me']\n")["sshKeys"] == ["ssh-rsa CCCC me"]


def test_secrets_stay_names() -> None:
    found = body("  metadata: {a: text, b: {secret: pw}}\n  userData: {secret: init}\n")
    assert found["metadata"] == {"a": "text", "b": {"secret": "pw"}}
    assert found["userData"] == {"secret": "init"}


def test_user_data_is_read_from_a_file_beside_the_document() -> None:
    files = {"acme/x.yaml": HEAD + "  userData: {file: ci/a.yaml}\n", "acme/ci/a.yaml": "#cloud-config\na: 1\n"}
    assert plain(loaded(files).desired.resources[Ref("Machine/acme/x")].body)["userData"] == "#cloud-config\na: 1\n"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("{http: 8080}", {"http": ":8080/", "within": 60}),
        ("{http: ':80/ok', within: 30s}", {"http": ":80/ok", "within": 30}),
        ("{tcp: 22, within: 2m}", {"tcp": 22, "within": 120}),
        ("{exec: [test, -e, /ok]}", {"exec": ["test", "-e", "/ok"], "within": 60}),
    ],
)
def test_ready_is_one_check_and_a_time(written: str, meant: object) -> None:
    assert body(f"  ready: {written}\n")["ready"] == meant


def test_any_state_is_a_switch_and_not_a_field() -> None:
    found = machine("  state: any\n")
    assert found.behaviour.any_state
    assert plain(found.body)["state"] == "running"
    assert plain(machine("  state: stopped\n").body)["state"] == "stopped"


def test_protection_drift_and_ignored_fields_are_switches() -> None:
    found = machine(
        "  deletionProtection: true\n  drift: heal\n  ignore: [/nics/app/mtu]\n  update: {replace: allowed}\n"
    )
    assert found.protected
    assert (found.behaviour.drift, found.behaviour.ignore, found.behaviour.replace) == (
        "heal",
        ("/nics/app/mtu",),
        True,
    )


def test_tags_are_in_the_body_for_those_who_look_for_them() -> None:
    text = "apiVersion: trueup/v1\nkind: Machine\nmetadata: {name: x, tags: {role: web, n: 1, on: true}}\nspec: {}\n"
    found = loaded({"acme/x.yaml": text}).desired.resources[Ref("Machine/acme/x")]
    assert plain(found.body)["tags"] == {"role": "web", "n": 1, "on": True}


def test_replicas_are_numbered_from_one() -> None:
    found = loaded({"acme/x.yaml": HEAD + "  replicas: 3\n"}).desired.resources
    assert [ref for ref in found if ref.startswith("Machine/acme/x")] == [f"Machine/acme/x-{n}" for n in (1, 2, 3)]
    assert "hostname" not in plain(found[Ref("Machine/acme/x-2")].body), "it is the name"


def test_replicas_can_be_listed() -> None:
    found = loaded({"acme/x.yaml": HEAD + "  replicas: [1, 4]\n  hostname: h\n"}).desired.resources
    assert [ref for ref in found if ref.startswith("Machine/acme/x")] == ["Machine/acme/x-1", "Machine/acme/x-4"]
    assert plain(found[Ref("Machine/acme/x-4")].body)["hostname"] == "h-4"


def test_no_replicas_is_no_machine() -> None:
    found = loaded({"acme/x.yaml": HEAD + "  replicas: 0\n"}).desired.resources
    assert not [ref for ref in found if ref.startswith("Machine/acme/x")]


def test_one_replica_can_be_different() -> None:
    spec = (
        "  replicas: 2\n  each: {2: {node: inc/a, package: m, state: stopped, nics: [{network: app, ip: 10.0.1.9}]}}\n"
    )
    first, second = machine(spec, "x-1"), machine(spec, "x-2")
    assert (first.constraints.node, second.constraints.node) == (None, "inc/a")
    assert (first.demand.memory, second.demand.memory) == (GiB, 2 * GiB)
    assert plain(second.body)["state"] == "stopped"
    assert second.nics[0].ip == "10.0.1.9"


def test_a_group_is_updated_together() -> None:
    spec = "  replicas: 2\n  update: {canary: 1, batch: 2, pause: 30s, maxFailures: 1}\n"
    assert machine(spec, "x-2").behaviour.update == Update("Machine/acme/x", 1, 2, 30, 1)
    assert machine("  replicas: 2\n", "x-1").behaviour.update == Update("Machine/acme/x")
    assert machine("  state: running\n").behaviour.update is None


def test_replicas_that_come_and_go_rename() -> None:
    assert machine("  state: running\n").former == "Machine/acme/x-1"
    assert machine("  replicas: 2\n", "x-1").former == "Machine/acme/x"
    assert machine("  replicas: 2\n", "x-2").behaviour.renamed_from is None


def test_a_renamed_group_takes_its_replicas_along() -> None:
    text = "apiVersion: trueup/v1\nkind: Machine\nmetadata: {name: x, renamedFrom: old}\nspec: {replicas: 2}\n"
    found = loaded({"acme/x.yaml": text}).desired.resources
    assert found[Ref("Machine/acme/x-2")].behaviour.renamed_from == "Machine/acme/old-2"


def test_a_machine_may_have_come_from_another_tenant() -> None:
    text = "apiVersion: trueup/v1\nkind: Machine\nmetadata: {name: x, renamedFrom: ops/old}\nspec: {}\n"
    found = loaded({"acme/x.yaml": text}).desired.resources
    assert found[Ref("Machine/acme/x")].behaviour.renamed_from == "Machine/ops/old"


def test_constraints_hold_all_that_placement_asks() -> None:
    files = {
        "packages.yaml": BASE["packages.yaml"].replace("disk: 10Gi", "disk: 10Gi, traits: {ssd: true}"),
        "images.yaml": BASE["images.yaml"].replace(
            "{debian: bookworm}", "{debian: bookworm}, requirements: {traits: {arch: arm}}"
        ),
        "acme/x.yaml": HEAD + "  node: inc\n  traits: {zone: b}\n  near: {machines: [web], over: rack, hard: true}\n",
    }
    assert loaded(files).desired.resources[Ref("Machine/acme/x")].constraints == Constraints(
        node="inc", brand="zone", image_type="rootfs", traits={"ssd": True, "arch": "arm", "zone": "b"},
        near=Affinity((Ref("Machine/acme/web"),), over="rack", hard=True),
    )  # fmt: skip


def test_a_machine_with_a_schedule_asks_for_a_driver_that_keeps_it() -> None:
    assert machine('  snapshots: {schedule: "0 3 * * *", keep: 3}\n').constraints.fields == ("snapshots",)
    assert machine("").constraints.fields == ()


def test_a_disk_image_makes_a_virtual_machine() -> None:
    assert machine("  image: vm\n").constraints == Constraints(brand="vm", image_type="disk")


def test_spread_names_the_group_and_avoid_names_another() -> None:
    spec = "  replicas: 2\n  spread: {hard: true}\n  avoid: {machines: [web]}\n"
    found = machine(spec, "x-1").constraints
    assert found.spread == Affinity((Ref("Machine/acme/x-1"), Ref("Machine/acme/x-2")), hard=True)
    assert found.avoid == Affinity((Ref("Machine/acme/web"),))


def test_near_a_group_is_near_all_of_it() -> None:
    files = {
        "acme/g.yaml": "apiVersion: trueup/v1\nkind: Machine\nmetadata: {name: g}\nspec: {replicas: 2}\n",
        "acme/x.yaml": HEAD + "  near: {machines: [g]}\n",
    }
    near = loaded(files).desired.resources[Ref("Machine/acme/x")].constraints.near
    assert near is not None
    assert near.machines == ("Machine/acme/g-1", "Machine/acme/g-2")


def test_a_network_has_a_body_and_facts() -> None:
    found = loaded().desired.resources[Ref("Network/app")]
    assert plain(found.body) == {
        "nicTag": "lan", "vlan": 10, "subnet": "10.0.1.0/24", "range": ["10.0.1.100", "10.0.1.199"], "gateway": "10.0.1.1",
        "routes": {}, "nat": False, "reserved": [],
    }  # fmt: skip
    assert found.network is not None
    assert (found.network.first, found.network.last, found.network.vlan) == ("10.0.1.100", "10.0.1.199", 10)


def test_a_networks_mtu_is_its_own_or_its_tags() -> None:
    files = {"datacenter.yaml": BASE["datacenter.yaml"] + "  nicTags: {lan: {mtu: 9000}, wan: {}}\n"}
    found = loaded(files).desired.resources
    assert plain(found[Ref("Network/app")].body)["mtu"] == 9000
    assert "mtu" not in plain(found[Ref("Network/public")].body)


def test_an_image_with_contents_has_their_digest_and_one_that_is_built_its_recipes() -> None:
    sha = "sha256:" + "0" * 64
    text = f"apiVersion: trueup/v1\nkind: Image\nmetadata: {{name: f}}\nspec: {{type: rootfs, source: {{file: /a}}, digest: '{sha}'}}\n"
    found = loaded({"f.yaml": text}).desired.resources
    assert plain(found[Ref("Image/f")].body)["digest"] == sha
    assert plain(found[Ref("Image/deb")].body)["digest"].startswith("recipe:")
    assert plain(found[Ref("Image/deb")].body)["source"] == {"debian": "bookworm"}


def test_an_image_refers_to_its_origin() -> None:
    text = "apiVersion: trueup/v1\nkind: Image\nmetadata: {name: d}\nspec: {type: rootfs, source: {folder: /a}, origin: deb}\n"
    found = loaded({"d.yaml": text}).desired.resources[Ref("Image/d")]
    assert found.references == ("Image/deb",)


def test_a_node_is_what_the_planner_and_its_driver_need() -> None:
    found = loaded().desired.nodes["inc"]
    assert (found.driver, found.address, found.nics) == ("incus", "https://inc:8443", {"lan": "eno1", "wan": "eno2"})
    assert list(found.members) == ["a", "b"]
    assert found.members["b"].rack == "r2"
    assert plain(found.body)["driver"] == "incus"


def test_members_inherit_rack_and_traits() -> None:
    text = BASE["nodes.yaml"].replace(
        "members: {a: {}", "rack: r7, traits: {ssd: true}, members: {a: {traits: {gpu: true}}"
    )
    found = loaded({"nodes.yaml": text}).desired.nodes["inc"].members
    assert (found["a"].rack, found["a"].traits) == ("r7", {"ssd": True, "gpu": True})
    assert (found["b"].rack, found["b"].traits) == ("r2", {"ssd": True})


def test_budgets_that_are_not_written_keep_their_defaults() -> None:
    policy = (
        "  policy: {budgets: {destroys: {perPlan: 1}, restarts: {perHour: {count: 3, share: 10%}, perNode: 50%}}}\n"
    )
    found = loaded({"datacenter.yaml": BASE["datacenter.yaml"] + policy}).desired.policy
    assert found.destroys == Budget(per_plan=1, per_plan_share=0, per_day=10, per_day_share=0.2)
    assert found.restarts == Budget(per_hour=3, per_hour_share=0.1, per_node_share=0.5)
    assert found.creates == Budget()


def test_budgets_are_of_nodes_racks_and_tenants_too() -> None:
    policy = "  policy: {budgets: {creates: {perRack: 2, perTenant: 20%, perNode: {count: 1, share: 5%}}}}\n"
    found = loaded({"datacenter.yaml": BASE["datacenter.yaml"] + policy}).desired.policy
    assert found.creates == Budget(per_rack=2, per_tenant_share=0.2, per_node=1, per_node_share=0.05)


def test_the_limits_of_tenants_are_policy() -> None:
    tenants = (
        "apiVersion: trueup/v1\nkind: Tenants\nitems:\n"
        "  big: {limits: {memory: 4Gi, cpu: 2.5, machines: 9}}\n  free: {email: a@example.org}\n"
    )
    found = loaded({"tenants.yaml": tenants}).desired.policy
    assert found.limits["big"] == Limits(machines=9, memory=4 << 30, cpu=2500)
    assert "free" not in found.limits


def test_policy_is_the_datacenters() -> None:
    more = "  follow: auto\n  drift: heal\n  policy: {quarantine: 2d, protect: [Image]}\n  placement: {overprovision: {cpu: 4.0}, reserve: {memory: 15%}}\n"
    found = loaded({"datacenter.yaml": BASE["datacenter.yaml"] + more}).desired
    assert (found.datacenter, found.datacenter_id) == ("dc", "3f0c1e52-7d5a-4c57-9d0e-6f1b6a1d2c01")
    assert (found.policy.follow, found.policy.drift, found.policy.quarantine) == ("auto", "heal", 172800)
    assert found.policy.protect == {"Image"}
    assert found.policy.overprovision["cpu"] == 4
    assert found.policy.reserve == {"memory": 0.15}


def test_equal_resources_have_equal_digests_and_others_do_not() -> None:
    one, same, other = machine("  package: s\n"), machine("  package: s # c\n"), machine("  package: m\n")
    assert one == same
    assert one.digest != other.digest


def test_a_reference_prefers_no_scope_and_takes_any() -> None:
    own = "apiVersion: trueup/v1\nkind: Package\nmetadata: {name: s}\nspec: {memory: 7Gi}\n"
    files = {
        "acme/p.yaml": own,
        "acme/_defaults.yaml": BASE["acme/_defaults.yaml"].replace("package: s", "package: datacenter/s"),
        "acme/x.yaml": HEAD + "  package: acme/s\n",
    }
    found = loaded(files).desired.resources
    assert found[Ref("Machine/acme/x")].demand.memory == 7 * GiB
    assert found[Ref("Machine/acme/web")].demand.memory == GiB


def test_what_can_be_ignored_is_what_is_compared() -> None:
    packages = (
        BASE["packages.yaml"]
        + "  all: {memory: 1Gi, swap: 1Gi, cpu: 1, cpuShares: 5, vcpus: 1, threads: 99, ioPriority: 9, "
        + "ioRead: 20Mi, ioWrite: 4Ki, disk: 9Gi}\n"
    )
    spec = """\
  package: all
  nics: [{network: app, ip: 10.0.1.5}]
  disks: {data: {size: 1Gi, path: /x}}
  resolvers: [9.9.9.9]
  search: [x]
  sshKeys: tenant
  userData: text
  metadata: {a: b}
"""
    desired = loaded({"acme/x.yaml": HEAD + spec, "packages.yaml": packages}).desired
    network = desired.resources[Ref("Network/app")]
    context = NativeContext(
        node=desired.nodes["edge1"],
        target=Target("edge1"),
        addresses=(Address(network.ref, "10.0.1.5", "02:00:00:00:00:01"),),
        references={
            network.ref: msgspec.structs.replace(network, body=canonical({**plain(network.body), "mtu": 1500}))
        },
    )
    form = native_form(desired.resources[Ref("Machine/acme/x")], context)
    assert set(form) == set(COMPARED)
    assert set(form["nics"]["app"]) == COMPARED["nics"]
    assert set(form["disks"]["data"]) == COMPARED["disks"]


PEM = "-----BEGIN CERTIFICATE-----\\nMAA=\\n-----END CERTIFICATE-----"
PROJECTS = {"nodes.yaml": BASE["nodes.yaml"].replace("driver: incus", "driver: incus, tenants: projects")}


def tenant(files: dict[str, Any], name: str = "acme") -> Any:
    return plain(loaded(files).desired.resources[Ref(f"Tenant/{name}")].body)


def test_a_tenant_tells_what_its_project_is_to_be() -> None:
    text = f'spec: {{limits: {{machines: 2, memory: 1Gi, cpu: 1, disk: 20Gi}}, certificates: {{al: "{PEM}"}}}}\n'
    head = "apiVersion: trueup/v1\nkind: Tenant\nmetadata: {name: acme}\n"
    networks = BASE["networks.yaml"] + "  shut: {nicTag: wan, subnet: 10.9.0.0/24, tenants: [ops]}\n"
    own = "apiVersion: trueup/v1\nkind: Network\nmetadata: {name: own}\nspec: {nicTag: lan, vlan: 3, subnet: 10.8.0.0/24}\n"
    files = {"acme/tenant.yaml": head + text, "networks.yaml": networks, "acme/own.yaml": own,
             "ops.yaml": "apiVersion: trueup/v1\nkind: Tenants\nitems: {ops: {}}\n"}  # fmt: skip
    found = tenant({**PROJECTS, **files})
    assert found["networks"] == ["Network/acme/own", "Network/app", "Network/public"]
    (held,) = found["certificates"].values()
    assert held["pem"].startswith("-----BEGIN")
    made = loaded({**PROJECTS, **files}).desired
    form = native_form(made.resources[Ref("Tenant/acme")], NativeContext(made.nodes["inc"], Target("inc/a")))
    assert form["limits"] == {"machines": 2, "memory": GiB, "disk": 20 * GiB}, "cores are no node's business"
    assert form["certificates"] == {"al": held["fingerprint"]}


def test_networks_are_told_only_where_a_node_keeps_projects() -> None:
    assert "networks" not in tenant({})
    kept = loaded(PROJECTS)
    assert kept.desired.nodes["inc"].projects
    assert plain(kept.desired.resources[Ref("Tenant/acme")].body)["networks"] == ["Network/app", "Network/public"]
