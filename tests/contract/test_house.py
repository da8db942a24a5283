"""The house's own rules that no linter knows."""

from __future__ import annotations

import re
from pathlib import Path

from tests.contract.sizes import offences

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [path for folder in ("reconciler", "drivers", "specs") for path in sorted((ROOT / folder).rglob("*.py"))]


def test_modules_and_functions_keep_their_sizes() -> None:
    assert offences() == []


def test_no_module_has_a_name_that_says_nothing() -> None:
    empty = {"utils", "helpers", "manager", "common", "misc", "base"}
    assert not [path for path in SOURCES if path.stem in empty]


def test_nothing_in_the_tree_depends_on_this_machine() -> None:
    """No path of a person's machine, no registry's or mirror's address."""
    telling = re.compile(r"/work/|/home/[a-z]|(?:deb\.debian|files\.pythonhosted|registry\.npmjs)\.org")
    text = [
        *SOURCES,
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        ROOT / "Makefile",
        *(ROOT / "tests").rglob("*.sh"),
    ]
    assert not [str(path) for path in text if telling.search(path.read_text())]
