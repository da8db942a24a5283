"""What people do beside us: hints that something changed, who did it, and getting into a machine."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import anyio
import anyio.to_thread
import pytest

from drivers.incus import acl
from reconciler.core.refs import Target
from reconciler.core.values import plain
from reconciler.driver.console import Console, ConsoleUnavailable
from reconciler.driver.watch import Watch
from reconciler.testing.conformance.expect import made
from reconciler.testing.harness import resource
from reconciler.testing.rehearsal import Rehearsal
from reconciler.testing.scene import Scene, edited, fresh_name
from tests.drivers.incus.harness import MI, IncusHarness

pytestmark = [pytest.mark.anyio, pytest.mark.real]


class Hints:
    """What a driver tells of changes, as it comes."""

    def __init__(self, watch: object) -> None:
        assert isinstance(watch, Watch)
        self._watch = watch
        self._send, self._receive = anyio.create_memory_object_stream[tuple[float, Target]](1000)

    async def __call__(self) -> None:
        async for target in self._watch.watch():
            await self._send.send((anyio.current_time(), target))

    async def next(self) -> tuple[float, Target]:
        with anyio.fail_after(5):
            return await self._receive.receive()

    def close(self) -> None:
        self._send.close()
        self._receive.close()


async def test_change_by_hand_is_told_at_once_with_who_did_it(host: IncusHarness) -> None:
    async with Scene(host) as scene, anyio.create_task_group() as group:
        wanted, found = await made(scene)
        hints = Hints(scene.driver)
        group.start_soon(hints)
        await hints.next()
        await anyio.sleep(0.8)
        by_hand = ("config", "set", found.native_name, "limits.memory=80MiB")
        await anyio.to_thread.run_sync(lambda: host.daemons.client(*by_hand))
        done = anyio.current_time()
        when, target = await hints.next()
        while when < done - 0.3:
            when, target = await hints.next()
        assert when - done < 0.3
        assert target == host.target
        seen = await scene.there(scene.uid(wanted.ref))
        assert seen.fields["memory"] == 80 * MI
        named = {"incus": "root at the server's socket", "lxd": "somebody whom the server does not name"}
        assert seen.culprit == f"{named[host.daemons.kind]} (instance-updated)"
        await scene.run(scene.change(wanted, seen))
        await hints.next()
        assert (await scene.there(scene.uid(wanted.ref))).culprit is None, "the last word is ours"
        group.cancel_scope.cancel()
    hints.close()


async def test_what_we_do_ourselves_has_no_culprit(host: IncusHarness) -> None:
    async with Scene(host) as scene, anyio.create_task_group() as group:
        hints = Hints(scene.driver)
        group.start_soon(hints)
        await hints.next()
        wanted, _ = await made(scene)
        await scene.converge(edited(host, wanted, memory=96 * MI))
        await scene.converge(host.network(1))
        await scene.converge(host.image(1))
        await hints.next()
        await anyio.sleep(0.3)
        told = {thing.native_name: thing.culprit for thing in (await scene.look()).objects if thing.marks is not None}
        assert told == dict.fromkeys(told)
        assert len(told) >= 5

        # Whose rules or forwards are changed by hand, that network is.
        native = (await scene.there(scene.uid(host.network(1).ref))).native_name
        host.daemons.client("network", "forward", "create", native, "192.0.2.78")
        await hints.next()
        await anyio.sleep(0.3)
        assert "at the server's socket (network-forward-created)" in str(
            (await scene.there(scene.uid(host.network(1).ref))).culprit
        )
        host.daemons.client("network", "forward", "delete", native, "192.0.2.78")
        group.cancel_scope.cancel()
    hints.close()


async def test_who_edits_the_list_of_a_firewall_rule_is_named_with_its_network(host: IncusHarness) -> None:
    """The object is the server's, and a part of our network: it is the network that has drifted, and by whose hand."""
    async with Rehearsal(host) as life, anyio.create_task_group() as group:
        behind = [{"networks": [host.network(1).ref], "primary": True}]
        machine = host.machine(fresh_name("fa"), nics=behind)
        rule = {"from": None, "to": [machine.ref], "allow": ["tcp/80"]}
        body = {**plain(host.network(1).body), "firewall": [rule]}
        guarded = resource(host.network(1).ref, body, parties=(machine.ref,))
        life.want(host.image(), guarded, machine)
        await life.converge()
        hints = Hints(life.driver)
        group.start_soon(hints)
        await hints.next()
        await anyio.sleep(0.8)
        (report,) = await life.observe()
        (native,) = [each.native_name for each in report.objects if each.marks and each.marks.ref == guarded.ref]
        by_hand = ("network", "acl", "rule", "add", acl.name_of_acl(native), "ingress", "action=allow")
        await anyio.to_thread.run_sync(lambda: host.daemons.client(*by_hand))
        done = anyio.current_time()
        while (await hints.next())[0] < done - 0.3:
            pass
        (report,) = await life.observe()
        (seen,) = [each for each in report.objects if each.marks and each.marks.ref == guarded.ref]
        assert seen.fields["firewall"] == acl.CHANGED
        assert seen.culprit == "root at the server's socket (network-acl-updated)"
        plan = await life.converge()
        assert [(change.ref, step.verb) for change in plan.changes for step in change.steps] == [
            (guarded.ref, "update")
        ]
        (report,) = await life.observe()
        assert [each.culprit for each in report.objects if each.native_name == native] == [None]
        life.want(host.image(), host.network(1), machine)
        await life.converge()
        group.cancel_scope.cancel()
    hints.close()


