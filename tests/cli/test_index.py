"""A fresh `trueup plan` goes on from what an earlier one laid down; the plan is the one made from scratch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reconciler.cli import planning as looking
from reconciler.cli import resuming
from reconciler.cli.exits import Exit
from reconciler.core.plan import Plan
from reconciler.edge.index import memory, planning
from reconciler.edge.plans import PlanFiles
from reconciler.errors import StateUnusable
from tests.cli.conftest import Run, commit, edit, planned

ROOT = Path(__file__).parents[2]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each plan, whether it came from the index."""
    found: list[bool] = []
    ask = resuming.resumed

    async def asked(*more: Any, **named: Any) -> Plan | None:
        made = await ask(*more, **named)
        found.append(made is not None)
        return made

    monkeypatch.setattr(resuming, "resumed", asked)
    monkeypatch.setattr(memory, "WORTHWHILE", 1)
    return found


@pytest.fixture
def laid(run: Run, told: list[bool], folder: Path) -> Run:
    """Everything applied, planned once, and laid down."""
    assert run("apply", "--yes").code == Exit.DONE
    Path("README.md").write_text("ours")
    commit("Say whose it is")
    assert "Nothing to do" in run("plan").out
    assert (folder.parent / "state" / "index").exists()
    told.clear()
    return run


