"""A shelf is a dict of which only what is asked for is fetched; a walk through it, and any damage, is a Doubt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.edge.index import shelves
from reconciler.edge.index.shelves import Doubt, Reader, Shelf, Tables, Writer

KEYS: tuple[st.SearchStrategy[Any], ...] = (
    st.text(max_size=3), st.integers(0, 99), st.tuples(st.text(max_size=1), st.text(max_size=1))
)  # fmt: skip
DEEDS = st.sampled_from(["get", "[]", "in", "set", "pop", "del", "default", "len"])


def tables(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[Any, Any]]:
    return st.one_of([st.dictionaries(keys, values, max_size=80) for keys in KEYS])


def asked() -> st.SearchStrategy[tuple[dict[Any, Any], list[tuple[str, Any]]]]:
    """A table, and what is done to one with keys of its kind."""
    return st.one_of([
        st.tuples(st.dictionaries(keys, st.integers(-9, 9), max_size=80), st.lists(st.tuples(DEEDS, keys)))
        for keys in KEYS
    ])  # fmt: skip


def laid_down(folder: Path, table: dict[Any, Any], whole: Any = None) -> Path:
    with Writer(folder / "index") as writer:
        writer.table("table", table)
        writer.table("none", {})
        writer.whole = whole
    return folder / "index"


def shelf(folder: Path, table: dict[Any, Any]) -> Shelf[Any, Any]:
    return Shelf.of(Reader(laid_down(folder, table)), "table", int)


@given(asked())
def test_it_answers_as_a_dict_does(
    tmp_path_factory: pytest.TempPathFactory, told: tuple[dict[Any, Any], list[tuple[str, Any]]]
) -> None:
    table, deeds = told
    kept, plain = shelf(tmp_path_factory.mktemp("shelf"), table), dict(table)
    for deed, key in deeds:
        assert answer(kept, deed, key) == answer(plain, deed, key)
        assert len(kept) == len(plain)
        assert bool(kept) == bool(plain)
    for key in {*table, *plain}:
        assert kept.get(key) == plain.get(key)


def answer(table: dict[Any, Any], deed: str, key: Any) -> Any:
    deeds: dict[str, Callable[[], Any]] = {
        "get": lambda: table.get(key, "none"),
        "[]": lambda: table[key],
        "in": lambda: key in table,
        "set": lambda: table.__setitem__(key, 7),
        "pop": lambda: table.pop(key, "none"),
        "del": lambda: table.__delitem__(key),
        "default": lambda: table.setdefault(key, 5),
        "len": lambda: len(table),
    }
    try:
        return deeds[deed]()
    except KeyError:
        return KeyError


@pytest.mark.parametrize(
    "walk",
    [
        list, set, sorted, dict, iter, lambda each: {**each}, lambda each: each | {}, lambda each: {} | each,
        lambda each: each == {}, lambda each: each != {}, lambda each: each.items(),
        lambda each: each.values(), lambda each: each.keys(), lambda each: each.copy(), lambda each: [*each],
        lambda each: set() & set(each), lambda each: max(each), lambda each: reversed(each), lambda each: each.clear(),
        lambda each: each.popitem(), lambda each: {1: 2}.update(each),
    ],
)  # fmt: skip
def test_a_walk_through_it_is_a_doubt(tmp_path: Path, walk: Callable[[Any], Any]) -> None:
    kept = shelf(tmp_path, {"a": 1})
    assert kept["a"] == 1
    with pytest.raises(Doubt):
        walk(kept)


@pytest.mark.parametrize("count", [1, 4, 5, 16, 17, 64, 65, 1_000])
@pytest.mark.parametrize("block", [1, 4])
def test_a_table_of_many_pages_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, block: int
) -> None:
    monkeypatch.setattr(shelves, "_PAGE", 4)
    table = {number: -number for number in range(0, 2 * count, 2)}
    with Writer(tmp_path / "index") as writer:
        writer.table("before", {0: 0})
        writer.table("table", table, block=block)
    kept: Shelf[int, int] = Shelf.of(Reader(tmp_path / "index"), "table", int)
    assert [kept.get(number) for number in range(-1, 2 * count)] == [
        table.get(number) for number in range(-1, 2 * count)
    ]


@given(tables(st.binary(max_size=300)))
def test_long_values_lie_there_as_they_are(tmp_path_factory: pytest.TempPathFactory, table: dict[Any, bytes]) -> None:
    path = tmp_path_factory.mktemp("long") / "index"
    with Writer(path) as writer:
        writer.table("before", {0: 0})
        writer.long("table", table)
    kept: Shelf[Any, bytes] = Shelf.of(Reader(path), "table", bytes)
    assert {key: kept[key] for key in table} == table
    assert len(kept) == len(table)


def test_damage_to_a_long_value_is_a_doubt(tmp_path: Path) -> None:
    with Writer(tmp_path / "index") as writer:
        writer.long("table", {"a": b"first", "b": b"second"})
    data = (tmp_path / "index").read_bytes()
    for word, key in ((b"first", "a"), (b"second", "b")):
        (tmp_path / "index").write_bytes(data.replace(word, word[::-1]))
        kept: Shelf[str, bytes] = Shelf.of(Reader(tmp_path / "index"), "table", bytes)
        with pytest.raises(Doubt):
            kept[key]


def test_what_is_laid_down_may_be_made_of_a_key(tmp_path: Path) -> None:
    with Writer(tmp_path / "index") as writer:
        writer.table("table", dict.fromkeys("abc"), lambda key: key * 2)
    kept: Shelf[str, str] = Shelf.of(Reader(tmp_path / "index"), "table", str)
    assert [kept[key] for key in "abc"] == ["aa", "bb", "cc"]


@pytest.mark.parametrize("little", [0, 5_000])
def test_damage_anywhere_is_a_doubt_or_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, little: int
) -> None:
    monkeypatch.setattr(shelves, "_LITTLE", little)
    table = {f"key-{number}": number for number in range(90)}
    path = laid_down(tmp_path, table, whole=[1, 2])
    data = path.read_bytes()
    doubts = 0
    for place in range(0, len(data), 7):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        try:
            reader = Reader(path)
            kept: Shelf[str, int] = Shelf.of(reader, "table", int)
            assert {key: kept[key] for key in table} == table
        except Doubt:
            doubts += 1
    assert doubts > len(data) // 7 * 0.9


@pytest.mark.parametrize("size", [0, 1, 8, 20, 100])
def test_a_file_cut_short_is_a_doubt(tmp_path: Path, size: int) -> None:
    path = laid_down(tmp_path, {"a": 1})
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(Doubt):
        Reader(path)


def test_what_went_wrong_while_it_was_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = laid_down(tmp_path, {"a": 1})
    with pytest.raises(ZeroDivisionError), Writer(path) as writer:
        writer.table("table", {1: 1}, lambda key: key // 0)
    assert Shelf.of(Reader(path), "table", int)["a"] == 1
    assert [each.name for each in tmp_path.iterdir()] == ["index"]


@given(tables(st.binary(max_size=5)), tables(st.integers(0, 9)))
def test_tables_of_another_process_lie_among_those_of_this_one(
    tmp_path_factory: pytest.TempPathFactory, theirs: dict[Any, Any], ours: dict[Any, Any]
) -> None:
    path = tmp_path_factory.mktemp("part") / "index"
    apart = Tables()
    apart.table("theirs", theirs)
    apart.table("more", theirs, short=True)
    with Writer(path) as writer:
        writer.table("before", ours)
        writer.take(apart.part())
        writer.table("after", ours)
    reader = Reader(path)
    for table, expected in (("before", ours), ("after", ours), ("theirs", theirs), ("more", theirs)):
        kept: Shelf[Any, Any] = Shelf.of(reader, table, int if expected is ours else bytes)
        assert {key: kept[key] for key in expected} == expected
