"""One change, or several that say the same, as a block of lines.

Owns: the wording of a change: headline, differences, consequences, undo.
Must not go here: grouping (fold), the plan's head and foot (plan).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from reconciler.core.plan import PLACE, Action, Cause, Change, Difference, Manner, Risk, Undo, Verdict
from reconciler.core.refs import kind_of, short
from reconciler.core.render import quantities
from reconciler.core.render.fold import rows, shared_fields, waves
from reconciler.core.render.lines import pair, wrapped
from reconciler.core.render.names import compressed, counted, noun, places

INDENT = "      "


class View(msgspec.Struct, frozen=True):
    """How a plan is to be shown, and what is known beside it."""

    expand: bool = False
    now: float | None = None
    """Unix seconds; None leaves the observation's age unsaid."""
    sources: Mapping[str, str] = {}
    """Where it is written: `REF` or `REF:/path` to `packages.yaml:6`; `REF:removed` to where it was, and who removed
    it."""
    since: str = ""
    """The revision applied last, as shown."""
    learning: bool = False
    """Its nodes take what is not committed."""


SYMBOLS = {
    Action.CREATE: "+",
    Action.UPDATE: "~",
    Action.REPLACE: "-/+",
    Action.MOVE: ">",
    Action.ADOPT: "+",
    Action.RENAME: ">",
    Action.DESTROY: "-",
    Action.RESTORE: "+",
    Action.PURGE: "-",
    Action.FORGET: ">",
}
_WILL = {
    Action.CREATE: "created",
    Action.UPDATE: "updated in place",
    Action.REPLACE: "replaced",
    Action.MOVE: "moved",
    Action.ADOPT: "adopted",
    Action.RENAME: "renamed",
    Action.DESTROY: "destroyed",
    Action.RESTORE: "restored from quarantine",
    Action.PURGE: "purged for good",
    Action.FORGET: "forgotten (the object stays)",
}
_FORCES = {
    Manner.REBOOT: "forces restart",
    Manner.STOPPED: "forces a stop",
    Manner.REPLACE: "forces replacement",
    Manner.MOVE: "forces a move",
    Manner.IMPOSSIBLE: "cannot be done",
}
_CAUSES = {
    Cause.DRIFT: "drift: changed on the node, not in git",
    Cause.BOTH: "changed in git and on the node",
    Cause.OPERATION: "asked for by an operation, not by the document",
}


def block(group: Sequence[Change], view: View) -> list[str]:
    """The lines of a group of changes that fold into one."""
    head = group[0]
    several = len({change.ref for change in group}) > 1
    lines = _together(group, view) if several else _alone(group, view)
    lines += _reason(head, view)
    lines += _body(head, view, folded=several)
    lines += _course(head, view) if len(group) == 1 or head.action is Action.DESTROY else []
    if head.verdict is not Verdict.CERTAIN:
        lines.append(f"{INDENT}{head.verdict}: {head.verdict_reason}")
    lines += _undo(head)
    return lines


def will(change: Change) -> str:
    """What will become of it: `updated and restarted`."""
    if change.action is Action.ADOPT and kind_of(change.ref) == "Node":
        return "claimed"
    if [(each.path, each.cause) for each in change.differences] == [("/state", Cause.OPERATION)]:
        return "stopped"
    if change.action is Action.UPDATE and change.risk is Risk.RESTART:
        return "updated and restarted"
    if change.reason.code == "pause":
        return "marked (nothing else is changed)"
    if change.action is Action.UPDATE and not change.differences:
        return "confirmed (only its marks are behind)"
    return _WILL[change.action]


def _alone(group: Sequence[Change], view: View) -> list[str]:
    """One thing; on several targets if it is of a kind that has one on each."""
    change = group[0]
    where = [places([each.target for each in group]) if change.target != short(change.ref) else ""]
    if change.source is not None:
        where = [f"{change.source} → {change.target}"]
    state = (change.before or {}).get("state")
    if change.action is Action.DESTROY and state:
        where.append(str(state))
    down = change.downtime
    if down and change.action is not Action.CREATE:
        where.append(f"about {quantities.duration(down)} down")
    place = ", ".join(word for word in where if word)
    source = view.sources.get(change.ref, "") if change.action is Action.CREATE else ""
    right = "   ".join(word for word in (place, source) if word)
    return [pair(f"  {SYMBOLS[change.action]} {change.ref} will be {will(change)}", right)]


