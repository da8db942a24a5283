"""The working tree: what a commit of everything would make, found without touching anything."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from reconciler.edge.git import Repository, Uncommitted, snapshot, worktree
from reconciler.errors import RevisionMissing, SourceRefused, SourceUnreadable

Clone = Any


def fingerprint(folder: Path) -> dict[str, str]:
    """Every file of a repository, its index and objects included."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def taken(clone: Clone, root: str = "") -> tuple[Any, dict[str, bytes]]:
    with Repository.open(clone.path) as repository:
        tree = snapshot(repository, root)
    try:
        listed = list(tree.tree.entries())
        contents = tree.tree.read([blob for _, blob in listed])
        return tree, dict(zip([path for path, _ in listed], contents, strict=True))
    finally:
        tree.close()


def test_a_clean_working_tree_is_its_commit(clone: Clone) -> None:
    commit = clone.commit({"a.yaml": "a"})
    tree, _ = taken(clone)
    assert (tree.revision.commit, tree.head) == (commit, commit)
    assert tree.revision.tree == clone.git("rev-parse", "HEAD^{tree}")


def test_changed_new_staged_and_removed_files_count_and_ignored_ones_do_not(clone: Clone) -> None:
    head = clone.commit({"a.yaml": "a", "b.yaml": "b", "c.yaml": "c", ".gitignore": "*.tmp\n"})
    clone.write({"a.yaml": "edited", "b.yaml": None, "new/n.yaml": "new", "x.tmp": "x"})
    clone.write({"s.yaml": "staged"})
    clone.git("add", "s.yaml")
    tree, contents = taken(clone)
    assert contents == {"a.yaml": b"edited", "c.yaml": b"c", "new/n.yaml": b"new", "s.yaml": b"staged"}
    assert tree.revision.commit is None
    assert (tree.head, tree.revision.branch) == (head, "main")
    clone.commit()
    assert clone.git("rev-parse", "HEAD^{tree}") == tree.revision.tree


def test_nothing_in_the_repository_is_touched(clone: Clone) -> None:
    clone.commit({"a.yaml": "a", "b.yaml": "b"})
    clone.write({"a.yaml": "edited", "n.yaml": "new"})
    clone.git("add", "n.yaml")
    before = fingerprint(clone.path)
    tree, _ = taken(clone)
    assert fingerprint(clone.path) == before
    assert not tree.objects.exists()


def test_filters_of_the_repository_are_not_run(clone: Clone) -> None:
    clone.commit({"a.yaml": "a", ".gitattributes": "*.yaml filter=trap\n"})
    trap = clone.path.parent / "ran"
    for key in ("clean", "smudge", "process"):
        clone.git("config", f"filter.trap.{key}", f"touch {trap}; cat")
    clone.git("config", "filter.trap.required", "true")
    clone.git("config", "core.fsmonitor", f"touch {trap}; true")
    hook = clone.path / ".git/hooks/post-index-change"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {trap}\n")
    hook.chmod(0o755)
    clone.write({"a.yaml": "edited", "b.yaml": "new"})
    _, contents = taken(clone)
    assert contents == {"a.yaml": b"edited", "b.yaml": b"new"}
    assert not trap.exists()


@pytest.mark.parametrize("place", ["local", "worktree", "linked", "home", "xdg", "xdg-home", "named", "included"])
def test_filters_are_found_wherever_git_reads_its_configuration(
    clone: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    clone.commit({"a.yaml": "a", ".gitattributes": "*.yaml filter=trap\n"})
    trap, top = tmp_path / "ran", clone.path
    home, xdg, apart = tmp_path / "home", tmp_path / "xdg" / "git", tmp_path / "apart"
    for folder in (home / ".config" / "git", xdg):
        folder.mkdir(parents=True)
    for name in ("GIT_CONFIG_GLOBAL", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    if place in ("worktree", "linked"):
        clone.git("config", "extensions.worktreeConfig", "true")
    if place == "linked":
        top = tmp_path / "linked"
        clone.git("worktree", "add", "-q", "-b", "other", str(top))
    files = {
        "local": top / ".git" / "config", "worktree": top / ".git" / "config.worktree",
        "linked": clone.path / ".git" / "worktrees" / "linked" / "config.worktree", "home": home / ".gitconfig",
        "xdg": xdg / "config", "xdg-home": home / ".config" / "git" / "config", "named": apart, "included": apart,
    }  # fmt: skip
    if place == "named":
        monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(apart))
    if place == "xdg":
        monkeypatch.setenv("XDG_CONFIG_HOME", str(xdg.parent))
    if place == "included":
        (home / ".gitconfig").write_text(f"[INCLUDE]\n\tpath = {apart}\n")
    with Repository.open(top) as repository:
        assert not worktree._may_name_filters(repository) or place == "included"
        with files[place].open("a") as file:
            file.write(f'[Filter "trap"]\n\tclean = touch {trap}; cat\n\trequired = true\n')
        told = subprocess.run(
            ["git", "-C", str(top), "config", "filter.trap.required"], capture_output=True, check=False
        )
        assert told.stdout == b"true\n", "git reads it there"
        (top / "a.yaml").write_text("b")
        os.utime(top / "a.yaml", ns=(1, 1))
        assert Uncommitted(repository).told()
        snapshot(repository).close()
    assert not trap.exists()


def test_a_configuration_that_cannot_be_read_is_left_to_git(
    clone: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone.commit({"a.yaml": "a"})
    with Repository.open(clone.path) as repository:
        assert not worktree._may_name_filters(repository)
        monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path))
        assert worktree._may_name_filters(repository)


