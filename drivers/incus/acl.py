"""Firewall rules as a network ACL of these servers. Pure.

Owns: from a network's `firewall` to the rules of its ACL, and back. Must not go here: sending (networks).

A server sorts an ACL's rules by what they do, refusals first, so what is closed cannot be written as a refusal beside
exceptions. The network refuses what no rule allows, and what no rule of git covers is allowed in whole.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from reconciler.core.values import canonical

SAID = "user.trueup.firewall"
"""The rules in the words of git, in the ACL's configuration."""
ATTACHED = "security.acls"
DEFAULTS = {"security.acls.default.ingress.action": "reject", "security.acls.default.egress.action": "allow"}

CHANGED = "changed by hand"

Rule = Mapping[str, Any]


def name_of_acl(network: str) -> str:
    return f"tu-{network}"


def content(network: str, subnet: str, firewall: Sequence[Rule]) -> dict[str, Any]:
    """The ACL as it is to be sent."""
    return {
        "name": name_of_acl(network),
        "description": "",
        "config": {SAID: canonical(firewall).decode()},
        "ingress": ingress(subnet, firewall),
        "egress": [],
    }


def ingress(subnet: str, firewall: Sequence[Rule]) -> list[dict[str, str]]:
    """The order says nothing: what allows is all alike."""
    rules = [
        _rule(rule, traffic, subnet)
        for rule in firewall
        for traffic in rule["allow"]
        if rule.get("from") != [] and rule.get("to") != []
    ]
    if not any(rule.get("to") is None for rule in firewall):
        covered = {ip for rule in firewall for ip in rule["to"]}
        rules += [{"action": "allow", "destination": span, "state": "enabled"} for span in _rest(subnet, covered)]
    distinct = {canonical(rule): rule for rule in rules}
    return [distinct[key] for key in sorted(distinct)]


def _rule(rule: Rule, traffic: str, subnet: str) -> dict[str, str]:
    made = {"action": "allow", "state": "enabled"}
    if rule.get("from") is not None:
        made["source"] = ",".join(rule["from"])
    made["destination"] = ",".join(rule["to"]) if rule.get("to") is not None else subnet
    protocol, _, ports = traffic.partition("/")
    if protocol == "icmp":
        made["protocol"] = "icmp6" if ":" in subnet else "icmp4"
    elif protocol != "any":
        made["protocol"] = protocol
    if ports:
        made["destination_port"] = ports
    return made


def _rest(subnet: str, covered: Iterable[str]) -> list[str]:
    """The subnet without these addresses, in ranges."""
    network = ipaddress.ip_network(subnet)
    spans, first = [], int(network.network_address)
    for taken in [*sorted(int(ipaddress.ip_address(ip)) for ip in covered), int(network.broadcast_address) + 1]:
        if first < taken:
            low, high = (type(network.network_address)(number) for number in (first, taken - 1))
            spans.append(f"{low}-{high}" if low != high else str(low))
        first = taken + 1
    return spans


def read(acl: Mapping[str, Any], config: Mapping[str, str], subnet: str) -> Any:
    """The `firewall` that a network's ACL stands for: in git's words if it does what they say, else CHANGED."""
    try:
        said = msgspec.json.decode((acl.get("config") or {}).get(SAID, ""))
        wanted = sorted(canonical(rule) for rule in ingress(subnet, said))
    except (msgspec.DecodeError, ValueError, LookupError, TypeError, AttributeError):
        return CHANGED
    there = sorted(canonical({key: value for key, value in rule.items() if value}) for rule in acl.get("ingress") or ())
    right = there == wanted and not acl.get("egress") and all(config.get(key) == DEFAULTS[key] for key in DEFAULTS)
    return said if right else CHANGED