def _together(group: Sequence[Change], view: View) -> list[str]:
    head = group[0]
    said = _in_brief(head) if len(head.differences) == 1 and head.source is None else ""
    if head.source is not None:
        down = head.downtime
        said = f"from {head.source}" + (f", about {quantities.duration(down)} down each" if down else "")
    subject = f"{len(group)} {noun(kind_of(head.ref), len(group))}"
    source = view.sources.get(f"{head.ref}:{head.differences[0].path}", "") if said and head.source is None else ""
    lines = [pair(f"  {SYMBOLS[head.action]} {subject} will be {will(head)}{': ' + said if said else ''}", source)]
    cells = [_cells(row) for row in rows(group)]
    widths = [min(48, max(len(cell[column]) for cell in cells)) for column in (0, 1)]
    for names, where, how in cells:
        lines.append(f"{INDENT}{names:<{widths[0]}}   {where:<{widths[1]}}   {how}".rstrip())
    return lines


def _cells(row: Sequence[Change]) -> tuple[str, str, str]:
    """Names, places and rollout of one line."""
    names = compressed((short(change.ref) for change in row), 8)
    return names, "" if kind_of(row[0].ref) == "Node" else places([change.target for change in row]), _rollout(row)


def _in_brief(change: Change) -> str:
    found = change.differences[0]
    before, after = quantities.difference(found.path, found.before, found.after)
    comment = _comment(found)
    return f"{quantities.field_name(found.path)} {before} → {after}" + (f"  # {comment}" if comment else "")


def _rollout(row: Sequence[Change]) -> str:
    """`web-1, until ready; then 2; then 1; stops at the first failure`."""
    order = waves(row)
    if len(order) < 2:
        return ""
    ready = any(step.verb == "ready" for step in order[0].changes[0].steps)
    first = order[0].changes
    name = compressed(short(change.ref).rpartition("/")[2] for change in first)
    words = [f"{name}, until ready" if ready else name]
    rest = [len(wave.changes) for wave in order[1:]]
    if len(rest) > 3 and len(set(rest[:-1])) == 1:
        words.append(f"then {rest[0]} at a time")
    else:
        words += [f"then {count}" for count in rest]
    pause = max(wave.pause for wave in order)
    words += [f"{quantities.duration(pause)} between"] if pause else []
    allowed = min((gate.max_failures for c in row for step in c.steps for gate in step.gates), default=0)
    words.append(f"stops after {counted(allowed, 'failure')}" if allowed else "stops at the first failure")
    return "; ".join(words)


_SAID = frozenset({"new", "changed", "intent", "create", "update"})
"""Reasons that say no more than the differences do."""


def _reason(change: Change, view: View) -> list[str]:
    quiet = change.reason.code in _SAID or not change.reason.sentence
    where = view.sources.get(f"{change.ref}:removed", "")
    return [] if quiet else [f"{INDENT}({change.reason.sentence}{': ' + where if where else ''})"]


def _body(change: Change, view: View, *, folded: bool) -> list[str]:
    if change.action in (Action.CREATE, Action.RESTORE) and not change.differences:
        return _made(change, folded=folded)
    if change.action is Action.DESTROY and not folded:
        return _lost(change)
    if folded and len(change.differences) == 1:
        return []
    shown = [found for found in change.differences if found.path != PLACE]
    return [line for found in shown for line in _difference(change, found, view)]


def _lost(change: Change) -> list[str]:
    """What would be lost for a time, and what stays taken: `disk 4Gi, disks data 10Gi; address 10.0.0.4 …`."""
    before = change.before or {}
    held = [str(nic.get("ip", "")).partition("/")[0] for nic in (before.get("nics") or {}).values()]
    words = [f"disk {quantities.size(before['disk'])}"] if isinstance(before.get("disk"), int) else []
    for name, disk in sorted((before.get("disks") or {}).items()):
        words.append(f"disk {name} {quantities.value('/size', disk.get('size'))}")
    lines = [", ".join(words)] if words else []
    held = [address for address in held if address]
    if held and change.recoverable_for:
        says = "address {} stays" if len(held) == 1 else "addresses {} stay"
        lines.append(f"{says.format(', '.join(held))} reserved until the purge")
    return [INDENT + "; ".join(lines)] if lines else []


def _difference(change: Change, found: Difference, view: View) -> list[str]:
    before, after = quantities.difference(found.path, found.before, found.after)
    sign, shown = "~", f"{before} → {after}"
    if found.before is None:
        sign, shown = "+", after
    elif found.after is None:
        sign, shown = "-", f"{before} → none"
    comment = _comment(found)
    text = f"{INDENT}{sign} {quantities.field_name(found.path)}  {shown}" + (f"   # {comment}" if comment else "")
    return [pair(text, view.sources.get(f"{change.ref}:{found.path}", ""))]


