"""The capability table of the guide: per field what a change takes, and which key of the server keeps it. Pure.

Owns: the rows. `python -m drivers.incus.table` prints them; a test keeps the guide current.
Must not go here: the manners themselves (shape).
"""

from __future__ import annotations

from drivers.incus.shape import MACHINE_KEYS, ONLY_ZONE, IncusShape
from reconciler.core.plan import Manner

KEPT = {
    "image": "`volatile.base_image`, `image.trueup.digest`",
    "brand": "container or virtual machine",
    "memory": "`limits.memory`",
    "swap": "`limits.memory.swap` (none, or any)",
    "cpu": "`limits.cpu.allowance` as a quota",
    "cpuShares": "`limits.cpu.allowance` as a percentage, where there is no cap",
    "vcpus": "`limits.cpu`",
    "threads": "`limits.processes`",
    "ioPriority": "`limits.disk.priority` (0 to 10), where the host takes it",
    "ioRead": "`limits.read` of the root device",
    "ioWrite": "`limits.write` of the root device",
    "disk": "`size` of the root device",
    "state": "running or stopped",
    "hostname": "the instance's name",
    "project": "the instance's project, where each tenant has one",
    "nics": "a NIC device each, on a managed bridge",
    "disks": "a custom volume each",
    "volumes": "a device each, of the Volume's custom volume",
    "snapshots": "`snapshots.schedule`, and `snapshots.expiry` for how many are kept",
    "sshKeys": "`cloud-init.vendor-data` (read by the guest at its next boot)",
    "userData": "`cloud-init.user-data`",
    "metadata": "`user.*`",
    "node": "the member that it is on, in a cluster",
    "extra": "every other key and device that people set by hand",
}
WORDS = {
    Manner.LIVE: "live",
    Manner.REBOOT: "restart",
    Manner.STOPPED: "restart",
    Manner.REPLACE: "replace",
    Manner.MOVE: "move",
    Manner.IMPOSSIBLE: "refused",
}


def rows() -> list[tuple[str, str, str, str]]:
    """Field, what its change takes for a zone and for a vm, and what keeps it."""
    shape = IncusShape()

    def takes(path: str, before: object, after: object, brand: str) -> str:
        field = path.split("/")[1]
        if brand == "vm" and field in ONLY_ZONE:
            return "not held"
        return WORDS[shape.manner("Machine", path, before, after, {"brand": brand})]

    cases: list[tuple[str, str, object, object]] = []
    for field in (*MACHINE_KEYS, "node", "extra"):
        if field == "disk":
            cases += [("disk, growing", "/disk", 1, 2), ("disk, shrinking", "/disk", 2, 1)]
        elif field == "disks":
            cases += [
                ("disks, one more or less", "/disks/data", None, {"size": 1}),
                ("disks, growing", "/disks/data/size", 1, 2),
                ("disks, path", "/disks/data/path", "/a", "/b"),
            ]
        elif field == "volumes":
            cases += [
                ("volumes, one more or less", "/volumes/shop", None, {"path": "/a"}),
                ("volumes, path", "/volumes/shop/path", "/a", "/b"),
            ]
        elif field == "node":
            cases.append(("node, with disks and volumes of its own", "/node", "inc/a", "inc/b"))
        elif field == "extra":
            cases += [
                ("extra, in force at once", "/extra/boot.autostart.priority", "1", None),
                ("extra, waiting for a restart", "/extra/security.privileged", "true", None),
            ]
        else:
            cases.append((field, f"/{field}", 1, 2))
    return [
        (
            name,
            takes(path, before, after, "zone"),
            takes(path, before, after, "vm"),
            KEPT[path.split("/")[1]],
        )
        for name, path, before, after in cases
    ]


def table() -> str:
    lines = ["| field | zone | vm | kept as |", "| --- | --- | --- | --- |"]
    lines += [f"| {' | '.join(row)} |" for row in rows()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(table(), end="")
