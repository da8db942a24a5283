"""Address allocation: sticky, lowest free, reserved respected.

Owns: which address a nic gets on a network, and its MAC. Deterministic: a pool's answer depends only on what is taken.
Must not go here: where machines live, who may use a network.
"""

from __future__ import annotations

import hashlib
from ipaddress import ip_address, ip_network

from reconciler.core.desired import NetworkFacts
from reconciler.core.refs import Ref, Uid


class Pool:
    """The addresses of one network, taken and free. `take` and `free` are O(1); `lowest` looks on from where the last
    free one was found."""

    def __init__(self, facts: NetworkFacts) -> None:
        network = ip_network(facts.subnet)
        self.version = network.version
        hosts = (int(network.network_address) + 1, int(network.broadcast_address) - (1 if self.version == 4 else 0))
        self.first = int(ip_address(facts.first)) if facts.first else hosts[0]
        self.last = int(ip_address(facts.last)) if facts.last else hosts[1]
        self.allocates = facts.first is not None
        """A network without `range` takes authored addresses only."""
        self.reserved = _reserved(facts)
        self.taken: dict[int, dict[Ref, None]] = {}
        self._cursor = self.first

    def take(self, ip: str, holder: Ref) -> None:
        self.taken.setdefault(int(ip_address(ip)), {})[holder] = None

    def free(self, ip: str, holder: Ref) -> None:
        number = int(ip_address(ip))
        holders = self.taken.get(number)
        if holders is not None:
            holders.pop(holder, None)
            if not holders:
                del self.taken[number]
                self._cursor = min(self._cursor, max(number, self.first))

    def holders(self, ip: str) -> tuple[Ref, ...]:
        """Who has, or wants by its document, this address."""
        return tuple(sorted(self.taken.get(int(ip_address(ip)), ())))

    def lowest(self) -> str | None:
        """The lowest free address of the range; None if it is full, or if there is no range."""
        if not self.allocates:
            return None
        number = self._cursor
        while number <= self.last and (number in self.taken or number in self.reserved):
            number += 1
        self._cursor = number
        return str(ip_address(number)) if number <= self.last else None


def _reserved(facts: NetworkFacts) -> frozenset[int]:
    numbers: set[int] = set()
    for text in (*facts.reserved, *([facts.gateway] if facts.gateway else ())):
        low, _, high = text.partition("-")
        start, end = int(ip_address(low.strip())), int(ip_address((high or low).strip()))
        numbers.update(range(start, end + 1))
    return frozenset(numbers)


def mac_for(uid: Uid, network: Ref) -> str:
    """A locally administered unicast MAC that follows from the machine's identity and the network."""
    octets = hashlib.blake2b(f"{uid}|{network}".encode(), digest_size=5).digest()
    return "02:" + ":".join(f"{octet:02x}" for octet in octets)
