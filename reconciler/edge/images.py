"""Images are immutable: what they held in an earlier tree, for a later one to be judged by.

Owns: finding the image documents of the earlier tree that are others now, at the cost of what differs. Must not go
here: the rule and its words (load/images.py), which tree is the earlier one (the callers know).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from reconciler.edge.git import CommitTree, Repository
from reconciler.edge.held import NOTHING_HELD, Held
from reconciler.edge.load import defaults
from reconciler.edge.shares import is_defaults

Declares = Callable[[str], bool]
"""Whether a file may declare an image."""


def held(
    repository: Repository,
    before: str,
    tree: CommitTree,
    *,
    when: str,
    committed: bool,
    declares: Declares | None = None,
) -> Held:
    """What images held in the tree `before` (an id), as far as their files are others in `tree`. `when`: the same in
    words. `committed`: `tree` lies in the repository. Nothing, where `before` does not lie there (any more).
    `declares`: of the files of `before`, where that is the tree in force.

    Raises SourceUnreadable.
    """
    if before == tree.id or (declares is None and not _lies_in(repository, before)):
        return NOTHING_HELD
    old = CommitTree(repository.folder, before, objects=repository.objects)
    if committed:
        differing = repository.difference.between(before, tree.id)
        changes = {change.path: (change.before, change.after) for change in differing}
    else:  # its objects are its own, so git cannot compare the two
        was, now = dict(old.entries()), dict(tree.entries())
        both = {path: (was.get(path), now.get(path)) for path in was.keys() | now.keys()}
        changes = {path: (one, other) for path, (one, other) in both.items() if one != other}
    if declares is not None and not any(is_defaults(path) or declares(path) for path in changes):
        return NOTHING_HELD
    files = {path: blob for path, (blob, _) in changes.items() if blob is not None}
    if folders := _given_otherwise(changes, old, tree):
        files.update((path, blob) for path, blob in old.entries() if not folders.isdisjoint(defaults.folders_of(path)))
    files = {path: blob for path, blob in files.items() if path.endswith((".yaml", ".yml"))}
    if declares is not None:
        files = {path: blob for path, blob in files.items() if declares(path)}
    contents = dict(zip(files, old.read(list(files.values())), strict=True))
    telling = {path: data for path, data in contents.items() if b"Image" in data}
    if not telling:
        return NOTHING_HELD
    return Held(_images(repository, before, telling), when)


def _given_otherwise(
    changes: Mapping[str, tuple[str | None, str | None]], old: CommitTree, tree: CommitTree
) -> set[str]:
    """Folders whose defaults for images may be others now: every image beneath is looked at."""
    ours = {path: blobs for path, blobs in changes.items() if is_defaults(path)}
    return {
        path.rpartition("/")[0]
        for path, blobs in ours.items()
        for side, blob in zip((old, tree), blobs, strict=True)
        if blob is not None and any(b"Image" in text for text in side.read([blob]))
    }


def _lies_in(repository: Repository, tree: str) -> bool:
    found = repository.objects.find(tree)
    return found is not None and found.kind == "tree"


def _images(repository: Repository, before: str, files: Mapping[str, bytes]) -> dict[str, str]:
    from reconciler.edge.load.images import images_of

    beneath = {defaults.file_in(folder) for path in files for folder in defaults.folders_of(path)}
    known = {path: repository.objects.find(f"{before}:{path}") for path in beneath}
    given = {path: repository.objects.read(found.id) for path, found in known.items() if found is not None}
    return images_of({**files, **given})
