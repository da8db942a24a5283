"""From a declared machine, or group of them, to Resources.

Owns: the Machine body, demand, interfaces, constraints. Must not go here: comparing machines with each other, beyond
the claims that each hands out.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from typing import Any

import msgspec

from reconciler.core.desired import Affinity, Behaviour, Constraints, Demand, Update
from reconciler.core.refs import Ref, make_ref, name_of, short
from reconciler.core.values import canonical
from reconciler.edge.load.catalog import Catalog, may_use
from reconciler.edge.load.document import Declared
from reconciler.edge.load.findings import Path
from reconciler.edge.load.lower import Lowered, Lowering, dumped, image_digest, interned, renamed_ref, resource
from reconciler.edge.load.nics import Nics, lower_nics
from specs import machine as spec_of
from specs.image import Image
from specs.machine import Exceptional, Machine
from specs.package import Package

ReadFile = Callable[[str, str], str | None]
"""(file of the document, path as written) → the text; None if there is no such file."""

BRAND_OF_TYPE = {"disk": "vm", "zvol": "vm", "lx-dataset": "lx"}
"""The brand that an image's type leaves, where it is not `zone`."""


def ordinals(spec: Machine) -> list[int] | None:
    if spec.replicas is None:
        return None
    return list(spec.replicas) if isinstance(spec.replicas, list) else list(range(1, spec.replicas + 1))


def member_refs(declared: Declared) -> tuple[Ref, ...]:
    """The machines that a document stands for: itself, or `<name>-1` and so on."""
    numbers = ordinals(declared.spec)
    if numbers is None:
        return (declared.ref,)
    return tuple(Ref(f"{declared.ref}-{number}") for number in numbers)


class _Common(msgspec.Struct, frozen=True):
    """What all replicas of a document share."""

    behaviour: Behaviour
    spread: tuple[Ref, ...]
    near: Affinity | None
    avoid: Affinity | None
    ssh_keys: list[Any]
    user_data: Any
    members: tuple[Ref, ...]


class _Sharing:
    """Small equal records kept once."""

    demand: dict[bytes, Demand] = {}  # noqa: RUF012 - shared on purpose
    constraints: dict[bytes, Constraints] = {}  # noqa: RUF012


def lower_machine(declared: Declared, catalog: Catalog, read: ReadFile) -> Lowered:
    """Every Resource of the document, or what is wrong with it."""
    out = Lowered()
    _Machine(declared, catalog, out, read).lower()
    return out


