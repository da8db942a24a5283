"""`trueup undo` and `trueup restore`: the commit that takes something back, so that git keeps saying what is wanted.

Owns: which files go back to what, the words for it, and the holds where the commit is only told and not made. Must not
go here: committing (edge.git), planning the result.
"""

from __future__ import annotations

from argparse import Namespace
from typing import NamedTuple

import anyio

from reconciler.cli.exits import Exit
from reconciler.cli.opened import Opened, placed
from reconciler.cli.selection import full_ref
from reconciler.cli.singling import brought_back
from reconciler.cli.steering import note
from reconciler.cli.terminal import confirmed, say
from reconciler.core.ledger import Applied, Held
from reconciler.core.refs import PER_TARGET, Ref, kind_of, short
from reconciler.edge.chain import Chain
from reconciler.edge.git import CommitTree
from reconciler.edge.git.commit import commit_files
from reconciler.edge.load.document import Declared
from reconciler.edge.load.loader import Loader
from reconciler.errors import SpecErrors, UsageError

Edits = dict[str, bytes | None]


class _About(NamedTuple):
    """The things that a commit is about, and what their holds say where it is not made."""

    refs: list[Ref]
    sentence: str


def undo(args: Namespace) -> int:
    """Back to what was applied before."""
    return anyio.run(_undo, args)


async def _undo(args: Namespace) -> int:
    async with placed(args) as opened:
        history = _history(opened)
        if len(history) < 2:
            raise UsageError("nothing was applied before the last revision", hint="git log, git revert")
        last, before = history[-1], history[-2]
        for each in (before, last):
            if opened.repository.objects.find(each.tree) is None:
                raise UsageError(
                    f"{_shown(each.revision)} was applied, and git does not have it: there is no way back to it",
                    hint="git log, git revert",
                )
        edits = _backwards(opened, last.tree, before.tree)
        message = f"Undo {_shown(last.revision)}\n\nBack to what was applied before it, {_shown(before.revision)}.\n"
        sentence = f"undoing {last.revision[:7]} was asked for, and no commit does it yet"
        about = _About(_differing(opened, last.tree, before.tree), sentence)
        return await _given(opened, edits, message, about, args)


def _shown(revision: str) -> str:
    return revision[:12] if ":" not in revision else "what was not committed"


def restore(args: Namespace) -> int:
    """Bring a removed document back."""
    return anyio.run(_restore, args)


async def _restore(args: Namespace) -> int:
    async with placed(args) as opened:
        ref = full_ref(args.ref)
        repository = opened.repository
        head = repository.tree(repository.commit("HEAD"), opened.source.root)
        if _declared(opened, head, ref) is not None:
            raise UsageError(f"{short(ref)} is in git: nothing is to be brought back", hint="trueup plan")
        for before in reversed(_history(opened)):
            declared = _declared(opened, before.tree, ref)
            if declared is None:
                continue
            was, now = (repository.objects.find(f"{tree}:{declared.file}") for tree in (before.tree, head))
            assert was is not None, "it was read a moment ago"
            data = brought_back(
                repository.objects.read(was.id), repository.objects.read(now.id) if now else None, declared
            )
            path = f"{opened.source.root}/{declared.file}" if opened.source.root else declared.file
            if data is None:
                raise UsageError(
                    f"{path}: {short(ref)} cannot be brought back without more that was changed with it",
                    hint=f"git revert; or edit it by hand: git show {before.revision[:12]}:{path}",
                )
            message = f"Restore {short(ref)}\n\nIts document is back as it was in {before.revision[:12]}.\n"
            sentence = "bringing it back was asked for, and no commit does it yet"
            return await _given(opened, {path: data}, message, _About([ref], sentence), args)
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


def _declared(opened: Opened, tree: str, ref: Ref) -> Declared | None:
    """A ref's document in a tree; None if it holds none, or cannot be read."""
    if opened.repository.objects.find(tree) is None:
        return None
    found = CommitTree(opened.repository.folder, tree)
    try:
        loader = Loader(opened.registry)
        loader.load(found)
        return loader.declared(ref)
    except SpecErrors:
        return None
    finally:
        found.close()


def _backwards(opened: Opened, now: str, before: str) -> Edits:
    """The edits that take what lies between two trees back, at HEAD. Raises UsageError where a file moved on since."""
    repository = opened.repository
    root = f"{opened.source.root}/" if opened.source.root else ""
    head = repository.tree(repository.commit("HEAD"), opened.source.root)
    moved = {change.path: change.after for change in repository.difference.between(now, head)}
    edits: Edits = {}
    clashes: list[str] = []
    for change in repository.difference.between(now, before):
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


async def _given(opened: Opened, edits: Edits, message: str, about: _About, args: Namespace) -> int:
    """Make the commit; or only tell of it, and hold what it is about until it, or another, is made."""
    subject = message.partition("\n")[0]
    for path, data in sorted(edits.items()):
        known = opened.repository.objects.find(f"HEAD:{path}") is not None
        print(f"  {'-' if data is None else '~' if known else '+'} {path}")
    if args.print_only:
        print(f"It would be committed as: {subject}")
        await _hold(opened, about, args)
        return Exit.DONE
    if not confirmed(f"Commit this as {subject!r}?", yes=args.yes):
        say("Nothing was done.")
        return Exit.ERROR
    commit = commit_files(opened.repository, edits, message)
    print(f"Committed {commit[:12]}: {subject}. Nothing is applied yet: trueup plan")
    return Exit.DONE


async def _hold(opened: Opened, about: _About, args: Namespace) -> None:
    """Neither the loop nor anybody's plan goes on with these, so that nothing fights who is about to commit."""
    wanted = (await opened.source.load()).resources
    digests = {ref: wanted[ref].digest if ref in wanted else "" for ref in about.refs}
    await note(args, opened.state, [Held(ref, about.sentence, digest, "resume") for ref, digest in digests.items()])
    for ref in about.refs:
        print(f"On hold until a commit changes its document, or trueup resume {short(ref)}: {ref}")


def _differing(opened: Opened, now: str, before: str) -> list[Ref]:
    """The things that two trees want otherwise."""
    loader, refs = Loader(opened.registry), set[Ref]()
    for tree in (now, before):
        found = CommitTree(opened.repository.folder, tree)
        try:
            delta = loader.load(found)
            refs = {*delta.changed, *delta.removed}
        finally:
            found.close()
    return sorted(ref for ref in refs if kind_of(ref) == "Machine" or kind_of(ref) in PER_TARGET)
