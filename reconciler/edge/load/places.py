"""Where the keys and values of a document stand, from libyaml's events: the fast tier of places.

It may only accept, as the fast tier of values does, and finds the places that the round trip finds, thirty times
sooner. Must not go here: what is wrong with a text, what a place is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from _ruamel_yaml import CParser

from reconciler.edge.load import events
from reconciler.edge.load.events import MappingEnd, MappingStart, Scalar, SequenceEnd, SequenceStart
from reconciler.edge.load.findings import Path, Refused
from reconciler.edge.load.roundtrip import Place, Read
from reconciler.edge.load.scalars import PLAIN
from reconciler.edge.load.stream import Chunk


def read(chunk: Chunk) -> Read:
    """A document without mistakes and its places. Raises Refused."""
    out = Read(events.read(chunk.text))
    get = CParser(chunk.text).get_event
    get()  # the stream begins
    if hasattr(get(), "version"):  # and a document
        _Places(out, get, chunk.line).node(get(), ())
    return out


class _Places:
    def __init__(self, out: Read, get: Callable[[], Any], line: int) -> None:
        self.out, self.get, self.line = out, get, line

    def place(self, mark: Any) -> Place:
        return Place(self.line + mark.line, mark.column + 1)

    def node(self, event: Any, path: Path) -> None:
        if type(event) is Scalar and not event.value and event.implicit[0]:
            raise Refused  # nothing is written here: where that is, the two see differently
        self.out.values[path] = self.place(event.start_mark)
        if type(event) is MappingStart:
            while type(key := self.get()) is not MappingEnd:
                inner = (*path, PLAIN[key.value] if key.implicit[0] else key.value)
                self.out.keys[inner] = self.place(key.start_mark)
                self.node(self.get(), inner)
        elif type(event) is SequenceStart:
            number = 0
            while type(item := self.get()) is not SequenceEnd:
                self.node(item, (*path, number))
                number += 1
