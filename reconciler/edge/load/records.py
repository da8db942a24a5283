"""What the loader remembers of the last good tree, and how changes are laid over it until they prove good.

Owns: the indexes that keep an edit's cost with what it touches. Must not go here: reading, rules.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar, cast

import msgspec

from reconciler.core.desired import Limits, NodeWant, Resource
from reconciler.core.refs import Ref
from reconciler.edge.load.defaults import KindDefaults
from reconciler.edge.load.document import Declared

K = TypeVar("K")
V = TypeVar("V")


class Document(msgspec.Struct, eq=False, gc=False):
    """One document of the tree. Its model is dropped; what it declared, uses and claims is kept."""

    file: str
    digest: bytes
    """Of its text and of the defaults beneath it; empty for the only document of a file, which the blob id tells."""
    names: Ref | tuple[Ref, ...] = ()
    """One as it is: nearly every document has one."""
    uses: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()

    @property
    def refs(self) -> tuple[Ref, ...]:
        """Names that it takes: what it declares, and the machines of a group."""
        return self.names if isinstance(self.names, tuple) else (self.names,)

    @refs.setter
    def refs(self, refs: tuple[Ref, ...]) -> None:
        self.names = refs[0] if len(refs) == 1 else refs


class FileRecord(msgspec.Struct, frozen=True, gc=False):
    """A file of a large tree is kept small: see `filed`."""

    id: bytes | str
    held: Document | tuple[Document, ...]

    @property
    def blob(self) -> str:
        return self.id if isinstance(self.id, str) else self.id.hex()

    @property
    def documents(self) -> tuple[Document, ...]:
        return self.held if isinstance(self.held, tuple) else (self.held,)


def filed(blob: str, documents: tuple[Document, ...]) -> FileRecord:
    """A file of this blob: its id in half the room, if it is one of git's, and the one document as it is that nearly
    every file is."""
    try:
        id = bytes.fromhex(blob)
    except ValueError:
        return FileRecord(blob, documents)
    return FileRecord(id, documents[0] if len(documents) == 1 else documents)


def filed_alone(blobs: Iterable[str], documents: Iterable[Document]) -> list[FileRecord]:
    """Files of one document each."""
    try:
        return list(map(FileRecord, map(bytes.fromhex, blobs), documents))
    except ValueError:
        return [filed(blob, (one,)) for blob, one in zip(blobs, documents, strict=True)]


class Total(msgspec.Struct):
    """What a tenant's machines take together."""

    machines: int = 0
    memory: int = 0
    cpu: int = 0
    disk: int = 0
    things: int = 0
    """Everything of the tenant, machines too."""


class _Gone:
    """Marks what a layer takes away."""


_GONE = _Gone()


class Layer(Generic[K, V]):
    """Changes laid over a dict: read through, applied at once or never."""

    def __init__(self, base: dict[K, V]) -> None:
        self.base = base
        self.over: dict[K, V | _Gone] = {}

    def get(self, key: K) -> V | None:
        found = self.over.get(key)
        if found is None:
            return self.base.get(key)
        return None if isinstance(found, _Gone) else found

    def __setitem__(self, key: K, value: V) -> None:
        self.over[key] = value

    def __delitem__(self, key: K) -> None:
        self.over[key] = _GONE

    def items(self) -> Iterator[tuple[K, V]]:
        """Everything, changes included; in no order that means anything."""
        for key, value in self.base.items():
            if key not in self.over:
                yield key, value
        for key, found in self.over.items():
            if not isinstance(found, _Gone):
                yield key, found

    def changed(self) -> Iterable[K]:
        return self.over.keys()

    def commit(self) -> None:
        if not self.base and _GONE not in self.over.values():
            self.base.update(cast(dict[K, V], self.over))
            return
        for key, found in self.over.items():
            if isinstance(found, _Gone):
                self.base.pop(key, None)
            else:
                self.base[key] = found


Uses = tuple[str, ...]
"""The keys that a document uses, sorted. Machines of a kind use the same: they share one tuple and stand in one set."""


