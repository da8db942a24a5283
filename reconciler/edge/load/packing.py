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

    def parts(self, body: bytes) -> Parts:
        return (
            body, self.references, self.demand, self.nics, self.constraints, self.protected, self.behaviour,
        )  # fmt: skip


Parts = tuple[bytes, tuple[Ref, ...], Demand, tuple[NicWant, ...], Constraints, bool, Behaviour]
"""A Resource behind its ref and its digest, as it takes them."""


class PackedResource(msgspec.Struct, array_like=True, frozen=True):
    ref: Ref
    digest: str
    shared: int
    body: int
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
    """Machines of which only the name is news, one in each place of these columns. `kinds`: numbers of what is the same
    of all of a kind."""

    files: list[int] = []
    kinds: list[int] = []
    refs: list[Ref] = []
    digests: list[str] = []


class Foreign(msgspec.Struct, tag=True, frozen=True):
    """Files that are not machines only, or that need what only the loader knows: (index, contents)."""

    files: list[tuple[int, bytes]]


class Batch(msgspec.Struct, tag=True, frozen=True):
    """Files lowered: (index, documents), and what appears for the first time: shared parts, uses, bodies, and kinds
    as the numbers of one each."""

    files: list[tuple[int, list[PackedDocument]]]
    likes: Likes
    shared: list[Shared]
    uses: list[tuple[str, ...]]
    bodies: list[bytes]
    kinds: list[tuple[int, int, int]]


class Irregular(msgspec.Struct, tag=True, frozen=True):
    """There is a mistake: the tree must be read the ordinary way, which knows how to tell it."""

    why: str


class Done(msgspec.Struct, tag=True, frozen=True):
    """The end of a phase."""


Kind = tuple[Parts, tuple[str, ...]]
"""What is the same of all machines of a kind: what they want, and their uses."""
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
        self._bodies: dict[bytes, int] = {}
        self._kinds: dict[tuple[int, int, int], int] = {}
        self._alive: list[Any] = []
        self._new = Batch([], Likes(), [], [], [], [])

    def resource(self, made: Resource) -> PackedResource:
        former = made.behaviour.renamed_from
        number, body = self.shared(made), self.body(made.body)
        return PackedResource(made.ref, made.digest, number, body, former if former != FIRST else None)

    def shared(self, made: Resource) -> int:
        """The number of its shared parts."""
        behaviour = made.behaviour
        former = behaviour.renamed_from
        # small records are interned where they are made, so that identity says enough; `_alive` keeps ids from reuse
        key = (
            id(made.nics), id(made.constraints), id(made.demand), made.references, made.protected, behaviour.drift,
            behaviour.ignore, behaviour.any_state, behaviour.replace, id(behaviour.update), former == FIRST,
        )  # fmt: skip
        number = self._known.get(key)
        if number is None:
            number = self._known[key] = len(self._known)
            self._alive.append(made)
            common = msgspec.structs.replace(behaviour, renamed_from=FIRST if former == FIRST else None)
            self._new.shared.append(
                Shared(made.references, made.demand, made.nics, made.constraints, made.protected, common)
            )
        return number

    def body(self, body: bytes) -> int:
        number = self._bodies.get(body)
        if number is None:
            number = self._bodies[body] = len(self._bodies)
            self._new.bodies.append(body)
        return number

    def used(self, uses: tuple[str, ...]) -> int:
        number = self._uses.get(uses)
        if number is None:
            number = self._uses[uses] = len(self._uses)
            self._new.uses.append(uses)
        return number

    def kind(self, shared: int, uses: int, body: int) -> int:
        """The number of machines of these shared parts, uses and this body."""
        key = (shared, uses, body)
        kind = self._kinds.get(key)
        if kind is None:
            kind = self._kinds[key] = len(self._kinds)
            self._new.kinds.append(key)
        return kind

    def like(self, files: list[int], kind: int, refs: list[Ref], digests: list[str]) -> None:
        """The files of these indexes are one machine of this kind each."""
        likes = self._new.likes
        likes.files += files
        likes.kinds += [kind] * len(files)
        likes.refs += refs
        likes.digests += digests

    def document(self, index: int, documents: list[PackedDocument]) -> None:
        self._new.files.append((index, documents))

    def batch(self) -> Batch:
        """What is new since the last batch."""
        made, self._new = self._new, Batch([], Likes(), [], [], [], [])
        return made


class Unpacker:
    """The receiving side, one per worker."""

    def __init__(self) -> None:
        self._shared: list[Shared] = []
        self._uses: list[tuple[str, ...]] = []
        self._bodies: list[bytes] = []
        self.kinds: list[Kind] = []
        """By their numbers."""

    def learn(self, batch: Batch) -> None:
        self._shared += batch.shared
        self._uses += batch.uses
        self._bodies += batch.bodies
        shared, uses, bodies = self._shared, self._uses, self._bodies
        self.kinds += [(shared[of].parts(bodies[body]), uses[used]) for of, used, body in batch.kinds]

    def uses(self, number: int) -> tuple[str, ...]:
        return self._uses[number]

    def resource(self, packed: PackedResource) -> Resource:
        made = Resource(packed.ref, packed.digest, *self._shared[packed.shared].parts(self._bodies[packed.body]))
        if packed.former is None:
            return made
        behaviour = msgspec.structs.replace(made.behaviour, renamed_from=Ref(packed.former))
        return msgspec.structs.replace(made, behaviour=behaviour)
