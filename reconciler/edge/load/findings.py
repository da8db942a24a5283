"""A mistake as the loader meets it: in which document and field, not yet at which line.

Owns: Finding, and the refusals and limits of reading. Must not go here: finding mistakes, or turning a field into a
line and column (positions.py), which is done for the few documents that have one.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Path = tuple[str | int, ...]


class Finding(msgspec.Struct, frozen=True):
    """`path` leads through the document as written: `("items", "web", "nics", 0)`. With a `line` the place is known."""

    file: str
    index: int
    """Of the document in its file, from 0."""
    path: Path
    summary: str
    fix: str = ""
    at: Literal["value", "key"] = "value"
    ref: str = ""
    line: int = 0
    column: int = 0


class Warning_(msgspec.Struct, frozen=True):
    """Something that loads, and will hurt."""

    file: str
    summary: str
    fix: str


class Limits(msgspec.Struct, frozen=True):
    """What one file may be, so that no file can stop the controller. Bytes, counts, levels."""

    file: int = 16 * 2**20
    document: int = 2**20
    documents: int = 10_000
    nodes: int = 200_000
    depth: int = 32


LIMITS = Limits()
MANY = 1_000
"""Things in one document from which an edit of one of them is felt: all are read again."""
CROWDED = 5_000
"""Entries in one folder from which git itself gets slow: a commit rewrites the whole folder's tree object."""


class Refused(Exception):
    """The fast tier will not read this text; the round trip decides."""
