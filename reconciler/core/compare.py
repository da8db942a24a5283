"""One object against what is desired of it: fields, causes, manners, marks.

Owns: the difference of one resource's realisation, free of any switch or rule.
Must not go here: which differences may be acted on (rules).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from reconciler.core.desired import Demand, Resource
from reconciler.core.diff import cause_of, changed_paths, covered
from reconciler.core.ledger import Address, Binding
from reconciler.core.observed import Object, Unread
from reconciler.core.plan import Cause, Difference, Manner, rest_digest
from reconciler.core.refs import Ref, Target, kind_of
from reconciler.core.shape import NativeContext, Shape
from reconciler.core.values import MAPS, Fields, find, replaced


class Comparison(msgspec.Struct, frozen=True):
    """`wanted`: all that is desired, `last`: what was applied last, if that is known. `marks`: why the marks are behind
    once the fields are right."""

    wanted: Mapping[str, Any]
    differences: tuple[Difference, ...]
    unknown: tuple[tuple[str, str], ...] = ()
    marks: str | None = None
    last: Mapping[str, Any] | None = None

    @property
    def at_rest(self) -> bool:
        return not self.differences and self.marks is None and not self.unknown


def wanted_of(resource: Resource, shape: Shape, context: NativeContext) -> Fields:
    """What the target should hold, without what it cannot; where machines are halted, none of them runs."""
    wanted = shape.native(resource, context)
    if not wanted.keys().isdisjoint(context.cannot):
        wanted = {key: value for key, value in wanted.items() if key not in context.cannot}
    return {**wanted, "state": "stopped"} if context.halted and wanted.get("state") == "running" else wanted


def as_wanted(resource: Resource, found: Object, shape: Shape, context: NativeContext) -> bool:
    """Whether what is there is of the form that is wanted, marks included: nothing that was applied before matters."""
    wanted = wanted_of(resource, shape, context)
    if found.unknown or found.fields != wanted:
        return False
    return marks_behind(resource, found, rest_digest(resource.ref, wanted, protected=resource.protected)) is None


def compare(resource: Resource, found: Object, last: Fields | None, shape: Shape, context: NativeContext) -> Comparison:
    """Compare what the target holds with what it should hold. `last`: the fields applied last, if known."""
    wanted = wanted_of(resource, shape, context)
    applied = rest_digest(resource.ref, wanted, protected=resource.protected)
    behind = marks_behind(resource, found, applied)
    unmade = last is None and found.marks is not None and not found.marks.applied
    if last is None and found.marks is not None and found.marks.applied == applied:
        last = wanted  # the ledger was lost, but the object itself says that just this was applied
    if found.marks is not None and not found.marks.applied:
        last = None  # the last to write there were we, in a change that was cut short: what differs is no drift
    if found.fields == wanted and not found.unknown:
        return Comparison(wanted, (), marks=behind, last=last)
    differences, unknown = differing(resource, found, wanted, last, shape, context)
    if unmade:
        differences = tuple(map(_still_makeable, differences))
    return Comparison(wanted, differences, unknown, behind, last)


def _still_makeable(difference: Difference) -> Difference:
    """Of a thing whose creation was cut short: what was never configured still can be."""
    if difference.before is not None or difference.manner is not Manner.REPLACE:
        return difference
    return msgspec.structs.replace(difference, manner=Manner.STOPPED)


def differing(
    resource: Resource,
    found: Object,
    wanted: Fields,
    last: Fields | None,
    shape: Shape,
    context: NativeContext,
) -> tuple[tuple[Difference, ...], tuple[tuple[str, str], ...]]:
    """In which fields it differs from what is wanted, and of which that cannot be told, with the reason."""
    silent = resource.behaviour.ignore + (("/state",) if resource.behaviour.any_state else ())
    if context.halted:
        silent = tuple(path for path in silent if path != "/state")
    unknown, differences = [], []
    kind = kind_of(resource.ref)
    for path in changed_paths(found.fields, wanted):
        if silent and covered(path, silent):
            continue
        reason = _unread(found, path) if found.unknown else None
        if reason is not None:
            unknown.append((path, reason))
            continue
        before, after = find(found.fields, path), find(wanted, path)
        if _untold(before, after):
            unknown.append((path, "no provider has a value for its secret now"))
            continue
        cause = cause_of(path, before, after, last)
        halts = path == "/state" and context.halted and after != find(shape.native(resource, context), path)
        if halts and cause is Cause.INTENT:
            cause = Cause.OPERATION
        manner = shape.manner(kind, path, before, after, found.fields)
        differences.append(Difference(path, before, after, cause, manner))
    return tuple(differences), tuple(unknown)


def _unread(found: Object, path: str) -> str | None:
    """Why a field could not be read; None if it could."""
    return next((why for prefix, why in found.unknown.items() if covered(path, (prefix,))), None)


def _untold(before: object, after: object) -> bool:
    """The same secret, whose value nobody can tell now: neither equal nor different (invariant I1)."""
    return (
        isinstance(before, str)
        and isinstance(after, str)
        and after.startswith("secret:")
        and after.endswith(":")
        and before.startswith(after)
    )


def settled(comparison: Comparison, made: tuple[Difference, ...]) -> dict[str, Any]:
    """What counts as applied once these differences are made and the others withheld: those keep what they were
    applied with last, so that the next comparison still tells git's changes from the node's."""
    done = {difference.path for difference in made}
    result, last = dict(comparison.wanted), comparison.last
    for difference in comparison.differences:
        if difference.path not in done:
            kept = difference.before if last is None else find(last, difference.path)
            result = replaced(result, difference.path, kept)
    for path, _ in comparison.unknown if last is not None else ():
        result = replaced(result, path, find(last or {}, path))
    return result


def marks_behind(resource: Resource, found: Object | Unread, applied: str) -> str | None:
    marks = found.marks
    if marks is None:
        return "it bears no marks"
    if marks.ref != resource.ref:
        return f"renamed from {marks.ref}"
    if marks.protected != resource.protected:
        return "deletion protection is set" if resource.protected else "deletion protection is lifted"
    if marks.applied == applied:
        return None
    return "it is as git says already" if marks.applied else "an earlier change did not come to its end"


def overlay(found: Fields, differences: tuple[Difference, ...]) -> dict[str, Any]:
    """The fields once these differences are made and no others."""
    result = dict(found)
    for difference in differences:
        result = replaced(result, difference.path, difference.after)
    return result


def whole_cause(differences: tuple[Difference, ...]) -> Cause | None:
    causes = {difference.cause for difference in differences}
    if not causes:
        return None
    return causes.pop() if len(causes) == 1 else Cause.BOTH


def sticky_addresses(
    resource: Resource, binding: Binding | None, current: Callable[[Ref], Ref]
) -> tuple[Address | None, ...]:
    """For each nic the address it keeps; None where one must be allocated. `current`: a network's name of today."""
    kept: list[Address | None] = []
    held = {}
    for address in binding.addresses if binding else ():
        network = current(address.network)
        held[network] = address if network == address.network else msgspec.structs.replace(address, network=network)
    for nic in resource.nics:
        match = next((held[network] for network in nic.networks if network in held), None)
        if match is not None and nic.ip is not None and nic.ip != match.ip:
            match = msgspec.structs.replace(match, ip=nic.ip, authored=True)
        if match is not None and nic.mac is not None and nic.mac != match.mac:
            match = msgspec.structs.replace(match, mac=nic.mac)
        kept.append(match)
    return tuple(kept)


