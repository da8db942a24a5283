"""Private Incus and LXD daemons: each in its own network and mount namespace with its own state folder.

Owns: bringing up a host or a cluster, harming it (kill, partition), and taking all of it down to nothing.
Must not go here: anything of the driver under test.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import msgspec

KINDS: dict[str, dict[str, Any]] = {
    "incus": {
        "daemon": "/usr/libexec/incus/incusd",
        "client": "incus",
        "var": "INCUS",
        "init": ("incus", "admin", "init"),
    },
    "lxd": {"daemon": "lxd", "client": "lxc", "var": "LXD", "init": ("lxd", "init")},
}
_KEPT, _END = "/dev/said", "<end of what it said>"
_brought_up = count()
TOOLS = ("ip", "nft", "dnsmasq", "btrfs", "busybox", "unshare", "nsenter")


def missing(kind: str) -> str | None:
    """Why daemons of this kind cannot be had here; None if they can."""
    if os.geteuid() != 0:
        return "real daemons take root"
    gone = [tool for tool in (KINDS[kind]["daemon"], KINDS[kind]["client"], *TOOLS) if shutil.which(tool) is None]
    return f"{', '.join(gone)} not installed: tests/drivers/incus/install.sh" if gone else None


class Daemons:
    """One host, or the members of one cluster, by number from 1. `tag` (2 letters) and this process's number name
    namespaces and links, and give the network, so that two runs do not meet."""

    def __init__(self, kind: str, tag: str, *, pool: str = "btrfs") -> None:
        self.kind = kind
        self.tag = f"{tag}{os.getpid() % 46656:x}x"
        self.pool = pool
        self.net = _net(os.getpid(), next(_brought_up))
        self.said = KINDS[kind]
        self.root = Path(tempfile.mkdtemp(prefix=f"tu{tag}"))
        self.root.chmod(0o711)  # the container's root passes through it
        self.pids: dict[int, int] = {}
        for folder in ("noconf", "conf", "cg"):
            (self.root / folder).mkdir()

    # -- what there is

    def folder(self, number: int = 1) -> Path:
        return self.root / str(number)

    def socket(self, number: int = 1) -> str:
        return str(self.folder(number) / "unix.socket")

    def address(self, number: int = 1) -> str:
        return f"{self.net}.1{number}"

    def member(self, number: int = 1) -> str:
        return f"{self.tag}{number}"

    def environment(self, number: int = 1) -> dict[str, str]:
        var = self.said["var"]
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("INCUS_", "LXD_"))}
        return {**kept, f"{var}_DIR": str(self.folder(number)), f"{var}_CONF": str(self.root / "conf")}

    def client(self, *args: str, number: int = 1, given: str | None = None) -> str:
        """The engine's own command line. Raises AssertionError with what it said."""
        return self._run([self.said["client"], *args], number, given)

    def shell(self, instance: str, script: str, project: str = "") -> str:
        """What a shell in an instance prints. Raises AssertionError if it ends badly.

        Both engines' clients lose what a command prints that ends at once, one time in twenty on a busy host, and say
        that all went well. So it is kept inside, and asked for until its end is seen. One at a time in an instance.
        """
        command = [*(["--project", project] if project else []), "exec", instance, "--", "sh", "-c"]
        told = self.client(*command, f"(\n{script}\n) >{_KEPT}; code=$?; cat {_KEPT}; echo '{_END}'; exit $code")
        for _ in range(20):
            if told.endswith(f"{_END}\n"):
                return told.removesuffix(f"{_END}\n")
            told = self.client(*command, f"cat {_KEPT}; echo '{_END}'")
        raise AssertionError(f"{instance} does not tell what {script!r} printed: {told!r}")

    def query(self, path: str, method: str = "GET", data: Any = None, number: int = 1) -> Any:
        """A raw API call through the engine's own client."""
        args = ["query", "--wait", "-X", method, path]
        if data is not None:
            args += ["-d", msgspec.json.encode(data).decode()]
        text = self.client(*args, number=number)
        return msgspec.json.decode(text) if text.strip() else None

    def sql(self, statement: str) -> None:
        """In the daemons' own database: to leave behind what one does that dies, and no call. They write there too, and
        a busy one refuses."""
        for left in range(30, -1, -1):
            try:
                self._run([*self.said["init"][:-1], "sql", "global", statement], 1)
                return
            except AssertionError as error:
                if "database is locked" not in str(error) or not left:
                    raise
                time.sleep(0.5)

    def _run(self, command: list[str], number: int, given: str | None = None) -> str:
        done = subprocess.run(
            command, env=self.environment(number), input=given, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}"
        return done.stdout

    # -- bringing up

    def solo(self) -> None:
        """A host with the pool `local`, nothing else: networks and images are the tests' own."""
        _ip("netns", "add", self.member())
        _ip("-n", self.member(), "link", "set", "lo", "up")
        self.start(1)
        self._init(1, {"storage_pools": [self._pool("3GiB")], "networks": [], "profiles": [_profile()]})

    def listen(self) -> str:
        """Let a host be reached over HTTPS from here: its address."""
        self._plug(1, self._bridge(), there=True)
        self.client("config", "set", "core.https_address", f"{self.address(1)}:8443")
        return f"https://{self.address(1)}:8443"

    def _bridge(self) -> str:
        bridge = f"{self.tag}br"
        _ip("link", "add", bridge, "type", "bridge")
        _ip("addr", "add", f"{self.net}.1/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        return bridge

    def cluster(self, members: int, offline: int) -> None:
        """`offline`: seconds without a heartbeat (one each 10 s) after which a member counts as gone."""
        bridge = self._bridge()
        for number in range(1, members + 1):
            self._plug(number, bridge)
            self.start(number, wait=False)
        for number in range(1, members + 1):
            self.ready(number)
        self._init(1, {
            "config": {"core.https_address": f"{self.address(1)}:8443"},
            "cluster": {"server_name": self.member(1), "enabled": True},
            "storage_pools": [self._pool("1GiB")], "networks": [], "profiles": [_profile()],
        })  # fmt: skip
        self.client("config", "set", f"cluster.offline_threshold={offline}")
        for number in range(2, members + 1):
            self._join(number)

    def _join(self, number: int) -> None:
        token = self.client("cluster", "add", self.member(number)).strip().splitlines()[-1]
        config = [{"entity": "storage-pool", "name": "local", "key": "source", "value": ""}]
        if self.pool == "btrfs":
            config.append({"entity": "storage-pool", "name": "local", "key": "size", "value": "1GiB"})
        self._init(number, {"cluster": {
            "enabled": True, "server_address": f"{self.address(number)}:8443", "cluster_token": token,
            "member_config": config,
        }})  # fmt: skip

    def _plug(self, number: int, bridge: str, *, there: bool = False) -> None:
        """`there`: its namespace is."""
        name, link = self.member(number), f"v{self.member(number)}"
        if not there:
            _ip("netns", "add", name)
        _ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("link", "set", link, "master", bridge, "up")
        _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", name, "addr", "add", f"{self.address(number)}/24", "dev", "eth0")
        _ip("-n", name, "link", "set", "eth0", "up")

    def _pool(self, size: str) -> dict[str, Any]:
        return {"name": "local", "driver": self.pool, "config": {} if self.pool == "dir" else {"size": size}}

    def _init(self, number: int, preseed: dict[str, Any]) -> None:
        self._run([*self.said["init"], "--preseed"], number, msgspec.json.encode(preseed).decode())

    def start(self, number: int = 1, *, wait: bool = True) -> None:
        """Start a daemon, or start it again after `kill`."""
        self.folder(number).mkdir(exist_ok=True)
        cg, template = self.root / "cg", f"{self.said['var']}_LXC_TEMPLATE_CONFIG"
        script = (
            f"mount --rbind /sys/fs/cgroup {cg} && mount -t sysfs sysfs /sys && mount --rbind {cg} /sys/fs/cgroup && "
            f"export {template}={self.root / 'noconf'} && "
            f"exec {self.said['daemon']} --group root --logfile {self.root}/log{number}.txt"
        )
        command = ["nsenter", f"--net=/run/netns/{self.member(number)}", "unshare", "--mount", "--propagation",
                   "private", "sh", "-c", script]  # fmt: skip
        with (self.root / f"out{number}.txt").open("ab") as out:
            process = subprocess.Popen(
                command, env=self.environment(number), stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                start_new_session=True,
            )  # fmt: skip
        self.pids[number] = process.pid
        if wait:
            self.ready(number)

    def ready(self, number: int = 1) -> None:
        self._run([self.said["daemon"], "waitready", "--timeout", "40"], number)

    # -- harming

    def kill(self, number: int = 1) -> None:
        """kill -9: its containers go on."""
        pid = self.pids.pop(number, None)
        if pid is not None:
            _end(pid)

    def partition(self, number: int) -> None:
        _ip("link", "set", f"v{self.member(number)}", "down")

    def heal(self, number: int) -> None:
        _ip("link", "set", f"v{self.member(number)}", "up")

    def inside(self, *command: str, number: int = 1) -> str:
        """Run in the network namespace of a daemon."""
        return subprocess.run(
            ["nsenter", f"--net=/run/netns/{self.member(number)}", *command], capture_output=True, text=True, check=True
        ).stdout

    # -- taking down

    def down(self) -> None:
        names = self._containers()
        for number in list(self.pids):
            self.kill(number)
        _end(*_monitors(self.root))
        numbers = [int(each.name) for each in self.root.iterdir() if each.name.isdigit()]
        for number in numbers:
            _end(*map(int, _quiet("ip", "netns", "pids", self.member(number)).split()))
            _quiet("ip", "netns", "del", self.member(number))
            _quiet("ip", "link", "del", f"v{self.member(number)}")
        _quiet("ip", "link", "del", f"{self.tag}br")
        self._detach_loops()
        for group in _groups(names):
            within = [folder for folder, *_ in os.walk(group, topdown=False)]  # a command run inside leaves one
            _quiet("rmdir", *within)
        shutil.rmtree(self.root, ignore_errors=True)

    def _containers(self) -> set[str]:
        return {each.name for each in self.root.glob("*/containers/*")}

    def _detach_loops(self) -> None:
        for _ in range(20):
            loops = [line.split(":")[0] for line in _quiet("losetup", "-a").splitlines() if f"{self.root}/" in line]
            if not loops:
                return
            for loop in loops:
                _quiet("losetup", "-d", loop)
            time.sleep(0.1)


@contextmanager
def running(kind: str, tag: str, *, members: int = 0, pool: str = "btrfs", offline: int = 60) -> Iterator[Daemons]:
    """A host, or a cluster of `members`, for as long as the block lasts, however it ends. Where many wait for
    processors heartbeats come late: only who tries members that are gone asks for a short `offline`."""
    daemons = Daemons(kind, tag, pool=pool)
    try:
        if members:
            daemons.cluster(members, offline)
        else:
            daemons.solo()
        yield daemons
    finally:
        daemons.down()


def _net(process: int, serial: int) -> str:
    """The first three numbers of a network in 10.80.0.0 to 10.199.255.255: 16 of a process, which nearly two thousand
    processes one after the other do not share."""
    upper, lower = divmod((16 * process + serial % 16) % (120 * 256), 256)
    return f"10.{80 + upper}.{lower}"


def _groups(names: set[str]) -> list[str]:
    """Control groups of these containers. Others' come and go while we look, which `os.walk` passes over."""
    ours = tuple(names)
    return [
        os.path.join(folder, each)
        for folder, within, _ in os.walk("/sys/fs/cgroup")
        for each in within
        if each.startswith("lxc.") and each.split(".", 2)[-1].startswith(ours)
    ]


def _profile() -> dict[str, Any]:
    return {"name": "default", "devices": {"root": {"type": "disk", "path": "/", "pool": "local"}}}


def _ip(*args: str) -> None:
    done = subprocess.run(["ip", *args], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(args)}: {done.stderr.strip()}"


def _quiet(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _monitors(root: Path) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                said = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if said.startswith(b"[lxc monitor]") and f"{root}/".encode() in said:
                found.append(int(entry.name))
    return found


def _end(*pids: int) -> None:
    """kill -9, and wait until they have ended."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for _ in range(200):
        pids = tuple(pid for pid in pids if not _ended(pid))
        if not pids:
            return
        time.sleep(0.01)


def _ended(pid: int) -> bool:
    """What is nobody's but the first process's stays in the table until that looks after it."""
    with suppress(ChildProcessError):
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith(("Z", "X"))
    except OSError:
        return True
