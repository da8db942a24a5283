"""What lies as a file is read without git, and says what git says: whatever is packed, replaced, lent or damaged."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reconciler.edge.git import Repository
from reconciler.edge.git.loose import Loose
from reconciler.errors import RevisionMissing, SourceUnreadable

Clone = Any


def place(clone: Clone, id_: str) -> Path:
    found: Path = clone.path / ".git/objects" / id_[:2] / id_[2:]
    return found


@pytest.mark.parametrize(
    "change",
    [
        lambda _: None,
        lambda clone: clone.git("pack-refs", "--all"),
        lambda clone: clone.git("repack", "-adq"),
        lambda clone: clone.git("gc", "--quiet", "--prune=now"),
        lambda clone: clone.git("replace", "HEAD", "HEAD~1"),
        lambda clone: (clone.git("branch", "other"), clone.git("symbolic-ref", "refs/heads/main", "refs/heads/other")),
    ],
    ids=["as it is", "refs packed", "objects packed", "all packed", "replaced", "another branch behind it"],
)
def test_a_branch_its_tree_and_its_files_are_those_that_git_tells(
    clone: Clone, change: Callable[[Clone], object]
) -> None:
    clone.commit({"a.yaml": "first"})
    commit = clone.commit({"a.yaml": "second", "large.yaml": "x" * 300_000})
    tree, blob, large = (clone.git("rev-parse", f"HEAD{path}") for path in ("^{tree}", ":a.yaml", ":large.yaml"))
    clone.git("switch", "-qc", "elsewhere")
    with Repository.open(clone.path) as repository:
        for _ in range(2):
            found = repository.revision(None, ref="main")
            assert (found.commit, found.tree, found.branch) == (commit, tree, "main")
            assert repository.objects.read(blob) == b"second"
            assert repository.objects.read(large) == b"x" * 300_000
            change(clone)
            change = str  # once


def test_a_branch_that_moves_is_followed_commit_by_commit(clone: Clone) -> None:
    clone.commit({"a.yaml": "0"})
    with Repository.open(clone.path) as repository:
        first = repository.revision(None)
        for turn in range(1, 4):
            commit = clone.commit({"a.yaml": str(turn)})
            found = repository.revision(None)
            assert (found.commit, found.tree) == (commit, clone.git("rev-parse", "HEAD^{tree}"))
            assert repository.is_ancestor(str(first.commit), commit)
        clone.git("reset", "--hard", "-q", str(first.commit))
        assert repository.revision(None) == first


def test_objects_that_another_repository_lends_and_a_second_working_tree_are_read(clone: Clone, tmp_path: Path) -> None:
    commit = clone.commit({"a.yaml": "a"})
    clone.git("clone", "-q", "--shared", str(clone.path), str(tmp_path / "lent"))
    clone.git("worktree", "add", "-q", "-b", "aside", str(tmp_path / "aside"))
    for path, branch in ((tmp_path / "lent", "main"), (tmp_path / "aside", "aside")):
        with Repository.open(path) as repository:
            found = repository.revision(None)
            assert (found.commit, found.branch) == (commit, branch)
            assert found.tree == clone.git("rev-parse", "HEAD^{tree}")


@pytest.mark.parametrize("what", ["HEAD", "HEAD:a.yaml"])
@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda data: data[:-5], True),
        (lambda _: b"", True),
        (lambda data: data + b"more", False),
        (lambda data: zlib.compress(zlib.decompress(data).replace(b"a", b"b")), False),
    ],
    ids=["cut short", "empty", "more behind it", "of another text"],
)
def test_a_damaged_object_is_not_believed_and_git_tells_of_it(
    clone: Clone, what: str, damage: Callable[[bytes], bytes], told: bool
) -> None:
    """`told`: by what lies behind an object, and by a text of another id, git is not put off, whoever asks."""
    clone.commit({"a.yaml": "a text, and another"})
    id_ = clone.git("rev-parse", what)
    file = place(clone, id_)
    file.chmod(0o600)
    file.write_bytes(damage(file.read_bytes()))
    assert Loose(clone.path / ".git").read(id_) is None
    with Repository.open(clone.path) as repository:
        if told:
            with pytest.raises(SourceUnreadable):
                repository.objects.read(id_)
        if told and what == "HEAD":
            with pytest.raises((SourceUnreadable, RevisionMissing)):
                repository.revision(None)


def test_names_that_are_no_branch_or_no_id_lead_nowhere(clone: Clone) -> None:
    commit = clone.commit({"a.yaml": "a"})
    loose = Loose(clone.path / ".git")
    (clone.path / ".git/outside").write_text(commit)
    for name in ("", ".", "../../outside", "a//b", "main/..", "mai\0n", "x" * 5000):
        assert loose.head(name) is None
    for name in ("", "HEAD", commit[:12], "../" * 10, commit.upper()):
        assert loose.read(name) is None
        assert not loose.there(name)


def test_ids_of_sha256_are_proved_too(clone: Clone, tmp_path: Path) -> None:
    path = tmp_path / "sha256"
    clone.git("init", "-q", "-b", "main", "--object-format=sha256", str(path))
    other = type(clone)(path)
    commit = other.commit({"a.yaml": "a"})
    assert Loose(path / ".git").head("main") == commit
    with Repository.open(path) as repository:
        found = repository.revision(None)
        assert (found.commit, found.tree) == (commit, other.git("rev-parse", "HEAD^{tree}"))
        assert repository.objects.read(other.git("rev-parse", "HEAD:a.yaml")) == b"a"
