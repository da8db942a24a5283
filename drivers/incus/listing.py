"""What a node says of itself and of all that is on it: one listing, a report for each target.

Owns: observation. Must not go here: what a field means (reading), acting.

A member that is not online, and an instance that the server itself calls `Error`, is unknown: never absent.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import anyio
import msgspec

from drivers.incus import forwards, projects, reading
from drivers.incus import marks as marking
from drivers.incus.api import ApiError, Lost, Refused
from drivers.incus.means import Means
from drivers.incus.node import PRESENT, Node, Twins
from drivers.incus.reading import volumes_at
from drivers.incus.records import (
    Certificate,
    Image,
    Instance,
    Member,
    Network,
    Pool,
    Project,
    Server,
    View,
    Volume,
)
from reconciler.core.observed import Capacity, Claim, Object, Report, Unchanged
from reconciler.core.refs import Target
from reconciler.core.values import digest
from reconciler.driver import NodeUnreachable

Ask = Callable[[], Awaitable[Any]]


class Inventory(msgspec.Struct):
    """All that one listing brought. `problems`: what could not be listed, in words."""

    server: Server = msgspec.field(default_factory=Server)
    instances: list[Instance] = []
    networks: dict[str, Network] = {}
    images: list[Image] = []
    pools: list[Pool] = []
    volumes: list[Volume] = []
    members: list[Member] = []
    attached: dict[str, dict[str, frozenset[str]]] = {}
    """By member ("" for a host of its own) and bridge."""
    kernel: dict[str, dict[str, Any]] = {}
    acls: dict[str, dict[str, Any]] = {}
    tenants: list[Project] = []
    """Projects other than the one that all share, where each tenant has one."""
    certificates: list[Certificate] = []
    forwards: dict[str, list[dict[str, Any]]] = {}
    problems: list[str] = []


async def inventory(node: Node) -> Inventory:
    """Raises NodeUnreachable if the server cannot be asked at all."""
    found = Inventory()
    try:
        found.server = await node.server()
    except (ApiError, Lost) as error:
        raise NodeUnreachable(str(error)) from error

    async def into(name: str, ask: Ask) -> None:
        try:
            setattr(found, name, await ask())
        except (ApiError, Lost, Refused) as error:
            found.problems.append(f"its {name} could not be listed: {error}")

    if found.server.environment.server_clustered:
        # First, and alone: while a member is lately gone, every other list waits for it.
        await into("members", node.members)
    async with anyio.create_task_group() as group:
        for name in (
            "instances",
            "networks",
            "images",
            "pools",
            *(("tenants", "certificates") if node.projects else ()),
        ):
            group.start_soon(into, name, getattr(node, name))
    seal = found.server.said(marking.SEAL)
    found.instances = [each for each in found.instances if node.sees(each, seal)]
    found.problems += node.doubts
    await _details(node, found, into)
    if node.is_local and not found.members:
        found.kernel = node.kernel.limits(found.server, found.instances)
    return found


async def _details(node: Node, found: Inventory, into: Callable[[str, Ask], Coroutine[Any, Any, None]]) -> None:
    """Volumes of our pool and of those that instances have devices of, and whether interfaces are really there."""
    pools = {
        device["pool"] for each in found.instances for device in each.devices.values() if reading.is_volume(device)
    }
    own = await node.known_pool()
    pools |= {own} if own is not None else set()

    seal = found.server.said(marking.SEAL)

    async def volumes() -> list[Volume]:
        every = [volume for pool in sorted(pools) for volume in await node.volumes(pool)]
        return [volume for volume in every if node.sees(volume, seal)]

    async with anyio.create_task_group() as group:
        group.start_soon(into, "volumes", volumes)
        group.start_soon(into, "acls", partial(node.acls, found.networks))
        group.start_soon(into, "forwards", partial(node.forwards, found.networks))
        for member, bridges in _bridges(node, found).items():
            found.attached[member] = {}
            for bridge in bridges:
                group.start_soon(_attached, node, found, member, bridge)


def _bridges(node: Node, found: Inventory) -> dict[str, set[str]]:
    """Bridges with a running container on them, by member."""
    online = {member.server_name for member in found.members if member.status == "Online"}
    used: dict[str, set[str]] = {}
    for instance in found.instances:
        if instance.status not in reading.RUNNING or instance.type != "container":
            continue
        member = instance.location if found.members else ""
        if found.members and member not in online:
            continue
        names = [device["network"] for device in instance.expanded_devices.values() if device.get("network")]
        used.setdefault(member, set()).update(name for name in names if name in found.networks)
    return used


async def _attached(node: Node, found: Inventory, member: str, bridge: str) -> None:
    """That this could not be read says nothing of the interfaces: they are then taken to be there."""
    query = {"target": member} if member else {}
    try:
        state = await (await node.api()).get(f"/1.0/networks/{bridge}/state", project=node.project, **query)
    except (ApiError, Lost, Refused):
        return
    upper = (state.get("bridge") or {}).get("upper_devices")
    if upper is not None:
        found.attached[member][bridge] = frozenset(upper)


def sealed(thing: Object) -> Object:
    """The object with the digest of everything else that it says, but for who did it."""
    bare = msgspec.structs.replace(thing, digest="", culprit=None)
    return msgspec.structs.replace(thing, digest=digest(msgspec.to_builtins(bare)))


class Views:
    """What instances are read against, by project: each has volumes of its own."""

    def __init__(self, base: View, volumes: Iterable[Volume], everywhere: Sequence[Volume] = ()) -> None:
        """`everywhere`: those of all members."""
        self.base = base
        self._everywhere = everywhere
        self._volumes: dict[str, dict[tuple[str, str], Volume]] = {}
        for volume in volumes:
            self._volumes.setdefault(volume.project, {})[volume.pool, volume.name] = volume
        self._known: dict[str, View] = {}

    def of(self, project: str) -> View:
        view = self._known.get(project)
        if view is None:
            volumes = self._volumes.get(project, {})
            copies = reading.copies(self._everywhere, volumes.values(), self.base.seal, self.base.base)
            view = msgspec.structs.replace(self.base, volumes=volumes, copies=copies)
            self._known[project] = view
        return view


class Memory:
    """Objects of the last listing. An instance that the server told of in the same words, read against the same
    networks, volumes and limits, is the same object."""

    def __init__(self) -> None:
        self._objects: dict[int, tuple[Instance, Any, Object]] = {}

    def objects(self, instances: Iterable[Instance], views: Views) -> list[Object]:
        """Those that are whole; what was never made whole, or cannot be told, is left out."""
        arounds: dict[str, list[Any]] = {}
        known, self._objects = self._objects, {}
        things = []
        for instance in instances:
            view = views.of(instance.project)
            around = arounds.get(instance.project)
            if around is None:
                said = [view.suffix, view.seal, _said(view.networks), _said(view.volumes), view.copies, view.cannot]
                around = arounds[instance.project] = said
            if instance.said is None or abandoned(instance, view):
                continue
            lost = [
                name for name, device in instance.expanded_devices.items()
                if reading.is_nic(device) and "network" in device and reading.lost(name, device, instance, view)
            ]  # fmt: skip
            key = (around, lost, view.kernel.get(instance.unit))
            was = known.get(id(instance))
            thing = (
                was[2] if was is not None and was[0] is instance and was[1] == key else machine_object(instance, view)
            )
            self._objects[id(instance)] = (instance, key, thing)
            things.append(thing)
        return things


def _said(found: Mapping[Any, Any]) -> list[tuple[Any, Any]]:
    return [(key, each.config) for key, each in sorted(found.items())]


def machine_object(instance: Instance, view: View) -> Object:
    read = reading.machine(instance, view)
    marks = reading.instance_marks(instance, view.seal, view.base)
    resting = marks is not None and marks.quarantined_until is not None
    native = instance.native_id or f"instance:{instance.project}/{instance.name}"
    name = reading.native_name(instance, view.base)
    thing = Object("Machine", name, native, read.fields, "", marks, "quarantined" if resting else "live", read.unknown)
    return sealed(thing)


def abandoned(instance: Instance, view: View) -> bool:
    """An instance of ours that was never made whole: it is nothing yet, and creating it again replaces it."""
    if reading.unborn_marks(instance, view.seal, view.base) is not None:
        return True
    marks = reading.instance_marks(instance, view.seal, view.base)
    return marks is not None and marks.uid == instance.native_id and reading.half_made(instance)


def network_object(network: Network, view: View) -> Object:
    native = reading.network_identity(network)
    marks = marking.bound(network.config, native, view.seal, view.suffix)
    return sealed(Object("Network", network.name, native, reading.network(network, view), "", marks))


def volume_here(volume: Volume, views: Views, instances: Iterable[Instance]) -> Object | None:
    """Of a Volume that lies on several members, the one counts that is where its machine is; the others are what a move
    that was cut short has left. `instances`: those of all members."""
    view = views.of(volume.project)
    elsewhere = view.copies.get((volume.pool, volume.name), ())
    homes = reading.mounted_at(volume, instances) if elsewhere else set()
    if not homes.isdisjoint(elsewhere) and volume.location not in homes:
        return None
    return volume_object(volume, view, elsewhere if volume.location in homes else ())


def volume_object(volume: Volume, view: View, elsewhere: Sequence[str] = ()) -> Object:
    native = reading.volume_identity(volume)
    marks = reading.volume_marks(volume, view.seal, view.base)
    resting = marks is not None and marks.quarantined_until is not None
    name = f"{volume.pool}/{volume.name}" if volume.project == view.base else native.removeprefix("volume:")
    thing = Object(
        "Volume",
        name,
        native,
        reading.volume(volume, view.base, elsewhere),
        "",
        marks,
        "quarantined" if resting else "live",
    )
    return sealed(thing)


def image_object(image: Image, view: View) -> Object:
    said = image.properties or {}
    marks = marking.read(said.get(marking.IMAGE_MARKS + view.suffix), image.fingerprint, view.seal)
    return sealed(Object("Image", image.fingerprint, image.fingerprint, reading.image(image), "", marks))


def tenant_object(project: Project, certificates: Iterable[Certificate], view: View) -> Object:
    native = projects.identity(project.name)
    marks = marking.bound(project.config, native, view.seal, view.suffix)
    fields = projects.read(project, certificates, view)
    return sealed(Object("Tenant", project.name, native, fields, "", marks, holds=projects.held(project)))


def view_of(found: Inventory, member: str | None, base: str = "default", cannot: Collection[str] = ()) -> View:
    """Without volumes: each project has its own (Views)."""
    return View(
        found.networks,
        {},
        found.server.said(marking.SEAL),
        found.attached.get(member or "") if member or not found.members else None,
        found.kernel,
        found.acls,
        {name: forwards.at(each, member or "") for name, each in found.forwards.items()},
        f".{member}" if member else "",
        base,
        cannot,
    )


def objects_of(found: Inventory, member: str | None, memory: Memory, view: View) -> tuple[Object, ...]:
    """All on one target. What members share is theirs whose marks it bears, and everybody's while it bears none."""
    volumes = volumes_at(found.volumes, member)
    here = [each for each in found.instances if member is None or each.location == member]
    views = Views(view, volumes, found.volumes if member is not None else ())
    things = memory.objects(here, views)
    for project in found.tenants:
        thing = tenant_object(project, found.certificates, view)
        if thing.marks is not None or member is None or not _shared(project.config, marking.MARKS):
            things.append(thing)
    for network in found.networks.values():
        thing = network_object(network, view)
        if thing.marks is not None or member is None or not _shared(network.config, marking.MARKS):
            things.append(thing)
    for image in found.images:
        thing = image_object(image, view)
        if thing.marks is not None or member is None or not _shared(image.properties or {}, marking.IMAGE_MARKS):
            things.append(thing)
    own = [each for each in volumes if not reading.is_disk(each, views.of(each.project))]
    things += [there for each in own if (there := volume_here(each, views, found.instances)) is not None]
    return tuple(sorted(things, key=lambda thing: (thing.kind, thing.native_name)))


