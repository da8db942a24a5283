# ruff: noqa: ASYNC221 - the hand works with plain commands and files, nothing else waits
"""Networks: who reaches whom, and what a zone cannot pretend."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from reconciler.core.observed import Object
from reconciler.core.plan import Action
from reconciler.core.values import plain
from reconciler.testing.conformance.expect import made
from reconciler.testing.harness import resource
from reconciler.testing.scene import Scene
from tests.drivers.local.hand import Hand

pytestmark = [pytest.mark.anyio, pytest.mark.real]


def _ip(thing: Object, network: str = "net0") -> str:
    return str(thing.fields["nics"][network]["ip"]).partition("/")[0]


def _reaches(hand: Hand, zone: Object, ip: str) -> bool:
    """Asked again where nothing came back, since a busy host may take longer than a second."""
    script = f"for within in 1 3; do ping -c 1 -W $within {ip} && exit; done"
    return " 0% packet loss" in hand.lxc("attach", zone.native_name, "--", "/bin/sh", "-c", script, check=False)


def _bridge(scene: Scene, subnet: str) -> str:
    return str(scene.driver.node.networks.segment("front", None, subnet).bridge)  # type: ignore[attr-defined]


async def _on_net1(scene: Scene) -> Object:
    await scene.converge(scene.harness.network(1))
    nics = [{"networks": ["Network/net1"], "primary": True}]
    _, found = await made(scene, nics=nics)
    return found


async def test_zones_of_one_network_reach_each_other_and_their_gateway(scene: Scene, hand: Hand) -> None:
    (_, one), (_, two) = await made(scene), await made(scene)
    assert _reaches(hand, one, _ip(two))
    assert _reaches(hand, one, f"{hand.subnets}.0.1")


async def test_gateway_keeps_its_address_whoever_is_plugged_in(scene: Scene, hand: Hand) -> None:
    """Zones remember for half a minute who their gateway is."""
    await made(scene)
    bridge = Path("/sys/class/net") / _bridge(scene, f"{hand.subnets}.0.0/24")
    before = (bridge / "address").read_text()
    port = f"tv{bridge.name[-6:]}low"
    subprocess.run(["ip", "link", "add", port, "address", "02:00:00:00:00:01", "type", "veth"], check=True)
    try:
        subprocess.run(["ip", "link", "set", port, "master", bridge.name], check=True)
        await made(scene)
        assert (bridge / "address").read_text() == before
    finally:
        subprocess.run(["ip", "link", "del", port], check=True)


async def test_zones_of_two_networks_do_not_reach_each_other(scene: Scene, hand: Hand) -> None:
    _, one = await made(scene)
    other = await _on_net1(scene)
    assert not _reaches(hand, one, _ip(other, "net1"))
    assert not _reaches(hand, other, _ip(one))


async def test_zone_cannot_take_anothers_address(scene: Scene, hand: Hand) -> None:
    (_, one), (_, two) = await made(scene), await made(scene)
    pid = hand.lxc("info", one.native_name, "-pH").strip()
    inside = ("nsenter", f"--net=/proc/{pid}/ns/net")
    assert _reaches(hand, one, _ip(two))
    hand.run(*inside, "ip", "addr", "add", f"{hand.subnets}.0.251/24", "dev", "net0")
    ping = subprocess.run(
        [*inside, "ping", "-c1", "-W1", "-I", f"{hand.subnets}.0.251", _ip(two)], capture_output=True, check=False
    )
    assert ping.returncode != 0
    assert (await scene.there(one.native_name)).fields["nics"]["net0"]["ip"] != one.fields["nics"]["net0"]["ip"]


async def test_zone_cannot_send_from_another_mac(scene: Scene, hand: Hand) -> None:
    (_, one), (_, two) = await made(scene), await made(scene)
    pid = hand.lxc("info", one.native_name, "-pH").strip()
    hand.run("nsenter", f"--net=/proc/{pid}/ns/net", "ip", "link", "set", "net0", "address", "02:00:00:00:00:77")
    assert not _reaches(hand, one, _ip(two))


@pytest.mark.parametrize("family", ["inet", "bridge"])
async def test_flushed_rules_are_seen_and_healed(scene: Scene, hand: Hand, family: str) -> None:
    (_, one), (_, two) = await made(scene), await made(scene)
    other = await _on_net1(scene)
    subprocess.run(["nft", "delete", "table", family, hand.place.table], check=True)
    for network in (scene.harness.network(0), scene.harness.network(1)):
        found = await scene.there(scene.uid(network.ref))
        assert found.fields == {}, "nobody saw that the rules are gone"
        await scene.run(scene.change(network, found))
        assert (await scene.there(scene.uid(network.ref))).fields["subnet"] == plain(network.body)["subnet"]
    assert not _reaches(hand, one, _ip(other, "net1"))
    assert _reaches(hand, one, _ip(two))
    pid = hand.lxc("info", one.native_name, "-pH").strip()
    hand.run("nsenter", f"--net=/proc/{pid}/ns/net", "ip", "link", "set", "net0", "address", "02:00:00:00:00:78")
    assert not _reaches(hand, one, _ip(two)), "what a zone may send was forgotten with the rules"


async def test_bridge_removed_by_hand_is_seen_and_healed(scene: Scene, hand: Hand) -> None:
    network = scene.harness.network(1)
    await scene.converge(network)
    bridge = _bridge(scene, f"{hand.subnets}.1.0/24")
    subprocess.run(["ip", "link", "del", bridge], check=True)
    found = await scene.there(scene.uid(network.ref))
    assert found.fields == {}
    await scene.run(scene.change(network, found))
    assert dict((await scene.there(scene.uid(network.ref))).fields) == dict(scene.native(network))


async def test_nat_comes_and_goes(scene: Scene, hand: Hand) -> None:
    network = scene.harness.network(1)
    await scene.converge(network)
    with_nat = resource(network.ref, {**plain(network.body), "nat": True})
    for wanted in (with_nat, network):
        await scene.converge(wanted)
        rules = subprocess.run(
            ["nft", "list", "table", "inet", hand.place.table], capture_output=True, text=True
        ).stdout
        assert (f"{hand.subnets}.1.0/24" in rules) == (wanted is with_nat)


async def test_network_with_zones_on_it_is_not_destroyed(scene: Scene) -> None:
    await _on_net1(scene)
    network = await scene.there(scene.uid(scene.harness.network(1).ref))
    (destroy,) = scene.removal(network, Action.DESTROY).steps
    outcome = await scene.apply(destroy)
    assert outcome.status in ("failed", "deferred")
    assert "zones" in outcome.reason
