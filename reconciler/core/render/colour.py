"""Colour as a pass over finished text: nothing that renders knows of it.

Owns: the table of styles. Must not go here: deciding whether a terminal wants colour (cli).
"""

from __future__ import annotations

import re

RESET = "\x1b[0m"
_RED, _GREEN, _YELLOW, _CYAN, _MAGENTA = (f"\x1b[{code}m" for code in (31, 32, 33, 36, 35))
_BOLD, _DIM, _ALARM = "\x1b[1m", "\x1b[2m", "\x1b[1;31m"

STYLES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"^(?:DATA LOSS|OBSERVATION INCOMPLETE|Error\b).*"), _ALARM),
    (re.compile(r"^(?:RESTART|DISRUPTIVE|LIVE|NONE|Held) \d+$"), _BOLD),
    (re.compile(r"^(?:Plan:|Nothing to do|Done|Drift:).*"), _BOLD),
    (re.compile(r"^ *-/\+(?= )"), _MAGENTA),
    (re.compile(r"^ *\+(?= )"), _GREEN),
    (re.compile(r"^ *-(?= )"), _RED),
    (re.compile(r"^ *~(?= )"), _YELLOW),
    (re.compile(r"^ *>(?= )"), _CYAN),
    (re.compile(r"^ *!(?= )"), _MAGENTA),
    (re.compile(r"  # .*$"), _DIM),
)
"""(what, how): every match of every row is painted; rows do not overlap."""


def coloured(text: str) -> str:
    """The text with ANSI colours. Taking them out again gives the same text."""
    return "\n".join(_line(line) for line in text.split("\n"))


def _line(line: str) -> str:
    for pattern, style in STYLES:
        line = pattern.sub(lambda found, style=style: f"{style}{found[0]}{RESET}", line)  # type: ignore[misc]
    return line
