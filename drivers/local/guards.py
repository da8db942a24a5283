"""Firewall rules of a network as one nftables chain: what it lets in, and to what nothing else goes. Pure.

Owns: from a network's `firewall` to the rules of its chain. Must not go here: sending, and what passes without rules
(firewall.py).

The chain stands before what keeps networks apart: what a rule lets in passes, from another network of ours too; what a
rule names and nothing lets in is dropped; the rest goes on as if there were no rules.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

CHANGED = "changed by hand"
"""What a chain stands for that is not as we laid it."""

Rule = Mapping[str, Any]


def rules(subnet: str, firewall: Sequence[Rule]) -> list[str]:
    """The chain's rules, in order."""
    version = ipaddress.ip_network(subnet).version
    lines = []
    for rule in firewall:
        source, to = _side(rule.get("from"), "saddr", version), _side(rule.get("to"), "daddr", version)
        if source is not None and to is not None:
            lines += [f"{source}{to}{_traffic(traffic, version)}accept" for traffic in rule["allow"]]
    whole = any(rule.get("to") is None for rule in firewall)
    covered = None if whole else sorted({ip for rule in firewall for ip in rule["to"]})
    closed = _side(covered, "daddr", version)
    return [*lines, *([f"{closed}drop"] if closed is not None else [])]


def _side(named: Iterable[str] | None, end: str, version: int) -> str | None:
    """A match on addresses; empty for everybody, None if it matches nobody."""
    if named is None:
        return ""
    spans = [span for span in map(ipaddress.ip_network, named) if span.version == version]
    merged: Iterable[Any] = ipaddress.collapse_addresses(spans)
    words = [str(span) if span.num_addresses > 1 else str(span.network_address) for span in merged]
    return f"{'ip6' if version == 6 else 'ip'} {end} {{ {', '.join(words)} }} " if words else None


def _traffic(allowed: str, version: int) -> str:
    protocol, _, ports = allowed.partition("/")
    if protocol == "any":
        return ""
    if protocol == "icmp":
        return f"meta l4proto {'ipv6-icmp' if version == 6 else 'icmp'} "
    return f"{protocol} dport {ports} " if ports else f"meta l4proto {protocol} "