def _shared(config: Mapping[str, str], key: str) -> bool:
    """Another member's marks are on it: to this one it is not there yet."""
    return any(name.startswith(key + ".") for name in config)


class Known(msgspec.Struct):
    """What a driver keeps from one look to the next."""

    means: dict[Target, Means] = {}
    memories: dict[Target, Memory] = {}


async def reports(
    node: Node, found: Inventory, known: Known, *, began: int, since: Mapping[Target, str]
) -> tuple[Report | Unchanged, ...]:
    answers: list[Report | Unchanged] = []
    for target in node.targets():
        report = _report(node, found, target, known, began)
        if report.complete and since.get(target) == report.digest:
            answers.append(Unchanged(target, began, report.digest))
        else:
            answers.append(report)
    return tuple(answers)


def _report(node: Node, found: Inventory, target: Target, known: Known, began: int) -> Report:
    member = node.member(target)
    silent = _absent_member(found, member)
    if silent:
        return _sealed_report(Report(target, began, False, None, None, Capacity(), (), "", problem=silent))
    problems = [*found.problems, *_pool_problems(found), *_dumb(found, member)]
    means = known.means.get(target, Means())
    view = view_of(found, member, node.project, means.cannot)
    report = Report(
        target,
        began,
        not problems,
        node.identity(found.server, member),
        _claim(found, member),
        means.capacity,
        objects_of(found, member, known.memories.setdefault(target, Memory()), view),
        "",
        problem="; ".join(problems) or None,
        cannot=means.cannot,
        facts={**_facts(found), **means.cannot},
    )
    return _sealed_report(report)


