"""One step with all it acts on, and the refusal of it.

Owns: what verbs share: the marks as they are written, waiting for progress, the words of a refusal.
Must not go here: verbs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from drivers.incus import marks as marking
from drivers.incus.api import Api
from drivers.incus.node import Found, Node
from drivers.incus.reading import instance_marks
from drivers.incus.records import Config, Devices, Image, Network, Project, Server, View, Volume
from reconciler.core.observed import Marks, Object
from reconciler.core.plan import Step
from reconciler.core.refs import kind_of
from reconciler.core.values import segments
from reconciler.driver import StepContext, outbid

ALONE = frozenset({"adopt", "forget", "mark", "snapshot", "start", "stop", "update"})
"""Verbs of a machine that read nothing but the instance, unless what they change or prove is of something else."""


class Denied(Exception):
    """The step cannot be done: one sentence for people. Nothing was changed."""


class Outbid(Exception):
    """The node has seen a higher fence, ahead of our first write. `outcome`: what to answer."""

    def __init__(self, seen: int, ours: int) -> None:
        self.outcome = outbid(seen, ours)
        super().__init__(self.outcome.reason)


class Act(msgspec.Struct):
    """`object` is what the proof was made on; one of `found`, `network`, `image`, `volume` and `home`
    is behind it."""

    node: Node
    api: Api
    server: Server
    step: Step
    context: StepContext
    marks: Marks
    view: View
    object: Object | None = None
    found: Found | None = None
    network: Network | None = None
    network_etag: str = ""
    image: Image | None = None
    volume: Volume | None = None
    home: Project | None = None
    """The project of a tenant, where the step is of that."""

    @property
    def kind(self) -> str:
        return kind_of(self.step.ref)

    @property
    def project(self) -> str:
        """Where the object of the step lives, or is to live."""
        if self.found is not None:
            return self.found.instance.project
        if self.volume is not None:
            return self.volume.project
        return str((self.step.args.get("fields") or {}).get("project") or self.node.project)

    @property
    def here(self) -> Found:
        if self.found is None:
            raise Denied(f"there is no machine with the uid {self.step.uid}")
        return self.found

    @property
    def fields(self) -> Mapping[str, Any]:
        return self.object.fields if self.object is not None else {}

    @property
    def suffix(self) -> str:
        return self.view.suffix

    def arg(self, name: str) -> Any:
        if self.step.args.get(name) is None:
            raise Denied(f"the step says no {name}")
        return self.step.args[name]

    def speaks_of(self, *fields: str) -> bool:
        """Whether what a machine's step proves or changes may have to do with any of these fields: else what they are
        read against (networks, volumes), which servers with many machines take long to list, makes no difference."""
        if self.step.verb not in ALONE:
            return True
        proved = (*self.step.precondition.fields, *self.step.effect.fields)
        return any(segments(path)[0] in fields for path in (*proved, *(self.step.args.get("set") or ())))

    def written(self, **more: Any) -> Marks:
        """The marks as they are written: with the fence and generation of who writes."""
        return msgspec.structs.replace(self.marks, fence=self.context.fence, generation=self.context.generation, **more)

    def marked(self, native: str, **more: Any) -> Config:
        """The keys that bear the marks of an instance."""
        marks = self.written(**more)
        config = {marking.MARKS: marking.write(marks, native, self.view.seal), marking.REF: marks.ref}
        if marks.protected:
            config["security.protection.delete"] = "true"
        return config

    def unprotected(self) -> None:
        marks = self.object.marks if self.object else None
        if marks is not None and marks.protected:
            raise Denied("it is protected: lifting that takes a change of its own first")

    def expired(self) -> None:
        """Nothing is purged before the time that it bears itself."""
        self.unprotected()
        marks = self.object.marks if self.object else None
        until = marks.quarantined_until if marks else None
        if until is None:
            raise Denied("only what lies in quarantine, with a time, can be purged")
        if self.context.now < until:
            raise Denied(f"its quarantine ends {until - self.context.now:.0f} s from now")


async def write(act: Act, config: Config, devices: Devices) -> None:
    """Bring an instance to this local configuration, in one call, if it is still as it was read.

    A PATCH is quick, merges, and unsets what is given empty; it replaces a device whole and cannot take one away. A PUT
    can, and must bring every volatile key back as it was.
    """
    instance, etag = act.here.instance, act.here.etag
    was = instance_marks(instance, act.view.seal, act.view.base)
    if was is not None and was.protected and not act.marks.protected:
        config.pop("security.protection.delete", None)
    path = f"/1.0/instances/{instance.name}"
    if instance.devices.keys() - devices.keys():
        body = {
            "architecture": instance.architecture,
            "config": config,
            "devices": devices,
            "ephemeral": instance.ephemeral,
            "profiles": instance.profiles,
            "description": instance.description,
            "stateful": instance.stateful,
        }
        await act.api.change("PUT", path, body, etag=etag, project=act.project)
        return
    keys = {key: value for key, value in config.items() if instance.config.get(key) != value}
    keys.update({key: "" for key in instance.config.keys() - config.keys()})
    moved = {name: device for name, device in devices.items() if instance.devices.get(name) != device}
    if keys or moved:
        body = {"config": keys, "devices": moved} if moved else {"config": keys}
        await act.api.change("PATCH", path, body, etag=etag, project=act.project)


async def keep(act: Act, **more: Any) -> None:
    """Write our marks and nothing else."""
    instance = act.here.instance
    await write(act, {**instance.config, **act.marked(instance.native_id, **more)}, dict(instance.devices))
