"""What may pass between networks, out of them, and from a zone's own interface: two nftables tables of this node.

Owns: the rules and their sets. The rules never change; what changes are elements of their sets, and a chain for each
network that firewall rules name, each in one transaction. Must not go here: bridges, addresses (network.py), what such
a chain says (guards.py).

Pitfall kept in mind: with bridge-nf-call-iptables the traffic *within* a bridge passes the inet forward hook too, so
it is accepted before anything between bridges is dropped.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping

import msgspec

from drivers.local.nft import FirewallFailed, Nft
from drivers.local.place import Place
from drivers.local.ruled import Ruling, Unclear
from reconciler.core.values import digest

_RULES = """
table inet {t} {{
  set same {{ type ifname . ifname; }}
  set bridges {{ type ifname; }}
  set nat4 {{ type ipv4_addr; flags interval; }}
  set nat6 {{ type ipv6_addr; flags interval; }}
  set inner4 {{ type ifname . ipv4_addr; flags interval; }}
  set inner6 {{ type ifname . ipv6_addr; flags interval; }}
  map guards {{ type ifname : verdict; }}
  map listens4 {{ type ipv4_addr : verdict; }}
  map listens6 {{ type ipv6_addr : verdict; }}
  chain between {{
    type filter hook forward priority 0; policy accept;
    iifname . oifname @same accept
    oifname @bridges ct state established,related accept
    iifname @bridges ct state established,related accept
    oifname vmap @guards
    oifname @bridges ct status dnat accept
    iifname @bridges oifname @bridges drop
    oifname @bridges drop
    iifname @bridges ip saddr @nat4 accept
    iifname @bridges ip6 saddr @nat6 accept
    iifname @bridges drop
  }}
  chain from_host {{
    type filter hook output priority 0; policy accept;
    oifname != @bridges accept
    ct state established,related accept
    icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
    oifname vmap @guards
  }}
  chain arriving {{
    type nat hook prerouting priority -100; policy accept;
    ip daddr vmap @listens4
    ip6 daddr vmap @listens6
  }}
  chain sent {{
    type nat hook output priority -100; policy accept;
    ip daddr vmap @listens4
    ip6 daddr vmap @listens6
  }}
  chain out {{
    type nat hook postrouting priority 100; policy accept;
    ct status dnat oifname . ip saddr @inner4 masquerade
    ct status dnat oifname . ip6 saddr @inner6 masquerade
    ip saddr @nat4 oifname != @bridges masquerade
    ip6 saddr @nat6 oifname != @bridges masquerade
  }}
}}
table bridge {t} {{
  set ports {{ type ifname; }}
  set macs {{ type ifname . ether_addr; }}
  set addresses4 {{ type ifname . ipv4_addr; }}
  set addresses6 {{ type ifname . ipv6_addr; }}
  chain from_zones {{
    type filter hook prerouting priority -300; policy accept;
    iifname != @ports accept
    iifname . ether saddr != @macs drop
    ether type arp iifname . arp saddr ip != @addresses4 drop
    ether type ip iifname . ip saddr != @addresses4 drop
    ether type ip6 iifname . ip6 saddr != @addresses6 drop
  }}
}}
"""

_BASE = "from_zones"
_CHAINS = "to_", "in_"
"""What the names of a bridge's own chains begin with."""
_MAPS = "guards", "listens4", "listens6"


class Bridge(msgspec.Struct, frozen=True):
    """A bridge of ours without an uplink. `nat`: its subnet, if what leaves it bears the host's address; `guard`: the
    rules of its chain, if firewall rules name its network; `inward`: those for what comes in at the addresses
    `listens`; `inner`: its subnet, if there are any: who asks from within is answered by way of the host too."""

    name: str
    nat: str | None = None
    guard: tuple[str, ...] = ()
    inward: tuple[str, ...] = ()
    listens: frozenset[str] = frozenset()
    inner: str | None = None


class Port(msgspec.Struct, frozen=True):
    """The host's end of a zone's interface, and what the zone may send from it."""

    veth: str
    mac: str
    ip: str
    """With or without prefix length."""


class Passing(msgspec.Struct, frozen=True):
    """What is in force."""

    bridges: frozenset[str]
    nat: frozenset[str]
    guards: Mapping[str, str] = {}
    """Bridge to the digest of its chain as nftables prints it; empty where what goes there does not pass it."""
    inward: Mapping[str, str] = {}
    """The same of the chain for what comes in, and of the addresses that lead to it."""


