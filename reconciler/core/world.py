"""The index: all that is wanted, seen and remembered, by what decisions look up, kept up to date by deltas.

Owns: indexes (things by ref, users by reference, addresses, room on targets, needs) and which refs are dirty.
Must not go here: deciding (decide, planner). A world fed at once and a world fed piece by piece are the same (I9).

Cost: `take_desired` with the refs that changed, `take_report` with an unchanged digest and `take_record` are O(delta).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from heapq import heappop, heappush

import msgspec

from reconciler.core.addresses import Pool
from reconciler.core.classify import Seen
from reconciler.core.compare import recovered
from reconciler.core.desired import Demand, Desired, NodeWant, Resource
from reconciler.core.ledger import Address, Binding, Entry, Ledger, Record
from reconciler.core.observed import Object, Report
from reconciler.core.placement import PLENTY, Room, Rooms
from reconciler.core.refs import Ref, Target, kind_of
from reconciler.core.shape import Capability, NativeContext, Shape
from reconciler.core.standing import Standing, declared_targets, lists_absence, standing

PER_TARGET = frozenset({"Network", "Image"})
"""Kinds with one realisation on each target that needs them."""

NOTHING = Capability(kinds=frozenset(), image_types=frozenset(), brands=frozenset())
"""What a driver that is not installed can take."""


class Facts(msgspec.Struct, frozen=True):
    """What one machine takes from the world: its place, its room there, its addresses, what it refers to."""

    target: Target | None = None
    demand: Demand = Demand()
    addresses: tuple[tuple[Ref, str], ...] = ()
    needs: tuple[Ref, ...] = ()


class World:
    """Mutable only through the `take_*` methods."""

    def __init__(self, shapes: Mapping[str, Shape], ledger: Ledger | None = None) -> None:
        self.shapes = shapes
        self.ledger = ledger or Ledger()
        self.desired: Desired | None = None
        self.targets: dict[Target, NodeWant] = {}
        self.reports: dict[Target, Report] = {}
        self.standings: dict[Target, Standing] = {}
        self.troubled: dict[Target, str] = {}
        """Declared targets that could not be read whole, and why."""
        self.unclaimed: set[Target] = set()
        self._nodes_generation: int | None = 0
        """Highest generation in a claim; None: to be looked up again."""
        self.foreign: dict[Target, int] = {}
        """How many objects on each target are not ours."""
        self.things: dict[Ref, dict[tuple[Target, str], Object]] = {}
        self.users: dict[Ref, dict[Ref, None]] = {}
        """Machines by the network or image that they refer to."""
        self.renames: dict[Ref, Ref] = {}
        """Former name to the resource that says `renamedFrom`."""
        self.pools: dict[Ref, Pool] = {}
        self.rooms = Rooms(())
        self._stale_rooms: set[Target] = set()
        self.facts: dict[Ref, Facts] = {}
        self.homes: dict[Target, dict[Ref, None]] = {}
        """Machines by the target they are bound to."""
        self.needs: dict[Ref, dict[Target, int]] = {}
        self.dirty: set[Ref] = set()
        self.waiting: set[Ref] = set()
        """Refs that a fresher listing of some target may decide otherwise."""
        self._timers: list[tuple[float, Ref]] = []
        for ref in {ref for ref, _ in self.ledger.bindings}:
            self.dirty.add(ref)

    # -- what comes in ---------------------------------------------------------------------------------------------

    def take_desired(self, desired: Desired, changed: Iterable[Ref] | None = None) -> None:
        """A revision. `changed`: the refs whose resources may differ from the last one's; None looks at all."""
        before = self.desired
        old: Mapping[Ref, Resource] = before.resources if before else {}
        if changed is None:
            changed = {
                ref
                for ref in (*old, *desired.resources)
                if (was := old.get(ref)) is not (now := desired.resources.get(ref))
                and (was is None or now is None or was.digest != now.digest)
            }
        changed = set(changed)
        previous = {ref: old.get(ref) for ref in changed}
        self.desired = desired
        for ref in changed:
            self._relink(ref, previous[ref], desired.resources.get(ref))
        if before is None or before.nodes != desired.nodes or before.policy != desired.policy:
            self._take_nodes(desired)

    def take_report(self, report: Report) -> None:
        """A target's report; only what differs from the last one is looked at."""
        old = self.reports.get(report.target)
        was = self.standings.get(report.target)
        self.reports[report.target] = report
        self._judge(report.target)
        now = self.standings[report.target]
        self.dirty.update(self.waiting)
        if old is not None and old.digest == report.digest and was == now:
            return
        self._nodes_generation = None
        self.foreign[report.target] = self._foreign(report)
        before = self._trusted(old, was)
        after = self._trusted(report, now)
        for key in before.keys() | after.keys():
            if key not in after or before.get(key) is not after[key]:
                self._place_thing(report.target, key, before.get(key), after.get(key))
        if was != now:
            self._dirty_target(report.target)
        self._stale_rooms.add(report.target)

    def take_record(self, record: Record) -> None:
        """One more record of the journal."""
        self.ledger.fold(record)
        self.note(record.entry)

    def note(self, entry: Entry) -> None:
        """An entry that the ledger, which is shared with the journal, has folded already."""
        for name in ("ref", "before", "after"):
            ref = getattr(entry, name, None)
            if ref is not None:
                self.dirty.add(ref)
        subject = getattr(entry, "subject", None)
        if subject is not None:
            self.dirty.add(Ref(subject))
        target = getattr(entry, "target", None)
        if target is not None and kind_of(getattr(entry, "ref", "Node/")) == "Node":
            self._judge(target)
            self._dirty_target(target)
            self._stale_rooms.add(target)

    def due(self, now: float) -> None:
        """Mark what time alone has changed: quarantines that ended, pauses that ran out."""
        while self._timers and self._timers[0][0] <= now:
            self.dirty.add(heappop(self._timers)[1])

    @property
    def generation(self) -> int:
        """The highest known: ours, or one that a node remembers of a ledger that was lost."""
        if self._nodes_generation is None:
            claims = (report.claim for report in self.reports.values())
            self._nodes_generation = max((claim.generation for claim in claims if claim is not None), default=0)
        return max(self.ledger.generation, self._nodes_generation)

    # -- what is asked ---------------------------------------------------------------------------------------------

    def resource(self, ref: Ref) -> Resource | None:
        return self.desired.resources.get(ref) if self.desired else None

    def shape_of(self, target: Target) -> Shape:
        """Raises KeyError for a target that is not declared."""
        return self.shapes[self.targets[target].driver]

    def realised(self, ref: Ref, target: Target) -> bool:
        """Whether the target's driver makes an object of its own for this kind."""
        node = self.targets.get(target)
        return (
            node is not None and node.driver in self.shapes and kind_of(ref) in self.shape_of(target).capability.kinds
        )

    def seen(self, ref: Ref) -> tuple[Seen, ...]:
        """Trusted objects that bear this ref, by target and native identity."""
        found = self.things.get(ref, {})
        return tuple((key[0], found[key]) for key in sorted(found))

    def binding(self, ref: Ref) -> Binding | None:
        """What the ledger knows of a machine, else what its one object proves by itself."""
        bound = self.ledger.bound(ref)
        if bound:
            return max(bound, key=lambda binding: (binding.incarnation, binding.quarantined_until is None))
        seen = self.seen(ref)
        live = [pair for pair in seen if pair[1].lifecycle == "live"] or list(seen)
        if not live:
            return None
        target, found = live[0]
        return recovered(ref, found, target, self.resource(ref))

    def unreadable(self, target: Target) -> str | None:
        """Why absence on this target is not proved; None if it is."""
        state = self.standings.get(target)
        if state is None or target not in self.targets:
            return "its Node document is not there, so it cannot be asked"
        return lists_absence(target, self.reports.get(target), state, self.ledger)

    def where(self, ref: Ref) -> Target | None:
        facts = self.facts.get(ref)
        return facts.target if facts else None

    def uncovered(self) -> tuple[Target, ...]:
        """Targets whose complete listing nobody has seen since the ledger began: no creation until then (I2)."""
        return tuple(
            target
            for target in sorted({*self.targets, *self.ledger.claims})
            if target not in self.ledger.covered and self.unreadable(target) is not None
        )

    def context(self, resource: Resource, target: Target, addresses: tuple[Address | None, ...] = ()) -> NativeContext:
        references = {ref: found for ref in resource.references if (found := self.resource(ref)) is not None}
        whole = tuple(address for address in addresses if address is not None)
        return NativeContext(self.targets[target], target, whole, references)

    # -- keeping the indexes ---------------------------------------------------------------------------------------

    def refresh(self) -> tuple[Ref, ...]:
        """Bring the facts of all dirty refs up to date; returns them in canonical order, and they are clean."""
        self._take_rooms()
        done: set[Ref] = set()
        while self.dirty - done:
            batch = sorted(self.dirty - done)
            for ref in batch:
                self._refresh(ref)
            done.update(batch)
        self.dirty.clear()
        return tuple(sorted(done))

    def _refresh(self, ref: Ref) -> None:
        if kind_of(ref) in PER_TARGET:
            return
        old, new = self.facts.get(ref, Facts()), self._facts(ref)
        if old == new:
            return
        if new == Facts():
            self.facts.pop(ref, None)
        else:
            self.facts[ref] = new
        if old.target != new.target:
            if old.target is not None:
                self.homes.get(old.target, {}).pop(ref, None)
            if new.target is not None:
                self.homes.setdefault(new.target, {})[ref] = None
        if (old.target, old.demand) != (new.target, new.demand):
            self._promise(old, -1)
            self._promise(new, 1)
        for network, ip in set(old.addresses) - set(new.addresses):
            if network in self.pools:
                self.pools[network].free(ip, ref)
        for network, ip in set(new.addresses) - set(old.addresses):
            if network in self.pools:
                self.pools[network].take(ip, ref)
        if (old.target, old.needs) != (new.target, new.needs):
            self._need(old, -1)
            self._need(new, 1)

    def _facts(self, ref: Ref) -> Facts:
        resource, binding = self.resource(ref), self.binding(ref)
        if resource is None and binding is None:
            return Facts()
        authored = [(nic.networks[0], nic.ip) for nic in (resource.nics if resource else ()) if nic.ip is not None]
        if binding is None:
            return Facts(addresses=tuple(authored))
        held = [(address.network, address.ip) for address in binding.addresses]
        resting = binding.quarantined_until is not None
        demand = resource.demand if resource is not None else Demand(*binding.demand)
        if resting:
            demand = Demand(disk=demand.disk)
            self._timer(binding.quarantined_until or 0.0, ref)
        needs = resource.references if resource is not None and not resting else ()
        return Facts(binding.target, demand, tuple(dict.fromkeys(authored + held)), needs)

    def _promise(self, facts: Facts, sign: int) -> None:
        if facts.target is not None:
            self.rooms.promise(facts.target, facts.demand, sign)

    def _need(self, facts: Facts, sign: int) -> None:
        if facts.target is None:
            return
        for ref in facts.needs:
            if kind_of(ref) not in PER_TARGET:
                continue
            counts = self.needs.setdefault(ref, {})
            counts[facts.target] = counts.get(facts.target, 0) + sign
            if not counts[facts.target]:
                del counts[facts.target]
                self.dirty.add(ref)
            elif sign > 0 and counts[facts.target] == 1:
                self.dirty.add(ref)

    def _relink(self, ref: Ref, old: Resource | None, new: Resource | None) -> None:
        self.dirty.add(ref)
        self.dirty.update(self.users.get(ref, ()))
        for reference in old.references if old else ():
            self.users.get(reference, {}).pop(ref, None)
        for reference in new.references if new else ():
            self.users.setdefault(reference, {})[ref] = None
        former = old.behaviour.renamed_from if old else None
        if former is not None and self.renames.get(former) == ref:
            del self.renames[former]
            self.dirty.add(former)
        former = new.behaviour.renamed_from if new else None
        if former is not None:
            self.renames[former] = ref
            self.dirty.add(former)
        if kind_of(ref) == "Network":
            self._take_pool(ref, new)

    def _take_pool(self, ref: Ref, resource: Resource | None) -> None:
        if resource is None or resource.network is None:
            self.pools.pop(ref, None)
            return
        pool = Pool(resource.network)
        previous = self.pools.get(ref)
        for holders_of, holders in (previous.taken if previous else {}).items():
            pool.taken[holders_of] = dict(holders)
        if previous is None:
            for holder, facts in self.facts.items():
                for network, ip in facts.addresses:
                    if network == ref:
                        pool.take(ip, holder)
        self.pools[ref] = pool

    def _take_nodes(self, desired: Desired) -> None:
        self.targets = declared_targets(desired)
        for target in {*self.targets, *self.reports}:
            self._judge(target)
        self.foreign = {target: self._foreign(report) for target, report in self.reports.items()}
        self._stale_rooms.clear()
        self.rooms = Rooms(self._room(target) for target in sorted(self.targets))
        for facts in self.facts.values():
            self._promise(facts, 1)
        self.dirty.update(self.facts)
        self.dirty.update(ref for ref in self.things)

    def _judge(self, target: Target) -> None:
        """Keep what is thought of a target, and the short lists that a plan looks at, up to date."""
        datacenter = self.desired.datacenter_id if self.desired else ""
        node, report = self.targets.get(target), self.reports.get(target)
        if node is not None and node.driver not in self.shapes:
            state = Standing(problem=f"its driver {node.driver} is not installed here")
        else:
            state = standing(target, report, self.ledger.claims, datacenter)
        self.standings[target] = state
        why = state.problem or state.partial
        if node is not None and why is not None:
            self.troubled[target] = why
        else:
            self.troubled.pop(target, None)
        claimable = node is not None and state.unclaimed and state.problem is None
        (self.unclaimed.add if claimable else self.unclaimed.discard)(target)

    def _trusted(self, report: Report | None, state: Standing | None) -> dict[str, Object]:
        """Objects of ours on a target whose word counts, by native identity."""
        if report is None or state is None or state.problem is not None or self.desired is None:
            return {}
        mine = self.desired.datacenter_id
        return {
            found.native_id: found
            for found in report.objects
            if found.marks is not None and found.marks.datacenter == mine
        }

    def _foreign(self, report: Report) -> int:
        mine = self.desired.datacenter_id if self.desired else ""
        return sum(1 for found in report.objects if found.marks is None or found.marks.datacenter != mine)

    def _place_thing(self, target: Target, key: str, old: Object | None, new: Object | None) -> None:
        for found in (old, new):
            if found is not None and found.marks is not None:
                ref = found.marks.ref
                self.dirty.add(ref)
                if ref in self.renames:
                    self.dirty.add(self.renames[ref])
        if old is not None and old.marks is not None:
            self.things.get(old.marks.ref, {}).pop((target, key), None)
        if new is not None and new.marks is not None:
            self.things.setdefault(new.marks.ref, {})[target, key] = new
            if new.marks.quarantined_until is not None:
                self._timer(new.marks.quarantined_until, new.marks.ref)

    def _timer(self, until: float, ref: Ref) -> None:
        if (until, ref) not in self._timers[:1]:
            heappush(self._timers, (until, ref))

    def _dirty_target(self, target: Target) -> None:
        """Everything bound or seen there must be decided anew: the word of the target counts otherwise now."""
        self.dirty.update(self.homes.get(target, ()))
        report = self.reports.get(target)
        for found in report.objects if report else ():
            if found.marks is not None:
                self.dirty.add(found.marks.ref)
        self.dirty.update(ref for ref, counts in self.needs.items() if target in counts)

    def _take_rooms(self) -> None:
        stale, self._stale_rooms = self._stale_rooms & self.targets.keys(), set()
        if not stale:
            return
        rooms = dict(self.rooms.by_target)
        for target in stale:
            used = rooms[target].used if target in rooms else Demand()
            rooms[target] = msgspec.structs.replace(self._room(target), used=used)
        self.rooms = Rooms(rooms.values())

    def _room(self, target: Target) -> Room:
        assert self.desired is not None, "rooms are of declared targets"
        node, report, policy = self.targets[target], self.reports.get(target), self.desired.policy
        member = node.members.get(target.partition("/")[2])
        state = self.standings.get(target, Standing())
        cordon = node.cordon or (member.cordon if member else None)
        drain = "it is being drained" if node.drain else None
        closed = f"it is cordoned: {cordon}" if cordon else drain or state.problem
        capacity = report.capacity if report else None

        def promised(name: str) -> int:
            total = getattr(capacity, name, None) if capacity else None
            if total is None:
                return PLENTY
            factor = policy.overprovision.get(name, 1.0) * (1 - policy.reserve.get(name, 0.0))
            return int(total * factor) - node.reserve.get(name, 0) - self._unmanaged(report, name)

        declared = frozenset(node.nics)
        carried = declared if report is None or report.carries is None else declared & frozenset(report.carries)
        return Room(
            target,
            self.shapes[node.driver].capability if node.driver in self.shapes else NOTHING,
            promised("memory"),
            promised("cpu"),
            promised("disk"),
            rack=(member.rack if member else None) or node.rack,
            traits={**node.traits, **(member.traits if member else {})},
            tags=carried,
            closed=closed,
        )

    def _unmanaged(self, report: Report | None, name: str) -> int:
        """What machines that are not ours take of a target."""
        total = 0
        for found in report.objects if report else ():
            if found.kind == "Machine" and found.marks is None:
                value = found.fields.get(name)
                total += value if isinstance(value, int) else 0
        return total
