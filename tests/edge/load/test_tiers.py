"""The fast tier may only accept, and what it accepts means what ruamel's round trip says. Random and hostile YAML."""

# ruff: noqa: E501
from __future__ import annotations

import math
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from reconciler.edge.load import events, places, roundtrip, skeleton, stream
from reconciler.edge.load.findings import Refused
from reconciler.edge.load.skeleton import Skeletons

EXAMPLES = int(os.environ.get("TRUEUP_TIER_EXAMPLES", "300"))
relaxed = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])

WORDS = [
    "a", "web", "10.0.0.1", "52:54:00:12:34:56", "12:30:45", "010", "0o17", "0x1F", "0b11", "1_000", "1e3", "1.10", ".5",
    "5.", "-0", "+7", "~", "null", "Null", "", "yes", "no", "on", "off", "y", "true", "True", "TRUE", "FALSE", ".inf",
    "-.INF", ".nan", ".NaN", "2024-01-15", "2024-01-15T10:00:00Z", "2024-1-1 1:2:3", "<<", "=", "512Mi", "20%", "1.5", "_4",
    "a b", "a:b", "a#b", "a #b", "http://x/y?z", "-", "--", "- a", "?", "? a", ":", ": a", "[", "]", "{", "}", ",", "a,b",
    "#", "# c", "&a", "&a b", "*a", "!t", "!!str 1", "!<x> y", "|", ">", "|-", ">+2", "|#", "'", '"', "'a'", '"a"', '"\\n"',
    '"\\x41"', "'it''s'", "''", '""', "%", "%a", "@a", "`a", "a'b", 'a"b', "---", "...", "- - a", "é", "日本", "\u00a0", "a\u2028b",
    "\x85", "\ufeff", "\t", "a\tb", "\r", "\x7f", "\U0001f600", '":8080"', '":x', 'k ":1', "0.1.2", "1e", "e1", "+", "+.5", "0x", "0o8", "09", "1__0", "-.5e-3",
]  # fmt: skip
PIECES = [
    *WORDS, ": ", ":", " ", "  ", "\n", "\n  ", "\n    ", "- ", "? ", "[", "]", "{", "}", ", ", "# note", " # note", "|\n  text\n",
    "|-\n   a\n   b\n", ">\n  fold\n  ed\n\n  more\n", "|+\n  keep\n\n", "|2\n    ind\n", ">-\n", "|  # c\n  x\n", '"multi\n  line"',
    "'multi\n\n  line'", "plain\n  goes on", "a: 1\n", "b:\n  c: 2\n", "- x\n", "---\n", "--- ", "...\n", "%YAML 1.1\n", "k: v", "\n\n",
]  # fmt: skip


def plain_equal(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return (math.isnan(a) and math.isnan(b)) or a == b
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(plain_equal(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(plain_equal(x, y) for x, y in zip(a, b, strict=True))
    return type(a) is type(b) and bool(a == b)


def oracle(text: str) -> Any:
    """What ruamel itself makes of the text, in plain types. Raises what ruamel raises."""
    return YAML(typ="safe", pure=True).load(text)


def assert_tiers_agree(text: str) -> bool:
    """Whether the fast tier took it; then both tiers and ruamel itself must say the same."""
    try:
        fast = events.read(text)
    except Refused:
        return False
    slow = roundtrip.read("f", 0, stream.Chunk(text, 1))
    assert not slow.findings, (text, slow.findings)
    assert plain_equal(fast, slow.value), (text, fast, slow.value)
    with suppress(Refused):
        placed = places.read(stream.Chunk(text, 1))
        assert (placed.keys, placed.values) == (slow.keys, slow.values), text
    told = oracle(text)
    assert plain_equal(fast, told), (text, fast, told)
    return True


@relaxed
@given(
    st.sampled_from(WORDS),
    st.sampled_from(["{}", "k: {}", "- {}", "[{}]", "{{k: {}}}", "[a, {}, b]", "{}: v", "{{{}: v}}"]),
)
def test_known_hostile_scalars_mean_the_same_in_both_tiers(word: str, frame: str) -> None:
    assert_tiers_agree(frame.format(word))


@relaxed
@given(
    st.text(st.sampled_from("0123456789abcdefxoEe+-._:#,[]{}&*!|>'\"%@` \t\n~<=?yYnNtT/\\é\u2028\x85"), max_size=12),
    st.sampled_from(["{}", "k: {}", "- {}", "[{}]", "{{k: {}}}", "k:\n  {}", "k: {} # c", "k: [{}, 1]", "{}: v"]),
)
def test_random_scalars_mean_the_same_in_both_tiers(text: str, frame: str) -> None:
    assert_tiers_agree(frame.replace("{}", text).replace("{{", "{").replace("}}", "}"))


@relaxed
@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
def test_random_structure_means_the_same_in_both_tiers(text: str) -> None:
    assert_tiers_agree(text)


scalars = st.sampled_from([word for word in WORDS if word.strip() and "\n" not in word])
trees = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["a", "b", "c d", "1", "x-y", "e.f", '"q"', "'s'"]), inner, max_size=3),
    ),
    max_leaves=10,
)
comments = st.sampled_from(["", "", "", "  # why", " #", "# glued"])
multiline = st.sampled_from(
    [
        "|\n{i}one\n{i}  two\n\n{i}three",
        ">-\n{i}one\n{i}two\n\n{i}three",
        "|+\n{i}keep\n\n",
        '"one\n{i}two\\\n{i} three"',
        "'one\n\n{i}two'",
        "one\n{i}two # c\n",
        "|1\n{i}x",
        "\n{i}late",
    ]
)


