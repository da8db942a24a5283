"""How fast a machine reads and writes its disk: `limits.read`, `limits.write` and `limits.max` of disk devices. Pure.

Owns: these keys, and how a cap is lifted from a machine that runs. Must not go here: which device is the root.

The kernel keeps one cap for each device of blocks, so that all of a machine's disks in one pool share it; it is written
on the root. Measured on Incus 6.0.4 and LXD 5.0.2: the servers set a cap at once, but leave it in the kernel, until the
machine is started anew, when its key goes away, or is given in operations instead of bytes. So a cap that is to go is
first spelled so high that it is none.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Set
from typing import Any

from drivers.incus import units
from drivers.incus.records import Devices

KEYS: Mapping[str, str] = {"ioRead": "limits.read", "ioWrite": "limits.write"}
BOTH = "limits.max"
"""Holds for reads and writes, whatever the two say."""
_NO_BYTES, _NO_OPERATIONS = "9223372036854775807B", "4294967295iops"
"""The most that the servers and the kernel can count to."""
_REFUSALS = {
    "limits.disk.priority": "ioPriority",
    "Cannot apply disk limits": "ioRead, ioWrite",
    "Invalid block device": "ioRead, ioWrite: there is no block device behind this disk",
}
_STRANGE = "disks."
_OPERATIONS = "iops"


def read(device: Mapping[str, str]) -> dict[str, int | str]:
    """Bytes in a second by field; a cap in operations stays as it is written (`100iops`)."""
    said = {field: device.get(BOTH) or device.get(key) for field, key in KEYS.items()}
    return {field: units.size(text) for field, text in said.items() if text and units.size(text) != 0}


def write(device: dict[str, str], fields: Mapping[str, Any], touched: Set[str]) -> None:
    """Into a root device, what the fields touched say; a key for both is spelled as two."""
    if not touched & KEYS.keys():
        return
    wanted: dict[str, Any] = {**read(device), **{field: fields.get(field) for field in KEYS if field in touched}}
    device.pop(BOTH, None)
    for field, key in KEYS.items():
        device.pop(key, None)
        if wanted.get(field) is not None:
            device[key] = units.write_size(wanted[field])


def strange(name: str, device: Mapping[str, str]) -> dict[str, str]:
    """Caps on a disk beside the root, that no field stands for."""
    return {f"{_STRANGE}{name}.{key}": device[key] for key in (*KEYS.values(), BOTH) if device.get(key)}


def clear(name: str, device: dict[str, str], keep: Container[str]) -> None:
    """Take caps away that no field stands for, but for those among `keep`."""
    for key in (*KEYS.values(), BOTH):
        if f"{_STRANGE}{name}.{key}" not in keep:
            device.pop(key, None)


def is_strange(key: str) -> bool:
    """Whether a key among `extra` is of a cap on a disk."""
    return key.startswith(_STRANGE)


def explained(error: str) -> str:
    """With the field at fault, where a server refuses what one says of disks: it knows its own keys alone, and where it
    starts a machine not even these."""
    field = next((field for text, field in _REFUSALS.items() if text in error), None)
    return f"{field}: {error}" if field is not None else error


def lifted(old: Devices, new: Devices, touched: Set[str], kernel: Mapping[str, Any]) -> Devices:
    """The devices of `new` that have to be written with no cap at all first, so spelled: empty if none has to.

    `old`: those in force. `kernel`: caps that the kernel has on the root, None for none, where they could be read."""
    found: Devices = {}
    for name, device in new.items():
        was, root = old.get(name, {}), device.get("path") == "/"
        for field, key in KEYS.items() if device.get("type") == "disk" else ():
            if root and field not in touched:
                continue
            before, after = was.get(BOTH) or was.get(key), device.get(key)
            none = _in_the_way(before, after, {field: kernel[field]} if root and field in kernel else {}, field)
            if none:
                found.setdefault(name, dict(device))[key] = none
    return found


def _in_the_way(before: str | None, after: str | None, kernel: Mapping[str, Any], field: str) -> str | None:
    """How no cap is spelled, where writing `after` would leave the one that is there."""
    if before is not None and before.endswith(_OPERATIONS):
        return _NO_OPERATIONS if before != after else None
    if after is None:
        return _NO_BYTES if before is not None or kernel.get(field) is not None else None
    edited = field in kernel and before == after and units.size(after) != kernel[field]
    return _NO_BYTES if edited else None  # a key that is as it was written is not written again
