"""The index: all that is wanted, seen and remembered, by what decisions look up, kept up to date by deltas.

Owns: indexes (resources and things by ref, users by reference, addresses, room on targets, needs) and which refs are
dirty. Must not go here: deciding (decide, planner). A world fed at once and one fed piece by piece are the same (I9).

Cost: `take_desired` with the refs that changed, `take_report` and `take_record` follow what is other than before, a
report that of one target at most. The world keeps tables of its own: what it was given may be altered afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from heapq import heappop, heappush

import msgspec

from reconciler.core.addresses import Holders, Pool
from reconciler.core.classify import Seen
from reconciler.core.compare import recovered
from reconciler.core.desired import Demand, Desired, NodeWant, Policy, Resource
from reconciler.core.ledger import Address, Binding, Entry, Ledger, Record
from reconciler.core.observed import Object, Report
from reconciler.core.placement import PLENTY, Room, Rooms
from reconciler.core.refs import Ref, Target, kind_of
from reconciler.core.shape import Capability, NativeContext, Shape
from reconciler.core.sights import OPEN, PER_TARGET, Sights
from reconciler.core.standing import Standing, declared_targets, lists_absence, standing

__all__ = ["PER_TARGET", "Facts", "World"]

NOTHING = Capability(kinds=frozenset(), image_types=frozenset(), brands=frozenset())
"""What a driver that is not installed can take."""


class Facts(msgspec.Struct, frozen=True, gc=False):
    """What one machine takes from the world: its place, its room there, its addresses, what it refers to."""

    target: Target | None = None
    demand: Demand = Demand()
    addresses: tuple[tuple[Ref, str], ...] = ()
    needs: tuple[Ref, ...] = ()


_NO_FACTS = Facts()


class World:
    """Mutable only through the `take_*` methods. `open_at_most`: see Sights."""

    def __init__(self, shapes: Mapping[str, Shape], ledger: Ledger | None = None, *, open_at_most: int = OPEN) -> None:
        self.shapes = shapes
        self.ledger = ledger or Ledger()
        self.desired: Desired | None = None
        self.resources: dict[Ref, Resource] = {}
        self.nodes: dict[str, NodeWant] = {}
        self.targets: dict[Target, NodeWant] = {}
        self.sights = Sights(open_at_most)
        self.reports = self.sights.reports
        """The latest of each target, without objects."""
        self.standings: dict[Target, Standing] = {}
        self.troubled: dict[Target, str] = {}
        """Declared targets that could not be read whole, and why."""
        self.unclaimed: set[Target] = set()
        self.gaps: set[Target] = set()
        """Targets whose complete listing nobody has seen since the ledger began: no creation until then (I2)."""
        self._highest: int | None = 0
        """Generation in a claim; None: to be looked up again."""
        self._users: dict[Ref, dict[tuple[Ref, ...], dict[Ref, None]]] = {}
        """Machines by what they refer to: those that refer to just the same stand together."""
        self.renames: dict[Ref, Ref] = {}
        """Former name to the resource that says `renamedFrom`."""
        self.holders: dict[Ref, Holders] = {}
        """Who has which address, by network, whether there is a document for it or not."""
        self.pools: dict[Ref, Pool] = {}
        self.rooms = Rooms(())
        self._stale_rooms: set[Target] = set()
        self.facts: dict[Ref, Facts] = {}
        self.homes: dict[Target, dict[Ref, None]] = {}
        """Machines by the target they are bound to."""
        self.needs: dict[Ref, dict[Target, int]] = {}
        self.dirty: set[Ref] = set()
        self.dirty_at: dict[Target, set[Ref]] = {}
        """Realisations, of kinds that have one on each target."""
        self.waiting: dict[Target, set[Ref]] = {}
        """Refs that a fresher listing of the target may decide otherwise."""
        self._timers: list[tuple[float, Ref]] = []
        for ref, target in self.ledger.bindings:
            self._stain(ref, target)
        for target in self.ledger.claims:
            self._look_for_gap(target)

    # -- what comes in ---------------------------------------------------------------------------------------------

    def take_desired(self, desired: Desired, changed: Iterable[Ref] | None = None) -> None:
        """A revision. `changed`: the refs whose resources may differ from the last one's; None looks at all."""
        before, self.desired = self.desired, desired
        wanted = desired.resources
        if changed is None:
            changed = {ref for ref in (*self.resources, *wanted) if self.resources.get(ref) is not wanted.get(ref)}
        for ref in changed:
            old, new = self.resources.get(ref), wanted.get(ref)
            if old is not None and new is not None and old.digest == new.digest:
                continue
            if new is not None:
                self.resources[ref] = new
            else:
                self.resources.pop(ref, None)
            self._relink(ref, old, new)
        if before is None or before.datacenter_id != desired.datacenter_id:
            self._take_nodes(desired, {*self.nodes, *desired.nodes})
            for target in self.reports:
                self._dirty_target(target)
        elif self.nodes != desired.nodes:
            self._take_nodes(desired, _differing(self.nodes, desired.nodes))
        if before is not None and _sizing(before.policy) != _sizing(desired.policy):
            self._stale_rooms.update(self.targets)

    def take_report(self, report: Report) -> dict[Ref, None]:
        """A target's report; only what differs from the last one is looked at. Returns the refs it tells news of."""
        target = report.target
        old, was = self.reports.get(target), self.standings.get(target)
        changed = self.sights.take(report)
        self._judge(target)
        now = self.standings[target]
        for ref in self.waiting.pop(target, ()):
            self._stain(ref, target)
        if old is not None and old.digest == report.digest and was == now:
            return {}
        self._take_claim(old, report)
        for ref in changed:
            self._seen_anew(ref, target)
        if was != now:
            self._dirty_target(target)
        self._stale_rooms.add(target)
        return changed

    def drop_report(self, target: Target) -> None:
        """The target is no part of the data centre any more: what was seen there is seen no more."""
        for ref in self.sights.drop(target):
            self._stain(ref, target)
        self._highest = None
        self._judge(target)
        self._dirty_target(target)

    def take_record(self, record: Record) -> None:
        """One more record of the journal."""
        self.ledger.fold(record)
        self.note(record.entry)

    def note(self, entry: Entry) -> None:
        """An entry that the ledger, which is shared with the journal, has folded already."""
        target: Target | None = getattr(entry, "target", None)
        for name in ("ref", "before", "after"):
            ref: Ref | None = getattr(entry, name, None)
            if ref is not None:
                self._stain(ref, target)
        subject = getattr(entry, "subject", None)
        if subject is not None:
            self._stain(Ref(subject))
        if target is None:
            return
        for ref in self.waiting.pop(target, ()):
            self._stain(ref, target)
        if kind_of(getattr(entry, "ref", "Node/")) == "Node":
            self._judge(target)
            self._dirty_target(target)
            self._stale_rooms.add(target)
        else:
            self._look_for_gap(target)

    def due(self, now: float) -> None:
        """Mark what time alone has changed: quarantines that ended, pauses that ran out."""
        while self._timers and self._timers[0][0] <= now:
            self.dirty.add(heappop(self._timers)[1])

    @property
    def generation(self) -> int:
        """The highest known: ours, or one that a node remembers of a ledger that was lost."""
        if self._highest is None:
            claims = (report.claim for report in self.reports.values())
            self._highest = max((claim.generation for claim in claims if claim is not None), default=0)
        return max(self.ledger.generation, self._highest)

    # -- what is asked ---------------------------------------------------------------------------------------------

    def resource(self, ref: Ref) -> Resource | None:
        return self.resources.get(ref)

    def users(self, ref: Ref) -> Iterator[Ref]:
        """Machines that refer to a network or an image, in no order that means anything."""
        for together in self._users.get(ref, {}).values():
            yield from together

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
        places = self.sights.places(ref)
        return tuple((target, found) for target in sorted(places) for found in self.seen_on(ref, target))

    def seen_on(self, ref: Ref, target: Target) -> list[Object]:
        """Trusted objects on a target that bear this ref, by native identity."""
        state = self.standings.get(target)
        if state is None or state.problem is not None or self.desired is None:
            return []
        mine = self.desired.datacenter_id
        return [found for found in self.sights.on(ref, target) if found.marks and found.marks.datacenter == mine]

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

    def context(self, resource: Resource, target: Target, addresses: tuple[Address | None, ...] = ()) -> NativeContext:
        references = {ref: found for ref in resource.references if (found := self.resource(ref)) is not None}
        whole = tuple(address for address in addresses if address is not None)
        return NativeContext(self.targets[target], target, whole, references)

    @property
    def unmanaged(self) -> int:
        """How many objects on all targets are not ours."""
        return self.sights.count_but(self.desired.datacenter_id if self.desired else "")

    def realisations(self, ref: Ref) -> set[Target]:
        """Where a Network or Image is, or should be."""
        return {*self.needs.get(ref, ()), *self.sights.places(ref)}

    def known(self, ref: Ref) -> bool:
        """Whether the ref is wanted, seen or remembered."""
        return ref in self.resources or ref in self.facts or ref in self.sights or ref in self.ledger.targets

    # -- keeping the indexes ---------------------------------------------------------------------------------------

    def refresh(self, only: Iterable[Ref] | None = None) -> list[Ref]:
        """Bring the facts of dirty machines up to date (all, or `only` of those); returns which are to be decided anew,
        those of one target together. They are clean."""
        self._take_rooms()
        wanted = self.dirty if only is None else [ref for ref in only if ref in self.dirty]
        done = sorted(wanted, key=lambda ref: next(iter(self.sights.places(ref)), ""))
        for ref in done:
            self._refresh(ref)
        self.dirty.difference_update(done)
        return done

    def refresh_at(self, target: Target) -> set[Ref]:
        """Realisations on the target that are to be decided anew. They are clean."""
        return self.dirty_at.pop(target, set())

    def _refresh(self, ref: Ref) -> None:
        old, new = self.facts.get(ref, _NO_FACTS), self._facts(ref)
        if old == new:
            return
        if new == _NO_FACTS:
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
        for address in old.addresses:
            if address not in new.addresses:
                network, ip = address
                self.holders[network].free(ip, ref)
        for address in new.addresses:
            if address not in old.addresses:
                network, ip = address
                (self.holders.get(network) or self.holders.setdefault(network, Holders())).take(ip, ref)
        if (old.target, old.needs) != (new.target, new.needs):
            self._need(old, -1)
            self._need(new, 1)

    def _facts(self, ref: Ref) -> Facts:
        resource, binding = self.resource(ref), self.binding(ref)
        if resource is None and binding is None:
            return _NO_FACTS
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
                self._stain(ref, facts.target)
            elif sign > 0 and counts[facts.target] == 1:
                self._stain(ref, facts.target)

    def _stain(self, ref: Ref, target: Target | None = None) -> None:
        """To be decided anew: a machine, or the realisation of another thing on the target (None: on all)."""
        if kind_of(ref) not in PER_TARGET:
            self.dirty.add(ref)
            return
        for place in (target,) if target is not None else self.realisations(ref):
            self.dirty_at.setdefault(place, set()).add(ref)

    def _relink(self, ref: Ref, old: Resource | None, new: Resource | None) -> None:
        self._stain(ref)
        for user in self.users(ref):
            self._stain(user)
        was, now = old.references if old else (), new.references if new else ()
        if was != now:
            for reference in was:
                together = self._users[reference][was]
                together.pop(ref, None)
                if not together:
                    del self._users[reference][was]
            for reference in now:
                self._users.setdefault(reference, {}).setdefault(now, {})[ref] = None
        former = old.behaviour.renamed_from if old else None
        if former is not None and self.renames.get(former) == ref:
            del self.renames[former]
            self._stain_known(former)
        former = new.behaviour.renamed_from if new else None
        if former is not None:
            self.renames[former] = ref
            self._stain_known(former)
        if kind_of(ref) == "Network":
            self._take_pool(ref, new)

    def _stain_known(self, ref: Ref) -> None:
        """A name of which nothing is known has nothing to be decided."""
        if self.known(ref):
            self._stain(ref)

    def _take_pool(self, ref: Ref, resource: Resource | None) -> None:
        if resource is None or resource.network is None:
            self.pools.pop(ref, None)
            return
        self.pools[ref] = Pool(resource.network, self.holders.setdefault(ref, Holders()))

    def _take_nodes(self, desired: Desired, names: Iterable[str]) -> None:
        """Nodes of these names are other than before, or gone."""
        targets = declared_targets({name: desired.nodes[name] for name in names if name in desired.nodes})
        gone = declared_targets({name: self.nodes[name] for name in names if name in self.nodes}).keys() - targets
        self.nodes = dict(desired.nodes)
        for target in gone:
            del self.targets[target]
            self.rooms.drop(target)
        self.targets.update(targets)
        for target in {*targets, *gone}:
            self._judge(target)
            self._dirty_target(target)
        self._stale_rooms.update(targets)

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
        self._look_for_gap(target)

    def _look_for_gap(self, target: Target) -> None:
        concerned = target in self.targets or target in self.ledger.claims
        gap = concerned and target not in self.ledger.covered and self.unreadable(target) is not None
        (self.gaps.add if gap else self.gaps.discard)(target)

    def _take_claim(self, old: Report | None, new: Report) -> None:
        """Keep the highest generation that a claim tells of."""
        was = old.claim.generation if old is not None and old.claim is not None else 0
        now = new.claim.generation if new.claim is not None else 0
        if self._highest is not None:
            self._highest = None if now < was == self._highest else max(now, self._highest)

    def _seen_anew(self, ref: Ref, target: Target) -> None:
        self._stain(ref, target)
        if ref in self.renames:
            self._stain(self.renames[ref])
        for found in self.sights.on(ref, target):
            if found.marks is not None and found.marks.quarantined_until is not None:
                self._timer(found.marks.quarantined_until, ref)

    def _timer(self, until: float, ref: Ref) -> None:
        if (until, ref) not in self._timers[:1]:
            heappush(self._timers, (until, ref))

    def _dirty_target(self, target: Target) -> None:
        """Everything bound or seen there must be decided anew: the word of the target counts otherwise now."""
        self.dirty.update(self.homes.get(target, ()))
        for ref in self.sights.refs_on(target):
            self._stain(ref, target)
            if ref in self.renames:
                self._stain(self.renames[ref])
        for ref, counts in self.needs.items():
            if target in counts:
                self._stain(ref, target)

    def _take_rooms(self) -> None:
        stale, self._stale_rooms = self._stale_rooms, set()
        for target in stale & self.targets.keys():
            fresh = target not in self.rooms.by_target
            self.rooms.put(self._room(target))
            if fresh:
                for ref in self.homes.get(target, ()):
                    self.rooms.promise(target, self.facts[ref].demand)

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
            taken: int = getattr(self.sights.unmanaged.get(target, _NO_DEMAND), name)
            return int(total * factor) - node.reserve.get(name, 0) - taken

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


_NO_DEMAND = Demand()


def _differing(old: Mapping[str, NodeWant], new: Mapping[str, NodeWant]) -> set[str]:
    return {name for name in {*old, *new} if old.get(name) != new.get(name)}


def _sizing(policy: Policy) -> tuple[object, object]:
    """What of the policy decides how much room a target has."""
    return policy.overprovision, policy.reserve
