"""Machines that say the same but for their names are read, validated and lowered once.

What a machine comes to depends on its name in one way only: its ref. So of two documents beneath the same defaults
whose texts differ in `metadata.name` alone, the second needs no more than its ref and the digest with that ref in it.

Owns: taking the name out of a text, and proving that this may be done: the skeleton of the text (skeleton.py) has a
hole just there, which is `metadata.name`; and the name is one that YAML and our models take as it stands.
Must not go here: reading, validating or lowering; whoever does it tells what it came to (`learn`).
"""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec

from reconciler.core.desired import Resource
from reconciler.core.refs import Ref
from reconciler.core.values import digest
from reconciler.edge.load.lower import spelled
from reconciler.edge.load.scalars import PLAIN
from reconciler.edge.load.skeleton import Skeletons

_NAME = re.compile(rb"(?<=[{ ])name: ([a-z](?:[a-z0-9-]{0,61}[a-z0-9])?)(?=[,}\n])")
"""A part of what names may be: all that it takes, the models take as well."""
_LONGEST = 5
"""Letters of the longest word that YAML reads as something else than text: `false`."""
_KEPT = 20_000
_LARGE = 16_384
"""Bytes of a text beyond which it is hardly one of many."""


class Alike(msgspec.Struct, frozen=True):
    """What documents of one text but for the name come to. `shared`, `uses`: numbers of the packer."""

    first: str
    """The ref without the name."""
    rest: bytes
    """What follows the ref in what a resource's digest is of."""
    shared: int
    uses: int

    def named(self, name: str) -> tuple[Ref, str]:
        """The ref of the machine of this name, and its resource's digest."""
        ref = Ref(self.first + name)
        return ref, digest(b'["' + ref.encode() + b'"' + self.rest)


class _Met(msgspec.Struct, frozen=True):
    """Such a document was read once; whether others may be taken for it is not proved yet."""

    resource: Resource
    shared: int
    uses: int


class Place(NamedTuple):
    """Where the name stands in a text, and the text without it, which is the same of all that are alike."""

    name: re.Match[bytes]
    key: tuple[bytes, bytes]


def place_of(scope: bytes, data: bytes) -> Place | None:
    """`scope` stands for the defaults. None if there seems to be no name."""
    name = _NAME.search(data)
    if name is None:
        return None
    first, last = name.span(1)
    return Place(name, (scope, data[:first] + b"\0" + data[last:]))


class Likenesses:
    def __init__(self, skeletons: Skeletons) -> None:
        self._skeletons = skeletons
        self._known: dict[tuple[bytes, bytes], Alike | _Met | None] = {}

    def first(self, place: Place | None) -> bool:
        """Whether no text like this one was met before."""
        if place is None:
            return True
        if place.key in self._known:
            return False
        if len(self._known) >= _KEPT:
            self._known.clear()
        self._known[place.key] = None
        return True

    def find(self, place: Place | None, data: bytes) -> tuple[Alike, str] | None:
        """What the text comes to, and its name, if one like it was learned before."""
        if place is None:
            return None
        found = self._known.get(place.key)
        if type(found) is _Met:
            found = self._known[place.key] = self._proved(found, data, place.name)
        if type(found) is not Alike:
            return None
        word = place.name[1].decode()
        if len(word) <= _LONGEST and type(PLAIN[word]) is not str:
            return None
        return found, word

    def learn(self, place: Place | None, data: bytes, made: Resource, *, shared: int, uses: int) -> None:
        """The text is one document, which came to just this resource, whose name is written in the document, and to
        nothing else: no claims, no group, nothing that its path decides."""
        if place is not None and len(data) <= _LARGE:
            self._known[place.key] = self._known.get(place.key) or _Met(made, shared, uses)

    def _proved(self, met: _Met, data: bytes, name: re.Match[bytes]) -> Alike | None:
        place = self._skeletons.name_in(data.decode()) if data.isascii() else None
        if place != name.span(1):
            return None
        whole = spelled(met.resource)
        first, _, _ = met.resource.ref.rpartition("/")
        return Alike(first + "/", whole[len(met.resource.ref) + 3 :], met.shared, met.uses)