def recovered(ref: Ref, found: Object, target: Target, network: Callable[[str], Ref]) -> Binding:
    """The binding that an object itself proves, for a ledger that has lost it. `network`: the one of this name, as its
    machine means it."""
    marks = found.marks
    assert marks is not None, "only an object with marks proves a binding"
    addresses = tuple(
        Address(network(name), str(nic["ip"]).partition("/")[0], nic.get("mac", ""))
        for name, nic in sorted((found.fields.get("nics") or {}).items())
        if nic.get("ip")
    )
    takes = takes_of(found.fields, Demand())
    return Binding(
        ref,
        marks.uid,
        marks.incarnation,
        target,
        addresses,
        (takes.memory, takes.cpu, takes.disk),
        protected=marks.protected,
        quarantined_until=marks.quarantined_until,
    )


def takes_of(fields: Fields, wants: Demand) -> Demand:
    """What a machine (or volume) of these fields takes of its target; where they do not tell, what is wanted counts."""
    if "size" in fields:
        return Demand(disk=_size(fields))
    memory, cpu, disk, disks = fields.get("memory"), fields.get("cpu"), fields.get("disk"), fields.get("disks")
    data = sum(map(_size, disks.values())) if disks and isinstance(disks, MAPS) else 0
    return Demand(
        memory if isinstance(memory, int) else wants.memory,
        cpu if isinstance(cpu, int) else wants.cpu,
        (disk if isinstance(disk, int) else max(wants.disk - data, 0)) + data,
    )


def _size(disk: Any) -> int:
    size = disk.get("size") if isinstance(disk, MAPS) else None
    return size if isinstance(size, int) else 0
