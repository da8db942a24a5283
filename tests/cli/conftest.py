"""A small site in git on two simulated nodes, and a way to run commands on it in this process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
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


def planned() -> tuple[str, list[str]]:
    """What `trueup plan` prints in a process of its own, and the modules that it imported."""
    code = "import sys; from reconciler.cli.main import main; main(['plan']); print(*sys.modules, file=sys.stderr)"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return done.stdout, done.stderr.split()
