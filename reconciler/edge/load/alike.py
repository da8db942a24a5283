"""Machines that say the same but for their names: the second needs no more than its ref and the digest with that in it.

Owns: taking the name out of a text, and what texts that are the same then come to. A name is one that YAML and our
models take as it stands. Must not go here: proving that nothing but the ref hangs on the name (kindred.py).
"""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec

from reconciler.core.refs import Ref
from reconciler.core.values import digest
from reconciler.edge.load.scalars import PLAIN

_NAME = re.compile(rb"(?<=[{ ])name: ([a-z](?:[a-z0-9-]{0,61}[a-z0-9])?)(?=[,}\n])")
"""A part of what names may be: all that it takes, the models take as well."""
_LONGEST = 5
"""Letters of the longest word that YAML reads as something else than text: `false`."""
_KEPT = 5_000


class Alike(msgspec.Struct, frozen=True):
    """What documents of one text but for the name come to. `kind`: the packer's number of it."""

    first: str
    """The ref without the name."""
    begin: bytes
    """What precedes the name in what a resource's digest is of."""
    rest: bytes
    """And what follows it."""
    kind: int

    def named(self, name: bytes) -> tuple[Ref, str]:
        """The ref of the machine of this name, and its resource's digest."""
        return Ref(self.first + name.decode()), digest(self.begin + name + self.rest)


class Place(NamedTuple):
    """Where the name stands in a text, and the text without it, which is the same of all that are alike."""

    name: re.Match[bytes]
    key: tuple[bytes, bytes]


def place_of(scope: bytes, data: bytes) -> Place | None:
    """`scope` stands for the defaults. None if there seems to be no name, or none that is surely text."""
    name = _NAME.match(data, data.find(b"name: ")) or _NAME.search(data)  # nearly always where that is met first
    if name is None:
        return None
    first, last = name.span(1)
    if last - first <= _LONGEST and type(PLAIN[name[1].decode()]) is not str:
        return None
    return Place(name, (scope, data[:first] + b"\0" + data[last:]))


class Likenesses:
    def __init__(self) -> None:
        self.known: dict[tuple[bytes, bytes], Alike] = {}
        """What texts that were learned come to, by a place's key."""

    def learn(self, place: Place, found: Alike) -> None:
        if len(self.known) >= _KEPT:
            self.known.clear()
        self.known[place.key] = found
