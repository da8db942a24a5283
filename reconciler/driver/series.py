"""The usual series of steps, so that a Shape says only what is its own.

Owns: from a Draft to steps with preconditions and effects, for Machine, Volume, Network, Image and Node claims.
A Shape may use these as they are, or change the steps it gets.
Must not go here: order between changes, gates, journal entries (the planner's), anything native.

What every series keeps: the effect of a step is what the next one starts from; steps before the last write marks
with an empty `applied`, the last one writes the change's `rest_digest`, so that a change cut short is never taken for
a finished one; no step has an effect that already held before it (it would be skipped as done).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import msgspec

from reconciler.core.plan import Action, Difference, Expect, Manner, Risk, Step, Undo
from reconciler.core.refs import kind_of
from reconciler.core.values import escape, plain, segments
from reconciler.driver import Draft

SECONDS = {
    "import": 5.0,
    "create": 0.3,
    "disk": 0.1,
    "destroy-disk": 0.1,
    "configure": 0.1,
    "start": 0.2,
    "stop": 2.0,
    "move": 1.0,
    "update": 0.1,
    "quarantine": 0.2,
    "restore": 0.2,
    "purge": 0.3,
    "mark": 0.05,
    "ready": 5.0,
}
"""Expected seconds a verb, as shown; drivers put their own measured figures over these."""


def usual_steps(draft: Draft, seconds: Mapping[str, float] = SECONDS) -> tuple[Step, ...]:
    """The series for the draft's kind and action. Raises KeyError for a kind that has none."""
    change = draft.change
    build = _SERIES.get((kind_of(change.ref), change.action)) or _COMMON[change.action]
    series = _Series(draft, seconds)
    build(series)
    return series.finished()


class _Series:
    """Collects the steps of one draft; each starts from what the one before left."""

    def __init__(self, draft: Draft, seconds: Mapping[str, float]) -> None:
        self.draft = draft
        self.change = draft.change
        self.after: Mapping[str, Any] = draft.change.after or {}
        self.seconds = seconds
        self.steps: list[Step] = []
        """Without the marks that they write."""
        self.final = draft.marks.applied

    @cached_property
    def body(self) -> dict[str, Any]:
        """What is desired, as it was written; empty where nothing is. Not to be altered."""
        resource = self.draft.resource
        body: dict[str, Any] = plain(resource.body) if resource is not None else {}
        return body

    def add(self, verb: str, summary: str, precondition: Expect, effect: Expect, **more: Any) -> None:
        self.steps.append(
            Step(
                id=f"{len(self.steps) + 1}-{verb}",
                target=more.pop("target", self.change.target),
                ref=self.change.ref,
                uid=more.pop("uid", self.change.uid),
                verb=verb,
                args=more.pop("args", {}),
                precondition=precondition,
                effect=effect,
                summary=summary,
                seconds=self.seconds.get(verb, 1.0),
                **more,
            )
        )

    def finished(self) -> tuple[Step, ...]:
        """With the marks that each writes; the last step that leaves a live object writes the final ones."""
        final = msgspec.to_builtins(self.draft.marks)
        begun = {**final, "applied": ""}
        finished = []
        for count, step in enumerate(self.steps, 1):
            effect, marks = step.effect, begun
            if count == len(self.steps) and effect.lifecycle == "live":
                effect, marks = msgspec.structs.replace(effect, applied=self.final), final
            finished.append(msgspec.structs.replace(step, args={"marks": marks, **step.args}, effect=effect))
        return tuple(finished)


def _content(series: _Series) -> dict[str, Any]:
    """What a machine's configuration is written from: its fields, and the texts that the form only digests."""
    body = series.body
    return {
        "fields": dict(series.after),
        "metadata": body.get("metadata", {}),
        "userData": body.get("userData"),
        "sshKeys": body.get("sshKeys", []),
    }


