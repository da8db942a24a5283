"""Git, read by object and never by checkout.

Owns: opening repositories, reading trees and blobs, what changed between two trees, mirrors of remote repositories, the
lineage of a revision, who touched a line, and commits that trueup makes for people.
Must not go here: YAML, deciding what a missing document means.

Nothing in a repository runs code here: hooks, filters, file-system monitors, text converters and lazy fetches are off,
whatever its configuration says (see command).
"""

from reconciler.edge.git.authors import Author, touched_by
from reconciler.edge.git.commit import commit_files
from reconciler.edge.git.lineage import lineage
from reconciler.edge.git.mirror import Mirror
from reconciler.edge.git.repository import Opening, Repository
from reconciler.edge.git.tree import CommitTree
from reconciler.edge.git.worktree import Uncommitted, WorkingTree, snapshot

__all__ = [
    "Author",
    "CommitTree",
    "Mirror",
    "Opening",
    "Repository",
    "Uncommitted",
    "WorkingTree",
    "commit_files",
    "lineage",
    "snapshot",
    "touched_by",
]
