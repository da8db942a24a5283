"""Our own memory: bindings, allocations, intents in flight, tombstones, spent budgets. A fold of the journal.

Owns: what each entry of the journal does to the ledger, O(entry).
Must not go here: how entries are stored (edge), decisions on what they mean for a plan (planner, rules).
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from reconciler.core.binding import Address as Address
from reconciler.core.binding import Binding as Binding
from reconciler.core.binding import bare, pairs, resealed
from reconciler.core.bindings import Bindings
from reconciler.core.entries import Accepted as Accepted
from reconciler.core.entries import Applied as Applied
from reconciler.core.entries import Beat as Beat
from reconciler.core.entries import Bound as Bound
from reconciler.core.entries import Claimed as Claimed
from reconciler.core.entries import Covered as Covered
from reconciler.core.entries import Entry as Entry
from reconciler.core.entries import Forgotten as Forgotten
from reconciler.core.entries import Held as Held
from reconciler.core.entries import Intent as Intent
from reconciler.core.entries import Moving as Moving
from reconciler.core.entries import Paused as Paused
from reconciler.core.entries import Purged as Purged
from reconciler.core.entries import Quarantined as Quarantined
from reconciler.core.entries import Record as Record
from reconciler.core.entries import Released as Released
from reconciler.core.entries import Renamed as Renamed
from reconciler.core.entries import Result as Result
from reconciler.core.entries import Resumed as Resumed
from reconciler.core.entries import Sealed as Sealed
from reconciler.core.entries import Settled as Settled
from reconciler.core.entries import Spent as Spent
from reconciler.core.entries import Status as Status
from reconciler.core.entries import Vouched as Vouched
from reconciler.core.entries import touched as touched
from reconciler.core.outages import Outages
from reconciler.core.refs import PER_TARGET, Ref, Target, kind_of
from reconciler.core.rests import Instant, Rests
from reconciler.core.values import canonical


class Run:
    """A plan being carried out: the generation it was given, and the latest status of each step that had a result.

    Steps that were applied, which most are, are noted one after the other: a table of them all, of which nobody asks
    before the plan is resumed, would cost each of them several lines of a cache."""

    __slots__ = ("_applied", "_others", "generation")

    def __init__(self, generation: int, outcomes: Mapping[str, Status] = MappingProxyType({})) -> None:
        self.generation = generation
        self._applied: list[str] = [step for step, status in outcomes.items() if status == "applied"]
        self._others: dict[str, Status] = {step: status for step, status in outcomes.items() if status != "applied"}

    def __len__(self) -> int:
        """How many results there were; one that came twice may count so."""
        return len(self._applied) + len(self._others)

    @property
    def outcomes(self) -> dict[str, Status]:
        """By step; made when it is asked for."""
        return {**dict.fromkeys(self._applied, "applied"), **self._others}

    def tell(self, step: str, status: Status) -> None:
        if status == "applied":
            self._applied.append(step)
            if self._others:
                self._others.pop(step, None)
        else:
            self._others[step] = status


class Ledger:
    """The folded journal. Mutable only through `fold`; everything else reads."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self.sequence = 0
        self.last_at = 0.0
        """When the last record was written."""
        self.rests = Rests()
        """How much of its time in quarantine each thing has surely rested."""
        self.outages = Outages()
        """How long machines were down for what we did to them."""
        self.bindings = Bindings()
        self.claims: dict[Target, str] = {}
        self.covered: set[Target] = set()
        self.written: dict[Target, int] = {}
        """Sequence of the last result on each target: a listing must have begun after it to prove absence."""
        self.in_flight: dict[tuple[str, str], Intent] = {}
        """(plan, step): intents without a result. What a crash leaves behind."""
        self.flying: dict[Target, int] = {}
        """How many of them are on each target: while there is one, no listing proves absence there."""
        self.halfway: dict[tuple[Ref, Target | None], Result] = {}
        """By thing (with its target, for kinds that have one on each): the step after which its change rests, neither
        at its end nor in flight. What stopping between two steps leaves behind."""
        self.runs: dict[str, Run] = {}
        """By plan digest: the run begun last, and older ones that have changes in flight or halfway. What resuming
        needs."""
        self.applied: Applied | None = None
        self.witnessed: set[Ref] = set()
        self.accepted: set[str] = set()
        self.spent: list[tuple[float, Spent]] = []
        """In order of time, whatever the clock did."""
        self.pauses: dict[str, Paused] = {}
        self.lifted: dict[str, frozenset[float]] = {}
        """By subject, when pauses that were ended, or replaced by a later word, would have ended by themselves: what an
        object bears of them counts no more."""
        self.held: dict[Ref, Held] = {}
        for record in records:
            self.fold(record)

    @property
    def generation(self) -> int:
        return self.applied.generation if self.applied else 0

    def spent_after(self, since: float) -> list[tuple[float, Spent]]:
        """What was spent after a time, with its own (unix seconds)."""
        return self.spent[bisect_right(self.spent, since, key=_at) :]

    def fold(self, record: Record) -> None:
        """Take one more record. Records come in the order of their sequence."""
        self.sequence = record.sequence
        self.last_at = record.at
        _FOLDS[type(record.entry)](self, record.entry)

    def take(self, first: int, at: float, entries: Iterable[Entry]) -> None:
        """The same of what one commit wrote: its entries, numbered from `first` on."""
        self.last_at = at
        folds = _FOLDS
        for self.sequence, entry in enumerate(entries, first):
            folds[type(entry)](self, entry)

    def _spent(self, entry: Spent) -> None:
        insort(self.spent, (self.last_at, entry), key=_at)

    def _beat(self, entry: Beat) -> None:
        self.rests.beat(Instant(self.last_at, entry.boot, entry.up, entry.synced))

    def _vouched(self, entry: Vouched) -> None:
        self.rests.vouch(self.last_at)

    def _result(self, entry: Result) -> None:
        plan, step, source = entry.plan, entry.step, entry.source
        self.written[entry.target] = self.sequence
        if source is not None:
            self.written[source] = self.sequence
        intent = self.in_flight.pop((plan, step), None)
        if intent is not None:
            self._landed(intent.target)
            if intent.source is not None:
                self._landed(intent.source)
            if intent.turns or self.outages.open:
                self.outages.ended(intent, entry.status)
        if entry.more:
            self.halfway[_thing(entry)] = entry
        elif self.halfway:
            self.halfway.pop(_thing(entry), None)
        run = self.runs.get(plan)
        if run is not None:
            run.tell(step, entry.status)

    def _landed(self, target: Target) -> None:
        """One fewer is in flight there. Nothing is kept of a target with none: what is under way is quickly found."""
        left = self.flying[target] - 1
        if left:
            self.flying[target] = left
        else:
            del self.flying[target]

    def _put(self, binding: Binding) -> None:
        self.bindings[binding.ref, binding.target] = binding

    def _bound(self, entry: Bound) -> None:
        """A thing of which there is one in all is bound in one place, and the newest incarnation is what counts. What
        was applied to it goes with it wherever it moves."""
        ref, target = entry.ref, entry.target
        self.rests.drop(entry.uid)
        old = self.bindings.sole(ref)
        if old is None:
            old = self.bindings.each.get((ref, target))
        elif old.incarnation > entry.incarnation:
            return
        fresh = Binding(ref, entry.uid, entry.incarnation, target, entry.addresses, entry.demand)
        if old is not None and old.uid == entry.uid:
            sealed = resealed(old, ref, entry.addresses)
            fresh = msgspec.structs.replace(fresh, sealed=sealed, revision=old.revision, protected=old.protected)
        self._put(fresh)

    def _moving(self, entry: Moving) -> None:
        for binding in self.bindings.of(entry.ref):
            if binding.uid == entry.uid:
                self._put(msgspec.structs.replace(binding, moving=entry.target))

    def _settled(self, entry: Settled) -> None:
        self._settle(entry, canonical(entry.fields))

    def _sealed(self, entry: Sealed) -> None:
        self._settle(entry, bytes(entry.fields))

    def _settle(self, entry: Settled | Sealed, fields: bytes) -> None:
        self.rests.drop(entry.uid)
        if self.outages.open:
            self.outages.settled(entry.uid, self.last_at)
        told = entry.revision
        if self.bindings.seal(entry.ref, entry.uid, entry.target, fields, told, protected=entry.protected):
            return
        base = self._same(entry)
        if base is None:
            if self._superseded(entry.ref):
                return
            base = Binding(entry.ref, entry.uid, self.bindings.incarnation(entry.ref) or 1, entry.target)
        sealed = bare(fields, base.ref, pairs(base.addresses))
        self._put(
            Binding(
                base.ref, base.uid, base.incarnation, base.target, base.addresses, base.demand, sealed, entry.revision,
                entry.protected,
            )
        )  # fmt: skip

    def _quarantined(self, entry: Quarantined) -> None:
        self.rests.put(entry.uid, entry.seconds, entry.said)
        self.outages.drop(entry.uid)
        seconds = entry.seconds if entry.said is None else entry.said
        old = self._same(entry)
        if old is None and self._superseded(entry.ref):
            return
        base = old or Binding(entry.ref, entry.uid, entry.incarnation, entry.target)
        self._put(msgspec.structs.replace(base, quarantined_until=self.last_at + seconds, moving=None))
        self.witnessed.discard(entry.ref)

    def _same(self, entry: Settled | Sealed | Quarantined | Purged | Forgotten) -> Binding | None:
        """The binding, if it is of the very thing that the entry tells of."""
        old = self.bindings.get((entry.ref, entry.target))
        return old if old is not None and old.uid == entry.uid else None

    def _superseded(self, ref: Ref) -> bool:
        """Another thing bears the name by now: what is told of an older one changes nothing."""
        return ref in self.bindings.single

    def _purged(self, entry: Purged) -> None:
        """What has a realisation on each target stays witnessed: others may be left."""
        self.rests.drop(entry.uid)
        self.outages.drop(entry.uid)
        if self._same(entry) is not None:
            del self.bindings[entry.ref, entry.target]
        if kind_of(entry.ref) not in PER_TARGET and entry.ref not in self.bindings.single:
            self.witnessed.discard(entry.ref)

    def _renamed(self, entry: Renamed) -> None:
        for binding in self.bindings.of(entry.before):
            if binding.uid == entry.uid:
                del self.bindings[entry.before, binding.target]
                sealed = resealed(binding, entry.after, binding.addresses)
                self._put(msgspec.structs.replace(binding, ref=entry.after, sealed=sealed))

    def _forgotten(self, entry: Forgotten) -> None:
        self.rests.drop(entry.uid)
        self.outages.drop(entry.uid)
        if self._same(entry) is not None:
            del self.bindings[entry.ref, entry.target]
        self.witnessed.discard(entry.ref)

    def _claimed(self, entry: Claimed) -> None:
        self.claims[entry.target] = entry.identity

    def _released(self, entry: Released) -> None:
        self.claims.pop(entry.target, None)
        self.covered.discard(entry.target)

    def _covered(self, entry: Covered) -> None:
        self.covered.add(entry.target)

    def _applied(self, entry: Applied) -> None:
        # A person's word holds for one step of the way: coming back to the revision later takes another.
        self.accepted.discard(entry.revision)
        self.applied = entry
        open_ = {plan for plan, _ in self.in_flight} | {entry.plan for entry in self.halfway.values()}
        self.runs = {plan: run for plan, run in self.runs.items() if plan in open_}
        self.runs[entry.plan] = Run(entry.generation)
        self.witnessed.update(entry.removed)
        self.witnessed.difference_update(entry.returned)

    def _accepted(self, entry: Accepted) -> None:
        self.accepted.add(entry.revision)

    def _paused(self, entry: Paused) -> None:
        self._lift(entry.subject)
        self.pauses[entry.subject] = entry
        left = self.lifted.pop(entry.subject, frozenset()) - {entry.until}
        if left:
            self.lifted[entry.subject] = left

    def _resumed(self, entry: Resumed) -> None:
        """It ends what keeps the subject alone, a hold of undo, restore or break-glass too."""
        self._lift(entry.subject)
        self.held.pop(Ref(entry.subject), None)

    def _lift(self, subject: str) -> None:
        pause = self.pauses.pop(subject, None)
        if pause is not None and pause.until > self.last_at:
            self.lifted[subject] = self.lifted.get(subject, frozenset()) | {pause.until}

    def _held(self, entry: Held) -> None:
        self.held[entry.ref] = entry

    def _intent(self, entry: Intent) -> None:
        """An intent that is told of again, when a plan is resumed, is one."""
        in_flight, flying, target = self.in_flight, self.flying, entry.target
        begun = len(in_flight)
        in_flight[entry.plan, entry.step] = entry
        if len(in_flight) != begun:
            flying[target] = flying.get(target, 0) + 1
            if entry.source is not None:
                flying[entry.source] = flying.get(entry.source, 0) + 1
        if entry.turns:
            self.outages.begun(entry, self.last_at)
        if self.halfway:
            self.halfway.pop(_thing(entry), None)


def _thing(entry: Intent | Result) -> tuple[Ref, Target | None]:
    return entry.ref, entry.target if kind_of(entry.ref) in PER_TARGET else None


def _at(pair: tuple[float, Spent]) -> float:
    return pair[0]


_FOLDS: dict[type, Any] = {
    Bound: Ledger._bound,
    Moving: Ledger._moving,
    Settled: Ledger._settled,
    Sealed: Ledger._sealed,
    Purged: Ledger._purged,
    Renamed: Ledger._renamed,
    Forgotten: Ledger._forgotten,
    Claimed: Ledger._claimed,
    Released: Ledger._released,
    Covered: Ledger._covered,
    Applied: Ledger._applied,
    Accepted: Ledger._accepted,
    Paused: Ledger._paused,
    Resumed: Ledger._resumed,
    Held: Ledger._held,
    Intent: Ledger._intent,
    Result: Ledger._result,
    Spent: Ledger._spent,
    Quarantined: Ledger._quarantined,
    Beat: Ledger._beat,
    Vouched: Ledger._vouched,
}
