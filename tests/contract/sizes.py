"""The hard stops: no module over 500 lines, no function over 60, every module says what it owns.

Run by tests/check.sh and by the contract tests. Exit code 1 lists every offender.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

MODULE_LINES, FUNCTION_LINES = 500, 60
ROOT = Path(__file__).resolve().parents[2]


def offences() -> list[str]:
    """One line an offender, in order of their paths."""
    found = []
    for folder in ("reconciler", "drivers", "specs"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            found += _module(path)
    return found


def _module(path: Path) -> list[str]:
    text = path.read_text()
    name = path.relative_to(ROOT)
    found = []
    lines = text.count("\n")
    if lines > MODULE_LINES:
        found.append(f"{name}: {lines} lines, at most {MODULE_LINES}")
    tree = ast.parse(text)
    if tree.body and not ast.get_docstring(tree):
        found.append(f"{name}: no module docstring")
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES:
                found.append(f"{name}:{node.lineno}: {node.name} has {length} lines, at most {FUNCTION_LINES}")
    return found


if __name__ == "__main__":
    problems = offences()
    print("\n".join(problems) or "sizes: in order")
    sys.exit(1 if problems else 0)
