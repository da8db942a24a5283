"""Control groups: what a zone may use, read and set live, on version 1 and version 2.

Owns: finding the hierarchies, the keys, their units and the order in which two of them must be written.
Must not go here: what a zone is configured with for its next boot (config.py, which takes the keys from here).

Units are the forms': bytes, thousandths of a core, shares relative to 1024, number of threads. No cap: key absent.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

PERIOD = 100_000
"""Microseconds over which a cpu cap is counted."""
_UNLIMITED = 1 << 60
_SHARES = 1024
CAPS = ("memory", "swap", "cpu", "cpuShares", "threads")


class CapsRefused(Exception):
    """The kernel refused a value; the text is one sentence."""


def shares_to_weight(shares: int) -> int:
    """The kernel's own formula: 2…262144 to 1…10000."""
    return 1 + ((shares - 2) * 9999) // 262142


def legacy_lines(caps: Mapping[str, int]) -> dict[str, str]:
    """Keys and values of version 1, in the order in which a fresh group takes them."""
    lines: dict[str, str] = {}
    if "memory" in caps:
        lines["memory.limit_in_bytes"] = str(caps["memory"])
        if "swap" in caps:
            lines["memory.memsw.limit_in_bytes"] = str(caps["memory"] + caps["swap"])
    if "cpu" in caps:
        lines["cpu.cfs_period_us"] = str(PERIOD)
        lines["cpu.cfs_quota_us"] = str(caps["cpu"] * PERIOD // 1000)
    if "cpuShares" in caps:
        lines["cpu.shares"] = str(caps["cpuShares"])
    if "threads" in caps:
        lines["pids.max"] = str(caps["threads"])
    return lines


def unified_lines(caps: Mapping[str, int]) -> dict[str, str]:
    """Keys and values of version 2."""
    lines: dict[str, str] = {}
    if "memory" in caps:
        lines["memory.max"] = str(caps["memory"])
    if "swap" in caps:
        lines["memory.swap.max"] = str(caps["swap"])
    if "cpu" in caps:
        lines["cpu.max"] = f"{caps['cpu'] * PERIOD // 1000} {PERIOD}"
    if "cpuShares" in caps:
        lines["cpu.weight"] = str(shares_to_weight(caps["cpuShares"]))
    if "threads" in caps:
        lines["pids.max"] = str(caps["threads"])
    return lines


class Caps(NamedTuple):
    """`values`: caps that are set. `unknown`: why one could not be read, which is not the same as none."""

    values: dict[str, int]
    unknown: dict[str, str]

    def text(self, cap: str, path: str) -> str:
        """Empty where it cannot be read."""
        text = _read(path)
        if not text:
            self.unknown[cap] = f"{path} cannot be read"
        return text or ""

    def read(self, cap: str, path: str) -> int | None:
        """None where there is no cap, or it is unknown."""
        text = self.text(cap, path)
        return None if not text or text == "max\n" else int(text)


class Cgroups:
    """The hierarchies of a host, as mounted."""

    def __init__(self, mounts: str | None = None) -> None:
        self.unified: Path | None = None
        self._legacy: dict[str, Path] = {}
        for line in (mounts if mounts is not None else Path("/proc/self/mounts").read_text()).splitlines():
            _, where, kind, options, *_ = line.split()
            if kind == "cgroup2":
                self.unified = self.unified or Path(where)
            elif kind == "cgroup":
                for option in options.split(","):
                    self._legacy.setdefault(option, Path(where))
        memory = self._legacy.get("memory")
        self.legacy = memory is not None
        self.counts_swap = memory is None or (memory / "memory.memsw.limit_in_bytes").exists()
        """Version 1 kernels without swap accounting have no such key, and a zone that asks for it does not start."""

    def _roots(self) -> list[Path]:
        roots = list(dict.fromkeys(self._legacy.values()))
        return [*roots, self.unified] if self.unified else roots

    def folders(self, name: str) -> list[Path]:
        """The group's folder in every hierarchy that has it."""
        return [root / name for root in self._roots() if (root / name).is_dir()]

    def populated(self, name: str) -> bool:
        """Whether any process lives in the group."""
        if self.unified is not None:
            events = _read(f"{self.unified}/{name}/cgroup.events")
            if events is not None:
                return "populated 1" in events
        root = self._legacy.get("memory")
        if root is None:
            return False
        return any(_read(Path(folder) / "cgroup.procs") for folder, _, _ in os.walk(root / name))

    def frozen(self, name: str) -> bool:
        """Whether its processes are held still."""
        root = self._legacy.get("freezer")
        if root is not None:
            return (_read(f"{root}/{name}/freezer.state") or "THAWED").strip() != "THAWED"
        return self.unified is not None and "frozen 1" in (_read(self.unified / name / "cgroup.events") or "")

    def processes(self, name: str) -> list[int]:
        """Every process of the group, those of groups below too."""
        root = self.unified or self._legacy["memory"]
        texts = [_read(Path(folder) / "cgroup.procs") or "" for folder, _, _ in os.walk(root / name)]
        return [int(pid) for text in texts for pid in text.split()]

    def caps(self, name: str) -> Caps:
        """The caps in force now."""
        caps = Caps({}, {})
        if self.legacy:
            self._legacy_caps(name, caps)
        else:
            self._unified_caps(name, caps)
        return caps

    def _legacy_caps(self, name: str, caps: Caps) -> None:
        memory, cpu, pids = (f"{self._legacy[key]}/{name}/" for key in ("memory", "cpu", "pids"))
        limit = caps.read("memory", memory + "memory.limit_in_bytes")
        if limit is not None and limit < _UNLIMITED:
            caps.values["memory"] = limit
            both = caps.read("swap", memory + "memory.memsw.limit_in_bytes") if self.counts_swap else None
            if both is not None and both < _UNLIMITED:
                caps.values["swap"] = both - limit
        quota = caps.read("cpu", cpu + "cpu.cfs_quota_us")
        if quota is not None and quota > 0:
            caps.values["cpu"] = quota * 1000 // (caps.read("cpu", cpu + "cpu.cfs_period_us") or PERIOD)
        shares = caps.read("cpuShares", cpu + "cpu.shares")
        if shares is not None and shares != _SHARES:
            caps.values["cpuShares"] = shares
        threads = caps.read("threads", pids + "pids.max")
        if threads is not None:
            caps.values["threads"] = threads

    def _unified_caps(self, name: str, caps: Caps) -> None:
        """cpuShares is what the weight stands for; the caller knows which of the several it was written from."""
        group = f"{self.unified}/{name}/"
        for key, file in (("memory", "memory.max"), ("swap", "memory.swap.max"), ("threads", "pids.max")):
            value = caps.read(key, group + file)
            if value is not None:
                caps.values[key] = value
        quota = caps.text("cpu", group + "cpu.max").split()
        if quota and quota[0].isdigit():
            caps.values["cpu"] = int(quota[0]) * 1000 // int(quota[1])
        weight = caps.read("cpuShares", group + "cpu.weight")
        if weight is not None and weight != 100:
            caps.values["cpuShares"] = 2 + ((weight - 1) * 262142 + 9998) // 9999

    def set_caps(self, name: str, caps: Mapping[str, int | None]) -> None:
        """Change the caps named, live; None lifts one. Raises CapsRefused."""
        if self.legacy:
            self._set_legacy(name, caps)
        else:
            self._set_unified(name, caps)

    def _set_legacy(self, name: str, caps: Mapping[str, int | None]) -> None:
        if "memory" in caps or "swap" in caps:
            self._set_memory(self._legacy["memory"] / name, {**self.caps(name).values, **caps})
        cpu, pids = self._legacy["cpu"] / name, self._legacy["pids"] / name
        if "cpu" in caps:
            _write(cpu / "cpu.cfs_period_us", str(PERIOD))
            _write(cpu / "cpu.cfs_quota_us", str(_or(caps["cpu"], -1, PERIOD)))
        if "cpuShares" in caps:
            _write(cpu / "cpu.shares", str(caps["cpuShares"] or _SHARES))
        if "threads" in caps:
            _write(pids / "pids.max", str(caps["threads"] or "max"))

    def _set_memory(self, group: Path, caps: Mapping[str, int | None]) -> None:
        """Raising: memory with swap first; lowering: memory first. The other way round is EINVAL."""
        memory, swap = caps.get("memory"), caps.get("swap")
        limit = -1 if memory is None else memory
        both = -1 if memory is None or swap is None else memory + swap
        files = [(group / "memory.limit_in_bytes", limit)]
        if self.counts_swap:
            files.append((group / "memory.memsw.limit_in_bytes", both))
        if limit == -1 or limit > int(_read(group / "memory.limit_in_bytes") or 0):
            files.reverse()
        for file, value in files:
            _write(file, str(value))

    def _set_unified(self, name: str, caps: Mapping[str, int | None]) -> None:
        assert self.unified is not None
        group = self.unified / name
        for key, file in (("memory", "memory.max"), ("swap", "memory.swap.max"), ("threads", "pids.max")):
            if key in caps:
                value = caps[key]
                _write(group / file, "max" if value is None else str(value))
        if "cpu" in caps:
            _write(group / "cpu.max", f"{_or(caps['cpu'], 'max', PERIOD)} {PERIOD}")
        if "cpuShares" in caps:
            shares = caps["cpuShares"]
            _write(group / "cpu.weight", str(100 if shares is None else shares_to_weight(shares)))

    def kill(self, name: str) -> None:
        """End every process of the group: what a dead monitor leaves behind."""
        if self.unified is not None and (self.unified / name / "cgroup.kill").exists():
            _write(self.unified / name / "cgroup.kill", "1")
            return
        for pid in self.processes(name):
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                continue

    def remove(self, name: str) -> None:
        """Take the group away in every hierarchy; those that are still in use stay."""
        for folder in self.folders(name):
            for path, _, _ in os.walk(folder, topdown=False):
                try:
                    os.rmdir(path)
                except OSError:
                    continue


def _or(value: int | None, unlimited: int | str, period: int) -> int | str:
    return unlimited if value is None else value * period // 1000


def _read(path: Path | str) -> str | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.read(descriptor, 65536).decode()
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _write(path: Path, value: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, value.encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        reason = "less than is in use" if error.errno == 16 else (error.strerror or str(error))
        raise CapsRefused(f"{path.name} = {value}: {reason}") from None


def capacity() -> dict[str, Any]:
    """What the host has: bytes of memory, thousandths of a core."""
    return {"memory": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), "cpu": (os.cpu_count() or 1) * 1000}


@cache
def of_host() -> Cgroups:
    """Those of this host. They are mounted once, at its boot, and every node here has the same."""
    return Cgroups()
