"""What else must be looked at when something changes.

Owns: from changed things to the documents that use them, by the reverse indexes. Must not go here: reading them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from reconciler.core.refs import Ref, make_ref
from reconciler.driver import Capability
from reconciler.edge.load.attempt import Attempt, Changes, names_of
from reconciler.edge.load.document import Declared
from reconciler.edge.load.records import Document


def dependants(attempt: Attempt, changes: Changes) -> set[Document]:
    """Documents of the last good tree, unchanged themselves, that use something that is not as it was."""
    if not attempt.records.files:
        return set()
    new = {declared.ref: declared for unit in attempt.units.values() for declared in unit.reading.declared}
    if _datacenter_differs(attempt, new):
        return {one for record in attempt.records.files.values() for one in record.documents} - _seen(attempt)
    keys = {f"file:{path}" for path in changes}
    for ref in _touched(attempt, new):
        if ref.startswith("Machine/"):
            keys.add(f"nics:{ref}")
        if _differs(attempt, ref, new.get(ref)):
            keys.add(ref)
            keys |= _namesakes(attempt, ref)
    keys |= _images_without_a_node(attempt)
    found: set[Document] = set()
    for key in keys:
        found |= attempt.users.of(key)
    return found - _seen(attempt)


def _seen(attempt: Attempt) -> set[Document]:
    return set(attempt.units) | set(attempt.retired)


def _touched(attempt: Attempt, new: Mapping[Ref, Declared]) -> set[Ref]:
    """Names that the changed documents took or take."""
    touched = {ref for one in attempt.retired for ref in one.refs}
    touched.update(ref for declared in new.values() for ref in names_of(declared))
    return touched


def _differs(attempt: Attempt, ref: Ref, new: Declared | None) -> bool:
    """Whether others see another thing behind the name than before."""
    if ref.startswith("Machine/"):
        known = attempt.records.groups.get(ref)
        before = known or ((ref,) if ref in attempt.records.owners else None)
        return before != attempt.members(ref)
    old = attempt.records.entries.get(ref)
    if old is None or new is None:
        return old is not new
    return not old.same(new)


def _namesakes(attempt: Attempt, ref: Ref) -> set[str]:
    """Other things of that name: what names them may have become ambiguous, or no longer be so."""
    kind, _, rest = ref.partition("/")
    tenant, slash, name = rest.rpartition("/")
    kinds = ("Network", "NetworkPool") if kind in ("Network", "NetworkPool") else (kind,)
    places: Iterable[str | None] = (tenant, None) if slash else (None, *attempt.records.totals)
    return {make_ref(other, name, place or None) for other in kinds for place in places}


def _datacenter_differs(attempt: Attempt, new: Mapping[Ref, Declared]) -> bool:
    """In what machines and networks take from it. Policy is nobody's but the planner's."""
    if not attempt.datacenters.over:
        return False
    for ref, old in attempt.records.datacenters.items():
        now = attempt.datacenters.get(ref)
        if now is None or (now.spec.dns, now.spec.nic_tags) != (old.spec.dns, old.spec.nic_tags):
            return True
    return False


def _images_without_a_node(attempt: Attempt) -> set[str]:
    """Images of a type that some node's driver could take before, and none can any more."""
    if not attempt.drivers.over:
        return set()
    before = {name for name, count in attempt.records.drivers.items() if count}
    after = {name for name, count in attempt.drivers.items() if count}
    if before <= after or any(name not in attempt.capabilities for name in after):
        return set()
    had, has = _pairs(before, attempt.capabilities), _pairs(after, attempt.capabilities)
    lost = {image_type for image_type, _ in had - has} if had is not None and has is not None else None
    return {
        ref
        for ref, entry in attempt.records.entries.items()
        if entry.kind == "Image" and (lost is None or entry.spec.type in lost)
    }


def _pairs(drivers: set[str], capabilities: Mapping[str, Capability]) -> set[tuple[str, str]] | None:
    """(image type, brand) that the drivers can take; None where one is not here to say."""
    if any(name not in capabilities for name in drivers):
        return None
    known = [capabilities[name] for name in drivers]
    return {(one, brand) for capability in known for one in capability.image_types for brand in capability.brands}
