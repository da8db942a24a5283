# ruff: noqa: ASYNC220, ASYNC240 - the hand works with plain commands and files, nothing else waits
"""The five rules that each cost a real failure, and what happens when one is tried."""

from __future__ import annotations

import fcntl
import os
import subprocess
import urllib.request
from pathlib import Path

import anyio
import pytest

from reconciler.core.plan import Action
from reconciler.testing.conformance.expect import made
from reconciler.testing.scene import Scene
from tests.drivers.local.hand import Hand, LocalHarness

pytestmark = [pytest.mark.anyio, pytest.mark.real]


async def test_daemon_and_its_mounts_live_in_a_namespace_of_their_own(scene: Scene, hand: Hand) -> None:
    _, found = await made(scene)
    root = str(hand.place.pool / "zones" / found.native_name)
    assert root in hand.run("cat", "/proc/self/mounts")
    assert root not in Path("/proc/self/mounts").read_text()
    assert os.stat(f"/proc/{hand.daemon()}/ns/mnt").st_ino != os.stat("/proc/self/ns/mnt").st_ino


async def test_commands_that_mount_wait_for_one_another(scene: Scene, hand: Hand) -> None:
    create = scene.change(scene.fresh(), None).steps[0]
    with (hand.place.locks / "mounting").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        async with anyio.create_task_group() as group:
            group.start_soon(scene.proved, create)
            await anyio.sleep(0.5)
            assert await scene.find(create.uid) is None, "it mounted while another one did"
            fcntl.flock(lock, fcntl.LOCK_UN)


async def test_many_machines_at_once_never_hang_the_daemon(scene: Scene) -> None:
    changes = [scene.change(scene.fresh(), None) for _ in range(12)]
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            for change in changes:
                group.start_soon(scene.run, change)


async def test_busy_root_is_tried_again(scene: Scene, hand: Hand) -> None:
    _, found = await made(scene)
    root = hand.place.pool / "zones" / found.native_name
    holder = subprocess.Popen(["nsenter", f"--mount={hand.place.pin}", "sh", "-c", f"exec sleep 1 < {root}/etc/passwd"])
    try:
        await anyio.sleep(0.1)
        await scene.run(scene.removal(found, Action.DESTROY))
    finally:
        holder.wait(10)


async def test_nothing_starts_from_a_root_that_is_not_mounted(scene: Scene, hand: Hand) -> None:
    wanted, found = await made(scene, state="stopped")
    hand.run("zfs", "unmount", hand.dataset(found))
    await scene.run(scene.change(scene.harness.machine(wanted.ref.rpartition("/")[2]), found))
    root = hand.place.pool / "zones" / found.native_name
    assert hand.run("stat", "-c", "%d", str(root)) != hand.run("stat", "-c", "%d", str(root.parent))


async def test_two_nodes_on_one_host_know_nothing_of_each_other(
    scene: Scene, hand: Hand, tmp_path_factory: pytest.TempPathFactory
) -> None:
    _, found = await made(scene)
    other = Hand(tmp_path_factory.mktemp("other"))
    try:
        async with Scene(LocalHarness(other)) as neighbour:
            assert other.pool not in hand.run("zpool", "list", "-H", "-o", "name")
            assert hand.pool not in other.run("zpool", "list", "-H", "-o", "name")
            assert found.native_id not in {each.native_id for each in (await neighbour.look()).objects}
            await made(neighbour)
    finally:
        await other.open().tear_down()
    assert (await scene.there(found.native_name)).fields["state"] == "running", "the other's end did not touch ours"


async def test_killed_daemon_comes_back_with_its_zones(scene: Scene, hand: Hand) -> None:
    _, found = await made(scene, ready={"http": ":8080/healthz", "within": 20})
    before = (await scene.there(found.native_name)).fields
    hand.kill_daemon()
    with anyio.fail_after(20):
        report = await scene.look()
    assert report.complete
    assert (await scene.there(found.native_name)).fields == before
    ip = before["nics"]["net0"]["ip"].partition("/")[0]
    with anyio.fail_after(10):
        while True:
            try:
                answer = await anyio.to_thread.run_sync(
                    lambda: urllib.request.urlopen(f"http://{ip}:8080/healthz").read()
                )
                break
            except OSError:
                await anyio.sleep(0.1)
    assert answer == b"ok\n"


async def test_daemon_that_hangs_is_told_from_one_that_is_slow(scene: Scene, hand: Hand) -> None:
    """Stopped by a signal it answers nobody, as after the race of two mounts."""
    import signal

    _, found = await made(scene)
    os.kill(hand.daemon(), signal.SIGSTOP)
    with anyio.fail_after(60):
        assert (await scene.there(found.native_name)).fields["state"] == "running"
