"""The hand that reaches behind the driver's back: the engine's own commands, and the harness of the conformance kit.

Nothing here goes through the driver under test but opening it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from unittest import SkipTest

import anyio
import msgspec

from drivers.local import DRIVER, LocalDriver
from drivers.local.place import Place
from reconciler.core.desired import NodeWant, Resource
from reconciler.core.observed import Object
from reconciler.core.refs import Ref, Target
from reconciler.testing.harness import Harness, resource

MI = 2**20
BUSYBOX = "recipe:busybox-static"


class Hand:
    """One instance on this host, with the storage asked for."""

    def __init__(
        self,
        state: Path,
        backend: str | None = None,
        size: int = 4096 * MI,
        nics: Mapping[str, str] | None = None,
        pool: Mapping[str, str] | None = None,
    ) -> None:
        """`pool`: of `spec.storage`, {pool} or {pool, file}; else the node has one of its own."""
        self.state = state
        self.place = Place((state / "local" / "host").absolute())
        self.subnets = f"10.{100 + int(self.place.tag, 16) % 100}"
        """What the networks' addresses begin with: this instance's own, as far as two octets go. All instances share
        the host's routes, and one that somebody broke off leaves its own behind."""
        storage = {"backend": backend, "size": size, **(pool or {})}
        self.node = NodeWant(
            "host",
            "local",
            "",
            nics=nics or {"front": "none", "back": "bridge"},
            body=msgspec.json.encode({"storage": storage}),
        )
        self.pool = (pool or {}).get("pool") or f"trueup_{self.place.tag}"

    def open(self) -> LocalDriver:
        return DRIVER.open(self.node, {"state": str(self.state)})

    def run(self, *argv: str, check: bool = True) -> str:
        """A command in the node's mount namespace; what it printed."""
        command = ["nsenter", f"--mount={self.place.pin}", *argv]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert not check or done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
        return done.stdout

    def lxc(self, tool: str, zone: str, *argv: str, check: bool = True) -> str:
        return self.run(f"lxc-{tool}", "-P", str(self.place.lxc), "-n", zone, *argv, check=check)

    def dataset(self, thing: Object, folder: str = "zones") -> str:
        return f"{self.pool}/{folder}/{thing.native_name}"

    def daemons(self) -> list[int]:
        """Process ids of every zfs-fuse that has this instance's pool open or lives in its namespace."""
        found = []
        here = os.stat(self.place.pin).st_ino if self.place.pin.exists() else 0
        for entry in Path("/proc").iterdir():
            try:
                if not entry.name.isdigit() or (entry / "comm").read_text() != "zfs-fuse\n":
                    continue
                files = {os.readlink(file) for file in (entry / "fd").iterdir()}
                if os.stat(entry / "ns/mnt").st_ino == here or str(self.place.pool_file) in files:
                    found.append(int(entry.name))
            except OSError:
                continue
        return found

    def daemon(self) -> int:
        """Process id of this instance's zfs-fuse."""
        (found,) = self.daemons()
        return found

    def kill_daemon(self) -> None:
        pid = self.daemon()
        os.kill(pid, signal.SIGKILL)
        for _ in range(200):
            if not Path(f"/proc/{pid}/cmdline").exists() or not Path(f"/proc/{pid}/cmdline").read_bytes():
                return
            time.sleep(0.02)

    def power_off(self) -> None:
        """Of this instance alone: its processes, its namespace, its links, its rules, as far as they are there."""
        for group in self._groups():
            pids = ""
            with suppress(OSError):  # ended meanwhile
                pids = (group / "cgroup.procs").read_text()
            for pid in pids.split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
        for _ in self.daemons():
            self.kill_daemon()
        links = [link for link in os.listdir("/sys/class/net") if self.place.tag in link]
        tables = [f"delete table {family} {self.place.table}" for family in ("inet", "bridge")]
        mounts = [str(self.place.mounts / name) for name in ("ns.new", "ns")] + [str(self.place.mounts)]
        quiet = {"check": False, "stderr": subprocess.DEVNULL}
        for argv in (
            *(["ip", "link", "del", link] for link in links),
            *(["nft", table] for table in tables),
            *(["umount", "-l", mount] for mount in mounts),
        ):
            subprocess.run(argv, **quiet)  # type: ignore[call-overload]

    def _groups(self) -> list[Path]:
        """Control groups of this instance; those of others come and go meanwhile."""
        walk = os.walk("/sys/fs/cgroup")
        return [Path(folder) for folder, _, _ in walk if f"/{self.place.cgroup}" in folder]

    def leftovers(self) -> list[str]:
        """Whatever of this instance is on the host."""
        tag = self.place.tag
        tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
        return [
            *map(str, self.place.folder.rglob("*") if self.place.folder.exists() else ()),
            *(f"zfs-fuse {pid}" for pid in self.daemons()),
            *(path for path in mounted("/proc/self/mountinfo") if str(self.state) in path),
            *(link for link in os.listdir("/sys/class/net") if tag in link),
            *(line for line in tables.splitlines() if tag in line),
            *map(str, self._groups()),
            *(path for path in (f"/{self.pool}", str(self.place.seen)) if Path(path).exists()),
        ]

    def cgroup(self, zone: str, controller: str, key: str) -> Path:
        """The file of a cap, on either version."""
        legacy = Path(f"/sys/fs/cgroup/{controller}/{self.place.cgroup}/{zone}/{key}")
        return legacy if legacy.exists() else Path(f"/sys/fs/cgroup/{self.place.cgroup}/{zone}/{key}")


