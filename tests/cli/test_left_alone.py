"""What people ask to be left alone is: a pause, and what undo and restore hold while no commit does it yet."""

from __future__ import annotations

import shutil
from pathlib import Path

from reconciler.cli.exits import Exit

from .conftest import Run, commit, edit, git

PAUSE = ("pause", "shop/web-2", "--for", "2h", "--reason", "looking at a leak")


def grown(run: Run) -> None:
    """All is applied; since then git wants more memory for the web machines."""
    run("apply", "--yes")
    edit("packages.yaml", "memory: 512Mi", "memory: 768Mi")
    commit("Grow")


def test_a_pause_outlives_the_state_folder(run: Run, folder: Path) -> None:
    grown(run)
    told = run(*PAUSE)
    assert (told.code, told.err) == (Exit.DONE, "")
    assert run("plan").out.count("will be marked") == 0, "it was written at once"
    shutil.rmtree(folder.parent / "state")
    assert "looking at a leak" in run("plan").out
    assert "looking at a leak" in run("status").out
    assert run("journal", "rebuild", "--yes").code == Exit.DONE
    assert "looking at a leak" in run("status").out
    assert run("apply", "--yes").code == Exit.DONE
    assert "512Mi" in run("get", "shop/web-2").out
    assert "768Mi" in run("get", "shop/web-1").out
    assert run("resume", "shop/web-2").code == Exit.DONE
    assert run("apply", "--yes").code == Exit.DONE
    assert "768Mi" in run("get", "shop/web-2").out


def test_a_pause_that_only_the_object_tells_of_can_be_ended(run: Run, folder: Path) -> None:
    grown(run)
    run(*PAUSE)
    shutil.rmtree(folder.parent / "state")
    unknown = run("resume", "shop/web-1")
    assert (unknown.code, "shop/web-1 is not paused" in unknown.err) == (Exit.ERROR, True)
    told = run("resume", "shop/web-2")
    assert (told.code, "not written on it yet" in told.err) == (Exit.DONE, True)
    assert "paused" not in run("plan").out
    run("journal", "rebuild", "--yes")
    assert "paused" in run("plan").out, "the object bears it still"
    run("resume", "shop/web-2")
    shutil.rmtree(folder.parent / "state")
    assert "paused" not in run("plan").out, "it was taken off the object"


def test_a_pause_counts_while_its_node_cannot_be_reached_and_is_written_later(run: Run, folder: Path) -> None:
    run("apply", "--yes")
    node = "edge2" if "edge2" in run("get", "shop/web-2").out else "edge1"
    run("sim", "break", node, "unreachable", "--reason", "cable pulled")
    told = run(*PAUSE)
    assert (told.code, f"{node} cannot be read now" in told.err) == (Exit.DONE, True)
    assert "looking at a leak" in run("plan").out
    run("sim", "repair", node)
    plan = run("plan").out
    assert "Machine/shop/web-2 will be marked (nothing else is changed)" in plan
    assert "(it is paused: looking at a leak)" in plan
    run("apply", "--yes")
    shutil.rmtree(folder.parent / "state")
    assert "looking at a leak" in run("plan").out


def test_whoever_looks_is_told_until_when_and_why(run: Run) -> None:
    run("apply", "--yes")
    run(*PAUSE)
    run("pause", "edge1", "--for", "1h", "--reason", "new disks")
    for page in (run("plan").out, run("status").out):
        assert "Machine/shop/web-2: paused until 20" in page
        assert "Node/edge1: paused until 20" in page
    assert "paused until 20" in run("explain", "shop/web-2").out
    here = next(name for name in ("web-1", "web-3", "ci") if "edge1" in run("get", f"shop/{name}").out)
    assert "Node/edge1: paused until 20" in run("explain", f"shop/{here}").out
    assert "new disks" in run("explain", "Node/edge1").out
    run("resume", "edge1")
    assert "edge1: paused" not in run("plan").out


def test_an_undo_that_is_only_told_keeps_all_from_going_on_until_a_commit_does_it(run: Run) -> None:
    grown(run)
    run("apply", "--yes")
    run("sim", "drift", "shop/web-1", "memory=512Mi")
    told = run("undo", "--print")
    assert told.code == Exit.DONE
    assert "On hold until a commit changes its document, or trueup resume shop/web-1: Machine/shop/web-1" in told.out
    assert not git("status", "--porcelain")
    for page in (run("plan").out, run("status").out):
        assert "was asked for, and no commit does it yet" in page
        assert "shop/web-[1-3]" in page
    assert "no commit does it yet" in run("explain", "shop/web-1").out
    edit("datacenter.yaml", "drift: report", "drift: heal")
    commit("Heal")
    run("run", "--once")
    assert "512Mi" in run("get", "shop/web-1").out, "nobody fights who is about to commit"
    assert run("resume", "shop/web-1").code == Exit.DONE
    run("run", "--once")
    assert "768Mi" in run("get", "shop/web-1").out
    edit("packages.yaml", "memory: 768Mi", "memory: 512Mi")
    commit("Undo by hand")
    assert "held" not in run("apply", "--yes").out
    assert "512Mi" in run("get", "shop/web-3").out


def test_a_restore_that_is_only_told_keeps_it_from_its_purge(run: Run) -> None:
    run("apply", "--yes")
    git("rm", "-q", "shop/ci.yaml")
    commit("Remove ci")
    run("apply", "--yes")
    told = run("restore", "shop/ci", "--print")
    assert (told.code, "trueup resume shop/ci" in told.out) == (Exit.DONE, True)
    assert "Machine/shop/ci: bringing it back was asked for, and no commit does it yet" in run("plan").out
    git("revert", "--no-edit", "HEAD")
    assert "held" not in run("apply", "--yes").out
    assert "running" in run("get", "shop/ci").out
