"""What passes between the loader and its workers: bytes, never objects.

Owns: the messages and their packing. Must not go here: processes (bulk.py, worker.py).

What many machines share (references, interfaces, constraints, behaviour, uses) is sent once and then named by number.
"""

from __future__ import annotations

from typing import Any

import msgspec

from reconciler.core.desired import FIRST, Behaviour, Constraints, Demand, NicWant, Resource
from reconciler.core.refs import Ref


class Shared(msgspec.Struct, array_like=True, frozen=True):
    """The parts of a Resource that a fleet has few of."""

    references: tuple[Ref, ...]
    demand: Demand
    nics: tuple[NicWant, ...]
    constraints: Constraints
    protected: bool
    behaviour: Behaviour
    """Without a `renamed_from` of the machine's own."""
    body: bytes

    def resource(self, ref: Ref, digest: str) -> Resource:
        return Resource(
            ref, digest, self.body, self.references, self.demand, self.nics, self.constraints, self.protected,
            self.behaviour,
        )  # fmt: skip


class PackedResource(msgspec.Struct, array_like=True, frozen=True):
    ref: Ref
    digest: str
    shared: int
    former: str | None = None


class PackedDocument(msgspec.Struct, array_like=True, frozen=True):
    digest: bytes
    uses: int
    resources: list[PackedResource]
    refs: tuple[Ref, ...] = ()
    """The names that it takes, where they are not just those of its resources."""
    groups: dict[Ref, tuple[Ref, ...]] = {}
    claims: tuple[str, ...] = ()


class Likes(msgspec.Struct, array_like=True):
    """Machines of which only the name is news, one in each place of these columns. `kinds`: numbers of (shared, uses)
    pairs."""

    files: list[int] = []
    kinds: list[int] = []
    refs: list[Ref] = []
    digests: list[str] = []


class Foreign(msgspec.Struct, tag=True, frozen=True):
    """Files that are not machines only, or that need what only the loader knows: (index, contents)."""

    files: list[tuple[int, bytes]]


class Batch(msgspec.Struct, tag=True, frozen=True):
    """Files lowered: (index, documents), and the shared parts, uses and kinds that appear for the first time."""

    files: list[tuple[int, list[PackedDocument]]]
    likes: Likes
    shared: list[Shared]
    uses: list[tuple[str, ...]]
    kinds: list[tuple[int, int]]


class Irregular(msgspec.Struct, tag=True, frozen=True):
    """There is a mistake: the tree must be read the ordinary way, which knows how to tell it."""

    why: str


class Done(msgspec.Struct, tag=True, frozen=True):
    """The end of a phase."""


Message = Foreign | Batch | Irregular | Done

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Message)


def pack(message: Message) -> bytes:
    return _encoder.encode(message)


def unpack(data: bytes) -> Message:
    found: Message = _decoder.decode(data)
    return found


class Packer:
    """The sending side: numbers what is shared."""

    def __init__(self) -> None:
        self._known: dict[Any, int] = {}
        self._uses: dict[tuple[str, ...], int] = {}
        self._kinds: dict[tuple[int, int], int] = {}
        self._alive: list[Any] = []
        self._new = Batch([], Likes(), [], [], [])

    def resource(self, made: Resource) -> PackedResource:
        behaviour = made.behaviour
        former = behaviour.renamed_from
        # small records are interned where they are made, so that identity says enough; `_alive` keeps ids from reuse
        key = (
            id(made.nics), id(made.constraints), id(made.demand), made.references, made.protected, behaviour.drift,
            behaviour.ignore, behaviour.any_state, behaviour.replace, id(behaviour.update), former == FIRST, made.body,
        )  # fmt: skip
        number = self._known.get(key)
        if number is None:
            number = self._known[key] = len(self._known)
            self._alive.append(made)
            common = msgspec.structs.replace(behaviour, renamed_from=FIRST if former == FIRST else None)
            self._new.shared.append(
                Shared(
                    made.references, made.demand, made.nics, made.constraints, made.protected, common, made.body
                )
            )  # fmt: skip
        return PackedResource(made.ref, made.digest, number, former if former != FIRST else None)

    def used(self, uses: tuple[str, ...]) -> int:
        number = self._uses.get(uses)
        if number is None:
            number = self._uses[uses] = len(self._uses)
            self._new.uses.append(uses)
        return number

    def kind(self, shared: int, uses: int) -> int:
        """The number of machines of these shared parts and uses."""
        kind = self._kinds.get((shared, uses))
        if kind is None:
            kind = self._kinds[shared, uses] = len(self._kinds)
            self._new.kinds.append((shared, uses))
        return kind

    def like(self, index: int, kind: int, ref: Ref, digest: str) -> None:
        """The file of this index is one machine of this kind."""
        likes = self._new.likes
        likes.files.append(index)
        likes.kinds.append(kind)
        likes.refs.append(ref)
        likes.digests.append(digest)

    def document(self, index: int, documents: list[PackedDocument]) -> None:
        self._new.files.append((index, documents))

    def batch(self) -> Batch:
        """What is new since the last batch."""
        made, self._new = self._new, Batch([], Likes(), [], [], [])
        return made


class Unpacker:
    """The receiving side, one per worker."""

    def __init__(self) -> None:
        self._shared: list[Shared] = []
        self._uses: list[tuple[str, ...]] = []
        self._kinds: list[tuple[Shared, tuple[str, ...]]] = []

    def learn(self, batch: Batch) -> None:
        self._shared += batch.shared
        self._uses += batch.uses
        self._kinds += [(self._shared[shared], self._uses[uses]) for shared, uses in batch.kinds]

    def uses(self, number: int) -> tuple[str, ...]:
        return self._uses[number]

    def kind(self, number: int) -> tuple[Shared, tuple[str, ...]]:
        return self._kinds[number]

    def resource(self, packed: PackedResource) -> Resource:
        made = self._shared[packed.shared].resource(packed.ref, packed.digest)
        if packed.former is None:
            return made
        behaviour = msgspec.structs.replace(made.behaviour, renamed_from=Ref(packed.former))
        return msgspec.structs.replace(made, behaviour=behaviour)
