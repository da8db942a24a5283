"""A fresh `trueup plan` goes on from what an earlier one laid down; the plan is the one made from scratch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reconciler.cli import planning
from reconciler.cli.exits import Exit
from reconciler.core.plan import Plan
from reconciler.edge.index import memory
from tests.cli.conftest import Run, commit, edit


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each plan, whether it came from the index."""
    found: list[bool] = []
    ask = planning.resumed

    async def asked(*more: Any) -> Plan | None:
        made = await ask(*more)
        found.append(made is not None)
        return made

    monkeypatch.setattr(planning, "resumed", asked)
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


@pytest.mark.parametrize(
    "change",
    [
        lambda run, _: run("sim", "drift", "shop/web-1", "memory=2Gi"),
        lambda run, _: run("sim", "break", "edge1", "unreachable"),
        lambda run, _: run("pause", "shop/web-1", "--for", "1h", "--reason", "looking"),
        lambda run, folder: (folder.parent / "state" / "index").write_bytes(b"nonsense"),
        lambda run, folder: damage(folder.parent / "state" / "index"),
        lambda run, folder: (folder.parent / "state" / "index").unlink(),
    ],
)
def test_on_any_doubt_the_plan_is_made_from_scratch(
    laid: Run, told: list[bool], folder: Path, change: Callable[[Run, Path], object]
) -> None:
    change(laid, folder)
    edit("packages.yaml", "512Mi", "768Mi")
    commit("Grow")
    first, second = both(laid, folder)
    assert told == [False, False]
    assert first == second


def damage(path: Path) -> None:
    """Every block: the last part, which says what is where, is left as it is."""
    data = bytearray(path.read_bytes())
    for place in range(100, len(data) // 2):
        data[place] ^= 0x55
    path.write_bytes(data)


def test_what_was_applied_since_is_looked_at_anew(laid: Run, told: list[bool], folder: Path) -> None:
    edit("packages.yaml", "512Mi", "768Mi")
    commit("Grow")
    assert laid("apply", "--yes").code == Exit.DONE
    assert "Nothing to do" in laid("plan").out
    for smaller, larger in (("768Mi", "1Gi"), ("1Gi", "2Gi")):
        edit("packages.yaml", f"memory: {smaller}, disk: 2Gi", f"memory: {larger}, disk: 2Gi")
        commit("Grow more")
        first, second = both(laid, folder)
    assert told == [False, False, False, True, False]
    assert first == second


def test_other_questions_are_not_answered_from_it(laid: Run, told: list[bool]) -> None:
    edit("packages.yaml", "512Mi", "768Mi")
    for words in (("plan", "--dirty"), ("plan", "--only", "shop/web-1"), ("drift",)):
        assert laid(*words).code in (Exit.DONE, Exit.BLOCKED)
    assert True not in told
