# ruff: noqa: ASYNC221, ASYNC240 - the hand works with plain files, nothing else waits
"""`nat: true`: a zone reaches the world behind the host, which knows no way back to the zone, over IPv4 and IPv6."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.core.desired import Resource
from reconciler.core.refs import Ref
from reconciler.core.values import plain
from reconciler.testing.conformance.expect import made
from reconciler.testing.harness import resource
from reconciler.testing.rehearsal import Rehearsal
from reconciler.testing.scene import Scene
from tests.drivers.local.hand import Hand, LocalHarness
from tests.drivers.local.probe import needs

pytestmark = [pytest.mark.anyio, pytest.mark.real]

NEAR, FAR, SPACE = "tlnat0", "tlnat1", "tl-world"
SWITCHES = {"10.213": Path("/proc/sys/net/ipv4/ip_forward"), "fd42:213": Path("/proc/sys/net/ipv6/conf/all/forwarding")}
LISTENS = Path(f"/proc/sys/net/ipv6/conf/{NEAR}/accept_ra")


@pytest.fixture
def world() -> Iterator[None]:
    """A host beyond this one: it knows this host alone."""
    needs()
    commands = [
        f"netns add {SPACE}",
        f"link add {NEAR} type veth peer name {FAR} netns {SPACE}",
        f"link set {NEAR} up",
        f"addr add 10.213.90.1/24 dev {NEAR}",
        f"addr add fd42:213:90::1/64 dev {NEAR} nodad",
        f"-n {SPACE} link set {FAR} up",
        f"-n {SPACE} addr add 10.213.90.2/24 dev {FAR}",
        f"-n {SPACE} addr add fd42:213:90::2/64 dev {FAR} nodad",
    ]
    for command in commands:
        subprocess.run(["ip", *command.split()], check=True)
    yield
    subprocess.run(["ip", "link", "del", NEAR], check=False)
    subprocess.run(["ip", "netns", "del", SPACE], check=True)


class _Natted(LocalHarness):
    def network(self, number: int = 0) -> Resource:
        colon = ":" in self.subnets
        net = f"{self.subnets}:{number + 1}:" if colon else f"{self.subnets}.{number}"
        body = {
            "nicTag": "front",
            "subnet": f"{net}:/64" if colon else f"{net}.0/24",
            "range": [f"{net}:10", f"{net}:f0"] if colon else [f"{net}.10", f"{net}.240"],
            "gateway": f"{net}:1" if colon else f"{net}.1",
            "nat": number == 0,
        }
        return resource(Ref(f"Network/net{number}"), body)


@pytest.mark.parametrize(("subnets", "far"), [("10.213", "10.213.90.2"), ("fd42:213", "fd42:213:90::2")])
async def test_zone_reaches_the_world_behind_the_host(world: None, tmp_path: Path, subnets: str, far: str) -> None:
    hand = Hand(tmp_path)
    harness = _Natted(hand)
    harness.subnets = subnets
    switch = SWITCHES[subnets]
    before = (switch.read_text(), LISTENS.read_text())
    try:
        async with Scene(harness) as scene:
            _, natted = await made(scene)
            await scene.converge(harness.network(1))
            _, other = await made(scene, nics=[{"networks": ["Network/net1"], "primary": True}])
            assert dict((await scene.there(scene.uid(harness.network(0).ref))).fields)["nat"] is True
            argv = ("--", "ping", "-c", "2", "-W", "3", far)
            assert "0% packet loss" in hand.lxc("attach", natted.native_name, *argv, check=False)
            assert "100% packet loss" in hand.lxc("attach", other.native_name, *argv, check=False)
            assert switch.read_text() == "1\n"
            assert LISTENS.read_text() == ("2\n" if ":" in far else before[1]), "the host would lose its own way out"
            bridge = scene.driver.node.networks.segment("front", None, harness.network(0).network.subnet).bridge  # type: ignore
            assert Path(f"/proc/sys/net/ipv6/conf/{bridge}/accept_ra").read_text() == "0\n"
    finally:
        await hand.open().tear_down()
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
    if "trueup_" not in tables:  # else another node of this host still needs the way
        assert (switch.read_text(), LISTENS.read_text()) == before


async def test_world_host_and_a_machine_beside_come_in_by_a_forward(world: None, tmp_path: Path) -> None:
    hand = Hand(tmp_path)
    harness = _Natted(hand)
    harness.subnets = "fd42:213"
    listen = "fd42:213:90::1"
    try:
        async with Rehearsal(harness) as life:
            web, peer = harness.machine("web", ready={"http": ":8080/healthz", "within": 20}), harness.machine("peer")
            known = harness.network(0)
            body = {**plain(known.body), "forwards": [{"listen": listen, "to": web.ref, "ports": ["tcp/80:8080"]}]}
            made = resource(known.ref, body, parties=(web.ref,))
            life.want(harness.image(), made, web, peer)
            await life.converge()
            (report,) = await life.observe()
            zone = next(thing for thing in report.objects if thing.marks is not None and thing.marks.ref == peer.ref)
            said = f"printf 'GET /healthz HTTP/1.0\\r\\n\\r\\n' | nc -w 3 {listen} 80"

            def comes_in(*argv: str) -> bool:
                asking = [*argv, "/bin/busybox", "sh", "-c", said]
                return "200" in subprocess.run(asking, capture_output=True, text=True, timeout=20, check=False).stdout

            assert comes_in("ip", "netns", "exec", SPACE)
            assert comes_in("env")
            attach = ["lxc-attach", "-P", str(hand.place.lxc), "-n", zone.native_name, "--"]
            assert comes_in("nsenter", f"--mount={hand.place.pin}", *attach), "the answer bypasses the host"
            life.want(harness.image(), known, web, peer)
            await life.converge()
            assert not comes_in("env")
    finally:
        await hand.open().tear_down()
