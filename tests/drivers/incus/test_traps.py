"""What these servers do that nobody would expect, each against the real daemon, and what the driver makes of it.

The traps that are known, and where each is tried (T: here, H: test_harm, P: test_people, R: test_roundtrip,
V: test_volumes, D: test_paces, F: test_firewall, L: test_tls, A: test_adopt, K: the conformance kit):

| trap | where |
| --- | --- |
| a forwarded operation's URL has a query | T test_operation_forwarded_with_a_query_is_waited_for |
| errors come at three places | T test_value_that_the_server_refuses… |
| a PATCH takes no device away, a PUT must echo volatile keys | T test_live_key…, K volumes that outlive machines |
| start of what runs, stop of what is stopped fail | T test_starting_what_somebody_started_is_done_already |
| an address that another has is accepted, then neither starts | T test_address_of_another…, …that_somebodys_machine… |
| a stale or missing ETag | T test_change_between_reading_and_writing…, …that_breaks_the_precondition… |
| a tag changes at every start and stop | T test_no_report_and_no_plan_bears_a_tag… |
| LXD tells of an instance and takes it back, or keeps its volume alone | H …the_middle_of_a_step…, test_leftovers |
| an open shell is an operation that runs | T test_shell_that_somebody_has_open… |
| keys that silently wait for a restart | T test_key_that_waits_for_a_restart…, test_tables |
| a half-failed change takes a NIC away | T test_interface_that_a_failed_change_took_away… |
| a quota below what is used locks the machine out | T test_quota_below_what_is_used_is_refused_beforehand |
| a limit edited in the kernel is not seen, nor set again | T test_limit_edited_in_the_kernel… |
| a cap on reads or writes stays in the kernel when its key goes | D test_cap_that_leaves_git_is_lifted… |
| operations and bytes are two caps in the kernel and one key | D test_cap_in_operations… |
| a restored snapshot rolls the configuration back | T test_restored_snapshot_rolls_the_configuration_back… |
| null against "", inherited and automatic values | T test_null_and_empty_and_inherited_values…, R |
| marks come with copies, can be forged | T test_forged_marks_do_not_count, V test_copy_of_a_volume…, K copied marks |
| neither running nor stopped (frozen) | T test_frozen_machine_is_neither… |
| a guest that ignores its shutdown | T test_machine_that_ignores_its_shutdown… |
| a daemon that dies while it creates leaves a record without a disk | H test_daemon_killed_in_the_middle… |
| unknown fields are ignored, an empty name makes a random one | T test_name_that_the_document_does_not_give… |
| an ACL refuses before it allows | F test_what_no_rule_names_stays_open…, K rules |
| lists block, instances are dumb, while a member is lately gone | H test_member_cut_off…, test_machine_of_a_member… |
| a leader dies; a quorum is lost | H test_leader_killed…, test_without_a_quorum… |
| events are not replayed, `instance-updated` has no difference | P test_change_by_hand…, test_loop |
| LXD names no culprit of an operation | P test_change_by_hand_is_told_at_once_with_who_did_it |
| a machine whose start failed is told to run for a moment | T test_start_that_fails_is_a_failure… |
| a member that Incus moves a machine away from holds its addresses for it | K moves, V test_machine_whose_move… |
| a network's name is an interface's: 15 characters | T test_network_of_a_long_name… |

Not tried: overlapping subnets (refused while the tree is loaded, tests/edge/load), pools (not managed), VMs that run.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from drivers.incus.api import Api
from drivers.incus.transport import Identity, connect
from reconciler.core.observed import Object
from reconciler.core.plan import Action, Manner
from reconciler.core.refs import Ref
from reconciler.core.values import find, plain
from reconciler.testing.conformance.expect import at_rest, made, refused
from reconciler.testing.harness import resource
from reconciler.testing.rehearsal import Rehearsal
from reconciler.testing.scene import Scene, edited, fresh_name
from tests.drivers.incus.harness import MI, IncusHarness

pytestmark = [pytest.mark.anyio, pytest.mark.real]


def _instance(host: IncusHarness, thing: Object) -> dict[str, Any]:
    found: dict[str, Any] = host.daemons.query(f"/1.0/instances/{thing.native_name}")
    return found


async def test_query_is_not_lost_on_the_way(host: IncusHarness) -> None:
    async with Scene(host) as scene:
        await made(scene)
        api = await scene.driver.node.api()  # type: ignore[attr-defined]
        listed = await api.get("/1.0/instances", recursion="1")
        assert all(isinstance(each, dict) for each in listed)


async def test_operation_forwarded_with_a_query_is_waited_for(host: IncusHarness) -> None:
    async with Scene(host) as scene:
        _, found = await made(scene)
        api = await scene.driver.node.api()  # type: ignore[attr-defined]
        begun = await api.begin(
            f"/1.0/instances/{found.native_name}/exec",
            {"command": ["sleep", "0.4"], "wait-for-websocket": False, "interactive": False},
        )
        done = await api.wait(f"/1.0/operations/{begun.id}?project=default")
        assert (done.metadata or {}).get("return") == 0


async def test_value_that_the_server_refuses_fails_in_its_words_and_changes_nothing(host: IncusHarness) -> None:
    async with Scene(host) as scene:
        wanted, found = await made(scene)
        absurd = edited(host, wanted, memory=1024)
        (update,) = scene.change(absurd, found).steps
        outcome = await refused(scene, update)
        assert outcome.status == "failed"
        assert outcome.reason


async def test_address_of_another_machine_is_refused_before_the_server_takes_it(host: IncusHarness) -> None:
    """It would be accepted, and then neither of the two would start."""
    async with Scene(host) as scene:
        wanted, found = await made(scene)
        address = scene.context(wanted).addresses[0]
        other = scene.fresh()
        scene.addresses[other.ref, address.network] = scene.addresses[wanted.ref, address.network]
        create = scene.change(other, None).steps[0]
        fields = {**create.args["fields"]}
        fields["nics"] = {"net0": {**fields["nics"]["net0"], "mac": "02:00:00:00:00:99"}}
        outcome = await refused(scene, type(create)(**_with(create, args={**create.args, "fields": fields})))
        assert found.native_name in outcome.reason
        assert address.ip in outcome.reason


async def test_address_that_somebodys_machine_has_is_given_to_nobody_by_the_plan(host: IncusHarness) -> None:
    async with Rehearsal(host) as life:
        ground = (host.image(), host.network(), host.machine(fresh_name("d")))
        life.want(*ground)
        await life.converge()
        machine = host.machine(fresh_name("d"))
        life.want(*ground, machine)
        (create,) = (await life.plan()).changes
        address = create.addresses[0].ip
        name = await host.hand_unmanaged(fresh_name("theirs"))
        host.daemons.client("config", "device", "add", name, "eth0", "nic", "network=net0", f"ipv4.address={address}")
        (create,) = (await life.plan()).changes
        assert create.addresses[0].ip != address
        named = msgspec.structs.replace(machine.nics[0], ip=address)
        life.want(*ground, msgspec.structs.replace(machine, nics=(named,), digest=f"{machine.digest} {address}"))
        plan = await life.plan()
        assert not plan.changes
        (hold,) = [hold for hold in plan.holds if hold.ref == machine.ref]  # others are of what tests before left
        assert hold.sentence == f"{address} is in use on inc by {name}, which is not managed"
        host.daemons.client("delete", name)
        life.want(*ground)


def _with(step: Any, **changes: Any) -> dict[str, Any]:
    return {name: getattr(step, name) for name in step.__struct_fields__} | changes


async def test_starting_what_somebody_started_is_done_already(host: IncusHarness) -> None:
    async with Scene(host) as scene:
        wanted, found = await made(scene)
        for state in ("stopped",):
            wanted = edited(host, wanted, state=state)
            await scene.converge(wanted)
        running = edited(host, wanted, state="running")
        change = scene.change(running, await scene.there(scene.uid(wanted.ref)))
        host.daemons.client("start", found.native_name)
        for step in change.steps:
            assert (await scene.apply(step)).status in ("applied", "unchanged", "deferred")
        await at_rest(scene, running, await scene.converge(running))


async def test_start_that_fails_is_a_failure_whatever_the_server_says_for_a_moment(host: IncusHarness) -> None:
    async with Scene(host) as scene:
        wanted, found = await made(scene)
        stopped = edited(host, wanted, state="stopped")
        await scene.converge(stopped)
        host.daemons.client("config", "set", found.native_name, "limits.memory=4KiB")
        starved = edited(host, wanted, memory=4096)
        change = scene.change(starved, await scene.there(scene.uid(wanted.ref)))
        outcomes = [(step.verb, await scene.apply(step)) for step in change.steps if step.verb == "start"]
        assert [(verb, outcome.status) for verb, outcome in outcomes] == [("start", "failed")]
        await anyio.sleep(1)
        assert (await scene.there(scene.uid(wanted.ref))).fields["state"] == "stopped"


async def test_interface_that_a_failed_change_took_away_comes_back_by_a_restart(
    host: IncusHarness,
) -> None:
    async with Scene(host) as scene:
        wanted, found = await made(scene)
        link = _instance(host, found)["config"]["volatile.net0.host_name"]
        host.daemons.inside("ip", "link", "del", link)
        seen = await scene.there(scene.uid(wanted.ref))
        assert "nics" not in seen.fields
        change = scene.change(wanted, seen)
        assert [difference.manner for difference in change.differences] == [Manner.STOPPED]
        assert [step.verb for step in change.steps] == ["stop", "configure", "start"]
        await scene.run(change)
        await at_rest(scene, wanted, change)


async def test_key_that_waits_for_a_restart_is_seen_and_its_removal_restarts(host: IncusHarness) -> None:
    """The server takes it without a word, and it is not in force."""
    async with Scene(host) as scene:
        wanted, found = await made(scene)
        host.daemons.client("config", "set", found.native_name, "security.idmap.isolated=true")
        seen = await scene.there(scene.uid(wanted.ref))
        assert seen.fields["extra"] == {"security.idmap.isolated": "true"}
        change = scene.change(wanted, seen)
        assert "stop" in [step.verb for step in change.steps]
        await scene.run(change)
        await at_rest(scene, wanted, change)
        assert "security.idmap.isolated" not in _instance(host, found)["config"]


async def test_live_key_and_strange_device_are_seen_and_taken_away(host: IncusHarness, tmp_path: Path) -> None:
    async with Scene(host) as scene:
        wanted, found = await made(scene)
        name = found.native_name
        host.daemons.client("config", "set", name, "boot.autostart.priority=7")
        host.daemons.client("config", "device", "add", name, "shared", "disk", f"source={tmp_path}", "path=/mnt")
        seen = await scene.there(scene.uid(wanted.ref))
        assert set(seen.fields["extra"]) == {"boot.autostart.priority", "device.shared"}
        change = await scene.run(scene.change(wanted, seen))
        await at_rest(scene, wanted, change)
        assert "shared" not in _instance(host, found)["devices"]


async def test_quota_below_what_is_used_is_refused_beforehand(host: IncusHarness) -> None:
    """Half made it would lock the machine out of its own disk."""
    async with Scene(host) as scene:
        wanted, found = await made(scene)
        host.daemons.client("exec", found.native_name, "--", "dd", "if=/dev/urandom", "of=/big", "bs=1M", "count=30")
        host.daemons.client("exec", found.native_name, "--", "sync")
        update = scene.change(edited(host, wanted, disk=200 * MI), found).steps[0]
        smaller = type(update)(**_with(update, args={**update.args, "set": {"/disk": 20 * MI}}))
        outcome = await refused(scene, smaller)
        assert "in use" in outcome.reason
        assert host.shape.manner("Machine", "/disk", 200 * MI, 20 * MI, found.fields) is Manner.IMPOSSIBLE


@pytest.mark.parametrize(
    ("group", "file", "value", "path"),
    [
        ("memory", "memory.limit_in_bytes", str(40 * MI), "/memory"),
        ("pids", "pids.max", "33", "/threads"),
        ("cpu", "cpu.cfs_quota_us", "12000", "/cpu"),
    ],
)
async def test_limit_edited_in_the_kernel_is_seen_and_set_again(
    host: IncusHarness, group: str, file: str, value: str, path: str
) -> None:
    async with Scene(host) as scene:
        wanted, found = await made(scene)
        before = find(found.fields, path)
        _group(host, found, group, file).write_text(value)
        seen = await scene.there(scene.uid(wanted.ref))
        assert find(seen.fields, path) != before, "the API shows nothing of it"
        change = await scene.run(scene.change(wanted, seen))
        await at_rest(scene, wanted, change)
        assert _group(host, found, group, file).read_text().strip() != value


def _group(host: IncusHarness, thing: Object, group: str, file: str) -> Path:
    """Two hosts may use one name at once: ours is where its first process is."""
    state = host.daemons.query(f"/1.0/instances/{thing.native_name}/state")
    for line in Path(f"/proc/{state['pid']}/cgroup").read_text().splitlines():
        name = line.rpartition("/")[2]
        if name.startswith("lxc.payload."):
            return Path("/sys/fs/cgroup", group, name, file)
    raise AssertionError("it is in no control group of its own")


async def test_change_between_reading_and_writing_is_looked_at_again(host: IncusHarness) -> None:
    async with Scene(host) as scene:
        wanted, found = await made(scene)
        (update,) = scene.change(edited(host, wanted, memory=96 * MI), found).steps
        name = found.native_name
        host.proxy.before(
            rf"^PATCH /1.0/instances/{name}", lambda: host.daemons.client("config", "set", name, "user.x=1")
        )
        told: list[str] = []
        outcome = await scene.apply(update, progress=told.append)
        assert outcome.status == "applied"
        assert any("looking again" in line for line in told)
        assert _instance(host, found)["config"]["user.x"] == "1", "what the other wrote is still there"


async def test_no_report_and_no_plan_bears_a_tag_so_one_made_before_a_restart_still_stands(host: IncusHarness) -> None:
    async with Scene(host) as scene:
        wanted, found = await made(scene)
        change = scene.change(edited(host, wanted, memory=96 * MI), found)
        tag = await _tag(host, found)
        for said in (await scene.look(), change):
            assert tag not in msgspec.json.encode(said).decode()
        host.daemons.client("restart", "--force", found.native_name)
        assert await _tag(host, found) != tag, "the plan is older than what the server would take a write against"
        await scene.run(change)
        assert (await scene.there(change.uid)).fields["memory"] == 96 * MI


async def test_shell_that_somebody_has_open_holds_nothing_up(host: IncusHarness) -> None:
    async with Scene(host) as scene:
        wanted, found = await made(scene)
        (update,) = scene.change(edited(host, wanted, memory=96 * MI), found).steps
        shell = (host.daemons.said["client"], "exec", found.native_name, "--", "sleep", "600")
        async with await anyio.open_process(shell, env=host.daemons.environment()) as theirs:
            for _ in range(100):
                if any(each["description"] == "Executing command" for each in _running(host)):
                    break
                await anyio.sleep(0.1)
            else:
                raise AssertionError("the shell was not opened")
            await scene.reopen()
            assert (await scene.apply(update, deadline=30.0)).status == "applied"
            assert theirs.returncode is None
            theirs.kill()


def _running(host: IncusHarness) -> list[dict[str, Any]]:
    said: dict[str, list[dict[str, Any]]] = host.daemons.query("/1.0/operations?recursion=1")
    return said.get("running") or []


async def _tag(host: IncusHarness, machine: Object) -> str:
    """As a server spells it, without quotation marks."""
    client = await connect(f"unix:{host.daemons.socket()}", Identity())
    _, tag = await Api(client).read(f"/1.0/instances/{machine.native_name}")
    await client.close()
    assert len(tag) > 30
    return tag.strip('"')


async def test_change_between_that_breaks_the_precondition_defers_the_step(host: IncusHarness) -> None:
    async with Scene(host) as scene:
        wanted, found = await made(scene)
        (update,) = scene.change(edited(host, wanted, memory=96 * MI), found).steps
        name = found.native_name
        host.proxy.before(
            rf"^PATCH /1.0/instances/{name}", lambda: host.daemons.client("config", "set", name, "limits.memory=80MiB")
        )
        outcome = await scene.apply(update)
        assert outcome.status == "deferred", outcome
        assert _instance(host, found)["config"]["limits.memory"] == "80MiB"


async def test_restored_snapshot_rolls_the_configuration_back_and_that_is_drift(host: IncusHarness) -> None:
    async with Scene(host) as scene:
        wanted, found = await made(scene)
        host.daemons.client("snapshot", *_snapshot(host, found.native_name))
        larger = edited(host, wanted, memory=96 * MI, metadata={"role": "web"})
        await scene.converge(larger)
        host.daemons.client(*_restore(host, found.native_name))
        seen = await scene.there(scene.uid(wanted.ref))
        assert seen.fields["memory"] == 64 * MI
        assert seen.marks is not None, "older marks of its own are still its own"
        await at_rest(scene, larger, await scene.converge(larger))


def _snapshot(host: IncusHarness, name: str) -> tuple[str, ...]:
    return ("create", name, "before") if host.daemons.kind == "incus" else (name, "before")


def _restore(host: IncusHarness, name: str) -> tuple[str, ...]:
    return ("snapshot", "restore", name, "before") if host.daemons.kind == "incus" else ("restore", name, "before")


async def test_null_and_empty_and_inherited_values_make_no_difference(host: IncusHarness) -> None:
    """A machine of a profile, with what people write by hand: nothing is seen that is not there."""
    daemons = host.daemons
    async with Scene(host) as scene:
        name = await host.hand_unmanaged("byhand")
        daemons.query(
            f"/1.0/instances/{name}", "PATCH", {"description": "", "config": {"user.note": "", "limits.cpu": ""}}
        )
        profile = f"size-{daemons.kind}"
        daemons.client("profile", "create", profile)
        daemons.client("profile", "set", profile, "limits.processes=300")
        daemons.client("profile", "assign", name, f"default,{profile}")
        (seen,) = [thing for thing in (await scene.look()).objects if thing.native_name == name]
        assert seen.fields == {
            "brand": "zone", "hostname": name, "image": seen.fields["image"], "memory": 64 * MI, "state": "stopped",
            "threads": 300,
        }  # fmt: skip
        daemons.client("delete", name)


async def test_forged_marks_do_not_count(host: IncusHarness) -> None:
    """A tenant may edit `user.*` of its machines, and cannot read the key that marks are sealed with."""
    async with Scene(host) as scene:
        _, found = await made(scene)
        name = found.native_name
        text = _instance(host, found)["config"]["user.trueup.marks"]
        assert '"incarnation":1' in text
        host.daemons.query(
            f"/1.0/instances/{name}", "PATCH", {"config": {"user.trueup.marks": text.replace(":1,", ":7,", 1)}}
        )
        (seen,) = [thing for thing in (await scene.look()).objects if thing.native_name == name]
        assert seen.marks is None
        host.daemons.query(f"/1.0/instances/{name}", "PATCH", {"config": {"user.trueup.marks": text}})
        (seen,) = [thing for thing in (await scene.look()).objects if thing.native_name == name]
        assert seen.marks == found.marks


async def test_frozen_machine_is_neither_running_nor_stopped(host: IncusHarness) -> None:
    async with Scene(host) as scene:
        wanted, found = await made(scene)
        host.daemons.client("pause", found.native_name)
        frozen = await scene.there(scene.uid(wanted.ref))
        assert frozen.unknown == {"/state": "it is Frozen"}
        host.daemons.client("start" if host.daemons.kind == "lxd" else "resume", found.native_name)


async def test_machine_that_ignores_its_shutdown_is_stopped_by_force(host: IncusHarness) -> None:
    async with Scene(host) as scene:
        _, found = await made(scene)
        (stop, *_) = scene.removal(found, Action.DESTROY).steps
        os.kill(host.daemons.query(f"/1.0/instances/{found.native_name}/state")["pid"], signal.SIGSTOP)
        told: list[str] = []
        assert (await scene.apply(stop, deadline=6.0, progress=told.append)).status == "applied"
        assert any("by force" in line for line in told)


async def test_name_that_the_document_does_not_give_is_the_refs_never_a_random_one(host: IncusHarness) -> None:
    """An empty name would be given one by the server ("cuddly-beetle")."""
    async with Scene(host) as scene:
        wanted = scene.fresh()
        create = scene.change(wanted, None).steps[0]
        fields = {key: value for key, value in create.args["fields"].items() if key != "hostname"}
        nameless = type(create)(**_with(create, args={**create.args, "fields": fields}))
        outcome = await scene.apply(nameless)
        assert outcome.status == "applied", outcome
        assert (await scene.there(create.uid)).native_name == wanted.ref.rpartition("/")[2]


async def test_network_of_a_long_name_gets_one_that_an_interface_can_bear(host: IncusHarness) -> None:
    async with Scene(host) as scene:
        body = {**plain(host.network().body), "subnet": "10.66.9.0/24", "gateway": "10.66.9.1", "range": None}
        wanted = resource(Ref("Network/conformance/a-name-longer-than-any-interface"), body)
        change = await scene.run(scene.change(wanted, None))
        found = await at_rest(scene, wanted, change)
        assert len(found.native_name) <= 15
