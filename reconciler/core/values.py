"""Plain values, their canonical bytes and digests.

Owns: what "the same value" means. Two values are the same exactly when their canonical bytes are.
Must not go here: anything about kinds, units or drivers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from reconciler.core.hashes import blake2b

Fields = Mapping[str, Any]
"""Normalised fields of one object: nested maps with string keys, whose leaves are str, int, float,
bool, None or a list of such. Lists of maps do not occur: what has several is a map by name."""

MAPS = (dict, Mapping)
"""What a map is, asked so that the usual one is told at once."""

canonical: Callable[[Any], bytes] = msgspec.json.Encoder(order="sorted").encode
"""The one JSON spelling of a value: keys sorted, no white space, UTF-8. Not a function of ours, for no other is called
as often."""


def digest(value: Any) -> str:
    """32 hex digits (BLAKE2b, 16 bytes) over the canonical bytes; bytes are taken as they are."""
    data = value if isinstance(value, bytes) else canonical(value)
    return blake2b(data, digest_size=16).hexdigest()


plain: Callable[[bytes], Any] = msgspec.json.Decoder().decode
"""The value behind canonical bytes."""


def escape(key: str) -> str:
    """A map's key as one segment of a path (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")


def segments(path: str) -> list[str]:
    """`/a/b~1c` as ["a", "b/c"]."""
    parts = path.split("/")[1:]
    return [part.replace("~1", "/").replace("~0", "~") for part in parts] if "~" in path else parts


def flatten(fields: Fields, prefix: str = "") -> dict[str, Any]:
    """Nested fields as {path: leaf}, `/nics/app/ip` for `{"nics": {"app": {"ip": …}}}` (RFC 6901: `~1` is a slash).

    An empty map is a leaf of its own, so that "no nics" and "nics unknown" stay apart.
    """
    leaves: dict[str, Any] = {}
    for key, value in fields.items():
        path = f"{prefix}/{escape(key)}"
        if isinstance(value, Mapping) and value:
            leaves.update(flatten(value, path))
        else:
            leaves[path] = value
    return leaves


def find(fields: Fields, path: str) -> Any:
    """The value at `/a/b`, or None where there is none."""
    if path.count("/") == 1 and "~" not in path:
        return fields.get(path[1:])
    node: Any = fields
    for key in segments(path):
        if not isinstance(node, MAPS) or key not in node:
            return None
        node = node[key]
    return node


def replaced(fields: Fields, path: str, value: Any) -> dict[str, Any]:
    """A copy of the fields with the value at `/a/b` set; None removes it, and maps it leaves empty."""
    if path.count("/") != 1 or "~" in path:
        return _replaced(fields, segments(path), value)
    copy = dict(fields)
    if value is None:
        copy.pop(path[1:], None)
    else:
        copy[path[1:]] = value
    return copy


def _replaced(fields: Fields, keys: list[str], value: Any) -> dict[str, Any]:
    copy = dict(fields)
    head, *rest = keys
    if rest:
        inner = copy.get(head)
        value = _replaced(inner if isinstance(inner, MAPS) else {}, rest, value) or None
    if value is None:
        copy.pop(head, None)
    else:
        copy[head] = value
    return copy
