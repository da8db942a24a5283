"""Where a command works, as far as git alone tells: repository, drivers, source, and who reads its tree.

Owns: opening these. For a command that looks that is done before the rest of its modules is imported, so that a small
tree is read meanwhile. Light, therefore. Must not go here: state folder, journal, secrets (opened).
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.cli.remotes import mirror_of
from reconciler.cli.running import repository_of
from reconciler.edge.git import Repository
from reconciler.edge.registry import Registry
from reconciler.edge.remembered import TreeMemory
from reconciler.edge.source import GitSource
from reconciler.waiting import before

if TYPE_CHECKING:
    from argparse import Namespace


class Place:
    """To be left in any case (`with`)."""

    def __init__(self, args: Namespace, *, ahead: bool) -> None:
        """`ahead`: all of the tree will be asked for. Raises what opening raises."""
        self.registry = Registry()
        where = args.directory or "."
        with ExitStack() as opened:
            mirror = mirror_of(where, args.state)
            repository = mirror.fetch() if mirror else repository_of(args, Path(where))
            self.repository: Repository = opened.enter_context(repository)
            root = "" if mirror else self.repository.root_of(Path(where))
            self.source = source = GitSource(self.repository, self.registry, root=root, mirror=mirror)
            memory = source.memory = TreeMemory.of_user(self.registry)
            opened.callback(memory.settle)
            source.dirty = bool(getattr(args, "dirty", False))
            revision = getattr(args, "revision", None)
            self.hint = source.hinted_id(revision) if ahead else None
            """What the datacenter's id seems to be, where the tree is not known yet."""
            if self.hint is not None:
                from reconciler.cli.apart import begun

                source.apart = begun(source, revision)
            opened.callback(self._end_reading)
            self._opened = opened.pop_all()

    def _end_reading(self) -> None:
        if self.source.apart is not None:
            self.source.apart.end()

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()


def place_ahead(args: Namespace) -> None:
    """Opens it already, where a command that has begun looks at what is in a repository here. Raises what opening
    raises."""
    if args.opening is not None and not getattr(args, "observation", None):
        args.place = before(lambda: Place(args, ahead=True))


def place_of(args: Namespace, *, ahead: bool) -> Place:
    """The one that is open already, the first time; a command may open a session after another."""
    place, args.place = getattr(args, "place", None), None
    return place if place is not None else Place(args, ahead=ahead)