def test_what_is_not_committed_is_noticed_without_running_filters(clone: Clone) -> None:
    clone.commit({"s/a.yaml": "a", "b.yaml": "b", ".gitattributes": "*.yaml filter=trap\n"})
    trap = clone.path.parent / "ran"
    clone.git("config", "filter.trap.clean", f"touch {trap}; cat")
    with Repository.open(clone.path) as repository:
        clone.write({"s/a.yaml": "a"})
        assert not Uncommitted(repository).told()
        clone.write({"b.yaml": "edited"})
        assert Uncommitted(repository).told()
        assert not Uncommitted(repository, "s").told()
        clone.write({"s/new.yaml": "new"})
        assert Uncommitted(repository, "s").told()
    assert not trap.exists()


def test_only_documents_count_as_not_committed(clone: Clone) -> None:
    clone.commit({"s[1]/a.yaml": "a", "s1/b.yaml": "b", "notes.txt": "n", ".ci/c.yaml": "c", "s[1]/.x.yml": "x"})
    with Repository.open(clone.path) as repository:
        clone.write({"notes.txt": "edited", "new.txt": "new", ".ci/c.yaml": "edited", ".new/d.yaml": "d"})
        clone.write({"s[1]/.x.yml": "edited", "s[1]/.h/e.yaml": "e"})
        assert not Uncommitted(repository).told()
        clone.write({"s1/b.yaml": None})
        assert Uncommitted(repository).told()
        assert not Uncommitted(repository, "s[1]").told()
        clone.write({"s[1]/deep/er/new.yml": "new"})
        assert Uncommitted(repository, "s[1]").told()


def test_a_root_has_its_own_tree_so_what_lies_beside_does_not_matter(clone: Clone) -> None:
    clone.commit({"sites/a/dc.yaml": "a", "sites/b/dc.yaml": "b"})
    clone.write({"sites/b/dc.yaml": "edited"})
    tree, contents = taken(clone, "sites/a")
    assert contents == {"dc.yaml": b"a"}
    assert tree.revision.tree == clone.git("rev-parse", "HEAD:sites/a")
    with pytest.raises(RevisionMissing, match="sites/c"):
        taken(clone, "sites/c")


def test_a_repository_without_commits_can_be_planned(clone: Clone) -> None:
    clone.write({"a.yaml": "a"})
    tree, contents = taken(clone)
    assert contents == {"a.yaml": b"a"}
    assert (tree.head, tree.revision.commit) == (None, None)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_cannot_be_read_is_an_error(clone: Clone) -> None:
    clone.commit({"a.yaml": "a"})
    clone.write({"b.yaml": "b"})
    (clone.path / "b.yaml").chmod(0)
    with pytest.raises((SourceUnreadable, SourceRefused)):
        taken(clone)


def test_a_nested_repository_is_refused_and_not_passed_over(clone: Clone) -> None:
    clone.commit({"a.yaml": "a"})
    inner = type(clone)(clone.path / "vendor")
    inner.path.mkdir()
    inner.git("init", "--quiet")
    inner.commit({"b.yaml": "b"})
    with Repository.open(clone.path) as repository:
        tree = snapshot(repository)
        assert [path for path, _ in tree.tree.entries()] == ["a.yaml"]
        assert tree.tree.refused["vendor"][0] == "this is a submodule, which is not read"
        tree.close()


def test_a_bare_repository_has_no_working_tree(clone: Clone, clone_of: Any) -> None:
    clone.commit({"a.yaml": "a"})
    with pytest.raises(SourceRefused, match="bare repository"):
        taken(clone_of(clone.path, "--bare"))


def test_a_linked_worktree_is_planned_as_it_stands(clone: Clone) -> None:
    clone.commit({"a.yaml": "a"})
    linked = type(clone)(clone.path.parent / "linked")
    clone.git("worktree", "add", "--quiet", str(linked.path), "-b", "side")
    linked.write({"a.yaml": "edited"})
    tree, contents = taken(linked)
    assert contents == {"a.yaml": b"edited"}
    assert tree.revision.branch == "side"
