"""A mistake as the loader meets it: in which document and field, not yet at which line.

Owns: Finding, what is in doubt where something is wrong, and the refusals and limits of reading. Must not
go here: finding mistakes, or turning a field into a line and column (locate.py), which is done for the few documents
that have one.
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


def within(path: Path, above: Path) -> bool:
    return path[: len(above)] == above


class Doubt(msgspec.Struct, frozen=True):
    """`unknown`: values that count for nothing. `lacking`: the text was not read whole, so keys may be missing in all
    that lies at or beneath these paths."""

    unknown: tuple[Path, ...] = ()
    lacking: tuple[Path, ...] = ()

    def beneath(self, prefix: Path) -> Doubt:
        """The same, in terms of paths from `prefix` on."""
        if self is CERTAIN:
            return self
        unknown = [path[len(prefix) :] for path in self.unknown if within(path, prefix)]
        lacking = [path[len(prefix) :] for path in self.lacking if within(path, prefix)]
        if any(within(prefix, path) for path in self.lacking):
            lacking.append(())
        return Doubt(tuple(unknown), tuple(lacking)) if unknown or lacking else CERTAIN

    def covers(self, path: Path) -> bool:
        """Whether the value there counts for nothing."""
        return any(within(path, one) for one in self.unknown)

    def lacks(self, path: Path) -> bool:
        """Whether what is missing there may have been written."""
        return any(within(path, one) for one in self.lacking)


CERTAIN = Doubt()


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
