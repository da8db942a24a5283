"""A machine's interfaces: which networks they can be in, and whether a written address belongs there.

Owns: NicWant and the `nics` of a body. Must not go here: giving out addresses (core/ipam), anything else of a machine.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

import msgspec

from reconciler.core.desired import NicWant
from reconciler.core.refs import Ref, name_of, short
from reconciler.edge.load.catalog import Catalog, Problem, may_use, within
from reconciler.edge.load.findings import Path
from specs.plain import Nic

if TYPE_CHECKING:
    from reconciler.edge.load.lower import Lowering

NETWORKS = ("Network", "NetworkPool")


class Nics(msgspec.Struct, frozen=True):
    """`networks`: every network that an interface may come to lie in. `primary`: the first one of the primary's."""

    wants: tuple[NicWant, ...]
    body: list[dict[str, Any]]
    networks: tuple[Ref, ...]
    primary: Ref | None


EMPTY = Nics((), [], (), None)


def lower_nics(lowering: Lowering, entries: list[Nic], *, path: Path, group: bool) -> Nics | None:
    """None if one of them leads nowhere, which is then reported."""
    if not entries:
        return EMPTY
    catalog = lowering.catalog
    marked = next((position for position, nic in enumerate(entries) if nic.primary), 0)
    if sum([nic.primary is True for nic in entries]) > 1:
        lowering.wrong((), "two interfaces are primary", "primary: true on one of them")
    wants: list[NicWant] = []
    seen: dict[str, int] = {}
    complete = True
    for position, nic in enumerate(entries):
        here: Path = (*path, position)
        if nic.mac is not None:
            _claim_mac(lowering, nic.mac, here=(*here, "mac"), group=group)
        ref = lowering.reference(NETWORKS, nic.network, here)
        if ref is None:
            complete = False
            _claim_in_doubt(lowering, nic, here=here, group=group)
            continue
        networks = catalog.networks(ref)
        lowering.out.uses.update(networks)
        _allowed(lowering, networks, here)
        if nic.ip is not None:
            networks = _addressed(lowering, networks, nic.ip, here=(*here, "ip"), group=group)
        elif not any(catalog.network(network).range for network in networks) and networks:
            lowering.wrong(
                here, f"{_names(networks)} has no range to give addresses from", "write {network, ip}, or add a range"
            )
        _apart(lowering, networks, seen, here, position)
        wants.append(NicWant(networks=networks, ip=nic.ip, mac=nic.mac, primary=position == marked))
    if not complete or not all(want.networks for want in wants):
        return None
    return _nics(tuple(wants))


def _nics(wants: tuple[NicWant, ...]) -> Nics:
    body: list[dict[str, Any]] = []
    for want in wants:
        entry: dict[str, Any] = {"networks": want.networks, "primary": want.primary}
        if want.ip is not None:
            entry["ip"] = want.ip
        if want.mac is not None:
            entry["mac"] = want.mac
        body.append(entry)
    networks = tuple(dict.fromkeys(network for want in wants for network in want.networks))
    primary = next(want.networks[0] for want in wants if want.primary)
    return Nics(wants, body, networks, primary)


def _names(networks: tuple[Ref, ...]) -> str:
    return " or ".join(short(network) for network in networks)


def _allowed(lowering: Lowering, networks: tuple[Ref, ...], here: Path) -> None:
    for network in networks:
        if not may_use(lowering.catalog.network(network).tenants, lowering.declared.tenant):
            lowering.wrong(
                here,
                f"{short(network)} is not for {lowering.declared.tenant}",
                "add the tenant to the network's tenants",
            )


def _apart(lowering: Lowering, networks: tuple[Ref, ...], seen: dict[str, int], here: Path, position: int) -> None:
    """Interfaces are told apart by their network's name, on the node too."""
    for network in networks:
        first = seen.setdefault(name_of(network), position)
        if first != position:
            lowering.wrong(here, f"two interfaces would be in {name_of(network)}", "one interface in each network")
            return


def _addressed(lowering: Lowering, networks: tuple[Ref, ...], ip: str, *, here: Path, group: bool) -> tuple[Ref, ...]:
    """The network that the address belongs to; of a pool the one that has it."""
    catalog = lowering.catalog
    fitting = tuple(network for network in networks if within(ip, catalog.network(network).subnet))
    if not fitting:
        subnets = " or ".join(catalog.network(network).subnet for network in networks)
        lowering.wrong(here, f"{ip} is outside {subnets} of {_names(networks)}", "take an address in the subnet")
        return networks
    network = fitting[0]
    problem = address_problem(catalog, network, ip)
    if problem is not None:
        lowering.wrong(here, *problem)
    if group:
        lowering.wrong(here, *_SHARED_ADDRESS)
    else:
        _claim_address(lowering, network, ip, here=here)
    return (network,)


def _claim_in_doubt(lowering: Lowering, nic: Nic, *, here: Path, group: bool) -> None:
    """An address in a network that is wrong itself can be wanted twice all the same."""
    found = lowering.catalog.find(NETWORKS, lowering.declared.tenant, nic.network)
    if nic.ip is None or not isinstance(found, Problem) or found.ref is None:
        return
    if group:
        lowering.wrong((*here, "ip"), *_SHARED_ADDRESS)
    else:
        _claim_address(lowering, found.ref, nic.ip, here=(*here, "ip"))


def _claim_address(lowering: Lowering, network: Ref, ip: str, *, here: Path) -> None:
    lowering.claim(f"{network} {ip}", here, f"{ip} in {short(network)} is taken already", "take another address")


_SHARED_ADDRESS = ("all replicas would have this address", "write it in each: {1: {nics: […]}}, or leave it out")


def address_problem(catalog: Catalog, network: Ref, ip: str) -> tuple[str, str] | None:
    """What is wrong with writing this address in this network, whose subnet has it."""
    spec = catalog.network(network)
    if spec.range is not None and ip not in spec.reserved and in_span(ip, spec.range):
        return (
            f"{ip} is inside {spec.range}, from which {short(network)} gives out addresses",
            "write one outside the range, or put it on the network's `reserved` list",
        )
    if ip == spec.gateway:
        return f"{ip} is the gateway of {short(network)}", "take another address"
    subnet = ipaddress.ip_network(spec.subnet)
    address = ipaddress.ip_address(ip)
    if subnet.num_addresses > 2 and address in (subnet.network_address, subnet.broadcast_address):
        which = "first" if address == subnet.network_address else "last"
        return f"{ip} is the {which} of {spec.subnet}, no machine can have it", "take another address"
    return None


def in_span(ip: str, span: str) -> bool:
    first, _, last = span.partition("-")
    address, low, high = (ipaddress.ip_address(text) for text in (ip, first, last))
    return address.version == low.version and int(low) <= int(address) <= int(high)


def _claim_mac(lowering: Lowering, mac: str, *, here: Path, group: bool) -> None:
    if group:
        lowering.wrong(
            here, "all replicas would have this MAC address", "write it in each: {1: {nics: […]}}, or leave it out"
        )
    else:
        lowering.claim(f"mac {mac}", here, f"the MAC address {mac} is taken already", "take another, or leave it out")
