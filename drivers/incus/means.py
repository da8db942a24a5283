"""What a host, or a member of a cluster, has in all and can run.

Owns: asking for it. Must not go here: what is promised there (the core's), what is on it (listing).
"""

from __future__ import annotations

from typing import Any

import msgspec

from drivers.incus.node import Node
from drivers.incus.records import Server
from reconciler.core.observed import Capacity
from reconciler.core.refs import Target

_NOT_OPERATIONAL = "Instance type not operational"
"""The type of the warning that tells why."""
_LACKING = {
    "Couldn't find the CGroup blkio": {"ioRead": "caps", "ioWrite": "caps"},
    "Couldn't find the CGroup blkio.weight": {"ioPriority": "weights"},
}
"""By the type of a warning the fields that a host does not hold, and what its kernel lacks. The servers do not start a
machine that has the key all the same."""


class Means(msgspec.Struct, frozen=True):
    """`cannot`: brands and fields of machines, each with the reason."""

    capacity: Capacity = Capacity()
    cannot: dict[str, str] = {}


async def measure(node: Node, target: Target) -> Means:
    """Raises ApiError, Lost, Refused."""
    api, placed = await node.api(), node.placed(target)
    said = await api.get("/1.0/resources", **placed)
    pool = await api.get(f"/1.0/storage-pools/{await node.pool()}/resources", **placed)
    capacity = Capacity(
        memory=(said.get("memory") or {}).get("total"),
        cpu=1000 * ((said.get("cpu") or {}).get("total") or 0) or None,
        disk=(pool.get("space") or {}).get("total"),
    )
    server = msgspec.convert(await api.get("/1.0", **placed), Server)
    warnings, member = await api.get("/1.0/warnings", recursion="1") or [], node.member(target)
    own = [each for each in warnings if member is None or each.get("location") == member]
    cannot = {} if "qemu" in server.environment.driver else {"vm": f"it runs no virtual machines: {_told(own)}"}
    for each in own:
        for field, what in _LACKING.get(str(each.get("type")), {}).items():
            cannot[field] = f"not held: its kernel has no {what} for disks"
    return Means(capacity, cannot)


def _told(warnings: list[dict[str, Any]]) -> str:
    """In the server's own words, where it has any."""
    own = [str(each.get("last_message") or "") for each in warnings if each.get("type") == _NOT_OPERATIONAL]
    return next((text for text in own if text), "QEMU and KVM are not both there")
