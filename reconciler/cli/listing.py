"""Rows of the tables that `trueup get` shows.

Owns: what is wanted and what is there, side by side, from a prospect.
Must not go here: columns and layout (core.render).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from reconciler.cli.session import Looking, Prospect
from reconciler.core.desired import Resource
from reconciler.core.observed import Capacity, Report
from reconciler.core.placement import PLENTY
from reconciler.core.refs import Ref, kind_of
from reconciler.core.render.changes import will
from reconciler.core.render.listing import NodeRow, Row
from reconciler.core.render.quantities import moment
from reconciler.core.standing import Standing
from reconciler.core.values import plain
from reconciler.edge.load.lower import dumped

_ON_NODES = ("Machine", "Volume", "Network", "Image")


def rows_of(here: Looking, found: Prospect, kind: str) -> list[Row]:
    """Everything of a kind that git wants or that bears our marks."""
    kept = kind == "Tenant" and any(node.projects for node in found.desired.nodes.values())
    if kind not in _ON_NODES and not kept:
        return [
            Row(declared.ref, "", "declared", _dumped(declared.spec)) for declared in here.source.loader.entries(kind)
        ]
    world, mine = found.world, found.desired.datacenter_id
    refs = {ref for ref in found.desired.resources if kind_of(ref) == kind}
    seen = (thing for target in found.reports for thing in found.objects(target) if thing.kind == kind)
    refs |= {marks.ref for thing in seen if (marks := thing.marks) is not None and marks.datacenter == mine}
    refs |= {ref for (ref, _) in world.ledger.bindings if kind_of(ref) == kind}
    said = _said(found)
    return [row for ref in sorted(refs) for row in _rows(found, ref, said)]


def _dumped(spec: Any) -> Mapping[str, Any]:
    fields: Mapping[str, Any] = dumped(spec)
    cpu = fields.get("cpu")
    return {**fields, "cpu": round(cpu * 1000)} if isinstance(cpu, float) else fields


def _said(found: Prospect) -> dict[str, str]:
    """What the plan says of each ref, and of each ref on a target."""
    said: dict[str, str] = {}
    for hold in found.plan.holds:
        said.setdefault(hold.ref, f"held: {hold.rule}")
    for change in found.plan.changes:
        said[change.id] = f"will be {will(change)}"
        said.setdefault(change.ref, said[change.id])
    return said


def _rows(found: Prospect, ref: Ref, said: Mapping[str, str]) -> Iterator[Row]:
    wanted = found.desired.resources.get(ref)
    seen = found.world.seen(ref)
    for target, thing in seen:
        state = said.get(f"{ref}@{target}") or said.get(ref) or ("as wanted" if wanted else "not in git")
        marks = thing.marks
        drain = found.world.drains.get(target)
        if drain is not None and drain.how == "stop" and state == "as wanted" and _wanted_up(wanted):
            state = f"stopped: {target} {drain.sentence}"
        if thing.lifecycle == "quarantined" and marks is not None and marks.quarantined_until is not None:
            state = f"in quarantine until {moment(marks.quarantined_until)}"
        yield Row(ref, target, state, thing.fields, marks.uid if marks else "")
    if seen:
        return
    bound = found.world.ledger.bindings.of(ref)
    for binding in bound:
        why = found.world.unreadable(binding.target)
        state = f"unknown: {why}" if why else said.get(ref, "not there")
        yield Row(ref, binding.target, state, binding.applied or {}, binding.uid)
    if not bound and wanted is not None:
        yield Row(ref, "", said.get(ref, "not needed yet"), plain(wanted.body))


def _wanted_up(wanted: Resource | None) -> bool:
    """Whether its document wants it running."""
    return wanted is not None and kind_of(wanted.ref) == "Machine" and plain(wanted.body).get("state") != "stopped"


def unmanaged_rows(found: Prospect, kind: str) -> list[Row]:
    """Objects that bear no mark of this datacenter."""
    mine = found.desired.datacenter_id
    return [
        Row(thing.native_name, target, _whose(thing.marks), thing.fields)
        for target in found.reports
        for thing in found.objects(target)
        if thing.kind == kind and (thing.marks is None or thing.marks.datacenter != mine)
    ]


def _whose(marks: Any) -> str:
    return "unmanaged" if marks is None else f"of datacenter {marks.datacenter}"


def node_rows(found: Prospect) -> list[NodeRow]:
    """Every target, with what it says and whether that counts."""
    rows = []
    for target in sorted(found.world.targets):
        node = found.world.targets[target]
        nothing = Report(target, 0, False, None, None, Capacity(), (), "")
        report = found.whole(target) if target in found.reports else nothing
        member = node.members.get(target.partition("/")[2])
        room = found.world.rooms.by_target.get(target)
        rows.append(
            NodeRow(
                report,
                node.driver,
                _standing(found.world.standings.get(target, Standing())),
                cordon=node.cordon or (member.cordon if member else None) or "",
                drain=drain.sentence.removeprefix("is ")
                if (drain := found.world.drains.get(target)) is not None
                else "",
                free=tuple(_free(room, name) for name in ("memory", "cpu", "disk")),  # type: ignore[arg-type]
                whole=tuple(_whole(room, name) for name in ("memory", "cpu", "disk")),  # type: ignore[arg-type]
            )
        )
    return rows


def _whole(room: Any, name: str) -> int | None:
    return None if room is None or getattr(room, name) >= PLENTY else int(getattr(room, name))


def _free(room: Any, name: str) -> int | None:
    if room is None or getattr(room, name) >= PLENTY:
        return None
    return int(getattr(room, name) - getattr(room.used, name))


def _standing(state: Standing) -> str:
    if state.problem or state.partial:
        return str(state.problem or state.partial)
    return "not claimed yet" if state.unclaimed else "claimed"
