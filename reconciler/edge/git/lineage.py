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
    if commit is not None and _older(repository, commit, applied):
        return Lineage(older=True, broken=broken)
    if broken:
        return Lineage(broken=broken)
    return Lineage(removed=removed(applied.tree, revision.tree))


def _older(repository: Repository, commit: str, applied: Applied) -> bool:
    """Told by history alone: a commit is the same one in every clone and on every branch."""
    last = applied.revision
    if commit == last or applied.revision.startswith("tree:") or repository.is_ancestor(last, commit):
        return False  # asked first: it is the usual answer, and the cheap one
    return repository.has_commit(last) and repository.is_ancestor(commit, last)


def _elsewhere(revision: Revision, applied: Applied) -> str | None:
    """Why the two cannot be compared at all. The branch is no reason: what a branch of its own removes is what merging
    it would remove, and who applies looks at the branch (`reconciler.runtime.cycle.off_branch`)."""
    pairs = [("the folder", revision.root or "/", applied.root or "/")]
    if revision.branch == applied.branch:
        # Another branch can only be planned, as where CI clones it from wherever: its history tells enough.
        pairs.insert(0, ("the repository", revision.repository, applied.repository))
    for what, now, before in pairs:
        if now != before:
            return f"{what} is {now}, and what was applied last came from {before}"
    return None


def _broken(repository: Repository, commit: str | None, applied: Applied) -> str | None:
    """Why the history does not lead from one to the other; None if it does, in either direction."""
    last = applied.revision[:12]
    if commit is None:
        return "nothing is committed yet"
    if applied.revision.startswith("tree:"):
        return "what was applied last had not been committed"
    if repository.is_ancestor(applied.revision, commit):
        return None
    if not repository.has_commit(applied.revision):
        if repository.shallow:
            return f"the clone is shallow: it does not reach back to {last}, which was applied last"
        return f"{last}, which was applied last, is not in this repository any more (a force push?)"
    if repository.is_ancestor(commit, applied.revision):
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
