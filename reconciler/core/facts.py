"""What machines take from the world: kept small, as a fleet at rest has a million of them.

Owns: the record, and the table of all machines' by ref, a row of bytes each (some 60 of them, for 300).
Must not go here: what follows from them for others (world).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, MutableMapping
from itertools import repeat
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
    """Facts; numbers stand for words. `kind`: that of the numbers of demand, needs, and networks of the `ips`."""

    target: int
    kind: int
    ips: tuple[str, ...]
    had: tuple[tuple[int, str], ...] | None = None
    """None: all of its addresses."""
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
        kinds = [self._kind(each.demand, each.needs, each.networks) for each in found.kinds]
        rows = map(_Row, repeat(self._words.number(target)), [kinds[kind] for kind in found.kind], found.ips)
        self.rows.update(zip(found.refs, map(_encode, rows), strict=True))

    def __delitem__(self, ref: Ref) -> None:
        del self.rows[ref]

    def __iter__(self) -> Iterator[Ref]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def packed(self, facts: Facts) -> bytes:
        """A row."""
        number, had = self._words.number, None
        if facts.had is not facts.addresses and facts.had != facts.addresses:
            had = tuple([(number(network), ip) for network, ip in facts.had])
        kind = self._kind(facts.demand, facts.needs, [network for network, _ in facts.addresses])
        ips = tuple([ip for _, ip in facts.addresses])
        return _encode(_Row(number(facts.target), kind, ips, had, number(facts.moving)))

    def _kind(self, demand: Demand, needs: tuple[Ref, ...], networks: Iterable[Ref]) -> int:
        number = self._words.number
        return number((number(demand), number(needs), *map(number, networks)))


def opened(row: bytes, words: Values) -> Facts:
    """What a row tells. `words`: what its numbers stand for."""
    found = _decode(row)
    demand, needs, *networks = words[found.kind]
    addresses = tuple(zip([words[network] for network in networks], found.ips, strict=True))
    had = addresses if found.had is None else tuple([(words[network], ip) for network, ip in found.had])
    return Facts(words[found.target], words[demand], addresses, had, words[needs], words[found.moving])
