"""Many names in few characters: `acme/web-[1-4]`, `inc/a a b c`.

Owns: compressing names and places. Must not go here: choosing what is shown together (fold).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_NUMBERED = r"(?s)(.*?)-(0|[1-9][0-9]*)\Z"

_NOUNS = {
    "Machine": ("machine", "machines"),
    "Network": ("network", "networks"),
    "Image": ("image", "images"),
    "Node": ("node", "nodes"),
    "Volume": ("volume", "volumes"),
    "Tenant": ("project", "projects"),
}


def noun(kind: str, count: int) -> str:
    """The kind as people say it, in the number asked for."""
    one, many = _NOUNS.get(kind, (f"{kind} object", f"{kind} objects"))
    return one if count == 1 else many


def counted(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


def stem(name: str) -> str:
    """The name without its number: what the members of a group share."""
    found = re.match(_NUMBERED, name)
    return found[1] if found else name


def compressed(names: Iterable[str], limit: int = 0) -> str:
    """Names with numbers folded into ranges, in order of first sight; beyond `limit` pieces only their count."""
    numbers: dict[str, list[int]] = {}
    order: dict[str, None] = {}
    for name in names:
        found = re.match(_NUMBERED, name)
        if found:
            numbers.setdefault(found[1], []).append(int(found[2]))
            order.setdefault(found[1] + "-#")
        else:
            order.setdefault(name)
    pieces = [_piece(entry, numbers) for entry in order]
    if limit and len(pieces) > limit:
        return ", ".join(pieces[:limit]) + f" and {len(pieces) - limit} more"
    return ", ".join(pieces)


def _piece(entry: str, numbers: dict[str, list[int]]) -> str:
    if not entry.endswith("-#"):
        return entry
    base = entry[:-2]
    spans = ranges(numbers[base])
    return f"{base}-{spans}" if spans.isdigit() else f"{base}-[{spans}]"


def ranges(numbers: Iterable[int]) -> str:
    """`1-4,7` for {1, 2, 3, 4, 7}."""
    spans: list[list[int]] = []
    for number in sorted(set(numbers)):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)


def places(targets: Sequence[str], limit: int = 6) -> str:
    """Where things are, in their order: `inc/a a b c`; counts where there are many: `inc/a 40, inc/b 38`."""
    distinct = dict.fromkeys(targets)
    if len(distinct) == 1:
        return next(iter(distinct))
    if len(targets) <= limit:
        return _in_order(targets)
    counts = [f"{target} {targets.count(target)}" for target in sorted(distinct)]
    if len(counts) > limit:
        return ", ".join(counts[:limit]) + f" and {len(counts) - limit} more"
    return ", ".join(counts)


def _in_order(targets: Sequence[str]) -> str:
    words: list[str] = []
    last = ""
    for target in targets:
        node, _, member = target.partition("/")
        words.append(member if member and node == last else target)
        last = node if member else ""
    return " ".join(words)


def listed(targets: Iterable[str], limit: int = 8) -> str:
    """All targets once, members after their node: `edge1, inc (a b c), smart1`."""
    nodes: dict[str, list[str]] = {}
    for target in sorted(set(targets)):
        node, _, member = target.partition("/")
        nodes.setdefault(node, []).extend([member] if member else [])
    words = [f"{node} ({' '.join(members)})" if members else node for node, members in nodes.items()]
    if len(words) > limit:
        return f"{len(words)} nodes"
    return ", ".join(words)
