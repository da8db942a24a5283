"""`make bench [NAME=…]`: run rows, print one JSON object a row, then the table.

`NAME` picks rows whose name begins with it, long ones too; without it all but the long ones run.
`--write` puts the rows into the table in docs/benchmarks.md, with the date and versions; those of other names stay as
they were measured.
"""

from __future__ import annotations

import compileall
import importlib
import sys
from pathlib import Path

from tests.benchmarks import published
from tests.benchmarks.rows import Row, report, table

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs" / "benchmarks.md"


def rows() -> list[Row]:
    """Every row of every module here that has ROWS, in order of the modules' names."""
    found: list[Row] = []
    for path in sorted(HERE.glob("bench_*.py")):
        found += importlib.import_module(f"tests.benchmarks.{path.stem}").ROWS
    return found


def main(arguments: list[str]) -> int:
    names = [word for word in arguments if not word.startswith("-")]
    chosen = [row for row in rows() if (any(row.name.startswith(name) for name in names) if names else not row.long)]
    if not chosen:
        print("no such row; there are: " + ", ".join(row.name for row in rows()), file=sys.stderr)
        return 1
    for folder in ("reconciler", "drivers", "specs"):
        compileall.compile_dir(HERE.parents[1] / folder, quiet=1)  # as pip does for what it installs
    lines = [report(row) for row in chosen]
    print()
    print(table(lines))
    if "--write" in arguments:
        run = (published.today(), published.machine())
        DOCS.write_text(published.merged(DOCS.read_text(), lines, [row.name for row in rows()], run))
    return 1 if any(line["met"] is False for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
