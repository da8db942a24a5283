"""A small site in git on two simulated nodes, and a way to run commands on it in this process."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from reconciler.cli.main import main

SITE = Path(__file__).parents[1] / "scenarios" / "site"


class Ran(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with everything committed, a fleet of two nodes beside it, and an empty state folder."""
    here = tmp_path / "ams1"
    shutil.copytree(SITE, here)
    (here / ".gitignore").write_text("fleet.db*\n")
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "Alice")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "alice@example.org")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TRUEUP_STATE", str(tmp_path / "state"))
    monkeypatch.chdir(here)
    git("init", "-q", "-b", "main")
    assert main(["sim", "add-node", "edge1"]) == main(["sim", "add-node", "edge2"]) == 0
    commit("Our first machines")
    return here


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """`run("plan", "--json")` gives exit code and output."""

    def ran(*argv: str) -> Ran:
        capsys.readouterr()
        try:
            code = main(list(argv))
        except SystemExit as ended:
            code = int(ended.code or 0)
        told = capsys.readouterr()
        return Ran(code, told.out, told.err)

    return ran


def git(*argv: str) -> str:
    return subprocess.run(["git", *argv], check=True, capture_output=True, text=True).stdout


def commit(message: str) -> None:
    git("add", "-A")
    git("commit", "-qm", message)


def edit(file: str, before: str, after: str) -> None:
    """Change a file's text; it must be there."""
    path = Path(file)
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))
