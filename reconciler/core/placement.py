"""Where an unbound machine goes: a deterministic choice, and a reason for every target that was not taken.

Owns: feasibility and preference. Targets are looked at from the least loaded, so the cost follows the unbound and not
the fleet. Must not go here: what is reserved where (world), addresses.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from reconciler.core.desired import Affinity, Demand, Resource, volumes_of
from reconciler.core.refs import Ref, Target, kind_of, node_of
from reconciler.core.shape import Capability

PLENTY = 1 << 62
"""Capacity of a target whose driver cannot tell it."""


class Room(msgspec.Struct):
    """A target as placement sees it. Capacities are what may be promised (over-provisioning and reserve applied)."""

    target: Target
    capability: Capability
    memory: int
    cpu: int
    disk: int
    rack: str | None = None
    traits: Mapping[str, str | bool] = {}
    tags: frozenset[str] = frozenset()
    cannot: Mapping[str, str] = {}
    """Brands that its driver knows and that cannot be run there, each with the reason."""
    closed: str | None = None
    """Why nothing new goes there: cordoned, not claimed, unknown."""
    used: Demand = Demand()

    @property
    def load(self) -> float:
        """Share of memory promised: the least loaded target is asked first."""
        return self.used.memory / self.memory if self.memory else 1.0

    def lacks(self, demand: Demand) -> str | None:
        """None if the demand fits beside what is promised, else what is short, with figures."""
        used = self.used
        for name, wants, free in (
            ("memory", demand.memory, self.memory - used.memory),
            ("disk", demand.disk, self.disk - used.disk),
            ("cpu", demand.cpu, self.cpu - used.cpu),
        ):
            if wants > free:
                return f"needs {wants} {name}, {max(free, 0)} free"
        return None


def plus(first: Demand, second: Demand, sign: int = 1) -> Demand:
    """The sum, or with sign -1 the difference, of each part."""
    return Demand(first.memory + sign * second.memory, first.cpu + sign * second.cpu, first.disk + sign * second.disk)


def most(first: Demand, second: Demand) -> Demand:
    """The larger of each part."""
    return Demand(
        first.memory if first.memory > second.memory else second.memory,
        first.cpu if first.cpu > second.cpu else second.cpu,
        first.disk if first.disk > second.disk else second.disk,
    )


class Rooms:
    """All targets, kept in order of load. The order is mended when somebody asks for it."""

    def __init__(self, rooms: Iterable[Room]) -> None:
        self.by_target: dict[Target, Room] = {room.target: room for room in rooms}
        self._order: list[tuple[float, Target]] = []
        self._loads: dict[Target, float] = {}
        """As they stand in the order."""
        self._moved: set[Target] = set(self.by_target)

    def put(self, room: Room) -> None:
        """A target that is new, or has become another: what is promised there stays promised."""
        known = self.by_target.get(room.target)
        if known is not None:
            room.used = known.used
        self.by_target[room.target] = room
        self._moved.add(room.target)

    def drop(self, target: Target) -> None:
        if self.by_target.pop(target, None) is not None:
            self._moved.add(target)

    def promise(self, target: Target, demand: Demand, sign: int = 1) -> None:
        """Take (or with sign -1 give back) a demand on a target; one that is not known is let be."""
        room = self.by_target.get(target)
        if room is None:
            return
        room.used = plus(room.used, demand, sign)
        self._moved.add(target)

    def by_load(self) -> Iterator[Room]:
        """The least loaded first. What moves while somebody looks on takes its place the next time."""
        self._mend()
        return (self.by_target[target] for _, target in self._order)

    def _mend(self) -> None:
        if len(self._moved) > 64:
            self._loads = {target: room.load for target, room in self.by_target.items()}
            self._order = sorted((load, target) for target, load in self._loads.items())
        else:
            for target in self._moved:
                old = self._loads.pop(target, None)
                if old is not None:
                    del self._order[bisect_left(self._order, (old, target))]
                room = self.by_target.get(target)
                if room is not None:
                    self._loads[target] = room.load
                    insort(self._order, (room.load, target))
        self._moved.clear()


class Company(msgspec.Struct, frozen=True):
    """The machines that one affinity speaks of, by the place that counts for it (a target, or a rack)."""

    over: str
    hard: bool
    by_place: Mapping[str, tuple[Ref, ...]]

    def beside(self, room: Room) -> tuple[Ref, ...]:
        return self.by_place.get(_place(self.over, room.target, room.rack), ())


class Placing(msgspec.Struct, frozen=True):
    """What a choice depends on beside the rooms."""

    resource: Resource
    tags: tuple[frozenset[str], ...]
    """For each nic, the nicTags of its candidate networks: a target must carry one of them."""
    apart: tuple[Company, ...] = ()
    near: tuple[Company, ...] = ()
    among: tuple[Target, ...] = ()
    """Only these can be reached; none named: all can."""
    beside: Mapping[Target, Ref] = {}
    """Where the things are that it cannot be apart from: a machine from its volumes, these from their machines."""


Homes = Callable[[Ref], tuple[Target, ...]]
"""The targets that count as those of a machine."""


def placing(resource: Resource, tags: tuple[frozenset[str], ...], rooms: Rooms, apart: Homes, near: Homes) -> Placing:
    """`apart`: every target that another machine lives on, or may come to live on; `near`: where it will be. Cost
    follows the affinities' sizes, not the fleet."""
    wants = resource.constraints
    return Placing(
        resource,
        tags,
        apart=tuple(
            _company(resource.ref, affinity, rooms, apart) for affinity in (wants.spread, wants.avoid) if affinity
        ),
        near=tuple(_company(resource.ref, each, rooms, near) for each in (wants.near,) if each),
    )


