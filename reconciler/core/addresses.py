"""Address allocation: sticky, lowest free, reserved respected.

Owns: which address a nic gets on a network, and its MAC. Deterministic: a pool's answer depends only on what is taken.
Must not go here: where machines live, who may use a network.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache
from ipaddress import ip_address, ip_network

from reconciler.core.desired import NetworkFacts
from reconciler.core.hashes import blake2b
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
        elif holder not in several(known):
            self.by_number[number] = (*several(known), holder)

    def free(self, ip: str, holder: Ref) -> None:
        number = _number(ip)
        known = self.by_number.get(number)
        if known is None:
            return
        left = tuple(other for other in several(known) if other != holder)
        if not left:
            del self.by_number[number]
            self.freed = min(self.freed, number)
        else:
            self.by_number[number] = left[0] if len(left) == 1 else left

    def of(self, ip: str) -> tuple[Ref, ...]:
        """Who has, or wants by its document, this address."""
        return tuple(sorted(several(self.by_number.get(_number(ip), ()))))


_NONE = 1 << 128
"""Beyond every address."""


def several(known: Ref | tuple[Ref, ...]) -> tuple[Ref, ...]:
    return known if isinstance(known, tuple) else (known,)


_OCTETS = {str(number): number for number in range(256)}


def _number(ip: str) -> int:
    """As `int(ip_address(ip))`, which takes 40 times as long for the usual: neighbours begin alike."""
    begin, _, last = ip.rpartition(".")
    octet = _OCTETS.get(last)
    return _begin(begin) | octet if octet is not None and begin.count(".") == 2 else int(ip_address(ip))


@lru_cache(maxsize=1024)
def _begin(octets: str) -> int:
    """The number of an address of IPv4, from its first three octets. Raises ValueError."""
    return int(ip_address(f"{octets}.0"))


class Pool:
    """The addresses of one network, taken and free. `take` and `free` are O(1); `lowest` looks on from where the last
    free one was found."""

    def __init__(self, facts: NetworkFacts, holders: Holders | None = None) -> None:
        self._network = ip_network(facts.subnet)
        self._holders = holders if holders is not None else Holders()
        self._reserved = _reserved(facts)
        self._range: tuple[int, int] | None = None
        """A network without `range` takes authored addresses only."""
        if facts.first is not None:
            last = ip_address(facts.last) if facts.last else self._network.broadcast_address - 1
            self._range = (int(ip_address(facts.first)), int(last))
        self.cursor = self._range[0] if self._range else 0
        """No number of the range before this one is free, but for those that were given up since."""

    def take(self, ip: str, holder: Ref) -> None:
        self._holders.take(ip, holder)

    def free(self, ip: str, holder: Ref) -> None:
        self._holders.free(ip, holder)

    def holders(self, ip: str) -> tuple[Ref, ...]:
        """Who has, or wants by its document, this address."""
        return self._holders.of(ip)

    def contains(self, ip: str) -> bool:
        return ip_address(ip) in self._network

    def lowest(self) -> str | None:
        """The lowest free address of the range; None if it is full, or if there is no range."""
        if self._range is None:
            return None
        first, last = self._range
        number = max(first, min(self.cursor, self._holders.freed))
        self._holders.freed = _NONE
        while number <= last and (end := self._blocked(number)) is not None:
            number = end + 1
        self.cursor = number
        base = self._network.network_address
        return str(base + (number - int(base))) if number <= last else None

    def _blocked(self, number: int) -> int | None:
        """None if the address is free, else the last one that is blocked with it."""
        if number in self._holders.by_number:
            return number
        place = bisect_right(self._reserved, number, key=_start) - 1
        return self._reserved[place][1] if place >= 0 and self._reserved[place][1] >= number else None


def _start(span: tuple[int, int]) -> int:
    return span[0]


def _reserved(facts: NetworkFacts) -> list[tuple[int, int]]:
    """Spans that are not allocated, in order, apart from each other: a span of IPv6 cannot be counted out."""
    spans = []
    for text in (*facts.reserved, *([facts.gateway] if facts.gateway else ())):
        low, _, high = text.partition("-")
        spans.append((int(ip_address(low.strip())), int(ip_address((high or low).strip()))))
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def mac_for(uid: Uid, network: Ref) -> str:
    """A locally administered unicast MAC that follows from the machine's identity and the network."""
    octets = blake2b(f"{uid}|{network}".encode(), digest_size=5).digest()
    return "02:" + ":".join(f"{octet:02x}" for octet in octets)
