"""Whether a deletion is witnessed: how a revision descends from what was applied last (invariants I12, I13).

Owns: that comparison, and the words for why there is no lineage. Must not go here: what a planner does about it, or
reading documents (the caller brings `removed`).
"""

from __future__ import annotations

from collections.abc import Callable

from reconciler.core.desired import Lineage, Revision
from reconciler.core.ledger import Applied
from reconciler.core.refs import Ref
from reconciler.edge.git.repository import Repository

Removed = Callable[[str, str], frozenset[Ref]]
"""(tree id applied last, tree id now) to the refs whose documents are gone."""


def lineage(
    repository: Repository,
    revision: Revision,
    applied: Applied | None,
    *,
    accepted: frozenset[str],
    removed: Removed,
    head: str | None = None,
) -> Lineage:
    """The lineage of a revision. `head` is the commit beneath a dirty tree, which stands in for its own.

    `accepted` are the revisions (commit or tree ids) that a person took without lineage. Raises SourceUnreadable.
    """
    if revision.commit in accepted or revision.tree in accepted:
        gone = _readable_removals(repository, revision, applied, removed) if applied else frozenset()
        return Lineage(removed=gone, accepted=True)
    if applied is None:
        return Lineage()
    commit = revision.commit or head
    if revision.tree == applied.tree and applied.revision.startswith("tree:"):
        return Lineage()  # the very files that were tried out before they were committed
    broken = _elsewhere(revision, applied) or _broken(repository, commit, applied)
    if broken:
        return Lineage(broken=broken)
    assert commit is not None
    if commit != applied.revision and repository.is_ancestor(commit, applied.revision):
        return Lineage(older=True)
    return Lineage(removed=removed(applied.tree, revision.tree))


def _elsewhere(revision: Revision, applied: Applied) -> str | None:
    """Why the two cannot be compared at all."""
    pairs = (
        ("the repository", revision.repository, applied.repository),
        ("the folder", revision.root or "/", applied.root or "/"),
    )
    for what, now, before in pairs:
        if now != before:
            return f"{what} is {now}, and what was applied last came from {before}"
    if revision.branch is None:
        return f"this revision is not on {applied.branch}, which was applied last"
    if revision.branch != applied.branch:
        return f"the branch is {revision.branch}, and what was applied last came from {applied.branch}"
    return None


def _broken(repository: Repository, commit: str | None, applied: Applied) -> str | None:
    """Why the history does not lead from one to the other; None if it does, in either direction."""
    last = applied.revision[:12]
    if commit is None:
        return "nothing is committed yet"
    if applied.revision.startswith("tree:"):
        return "what was applied last had not been committed"
    if not repository.has_commit(applied.revision):
        if repository.shallow:
            return f"the clone is shallow: it does not reach back to {last}, which was applied last"
        return f"{last}, which was applied last, is not in this repository any more (a force push?)"
    if repository.is_ancestor(applied.revision, commit) or repository.is_ancestor(commit, applied.revision):
        return None
    if repository.shallow:
        return f"the clone is shallow: it does not show whether {commit[:12]} follows {last}, which was applied last"
    return f"{commit[:12]} does not follow {last}, which was applied last (a force push, or another history)"


def _readable_removals(
    repository: Repository, revision: Revision, applied: Applied, removed: Removed
) -> frozenset[Ref]:
    """What an accepted revision removes, as far as what was applied last can still be read."""
    found = repository.objects.find(applied.tree)
    if found is None or found.kind != "tree":
        return frozenset()
    return removed(applied.tree, revision.tree)
