"""What a document can name: everything declared but machines' bodies, and how a written name finds it.

Owns: resolving references. Must not go here: lowering, keeping several trees apart (loader.py lays changes over it).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import msgspec

from reconciler.core.refs import Ref, make_ref, short, tenant_of
from reconciler.driver import Capability
from reconciler.edge.load.document import Declared
from reconciler.edge.load.wording import nearest
from specs.plain import Datacenter, Image, Network, Node, Package

KNOWN_DRIVERS = frozenset({"local", "incus", "smartos", "sim"})
OPERATOR = "datacenter"
"""The scope in `datacenter/name`: what belongs to no tenant."""


class Lookup(Protocol):
    """A read-only map: a dict, or a dict with changes laid over it."""

    def get(self, key: Ref, /) -> Declared | None: ...

    def items(self) -> Iterable[tuple[Ref, Declared]]: ...


class Members(Protocol):
    def __call__(self, ref: Ref) -> tuple[Ref, ...] | None:
        """The machines behind a machine's or a group's ref; None if there is no such thing."""
        ...


class Problem(msgspec.Struct, frozen=True):
    """Why a reference leads nowhere. `quiet`: what it names is itself wrong, and that is told already; `ref` is that
    thing, where it can be told."""

    summary: str
    fix: str = ""
    quiet: bool = False
    ref: Ref | None = None


class Catalog:
    """Reads the declared things. `files` gives the text of a file of the tree by path, None if there is none."""

    def __init__(
        self,
        entries: Lookup,
        *,
        members: Members,
        poisoned: set[Ref],
        broken: Iterable[str] = (),
        capabilities: Mapping[str, Capability],
    ) -> None:
        self.entries = entries
        self.members = members
        self.poisoned = poisoned
        self.broken = list(broken)
        self.capabilities = capabilities
        self.datacenter: Datacenter | None = None
        self.drivers: list[str] = []
        """Those of all nodes."""

        self._found: dict[tuple[tuple[str, ...], str | None, str], Ref | Problem] = {}
        self.frames: dict[Any, Any] = {}
        """What machines that name the same things share (frame.py)."""
        self._keys: dict[Ref, list[str]] = {}
        self._supported: dict[tuple[str, str], bool] = {}

    def known(self, ref: Ref) -> bool:
        if ref.startswith("Machine/"):
            return self.members(ref) is not None
        return self.entries.get(ref) is not None

    def find(self, kinds: tuple[str, ...], tenant: str | None, written: str) -> Ref | Problem:
        """The ref behind a written name: in the same tenant or in the datacenter, or where `scope/name` says."""
        key = (kinds, tenant, written)
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = self._find(kinds, tenant, written)
        return found

    def _find(self, kinds: tuple[str, ...], tenant: str | None, written: str) -> Ref | Problem:
        scope, slash, name = written.partition("/")
        if slash:
            scopes: list[str | None] = [None if scope == OPERATOR else scope]
        else:
            name = written
            scopes = [tenant, None] if tenant else [None]
        candidates = [make_ref(kind, name, place) for place in scopes for kind in kinds]
        found = [ref for ref in candidates if self.known(ref)]
        if len(found) == 1:
            return found[0]
        if len(found) > 1 and len({tenant_of(ref) for ref in found}) == 1:
            return Problem("", quiet=True)  # a network and a pool of one name: told where they are declared
        if len(found) > 1:
            return Problem(f"{written!r} is both {' and '.join(found)}", f"write {tenant}/{name} or {OPERATOR}/{name}")
        return self._missing(kinds, tenant, written, candidates)

    def _missing(self, kinds: tuple[str, ...], tenant: str | None, written: str, candidates: list[Ref]) -> Problem:
        name = written.rpartition("/")[2]
        poisoned = next((ref for ref in candidates if ref in self.poisoned or _group_of(ref) in self.poisoned), None)
        if poisoned is not None or self._in_broken(name):
            return Problem("", quiet=True, ref=poisoned)
        whose = f" of {tenant} or of the datacenter" if tenant and "/" not in written else ""
        words = " or ".join(kinds)
        near = self._nearest(kinds, name)
        return Problem(
            f"there is no {words} {written!r}{whose}", f"did you mean {near}?" if near else "add it, or name another"
        )

    def _nearest(self, kinds: tuple[str, ...], name: str) -> str | None:
        """A name that the writer may have meant."""
        return nearest(name, sorted({one.name for _, one in self.entries.items() if one.kind in kinds} - {name}))

    def _in_broken(self, name: str) -> bool:
        """Whether a text that could not be read may well be where it is declared."""
        if not self.broken:
            return False
        group = re.sub(r"-[0-9]+$", "", name)
        word = re.compile(rf"(?<![A-Za-z0-9._-])(?:{re.escape(name)}|{re.escape(group)})(?![A-Za-z0-9._-])")
        return any(word.search(text) for text in self.broken)

    def excused(self, kind: str, name: str) -> bool:
        """Whether the thing is missing only because its document is itself wrong."""
        return make_ref(kind, name) in self.poisoned or self._in_broken(name)

    def declared(self, ref: Ref) -> Declared:
        found = self.entries.get(ref)
        assert found is not None, ref
        return found

    def networks(self, ref: Ref) -> tuple[Ref, ...]:
        """The network itself, or those of a pool, as far as they exist."""
        if ref.startswith("Network/"):
            return (ref,)
        pool = self.declared(ref)
        found = (self.find(("Network",), pool.tenant, name) for name in pool.spec.networks)
        return tuple(network for network in found if isinstance(network, str))

    def network(self, ref: Ref) -> Network:
        spec = self.declared(ref).spec
        assert isinstance(spec, Network)
        return spec

    def image(self, ref: Ref) -> Image:
        spec = self.declared(ref).spec
        assert isinstance(spec, Image)
        return spec

    def package(self, ref: Ref) -> Package:
        spec = self.declared(ref).spec
        assert isinstance(spec, Package)
        return spec

    def keys(self, ref: Ref) -> list[str]:
        """A tenant's public keys, in the order of their holders; none if there is no such tenant."""
        found = self._keys.get(ref)
        if found is None:
            tenant = self.entries.get(ref)
            found = self._keys[ref] = [line for _, line in sorted(tenant.spec.keys.items())] if tenant else []
        return found

    def node(self, place: str) -> Node | None:
        """The node of a place (`edge1`, `inc/a`); None if there is no such node or member."""
        name, slash, member = place.partition("/")
        declared = self.entries.get(make_ref("Node", name))
        if declared is None:
            return None
        spec = declared.spec
        assert isinstance(spec, Node)
        return spec if not slash or member in spec.members else None

    def takes(self, driver: str, image_type: str, brand: str) -> bool:
        """Whether the driver can make a machine of it. One that is not here is given the benefit."""
        capability = self.capabilities.get(driver)
        return capability is None or (image_type in capability.image_types and brand in capability.brands)

    def makes(self, kind: str, driver: str | None = None) -> bool:
        """Whether the driver, or some node's, makes such things, or holds such a field. One that is not here is
        given the benefit."""
        names = self.drivers if driver is None else [driver]
        known = [self.capabilities.get(name) for name in names]
        unsure = driver is None and (bool(self.broken) or any(ref.startswith("Node/") for ref in self.poisoned))
        return unsure or any(one is None or kind in one.kinds | one.fields for one in known)

    def supported(self, image_type: str, brand: str) -> bool:
        """Whether some node's driver can make such a machine (or nodes are wrong themselves)."""
        key = (image_type, brand)
        if key not in self._supported:
            self._supported[key] = any(self.takes(driver, *key) for driver in self.drivers) or any(
                ref.startswith("Node/") for ref in self.poisoned
            )
        return self._supported[key] or self.mentioned("Node", "Nodes")

    def mentioned(self, *words: str) -> bool:
        """Whether a text that could not be read holds one of these words."""
        return any(word in text for text in self.broken for word in words)

    def mtu(self, spec: Network) -> int | None:
        if spec.mtu is not None or self.datacenter is None or self.datacenter.nic_tags is None:
            return spec.mtu
        facts = self.datacenter.nic_tags.get(spec.nic_tag)
        return facts.mtu if facts else None


