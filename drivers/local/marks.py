"""Marks: how they are written on a stored thing, and when they count.

Owns: the text of a mark and the proof that it belongs to the thing it was found on.
Must not go here: how the text is stored (storage), what follows from a mark (core).

One property holds all marks, so that they change together: `trueup:mark` on an object, `trueup:node` on the pool's
root. A mark names the identity of the thing itself, because properties travel with send, copy and inheritance. That
identity is known only after the thing is made, so a mark written in the call that makes it names, instead, the pool
and the name made from its uid; the next write puts the identity in its place.
"""

from __future__ import annotations

from typing import Any

import msgspec

from reconciler.core.observed import Claim, Marks


class _Mark(msgspec.Struct, frozen=True, omit_defaults=True):
    """`on`: guid of the thing. `born`: `<pool identity>/<name>`, until `on` is known."""

    marks: Marks
    on: str = ""
    born: str = ""


class _NodeMark(msgspec.Struct, frozen=True):
    datacenter: str
    identity: str
    fence: int = 0
    generation: int = 0


_mark = msgspec.json.Decoder(_Mark)
_node = msgspec.json.Decoder(_NodeMark)


def born(marks: Marks, pool: str, name: str) -> str:
    """The mark of a thing that is about to be made as `name`."""
    return msgspec.json.encode(_Mark(marks, born=f"{pool}/{name}")).decode()


def bound(marks: Marks, guid: str) -> str:
    """The mark of a thing that is there."""
    return msgspec.json.encode(_Mark(marks, on=guid)).decode()


def proved(text: str | None, *, guid: str, pool: str, name: str) -> Marks | None:
    """The marks, if they count: readable, and naming this very thing."""
    if text is None:
        return None
    try:
        mark = _mark.decode(text)
    except msgspec.DecodeError:
        return None
    if mark.on:
        return mark.marks if mark.on == guid else None
    return mark.marks if mark.born == f"{pool}/{name}" else None


def is_bound(text: str | None) -> bool:
    """Whether the mark names the thing's own identity already."""
    return text is not None and '"on":' in text


def node_text(claim: Claim) -> str:
    mark = _NodeMark(claim.datacenter, claim.identity, claim.fence, claim.generation)
    return msgspec.json.encode(mark).decode()


def claim(text: str | None) -> Claim | None:
    """The node mark as it stands: whether its identity is the node's own is the core's to compare."""
    if text is None:
        return None
    try:
        mark = _node.decode(text)
    except msgspec.DecodeError:
        return None
    return Claim(mark.datacenter, mark.identity, mark.fence, mark.generation)


def from_args(args: Any) -> Marks:
    """The marks that a step brings. Raises msgspec.ValidationError."""
    return msgspec.convert(args["marks"], Marks)
