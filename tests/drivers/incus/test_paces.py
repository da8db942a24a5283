"""How fast a machine reads and writes its disk: what the kernel holds, on pools of both kinds that can be had here."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from reconciler.core.observed import Object
from reconciler.core.plan import Manner
from reconciler.testing.conformance.expect import at_rest, made
from reconciler.testing.rehearsal import Rehearsal
from reconciler.testing.scene import Scene, edited, fresh_name
from tests.drivers.incus.daemons import Daemons, running
from tests.drivers.incus.harness import MI, IncusHarness

pytestmark = [pytest.mark.anyio, pytest.mark.real]
NO_CAP = 2**62
"""What the kernel is told of a cap that is lifted is above this."""


@pytest.fixture
def folder(host: IncusHarness) -> Iterator[IncusHarness]:
    """A host of the same kind that keeps machines in a folder."""
    with running(host.daemons.kind, f"d{host.daemons.kind[0]}", pool="dir") as daemons:
        made = IncusHarness(daemons)
        yield made
        made.close()


@contextmanager
def in_memory(kind: str) -> Iterator[Daemons]:
    """A host whose pool is a folder in memory."""
    daemons = Daemons(kind, f"e{kind[0]}", pool="dir")
    shm = daemons.root / "1"
    shm.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(shm)], check=True)
    try:
        shm.chmod(0o711)
        daemons.solo()
        yield daemons
    finally:
        daemons.down()
        subprocess.run(["umount", "-l", str(shm)], check=True)
        shutil.rmtree(daemons.root, ignore_errors=True)


def caps(host: IncusHarness, thing: Object) -> dict[str, list[int]]:
    """By kind of operation what the kernel lets through in a second, one number a device that has a cap."""
    found = {}
    for kind in ("read_bps", "write_bps", "read_iops", "write_iops"):
        lines = throttle(host, thing, kind).read_text().splitlines()
        found[kind] = [cap for line in lines if (cap := int(line.split()[1])) < NO_CAP]
    return found


def throttle(host: IncusHarness, thing: Object, kind: str) -> Path:
    """Where the kernel keeps them."""
    state = host.daemons.query(f"/1.0/instances/{thing.native_name}/state")
    groups = (line.split(":", 2) for line in Path(f"/proc/{state['pid']}/cgroup").read_text().splitlines())
    path = next(path for _, names, path in groups if names == "blkio")
    return Path(f"/sys/fs/cgroup/blkio{path}/blkio.throttle.{kind}_device")


def only(**said: int) -> dict[str, list[int]]:
    none: dict[str, list[int]] = {"read_bps": [], "write_bps": [], "read_iops": [], "write_iops": []}
    return none | {kind: [cap] for kind, cap in said.items()}


def root(host: IncusHarness, thing: Object) -> dict[str, str]:
    devices = host.daemons.query(f"/1.0/instances/{thing.native_name}")["devices"]
    return {key: value for key, value in devices["root"].items() if key.startswith("limits.")}


def hand(host: IncusHarness, thing: Object, *said: str, verb: str = "set", device: str = "root") -> None:
    host.daemons.client("config", "device", verb, thing.native_name, device, *said)


def written(host: IncusHarness, thing: Object, path: str, megabytes: int) -> float:
    """Seconds until so much is on disk."""
    began = time.monotonic()
    dd = ("dd", "if=/dev/zero", f"of={path}/big", "bs=1M", f"count={megabytes}", "conv=fsync")
    host.daemons.client("exec", thing.native_name, "--", *dd)
    return time.monotonic() - began


def held_up(host: IncusHarness, thing: Object, path: str) -> bool:
    """Ten megabytes at five a second. A `sync` of anybody's on this host, which other tests call, writes out unhindered
    what is not on the disk yet: then it is tried again."""
    return any(written(host, thing, path, 10) > 1.5 for _ in range(3))


async def test_caps_are_in_force_at_once_and_at_the_next_start(anywhere: IncusHarness) -> None:
    async with Scene(anywhere) as scene:
        wanted, _ = await made(scene, ioRead=None, ioWrite=None)
        await at_rest(scene, wanted, await scene.converge(wanted))
        calm = edited(anywhere, wanted, ioRead=20 * MI, ioWrite=10 * MI)
        found = await scene.there(scene.uid(wanted.ref))
        change = scene.change(calm, found)
        assert [step.verb for step in change.steps] == ["update"]
        assert {difference.manner for difference in change.differences} == {Manner.LIVE}
        await at_rest(scene, calm, await scene.run(change))


async def test_kernel_holds_what_git_says(host: IncusHarness, folder: IncusHarness) -> None:
    for each in (host, folder):
        async with Scene(each) as scene:
            wanted, found = await made(scene, ioRead=20 * MI, ioWrite=10 * MI)
            assert caps(each, found) == only(read_bps=20 * MI, write_bps=10 * MI)
            faster = edited(each, wanted, ioRead=30 * MI)
            await at_rest(scene, faster, await scene.converge(faster))
            assert caps(each, found) == only(read_bps=30 * MI, write_bps=10 * MI)
            each.daemons.client("restart", "--force", found.native_name)
            assert caps(each, found) == only(read_bps=30 * MI, write_bps=10 * MI)


async def test_what_is_synced_is_held_up_on_all_disks_of_the_pool(host: IncusHarness) -> None:
    async with Scene(host) as scene:
        disks = {"data": host.data_disk()}
        wanted, found = await made(scene, ioRead=None, ioWrite=5 * MI, disks=disks)
        assert held_up(host, found, "")
        assert held_up(host, found, "/data")
        unhurried = edited(host, wanted, ioWrite=None)
        await at_rest(scene, unhurried, await scene.converge(unhurried))
        assert written(host, found, "", 10) < 1.5


async def test_cap_that_leaves_git_is_lifted_from_what_runs(host: IncusHarness, folder: IncusHarness) -> None:
    """The servers leave it in the kernel until the next start."""
    for each in (host, folder):
        async with Scene(each) as scene:
            wanted, found = await made(scene, ioRead=20 * MI, ioWrite=10 * MI)
            hand(each, found, "limits.read", verb="unset")
            assert caps(each, found) == only(read_bps=20 * MI, write_bps=10 * MI), "what the servers do"
            unhurried = edited(each, wanted, ioRead=None, ioWrite=None)
            seen = await scene.there(scene.uid(wanted.ref))
            assert (seen.fields["ioRead"], seen.fields["ioWrite"]) == (20 * MI, 10 * MI)
            await at_rest(scene, unhurried, await scene.run(scene.change(unhurried, seen)))
            assert caps(each, found) == only()
            assert root(each, found) == {}


async def test_cap_by_hand_is_drift_and_healed(host: IncusHarness) -> None:
    async with Scene(host) as scene:
        wanted, found = await made(scene, ioRead=20 * MI, ioWrite=None)
        hand(host, found, "limits.read=7MiB", "limits.write=3MB")
        seen = await scene.there(scene.uid(wanted.ref))
        assert (seen.fields["ioRead"], seen.fields["ioWrite"]) == (7 * MI, 3 * 10**6)
        await at_rest(scene, wanted, await scene.run(scene.change(wanted, seen)))
        assert root(host, found) == {"limits.read": "20MiB"}
        assert caps(host, found) == only(read_bps=20 * MI)


async def test_cap_in_operations_is_drift_and_lifted(host: IncusHarness) -> None:
    async with Scene(host) as scene:
        wanted, found = await made(scene, ioRead=20 * MI, ioWrite=None)
        hand(host, found, "limits.read=100iops", "limits.write=50iops")
        assert caps(host, found)["read_iops"] == [100]
        seen = await scene.there(scene.uid(wanted.ref))
        assert (seen.fields["ioRead"], seen.fields["ioWrite"]) == ("100iops", "50iops")
        await at_rest(scene, wanted, await scene.run(scene.change(wanted, seen)))
        assert root(host, found) == {"limits.read": "20MiB"}
        assert caps(host, found) == only(read_bps=20 * MI)


async def test_one_cap_for_both_is_drift_and_healed(host: IncusHarness) -> None:
    async with Scene(host) as scene:
        wanted, found = await made(scene, ioRead=20 * MI, ioWrite=10 * MI)
        hand(host, found, "limits.max=5MiB")
        assert caps(host, found) == only(read_bps=5 * MI, write_bps=5 * MI)
        seen = await scene.there(scene.uid(wanted.ref))
        assert (seen.fields["ioRead"], seen.fields["ioWrite"]) == (5 * MI, 5 * MI)
        await at_rest(scene, wanted, await scene.run(scene.change(wanted, seen)))
        assert root(host, found) == {"limits.read": "20MiB", "limits.write": "10MiB"}
        assert caps(host, found) == only(read_bps=20 * MI, write_bps=10 * MI)


async def test_cap_on_a_disk_beside_the_root_is_told_and_taken_away(folder: IncusHarness) -> None:
    """Where they share a device the servers hold the average of both."""
    async with Scene(folder) as scene:
        disks = {"data": folder.data_disk()}
        wanted, found = await made(scene, ioRead=20 * MI, ioWrite=None, disks=disks)
        devices = folder.daemons.query(f"/1.0/instances/{found.native_name}")["devices"]
        name = next(name for name, device in devices.items() if device.get("path") == "/data")
        hand(folder, found, "limits.read=10MiB", device=name)
        assert caps(folder, found) == only(read_bps=15 * MI)
        seen = await scene.there(scene.uid(wanted.ref))
        assert seen.fields["extra"] == {f"disks.{name}.limits.read": "10MiB"}
        change = scene.change(wanted, seen)
        assert [step.verb for step in change.steps] == ["update"], "no restart"
        await at_rest(scene, wanted, await scene.run(change))
        assert caps(folder, found) == only(read_bps=20 * MI)


async def test_cap_of_a_profile_counts_and_git_overrides_it(host: IncusHarness) -> None:
    async with Scene(host) as scene:
        wanted, found = await made(scene, ioRead=None, ioWrite=10 * MI)
        profile = f"calm-{host.daemons.kind}"
        host.daemons.client("profile", "create", profile)
        inherited = ("root", "disk", "path=/", "pool=local", "limits.read=6MiB", "limits.write=10MiB", "size=120MiB")
        host.daemons.client("profile", "device", "add", profile, *inherited)
        host.daemons.client("profile", "assign", found.native_name, profile)
        hand(host, found, verb="remove")
        seen = await scene.there(scene.uid(wanted.ref))
        assert (seen.fields["ioRead"], seen.fields["ioWrite"]) == (6 * MI, 10 * MI)
        assert {difference.path for difference in scene.change(wanted, seen).differences} == {"/ioRead"}
        await at_rest(scene, wanted, await scene.run(scene.change(wanted, seen)))
        assert root(host, found) == {"limits.write": "10MiB"}
        assert caps(host, found) == only(write_bps=10 * MI)


@pytest.mark.parametrize(("file", "value"), [("read_bps", 7 * MI), ("write_bps", 0)])
async def test_cap_edited_in_the_kernel_is_seen_and_set_again(host: IncusHarness, file: str, value: int) -> None:
    async with Scene(host) as scene:
        wanted, found = await made(scene, ioRead=20 * MI, ioWrite=10 * MI)
        field = {"read_bps": "ioRead", "write_bps": "ioWrite"}[file]
        before: Any = found.fields[field]
        kept = throttle(host, found, file)
        kept.write_text(f"{kept.read_text().split()[0]} {value}")
        seen = await scene.there(scene.uid(wanted.ref))
        assert seen.fields.get(field) == (value or None)
        await at_rest(scene, wanted, await scene.run(scene.change(wanted, seen)))
        assert caps(host, found)[file] == [before]


async def test_weight_is_not_held_where_the_kernel_has_none_and_that_is_told(host: IncusHarness) -> None:
    async with Rehearsal(host) as life:
        (report,) = await life.observe()
        if "ioPriority" not in report.cannot:
            pytest.skip("NOT RUN: this kernel has weights for disks")
        assert report.cannot["ioPriority"] == "not held: its kernel has no weights for disks"
        assert report.facts["ioPriority"] == report.cannot["ioPriority"], "trueup get node shows it"
        life.want(host.image(), host.network(), host.machine(fresh_name("w"), ioPriority=300))
        plan = await life.converge()
        assert not plan.holds
        (report,) = await life.observe()
        (made,) = [thing for thing in report.objects if thing.kind == "Machine" and thing.marks is not None]
        assert made.fields["state"] == "running"
        config = host.daemons.query(f"/1.0/instances/{made.native_name}")["config"]
        assert "limits.disk.priority" not in config


async def test_weight_by_hand_that_keeps_a_machine_from_starting_is_told(host: IncusHarness) -> None:
    """The servers take it for what was never started, and then neither start it nor take any other change."""
    async with Scene(host) as scene:
        if "ioPriority" not in (await scene.look()).cannot:
            pytest.skip("NOT RUN: this kernel has weights for disks")
        await made(scene)
        image = host.daemons.query("/1.0/images?recursion=1")[0]["fingerprint"]
        name = fresh_name("heavy")
        host.daemons.client("init", image, name, "-c", "limits.disk.priority=3")
        (seen,) = [thing for thing in (await scene.look()).objects if thing.native_name == name]
        assert "ioPriority" not in seen.fields
        assert seen.fields["extra"] == {"limits.disk.priority": "3"}
        host.daemons.client("delete", name)


async def test_refusal_names_the_field(host: IncusHarness) -> None:
    """As where the server does not tell beforehand that its host cannot: a plan that says so all the same."""
    async with Scene(host) as scene:
        if "ioPriority" not in (await scene.look()).cannot:
            pytest.skip("NOT RUN: this kernel has weights for disks")
        wanted, found = await made(scene)
        heavy = edited(host, wanted, ioPriority=300)
        outcome = await scene.apply(scene.change(heavy, found).steps[0])
        assert outcome.status == "failed"
        assert outcome.reason.startswith("ioPriority: ")
        assert "blkio.weight" in outcome.reason
        assert "limits.disk.priority" not in host.daemons.query(f"/1.0/instances/{found.native_name}")["config"]


async def test_disk_with_no_block_device_behind_it_takes_no_cap(host: IncusHarness) -> None:
    """A folder in memory: of what runs the step fails, of what is made the start does."""
    with in_memory(host.daemons.kind) as daemons:
        harness = IncusHarness(daemons)
        async with Scene(harness) as scene:
            wanted, found = await made(scene, ioRead=None, ioWrite=None)
            capped = edited(harness, wanted, ioRead=20 * MI)
            outcome = await scene.apply(scene.change(capped, found).steps[0])
            assert outcome.status == "failed"
            assert outcome.reason.startswith("ioRead, ioWrite: there is no block device behind this disk: ")
            await at_rest(scene, wanted, await scene.converge(wanted))
            other = scene.fresh(ioRead=20 * MI)
            change = scene.change(other, None)
            *before, start = [await scene.apply(step) for step in change.steps if step.verb in ("create", "start")]
            assert [each.status for each in before] == ["applied"]
            assert start.status == "failed"
            assert start.reason.startswith("ioRead, ioWrite: there is no block device behind this disk: ")
        harness.close()
