"""Between what is wanted and what this host holds: pure, without IO.

Owns: which fields a zone, a network and an image hold here, and what a change of each takes.
Must not go here: reading or changing the host, the forms themselves and the usual steps (reconciler.driver).
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
from reconciler.driver.series import SECONDS, usual_steps

HELD = {
    "Machine": frozenset(
        {
            "image",
            "memory",
            "swap",
            "cpu",
            "cpuShares",
            "threads",
            "disk",
            "state",
            "hostname",
            "nics",
            "disks",
            "volumes",
            "resolvers",
            "search",
            "sshKeys",
            "userData",
            "metadata",
        }
    ),
    "Network": frozenset({"tag", "vlan", "subnet", "gateway", "mtu", "nat", "interface", "firewall", "forwards"}),
    "Image": frozenset({"digest", "type", "os", "origin"}),
    "Volume": frozenset({"size"}),
}
"""`vcpus`, `ioPriority`, `ioRead`, `ioWrite` and `brand` are not held: a zone shares the host's processors, and its I/O
is the pool's, whose own threads and daemon do it outside the zone's control group."""

INTERNAL = ("none", "bridge", "internal", "")
"""What a node says of a nic tag whose networks have no uplink there."""

PAGE = 4096
"""The kernel rounds caps of memory down to whole pages."""

_LIVE = frozenset({"memory", "swap", "cpu", "cpuShares", "threads", "disk", "state"})
_FILES = frozenset({"resolvers", "search", "sshKeys"})
_TOLD = frozenset({"userData", "metadata"})

_SECONDS = {**SECONDS, "create": 0.1, "configure": 0.05, "start": 0.1, "stop": 1.0, "quarantine": 0.15, "purge": 0.1}
"""Measured on two cores with zfs-fuse."""


class LocalShape:
    capability = Capability(
        kinds=frozenset({*HELD, "FirewallRule"}),
        image_types=frozenset({"rootfs"}),
        brands=frozenset({"zone"}),
        fields=frozenset({"forwards"}),
        image_sources=frozenset({"file", "url", "folder", "debian", "busybox"}),
        plainly=True,
        routes=frozenset(INTERNAL),
    )

    def native(self, resource: Resource, context: NativeContext) -> Fields:
        return self.normalise(kind_of(resource.ref), native_form(resource, context))

    def normalise(self, kind: str, native: Mapping[str, Any]) -> Fields:
        fields = only(native, HELD[kind])
        for key in [key for key, value in fields.items() if value in ({}, [])]:
            del fields[key]  # none of a thing is the same as not a word of it
        for key in ("memory", "swap"):
            if isinstance(fields.get(key), int):
                fields[key] -= fields[key] % PAGE
        return fields

    def manner(self, kind: str, path: str, before: Any, after: Any, fields: Fields) -> Manner:
        parts = segments(path)
        if kind == "Image":
            return Manner.IMPOSSIBLE if parts[0] == "digest" else Manner.LIVE
        if kind == "Network":
            return Manner.LIVE
        if kind == "Volume":
            return _disk_manner(parts, before, after)
        return _machine_manner(parts, before, after, fields)

    def steps(self, draft: Draft) -> tuple[Step, ...]:
        return usual_steps(draft, _SECONDS)


def _machine_manner(parts: list[str], before: Any, after: Any, fields: Fields) -> Manner:
    first = parts[0]
    if first == "image":
        return Manner.REPLACE
    if first in _LIVE:
        return Manner.LIVE
    if first == "disks":
        return _disk_manner(parts, before, after)
    if first == "volumes":
        return Manner.STOPPED
    if fields.get("state") != "running":
        return Manner.LIVE
    if first in _FILES and before is not None and after is not None:
        return Manner.LIVE
    if first in _TOLD and any(fields.get(key) for key in _TOLD):
        return Manner.LIVE
    return Manner.REBOOT


def _disk_manner(parts: list[str], before: Any, after: Any) -> Manner:
    """Growing is live; shrinking a data disk is refused; a mount appears or goes at the next start."""
    if parts[-1] == "size" and isinstance(before, int) and isinstance(after, int):
        return Manner.LIVE if after > before else Manner.IMPOSSIBLE
    return Manner.STOPPED
