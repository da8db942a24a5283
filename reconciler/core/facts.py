"""What machines take from the world: kept small, as a fleet at rest has a million of them.

Owns: the record, and the table of all machines' by ref, a row of bytes each (some 60 of them, for 300).
Must not go here: what follows from them for others (world).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, MutableMapping
from typing import NamedTuple

import msgspec

from reconciler.core.desired import Demand
from reconciler.core.refs import Ref, Target
from reconciler.core.words import Values, Words

Addresses = tuple[tuple[Ref, str], ...]
"""(network, address without prefix length)."""


class Facts(msgspec.Struct, frozen=True, gc=False):
    """What one machine takes from the world: its place, its room there, its addresses, what it refers to."""

    target: Target | None = None
    demand: Demand = Demand()
    addresses: Addresses = ()
    had: Addresses = ()
    """Those of the addresses that it has already; the others only its document names."""
    needs: tuple[Ref, ...] = ()
    moving: Target | None = None
    """Where it may be too, and takes the same."""

    @property
    def places(self) -> tuple[Target, ...]:
        if self.moving is None:
            return () if self.target is None else (self.target,)
        return (self.moving,) if self.target is None else (self.target, self.moving)


NO_FACTS = Facts()


class Kind(NamedTuple):
    """What machines take from the world alike; the addresses on these networks are each one's own."""

    demand: Demand
    networks: tuple[Ref, ...]
    needs: tuple[Ref, ...]


class Resting(msgspec.Struct, frozen=True, array_like=True):
    """Machines of one target that are at rest if nobody else bears the ref or the identity of one, column by column."""

    kinds: list[Kind]
    refs: list[Ref]
    identities: list[int]
    """The sums of their uids (`sights.sum_of`)."""
    kind: list[int]
    """The place of each one's kind."""
    ips: list[tuple[str, ...]]
    """Of each, in the order of its kind's networks."""

    def facts(self, target: Target) -> Iterator[tuple[Ref, Facts]]:
        for ref, number, ips in zip(self.refs, self.kind, self.ips, strict=True):
            kind = self.kinds[number]
            held = tuple(zip(kind.networks, ips, strict=True))
            yield ref, Facts(target, kind.demand, held, held, kind.needs)

    def known_by(self, refs: list[Ref]) -> Resting:
        """By these objects of their refs."""
        return Resting(self.kinds, refs, self.identities, self.kind, self.ips)

    def but(self, others: Collection[Ref]) -> Resting:
        """Without these."""
        places = [place for place, ref in enumerate(self.refs) if ref not in others]
        identities, kind = [self.identities[place] for place in places], [self.kind[place] for place in places]
        ips = [self.ips[place] for place in places]
        return Resting(self.kinds, [self.refs[place] for place in places], identities, kind, ips)


class _Row(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Facts; numbers stand for words."""

    target: int
    demand: int
    needs: int
    addresses: tuple[tuple[int, str], ...]
    had: tuple[tuple[int, str], ...] | None = None
    """None: all of the addresses."""
    moving: int = 0


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Row).decode


class FactsTable(MutableMapping[Ref, Facts]):
    """A map, in no order that means anything. What is taken out is frozen; a change is put in again."""

    def __init__(self, words: Words) -> None:
        self.rows: dict[Ref, bytes] = {}
        self._words = words

    def __getitem__(self, ref: Ref) -> Facts:
        return opened(self.rows[ref], self._words.values)

    def find(self, ref: Ref) -> Facts:
        """NO_FACTS where there are none."""
        row = self.rows.get(ref)
        return NO_FACTS if row is None else opened(row, self._words.values)

    def __contains__(self, ref: object) -> bool:
        return ref in self.rows

    def __setitem__(self, ref: Ref, facts: Facts) -> None:
        self.rows[ref] = self.packed(facts)

    def add(self, target: Target, found: Resting) -> None:
        """Those of many at once."""
        number, rows = self._words.number, self.rows
        place, kinds = number(target), list[tuple[int, int, tuple[int, ...]]]()
        for each in found.kinds:
            networks = tuple([number(network) for network in each.networks])
            kinds.append((number(each.demand), number(each.needs), networks))
        for ref, kind, ips in zip(found.refs, found.kind, found.ips, strict=True):
            demand, needs, networks = kinds[kind]
            rows[ref] = _encode(_Row(place, demand, needs, tuple(zip(networks, ips, strict=True))))

    def __delitem__(self, ref: Ref) -> None:
        del self.rows[ref]

    def __iter__(self) -> Iterator[Ref]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def packed(self, facts: Facts) -> bytes:
        """A row."""
        number = self._words.number
        addresses = tuple([(number(network), ip) for network, ip in facts.addresses])
        had = None
        if facts.had is not facts.addresses and facts.had != facts.addresses:
            had = tuple([(number(network), ip) for network, ip in facts.had])
        row = _Row(
            number(facts.target), number(facts.demand), number(facts.needs), addresses, had, number(facts.moving)
        )  # fmt: skip
        return _encode(row)


def opened(row: bytes, words: Values) -> Facts:
    """What a row tells. `words`: what its numbers stand for."""
    found = _decode(row)
    addresses = tuple([(words[network], ip) for network, ip in found.addresses])
    had = addresses if found.had is None else tuple([(words[network], ip) for network, ip in found.had])
    demand, needs, moving = words[found.demand], words[found.needs], words[found.moving]
    return Facts(words[found.target], demand, addresses, had, needs, moving)
