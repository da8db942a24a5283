"""Spelling of values; what differs must look different."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.render import names, quantities


def test_sizes_are_spelled_in_the_unit_that_fits() -> None:
    sizes = {0: "0", 2 << 30: "2Gi", 3 << 29: "1536Mi", 1000: "1000", 12025908428: "11.2Gi", 1 << 43: "8Ti"}
    assert {count: quantities.size(count) for count in sizes} == sizes


def test_durations_read_as_people_say_them() -> None:
    said = {0.25: "0.2 s", 1: "1 s", 35: "35 s", 120: "2 min", 4200: "1 h 10 min", 7200: "2 h", 604800: "7 d"}
    assert {seconds: quantities.duration(seconds) for seconds in said} == said


def test_cpu_is_told_in_cores_paces_by_the_second_and_lists_whole() -> None:
    assert quantities.value("/cpu", 1500) == "1.5"
    assert quantities.value("/ioRead", 20 << 20) == "20Mi/s"
    assert quantities.value("/resolvers", ["10.0.0.2", "10.0.0.3"]) == "[10.0.0.2, 10.0.0.3]"
    assert quantities.value("/disks/data", {"size": 1 << 30, "path": "/data"}) == "{path: /data, size: 1Gi}"
    assert quantities.value("/image", "sha256:" + "ab" * 32) == "sha256:abababababab"


@given(st.sampled_from(["/memory", "/cpu", "/threads", "/ioRead"]), st.integers(0, 1 << 50), st.integers(0, 1 << 50))
def test_different_numbers_never_look_the_same(path: str, before: int, after: int) -> None:
    left, right = quantities.difference(path, before, after)
    assert (left == right) == (before == after)


@given(st.text(), st.text())
def test_different_texts_never_look_the_same(before: str, after: str) -> None:
    left, right = quantities.difference("/hostname", before, after)
    assert left != right or before == after


@given(st.sets(st.integers(0, 300), min_size=1))
def test_compressed_numbers_name_exactly_what_was_there(numbers: set[int]) -> None:
    found = set()
    for span in names.ranges(numbers).split(","):
        first, _, last = span.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    assert found == numbers


def test_names_and_places_are_compressed() -> None:
    assert names.compressed(["acme/web-3", "acme/web-1", "acme/db", "acme/web-2"]) == "acme/web-[1-3], acme/db"
    assert names.compressed(["a/x-1", "b/y-01"]) == "a/x-1, b/y-01"
    assert names.compressed([f"n{i:c}" for i in range(97, 107)], 2) == "na, nb and 8 more"
    assert names.places(["inc/a", "inc/a", "inc/b", "edge1"]) == "inc/a a b edge1"
    assert names.places(["inc/a"] * 5 + ["inc/b"] * 4) == "inc/a 5, inc/b 4"
    assert names.listed(["smart1", "inc/b", "inc/a", "edge1"]) == "edge1, inc (a b), smart1"
