"""Documents written alike are read alike: the same text but for simple values is parsed once.

A fleet's documents differ in names, sizes and addresses, hardly in anything else. Take the simple values out of a text
and what is left, the skeleton, has the same structure whatever the values are. So libyaml reads a skeleton once, and
what it found is kept as JSON with holes; from then on its documents cost one regular expression and one JSON decode.

Owns: taking values out, and proving that a skeleton may be used: with a word of ours in each hole, the fast tier must
find exactly those words, each once, in order, and each as a whole value. Where it does not (a value in a comment, in a
block of text, in a scalar over several lines), the skeleton is never used.
Must not go here: YAML. A value is simple if no context gives it another meaning: letters, digits and `._/@-`, or a
double-quoted printable text without escapes, up to the end of the line or of the entry. At the end of a line colons may
stand inside it (a URL, a MAC): libyaml takes these in blocks alone, so there the word of ours has colons, too.
A text in quotes does not begin with a colon: whether the fast tier takes that depends on what stands around it.
"""

from __future__ import annotations

import re
from itertools import chain
from typing import Any

import msgspec

from reconciler.edge.load import events
from reconciler.edge.load.findings import Refused
from reconciler.edge.load.scalars import PLAIN

_VALUE = re.compile(
    r"(?<=[:,\[-] )("
    r"[A-Za-z0-9][A-Za-z0-9._/@-]*(?:(?=[,}\]\n])|(?::[A-Za-z0-9._/@-]+)+(?=\n))"
    r'|"(?!:)[ !#-\[\]-~]*"(?=[,}\]\n]))'
)
_WORD, _COLONS = "zzplacezz{}zz", "zz:place:zz{}zz"
_HOLE = re.compile(r'"zz(?:place|:place:)zz(\d+)zz"')
_OURS = re.compile("zz:?place:?zz")
_SKELETONS = 2_000
"""So many are kept; a tree that has more gains nothing."""
_WORTH = 3
"""Documents of one skeleton after which it is prepared."""
_EXACT = 2**53

Holed = list[str]
"""JSON in pieces, with a value between each two."""


class _Spelled(dict[str, str]):
    """{simple value as written: its JSON}, filled on demand. Raises Refused for what JSON has no spelling of."""

    def __missing__(self, written: str) -> str:
        if written[0] == '"':
            return written
        try:
            value = PLAIN[written]
        except Exception:
            raise Refused from None
        if isinstance(value, str):
            spelled = f'"{value}"'
        elif isinstance(value, int) and abs(value) < _EXACT:  # bool too
            spelled = msgspec.json.encode(value).decode()
        else:
            raise Refused
        if len(self) >= 200_000:
            self.clear()
        self[written] = spelled
        return spelled


class Skeletons:
    """Reads texts of single documents, as `events.read` does."""

    def __init__(self) -> None:
        self._seen: dict[str, int | Holed | None] = {}
        """Skeleton → how often it was met, then its JSON; None if it cannot be used."""
        self._naming: dict[str, int | None] = {}
        """Skeleton → which of its holes is `metadata.name`."""
        self._spelled = _Spelled()
        self._decode = msgspec.json.Decoder().decode

    def read(self, text: str) -> Any:
        """The value of a text that holds one document. Raises Refused."""
        parts = _VALUE.split(text)
        skeleton = "\0".join(parts[::2])
        known = self._seen.get(skeleton, 0)
        if type(known) is list and len(known) == len(parts) // 2 + 1:
            spelled = self._spelled
            try:
                parts[1::2] = [spelled[value] for value in parts[1::2]]
            except Refused:
                return events.read(text)
            parts[::2] = known
            return self._decode("".join(parts))
        if isinstance(known, int) and (known or len(self._seen) < _SKELETONS):
            self._seen[skeleton] = _holed(parts[::2]) if known + 1 >= _WORTH else known + 1
        return events.read(text)

    def name_in(self, text: str) -> tuple[int, int] | None:
        """Where in the text `metadata.name` is written, so that another simple value there changes nothing else in
        what is read. None if that cannot be told."""
        parts = _VALUE.split(text)
        skeleton = "\0".join(parts[::2])
        if skeleton not in self._naming:
            if len(self._naming) >= _SKELETONS:
                self._naming.clear()
            self._naming[skeleton] = _naming(parts[::2])
        hole = self._naming[skeleton]
        if hole is None:
            return None
        first = sum(map(len, parts[: 2 * hole + 1]))
        return first, first + len(parts[2 * hole + 1])


def _naming(rest: list[str]) -> int | None:
    if _holed(rest) is None:
        return None
    value = events.read(_filled(rest))
    metadata = value.get("metadata") if isinstance(value, dict) else None
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return next((hole for hole, word in enumerate(_words(rest)) if name == word), None)


def _words(rest: list[str]) -> list[str]:
    """Our word for each hole of a skeleton."""
    return [(_COLONS if after[0] == "\n" else _WORD).format(hole) for hole, after in enumerate(rest[1:])]


def _filled(rest: list[str]) -> str:
    """The text of a skeleton with a word of ours in each hole."""
    return rest[0] + "".join(chain.from_iterable(zip(_words(rest), rest[1:], strict=True)))


def _holed(rest: list[str]) -> Holed | None:
    """The JSON of a skeleton, or None if it cannot be trusted."""
    try:
        value = events.read(_filled(rest))
        pieces = _HOLE.split(msgspec.json.encode(value).decode())
    except (Refused, UnicodeError, TypeError, ValueError):
        return None
    whole = "".join(pieces[::2])
    if pieces[1::2] != [str(hole) for hole in range(len(rest) - 1)] or _OURS.search(whole) or not _plain(value):
        return None
    return pieces[::2]


def _plain(value: Any) -> bool:
    """Whether JSON holds the value as it is: text for keys, no dates, no numbers that it would round."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _plain(inner) for key, inner in value.items())
    if isinstance(value, list):
        return all(map(_plain, value))
    return value is None or isinstance(value, str) or (isinstance(value, int) and abs(value) < _EXACT)