def _comment(found: Difference) -> str:
    words = (_FORCES.get(found.manner, ""), _CAUSES.get(found.cause, ""))
    return "; ".join(word for word in words if word)


_SILENT = (False, 0)
"""Values of new things that say no more than their absence would: `nat false`, `swap 0`."""


def _made(change: Change, *, folded: bool) -> list[str]:
    """What a new thing will be: plain fields on one line, each map on its own."""
    fields = _ordered(change.after or {})
    if folded:
        shared = {path: leaf for path, leaf in _shared(fields).items() if leaf not in _SILENT}
        words = [_leaf(path, leaf, change) for path, leaf in shared.items()]
        return wrapped(words, f"{INDENT}+ ", more=f"{INDENT}  ")
    plain = [
        _leaf(f"/{key}", leaf, change)
        for key, leaf in fields.items()
        if not isinstance(leaf, Mapping) and leaf not in _SILENT
    ]
    lines = wrapped(plain, f"{INDENT}+ ", more=f"{INDENT}  ")
    for key, inner in sorted(fields.items()):
        if isinstance(inner, Mapping):
            for name, item in sorted(inner.items()):
                lines += wrapped(_item(key, name, item), f"{INDENT}+ {key} {name}: ", more=f"{INDENT}    ")
    return lines


_ORDER = (
    *("digest", "type", "memory", "swap", "cpu", "cpuShares", "vcpus", "threads", "ioPriority", "ioRead", "ioWrite"),
    *("disk", "brand"),
    *("vlan", "subnet", "gateway", "mtu", "tag", "nat", "interface", "hostname", "image", "os", "origin", "state"),
    *("resolvers", "search", "sshKeys", "userData"),
)
"""How fields stand on a page, however a plan was kept; others follow by name."""


def _ordered(fields: Mapping[str, Any]) -> dict[str, Any]:
    """In the page's order; of the nics the primary first."""
    rank = {key: place for place, key in enumerate(_ORDER)}
    found = {key: fields[key] for key in sorted(fields, key=lambda key: (rank.get(key, len(rank)), key))}
    nics = found.get("nics")
    if isinstance(nics, Mapping):
        found["nics"] = {name: nics[name] for name in sorted(nics, key=lambda name: (not _primary(nics[name]), name))}
    return found


def _primary(nic: Any) -> bool:
    return isinstance(nic, Mapping) and bool(nic.get("primary"))


def _shared(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What a folded creation has in common: of nics only the networks' names."""
    leaves = shared_fields(fields)
    nics = list(fields.get("nics", {}))
    kept = {path: leaf for path, leaf in leaves.items() if not path.startswith("/nics/")}
    return {**kept, "/nics": nics} if nics else kept


def _item(key: str, name: str, item: Any) -> list[str]:
    if not isinstance(item, Mapping):
        return [quantities.value(f"/{key}/{name}", item)]
    words = [quantities.value("/ip", item["ip"])] if "ip" in item else []
    for field, leaf in sorted(item.items()):
        if field == "ip" or leaf is False:
            continue
        words.append(field if leaf is True else f"{field} {quantities.value(f'/{key}/{name}/{field}', leaf)}")
    return words or ["as it comes"]


def _leaf(path: str, leaf: Any, change: Change) -> str:
    if path == "/image":
        names = [step.args["image"].get("name") for step in change.steps if isinstance(step.args.get("image"), Mapping)]
        named = next((name for name in names if name), None)
        if named:
            return f"image {named}"
    return f"{quantities.field_name(path)} {quantities.value(path, leaf)}"


def _course(change: Change, view: View) -> list[str]:
    """The steps, where their order is what people want to know."""
    told = change.action in (Action.DESTROY, Action.REPLACE, Action.MOVE, Action.RESTORE)
    if not change.steps or not (told or view.expand):
        return []
    words = [step.summary for step in change.steps]
    if change.recoverable_for and change.action is Action.DESTROY:
        words[-1] += f" for {quantities.duration(change.recoverable_for)}; the purge is a plan of its own"
    lines = wrapped(words, INDENT, " → ", more=INDENT + "  ")
    return lines


def _undo(change: Change) -> list[str]:
    if change.recoverable_for and change.action is Action.DESTROY:
        back = "git revert brings the same machine back with its data"
        return [f"{INDENT}undo: exact for {quantities.duration(change.recoverable_for)} ({back})"]
    if change.undo is Undo.EXACT:
        return [f"{INDENT}undo: exact, one more restart"] if change.risk is Risk.RESTART else []
    return [f"{INDENT}undo: {change.undo}"]
