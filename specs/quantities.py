"""Quantities as people write them: sizes, times, shares, cores.

Owns: how a quantity is spelled and what it comes to (bytes, seconds, parts of one, thousandths of a core).
Must not go here: which field holds which quantity, the models' types (units.py).

Each parser raises SpecError with what is wrong and what to write instead.
"""

from __future__ import annotations

import functools
import re
from decimal import Decimal

from specs.values import SpecError

_FACTORS = {"B": 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50}
_SECONDS = {"ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600), "d": Decimal(86400)}
_SLOWEST = 4096
"""Bytes in a second: a page."""
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)([A-Za-z]*)")
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_SHARE = re.compile(r"([0-9]+(?:\.[0-9]+)?)%")


def _spelled(value: object, what: str, example: str) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise SpecError(f"a {what} is due here", f"write {example}")
    if not isinstance(value, str):
        raise SpecError(f"{value} has no unit, and a {what} needs one", f"write {example}")
    return value


def parse_size(value: object) -> int:
    """`512Mi`, `25Gi`, `1.5Ti` as bytes."""
    near = value if isinstance(value, int) and not isinstance(value, bool) else 25
    return _size(_spelled(value, "size", f"{near}Mi or {near}Gi"))


@functools.lru_cache(4096)
def _size(text: str) -> int:
    match = _SIZE.fullmatch(text)
    if match is None:
        raise SpecError(f"{text!r} is not a size", "write a number and a unit: 512Mi, 25Gi, 2Ti")
    number, unit = match.groups()
    factor = _FACTORS.get(unit)
    if factor is None:
        raise _wrong_unit(text, number, unit)
    size = Decimal(number) * factor
    if size != int(size):
        raise SpecError(f"{text!r} is not a whole number of bytes", "write it in a smaller unit")
    return int(size)


def _wrong_unit(text: str, number: str, unit: str) -> SpecError:
    if not unit:
        return SpecError(f"{text!r} has no unit, and a size needs one", f"write {number}Mi or {number}Gi")
    binary = {name.lower(): name for name in _FACTORS}.get(unit.lower().removesuffix("b") + "i")
    if unit.lower() in {"kb", "mb", "gb", "tb", "pb", "k", "m", "g", "t", "p"} and binary:
        return SpecError(f"{unit!r} is not used: sizes are in powers of 1024", f"write {number}{binary}")
    close = {name.lower(): name for name in _FACTORS}.get(unit.lower().removesuffix("b"))
    if close:
        return SpecError(f"{unit!r} is not a unit of size", f"write {number}{close}")
    return SpecError(f"{unit!r} is not a unit of size", "units are Ki, Mi, Gi, Ti, Pi")


def parse_pace(value: object) -> int:
    """`20Mi` in a second, as bytes."""
    if isinstance(value, str) and value.endswith("/s"):
        raise SpecError(f"{value!r} is not a size", f"that it is in a second is understood: write {value[:-2]}")
    if isinstance(value, str) and value.lower().endswith("iops"):
        raise SpecError(f"{value!r} is not a size", "operations are not counted, bytes are: write 20Mi")
    pace = parse_size(value)
    if pace < _SLOWEST:
        raise SpecError(f"{value!r} in a second would stop the machine", "write 4Ki or more, or nothing for no cap")
    return pace


def parse_duration(value: object) -> int | float:
    """`500ms`, `30s`, `2m`, `1h`, `7d` as seconds; an int where it is whole."""
    near = value if isinstance(value, int) and not isinstance(value, bool) else 30
    return _duration(_spelled(value, "time", f"{near}s or {near}m"))


@functools.lru_cache(4096)
def _duration(text: str) -> int | float:
    match = _DURATION.fullmatch(text)
    if match is None:
        raise SpecError(f"{text!r} is not a time", "write a number and one unit of ms, s, m, h, d: 30s, 7d")
    seconds = Decimal(match[1]) * _SECONDS[match[2]]
    return int(seconds) if seconds == int(seconds) else float(seconds)


def parse_share(value: object) -> float:
    """`20%` as 0.2."""
    text = _spelled(value, "share", "20%")
    match = _SHARE.fullmatch(text)
    if match is None or Decimal(match[1]) > 100:
        raise SpecError(f"{text!r} is not a share", "write 0% to 100%")
    return float(Decimal(match[1]) / 100)


def parse_cores(value: object) -> int:
    """`1.5` cores as 1500 thousandths."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise SpecError(f"{value!r} is not a number of cores", "write cores as a number: 1.5")
    thousandths = Decimal(str(value)) * 1000
    if not thousandths.is_finite() or thousandths <= 0 or thousandths != int(thousandths):
        raise SpecError(f"{value} is not a number of cores", "cores are above 0, in steps of 0.001")
    return int(thousandths)