def idle(catalog: Catalog, tag: str, what: str) -> list[tuple[str, str, str, str]]:
    """The nodes that carry a nic tag and do nothing for `what` on its networks: each with its driver, the interface if
    that is why, and what would help."""
    found = []
    for ref, node in sorted(catalog.entries.items()):
        if node.kind != "Node" or tag not in node.spec.nics:
            continue
        driver, interface = node.spec.driver, node.spec.nics[tag]
        capability = catalog.capabilities.get(driver)
        if not catalog.makes(what, driver):
            found.append((short(ref), driver, "", "use a network that only nodes carry which do, as with incus"))
        elif capability is not None and capability.routes is not None and interface not in capability.routes:
            fix = f"use a network of a nic tag that is `none` on {short(ref)}"
            found.append((short(ref), driver, f" on {interface}", fix))
    return found


def _group_of(ref: Ref) -> Ref:
    """The group that a replica would be of."""
    return Ref(re.sub(r"-[0-9]+$", "", ref)) if ref.startswith("Machine/") else ref


def may_use(allowed: list[str] | None, user: str | None) -> bool:
    return allowed is None or user is None or user in allowed


def within(ip: str, subnet: str) -> bool:
    network = ipaddress.ip_network(subnet)
    address = ipaddress.ip_address(ip)
    return address.version == network.version and address in network


def scope_of(ref: Ref) -> str:
    """How a ref's scope is written in a reference."""
    return tenant_of(ref) or OPERATOR
