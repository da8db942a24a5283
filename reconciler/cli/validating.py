"""`trueup validate`: every mistake of a tree, in words or as JSON.

Owns: what is printed. Must not go here: the rules (edge/load).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from reconciler.cli.exits import Exit
from reconciler.cli.terminal import say, show_json
from reconciler.core.desired import Desired, Revision
from reconciler.core.ledger import Applied
from reconciler.core.refs import kind_of
from reconciler.edge.chain import read
from reconciler.edge.git import CommitTree, Repository, snapshot
from reconciler.edge.git.mirror import Mirror
from reconciler.edge.held import NOTHING_HELD, Held
from reconciler.edge.images import held
from reconciler.edge.load import Delta, FolderTree, Loader, Tree
from reconciler.edge.registry import Registry
from reconciler.edge.state import State, state_folder
from reconciler.errors import Diagnostic, RevisionMissing, SourceRefused, SourceUnreadable, SpecErrors, TrueupError


class Found(NamedTuple):
    """What a tree came to. `delta` is None where there are mistakes."""

    mistakes: tuple[Diagnostic, ...]
    delta: Delta | None


def validate(root: Path | Mirror, *, revision: str | None, as_json: bool, state: Path | None = None) -> int:
    """Print every mistake, or what the tree holds: of a folder, or of a remote repository. `state`: the controller's
    folder, if it is not the usual one. Raises what reading a revision raises."""
    with _tree(root, revision) as (tree, where, repository):
        found = _judged(tree, where, NOTHING_HELD)
        if repository is not None and isinstance(tree, CommitTree):
            before = Before(repository, tree, where).held(_identity(found, tree), state)
            if before.images:  # seldom: an image's document is not what it was
                found = _judged(tree, where, before)
    mistakes, delta = found
    if as_json:
        warnings = delta.warnings if delta is not None else ()
        show_json({"valid": not mistakes, "diagnostics": mistakes, "warnings": warnings})
        return Exit.ERROR if mistakes else Exit.DONE
    if delta is None:
        _print_mistakes(root, mistakes)
        return Exit.ERROR
    for warning in delta.warnings:
        say(f"warning: {warning.file}: {warning.summary} ({warning.fix})")
    print(_summary(delta.desired))
    return Exit.DONE


def _judged(tree: Tree, where: Revision, before: Held) -> Found:
    loader = Loader(Registry())
    loader.held = before
    try:
        return Found((), loader.load(tree, where))
    except SpecErrors as error:
        return Found(error.diagnostics, None)


def _identity(found: Found, tree: CommitTree) -> str | None:
    """The datacenter's id, also of a tree with mistakes."""
    if found.delta is not None:
        return found.delta.desired.datacenter_id
    from reconciler.edge.source import scanned_id

    return scanned_id(tree)


class Before(NamedTuple):
    """A tree, and what came before it."""

    repository: Repository
    tree: CommitTree
    where: Revision

    def held(self, datacenter_id: str | None, folder: Path | None) -> Held:
        """What images held when a plan was applied last, where this host knows of one; else in the commit before."""
        repository, tree, where = self
        committed = where.commit is not None
        applied = _applied(datacenter_id, folder) if datacenter_id is not None else None
        if applied is not None and applied.root == where.root and repository.objects.find(applied.tree) is not None:
            return held(repository, applied.tree, tree, when="when a plan was applied last", committed=committed)
        parent = repository.objects.find(f"{where.commit}^" if committed else "HEAD")
        try:
            before = repository.tree(parent.id, where.root) if parent is not None else ""
        except RevisionMissing:
            before = ""  # the folder is new
        words = f"in commit {parent.id[:7]}" if parent is not None else ""
        return held(repository, before, tree, when=words, committed=committed)


def _applied(datacenter_id: str, folder: Path | None) -> Applied | None:
    """What was applied last, as far as it can be told here: who validates may have no state folder."""
    state = State(folder or state_folder(datacenter_id))
    try:
        ours = (state.folder / "datacenter").read_text().strip() == datacenter_id
        return read(state.journal).applied if ours else None
    except (OSError, TrueupError):
        return None


@contextmanager
def _tree(root: Path | Mirror, revision: str | None) -> Iterator[tuple[Tree, Revision, Repository | None]]:
    """The tree at a revision, or as it stands: what a commit of everything would hold; without git, the files."""
    try:
        repository = Repository.open(root) if isinstance(root, Path) else root.fetch()
    except (SourceRefused, SourceUnreadable):
        if revision is not None or not isinstance(root, Path):
            raise
        yield FolderTree(root), Revision(commit=None, tree=""), None
        return
    with repository:
        beneath = repository.root_of(root) if isinstance(root, Path) else ""
        if revision is None and repository.top is not None:
            working = snapshot(repository, beneath)
            try:
                yield working.tree, working.revision, repository
            finally:
                working.close()
            return
        where = repository.revision(revision, root=beneath)
        tree = CommitTree(repository.folder, where.tree)
        try:
            yield tree, where, repository
        finally:
            tree.close()


def _print_mistakes(root: Path | Mirror, mistakes: tuple[Diagnostic, ...]) -> None:
    prefix = "" if root == Path(".") or not isinstance(root, Path) else f"{root}/"
    for mistake in mistakes:
        print(f"{prefix}{mistake}")
    files = len({mistake.file for mistake in mistakes})
    count = len(mistakes)
    say(f"{count} mistake{'s' if count > 1 else ''} in {files} file{'s' if files > 1 else ''}")


def _summary(desired: Desired) -> str:
    counts = Counter(kind_of(ref) for ref in desired.resources)
    parts = [f"{len(desired.nodes)} node{'s' if len(desired.nodes) != 1 else ''}"]
    for kind in ("Network", "Image", "Volume", "Machine"):
        count = counts.get(kind, 0)
        if kind == "Volume" and not count:
            continue
        parts.append(f"{count} {kind.lower()}{'s' if count != 1 else ''}")
    return f"{desired.datacenter}: {', '.join(parts)}; no mistakes"
