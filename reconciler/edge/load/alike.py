"""Machines that say the same but for their names: the second needs no more than its ref and the digest with that in it.

Owns: taking the name out of a text, and what texts that are the same then come to. A name is one that YAML and our
models take as it stands. Must not go here: proving that nothing but the ref hangs on the name (kindred.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
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

    def named(self, names: Sequence[bytes]) -> tuple[list[Ref], list[str]]:
        """The refs of the machines of these names, and their resources' digests."""
        first, begin, rest = self.first, self.begin, self.rest
        refs = [Ref(first + name.decode()) for name in names]
        return refs, [digest(begin + name + rest) for name in names]


class Place(NamedTuple):
    """Where the name stands in a text, and the text without it, which is the same of all that are alike."""

    name: bytes
    at: int
    text: bytes
    """With one zero byte in the name's place."""

    def whole(self) -> bytes:
        return self.text[: self.at] + self.name + self.text[self.at + 1 :]


def place_of(data: bytes) -> Place | None:
    """None if there seems to be no name, or none that is surely text."""
    found = _NAME.match(data, data.find(b"name: ")) or _NAME.search(data)  # nearly always where that is met first
    if found is None:
        return None
    first, last = found.span(1)
    name = data[first:last]
    if last - first <= _LONGEST and type(PLAIN[name.decode()]) is not str:
        return None
    return Place(name, first, data[:first] + b"\0" + data[last:])


class Likenesses:
    """What texts that were learned come to: (what stands for the defaults, the text without the name) → that."""

    def __init__(self) -> None:
        self.known: dict[tuple[bytes, bytes], Alike] = {}

    def learn(self, scope: bytes, place: Place, found: Alike) -> None:
        if len(self.known) >= _KEPT:
            self.known.clear()
        self.known[scope, place.text] = found
