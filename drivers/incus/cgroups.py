"""What the kernel really enforces on containers, where we share the server's host.

Owns: finding a container's control group, and reading its limits. Must not go here: what to do about a difference.

A limit that was edited in the control group is shown by no answer of the API. The group is found by the monitor process
of the container, whose command line names the server's own folder, so that two servers on one host are told apart.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from drivers.incus.records import Instance, Server

ROOT = "/sys/fs/cgroup"
PROC = Path("/proc")
NO_LIMIT = 2**62
"""The kernel spells "none" as some number above this, or as `max`."""
_MONITOR = b"[lxc monitor] "


class Kernel:
    """Remembers which process watches over which container, for as long as it lives."""

    def __init__(self) -> None:
        self._groups: dict[str, tuple[int, str]] = {}

    def limits(self, server: Server, instances: Iterable[Instance]) -> dict[str, dict[str, Any]]:
        """By the name of the control group: memory (bytes), cpu (thousandths of a core), threads, ioRead and ioWrite
        (bytes in a second); None where there is no limit. What cannot be read is left out. Empty where the server is
        not on this host."""
        running = [each for each in instances if each.type == "container" and each.status in ("Running", "Ready")]
        folder = _folder(server) if running else None
        if folder is None:
            return {}
        names = [each.unit for each in running]
        if any(not self._alive(folder, name) for name in names):
            self._groups = dict(_monitors(folder))
        return {name: enforced(self._groups[name][1]) for name in names if name in self._groups}

    def _alive(self, folder: str, name: str) -> bool:
        known = self._groups.get(name)
        return known is not None and _watched(known[0], folder) == name


def _folder(server: Server) -> str | None:
    """Where the server keeps its containers, if it is a process of this host."""
    pid = server.environment.server_pid
    try:
        command = (PROC / str(pid) / "comm").read_text().strip()
        environment = (PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return None
    own = {"incusd": ("INCUS_DIR", "/var/lib/incus"), "lxd": ("LXD_DIR", "/var/lib/lxd")}.get(command)
    if own is None:
        return None
    said = next(
        (line.partition(b"=")[2].decode() for line in environment if line.startswith(f"{own[0]}=".encode())), ""
    )
    return f"{said or own[1]}/containers"


def _watched(pid: int, folder: str) -> str | None:
    """The container that a process is the monitor of."""
    try:
        said = (PROC / str(pid) / "cmdline").read_bytes().rstrip(b"\0 ")
    except OSError:
        return None
    head = _MONITOR + folder.encode() + b" "
    return said[len(head) :].decode() if said.startswith(head) else None


def _monitors(folder: str) -> Iterable[tuple[str, tuple[int, str]]]:
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        name = _watched(int(entry.name), folder)
        group = _group(int(entry.name)) if name else None
        if name and group:
            yield name, (int(entry.name), group)


def _group(pid: int) -> str | None:
    """`lxc.payload.NAME`, or with a number behind where the name is taken."""
    try:
        lines = (PROC / str(pid) / "cgroup").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        part = line.rpartition("/")[2]
        if part.startswith("lxc.monitor."):
            return "lxc.payload." + part.removeprefix("lxc.monitor.")
    return None


def enforced(group: str) -> dict[str, Any]:
    """The limits of one control group, as above."""
    limits: dict[str, Any] = {}
    memory = _first(("memory", group, "memory.limit_in_bytes"), (group, "memory.max"))
    if memory is not None:
        limits["memory"] = _number(memory)
    threads = _first(("pids", group, "pids.max"), (group, "pids.max"))
    if threads is not None:
        limits["threads"] = _number(threads)
    quota = _first(("cpu", group, "cpu.cfs_quota_us"), ("cpu,cpuacct", group, "cpu.cfs_quota_us"), (group, "cpu.max"))
    period = _first(("cpu", group, "cpu.cfs_period_us"), ("cpu,cpuacct", group, "cpu.cfs_period_us"))
    if quota is not None:
        limits["cpu"] = _quota(quota, period)
    for field, verb, key in (("ioRead", "read", "rbps="), ("ioWrite", "write", "wbps=")):
        said = _first(("blkio", group, f"blkio.throttle.{verb}_bps_device"), (group, "io.max"))
        paces = [pace for line in (said or "").splitlines() if (pace := _pace(line, key)) is not None]
        # Which of several devices the root is on is not known here.
        if said is not None and len(paces) <= 1:
            limits[field] = paces[0] if paces else None
    return limits


def _first(*places: tuple[str, ...]) -> str | None:
    """Read bare: there are several a container, and many containers."""
    for place in places:
        try:
            descriptor = os.open("/".join((ROOT, *place)), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            return os.read(descriptor, 1024).decode().strip()
        except OSError:
            continue
        finally:
            os.close(descriptor)
    return None


def _number(text: str) -> int | None:
    return None if text == "max" or int(text) >= NO_LIMIT else int(text)


def _pace(line: str, key: str) -> int | None:
    """Of `7:1 20971520`, or of `7:1 rbps=20971520 wbps=max riops=max wiops=max`."""
    parts = line.split()[1:]
    said = next((part.removeprefix(key) for part in parts if "=" not in part or part.startswith(key)), "max")
    return _number(said)


def _quota(text: str, period: str | None) -> int | None:
    quota, _, own = text.partition(" ")
    if quota in ("max", "-1"):
        return None
    return round(int(quota) * 1000 / int(own or period or "100000"))
