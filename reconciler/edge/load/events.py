"""The fast tier: plain values straight from libyaml's events (ruamel.yaml.clib).

Owns: reading the ordinary. It may only accept: what is unusual, or wrong, raises Refused, and the round trip reads the
text again and writes the message. Must not go here: positions, messages, any rule of our documents.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from _ruamel_yaml import (
    CParser,
    DocumentEndEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from reconciler.edge.load.findings import LIMITS, Refused
from reconciler.edge.load.scalars import PLAIN

_UNUSUAL = re.compile(
    r"[^\n\x20-\x7e\xa1-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd]"  # controls, tabs, odd breaks and spaces
    r"|[|>][-+0-9]*#"  # a comment glued to a block header
    r"|^(?:%|\.\.\.)"  # directives, the end of a document
    r"|(?:^|[\[{,:-])[ ]*\?(?: |$)"  # explicit keys
    r"|<<",
    re.MULTILINE,
)

Next = Callable[[], Any]


def read(text: str) -> Any:
    """The value of a text that holds one document. Raises Refused."""
    if _UNUSUAL.search(text):
        raise Refused
    get: Next = CParser(text).get_event
    try:
        get()
        start = get()
        if type(start) is StreamEndEvent:
            return None
        if start.version is not None or start.tags:
            raise Refused
        value = _node(get, get(), LIMITS.depth)
        if type(get()) is not DocumentEndEvent or type(get()) is not StreamEndEvent:
            raise Refused
    except Refused:
        raise
    except Exception:
        raise Refused from None
    return value


def _node(get: Next, event: Any, depth: int) -> Any:
    kind = type(event)
    if kind is ScalarEvent:
        if event.anchor is not None or event.tag is not None:
            raise Refused
        return PLAIN[event.value] if event.implicit[0] else event.value
    if depth == 0 or event.anchor is not None:
        raise Refused
    if kind is MappingStartEvent:
        return _mapping(get, event, depth - 1)
    if kind is SequenceStartEvent:
        if event.tag is not None:
            raise Refused
        items = []
        while type(event := get()) is not SequenceEndEvent:
            items.append(_node(get, event, depth - 1))
        return items
    raise Refused


def _mapping(get: Next, event: Any, depth: int) -> dict[str | int, Any]:
    if event.tag is not None:
        raise Refused
    found: dict[str | int, Any] = {}
    while type(event := get()) is not MappingEndEvent:
        if type(event) is not ScalarEvent or event.anchor is not None or event.tag is not None:
            raise Refused
        key = PLAIN[event.value] if event.implicit[0] else event.value
        if (type(key) is not str and type(key) is not int) or key in found:
            raise Refused
        event = get()
        if type(event) is ScalarEvent and event.anchor is None and event.tag is None:
            found[key] = PLAIN[event.value] if event.implicit[0] else event.value
        else:
            found[key] = _node(get, event, depth)
    return found
