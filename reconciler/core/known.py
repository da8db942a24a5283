"""All that is wanted, seen and remembered, by what decisions ask.

Owns: the tables and the questions. Must not go here: keeping the tables up to date (world), deciding (decide, planner).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from reconciler.core.addresses import Holders, Pool
from reconciler.core.classify import Seen
from reconciler.core.compare import recovered
from reconciler.core.desired import FIRST, Demand, Desired, Drain, NicWant, NodeWant, Resource
from reconciler.core.facts import Addresses, Facts, FactsTable
from reconciler.core.ledger import Address, Binding, Ledger
from reconciler.core.mould import Mould, Pattern, pattern, taken
from reconciler.core.observed import Object, Report
from reconciler.core.placement import Rooms
from reconciler.core.refs import PER_TARGET, Ref, Target, Uid, kind_of, make_ref, minted, name_of, tenant_of
from reconciler.core.shape import NativeContext, Shape
from reconciler.core.sights import OPEN, Compress, Sights, at_once
from reconciler.core.standing import UNDECLARED, Standing, lists_absence, standing
from reconciler.core.timers import Timers


class Taken(NamedTuple):
    """What machines take together: how many live, bytes, thousandths of a core, bytes."""

    machines: int = 0
    memory: int = 0
    cpu: int = 0
    disk: int = 0

    def plus(self, demand: Demand, sign: int = 1) -> Taken:
        """With that much more of room (`sign` -1: less)."""
        memory, cpu, disk = (sign * each for each in (demand.memory, demand.cpu, demand.disk))
        return Taken(self.machines, self.memory + memory, self.cpu + cpu, self.disk + disk)


Moulds = tuple[dict[tuple[Any, ...], Mould | None], dict[tuple[Any, ...], Pattern | None]]
"""By what the form of a machine is made of, and their patterns by what these are made of."""

_GLANCES = 256
"""Answers that are kept."""


class Known:
    """The tables of a world. `open_at_most`, `compress`: see Sights."""

    def __init__(
        self,
        shapes: Mapping[str, Shape],
        ledger: Ledger | None = None,
        *,
        open_at_most: int = OPEN,
        compress: Compress = at_once,
    ) -> None:
        self.shapes = shapes
        self.ledger = ledger if ledger is not None else Ledger()
        self.desired: Desired | None = None
        self.resources: dict[Ref, Resource] = {}
        self.nodes: dict[str, NodeWant] = {}
        self.targets: dict[Target, NodeWant] = {}
        self.sights = Sights(open_at_most, self._own, compress)
        self.reports = self.sights.reports
        """The latest of each target, without objects."""
        self.drains: dict[Target, Drain] = {}
        self.standings: dict[Target, Standing] = {}
        self.troubled: dict[Target, str] = {}
        """Declared targets that could not be read whole, and why."""
        self.unclaimed: set[Target] = set()
        self.unlisted: set[Target] = set()
        """Targets of which the ledger does not tell a complete listing."""
        self.abandoned: set[Target] = set()
        """Claimed targets that are not declared any more."""
        self._generations: dict[int, int] = {}
        """How many targets' claims tell of each generation."""
        self._alike: dict[tuple[Ref, ...], dict[Ref, None]] = {}
        """Machines by all that they refer to: those that refer to just the same stand together."""
        self._combinations: dict[Ref, dict[tuple[Ref, ...], None]] = {}
        """By what is referred to, the keys of those."""
        self.watchers: dict[Ref, set[Ref]] = {}
        """By machine the resources that it is a party of."""
        self.coming: dict[Ref, tuple[Target, Addresses]] = {}
        """While a plan is made: where machines will be when it is done, and with which addresses."""
        self.renames: dict[Ref, set[Ref]] = {}
        """Former name to the resources that say `renamedFrom`; those that only may have been a group's first are found
        by their names (see `heirs`)."""
        self.holders: dict[Ref, Holders] = {}
        """Who has which address, by network, whether there is a document for it or not."""
        self.pools: dict[Ref, Pool] = {}
        self.rooms = Rooms(())
        self._stale_rooms: set[Target] = set()
        self.facts = FactsTable(self.ledger.bindings.words)
        self.homes: dict[Target, dict[Ref, None]] = {}
        """Machines by the targets that they may be on."""
        self._taken: dict[str, Taken] | None = None
        """By tenant, once somebody asks: a fleet without limits never does."""
        self.needs: dict[Ref, dict[Target, int]] = {}
        self.dirty: set[Ref] = set()
        self.dirty_at: dict[Target, set[Ref]] = {}
        """Realisations, of kinds that have one on each target."""
        self.waiting: dict[Target, set[Ref]] = {}
        """Refs that a fresher listing of the target may decide otherwise."""
        self._keep_answers()
        self.timers = Timers()
        self._now = 0.0

    def _keep_answers(self) -> None:
        """Tables of what was worked out, each kept for as long as it says."""
        self._glances: dict[Ref, tuple[Seen, ...]] = {}
        self._proofs: dict[Ref, Binding] = {}
        """Answers to `seen` and `binding` since anything came in: deciding asks the same again and again."""
        self._closures: dict[tuple[Ref, ...], tuple[Ref, ...]] = {}
        self._referred: dict[tuple[Ref, ...], dict[Ref, Resource]] = {}
        """What machines refer to, by their references: answers for as long as none of that is desired otherwise."""
        self._moulds: dict[tuple[Any, ...], Moulds] = {}
        """By what a target has to do with forms: for as long as nothing is desired otherwise."""

    @property
    def generation(self) -> int:
        """The highest known: ours, or one that a node remembers of a ledger that was lost."""
        return max(self.ledger.generation, *self._generations, 0)

    def _own(self, ref: Ref) -> Ref:
        """The object of this value that its document goes by."""
        resource = self.resources.get(ref)
        return resource.ref if resource is not None else ref

    def own_all(self, refs: Collection[Ref]) -> list[Ref]:
        found = map(self.resources.get, refs)
        return [own.ref if own is not None else ref for ref, own in zip(refs, found, strict=True)]

    @property
    def taken(self) -> Mapping[str, Taken]:
        """What the machines of each tenant take; in quarantine they do not count as machines."""
        if self._taken is None:
            self._taken = {}
            for ref, facts in self.facts.items():
                self._count(ref, facts, 1)
        return self._taken

    def _count(self, ref: Ref, facts: Facts, sign: int) -> None:
        tenant = tenant_of(ref) if self._taken is not None and facts.target is not None else None
        if tenant is not None and self._taken is not None:
            now = self._taken.get(tenant, Taken()).plus(facts.demand, sign)
            self._taken[tenant] = now._replace(machines=now.machines + sign * bool(facts.demand.memory))

    def resource(self, ref: Ref) -> Resource | None:
        return self.resources.get(ref)

    def users(self, ref: Ref) -> Iterator[Ref]:
        """Machines that refer to a network or an image, in no order that means anything."""
        for combination in self._combinations.get(ref, ()):
            yield from self._alike[combination]

    def shape_of(self, target: Target) -> Shape:
        """Raises KeyError for a target that is not declared."""
        return self.shapes[self.targets[target].driver]

    def realised(self, ref: Ref, target: Target) -> bool:
        """Whether the target's driver makes an object of its own for this kind."""
        node = self.targets.get(target)
        if node is None or node.driver not in self.shapes or (kind_of(ref) == "Tenant" and not node.projects):
            return False
        return kind_of(ref) in self.shape_of(target).capability.kinds

    def seen(self, ref: Ref) -> tuple[Seen, ...]:
        """Trusted objects that bear this ref, by target and native identity."""
        found = self._glances.get(ref)
        if found is None:
            if len(self._glances) > _GLANCES:
                self._glances.clear()
            places = sorted(self.sights.places(ref))
            found = tuple([(target, each) for target in places for each in self.seen_on(ref, target)])
            self._glances[ref] = found
        return found

    def seen_on(self, ref: Ref, target: Target) -> list[Object]:
        """Trusted objects on a target that bear this ref, by native identity."""
        state = self.standings.get(target)
        if state is None or state.problem is not None or self.desired is None:
            return []
        mine = self.desired.datacenter_id
        return [found for found in self.sights.on(ref, target) if found.marks and found.marks.datacenter == mine]

    def only(self, ref: Ref, target: Target) -> Object | None:
        """The trusted object on this target, if it is the only one anywhere that bears this ref, or its uid."""
        found = self.sights.sole(ref, target)
        if found is None or found.marks is None or self.desired is None or self.standings[target].problem is not None:
            return None
        return found if found.marks.datacenter == self.desired.datacenter_id else None

    def stands(self, ref: Ref, target: Target) -> bool:
        """Whether a realisation is surely seen on a target: no look at it is needed to tell."""
        if target not in self.sights.places(ref) or self.standings[target].problem is not None:
            return False
        return self.desired is not None and self.sights.all_of(target, self.desired.datacenter_id)

    def others(self, uid: Uid, *own: Ref | None) -> list[Ref]:
        """Refs that trusted objects with this very uid bear beside these: two of one identity are a conflict."""
        rest = [ref for ref in self.sights.bearers(uid) if ref not in own]
        if not rest:
            return rest
        return sorted(ref for ref in rest if any(found.marks and found.marks.uid == uid for _, found in self.seen(ref)))

    def binding(self, ref: Ref) -> Binding | None:
        """What the ledger knows of a machine, else what its one object proves by itself."""
        bound = self.ledger.bindings.of(ref)
        if bound:
            return bound[0]
        seen = self.seen(ref)
        if not seen:
            return None
        found = self._proofs.get(ref)
        if found is None:
            if len(self._proofs) > _GLANCES:
                self._proofs.clear()
            live = [pair for pair in seen if pair[1].lifecycle == "live"] or seen
            found = self._proofs[ref] = self.proved(ref, *live[0])
        return found

    def proved(self, ref: Ref, target: Target, found: Object) -> Binding:
        """The binding that an object proves by itself."""
        return recovered(ref, found, target, lambda name: self._network_named(ref, name))

    def lives(self, ref: Ref) -> bool:
        """Whether something of this name is, or should be, there and not in quarantine."""
        if any(found.lifecycle == "live" for _, found in self.seen(ref)):
            return True
        binding = self.binding(ref)
        return binding is not None and binding.quarantined_until is None

    def has(self, ref: Ref) -> set[tuple[Ref, str]]:
        """The addresses that a machine holds: by the ledger, or by what is seen of it, in quarantine too."""
        return set(self.facts.find(ref).had)

    def _held(self, ref: Ref) -> set[tuple[Ref, str]]:
        binding = self.binding(ref)
        held = {(self.current(address.network), address.ip) for address in (binding.addresses if binding else ())}
        return held.union(*(self.bears(ref, found) for _, found in self.seen(ref)))

    def bears(self, ref: Ref, found: Object) -> list[tuple[Ref, str]]:
        """The addresses that an object of this ref shows."""
        nics = found.fields.get("nics") or {}
        ips = [(name, ip) for name, nic in nics.items() if (ip := nic.get("ip"))]
        return [(self._network_named(ref, name), str(ip).partition("/")[0]) for name, ip in ips]

    def _network_named(self, ref: Ref, name: str) -> Ref:
        """A nic bears its network's name alone: those of the document come first, then the tenant's, then all's."""
        resource = self.resource(ref)
        for nic in resource.nics if resource is not None else ():
            for network in nic.networks:
                if name_of(network) == name:
                    return network
        own = make_ref("Network", name, tenant_of(ref))
        return own if self.resource(own) is not None else make_ref("Network", name)

    def incarnation(self, ref: Ref) -> int:
        """The highest known of the ref in ledger, live or quarantined; 0 if there was none."""
        known = [found.marks.incarnation for _, found in self.seen(ref) if found.marks]
        return max([self.ledger.bindings.incarnation(ref), *known])

    def mint(self, ref: Ref, incarnation: int, target: Target | None = None) -> tuple[Uid, int]:
        """An identity that nothing known bears, and its incarnation: a thing keeps the uid that it was made with when
        it is renamed, so the first one of a name may be taken."""
        datacenter = self.desired.datacenter_id if self.desired else ""
        while self.sights.bearers(uid := minted(datacenter, ref, incarnation, target)):
            incarnation += 1
        return uid, incarnation

    def _standing(self, target: Target, report: Report | None) -> Standing:
        """What is to be thought of a target that gave this report."""
        node = self.targets.get(target)
        if node is None:
            return UNDECLARED
        if node.driver not in self.shapes:
            return Standing(problem=f"its driver {node.driver} is not installed here")
        return standing(target, report, self.ledger.claims, self.desired.datacenter_id if self.desired else "")

    def unreadable(self, target: Target) -> str | None:
        """Why absence on this target is not proved; None if it is."""
        state = self.standings.get(target, UNDECLARED)
        return lists_absence(target, self.reports.get(target), state, self.ledger)

    def fresh(self, target: Target) -> bool:
        """Whether what is seen there was seen after our last write there had ended."""
        report, ledger = self.reports.get(target), self.ledger
        return report is not None and report.began >= ledger.written.get(target, 0) and not ledger.flying.get(target)

    def waits_on(self, target: Target, ref: Ref) -> None:
        """Remember that a decision hangs on whether this target was listed since our last write, and whole."""
        self.waiting.setdefault(target, set()).add(ref)

    def heirs(self, ref: Ref) -> Collection[Ref]:
        """Resources that have this as their former name."""
        told = self.renames.get(ref, ())
        if ref.endswith(FIRST):
            own = Ref(ref[: -len(FIRST)])
            resource = self.resources.get(own)
            if resource is not None and resource.behaviour.renamed_from == FIRST:
                return {*told, own}
        return told

    def current(self, ref: Ref) -> Ref:
        """What a network is called today: another name only if it was given up for that."""
        return ref if ref in self.resources else min(self.heirs(ref), default=ref)

    def network_for(self, nic: NicWant) -> Ref:
        """The candidate that an authored address belongs to."""
        fits = (ref for ref in nic.networks if nic.ip and ref in self.pools and self.pools[ref].contains(nic.ip))
        return next(fits, nic.networks[0])

    def closure(self, resource: Resource) -> tuple[Ref, ...]:
        """The networks and images that it needs on its target, those that these need included."""
        found = self._closures.get(resource.references)
        if found is None:
            found = self._closures[resource.references] = self._closure(resource)
        return found

    def _closure(self, resource: Resource) -> tuple[Ref, ...]:
        found = [ref for ref in resource.references if kind_of(ref) in PER_TARGET]
        for ref in found:
            more = self.resource(ref)
            told = more.references if more is not None else ()
            found.extend(each for each in told if each not in found and kind_of(each) in PER_TARGET)
        return resource.references if tuple(found) == resource.references else tuple(found)

    def needed(self, resource: Resource, target: Target) -> tuple[Ref, ...]:
        """All that it needs on this target: its closure, and its tenant's project where there are any. Machines alike
        share one answer."""
        closure, node = self.closure(resource), self.targets.get(target)
        tenant = tenant_of(resource.ref) if node is not None and node.projects else None
        if tenant is None:
            return closure
        found = (*closure, make_ref("Tenant", tenant))
        return self._closures.setdefault(found, found)

    def inside(self, tenant: str, target: Target) -> Iterator[Object]:
        """All that lives in a tenant's project on a target, ours or not, in quarantine too."""
        return (found for found in self.sights.objects(target) if found.fields.get("project") == tenant)

    def where(self, ref: Ref) -> Target | None:
        return self.facts.find(ref).target

    def context(self, resource: Resource, target: Target, addresses: tuple[Address | None, ...] = ()) -> NativeContext:
        references = self._referred.get(resource.references)
        if references is None:
            known = ((ref, self.resources.get(ref)) for ref in resource.references)
            references = {ref: found for ref, found in known if found is not None}
            self._referred[resource.references] = references
        whole = tuple([address for address in addresses if address is not None])
        drain = self.drains.get(target)
        halted = drain is not None and drain.how == "stop"
        parties, residents = self._parties_of(resource, target) if resource.parties else ({}, frozenset[Ref]())
        cannot = self.standings.get(target, UNDECLARED).cannot.keys()
        return NativeContext(
            self.targets[target],
            target,
            whole,
            references,
            halted=halted,
            cannot=cannot,
            parties=parties,
            residents=residents,
        )

    def moulds(self, target: Target) -> Callable[[Resource], Mould | None]:
        """What the form of a machine on this target is filled into, if it has one."""
        node, shape = self.targets[target], self.shape_of(target)
        place = (node.driver, target in self.drains, tuple(self.standings[target].cannot))
        known, patterns = self._moulds.setdefault(place, ({}, {}))
        kept = self.ledger.bindings.words.shared  # of machines at rest the ledger has these bytes already

        def mould(resource: Resource) -> Mould | None:
            tenant = tenant_of(resource.ref) if node.projects else None
            key = (resource.body, resource.references, tenant)
            found = known.get(key, ...)
            if found is ...:
                about = (resource.references, resource.nics, resource.demand, resource.parties, tenant)
                like = patterns.get(about, ...)
                if like is ...:
                    contexts, needs = partial(self._context_at, target), self.needed(resource, target)
                    like = patterns[about] = pattern(resource, contexts, needs)
                found = known[key] = taken(resource, shape, like, kept) if like is not None else None
            return found

        return mould

    def _context_at(self, target: Target, resource: Resource, addresses: tuple[Address, ...]) -> NativeContext:
        return self.context(resource, target, addresses)

    def _parties_of(self, resource: Resource, target: Target) -> tuple[dict[Ref, Addresses], frozenset[Ref]]:
        """Their addresses, of those that have any, and who of them is on the target."""
        found: dict[Ref, Addresses] = {}
        residents = set()
        for ref in resource.parties:
            facts = self.facts.find(ref)
            home, addresses = self.coming.get(ref, (facts.target, ()))
            if held := addresses or facts.addresses:
                found[ref] = held
            if home == target:
                residents.add(ref)
        return found, frozenset(residents)

    @property
    def next_timer(self) -> float | None:
        """When time alone changes something next (unix seconds)."""
        return self.timers.first

    @property
    def unmanaged(self) -> int:
        """How many objects on all targets are not ours."""
        return self.sights.count_but(self.desired.datacenter_id if self.desired else "")

    def realisations(self, ref: Ref) -> set[Target]:
        """Where a Network or Image is, or should be, or is remembered."""
        return {*self.needs.get(ref, ()), *self.sights.places(ref), *self.ledger.bindings.targets(ref)}

    def _came_in(self) -> None:
        """Something is other than before: what was answered may be so no more."""
        self._glances.clear()
        self._proofs.clear()

    def _wanted_anew(self, changed: set[Ref]) -> None:
        """These are wanted otherwise, or no more: what was worked out of things that others refer to may be so no more.
        Of a whole fleet it is not kept any longer either."""
        self._moulds.clear()
        many = len(self._closures) > _GLANCES or len(self._referred) > _GLANCES
        if many or any(ref in self._combinations for ref in changed):
            self._closures.clear()
            self._referred.clear()

    def known(self, ref: Ref) -> bool:
        """Whether the ref is wanted, seen or remembered."""
        bindings = self.ledger.bindings
        if ref in self.resources or ref in self.facts.rows or ref in bindings.single or ref in bindings.spread:
            return True
        return ref in self.sights

    def machines_known(self, refs: Collection[Ref | None]) -> bool:
        """Whether one of these machines is."""
        tables = (self.resources, self.ledger.bindings.single, self.sights.single)
        return any([any(map(table.__contains__, refs)) for table in tables])
