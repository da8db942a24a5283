"""Forwards as documents: what they come to, and what is wrong with them."""

from __future__ import annotations

import msgspec
import pytest
from trees import BASE, CAPABILITIES, HEAD, loaded, tree

from reconciler.core.refs import Ref
from reconciler.core.values import plain
from reconciler.edge.load import Loader
from reconciler.errors import SpecErrors

# ruff: noqa: E501
ABLE = {
    "incus": msgspec.structs.replace(CAPABILITIES["incus"], fields=frozenset({"forwards"})),
    "local": msgspec.structs.replace(CAPABILITIES["incus"], fields=frozenset({"forwards"}), routes=frozenset({"none"})),
}
INSIDE = BASE["nodes.yaml"].replace("driver: local, nics: {lan: eno1}", "driver: local, nics: {lan: none}")
MACHINES = {"acme/x.yaml": HEAD.replace("{name: x}", "{name: front}"), "acme/y.yaml": HEAD + "  replicas: 2\n"}
PUBLIC = "  public: {nicTag: wan"


def networks(app: str, public: str = "") -> dict[str, str]:
    text = BASE["networks.yaml"].replace("gateway: 10.0.1.1}", f"gateway: 10.0.1.1, forwards: [{app}]}}")
    if public:
        text = text.replace("198.51.100.60}", f"198.51.100.60, forwards: [{public}]}}")
    return {"networks.yaml": text, "nodes.yaml": INSIDE, **MACHINES}


def wrong(files: dict[str, str], capabilities: dict | None = None) -> list[str]:  # type: ignore[type-arg]
    with pytest.raises(SpecErrors) as caught:
        Loader(capabilities or ABLE).load(tree(files))
    return [line.partition(": ")[2] for line in str(caught.value).splitlines() if ": " in line]


def test_forward_names_one_machine_and_comes_to_lie_in_the_body_of_its_network() -> None:
    files = networks(
        "{listen: 192.0.2.10, to: acme/front, ports: [tcp/8443:443, tcp/80]}, {listen: 192.0.2.11, to: acme/x-2}"
    )
    found = Loader(ABLE).load(tree(files)).desired.resources[Ref("Network/app")]
    assert plain(found.body)["forwards"] == [
        {"listen": "192.0.2.10", "to": "Machine/acme/front", "ports": ["tcp/80", "tcp/8443:443"]},
        {"listen": "192.0.2.11", "to": "Machine/acme/x-2", "ports": ["any"]},
    ]
    assert found.parties == ("Machine/acme/front", "Machine/acme/x-2")
    assert "forwards" not in plain(loaded({}).desired.resources[Ref("Network/app")].body)


CASES = {
    "{listen: 10.0.1.9, to: acme/front}": "forwards.0.listen: 10.0.1.9 is in 10.0.1.0/24 itself",
    "{listen: 'fd00::1', to: acme/front}": "forwards.0.listen: fd00::1 is IPv6, and 10.0.1.0/24 is not",
    "{listen: 127.0.0.1, to: acme/front}": "forwards.0.listen: nothing comes in from outside at 127.0.0.1",
    "{listen: 192.0.2.1, to: acme/zz}": "forwards.0.to: there is no Machine 'acme/zz'",
    "{listen: 192.0.2.1, to: acme/x}": "forwards.0.to: acme/x is 2 machines (name one: x-1)",
    "{listen: 192.0.2.1, to: acme/front, ports: []}": "forwards.0.ports: ",
    "{listen: 192.0.2.1, to: acme/front, ports: [tcp]}": "forwards.0.ports.0: 'tcp' is not a port to forward",
    "{listen: 192.0.2.1, to: acme/front, ports: [tcp/9-8]}": "forwards.0.ports.0: 'tcp/9-8' names no ports",
    "{listen: 192.0.2.1, to: acme/front, ports: ['tcp/9:0']}": "forwards.0.ports.0: 'tcp/9:0' names no ports",
    "{listen: 192.0.2.1, to: acme/front, ports: [tcp/80-90]}, {listen: 192.0.2.1, to: acme/x-1, ports: [udp/85, tcp/85]}":
        "spec: tcp/85 of 192.0.2.1 is forwarded twice",
    "{listen: 192.0.2.1, to: acme/front}, {listen: 192.0.2.1, to: acme/front, ports: ['tcp/1:2']}":
        "spec: all of 192.0.2.1 goes to acme/front already",
    "{listen: 192.0.2.1, to: acme/front}, {listen: 192.0.2.1, to: acme/x-1}":
        "spec: everything else of 192.0.2.1 is forwarded twice",
}  # fmt: skip


@pytest.mark.parametrize(("spec", "told"), CASES.items())
def test_mistake_in_a_forward_is_told_with_its_place(spec: str, told: str) -> None:
    found = wrong(networks(spec))
    assert any(f"Network/app:{told}" in line for line in found), found


def test_address_is_one_networks() -> None:
    files = networks("{listen: 192.0.2.1, to: acme/front}", "{listen: 192.0.2.1, to: acme/pub, ports: [tcp/1]}")
    files["acme/p.yaml"] = HEAD.replace("{name: x}", "{name: pub}") + "  nics: [public]\n"
    (found,) = wrong(files)
    assert "Network/public:forwards.0.listen: 192.0.2.1 is forwarded already by app" in found


def test_machine_is_on_the_network_and_that_is_asked_again_when_it_changes() -> None:
    files = networks("{listen: 192.0.2.1, to: acme/front}")
    loader = Loader(ABLE)
    loader.load(tree(files))
    files["acme/x.yaml"] += "  nics: [public]\n"
    with pytest.raises(SpecErrors) as caught:
        loader.load(tree(files))
    assert "Network/app:forwards.0.to: acme/front has no interface in app" in str(caught.value)


def test_network_that_a_node_carries_which_forwards_nothing_has_no_forwards() -> None:
    files = networks("{listen: 192.0.2.1, to: acme/front}")
    (found,) = wrong({**files, "nodes.yaml": BASE["nodes.yaml"]})
    assert "Network/app:forwards: edge1 carries app on eno1, and its driver local forwards nothing" in found
    unable = {**ABLE, "incus": CAPABILITIES["incus"]}
    (found,) = wrong(files, unable)
    assert "Network/app:forwards: inc carries app, and its driver incus forwards nothing" in found


def test_forwards_stay_when_firewall_rules_are_laid_on_their_network() -> None:
    rule = "apiVersion: trueup/v1\nkind: FirewallRule\nmetadata: {name: r}\nspec: {from: any, to: {machines: [front]}, allow: [tcp]}\n"
    files = {**networks("{listen: 192.0.2.1, to: acme/x-1}"), "acme/f.yaml": rule}
    found = Loader(ABLE).load(tree(files)).desired.resources[Ref("Network/app")]
    assert found.parties == ("Machine/acme/front", "Machine/acme/x-1")
