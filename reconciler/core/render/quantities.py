"""Values of fields in people's units.

Owns: how bytes, thousandths of a core, seconds, moments, secrets and digests are spelled.
Must not go here: which fields exist for a kind (a field of an unknown name is shown as it is).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from reconciler.core.values import segments

_UNITS = (("Ti", 1 << 40), ("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10))
_BYTES = frozenset({"memory", "swap", "disk", "size"})
_PACES = frozenset({"ioRead", "ioWrite"})
"""Bytes in a second."""
_SHORTEST, _LONGEST = 24, 64
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}


def clean(text: str) -> str:
    """One line without anything that a terminal would act on. A hint beneath a message stands behind it."""
    return text.replace("\n  ", "; ").translate(_CONTROL)


def size(count: int) -> str:
    """Bytes as `2Gi`, `1536Mi`, and `11.2Gi` where no unit fits evenly."""
    for suffix, unit in _UNITS:
        if count and count % unit == 0 and count // unit < 1 << 14:
            return f"{count // unit}{suffix}"
    for suffix, unit in _UNITS:
        if abs(count) >= unit:
            return f"{count / unit:.1f}{suffix}"
    return str(count)


def cores(thousandths: int) -> str:
    """Thousandths of a core as cores: `1.5`."""
    return f"{thousandths / 1000:g}"


def duration(seconds: float) -> str:
    """Rounded as people say it: `under 0.1 s`, `0.3 s`, `35 s`, `2 min`, `1 h 10 min`, `7 d`."""
    if seconds < 0.1:
        return "under 0.1 s"
    if seconds < 10:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours and days < 7 else f"{days} d"


def revision(known: str) -> str:
    """`6cd0be2`, or `uncommitted tree e6c2499` for what the journal calls `tree:` and an id."""
    return f"uncommitted {known[:12].replace(':', ' ')}" if known.startswith("tree:") else known[:7]


def moment(unix: float) -> str:
    """Unix seconds as `2026-10-08 14:03Z`."""
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%d %H:%MZ")


def time_of_day(unix: float) -> str:
    return datetime.fromtimestamp(unix, UTC).strftime("%H:%M:%SZ")


def value(path: str, found: Any) -> str:
    """One field's value, the unit taken from the last name in its path. Never a secret's value."""
    if found is None:
        return "none"
    if isinstance(found, bool):
        return "true" if found else "false"
    if isinstance(found, int):
        return _number(segments(path)[-1] if path else "", found)
    if isinstance(found, Mapping):
        inner = (f"{key}: {value(f'{path}/{key}', item)}" for key, item in sorted(found.items()))
        return "{" + ", ".join(inner) + "}"
    if isinstance(found, list | tuple):
        return "[" + ", ".join(value(path, item) for item in found) + "]"
    return _text(str(found)) if isinstance(found, str) else str(found)


def _number(name: str, found: int) -> str:
    if name in _BYTES:
        return size(found)
    if name in _PACES:
        return f"{size(found)}/s"
    if name == "cpu":
        return cores(found)
    return str(found)


def _text(found: str) -> str:
    if found.startswith("secret:"):
        return f"(secret {found.split(':')[1]})"
    if found.startswith("text:"):
        return f"(text {found[5:13]})"
    scheme, _, rest = found.partition(":")
    if scheme in ("sha256", "sha512", "recipe") and len(rest) > 12:
        return f"{scheme}:{rest[:12]}"
    if len(found) > _LONGEST:
        return f"{found[:_SHORTEST]}…{found[-_SHORTEST:]}"
    return found if found else '""'


def difference(path: str, before: Any, after: Any) -> tuple[str, str]:
    """Both sides of a change, spelled so that they can be told apart."""
    left, right = value(path, before), value(path, after)
    if left != right:
        return left, right
    if isinstance(before, str) and before.startswith(("secret:", "text:")):
        return left, f"{right}, changed"
    return _whole(before), _whole(after)


def _whole(found: Any) -> str:
    """Nothing rounded or cut, but secrets stay hidden."""
    if isinstance(found, Mapping):
        return "{" + ", ".join(f"{key}: {_whole(item)}" for key, item in sorted(found.items())) + "}"
    if isinstance(found, list | tuple):
        return "[" + ", ".join(_whole(item) for item in found) + "]"
    text = str(found)
    return _text(text) if text.startswith("secret:") else text


def field_name(path: str) -> str:
    """`/nics/app/ip` as `nics.app.ip`."""
    return ".".join(segments(path))
