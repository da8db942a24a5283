"""Each ref falls in exactly one bucket on each target (invariant I9).

Owns: from desired, things seen and bindings to a bucket, without looking at fields.
Must not go here: differences, rules, placement.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from reconciler.core.desired import Resource
from reconciler.core.ledger import Binding
from reconciler.core.observed import Object
from reconciler.core.refs import Target


class Bucket(StrEnum):
    MATCHED = "matched"
    """Wanted, and there: fields are compared."""
    MISSING = "missing"
    """Wanted, never made: to be created."""
    UNMADE = "unmade"
    """Wanted and bound, but the creation never got that far: created in the same place."""
    QUARANTINED = "quarantined"
    """Wanted, and in quarantine: restored."""
    ORPHANED = "orphaned"
    """Not wanted, and there: to be destroyed."""
    RESTING = "resting"
    """Not wanted, in quarantine, its time not come."""
    EXPIRED = "expired"
    """In quarantine beyond its time: to be purged."""
    VANISHED = "vanished"
    """Made by us, proved absent, not destroyed by us."""
    UNKNOWN = "unknown"
    """Bound where nothing can be read."""
    CONFLICT = "conflict"
    """More than one live object for it: none is touched."""
    LEFTOVER = "leftover"
    """Not wanted, bound, and never made: only our memory of it is left."""


class Case(msgspec.Struct, frozen=True):
    bucket: Bucket
    target: Target | None = None
    found: Object | None = None
    binding: Binding | None = None
    detail: str = ""


Seen = tuple[Target, Object]


def classify(
    resource: Resource | None,
    seen: tuple[Seen, ...],
    binding: Binding | None,
    unreadable: str | None,
    now: float,
) -> tuple[Case, ...]:
    """The cases of one ref with at most one realisation. `seen`: trusted objects of it, by target; `unreadable`: why
    absence on the bound target is not proved (None: it is). The first case is the ref's bucket; further ones are old
    incarnations in quarantine."""
    live = [(target, found) for target, found in seen if found.lifecycle == "live"]
    old = [(target, found) for target, found in seen if found.lifecycle == "quarantined"]
    main = _main(resource, live, old, binding, unreadable)
    resting = old if main.bucket is not Bucket.QUARANTINED else [pair for pair in old if pair[1] is not main.found]
    quarantine = tuple(_in_quarantine(target, found, now) for target, found in resting)
    if resource is None and not live and quarantine and _newer(binding, old) is None:
        return quarantine
    return (main, *quarantine)


def _main(
    resource: Resource | None,
    live: list[Seen],
    old: list[Seen],
    binding: Binding | None,
    unreadable: str | None,
) -> Case:
    if len(live) > 1:
        places = ", ".join(f"{target} ({found.native_name})" for target, found in live)
        return Case(Bucket.CONFLICT, live[0][0], None, binding, places)
    newer = _newer(binding, live or old)
    if newer is not None and (unreadable is not None or live or newer.sealed is not None):
        return _beside(newer, live, unreadable)
    if live:
        target, found = live[0]
        return Case(Bucket.MATCHED if resource is not None else Bucket.ORPHANED, target, found, binding)
    if resource is not None and old:
        target, found = max(old, key=_incarnation)
        return Case(Bucket.QUARANTINED, target, found, binding)
    return _unseen(resource, binding, unreadable)


def _unseen(resource: Resource | None, binding: Binding | None, unreadable: str | None) -> Case:
    if binding is None:
        return Case(Bucket.MISSING) if resource is not None else Case(Bucket.LEFTOVER)
    if resource is None and binding.quarantined_until is not None:
        resting = Bucket.LEFTOVER if unreadable is None else Bucket.RESTING
        return Case(resting, binding.target, None, binding)
    if unreadable is not None:
        return Case(Bucket.UNKNOWN, binding.target, None, binding, unreadable)
    if binding.sealed is None:
        return Case(Bucket.UNMADE if resource is not None else Bucket.LEFTOVER, binding.target, None, binding)
    return Case(Bucket.VANISHED, binding.target, None, binding)


def _incarnation(pair: Seen) -> int:
    return pair[1].marks.incarnation if pair[1].marks else 0


def _newer(binding: Binding | None, seen: list[Seen]) -> Binding | None:
    """The binding, if it is of a later thing than all that is seen, and that thing should be live."""
    if binding is None or binding.quarantined_until is not None or not seen:
        return None
    if any(found.marks is not None and found.marks.uid == binding.uid for _, found in seen):
        return None
    return binding if binding.incarnation > max(map(_incarnation, seen)) else None


def _beside(newer: Binding, live: list[Seen], unreadable: str | None) -> Case:
    """An older incarnation is seen, and a newer one was begun: it is never taken for it (invariant I2)."""
    if unreadable is not None:
        return Case(Bucket.UNKNOWN, newer.target, None, newer, unreadable)
    if live:
        target, found = live[0]
        detail = f"{target} ({found.native_name}) is an older one than that which was made on {newer.target}"
        return Case(Bucket.CONFLICT, target, None, newer, detail)
    return Case(Bucket.VANISHED, newer.target, None, newer)


def _in_quarantine(target: Target, found: Object, now: float) -> Case:
    until = found.marks.quarantined_until if found.marks else None
    expired = until is not None and until <= now
    return Case(Bucket.EXPIRED if expired else Bucket.RESTING, target, found)
