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


class Foreign(msgspec.Struct, tag=True, frozen=True):
    """Files that are not machines only, or that need what only the loader knows: (index, contents)."""

    files: list[tuple[int, bytes]]


class Batch(msgspec.Struct, tag=True, frozen=True):
    """Files lowered: (index, documents), and the shared parts and uses that appear for the first time."""

    files: list[tuple[int, list[PackedDocument]]]
    shared: list[Shared]
    uses: list[tuple[str, ...]]


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
        self._alive: list[Any] = []
        self.shared: list[Shared] = []
        self.uses: list[tuple[str, ...]] = []

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
            self.shared.append(
                Shared(
                    made.references, made.demand, made.nics, made.constraints, made.protected, common, made.body
                )
            )  # fmt: skip
        return PackedResource(made.ref, made.digest, number, former if former != FIRST else None)

    def used(self, uses: tuple[str, ...]) -> int:
        number = self._uses.get(uses)
        if number is None:
            number = self._uses[uses] = len(self._uses)
            self.uses.append(uses)
        return number

    def batch(self, files: list[tuple[int, list[PackedDocument]]]) -> Batch:
        """The files with what is new since the last batch."""
        made = Batch(files, self.shared, self.uses)
        self.shared, self.uses = [], []
        return made


class Unpacker:
    """The receiving side, one per worker."""

    def __init__(self) -> None:
        self._shared: list[Shared] = []
        self._uses: list[tuple[str, ...]] = []

    def learn(self, batch: Batch) -> None:
        self._shared += batch.shared
        self._uses += batch.uses

    def uses(self, number: int) -> tuple[str, ...]:
        return self._uses[number]

    def resource(self, packed: PackedResource) -> Resource:
        shared = self._shared[packed.shared]
        behaviour, former = shared.behaviour, packed.former
        if former is not None:
            behaviour = msgspec.structs.replace(behaviour, renamed_from=Ref(former))
        return Resource(
            packed.ref, packed.digest, shared.body, shared.references, shared.demand, shared.nics, shared.constraints,
            shared.protected, behaviour,
        )  # fmt: skip
