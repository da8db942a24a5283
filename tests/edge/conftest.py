"""The edge is tested against the real thing: git, SQLite, sockets, processes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

_WHO = {
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
    "GIT_CONFIG_NOSYSTEM": "1",
}


class Clone:
    """A real repository in a temporary folder, written to as a person would."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(self.path), *arguments], env=os.environ | _WHO, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def write(self, files: Mapping[str, str | None]) -> None:
        for name, text in files.items():
            place = self.path / name
            if text is None:
                place.unlink()
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)

    def commit(self, files: Mapping[str, str | None] | None = None, message: str = "a change") -> str:
        """Commits the files and whatever else is changed; gives the commit's id."""
        self.write(files or {})
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def now() -> float:
    """A fixed moment, 2026-01-02 UTC, for what takes the time as an argument."""
    return 1_767_312_000.0


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    """An empty repository on branch main."""
    path = tmp_path / "dc"
    path.mkdir()
    made = Clone(path)
    made.git("init", "--quiet", "--initial-branch=main")
    return made


@pytest.fixture
def clone_of(tmp_path: Path) -> Callable[..., Clone]:
    """Clones a repository: `clone_of(clone.path, "--depth=1")`."""
    made: list[Clone] = []

    def copy(source: Path, *options: str) -> Clone:
        target = tmp_path / f"clone-{len(made)}"
        subprocess.run(
            ["git", "clone", "--quiet", *options, f"file://{source}", str(target)], check=True, capture_output=True
        )
        made.append(Clone(target))
        return made[-1]

    return copy