def mounted(table: str) -> list[str]:
    """Mount points in one of the kernel's mountinfo tables."""
    return [line.split()[4].replace("\\040", " ") for line in Path(table).read_text().splitlines()]


LEGACY = Path("/sys/fs/cgroup/memory").is_dir()


class LocalHarness(Harness):
    interrupt_after = (0.002, 0.02)
    """Nothing is cut short at once: what has begun on a node is brought to its end."""

    def __init__(self, hand: Hand) -> None:
        self.hand = hand
        self.subnets = hand.subnets
        self.shape = DRIVER.shape
        self.node = hand.node
        self.target = Target("host")
        self.secrets = {"token": "hush"}

    async def open(self) -> LocalDriver:
        return self.hand.open()

    def image(self, number: int = 0) -> Resource:
        body = {
            "source": {"busybox": "static"},
            "digest": f"{BUSYBOX}-{number}",
            "type": "rootfs",
            "os": "linux",
        }
        return resource(Ref(f"Image/image{number}"), body)

    def network(self, number: int = 0) -> Resource:
        net = f"{self.subnets}.{number}"
        body = {
            "nicTag": "front",
            "subnet": f"{net}.0/24",
            "range": [f"{net}.10", f"{net}.240"],
            "gateway": f"{net}.1",
            **({"mtu": 1400} if number else {}),
        }
        return resource(Ref(f"Network/net{number}"), body)

    def size(self, number: int) -> dict[str, Any]:
        keys = {"memory": 64 * MI, "swap": 32 * MI, "cpu": 500, "cpuShares": 256, "threads": 100, "disk": 128 * MI}
        return {key: value * (number + 1) for key, value in keys.items()}

    def edits(self) -> Mapping[str, Mapping[str, Any]]:
        nics = [{"networks": ["Network/net0"], "primary": True}]
        return {
            "hostname": {"hostname": "other"},
            "cpu uncapped": {"cpu": None},
            "keys": {"sshKeys": ["ssh-ed25519 AAAA one", "ssh-ed25519 AAAB two"]},
            "other keys": {"sshKeys": ["ssh-ed25519 AAAA one"]},
            "resolvers": {"resolvers": [f"{self.subnets}.0.1"], "search": ["example.org"]},
            "user data": {"userData": "#cloud-config\n"},
            "metadata": {"metadata": {"a/b": "1", "token": {"secret": "token", "keyed": "d1"}}},
            "metadata rotated": {"metadata": {"token": {"secret": "token", "keyed": "d2"}}},
            "no nics": {"nics": []},
            "nics": {"nics": nics},
            "no metadata": {"metadata": None},
            "no user data": {"userData": None},
        }

    def drifts(self) -> Mapping[str, Any]:
        return {
            "/memory": 96 * MI,
            "/cpu": 250,
            "/cpuShares": 512 if LEGACY else 501,  # one of those that a weight of version 2 stands for
            "/threads": 50,
            "/disk": 300 * MI,
            "/nics/net0/ip": f"{self.subnets}.0.250/24",
            "/nics/net0/mac": "02:00:00:00:00:99",
        }

    def data_disk(self) -> Mapping[str, Any]:
        return {"size": 64 * MI, "path": "/data/more", "delegated": False}

    async def hand_set(self, thing: Object, path: str, value: Any) -> None:
        zone = thing.native_name
        if path == "/disk":
            image = int(self.hand.run("zfs", "get", "-Hp", "-o", "value", "referenced", self._origin(thing)))
            self.hand.run("zfs", "set", f"refquota={value + image}", self.hand.dataset(thing))
        elif path == "/nics/net0/ip":
            self._inside(zone, "ip", "addr", "flush", "dev", "net0", "scope", "global")
            self._inside(zone, "ip", "addr", "add", value, "dev", "net0")
        elif path == "/nics/net0/mac":
            self._inside(zone, "ip", "link", "set", "net0", "address", value)
        else:
            self._cap(zone, path[1:], value)

    def _origin(self, thing: Object) -> str:
        return self.hand.run("zfs", "get", "-H", "-o", "value", "origin", self.hand.dataset(thing)).strip()

    def _inside(self, zone: str, *argv: str) -> None:
        pid = self.hand.lxc("info", zone, "-pH").strip()
        self.hand.run("nsenter", f"--net=/proc/{pid}/ns/net", *argv)

    def _cap(self, zone: str, cap: str, value: int) -> None:
        if not LEGACY:
            weight = 1 + ((value - 2) * 9999) // 262142
            key, text = {
                "memory": ("memory.max", str(value)),
                "cpu": ("cpu.max", f"{value * 100} 100000"),
                "cpuShares": ("cpu.weight", str(weight)),
                "threads": ("pids.max", str(value)),
            }[cap]
            self.hand.cgroup(zone, "", key).write_text(text)
            return
        if cap == "memory":  # with swap beyond it unchanged
            swap = self.size(0)["swap"]
            self.hand.cgroup(zone, "memory", "memory.memsw.limit_in_bytes").write_text(str(value + swap))
            self.hand.cgroup(zone, "memory", "memory.limit_in_bytes").write_text(str(value))
        elif cap == "cpu":
            self.hand.cgroup(zone, "cpu", "cpu.cfs_quota_us").write_text(str(value * 100))
        elif cap == "cpuShares":
            self.hand.cgroup(zone, "cpu", "cpu.shares").write_text(str(value))
        else:
            self.hand.cgroup(zone, "pids", "pids.max").write_text(str(value))

    async def hand_stop(self, thing: Object) -> None:
        self.hand.lxc("stop", thing.native_name, "-k")

    async def hand_shell(self, thing: Object, script: str) -> str:
        return self.hand.lxc("attach", thing.native_name, "--", "/bin/sh", "-c", script)

    async def hand_unforward(self, network: Object, listen: str) -> None:
        self.hand.run("nft", "delete", "element", "inet", self.hand.place.table, "listens4", f"{{ {listen} }}")

    async def hand_let_in(self, network: Object) -> None:
        table = self.hand.place.table
        chains = self.hand.run("nft", "list", "table", "inet", table)
        (chain,) = {word for word in chains.split() if word.startswith(f"to_{self.hand.place.bridges}")}
        self.hand.run("nft", "insert", "rule", "inet", table, chain, "accept")

    async def hand_delete(self, thing: Object) -> None:
        self.hand.lxc("stop", thing.native_name, "-k", check=False)
        for verb in (["unmount"], ["destroy", "-r"]):
            for _ in range(100):
                self.hand.run("zfs", *verb, self.hand.dataset(thing), check=False)
                if verb == ["unmount"] or not self.hand.run("zfs", "list", self.hand.dataset(thing), check=False):
                    break
                await anyio.sleep(0.05)
        shutil.rmtree(self.hand.place.zone(thing.native_name))

    async def hand_copy(self, thing: Object) -> str:
        """Sent and received, and then the very mark set on it."""
        source = self.hand.dataset(thing)
        mark = self.hand.run("zfs", "get", "-H", "-o", "value", "trueup:mark", source).strip()
        name = f"copy-{thing.native_name}"
        self.hand.run("zfs", "snapshot", f"{source}@copy")
        self.hand.run("sh", "-c", f"zfs send {source}@copy | zfs receive -u {self.hand.pool}/zones/{name}")
        self.hand.run("zfs", "destroy", f"{source}@copy")
        self.hand.run("zfs", "set", f"trueup:mark={mark}", f"{self.hand.pool}/zones/{name}")
        return name

    async def hand_unmanaged(self, name: str) -> str:
        self.hand.run("zfs", "create", f"{self.hand.pool}/zones/{name}")
        return name

    @asynccontextmanager
    async def unreadable(self, thing: Object, path: str) -> AsyncIterator[None]:
        assert path == "/memory"
        key = "memory.limit_in_bytes" if LEGACY else "memory.max"
        file = str(self.hand.cgroup(thing.native_name, "memory", key))
        self.hand.run("mount", "--bind", "/dev/null", file)
        yield
        self.hand.run("umount", file)

    @asynccontextmanager
    async def another_node(self) -> AsyncIterator[None]:
        """Another pool of the same name, in the same daemon's place."""
        place, pool = self.hand.place, self.hand.pool
        file, away, other = place.pool_file, place.pool_file.with_suffix(".away"), place.folder / "other.img"
        cache = place.folder / "var/zpool.cache"
        file.rename(away)
        self._restart(cache)
        with other.open("wb") as image:
            image.truncate(512 * MI)
        self.hand.run("zpool", "create", "-m", str(place.pool), pool, str(other))
        try:
            yield
        finally:  # not by `zpool destroy`: a pool is busy for a while after its last unmount
            self._restart(cache)
            other.unlink()
            away.rename(file)
            self.hand.kill_daemon()

    def _restart(self, cache: Path) -> None:
        """A daemon that knows of no pool."""
        self.hand.kill_daemon()
        cache.unlink(missing_ok=True)
        mounts = [
            line.split()[1] for line in self.hand.run("cat", "/proc/self/mounts").splitlines() if " fuse.zfs " in line
        ]
        for mount in sorted(mounts, reverse=True):
            self.hand.run("umount", "-l", mount)
        start = "setsid zfs-fuse -n --no-kstat-mount -x -p /run/zfs/pid >/dev/null 2>&1 </dev/null & sleep 0.2"
        for _ in range(50):
            self.hand.run("sh", "-c", start)
            if self.hand.run("sh", "-c", "zpool list >/dev/null 2>&1 && echo up", check=False):
                return
        raise AssertionError("zfs-fuse does not start")

    @asynccontextmanager
    async def unclaimed(self) -> AsyncIterator[None]:
        text = self.hand.run("zfs", "get", "-H", "-o", "value", "trueup:node", self.hand.pool).strip()
        self.hand.run("zfs", "inherit", "trueup:node", self.hand.pool)
        yield
        self.hand.run("zfs", "set", f"trueup:node={text}", self.hand.pool)

    @asynccontextmanager
    async def unreachable(self) -> AsyncIterator[None]:
        """The storage daemon is dead, and cannot come back: its pool's file is away."""
        away = self.hand.place.pool_file.with_suffix(".away")
        self.hand.place.pool_file.rename(away)
        self.hand.kill_daemon()
        yield
        away.rename(self.hand.place.pool_file)

    @asynccontextmanager
    async def never_ready(self, thing: Object) -> AsyncIterator[None]:
        yield  # nothing listens on the port that the kit asks

    @asynccontextmanager
    async def failing(self, verb: str) -> AsyncIterator[None]:
        """What the verb needs is taken away: LXC's way to its own programs, or the zfs command."""
        taken = {"start": "/usr/bin/lxc-start"}.get(verb)
        if taken is None:
            raise SkipTest(f"nothing that {verb} needs can be taken away alone")
        # only in the node's namespace, so nobody else on the host misses it
        self.hand.run("mount", "--bind", "/bin/false", taken)
        yield
        self.hand.run("umount", taken)
