"""What a simulated node can hold and what changing it takes. Pure.

Owns: the capability, the manner table and the steps of the simulated driver.
Must not go here: the rules that a node checks while acting (engine), storage (store), faults.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reconciler.core.desired import Resource
from reconciler.core.plan import Manner, Step
from reconciler.core.refs import kind_of
from reconciler.core.values import Fields, segments
from reconciler.driver import Capability, Draft, NativeContext
from reconciler.driver.forms import native_form, only
from reconciler.driver.series import usual_steps

MACHINE_KEYS = (
    "image", "brand", "memory", "swap", "cpu", "cpuShares", "vcpus", "threads", "ioPriority", "ioRead", "ioWrite",
    "disk", "state", "hostname", "project", "nics", "disks", "volumes", "snapshots", "resolvers", "search", "sshKeys",
    "userData", "metadata",
)  # fmt: skip
KEYS: Mapping[str, tuple[str, ...]] = {
    "Machine": MACHINE_KEYS,
    "Network": ("tag", "vlan", "subnet", "gateway", "mtu", "nat", "interface", "firewall", "forwards"),
    "Image": ("digest", "type", "os", "origin"),
    "Volume": ("size", "project"),
    "Tenant": ("limits", "certificates", "networks"),
}
_HELD = {kind: frozenset(keys) for kind, keys in KEYS.items()}

CAPABILITY = Capability(
    kinds=frozenset({*KEYS, "FirewallRule"}),
    image_types=frozenset({"rootfs", "disk", "zone-dataset"}),
    brands=frozenset({"zone", "lx", "vm"}),
    fields=frozenset({"snapshots", "forwards"}),
    image_sources=frozenset({"file", "url", "folder", "debian", "busybox", "machine"}),
    plainly=True,
)

MANNERS: Mapping[str, Manner] = {
    "hostname": Manner.REBOOT,
    "userData": Manner.REBOOT,
    "nics": Manner.STOPPED,
    "image": Manner.REPLACE,
    "brand": Manner.REPLACE,
}
"""First segment of a machine's field to its manner; what is not named is live. Disks have rules of their own."""

SECONDS = {"import": 3.0, "create": 0.3, "start": 0.2, "stop": 0.5, "move": 0.3, "ready": 1.0}


class SimShape:
    """The twin of a node for rehearsal: everything a form can say is held. `manners` overrides MANNERS by field."""

    capability = CAPABILITY

    def __init__(self, manners: Mapping[str, Manner] | None = None) -> None:
        self._manners = {**MANNERS, **(manners or {})}

    def native(self, resource: Resource, context: NativeContext) -> Fields:
        """Raises KeyError for a kind that has no form."""
        return only(native_form(resource, context), _HELD[kind_of(resource.ref)])

    def normalise(self, kind: str, native: Mapping[str, Any]) -> Fields:
        return only(native, KEYS.get(kind, tuple(native)))

    def manner(self, kind: str, path: str, before: Any, after: Any, fields: Fields) -> Manner:
        if kind == "Image":
            return Manner.IMPOSSIBLE
        parts = segments(path)
        if kind == "Network":
            return Manner.IMPOSSIBLE if parts[0] == "subnet" else Manner.LIVE
        if parts[0] == "node":
            return Manner.IMPOSSIBLE if kind == "Volume" else Manner.MOVE
        if kind == "Tenant":
            return Manner.LIVE
        if parts == ["project"]:
            return Manner.IMPOSSIBLE
        if parts[0] == "disk" or kind == "Volume":
            return _sized(before, after)
        if parts[0] == "disks":
            return self._disk(parts, before, after)
        return self._manners.get(parts[0], Manner.LIVE)

    def _disk(self, parts: list[str], before: Any, after: Any) -> Manner:
        if before is None or after is None:
            return Manner.LIVE
        if parts[-1] == "size":
            return _sized(before, after)
        return Manner.REBOOT

    def steps(self, draft: Draft) -> tuple[Step, ...]:
        return usual_steps(draft, SECONDS)


def _sized(before: Any, after: Any) -> Manner:
    """A disk grows while in use and never shrinks; taking a limit away is growing."""
    if before is None or after is None or after >= before:
        return Manner.LIVE
    return Manner.IMPOSSIBLE
