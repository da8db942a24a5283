"""A ledger as few records: what folds to the same memory as the whole journal.

Owns: the inverse of the fold, for written observations. Must not go here: the journal itself, which is never cut.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from reconciler.core.ledger import (
    Accepted,
    Bound,
    Claimed,
    Covered,
    Entry,
    Forgotten,
    Ledger,
    Moving,
    Paused,
    Quarantined,
    Record,
    Resumed,
    Settled,
)
from reconciler.core.refs import Target, Uid


def compacted(ledger: Ledger) -> tuple[Record, ...]:
    """Records that fold to the ledger's bindings, claims, coverage, lineage, pauses, holds and spent budgets.
    Intents in flight and outcomes of plans are left out: they concern who acts, not who plans."""
    dated: list[tuple[float, Entry]] = [(at, spent) for at, spent in ledger.spent]
    dated += [(ledger.last_at, entry) for entry in _entries(ledger)]
    last = len(dated)
    # The last record keeps the journal's own place: what began before it was observed before our last write.
    sequences = [*range(1, last), max(ledger.sequence, last)] if dated else []
    return tuple(Record(number, at, entry) for number, (at, entry) in zip(sequences, dated, strict=True))


def _entries(ledger: Ledger) -> Iterator[Entry]:
    for target, identity in sorted(ledger.claims.items()):
        yield Claimed(target, identity)
    for target in sorted(ledger.covered):
        yield Covered(target)
    for ref, incarnation in sorted(ledger.bindings.incarnations.items()):
        if incarnation > max((binding.incarnation for binding in ledger.bindings.of(ref)), default=0):
            # It is not there any more, but the next one must not get an old one's identity. Told before what is
            # there, which may be older: it took the name over.
            yield Bound(ref, Uid(""), incarnation, Target(""))
            yield Forgotten(ref, Uid(""), Target(""))
    for _, binding in sorted(ledger.bindings.items()):
        yield Bound(binding.ref, binding.uid, binding.incarnation, binding.target, binding.addresses, binding.demand)
        if binding.applied is not None:
            yield Settled(
                binding.ref,
                binding.uid,
                binding.target,
                binding.applied,
                binding.revision,
                protected=binding.protected,
            )
        if binding.moving is not None:
            yield Moving(binding.ref, binding.uid, binding.moving)
        if binding.quarantined_until is not None:
            left = max(binding.quarantined_until - ledger.last_at, 0.0)
            yield Quarantined(binding.ref, binding.uid, binding.incarnation, binding.target, left)
    for revision in sorted(ledger.accepted):
        yield Accepted(revision)
    for subject, ends in sorted(ledger.lifted.items()):
        for until in sorted(ends):
            yield Paused(subject, until, "")
            yield Resumed(subject)
    yield from (ledger.pauses[subject] for subject in sorted(ledger.pauses))
    yield from (ledger.held[ref] for ref in sorted(ledger.held))
    if ledger.applied is not None:
        yield msgspec.structs.replace(ledger.applied, removed=tuple(sorted(ledger.witnessed)), returned=())
