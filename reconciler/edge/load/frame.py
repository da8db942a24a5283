"""What machines that name the same things have in common: image, package, interfaces, place.

Owns: everything of a machine that comes from what it names, and the checks on that. A fleet has few frames, so each is
made once in an attempt. Must not go here: what a machine says of itself (machine.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from reconciler.core.desired import Affinity, Constraints
from reconciler.core.refs import Ref, make_ref, name_of, short
from reconciler.edge.load.catalog import may_use
from reconciler.edge.load.findings import Path
from reconciler.edge.load.lower import Lowering, image_digest, interned
from reconciler.edge.load.nics import Nics, lower_nics
from specs.plain import Exceptional, Image, Machine, Nic, Node, Package

BRAND_OF_TYPE = {"disk": "vm", "zvol": "vm", "lx-dataset": "lx"}
"""The brand that an image's type leaves, where it is not `zone`."""

Traits = dict[str, str | bool]


class Frame(msgspec.Struct, frozen=True):
    """`body` is the part of the body that comes from image, package and interfaces. `uses`: what it was made of."""

    body: dict[str, Any]
    references: tuple[Ref, ...]
    nics: Nics
    memory: int
    cpu: int
    disk: int | None
    brand: str
    image_type: str
    place: str | None
    node: Node | None
    traits: Traits
    constraints: Constraints
    """Of a machine that keeps no company and wants no traits of its own."""
    resolvers: list[str]
    uses: frozenset[str]


def frame_of(lowering: Lowering, own: Exceptional, *, path: Path, group: bool) -> Frame | None:
    """The frame of the machine, or None after reporting what it names in vain.

    `own` is the replica's exception; `path` is where its interfaces are written; `group`: several machines share them.
    """
    spec: Machine = lowering.declared.spec
    nics = own.nics or spec.nics
    unique = any([nic.ip is not None or nic.mac is not None for nic in nics])
    key = (
        lowering.declared.tenant, own.image or spec.image, own.package or spec.package, own.node or spec.node,
        spec.brand, tuple([(nic.network, nic.primary) for nic in nics]), group,
    )  # fmt: skip
    frames: dict[Any, Frame] = lowering.catalog.frames
    frame = None if unique else frames.get(key)
    if frame is None:
        before, outer = len(lowering.out.findings), lowering.out.uses
        lowering.out.uses = set()
        frame = _Making(lowering, own, nics).make(path, group=group)
        inner, lowering.out.uses = lowering.out.uses, outer
        if frame is None:
            outer |= inner
            return None
        frame = msgspec.structs.replace(frame, uses=frozenset(inner))
        if len(lowering.out.findings) == before and not unique:
            frames[key] = frame
    lowering.out.uses |= frame.uses
    return frame


