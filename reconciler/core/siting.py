"""Where new machines and volumes go and which addresses they get, in canonical order, against the world and each other.

Owns: the tentative promises of one plan (room and addresses), taken back when the plan is made.
Must not go here: feasibility itself (placement), pools (addresses).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property

import msgspec

from reconciler.core import rules
from reconciler.core.addresses import Pool, mac_for
from reconciler.core.along import passengers
from reconciler.core.classify import Bucket
from reconciler.core.decide import Decision
from reconciler.core.desired import Demand, NicWant, Resource, volumes_of
from reconciler.core.facts import Facts
from reconciler.core.ledger import Address
from reconciler.core.moves import departure, reachable
from reconciler.core.placement import Placing, Room, choose, most, placing, plus, rejections
from reconciler.core.plan import Action, Hold
from reconciler.core.refs import Ref, Target, Uid, kind_of, node_of
from reconciler.core.render.quantities import moment
from reconciler.core.standing import targets_of
from reconciler.core.work import Freed, Work, grown, together
from reconciler.core.world import World

_STRANGER = Ref("Machine/an unmanaged one")


class Site(msgspec.Struct, frozen=True):
    """A place found. `waits`: the changes of the plan that give back the room there, if it fits only into that.
    `along`: the volumes that a machine takes there with it."""

    target: Target
    waits: tuple[str, ...] = ()
    along: tuple[Ref, ...] = ()


class Siting:
    """Use as a context manager: what it promised is taken back at the end, whatever happens."""

    def __init__(self, world: World, now: float = 0.0) -> None:
        """`now`: unix seconds, for pauses."""
        self.world = world
        self.now = now
        self.freed: Mapping[Target, Freed] = {}
        """What the plan's own changes give back, as far as they are decided."""
        self.placed: dict[Ref, Target] = {}
        self._promised: list[tuple[Target, Demand, int]] = []
        self._taken: list[tuple[Ref, str, Ref]] = []
        self._shut: list[tuple[Room, str | None]] = []

    def __enter__(self) -> Siting:
        return self

    def __exit__(self, *exc: object) -> None:
        self.world.coming = {}
        for target, demand, sign in self._promised:
            self.world.rooms.promise(target, demand, -sign)
        for network, ip, ref in self._taken:
            self.world.pools[network].free(ip, ref)
        for room, closed in reversed(self._shut):
            room.closed = closed

    def promise(self, target: Target, demand: Demand, sign: int = 1) -> None:
        self.world.rooms.promise(target, demand, sign)
        self._promised.append((target, demand, sign))

    def shut(self, target: Target, why: str) -> None:
        """Nothing new goes there in this plan."""
        room = self.world.rooms.by_target[target]
        self._shut.append((room, room.closed))
        room.closed = room.closed or why

    def shut_paused(self) -> None:
        """Nothing new goes to a node that is paused."""
        nodes = self.world.desired.nodes if self.world.desired else {}
        for subject, pause in sorted(self.world.ledger.pauses.items()):
            node = nodes.get(subject.removeprefix("Node/"))
            if node is not None and subject.startswith("Node/") and pause.until > self.now:
                for target in targets_of(node):
                    self.shut(target, f"it is paused until {moment(pause.until)}: {pause.reason}")

    def grow(self, works: Iterable[Work]) -> list[tuple[Work, Hold]]:
        """Machines that grow where they are, in order; those that do not fit are returned, with their Holds. The world
        counts what is wanted of a machine already."""
        growing = [(work, more) for work in works if (more := grown(work, self.world)) != Demand()]
        for work, more in growing:
            self.promise(work.target, more, -1)
        short = []
        for work, more in growing:
            fits = self._fits(work.target, more)
            if fits is None:
                sentence = f"{work.target} has no room for it to grow"
                lifts = "free some, or move a machine"
                short.append((work, Hold(work.ref, "capacity", sentence, lifts, work.target, work.action)))
                continue
            work.waits_for = tuple(each for each in fits.waits if each != work.id)
            self.promise(work.target, more)
        return short

    def _fits(self, target: Target, more: Demand) -> Site | None:
        """Whether that much more fits there, now or once room is given back."""
        room = self.world.rooms.by_target[target]
        if room.lacks(more) is None:
            return Site(target)
        freed = self.freed.get(target, Freed())
        return Site(target, freed.by) if freed.by and room.lacks(plus(more, freed.demand, -1)) is None else None

    def site(self, decision: Decision) -> Site | Hold:
        """Where a machine goes that is to be made, or comes back."""
        resource, target = decision.resource, decision.target
        assert resource is not None, "only what is wanted is placed"
        facts = self.world.facts.get(decision.former or decision.ref)
        if facts is not None and target is not None and decision.bucket in (Bucket.VANISHED, Bucket.UNMADE):
            may_stay = departure(self.world, resource, target) is None and target not in self.world.drains
            if decision.bucket is Bucket.UNMADE and may_stay:
                return Site(target)
            # It is proved not to be there: what it had there does not count against it.
            self.promise(target, facts.demand, -1)
            return self.place(resource)
        if target is None:
            return self.place(resource)
        drain = self.world.drains.get(target)
        if drain is not None:
            sentence = f"{target}, where it is in quarantine, {drain.sentence}"
            return Hold(decision.ref, "drain", sentence, "lift the drain", target, Action.RESTORE)
        more = plus(resource.demand, facts.demand if facts is not None else Demand(), -1)
        fits = self._fits(target, most(more, Demand()))
        if fits is None:
            sentence = f"{target}, where it is in quarantine, has no room for it"
            return Hold(decision.ref, "capacity", sentence, "free some there", target, Action.RESTORE)
        self.promise(target, most(more, Demand()))
        return fits

    def wanted(self, resource: Resource) -> Placing:
        """What a choice for this machine depends on."""
        tags = tuple(
            frozenset(
                network.network.nic_tag
                for ref in nic.networks
                if (network := self.world.resource(ref)) is not None and network.network is not None
            )
            for nic in resource.nics
        )
        wanted = placing(resource, tags, self.world.rooms, self._may_be, self._will_be)
        beside = {home: ref for ref in sorted(self._beside(resource)) for home in self._is(ref) if ref != resource.ref}
        return msgspec.structs.replace(wanted, beside=beside) if beside else wanted

    def _is(self, ref: Ref) -> tuple[Target, ...]:
        home = self.placed.get(ref) or self.world.where(ref)
        return (home,) if home is not None else ()

    def _beside(self, resource: Resource) -> set[Ref]:
        """A machine's volumes, and the others that mount them; a volume's machines."""
        if kind_of(resource.ref) == "Volume":
            return set(self.world.users(resource.ref))
        volumes = volumes_of(resource)
        return {*volumes, *(user for volume in volumes for user in self.world.users(volume))}

    def _may_be(self, ref: Ref) -> tuple[Target, ...]:
        """What moves counts at both ends until it has arrived."""
        facts, placed = self.world.facts.find(ref), self.placed.get(ref)
        return facts.places if placed is None or placed in facts.places else (*facts.places, placed)

    def _will_be(self, ref: Ref) -> tuple[Target, ...]:
        """What must leave and has no new place yet is nowhere: those that belong together can leave together."""
        home = self.placed.get(ref) or self.world.where(ref)
        drain = self.world.drains.get(home) if home is not None else None
        return () if home is None or (drain is not None and drain.how == "move") else (home,)

    def move(self, decision: Decision) -> Site | Hold:
        """Where a machine goes that may not stay; where an earlier attempt came to nothing is asked last."""
        resource, source, found = decision.resource, decision.target, decision.found
        assert resource is not None, "only what is wanted moves"
        assert source is not None, "what moves is somewhere"
        assert found is not None, "what moves was seen"
        others = reachable(self.world, source, found)
        if isinstance(others, str):
            return rules.stuck(decision, others, "`drain: {how: stop}`, or make it anew where it shall be")
        along = passengers(self.world, resource, source, found, self.now)
        if isinstance(along, str):
            return rules.stuck(decision, along, "`drain: {how: stop}`, or see what keeps the volume")
        for volume in along:
            others = tuple(other for other in others if self._suits(volume, other))
            if not others:
                asked = self.world.resources[volume].constraints.node
                return rules.stuck(decision, f"{volume} is to be on {asked}", "let its document name another place")
        going = (resource.ref, *along)
        every = [self.world.facts[ref] for ref in going]
        self._expect(every, -1)
        whole = msgspec.structs.replace(resource, demand=together(self.world, going))
        apart = self.wanted(whole)
        beside = {home: ref for home, ref in apart.beside.items() if ref not in along}
        wanted = msgspec.structs.replace(apart, among=others, beside=beside)
        fresh = tuple(other for other in others if other != every[0].moving)
        site = self._best(msgspec.structs.replace(wanted, among=fresh)) if fresh else None
        site = site or self._best(wanted)
        if site is None:
            self._expect(every, 1)
            reasons = rejections(wanted, self.world.rooms, self._back())
            return rules.stuck(decision, _told(reasons), f"trueup explain {resource.ref} lists every node")
        self.placed.update(dict.fromkeys(going, site.target))
        self.promise(site.target, whole.demand)
        return msgspec.structs.replace(site, along=along)

    def _suits(self, volume: Ref, target: Target) -> bool:
        return self.world.resources[volume].constraints.node in (None, target, node_of(target))

    def _expect(self, every: Iterable[Facts], sign: int) -> None:
        """Room where they may have come to already (with sign -1: give that back)."""
        for facts in every:
            if facts.moving is not None:
                self.promise(facts.moving, facts.demand, sign)

    def place(self, resource: Resource) -> Site | Hold:
        """A target for a machine that has none; a Hold with the reasons if there is none."""
        wanted = self.wanted(resource)
        site = self._best(wanted)
        if site is None:
            return self._nowhere(resource, wanted)
        self.placed[resource.ref] = site.target
        self.promise(site.target, resource.demand)
        return site

    def _back(self) -> dict[Target, Demand]:
        return {target: freed.demand for target, freed in self.freed.items()}

    def _best(self, wanted: Placing) -> Site | None:
        """Where there is room now, else where there will be."""
        target = choose(wanted, self.world.rooms, {})
        if target is not None:
            return Site(target)
        target = choose(wanted, self.world.rooms, self._back()) if self.freed else None
        return Site(target, self.freed.get(target, Freed()).by) if target is not None else None

    def _nowhere(self, resource: Resource, wanted: Placing) -> Hold:
        reasons = rejections(wanted, self.world.rooms, self._back())
        sentence = _told(reasons) if reasons else "there is no node"
        return Hold(
            resource.ref, "placement", sentence, f"trueup explain {resource.ref} lists every node", None, Action.CREATE
        )

    def address(self, decision: Decision, target: Target, uid: Uid) -> tuple[Address, ...] | Hold:
        """An address for every nic: the sticky one, the authored one, or the lowest free; a Hold if one is short."""
        resource = decision.resource
        assert resource is not None, "only what is wanted gets addresses"
        kept = decision.addresses or (None,) * len(resource.nics)
        found: list[Address] = []
        for nic, address in zip(resource.nics, kept, strict=True):
            chosen = address if address is not None else self._allocate(nic, resource.ref, target, uid)
            if isinstance(chosen, Hold):
                return chosen
            found.append(chosen)
        return tuple(found)

    @cached_property
    def _strangers(self) -> dict[str, tuple[Target, str]]:
        """Addresses that unmanaged machines were seen with: not ours to give away."""
        seen = self.world.sights.strangers
        return {ip: (target, who) for target in sorted(seen) for ip, who in seen[target].addresses.items()}

    def _lowest(self, network: Ref, pool: Pool) -> str | None:
        """The lowest address that neither we nor a stranger have."""
        while (ip := pool.lowest()) is not None and ip in self._strangers:
            pool.take(ip, _STRANGER)
            self._taken.append((network, ip, _STRANGER))
        return ip

    def _allocate(self, nic: NicWant, ref: Ref, target: Target, uid: Uid) -> Address | Hold:
        carried = self.world.rooms.by_target[target].tags
        for network in nic.networks:
            resource, pool = self.world.resource(network), self.world.pools.get(network)
            facts = resource.network if resource is not None else None
            if facts is None or pool is None or facts.nic_tag not in carried:
                continue
            if nic.ip is not None and not pool.contains(nic.ip):
                continue
            if nic.ip is not None and nic.ip in self._strangers:
                where, who = self._strangers[nic.ip]
                sentence = f"{nic.ip} is in use on {where} by {who}, which is not managed"
                return Hold(ref, "address", sentence, "give one of the two another address", target)
            ip = nic.ip or self._lowest(network, pool)
            if ip is not None:
                if ref not in pool.holders(ip):
                    pool.take(ip, ref)
                    self._taken.append((network, ip, ref))
                return Address(network, ip, nic.mac or mac_for(uid, network), authored=nic.ip is not None)
        names = " or ".join(nic.networks)
        return Hold(ref, "address", f"no address is free on {names} at {target}", "widen its range", target)


def _told(reasons: Mapping[Target, str]) -> str:
    told = "; ".join(f"{target}: {why}" for target, why in list(reasons.items())[:3])
    more = f" (and {len(reasons) - 3} more)" if len(reasons) > 3 else ""
    return f"no node can take it: {told}{more}"
