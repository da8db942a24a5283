"""What a loader knows of a tree, laid down in tables, and taken up again so that it looks up only what it reads beside.

Owns: which of the loader's records go to disk, and as what. Must not go here: what they mean (edge/load).

A document's models are never kept: a thing that is named is read again from its text. Documents are known by their
identity, so each comes from the one shelf of files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from reconciler.core.desired import Limits, NodeWant
from reconciler.core.refs import Ref, kind_of
from reconciler.core.words import Words
from reconciler.driver import Capability
from reconciler.edge.index.resources import resources_of, write_resources
from reconciler.edge.index.shelves import Reader, Shelf, Tables
from reconciler.edge.load.attempt import Attempt
from reconciler.edge.load.document import Declared
from reconciler.edge.load.reading import Reader as Documents
from reconciler.edge.load.reading import defaults_in
from reconciler.edge.load.records import Document, FileRecord, Records, Total, Uses, Using, filed
from reconciler.edge.load.tree import Tree
from reconciler.edge.shares import DEFAULTS

Place = tuple[str, int]
"""File, and which document of it."""

Laid = tuple[bytes, Ref | tuple[Ref, ...], int, tuple[str, ...]]
"""A document's digest, names, uses and claims. What it uses is a number, which machines alike have in common."""

File = tuple[Any, tuple[Laid, ...]]
"""Its blob, as a FileRecord has it, and its documents."""


class Whole(msgspec.Struct):
    """What is read back at once."""

    drivers: dict[str, int]
    capacities: dict[tuple[int | None, int | None], int]
    limits: dict[str, Limits]
    taken_from: dict[Ref, str]
    rules: dict[Ref, bool]
    projects: dict[str, int]
    totals: dict[str, Total]
    datacenters: list[Ref]


# -- laying down -----------------------------------------------------------------------------------------------------


def write(records: Records, writer: Tables) -> Whole:
    """Lay down the records; what is to be kept whole is returned. Raises OSError."""

    files, owners, claims, users = records.files, records.owners, records.claims, records.users
    position, uses = records.position, Words()
    number = uses.number

    def place(one: Document) -> Place:
        return one.file, position(one) if one.digest else 0

    def file(path: str) -> File:
        record = files[path]
        held = record.held
        if not isinstance(held, tuple):  # nearly every one
            return record.id, ((held.digest, held.names, number(held.uses), held.claims),)
        return record.id, tuple([(one.digest, one.names, number(one.uses), one.claims) for one in held])

    writer.table("files", files, file, short=True)
    writer.table("uses", dict(enumerate(uses.values)))
    writer.table("others", records.others)
    writer.table("owners", owners, lambda ref: place(owners[ref]), short=True)
    writer.table("claims", claims, lambda key: place(claims[key]), short=True)
    writer.table("groups", records.groups)
    write_resources(records.resources, writer)
    writer.table("combinations", users.combinations)
    writer.table("users", users.documents, lambda uses: [place(one) for one in users.documents[uses]])
    return Whole(
        records.drivers, records.capacities, records.limits, records.taken_from, records.rules,
        records.projects, records.totals, list(records.datacenters),
    )  # fmt: skip


# -- taking up -------------------------------------------------------------------------------------------------------


def read(
    reader: Reader, whole: Whole, tree: Tree, capabilities: Mapping[str, Capability], nodes: dict[str, NodeWant]
) -> Records:
    """The records as they stood. `tree`: any that reads the repository's blobs; `nodes`: as the planner has them, so
    that nodes which did not change are the very same. Raises Doubt."""
    records = Records()
    files: Shelf[str, File] = Shelf.of(reader, "files", File)
    uses: Shelf[int, Uses] = Shelf.of(reader, "uses", Uses | None)

    def file(path: str) -> FileRecord:
        blob, documents = files[path]
        made = tuple([Document(path, digest, names, uses[used], claims) for digest, names, used, claims in documents])
        return filed(blob if isinstance(blob, str) else blob.hex(), made)

    known = Shelf(file, len(files))
    """As they were, whatever becomes of the records: places are told in these."""

    def document(place: Place) -> Document:
        return known[place[0]].documents[place[1]]

    def places(table: str) -> Shelf[Any, Document]:
        kept: Shelf[Any, Place] = Shelf.of(reader, table, Place)
        return Shelf(lambda key: document(kept[key]), len(kept))

    def thing(ref: Ref) -> Declared:
        """Read again from its text: everything but machines."""
        if kind_of(ref) == "Machine":
            raise KeyError(ref)
        reading = Documents(Attempt(records, tree, capabilities)).declare_again(records.owners[ref])
        for declared in reading.declared:
            if declared.ref == ref:
                return declared
        raise KeyError(ref)

    def defaults(folder: str) -> Mapping[str, Any]:
        path = f"{folder}/{DEFAULTS}" if folder else DEFAULTS
        return defaults_in(path, next(iter(tree.read([records.others[path]]))))[0]

    records.files = Shelf(known.__getitem__, len(known))
    records.others = Shelf.of(reader, "others", str)
    records.defaults = Shelf(defaults, len(records.others))
    records.owners, records.claims = places("owners"), places("claims")
    records.entries = Shelf(thing, len(records.owners))
    records.groups = Shelf.of(reader, "groups", tuple[Ref, ...])
    records.nodes = nodes
    records.resources = resources_of(reader)
    records.drivers, records.capacities, records.limits = whole.drivers, whole.capacities, whole.limits
    records.taken_from, records.rules, records.totals = whole.taken_from, whole.rules, whole.totals
    records.projects = whole.projects
    records.datacenters = {ref: records.entries[ref] for ref in whole.datacenters}
    records.users = _Kept(reader, document)
    return records


class _Kept(Using):
    """Who used what when it was laid down, and what has become of it since."""

    def __init__(self, reader: Reader, document: Callable[[Place], Document]) -> None:
        super().__init__()
        self._combinations: Shelf[str, list[Uses]] = Shelf.of(reader, "combinations", list[Uses])
        self._places: Shelf[Uses, list[Place]] = Shelf.of(reader, "users", list[Place])
        self._document = document
        self._gone: set[Document] = set()

    def of(self, key: str) -> set[Document]:
        kept = {self._document(place) for uses in self._combinations.get(key, ()) for place in self._places[uses]}
        return (kept | super().of(key)) - self._gone

    def take(self, dropped: Mapping[Uses, set[Document]], added: Mapping[Uses, set[Document]]) -> None:
        for documents in dropped.values():
            self._gone |= documents
        super().take({}, added)
