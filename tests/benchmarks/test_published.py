"""A later run of one row replaces only this row of the published table."""

from __future__ import annotations

from typing import Any

import pytest

from tests.benchmarks.__main__ import DOCS, rows
from tests.benchmarks.published import machine, merged, today

PAGE = "# Benchmarks\n\n<!-- table -->\n<!-- end of table -->\n\n## What these figures are of\n"
ORDER = ["help", "million", "notice"]


def line(name: str, value: float | None, note: str = "a note") -> dict[str, Any]:
    met = None if value is None else value <= 3
    return {"name": name, "what": "work", "value": value, "unit": "×", "bar": 3.0, "met": met, "note": note}


def test_a_later_run_replaces_only_its_rows() -> None:
    first = merged(PAGE, [line("notice", 1), line("help", 2)], ORDER, ("2026-11-01", "Python 3.11"))
    second = merged(first, [line("help", 2.5), line("million", 9)], ORDER, ("2026-11-02", "Python 3.12"))
    table = [each for each in second.splitlines() if each.startswith("| ")]
    assert [each.split(" | ")[0] for each in table] == ["| name", "| help", "| million", "| notice"]
    assert table[1].endswith("| 2.5 × | ≤ 3 | yes | a note | 2026-11-02 |")
    assert table[2].endswith("| 9 × | ≤ 3 | **no** | a note | 2026-11-02 |")
    assert table[3].endswith("| 1 × | ≤ 3 | yes | a note | 2026-11-01 |")
    assert "- 2026-11-01: Python 3.11\n- 2026-11-02: Python 3.12\n" in second
    assert second.startswith("# Benchmarks\n\n<!-- table -->\n\n|")
    assert second.endswith("<!-- end of table -->\n\n## What these figures are of\n")


def test_a_run_that_no_row_is_of_is_forgotten_and_so_is_a_row_that_there_is_no_more() -> None:
    first = merged(PAGE, [line("help", 1), line("gone", 1)], [*ORDER, "gone"], ("2026-11-01", "Python 3.11"))
    second = merged(first, [line("help", None, "a | b\nc")], ORDER, ("2026-11-02", "Python 3.12"))
    assert "2026-11-01" not in second
    assert "| gone |" not in second
    assert "|  | ≤ 3 | not run | a / b c | 2026-11-02 |" in second


def test_writing_the_same_again_changes_nothing() -> None:
    first = merged(PAGE, [line("help", 1)], ORDER, ("2026-11-01", "Python 3.11"))
    assert merged(first, [line("help", 1)], ORDER, ("2026-11-01", "Python 3.11")) == first


def test_a_page_without_a_place_for_it_is_an_error() -> None:
    with pytest.raises(ValueError, match="table"):
        merged("# Benchmarks\n", [], ORDER, ("2026-11-01", ""))


def test_the_published_page_takes_every_row_there_is() -> None:
    names = [row.name for row in rows()]
    assert len(set(names)) == len(names)
    text = merged(DOCS.read_text(), [line(name, 1) for name in names], names, (today(), machine()))
    assert sum(each.endswith(f"| {today()} |") for each in text.splitlines()) == len(names)
    assert f"- {today()}: Python" in text
