"""Commits made for people: just the files named, nothing else touched, and who touched a line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from reconciler.edge.git import Repository
from reconciler.edge.git.authors import Author, author_of, touched_by
from reconciler.edge.git.commit import commit_files
from reconciler.errors import RevisionMissing, SourceRefused, SourceUnreadable, UsageError

Clone = Any
ADA = ("Ada", "ada@example.org")


def committed(clone: Clone, files: dict[str, bytes | None], message: str = "undo", **options: Any) -> str:
    with Repository.open(clone.path) as repository:
        return commit_files(repository, files, message, author=ADA, **options)


def test_a_commit_changes_adds_and_removes_just_the_files_named(clone: Clone) -> None:
    parent = clone.commit({"s/a.yaml": "a", "s/t/b.yaml": "b", "c.yaml": "c"})
    made = committed(clone, {"s/a.yaml": b"a2", "s/t/b.yaml": None, "n/m/new.yaml": b"new"}, "undo: web-1\n\nwhy")
    assert clone.git("rev-parse", "main", "main~") == f"{made}\n{parent}"
    assert clone.git("diff", "--name-status", "main~", "main").split("\n") == [
        "A\tn/m/new.yaml",
        "M\ts/a.yaml",
        "D\ts/t/b.yaml",
    ]
    assert clone.git("status", "--porcelain") == ""
    assert (clone.path / "s/a.yaml").read_text() == "a2"
    assert not (clone.path / "s/t").exists()
    assert clone.git("log", "-1", "--format=%an <%ae> %s %b") == "Ada <ada@example.org> undo: web-1 why"
    assert clone.git("fsck", "--strict") == ""


def test_what_is_staged_and_edited_elsewhere_stays_as_it_is(clone: Clone) -> None:
    clone.commit({"a.yaml": "a", "b.yaml": "b", "c.yaml": "c"})
    clone.write({"b.yaml": "edited", "c.yaml": "staged", "new.yaml": "untracked"})
    clone.git("add", "c.yaml")
    before = clone.git("status", "--porcelain")
    committed(clone, {"a.yaml": b"a2"})
    assert clone.git("status", "--porcelain") == before
    assert clone.git("diff", "--name-only", "main~", "main") == "a.yaml"


@pytest.mark.parametrize("staged", [False, True])
def test_a_file_with_changes_of_its_own_is_not_overwritten(clone: Clone, staged: bool) -> None:
    parent = clone.commit({"a.yaml": "a"})
    clone.write({"a.yaml": "mine"})
    if staged:
        clone.git("add", "a.yaml")
        clone.write({"a.yaml": "a"})
    with pytest.raises(SourceRefused, match=r"a\.yaml: has changes that are not committed"):
        committed(clone, {"a.yaml": b"theirs"})
    assert clone.git("rev-parse", "main") == parent


def test_an_untracked_file_in_the_way_is_not_overwritten(clone: Clone) -> None:
    clone.commit({"a.yaml": "a"})
    clone.write({"new.yaml": "mine"})
    with pytest.raises(SourceRefused, match=r"new\.yaml"):
        committed(clone, {"new.yaml": b"theirs"})


def test_a_commit_on_another_branch_leaves_the_working_tree_alone(clone: Clone) -> None:
    clone.commit({"a.yaml": "a"})
    clone.git("branch", "side")
    clone.write({"a.yaml": "mine"})
    made = committed(clone, {"a.yaml": b"theirs"}, branch="side")
    assert clone.git("rev-parse", "side") == made
    assert clone.git("show", "side:a.yaml") == "theirs"
    assert (clone.path / "a.yaml").read_text() == "mine"


def test_a_bare_repository_is_committed_to_as_well(clone: Clone, clone_of: Callable[..., Clone]) -> None:
    clone.commit({"a.yaml": "a"})
    bare = clone_of(clone.path, "--bare")
    committed(bare, {"a.yaml": b"a2"})
    assert bare.git("show", "main:a.yaml") == "a2"


def test_no_hook_runs(clone: Clone) -> None:
    clone.commit({"a.yaml": "a"})
    trap = clone.path.parent / "ran"
    for name in ("pre-commit", "commit-msg", "reference-transaction", "post-commit", "post-index-change"):
        hook = clone.path / ".git/hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\ntouch {trap}\n")
        hook.chmod(0o755)
    committed(clone, {"a.yaml": b"a2"})
    assert not trap.exists()


def test_nothing_to_commit_is_told(clone: Clone) -> None:
    clone.commit({"a.yaml": "a"})
    with pytest.raises(SourceRefused, match="nothing to commit"):
        committed(clone, {"a.yaml": b"a"})


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", ".git/config", "a//b", ""])
def test_paths_that_lead_elsewhere_are_refused(clone: Clone, path: str) -> None:
    parent = clone.commit({"a.yaml": "a"})
    with pytest.raises((UsageError, SourceRefused)):
        committed(clone, {path: b"x"})
    assert clone.git("rev-parse", "main") == parent


def test_an_unknown_person_is_asked_who_they_are(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    clone.commit({"a.yaml": "a"})
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.delenv("EMAIL", raising=False)
    with Repository.open(clone.path) as repository, pytest.raises(UsageError, match="who makes this commit"):
        commit_files(repository, {"a.yaml": b"b"}, "undo")


def test_a_branch_that_is_not_there_is_told(clone: Clone) -> None:
    clone.commit({"a.yaml": "a"})
    with pytest.raises(RevisionMissing, match="nope"):
        committed(clone, {"a.yaml": b"b"}, branch="nope")


def test_the_mode_of_a_file_is_kept(clone: Clone) -> None:
    clone.commit({"a.yaml": "a"})
    (clone.path / "a.yaml").chmod(0o755)
    clone.commit()
    committed(clone, {"a.yaml": b"a2"})
    assert clone.git("ls-tree", "main", "a.yaml").startswith("100755")
    assert clone.git("status", "--porcelain") == ""


def test_who_touched_a_line_last_is_known(clone: Clone) -> None:
    first = clone.commit({"s/a.yaml": "one\ntwo\n"}, "begin")
    second = clone.commit({"s/a.yaml": "one\nTWO\n"}, "shout\n\nbody")
    with Repository.open(clone.path) as repository:
        found = touched_by(repository, second, "s/a.yaml", 2)
        assert found is not None
        assert found == Author("Ada", "ada@example.org", second, found.at, "shout")
        assert str(found) == f"Ada in {second[:8]} (shout)"
        earlier = touched_by(repository, second, "s/a.yaml", 1)
        assert earlier is not None
        assert earlier.commit == first
        assert author_of(repository, first).summary == "begin"


def test_a_line_or_file_that_is_not_there_has_no_author(clone: Clone) -> None:
    commit = clone.commit({"a.yaml": "one\n"})
    with Repository.open(clone.path) as repository:
        assert touched_by(repository, commit, "a.yaml", 9) is None
        assert touched_by(repository, commit, "b.yaml", 1) is None
        with pytest.raises(SourceUnreadable):
            author_of(repository, "1" * 40)


def test_a_text_converter_of_the_repository_is_not_run(clone: Clone) -> None:
    trap = clone.path.parent / "ran"
    commit = clone.commit({"a.yaml": "one\n", ".gitattributes": "*.yaml diff=trap\n"})
    clone.git("config", "diff.trap.textconv", f"touch {trap}; cat")
    clone.git("config", "core.fsmonitor", f"touch {trap}; true")
    with Repository.open(clone.path) as repository:
        assert touched_by(repository, commit, "a.yaml", 1) is not None
    assert not trap.exists()
