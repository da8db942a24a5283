"""What is remembered of one thing: its identity, place, addresses, and what was applied last.

Owns: the record, and how little of what was applied is kept. Must not go here: how it comes about (ledger).
"""

# annotations are types here, not texts of the future: msgspec would compile every text at each start

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from reconciler.core.refs import Ref, Target, Uid, name_of
from reconciler.core.values import plain


class Address(msgspec.Struct, frozen=True, gc=False):
    """An allocation on one network: `ip` without prefix length, `mac` in lower case with colons."""

    network: Ref
    ip: str
    mac: str
    authored: bool = False


class Binding(msgspec.Struct, frozen=True, gc=False):
    """What the ledger knows of the thing behind a ref (for kinds with one realisation per target: of each). `sealed`:
    the fields applied last in JSON, without what is the thing's own (its name, its addresses), so that things alike
    share it: a fleet keeps 8 bytes of what takes 700."""

    ref: Ref
    uid: Uid
    incarnation: int
    target: Target
    addresses: tuple[Address, ...] = ()
    demand: tuple[int, int, int] = (0, 0, 0)
    sealed: bytes | None = None
    revision: str = ""
    protected: bool = False
    quarantined_until: float | None = None
    moving: Target | None = None
    """Where it may be too: a move there was begun, and nothing tells yet what became of it."""

    @property
    def places(self) -> tuple[Target, ...]:
        """Every target that it may be on."""
        return (self.target,) if self.moving in (None, self.target) else (self.target, self.moving)

    @property
    def applied(self) -> Mapping[str, Any] | None:
        """The fields applied last; None if nothing ever was, to its end."""
        return None if self.sealed is None else plain(filled(self.sealed, self.ref, pairs(self.addresses)))


def bare(fields: bytes, ref: Ref, addresses: Iterable[tuple[str, str]]) -> bytes:
    """JSON with a control character, of which JSON has none, in place of each word of the thing's own. `addresses`: the
    address and the MAC of each."""
    for place, word in enumerate(_own(ref, addresses)):
        fields = fields.replace(word, PLACES[place])
    return fields


def filled(bare: bytes, ref: Ref, addresses: Iterable[tuple[str, str]]) -> bytes:
    """The JSON again: what `bare` did last is undone first."""
    own = _own(ref, addresses)
    for place in range(len(own) - 1, -1, -1):
        bare = bare.replace(PLACES[place], own[place])
    return bare


def resealed(old: Binding, ref: Ref, addresses: tuple[Address, ...]) -> bytes | None:
    """The `sealed` of a binding that gets another name or other addresses."""
    if old.sealed is None or (old.ref, old.addresses) == (ref, addresses):
        return old.sealed
    return bare(filled(old.sealed, old.ref, pairs(old.addresses)), ref, pairs(addresses))


def pairs(addresses: tuple[Address, ...]) -> list[tuple[str, str]]:
    return [(address.ip, address.mac) for address in addresses]


def _own(ref: Ref, addresses: Iterable[tuple[str, str]]) -> list[bytes]:
    words = [name_of(ref)]
    for both in addresses:
        words += both
    return [word.encode() for word in words[: len(PLACES)] if word]


PLACES = [bytes((place,)) for place in range(32)]
"""Control characters, of which canonical JSON has none."""