def _sealed_report(report: Report) -> Report:
    said = [report.identity, msgspec.to_builtins(report.claim), msgspec.to_builtins(report.capacity), report.problem]
    said += [report.cannot] if report.cannot else []
    whole = digest([said, [thing.digest for thing in report.objects]])
    return msgspec.structs.replace(report, digest=whole)


def _absent_member(found: Inventory, member: str | None) -> str | None:
    if member is None:
        if found.members:
            return "it is a cluster: list its members in the node's document"
        return None
    said = next((each for each in found.members if each.server_name == member), None)
    if said is None:
        return f"the cluster has no member {member}" if found.members else "it is no cluster, and has no members"
    if said.status not in PRESENT:
        return f"member {member} is {said.status}: {said.message}"
    return None


def _dumb(found: Inventory, member: str | None) -> list[str]:
    """Without its configuration an instance has no marks either: it might be any of ours."""
    return [
        f"{each.name} is {each.status or 'there'}, and the server does not tell what it holds"
        for each in found.instances
        if each.said is None and (member is None or each.location == member)
    ]


def _pool_problems(found: Inventory) -> list[str]:
    return [f"the storage pool {pool.name} is {pool.status}" for pool in found.pools if pool.status == "Unavailable"]


def _claim(found: Inventory, member: str | None) -> Claim | None:
    if member is None:
        text = found.server.said(marking.CLAIM)
    else:
        config = next((each.config for each in found.members if each.server_name == member), None)
        text = (config or {}).get(marking.CLAIM, "")
    claim = marking.read_claim(text)
    return claim.claim() if claim else None


def _facts(found: Inventory) -> dict[str, Any]:
    said = found.server.environment
    return {
        "server": f"{said.server} {said.server_version}",
        "kernel": said.kernel_version,
        "backend": ", ".join(sorted({pool.driver for pool in found.pools})),
    }


__all__ = ["Inventory", "Twins", "image_object", "inventory", "machine_object", "network_object", "reports", "view_of"]
