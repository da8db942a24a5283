"""Forwards of a network as one nftables chain: where what comes in at an address goes on. Pure.

Owns: from a network's `forwards` to the rules of its chain. Must not go here: sending (firewall.py), which machine is
where (the form tells).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping


def rules(forwards: Mapping[str, Mapping[str, str]]) -> list[str]:
    """The chain's rules: single ports before everything else of an address."""
    lines = []
    for listen, said in sorted(forwards.items()):
        family = family_of(listen)
        for what, to in sorted(said.items(), key=lambda one: (one[0] == "any", one)):
            protocol, _, ports = what.partition("/")
            match = "" if protocol == "any" else f"{protocol} dport {ports} "
            lines.append(f"{family} daddr {listen} {match}dnat {family} to {to}")
    return lines


def family_of(address: str) -> str:
    return "ip6" if ipaddress.ip_address(address).version == 6 else "ip"
