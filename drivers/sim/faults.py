"""Faults on cue: what shall go wrong with which call.

Owns: the kinds of fault of an `apply`, and counting the calls that one waits for.
Must not go here: faults of a whole target (store.Broken), doing the harm (driver).
"""

from __future__ import annotations

from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from drivers.sim.store import Store
from reconciler.core.plan import Step


class How(StrEnum):
    """What a fault does. `before` and `after` mean: before or after the node acted."""

    FAIL = "fail"
    """The node refuses; nothing is done."""
    HANG_BEFORE = "hang-before"
    """The call never returns; end it by cancelling."""
    HANG_AFTER = "hang-after"
    UNCONFIRMED_BEFORE = "unconfirmed-before"
    """The connection breaks: the driver cannot say what became of it."""
    UNCONFIRMED_AFTER = "unconfirmed-after"
    CRASH_BEFORE = "crash-before"
    """This very process is killed (SIGKILL), as by a power cut."""
    CRASH_AFTER = "crash-after"
    SLOW = "slow"
    """It takes `seconds` longer."""


class Fault(msgspec.Struct, frozen=True):
    """Strikes the `nth` matching call (from 1) and the `times - 1` that follow it; `times` 0: for ever.
    `target`, `verb` and `ref` are shell patterns."""

    how: How
    target: str = "*"
    verb: str = "*"
    ref: str = "*"
    nth: int = 1
    times: int = 1
    seconds: float = 0.0
    reason: str = "the node said no (on cue)"


def add(store: Store, fault: Fault) -> int:
    """Arm a fault; its number is for `remove`."""
    with store.writing():
        cursor = store.db.execute(
            "INSERT INTO fault (target, verb, ref, how, nth, times, seconds, reason, seen) VALUES (?,?,?,?,?,?,?,?,0)",
            (fault.target, fault.verb, fault.ref, fault.how, fault.nth, fault.times, fault.seconds, fault.reason),
        )
    return int(cursor.lastrowid or 0)


def listed(store: Store) -> list[tuple[int, Fault]]:
    rows = store.db.execute("SELECT id, how, target, verb, ref, nth, times, seconds, reason FROM fault ORDER BY id")
    return [(row[0], _fault(row[1:])) for row in rows]


def remove(store: Store, number: int | None = None) -> None:
    """Disarm one fault, or all."""
    with store.writing():
        if number is None:
            store.db.execute("DELETE FROM fault")
        else:
            store.db.execute("DELETE FROM fault WHERE id = ?", (number,))


def strike(store: Store, step: Step) -> Fault | None:
    """Count this call; the first fault that it sets off, if any. Durable, so a fault survives the crash it causes
    without striking again."""
    if store.db.execute("SELECT 1 FROM fault LIMIT 1").fetchone() is None:
        return None
    struck: Fault | None = None
    with store.writing():
        rows = store.db.execute(
            "SELECT id, seen, how, target, verb, ref, nth, times, seconds, reason FROM fault ORDER BY id"
        ).fetchall()
        for number, seen, *rest in rows:
            fault = _fault(rest)
            if not _fits(fault, step):
                continue
            store.db.execute("UPDATE fault SET seen = seen + 1 WHERE id = ?", (number,))
            call = seen + 1
            due = call >= fault.nth and (fault.times == 0 or call < fault.nth + fault.times)
            struck = struck or (fault if due else None)
    return struck


def _fits(fault: Fault, step: Step) -> bool:
    return (
        fnmatchcase(step.target, fault.target)
        and fnmatchcase(step.verb, fault.verb)
        and fnmatchcase(step.ref, fault.ref)
    )


def _fault(row: Any) -> Fault:
    how, target, verb, ref, nth, times, seconds, reason = row
    return Fault(How(how), target, verb, ref, nth, times, seconds, reason)
