"""Invariants I12 and I13 against real git: over random histories, a deletion is witnessed exactly when a chain of
commits leads from what was applied to what is wanted, and removes the document on the way."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.core.desired import Revision
from reconciler.core.ledger import Applied
from reconciler.core.refs import Ref
from reconciler.edge.git import Repository, lineage

NAMES = ["a", "b", "c"]

Commit = tuple[tuple[int, ...], frozenset[str]]
"""Its parents' numbers, and the documents in it."""


@st.composite
def histories(draw: st.DrawFn) -> list[Commit]:
    """Commits in order, parents before children: branches, merges, and roots of their own."""
    commits: list[Commit] = []
    for number in range(draw(st.integers(2, 9))):
        parents = draw(st.lists(st.integers(0, number - 1), max_size=2, unique=True)) if number else []
        commits.append((tuple(parents), draw(st.frozensets(st.sampled_from(NAMES)))))
    return commits


@contextmanager
def repository_of(commits: list[Commit]) -> Iterator[tuple[Repository, list[str]]]:
    """The history in a real repository, and the ids of its commits."""
    folder = Path(tempfile.mkdtemp(prefix="trueup-lineage-"))
    try:
        subprocess.run(["git", "init", "--quiet", "--bare", str(folder)], check=True)
        lines: list[str] = []
        for number, (parents, documents) in enumerate(commits):
            lines += [
                f"commit refs/heads/c{number}",
                f"mark :{number + 1}",
                f"committer a <a@b> {number} +0000",
                "data 0",
            ]
            lines += [f"{'merge' if place else 'from'} :{parent + 1}" for place, parent in enumerate(parents)]
            lines += ["deleteall", *(f"M 644 inline {name}\ndata 1\nx" for name in sorted(documents)), ""]
        text = "\n".join(lines).encode()
        subprocess.run(["git", "-C", str(folder), "fast-import", "--quiet"], input=text, check=True)
        with Repository.open(folder, identity="r") as repository:
            yield repository, [repository.commit(f"c{number}") for number in range(len(commits))]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def ancestors(commits: list[Commit], number: int) -> set[int]:
    """Of a commit, itself among them: the model to compare git with."""
    found = {number}
    for parent in commits[number][0]:
        found |= ancestors(commits, parent)
    return found


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(histories())
def test_a_deletion_is_witnessed_exactly_when_history_shows_it(commits: list[Commit]) -> None:
    with repository_of(commits) as (repository, ids):

        def removed(before: str, after: str) -> frozenset[Ref]:
            return frozenset(Ref(each.path) for each in repository.difference.between(before, after) if not each.after)

        for before, (_, had) in enumerate(commits):
            for after, (_, has) in enumerate(commits):
                revision = Revision(ids[after], repository.tree(ids[after]), "main", "", "r")
                applied = Applied("p", 1, 1, ids[before], repository.tree(ids[before]), "main", "", "r")
                found = lineage(repository, revision, applied, accepted=frozenset(), removed=removed)
                if before in ancestors(commits, after):
                    assert (found.broken, found.older) == (None, False)
                    assert found.removed == had - has
                elif after in ancestors(commits, before):
                    assert (found.broken, found.older, found.removed) == (None, True, frozenset())
                else:
                    assert found.broken
                    assert found.removed == frozenset()