class _Making:
    def __init__(self, lowering: Lowering, own: Exceptional, nics: list[Nic]) -> None:
        self.lowering, self.own, self.entries = lowering, own, nics
        self.catalog = lowering.catalog
        self.spec: Machine = lowering.declared.spec

    def make(self, path: Path, *, group: bool) -> Frame | None:
        lowering, spec, own = self.lowering, self.spec, self.own
        image_ref = lowering.reference(("Image",), own.image or spec.image, ("image",))
        package_ref = lowering.reference(("Package",), own.package or spec.package, ("package",))
        nics = lower_nics(lowering, self.entries, path=path, group=group)
        place = own.node or spec.node
        if image_ref is None or package_ref is None or nics is None:
            self._as_far_as_known(image_ref, package_ref, nics, place)
            return None
        image, package = self.catalog.image(image_ref), self.catalog.package(package_ref)
        self._allowed(image_ref, image, package)
        brand = spec.brand or BRAND_OF_TYPE.get(image.type, "zone")
        node = self._node(place, image, brand, nics)
        traits = merged_traits(lowering, (package.traits, image.requirements.traits))
        return Frame(
            body=_body(image_ref, image, package, nics) | {"brand": brand},
            references=tuple(dict.fromkeys((image_ref, *nics.networks))),
            nics=nics,
            memory=package.memory,
            cpu=package.cpu or 0,
            disk=package.disk,
            brand=brand,
            image_type=image.type,
            place=place,
            node=node,
            traits=traits,
            constraints=shared_constraints(Constraints(place, brand, image.type, traits)),
            resolvers=self._resolvers(nics),
            uses=frozenset(),
        )

    def _may_have(self, ref: Ref, image: Image) -> None:
        tenant = self.lowering.declared.tenant
        if not may_use(image.tenants, tenant):
            self.lowering.wrong(
                ("image",), f"{short(ref)} is not for {tenant}", "add the tenant to the image's tenants"
            )

    def _allowed(self, ref: Ref, image: Image, package: Package) -> None:
        self._may_have(ref, image)
        least = image.requirements.min_memory
        if least is not None and package.memory < least:
            summary = f"{short(ref)} needs {size(least)} of memory, the package has {size(package.memory)}"
            self.lowering.wrong(("package",), summary, "take a larger package")
        room = image.requirements.min_disk
        if room is not None and package.disk is not None and package.disk < room:
            summary = f"{short(ref)} needs {size(room)} of disk, the package has {size(package.disk)}"
            self.lowering.wrong(("package",), summary, "take a larger package")

    def _as_far_as_known(self, image: Ref | None, package: Ref | None, nics: Nics | None, place: str | None) -> None:
        """Something leads nowhere. What does not depend on it is judged all the same."""
        found = self.catalog.image(image) if image is not None else None
        if image is not None and found is not None and package is not None:
            self._allowed(image, found, self.catalog.package(package))
        elif image is not None and found is not None:
            self._may_have(image, found)
        brand = self.spec.brand or BRAND_OF_TYPE.get(found.type if found is not None else "", "zone")
        self._node(place, found, brand, nics)

    def _node(self, place: str | None, image: Image | None, brand: str, nics: Nics | None) -> Node | None:
        """The node that is asked for. What is not known is not judged."""
        lowering, catalog = self.lowering, self.catalog
        if place is None:
            if image is not None and not catalog.supported(image.type, brand):
                summary = f"no node's driver can make a {brand} of an image of type {image.type}"
                lowering.wrong(("image",), summary, "take another image, or add a node that can")
            return None
        name = place.partition("/")[0]
        lowering.out.uses.add(make_ref("Node", name))
        node = catalog.node(place)
        if node is None:
            if not catalog.excused("Node", name):
                lowering.wrong(("node",), f"there is no node {place!r}", "name a node, or a member as node/member")
            return None
        if image is not None and not catalog.takes(node.driver, image.type, brand):
            summary = f"driver {node.driver} of {name} cannot make a {brand} of an image of type {image.type}"
            lowering.wrong(("image",), summary, "take another image or node")
        if nics is not None:
            self._carried(name, node, nics)
        return node

    def _carried(self, name: str, node: Node, nics: Nics) -> None:
        """An interface of which no network runs on the node."""
        for want in nics.wants:
            tags = [self.catalog.network(ref).nic_tag for ref in want.networks]
            if not any(tag in node.nics for tag in tags):
                summary = f"{name} does not carry {short(want.networks[0])}: it has no interface for {tags[0]!r}"
                fix = f"add {tags[0]} to the node's nics, or choose another node or network"
                self.lowering.wrong(("nics",), summary, fix)

    def _resolvers(self, nics: Nics) -> list[str]:
        """The primary network's; else the datacenter's."""
        if nics.primary is not None:
            own = self.catalog.network(nics.primary).resolvers
            if own is not None:
                return own
        datacenter = self.catalog.datacenter
        return datacenter.dns.resolvers if datacenter else []


def _body(image_ref: Ref, image: Image, package: Package, nics: Nics) -> dict[str, Any]:
    body = {
        "memory": package.memory,
        "swap": package.swap,
        "cpu": package.cpu,
        "cpuShares": package.cpu_shares,
        "vcpus": package.vcpus,
        "threads": package.threads,
        "ioPriority": package.io_priority,
        "ioRead": package.io_read,
        "ioWrite": package.io_write,
        "disk": package.disk,
        "nics": nics.body,
        "image": {
            "name": name_of(image_ref),
            "digest": image_digest(image),
            "type": image.type,
            "os": image.os,
        },
    }
    return {key: value for key, value in body.items() if value is not None}


def merged_traits(lowering: Lowering, sources: Iterable[Traits]) -> Traits:
    """All that a node must have; wanting one trait to be two things is a mistake."""
    traits: Traits = {}
    for given in sources:
        for name, value in given.items():
            if traits.setdefault(name, value) != value:
                summary = f"package, image and machine want the trait {name!r} to be two different things"
                lowering.wrong((), summary, "make them agree")
    return traits


_CONSTRAINTS: dict[bytes, Constraints] = {}


def shared_constraints(made: Constraints) -> Constraints:
    """The one record of this content."""
    return interned(lambda: made, _CONSTRAINTS, made)


def company(members: tuple[Ref, ...], spread: Any) -> Affinity | None:
    """The group to keep apart from. The machine itself is among them, so that all share one record."""
    if spread is None or len(members) < 2:
        return None
    return Affinity(machines=members, over=spread.over, hard=spread.hard)


def size(count: int) -> str:
    """Bytes as people write them, in the largest unit that keeps it whole."""
    for unit, factor in (("Ti", 2**40), ("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10)):
        if count and count % factor == 0:
            return f"{count // factor}{unit}"
    return f"{count}B"
