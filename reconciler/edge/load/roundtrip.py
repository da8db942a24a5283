"""The slow tier: ruamel's round-trip parser, with the place of every value, and every message.

Owns: what is wrong with a text as YAML, in words with line and column; where each field stands.
Must not go here: rules of our documents. It costs milliseconds a document: only for the unusual
and the wrong, and on demand.
"""

from __future__ import annotations

import functools
from typing import Any

import msgspec

from reconciler.edge.load.findings import LIMITS, Finding, Path
from reconciler.edge.load.scalars import construct
from reconciler.edge.load.stream import Chunk


class Place(msgspec.Struct, frozen=True):
    """Line and column, from 1."""

    line: int
    column: int


class Read(msgspec.Struct):
    """A document read slowly: its value, where its keys and values stand, and what is wrong with it."""

    value: Any = None
    keys: dict[Path, Place] = msgspec.field(default_factory=dict)
    values: dict[Path, Place] = msgspec.field(default_factory=dict)
    findings: list[Finding] = msgspec.field(default_factory=list)


@functools.cache
def _events_module() -> Any:
    from ruamel.yaml import events

    return events


class _Wrong(Exception):
    """Ends the reading of a document: what is wrong, and where (a ruamel mark)."""

    def __init__(self, summary: str, fix: str, mark: Any) -> None:
        super().__init__(summary)
        self.summary, self.fix, self.mark = summary, fix, mark


class _Builder:
    """Builds the value of one document from ruamel's pure-Python events and keeps the places."""

    def __init__(self, file: str, index: int, chunk: Chunk) -> None:
        self.file, self.index, self.chunk = file, index, chunk
        self.out = Read()
        self.nodes = 0

    def place(self, mark: Any) -> Place:
        return Place(self.chunk.line + mark.line, mark.column + 1)

    def report(self, summary: str, fix: str, mark: Any, path: Path = ()) -> None:
        where = self.place(mark)
        self.out.findings.append(
            Finding(self.file, self.index, path, summary, fix, line=where.line, column=where.column)
        )

    def build(self) -> Read:
        from ruamel.yaml import YAML
        from ruamel.yaml.error import MarkedYAMLError, YAMLError

        try:
            parser = YAML(typ="rt", pure=True).parse(self.chunk.text)
            self._document(parser)
        except _Wrong as wrong:
            self.report(wrong.summary, wrong.fix, wrong.mark)
        except MarkedYAMLError as wrong:
            mark = wrong.problem_mark or wrong.context_mark
            self.report(_sentence(wrong, self.chunk.line), "", mark)
        except (YAMLError, ValueError, RecursionError, AssertionError, IndexError) as wrong:
            line, column = self._stream_place(wrong)
            summary = f"not YAML: {_first_line(wrong)}"
            self.out.findings.append(Finding(self.file, self.index, (), summary, line=line, column=column))
        return self.out

    def _stream_place(self, wrong: Exception) -> tuple[int, int]:
        """ReaderError knows only how many characters it had read."""
        position = getattr(wrong, "position", None)
        if not isinstance(position, int):
            return self.chunk.line, 1
        before = self.chunk.text[:position]
        return self.chunk.line + before.count("\n"), position - (before.rfind("\n") + 1) + 1

    def _document(self, parser: Any) -> None:
        events = _events_module()
        seen = 0
        for event in parser:
            if isinstance(event, events.DocumentStartEvent):
                if event.version or event.tags:
                    raise _Wrong("YAML directives are not used", "remove the line", event.start_mark)
                seen += 1
                if seen > 1:
                    raise _Wrong("a second document begins without ---", "write --- before it", event.start_mark)
                self.out.value = self._node(parser, next(parser), ())

    def _node(self, parser: Any, event: Any, path: Path) -> Any:
        events = _events_module()
        self.nodes += 1
        if self.nodes > LIMITS.nodes:
            raise _Wrong(f"a document has more than {LIMITS.nodes} values", "split it", event.start_mark)
        if isinstance(event, events.AliasEvent):
            self.report("an alias is not used", "write it out, or put it into _defaults.yaml", event.start_mark, path)
            return None
        self._plain_only(event, path)
        self.out.values[path] = self.place(event.start_mark)
        if isinstance(event, events.ScalarEvent):
            return self._scalar(event, path)
        if len(path) >= LIMITS.depth:
            raise _Wrong(f"values are nested more than {LIMITS.depth} deep", "", event.start_mark)
        if isinstance(event, events.SequenceStartEvent):
            items: list[Any] = []
            while not isinstance(event := next(parser), events.SequenceEndEvent):
                items.append(self._node(parser, event, (*path, len(items))))
            return items
        return self._mapping(parser, path)

    def _plain_only(self, event: Any, path: Path) -> None:
        if event.anchor is not None:
            self.report("an anchor is not used", "write it out, or put it into _defaults.yaml", event.start_mark, path)
        tag = event.ctag if hasattr(event, "ctag") else event.tag
        if tag is not None and str(tag) not in {"", "None"}:
            self.report(
                f"a tag ({tag}) is not used", "remove it; quote the value if it is text", event.start_mark, path
            )

    def _scalar(self, event: Any, path: Path) -> Any:
        if any("\ud800" <= letter <= "\udfff" for letter in event.value):
            self.report(
                "half a character (a surrogate) stands here", "write the character itself", event.start_mark, path
            )
            return ""
        if not event.implicit[0]:
            # the round trip's scanner marks where folded lines met
            return event.value.replace("\a", "") if event.style == ">" else event.value
        try:
            return construct(event.value)
        except Exception:
            self.report(f"{event.value!r} has no meaning of its own", "put it in quotes", event.start_mark, path)
            return None

    def _mapping(self, parser: Any, path: Path) -> dict[str | int, Any]:
        events = _events_module()
        found: dict[str | int, Any] = {}
        while not isinstance(event := next(parser), events.MappingEndEvent):
            mark = event.start_mark
            key = self._key(parser, event, path)
            inner = (*path, key)
            if key in found:
                first = self.out.keys[inner]
                self.report(f"{key!r} is here twice, first in line {first.line}", "remove one", mark, path)
                self._node(parser, next(parser), (*path, f"{key} (again)"))
                continue
            self.out.keys[inner] = self.place(mark)
            found[key] = self._node(parser, next(parser), inner)
        return found

    def _key(self, parser: Any, event: Any, path: Path) -> str | int:
        events = _events_module()
        if not isinstance(event, events.ScalarEvent):
            raise _Wrong("a key is a list or a map", "keys are plain words", event.start_mark)
        self._plain_only(event, path)
        if event.implicit[0] and event.value == "<<":
            self.report(
                "merge keys are not used", "write it out, or put it into _defaults.yaml", event.start_mark, path
            )
            return "<<"
        key = self._scalar(event, path)
        if type(key) is str or type(key) is int:
            return key
        self.report(f"the key {event.value!r} is not text", "put it in quotes", event.start_mark, path)
        return str(event.value)


def read(file: str, index: int, chunk: Chunk) -> Read:
    """Reads one document; never raises for what is written in it."""
    return _Builder(file, index, chunk).build()


def _sentence(wrong: Any, first_line: int) -> str:
    parts = [str(part).strip() for part in (wrong.context, wrong.problem) if part]
    began, ended = wrong.context_mark, wrong.problem_mark
    if began is not None and ended is not None and began.line != ended.line:
        parts[0] += f" that began in line {first_line + began.line}"
    return "not YAML: " + ", ".join(parts)


def _first_line(wrong: Exception) -> str:
    return str(wrong).strip().splitlines()[0] if str(wrong).strip() else type(wrong).__name__
