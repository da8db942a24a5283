"""500 healthy objects on a real server, of all kinds of configuration, and what the server says of them:
`python -m tests.drivers.incus.record incus` (or lxd) writes recordings/KIND.json.gz anew. A minute each.

Owns: what people might have made with the ordinary client, and carrying it out.
Must not go here: judging what trueup makes of it (test_recordings).
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx

from drivers.incus.busybox import build
from tests.drivers.incus.daemons import Daemons, running
from tests.drivers.incus.desk import Desk
from tests.drivers.incus.replay import keep, recording

HERE = Path(__file__).with_name("recordings")
MACHINES, RUNNING, NETWORKS, PROFILES, IMAGES, VOLUMES = 430, 16, 14, 10, 6, 40
"""Of one server; together 500. Those that run have been started, the others never."""

DATACENTER = """\
apiVersion: trueup/v1
kind: Datacenter
metadata: {name: byhand}
spec: {id: 8a1d8f6e-35c1-4f0d-9c3b-2b6c1f0e7a12, nicTags: {internal: {}}}
---
apiVersion: trueup/v1
kind: Node
metadata: {name: old}
spec: {driver: incus, address: "unix:SOCKET", storage: {pool: local}, nics: {internal: none}}
"""


class Host:
    """A server being filled. Every choice is the same at every run."""

    def __init__(self, daemons: Daemons, client: httpx.Client) -> None:
        self.daemons = daemons
        self._client = client
        self._chance = random.Random(8443)
        self._addresses: set[str] = set()

    def _ask(self, method: str, path: str, **body: Any) -> Any:
        said = self._client.request(method, path, json=body or None).json()
        if said.get("type") == "async":
            said = self._client.get(f"{said['operation']}/wait").json()
        found = said["metadata"]
        why = said.get("error") or (found.get("err") if isinstance(found, dict) else None)
        assert not why, f"{method} {path} {body}: {why}"
        return found

    def _some(self, table: dict[str, list[str]], share: float) -> dict[str, str]:
        return {key: self._chance.choice(values) for key, values in table.items() if self._chance.random() < share}

    def fill(self, folder: Path) -> None:
        self._images(folder)
        for number in range(NETWORKS):
            self._network(number)
        for number in range(PROFILES):
            self._profile(number)
        for number in range(VOLUMES):
            size = self._chance.choice(["16MiB", "24MB", "0.5GiB", "64MiB"]).replace("0.5GiB", "512MiB")
            config = {"size": size} | self._some({"snapshots.expiry": ["1d", ""], "user.owner": ["ops", ""]}, 0.3)
            self._ask("POST", "/1.0/storage-pools/local/volumes/custom", name=f"vol{number}", config=config)
        for number in range(MACHINES):
            self._machine(number)
            if number % 50 == 0:
                print(f"{number} of {MACHINES} machines", file=sys.stderr)
        for number in range(RUNNING):
            self.daemons.client("start", f"m{number}")

    def _images(self, folder: Path) -> None:
        for number in range(IMAGES):
            build(folder / f"{number}.tar.gz", str(number))
            self.daemons.client("image", "import", str(folder / f"{number}.tar.gz"), "--alias", f"bb{number}")

    def _network(self, number: int) -> None:
        config = {"ipv4.address": f"10.{60 + number}.0.1/24", "ipv6.address": "none"} | self._some(
            {
                "ipv4.nat": ["true", "false", ""],
                "ipv4.dhcp": ["true", ""],
                "ipv4.dhcp.ranges": [f"10.{60 + number}.0.200-10.{60 + number}.0.220"],
                "bridge.mtu": ["1400", "1500", "9000", ""],
                "dns.domain": ["lan", "corp.example", ""],
                "dns.mode": ["managed", "dynamic"],
                "ipv4.firewall": ["true"],
                "user.owner": ["netops", ""],
            },
            0.4,
        )
        self._ask("POST", "/1.0/networks", name=f"net{number}", type="bridge", config=config)

    def _limits(self) -> dict[str, str]:
        return self._some(
            {
                "limits.memory": ["64MiB", "96MB", "128MiB", "1GiB", "2GB", "524288KiB", "67108864"],
                "limits.memory.swap": ["false", "true", ""],
                "limits.memory.swap.priority": ["3", "10"],
                "limits.memory.enforce": ["hard", "soft"],
                "limits.cpu": ["1", "2", "0-1", "0,1", ""],
                "limits.cpu.allowance": ["10ms/100ms", "150ms/100ms", "25%", "50%", "100%", ""],
                "limits.cpu.priority": ["5", "10"],
                "limits.processes": ["200", "1000", ""],
                "limits.disk.priority": ["3", ""],
            },
            0.35,
        )

    def _notes(self) -> dict[str, str]:
        """Whatever else people say of a machine."""
        return self._some(
            {
                "boot.autostart": ["true", "false", ""],
                "boot.autostart.priority": ["5", "0"],
                "boot.autostart.delay": ["2"],
                "boot.stop.priority": ["1"],
                "boot.host_shutdown_timeout": ["10", ""],
                "security.nesting": ["true", "false", ""],
                "security.protection.delete": ["false", ""],
                "security.syscalls.deny_default": ["true"],
                "environment.LANG": ["C.UTF-8", ""],
                "environment.HTTP_PROXY": ["http://proxy.example:3128"],
                "snapshots.schedule": ["0 6 * * *", "@daily", ""],
                "snapshots.pattern": ["snap%d"],
                "cloud-init.user-data": ["#cloud-config\npackages: [nginx]\n", ""],
                "cloud-init.vendor-data": ["#cloud-config\nssh_authorized_keys:\n  - ssh-ed25519 AAAA ops@example\n"],
                "cloud-init.network-config": ["network: {version: 2}\n"],
                "raw.lxc": ["lxc.tty.max = 4\n"],
                "linux.kernel_modules": ["loop", ""],
                "user.role": ["front", "db 1", ""],
                "user.ticket": ["OPS-1: moved, twice", "ünïcode"],
            },
            0.12,
        )

    def _profile(self, number: int) -> None:
        """Keys and devices that machines inherit; the last ones bring a disk and an interface."""
        devices: dict[str, dict[str, str]] = {}
        if number % 2:
            devices["root"] = {"type": "disk", "path": "/", "pool": "local", "size": f"{64 * (number + 1)}MiB"}
        if number >= PROFILES - 2:
            devices["eth9"] = {"type": "nic", "network": f"net{number}", "name": "eth9"}
        config = self._limits() | self._notes()
        self._ask("POST", "/1.0/profiles", name=f"p{number}", config=config, devices=devices, description="by hand")

    def _machine(self, number: int) -> None:
        count = self._chance.choice([0, 0, 1, 2, 3])
        profiles = ["default", *(f"p{each}" for each in self._chance.sample(range(PROFILES), count))]
        devices = self._nics(number) | self._odds(number)
        if self._chance.random() < 0.3:
            size = self._chance.choice(["64MiB", "128MB", "1GiB", "200000KiB", "96MiB"])
            devices["root"] = {"type": "disk", "path": "/", "pool": "local", "size": size}
        if number < VOLUMES:
            devices[self._chance.choice(["data", "store", f"vol{number}"])] = {
                "type": "disk", "pool": "local", "source": f"vol{number}", "path": f"/srv/{number}",
            }  # fmt: skip
        config = self._limits() | self._notes()
        if number < RUNNING:
            for key in ("raw.lxc", "linux.kernel_modules", "limits.cpu", "limits.disk.priority"):
                config.pop(key, None)
            profiles = profiles[:1]
        source = {"type": "image", "alias": f"bb{number % IMAGES}"}
        description = self._chance.choice(["", "made in a hurry"])
        self._ask(
            "POST", "/1.0/instances", name=f"m{number}", profiles=profiles, config=config, devices=devices,
            source=source, description=description, ephemeral=False,
        )  # fmt: skip

    def _nics(self, number: int) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = {}
        count = self._chance.choice([0, 1, 1, 1, 2, 3])
        for position, network in enumerate(self._chance.sample(range(NETWORKS), count)):
            nic = {"type": "nic", "network": f"net{network}", "ipv4.address": f"10.{60 + network}.0.{2 + number % 190}"}
            if self._chance.random() < 0.7:
                nic["name"] = f"eth{position}"
            if self._chance.random() < 0.3:
                nic["hwaddr"] = f"00:16:3e:{number >> 8:02X}:{number & 255:02x}:{network:02x}"
            nic |= self._some({"limits.ingress": ["100Mbit"], "boot.priority": ["1"]}, 0.05)
            if self._taken(nic["ipv4.address"]):
                continue
            found[self._chance.choice([f"eth{position}", f"nic-{network}"])] = nic
        return found

    def _taken(self, address: str) -> bool:
        """The server would take it twice and start neither."""
        taken = address in self._addresses
        self._addresses.add(address)
        return taken

    def _odds(self, number: int) -> dict[str, dict[str, str]]:
        """Devices that no document has a word for, and those that take an inherited one away."""
        table: dict[str, dict[str, str]] = {
            "proxy": {"type": "proxy", "listen": f"tcp:127.0.0.1:{20000 + number}", "connect": "tcp:127.0.0.1:80"},
            "null": {"type": "unix-char", "source": "/dev/null", "path": "/dev/nothing"},
            "etc": {"type": "disk", "source": "/usr/share", "path": "/mnt/host", "readonly": "true"},
            "eth9": {"type": "none"},
        }
        return {name: device for name, device in table.items() if self._chance.random() < 0.04}


def main(kind: str) -> None:
    HERE.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as scratch,
        running(kind, f"r{kind[0]}") as daemons,
        httpx.Client(transport=httpx.HTTPTransport(uds=daemons.socket()), base_url="http://x", timeout=60) as client,
    ):
        folder = Path(scratch)
        Host(daemons, client).fill(folder)
        desk = Desk(folder)
        socket = folder / "socket"
        desk.write("datacenter.yaml", DATACENTER.replace("SOCKET", str(socket)))
        desk.commit("a node")
        with recording(socket, daemons.socket()) as answers:
            print(desk.trueup("adopt", "old", "--tenant", "acme"), file=sys.stderr)
            desk.commit("what is there")
            desk.trueup("adopt", "old")
        keep(HERE / f"{kind}.json.gz", answers)


if __name__ == "__main__":
    main(sys.argv[1])
