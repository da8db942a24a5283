"""What the targets' reports hold, by what decisions look up: things by ref, and what changed from report to report.

Owns: the latest report of each target, compact while nobody looks inside. Must not go here: whether a target's word
counts (standing), what its objects mean (decide).

A fleet at rest is looked at seldom, so beyond the targets looked at last a report's objects are kept as one packed
block each: some 100 bytes an object instead of 3,000, and 0.4 ms to look again.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from reconciler.core.blocks import Listed, Opened, Unpacked, block
from reconciler.core.desired import Demand
from reconciler.core.facts import Resting
from reconciler.core.glimpse import Glimpse
from reconciler.core.observed import Object, Report
from reconciler.core.refs import PER_TARGET, Ref, Target, Uid, kind_of

OPEN = 32
"""Targets whose objects are kept as they are."""

_UNDER_WAY = 8
"""Targets whose objects are being packed at a time."""

Compress = Callable[[bytes], Callable[[], bytes]]
"""Begins to compress, as zlib does; who calls what it returns waits for it."""


def at_once(data: bytes) -> Callable[[], bytes]:
    packed = zlib.compress(data, 1)
    return lambda: packed


class Strangers(msgspec.Struct, frozen=True):
    """What objects that bear no marks have on one target."""

    addresses: dict[str, str]
    """Of machines, and whose."""
    names: frozenset[str]
    """Native ones, each behind its kind."""


class Sights:
    """`reports` are without their objects: those are asked for with `objects`, `of` and `on`."""

    def __init__(self, open_at_most: int, own: Callable[[Ref], Ref], compress: Compress) -> None:
        """`own`: the very object by which others know a ref, so that a fleet's names are kept once."""
        self._own = own
        self._compress = compress
        self.reports: dict[Target, Report] = {}
        self.unmanaged: dict[Target, Demand] = {}
        """What machines that bear no marks take of each target."""
        self.strangers: dict[Target, Strangers] = {}
        """What is taken there by them; targets without any are left out."""
        self._at_most = open_at_most
        self._open: dict[Target, Opened] = {}
        self._packed: dict[Target, bytes] = {}
        self._closing: dict[Target, Callable[[], bytes]] = {}
        """What is being packed."""
        self._loose: dict[Target, bytes] = {}
        """Blocks as they came, of a fleet so small that they are not packed."""
        self._places: dict[Ref, tuple[Target, ...]] = {}
        """Where a thing is seen that lives in one place."""
        self._spread: dict[Ref, dict[Target, None]] = {}
        """Where a thing is seen that may be on every target."""
        self._bearers: dict[int, Ref | tuple[Ref, ...]] = {}
        """By the sum of a uid the refs of the objects that may bear it, nearly always one."""
        self._glimpsed: tuple[Target, Listed] | None = None
        """What the last glimpse says has to be looked at: of each ref there all objects, or none."""
        self._alone: dict[Target, tuple[Target, ...]] = {}
        self._owners: dict[Target, dict[str, int]] = {}
        self._owned: dict[str, int] = {}
        """How many objects bear marks of each data centre; empty: bear none."""

    def take(self, report: Report) -> dict[Ref, None]:
        """The target's newest report; returns the refs of which it tells other than before. Equal digests are not
        looked into."""
        target, self._glimpsed = report.target, None
        old = self.reports.get(target)
        # A target that nobody claimed keeps them: they tell whether it may be claimed at all.
        self.reports[target] = msgspec.structs.replace(report, objects=()) if report.claim is not None else report
        if old is not None and old.digest == report.digest and old.digest:
            return {}
        before = self._opened(target) if old is not None else None
        fresh = self._keep(target, Listed(report.objects))
        self._look(target, report.objects)
        if before is None:
            return self._all_new(target, fresh)
        changed: dict[Ref, None] = {}
        for ref in (*before.by_ref, *(ref for ref in fresh.by_ref if ref not in before.by_ref)):
            was, now = before.by_ref.get(ref), fresh.by_ref.get(ref)
            if was != now:
                ref = self._own(ref)
                changed[ref] = None
                changed.update(dict.fromkeys(self._bear(ref, was or (), now or ())))
            if (was is None) != (now is None):
                self._place(ref, target, there=now is not None)
        return changed

    def _look(self, target: Target, objects: tuple[Object, ...], more: Mapping[str, int] = {}) -> None:
        """What those that are not ours take, and whose all are. `more`: so many others, by whose they are."""
        self.unmanaged[target] = _unmanaged(objects)
        strangers = _strangers(objects)
        if strangers is not None:
            self.strangers[target] = strangers
        else:
            self.strangers.pop(target, None)
        self._count(target, objects, more)

    def _all_new(self, target: Target, fresh: Opened) -> dict[Ref, None]:
        """As for any report, told shortly: a fleet's first look is of nothing else."""
        changed: dict[Ref, None] = {}
        for theirs, objects in fresh.by_ref.items():
            ref = self._own(theirs)
            changed[ref] = None
            self._place(ref, target, there=True)
            for found in objects:
                assert found.marks is not None, "what bears a ref has marks"
                number = sum_of(found.marks.uid)
                if number not in self._bearers:
                    self._bearers[number] = ref
                else:
                    changed.update(dict.fromkeys(self._bear(ref, (), (found,))))
        return changed

    def take_glimpse(
        self, glimpse: Glimpse, resting: Resting, datacenter: str, objects: tuple[Object, ...] | None = None
    ) -> dict[Ref, None]:
        """As `take`, of a target that was not seen before; the refs of those at rest are not among those returned.
        `resting`: they, by the refs that others know. `datacenter`: whose marks they bear. `objects`: all that the
        target lists, if the glimpse is without."""
        target, fresh = glimpse.report.target, Listed(glimpse.report.objects)
        assert target not in self.reports, "a glimpse is of a first look"
        self.reports[target] = msgspec.structs.replace(glimpse.report, objects=())
        if objects is not None:
            self._keep(target, Listed(objects))
        else:
            (self._packed if glimpse.compressed else self._loose)[target] = glimpse.whole
        self._glimpsed = (target, fresh)
        self._look(target, fresh.objects, {datacenter: len(resting.refs)})
        changed = self._settle(target, resting)
        changed.update(self._all_new(target, fresh))
        return changed

    def _settle(self, target: Target, resting: Resting) -> dict[Ref, None]:
        """Where these are, and who bears their identities; the others that bear one of those, too."""
        places, bearers, alone = self._places, self._bearers, self._alone.setdefault(target, (target,))
        refs, identities = resting.refs, resting.identities
        told = any(map(bearers.__contains__, identities)) or any(map(places.__contains__, refs))
        if not told and len({*identities}) == len(identities):
            places.update(dict.fromkeys(refs, alone))
            bearers.update(zip(identities, refs, strict=True))
            return {}
        changed: dict[Ref, None] = {}
        for ref, number in zip(refs, identities, strict=True):
            if places.setdefault(ref, alone) is not alone:
                places[ref] = (*places[ref], target)
            known = bearers.get(number)
            if known is None:
                bearers[number] = ref
                continue
            others = known if isinstance(known, tuple) else (known,)
            bearers[number] = (*others, ref)
            changed.update(dict.fromkeys([other for other in others if other != ref]))
        return changed

    def drop(self, target: Target) -> dict[Ref, None]:
        """The target is no more of interest; returns the refs that were seen there."""
        self._glimpsed = None
        if target not in self.reports:
            return {}
        gone: dict[Ref, None] = {}
        for ref, objects in self._opened(target).by_ref.items():
            gone[ref] = None
            gone.update(dict.fromkeys(self._bear(ref, objects, ())))
            self._place(ref, target, there=False)
        self._count(target, ())
        self.strangers.pop(target, None)
        for table in (
            self.reports, self.unmanaged, self._open, self._packed, self._closing, self._loose, self._alone,
            self._owners,
        ):  # fmt: skip
            table.pop(target, None)
        return gone

    # -- what is asked ---------------------------------------------------------------------------------------------

    def __contains__(self, ref: Ref) -> bool:
        return ref in self._places or ref in self._spread

    @property
    def single(self) -> Mapping[Ref, object]:
        """By what is seen of those that live in one place each."""
        return self._places

    def places(self, ref: Ref) -> Iterable[Target]:
        """Targets with an object that bears this ref, in no order that means anything."""
        return self._spread.get(ref) or self._places.get(ref, ())

    def bearers(self, uid: Uid) -> tuple[Ref, ...]:
        """The refs of the objects that may bear this uid (who wants to be sure looks at them)."""
        found = self._bearers.get(sum_of(uid), ())
        return found if isinstance(found, tuple) else (found,)

    def on(self, ref: Ref, target: Target) -> list[Object]:
        """The objects on a target that bear this ref, by native identity."""
        if target not in self.reports:
            return []
        found = self._told(ref, target) or self._opened(target).of(ref)
        return found if len(found) < 2 else sorted(found, key=lambda each: each.native_id)

    def sole(self, ref: Ref, target: Target) -> Object | None:
        """The target's object that is the only one anywhere to bear this ref, and to bear its uid."""
        if target not in self.reports or self._places.get(ref) != (target,):
            return None
        return self._sole(ref, self._told(ref, target) or self._opened(target).of(ref))

    def _told(self, ref: Ref, target: Target) -> list[Object] | None:
        """The objects of this ref, if the last glimpse was of this target and has them."""
        return self._glimpsed[1].by_ref.get(ref) if self._glimpsed is not None and self._glimpsed[0] == target else None

    def crowded(self, target: Target, refs: Iterable[Ref], identities: Iterable[int]) -> list[Ref]:
        """Of these that are seen on the target, those whose ref, or an identity of their sum, somebody else bears."""
        places, bearers, alone = self._places, self._bearers, (target,)
        both = zip(refs, identities, strict=True)
        return [ref for ref, number in both if places.get(ref) != alone or bearers.get(number) != ref]

    def alone(self, target: Target) -> Iterator[tuple[Ref, Object]]:
        """All such objects of the target, each with its ref; if the last glimpse was of it, of those that it has."""
        if self._glimpsed is not None and self._glimpsed[0] == target:
            by_ref: Mapping[Ref, list[Object]] = self._glimpsed[1].by_ref
        else:
            by_ref = self.by_ref(target)
        for ref, objects in by_ref.items():
            found = self._sole(ref, objects) if self._places.get(ref) == (target,) else None
            if found is not None:
                yield ref, found

    def _sole(self, ref: Ref, objects: list[Object]) -> Object | None:
        marks = objects[0].marks if len(objects) == 1 else None
        return objects[0] if marks is not None and self._bearers.get(sum_of(marks.uid)) == ref else None

    def objects(self, target: Target) -> tuple[Object, ...]:
        """All that the target lists."""
        return self._opened(target).objects if target in self.reports else ()

    def by_ref(self, target: Target) -> Mapping[Ref, list[Object]]:
        """The objects on a target that bear a ref, by it."""
        return self._opened(target).by_ref if target in self.reports else {}

    def all_of(self, target: Target, datacenter: str) -> bool:
        """Whether every object there that bears marks bears those of this data centre."""
        return self._owners.get(target, {}).keys() <= {datacenter, ""}

    def count_but(self, datacenter: str) -> int:
        """How many objects on all targets do not bear marks of this data centre."""
        return sum(self._owned.values()) - self._owned.get(datacenter, 0)

    def blocks(self) -> tuple[Mapping[Target, bytes], Mapping[Target, bytes]]:
        """What each target lists, as it is kept while nobody looks at it: packed blocks, and others as they are."""
        for target in list(self._closing):
            self._closed(target)
        shut = self._packed.keys() | self._loose.keys()
        opened = {target: block(each.objects) for target, each in self._open.items() if target not in shut}
        return self._packed, self._loose | opened

    def _bear(self, ref: Ref, was: Iterable[Object], now: Iterable[Object]) -> Iterator[Ref]:
        """Objects that bear a ref come and go; yields the other refs that bear a uid of theirs."""
        for objects, comes in ((was, False), (now, True)):
            for found in objects:
                assert found.marks is not None, "what bears a ref has marks"
                uid, number = found.marks.uid, sum_of(found.marks.uid)
                if comes and number not in self._bearers:
                    self._bearers[number] = ref
                    continue
                bearers = list(self.bearers(uid))
                (bearers.append if comes else bearers.remove)(ref)
                if bearers:
                    self._bearers[number] = bearers[0] if len(bearers) == 1 else tuple(bearers)
                else:
                    del self._bearers[number]
                yield from (other for other in bearers if other != ref)

    # -- keeping ---------------------------------------------------------------------------------------------------

    def _place(self, ref: Ref, target: Target, *, there: bool) -> None:
        if kind_of(ref) in PER_TARGET:
            here = self._spread.setdefault(ref, {})
            if there:
                here[target] = None
            else:
                here.pop(target, None)
                if not here:
                    del self._spread[ref]
            return
        known = self._places.get(ref, ())
        if there:
            # Machines of one target share the tuple that names it.
            alone = self._alone.get(target) or self._alone.setdefault(target, (target,))
            self._places[ref] = (*known, target) if known else alone
            return
        rest = tuple(other for other in known if other != target)
        if rest:
            self._places[ref] = rest
        else:
            self._places.pop(ref, None)

    def _count(self, target: Target, objects: Iterable[Object], more: Mapping[str, int] = {}) -> None:
        counts = dict(more)
        for found in objects:
            owner = found.marks.datacenter if found.marks is not None else ""
            counts[owner] = counts.get(owner, 0) + 1
        for owner, count in self._owners.get(target, {}).items():
            self._owned[owner] -= count
        for owner, count in counts.items():
            self._owned[owner] = self._owned.get(owner, 0) + count
        self._owners[target] = counts

    def _opened(self, target: Target) -> Opened:
        found = self._open.get(target)
        if found is None:
            data = self._loose.get(target)
            if data is None:
                packed = self._closed(target)
                assert packed is not None, "what is not open was closed"
                data = zlib.decompress(packed)
            found = self._keep(target, Unpacked(data), closed=True)
        return found

    def _keep(self, target: Target, fresh: Opened, *, closed: bool = False) -> Opened:
        """Open from now on; whatever was looked at longest ago is packed, if it is not closed already. `closed`: so is
        this one, and stays it."""
        for table in (self._packed, self._closing, self._loose) if not closed else ():
            table.pop(target, None)
        self._open.pop(target, None)
        self._open[target] = fresh
        while len(self._open) > self._at_most:
            oldest = next(iter(self._open))
            closing = self._open.pop(oldest)
            if not any([oldest in table for table in (self._packed, self._closing, self._loose)]):
                self._closing[oldest] = self._compress(block(closing.objects))
        while len(self._closing) > _UNDER_WAY:
            self._closed(next(iter(self._closing)))
        return fresh

    def _closed(self, target: Target) -> bytes | None:
        """A target's objects as they are packed, if they were closed."""
        under_way = self._closing.pop(target, None)
        if under_way is not None:
            self._packed[target] = under_way()
        return self._packed.get(target)


def sum_of(uid: Uid) -> int:
    """A number for a uid that is the same in every process: the last 48 bits of a uuid, which are as good as random. Of
    32 bits a million machines share some hundred, and who shares one with an image is looked for on every target."""
    try:
        return int(uid[-12:], 16)
    except ValueError:  # whatever was written there is no uuid
        return zlib.crc32(uid.encode())


def _unmanaged(objects: Iterable[Object]) -> Demand:
    total = {"memory": 0, "cpu": 0, "disk": 0}
    for found in objects:
        if found.kind == "Machine" and found.marks is None:
            for name in total:
                value = found.fields.get(name)
                total[name] += value if isinstance(value, int) else 0
    return Demand(**total) if any(total.values()) else _NOTHING


def _strangers(objects: Iterable[Object]) -> Strangers | None:
    addresses, names = {}, set()
    for each in objects:
        if each.marks is not None:
            continue
        names.add(f"{each.kind}/{each.native_name}")
        for nic in (each.fields.get("nics") or {}).values() if each.kind == "Machine" else ():
            ip = str(nic.get("ip") or "").partition("/")[0]
            if ip:
                addresses[ip] = each.native_name
    return Strangers(addresses, frozenset(names)) if names else None


_NOTHING = Demand()
