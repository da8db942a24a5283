"""Firewall rules as documents: on which networks they come to lie, for whom, and what is wrong with them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from trees import BASE, CAPABILITIES, HEAD, loaded, mistakes, tree

from reconciler.core.refs import Ref
from reconciler.core.values import plain
from reconciler.edge.load import Loader
from reconciler.errors import SpecErrors

# ruff: noqa: E501
NODES = {
    "nodes.yaml": BASE["nodes.yaml"].replace(
        "  edge1: {driver: local, nics: {lan: eno1}, rack: r1}\n", "  edge1: {driver: local}\n"
    )
}
"""Networks only on nodes that filter."""


def rule(spec: str, name: str = "r", tenant: str = "") -> str:
    return f"apiVersion: trueup/v1\nkind: FirewallRule\nmetadata: {{name: {name}{tenant}}}\nspec: {spec}\n"


def machine(name: str, spec: str, tags: str = "") -> str:
    return HEAD.replace("{name: x}", f"{{name: {name}, tags: {{{tags}}}}}") + spec


def laid(files: dict[str, str], network: str = "app") -> Any:
    return plain(loaded({**NODES, **files}).desired.resources[Ref(f"Network/{network}")].body).get("firewall")


MACHINES = {
    "acme/db.yaml": machine("db", "  nics: [public]\n", "role: db"),
    "acme/w.yaml": machine("w", "  replicas: 2\n", "role: web, tier: 1"),
    "acme/j.yaml": machine("j", "", "role: job"),
}


def test_tags_choose_machines_and_networks_are_where_these_are() -> None:
    spec = "{from: {tags: {role: [web, job]}}, to: {tags: {role: db}}, allow: [tcp/5432, icmp]}"
    files = {**MACHINES, "acme/f.yaml": rule(spec)}
    assert laid(files) is None
    web = ["Machine/acme/j", "Machine/acme/w-1", "Machine/acme/w-2"]
    assert laid(files, "public") == [{"from": web, "to": ["Machine/acme/db"], "allow": ["icmp", "tcp/5432"]}]
    parties = loaded({**NODES, **files}).desired.resources[Ref("Network/public")].parties
    assert parties == ("Machine/acme/db", *web)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("{from: any, to: {networks: [app]}, allow: [any]}", [{"from": None, "to": None, "allow": ["any"]}]),
        ("{from: {networks: [public], subnets: [192.0.2.0/24]}, to: {networks: [app]}, allow: [udp]}",
         [{"from": ["192.0.2.0/24", "198.51.100.0/26"], "to": None, "allow": ["udp"]}]),
        ("{from: any, to: {tags: {role: web, tier: 1}}, allow: [tcp]}",
         [{"from": None, "to": ["Machine/acme/w-1", "Machine/acme/w-2"], "allow": ["tcp"]}]),
        ("{from: any, to: {tags: {role: web, tier: 2}}, allow: [tcp]}", None),
        ("{from: any, to: {machines: [w, j]}, allow: [tcp]}",
         [{"from": None, "to": ["Machine/acme/j", "Machine/acme/w-1", "Machine/acme/w-2"], "allow": ["tcp"]}]),
        ("{from: any, to: {networks: [app], machines: [j]}, allow: [tcp]}", [{"from": None, "to": None, "allow": ["tcp"]}]),
        ("{from: any, to: any, allow: [tcp]}",
         [{"from": None, "to": ["Machine/acme/j", "Machine/acme/w-1", "Machine/acme/w-2", "Machine/acme/web"], "allow": ["tcp"]}]),
    ],
)  # fmt: skip
def test_who_is_let_in_by_whom(spec: str, expected: Any) -> None:
    assert laid({**MACHINES, "acme/f.yaml": rule(spec)}) == expected


def test_rule_of_no_tenant_is_for_all_of_them() -> None:
    files = {**MACHINES, "f.yaml": rule("{from: any, to: {tags: {role: job}}, allow: [tcp/22]}")}
    assert laid(files) == [{"from": None, "to": ["Machine/acme/j"], "allow": ["tcp/22"]}]
    everywhere = {**MACHINES, "f.yaml": rule("{from: any, to: any, allow: [tcp/22]}")}
    assert laid(everywhere) == [{"from": None, "to": None, "allow": ["tcp/22"]}]


def test_rules_come_change_and_go_with_their_networks_alone() -> None:
    """What is loaded by and by is what is loaded at once."""
    loader = Loader(CAPABILITIES)
    steps: list[dict[str, str | bytes | None]] = [
        {**NODES, **MACHINES},
        {**NODES, **MACHINES, "acme/f.yaml": rule("{from: any, to: {tags: {role: web}}, allow: [tcp/80]}")},
        {**NODES, **MACHINES, "acme/j.yaml": machine("j", "", "role: web"),
         "acme/f.yaml": rule("{from: any, to: {tags: {role: web}}, allow: [tcp/80]}")},
        {**NODES, **MACHINES},
    ]  # fmt: skip
    changes = []
    for files in steps:
        delta = loader.load(tree(files))
        changes.append(delta.changed)
        whole = loaded(files).desired.resources
        assert {ref: one.digest for ref, one in delta.desired.resources.items()} == {
            ref: one.digest for ref, one in whole.items()
        }
    assert changes[1:] == [{"Network/app"}, {"Network/app", "Machine/acme/j"}, {"Network/app", "Machine/acme/j"}]


def test_rule_within_one_network_is_warned_of() -> None:
    files = {
        **NODES,
        **MACHINES,
        "acme/f.yaml": rule("{from: {tags: {role: web}}, to: {tags: {role: job}}, allow: [tcp]}"),
    }
    (warning,) = Loader(CAPABILITIES).load(tree(files)).warnings
    assert warning.summary == "r: machines in app reach each other whatever rules say"


CASES = {
    "{from: any, to: {subnets: [10.0.0.0/8]}, allow: [tcp]}": "spec: a rule lets into machines, and subnets are anybody's",
    "{from: any, to: {}, allow: [tcp]}": "to: this names nobody",
    "{from: all, to: any, allow: [tcp]}": "from: 'all'",
    "{from: any, to: any, allow: []}": "allow: ",
    "{from: any, to: any, allow: [http]}": "allow.0: 'http' is not a kind of traffic",
    "{from: any, to: any, allow: [tcp/90000]}": "allow.0: 'tcp/90000' names no ports",
    "{from: any, to: any, allow: [tcp/9-8]}": "allow.0: 'tcp/9-8' names no ports",
    "{from: any, to: {networks: [zz]}, allow: [tcp]}": "to.networks.0: there is no Network 'zz'",
    "{from: {machines: [zz]}, to: any, allow: [tcp]}": "from.machines.0: there is no Machine 'zz'",
}


@pytest.mark.parametrize(("spec", "told"), CASES.items())
def test_mistake_in_a_rule_is_told_with_its_place(spec: str, told: str) -> None:
    (found,) = mistakes({**NODES, "acme/f.yaml": rule(spec)})
    assert f"FirewallRule/acme/r:{told}" in found


def test_network_on_a_node_that_filters_nothing_takes_no_rules() -> None:
    (found,) = mistakes({"acme/f.yaml": rule("{from: any, to: {networks: [app]}, allow: [tcp]}")})
    assert "FirewallRule/acme/r:to: edge1 carries app, and its driver local filters nothing (use a network" in found


def test_network_with_an_uplink_takes_no_rules_where_the_driver_filters_only_what_it_routes() -> None:
    able = {**CAPABILITIES, "local": msgspec.structs.replace(CAPABILITIES["incus"], routes=frozenset({"none"}))}
    files = {"acme/f.yaml": rule("{from: any, to: {networks: [app]}, allow: [tcp]}")}
    with pytest.raises(SpecErrors) as caught:
        Loader(able).load(tree(files))
    assert "edge1 carries app on eno1, and its driver local filters nothing (use a network of a nic tag" in str(
        caught.value
    )
    inside = BASE["nodes.yaml"].replace("driver: local, nics: {lan: eno1}", "driver: local, nics: {lan: none}")
    Loader(able).load(tree({**files, "nodes.yaml": inside}))
