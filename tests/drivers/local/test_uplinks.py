"""Networks with a way out: a host's bridge, an interface, a VLAN on it. The far end is a namespace of the test's."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers.local.network import Networks
from drivers.local.storage.choose import probe
from reconciler.core.observed import Object
from reconciler.core.refs import Ref
from reconciler.testing.conformance.expect import made
from reconciler.testing.harness import resource
from reconciler.testing.scene import Scene
from tests.drivers.local.hand import Hand, LocalHarness
from tests.drivers.local.probe import needs

pytestmark = [pytest.mark.anyio, pytest.mark.real]

NEAR, FAR, SPACE, LAN = "tlup0", "tlup1", "tl-far", "tllan0"


def _ip(*words: str, check: bool = True) -> bool:
    return subprocess.run(["ip", *words], capture_output=True, check=check).returncode == 0


@pytest.fixture
def cable() -> Iterator[None]:
    """An interface of the host, and what it leads to."""
    needs(probe())
    _ip("netns", "add", SPACE)
    _ip("link", "add", NEAR, "type", "veth", "peer", "name", FAR, "netns", SPACE)
    _ip("-n", SPACE, "link", "set", FAR, "up")
    yield
    _ip("link", "del", NEAR, check=False)
    _ip("link", "del", LAN, check=False)
    _ip("netns", "del", SPACE)


class _Uplinked(LocalHarness):
    """Network 0 is on the interface, on a VLAN of it if one is given."""

    vlan: int | None = None

    def network(self, number: int = 0) -> object:  # type: ignore[override]
        plain = super().network(number)
        body = {
            "nicTag": "out",
            "subnet": f"10.213.{40 + number}.0/24",
            "range": [f"10.213.{40 + number}.10", f"10.213.{40 + number}.240"],
            **({"vlan": self.vlan} if self.vlan else {}),
        }
        return resource(Ref(str(plain.ref)), body)


async def _zone_reaches_far_end(hand: Hand, harness: LocalHarness, far: str) -> None:
    try:
        async with Scene(harness) as scene:
            _, found = await made(scene)
            assert " 0% packet loss" in _ping(hand, found, far)
            report = await scene.look()
            assert report.carries == ("out",)
            network = await scene.there(scene.uid(harness.network(0).ref))
            assert dict(network.fields) == dict(scene.native(harness.network(0)))
    finally:
        await hand.open().tear_down()


def _ping(hand: Hand, zone: Object, ip: str) -> str:
    return hand.lxc("attach", zone.native_name, "--", "ping", "-c", "2", "-W", "2", ip, check=False)


async def test_zone_reaches_what_an_interface_leads_to(cable: None, tmp_path: Path) -> None:
    _ip("-n", SPACE, "addr", "add", "10.213.40.1/24", "dev", FAR)
    hand = Hand(tmp_path, nics={"out": NEAR})
    await _zone_reaches_far_end(hand, _Uplinked(hand), "10.213.40.1")
    assert _ip("link", "show", NEAR), "the host's interface is left as it was"


async def test_zone_reaches_what_a_bridge_of_the_host_leads_to(cable: None, tmp_path: Path) -> None:
    _ip("-n", SPACE, "addr", "add", "10.213.40.1/24", "dev", FAR)
    _ip("link", "add", LAN, "type", "bridge")
    _ip("link", "set", NEAR, "master", LAN, "up")
    _ip("link", "set", LAN, "up")
    hand = Hand(tmp_path, nics={"out": LAN})
    await _zone_reaches_far_end(hand, _Uplinked(hand), "10.213.40.1")
    assert _ip("link", "show", LAN), "the host's bridge is left as it was"


async def test_zone_reaches_its_vlan_on_an_interface(cable: None, tmp_path: Path) -> None:
    if not _ip("-n", SPACE, "link", "add", "link", FAR, "name", "far.100", "type", "vlan", "id", "100", check=False):
        pytest.skip("NOT RUN, VLANs on an interface: this kernel has none (CONFIG_VLAN_8021Q)")
    _ip("-n", SPACE, "addr", "add", "10.213.40.1/24", "dev", "far.100")
    _ip("-n", SPACE, "link", "set", "far.100", "up")
    hand = Hand(tmp_path, nics={"out": NEAR})
    harness = _Uplinked(hand)
    harness.vlan = 100
    await _zone_reaches_far_end(hand, harness, "10.213.40.1")


async def test_interface_with_the_hosts_own_address_is_refused(cable: None, tmp_path: Path) -> None:
    _ip("addr", "add", "10.213.41.9/24", "dev", NEAR)
    hand = Hand(tmp_path, nics={"out": NEAR})
    harness = _Uplinked(hand)
    try:
        driver = await harness.open()
        await driver.observe(began=1)
        networks: Networks = driver.node.networks
        with pytest.raises(Exception, match="the host's own address"):
            networks.ensure({"tag": "out", "subnet": "10.213.40.0/24"}, "out")
    finally:
        await hand.open().tear_down()
