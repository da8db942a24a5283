"""Tables of things, wanted and there, side by side.

Owns: which columns a kind has. Must not go here: gathering rows (cli).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from reconciler.core.observed import Report
from reconciler.core.refs import short
from reconciler.core.render import quantities
from reconciler.core.render.fold import natural
from reconciler.core.render.lines import finished, table


class Row(msgspec.Struct, frozen=True):
    """One thing in one place. `fields` are as observed, or as wanted where nothing is there."""

    ref: str
    target: str
    state: str
    """`live`, `missing`, `quarantined`, `unknown`, `differs`, `unmanaged` …"""
    fields: Mapping[str, Any] = {}
    uid: str = ""


_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "Machine": ("memory", "cpu", "disk", "state"),
    "Volume": ("size",),
    "Network": ("vlan", "subnet", "gateway", "nat"),
    "Image": ("type", "os", "digest"),
    "Package": ("memory", "swap", "cpu", "disk"),
    "Tenant": (),
}


def listing_text(kind: str, rows: Sequence[Row], *, unmanaged: bool = False) -> str:
    """A table of one kind, in natural order of names."""
    if not rows:
        return finished([f"There is no {'unmanaged ' if unmanaged else ''}{kind}."])
    columns = _COLUMNS.get(kind, ())
    header = ["NAME", *(["ADDRESS"] if kind == "Machine" else []), *(name.upper() for name in columns), "NODE", "IS"]
    body = [
        [
            short(row.ref) if row.ref.startswith(kind + "/") else row.ref,
            *([_addresses(row)] if kind == "Machine" else []),
            *(_cell(name, row.fields) for name in columns),
            row.target or "-",
            row.state,
        ]
        for row in sorted(rows, key=lambda row: (natural(row.ref), row.target))
    ]
    return finished(quantities.clean(line) for line in table(header, body))


def _cell(name: str, fields: Mapping[str, Any]) -> str:
    return quantities.value(f"/{name}", fields[name]) if fields.get(name) is not None else "-"


def _addresses(row: Row) -> str:
    nics = row.fields.get("nics") or {}
    # a machine that has no place yet stands as its document: a list, in which only authored addresses are told
    found = sorted(nics.values() if isinstance(nics, Mapping) else nics, key=lambda nic: not nic.get("primary"))
    return ",".join(str(nic.get("ip") or "?").partition("/")[0] for nic in found) or "-"


class NodeRow(msgspec.Struct, frozen=True):
    """A target: what it says of itself, and what we say of it."""

    report: Report
    driver: str
    state: str
    """`claimed`, `not claimed yet`, or the problem in words."""
    cordon: str = ""
    drain: str = ""
    """What its drain says, in words."""
    free: tuple[int | None, int | None, int | None] = (None, None, None)
    """Bytes of memory, thousandths of a core, bytes of disk that may still be promised."""
    whole: tuple[int | None, int | None, int | None] = (None, None, None)
    """What may be promised in all: reserve taken off, overprovision counted in."""


def nodes_text(rows: Sequence[NodeRow]) -> str:
    """A table of the targets, then what each can do."""
    if not rows:
        return finished(["There is no Node."])
    header = ["NODE", "DRIVER", "MEMORY FREE", "CPU FREE", "DISK FREE", "MACHINES", "IS"]
    body = [
        [
            row.report.target,
            row.driver,
            _of(row.free[0], row.whole[0] or row.report.capacity.memory, quantities.size),
            _of(row.free[1], row.whole[1] or row.report.capacity.cpu, quantities.cores),
            _of(row.free[2], row.whole[2] or row.report.capacity.disk, quantities.size),
            str(sum(found.kind == "Machine" for found in row.report.objects)),
            row.state + (f" (cordoned: {row.cordon})" if row.cordon else "") + (f" ({row.drain})" if row.drain else ""),
        ]
        for row in rows
    ]
    lines = [quantities.clean(line) for line in table(header, body)]
    for row in rows:
        if row.report.facts:
            lines += ["", f"{row.report.target}:"]
            lines += [f"  {key}: {_fact(key, item)}" for key, item in sorted(row.report.facts.items())]
    return finished(lines)


def _fact(key: str, item: Any) -> str:
    """A sentence is told whole."""
    return quantities.clean(item) if isinstance(item, str) else quantities.value(f"/{key}", item)


def _of(free: int | None, whole: int | None, spell: Any) -> str:
    if whole is None:
        return "-"
    return f"{spell(max(free, 0))} of {spell(whole)}" if free is not None else spell(whole)
