"""A pool that was there before: what becomes ours of it, and what is said where it cannot be."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reconciler.driver import NodeUnreachable
from reconciler.testing.conformance.expect import made
from reconciler.testing.scene import Scene
from tests.drivers.local.hand import MI, Hand, LocalHarness
from tests.drivers.local.probe import needs

pytestmark = [pytest.mark.anyio, pytest.mark.real]

TANK = "tltank"
_PRIVATE = """
for folder in /run/zfs /run/lock/zfs /etc/zfs /var/lib/zfs; do mkdir -p $folder; mount -t tmpfs none $folder; done
exec zfs-fuse -n --no-kstat-mount -p /run/zfs/pid
"""


class Owner:
    """Somebody else's zfs-fuse on this host, in a namespace where it disturbs nobody."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def run(self, *argv: str) -> str:
        command = ["nsenter", f"--mount=/proc/{self._pid}/ns/mnt", *argv]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout


@contextmanager
def owner() -> Iterator[Owner]:
    argv = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", _PRIVATE]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as daemon:
        try:
            found = Owner(daemon.pid)
            for _ in range(100):
                try:
                    found.run("zpool", "list")
                    break
                except subprocess.CalledProcessError:
                    time.sleep(0.1)
            yield found
        finally:
            daemon.terminate()
            daemon.wait(20)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[str]:
    """A disk of this host."""
    needs()
    image = tmp_path / "disk.img"
    with image.open("wb") as file:
        file.truncate(512 * MI)
    attach = ["losetup", "--find", "--show", str(image)]
    device = subprocess.run(attach, capture_output=True, text=True, check=True).stdout.strip()
    yield device
    subprocess.run(["losetup", "--detach", device], check=True)


async def refused(hand: Hand) -> str:
    driver = hand.open()
    try:
        with pytest.raises(NodeUnreachable) as caught:
            await driver.observe(began=1)
    finally:
        await driver.close()
        await hand.open().tear_down()
    assert hand.leftovers() == []
    return str(caught.value)


async def test_pool_that_is_not_there_is_never_made(tmp_path: Path) -> None:
    needs()
    said = await refused(Hand(tmp_path, "zfs-fuse", pool={"pool": TANK}))
    assert f"there is no pool {TANK} on this host; make it, or leave out storage.pool" in said


async def test_existing_pool_gives_room_to_zones_and_keeps_what_is_its_own(tmp_path: Path, disk: str) -> None:
    with owner() as other:
        other.run("zpool", "create", "-m", str(tmp_path / "tank"), TANK, disk)
        other.run("zfs", "create", f"{TANK}/home")
        other.run("sh", "-c", f"echo mine > {tmp_path}/tank/home/file")
        other.run("zpool", "export", TANK)
    hand = Hand(tmp_path, "zfs-fuse", pool={"pool": TANK})
    async with Scene(LocalHarness(hand)) as scene:
        _, found = await made(scene)
        assert f"{TANK}/trueup/zones/{found.native_name}" in hand.run("zfs", "list", "-H", "-o", "name")
        foreign = [each.native_name for each in (await scene.look()).objects if each.marks is None]
        assert f"{TANK}/home" in foreign
    await hand.open().tear_down()
    assert hand.leftovers() == []
    with owner() as other:
        other.run("zpool", "import", TANK)
        assert other.run("zfs", "list", "-H", "-o", "name").split() == [TANK, f"{TANK}/home"]
        assert other.run("cat", f"{tmp_path}/tank/home/file") == "mine\n"


async def test_pool_that_another_daemon_may_have_open_is_left_alone(tmp_path: Path, disk: str) -> None:
    file = tmp_path / "tank.img"
    with file.open("wb") as image:
        image.truncate(512 * MI)
    for where, pool in ((disk, {"pool": TANK}), (str(file), {"pool": TANK, "file": str(file)})):
        with owner() as other:
            other.run("zpool", "create", "-m", str(tmp_path / "tank"), TANK, where)
            assert "another zfs-fuse" in await refused(Hand(tmp_path / "node", "zfs-fuse", pool=pool))
            assert TANK in other.run("zpool", "list", "-H", "-o", "name")


async def test_pool_on_a_file_stays_when_its_node_goes_and_is_no_other_nodes(tmp_path: Path) -> None:
    needs()
    pool = {"pool": TANK, "file": str(tmp_path / "tank.img")}
    hand = Hand(tmp_path / "a", "zfs-fuse", size=512 * MI, pool=pool)
    async with Scene(LocalHarness(hand)) as scene:
        identity = (await scene.look()).identity
    await hand.open().tear_down()
    assert hand.leftovers() == []
    assert "belongs to another node" in await refused(Hand(tmp_path / "b", "zfs-fuse", pool=pool))
    async with Scene(LocalHarness(hand)) as scene:
        assert (await scene.look()).identity == identity
    await hand.open().tear_down()
    assert hand.leftovers() == []


async def test_node_of_another_datacenter_is_not_taken_over(tmp_path: Path) -> None:
    needs()
    hand = Hand(tmp_path, size=512 * MI)
    async with Scene(LocalHarness(hand)) as scene:
        harness = LocalHarness(hand)
        harness.datacenter = "11111111-2222-5333-8444-555555555555"
        intruder = Scene(harness)
        intruder.driver = scene.driver
        with pytest.raises(AssertionError, match=f"the node belongs to the datacenter {scene.harness.datacenter}"):
            await intruder.claim(await scene.look())
    await hand.open().tear_down()
