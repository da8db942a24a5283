"""What a mistake is told with, and names that somebody may have meant.

Must not go here: the sentences about what the models find (mistakes.py), where in the file it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

import msgspec

from reconciler.edge.load.findings import Path

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class Explained(msgspec.Struct, frozen=True):
    path: Path
    summary: str
    fix: str
    at: Literal["value", "key"] = "value"
    about: Literal["value", "missing", "whole"] = "value"
    """`whole`: fields that do not fit together."""
    fields: tuple[str, ...] = ()
    """Of a whole: the fields in question, where it is not all of them."""
    meant: str = ""
    """The field that an unknown one probably is."""


def is_label(name: str) -> bool:
    return _LABEL.fullmatch(name) is not None


def nearest(word: str, known: Iterable[str]) -> str | None:
    import difflib

    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    if not found:
        lowered = {name.lower(): name for name in known}
        return lowered.get(word.lower())
    return found[0]
