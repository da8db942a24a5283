"""One layout for everybody's files: a ruamel round trip, comments kept.

Owns: how a file is written. Must not go here: meaning; a file whose values would change is refused.
"""

from __future__ import annotations

import io
import itertools
from typing import Any

from reconciler.edge.load import roundtrip
from reconciler.edge.load.stream import SEPARATOR, Chunk, has_content


class Unreadable(Exception):
    """The text is no YAML; the message begins with line and column."""


def formatted(text: str) -> str:
    """The text in our layout. Raises Unreadable."""
    starts = [match.start() for match in SEPARATOR.finditer(text)]
    bounds = [0, *(start for start in starts if start), len(text)]
    parts, line = [], 1
    for start, end in itertools.pairwise(bounds):
        part = text[start:end]
        parts.append(_document(part, line) if has_content(part) else part)
        line += part.count("\n")
    whole = "".join(parts)
    return whole if not whole or whole.endswith("\n") else whole + "\n"


def _document(part: str, line: int) -> str:
    before = roundtrip.read("", 0, Chunk(part, line))
    if before.findings:
        found = before.findings[0]
        raise Unreadable(f"{found.line}:{found.column}: {found.summary}" + (f" ({found.fix})" if found.fix else ""))
    if not isinstance(before.value, dict):
        return part  # no document of ours: somebody else's layout
    yaml = round_trip()
    yaml.explicit_start = part.startswith("---")
    out = io.StringIO()
    yaml.dump(yaml.load(part), out)
    after = out.getvalue()
    again = roundtrip.read("", 0, Chunk(after, line))
    if again.findings or again.value != before.value:
        return part  # rather untidy than another meaning
    return after


def round_trip() -> Any:
    """The reader and writer that keeps comments."""
    from ruamel.yaml import YAML

    yaml = YAML(typ="rt", pure=True)
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml
