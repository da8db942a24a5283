"""What an Incus or LXD server can hold of a form, and what changing it takes. Pure.

Owns: the capability, the manner table, the steps. Must not go here: keys and values of the servers (writing, reading).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from drivers.incus import paces, projects, reading
from drivers.incus.keys import is_live
from drivers.incus.records import Image, Instance, Network, Project, View, Volume
from drivers.incus.writing import network_name
from reconciler.core.desired import Resource
from reconciler.core.plan import Action, Expect, Manner, Step
from reconciler.core.refs import kind_of, name_of
from reconciler.core.values import Fields, plain, segments
from reconciler.driver import Capability, Draft, NativeContext
from reconciler.driver.forms import native_form, only
from reconciler.driver.series import usual_steps

MACHINE_KEYS = (
    "image", "brand", "memory", "swap", "cpu", "cpuShares", "vcpus", "threads", "ioPriority", "ioRead", "ioWrite",
    "disk", "state", "hostname", "project", "nics", "disks", "volumes", "snapshots", "sshKeys", "userData", "metadata",
)  # fmt: skip
KEYS: Mapping[str, tuple[str, ...]] = {
    "Machine": MACHINE_KEYS,
    "Network": ("tag", "vlan", "subnet", "gateway", "mtu", "nat", "interface", "firewall", "forwards"),
    "Image": ("digest", "type", "os"),
    "Volume": ("size", "project"),
    "Tenant": ("limits", "certificates", "networks"),
}
NIC_KEYS = ("ip", "mac", "primary")
"""Gateway, MTU and VLAN are the network's on these servers, and told there."""
DISK_KEYS = ("size", "path")
ONLY_ZONE = ("cpu", "cpuShares", "swap", "threads", "ioPriority", "ioRead", "ioWrite")

CAPABILITY = Capability(
    kinds=frozenset({*KEYS, "FirewallRule"}),
    image_types=frozenset({"rootfs", "disk"}),
    brands=frozenset({"zone", "vm"}),
    fields=frozenset({"snapshots", "forwards"}),
    image_sources=frozenset({"file", "url", "folder", "busybox", "machine"}),
    plainly=True,
    names=frozenset({"Machine", "Network", "Tenant"}),
)

MANNERS: Mapping[str, Manner] = {
    "hostname": Manner.STOPPED,
    "userData": Manner.REBOOT,
    "nics": Manner.STOPPED,
    "image": Manner.REPLACE,
    "brand": Manner.REPLACE,
}
"""First segment of a machine's field to its manner; what is not named is live. A NIC's change could be made live, but
one that fails half-way takes the interface away from the machine, and only a restart brings it back."""
VM_MANNERS: Mapping[str, Manner] = {**MANNERS, "vcpus": Manner.REBOOT, "memory": Manner.REBOOT, "disk": Manner.STOPPED}
NETWORK_MANNERS: Mapping[str, Manner] = {"subnet": Manner.IMPOSSIBLE}

SECONDS = {
    "import": 1.0, "create": 0.06, "disk": 0.05, "destroy-disk": 0.05, "configure": 0.03, "start": 0.2, "stop": 2.0,
    "move": 0.3, "update": 0.03, "quarantine": 0.15, "restore": 0.1, "purge": 0.05, "mark": 0.02, "ready": 5.0,
}  # fmt: skip
"""Measured on two cores; the stop waits for the guest, and a move takes what its data take on top."""


class IncusShape:
    """One shape for Incus and LXD: what they hold is the same."""

    capability = CAPABILITY

    def native(self, resource: Resource, context: NativeContext) -> Fields:
        """Raises KeyError for a kind that has no form."""
        kind = kind_of(resource.ref)
        form = only(native_form(resource, context), KEYS[kind])
        if kind == "Network" and form.get("interface") == "none":
            del form["interface"]
        if kind == "Tenant":
            return _tenant(form)
        return _machine(form) if kind == "Machine" else form

    def normalise(self, kind: str, native: Mapping[str, Any]) -> Fields:
        """`native`: what the API says of an instance, a network or an image."""
        if kind == "Machine":
            return reading.machine(msgspec.convert(native, Instance), View()).fields
        if kind == "Network":
            return reading.network(msgspec.convert(native, Network), View())
        if kind == "Volume":
            return reading.volume(msgspec.convert(native, Volume))
        if kind == "Tenant":
            return projects.read(msgspec.convert(native, Project), (), View())
        return reading.image(msgspec.convert(native, Image))

    def manner(self, kind: str, path: str, before: Any, after: Any, fields: Fields) -> Manner:
        parts = segments(path)
        if kind == "Image":
            return Manner.LIVE if parts[0] == "os" else Manner.IMPOSSIBLE  # a note of ours beside the content
        if kind == "Tenant":
            return Manner.LIVE
        if parts[0] == "project":
            return Manner.IMPOSSIBLE  # nothing is carried from one to another: marks would not go with it
        if kind == "Network":
            return NETWORK_MANNERS.get(parts[0], Manner.LIVE)
        if parts[0] == "node":
            return Manner.IMPOSSIBLE if kind == "Volume" else Manner.MOVE
        if kind == "Volume":
            return _sized(before, after)
        if parts[0] == "disk":
            return _sized(before, after, VM_MANNERS["disk"] if fields.get("brand") == "vm" else Manner.LIVE)
        if parts[0] in ("disks", "volumes"):
            return _disk(parts, before, after)
        if parts[0] == "extra":
            return _extra(parts, before, after)
        return (VM_MANNERS if fields.get("brand") == "vm" else MANNERS).get(parts[0], Manner.LIVE)

    def steps(self, draft: Draft) -> tuple[Step, ...]:
        steps = usual_steps(draft, SECONDS)
        if kind_of(draft.change.ref) == "Network" and draft.change.action is Action.ADOPT:
            return tuple(_designated(step, draft) for step in steps)
        if kind_of(draft.change.ref) != "Machine":
            return steps
        if draft.change.action in (Action.CREATE, Action.REPLACE):
            steps = _created_whole(steps, draft)
        return tuple(_loosened(step) for step in steps)


def _machine(form: dict[str, Any]) -> dict[str, Any]:
    """Drops what cannot be held: one key holds a cap or a weight, an empty value is none, and swap is none or any."""
    if form.get("brand") == "vm":
        form = {key: value for key, value in form.items() if key not in ONLY_ZONE}
    if form.get("cpu") is not None:
        form.pop("cpuShares", None)
    if "project" in form and form.get("brand") != "vm":
        form["swap"] = 0  # the key for more is refused in a restricted project, and none is what there is without it
    if form.get("swap") != 0:
        form.pop("swap", None)
    if "nics" in form:
        form["nics"] = {name: only(nic, NIC_KEYS) for name, nic in form["nics"].items()}
    if "disks" in form:
        form["disks"] = {name: _no_nulls(only(disk, DISK_KEYS)) for name, disk in form["disks"].items()}
    if "metadata" in form:
        kept = {key: value for key, value in form["metadata"].items() if value != "" and not key.startswith("trueup.")}
        form["metadata"] = kept
        if not kept:
            del form["metadata"]
    return form


def _tenant(form: dict[str, Any]) -> dict[str, Any]:
    if "networks" in form:
        form["networks"] = sorted({network_name(name_of(ref), ref) for ref in form["networks"]})
    return form


def _no_nulls(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value is not None}


def _sized(before: Any, after: Any, grows: Manner = Manner.LIVE) -> Manner:
    """A disk grows and never shrinks: a quota below what is used locks the machine out of its own disk."""
    if before is None or after is None or not isinstance(before, int) or not isinstance(after, int):
        return grows
    return grows if after >= before else Manner.IMPOSSIBLE


def _disk(parts: list[str], before: Any, after: Any) -> Manner:
    if before is None or after is None:
        return Manner.LIVE
    return _sized(before, after) if parts[-1] == "size" else Manner.STOPPED


def _extra(parts: list[str], before: Any, after: Any) -> Manner:
    """A key that needs a restart is accepted without a word while the machine runs: the restart is planned."""
    keys = [parts[1]] if len(parts) > 1 else [*(before or {}), *(after or {})]
    return Manner.LIVE if all(is_live(key) or paces.is_strange(key) for key in keys) else Manner.REBOOT


def _created_whole(steps: tuple[Step, ...], draft: Draft) -> tuple[Step, ...]:
    """One call creates an instance with all of its configuration, so there is nothing left to configure."""
    configure = next(step for step in steps if step.verb == "configure")
    after = draft.change.after or {}
    whole = {f"/{key}": value for key, value in after.items() if key not in ("state", "disks")}
    kept: list[Step] = []
    for step in steps:
        if step is configure:
            continue
        if step.verb == "create":
            effect = Expect("live", {**whole, "/state": "stopped"})
            args = {**configure.args, **step.args}
            step = msgspec.structs.replace(step, args=args, effect=effect)
        kept.append(step)
    if configure is steps[-1]:
        kept[-1] = _last(kept[-1], configure)
    elif [step.verb for step in kept[-2:]] == ["create", "start"]:
        # Until it runs the machine differs from what is wanted, so the last word may be written with the first.
        kept[-2] = msgspec.structs.replace(kept[-2], args={**kept[-2].args, "marks": kept[-1].args["marks"]})
    return tuple(kept)


def _designated(step: Step, draft: Draft) -> Step:
    """Which physical network it is on is no part of a bridge: it is written beside the marks."""
    after = draft.change.after or {}
    said = {f"/{key}": after[key] for key in ("tag", "vlan") if key in after}
    effect = msgspec.structs.replace(step.effect, fields=said)
    return msgspec.structs.replace(step, args={**step.args, "fields": dict(after)}, effect=effect)


def _last(step: Step, model: Step) -> Step:
    """The step that ends the change writes the marks that say so."""
    effect = msgspec.structs.replace(step.effect, applied=model.effect.applied)
    return msgspec.structs.replace(step, args={**step.args, "marks": model.args["marks"]}, effect=effect)


def _loosened(step: Step) -> Step:
    """A NIC that a running machine has lost is there again in the configuration of the stopped one, and what an earlier
    move left of a disk is gone after the next."""
    if step.verb != "configure":
        return step
    kept = {
        path: value
        for path, value in step.precondition.fields.items()
        if (parts := segments(path))[0] != "nics" and parts[-1] != reading.COPIES
    }
    return msgspec.structs.replace(step, precondition=Expect(step.precondition.lifecycle, kept))


def body_of(resource: Resource) -> dict[str, Any]:
    body: dict[str, Any] = plain(resource.body)
    return body
