"""From a declared machine, or group of them, to Resources.

Owns: what a machine says of itself: disks, keys, data, behaviour, company. Must not go here: what comes from the things
it names (frame.py), comparing machines with each other, beyond the claims that each hands out.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from typing import Any

import msgspec

from reconciler.core.desired import FIRST, Affinity, Behaviour, Constraints, Demand, Update
from reconciler.core.refs import Ref, make_ref, name_of, short
from reconciler.core.values import canonical
from reconciler.edge.load.catalog import Catalog
from reconciler.edge.load.document import Declared
from reconciler.edge.load.findings import Path
from reconciler.edge.load.frame import Frame, company, frame_of, merged_traits, shared_constraints, size
from reconciler.edge.load.lower import Lowered, Lowering, renamed_ref, resource, sole
from reconciler.edge.load.stream import IS_POINTER, POINTER
from specs import plain
from specs.plain import Exceptional, Machine

ReadFile = Callable[[str], str | None]
"""Path in the tree → the text; None if there is no such file."""


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


def lower_machine(declared: Declared, catalog: Catalog, read: ReadFile) -> Lowered:
    """Every Resource of the document, or what is wrong with it."""
    out = Lowered()
    _Machine(declared, catalog, out, read).lower()
    return out


class _Common(msgspec.Struct, frozen=True):
    """What all replicas of a document share, in the terms of their bodies and Resources."""

    body: dict[str, Any]
    behaviour: Behaviour
    apart: Affinity | None
    near: Affinity | None
    avoid: Affinity | None


_DEMANDS: dict[tuple[int, int, int], Demand] = {}


class _Machine(Lowering):
    def __init__(self, declared: Declared, catalog: Catalog, out: Lowered, read: ReadFile) -> None:
        super().__init__(declared, catalog, out)
        self.spec: Machine = declared.spec
        self.read = read

    def lower(self) -> None:
        spec = self.spec
        numbers = ordinals(spec)
        members = member_refs(self.declared)
        common = self._common(members)
        if numbers is None:
            self._one(self.declared.ref, PLAIN, common, path=("nics",), group=False)
            return
        for number in spec.each:
            if number not in numbers:
                self.wrong(("each", number), f"there is no replica {number}", f"there are {_listed(numbers)}")
        for number, ref in zip(numbers, members, strict=True):
            if len(name_of(ref)) > 63:
                self.wrong((), f"{name_of(ref)!r} is longer than a host's name can be", "at most 63 characters")
                return
            own = spec.each.get(number, PLAIN)
            path: Path = ("nics",) if own.nics is None else ("each", number, "nics")
            self._one(ref, own, common, path=path, group=own.nics is None and len(numbers) > 1)

    # -- what a document says ----------------------------------------------------------------------------------------

    def _common(self, members: tuple[Ref, ...]) -> _Common:
        return _Common(
            body=self._body(),
            behaviour=self._behaviour(),
            apart=company(members, self.spec.spread),
            near=self._affinity(self.spec.near, "near"),
            avoid=self._affinity(self.spec.avoid, "avoid"),
        )

    def _body(self) -> dict[str, Any]:
        spec = self.spec
        body: dict[str, Any] = {
            "disks": {name: _disk(disk) for name, disk in spec.disks.items() if name != "root"},
            "search": self._search(),
            "sshKeys": self._ssh_keys(),
            "metadata": {
                key: text if isinstance(text, str) else {"secret": text.secret} for key, text in spec.metadata.items()
            },
        }
        data = self._user_data()
        if data is not None:
            body["userData"] = data
        if spec.ready is not None:
            body["ready"] = _ready(spec.ready)
        if spec.snapshots is not None:
            body["snapshots"] = {"schedule": spec.snapshots.schedule, "keep": spec.snapshots.keep}
        if spec.volumes:
            body["volumes"] = {
                name: {"path": mount.path, "readOnly": mount.read_only} for name, mount in spec.volumes.items()
            }
        if spec.resolvers is not None:
            body["resolvers"] = spec.resolvers
        if self.declared.tags:
            body["tags"] = self.declared.tags
        return body

    def _search(self) -> list[str]:
        if self.spec.search is not None:
            return self.spec.search
        datacenter = self.catalog.datacenter
        return datacenter.dns.search if datacenter else []

    def _ssh_keys(self) -> list[str]:
        if self.spec.ssh_keys != "tenant":
            return list(self.spec.ssh_keys)
        ref = make_ref("Tenant", self.declared.tenant or "")
        self.out.uses.add(ref)
        return self.catalog.keys(ref)

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
        text = self.read(path)
        if text is None:
            self.wrong(("userData", "file"), f"there is no file {path!r}", "paths start at this document's folder")
        elif text.startswith(POINTER):
            self.wrong(("userData", "file"), *IS_POINTER)
        return text

    def _behaviour(self) -> Behaviour:
        spec = self.spec
        update = None
        if spec.replicas is not None:
            rules = spec.update or plain.Update()
            update = Update(
                group=self.declared.ref,
                canary=rules.canary,
                batch=rules.batch,
                pause=float(rules.pause),
                max_failures=rules.max_failures,
            )
        return Behaviour(
            drift=spec.drift,
            ignore=tuple(spec.ignore),
            any_state=spec.state == "any",
            replace=spec.update is not None and spec.update.replace == "allowed",
            update=update,
            renamed_from=renamed_ref(self.declared),
        )

    def _affinity(self, spec: plain.Affinity | None, field: str) -> Affinity | None:
        if spec is None:
            return None
        found: list[Ref] = []
        for position, written in enumerate(spec.machines):
            ref = self.reference(("Machine",), written, (field, "machines", position))
            if ref is not None:
                found += self.catalog.members(ref) or ()
        return Affinity(machines=tuple(dict.fromkeys(found)), over=spec.over, hard=spec.hard)

    # -- one machine -------------------------------------------------------------------------------------------------

    def _one(self, ref: Ref, own: Exceptional, common: _Common, *, path: Path, group: bool) -> None:
        spec = self.spec
        frame = frame_of(self, own, path=path, group=group)
        if frame is None:
            return
        demand = self._demand(frame)
        volumes = self._volumes(frame)
        self._scheduled(frame)
        state = own.state or spec.state
        number = ref[len(self.declared.ref) :]
        body = {"resolvers": frame.resolvers, **frame.body, **common.body}
        body["state"] = "running" if state == "any" else state
        if spec.hostname:
            body["hostname"] = spec.hostname + number  # else it is the name, which forms know (driver.forms)
        root = spec.disks.get("root")
        if root is not None and root.size is not None:
            body["disk"] = root.size
        self.out.resources.append(
            resource(
                ref,
                canonical(body),
                references=(*frame.references, *volumes) if volumes else frame.references,
                demand=demand,
                nics=frame.nics.wants,
                constraints=self._constraints(frame, common),
                protected=spec.deletion_protection,
                behaviour=self._own_behaviour(common.behaviour, own, number),
            )
        )

    def _own_behaviour(self, shared: Behaviour, own: Exceptional, number: str) -> Behaviour:
        """`web` and `web-1` are the same machine when `replicas` comes or goes: the planner renames, never destroys."""
        former = shared.renamed_from
        if not number:
            return shared if former is not None else _renamed(shared, FIRST)
        if own.state is not None:
            shared = msgspec.structs.replace(shared, any_state=own.state == "any")
        if former is not None:
            return _renamed(shared, Ref(former + number))
        return _renamed(shared, self.declared.ref) if number == "-1" else shared

    def _demand(self, frame: Frame) -> Demand:
        disks = self.spec.disks
        disk = frame.disk or 0
        for name, one in disks.items():
            if name == "root":
                disk += (one.size - (frame.disk or 0)) if one.size is not None else 0
            else:
                disk += one.size or 0
        key = (frame.memory, frame.cpu, disk)
        demand = _DEMANDS.get(key)
        if demand is None:
            demand = _DEMANDS[key] = Demand(*key)
        if frame.node is not None:
            self._fits(frame, demand)
        return demand

    def _fits(self, frame: Frame, demand: Demand) -> None:
        assert frame.node is not None
        capacity = frame.node.capacity
        for what, have, want in (
            ("memory", capacity.memory, demand.memory),
            ("disk", capacity.disk, demand.disk),
        ):
            if have is not None and want > have:
                summary = f"it takes {size(want)} of {what}, {frame.place} has {size(have)}"
                self.wrong(("package",), summary, "choose a smaller package")

    def _volumes(self, frame: Frame) -> tuple[Ref, ...]:
        """The volumes that it mounts: of the same tenant, and where it is itself."""
        found: list[Ref] = []
        for name in self.spec.volumes:
            here: Path = ("volumes", name)
            ref = self.reference(("Volume",), name, here)
            if ref is None:
                continue
            found.append(ref)
            node = self.catalog.declared(ref).spec.node
            if node is not None and frame.place is not None and not _within(frame.place, node):
                summary = f"{short(ref)} is on {node}, and the machine on {frame.place}"
                self.wrong(here, summary, "a volume is mounted where it is: name one node for both")
        if found and frame.node is not None and not self.catalog.makes("Volume", frame.node.driver):
            summary = f"driver {frame.node.driver} of {frame.place} makes no volumes"
            self.wrong(("volumes",), summary, "use `disks`, or choose another node")
        return tuple(found)

    def _scheduled(self, frame: Frame) -> None:
        """Nothing takes snapshots where the driver does not."""
        if self.spec.snapshots is None:
            return
        driver = frame.node.driver if frame.node is not None else None
        if not self.catalog.makes("snapshots", driver):
            who = f"driver {driver} of {frame.place}" if driver is not None else "no node's driver"
            summary = f"{who} {'takes no' if driver is not None else 'takes'} snapshots by a schedule"
            self.wrong(("snapshots",), summary, "leave it out, or use a node that does, as with incus")

    def _place(self, frame: Frame) -> str | None:
        """Its own, or that of the volume that it mounts."""
        for name in self.spec.volumes if frame.place is None else ():
            found = self.catalog.find(("Volume",), self.declared.tenant, name)
            node: str | None = self.catalog.declared(found).spec.node if isinstance(found, str) else None
            if node is not None:
                return node
        return frame.place

    def _constraints(self, frame: Frame, common: _Common) -> Constraints:
        spec = self.spec
        place = self._place(frame)
        if (
            place == frame.place
            and not spec.traits
            and spec.snapshots is None
            and common.apart is None
            and common.near is None
            and common.avoid is None
        ):
            return frame.constraints
        traits = merged_traits(self, (frame.traits, spec.traits)) if spec.traits else frame.traits
        made = Constraints(
            node=place,
            brand=frame.brand,
            image_type=frame.image_type,
            traits=traits,
            spread=common.apart,
            near=common.near,
            avoid=common.avoid,
            fields=() if spec.snapshots is None else ("snapshots",),
        )
        return shared_constraints(made)


PLAIN = Exceptional()


def _renamed(shared: Behaviour, former: Ref) -> Behaviour:
    return sole(Behaviour(shared.drift, shared.ignore, shared.any_state, shared.replace, shared.update, former))


def _within(place: str, other: str) -> bool:
    """Whether one of two places is, or is a member of, the other."""
    return place == other or place.startswith(other + "/") or other.startswith(place + "/")


def _disk(disk: plain.Disk) -> dict[str, Any]:
    body: dict[str, Any] = {"delegated": disk.delegated}
    if disk.size is not None:
        body["size"] = disk.size
    if disk.path is not None:
        body["path"] = disk.path
    return body


def _ready(ready: plain.Ready) -> dict[str, Any]:
    body: dict[str, Any] = {"within": ready.within}
    for name in ("http", "tcp", "exec"):
        given = getattr(ready, name)
        if given is not None:
            body[name] = given
    return body


def beside(file: str, written: str) -> str | None:
    """The path in the tree of a file named by a document; None if it leads out of the tree."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(file), written))
    return None if path.startswith(("../", "/")) or path == ".." else path


def _listed(numbers: list[int]) -> str:
    if not numbers:
        return "none"
    return ", ".join(map(str, numbers)) if len(numbers) < 8 else f"{numbers[0]} to {numbers[-1]}"
