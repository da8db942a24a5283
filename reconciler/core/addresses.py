"""Address allocation: sticky, lowest free, reserved respected.

Owns: which address a nic gets on a network, and its MAC. Deterministic: a pool's answer depends only on what is taken.
Must not go here: where machines live, who may use a network.
"""

from __future__ import annotations

import hashlib
from ipaddress import ip_address, ip_network

from reconciler.core.desired import NetworkFacts
from reconciler.core.refs import Ref, Uid


class Holders:
    """Who has which addresses of one network. `freed`: the lowest number that was given up since it was last asked."""

    __slots__ = ("by_number", "freed")

    def __init__(self) -> None:
        self.by_number: dict[int, Ref | tuple[Ref, ...]] = {}
        """One holder as it is: nearly every address has one."""
        self.freed = _NONE

    def take(self, ip: str, holder: Ref) -> None:
        number = _number(ip)
        known = self.by_number.get(number)
        if known is None:
            self.by_number[number] = holder
        elif holder not in _several(known):
            self.by_number[number] = (*_several(known), holder)

    def free(self, ip: str, holder: Ref) -> None:
        number = _number(ip)
        known = self.by_number.get(number)
        if known is None:
            return
        left = tuple(other for other in _several(known) if other != holder)
        if not left:
            del self.by_number[number]
            self.freed = min(self.freed, number)
        else:
            self.by_number[number] = left[0] if len(left) == 1 else left

    def of(self, ip: str) -> tuple[Ref, ...]:
        """Who has, or wants by its document, this address."""
        return tuple(sorted(_several(self.by_number.get(_number(ip), ()))))


_NONE = 1 << 128
"""Beyond every address."""


def _several(known: Ref | tuple[Ref, ...]) -> tuple[Ref, ...]:
    return known if isinstance(known, tuple) else (known,)


def _number(ip: str) -> int:
    """As `int(ip_address(ip))`, which takes 15 times as long for the usual."""
    parts = ip.split(".")
    if len(parts) == 4 and all(part.isdecimal() and len(part) < 4 for part in parts):
        first, second, third, fourth = map(int, parts)
        return first << 24 | second << 16 | third << 8 | fourth
    return int(ip_address(ip))


class Pool:
    """The addresses of one network, taken and free. `take` and `free` are O(1); `lowest` looks on from where the last
    free one was found."""

    def __init__(self, facts: NetworkFacts, holders: Holders | None = None) -> None:
        network = ip_network(facts.subnet)
        self.version = network.version
        hosts = (int(network.network_address) + 1, int(network.broadcast_address) - (1 if self.version == 4 else 0))
        self.first = int(ip_address(facts.first)) if facts.first else hosts[0]
        self.last = int(ip_address(facts.last)) if facts.last else hosts[1]
        self.allocates = facts.first is not None
        """A network without `range` takes authored addresses only."""
        self.reserved = _reserved(facts)
        self._holders = holders if holders is not None else Holders()
        self._cursor = self.first

    def take(self, ip: str, holder: Ref) -> None:
        self._holders.take(ip, holder)

    def free(self, ip: str, holder: Ref) -> None:
        self._holders.free(ip, holder)

    def holders(self, ip: str) -> tuple[Ref, ...]:
        """Who has, or wants by its document, this address."""
        return self._holders.of(ip)

    def lowest(self) -> str | None:
        """The lowest free address of the range; None if it is full, or if there is no range."""
        if not self.allocates:
            return None
        taken = self._holders.by_number
        number = max(self.first, min(self._cursor, self._holders.freed))
        self._holders.freed = _NONE
        while number <= self.last and (number in taken or number in self.reserved):
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
