"""Where new machines go and which addresses they get, in canonical order, against the world and against each other.

Owns: the tentative promises of one plan (room and addresses), taken back when the plan is made.
Must not go here: feasibility itself (placement), pools (addresses).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from reconciler.core.addresses import mac_for
from reconciler.core.decide import Decision
from reconciler.core.desired import Demand, NicWant, Resource
from reconciler.core.ledger import Address
from reconciler.core.placement import Placing, choose, placing, rejections
from reconciler.core.plan import Action, Hold
from reconciler.core.refs import Ref, Target, Uid
from reconciler.core.world import World


class Site(msgspec.Struct, frozen=True):
    """A place found. `waits`: it fits only into room that other changes of the plan give back."""

    target: Target
    waits: bool = False


class Siting:
    """Use as a context manager: what it promised is taken back at the end, whatever happens."""

    def __init__(self, world: World, freed: Mapping[Target, Demand]) -> None:
        self.world = world
        self.freed = freed
        self.placed: dict[Ref, Target] = {}
        self._promised: list[tuple[Target, Demand]] = []
        self._taken: list[tuple[Ref, str, Ref]] = []

    def __enter__(self) -> Siting:
        return self

    def __exit__(self, *exc: object) -> None:
        for target, demand in self._promised:
            self.world.rooms.promise(target, demand, -1)
        for network, ip, ref in self._taken:
            self.world.pools[network].free(ip, ref)

    def promise(self, target: Target, demand: Demand) -> None:
        self.world.rooms.promise(target, demand)
        self._promised.append((target, demand))

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
        return placing(resource, tags, self.world.rooms, self._where)

    def _where(self, ref: Ref) -> Target | None:
        return self.placed.get(ref) or self.world.where(ref)

    def place(self, resource: Resource) -> Site | Hold:
        """A target for a machine that has none; a Hold with the reasons if there is none."""
        wanted = self.wanted(resource)
        target = choose(wanted, self.world.rooms, {})
        waits = False
        if target is None and self.freed:
            target, waits = choose(wanted, self.world.rooms, self.freed), True
        if target is None:
            return self._nowhere(resource, wanted)
        self.placed[resource.ref] = target
        self.promise(target, resource.demand)
        return Site(target, waits)

    def _nowhere(self, resource: Resource, wanted: Placing) -> Hold:
        reasons = rejections(wanted, self.world.rooms, self.freed)
        told = "; ".join(f"{target}: {why}" for target, why in list(reasons.items())[:3])
        more = f" (and {len(reasons) - 3} more)" if len(reasons) > 3 else ""
        sentence = f"no node can take it: {told}{more}" if reasons else "there is no node"
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
            clash = self._clash(chosen, resource.ref)
            if clash is not None:
                return clash
            found.append(chosen)
        return tuple(found)

    def _clash(self, address: Address, ref: Ref) -> Hold | None:
        """An authored address that another machine still has; in the same plan it may be given up first."""
        pool = self.world.pools.get(address.network)
        for other in pool.holders(address.ip) if pool else ():
            if other == ref:
                continue
            wants = self.world.resource(other)
            if wants is None:
                sentence = f"{address.ip} stays reserved for {other} until its purge"
                return Hold(ref, "address", sentence, f"purge {other}, or take another address")
        return None

    def _allocate(self, nic: NicWant, ref: Ref, target: Target, uid: Uid) -> Address | Hold:
        carried = self.world.rooms.by_target[target].tags
        for network in nic.networks:
            resource = self.world.resource(network)
            pool = self.world.pools.get(network)
            if resource is None or resource.network is None or pool is None or resource.network.nic_tag not in carried:
                continue
            ip = nic.ip or pool.lowest()
            if ip is not None:
                pool.take(ip, ref)
                self._taken.append((network, ip, ref))
                return Address(network, ip, nic.mac or mac_for(uid, network), authored=nic.ip is not None)
        names = " or ".join(nic.networks)
        return Hold(ref, "address", f"no address is free on {names} at {target}", "widen its range", target)