class Using:
    """The reverse index: key → the combinations it occurs in → the documents of each."""

    def __init__(self) -> None:
        self.combinations: dict[str, set[Uses]] = {}
        self.documents: dict[Uses, set[Document]] = {}

    def of(self, key: str) -> set[Document]:
        found: set[Document] = set()
        for uses in self.combinations.get(key, ()):
            found |= self.documents[uses]
        return found

    def take(self, dropped: Mapping[Uses, set[Document]], added: Mapping[Uses, set[Document]]) -> None:
        for uses, documents in dropped.items():
            left = self.documents[uses]
            left -= documents
            if not left:
                self._forget(uses)
        for uses, documents in added.items():
            known = self.documents.get(uses)
            if known is not None:
                known |= documents
                continue
            self.documents[uses] = documents
            for key in uses:
                self.combinations.setdefault(key, set()).add(uses)

    def _forget(self, uses: Uses) -> None:
        del self.documents[uses]
        for key in uses:
            combinations = self.combinations[key]
            combinations.discard(uses)
            if not combinations:
                del self.combinations[key]


class Users:
    """Who uses a key. Changes are kept aside until committed."""

    def __init__(self, base: Using) -> None:
        self.base = base
        self.added: dict[Uses, set[Document]] = {}
        self.dropped: dict[Uses, set[Document]] = {}

    def of(self, key: str) -> set[Document]:
        """Those of the last good tree."""
        return self.base.of(key)

    def still(self, key: str, retired: Container[Document]) -> bool:
        """Whether a document of the last good tree that stays as it is uses it."""
        return any(one not in retired for one in self.of(key))

    def fresh(self) -> set[str]:
        """Keys that documents of this attempt use."""
        return {key for uses in self.added for key in uses}

    def drop(self, document: Document) -> None:
        self.dropped.setdefault(document.uses, set()).add(document)

    def add(self, document: Document) -> None:
        self.added.setdefault(document.uses, set()).add(document)

    def commit(self) -> None:
        self.base.take(self.dropped, self.added)


class Records:
    """The last good tree."""

    def __init__(self) -> None:
        self.files: dict[str, FileRecord] = {}
        self.others: dict[str, str] = {}
        """Files that are no documents: path → blob."""
        self.defaults: dict[str, Mapping[str, Any]] = {}
        """Folder → what its `_defaults.yaml` says."""
        self.owners: dict[Ref, Document] = {}
        self.entries: dict[Ref, Declared] = {}
        """Everything declared but machines."""
        self.datacenters: dict[Ref, Declared] = {}
        self.drivers: dict[str, int] = {}
        """How many nodes each driver has."""
        self.limits: dict[str, Limits] = {}
        """Of the tenants that have any."""
        self.capacities: dict[tuple[int | None, int | None], int] = {}
        """How many nodes say that they have so much memory and disk."""
        self.taken_from: dict[Ref, str] = {}
        """Images that are taken from a machine, with the machine's name as written."""
        self.rules: dict[Ref, bool] = {}
        """That there are firewall rules."""
        self.projects: dict[str, int] = {}
        """How many nodes give each tenant a project of its own, under `nodes`."""
        self.nodes: dict[str, NodeWant] = {}
        self.groups: dict[Ref, tuple[Ref, ...]] = {}
        """Groups of machines, by the ref of the group."""
        self.users = Using()
        self.claims: dict[str, Document] = {}
        self.totals: dict[str, Total] = {}
        self.resources: dict[Ref, Resource] = {}
        self.resolved: dict[tuple[str, str], KindDefaults] = {}
        """(folder, kind) → the defaults there, of documents read lately: as long as no `_defaults.yaml` changes."""
        self.frames: dict[Any, Any] = {}
        """What machines share that name the same things (frame.py), of those read lately: as long as nothing but
        machines changes."""

    def position(self, document: Document) -> int:
        """Which document of its file it is, from 0."""
        if not document.digest:
            return 0  # the only one
        return self.files[document.file].documents.index(document)
