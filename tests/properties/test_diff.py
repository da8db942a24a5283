"""Paths that differ: what is told of the parts that differ is what jsonpatch tells of the whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jsonpatch
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.core.diff import changed_paths
from reconciler.core.values import find, replaced

KEYS = st.sampled_from(["a", "b", "c", "a/b", "~"])
LEAVES = st.sampled_from(["", "x", "y", 0, 1, 2, 1.0, 1.5, True, False, None])
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)
FIELDS = st.dictionaries(KEYS, VALUES, max_size=5)


def whole(value: Any) -> Any:
    """As plain data whose lists are leaves."""
    if isinstance(value, Mapping):
        return {key: whole(value[key]) for key in sorted(value)}
    return tuple(map(whole, value)) if isinstance(value, list) else value


@st.composite
def edited(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """Fields, and the same with some of them other, so that most of it is alike."""
    before = draw(FIELDS)
    after: dict[str, Any] = before
    for _ in range(draw(st.integers(0, 3))):
        path = "/" + "/".join(draw(st.lists(KEYS, min_size=1, max_size=3))).replace("~", "~0").replace("a/b", "a~1b")
        after = replaced(after, path, draw(VALUES))
    return before, after


@settings(max_examples=300)
@given(edited() | st.tuples(FIELDS, FIELDS))
def test_the_paths_are_those_that_jsonpatch_finds_in_the_whole(pair: tuple[dict[str, Any], dict[str, Any]]) -> None:
    before, after = pair
    told = set[str]()
    if before != after:
        for operation in jsonpatch.make_patch(whole(before), whole(after)).patch:
            told |= {operation["path"], operation.get("from", operation["path"])}
    found = changed_paths(before, after)
    assert list(found) == sorted(told)
    assert all(repr(find(before, path)) != repr(find(after, path)) for path in found if find(after, path) is not None)
