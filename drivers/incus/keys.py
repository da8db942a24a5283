"""Configuration keys of instances: which are ours, which are nobody's, and which need a restart to be in force. Pure.

Owns: the tables. Must not go here: values. Incus tells `liveupdate` of each key under /1.0/metadata/configuration; LXD
5.0 does not, so this is a copy, checked against a real Incus by the tests.
"""

from __future__ import annotations

from collections.abc import Container

PRIORITY = "limits.disk.priority"
"""A word for it there is only where the host takes it."""
HELD = frozenset({
    "limits.memory", "limits.memory.swap", "limits.cpu", "limits.cpu.allowance", "limits.processes",
    "cloud-init.vendor-data", "cloud-init.user-data",
})  # fmt: skip
"""Keys that a field of a machine's form stands for, beside `user.*` (its metadata)."""

SILENT_PREFIXES = ("volatile.", "image.", "user.trueup.")
"""What the server writes itself, and what is ours alone."""

SILENT = frozenset({"boot.autostart", "security.protection.delete", "snapshots.schedule", "snapshots.expiry"})
"""What our verbs set beside the form: quarantine and protection."""

LIVE = frozenset({
    "boot.host_shutdown_action", "boot.host_shutdown_timeout", "limits.cpu", "limits.cpu.allowance", "limits.cpu.nodes",
    "limits.cpu.priority", "limits.disk.priority", "limits.hugepages.1GB", "limits.hugepages.1MB",
    "limits.hugepages.2MB", "limits.hugepages.64KB", "limits.memory", "limits.memory.enforce", "limits.memory.swap",
    "limits.memory.swap.priority", "limits.network.priority", "limits.processes", "linux.kernel_modules",
    "migration.incremental.memory", "migration.incremental.memory.goal", "migration.incremental.memory.iterations",
    "raw.apparmor", "security.nesting", "security.protection.delete", "security.protection.shift",
    "security.syscalls.intercept.mount.allowed", "security.syscalls.intercept.mount.fuse",
    "security.syscalls.intercept.mount.shift",
})  # fmt: skip
"""In force at once, as the server says (`liveupdate`). Everything else is accepted while the machine runs, and silently
waits for a restart, but for what follows."""

LIVE_PREFIXES = ("user.", "cloud-init.", "environment.", "image.", "smbios11.", "boot.", "snapshots.", "cluster.")
"""What no running process is concerned with: notes, and what the server itself does at its own times. Incus calls some
of these not live; a restart of the machine would change nothing about them."""


def is_live(key: str) -> bool:
    return key in LIVE or key.startswith(LIVE_PREFIXES)


def is_extra(key: str, fields: Container[str]) -> bool:
    """Whether a key says something of a machine that its form, which has these fields, has no word for."""
    if key == PRIORITY:
        return "ioPriority" not in fields
    return key not in HELD and key not in SILENT and not key.startswith((*SILENT_PREFIXES, "user."))
