"""Lines of a rendered text: two columns, wrapping, cleaning.

Owns: layout. Must not go here: words.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reconciler.core.render.quantities import clean

RIGHT = 80
"""The column where places begin."""
WIDTH = 116


def pair(left: str, right: str) -> str:
    """`left`, and `right` from its column on, or two spaces after where left is long."""
    return f"{left:<{RIGHT - 2}}  {right}".rstrip()


def wrapped(words: Sequence[str], indent: str, separator: str = ", ", more: str = "") -> list[str]:
    """Words joined, broken between words at the width; later lines begin with `more` or the indent."""
    lines: list[str] = []
    line = indent
    empty = True
    for word in words:
        piece = word if empty else separator + word
        if not empty and len(line) + len(piece) > WIDTH:
            lines.append(line + separator.rstrip())
            line, piece = (more or indent), word
        line += piece
        empty = False
    return [*lines, line] if words else []


def table(header: Sequence[str], body: Iterable[Sequence[str]]) -> list[str]:
    """Columns as wide as their widest cell."""
    grid = [list(header), *(list(row) for row in body)]
    widths = [max(len(row[column]) for row in grid) for column in range(len(header))]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in grid]


def finished(lines: Iterable[str]) -> str:
    """The text, each line cleaned of what a terminal would act on, ending in a newline."""
    return "\n".join(clean(line).rstrip() for line in lines) + "\n"
