"""The index: all that is wanted, seen and remembered, by what decisions look up, kept up to date by deltas.

Owns: indexes (resources and things by ref, users by reference, addresses, room on targets, needs) and which refs are
dirty. Must not go here: deciding (decide, planner). A world fed at once and one fed piece by piece are the same (I9).

Cost: `take_desired` with the refs that changed, `take_report` and `take_record` follow what is other than before, a
report that of one target at most. The world keeps tables of its own: what it was given may be altered afterwards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping

from reconciler.core.addresses import Holders, Pool, several
from reconciler.core.blocks import grouped
from reconciler.core.capacity import NOTHING, room_of, sizing
from reconciler.core.compare import takes_of
from reconciler.core.desired import FIRST, Demand, Desired, NodeWant, Resource
from reconciler.core.facts import NO_FACTS, Facts, Resting
from reconciler.core.glimpse import Glimpse
from reconciler.core.known import Known
from reconciler.core.ledger import Entry, Intent, Ledger, Record, Result, touched
from reconciler.core.observed import Object, Report
from reconciler.core.placement import Room, most
from reconciler.core.refs import PER_TARGET, Ref, Target, kind_of
from reconciler.core.shape import Shape
from reconciler.core.sights import OPEN, Compress, at_once
from reconciler.core.standing import declared_targets, drain_of

__all__ = ["Facts", "World"]


class World(Known):
    """Mutable only through the `take_*` methods and `note`."""

    def __init__(
        self,
        shapes: Mapping[str, Shape],
        ledger: Ledger | None = None,
        *,
        open_at_most: int = OPEN,
        compress: Compress = at_once,
    ) -> None:
        super().__init__(shapes, ledger, open_at_most=open_at_most, compress=compress)
        self.dirty.update(self.ledger.bindings.single)
        for ref, target in self.ledger.bindings.each:
            self._stain_one(ref, target)
        for target in self.ledger.claims:
            self._judge(target)

    # -- what comes in ---------------------------------------------------------------------------------------------

    def take_desired(self, desired: Desired, changed: Iterable[Ref] | None = None) -> None:
        """A revision. `changed`: the refs whose resources may differ from the last one's; None looks at all."""
        before, self.desired = self.desired, desired
        self._came_in()
        wanted = desired.resources
        usual = _usual(wanted) if before is None and not self.reports else None
        if usual is not None:  # nothing is known before
            changed = wanted.keys() - set[Ref]().union(*usual.values())
        elif changed is None:
            changed = {ref for ref in (*self.resources, *wanted) if self.resources.get(ref) is not wanted.get(ref)}
        self._wanted_anew(changed := set(changed))
        # what machines refer to comes first: who refers to it is touched once
        for ref in sorted(changed, key=lambda ref: (kind_of(ref) not in PER_TARGET, ref)):
            old, new = self.resources.get(ref), wanted.get(ref)
            if old is not None and new is not None and old.digest == new.digest:
                continue
            if new is not None:
                self.resources[ref] = new
            else:
                self.resources.pop(ref, None)
            self._relink(ref, old, new)
        if usual is not None:
            self._take_usual(wanted, usual)
        if before is None or before.datacenter_id != desired.datacenter_id:
            self._take_nodes(desired, {*self.nodes, *desired.nodes})
            for target in self.reports:
                self._dirty_target(target)
        elif before.nodes is not desired.nodes and self.nodes != desired.nodes:
            self._take_nodes(desired, _differing(self.nodes, desired.nodes))
        if before is not None and sizing(before.policy) != sizing(desired.policy):
            self._stale_rooms.update(self.targets)
        if before is None:
            self.ledger.bindings.rename(self.own_all)

    def _take_usual(self, wanted: Mapping[Ref, Resource], usual: Mapping[tuple[Ref, ...], list[Ref]]) -> None:
        """Machines of a first revision, at once: nobody refers to them yet. All else is known by now."""
        self.resources.update(wanted)
        for references, refs in usual.items():
            self.dirty.update(refs)
            self._refer(refs[0], (), references)
            self._alike.get(references, {}).update(dict.fromkeys(refs))

    def take_report(self, report: Report) -> dict[Ref, None]:
        """A target's report; only what differs from the last one is looked at. Returns the refs it tells news of."""
        target = report.target
        old, was = self.reports.get(target), self.standings.get(target)
        changed = self.sights.take(report)
        self._came_in()
        self._judge(target)
        now = self.standings[target]
        for ref in self.waiting.pop(target, ()):
            self._stain(ref, target)
        if old is not None and old.digest == report.digest and was == now:
            return {}
        self._take_claim(old, report)
        if was != now:
            self._dirty_target(target)
        here = self.sights.by_ref(target) if was != now else {}  # those were seen anew with the target
        for ref in changed:
            if ref not in here:
                self._seen_anew(ref, target, self.sights.on(ref, target))
        self._stale_rooms.add(target)
        return changed

    def take_glimpse(
        self, glimpse: Glimpse, resting: Resting, objects: tuple[Object, ...] | None = None
    ) -> dict[Ref, None]:
        """As `take_report` of a target of which nothing was seen before; those at rest are not among those returned.
        `resting`: they, by our refs. `objects`: all that it lists, if the glimpse is without."""
        report, mine = glimpse.report, self.desired.datacenter_id if self.desired else ""
        others = self.sights.take_glimpse(glimpse, resting, mine, objects)
        self._came_in()
        self._judge(report.target)
        self._take_claim(None, report)
        self._dirty_target(report.target, {**dict.fromkeys(others, ()), **grouped(report.objects)})
        self.dirty.update(resting.refs)
        self._stain_kin_of(resting.refs)
        self._stale_rooms.add(report.target)
        return others

    def presume(self, report: Report) -> bool:
        """Whether its target's word counts, by a report that is not taken. If so, it is judged by that from now on."""
        found = self._standing(report.target, report)
        if found.problem is None:
            self.standings[report.target] = found
        return found.problem is None

    def drop_report(self, target: Target) -> None:
        """The target is no part of the data centre any more: what was seen there is seen no more."""
        self._take_claim(self.reports.get(target), None)
        for ref in self.sights.drop(target):
            self._stain(ref, target)
        self._came_in()
        self._judge(target)
        self._dirty_target(target)

    def take_record(self, record: Record) -> None:
        """One more record of the journal."""
        self.ledger.fold(record)
        self.note(record.entry)

    def note(self, entry: Entry) -> None:
        """An entry that the ledger, which is shared with the journal, has folded already."""
        self._came_in()
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
        for place in touched(entry) if isinstance(entry, (Intent, Result)) else ():
            for ref in self.waiting.pop(place, ()):
                self._stain(ref, place)
        if kind_of(getattr(entry, "ref", "Node/")) == "Node":
            was = self.standings.get(target)
            self._judge(target)
            if was != self.standings[target]:
                self._dirty_target(target)
                self._stale_rooms.add(target)

    def due(self, now: float, expired: Iterable[Ref] = ()) -> None:
        """Mark what time alone has changed: quarantines that ended; where the clock went back, these have not."""
        for ref in expired if now < self._now else ():
            for target in tuple(self.sights.places(ref)):
                self._seen_anew(ref, target, self.sights.on(ref, target))
        self._now = now
        for ref in self.timers.due(now):
            self._stain(ref)

    # -- keeping the indexes ---------------------------------------------------------------------------------------

    def refresh(self, only: Iterable[Ref] | None = None) -> list[Ref]:
        """Bring the facts of dirty machines up to date (all, or `only` of those); returns which are to be decided anew,
        those of one target together. They are clean."""
        self._take_rooms()
        wanted: Iterable[Ref] = [ref for ref in only if ref in self.dirty] if only is not None else self.dirty
        if only is None:
            self.dirty = set()  # a new one: a set that was large is walked through whole although it is empty
        done = sorted(wanted, key=lambda ref: next(iter(self.sights.places(ref)), ""))
        for ref in done:
            self._refresh(ref)
        self.dirty.difference_update(done)
        return done

    def refresh_at(self, target: Target) -> set[Ref]:
        """Realisations on the target that are to be decided anew. They are clean."""
        return self.dirty_at.pop(target, set())

    def _refresh(self, ref: Ref) -> None:
        self.put_facts(ref, self.facts_of(ref))

    def put_facts(self, ref: Ref, new: Facts) -> None:
        """What a machine takes from the world from now on."""
        old = self.facts.find(ref)
        if old == new:
            return
        if new == NO_FACTS:
            self.facts.pop(ref, None)
        else:
            self.facts[ref] = new
        was, now = old.places, new.places
        if was != now:
            for place in was:
                self.homes.get(place, {}).pop(ref, None)
            for place in now:
                self.homes.setdefault(place, {})[ref] = None
        if was != now or old.demand != new.demand:
            for facts, places, sign in ((old, was, -1), (new, now, 1)):
                self._count(ref, facts, sign)
                for place in places:
                    self.rooms.promise(place, facts.demand, sign)
        for address in old.addresses:
            if address not in new.addresses:
                network, ip = address
                self.holders[network].free(ip, ref)
        for address in new.addresses:
            if address not in old.addresses:
                network, ip = address
                (self.holders.get(network) or self.holders.setdefault(network, Holders())).take(ip, ref)
        if (old.target, old.addresses) != (new.target, new.addresses):
            for watcher in self.watchers.get(ref, ()):
                self._stain(watcher)
        if (old.target, old.needs) != (new.target, new.needs):
            self._need(old.target, old.needs, -1)
            self._need(new.target, new.needs, 1)

    def put_resting(self, target: Target, found: Resting) -> None:
        """The same of machines that are at rest on one target."""
        known, holders = {ref for ref in found.refs if ref in self.facts.rows}, self.holders
        for ref, new in found.facts(target) if known else ():
            if ref in known:
                self.put_facts(ref, new)
        fresh = found.but(known) if known else found
        self.facts.add(target, fresh)
        self.homes.setdefault(target, {}).update(dict.fromkeys(fresh.refs))
        held = [
            [holders.get(net) or holders.setdefault(net, Holders()) for net in kind.networks] for kind in fresh.kinds
        ]
        for ref, number, ips in zip(fresh.refs, fresh.kind, fresh.ips, strict=True):
            for network, ip in zip(held[number], ips, strict=True):
                network.take(ip, ref)
            for watcher in self.watchers.get(ref, ()) if ips else ():
                self._stain(watcher)
        for ref, new in fresh.facts(target) if self._taken is not None else ():
            self._count(ref, new, 1)
        for number, count in Counter(fresh.kind).items():
            demand = fresh.kinds[number].demand
            self.rooms.promise(target, Demand(demand.memory * count, demand.cpu * count, demand.disk * count))
            self._need(target, fresh.kinds[number].needs, count)

    def facts_of(self, ref: Ref) -> Facts:
        """What a machine takes from the world by all that is known now."""
        resource, binding = self.resources.get(ref), self.binding(ref)
        nics = resource.nics if resource is not None else ()
        authored = [(self.network_for(nic), nic.ip) for nic in nics if nic.ip is not None]
        if binding is None:
            return Facts(addresses=tuple(authored)) if authored else NO_FACTS
        had = tuple(sorted(self._held(ref)))
        addresses = tuple(dict.fromkeys((*authored, *had))) if authored else had
        seen = self.seen(ref)
        lives = [pair for pair in seen if pair[1].lifecycle == "live"]
        sizes = Demand(*binding.demand)
        if binding.quarantined_until is not None and not lives:
            return Facts(binding.target, Demand(disk=sizes.disk), addresses, had)
        wants = resource.demand if resource is not None else Demand()
        target = lives[0][0] if len(lives) == 1 else binding.target
        # A look may be older than our last write, and the memory older than what somebody did: the larger counts.
        demand = most(most(wants, sizes), takes_of(lives[0][1].fields, wants) if lives else sizes)
        needs = self.needed(resource, target) if resource is not None else ()
        moving = binding.moving if binding.moving != target else None
        return Facts(target, wants if demand == wants else demand, addresses, had, needs, moving)

    def _need(self, target: Target | None, needs: tuple[Ref, ...], more: int) -> None:
        """So many more machines (less, below 0) of the target need these there."""
        for ref in needs if target is not None else ():
            assert target is not None, "what is nowhere needs nothing"
            counts = self.needs.setdefault(ref, {})
            had = counts.get(target, 0)
            counts[target] = had + more
            if not counts[target]:
                del counts[target]
            if not had or target not in counts:
                self._stain(ref, target)

    def _stain(self, ref: Ref, target: Target | None = None) -> None:
        """To be decided anew: a machine, or the realisation of another thing on the target (None: on all). A thing
        under its former name and the one that takes it over are decided together."""
        self._stain_one(ref, target)
        self._stain_kin(ref, target)

    def _stain_kin(self, ref: Ref, target: Target | None = None) -> None:
        if ref in self.renames or ref.endswith(FIRST):
            for heir in self.heirs(ref):
                self._stain_one(heir, target)
        resource = self.resources.get(ref)
        source = resource.former if resource is not None else None
        if source is not None and self.known(source):  # of a name alone there is nothing to decide
            self._stain_one(source, target)

    def _stain_kin_of(self, refs: Collection[Ref]) -> None:
        """The same of many machines, of which few have any kin that is known."""
        found = [*map(self.resources.get, refs)]
        sources = {each.former for each in found if each is not None and each.behaviour.renamed_from is not None}
        usual = self.renames.keys().isdisjoint(refs) and not self.machines_known(sources)
        for ref in [ref for ref in refs if ref.endswith(FIRST)] if usual else refs:
            self._stain_kin(ref)

    def _stain_one(self, ref: Ref, target: Target | None) -> None:
        if kind_of(ref) not in PER_TARGET:
            self.dirty.add(ref)
            return
        for place in (target,) if target is not None else self.realisations(ref):
            self.dirty_at.setdefault(place, set()).add(ref)

    def _relink(self, ref: Ref, old: Resource | None, new: Resource | None) -> None:
        self._stain(ref)
        for user in self._users_of(ref) if ref in self._combinations else ():
            self._stain(user)
        was, now = old.references if old else (), new.references if new else ()
        if was != now:
            self._refer(ref, was, now)
        for party in old.parties if old else ():
            self.watchers[party].discard(ref)
        for party in new.parties if new else ():
            self.watchers.setdefault(party, set()).add(ref)
        before, after = old.former if old else None, new.former if new else None
        if before is not None:
            self.renames.get(before, set()).discard(ref)
            self._renamed(before, ref)
        if after is not None:
            if new is not None and new.behaviour.renamed_from != FIRST:
                self.renames.setdefault(after, set()).add(ref)
            self._renamed(after, ref)
        if kind_of(ref) == "Network":
            self._take_pool(ref, new)

    def _refer(self, ref: Ref, was: tuple[Ref, ...], now: tuple[Ref, ...]) -> None:
        """It refers to these now, and no more to those."""
        alike = self._alike.get(was, {})
        alike.pop(ref, None)
        if was and not alike:
            del self._alike[was]
            for reference in was:
                self._combinations[reference].pop(was, None)
        if now and now not in self._alike:
            self._alike[now] = {}
            for reference in now:
                self._combinations.setdefault(reference, {})[now] = None
        if now:
            self._alike[now][ref] = None

    def _renamed(self, former: Ref, ref: Ref) -> None:
        """A name was given up for another, or is so no more. Addresses on a network that was renamed are on the new."""
        if self.known(former):
            self._stain(former)
        for name in (former, ref) if kind_of(ref) == "Network" else ():
            for known in self.holders[name].by_number.values() if name in self.holders else ():
                for holder in several(known):
                    self._stain(holder)

    def _users_of(self, ref: Ref) -> Iterator[Ref]:
        """Who refers to it, be it through an image that was made from it."""
        for user in self.users(ref):
            yield user
            yield from self._users_of(user)

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
            self.drains.pop(target, None)
            self.rooms.drop(target)
        self.targets.update(targets)
        for target, node in targets.items():
            drain = drain_of(node, target)
            if drain is not None:
                self.drains[target] = drain
            else:
                self.drains.pop(target, None)
        for target in {*targets, *gone}:
            self._judge(target)
            self._dirty_target(target)
        self._stale_rooms.update(targets)

    def _judge(self, target: Target) -> None:
        """Keep what is thought of a target, and the short lists that a plan looks at, up to date."""
        node, state = self.targets.get(target), self._standing(target, self.reports.get(target))
        self.standings[target] = state
        why = state.problem or state.partial
        if node is not None and why is not None:
            self.troubled[target] = why
        else:
            self.troubled.pop(target, None)
        claimed = target in self.ledger.claims
        _keep(self.unclaimed, target, wanted=state.unclaimed)
        _keep(self.unlisted, target, wanted=(node is not None or claimed) and target not in self.ledger.covered)
        _keep(self.abandoned, target, wanted=claimed and node is None)

    def _take_claim(self, old: Report | None, new: Report | None) -> None:
        """Keep the generations that claims tell of."""
        for report, sign in ((old, -1), (new, 1)):
            if report is not None and report.claim is not None:
                generation = report.claim.generation
                left = self._generations.get(generation, 0) + sign
                if left:
                    self._generations[generation] = left
                else:
                    del self._generations[generation]

    def _seen_anew(self, ref: Ref, target: Target, objects: Iterable[Object]) -> None:
        """`objects`: those there that bear the ref."""
        self._stain(ref, target)
        for found in objects:
            if found.marks is not None and found.marks.quarantined_until is not None:
                self.timers.add(found.marks.quarantined_until, ref)

    def _dirty_target(self, target: Target, seen: Mapping[Ref, Iterable[Object]] | None = None) -> None:
        """Everything bound or seen there must be decided anew: the word of the target counts otherwise now."""
        needed: set[Ref] = set()
        for ref in self.homes.get(target, ()):
            self._stain(ref)
            if self.facts[ref].target == target:
                needed.update(self.facts[ref].needs)
        for ref in self.waiting.pop(target, ()):
            self._stain(ref, target)
        for ref, objects in (self.sights.by_ref(target) if seen is None else seen).items():
            self._seen_anew(ref, target, objects)
        for ref in needed:
            self._stain(ref, target)

    def _take_rooms(self) -> None:
        stale, self._stale_rooms = self._stale_rooms, set()
        for target in stale:
            if target not in self.targets:
                continue
            fresh = target not in self.rooms.by_target
            self.rooms.put(self._room(target))
            if fresh:
                for ref in self.homes.get(target, ()):
                    self.rooms.promise(target, self.facts[ref].demand)

    def _room(self, target: Target) -> Room:
        assert self.desired is not None, "rooms are of declared targets"
        node = self.targets[target]
        capability = self.shapes[node.driver].capability if node.driver in self.shapes else NOTHING
        report, state = self.reports.get(target), self.standings[target]
        strange = self.sights.unmanaged.get(target, Demand())
        room = room_of(target, node, report, state=state, policy=self.desired.policy, strange=strange)
        room.capability = capability
        return room


def _usual(wanted: Mapping[Ref, Resource]) -> dict[tuple[Ref, ...], list[Ref]]:
    """By what they refer to, machines that are no other's heirs, but perhaps of the first of a group of their own name:
    that one is either wanted, or remembered, and dirty with what is."""
    alike: dict[tuple[Ref, ...], list[Ref]] = {}
    for new in wanted.values():
        former = new.behaviour.renamed_from
        if (former is None or former == FIRST) and not new.parties and new.ref.startswith("Machine/"):
            alike.setdefault(new.references, []).append(new.ref)
    return alike


def _keep(kept: set[Target], target: Target, *, wanted: bool) -> None:
    (kept.add if wanted else kept.discard)(target)


def _differing(old: Mapping[str, NodeWant], new: Mapping[str, NodeWant]) -> set[str]:
    return {name for name in {*old, *new} if old.get(name) != new.get(name)}