@st.composite
def texts(draw: st.DrawFn, value: Any = None, indent: int = 0) -> str:
    """A block document drawn line by line, with comments, odd indentation and scalars over several lines."""
    tree = draw(trees) if value is None else value
    return _written(draw, tree, indent) + "\n"


def _written(draw: st.DrawFn, tree: Any, indent: int) -> str:
    pad = " " * indent
    step = draw(st.sampled_from([1, 2, 2, 2, 4]))
    if isinstance(tree, dict) and tree:
        if draw(st.booleans()) and indent:
            return "{" + ", ".join(f"{key}: {_flow(value)}" for key, value in tree.items()) + "}" + draw(comments)
        lines = [f"{pad}{key}:{_after(draw, value, indent + step)}" for key, value in tree.items()]
        return ("\n" if indent else "") + "\n".join(lines)
    if isinstance(tree, list) and tree:
        if draw(st.booleans()):
            return "[" + ", ".join(map(_flow, tree)) + draw(st.sampled_from(["]", ",]", " ]"]))
        lines = [f"{pad}-{_after(draw, value, indent + step)}" for value in tree]
        return ("\n" if indent else "") + "\n".join(lines)
    if isinstance(tree, str):
        if draw(st.integers(0, 4)) == 0:
            return draw(multiline).replace("{i}", " " * (indent + draw(st.sampled_from([0, 1, 2]))))
        return tree + draw(comments)
    return "{}" if isinstance(tree, dict) else "[]"


def _after(draw: st.DrawFn, value: Any, indent: int) -> str:
    written = _written(draw, value, indent)
    return written if written.startswith("\n") else draw(st.sampled_from([" ", " ", "  ", ""])) + written


def _flow(tree: Any) -> str:
    if isinstance(tree, dict):
        return "{" + ", ".join(f"{key}: {_flow(value)}" for key, value in tree.items()) + "}"
    return "[" + ", ".join(map(_flow, tree)) + "]" if isinstance(tree, list) else str(tree)


@relaxed
@given(texts())
def test_drawn_documents_mean_the_same_in_both_tiers(text: str) -> None:
    assert_tiers_agree(text)


@relaxed
@given(st.lists(texts(), min_size=1, max_size=3), st.sampled_from(["---\n", "--- # next\n", "---\n\n# c\n", "--- \n"]))
def test_streams_are_cut_where_ruamel_cuts_them(parts: list[str], separator: str) -> None:
    text = separator.join(parts)
    chunks, findings = stream.cut("f", text.encode())
    if findings:
        return
    fast = []
    for chunk in chunks:
        try:
            fast.append(events.read(chunk.text))
        except Refused:
            return
    if not all(isinstance(one, dict) for one in fast):
        return  # every document is a map; ruamel lets a block scalar at the root swallow the ---
    told = [one for one in YAML(typ="safe", pure=True).load_all(text) if one is not None]
    assert plain_equal([one for one in fast if one is not None], told), text


@pytest.mark.parametrize("text", ['a: {http: ":8080/healthz", within: 60s}', '["b", ":1"]', '{":a": ":b", c: ""}'])
def test_the_fast_tier_takes_strings_that_begin_with_a_colon(text: str) -> None:
    assert assert_tiers_agree(text)


def test_the_fast_tier_takes_what_people_write() -> None:
    text = (
        "# top\napiVersion: trueup/v1\nkind: Machine  # c\nmetadata: {name: web, tags: {role: web}}\nspec:\n"
        "  nics: [app, {network: b, ip: 10.0.0.1}]\n  metadata:\n    a: |\n      x\n      y\n    b: 'q'\n"
    )
    assert assert_tiers_agree(text)


