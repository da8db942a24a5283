"""`trueup undo` and `trueup restore`: the commit that takes something back, so that git keeps saying what is wanted.

Owns: which files go back to what, and the words for it. Must not go here: committing (edge.git), planning the result.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping

import anyio

from reconciler.cli import session
from reconciler.cli.exits import Exit
from reconciler.cli.selection import full_ref
from reconciler.cli.session import Opened
from reconciler.cli.terminal import confirmed, say
from reconciler.core.ledger import Applied
from reconciler.core.refs import Ref, short
from reconciler.edge.chain import Chain
from reconciler.edge.git import CommitTree, commit_files
from reconciler.edge.load.loader import Loader
from reconciler.errors import SpecErrors, UsageError

Edits = dict[str, bytes | None]


def undo(args: Namespace) -> int:
    """Back to what was applied before."""
    return anyio.run(_undo, args)


async def _undo(args: Namespace) -> int:
    async with session.placed(args) as opened:
        history = _history(opened)
        if len(history) < 2:
            raise UsageError("nothing was applied before the last revision", hint="git log, git revert")
        last, before = history[-1], history[-2]
        edits = _backwards(opened, last.tree, before.tree)
        message = f"Undo {last.revision[:12]}\n\nBack to what was applied before it, {before.revision[:12]}.\n"
        return _commit(opened, edits, message, args)


def restore(args: Namespace) -> int:
    """Bring a removed document back."""
    return anyio.run(_restore, args)


async def _restore(args: Namespace) -> int:
    async with session.placed(args) as opened:
        ref = full_ref(args.ref)
        if ref in opened.source.loader.desired.resources:
            raise UsageError(f"{short(ref)} is in git: nothing is to be brought back", hint="trueup plan")
        history = _history(opened)
        for before, after in zip(reversed(history[:-1]), reversed(history[1:]), strict=True):
            file = _file_of(opened, before.tree, ref)
            if file is None:
                continue
            edits = _backwards(opened, after.tree, before.tree, only=file)
            message = f"Restore {short(ref)}\n\nIts document is back as it was in {before.revision[:12]}.\n"
            return _commit(opened, edits, message, args)
        raise UsageError(f"nothing that was applied here held {ref}", hint="git log -S NAME finds it")


def _history(opened: Opened) -> list[Applied]:
    """What was applied, oldest first, each tree once in a row. Raises StateUnusable where there is no journal."""
    chain = Chain.open(opened.state.journal, read_only=True)
    try:
        found: list[Applied] = []
        for record in chain.records():
            entry = record.entry
            if isinstance(entry, Applied) and (not found or found[-1].tree != entry.tree):
                found.append(entry)
        return found
    finally:
        chain.close()


def _file_of(opened: Opened, tree: str, ref: Ref) -> str | None:
    """The file that holds a ref's document in a tree; None if it holds none, or cannot be read."""
    if opened.repository.objects.find(tree) is None:
        return None
    found = CommitTree(opened.repository.folder, tree)
    try:
        loader = Loader(opened.registry)
        loader.load(found)
        declared = loader.declared(ref)
        return declared.file if declared is not None else None
    except SpecErrors:
        return None
    finally:
        found.close()


def _backwards(opened: Opened, now: str, before: str, *, only: str = "") -> Edits:
    """The edits that take what lies between two trees back, at HEAD. Raises UsageError where a file moved on since."""
    repository = opened.repository
    root = f"{opened.source.root}/" if opened.source.root else ""
    head = repository.tree(repository.commit("HEAD"), opened.source.root)
    moved = {change.path: change.after for change in repository.difference.between(now, head)}
    edits: Edits = {}
    clashes: list[str] = []
    for change in repository.difference.between(now, before):
        if only and change.path != only:
            continue
        if change.path in moved and moved[change.path] != change.after:
            clashes.append(change.path)
        elif change.path not in moved:
            edits[root + change.path] = repository.objects.read(change.after) if change.after else None
    if clashes:
        raise UsageError(
            f"{', '.join(clashes)} changed since: it cannot be taken back without losing that",
            hint="git revert, or edit it by hand",
        )
    if not edits:
        raise UsageError("git holds it already", hint="trueup plan")
    return edits


def _commit(opened: Opened, edits: Mapping[str, bytes | None], message: str, args: Namespace) -> int:
    """Make the commit, or tell how to."""
    subject = message.partition("\n")[0]
    for path, data in sorted(edits.items()):
        known = opened.repository.objects.find(f"HEAD:{path}") is not None
        print(f"  {'-' if data is None else '~' if known else '+'} {path}")
    if args.print_only:
        print(f"It would be committed as: {subject}")
        return Exit.DONE
    if not confirmed(f"Commit this as {subject!r}?", yes=args.yes):
        say("Nothing was done.")
        return Exit.ERROR
    commit = commit_files(opened.repository, edits, message)
    print(f"Committed {commit[:12]}: {subject}. Nothing is applied yet: trueup plan")
    return Exit.DONE
