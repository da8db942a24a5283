"""From a field to its line and column: read again from the text, only when somebody asks.

Owns: Diagnostics, and the provenance of a field (authored, defaulted, published default). Must not go here: rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

from reconciler.edge.load import defaults, places, roundtrip, stream
from reconciler.edge.load.findings import Finding, Path, Refused
from reconciler.edge.load.roundtrip import Place, Read
from reconciler.errors import Diagnostic
from specs.kinds import PLURALS

ReadText = Callable[[str], bytes | None]
"""Path in the tree → contents; None if there is no such file."""


class Provenance(msgspec.Struct, frozen=True):
    """Where a field's value comes from. `published`: nobody wrote it, the spec language gives it."""

    how: Literal["authored", "defaulted", "published"]
    file: str
    line: int
    column: int


_KEPT = 1_000
"""Files whose positions are kept at a time."""


class Locator:
    """Finds fields in texts; each document is read once, unless there are very many."""

    def __init__(self, read: ReadText) -> None:
        self._read_text = read
        self._files: dict[str, list[Read]] = {}

    def documents(self, file: str) -> list[Read]:
        if file not in self._files:
            if len(self._files) >= _KEPT:
                self._files.clear()
            data = self._read_text(file)
            chunks, _ = stream.cut(file, data) if data is not None else ([], [])
            self._files[file] = [_read(file, index, chunk) for index, chunk in enumerate(chunks)]
        return self._files[file]

    def provenance(self, file: str, index: int, path: Path) -> Provenance:
        """Where the field at a document's path (`("spec", "package")`) comes from; a parent's place at least."""
        found = self._documents_place(file, index, path, "value")
        if found is not None:
            return Provenance("authored", file, found.line, found.column)
        for folder in reversed(defaults.folders_of(file)):
            place = self._default_place(defaults.file_in(folder), file, index, path)
            if place is not None:
                return Provenance("defaulted", defaults.file_in(folder), place.line, place.column)
        nearest = self._nearest(file, index, path)
        return Provenance("published", file, nearest.line, nearest.column)

    def diagnostic(self, finding: Finding) -> Diagnostic:
        field = ".".join(str(part) for part in finding.path if part != "spec" or finding.path == ("spec",))
        if finding.ref:
            field = f"{finding.ref}:{_field_of(finding.path)}" if finding.path else finding.ref
        if finding.line:
            return Diagnostic(finding.file, finding.line, finding.column, field, finding.summary, finding.fix)
        file, place = self._place(finding)
        if file != finding.file:
            field = _field_of(finding.path)  # one mistake in the defaults, however many documents it reaches
        return Diagnostic(file, place.line, place.column, field, finding.summary, finding.fix)

    def _place(self, finding: Finding) -> tuple[str, Place]:
        found = self._documents_place(finding.file, finding.index, finding.path, finding.at)
        if found is not None:
            return finding.file, found
        for folder in reversed(defaults.folders_of(finding.file)):
            name = defaults.file_in(folder)
            place = self._default_place(name, finding.file, finding.index, finding.path, finding.at)
            if place is not None:
                return name, place
        return finding.file, self._nearest(finding.file, finding.index, finding.path)

    def _documents_place(self, file: str, index: int, path: Path, at: str) -> Place | None:
        documents = self.documents(file)
        if index >= len(documents):
            return None
        return _look(documents[index], path, at)

    def _nearest(self, file: str, index: int, path: Path) -> Place:
        documents = self.documents(file)
        if index >= len(documents):
            return Place(1, 1)
        for length in range(len(path), -1, -1):
            found = documents[index].keys.get(path[:length]) or documents[index].values.get(path[:length])
            if found is not None:
                return found
        return Place(1, 1)

    def _default_place(self, name: str, file: str, index: int, path: Path, at: str = "value") -> Place | None:
        """The place in a `_defaults.yaml` of what a document's path would get from it."""
        documents, reads = self.documents(name), self.documents(file)
        if len(documents) != 1 or index >= len(reads) or not path:
            return None
        kind = reads[index].value.get("kind") if isinstance(reads[index].value, dict) else None
        kind = PLURALS[kind].name if kind in PLURALS else kind
        inner: Path = path
        if path[0] == "items" and len(path) > 1:
            inner = ("spec", *path[2:])
        for start in (kind, defaults.EVERY):
            if isinstance(start, str):
                found = _look(documents[0], (start, *inner), at)
                if found is not None:
                    return found
        return None


def _read(file: str, index: int, chunk: stream.Chunk) -> Read:
    try:
        return places.read(chunk)
    except Refused:
        return roundtrip.read(file, index, chunk)


def _look(read: Read, path: Path, at: str) -> Place | None:
    if at == "key":
        return read.keys.get(path) or read.values.get(path)
    return read.values.get(path)


def _field_of(path: Path) -> str:
    if path[:1] == ("items",):
        path = path[2:]
    return ".".join(str(part) for part in path if part != "spec") or "spec"


def diagnostics(findings: Iterable[Finding], locator: Locator) -> tuple[Diagnostic, ...]:
    """Each mistake once, in the order of files and lines."""
    found = {locator.diagnostic(finding): None for finding in findings}
    return tuple(sorted(found, key=lambda one: (one.file, one.line, one.column, one.field, one.summary)))
