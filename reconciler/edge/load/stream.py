"""A file as texts of single documents.

Owns: decoding, and where one document ends and the next begins. Must not go here: YAML within a document.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable

import msgspec

from reconciler.edge.load.findings import LIMITS, Finding, Limits

POINTER = "version https://git-lfs.github.com/spec/"
IS_POINTER = ("this is a Git LFS pointer, not the file itself", "keep it in git as it is: git lfs untrack FILE")
SEPARATOR = re.compile(r"^---(?=[ \t\r\n]|\Z)", re.MULTILINE)
_CONTENT = re.compile(r"^(?:---)?[ \t]*(?![ \t]|#|\r?\n|\r?\Z|---(?:[ \t\r\n]|\Z))", re.MULTILINE)


class Chunk(msgspec.Struct, frozen=True):
    """The text of one document and the line (from 1) that it begins at."""

    text: str
    line: int


def cut(file: str, data: bytes, limits: Limits = LIMITS) -> tuple[list[Chunk], list[Finding]]:
    """The documents of a file that can be read, and what keeps others from it. `---` at the start of a line always ends
    one, so no YAML need be understood."""
    if len(data) > limits.file:
        return [], [_whole(file, f"the file has {len(data)} bytes, more than {limits.file}", "split it")]
    if data.startswith(POINTER.encode()):
        return [], [_whole(file, *IS_POINTER)]
    try:
        text = data.decode()
    except UnicodeDecodeError as wrong:
        return _cut_damaged(file, data, wrong)
    findings = []
    if text.startswith("\ufeff"):
        text = text[1:]
        findings.append(_whole(file, "the file begins with a byte order mark", "save it as UTF-8 without one"))
    chunks = _chunks(text)
    if len(chunks) > limits.documents:
        over = chunks[limits.documents]
        summary = f"the file has {len(chunks)} documents, more than {limits.documents}"
        return [], [*findings, _whole(file, summary, "split it", over.line)]
    if len(text) > limits.document:
        for chunk in chunks:
            if len(chunk.text) > limits.document:
                summary = f"a document has {len(chunk.text)} characters, more than {limits.document}"
                findings.append(_whole(file, summary, "split it", chunk.line))
        chunks = [chunk for chunk in chunks if len(chunk.text) <= limits.document]
    return chunks, findings


def _cut_damaged(file: str, data: bytes, wrong: UnicodeDecodeError) -> tuple[list[Chunk], list[Finding]]:
    """The documents without bytes that are no UTF-8, and where the others have one."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return [], [_whole(file, "the file is not UTF-8, it seems to be UTF-16", "save it as UTF-8")]
    if b"\0" in data:
        return [], [
            _whole(file, "the file is not text", "documents are YAML in UTF-8; give other files another ending")
        ]
    sound, findings = [], []
    for chunk in _chunks(data.decode(errors="surrogateescape")):
        odd = re.search(r"[\udc80-\udcff]", chunk.text)
        if odd is None:
            sound.append(chunk)
            continue
        before = chunk.text[: odd.start()]
        column = len(before[before.rfind("\n") + 1 :].encode()) + 1
        line = chunk.line + before.count("\n")
        findings.append(_whole(file, "the file is not UTF-8", "save it as UTF-8", line, column))
    if not findings:  # damaged where nothing is read
        line = data.count(b"\n", 0, wrong.start) + 1
        column = wrong.start - (data.rfind(b"\n", 0, wrong.start) + 1) + 1
        findings.append(_whole(file, "the file is not UTF-8", "save it as UTF-8", line, column))
    return sound, findings


def lost(data: bytes, chunks: Iterable[Chunk]) -> str:
    """The text that is in none of the documents."""
    text = data.decode(errors="replace")
    for chunk in chunks:
        text = text.replace(chunk.text, "", 1)
    return text


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
