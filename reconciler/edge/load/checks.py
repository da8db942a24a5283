"""Rules between things, checked without asking any node.

Owns: what must hold among things that are not machines. Must not go here: machines (machine.py,
nics.py), names and addresses taken twice (loader.py compares claims).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from reconciler.core.refs import Ref, make_ref, short
from reconciler.edge.load.catalog import KNOWN_DRIVERS, Catalog, within
from reconciler.edge.load.document import Declared
from reconciler.edge.load.findings import Finding, Path
from reconciler.edge.load.firewall import check_rule
from reconciler.edge.load.forwards import check_forwards
from reconciler.edge.load.frame import size
from reconciler.edge.load.lower import Lowered, Lowering, lower_image, lower_network, lower_volume, renamed_ref
from reconciler.edge.load.records import Total
from reconciler.edge.load.tenancy import check_node, lower_tenant
from specs.plain import Network, Node


def lower_thing(declared: Declared, catalog: Catalog) -> Lowered:
    """A declared thing other than a machine: its Resource, if its kind has one, and its mistakes."""
    out = Lowered()
    lowering = Lowering(declared, catalog, out)
    if declared.kind == "Network":
        _check_network(lowering)
        lower_network(lowering)
    elif declared.kind == "Image":
        _tenants(lowering, declared.spec.tenants)
        lower_image(lowering)
    elif declared.kind == "FirewallRule":
        check_rule(lowering)
    elif declared.kind == "Volume":
        _check_volume(lowering)
        lower_volume(lowering)
    elif declared.kind == "NetworkPool":
        _check_pool(lowering)
    elif declared.kind == "Node":
        _check_node(lowering)
        check_node(lowering)
    elif declared.kind == "Tenant":
        lower_tenant(lowering)
    return out


def _tenants(lowering: Lowering, tenants: list[str] | None) -> None:
    for position, name in enumerate(tenants or ()):
        lowering.reference(("Tenant",), name, ("tenants", position))


def _tag(lowering: Lowering, tag: str, path: Path) -> None:
    datacenter = lowering.catalog.datacenter
    if datacenter is not None and datacenter.nic_tags is not None and tag not in datacenter.nic_tags:
        known = ", ".join(sorted(datacenter.nic_tags))
        lowering.wrong(
            path, f"the datacenter has no nic tag {tag!r}", f"there are {known}; or add it to Datacenter.nicTags"
        )


def _check_network(lowering: Lowering) -> None:
    spec: Network = lowering.declared.spec
    _tag(lowering, spec.nic_tag, ("nicTag",))
    _tenants(lowering, spec.tenants)
    if lowering.declared.sure("subnet"):
        _check_addresses(lowering, spec)
    if spec.nat and spec.gateway is None and lowering.declared.sure("gateway"):
        lowering.wrong(
            ("nat",), "nat needs a gateway, and there is none", "add gateway: the node's address in this network"
        )
    check_forwards(lowering)


def _check_addresses(lowering: Lowering, spec: Network) -> None:
    _inside(lowering, spec.gateway, spec.subnet, ("gateway",))
    for position, ip in enumerate(spec.reserved):
        _inside(lowering, ip, spec.subnet, ("reserved", position))
    if spec.range is not None:
        first, _, last = spec.range.partition("-")
        if not (within(first, spec.subnet) and within(last, spec.subnet)):
            lowering.wrong(("range",), f"{spec.range} is not within {spec.subnet}", "keep the range inside the subnet")
        else:
            _ends(lowering, first, last, spec.subnet)
    for target, via in spec.routes.items():
        if not within(via, spec.subnet):
            lowering.wrong(
                ("routes", target), f"{via} is outside {spec.subnet}", "a route leads through an address of the subnet"
            )


def _inside(lowering: Lowering, ip: str | None, subnet: str, path: Path) -> None:
    if ip is not None and not within(ip, subnet):
        lowering.wrong(path, f"{ip} is outside {subnet}", "take an address in the subnet")


def _ends(lowering: Lowering, first: str, last: str, subnet: str) -> None:
    network = ipaddress.ip_network(subnet)
    if network.num_addresses <= 2:
        return
    for ip, edge, which in ((first, network.network_address, "first"), (last, network.broadcast_address, "last")):
        if ipaddress.ip_address(ip) == edge:
            lowering.wrong(
                ("range",), f"{ip} is the {which} of {subnet}, no machine can have it", "leave it out of the range"
            )


def _check_pool(lowering: Lowering) -> None:
    seen: set[Ref] = set()
    for position, written in enumerate(lowering.declared.spec.networks):
        ref = lowering.reference(("Network",), written, ("networks", position))
        if ref is not None and ref in seen:
            lowering.wrong(("networks", position), f"{written} is listed twice", "list each network once")
        if ref is not None:
            seen.add(ref)


def _check_volume(lowering: Lowering) -> None:
    place, catalog = lowering.declared.spec.node, lowering.catalog
    if place is None:
        if not catalog.makes("Volume"):
            lowering.wrong((), "no node's driver makes volumes", "add a node that does, or use a machine's `disks`")
        return
    name = place.partition("/")[0]
    node = catalog.node(place)
    if node is None:
        if not catalog.excused("Node", name):
            lowering.wrong(("node",), f"there is no node {place!r}", "name a node, or a member as node/member")
    elif not catalog.makes("Volume", node.driver):
        lowering.wrong(("node",), f"driver {node.driver} of {name} makes no volumes", "choose another node")


def _check_node(lowering: Lowering) -> None:
    spec: Node = lowering.declared.spec
    known = KNOWN_DRIVERS | set(lowering.catalog.capabilities)
    if spec.driver not in known:
        lowering.wrong(("driver",), f"there is no driver {spec.driver!r}", f"one of {', '.join(sorted(known))}")
    for tag in spec.nics:
        _tag(lowering, tag, ("nics", tag))
    if spec.driver != "local" and spec.address is None and lowering.declared.sure("driver", "address"):
        lowering.wrong((), "address is missing", f"address: where the {spec.driver} node is reached")


def check_overlaps(networks: Iterable[Declared]) -> list[Finding]:
    """Two networks on one wire must not share addresses: the later of the two is reported."""
    wires: dict[tuple[str, int], list[Declared]] = {}
    for declared in networks:
        spec: Network = declared.spec
        wires.setdefault((spec.nic_tag, spec.vlan or 0), []).append(declared)
    findings = []
    for (tag, vlan), found in wires.items():
        spans = sorted(
            (net.version, int(net.network_address), int(net.broadcast_address), place(one), one)
            for one in found
            for net in (ipaddress.ip_network(one.spec.subnet),)
        )
        low = spans[0]
        for high in spans[1:]:
            if low[0] != high[0] or high[1] > low[2]:
                low = high
            else:
                first, second = sorted((low[4], high[4]), key=place)
                summary = f"{second.spec.subnet} overlaps {first.spec.subnet} of {short(first.ref)} on nic tag {tag}"
                vlans = f" and vlan {vlan}" if vlan else ""
                findings.append(second.finding(("subnet",), summary + vlans, "give one of them another subnet or vlan"))
    return findings


def place(declared: Declared) -> tuple[str, int, str]:
    """Where a thing is declared: what decides which of two is the later."""
    return declared.file, declared.index, declared.ref


def check_cycles(
    images: Iterable[Declared], catalog: Catalog, images_of: Callable[[Ref], Iterable[Ref]]
) -> list[Finding]:
    """What an image is made from must end somewhere: its origin, or the machine it is taken from and that one's image.

    `images_of`: the images that a machine or a group of them starts from.
    """
    declared = {image.ref: image for image in images}
    needs = {ref: _made_from(image, catalog, images_of) for ref, image in declared.items()}
    findings, done = [], set[Ref]()
    for start in sorted(needs):
        circle = _circle(start, needs, done)
        if circle:
            worst = max((declared[one] for one in circle), key=place)
            shown = " → ".join(short(one) for one in (*circle, circle[0]))
            path: Path = ("origin",) if worst.spec.origin else ("source", "machine")
            findings.append(
                worst.finding(path, f"images are made from each other in a circle: {shown}", "remove one of them")
            )
    return findings


def _made_from(image: Declared, catalog: Catalog, images_of: Callable[[Ref], Iterable[Ref]]) -> list[Ref]:
    found: list[Ref] = []
    if image.spec.origin:
        origin = catalog.find(("Image",), image.tenant, image.spec.origin)
        found += [origin] if isinstance(origin, str) else []
    if image.spec.source.machine:
        machine = catalog.find(("Machine",), image.tenant, image.spec.source.machine)
        found += images_of(machine) if isinstance(machine, str) else []
    return found


def _circle(start: Ref, needs: Mapping[Ref, list[Ref]], done: set[Ref]) -> list[Ref] | None:
    """A circle that can be reached from here, unless it was told already. Deep first, without recursion."""
    trail: dict[Ref, Iterator[Ref]] = {}
    pending: list[Ref] = [start] if start not in done else []
    while pending:
        ref = pending[-1]
        if ref not in trail:
            trail[ref] = iter(needs.get(ref, ()))
            done.add(ref)
        following = next(trail[ref], None)
        if following is None:
            pending.pop()
            del trail[ref]
        elif following in trail:
            return list(trail)[list(trail).index(following) :]
        elif following not in done:
            pending.append(following)
    return None


def capacity(node: Declared) -> tuple[int | None, int | None]:
    """Memory and disk that a node says it has."""
    return node.spec.capacity.memory, node.spec.capacity.disk


def check_packages(packages: Iterable[Declared], capacities: Iterable[tuple[int | None, int | None]]) -> list[Finding]:
    """A package that no node could hold. `capacities`: memory and disk of each node, as far as it says."""
    findings: list[Finding] = []
    memory, disk = {each[0] for each in capacities}, {each[1] for each in capacities}
    for what, given in (("memory", memory), ("disk", disk)):
        known = {each for each in given if each is not None}
        if not known or None in given:
            continue
        largest = max(known)
        for package in sorted(packages, key=place):
            wanted = getattr(package.spec, what)
            if wanted is not None and wanted > largest:
                summary = f"no node has {size(wanted)} of {what}, the largest has {size(largest)}"
                findings.append(package.finding((what,), summary, "make it smaller, or correct the nodes' capacity"))
    return findings


def check_limits(tenant: Declared, total: Total) -> list[Finding]:
    """What a tenant's machines take together, against its limits."""
    limits = tenant.spec.limits
    findings = []
    for what, limit, taken, words in (
        ("machines", limits.machines, total.machines, "{} machines"),
        ("memory", limits.memory, total.memory, "{} of memory"),
        ("cpu", limits.cpu, total.cpu, "{} cores"),
        ("disk", limits.disk, total.disk, "{} of disk"),
    ):
        if limit is not None and taken > limit:
            summary = f"{tenant.name} takes {words.format(_shown(what, taken))}, its limit is {_shown(what, limit)}"
            findings.append(tenant.finding(("limits", what), summary, "raise the limit, or remove machines"))
    return findings


