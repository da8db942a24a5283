"""Commands end to end on the simulated driver, with a real repository, journal and lock. Stories have the rest."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from reconciler.cli.exits import Exit
from reconciler.core.plan import from_json
from reconciler.edge.lock import DatacenterLock
from reconciler.edge.state import State

from .conftest import Run, commit, edit, git

DATACENTER = "5f0c1a52-6d7e-4f2b-9a34-1f3c5b7d9e01"


def test_a_plan_as_json_is_the_plan_itself(run: Run) -> None:
    told = run("plan", "--json")
    plan = from_json(told.out.encode())
    assert len(plan.changes) == 12
    assert told.code == Exit.DONE


def test_a_kept_plan_is_applied_by_its_digest(run: Run) -> None:
    plan = from_json(run("plan", "--json").out.encode())
    asking = run("apply", plan.digest[:8])
    assert (asking.code, "say --yes" in asking.err) == (Exit.ERROR, True)
    assert f"plan {plan.digest[:8]}" in asking.out
    assert run("apply", plan.digest[:8], "--yes").code == Exit.DONE
    assert run("plan", "--detailed-exitcode").code == Exit.DONE


def test_an_edited_plan_is_refused_and_nothing_is_done(run: Run, tmp_path: Path) -> None:
    kept = tmp_path / "p"
    run("plan", "--out", str(kept))
    kept.write_text(kept.read_text().replace("edge1", "edge9"))
    told = run("apply", str(kept))
    assert told.code == Exit.ERROR
    assert "edited, or cut short" in told.err
    assert "12 changes" in run("plan").out


def test_where_there_is_nobody_to_ask_apply_says_so(run: Run) -> None:
    told = run("apply")
    assert told.code == Exit.ERROR
    assert "say --yes" in told.err


def test_events_of_an_apply_are_lines_of_json(run: Run) -> None:
    lines = [json.loads(line) for line in run("apply", "--yes", "--json").out.splitlines()]
    assert {"step-started", "step-ended"} <= {line.get("type") for line in lines}
    assert lines[-1]["changes"] == 12


def test_only_limits_the_plan_to_a_ref_a_group_or_a_tag(run: Run) -> None:
    def planned(word: str) -> set[str]:
        plan = from_json(run("plan", "--json", "--only", word).out.encode())
        return {change.ref for change in plan.changes if change.ref.startswith("Machine/")}

    assert planned("shop/ci") == {"Machine/shop/ci"}
    assert planned("Machine/shop/web") == {f"Machine/shop/web-{n}" for n in (1, 2, 3)}
    assert planned("role=db") == {"Machine/shop/db"}
    assert run("plan", "--only", "role=nobody").code == Exit.ERROR
    mistyped = run("plan", "--only", "shop/wbe")
    assert (mistyped.code, "git has no Machine/shop/wbe" in mistyped.err) == (Exit.ERROR, True)
    assert run("drift", "shop/wbe").code == run("heal", "shop/wbe", "--yes").code == Exit.ERROR


def test_who_holds_the_lock_is_told(run: Run, tmp_path: Path) -> None:
    run("plan")
    with DatacenterLock.acquire(State(tmp_path / "state"), purpose="trueup apply"):
        told = run("apply", "--yes")
    assert told.code == Exit.LOST
    assert f"process {os.getpid()} (trueup apply)" in told.err


def test_a_secret_is_in_no_plan_no_journal_and_no_observation(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRUEUP_SECRET_DB_PASSWORD", "correct horse battery")
    (folder / "shop" / "ci.yaml").write_text(
        "apiVersion: trueup/v1\nkind: Machine\nmetadata: {name: ci}\n"
        "spec: {package: m, metadata: {password: {secret: db-password}}}\n"
    )
    commit("ci gets a password")
    kept, observed = tmp_path / "p", tmp_path / "o"
    told = [run("plan", "--out", str(kept), "--expand"), run("apply", "--yes"), run("observe", "--out", str(observed))]
    told += [
        run("explain", "shop/ci"),
        run("get", "machines", "--json"),
        run("status", "--json"),
        run("journal", "show"),
    ]
    assert {each.code for each in told} == {0}
    assert "(secret db-password)" in told[0].out
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and "fleet" not in path.name)
    assert b"correct horse" not in written
    assert not any("correct horse" in each.out + each.err for each in told)
    monkeypatch.setenv("TRUEUP_SECRET_DB_PASSWORD", "another")
    assert "(secret db-password), changed" in run("plan").out


def test_a_missing_secret_is_named_and_the_rest_goes_on(run: Run, folder: Path) -> None:
    edit("shop/ci.yaml", "{package: m}", "{package: m, metadata: {password: {secret: db-password}}}")
    commit("ci gets a password")
    told = run("apply", "--yes")
    assert told.code == Exit.PARTIAL
    assert "db-password" in told.out
    assert run("get", "shop/web-1").out.count("as wanted") == 1


def test_a_remote_repository_is_read_from_a_mirror(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edit("nodes.yaml", "sim:fleet.db", f"sim:{folder}/fleet.db")
    commit("A fleet in a fixed place")
    monkeypatch.chdir("/")
    remote = f"file://{folder}"
    assert "12 changes" in run("-C", remote, "plan").out
    assert "no mistakes" in run("-C", remote, "validate").out
    assert "clone it" in run("-C", remote, "fmt").err
    told = run("-C", "ssh://me:hunter2@127.0.0.1:1/dc.git", "validate")
    assert (told.code, "hunter2" in told.err) == (Exit.ERROR, False)


def test_once_does_one_cycle_as_the_switches_allow(run: Run) -> None:
    assert "follow" in run("run", "--once").out or run("run", "--once").code == Exit.DONE
    edit("datacenter.yaml", "follow: approve", "follow: auto")
    commit("Follow git")
    told = run("run", "--once")
    assert told.code == Exit.DONE
    assert "Done: " in told.out
    assert run("plan", "--detailed-exitcode").code == Exit.DONE


def test_once_keeps_the_last_good_revision_in_force(run: Run) -> None:
    run("apply", "--yes")
    edit("packages.yaml", "512Mi", "512MB")
    commit("A mistake")
    told = run("run", "--once")
    assert told.code == Exit.ERROR
    assert "'MB' is not used" in told.err
    assert "Not in force" in run("status").out


def test_mistakes_are_told_before_anything_is_asked(run: Run) -> None:
    edit("packages.yaml", "512Mi", "512MB")
    commit("A mistake")
    told = run("apply", "--yes")
    assert told.code == Exit.ERROR
    assert "packages.yaml:4:25" in told.err


def test_a_node_is_forgotten_only_without_its_document(run: Run) -> None:
    run("apply", "--yes")
    assert "is still there" in run("forget", "Node/edge2", "--yes").err
    edit("nodes.yaml", "  edge2:", "  # edge2:")
    edit("shop/machines.yaml", "replicas: 3", "replicas: 1")
    git("rm", "-qf", "shop/ci.yaml")
    commit("edge2 is gone")
    assert run("forget", "Node/edge2", "--yes").code == Exit.DONE
    assert "edge2" not in run("get", "machines").out


def test_a_node_in_whose_place_another_answers_is_given_up_with_its_document_there(run: Run, folder: Path) -> None:
    run("apply", "--yes")
    before = run("get", "machines").out
    for path in folder.glob("fleet.db*"):
        path.unlink()
    run("sim", "add-node", "edge1")
    run("sim", "add-node", "edge2")
    told = run("plan")
    assert "Nothing to do" in told.out
    assert "trueup forget Node/edge1" in told.out
    for node in ("edge1", "edge2"):
        assert run("forget", f"Node/{node}", "--yes").code == Exit.DONE
    assert run("apply", "--yes").code == Exit.DONE
    assert run("get", "machines").out == before


def test_a_plan_that_was_read_in_a_pull_request_is_applied_by_its_digest_if_it_is_still_the_plan(
    run: Run, folder: Path, tmp_path: Path
) -> None:
    run("apply", "--yes")
    run("observe", "--out", str(tmp_path / "seen.json"))
    elsewhere = ("--state", str(tmp_path / "elsewhere"))
    git("checkout", "-qb", "change")
    edit("packages.yaml", "512Mi", "768Mi")
    commit("Larger")
    read = run("plan", "--observation", str(tmp_path / "seen.json"), *elsewhere, "--json")
    digest = json.loads(read.out)["digest"]
    assert run("apply", digest[:7], "--yes").code == Exit.ERROR
    git("checkout", "-q", "main")
    early = run("apply", digest[:8], "--yes")
    assert (early.code, "is another" in early.err) == (Exit.ERROR, True)
    git("merge", "-q", "--no-ff", "-m", "Merge it", "change")
    told = run("apply", digest[:8], "--yes")
    assert (told.code, "Done" in told.out) == (Exit.DONE, True)
    assert run("plan", "--detailed-exitcode").code == Exit.DONE


def test_undo_refuses_to_lose_what_was_committed_since(run: Run) -> None:
    run("apply", "--yes")
    edit("packages.yaml", "512Mi", "768Mi")
    commit("Grow")
    run("apply", "--yes")
    edit("packages.yaml", "768Mi", "1Gi")
    commit("Grow more, not applied")
    told = run("undo", "--yes")
    assert told.code == Exit.ERROR
    assert "packages.yaml changed since" in told.err


@pytest.mark.parametrize("command", [["undo"], ["restore", "shop/ci"], ["journal", "verify"]])
def test_without_a_journal_there_is_nothing_to_go_back_to(run: Run, command: list[str]) -> None:
    told = run(*command)
    assert told.code == Exit.ERROR
    assert told.err.startswith("Error: ")


def test_logs_and_exec_reach_the_machine_where_it_lives(run: Run) -> None:
    assert "no machine shop/web-1 is known" in run("logs", "shop/web-1").err
    run("apply", "--yes")
    assert run("logs", "shop/web-1", "-n", "1").out.count("\n") == 1
    assert run("exec", "shop/web-1", "--", "true").code in (Exit.DONE, Exit.ERROR)
    assert "a console needs a terminal" in run("console", "shop/web-1").err


def test_explain_has_a_reason_for_every_node_that_cannot_take_it(run: Run) -> None:
    edit("packages.yaml", "memory: 1Gi", "memory: 100Gi")
    commit("Too large")
    told = run("explain", "shop/ci")
    assert "not edge1  needs 100Gi memory" in told.out
    assert "not edge2  needs 100Gi memory" in told.out
    assert run("plan").code == Exit.BLOCKED


@contextmanager
def looping(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A loop in a process of its own, ended by SIGTERM."""
    command = [sys.executable, "-m", "reconciler.cli", "run", "--interval", "2s"]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, cwd=folder, env=env, text=True, stderr=subprocess.PIPE) as process:
        try:
            assert process.stderr is not None
            assert "Following" in process.stderr.readline()
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def test_a_loop_that_says_that_it_follows_can_be_called_and_stopped(folder: Path) -> None:
    """It cannot say so before somebody reads: what it writes to is full."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    full = 0
    with suppress(BlockingIOError):
        while True:
            full += os.write(writing, b"\n" * 4096)
    os.set_blocking(writing, True)
    command = [sys.executable, "-m", "reconciler.cli", "run"]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, cwd=folder, env=env, stderr=writing) as process, os.fdopen(reading, "rb") as told:
        os.close(writing)
        until(lambda: listens(folder.parent / "state" / "socket"))
        process.send_signal(signal.SIGTERM)
        assert told.read(full).isspace()
        assert b"Following" in told.readline()
        assert b"Stopping" in told.readline()
        assert process.wait(30) == 0


def test_a_loop_whose_reader_has_gone_ends_in_order(folder: Path) -> None:
    with looping(folder) as process:
        assert process.stderr is not None
        process.stderr.close()
    assert process.returncode == 0


@pytest.mark.parametrize("again", [True, False])
def test_what_does_not_come_to_its_end_is_left(run: Run, folder: Path, again: bool) -> None:
    """git hangs, as on a disk that does not answer; a second signal leaves it, or time does."""
    code = "import reconciler.cli.loop as loop; from reconciler.cli import main; loop._LONGEST = {}; main.process()"
    command = [sys.executable, "-c", code.format(60 if again else 2), "run", "--interval", "1s"]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, cwd=folder, env=env, text=True, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert "Following" in process.stderr.readline()
        until(lambda: "as in git" in run("status").out or run("apply", "--yes").code == Exit.DONE)
        gits = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
        try:
            for pid in gits:
                os.kill(pid, signal.SIGSTOP)
            edit("packages.yaml", "512Mi", "768Mi")
            commit("Grow")
            until(lambda: any(asked(pid) for pid in gits))
            process.send_signal(signal.SIGTERM)
            assert "Stopping" in process.stderr.readline()
            if again:
                process.send_signal(signal.SIGTERM)
            assert "Left at once" in process.stderr.readline()
            assert process.wait(30) == (128 + signal.SIGTERM if again else Exit.ERROR)
        finally:
            process.kill()
            for pid in gits:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
    assert run("apply", "--yes").code == Exit.DONE


def asked(pid: int) -> bool:
    """Whether there lies something in a pipe to it that it has not read."""
    with Path(f"/proc/{pid}/fd/0").open("rb", buffering=0) as pipe:
        return fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)) != bytes(4)


def listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as caller:
        return caller.connect_ex(str(path)) == 0


def until(check: object, seconds: float = 30) -> None:
    """Wait until it is true."""
    end = time.monotonic() + seconds
    while not check():  # type: ignore[operator]
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.3)


def test_a_running_loop_follows_commits_and_takes_what_people_ask(run: Run, folder: Path) -> None:
    edit("datacenter.yaml", "follow: approve", "follow: auto")
    commit("Follow git")
    with looping(folder) as process:
        until(lambda: run("plan", "--detailed-exitcode").code == Exit.DONE)
        assert "trueup run" in run("status").out
        edit("packages.yaml", "512Mi", "768Mi")
        commit("Grow")
        until(lambda: "768Mi" in run("get", "shop/web-3").out)
        assert run("pause", "shop/ci", "--for", "1h", "--reason", "looking").code == Exit.DONE
        assert "looking" in run("status").out
        assert run("converge").code == Exit.DONE
        run("sim", "drift", "shop/web-1", "memory=2Gi")
        assert run("heal", "shop/web-1", "--yes").code == Exit.DONE
        assert "768Mi" in run("get", "shop/web-1").out
    assert process.returncode == 0


def test_a_loop_that_only_approves_is_given_the_plan(run: Run, folder: Path) -> None:
    with looping(folder):
        told = run("apply", "--yes")
        assert told.code == Exit.DONE
        assert "✓ Machine/shop/web-1  start" in told.out
        assert "Done: " in told.out
    assert run("plan", "--detailed-exitcode").code == Exit.DONE


def applied_until_ctrl_c(folder: Path) -> tuple[int, str, str]:
    """`trueup apply` in a process of its own, interrupted once a network is there: its exit code and what it said."""
    command = [sys.executable, "-m", "reconciler.cli", "apply", "--yes"]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONUNBUFFERED": "1"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=folder, env=env, text=True, stdout=pipe, stderr=pipe) as process:
        assert process.stdout is not None
        assert any("✓ Network" in line for line in process.stdout)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def test_a_loop_goes_on_with_a_plan_whose_caller_leaves(run: Run, folder: Path) -> None:
    for node in ("edge1", "edge2"):
        run("sim", "latency", node, "create=1")
    with looping(folder) as loop:
        code, _, err = applied_until_ctrl_c(folder)
        assert code == 130
        assert "The loop goes on with it: trueup status tells how far it is." in err
        until(lambda: run("plan", "--detailed-exitcode").code == Exit.DONE)
        assert run("converge").code == Exit.DONE
    assert loop.returncode == 0


def test_ctrl_c_finishes_what_is_in_hand_and_the_next_apply_goes_on(run: Run, folder: Path) -> None:
    for node in ("edge1", "edge2"):
        run("sim", "latency", node, "create=1")
    code, out, err = applied_until_ctrl_c(folder)
    assert code == Exit.PARTIAL
    assert "the steps in hand are finished first" in err
    assert "Stopping: interrupted" in out
    assert "goes on from what is there" in out
    assert run("apply", "--yes").code == Exit.DONE
    assert run("plan", "--detailed-exitcode").code == Exit.DONE
