"""The slow tier: ruamel's round-trip parser, with the place of every value, and every message.

Owns: what is wrong with a text as YAML, in words with line and column; where each field stands.
Must not go here: rules of our documents. It costs milliseconds a document: only for the unusual
and the wrong, and on demand.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import msgspec

from reconciler.edge.load.findings import CERTAIN, LIMITS, Doubt, Finding, Path
from reconciler.edge.load.scalars import construct
from reconciler.edge.load.stream import Chunk


class Place(msgspec.Struct, frozen=True):
    """Line and column, from 1."""

    line: int
    column: int


class Read(msgspec.Struct):
    """A document read slowly: its value, where its keys and values stand, and what is wrong with it.

    With mistakes the value is what could be read; `doubt` says what could not.
    """

    value: Any = None
    keys: dict[Path, Place] = msgspec.field(default_factory=dict)
    values: dict[Path, Place] = msgspec.field(default_factory=dict)
    findings: list[Finding] = msgspec.field(default_factory=list)
    unknown: list[Path] = msgspec.field(default_factory=list)
    lacking: list[Path] = msgspec.field(default_factory=list)
    lost: str = ""
    """Text that was not read: what it declares is unknown, not missing."""
    stopped: tuple[int, ...] = ()
    """Where it is no YAML: the lines to blame, from 0 in the chunk, the likeliest first."""

    @property
    def doubt(self) -> Doubt:
        return Doubt(tuple(self.unknown), tuple(self.lacking)) if self.unknown or self.lacking else CERTAIN


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
        self.flow: Path | None = None
        """The outermost collection in brackets that is being read."""

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
            self._stop(wrong.mark.line)
        except MarkedYAMLError as wrong:
            mark = wrong.problem_mark or wrong.context_mark
            self.report(_sentence(wrong, self.chunk.line), _remedy(wrong), mark)
            self._stop(*_blamed(wrong))
            self.out.stopped = _blamed(wrong)
        except (YAMLError, ValueError, RecursionError, AssertionError, IndexError) as wrong:
            line, column = self._stream_place(wrong)
            summary = f"not YAML: {_first_line(wrong)}"
            self.out.findings.append(Finding(self.file, self.index, (), summary, line=line, column=column))
            self._stop(0)
        return self.out

    def _stop(self, *lines: int) -> None:
        """What follows was not read, and what came before may lack something."""
        self.out.lacking.append(())
        if self.flow is not None:
            self.out.unknown.append(self.flow)
        self.out.lost = "\n".join(self.chunk.text.split("\n")[min(lines) :])

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
                self._node(parser, next(parser), (), self._whole)

    def _whole(self, value: Any) -> None:
        self.out.value = value

    def _node(self, parser: Any, event: Any, path: Path, keep: Callable[[Any], None]) -> None:
        """Reads a value and hands it to `keep`: a map or a list before it is filled, for reading may end within."""
        events = _events_module()
        self.nodes += 1
        if self.nodes > LIMITS.nodes:
            raise _Wrong(f"a document has more than {LIMITS.nodes} values", "split it", event.start_mark)
        if isinstance(event, events.AliasEvent):
            self.report("an alias is not used", "write it out, or put it into _defaults.yaml", event.start_mark, path)
            self.out.unknown.append(path)
            self.out.values[path] = self.place(event.start_mark)
            keep(None)
            return
        if not self._plain_only(event, path):
            self.out.unknown.append(path)
        self.out.values[path] = self.place(event.start_mark)
        if isinstance(event, events.ScalarEvent):
            keep(self._scalar(event, path))
            return
        if len(path) >= LIMITS.depth:
            raise _Wrong(
                f"values are nested more than {LIMITS.depth} deep", "no field is: take a level out", event.start_mark
            )
        outermost = bool(event.flow_style) and self.flow is None
        if outermost:
            self.flow = path
        self._collection(parser, event, path, keep)
        if outermost:
            self.flow = None

    def _collection(self, parser: Any, event: Any, path: Path, keep: Callable[[Any], None]) -> None:
        events = _events_module()
        if isinstance(event, events.SequenceStartEvent):
            items: list[Any] = []
            keep(items)
            while not isinstance(event := next(parser), events.SequenceEndEvent):
                self._node(parser, event, (*path, len(items)), items.append)
            return
        found: dict[str | int, Any] = {}
        keep(found)
        self._mapping(parser, path, found)

    def _plain_only(self, event: Any, path: Path) -> bool:
        """Tells anchors and tags. False if the value is not what it seems."""
        if event.anchor is not None:
            self.report("an anchor is not used", "write it out, or put it into _defaults.yaml", event.start_mark, path)
        tag = event.ctag if hasattr(event, "ctag") else event.tag
        if tag is not None and str(tag) not in {"", "None"}:
            self.report(
                f"a tag ({tag}) is not used", "remove it; quote the value if it is text", event.start_mark, path
            )
            return False
        return True

    def _scalar(self, event: Any, path: Path) -> Any:
        if any("\ud800" <= letter <= "\udfff" for letter in event.value):
            self.report(
                "half a character (a surrogate) stands here", "write the character itself", event.start_mark, path
            )
            self.out.unknown.append(path)
            return ""
        if not event.implicit[0]:
            # the round trip's scanner marks where folded lines met
            return event.value.replace("\a", "") if event.style == ">" else event.value
        try:
            return construct(event.value)
        except Exception:
            self.report(f"{event.value!r} has no meaning of its own", "put it in quotes", event.start_mark, path)
            self.out.unknown.append(path)
            return None

    def _mapping(self, parser: Any, path: Path, found: dict[str | int, Any]) -> None:
        events = _events_module()
        while not isinstance(event := next(parser), events.MappingEndEvent):
            mark = event.start_mark
            key = self._key(parser, event, path)
            inner = (*path, key)
            if key in found:
                first = self.out.keys[inner]
                self.report(f"{key!r} is here twice, first in line {first.line}", "remove one", mark, path)
                self._node(parser, next(parser), (*path, f"{key} (again)"), _drop)
                continue
            self.out.keys[inner] = self.place(mark)
            if key == "<<" and event.implicit[0]:
                self.out.lacking.append(path)
                self._node(parser, next(parser), inner, _drop)
                continue
            self._node(parser, next(parser), inner, functools.partial(found.__setitem__, key))

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
        known = len(self.out.unknown)
        key = self._scalar(event, path)
        if len(self.out.unknown) > known:  # told; which key it is, nobody knows
            del self.out.unknown[known:]
            self.out.lacking.append(path)
            return str(event.value)
        if type(key) is str or type(key) is int:
            return key
        self.report(f"the key {event.value!r} is not text", "put it in quotes", event.start_mark, path)
        return str(event.value)


def _drop(_: Any) -> None:
    return None


_MENDS = 16
"""Lines of a document that are passed over to read what stands beneath them."""


def read(file: str, index: int, chunk: Chunk) -> Read:
    """Reads one document; never raises for what is written in it. Where it is no YAML, and one line is to blame that
    nothing hangs from, that line is told and passed over."""
    out = _Builder(file, index, chunk).build()
    told: list[Finding] = []
    lost: list[str] = []
    lines = chunk.text.split("\n")
    while out.stopped and len(lost) < _MENDS:
        found = _without(file, index, lines, chunk.line, out)
        if found is None:
            break
        told.append(out.findings[-1])
        place, out = found
        lost.append(lines[place])
        lines[place] = ""
    if lost:
        out.findings = sorted([*told, *out.findings], key=lambda one: (one.line, one.column))
        out.lacking.append(())
        out.lost = "\n".join([*lost, out.lost])
    return out


def _without(file: str, index: int, lines: list[str], first: int, stopped: Read) -> tuple[int, Read] | None:
    """(the line to pass over, what is read without it); None if no one line is to blame."""
    for place in stopped.stopped:
        if place >= len(lines) or not lines[place].strip() or _carries(lines, place):
            continue
        rest = "\n".join([*lines[:place], "", *lines[place + 1 :]])
        out = _Builder(file, index, Chunk(rest, first)).build()
        if not out.lost or (out.stopped and min(out.stopped) > place):
            return place, out
    return None


def _carries(lines: list[str], place: int) -> bool:
    """Whether something stands beneath the line that belongs to it."""
    following = next((line for line in lines[place + 1 :] if line.strip() and not line.lstrip().startswith("#")), "")
    return _indent(following) > _indent(lines[place])


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _blamed(wrong: Any) -> tuple[int, ...]:
    """Lines that may be at fault: where a scalar or a flow collection began, and else where the parser stumbled."""
    problem = wrong.problem_mark.line if wrong.problem_mark is not None else None
    context = wrong.context_mark.line if wrong.context_mark is not None else None
    began = str(wrong.context or "").startswith(("while scanning", "while parsing a flow"))
    ordered = (context, problem) if began else (problem, context)
    return tuple(dict.fromkeys(line for line in ordered if line is not None))


def _remedy(wrong: Any) -> str:
    """What to do about the commonest of them."""
    problem, context = str(wrong.problem or ""), str(wrong.context or "")
    if "'\\t'" in problem or "tab" in problem:
        return "indent with spaces: YAML takes no tabs"
    if "mapping values are not allowed" in problem:
        return "put a text that holds a colon in quotes, and check the indentation"
    if "could not find expected ':'" in problem:
        return "write KEY: VALUE, with a space after the colon"
    if "quoted scalar" in context:
        return "close the quotes"
    if "flow sequence" in context or "flow mapping" in context or "flow node" in context:
        return "close the bracket, and put commas between the entries"
    return "check the indentation" if "block" in context else ""


def _sentence(wrong: Any, first_line: int) -> str:
    parts = [str(part).strip() for part in (wrong.context, wrong.problem) if part]
    began, ended = wrong.context_mark, wrong.problem_mark
    if began is not None and ended is not None and began.line != ended.line:
        parts[0] += f" that began in line {first_line + began.line}"
    return "not YAML: " + ", ".join(parts)


def _first_line(wrong: Exception) -> str:
    return str(wrong).strip().splitlines()[0] if str(wrong).strip() else type(wrong).__name__
