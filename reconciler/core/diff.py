"""Field differences between what is there and what is wanted, and why they differ.

Owns: comparing two sets of normalised fields; the only user of jsonpatch (RFC 6902).
Must not go here: whether a difference may be acted on (rules), what acting takes beyond its manner (shapes).

jsonpatch is fed key-sorted plain data in which lists are tuples, so that a list is replaced whole; its `move`, which
pairs unrelated fields of equal value, is lowered to a removal and an addition.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import jsonpatch

from reconciler.core.plan import Cause
from reconciler.core.values import Fields, find


def changed_paths(before: Fields, after: Fields) -> tuple[str, ...]:
    """Paths that differ, in canonical order: the deepest map both sides share is looked into."""
    if before == after:
        return ()
    paths: dict[str, None] = {}
    for operation in jsonpatch.make_patch(_prepared(before), _prepared(after)).patch:
        if operation["op"] == "move":
            paths[operation["from"]] = None
        paths[operation["path"]] = None
    return tuple(sorted(paths))


def operations(before: Fields, after: Fields) -> list[dict[str, Any]]:
    """The RFC 6902 operations, `move` lowered, for display and for drivers that want them."""
    result: list[dict[str, Any]] = []
    for path in changed_paths(before, after):
        value = find(after, path)
        if value is None:
            result.append({"op": "remove", "path": path})
        else:
            result.append({"op": "add" if find(before, path) is None else "replace", "path": path, "value": value})
    return result


def cause_of(path: str, *, observed: Fields, desired: Fields, last: Fields | None) -> Cause:
    """Who made the difference: git since the last apply (`intent`), somebody on the node (`drift`), or both."""
    if last is None:
        return Cause.INTENT
    was = find(last, path)
    if find(observed, path) == was:
        return Cause.INTENT
    return Cause.DRIFT if find(desired, path) == was else Cause.BOTH


def covered(path: str, prefixes: Iterable[str]) -> bool:
    """True if the path is one of the prefixes, or lies beneath one."""
    return any(path == prefix or path.startswith(prefix + "/") for prefix in prefixes)


def _prepared(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _prepared(value[key]) for key in sorted(value)}
    if isinstance(value, (list, tuple)):
        return tuple(_prepared(item) for item in value)
    return value
