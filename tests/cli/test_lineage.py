"""What follows what: older revisions, and trees that were never committed."""

from __future__ import annotations

import shutil
from pathlib import Path

from reconciler.cli.exits import Exit

from .conftest import Run, commit, edit, git


def grown(run: Run) -> None:
    """A commit that grows machines, applied over one that did not."""
    run("apply", "--yes")
    edit("packages.yaml", "512Mi", "768Mi")
    commit("Grow")
    assert run("apply", "--yes").code == Exit.DONE


def test_an_older_revision_undoes_nothing_however_often_it_is_applied(run: Run, folder: Path) -> None:
    grown(run)
    for _ in range(3):
        told = run("apply", "--revision", "HEAD~1", "--yes")
        assert (told.code, "rule older" in told.out) == (Exit.BLOCKED, True)
    assert "768Mi" in run("get", "shop/web-1").out
    assert run("plan", "--detailed-exitcode").code == Exit.DONE


def test_a_branch_that_was_set_back_is_held_by_every_cycle(run: Run, folder: Path) -> None:
    edit("datacenter.yaml", "follow: approve", "follow: auto")
    commit("Follow git")
    grown(run)
    git("reset", "-q", "--hard", "HEAD~1")
    for _ in range(3):
        assert "3 held" in run("run", "--once").out
    assert "768Mi" in run("get", "shop/web-1").out


def test_an_older_revision_is_taken_once_it_is_accepted(run: Run, folder: Path) -> None:
    grown(run)
    git("reset", "-q", "--hard", "HEAD~1")
    run("accept", "HEAD", "--reason", "the growth was a mistake")
    assert run("apply", "--yes").code == Exit.DONE
    assert "512Mi" in run("get", "shop/web-1").out


def test_a_controller_that_lost_its_state_gives_way_and_is_told_how_to_go_on(run: Run, tmp_path: Path) -> None:
    grown(run)
    shutil.rmtree(tmp_path / "state")
    edit("packages.yaml", "768Mi", "896Mi")
    commit("Grow more")
    told = run("apply", "--yes")
    assert (told.code, "`trueup journal rebuild`" in told.err) == (Exit.LOST, True)
    assert run("plan").code == Exit.DONE
    assert run("journal", "rebuild", "--yes").code == Exit.DONE
    assert run("apply", "--yes").code == Exit.DONE


def test_a_kept_plan_of_a_controller_that_lost_its_state_gives_way_just_so(run: Run, tmp_path: Path) -> None:
    grown(run)
    edit("packages.yaml", "768Mi", "896Mi")
    commit("Grow more")
    kept = str(tmp_path / "plan.json")
    run("plan", "--out", kept)
    shutil.rmtree(tmp_path / "state")
    told = run("apply", kept, "--yes")
    assert (told.code, "trueup journal rebuild" in told.out) == (Exit.LOST, True), told
    assert "768Mi" in run("get", "shop/web-1").out
    assert run("journal", "rebuild", "--yes").code == Exit.DONE
    assert run("apply", "--yes").code == Exit.DONE
    assert "896Mi" in run("get", "shop/web-1").out
