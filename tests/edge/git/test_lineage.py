"""Deletions are witnessed (I13), nothing older undoes what is newer (I12): who descends from whom, in what words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from reconciler.core.desired import Lineage, Revision
from reconciler.core.ledger import Applied
from reconciler.core.refs import Ref
from reconciler.edge.git import Repository, lineage

Clone = Any


def applied_at(revision: Revision) -> Applied:
    assert revision.commit is not None
    return Applied(
        plan="p",
        generation=1,
        fence=1,
        revision=revision.commit,
        tree=revision.tree,
        branch=revision.branch or "",
        root=revision.root,
        repository=revision.repository,
    )


def by_path(clone: Clone) -> Callable[[str, str], frozenset[Ref]]:
    """A stand-in for documents: every path is a ref."""

    def removed(before: str, after: str) -> frozenset[Ref]:
        with Repository.open(clone.path) as repository:
            return frozenset(
                Ref(change.path) for change in repository.difference.between(before, after) if not change.after
            )

    return removed


def between(clone: Clone, before: Applied | None, *accepted: str, name: str | None = None, **changed: Any) -> Lineage:
    with Repository.open(clone.path, identity="the repository") as repository:
        revision = replace(repository.revision(name), **changed)
        return lineage(repository, revision, before, accepted=frozenset(accepted), removed=by_path(clone))


def at_head(clone: Clone) -> Applied:
    with Repository.open(clone.path, identity="the repository") as repository:
        return applied_at(repository.revision(None))


def test_a_range_that_removes_a_document_witnesses_its_deletion(clone: Clone) -> None:
    clone.commit({"a": "a", "b": "b"})
    before = at_head(clone)
    clone.commit({"a": None})
    clone.commit({"c": "c"})
    assert between(clone, before) == Lineage(removed=frozenset({Ref("a")}))


def test_a_document_that_went_and_came_back_within_the_range_is_not_removed(clone: Clone) -> None:
    clone.commit({"a": "a"})
    before = at_head(clone)
    clone.commit({"a": None})
    clone.commit({"a": "again"})
    assert between(clone, before) == Lineage()


def test_the_same_revision_again_removes_nothing(clone: Clone) -> None:
    clone.commit({"a": "a"})
    assert between(clone, at_head(clone)) == Lineage()


def test_nothing_applied_yet_removes_nothing(clone: Clone) -> None:
    clone.commit({"a": "a"})
    assert between(clone, None) == Lineage()


def test_an_older_revision_is_told_and_removes_nothing(clone: Clone) -> None:
    clone.commit({"a": "a"})
    clone.commit({"b": "b"})
    before = at_head(clone)
    clone.git("reset", "--quiet", "--hard", "HEAD~")
    assert between(clone, before) == Lineage(older=True)


def test_a_force_push_breaks_the_lineage(clone: Clone) -> None:
    clone.commit({"a": "a"})
    clone.commit({"b": "b"})
    before = at_head(clone)
    clone.git("reset", "--quiet", "--hard", "HEAD~")
    clone.commit({"a": None, "c": "c"})
    found = between(clone, before)
    assert found.removed == frozenset()
    assert found.broken is not None
    assert "does not follow" in found.broken


def test_a_history_of_its_own_breaks_the_lineage(clone: Clone) -> None:
    clone.commit({"a": "a"})
    before = at_head(clone)
    clone.git("checkout", "--quiet", "--orphan", "fresh")
    clone.commit({"b": "b"})
    clone.git("branch", "--quiet", "-M", "fresh", "main")
    clone.git("reflog", "expire", "--expire=now", "--all")
    clone.git("gc", "--quiet", "--prune=now")
    found = between(clone, before)
    assert "not in this repository any more (a force push?)" in (found.broken or "")


def test_a_shallow_clone_breaks_the_lineage(clone: Clone, clone_of: Callable[..., Clone]) -> None:
    clone.commit({"a": "a"})
    before = at_head(clone)
    clone.commit({"a": None, "b": "b"})
    clone.commit({"c": "c"})
    shallow = clone_of(clone.path, "--depth=1")
    assert "the clone is shallow: it does not reach back" in (between(shallow, before).broken or "")
    deeper = clone_of(clone.path, "--depth=2")
    assert "shallow" in (between(deeper, before).broken or "")
    shallow.git("fetch", "--quiet", "--unshallow")
    assert between(shallow, before) == Lineage(removed=frozenset({Ref("a")}))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"repository": "elsewhere"}, "the repository is elsewhere"),
        ({"root": "sites/a"}, "the folder is sites/a, and what was applied last came from /"),
    ],
)
def test_another_repository_or_folder_breaks_the_lineage(clone: Clone, changed: dict[str, Any], words: str) -> None:
    clone.commit({"a": "a"})
    before = at_head(clone)
    clone.commit({"a": None, "b": "b"})
    found = between(clone, before, **changed)
    assert found.removed == frozenset()
    assert words in (found.broken or "")


def test_a_clone_of_a_clone_shows_what_merging_its_branch_removes(clone: Clone) -> None:
    clone.commit({"a": "a"})
    before = at_head(clone)
    clone.commit({"a": None, "b": "b"})
    found = between(clone, before, branch=None, repository="https://ci.example/dc.git")
    assert found == Lineage(removed=frozenset({Ref("a")}))


@pytest.mark.parametrize("branch", ["next", None])
def test_a_branch_that_is_planned_shows_what_merging_it_removes(clone: Clone, branch: str | None) -> None:
    clone.commit({"a": "a"})
    before = at_head(clone)
    clone.commit({"a": None, "b": "b"})
    assert between(clone, before, branch=branch) == Lineage(removed=frozenset({Ref("a")}))


@pytest.mark.parametrize("elsewhere", [{"branch": "next"}, {"repository": "elsewhere"}, {"root": "sites/a"}])
def test_an_older_commit_is_older_wherever_it_is_found(clone: Clone, elsewhere: dict[str, Any]) -> None:
    commit = clone.commit({"a": "a"})
    clone.commit({"b": "b"})
    assert between(clone, at_head(clone), name=commit, **elsewhere).older


def test_accepting_a_revision_stands_in_for_lineage(clone: Clone) -> None:
    clone.commit({"a": "a"})
    before = at_head(clone)
    clone.git("checkout", "--quiet", "--orphan", "fresh")
    clone.git("rm", "-rfq", ".")
    commit = clone.commit({"b": "b"})
    clone.git("branch", "--quiet", "-M", "fresh", "main")
    assert between(clone, before).broken
    assert between(clone, before, commit) == Lineage(removed=frozenset({Ref("a")}), accepted=True)
    assert between(clone, before, "0" * 40).broken


def test_accepting_an_older_revision_goes_back_to_it(clone: Clone) -> None:
    commit = clone.commit({"a": "a"})
    clone.commit({"b": "b"})
    before = at_head(clone)
    clone.git("reset", "--quiet", "--hard", commit)
    assert between(clone, before, commit) == Lineage(removed=frozenset({Ref("b")}), accepted=True)


def test_accepting_without_a_memory_of_what_was_applied_is_possible(clone: Clone) -> None:
    commit = clone.commit({"a": "a"})
    assert between(clone, None, commit) == Lineage(accepted=True)


def test_a_dirty_tree_has_the_lineage_of_the_commit_beneath_it(clone: Clone) -> None:
    clone.commit({"a": "a", "b": "b"})
    before = at_head(clone)
    head = clone.commit({"a": None})
    with Repository.open(clone.path, identity="the repository") as repository:
        dirty = replace(repository.revision(None), commit=None)
        found = lineage(repository, dirty, before, accepted=frozenset(), removed=by_path(clone), head=head)
        assert found.removed == frozenset({Ref("a")})
        unborn = lineage(repository, dirty, before, accepted=frozenset(), removed=by_path(clone), head=None)
        assert unborn.broken == "nothing is committed yet"


def test_what_was_tried_out_and_then_committed_goes_on_from_there(clone: Clone) -> None:
    clone.commit({"a": "a", "b": "b"})
    tried = replace(at_head(clone), revision=f"tree:{at_head(clone).tree}")
    assert between(clone, tried) == Lineage()
    clone.commit({"a": None})
    assert between(clone, tried).broken == "what was applied last had not been committed"


def test_a_merge_that_contains_what_was_applied_is_a_lineage(clone: Clone) -> None:
    clone.commit({"a": "a", "b": "b"})
    clone.git("switch", "--quiet", "-c", "side")
    clone.commit({"b": None})
    clone.git("switch", "--quiet", "main")
    clone.commit({"c": "c"})
    before = at_head(clone)
    clone.git("merge", "--quiet", "--no-edit", "side")
    assert between(clone, before) == Lineage(removed=frozenset({Ref("b")}))