class Firewall:
    def __init__(self, place: Place, nft: Nft) -> None:
        self._table = place.table
        self._nft = nft

    def close(self) -> None:
        self._nft.close()

    def seen(self) -> Passing | None:
        """The same as `read`, and quicker where no rules or forwards are in force, which only nftables prints."""
        try:
            with Ruling() as ruling:
                return Passing(*ruling.read(self._table, _BASE, _CHAINS, _MAPS))
        except (Unclear, OSError):
            return self.read()

    def read(self) -> Passing | None:
        """None: one of our tables is not there (somebody flushed the rules)."""
        try:
            self._nft.run(f"list chain bridge {self._table} {_BASE}")
            text = self._nft.run(f"list table inet {self._table}")
        except FirewallFailed:
            return None
        return Passing(
            _elements(text, "bridges"), _elements(text, "nat4") | _elements(text, "nat6"), _guards(text), _inward(text)
        )

    def lay(self, bridges: Iterable[Bridge], ports: Iterable[Port]) -> None:
        """Both tables anew, in one transaction."""
        tables = [f"table {family} {self._table}" for family in ("inet", "bridge")]
        text = "".join(f"{table} {{}}\ndelete {table}\n" for table in tables)
        text += _RULES.format(t=self._table)
        text += "".join(self._bridge("add", bridge) for bridge in bridges)
        text += "".join(self._port("add", port) for port in ports)
        self._nft.run(text)

    def add_bridge(self, bridge: Bridge) -> None:
        """What is there already stays in force all the while."""
        self._nft.run(self._bridge("add", bridge))
        if not bridge.guard:
            self._unguard(bridge.name)
        self._unlisten(bridge.name, bridge.listens)

    def remove_bridge(self, name: str, nat: str | None) -> None:
        for command in self._bridge("delete", Bridge(name, nat)).splitlines():
            self._leniently(command)
        self._unguard(name)
        self._unlisten(name)

    def _unguard(self, name: str) -> None:
        self._leniently(f"delete element inet {self._table} guards {{ {_jump(name)} }}")
        self._leniently(f"delete chain inet {self._table} {_guard(name)}")

    def _unlisten(self, name: str, kept: Iterable[str] = ()) -> None:
        """Nothing comes in at other addresses than those kept."""
        try:
            text = self._nft.run(f"list table inet {self._table}")
        except FirewallFailed:
            return
        for listen in _listens(text, name) - set(kept):
            self._leniently(f"delete element inet {self._table} {_listen_map(listen)} {{ {_lead(listen, name)} }}")
        if not kept:
            self._leniently(f"delete chain inet {self._table} {_inner(name)}")
            for subnet in _inner_subnets(text, name):
                element = f'"{name}" . {subnet}'
                self._leniently(f"delete element inet {self._table} inner{_version(subnet)} {{ {element} }}")

    def remove_nat(self, subnet: str) -> None:
        self._leniently(f"delete element inet {self._table} {_nat_set(subnet)} {{ {subnet} }}")

    def add_ports(self, ports: Iterable[Port]) -> None:
        text = "".join(self._port("add", port) for port in ports)
        if text:
            self._nft.run(text)

    def remove_ports(self, ports: Iterable[Port]) -> None:
        for port in ports:
            for command in self._port("delete", port).splitlines():
                self._leniently(command)

    def remove(self) -> None:
        for family in ("inet", "bridge"):
            self._leniently(f"delete table {family} {self._table}")

    def others(self) -> bool:
        """Whether other nodes on this host have tables too. Raises OSError."""
        with Ruling() as ruling:
            return any(name.startswith("trueup_") and name != self._table for name in ruling.tables())

    def _leniently(self, command: str) -> None:
        """What is not there need not be removed."""
        try:
            self._nft.run(command)
        except FirewallFailed:
            return

    def _bridge(self, verb: str, bridge: Bridge) -> str:
        table = f"{verb} element inet {self._table}"
        text = f'{table} same {{ "{bridge.name}" . "{bridge.name}" }}\n{table} bridges {{ "{bridge.name}" }}\n'
        if bridge.nat:
            text += f"{table} {_nat_set(bridge.nat)} {{ {bridge.nat} }}\n"
        if bridge.guard:
            text += self._rules(_guard(bridge.name), bridge.guard)
            text += f"{table} guards {{ {_jump(bridge.name)} }}\n"
        if bridge.inward:
            text += self._rules(_inner(bridge.name), bridge.inward)
        if bridge.inner:
            text += f'{table} inner{_version(bridge.inner)} {{ "{bridge.name}" . {bridge.inner} }}\n'
        for listen in sorted(bridge.listens):
            text += f"{table} {_listen_map(listen)} {{ {_lead(listen, bridge.name)} }}\n"
        return text

    def _rules(self, name: str, rules: Iterable[str]) -> str:
        chain = f"inet {self._table} {name}"
        lines = "".join(f"add rule {chain} {rule}\n" for rule in rules)
        return f"add chain {chain}\nflush chain {chain}\n{lines}"

    def _port(self, verb: str, port: Port) -> str:
        table, name = f"{verb} element bridge {self._table}", f'"{port.veth}"'
        ip = ipaddress.ip_interface(port.ip).ip
        text = f"{table} ports {{ {name} }}\n{table} macs {{ {name} . {port.mac} }}\n"
        # fe80::… is how neighbours are found, `::` how an address is tried before it is taken
        for address in (ip, ipaddress.ip_address("::"), _link_local(port.mac)):
            text += f"{table} addresses{address.version} {{ {name} . {address} }}\n"
        return text


