"""The local driver on real zones, against a bare shell loop that does the same work (zones.sh).

Both have a zfs-fuse and a pool of their own; rounds are interleaved. A host that cannot run zones says so.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio

from drivers.local import images, unusable
from drivers.local.storage.choose import unusable as storage_unusable
from reconciler.core.observed import Object
from reconciler.core.plan import Action, Change
from reconciler.testing.scene import Scene
from tests.benchmarks.rows import Measured, Row
from tests.drivers.local.hand import Hand, LocalHarness

ZONES, PARALLEL, ROUNDS = 50, 8, 3
_SCRIPT = str(Path(__file__).with_name("zones.sh"))


class Bare:
    """The shell loop."""

    def __init__(self, folder: Path) -> None:
        self._environment = {**os.environ, "Z": str(folder)}

    def __call__(self, *words: object) -> float:
        """Seconds that it took."""
        start = time.perf_counter()
        argv = [_SCRIPT, *map(str, words)]
        done = subprocess.run(argv, env=self._environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{words}: {done.stderr[-500:]}"
        return time.perf_counter() - start


class Bench:
    """Our side: the driver with a scene to make changes in."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene

    async def carry_out(self, changes: list[Change], **context: Any) -> float:
        limit = anyio.Semaphore(PARALLEL)

        async def one(change: Change) -> None:
            async with limit:
                for step in change.steps:
                    outcome = await self.scene.driver.apply(step, self.scene.step_context(**context))
                    assert outcome.status == "applied", f"{step.id}: {outcome}"

        start = time.perf_counter()
        async with anyio.create_task_group() as group:
            for change in changes:
                group.start_soon(one, change)
        return time.perf_counter() - start

    async def create(self) -> float:
        return await self.carry_out([self.scene.change(self.scene.fresh(), None) for _ in range(ZONES)])

    async def machines(self) -> list[Object]:
        return [each for each in (await self.scene.look()).objects if each.kind == "Machine" and each.marks]

    async def remove(self, action: Action, **context: Any) -> float:
        return await self.carry_out([self.scene.removal(each, action) for each in await self.machines()], **context)


def _measured(work: Callable[[Bench, Bare], Awaitable[Measured]]) -> Measured:
    reason = unusable() or storage_unusable("zfs-fuse")
    if reason:
        return Measured(None, reason)

    async def run() -> Measured:
        with tempfile.TemporaryDirectory(prefix="trueup-bench-", dir="/var/tmp") as folder:
            hand, bare = Hand(Path(folder) / "ours", size=8 << 30), Bare(Path(folder) / "bare")
            bare("up", "8G")
            try:
                async with Scene(LocalHarness(hand)) as scene:
                    copy = Path(folder) / "image"
                    copy.mkdir()
                    images.fill(copy, {"busybox": "static"}, None, [])
                    bare("image", copy)
                    return await work(Bench(scene), bare)
            finally:
                bare("down")
                await hand.open().tear_down()

    return anyio.run(run)


async def _life(ours: Bench, bare: Bare) -> Measured:
    """Create and start, then stop, snapshot and put into quarantine; purges between rounds are not counted."""
    times: dict[str, list[float]] = {"ours": [], "bare": []}
    for _ in range(ROUNDS):
        times["bare"].append(bare("create", ZONES, PARALLEL) + bare("destroy", ZONES, PARALLEL))
        bare("purge", ZONES)
        times["ours"].append(await ours.create() + await ours.remove(Action.DESTROY))
        await ours.remove(Action.PURGE, now=ours.scene.now + 1e9)
    mine, theirs = (statistics.median(times[side]) for side in ("ours", "bare"))
    return Measured(mine / theirs, f"{mine:.2f} s against {theirs:.2f} s, {ZONES} zones, {PARALLEL} at a time")


async def _look(ours: Bench, bare: Bare) -> Measured:
    await ours.create()
    bare("create", ZONES, PARALLEL)
    await ours.scene.look()
    times: dict[str, list[float]] = {"ours": [], "bare": []}
    for _ in range(15):
        start = time.perf_counter()
        await ours.scene.look()
        times["ours"].append(time.perf_counter() - start)
        times["bare"].append(bare("observe", ZONES))
    await ours.remove(Action.DESTROY)
    await ours.remove(Action.PURGE, now=ours.scene.now + 1e9)
    mine, theirs = (statistics.median(times[side]) for side in ("ours", "bare"))
    return Measured(mine / theirs, f"{mine * 1000:.0f} ms against {theirs * 1000:.0f} ms, {ZONES} zones")


async def _resize(ours: Bench, bare: Bare) -> Measured:
    """From the driver being handed the step until the kernel's files hold the new values, one zone among 50."""
    await ours.create()
    scene, harness = ours.scene, ours.scene.harness
    assert isinstance(harness, LocalHarness)
    times: list[float] = []
    for turn in range(9):
        found = (await ours.machines())[0]
        assert found.marks is not None
        wanted = harness.machine(found.fields["hostname"], **harness.size((turn + 1) % 2))
        change = scene.change(wanted, found)
        assert [step.verb for step in change.steps] == ["update"]
        file = harness.hand.cgroup(found.native_name, "memory", "memory.limit_in_bytes")
        start = time.perf_counter()
        await ours.carry_out([change])
        assert int(file.read_text()) == change.after["memory"]  # type: ignore[index]
        times.append(time.perf_counter() - start)
    await ours.remove(Action.DESTROY)
    await ours.remove(Action.PURGE, now=scene.now + 1e9)
    return Measured(statistics.median(times), "memory, swap, cpu, shares, threads and disk at once; no restart")


ROWS = [
    Row(
        "local-life",
        1.25,
        "×",
        lambda: _measured(_life),
        "create and start 50 zones, destroy them to quarantine: the driver against a bare shell loop",
    ),
    Row("local-observe", 2.0, "×", lambda: _measured(_look), "observe 50 zones against `zfs get` and reading cgroups"),
    Row("local-resize", 0.3, "s", lambda: _measured(_resize), "resize one zone of 50 live, read back from the cgroup"),
]
