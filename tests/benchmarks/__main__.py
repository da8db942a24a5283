"""`make bench [NAME=…]`: run rows, print one JSON object a row, then the table.

`NAME` picks rows whose name begins with it, long ones too; without it all but the long ones run.
`--write` puts the rows into the table in docs/benchmarks.md, with the date and versions; those of other names stay as
they were measured.
"""

from __future__ import annotations

import argparse
import compileall
import importlib
import sys
from pathlib import Path

from tests.benchmarks import published
from tests.benchmarks.rows import Row, report, table
from tests.ending import take_down_when_told

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs" / "benchmarks.md"


def rows() -> list[Row]:
    """Every row of every module here that has ROWS, in order of the modules' names."""
    found: list[Row] = []
    for path in sorted(HERE.glob("bench_*.py")):
        found += importlib.import_module(f"tests.benchmarks.{path.stem}").ROWS
    return found


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="rows whose names begin so")
    parser.add_argument("--list", action="store_true", help="only tell which rows there are")
    parser.add_argument("--write", action="store_true", help="put them into docs/benchmarks.md")
    said = parser.parse_args(arguments)
    take_down_when_told()
    names = tuple(said.names)
    chosen = [row for row in rows() if (row.name.startswith(names) if names else not row.long)]
    if said.list or not chosen:
        print("\n".join(f"{row.name:<24}{'long' if row.long else ''}" for row in rows()))
        return 0 if said.list else 1
    for folder in ("reconciler", "drivers", "specs"):
        compileall.compile_dir(HERE.parents[1] / folder, quiet=1)  # as pip does for what it installs
    lines = [report(row) for row in chosen]
    print()
    print(table(lines))
    if said.write:
        run = (published.today(), published.machine())
        DOCS.write_text(published.merged(DOCS.read_text(), lines, [row.name for row in rows()], run))
    return 1 if any(line["met"] is False for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