_RUN = """
import json, sys, anyio
from drivers.incus import DRIVER
from reconciler.core.desired import NodeWant
async def main(address, projects, uid, argv):
    driver = DRIVER.open(NodeWant("inc", "incus", "", address, projects=projects), {})
    code = await (driver.exec(uid, argv) if argv else driver.console(uid)) or 0
    await driver.close()
    return code
sys.exit(anyio.run(main, *json.loads(sys.argv[1])))
"""


async def test_command_runs_inside_on_our_own_streams(anywhere: IncusHarness) -> None:
    async with Scene(anywhere) as scene:
        _, found = await made(scene)
        assert found.marks is not None
        script = "read line; echo got $line; echo bad >&2; exit 7"
        said = json.dumps([anywhere.node.address, anywhere.node.projects, found.marks.uid, ["sh", "-c", script]])
        done = await anyio.run_process(
            [sys.executable, "-c", _RUN, said],
            input=b"hello\n",
            check=False,
            cwd=Path.cwd(),
            env={**os.environ, "PYTHONPATH": "."},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert (done.returncode, done.stdout, done.stderr) == (7, b"got hello\n", b"bad\n")


@contextmanager
def _typing(command: list[str]) -> Iterator[IO[bytes]]:
    """What the command says, for as long as it is read."""
    with subprocess.Popen(command, stdout=subprocess.PIPE) as typing:
        assert typing.stdout is not None
        yield typing.stdout
        typing.kill()


async def test_command_that_ends_before_its_input_does_is_no_failure(anywhere: IncusHarness) -> None:
    async with Scene(anywhere) as scene:
        _, found = await made(scene)
        assert found.marks is not None
        said = json.dumps(
            [
                anywhere.node.address,
                anywhere.node.projects,
                found.marks.uid,
                ["sh", "-c", "exec <&-; echo said; exit 3"],
            ]
        )
        for endless in (["yes"], ["true"], ["sleep", "0.2"]):
            with _typing(endless) as stdin:
                done = await anyio.run_process(
                    [sys.executable, "-c", _RUN, said],
                    stdin=stdin,
                    check=False,
                    cwd=Path.cwd(),
                    env={**os.environ, "PYTHONPATH": "."},
                )
            assert (done.returncode, done.stdout, done.stderr) == (3, b"said\n", b""), (
                f"{endless}: {done.stderr.decode()}"
            )


async def test_stopped_machine_gives_no_console_and_says_why(anywhere: IncusHarness) -> None:
    async with Scene(anywhere) as scene:
        _, found = await made(scene, state="stopped")
        assert found.marks is not None
        assert isinstance(scene.driver, Console)
        with pytest.raises(ConsoleUnavailable, match="is stopped"):
            await scene.driver.exec(found.marks.uid, ["true"])


async def test_console_is_typed_into_and_left(anywhere: IncusHarness) -> None:
    async with Scene(anywhere) as scene:
        _, found = await made(scene)
        assert found.marks is not None
        said = json.dumps([anywhere.node.address, anywhere.node.projects, found.marks.uid, []])
        ours, theirs = pty.openpty()
        os.set_blocking(ours, False)
        await anywhere.hand_shell(
            found, "(while read it; do echo got $it; done </dev/console >/dev/console) >/dev/null 2>&1 &"
        )
        async with await anyio.open_process(
            [sys.executable, "-c", _RUN, said], stdin=theirs, stdout=theirs, env={**os.environ, "PYTHONPATH": "."}
        ) as typing:
            os.close(theirs)
            seen = b""
            with anyio.fail_after(20):
                while b"got hello" not in seen:
                    os.write(ours, b"hello\n")
                    await anyio.sleep(0.3)
                    with suppress(BlockingIOError):
                        seen += os.read(ours, 4096)
                os.write(ours, b"\x01q")
                assert await typing.wait() == 0
        os.close(ours)


async def test_what_a_machine_wrote_to_its_console_can_be_read(anywhere: IncusHarness) -> None:
    async with Scene(anywhere) as scene:
        _, found = await made(scene)
        assert found.marks is not None
        await anywhere.hand_shell(found, "echo one two > /dev/console")
        assert isinstance(scene.driver, Console)
        assert "one two" in await scene.driver.logs(found.marks.uid, 5)
