"""Whole commands under a clock that is not the day's: `faketime` tells the process another one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.cli.exits import Exit

from .conftest import Ran, Run, commit, edit, git

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(shutil.which("faketime") is None, reason="the Debian package faketime is not installed"),
]


def at(offset: str, *argv: str) -> Ran:
    """The command, as run so far from now: `+3 days`."""
    command = ["faketime", offset, Path(sys.executable).with_name("trueup"), *argv]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return Ran(done.returncode, done.stdout, done.stderr)


def removed(run: Run, quarantine: str) -> None:
    edit("datacenter.yaml", "    quarantine: 7d", f"    quarantine: {quarantine}  # of what is removed")
    commit("Quarantine")
    run("apply", "--yes")
    git("rm", "-q", "shop/ci.yaml")
    commit("Remove ci")
    assert run("apply", "--yes").code == Exit.DONE


def test_a_clock_that_leapt_past_the_quarantine_is_not_believed_however_often_it_says_so(run: Run) -> None:
    removed(run, "2d")
    for command in (("plan",), ("apply", "--yes"), ("run", "--once"), ("apply", "--yes"), ("plan",)):
        told = at("+3 days", *command)
        assert told.code == Exit.BLOCKED, told
        if command[0] != "run":
            assert "by the clock its time in quarantine is over; 2 d of it are not proved" in told.out
            assert "rule clock" in told.out
    assert "ci" in run("status").out, "it lies in quarantine still"
    assert "purge" not in run("plan").out
    assert run("accept", "--clock").code == Exit.DONE
    assert at("+3 days", "apply", "--yes").code == Exit.BLOCKED, "today's clock was vouched for, not that one"


def test_a_person_may_vouch_for_the_clock(run: Run) -> None:
    removed(run, "2d")
    assert at("+3 days", "apply", "--yes").code == Exit.BLOCKED
    assert "--clock" in run("accept").err
    assert at("+3 days", "accept", "--clock", "--reason", "the host was off").code == Exit.DONE
    done = at("+3 days", "apply", "--yes")
    assert (done.code, "purged" in done.out) == (Exit.DONE, True), done
    assert "ci" not in run("status").out


def test_within_the_quarantine_nothing_is_due_whatever_the_clock_says(run: Run) -> None:
    removed(run, "7d")
    for offset in ("+3 days", "-3 days"):
        told = at(offset, "plan")
        assert (told.code, "purge" in told.out, told.err) == (Exit.DONE, False, "")
        assert "Nothing to do" in told.out


def test_a_clock_that_went_back_makes_no_command_fail(run: Run) -> None:
    removed(run, "7d")
    for command in (("status",), ("journal", "verify"), ("apply", "--yes"), ("explain", "shop/web-1")):
        told = at("-400 days", *command)
        assert (told.code, "Traceback" in told.err) == (Exit.DONE, False), told
    edit("packages.yaml", "memory: 512Mi", "memory: 768Mi")
    commit("Grow")
    assert at("-400 days", "apply", "--yes").code == Exit.DONE
    assert run("plan", "--detailed-exitcode").code == Exit.DONE
