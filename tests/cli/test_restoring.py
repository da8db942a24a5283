"""`trueup restore` brings back one document, and nothing that was changed beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.cli.exits import Exit

from .conftest import Run, commit, edit, git

PAIR = """apiVersion: trueup/v1
kind: Machine
metadata: {name: a}
spec: {}
---
apiVersion: trueup/v1
kind: Machine
metadata: {name: b}
spec: {}
"""
SHORT = """apiVersion: trueup/v1
kind: Machines
items:
  a: {}
  b: {}
"""
FILE = Path("shop/pair.yaml")


def applied(run: Run, text: str, message: str) -> None:
    FILE.write_text(text) if text else FILE.unlink()
    commit(message)
    assert run("apply", "--yes").code == Exit.DONE


def test_what_was_removed_with_it_stays_removed(run: Run) -> None:
    applied(run, PAIR, "Two")
    applied(run, "", "None")
    assert run("restore", "shop/b", "--yes").code == Exit.DONE
    assert "name: b" in FILE.read_text()
    assert "name: a" not in FILE.read_text()
    told = run("apply", "--yes")
    assert "Machine/shop/b will be restored" in told.out
    assert "shop/a" not in told.out


def test_what_was_changed_in_its_file_since_stays(run: Run) -> None:
    applied(run, PAIR, "Two")
    head, _, _ = PAIR.partition("---")
    applied(run, head.replace("spec: {}", "spec: {deletionProtection: true}"), "One, protected")
    assert run("restore", "shop/b", "--yes").code == Exit.DONE
    assert "deletionProtection: true" in FILE.read_text()
    assert run("apply", "--yes").code == Exit.DONE
    assert "running" in run("get", "shop/b").out


def test_an_item_of_a_short_form_comes_back_alone_or_not_at_all(run: Run) -> None:
    applied(run, SHORT, "Two")
    applied(run, SHORT.replace("  b: {}\n", ""), "One")
    assert run("restore", "shop/b", "--yes").code == Exit.DONE
    assert FILE.read_text() == SHORT
    assert run("apply", "--yes").code == Exit.DONE
    applied(run, SHORT.replace("  b: {}\n", "").replace("a: {}", "c: {}"), "Another")
    told = run("restore", "shop/b", "--yes")
    assert told.code == Exit.ERROR
    assert "without more that was changed with it" in told.err
    assert "git show" in told.err


@pytest.mark.parametrize("more", ["", "package: m"])
def test_a_member_of_a_group_comes_back_where_only_the_number_changed(run: Run, more: str) -> None:
    run("apply", "--yes")
    edit("shop/machines.yaml", "replicas: 3", f"replicas: 2\n  {more}" if more else "replicas: 2")
    commit("Fewer")
    assert run("apply", "--yes").code == Exit.DONE
    told = run("restore", "shop/web-3", "--yes")
    assert told.code == (Exit.ERROR if more else Exit.DONE)
    assert ("replicas: 3" in Path("shop/machines.yaml").read_text()) == (not more)


def test_what_is_in_git_needs_no_restoring(run: Run) -> None:
    run("apply", "--yes")
    assert "is in git" in run("restore", "shop/ci").err


def test_there_is_no_way_back_to_what_was_never_committed(run: Run) -> None:
    edit("nodes.yaml", "driver: sim", "learning: true, driver: sim")
    commit("Learning nodes")
    run("apply", "--yes")
    edit("packages.yaml", "512Mi", "768Mi")
    assert "trueup apply --dirty takes it as it is" in run("plan", "--dirty").out
    assert run("apply", "--dirty", "--yes").code == Exit.DONE
    assert "uncommitted tree" in run("status").out
    assert run("apply", "--dirty", "--yes").code == Exit.DONE
    git("checkout", "-q", "packages.yaml")
    edit("packages.yaml", "512Mi", "896Mi")
    commit("Grow otherwise")
    run("apply", "--yes")
    told = run("undo", "--yes")
    assert told.code == Exit.ERROR
    assert "git does not have it" in told.err


def test_what_is_in_quarantine_is_not_forgotten_but_told_of(run: Run) -> None:
    run("apply", "--yes")
    git("rm", "-q", "shop/ci.yaml")
    commit("No ci")
    run("apply", "--yes")
    assert "shop/ci is in quarantine" in run("forget", "shop/ci", "--yes").err


@pytest.mark.parametrize("command", [["logs", "Network/lan"], ["console", "Image/x"], ["exec", "Node/a", "--", "ls"]])
def test_only_machines_can_be_got_into(run: Run, command: list[str]) -> None:
    assert "is no machine" in run(*command).err


def test_a_count_of_lines_is_a_whole_number(run: Run) -> None:
    assert "'-1' is no count" in run("logs", "shop/ci", "--lines=-1").err
