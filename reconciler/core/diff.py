"""Field differences between what is there and what is wanted, and why they differ.

Owns: comparing two sets of normalised fields; the only user of jsonpatch (RFC 6902).
Must not go here: whether a difference may be acted on (rules), what acting takes beyond its manner (shapes).

A field that one side alone has differs, and so do two plain values that are not one: there jsonpatch has nothing to
tell but its `move`, which pairs unrelated fields of equal value, and means a removal and an addition. It is asked about
all else (lists, floats, a map against a value), fed what may differ alone, as key-sorted plain data in which lists are
tuples, so that a list is replaced whole. It is imported then: that takes longer than deciding a change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from reconciler.core.plan import Cause
from reconciler.core.values import MAPS, Fields, canonical, escape, find


def changed_paths(before: Fields, after: Fields) -> tuple[str, ...]:
    """Paths that differ, in canonical order: the deepest map both sides share is looked into."""
    if before == after:
        return ()
    told: set[str] = set()
    was, now = _unlike(before, after, "", told)
    return tuple(sorted(told | _asked(was, now) if was else told))


def _asked(was: dict[str, Any], now: dict[str, Any]) -> set[str]:
    """What jsonpatch tells: both sides have the same fields, so it moves nothing."""
    import jsonpatch

    return {operation["path"] for operation in jsonpatch.make_patch(was, now).patch}


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


def cause_of(path: str, before: Any, after: Any, last: Fields | None) -> Cause:
    """Who made the difference of the field that is `before` and is to be `after`: git since the last apply (`intent`),
    somebody on the node (`drift`), or both. `last`: all fields as they were applied last."""
    if last is None:
        return Cause.INTENT
    was = find(last, path)
    if before == was:
        return Cause.INTENT
    return Cause.DRIFT if after == was else Cause.BOTH


def covered(path: str, prefixes: Iterable[str]) -> bool:
    """True if the path is one of the prefixes, or lies beneath one."""
    return any(path == prefix or path.startswith(prefix + "/") for prefix in prefixes)


def _unlike(before: Fields, after: Fields, above: str, told: set[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both sides of what has to be asked about. The paths of what surely differs, which begin with `above`, go to
    `told`."""
    was, now = {}, {}
    for key in sorted(before.keys() | after.keys()):
        left, right = before.get(key, _NOTHING), after.get(key, _NOTHING)
        if type(left) in _LEAVES and type(right) in _LEAVES:
            if type(left) is not type(right) or left != right:
                told.add(f"{above}/{escape(key)}")
        elif type(left) in _PLAIN and type(left) is type(right) and canonical(left) == canonical(right):
            continue  # told without a look at each leaf: what is spelled the same is the same
        elif isinstance(left, MAPS) and isinstance(right, MAPS):
            inner = _unlike(left, right, f"{above}/{escape(key)}", told)
            if inner[0]:
                was[key], now[key] = inner
        elif left is _NOTHING or right is _NOTHING:
            told.add(f"{above}/{escape(key)}")
        else:
            was[key], now[key] = _prepared(left), _prepared(right)
    return was, now


_NOTHING = object()


_LEAVES = frozenset({str, int, bool, type(None)})
_PLAIN = frozenset({dict, list})


def _prepared(value: Any) -> Any:
    if type(value) in _LEAVES:
        return value
    if isinstance(value, Mapping):
        return {key: _prepared(value[key]) for key in sorted(value)}
    if isinstance(value, (list, tuple)):
        return tuple(_prepared(item) for item in value)
    return value