def _configured(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {f"/{key}": value for key, value in fields.items() if key != "state"}


def _taken_out(series: _Series) -> dict[str, None]:
    """Keys that the machine has and shall not have: without them the effect would hold before anything was done."""
    observed = series.draft.observed
    there = observed.fields if observed is not None and series.change.action is not Action.REPLACE else {}
    return {f"/{key}": None for key in there if key not in series.after and key != "state"}


def _create_machine(series: _Series) -> None:
    after, body = series.after, series.body
    made = {"/image": after["image"], "/state": "stopped"}
    if "disk" in after:
        made["/disk"] = after["disk"]
    image = body.get("image", {})
    series.add(
        "create",
        f"create from {image.get('name', after['image'])}",
        Expect("absent"),
        Expect("live", made),
        args={"image": image, "fields": dict(after)},
    )
    _disks(series, after.get("disks", {}))
    _bring_up(series, {"/image": after["image"], "/state": "stopped"})


def _disks(series: _Series, disks: Mapping[str, Any], taken_from: str | None = None) -> None:
    for name, disk in sorted(disks.items()):
        series.add(
            "disk",
            f"disk {name}",
            Expect("live", {f"/disks/{escape(name)}": None}),
            Expect("live", {f"/disks/{escape(name)}": disk}),
            args={"name": name, "disk": disk, "from": taken_from},
        )


def _bring_up(series: _Series, known: Mapping[str, Any], *, restarts: bool = False) -> None:
    """Write the configuration, start, wait until ready."""
    after = series.after
    fresh = restarts or series.change.before is None or series.change.action is not Action.UPDATE
    if fresh:
        effect = {**_configured(after), **_taken_out(series), "/state": "stopped"}
        series.add(
            "configure", "write the configuration", Expect("live", known), Expect("live", effect), args=_content(series)
        )
    if after.get("state") == "running":
        _start(series)


def _start(series: _Series) -> None:
    series.add("start", "start", Expect("live", {"/state": "stopped"}), Expect("live", {"/state": "running"}))
    _ready(series)


def _ready(series: _Series) -> None:
    ready = series.body.get("ready")
    if ready and series.after.get("state") == "running":
        series.add(
            "ready",
            f"wait until ready (≤ {ready.get('within', 60):g} s)",
            Expect("live", {"/state": "running"}),
            Expect("live", {"/state": "running"}, applied=series.final),
            args={"ready": ready, "fields": dict(series.after)},
        )


def _stop(series: _Series, risk: Risk = Risk.RESTART, **more: Any) -> None:
    series.add(
        "stop",
        "stop",
        Expect("live", {"/state": "running"}),
        Expect("live", {"/state": "stopped"}),
        risk=risk,
        manner=Manner.REBOOT,
        **more,
    )


def _move_machine(series: _Series) -> None:
    """Stopped, carried over, started. What else is to change is written while it is stopped anyway."""
    observed, source = series.draft.observed, series.change.source
    assert observed is not None, "what moves is there"
    assert source is not None, "what moves comes from somewhere"
    if observed.fields.get("state") == "running":
        _stop(series, target=source)
    live, restart, _ = _split(series)
    series.add(
        "move",
        f"move from {source} to {series.change.target}",
        Expect("live", {"/state": "stopped"}),
        Expect("live", {"/state": "stopped"}),
        source=source,
        args={"bytes": _bytes(series.after)},
        manner=Manner.MOVE,
        risk=Risk.DISRUPTIVE,
    )
    changing = [*live, *restart]
    if changing:
        _bring_up(series, _written_over(series, changing), restarts=True)
    elif series.after.get("state") == "running":
        _start(series)


def _bytes(fields: Mapping[str, Any]) -> int | None:
    """The most that a machine's disks can hold; None: as much as the node has."""
    data = [disk.get("size") for disk in (fields.get("disks") or {}).values()]
    sizes = [size for size in (fields.get("disk"), *data) if size is not None]
    return sum(sizes) if len(sizes) == 1 + len(data) else None


def _update_machine(series: _Series) -> None:
    draft = series.draft
    was = (draft.observed.fields if draft.observed else {}).get("state", "stopped")
    want = series.after.get("state")
    live, restart, disks = _split(series)
    warm = [disk for disk in disks if disk.manner is Manner.LIVE]
    cold = [disk for disk in disks if disk.manner is not Manner.LIVE]
    _change_disks(series, warm)
    if live:
        _update(series, live)
    if restart or cold:
        if was == "running":
            _stop(series)
        _change_disks(series, cold)
        _bring_up(series, _written_over(series, restart), restarts=True)
    elif was == "running" and want == "stopped":
        _stop(series, Risk.DISRUPTIVE)
    elif was != "running" and want == "running":
        _start(series)
    elif live or disks:
        _ready(series)
    if not series.steps:
        _mark(series)


def _written_over(series: _Series, restart: list[Difference]) -> dict[str, Any]:
    """What the configuration says before it is written whole: what shall change as it was, all else as it shall stay,
    so that a plan from an older look puts nothing back."""
    changing = {segments(difference.path)[0] for difference in restart}
    stays = {f"/{escape(key)}": value for key, value in series.after.items() if key not in changing}
    return {**stays, **{difference.path: difference.before for difference in restart}, "/state": "stopped"}


def _split(series: _Series) -> tuple[list[Difference], list[Difference], list[Difference]]:
    """Live changes, those that need a stop, and the data disks that come or go, whole, each `/disks/<name>`."""
    live, restart, disks = [], [], []
    for difference in _by_disk(series.change.differences):
        parts = segments(difference.path)
        if parts[0] in ("state", "node"):
            continue
        if parts[0] == "disks" and len(parts) == 2 and None in (difference.before, difference.after):
            disks.append(difference)
        elif difference.manner is Manner.LIVE:
            live.append(difference)
        else:
            restart.append(difference)
    return live, restart, disks


def _by_disk(differences: tuple[Difference, ...]) -> list[Difference]:
    """The first data disk comes, and the last one goes, as a difference of `/disks` itself."""
    result = []
    for difference in differences:
        if difference.path != "/disks":
            result.append(difference)
            continue
        before, after = difference.before or {}, difference.after or {}
        for name in sorted({*before, *after}):
            one = {"path": f"/disks/{escape(name)}", "before": before.get(name), "after": after.get(name)}
            result.append(msgspec.structs.replace(difference, **one))
    return result


def _change_disks(series: _Series, disks: list[Difference]) -> None:
    """Make those that come; destroy those that go, each a step of its own."""
    names = {segments(disk.path)[1]: disk for disk in disks}
    _disks(series, {name: series.after["disks"][name] for name, disk in names.items() if disk.after is not None})
    for name, disk in sorted(names.items()):
        if disk.after is None:
            series.add(
                "destroy-disk",
                f"destroy the disk {name} for good",
                Expect("live", {disk.path: disk.before}),
                Expect("live", {disk.path: None}),
                risk=Risk.DATA_LOSS,
                undo=Undo.IMPOSSIBLE,
                args={"name": name},
            )


def _update(series: _Series, differences: list[Difference]) -> None:
    paths = [difference.path for difference in differences]
    series.add(
        "update",
        "set " + ", ".join([path[1:].replace("/", ".") for path in paths]),
        Expect("live", {difference.path: difference.before for difference in differences}),
        Expect("live", {difference.path: difference.after for difference in differences}),
        risk=Risk.LIVE,
        args={"set": {d.path: d.after for d in differences}, **_content(series)},
    )


def _mark(series: _Series) -> None:
    """Only the marks are behind: a rename, a protection, a change that was cut short before its last word."""
    observed = series.draft.observed
    running = observed is not None and observed.fields.get("state") == "running"
    if kind_of(series.change.ref) == "Machine" and running and series.body.get("ready"):
        _ready(series)
        return
    series.add("mark", "write the marks", Expect("live"), Expect("live", applied=series.final))


def _destroy_machine(series: _Series) -> None:
    observed = series.draft.observed
    if observed is not None and observed.fields.get("state") == "running":
        _stop(series)
    _quarantine(series, series.change.uid)


_STOPPED = Expect("live", {"/state": "stopped"})


def _quarantine(series: _Series, uid: str, *, keep_disks: bool = False, first: Expect = _STOPPED) -> None:
    series.add(
        "quarantine",
        "snapshot and quarantine",
        first,
        Expect("quarantined"),
        uid=uid,
        risk=Risk.DATA_LOSS,
        args={"quarantine": series.change.recoverable_for, "keepDisks": keep_disks},
    )


def _destroy_volume(series: _Series) -> None:
    """Set aside whole; what mounted it has let it go before."""
    _quarantine(series, series.change.uid, first=Expect("live"))


def _restore_volume(series: _Series) -> None:
    series.add("restore", "restore from quarantine", Expect("quarantined"), Expect("live"))
    if series.change.differences:
        _update(series, list(series.change.differences))


def _replace_machine(series: _Series) -> None:
    """The old thing goes to quarantine, a new one with another uid takes its place, name, addresses and data disks."""
    observed = series.draft.observed
    assert observed is not None, "a replace starts from a live object"
    assert observed.marks is not None, "a replace starts from an object of ours"
    old = observed.marks.uid
    if observed.lifecycle == "live":
        if observed.fields.get("state") == "running":
            _stop(series)
            series.steps[-1] = msgspec.structs.replace(series.steps[-1], uid=old)
        _quarantine(series, old, keep_disks=True)
    for index, step in enumerate(series.steps):
        args = {**step.args, "marks": msgspec.to_builtins(observed.marks)}
        series.steps[index] = msgspec.structs.replace(step, args=args)
    after, body = series.after, series.body
    made = {"/image": after["image"], "/state": "stopped"}
    series.add(
        "create",
        f"create from {body.get('image', {}).get('name', after['image'])}",
        Expect("absent"),
        Expect("live", made),
        args={"image": body.get("image", {}), "fields": dict(after)},
    )
    _disks(series, after.get("disks", {}), taken_from=old)
    _bring_up(series, made)


def _restore(series: _Series) -> None:
    series.add(
        "restore",
        "restore from quarantine",
        Expect("quarantined"),
        Expect("live", {"/state": "stopped"}),
        args={"fields": dict(series.after)},
    )
    _, _, disks = _split(series)
    _change_disks(series, disks)
    _bring_up(series, {"/state": "stopped"})


def _purge(series: _Series) -> None:
    series.add(
        "purge",
        "purge for good",
        Expect("quarantined"),
        Expect("absent"),
        risk=Risk.DATA_LOSS,
        undo=Undo.IMPOSSIBLE,
        args={"until": series.draft.marks.quarantined_until},
    )


def _forget(series: _Series) -> None:
    series.add("forget", "drop the marks, leave the object", Expect("live"), Expect("absent"), undo=Undo.LOSSY)


def _adopt(series: _Series) -> None:
    observed = series.draft.observed
    args = {"native": observed.native_name if observed else "", "nativeId": observed.native_id if observed else ""}
    series.add("adopt", "write the marks", Expect("absent"), Expect("live", applied=series.final), args=args)


def _claim(series: _Series) -> None:
    """The node mark is no object of its own: its precondition and effect are the driver's claim check."""
    args = {"identity": series.after.get("identity"), "datacenter": series.draft.marks.datacenter}
    series.add("claim", "claim the node", Expect("absent"), Expect("live"), args=args)


def _create_plain(series: _Series) -> None:
    verb = "import" if kind_of(series.change.ref) == "Image" else "create"
    args = {"fields": dict(series.after), "body": series.body}
    effect = Expect("live", {f"/{key}": value for key, value in series.after.items()})
    series.add(verb, f"{verb} {series.change.ref.rpartition('/')[2]}", Expect("absent"), effect, args=args)


def _update_plain(series: _Series) -> None:
    if not series.change.differences:
        _mark(series)
        return
    _update(series, list(series.change.differences))
    last = series.steps[-1]
    series.steps[-1] = msgspec.structs.replace(
        last, args={**last.args, "fields": dict(series.after), "body": series.body}
    )


def _destroy_plain(series: _Series) -> None:
    """Networks and images hold no data of their own: they can be made again from git."""
    series.add("destroy", "remove", Expect("live"), Expect("absent"), risk=Risk.DISRUPTIVE)


_COMMON: dict[Action, Callable[[_Series], None]] = {
    Action.CREATE: _create_plain,
    Action.UPDATE: _update_plain,
    Action.DESTROY: _destroy_plain,
    Action.RENAME: _update_plain,
    Action.PURGE: _purge,
    Action.FORGET: _forget,
    Action.ADOPT: _adopt,
}

_SERIES: dict[tuple[str, Action], Callable[[_Series], None]] = {
    ("Machine", Action.CREATE): _create_machine,
    ("Machine", Action.UPDATE): _update_machine,
    ("Machine", Action.RENAME): _update_machine,
    ("Machine", Action.MOVE): _move_machine,
    ("Machine", Action.DESTROY): _destroy_machine,
    ("Machine", Action.REPLACE): _replace_machine,
    ("Machine", Action.RESTORE): _restore,
    ("Volume", Action.DESTROY): _destroy_volume,
    ("Volume", Action.RESTORE): _restore_volume,
    ("Node", Action.ADOPT): _claim,
}