@pytest.mark.parametrize(
    "text",
    [
        "a: &x 1", "a: *x", "a: !t 1", "a: !!str 1", "<<: {a: 1}", "a: 1\na: 2", "{a: 1, a: 2}", "? a\n: b", "[1]: 2", "1.5: x",
        "true: x", "~: x", "a: |#c\n  x", "%YAML 1.1\n---\na: 1", "a: 1\n...\n", "a:\tb", "a: \x85", "a: \u2028b", "\ufeffa: 1",
        "a: [1", "a: b: c", "- a\nb: 1", "a: =", '["":]', '{"a":1}', "1: x\n0x1: y",
        '{a: ":8080", "k ":1}', '{a: "b, "k":1}', '{a: "b," k ":1"}', "{a: \":8080\", b: 'c'}", '{a: ":80\\n80"}',
    ],
)  # fmt: skip
def test_the_fast_tier_refuses_the_unusual(text: str) -> None:
    with pytest.raises(Refused):
        events.read(text)


# -- skeletons: a document must mean the same however often its like was read before --------------------------------


def read_or_refuse(read: Callable[[str], Any], text: str) -> Any:
    try:
        return read(text)
    except Refused:
        return Refused


simple = st.sampled_from(
    ["a", "web-1", "10.0.0.1", "512Mi", "true", "null", "1", "0x1F", "0b11", "010", "1.5", "1e3", "2024-01-15", "1_0", "yes",
     "9" * 30, "9" * 5000, '""', '"a, b"', '"x: y"', '"#"', '"[{}]"', '"zzplacezz0zz"', "zzplacezz0zz", "a.b/c", "0", "0o7",
     "a:b", "1:30", "12:30:45", "52:54:00:12:34:56", "https://a.example.org/b", "ops@a.example.org", "a:", "a:-", "1@2",
     "2024-01-15T10:00:00Z", "fd00::1", "a:b:c", "zz:place:zz0zz"]
)  # fmt: skip


def assert_skeletons_agree(text: str, others: list[str]) -> None:
    """The text read until its skeleton is prepared, and then with other values in its holes."""
    skeletons = Skeletons()
    for _ in range(4):
        assert plain_equal(read_or_refuse(skeletons.read, text), read_or_refuse(events.read, text)), text
    parts = skeleton.taken(text)
    assert skeleton.whole(parts) == text
    for value in others:
        parts[1::2] = [value] * (len(parts) // 2)
        other = skeleton.whole(parts)
        assert plain_equal(read_or_refuse(skeletons.read, other), read_or_refuse(events.read, other)), (text, other)


@relaxed
@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join), st.lists(simple, max_size=3))
def test_skeletons_of_random_structure_mean_the_same(text: str, others: list[str]) -> None:
    assert_skeletons_agree(text, others)


@relaxed
@given(texts(), st.lists(simple, max_size=3))
def test_skeletons_of_drawn_documents_mean_the_same(text: str, others: list[str]) -> None:
    assert_skeletons_agree(text, others)


lines = st.lists(
    st.builds(
        "{}{}{}\n".format,
        st.sampled_from(["k: ", "  k: ", "- ", "  - ", "# c: ", "k: # ", "k: |\n  x: ", 'k: "a\n  b: ', "k: {a: ", "k: [a, ", "x, y: ",
                         "k: 'a, ", "k: >-\n  ", "? ", "k: &a ", "k: !t ", "\x00: ", "k: a, "]),
        simple,
        st.sampled_from(["", "", "", "}", "]", ", b]", ", b: c}", '"', "'", " # c", "\n  more", ",", " b", ":"]),
    ),
    min_size=1, max_size=4,
).map("".join)  # fmt: skip


@relaxed
@given(lines, st.lists(simple, max_size=4))
def test_skeletons_of_hostile_lines_mean_the_same(text: str, others: list[str]) -> None:
    assert_skeletons_agree(text, others)


def test_a_skeleton_is_used_once_it_is_known() -> None:
    skeletons = Skeletons()
    for number in range(10):
        assert skeletons.read(f"a: x{number}\nb: [c, {number}]\n") == {"a": f"x{number}", "b": ["c", number]}
    assert [type(known) for known in skeletons._seen.values()] == [skeleton.Understood]


@pytest.mark.parametrize("value", ["x", "5", "true", "b"])
def test_a_key_without_a_value_is_no_value(value: str) -> None:
    skeletons = Skeletons()
    for other in ("a", "b", "c", value):
        text = f"m: {{x: 1, {other}}}\n"
        assert read_or_refuse(skeletons.read, text) == read_or_refuse(events.read, text)


def test_a_value_in_a_comment_makes_a_skeleton_useless() -> None:
    skeletons = Skeletons()
    for number in range(10):
        assert skeletons.read(f"a: 1  # was: {number}\n") == {"a": 1}
    assert list(skeletons._seen.values()) == [None]


def test_a_text_that_spells_the_join_of_a_skeleton_is_no_such_skeleton() -> None:
    skeletons = Skeletons()
    for number in range(5):
        skeletons.read(f"a: {number}\nb: {number}\n")
    with pytest.raises(Refused):
        skeletons.read("a: \0\nb: 1\n")
