"""Git, read by object and never by checkout.

Owns: opening repositories, reading trees and blobs, what changed between two trees, mirrors of remote repositories, the
lineage of a revision, who touched a line (authors), and commits that trueup makes for people (commit). What only few
commands need is imported from where it is.
Must not go here: YAML, deciding what a missing document means.

Nothing in a repository runs code here: hooks, filters, file-system monitors, text converters and lazy fetches are off,
whatever its configuration says (see command).
"""

from reconciler.edge.git.lineage import lineage
from reconciler.edge.git.repository import Opening, Repository
from reconciler.edge.git.tree import CommitTree
from reconciler.edge.git.worktree import Uncommitted, WorkingTree, snapshot

__all__ = [
    "CommitTree",
    "Opening",
    "Repository",
    "Uncommitted",
    "WorkingTree",
    "lineage",
    "snapshot",
]
