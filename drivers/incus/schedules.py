"""Schedules of snapshots, and how long one is kept so that so many are there. Pure.

Owns: what a schedule comes to. Must not go here: keys of the servers (writing, reading).
"""

from __future__ import annotations

import math
from datetime import date, timedelta
from functools import lru_cache

_FIELDS = (range(60), range(24), range(1, 32), range(1, 13), range(8))


_DAYS = 28 * 365 + 7
"""After so many the days of the week and of the year are as they were."""


@lru_cache(maxsize=1024)
def every(schedule: str) -> int:
    """Minutes from one time of a schedule (as in cron) to the next, on the average, rounded up. Raises
    ValueError."""
    parts = schedule.split()
    if len(parts) != len(_FIELDS):
        raise ValueError(f"{schedule!r} is not five fields")
    minutes, hours, days, months, weekdays = (_times(part, span) for part, span in zip(parts, _FIELDS, strict=True))
    weekdays = {day % 7 for day in weekdays}
    either = "*" not in (parts[2][0], parts[4][0])  # cron: of two that are said, one is enough
    count = 0
    for ordinal in range(_DAYS):
        day = date(2001, 1, 1) + timedelta(days=ordinal)
        fits = (day.day in days, day.isoweekday() % 7 in weekdays)
        count += day.month in months and (any(fits) if either else all(fits))
    times = count * len(hours) * len(minutes)
    if not times:
        raise ValueError(f"{schedule!r} never comes")
    return math.ceil(_DAYS * 24 * 60 / times)


def _times(part: str, span: range) -> set[int]:
    found: set[int] = set()
    for piece in part.split(","):
        whole, _, step = piece.partition("/")
        first, dash, last = whole.partition("-")
        try:
            low, high = (span[0], span[-1]) if whole == "*" else (int(first), int(last if dash else first))
            found |= set(range(low, (span[-1] if step and not dash else high) + 1, int(step or 1)))
        except ValueError:
            raise ValueError(f"{piece!r} is no time of a schedule") from None
        if low not in span or high not in span:
            raise ValueError(f"{piece!r} is beyond {span[0]} to {span[-1]}")
    return found


def write_minutes(minutes: int) -> str:
    """As the servers write a time to expire: days, hours, minutes."""
    parts = ((minutes // 1440, "d"), (minutes // 60 % 24, "H"), (minutes % 60, "M"))
    return " ".join(f"{count}{unit}" for count, unit in parts if count)
