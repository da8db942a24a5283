"""Who touched a line last: for the reasons that a plan gives.

Owns: reading history for people, on demand. Must not go here: anything that a decision depends on.

GitPython reads the history here. It is imported by the question, not by the module: importing it takes 70 ms, which
`trueup plan` has better use for.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from reconciler.edge.git.command import clean, environment
from reconciler.edge.git.repository import Repository
from reconciler.errors import SourceUnreadable

if TYPE_CHECKING:
    import git


class Author(msgspec.Struct, frozen=True):
    """`at` is in unix seconds; `summary` the first line of the commit's message."""

    name: str
    email: str
    commit: str
    at: float
    summary: str

    def __str__(self) -> str:
        return f"{self.name} in {self.commit[:8]} ({self.summary})"


def touched_by(repository: Repository, commit: str, path: str, line: int) -> Author | None:
    """Who last touched a line (from 1) of a file, as of a commit; None where there is no such line.

    `path` is from the top of the repository. Raises SourceUnreadable.
    """
    with _history(repository) as repo:
        entries = repo.blame_incremental(commit, path, L=f"{line},{line}", no_textconv=True)
        for entry in entries:
            return _author(entry.commit)
    return None


def author_of(repository: Repository, commit: str) -> Author:
    """Who made a commit. Raises SourceUnreadable."""
    with _history(repository) as repo:
        return _author(repo.commit(commit))


@contextlib.contextmanager
def _history(repository: Repository) -> Iterator[git.Repo]:
    """GitPython on this repository, as hardened as our own git processes; its errors as ours."""
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    import git

    try:
        with git.Repo(repository.git_folder, search_parent_directories=False) as repo:
            # for git it is update_environment that wins over the process's own
            repo.git.update_environment(**environment())
            repo.git.set_persistent_git_options(
                c=["core.fsmonitor=false", "core.hooksPath=/dev/null", "protocol.ext.allow=never"]
            )
            yield repo
    except git.GitCommandError as error:
        if "has only" in str(error.stderr) or "no such path" in str(error.stderr):
            return
        raise SourceUnreadable(f"{repository.identity}: {clean(_text(error.stderr))}") from error
    except (git.GitError, ValueError, OSError) as error:
        # GitPython raises a bare ValueError where git does not trust the repository's owner
        raise SourceUnreadable(f"{repository.identity}: its history cannot be read: {error}") from error


def _text(stderr: object) -> str:
    """GitPython quotes what git said: `\\n  stderr: 'fatal: …'`."""
    return str(stderr).replace("stderr:", "").replace("'", " ").strip()


def _author(commit: git.Commit) -> Author:
    message = commit.message if isinstance(commit.message, str) else commit.message.decode(errors="replace")
    return Author(
        name=str(commit.author.name or commit.author.email or "unknown"),
        email=str(commit.author.email or ""),
        commit=commit.hexsha,
        at=float(commit.authored_date),
        summary=message.partition("\n")[0],
    )
