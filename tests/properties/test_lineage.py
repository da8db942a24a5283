"""Invariants I12 and I13 against real git: over random histories, a deletion is witnessed exactly when a chain of
commits leads from what was applied to what is wanted, and removes the document on the way."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.core.desired import Revision
from reconciler.core.ledger import Applied
from reconciler.core.refs import Ref
from reconciler.edge.git import Repository, lineage
from reconciler.edge.git import repository as walking

NAMES = ["a", "b", "c"]

Commit = tuple[tuple[int, ...], frozenset[str]]
"""Its parents' numbers, and the documents in it."""


@st.composite
def histories(draw: st.DrawFn) -> list[Commit]:
    """Commits in order, parents before children: branches, merges, and roots of their own."""
    commits: list[Commit] = []
    for number in range(draw(st.integers(2, 9))):
        parents = draw(st.lists(st.integers(0, number - 1), max_size=3, unique=True)) if number else []
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


def grown(random: Random) -> list[Commit]:
    """Larger than what is drawn one by one: merges of several, roots of their own, and long lines."""
    commits: list[Commit] = []
    for number in range(random.randint(8, 14)):
        parents = random.sample(range(number), min(number, random.choice([0, 1, 1, 1, 1, 2, 2, 3])))
        commits.append((tuple(parents), frozenset()))
    return commits


def told(folder: Path, number: int) -> set[str]:
    """The ids of a commit's history, as git tells them."""
    command = ["git", "-C", str(folder), "rev-list", f"refs/heads/c{number}"]
    return set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())


@pytest.mark.parametrize("seed", range(12))
def test_a_walk_through_parents_tells_what_git_tells(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was asked before, however far it walks and however little it keeps."""
    random = Random(seed)
    monkeypatch.setattr(walking, "_WALK", random.choice([1, 2, 4, 16]))
    monkeypatch.setattr(walking, "_REMEMBERED", random.choice([1, 3, 1_000]))
    with repository_of(grown(random)) as (repository, ids):
        history = [told(repository.folder, number) for number in range(len(ids))]
        pairs = [(older, newer) for older in range(len(ids)) for newer in range(len(ids))] * 2
        random.shuffle(pairs)
        for older, newer in pairs:
            assert repository.is_ancestor(ids[older], ids[newer]) == (ids[older] in history[newer])


@pytest.mark.parametrize("seed", range(6))
def test_a_shallow_clone_shows_no_more_than_there_is_and_all_once_it_is_whole(seed: int) -> None:
    random = Random(seed)
    line: list[Commit] = [((), frozenset()), *(((number,), frozenset()) for number in range(3))]
    commits = [*line, *((tuple(each + 4 for each in parents) or (3,), has) for parents, has in grown(random))]
    with repository_of(commits) as (whole, ids), tempfile.TemporaryDirectory(prefix="trueup-lineage-") as folder:
        last, history = len(ids) - 1, told(whole.folder, len(ids) - 1)
        clone = ["git", "clone", "--quiet", "--bare", f"--branch=c{last}", f"--depth={random.randint(1, 3)}"]
        subprocess.run([*clone, f"file://{whole.folder}", folder], check=True, capture_output=True)
        with Repository.open(Path(folder), identity="r") as repository:
            assert repository.shallow
            seen = {older for older in ids if repository.is_ancestor(older, ids[last])}
            assert ids[last] in seen < history
            fetch = ["git", "-C", folder, "fetch", "--quiet", "--unshallow", "origin", f"c{last}"]
            subprocess.run(fetch, check=True, capture_output=True)
            assert {older for older in ids if repository.is_ancestor(older, ids[last])} == history
