"""`trueup validate`: every mistake of a tree, in words or as JSON.

Owns: what is printed. Must not go here: the rules (edge/load).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reconciler.cli.exits import Exit
from reconciler.cli.terminal import say, show_json
from reconciler.core.desired import Desired, Revision
from reconciler.core.refs import kind_of
from reconciler.edge.git.mirror import Mirror
from reconciler.edge.load import FolderTree, Loader, Tree
from reconciler.edge.registry import Registry
from reconciler.errors import Diagnostic, SourceRefused, SourceUnreadable, SpecErrors


def validate(root: Path | Mirror, *, revision: str | None, as_json: bool) -> int:
    """Print every mistake, or what the tree holds: of a folder, or of a remote repository. Raises what reading a
    revision raises."""
    mistakes: tuple[Diagnostic, ...] = ()
    with _tree(root, revision) as (tree, where):
        loader = Loader(Registry())
        try:
            delta = loader.load(tree, where)
        except SpecErrors as error:
            mistakes = error.diagnostics
    if as_json:
        warnings = () if mistakes else delta.warnings
        show_json({"valid": not mistakes, "diagnostics": mistakes, "warnings": warnings})
        return Exit.ERROR if mistakes else Exit.DONE
    if mistakes:
        _print_mistakes(root, mistakes)
        return Exit.ERROR
    for warning in delta.warnings:
        say(f"warning: {warning.file}: {warning.summary} ({warning.fix})")
    print(_summary(delta.desired))
    return Exit.DONE


@contextmanager
def _tree(root: Path | Mirror, revision: str | None) -> Iterator[tuple[Tree, Revision]]:
    """The tree at a revision, or as it stands: what a commit of everything would hold; without git, the files."""
    from reconciler.edge.git import CommitTree, Repository, snapshot

    try:
        repository = Repository.open(root) if isinstance(root, Path) else root.fetch()
    except (SourceRefused, SourceUnreadable):
        if revision is not None or not isinstance(root, Path):
            raise
        yield FolderTree(root), Revision(commit=None, tree="")
        return
    with repository:
        beneath = repository.root_of(root) if isinstance(root, Path) else ""
        if revision is None and repository.top is not None:
            working = snapshot(repository, beneath)
            try:
                yield working.tree, working.revision
            finally:
                working.close()
            return
        where = repository.revision(revision, root=beneath)
        tree = CommitTree(repository.folder, where.tree)
        try:
            yield tree, where
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
    for kind in ("Network", "Image", "Machine"):
        count = counts.get(kind, 0)
        parts.append(f"{count} {kind.lower()}{'s' if count != 1 else ''}")
    return f"{desired.datacenter}: {', '.join(parts)}; no mistakes"
