"""Why one thing is as it is, and where it is.

Owns: the page of `trueup explain` and the record it is made from. Must not go here: gathering (cli).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from reconciler.core.outages import Outage
from reconciler.core.plan import Change, Hold
from reconciler.core.render import quantities
from reconciler.core.render.changes import INDENT, View, block
from reconciler.core.render.lines import finished, pair, wrapped
from reconciler.core.render.names import counted
from reconciler.core.render.plan import hold_block


class Origin(msgspec.Struct, frozen=True):
    """One resolved field: its value, and where that comes from."""

    value: Any
    how: str
    """`written`, `default`, `allocated` …"""
    where: str = ""
    """`packages.yaml:6`, or empty."""


class Explanation(msgspec.Struct, frozen=True):
    """What `trueup explain` tells of one ref."""

    ref: str
    exists: str
    """Where and how it is there, in a sentence."""
    uid: str = ""
    target: str = ""
    source: str = ""
    """`tenants/acme/machines.yaml:4`."""
    fields: Mapping[str, Origin] = {}
    """By path."""
    placement: str = ""
    """Why it is where it is, or would go where it would go, in a sentence."""
    rejected: Mapping[str, str] = {}
    """Every target that cannot take it, and why."""
    possible: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    """What refers to it."""
    changes: tuple[Change, ...] = ()
    holds: tuple[Hold, ...] = ()
    outage: Outage | None = None
    """The last time that a change of ours stopped it, if it was started again by one."""
    down_since: float | None = None
    """Unix seconds: since when it is down for a change that did not come to its end."""


def explain_text(found: Explanation, view: View | None = None) -> str:
    view = view or View(expand=True)
    lines = [pair(found.ref, found.source), f"{INDENT}{found.exists}"]
    lines += [f"{INDENT}uid {found.uid}"] if found.uid else []
    lines += _down(found)
    if found.fields:
        lines += ["", "Resolved"]
        lines += [_field(path, origin) for path, origin in found.fields.items()]
    if found.placement or found.rejected:
        lines += ["", "Placement", *([f"{INDENT}{found.placement}"] if found.placement else [])]
        lines += wrapped([*found.possible], f"{INDENT}possible: ", more=f"{INDENT}  ")
        width = max((len(target) for target in found.rejected), default=0)
        lines += [f"{INDENT}not {target:<{width}}  {_figures(why)}" for target, why in found.rejected.items()]
    if found.users:
        lines += ["", f"Used by {counted(len(found.users), 'object')}"]
        lines += wrapped(list(found.users[:40]), INDENT)
    lines += ["", "The next plan"]
    for change in found.changes:
        lines += block((change,), view)
    for hold in found.holds:
        lines += hold_block((hold,))
    if not found.changes and not found.holds:
        lines.append(f"{INDENT}leaves it as it is")
    return finished(lines)


def _down(found: Explanation) -> list[str]:
    lines = []
    if found.outage is not None:
        where = f": moved {found.outage.source} → {found.outage.target}" if found.outage.source is not None else ""
        took = quantities.duration(found.outage.seconds)
        lines.append(f"{INDENT}last down for {took}, from {quantities.moment(found.outage.since)} on{where}")
    if found.down_since is not None:
        since = quantities.moment(found.down_since)
        lines.append(f"{INDENT}down since {since}: stopped for a change that did not come to its end")
    return lines


def _field(path: str, origin: Origin) -> str:
    text = f"{INDENT}{quantities.field_name(path)}  {quantities.value(path, origin.value)}"
    return pair(text, "  ".join(word for word in (origin.how, origin.where) if word))


def _figures(why: str) -> str:
    """Placement tells figures in plain numbers: `needs 1073741824 memory, 0 free`."""
    words = why.split()
    if words[:1] == ["needs"] and len(words) == 5 and words[1].isdigit() and words[3].isdigit():
        name = words[2].rstrip(",")
        wanted, free = (quantities.value(f"/{name}", int(word)) for word in (words[1], words[3]))
        return f"needs {wanted} {name}, {free} free"
    return why
