"""Reading our nftables tables over one nfnetlink socket, as far as their sets and the names of chains tell what is.

Owns: that reading, and that it is of one moment. Must not go here: rules, and how they read (firewall.py: only nftables
prints them).

Why not nftables: before it prints a table it reads every chain of the host, and begins again whenever somebody changes
a rule. Asked here is only what is ours, by name. The kernel counts the generations of its rules; what was read between
two equal counts is of one moment.
"""

from __future__ import annotations

import errno
import ipaddress
import struct
from collections.abc import Iterable
from typing import NamedTuple

from drivers.local.channel import Channel, attribute, attributes, nested

_NETFILTER = 12
_NFTABLES = 10 << 8
_GETTABLE, _GETCHAIN, _GETSETELEM, _GETGEN = (_NFTABLES | number for number in (1, 4, 13, 16))
_INET, _BRIDGE = 1, 7
_HEAD = struct.Struct("!BBH")
"""Family, version, resource."""
_TABLE, _CHAIN, _SET, _ELEMENTS = 1, 3, 2, 3
_KEY, _FLAGS, _KEY_END, _VALUE = 1, 3, 10, 1
_OF_ELEMENT = frozenset({_KEY, _FLAGS, _KEY_END})
_END = 1
"""A flag: the first key that does not belong to an interval any more."""
_GENERATION_ID = 1
_NAMES, _LISTS, _VALUES = frozenset({_TABLE}), frozenset({_ELEMENTS}), frozenset({_VALUE})
_GENERATION = frozenset({_GENERATION_ID})


class Unclear(Exception):
    """It cannot be told this way: somebody changes rules meanwhile, or there is more than sets tell."""


class Ruled(NamedTuple):
    """`nat`: subnets as nftables prints them."""

    bridges: frozenset[str]
    nat: frozenset[str]


class Ruling(Channel):
    """One socket, for one thread."""

    def __init__(self) -> None:
        super().__init__(_NETFILTER)

    def read(self, table: str, base: str, chains: Iterable[str], maps: Iterable[str]) -> Ruled:
        """What the sets of the inet table hold, where the chain `base` of the bridge table is there, and neither any
        element in `maps` nor a chain whose name is one of `chains` with a bridge behind it. Raises Unclear, and OSError
        for what is missing."""
        before = self._generation()
        named = attribute(_TABLE, table.encode() + b"\0")
        self.one(_GETCHAIN, _HEAD.pack(_BRIDGE, 0, 0) + named + attribute(_CHAIN, base.encode() + b"\0"))
        bridges = frozenset(key.rstrip(b"\0").decode() for key, _ in self._elements(named, "bridges"))
        nat = intervals(self._elements(named, "nat4"), 4) | intervals(self._elements(named, "nat6"), 6)
        if any(self._elements(named, name) for name in maps):
            raise Unclear
        wanted = [attribute(_CHAIN, f"{prefix}{bridge}".encode() + b"\0") for prefix in chains for bridge in bridges]
        head = _HEAD.pack(_INET, 0, 0) + named
        for found in self.several([(_GETCHAIN, head + chain) for chain in wanted]):
            if not isinstance(found, OSError) or found.errno != errno.ENOENT:
                raise Unclear
        if self._generation() != before:
            raise Unclear
        return Ruled(bridges, nat)

    def tables(self) -> list[str]:
        """The names of all inet tables of the host. Raises OSError."""
        found = self.dump(_GETTABLE, _HEAD.pack(_INET, 0, 0))
        return [attributes(body, _HEAD.size, _NAMES)[_TABLE].rstrip(b"\0").decode() for body in found]

    def _generation(self) -> bytes:
        body = self.one(_GETGEN, _HEAD.pack(0, 0, 0))
        return attributes(body, _HEAD.size, _GENERATION)[_GENERATION_ID]

    def _elements(self, table: bytes, name: str) -> list[tuple[bytes, bool]]:
        """Keys of a set, and whether each is the first beyond an interval."""
        found: list[tuple[bytes, bool]] = []
        question = _HEAD.pack(_INET, 0, 0) + table + attribute(_SET, name.encode() + b"\0")
        for body in self.dump(_GETSETELEM, question):
            for element in nested(attributes(body, _HEAD.size, _LISTS).get(_ELEMENTS, b"")):
                told = attributes(element, 0, _OF_ELEMENT)
                if _KEY not in told or _KEY_END in told:
                    raise Unclear
                flags = int.from_bytes(told.get(_FLAGS, b""), "big")
                found.append((attributes(told[_KEY], 0, _VALUES)[_VALUE], bool(flags & _END)))
        return found


def intervals(elements: Iterable[tuple[bytes, bool]], version: int) -> frozenset[str]:
    """Ends come before what begins at the same address. Raises Unclear for what is no list of subnets."""
    found: set[str] = set()
    begun: int | None = None
    for key, ends in sorted(elements, key=lambda each: (each[0], not each[1])):
        value = int.from_bytes(key, "big")
        if not ends and begun is not None:
            raise Unclear
        if ends and begun is not None:
            found.add(_subnet(begun, value, version))
        begun = None if ends else value
    if begun is not None:
        found.add(_subnet(begun, 1 << (32 if version == 4 else 128), version))
    return frozenset(found)


def _subnet(first: int, beyond: int, version: int) -> str:
    """As nftables prints it."""
    size = beyond - first
    if size & (size - 1) or first % size:
        raise Unclear
    address = (ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address)(first)
    bits = address.max_prefixlen
    return str(address) if size == 1 else f"{address}/{bits - size.bit_length() + 1}"
