# ruff: noqa: ASYNC221, ASYNC240 - the hand works with plain commands and files, nothing else waits
"""Zones: what they may, what they are told, how they end, what is said when they cannot begin."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import anyio
import pytest

from drivers.local import DRIVER
from reconciler.core.desired import Resource
from reconciler.core.plan import Action
from reconciler.core.refs import Ref
from reconciler.driver.console import Console, ConsoleUnavailable
from reconciler.testing.conformance.expect import at_rest, made
from reconciler.testing.harness import resource
from reconciler.testing.scene import Scene, edited
from tests.drivers.local.hand import MI, Hand, LocalHarness

pytestmark = [pytest.mark.anyio, pytest.mark.real]


def _inside(hand: Hand, zone: str, *argv: str, check: bool = True) -> str:
    return hand.lxc("attach", zone, "--clear-env", "--", *argv, check=check)


async def test_machine_is_ready_when_it_answers(scene: Scene) -> None:
    _, found = await made(scene, ready={"http": ":8080/healthz", "within": 20})
    assert found.fields["state"] == "running"


@pytest.mark.parametrize("ready", [{"tcp": 8080}, {"exec": ["test", "-e", "/srv/www/healthz"]}, {"http": "/healthz"}])
async def test_each_kind_of_readiness_is_asked_inside(scene: Scene, ready: dict[str, object]) -> None:
    wanted = scene.fresh(ready={**ready, "within": 1})
    change = scene.change(wanted, None)
    for step in change.steps[:-1]:
        await scene.proved(step)
    outcome = await scene.apply(change.steps[-1])
    assert outcome.status == ("failed" if ready == {"http": "/healthz"} else "applied"), outcome


def _root(folder: Path) -> Path:
    """A folder to make an image of: a shell and an echo, and no init yet."""
    for name in ("sbin", "bin", "dev", "proc", "sys", "etc"):
        (folder / name).mkdir(parents=True)
    (folder / "bin/busybox").write_bytes(Path("/bin/busybox").read_bytes())
    (folder / "bin/busybox").chmod(0o755)
    for applet in ("sh", "echo"):
        (folder / "bin" / applet).symlink_to("busybox")
    return folder


async def _machine_of(scene: Scene, root: Path, name: str) -> Resource:
    """One that nobody has had, of an image of its own from that folder."""
    body = {"digest": f"recipe:{name}", "type": "rootfs", "os": "linux"}
    await scene.converge(resource(Ref(f"Image/{name}"), {"source": {"folder": str(root)}, **body}))
    return scene.fresh(image={"name": name, **body})


async def test_zone_that_dies_at_boot_says_its_last_words(scene: Scene, tmp_path: Path) -> None:
    root = _root(tmp_path / "root")
    (root / "sbin/init").write_text("#!/bin/sh\necho the disk of this image is upside down > /dev/console\nexit 3\n")
    (root / "sbin/init").chmod(0o755)
    wanted = await _machine_of(scene, root, "broken")
    *steps, start = scene.change(wanted, None).steps
    for step in steps:
        await scene.proved(step)
    outcome = await scene.apply(start)
    assert outcome.status == "failed"
    assert "the disk of this image is upside down" in outcome.reason
    marks = (await scene.there(start.uid)).marks
    assert marks is not None
    assert marks.applied == "", "a start that failed is tried again, and is no drift"


async def test_what_services_say_is_in_the_logs(scene: Scene, tmp_path: Path) -> None:
    root = _root(tmp_path / "root")
    (root / "sbin/init").symlink_to("../bin/busybox")
    (root / "etc/inittab").write_text("::once:/bin/echo a service speaks\n::once:/bin/sh -c 'echo and errs >&2'\n")
    wanted = await _machine_of(scene, root, "inittab")
    change = await scene.run(scene.change(wanted, None))
    driver = scene.driver
    assert isinstance(driver, Console)
    for _ in range(200):
        said = (await driver.logs(change.uid, 10)).splitlines()
        if len(said) >= 2:
            break
        await anyio.sleep(0.05)
    assert sorted(said) == ["a service speaks", "and errs"]


async def test_image_from_a_tarball_is_what_was_packed(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "root/sbin").mkdir(parents=True)
    (tmp_path / "root/sbin/init").symlink_to("../lib/systemd/systemd")
    (tmp_path / "root/lib/systemd").mkdir(parents=True)
    (tmp_path / "root/lib/systemd/systemd").write_text("")
    archive = tmp_path / "image.tar.zst"
    subprocess.run(["tar", "-C", tmp_path / "root", "--zstd", "-cf", archive, "."], check=True)
    digest = "sha256:" + "1" * 64
    body = {"source": {"file": "image.tar.zst"}, "digest": digest, "type": "rootfs", "os": "linux"}
    image = resource(Ref("Image/packed"), body)
    (step,) = scene.change(image, None).steps
    assert (await scene.apply(step)).status == "failed", "the contents were not handed over"
    assert (await scene.apply(step, files={digest: str(archive)})).status == "applied"
    found = await scene.there(scene.uid(image.ref))
    assert found.fields["digest"] == digest


async def test_guest_may_not_do_what_was_taken_from_it(scene: Scene, hand: Hand) -> None:
    _, found = await made(scene)
    for command in ("hostname impostor", "mount -t tmpfs t /tmp", "mknod /tmp/d b 7 0", "unshare -U true", "dmesg"):
        said = _inside(hand, found.native_name, "sh", "-c", f"{command} && echo DONE", check=False)
        assert "DONE" not in said, command
    status = Path(f"/proc/{hand.lxc('info', found.native_name, '-pH').strip()}/status").read_text()
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status


async def test_secrets_are_told_to_the_guest_and_to_nobody_else(scene: Scene, hand: Hand) -> None:
    metadata = {"token": {"secret": "token", "keyed": "d1"}}
    wanted, found = await made(scene, metadata=metadata, userData="hello")
    folder = hand.place.zone(found.native_name) / "guest"
    assert stat.S_IMODE(os.stat(folder / "metadata.json").st_mode) == 0o600
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    assert "hush" in _inside(hand, found.native_name, "cat", "/etc/trueup/metadata.json")
    report = await scene.look()
    assert "hush" not in repr(report)
    assert found.fields["metadata"] == {"token": "secret:token:d1"}
    (folder / "metadata.json").write_text('{"token":"other"}')
    seen = await scene.there(found.native_name)
    assert seen.fields["metadata"]["token"].startswith("changed:")
    assert "other" not in repr(seen)
    await at_rest(scene, wanted, await scene.run(scene.change(wanted, seen)))
    step = scene.change(scene.fresh(metadata=metadata), None).steps
    await scene.proved(step[0])
    outcome = await scene.apply(step[1], secrets={})
    assert outcome.status == "failed"
    assert "token" in outcome.reason


async def test_resolvers_and_keys_are_where_a_guest_looks(scene: Scene, hand: Hand) -> None:
    key = "ssh-ed25519 AAAA alice"
    _, found = await made(scene, resolvers=[f"{hand.subnets}.0.1"], search=["example.org"], sshKeys=[key])
    said = _inside(hand, found.native_name, "cat", "/etc/resolv.conf", "/root/.ssh/authorized_keys")
    assert said == f"search example.org\nnameserver {hand.subnets}.0.1\n{key}\n"


async def test_data_survives_quarantine(scene: Scene, hand: Hand) -> None:
    wanted, found = await made(scene, disks={"data": {"size": 64 * MI, "path": "/data/more", "delegated": False}})
    for path in ("/root/kept", "/data/more/kept"):
        _inside(hand, found.native_name, "sh", "-c", f"echo precious > {path}")
    await scene.run(scene.removal(found, Action.DESTROY))
    await scene.run(scene.change(wanted, await scene.there(found.native_name)))
    assert _inside(hand, found.native_name, "cat", "/root/kept", "/data/more/kept") == "precious\nprecious\n"


async def test_disk_is_what_the_guest_may_write_beside_its_image(scene: Scene, hand: Hand) -> None:
    wanted, found = await made(scene, disk=16 * MI)
    write = "dd if=/dev/urandom of=/root/f bs=1M count={} 2>&1 && sync"
    _inside(hand, found.native_name, "sh", "-c", write.format(12))
    said = _inside(hand, found.native_name, "sh", "-c", write.format(40), check=False)
    assert "quota" in said.lower() or "space" in said.lower()
    smaller = edited(scene.harness, wanted, disk=4 * MI)
    (update,) = scene.change(smaller, await scene.there(found.native_name)).steps
    outcome = await scene.apply(update)
    assert outcome.status == "failed"
    assert "in use" in outcome.reason


async def test_memory_is_raised_and_lowered_live(scene: Scene, hand: Hand) -> None:
    """The kernel takes memory and memory with swap in one order only, another one each way."""
    wanted, found = await made(scene)
    init = hand.lxc("info", found.native_name, "-pH")
    for memory in (256 * MI, 32 * MI, 64 * MI):
        wanted = edited(scene.harness, wanted, memory=memory)
        await at_rest(scene, wanted, await scene.converge(wanted))
    assert hand.lxc("info", found.native_name, "-pH") == init


async def test_frozen_zone_does_not_count_as_running(scene: Scene, hand: Hand) -> None:
    wanted, found = await made(scene)
    hand.lxc("freeze", found.native_name)
    seen = await scene.there(found.native_name)
    assert seen.fields["state"] == "stopped"
    await at_rest(scene, wanted, await scene.converge(wanted))


async def test_processes_of_a_dead_monitor_are_ended(scene: Scene, hand: Hand) -> None:
    _, found = await made(scene)
    group = Path("/sys/fs/cgroup/memory") / f"{hand.place.cgroup}.monitor" / found.native_name / "cgroup.procs"
    if not group.exists():
        group = Path("/sys/fs/cgroup") / f"{hand.place.cgroup}.monitor" / found.native_name / "cgroup.procs"
    for pid in group.read_text().split():
        os.kill(int(pid), 9)
    await scene.run(scene.removal(await scene.there(found.native_name), Action.DESTROY))


async def test_people_get_in_and_read_what_was_said(scene: Scene, capfd: pytest.CaptureFixture[str]) -> None:
    _, found = await made(scene)
    assert found.marks is not None
    driver = scene.driver
    assert isinstance(driver, Console)
    assert await driver.exec(found.marks.uid, ["sh", "-c", "exit 7"]) == 7
    for _ in range(100):
        if "is up" in (said := await driver.logs(found.marks.uid, 10)):
            break
        await anyio.sleep(0.1)
    assert "is up" in said
    await scene.run(scene.removal(found, Action.DESTROY))
    with pytest.raises(ConsoleUnavailable):
        await driver.exec(found.marks.uid, ["true"])


async def test_foreign_datasets_and_containers_are_listed_and_left_alone(scene: Scene, hand: Hand) -> None:
    hand.run("zfs", "create", f"{hand.pool}/home")
    hand.run("sh", "-c", f"echo mine > {hand.place.pool}/home/file")
    (hand.place.zones / "stranger").mkdir()
    (hand.place.zones / "stranger/config").write_text("lxc.uts.name = stranger\n")
    await made(scene)
    foreign = [each for each in (await scene.look()).objects if each.marks is None]
    assert {"home", "stranger"} <= {each.native_name.rpartition("/")[2] for each in foreign}
    assert hand.run("cat", f"{hand.place.pool}/home/file") == "mine\n"


async def test_busybox_image_is_built_within_a_second(scene: Scene) -> None:
    import time

    await scene.converge(scene.harness.image(0))
    (step,) = scene.change(scene.harness.image(1), None).steps
    start = time.perf_counter()
    await scene.proved(step)
    assert time.perf_counter() - start < 6, "it is half a second on an idle host"


async def test_tear_down_leaves_nothing(tmp_path: Path) -> None:
    hand = Hand(tmp_path)
    async with Scene(LocalHarness(hand)) as scene:
        await made(scene)
        _, found = await made(scene)
        await scene.run(scene.removal(found, Action.DESTROY))
        scene.made.clear()
    await DRIVER.open(hand.node, {"state": str(tmp_path)}).tear_down()
    assert hand.leftovers() == []


async def test_configuration_that_nobody_can_read_is_unknown_and_hides_nothing_else(scene: Scene, hand: Hand) -> None:
    (_, one), (_, two) = await made(scene), await made(scene)
    file = hand.place.zone(one.native_name) / "config"
    kept = file.read_text()
    file.write_text(kept + "# trueup.nic.0 = {not json\nlxc.net.0.type = veth\n")
    seen = await scene.there(one.native_name)
    assert "cannot be read" in seen.unknown["/hostname"]
    assert seen.fields["image"] == one.fields["image"]
    assert (await scene.there(two.native_name)).fields == two.fields
    file.write_text(kept)
    assert (await scene.there(one.native_name)).fields == one.fields
