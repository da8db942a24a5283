"""A plan that had nothing to do is recalled while nothing at all has changed, and no longer."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.cli import session
from reconciler.cli.exits import Exit
from tests.cli.conftest import Run, commit, edit, planned

ROOT = Path(__file__).parents[2]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was made anew: a word for each time that nodes were asked."""
    found: list[str] = []
    observe = session.Looking.observe

    async def told(self: session.Looking, *more: object, **named: object) -> object:
        found.append("observed")
        return await observe(self, *more, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(session.Looking, "observe", told)
    return found


@pytest.fixture
def still(run: Run, asked: list[str]) -> Run:
    assert run("apply", "--yes").code == Exit.DONE
    assert "Nothing to do" in run("plan").out
    asked.clear()
    return run


def test_what_did_not_change_is_not_looked_at_again(still: Run, asked: list[str]) -> None:
    told = still("plan", "--detailed-exitcode")
    assert told.code == Exit.DONE
    assert "Nothing to do" in told.out
    assert asked == []


def test_a_journal_that_went_is_missed_before_nodes_are_asked(still: Run, asked: list[str], folder: Path) -> None:
    (folder.parent / "state" / "journal.db").rename(folder / "fleet.db.aside")
    told = still("plan")
    assert told.code == Exit.ERROR
    assert "Nothing to do" not in told.out
    assert asked == []


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        (lambda run, _: run("sim", "drift", "shop/web-1", "memory=2Gi"), "memory"),
        (lambda run, _: run("sim", "stop", "shop/web-1"), "web-1"),
        (lambda run, _: run("sim", "delete", "shop/web-1"), "web-1"),
        (lambda run, _: run("sim", "break", "edge1", "unreachable"), "edge1"),
        (lambda run, _: run("sim", "break", "edge1", "partial"), "edge1"),
        (lambda run, _: run("sim", "add-unmanaged", "edge1", "Machine", "stranger", "memory=1Gi"), "Nothing to do"),
        (lambda run, _: (edit("packages.yaml", "512Mi", "768Mi"), commit("Grow")), "768Mi"),
        (lambda run, _: run("pause", "shop/web-1", "--for", "1h", "--reason", "looking"), "Nothing to do"),
    ],
)  # fmt: skip
def test_any_change_is_looked_at(
    still: Run, asked: list[str], folder: Path, change: Callable[[Run, Path], object], shown: str
) -> None:
    change(still, folder)
    asked.clear()
    assert shown in still("plan").out
    assert asked


def test_other_questions_are_not_answered_from_it(still: Run, asked: list[str]) -> None:
    for words in (("plan", "--dirty"), ("plan", "--only", "shop/web-1"), ("drift",), ("get", "machines")):
        asked.clear()
        still(*words)
        assert asked, words


def test_with_a_damaged_memory_the_plan_is_made(still: Run, asked: list[str], folder: Path) -> None:
    (folder.parent / "state" / "still").write_bytes(b"nonsense")
    assert "Nothing to do" in still("plan").out
    assert asked


def test_it_takes_no_event_loop_no_planner_and_no_yaml(still: Run) -> None:
    """What these take to import is more than all that a recalled plan does."""
    printed, modules = planned()
    assert "Nothing to do" in printed
    loaded = {name for word in modules for name in (word, word.partition(".")[0])}
    heavy = {"asyncio", "anyio", "ruamel", "_ruamel_yaml", "pydantic", "specs", "logging", "concurrent"}
    ours = {"cli.session", "core.planner", "core.world", "edge.journal", "edge.load", "runtime"}
    assert not loaded & (heavy | {f"reconciler.{name}" for name in ours})


def test_what_is_kept_from_msgspec_is_there_for_whoever_imports_it(still: Run) -> None:
    code = (
        "from reconciler.cli.main import main; main(['plan']); import os, platform, typing_extensions, uuid\n"
        "assert platform.system() == platform.uname().system == os.uname().sysname and typing_extensions.TypeVar\n"
        "assert uuid._platform_system == platform.system()"
    )
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)


def test_nodes_that_answer_at_once_are_asked_without_an_event_loop(run: Run) -> None:
    printed, modules = planned()
    assert "10 to add" in printed
    loaded = {word.partition(".")[0] for word in modules}
    assert "drivers.sim.driver" in modules
    assert loaded & {"asyncio", "anyio", "pydantic", "logging", "concurrent"} == set()


def test_edits_are_told_beside_it_unless_there_are_too_many_files(still: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    edit("packages.yaml", "512Mi", "768Mi")
    note = "there are changes that are not committed"
    assert note in still("plan").err
    monkeypatch.setattr("reconciler.cli.opened._MANY_FILES", Path(".git/index").stat().st_size)
    assert note not in still("plan").err
