"""A file as texts of single documents.

Owns: decoding, and where one document ends and the next begins. Must not go here: YAML within a document.
"""

from __future__ import annotations

import itertools
import re

import msgspec

from reconciler.edge.load.findings import LIMITS, Finding, Limits

SEPARATOR = re.compile(r"^---(?=[ \t\r\n]|\Z)", re.MULTILINE)
_CONTENT = re.compile(r"^(?:---)?[ \t]*(?![ \t]|#|\r?\n|\r?\Z|---(?:[ \t\r\n]|\Z))", re.MULTILINE)


class Chunk(msgspec.Struct, frozen=True):
    """The text of one document and the line (from 1) that it begins at."""

    text: str
    line: int


def cut(file: str, data: bytes, limits: Limits = LIMITS) -> tuple[list[Chunk], list[Finding]]:
    """The documents of a file. `---` at the start of a line always ends one, so no YAML need be understood."""
    if len(data) > limits.file:
        return [], [_whole(file, f"the file has {len(data)} bytes, more than {limits.file}", "split it")]
    try:
        text = data.decode()
    except UnicodeDecodeError as wrong:
        line = data.count(b"\n", 0, wrong.start) + 1
        column = wrong.start - (data.rfind(b"\n", 0, wrong.start) + 1) + 1
        return [], [_whole(file, "the file is not UTF-8", "save it as UTF-8", line, column)]
    if text.startswith("\ufeff"):
        return [], [_whole(file, "the file begins with a byte order mark", "save it as UTF-8 without one")]
    chunks = _chunks(text)
    if len(chunks) > limits.documents:
        over = chunks[limits.documents]
        summary = f"the file has {len(chunks)} documents, more than {limits.documents}"
        return [], [_whole(file, summary, "split it", over.line)]
    large = [chunk for chunk in chunks if len(chunk.text) > limits.document] if len(text) > limits.document else ()
    return chunks, [
        _whole(
            file, f"a document has {len(chunk.text)} characters, more than {limits.document}", "split it", chunk.line
        )
        for chunk in large
    ]


def _chunks(text: str) -> list[Chunk]:
    if "---" not in text:
        return [Chunk(text, 1)] if has_content(text) else []
    starts = [match.start() for match in SEPARATOR.finditer(text)]
    if not starts:
        return [Chunk(text, 1)] if has_content(text) else []
    bounds = [0, *starts, len(text)] if starts[0] else [*starts, len(text)]
    chunks, line = [], 1
    for start, end in itertools.pairwise(bounds):
        part = text[start:end]
        if has_content(part):
            chunks.append(Chunk(part, line))
        line += part.count("\n")
    return chunks


def has_content(part: str) -> bool:
    if part[:1].isalpha():
        return True
    return _CONTENT.search(part) is not None


def _whole(file: str, summary: str, fix: str, line: int = 1, column: int = 1) -> Finding:
    return Finding(file, 0, (), summary, fix, line=line, column=column)
