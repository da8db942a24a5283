"""The incus driver on a real Incus host, against bare calls of its API that do the same work.

Both use one daemon, one pool and one network in turn; a host that cannot have Incus says so. The row against Ansible
takes the `ansible-playbook` of the PATH, else it installs one from PyPI into an environment of its own for as long
as it runs (a minute and half a gigabyte).
"""

from __future__ import annotations

import http.client
import json
import socket
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio

from reconciler.core.plan import Action, Change
from reconciler.driver.watch import Watch
from reconciler.testing.scene import Scene
from tests.benchmarks.rows import Measured, Row
from tests.drivers.incus.daemons import missing, running
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


class Bare:
    """Calls of the API as short as they can be: one kept connection, the standard library."""

    def __init__(self, path: str) -> None:
        self._connection = http.client.HTTPConnection("node")
        self._connection.sock = socket.socket(socket.AF_UNIX)
        self._connection.sock.connect(path)

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        self._connection.request(method, path, None if body is None else json.dumps(body))
        answer = json.loads(self._connection.getresponse().read())
        if answer["type"] == "async":
            answer = self("GET", f"{answer['operation'].partition('?')[0]}/wait")
            assert answer["status_code"] == 200, answer
            return answer
        assert answer["type"] == "sync", answer
        return answer["metadata"]


async def _carry_out(scene: Scene, changes: list[Change], **context: Any) -> float:
    limit = anyio.Semaphore(WORKERS)

    async def one(change: Change) -> None:
        async with limit:
            for step in change.steps:
                outcome = await scene.driver.apply(step, scene.step_context(**context))
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
        root = {"type": "disk", "path": "/", "pool": "local", "size": "120MiB"}
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


def _bare_remove(harness: IncusHarness, first: int) -> None:
    call = Bare(harness.daemons.socket())
    for number in range(first, first + MACHINES):
        call("PUT", f"/1.0/instances/bare{number}/state", {"action": "stop", "timeout": -1, "force": True})
        call("DELETE", f"/1.0/instances/bare{number}")


def _measured(work: Callable[[Scene, IncusHarness], Awaitable[Measured]]) -> Measured:
    if why := missing("incus"):
        return Measured(None, why)

    async def run(harness: IncusHarness) -> Measured:
        async with Scene(harness) as scene:
            return await work(scene, harness)

    with running("incus", "bm", second=90) as daemons:
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
        times["bare"].append(await anyio.to_thread.run_sync(_bare_create, harness, fingerprint, turn * 1000))
        await anyio.to_thread.run_sync(_bare_remove, harness, turn * 1000)
        changes = [scene.change(scene.fresh(), None) for _ in range(MACHINES)]
        times["ours"].append(await _carry_out(scene, changes))
        await _clear(scene)
    mine, theirs = (statistics.median(times[side]) for side in ("ours", "bare"))
    return Measured(mine / theirs, f"{mine:.2f} s against {theirs:.2f} s, {MACHINES} machines, {WORKERS} at a time")


async def _clear(scene: Scene) -> None:
    for action, later in ((Action.DESTROY, 0.0), (Action.PURGE, 1e9)):
        there = [each for each in (await scene.look()).objects if each.kind == "Machine" and each.marks]
        await _carry_out(scene, [scene.removal(each, action) for each in there], now=scene.now + later)


async def _look(scene: Scene, harness: IncusHarness) -> Measured:
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
    await _clear(scene)
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
    await _clear(scene)
    late = sorted(seconds)[int(len(seconds) * 0.95)]
    return Measured(late, f"median {statistics.median(seconds) * 1000:.0f} ms, 30 changes by hand")


def _ansible() -> Measured:
    """Finding that 50 containers need nothing: one loop of a playbook, against the whole command `trueup plan`."""
    from tests.benchmarks.incus_ansible import NotInstalled, compare, program

    if why := missing("incus"):
        return Measured(None, why)
    with tempfile.TemporaryDirectory() as folder:
        try:
            ansible = program(Path(folder))
        except NotInstalled as error:
            return Measured(None, str(error))
        with running("incus", "ba", second=90) as daemons:
            ours, theirs = compare(daemons, Path(folder), MACHINES, ansible)
    return Measured(ours / theirs, f"{ours:.2f} s against {theirs:.2f} s, {MACHINES} running machines, nothing to do")


def _drain() -> Measured:
    """Whole processes: `trueup apply` of a drain, against `incus cluster evacuate`."""
    from tests.benchmarks.incus_drain import compare

    if why := missing("incus"):
        return Measured(None, why)
    with (
        running("incus", "bd", members=3, pool="dir", second=90) as daemons,
        tempfile.TemporaryDirectory() as folder,
    ):
        ours, theirs, moved = compare(daemons, Path(folder), 60)
    return Measured(ours / theirs, f"{ours:.1f} s against {theirs:.1f} s, {moved} of 60 machines on 3 members")


ROWS = [
    Row("incus-look", 2.0, "×", lambda: _measured(_look), "look at 50 running machines, against five bare lists"),
    Row(
        "incus-create", 1.15, "×", lambda: _measured(_create), "create and start 50, against bare API calls", long=True
    ),
    Row("incus-notice", 0.3, "s", lambda: _measured(_notice), "a change by hand is seen, 95 of 100"),
    Row("incus-drain", 2.0, "×", _drain, "a member of three emptied by a drain, against evacuate", long=True),
    Row("incus-ansible", 1 / 60, "×", _ansible, "nothing to do on 50 machines, against Ansible", long=True),
]
