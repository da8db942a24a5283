"""Firewall rules as a chain of nftables: what it lets in, told by a reading of its own; and that nftables takes it."""

from __future__ import annotations

import ipaddress
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.local import guards
from drivers.local.firewall import Bridge, Firewall, Port
from drivers.local.nft import Nft
from drivers.local.place import Place
from tests.drivers.local.probe import needs

SUBNET = "10.9.0.0/28"
HOSTS = [f"10.9.0.{number}" for number in range(16)]
SOURCES = st.lists(st.sampled_from(["10.1.0.0/16", "10.1.2.3", "10.0.0.0/8", "fd00::/8"]), max_size=3, unique=True)
RULES = st.lists(
    st.fixed_dictionaries(
        {"allow": st.lists(st.sampled_from(["tcp/80", "udp/53-60", "icmp", "any", "tcp"]), min_size=1, unique=True)},
        optional={"from": SOURCES, "to": st.lists(st.sampled_from(HOSTS), max_size=4, unique=True).map(sorted)},
    ),
    min_size=1,
    max_size=4,
)
PACKETS = [
    (source, to, protocol, port)
    for source in ("10.1.2.3", "10.1.9.9", "10.2.0.1", "192.0.2.1")
    for to in HOSTS[:4]
    for protocol, port in (("tcp", 80), ("tcp", 22), ("udp", 55), ("icmp", 0))
]


def lets_in(firewall: list[dict[str, Any]], source: str, to: str, protocol: str, port: int) -> bool | None:
    """What rules mean, packet by packet; None: no rule names where it goes."""

    def within(ip: str, named: list[str] | None) -> bool:
        return named is None or any(
            ipaddress.ip_address(ip) in net for net in map(ipaddress.ip_network, named) if net.version == 4
        )

    def fits(allowed: str) -> bool:
        wanted, _, ports = allowed.partition("/")
        low, _, high = ports.partition("-")
        return wanted == "any" or (wanted == protocol and (not ports or int(low) <= port <= int(high or low)))

    aimed = [rule for rule in firewall if within(to, rule.get("to"))]
    if not aimed:
        return None
    return any(within(source, rule.get("from")) and any(map(fits, rule["allow"])) for rule in aimed)


def passes(lines: list[str], source: str, to: str, protocol: str, port: int) -> bool | None:
    """What the chain does with it, read word by word; None: it goes on."""
    for line in lines:
        *matches, verdict = line.replace("{ ", "{").replace(" }", "}").replace(", ", ",").split()
        held = True
        while matches:
            if matches[0] == "ip":
                spans = [ipaddress.ip_network(span) for span in matches[2].strip("{}").split(",")]
                held &= any(ipaddress.ip_address(source if matches[1] == "saddr" else to) in span for span in spans)
            elif matches[:2] == ["meta", "l4proto"]:
                held &= matches[2] == protocol
            else:
                low, _, high = matches[2].partition("-")
                held &= matches[0] == protocol and int(low) <= port <= int(high or low)
            del matches[:3]
        if held:
            return verdict == "accept"
    return None


@given(RULES)
def test_chain_lets_in_what_rules_allow_and_leaves_alone_what_none_names(firewall: list[dict[str, Any]]) -> None:
    lines = guards.rules(SUBNET, firewall)
    for packet in PACKETS:
        assert passes(lines, *packet) == lets_in(firewall, *packet), packet


def test_rules_of_ipv6_match_ipv6() -> None:
    firewall = [{"from": ["fd00::1", "10.0.0.1"], "to": ["fd01::5"], "allow": ["tcp/22", "icmp"]}]
    assert guards.rules("fd01::/64", firewall) == [
        "ip6 saddr { fd00::1 } ip6 daddr { fd01::5 } tcp dport 22 accept",
        "ip6 saddr { fd00::1 } ip6 daddr { fd01::5 } meta l4proto ipv6-icmp accept",
        "ip6 daddr { fd01::5 } drop",
    ]


@pytest.mark.real
def test_chain_is_known_again_whatever_its_rules_and_an_edit_of_it_is_seen(tmp_path: Any) -> None:
    needs()
    firewall = Firewall(Place(tmp_path / "guards"), Nft())
    traffic = ["tcp/80", "udp/53-60", "icmp", "any", "tcp"]
    four = [
        {"from": ["10.1.0.0/16", "10.1.2.3"], "to": HOSTS[:9], "allow": traffic},
        {"allow": ["tcp/443"], "to": ["10.9.0.9"]},
    ]
    six = [{"from": ["fd00::/8"], "to": ["fd01::5"], "allow": ["icmp", "udp/53"]}]
    bridges = [
        Bridge("tgone", guard=tuple(guards.rules(SUBNET, four))),
        Bridge("tgtwo", guard=tuple(guards.rules("fd01::/64", six))),
        Bridge("tgfree"),
    ]
    try:
        firewall.lay(bridges, [Port("tgport", "02:00:00:00:00:01", "10.9.0.2/28")])
        first = firewall.read()
        assert first is not None
        assert first.guards.keys() == {"tgone", "tgtwo"}
        assert all(first.guards.values())
        for bridge in bridges:
            firewall.add_bridge(bridge)
        assert firewall.read() == first, "laid again it reads the same"
        table = Place(tmp_path / "guards").table
        subprocess.run(["nft", "insert", "rule", "inet", table, "to_tgone", "accept"], check=True)
        seen = firewall.read()
        assert seen is not None
        assert seen.guards["tgone"] != first.guards["tgone"]
        assert seen.guards["tgtwo"] == first.guards["tgtwo"]
        subprocess.run(["nft", "delete", "element", "inet", table, "guards", '{ "tgtwo" }'], check=True)
        past = firewall.read()
        assert past is not None
        assert past.guards["tgtwo"] == "", "what goes there passes by its chain"
        firewall.add_bridge(Bridge("tgone"))
        firewall.remove_bridge("tgtwo", None)
        gone = firewall.read()
        assert gone is not None
        assert gone.guards == {}
    finally:
        firewall.remove()
