"""Defaults of folders: `_defaults.yaml` gives them per kind to the documents beneath it, the nearest wins.

Owns: how values merge, and which defaults hold in a folder. Must not go here: what any field means.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from reconciler.edge.shares import DEFAULTS

EVERY = "*"

Values = dict[str, Any]

_ALTERNATIVES = (
    frozenset({"http", "tcp", "exec"}),
    frozenset({"text", "file", "secret"}),
    frozenset({"file", "url", "folder", "machine", "debian", "busybox"}),
)
"""Maps that hold exactly one of these: writing another one replaces the default's, rather than adding to it."""


def merged(base: Mapping[Any, Any], over: Mapping[Any, Any]) -> Values:
    """`over` upon `base`: maps merge, lists and leaves replace, null unsets. Neither is changed."""
    result = dict(base)
    for key, value in over.items():
        if value is None:
            result.pop(key, None)
        elif type(value) is dict:
            under = result.get(key)
            if type(under) is dict:
                under = _without_alternatives(under, value)
                result[key] = merged(under, value)
            elif None in value.values() or dict in map(type, value.values()):
                result[key] = merged({}, value)
            else:
                result[key] = value
        else:
            result[key] = value
    return result


def stripped(values: Values) -> Values:
    """The values without what null unsets: themselves, if nothing is null."""
    return merged({}, values) if _has_null(values) else values


def without(values: Mapping[Any, Any], path: tuple[str | int, ...]) -> Values:
    """The values without what stands at a path: all of them, if the path is empty."""
    if not path:
        return {}
    inner = values.get(path[0])
    rest: Values = {key: value for key, value in values.items() if key != path[0]}
    if len(path) > 1 and isinstance(inner, dict):
        rest[str(path[0])] = without(inner, path[1:])
    return rest


def _has_null(values: Values) -> bool:
    return any([value is None or (type(value) is dict and _has_null(value)) for value in values.values()])


def _without_alternatives(under: Values, value: Values) -> Values:
    for group in _ALTERNATIVES:
        if not group.isdisjoint(value) and not group.isdisjoint(under):
            under = {key: inner for key, inner in under.items() if key not in group or key in value}
    return under


class KindDefaults(msgspec.Struct, frozen=True):
    """What a folder gives to documents of one kind. `authored` of nothing at all is `NOTHING`."""

    metadata: Values = {}
    spec: Values = {}
    lacking: frozenset[str] = frozenset()
    """`metadata` or `spec`, where what could not be read may have given more."""


NOTHING = KindDefaults()


def resolve(chain: list[Mapping[str, Any]], kind: str) -> KindDefaults:
    """The defaults for a kind, from the `_defaults.yaml` values of its folders, farthest first."""
    metadata: Values = {}
    spec: Values = {}
    for values in chain:
        for name in (EVERY, kind):
            given = values.get(name)
            if isinstance(given, dict):
                metadata = _merged_part(metadata, given.get("metadata"))
                spec = _merged_part(spec, given.get("spec"))
    return KindDefaults(metadata, spec) if metadata or spec else NOTHING


def _merged_part(base: Values, over: Any) -> Values:
    return merged(base, over) if isinstance(over, dict) else base


def folders_of(path: str) -> list[str]:
    """The folders that a file lies in, the root ("") first: `a/b/c.yaml` lies in "", "a" and "a/b"."""
    parts = path.split("/")[:-1]
    return ["/".join(parts[:count]) for count in range(len(parts) + 1)]


def file_in(folder: str) -> str:
    return f"{folder}/{DEFAULTS}" if folder else DEFAULTS
