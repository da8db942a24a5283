"""Where a command works: repository, source, drivers, state folder, opened together once.

Owns: opening them, a large journal read beside the tree, and telling that nothing has changed since the last plan.
Light: a plan that is recalled needs no more than this. Must not go here: looking at nodes, writing (session).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from reconciler.cli.placing import place_of
from reconciler.edge.git import Repository
from reconciler.edge.registry import Registry
from reconciler.edge.secrets import ProvidedSecrets
from reconciler.edge.source import GitSource
from reconciler.edge.state import State, state_folder
from reconciler.edge.still import StillMemory, Unchanged, key_of
from reconciler.errors import Mend, TryLater

if TYPE_CHECKING:
    from argparse import Namespace

    from reconciler.cli.ahead import Ahead
    from reconciler.edge.git import Uncommitted

_MANY_FILES = 512 << 10
"""Bytes of git's index, some 5,000 files, beyond which looking at each takes as long as a recalled plan and more: of a
fresh checkout git reads every file each time, for we do not write to its index, which would spare it that."""


def _nothing(_: str) -> None:
    return None


class Opened(msgspec.Struct, frozen=True, dict=True):
    """What both kinds of session stand on."""

    repository: Repository
    source: GitSource
    registry: Registry
    state: State
    secrets: ProvidedSecrets
    datacenter_id: str
    ahead: Ahead | None = None

    @property
    def folder(self) -> Path:
        return (self.repository.top or self.repository.folder) / self.source.root

    @cached_property
    def still(self) -> StillMemory:
        keyed = self.source.keyed or _nothing
        return StillMemory(self.state.folder / "still", self.overview, keyed)

    def overview(self, driver: str, address: str) -> str | None:
        """One token for all nodes at an address, where the driver has one."""
        ask = getattr(self.registry.driver(driver), "overview", None) if driver in self.registry else None
        return ask(address, {"root": str(self.folder)}) if ask is not None else None

    def still_key(self, revision: str | None, *, read_to: int | None = None) -> str | None:
        """None where what is planned is not all in git here. `read_to`: as in `key_of`."""
        if self.source.dirty or self.source.mirrored:
            return None
        where = self.repository.revision(revision, root=self.source.root)
        return key_of(where, self.state.journal, self.folder, self.registry, read_to=read_to)

    def unchanged(self, revision: str | None, now: float) -> Unchanged | None:
        """The plan, if nothing at all has changed since it was found that there is nothing to do."""
        if not self.still.there:
            return None  # what it hangs on takes longer to tell
        key = self.still_key(revision)
        return self.still.recall(key, now) if key is not None else None

    def uncommitted(self) -> Uncommitted | None:
        """git looks for what is not committed, while a plan is made. None where it is not worth while."""
        from reconciler.edge.git import Uncommitted

        with suppress(OSError, TryLater, Mend):
            if (self.repository.git_folder / "index").stat().st_size < _MANY_FILES:
                return Uncommitted(self.repository, self.source.root)
        return None


@asynccontextmanager
async def placed(args: Namespace, *, ahead: bool = False) -> AsyncIterator[Opened]:
    """Repository, loader and state folder. Raises what loading raises where even the datacenter's id cannot be told.
    `ahead`: the journal will be asked for, so where that takes long it is read beside the tree."""
    with place_of(args, ahead=ahead) as place:
        source, registry = place.source, place.registry
        reading = _begun(args, place.hint) if place.hint is not None else None
        source.meanwhile = partial(_beside, reading) if ahead else None
        try:
            if source.apart is not None:
                _beside(reading)
            datacenter_id = await source.datacenter_id(getattr(args, "revision", None))
            state = State.open(datacenter_id, _named_folder(args))
            secrets = ProvidedSecrets.of(state)
            source.keyed = secrets.keyed_digest
            yield Opened(place.repository, source, registry, state, secrets, datacenter_id, reading)
        finally:
            if reading is not None:
                reading.end()


_LATER = (
    "reconciler.cli.resuming", "reconciler.cli.progress", "reconciler.cli.sources", "reconciler.edge.beside",
    "ctypes",
)  # fmt: skip
"""What a plan needs once the site is read (the last one for the clock). Importing it takes as long as a thousand
documents."""


def _beside(reading: Ahead | None) -> None:
    """While others read the site."""
    for name in _LATER:
        import_module(name)
    if reading is not None:
        reading.meanwhile()


def _begun(args: Namespace, hint: str) -> Ahead:
    from reconciler.cli.ahead import Ahead

    return Ahead(State(_named_folder(args) or state_folder(hint)).journal)


def _named_folder(args: Namespace) -> Path | None:
    return Path(args.state).absolute() if args.state else None