def both(run: Run, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The plan as it comes, and the one made from scratch."""
    first = json.loads(run("plan", "--json").out)
    for name in ("index", "still"):
        (folder.parent / "state" / name).unlink(missing_ok=True)
    second = json.loads(run("plan", "--json").out)
    for each in (first, second):
        del each["observed_at"]
    return first, second


def test_where_no_node_has_to_be_asked_no_event_loop_is_needed(laid: Run, told: list[bool]) -> None:
    edit("packages.yaml", "512Mi", "768Mi")
    commit("Grow")
    printed, modules = planned()
    assert "768Mi" in printed
    loaded = {word.partition(".")[0] for word in modules}
    assert "reconciler.edge.index.planning" in modules
    assert loaded & {"asyncio", "anyio", "pydantic", "logging", "concurrent"} == set()


NEW = """apiVersion: trueup/v1
kind: Machine
metadata: {name: fresh}
spec: {package: s}
"""


@pytest.mark.parametrize(
    ("change", "changes"),
    [
        (lambda: edit("packages.yaml", "512Mi", "768Mi"), 2),
        (lambda: Path("shop/fresh.yaml").write_text(NEW), 1),
        (lambda: Path("README.md").write_text("other"), 0),
    ],
)
def test_a_commit_is_planned_from_it(
    laid: Run, told: list[bool], folder: Path, change: Callable[[], object], changes: int
) -> None:
    change()
    commit("Another")
    first, second = both(laid, folder)
    assert told == [True, False]
    assert first == second
    assert len(first["changes"]) >= changes


CHANGES = pytest.mark.parametrize(
    "change",
    [
        lambda run: run("sim", "drift", "shop/web-1", "memory=2Gi"),
        lambda run: run("sim", "stop", "shop/web-1"),
        lambda run: run("sim", "delete", "shop/web-1"),
        lambda run: run("sim", "break", "edge1", "unreachable"),
        lambda run: run("sim", "break", "edge1", "partial"),
        lambda run: run("sim", "add-unmanaged", "edge1", "Machine", "stranger", "memory=1Gi"),
        lambda run: run("pause", "shop/web-1", "--for", "1h", "--reason", "looking"),
    ],
)


@pytest.fixture
def resting(laid: Run, told: list[bool]) -> Run:
    """A commit that asks for nothing, planned from the index, and once more."""
    Path("README.md").write_text("other")
    commit("Say it otherwise")
    assert "Nothing to do" in laid("plan").out
    assert "Nothing to do" in laid("plan").out
    assert told == [True], "what was found from the index was not recalled"
    told.clear()
    return laid


@CHANGES
def test_that_it_found_nothing_to_do_is_recalled_until_anything_changes(
    resting: Run, told: list[bool], folder: Path, change: Callable[[Run], object]
) -> None:
    change(resting)
    first, second = both(resting, folder)
    assert told == [True, False]
    assert first == second


def test_what_it_found_with_changes_or_of_drift_alone_is_not_recalled(
    laid: Run, told: list[bool], folder: Path
) -> None:
    edit("packages.yaml", "512Mi", "768Mi")
    commit("Grow")
    assert "Drift: none" in laid("drift").out
    for _ in range(2):
        assert "768Mi" in laid("plan").out
    assert told == [True, True, True]


def test_a_node_that_changed_while_it_was_planned_is_looked_at_again(
    laid: Run, told: list[bool], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was laid down is of before, and so is the plan; nothing of that may be told later."""
    take = planning.read

    def meanwhile(*more: Any) -> Any:
        monkeypatch.setattr(planning, "read", take)
        made = take(*more)
        subprocess.run([sys.executable, "-m", "reconciler.cli", "sim", "drift", "shop/web-1", "memory=2Gi"],
                       env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)  # fmt: skip
        return made

    monkeypatch.setattr(planning, "read", meanwhile)
    Path("README.md").write_text("other")
    commit("Say it otherwise")
    laid("plan")
    first, second = both(laid, folder)
    assert first == second
    assert first["changes"] or first["holds"]


def test_what_it_shows_to_people_is_the_same(laid: Run, told: list[bool], folder: Path) -> None:
    edit("packages.yaml", "512Mi", "768Mi")
    commit("Grow")
    first = laid("plan").out
    (folder.parent / "state" / "index").unlink()
    second = laid("plan").out
    assert told == [True, False]
    assert first.splitlines()[1:] == second.splitlines()[1:]
    assert "packages.yaml:" in first


def test_a_mistake_is_told_as_ever(laid: Run, told: list[bool], folder: Path) -> None:
    edit("packages.yaml", "512Mi", "512 apples")
    commit("Oops")
    first = laid("plan")
    (folder.parent / "state" / "index").unlink()
    second = laid("plan")
    assert told == [False, False]
    assert first == second
    assert first.code == Exit.ERROR


@CHANGES
def test_what_nodes_and_journal_tell_since_counts(
    laid: Run, told: list[bool], folder: Path, change: Callable[[Run], object]
) -> None:
    change(laid)
    edit("packages.yaml", "512Mi", "768Mi")
    commit("Grow")
    first, second = both(laid, folder)
    assert told == [True, False]
    assert first == second


@CHANGES
def test_drift_is_told_from_it(laid: Run, told: list[bool], folder: Path, change: Callable[[Run], object]) -> None:
    change(laid)
    edit("packages.yaml", "512Mi", "768Mi")
    commit("Grow")
    first = json.loads(laid("drift", "--json").out)
    (folder.parent / "state" / "index").unlink()
    second = json.loads(laid("drift", "--json").out)
    assert told == [True, False]
    for each in (first, second):
        del each["observed_at"]
    assert first == second


def test_drift_of_some_things_is_looked_for_anew(laid: Run, told: list[bool]) -> None:
    laid("sim", "drift", "shop/web-1", "memory=2Gi")
    assert "memory" in laid("drift", "shop/web-1").out
    assert told == []


@pytest.mark.parametrize(
    "change",
    [
        lambda state: (state / "index").write_bytes(b"nonsense"),
        lambda state: damage(state / "index"),
        lambda state: (state / "index").unlink(),
        lambda state: edit("nodes.yaml", "back: eth1", "back: eth2"),
        lambda state: drop_journal(state),
    ],
)
def test_on_any_doubt_the_plan_is_made_from_scratch(
    laid: Run, told: list[bool], folder: Path, change: Callable[[Path], object]
) -> None:
    change(folder.parent / "state")
    edit("packages.yaml", "512Mi", "768Mi")
    commit("Grow")
    first, second = both(laid, folder)
    assert told == [False, False]
    assert first == second


def drop_journal(state: Path) -> None:
    """As one that never was: another one's head leads nowhere."""
    for path in state.glob("journal.db*"):
        path.unlink()


def damage(path: Path) -> None:
    """Every block: the last part, which says what is where, is left as it is."""
    data = bytearray(path.read_bytes())
    for place in range(100, len(data) // 2):
        data[place] ^= 0x55
    path.write_bytes(data)


def test_what_was_applied_since_counts(laid: Run, told: list[bool], folder: Path) -> None:
    for smaller, larger in (("512Mi", "768Mi"), ("768Mi", "1Gi")):
        edit("packages.yaml", f"memory: {smaller}, disk: 2Gi", f"memory: {larger}, disk: 2Gi")
        commit("Grow")
        assert laid("apply", "--yes").code == Exit.DONE
        assert "Nothing to do" in laid("plan").out
    edit("packages.yaml", "memory: 1Gi, disk: 2Gi", "memory: 2Gi, disk: 2Gi")
    commit("Grow more")
    first, second = both(laid, folder)
    assert told == [True, True, True, False]
    assert first == second
    assert first["changes"]


def test_other_questions_are_not_answered_from_it(laid: Run, told: list[bool]) -> None:
    edit("packages.yaml", "512Mi", "768Mi")
    for words in (("plan", "--dirty"), ("plan", "--only", "shop/web-1"), ("drift", "shop/web-1")):
        assert laid(*words).code in (Exit.DONE, Exit.BLOCKED)
    assert True not in told


@pytest.mark.parametrize("seconds", [0.0, 0.2])
def test_a_plan_is_shown_once_it_is_stored_and_laid_down_meanwhile_where_that_takes_long(
    laid: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    edit("packages.yaml", "512Mi", "768Mi")
    commit("Grow")
    (folder.parent / "state" / "index").unlink()
    order: list[str] = []

    def then(name: str, function: Callable[..., Any], wait: float = 0) -> Callable[..., Any]:
        def called(*more: Any, **named: Any) -> Any:
            time.sleep(wait)
            made = function(*more, **named)
            order.append(name)
            return made

        return called

    monkeypatch.setattr(looking, "_SOON", 0.1 if seconds else 10)
    monkeypatch.setattr(PlanFiles, "_save", then("stored", PlanFiles._save, seconds))
    monkeypatch.setattr(resuming, "lay_down", then("laid down", resuming.lay_down))
    monkeypatch.setattr(looking, "show", then("shown", looking.show))
    assert "768Mi" in laid("plan").out
    assert order.index("stored") < order.index("shown")
    assert sorted(order) == ["laid down", "shown", "stored"]
    assert (order.index("laid down") < order.index("stored")) == bool(seconds)
    assert (folder.parent / "state" / "index").exists()


def test_a_plan_that_cannot_be_stored_is_shown(laid: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edit("packages.yaml", "512Mi", "768Mi")
    commit("Grow")
    (folder.parent / "state" / "index").unlink()

    def full(*_: Any) -> None:
        raise StateUnusable("the disk is full")

    monkeypatch.setattr(PlanFiles, "_save", full)
    told = laid("plan")
    assert "768Mi" in told.out
    assert "the disk is full; the plan can be applied from a file only" in told.err
