"""Configuration keys of instances: which are ours, which are nobody's, and which need a restart to be in force. Pure.

Owns: the tables. Must not go here: values. Incus tells `liveupdate` of each key under /1.0/metadata/configuration; LXD
5.0 does not, so this is a copy, checked against a real Incus by the tests.
"""

from __future__ import annotations

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
    "boot.autorestart", "boot.autostart", "boot.autostart.delay", "boot.autostart.priority",
    "boot.host_shutdown_timeout", "boot.stop.priority", "cluster.evacuate", "environment.", "limits.cpu",
    "limits.cpu.allowance", "limits.cpu.nodes", "limits.cpu.priority", "limits.disk.priority", "limits.hugepages.1GB",
    "limits.hugepages.1MB", "limits.hugepages.2MB", "limits.hugepages.64KB", "limits.memory", "limits.memory.enforce",
    "limits.memory.swap", "limits.memory.swap.priority", "limits.network.priority", "limits.processes",
    "linux.kernel_modules", "security.protection.delete", "security.protection.shift", "snapshots.expiry",
    "snapshots.pattern", "snapshots.schedule", "snapshots.schedule.stopped", "user.", "cloud-init.",
})  # fmt: skip
"""In force at once. Everything else is accepted while the machine runs, and silently waits for a restart."""


def is_live(key: str) -> bool:
    if key in LIVE:
        return True
    return key.startswith(("user.", "cloud-init.", "environment.", "image."))


def is_extra(key: str) -> bool:
    """Whether a key says something of a machine that its form has no word for."""
    return key not in HELD and key not in SILENT and not key.startswith((*SILENT_PREFIXES, "user."))
