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
from collections.abc import Iterator
from itertools import chain
from typing import Any

import msgspec

from reconciler.edge.load import events
from reconciler.edge.load.findings import Path, Refused
from reconciler.edge.load.scalars import PLAIN

_VALUE = re.compile(
    r" (?<=[:,\[-] )("  # a letter first, which is soon found
    r"[A-Za-z0-9][A-Za-z0-9._/@-]*(?:(?=[,}\]\n])|(?::[A-Za-z0-9._/@-]+)+(?=\n))"
    r'|"(?!:)[ !#-\[\]-~]*"(?=[,}\]\n]))'
)
WORD, _COLONS = "zzplacezz{}zz", "zz:place:zz{}zz"
_HOLE = re.compile(r'"zz(?:place|:place:)zz(\d+)zz"')
OURS = re.compile("zz:?place:?zz")
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


SPELLED = _Spelled()


class Understood(msgspec.Struct, frozen=True):
    """A skeleton in whose holes other simple values change nothing else in what is read."""

    json: Holed
    value: Any
    """What it reads as with a word of ours in each hole."""
    paths: list[Path]
    """Where these stand in it."""


class Skeletons:
    """Reads texts of single documents, as `events.read` does."""

    def __init__(self) -> None:
        self._seen: dict[str, int | Understood | None] = {}
        """Skeleton → how often it was met, then what it is; None if it cannot be used."""
        self._decode = msgspec.json.Decoder().decode

    def read(self, text: str) -> Any:
        """The value of a text that holds one document. Raises Refused."""
        parts = taken(text)
        skeleton = "\0".join(parts[::2])
        known = self._seen.get(skeleton, 0)
        if type(known) is Understood and len(known.json) == len(parts) // 2 + 1:
            try:
                parts[1::2] = [SPELLED[value] for value in parts[1::2]]
            except Refused:
                return events.read(text)
            parts[::2] = known.json
            return self._decode("".join(parts))
        if isinstance(known, int) and (known or len(self._seen) < _SKELETONS):
            self._seen[skeleton] = _understood(parts[::2]) if known + 1 >= _WORTH else known + 1
        return events.read(text)

    def understood(self, skeleton: str, rest: list[str]) -> Understood | None:
        """A skeleton whole and in pieces. None if it cannot be used, or was not met before."""
        known = self._seen.get(skeleton, 0)
        if isinstance(known, int):
            if known == 0:
                if len(self._seen) < _SKELETONS:
                    self._seen[skeleton] = 1
                return None
            known = self._seen[skeleton] = _understood(rest)
        return known if known is not None and len(known.json) == len(rest) else None


def taken(text: str) -> list[str]:
    """The text in pieces, the simple values taken out, with the space before each: what stands before the first, that
    value, what follows …"""
    return _VALUE.split(text)


def whole(parts: list[str]) -> str:
    """The text of such pieces."""
    return "".join([f" {part}" if at & 1 else part for at, part in enumerate(parts)])


def _leaves(value: Any, path: Path) -> Iterator[tuple[Any, Path]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            yield from _leaves(inner, (*path, position))
    else:
        yield value, path


def _words(rest: list[str]) -> list[str]:
    """Our word for each hole of a skeleton."""
    return [(_COLONS if after[0] == "\n" else WORD).format(hole) for hole, after in enumerate(rest[1:])]


def _understood(rest: list[str]) -> Understood | None:
    """The skeleton in these pieces, or None if it cannot be trusted."""
    words = _words(rest)
    try:
        value = events.read(whole([rest[0], *chain.from_iterable(zip(words, rest[1:], strict=True))]))
        pieces = _HOLE.split(msgspec.json.encode(value).decode())
    except (Refused, UnicodeError, TypeError, ValueError):
        return None
    holes, between = pieces[1::2], pieces[::2]
    if holes != [str(hole) for hole in range(len(rest) - 1)] or OURS.search("".join(between)) or not _plain(value):
        return None
    if any([after.startswith(":") for after in between[1:]]):
        return None  # a key without a value, `{a: 1, b}`: it may be one that stands there already, or no text
    found = dict(_leaves(value, ()))
    return Understood(between, value, [found[word] for word in words])


def _plain(value: Any) -> bool:
    """Whether JSON holds the value as it is: text for keys, no dates, no numbers that it would round."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _plain(inner) for key, inner in value.items())
    if isinstance(value, list):
        return all(map(_plain, value))
    return value is None or isinstance(value, str) or (isinstance(value, int) and abs(value) < _EXACT)