class _Machine(Lowering):
    def __init__(self, declared: Declared, catalog: Catalog, out: Lowered, read: ReadFile) -> None:
        super().__init__(declared, catalog, out)
        self.spec: Machine = declared.spec
        self.read = read

    def lower(self) -> None:
        spec = self.spec
        numbers = ordinals(spec)
        common = self._common()
        if numbers is None:
            self._one(self.declared.ref, None, common)
            return
        for number in spec.each:
            if number not in numbers:
                self.wrong(("each", number), f"there is no replica {number}", f"there are {_listed(numbers)}")
        for number, ref in zip(numbers, common.members, strict=True):
            if len(name_of(ref)) > 63:
                self.wrong((), f"{name_of(ref)!r} is longer than a host's name can be", "at most 63 characters")
                return
            self._one(ref, spec.each.get(number), common)

    def _common(self) -> _Common:
        members = member_refs(self.declared)
        return _Common(
            behaviour=self._behaviour(),
            spread=members,
            near=self._affinity(self.spec.near, "near"),
            avoid=self._affinity(self.spec.avoid, "avoid"),
            ssh_keys=self._ssh_keys(),
            user_data=self._user_data(),
            members=members,
        )

    def _behaviour(self) -> Behaviour:
        spec, declared = self.spec, self.declared
        update = None
        if spec.replicas is not None:
            rules = spec.update or spec_of.Update()
            update = Update(
                group=declared.ref,
                canary=rules.canary,
                batch=rules.batch,
                pause=rules.pause,
                max_failures=rules.max_failures,
            )
        return Behaviour(
            drift=spec.drift,
            ignore=tuple(spec.ignore),
            any_state=spec.state == "any",
            replace=spec.update is not None and spec.update.replace == "allowed",
            update=update,
            renamed_from=renamed_ref(declared),
        )

    def _affinity(self, spec: spec_of.Affinity | None, field: str) -> Affinity | None:
        if spec is None:
            return None
        found: list[Ref] = []
        for position, written in enumerate(spec.machines):
            ref = self.reference(("Machine",), written, (field, "machines", position))
            if ref is not None:
                found += self.catalog.members(ref) or ()
        return Affinity(machines=tuple(dict.fromkeys(found)), over=spec.over, hard=spec.hard)

    def _ssh_keys(self) -> list[Any]:
        if self.spec.ssh_keys != "tenant":
            return list(self.spec.ssh_keys)
        ref = make_ref("Tenant", self.declared.tenant or "")
        self.out.uses.add(ref)
        tenant = self.catalog.entries.get(ref)
        return [line for _, line in sorted(tenant.spec.keys.items())] if tenant else []

    def _user_data(self) -> Any:
        data = self.spec.user_data
        if data is None:
            return None
        if data.secret is not None:
            return {"secret": data.secret}
        if data.file is None:
            return data.text
        path = beside(self.declared.file, data.file)
        if path is None:
            self.wrong(("userData", "file"), f"{data.file!r} leads out of the tree", "keep it beside the document")
            return None
        self.out.uses.add(f"file:{path}")
        text = self.read(self.declared.file, path)
        if text is None:
            self.wrong(
                ("userData", "file"), f"there is no file {path!r}", "paths are relative to this document's folder"
            )
        return text

    def _one(self, ref: Ref, own: Exceptional | None, common: _Common) -> None:
        spec = self.spec
        own = own or _PLAIN
        image_ref = self.reference(("Image",), own.image or spec.image, ("image",))
        package_ref = self.reference(("Package",), own.package or spec.package, ("package",))
        nics = lower_nics(self, own.nics or spec.nics, path=self._nics_path(ref, own), group=self._shared_nics(own))
        if image_ref is None or package_ref is None or nics is None:
            return
        image: Image = self.catalog.image(image_ref)
        package: Package = self.catalog.declared(package_ref).spec
        self._image_allowed(image_ref, image, package)
        state = own.state or spec.state
        brand = spec.brand or BRAND_OF_TYPE.get(image.type, "zone")
        place = own.node or spec.node
        demand = self._demand(package)
        self._place(place, image, brand, nics, demand)
        behaviour = common.behaviour
        if own.state is not None:
            behaviour = msgspec.structs.replace(behaviour, any_state=own.state == "any")
        body = self._body(ref, package, common, nics)
        body["brand"] = brand
        body["state"] = "running" if state == "any" else state
        body["image"] = {"name": name_of(image_ref), "digest": image_digest(image), "type": image.type, "os": image.os}
        self.out.resources.append(
            resource(
                ref,
                canonical({key: value for key, value in body.items() if value is not None}),
                references=tuple(dict.fromkeys((image_ref, *nics.networks))),
                demand=demand,
                nics=nics.wants,
                constraints=self._constraints(ref, image, package, place=place, brand=brand, common=common),
                protected=spec.deletion_protection,
                behaviour=self._renames(ref, behaviour),
                tags={key: str(value) for key, value in self.declared.tags.items()},
            )
        )

    def _renames(self, ref: Ref, behaviour: Behaviour) -> Behaviour:
        """`web` and `web-1` are the same machine when `replicas` comes or goes: the planner renames, never destroys."""
        if behaviour.renamed_from is not None:
            if self.spec.replicas is None:
                return behaviour
            number = ref[len(self.declared.ref) :]
            return msgspec.structs.replace(behaviour, renamed_from=Ref(behaviour.renamed_from + number))
        if self.spec.replicas is None:
            return msgspec.structs.replace(behaviour, renamed_from=Ref(f"{ref}-1"))
        if ref == f"{self.declared.ref}-1":
            return msgspec.structs.replace(behaviour, renamed_from=self.declared.ref)
        return behaviour

    def _image_allowed(self, ref: Ref, image: Image, package: Package) -> None:
        if not may_use(image.tenants, self.declared.tenant):
            self.wrong(("image",), f"{short(ref)} is not for {self.declared.tenant}", "add the tenant to the image")
        least = image.requirements.min_memory
        if least is not None and package.memory < least:
            summary = f"{short(ref)} needs {size(least)} of memory, the package has {size(package.memory)}"
            self.wrong(("package",), summary, "take a larger package")

    def _demand(self, package: Package) -> Demand:
        root = self.spec.disks.get("root")
        disk = (root.size if root and root.size is not None else package.disk) or 0
        disk += sum(own.size or 0 for name, own in self.spec.disks.items() if name != "root")
        values = (package.memory, package.cpu or 0, disk)
        return interned(lambda: Demand(*values), _Sharing.demand, values)

    def _place(self, place: str | None, image: Image, brand: str, nics: Nics, demand: Demand) -> None:
        catalog = self.catalog
        if place is None:
            if not catalog.supported(image.type, brand):
                self.wrong(("image",), f"no node's driver can make a {brand} of an image of type {image.type}",
                           "take another image, or add a node that can")  # fmt: skip
            return
        name = place.partition("/")[0]
        self.out.uses.add(make_ref("Node", name))
        node = catalog.node(place)
        if node is None:
            if not catalog.excused("Node", name):
                self.wrong(("node",), f"there is no node {place!r}", "name a node, or a member as node/member")
            return
        if not catalog.takes(node.driver, image.type, brand):
            summary = f"driver {node.driver} of {name} cannot make a {brand} of an image of type {image.type}"
            self.wrong(("image",), summary, "take another image or node")
        for ref in nics.networks:
            tag = catalog.network(ref).nic_tag
            if tag not in node.nics and not self._otherwise(nics, ref, node.nics):
                self.wrong(("nics",), f"{name} does not carry {short(ref)}: it has no interface for {tag!r}",
                           f"add {tag} to the node's nics, or choose another node or network")  # fmt: skip
        self._fits(name, node.capacity, demand)

    def _otherwise(self, nics: Nics, ref: Ref, carried: dict[str, str]) -> bool:
        """Whether the interface has another network of its pool to choose on that node."""
        choices = {other for want in nics.wants if ref in want.networks for other in want.networks}
        return any(self.catalog.network(other).nic_tag in carried for other in choices)

    def _fits(self, name: str, capacity: Any, demand: Demand) -> None:
        for what, have, want in (
            ("memory", capacity.memory, demand.memory),
            ("disk", capacity.disk, demand.disk),
        ):
            if have is not None and want > have:
                self.wrong(
                    ("package",),
                    f"it takes {size(want)} of {what}, {name} has {size(have)}",
                    "choose a smaller package",
                )

    def _nics_path(self, ref: Ref, own: Exceptional) -> Path:
        return ("nics",) if own.nics is None else ("each", int(ref[len(self.declared.ref) + 1 :]), "nics")

    def _shared_nics(self, own: Exceptional) -> bool:
        """Whether several machines would get these interfaces as they are written."""
        numbers = ordinals(self.spec)
        return numbers is not None and own.nics is None and len(numbers) > 1

    def _constraints(
        self, ref: Ref, image: Image, package: Package, *, place: str | None, brand: str, common: _Common
    ) -> Constraints:
        spread = self.spec.spread
        apart = None
        if spread is not None and len(common.spread) > 1:
            others = tuple(member for member in common.spread if member != ref)
            apart = Affinity(machines=others, over=spread.over, hard=spread.hard)
        traits = self._traits(image, package)
        values = (place, brand, image.type, traits, apart, common.near, common.avoid)
        return interned(
            lambda: Constraints(
                node=place,
                brand=brand,
                image_type=image.type,
                traits=traits,
                spread=apart,
                near=common.near,
                avoid=common.avoid,
            ),
            _Sharing.constraints,
            values,
        )

    def _traits(self, image: Image, package: Package) -> dict[str, str | bool]:
        traits: dict[str, str | bool] = {}
        for given in (package.traits, image.requirements.traits, self.spec.traits):
            for name, value in given.items():
                if traits.setdefault(name, value) != value:
                    self.wrong((), f"package, image and machine want the trait {name!r} to be two different things",
                               "make them agree")  # fmt: skip
        return traits

    def _body(self, ref: Ref, package: Package, common: _Common, nics: Nics) -> dict[str, Any]:
        spec = self.spec
        root = spec.disks.get("root")
        number = ref[len(self.declared.ref) :]
        return {
            "memory": package.memory,
            "swap": package.swap,
            "cpu": package.cpu,
            "cpuShares": package.cpu_shares,
            "vcpus": package.vcpus,
            "threads": package.threads,
            "ioPriority": package.io_priority,
            "disk": root.size if root and root.size is not None else package.disk,
            "hostname": spec.hostname + number if spec.hostname else name_of(ref),
            "nics": nics.body,
            "disks": {name: dumped(disk) for name, disk in spec.disks.items() if name != "root"},
            "resolvers": self._resolvers(nics),
            "search": self._search(),
            "sshKeys": common.ssh_keys,
            "userData": common.user_data,
            "metadata": {
                key: text if isinstance(text, str) else {"secret": text.secret} for key, text in spec.metadata.items()
            },
            "ready": dumped(spec.ready) if spec.ready else None,
            "snapshots": dumped(spec.snapshots) if spec.snapshots else None,
            "tags": self.declared.tags or None,
        }

    def _resolvers(self, nics: Nics) -> list[str]:
        if self.spec.resolvers is not None:
            return self.spec.resolvers
        if nics.primary is not None:
            own = self.catalog.network(nics.primary).resolvers
            if own is not None:
                return own
        datacenter = self.catalog.datacenter
        return datacenter.dns.resolvers if datacenter else []

    def _search(self) -> list[str]:
        if self.spec.search is not None:
            return self.spec.search
        datacenter = self.catalog.datacenter
        return datacenter.dns.search if datacenter else []


_PLAIN = Exceptional()


def beside(file: str, written: str) -> str | None:
    """The path in the tree of a file named by a document; None if it leads out of the tree."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(file), written))
    return None if path.startswith(("../", "/")) or path == ".." else path


def _listed(numbers: list[int]) -> str:
    if not numbers:
        return "none"
    return ", ".join(map(str, numbers)) if len(numbers) < 8 else f"{numbers[0]} to {numbers[-1]}"


def size(count: int) -> str:
    """Bytes as people write them, in the largest unit that keeps it whole."""
    for unit, factor in (("Ti", 2**40), ("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10)):
        if count and count % factor == 0:
            return f"{count // factor}{unit}"
    return f"{count}B"
