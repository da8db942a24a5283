"""Every binding, kept small: a fleet at rest is remembered by the million, and looked at seldom.

Owns: the bindings by (ref, target), the highest incarnation known of each ref, and how little room they take.
Must not go here: what an entry of the journal does to them (ledger).

Of a thing that is in one place there is one row of bytes, by its ref: what many have in common (targets, networks,
sizes, what was applied) is a number in it. A row is some 120 bytes, a Binding with all that it holds 500; opening one
takes a microsecond or two. Things with a realisation on each target are few, and kept as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, MutableMapping
from itertools import chain

import msgspec

from reconciler.core.binding import Address, Binding, bare
from reconciler.core.refs import PER_TARGET, Ref, Target, Uid, kind_of
from reconciler.core.words import Values, Words

Key = tuple[Ref, Target]


class Row(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A Binding but for its ref; numbers stand for words, 0 for None."""

    uid: Uid
    incarnation: int
    target: int
    addresses: tuple[tuple[int, str, str, bool], ...]
    demand: int
    sealed: int
    revision: int
    protected: bool
    quarantined_until: float | None
    moving: int


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Row).decode


class Bindings(MutableMapping[Key, Binding]):
    """A map, in no order that means anything. What is taken out is frozen; a change is put in again."""

    def __init__(self) -> None:
        self.single: dict[Ref, bytes] = {}
        """Rows of things that are in one place."""
        self.each: dict[Key, Binding] = {}
        self.spread: dict[Ref, dict[Target, None]] = {}
        """Where things are that are on several targets."""
        self.past: dict[Ref, int] = {}
        """The highest incarnation, where that is not the one of the bound thing."""
        self.words = Words()
        self._open: tuple[bytes, Binding] | None = None
        """The row that was opened last."""

    @classmethod
    def from_rows(cls, words: Words, each: Iterable[tuple[Ref, bytes]], past: dict[Ref, int]) -> Bindings:
        """Those of things with a realisation on each target, from rows. The rows of the others go into `single`."""
        found = cls()
        found.words = words
        for ref, row in each:
            binding = opened(words.one(ref), row, words.values)
            found[binding.ref, binding.target] = binding
        found.past = past
        return found

    # -- as a map --------------------------------------------------------------------------------------------------

    def __getitem__(self, key: Key) -> Binding:
        ref, target = key
        if kind_of(ref) in PER_TARGET:
            return self.each[key]
        found = self.sole(ref)
        if found is None or found.target != target:
            raise KeyError(key)
        return found

    def __setitem__(self, key: Key, binding: Binding) -> None:
        """A thing that is in one place is there from now on, and nowhere else."""
        ref, target = key
        highest, word = self.incarnation(ref), self.words.one
        if kind_of(ref) in PER_TARGET:
            self.each[word(ref), word(target)] = msgspec.structs.replace(
                binding, sealed=word(binding.sealed), revision=word(binding.revision)
            )
            self.spread.setdefault(word(ref), {})[word(target)] = None
            self.past[ref] = max(highest, binding.incarnation)
            return
        self.single[ref] = self.packed(binding)
        if highest > binding.incarnation:
            self.past[ref] = highest

    def __delitem__(self, key: Key) -> None:
        ref, target = key
        if kind_of(ref) in PER_TARGET:
            del self.each[key]
            here = self.spread[ref]
            del here[target]
            if not here:
                del self.spread[ref]
            return
        self.past[ref] = max(self[key].incarnation, self.past.get(ref, 0))
        del self.single[ref]

    def __iter__(self) -> Iterator[Key]:
        for ref, row in self.single.items():
            yield ref, self.words.values[_decode(row).target]
        yield from self.each

    def __len__(self) -> int:
        return len(self.single) + len(self.each)

    # -- by ref ----------------------------------------------------------------------------------------------------

    @property
    def refs(self) -> Iterator[Ref]:
        """Every ref that is bound."""
        return chain(self.single, self.spread)

    def sole(self, ref: Ref) -> Binding | None:
        """That of a thing which is in one place."""
        row = self.single.get(ref)
        if row is None:
            return None
        kept = self._open
        if kept is None or kept[0] is not row:  # one change asks ten times for one thing
            kept = self._open = (row, opened(ref, row, self.words.values))
        return kept[1]

    def row(self, ref: Ref) -> Row | None:
        """The same as it is kept, for whoever looks at very many: a Binding of it takes as long again to make."""
        row = self.single.get(ref)
        return None if row is None else _decode(row)

    def targets(self, ref: Ref) -> Collection[Target]:
        """Where a ref is bound, in no order that means anything."""
        row = self.single.get(ref)
        return self.spread.get(ref, ()) if row is None else (self.words.values[_decode(row).target],)

    def of(self, ref: Ref) -> tuple[Binding, ...]:
        """Every binding of a ref, in order of its targets."""
        found = self.sole(ref)
        if found is not None:
            return (found,)
        return tuple([self.each[ref, target] for target in sorted(self.spread.get(ref, ()))])

    def incarnation(self, ref: Ref) -> int:
        """The highest that was ever known; 0 if there was none."""
        row, past = self.single.get(ref), self.past.get(ref, 0)
        return past if row is None else max(past, _decode(row).incarnation)

    @property
    def incarnations(self) -> dict[Ref, int]:
        """The same of all refs: a walk through all of them."""
        return {ref: self.incarnation(ref) for ref in (*self.past, *self.single)}

    def seal(self, ref: Ref, uid: Uid, target: Target, fields: bytes, revision: str, *, protected: bool) -> bool:
        """These fields (JSON) were applied last to a thing that is in one place, and nothing of it is under way. False,
        and nothing done, if this very thing is not bound there. As taking it out and putting it in, in half the time:
        that is half of reading a journal back."""
        known = self.single.get(ref)
        found = _decode(known) if known is not None else None
        if found is None or found.uid != uid or self.words.values[found.target] != target:
            return False
        number = self.words.number
        sealed = number(bare(fields, ref, [(ip, mac) for _, ip, mac, _ in found.addresses]))
        last = (sealed, number(revision), protected, None, 0)
        row = Row(uid, found.incarnation, found.target, found.addresses, found.demand, *last)
        self.single[ref] = _encode(row)
        return True

    # -- packing ---------------------------------------------------------------------------------------------------

    def rename(self, own: Callable[[Collection[Ref]], list[Ref]]) -> None:
        """Know things by these objects of their refs, so that a fleet's names are kept once."""
        self.single = dict(zip(own(self.single), self.single.values(), strict=True))

    def packed(self, binding: Binding) -> bytes:
        """A row."""
        number = self.words.number
        addresses = tuple([(number(each.network), each.ip, each.mac, each.authored) for each in binding.addresses])
        return _encode(
            Row(
                binding.uid, binding.incarnation, number(binding.target), addresses, number(binding.demand),
                number(binding.sealed), number(binding.revision), binding.protected, binding.quarantined_until,
                number(binding.moving),
            )
        )  # fmt: skip


def opened(ref: Ref, row: bytes, words: Values) -> Binding:
    """What a row tells of this ref. `words`: what its numbers stand for."""
    found = _decode(row)
    addresses = tuple([Address(words[net], ip, mac, authored) for net, ip, mac, authored in found.addresses])
    return Binding(
        ref, found.uid, found.incarnation, words[found.target], addresses, words[found.demand],
        words[found.sealed], words[found.revision], found.protected, found.quarantined_until, words[found.moving],
    )  # fmt: skip
