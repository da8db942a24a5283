"""Ctrl-C while a plan is made: said in one word, with or without an event loop, and nothing is left running."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import Run

ROOT = Path(__file__).parents[2]
SLOW_GIT = """#!/bin/sh
case "$*" in *" {what}"*) echo $$ > {mark}; {then};; esac
exec {git} "$@"
"""


def _wait_until_it_waits(process: int) -> None:
    """Asleep for half a second, without a tick of a processor. A fixed time is too short on a busy host: Python ends by
    the signal, not with 130, if that comes while a module is imported that makes code from text."""
    until, seen, asleep = time.monotonic() + 30, "", 0
    while asleep < 10:
        assert time.monotonic() < until
        time.sleep(0.05)
        told = Path("/proc", str(process), "stat").read_text().rpartition(")")[2].split()
        state, spent = told[0], f"{told[11]} {told[12]}"
        asleep = asleep + 1 if state == "S" and spent == seen else 0
        seen = spent


@pytest.mark.parametrize(
    ("what", "then"),
    [
        pytest.param("cat-file --batch", "sleep 3", id="git is waited for, without a loop"),
        pytest.param("status", ":", id="a node is waited for, in a loop"),
    ],
)
def test_ctrl_c_ends_a_plan(run: Run, folder: Path, what: str, then: str) -> None:
    assert run("apply", "--yes").code == 0
    run("sim", "latency", "edge1", "observe=30")
    mark, tools = folder.parent / "mark", folder.parent / "tools"
    tools.mkdir()
    (tools / "git").write_text(SLOW_GIT.format(what=what, mark=mark, then=then, git=shutil.which("git")))
    (tools / "git").chmod(0o755)
    env = os.environ | {"PYTHONPATH": str(ROOT), "PATH": f"{tools}:{os.environ['PATH']}"}
    command = [sys.executable, "-m", "reconciler.cli", "plan"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=folder, env=env, text=True, stdout=pipe, stderr=pipe) as process:
        until = time.monotonic() + 30
        while not mark.exists() or not mark.read_text():
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.01)
        _wait_until_it_waits(process.pid)  # for git, or for the node, which does not answer for half a minute
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (130, "", "\nInterrupted.\n")
    until = time.monotonic() + 10
    while Path("/proc", mark.read_text().strip()).exists():
        assert time.monotonic() < until, "git is left running"
        time.sleep(0.01)
