"""A target's objects while nobody looks at them: one block, of which one object can be taken without the others.

Owns: the form of a block, and objects by ref, whether they came in a report or out of a block. Must not go here: which
targets are closed and which blocks are compressed (sights).

Taking all hundred machines of a node out of their block to look at one was half of what a commit of one file costs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property

import msgspec

from reconciler.core.observed import Object, Unread
from reconciler.core.refs import Ref

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[tuple[Ref, ...], tuple[bytes, ...]]).decode
_write = msgspec.json.Encoder().encode
written: Callable[[bytes], Object] = msgspec.json.Decoder(Object).decode
"""An object from its JSON."""
_UNMARKED = Ref("")


def block(objects: tuple[Object, ...]) -> bytes:
    """Objects behind the refs that they bear, each in JSON."""
    return block_of([*map(ref_of, objects)], [*map(_write, objects)])


def block_of(refs: Sequence[Ref], objects: Sequence[bytes]) -> bytes:
    """The same of objects that are written already."""
    return _encode((refs, objects))


def ref_of(found: Object | Unread) -> Ref:
    """What it bears; an empty one if it bears no marks."""
    return found.marks.ref if found.marks is not None else _UNMARKED


def grouped(objects: Iterable[Object]) -> dict[Ref, list[Object]]:
    """Those that bear marks, by their refs."""
    by_ref: dict[Ref, list[Object]] = {}
    for found in objects:
        if found.marks is not None:
            by_ref.setdefault(found.marks.ref, []).append(found)
    return by_ref


class Listed:
    """Objects of one target, as a report tells them."""

    def __init__(self, objects: tuple[Object, ...]) -> None:
        self.objects = objects
        self.by_ref: Mapping[Ref, list[Object]] = grouped(objects)

    def of(self, ref: Ref) -> list[Object]:
        """Those that bear this ref."""
        return self.by_ref.get(ref, [])


class Unpacked:
    """The same out of a block: each is made when it is asked for, and once."""

    def __init__(self, data: bytes) -> None:
        refs, self._raw = _decode(data)
        self._made: dict[int, Object] = {}
        self._places: dict[Ref, list[int]] = {}
        for place, ref in enumerate(refs):
            if ref != _UNMARKED:
                self._places.setdefault(ref, []).append(place)

    @cached_property
    def objects(self) -> tuple[Object, ...]:
        return tuple([self._at(place) for place in range(len(self._raw))])

    @cached_property
    def by_ref(self) -> Mapping[Ref, list[Object]]:
        return grouped(self.objects)

    def of(self, ref: Ref) -> list[Object]:
        return [self._at(place) for place in self._places.get(ref, ())]

    def _at(self, place: int) -> Object:
        found = self._made.get(place)
        if found is None:
            found = self._made[place] = written(self._raw[place])
        return found


Opened = Listed | Unpacked
