"""When what was laid down may be believed, and where it lies.

Owns: the index of one state folder: what it hangs on, and that it is void on any doubt. Must not go here: how anything
is laid down (planning, documents), what is done with a planner that was taken up.

A planner stands on a revision, the journal, the nodes' reports and this program. The revision may have moved on: what
lies between is read as a running loop reads it. For the rest there is a token each, which has to be what it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from reconciler.core.desired import NodeWant
from reconciler.core.ledger import Intent, Record, Result
from reconciler.core.planner import Planner
from reconciler.core.refs import Ref
from reconciler.core.shape import Shape
from reconciler.core.values import digest
from reconciler.driver import Capability
from reconciler.edge.chain import Chain
from reconciler.edge.index import planning
from reconciler.edge.index.known import Documents, Laid
from reconciler.edge.index.shelves import Doubt, Reader, Writer
from reconciler.edge.remembered import program
from reconciler.edge.still import Overview
from reconciler.errors import TrueupError

if TYPE_CHECKING:
    from reconciler.edge.index.meanwhile import Meanwhile
    from reconciler.edge.load.tree import Tree

WORTHWHILE = 100
"""Resources below which everything is read as quickly."""
_RECORDS = 5_000
"""Entries of the journal beyond which it is read from its beginning."""
_SECRETIVE = 1_000
"""Resources that name a secret, beyond which nothing is kept: each is looked at every time."""


class Ground(NamedTuple):
    """What an index stands on beside the revision and the nodes. `place`: where the repository lies."""

    place: str
    drivers: tuple[str, ...]
    journal: Path


class _Whole(msgspec.Struct):
    key: str
    sequence: int
    head: bytes
    overviews: tuple[Overview, ...]
    nodes: list[tuple[str, str, list[str]]]
    """Driver, address, and the names of the nodes that are reached there."""
    since: float
    planning: planning.Whole
    documents: msgspec.Raw
    """Of `documents.Whole`: the models are imported only once they are needed."""
    secretive: list[Ref]


def _head(journal: Path) -> tuple[int, bytes]:
    """Sequence and hash of the last row; (0, b"") where there is no journal. Raises TrueupError."""
    if not journal.exists():
        return 0, b""
    chain = Chain.open(journal, read_only=True)
    try:
        return chain.head
    finally:
        chain.close()


def _since(journal: Path, sequence: int, head: bytes) -> list[Record] | None:
    """What was journalled since; None if that is much. Raises TrueupError, also where another journal lies there."""
    if _head(journal) == (sequence, head):
        return []
    chain = Chain.open(journal, read_only=True)
    try:
        return chain.records_after(sequence, head) if chain.sequence - sequence <= _RECORDS else None
    finally:
        chain.close()


def _key(ground: Ground) -> str:
    return digest([ground.place, program(), *sorted(ground.drivers)])


def _by_address(nodes: Iterable[NodeWant]) -> list[tuple[str, str, list[str]]]:
    found: dict[tuple[str, str], list[str]] = {}
    for node in nodes:
        found.setdefault((node.driver, node.address), []).append(node.name)
    return [(*key, names) for key, names in sorted(found.items())]


class Index:
    """The index of one state folder. Losing it costs time alone."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def there(self) -> bool:
        return self._path.exists()

    def keep(
        self,
        ground: Ground,
        overviews: tuple[Overview, ...],
        planner: Planner,
        known: Documents | Laid | Meanwhile,
        now: float,
    ) -> bool:
        """Lay down a planner that has planned, and what its revision was read from. `overviews`: as in `still`, asked
        for before the nodes were. Best effort; whether it was kept."""
        if len(planner.world.resources) < WORTHWHILE or len(known.secretive) > _SECRETIVE:
            return False
        try:
            sequence, head = _head(ground.journal)
            if planner.world.ledger.sequence != sequence:
                return False  # what this process alone has noted is in no journal
            with Writer(self._path) as writer:
                made = planning.write(planner, writer)
                read = known.lay(writer)  # another process may be at it, and at these
                if not writer.has("bindings.single"):
                    planning.write_bindings(planner.world.ledger.bindings, writer)
                secretive = sorted(known.secretive)
                nodes = _by_address(planner.world.nodes.values())
                writer.whole = _Whole(_key(ground), sequence, head, overviews, nodes, now, made, read, secretive)
        except (OSError, TrueupError):
            return False
        return True

    def open(self, ground: Ground, overview: Callable[[str, str], str | None], now: float) -> Kept | None:
        """What was laid down, if it may be believed."""
        try:
            reader = Reader(self._path)
            whole = msgspec.msgpack.decode(reader.whole, type=_Whole)
            if whole.key != _key(ground) or now < whole.since:
                return None
            records = _since(ground.journal, whole.sequence, whole.head)
        except (OSError, Doubt, TrueupError, msgspec.DecodeError):
            return None
        if records is None:
            return None
        now_told = {(driver, address): overview(driver, address) for driver, address, _ in whole.overviews}
        told = {(driver, address) for driver, address, token in whole.overviews if now_told[driver, address] == token}
        stale = [name for driver, address, names in whole.nodes if (driver, address) not in told for name in names]
        overviews = tuple((*key, token) for key, token in now_told.items() if token is not None)
        every = len(overviews) == len(whole.nodes)
        return Kept(reader, whole, records, stale, overviews if every else None)


class Kept:
    """What was laid down, to be taken up once. Whoever asks it, or what it gives, may meet Doubt."""

    def __init__(
        self,
        reader: Reader,
        whole: _Whole,
        records: list[Record],
        stale: list[str],
        overviews: tuple[Overview, ...] | None,
    ) -> None:
        self._reader = reader
        self._whole = whole
        self._records = records
        self.revision = whole.planning.revision
        self.stale = stale
        """Names of the nodes that may say other than they did: they have to be asked."""
        self.overviews = overviews
        """Of all nodes, as in `still`, when this was opened: those that are not stale said the same before. None where
        there are nodes without."""

    def planner(self, shapes: Mapping[str, Shape]) -> Planner:
        """The planner, told of what was journalled since. What the other nodes said then they would say now."""
        planner = planning.read(self._reader, self._whole.planning, shapes)
        world = planner.world
        for record in self._records:
            world.take_record(record)
        targets = dict.fromkeys(each.entry.target for each in self._records if isinstance(each.entry, (Intent, Result)))
        for target in targets:
            report = world.reports.get(target)
            if report is not None:
                planner.take_report(msgspec.structs.replace(report, began=world.ledger.sequence))
        return planner

    def documents(self, tree: Tree, capabilities: Mapping[str, Capability], planner: Planner) -> Documents:
        """`tree`: any that reads the repository's blobs; `planner`: the one that was taken up."""
        from reconciler.edge.index import documents

        whole = msgspec.msgpack.decode(self._whole.documents, type=documents.Whole)
        records = documents.read(self._reader, whole, tree, capabilities, planner.world.nodes)
        return Documents(records, self.revision, frozenset(self._whole.secretive))
