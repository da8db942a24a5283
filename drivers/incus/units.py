"""How the servers spell quantities. Pure.

Owns: bytes, shares of a processor, counts. Must not go here: which key holds which quantity.
"""

from __future__ import annotations

import re

_UNITS = {
    "": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "PB": 10**15, "EB": 10**18,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40, "PiB": 2**50, "EiB": 2**60,
}  # fmt: skip
_SIZE = re.compile(r"(\d+)\s*([A-Za-z]*)")
_QUOTA = re.compile(r"(\d+)ms/(\d+)ms")
_SHARES = re.compile(r"(\d+)%")
WEIGHT = 1024
"""Shares of a container without a word, which the servers call 100 %."""


def size(text: str) -> int | str:
    """`512MiB` in bytes; what is no plain size (`10%`) stays as it is written."""
    match = _SIZE.fullmatch(text.strip())
    if match is None or match[2] not in _UNITS:
        return text
    return int(match[1]) * _UNITS[match[2]]


def write_size(value: int | str) -> str:
    """Bytes in the largest unit that divides them."""
    if isinstance(value, str):
        return value
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if value and value % _UNITS[unit] == 0:
            return f"{value // _UNITS[unit]}{unit}"
    return f"{value}B"


def count(text: str) -> int | str:
    return int(text) if text.isdigit() else text


def quota(text: str) -> int | None:
    """`50ms/100ms` in thousandths of a core; None where the text is no quota."""
    match = _QUOTA.fullmatch(text)
    return round(int(match[1]) * 1000 / int(match[2])) if match and int(match[2]) else None


def write_quota(cpu: int) -> str:
    """Over 100 ms where that is exact, so that a machine is held up briefly; else over a second."""
    return f"{cpu // 10}ms/100ms" if cpu % 10 == 0 else f"{cpu}ms/1000ms"


def percent(text: str) -> int | None:
    match = _SHARES.fullmatch(text)
    return int(match[1]) if match else None


def share_percent(shares: int) -> int:
    return max(1, round(shares * 100 / WEIGHT))


def priority(weight: int) -> int:
    """Of 1 to 1000 the nearest of the servers' 0 to 10, which are weights of 10, 100, 200 … 1000."""
    return max(1, round(weight / 100)) if weight > 55 else 0


def priority_weight(value: int) -> int:
    return 100 * value or 10


def percent_shares(value: int) -> int:
    return round(value * WEIGHT / 100)
