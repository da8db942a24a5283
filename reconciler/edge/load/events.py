"""The fast tier: plain values straight from libyaml's events (ruamel.yaml.clib).

Owns: reading the ordinary. It may only accept: what is unusual, or wrong, raises Refused, and the round trip reads the
text again and writes the message. Must not go here: positions, messages, any rule of our documents.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

import _ruamel_yaml
import msgspec
from _ruamel_yaml import CParser

from reconciler.edge.load.findings import LIMITS, Refused
from reconciler.edge.load.scalars import PLAIN

_CONTROL = re.compile(r"[^\n\x20-\x7e]")
"""Controls and tabs."""
_GLUED = re.compile(r"[|>][-+0-9]*#")
"""A comment glued to a block header."""
_MARKER = re.compile(r"^(?:%|\.\.\.)", re.MULTILINE)
"""A directive, or the end of a document."""
_ADJACENT = re.compile(r"[\"']:(?![ \n])")
"""A value right behind a quoted key."""
_QUOTED = re.compile(r"(?:(?<=[:,-] )|(?<=[\[{]))\"[^\"\\\n]*\"(?=[\n,}\]]|: )")
"""A string in quotes that begins and ends on one line, where a value or a key may stand."""
_EXPLICIT = re.compile(r"(?:^|[\[{,:-])[ ]*\?(?: |$)", re.MULTILINE)
"""An explicit key."""


@functools.cache
def _odd() -> re.Pattern[str]:
    """Controls, tabs, odd breaks and spaces. Made when a text first needs it: making it takes longer than reading a
    hundred documents, and for ASCII alone the other is enough."""
    return re.compile(r"[^\n\x20-\x7e\xa1-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd]")


def _unusual(text: str) -> bool:
    """What libyaml and ruamel may see differently. The cheap tests come first: this runs for every document."""
    if (_CONTROL if text.isascii() else _odd()).search(text):
        return True
    if "#" in text and ("|" in text or ">" in text) and _GLUED.search(text):
        return True
    if ("%" in text or "..." in text) and _MARKER.search(text):
        return True
    if ('":' in text or "':" in text) and _adjacent(text):
        return True
    return "<<" in text or ("?" in text and _EXPLICIT.search(text) is not None)


def _adjacent(text: str) -> bool:
    """Whether a value may stand right behind a quoted key. A string that begins with a colon looks like one: where
    every quote is of a string that is whole by itself, there is none."""
    if _ADJACENT.search(text) is None:
        return False
    return "'" in text or '"' in _QUOTED.sub("", text)


Next = Callable[[], Any]


class Scalar(msgspec.Struct, gc=False):
    anchor: Any
    tag: Any
    implicit: Any
    value: Any
    start_mark: Any = None
    end_mark: Any = None
    style: Any = None


class _Start(msgspec.Struct, gc=False):
    anchor: Any
    tag: Any
    implicit: Any = None
    start_mark: Any = None
    end_mark: Any = None
    flow: Any = None


class MappingStart(_Start, gc=False):
    pass


class SequenceStart(_Start, gc=False):
    pass


class _End(msgspec.Struct, gc=False):
    start_mark: Any = None
    end_mark: Any = None
    more: Any = None


class MappingEnd(_End, gc=False):
    pass


class SequenceEnd(_End, gc=False):
    pass


class _DocumentStart(_End, gc=False):
    version: Any = None
    tags: Any = None


class _DocumentEnd(_End, gc=False):
    pass


class _StreamEnd(_End, gc=False):
    pass


# The binding makes its events of these classes from now on, in C, a third faster than of its own. That is so for all in
# the process who ask it for events; whoever composes or loads with it gets none, and ruamel's own parser has others.
_ruamel_yaml.StreamStartEvent = _End
_ruamel_yaml.StreamEndEvent = _StreamEnd
_ruamel_yaml.DocumentStartEvent = _DocumentStart
_ruamel_yaml.DocumentEndEvent = _DocumentEnd
_ruamel_yaml.ScalarEvent = Scalar
_ruamel_yaml.MappingStartEvent = MappingStart
_ruamel_yaml.MappingEndEvent = MappingEnd
_ruamel_yaml.SequenceStartEvent = SequenceStart
_ruamel_yaml.SequenceEndEvent = SequenceEnd


def read(text: str) -> Any:
    """The value of a text that holds one document. Raises Refused."""
    if _unusual(text):
        raise Refused
    get: Next = CParser(text).get_event
    try:
        get()
        start = get()
        if type(start) is _StreamEnd:
            return None
        if start.version is not None or start.tags:
            raise Refused
        value = _node(get, get(), LIMITS.depth)
        if type(get()) is not _DocumentEnd or type(get()) is not _StreamEnd:
            raise Refused
    except Refused:
        raise
    except Exception:
        raise Refused from None
    return value


def _node(get: Next, event: Any, depth: int) -> Any:
    kind = type(event)
    if kind is Scalar:
        if event.anchor is not None or event.tag is not None:
            raise Refused
        return PLAIN[event.value] if event.implicit[0] else event.value
    if depth == 0 or event.anchor is not None:
        raise Refused
    if kind is MappingStart:
        return _mapping(get, event, depth - 1)
    if kind is SequenceStart:
        if event.tag is not None:
            raise Refused
        items = []
        while type(event := get()) is not SequenceEnd:
            items.append(_node(get, event, depth - 1))
        return items
    raise Refused


def _mapping(get: Next, event: Any, depth: int) -> dict[str | int, Any]:
    if event.tag is not None:
        raise Refused
    found: dict[str | int, Any] = {}
    while type(event := get()) is not MappingEnd:
        if type(event) is not Scalar or event.anchor is not None or event.tag is not None:
            raise Refused
        key = PLAIN[event.value] if event.implicit[0] else event.value
        if (type(key) is not str and type(key) is not int) or key in found:
            raise Refused
        event = get()
        if type(event) is Scalar and event.anchor is None and event.tag is None:
            found[key] = PLAIN[event.value] if event.implicit[0] else event.value
        else:
            found[key] = _node(get, event, depth)
    return found