def _shown(what: str, amount: int) -> str:
    if what == "machines":
        return str(amount)
    return f"{amount / 1000:g}" if what == "cpu" else size(amount)


def check_tenant(declared: Declared, catalog: Catalog) -> list[Finding]:
    """Whether the thing's tenant exists."""
    if declared.tenant is None or catalog.known(make_ref("Tenant", declared.tenant)):
        return []
    if catalog.excused("Tenant", declared.tenant):
        return []
    path: Path = ("metadata", "tenant")
    summary = f"there is no Tenant {declared.tenant!r}"
    return [
        Finding(
            declared.file,
            declared.index,
            path,
            summary,
            "add it (kind: Tenant), or correct the name",
            ref=declared.known_as,
        )
    ]


def check_rename(declared: Declared, catalog: Catalog, out: Lowered) -> None:
    """What a thing was called before must be gone, and can have become one thing only."""
    before = renamed_ref(declared)
    if before is None:
        return
    out.uses.add(before)
    summary, fix = f"{short(before)} is renamed already", "it can become one thing only"
    finding = Finding(declared.file, declared.index, ("metadata", "renamedFrom"), summary, fix, ref=declared.known_as)
    out.claims.append((f"renamed {before}", finding))
    if catalog.known(before):
        summary, fix = f"{short(before)} was renamed to this and is still here", "remove one of the two"
        out.findings.append(msgspec.structs.replace(finding, summary=summary, fix=fix))
