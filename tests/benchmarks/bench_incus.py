"""The incus driver on a real Incus host, against bare calls of its API that do the same work.

Both use one daemon, one pool and one network in turn; a host that cannot have Incus says so. The rows against Ansible
take the `ansible-playbook` of the peers or the PATH, else they install one from PyPI, once (minutes, half a gigabyte).
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio

from reconciler.core.plan import Change
from reconciler.driver.watch import Watch
from reconciler.testing.scene import Scene
from tests.benchmarks import incus_ansible, incus_drain, incus_heal
from tests.benchmarks.incus_site import Bare, clear
from tests.benchmarks.rows import Measured, Row, tell
from tests.drivers.incus.daemons import Daemons, missing, running
from tests.drivers.incus.harness import IncusHarness

MACHINES, WORKERS, ROUNDS = 50, 4, 3
LISTS = (
    "/1.0",
    "/1.0/instances?recursion=1",
    "/1.0/networks?recursion=1",
    "/1.0/images?recursion=1",
    "/1.0/storage-pools?recursion=1",
)
"""What one look has to read: the bare floor."""


async def _carry_out(scene: Scene, changes: list[Change]) -> float:
    limit = anyio.Semaphore(WORKERS)

    async def one(change: Change) -> None:
        async with limit:
            for step in change.steps:
                outcome = await scene.driver.apply(step, scene.step_context())
                assert outcome.status == "applied", f"{step.id}: {outcome}"

    start = time.perf_counter()
    async with anyio.create_task_group() as group:
        for change in changes:
            group.start_soon(one, change)
    return time.perf_counter() - start


def _bare_create(harness: IncusHarness, fingerprint: str, first: int) -> float:
    def one(number: int) -> None:
        call = Bare(harness.daemons.socket())
        name = f"bare{number}"
        nic = {"type": "nic", "network": "net0", "name": "eth0", "ipv4.address": f"10.66.0.{150 + number - first}",
               "hwaddr": f"02:00:00:01:00:{number - first:02x}"}  # fmt: skip
        root = {"type": "disk", "path": "/", "pool": "local", "size": "120MiB",
                "limits.read": "200MiB", "limits.write": "100MiB"}  # fmt: skip
        config = {"limits.memory": "64MiB", "limits.cpu.allowance": "40ms/100ms", "limits.processes": "200"}
        call("POST", "/1.0/instances", {
            "name": name, "profiles": [], "config": config, "devices": {"root": root, "net0": nic},
            "source": {"type": "image", "fingerprint": fingerprint},
        })  # fmt: skip
        call("PUT", f"/1.0/instances/{name}/state", {"action": "start", "timeout": 30})

    start = time.perf_counter()
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(one, range(first, first + MACHINES)))
    return time.perf_counter() - start


def _measured(work: Callable[[Scene, IncusHarness], Awaitable[Measured]]) -> Measured:
    if why := missing("incus"):
        return Measured(None, why)

    async def run(harness: IncusHarness) -> Measured:
        async with Scene(harness) as scene:
            found = await work(scene, harness)
            scene.made.clear()  # all goes with the daemon
            return found

    with running("incus", "bm") as daemons:
        harness = IncusHarness(daemons)
        harness.node = type(harness.node)("inc", "incus", "", f"unix:{daemons.socket()}", nics={"app": ""})
        try:
            return anyio.run(run, harness)
        finally:
            harness.close()


async def _create(scene: Scene, harness: IncusHarness) -> Measured:
    times: dict[str, list[float]] = {"ours": [], "bare": []}
    fingerprint = harness.daemons.query("/1.0/images?recursion=1")[0]["fingerprint"]
    for turn in range(ROUNDS):
        tell(f"create and start {MACHINES}, round {turn + 1} of {ROUNDS}")
        times["bare"].append(await anyio.to_thread.run_sync(_bare_create, harness, fingerprint, turn * 1000))
        await anyio.to_thread.run_sync(clear, harness.daemons)
        changes = [scene.change(scene.fresh(), None) for _ in range(MACHINES)]
        times["ours"].append(await _carry_out(scene, changes))
        await anyio.to_thread.run_sync(clear, harness.daemons)
    mine, theirs = (statistics.median(times[side]) for side in ("ours", "bare"))
    return Measured(mine / theirs, f"{mine:.2f} s against {theirs:.2f} s, {MACHINES} machines, {WORKERS} at a time")


async def _look(scene: Scene, harness: IncusHarness) -> Measured:
    tell(f"making {MACHINES} machines")
    await _carry_out(scene, [scene.change(scene.fresh(), None) for _ in range(MACHINES)])
    call = Bare(harness.daemons.socket())
    times: dict[str, list[float]] = {"ours": [], "bare": []}
    for _ in range(15):
        start = time.perf_counter()
        for path in LISTS:
            call("GET", path)
        middle = time.perf_counter()
        await scene.look()
        times["bare"].append(middle - start)
        times["ours"].append(time.perf_counter() - middle)
    mine, theirs = (statistics.median(times[side]) for side in ("ours", "bare"))
    note = f"{mine * 1000:.0f} ms against {theirs * 1000:.0f} ms, {MACHINES} running machines"
    return Measured(mine / theirs, note)


async def _notice(scene: Scene, harness: IncusHarness) -> Measured:
    """From a change by the ordinary client to a report that shows it."""
    changes = [scene.change(scene.fresh(), None) for _ in range(10)]
    await _carry_out(scene, changes)
    send, receive = anyio.create_memory_object_stream[float](1000)
    watch = scene.driver
    assert isinstance(watch, Watch)

    async def listen() -> None:
        async for _ in watch.watch():
            await send.send(time.perf_counter())

    seconds: list[float] = []
    async with anyio.create_task_group() as group:
        group.start_soon(listen)
        await receive.receive()
        await anyio.sleep(0.5)
        for turn in range(30):
            found = await scene.there(changes[turn % 10].uid)
            while receive.statistics().current_buffer_used:
                await receive.receive()
            limit = 70 + turn
            path = f"/1.0/instances/{found.native_name}"
            change = {"config": {"limits.memory": f"{limit}MiB"}}
            await anyio.to_thread.run_sync(harness.daemons.query, path, "PATCH", change)
            done = time.perf_counter()
            while (await scene.there(changes[turn % 10].uid)).fields["memory"] != limit * 2**20:
                await receive.receive()
            await receive.receive()
            await scene.look()
            seconds.append(time.perf_counter() - done)
        group.cancel_scope.cancel()
    return Measured(_late(seconds), f"median {statistics.median(seconds) * 1000:.0f} ms, 30 changes by hand")


def _hosted(tag: str, work: Callable[[Daemons, Path], Measured], **host: Any) -> Measured:
    """On a host, or a cluster, of its own, with a folder to write in."""
    if why := missing("incus"):
        return Measured(None, why)
    with tempfile.TemporaryDirectory() as folder, running("incus", tag, **host) as daemons:
        return work(daemons, Path(folder))


def _heal(daemons: Daemons, folder: Path) -> Measured:
    seconds = sorted(incus_heal.healed(daemons, folder, 21))
    return Measured(
        _late(seconds), f"median {statistics.median(seconds) * 1000:.0f} ms, {len(seconds)} changes by hand"
    )


def _late(seconds: list[float]) -> float:
    """95 of 100 are no later."""
    return sorted(seconds)[int(len(seconds) * 0.95)]


def _drain(daemons: Daemons, folder: Path) -> Measured:
    """Whole processes: `trueup apply` of a drain, against `incus cluster evacuate`."""
    ours, theirs, moved = incus_drain.compare(daemons, folder, 60)
    return Measured(ours / theirs, f"{ours:.1f} s against {theirs:.1f} s, {moved} of 60 machines on 3 members")


def _against_ansible(work: Callable[[str], Measured]) -> Measured:
    """The installation comes first: nothing waits for it with daemons running."""
    if why := missing("incus"):
        return Measured(None, why)
    try:
        return work(incus_ansible.program())
    except incus_ansible.NotInstalled as error:
        return Measured(None, str(error))


def _plan_against_ansible(ansible: str) -> Measured:
    def work(daemons: Daemons, folder: Path) -> Measured:
        ours, fresh, theirs = incus_ansible.nothing_to_do(daemons, folder, MACHINES, ansible)
        note = f"{ours:.2f} s against {theirs:.1f} s, 1/{theirs / ours:.0f}, {MACHINES} running machines"
        return Measured(ours / theirs, f"{note}; {fresh:.2f} s where no plan went before")

    return _hosted("ba", work)


def _create_against_ansible(ansible: str) -> Measured:
    def work(daemons: Daemons, folder: Path) -> Measured:
        ours, theirs = incus_ansible.created(daemons, folder, MACHINES, ansible)
        note = f"{ours:.1f} s against {theirs:.1f} s, 1/{theirs / ours:.1f}, {MACHINES} machines"
        return Measured(ours / theirs, f"{note}, network and image included")

    return _hosted("bc", work)


ROWS = [
    Row("incus-look", 2.0, "×", lambda: _measured(_look), "look at 50 running machines, against five bare lists"),
    Row(
        "incus-create", 1.15, "×", lambda: _measured(_create), "create and start 50, against bare API calls", long=True
    ),
    Row("incus-notice", 0.3, "s", lambda: _measured(_notice), "a change by hand is seen, 95 of 100"),
    Row("incus-heal", 1.0, "s", lambda: _hosted("bh", _heal), "a change by hand is healed by the loop, 95 of 100"),
    Row(
        "incus-drain", 2.0, "×", lambda: _hosted("bd", _drain, members=3, pool="dir"),
        "a member of three emptied by a drain, against evacuate", long=True,
    ),
    Row(
        "incus-plan-vs-ansible", 1 / 60, "×", lambda: _against_ansible(_plan_against_ansible),
        "`trueup plan`, nothing to do on 50 running machines, against a playbook", long=True,
    ),
    Row(
        "incus-create-vs-ansible", 1 / 3, "×", lambda: _against_ansible(_create_against_ansible),
        "`trueup apply` makes 50 machines, against a playbook", long=True,
    ),
]  # fmt: skip