def _link_local(mac: str) -> ipaddress.IPv6Address:
    """RFC 4291, appendix A."""
    parts = [int(part, 16) for part in mac.split(":")]
    parts = [parts[0] ^ 2, *parts[1:3], 0xFF, 0xFE, *parts[3:]]
    return ipaddress.IPv6Address(bytes([0xFE, 0x80, *[0] * 6, *parts]))


def _nat_set(subnet: str) -> str:
    return f"nat{_version(subnet)}"


def _version(subnet: str) -> int:
    return ipaddress.ip_network(subnet).version


def _guard(bridge: str) -> str:
    return f"{_CHAINS[0]}{bridge}"


def _inner(bridge: str) -> str:
    return f"{_CHAINS[1]}{bridge}"


def _jump(bridge: str) -> str:
    return f'"{bridge}" : jump {_guard(bridge)}'


def _lead(listen: str, bridge: str) -> str:
    return f"{listen} : jump {_inner(bridge)}"


def _listen_map(listen: str) -> str:
    return f"listens{ipaddress.ip_address(listen).version}"


def _guards(text: str) -> dict[str, str]:
    jumps = _leads(text, "guards")
    return {name: digest(rules) if _jump(name) in jumps else "" for name, rules in _chains(text, _CHAINS[0]).items()}


def _inward(text: str) -> dict[str, str]:
    return {name: digest([rules, sorted(_listens(text, name))]) for name, rules in _chains(text, _CHAINS[1]).items()}


def _listens(text: str, bridge: str) -> set[str]:
    leads = _leads(text, "listens4") | _leads(text, "listens6")
    return {lead.partition(" ")[0] for lead in leads if lead.endswith(f" : jump {_inner(bridge)}")}


def _inner_subnets(text: str, bridge: str) -> list[str]:
    elements = _elements(text, "inner4") | _elements(text, "inner6")
    pairs = (element.replace('"', "").split(" . ") for element in sorted(elements) if " . " in element)
    return [subnet for name, subnet in pairs if name == bridge]


def _leads(text: str, name: str) -> set[str]:
    """Elements of one verdict map in what `list table` prints."""
    found = re.search(rf"map {name} {{[^}}]*?elements = {{([^}}]*)}}", text)
    return {" ".join(part.split()) for part in found.group(1).split(",")} if found else set()


def _chains(text: str, prefix: str) -> dict[str, list[str]]:
    """By what follows the prefix in a chain's name its rules, word by word. How nftables prints a chain is its own
    business, but it prints the same chain the same way."""
    found = re.findall(rf"^\tchain {prefix}(\S+) {{\n(.*?)^\t}}", text, re.DOTALL | re.MULTILINE)
    return {name: rules.split() for name, rules in found}


def _elements(text: str, name: str) -> frozenset[str]:
    """Elements of one set in what `list table` prints."""
    found = re.search(rf"set {name} {{[^}}]*?elements = {{([^}}]*)}}", text)
    return frozenset(part.strip().strip('"') for part in found.group(1).split(",")) if found else frozenset()