def _company(own: Ref, affinity: Affinity, rooms: Rooms, homes: Homes) -> Company:
    places: dict[str, tuple[Ref, ...]] = {}
    for ref in affinity.machines:
        for home in homes(ref) if ref != own else ():
            room = rooms.by_target.get(home)
            place = _place(affinity.over, home, room.rack if room else None)
            places[place] = (*places.get(place, ()), ref)
    return Company(affinity.over, affinity.hard, places)


def _place(over: str, target: Target, rack: str | None) -> str:
    """A member of a cluster counts as a node; a target without a rack is a rack of its own."""
    return f"rack {rack}" if over == "rack" and rack is not None else target


def choose(wanted: Placing, rooms: Rooms, freed: Mapping[Target, Demand]) -> Target | None:
    """The best target, or None. `freed`: what earlier steps of this plan give back, counted only if given."""
    best: tuple[tuple[int, int], Target] | None = None
    for room in _candidates(wanted, rooms):
        if refusal(wanted, room, freed.get(room.target)) is not None:
            continue
        rank = _rank(wanted, room)
        if best is None or rank < best[0]:
            best = (rank, room.target)
        if rank == (0, 0):
            break
    return best[1] if best else None


def rejections(wanted: Placing, rooms: Rooms, freed: Mapping[Target, Demand]) -> dict[Target, str]:
    """Why each target was not possible, by target; those that were possible are left out."""
    found = {
        room.target: refusal(wanted, room, freed.get(room.target))
        for room in sorted(_within(wanted, rooms), key=lambda room: room.target)
    }
    return {target: why for target, why in found.items() if why is not None}


def refusal(wanted: Placing, room: Room, freed: Demand | None = None) -> str | None:
    """Why this target cannot take the machine; None if it can."""
    resource, wants = wanted.resource, wanted.resource.constraints
    if wants.node is not None and room.target != wants.node and node_of(room.target) != wants.node:
        return f"the document asks for node {wants.node}"
    if room.closed is not None:
        return room.closed
    why = _unable(resource, room.capability) or room.cannot.get(wants.brand)
    if why is not None:
        return why
    for home, ref in sorted(wanted.beside.items()):
        if home != room.target:
            return f"{ref} is on {home}, and it is mounted from where it is"
    for trait, value in sorted(wants.traits.items()):
        if room.traits.get(trait, False) != value:
            return f"trait {trait} is {room.traits.get(trait, False)!r}, not {value!r}"
    for tags in wanted.tags:
        if not tags & room.tags:
            return f"it does not carry {' or '.join(sorted(tags))}"
    return _company_refusal(wanted, room) or room.lacks(_net(resource.demand, freed))


def _unable(resource: Resource, capability: Capability) -> str | None:
    """Why the driver there cannot make it."""
    wants, kind = resource.constraints, kind_of(resource.ref)
    if kind != "Machine":
        return None if kind in capability.kinds else f"its driver makes no {kind}"
    if wants.brand not in capability.brands:
        return f"its driver has no brand {wants.brand}"
    if wants.image_type not in capability.image_types:
        return f"its driver takes no image of type {wants.image_type}"
    if volumes_of(resource) and "Volume" not in capability.kinds:
        return "its driver makes no Volume"
    return unserved(resource, capability)


def unserved(resource: Resource, capability: Capability) -> str | None:
    """What is said of it and would have no effect there."""
    lacking = [field for field in resource.constraints.fields if field not in capability.fields]
    return f"its driver does nothing for {lacking[0]}" if lacking else None


def _net(demand: Demand, freed: Demand | None) -> Demand:
    if freed is None:
        return demand
    return plus(demand, freed, -1)


def _candidates(wanted: Placing, rooms: Rooms) -> Iterator[Room]:
    node = wanted.resource.constraints.node
    if wanted.among:
        return iter(sorted(_within(wanted, rooms), key=lambda room: (room.load, room.target)))
    if node is not None and node in rooms.by_target:
        return iter((rooms.by_target[Target(node)],))
    return rooms.by_load()


def _within(wanted: Placing, rooms: Rooms) -> Iterable[Room]:
    if not wanted.among:
        return rooms.by_target.values()
    return [rooms.by_target[target] for target in wanted.among]


def _company_refusal(wanted: Placing, room: Room) -> str | None:
    for company in wanted.apart:
        if company.hard and company.beside(room):
            return f"{company.beside(room)[0]} is there already, and they must be apart"
    for company in wanted.near:
        if company.hard and company.by_place and not company.beside(room):
            return "the machines it must be near are elsewhere"
    return None


def _rank(wanted: Placing, room: Room) -> tuple[int, int]:
    """Smaller is better; (0, 0) cannot be beaten. Load breaks ties, by the order in which rooms are looked at."""
    crowd = sum(len(company.beside(room)) for company in wanted.apart)
    missing = sum(sum(map(len, company.by_place.values())) - len(company.beside(room)) for company in wanted.near)
    return crowd, missing
