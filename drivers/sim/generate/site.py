"""What a generated site holds: each document as people would write it, and what it comes to on a node.

Owns: the made-up data centre. Every answer follows from the seed and a number, so nothing needs to be kept.
Must not go here: git (repository), objects and marks (fleet).

Documents and bodies are two spellings of one thing; a test holds them against the loader and the planner.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping
from functools import cache, cached_property
from ipaddress import ip_address
from typing import Any

from reconciler.core.addresses import mac_for
from reconciler.core.desired import NodeWant, Resource
from reconciler.core.ledger import Address
from reconciler.core.refs import Ref, Uid, mint
from reconciler.core.values import canonical, digest

PER_TENANT = 250
MOST_TENANTS = 250
PER_FOLDER = 250
"""Below git's comfort of 256 entries a folder."""
POD = 10
"""Nodes that neighbouring machines are spread over, as a scheduler would."""
ADMIN_LIMIT = 1_000_000
"""So many machines have room in the network that all tenants share."""

Mi, Gi = 2**20, 2**30
PACKAGES: Mapping[str, Mapping[str, Any]] = {
    "xs": {"cpu": 500, "memory": 512 * Mi, "swap": 512 * Mi, "disk": 5 * Gi},
    "s": {"cpu": 1000, "memory": 2 * Gi, "swap": 2 * Gi, "disk": 20 * Gi},
    "m": {"cpu": 2000, "memory": 4 * Gi, "swap": 4 * Gi, "disk": 40 * Gi},
    "l": {"cpu": 4000, "memory": 16 * Gi, "swap": 0, "disk": 40 * Gi},
    "xl": {"cpu": 8000, "memory": 32 * Gi, "swap": 0, "disk": 80 * Gi},
}
IMAGES = ("debian-12-20260901", "debian-13-20260901", "alpine-3-22", "postgres-16", "nginx-1-28", "redis-8")
ROLES: Mapping[str, tuple[str, str]] = {
    "web": ("s", "nginx-1-28"),
    "worker": ("s", "debian-12-20260901"),
    "cache": ("xs", "redis-8"),
    "db": ("l", "postgres-16"),
    "batch": ("m", "debian-13-20260901"),
}
"""Role to package and image."""
READY: Mapping[str, str] = {"web": 'http: ":8080/healthz"', "cache": "tcp: 6379", "db": "tcp: 5432"}
"""Role to how its machines tell that they serve."""
APPS = ("shop", "billing", "search", "mail", "reports", "identity", "media")
"""What tenants run, by turns."""
SHARDS = (50 * Gi, 100 * Gi, 200 * Gi, 400 * Gi)
"""Bytes of each part of a tenant's data."""
RESOLVERS = ("10.255.0.2", "10.255.0.3")
SEARCH = ("sim1.example.org",)
MTU = 9000
NICS = {"admin": "eno1", "fabric": "bond0"}


class Machine:
    """One machine by its number. All that follows is read off the hash of seed and number."""

    __slots__ = ("bits", "local", "number", "role", "site", "tenant")

    def __init__(self, site: Site, number: int) -> None:
        self.site = site
        self.number = number
        self.tenant, self.local = divmod(number, site.per_tenant)
        seeded = f"{site.seed}/{number}".encode()
        self.bits = int.from_bytes(hashlib.blake2b(seeded, digest_size=8).digest(), "big")
        self.role = ("web", "web", "worker", "worker", "worker", "cache", "batch", "db")[self.bits % 8]

    @property
    def name(self) -> str:
        return f"{self.role}-{self.local:05d}"

    @property
    def ref(self) -> Ref:
        return Ref(f"Machine/{tenant_name(self.tenant)}/{self.name}")

    @property
    def uid(self) -> Uid:
        return mint(self.site.datacenter_id, self.ref, 1)

    @property
    def package(self) -> str:
        """Most take what their role takes; one in eight is larger."""
        usual = ROLES[self.role][0]
        return "m" if (self.bits >> 8) % 8 == 0 and usual in ("xs", "s") else usual

    @property
    def image(self) -> str:
        return ROLES[self.role][1]

    @property
    def shard(self) -> int | None:
        """Which part of their tenant's data they hold; those that hold none have none."""
        return (self.bits >> 16) % len(SHARDS) if self.role in ("cache", "db") else None

    @property
    def disks(self) -> Mapping[str, int]:
        """Bytes by name."""
        if self.role == "db" and self.shard is not None:
            return {"data": SHARDS[self.shard]}
        return {"scratch": 20 * Gi} if self.role in ("worker", "batch") else {}

    @property
    def stopped(self) -> bool:
        return (self.bits >> 24) % 50 == 0

    @property
    def protected(self) -> bool:
        return self.role == "db" and (self.bits >> 32) % 4 == 0

    @property
    def networks(self) -> tuple[str, ...]:
        """Names, the first is primary."""
        return ("app", "admin") if (self.bits >> 40) % 10 == 0 and self.number < ADMIN_LIMIT else ("app",)

    @property
    def node(self) -> int:
        per_pod = self.site.per_node * POD
        pod, rest = divmod(self.number, per_pod)
        return min(pod * POD + rest % self.site.pod_size(pod), self.site.nodes - 1)

    def differs(self) -> bool:
        return (self.bits >> 44) % 10_000 < round(self.site.differing * 10_000)

    @property
    def env(self) -> str:
        return ("prod", "prod", "prod", "prod", "prod", "prod", "staging", "dev")[(self.bits >> 4) % 8]

    @property
    def metadata(self) -> Mapping[str, str]:
        """What its guest is told."""
        app = APPS[self.tenant % len(APPS)]
        told = {"app": app, "env": self.env, "contact": f"ops@{tenant_name(self.tenant)}.example.org"}
        told["runbook"] = f"https://wiki.example.org/runbooks/{app}/{self.role}"
        return told if self.shard is None else {**told, "shard": str(self.shard)}

    def document(self) -> str:
        """As people write it: 18 to 21 lines; what the folder's defaults say is left out."""
        lines = ["apiVersion: trueup/v1", "kind: Machine", "metadata:", f"  name: {self.name}"]
        lines += ["  tags:", f"    role: {self.role}", f"    env: {self.env}", "spec:"]
        lines += [f"  image: {self.image}", f"  package: {self.package}"]
        lines += ["  nics:", *(f"    - {name}" for name in self.networks), "  metadata:"]
        lines += [f"    {key}: {json.dumps(text) if text.isdigit() else text}" for key, text in self.metadata.items()]
        lines += [f"  disks: {{{name}: {{size: {size // Gi}Gi}}}}" for name, size in self.disks.items()]
        if self.role in READY:
            lines.append(f"  ready: {{{READY[self.role]}, within: 60s}}")
        if self.stopped:
            lines.append("  state: stopped")
        if self.protected:
            lines.append("  deletionProtection: true")
        return "".join(f"{line}\n" for line in lines)

    def resource(self) -> Resource:
        """What the loader makes of the document, as far as a node sees it."""
        body: dict[str, Any] = {
            **PACKAGES[self.package],
            "brand": "zone",
            "image": {"name": self.image, "digest": image_digest(self.image), "type": "rootfs", "os": "linux"},
            "nics": [
                {"networks": [network_ref(name, self.tenant)], "primary": position == 0}
                for position, name in enumerate(self.networks)
            ],
            "disks": {name: {"size": size, "delegated": False} for name, size in self.disks.items()},
            "metadata": self.metadata,
            "resolvers": RESOLVERS,
            "search": SEARCH,
            "sshKeys": [line for _, line in sorted(keys(self.tenant).items())],
            "state": "stopped" if self.stopped else "running",
        }
        return Resource(ref=self.ref, digest="", body=canonical(body), protected=self.protected)

    def addresses(self) -> tuple[Address, ...]:
        uid = self.uid
        found = []
        for name in self.networks:
            network = network_ref(name, self.tenant)
            start, offset = (
                (_APP_FIRST + (self.tenant << 16), self.local) if name == "app" else (_ADMIN_FIRST, self.number)
            )
            found.append(Address(network, str(ip_address(start + offset)), mac_for(uid, network)))
        return tuple(found)


_APP_FIRST = int(ip_address("10.0.1.0"))
_ADMIN_FIRST = int(ip_address("172.16.1.0"))


class Site:
    """A made-up data centre. `differing`: share (0…1) of the machines whose node holds something else."""

    name = "sim1"

    def __init__(self, machines: int, nodes: int, *, per_file: int = 1, differing: float = 0.0, seed: int = 1) -> None:
        """Raises ValueError for a number that makes no site."""
        if machines < 1 or nodes < 1 or per_file < 1 or not 0 <= differing <= 1:
            raise ValueError("a site has machines, nodes and files of one machine or more, and a share between 0 and 1")
        self.machines = machines
        self.nodes = nodes
        self.per_file = per_file
        self.differing = differing
        self.seed = seed
        self.tenants = min(MOST_TENANTS, -(-machines // PER_TENANT))
        self.per_tenant = -(-machines // self.tenants)
        self.per_node = -(-machines // nodes)
        if self.per_tenant > 60_000:
            raise ValueError(f"{machines} machines are more than the networks of {MOST_TENANTS} tenants hold")

    @cached_property
    def datacenter_id(self) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"trueup:sim:{self.seed}"))

    def pod_size(self, pod: int) -> int:
        return max(1, min(POD, self.nodes - pod * POD))

    def numbers(self, tenant: int) -> range:
        return range(tenant * self.per_tenant, min((tenant + 1) * self.per_tenant, self.machines))

    def pods(self) -> Iterator[tuple[range, list[Machine]]]:
        """Nodes and the machines on them, some at a time."""
        per_pod = self.per_node * POD
        for pod in range(-(-self.nodes // POD)):
            nodes = range(pod * POD, min((pod + 1) * POD, self.nodes))
            numbers = range(min(pod * per_pod, self.machines), min((pod + 1) * per_pod, self.machines))
            yield nodes, [Machine(self, number) for number in numbers]

    def node(self, number: int) -> NodeWant:
        name = node_name(number)
        return NodeWant(name, "sim", "", "sim:fleet.db", nics=NICS, rack=f"r{number // POD + 1:04d}")

    def files(self) -> Iterator[tuple[str, str]]:
        """Every document, by path, in the order of paths within each folder."""
        yield ".gitignore", "/fleet.db*\n"
        yield "datacenter.yaml", self._datacenter()
        yield "images.yaml", _plural("Images", {name: _image(name) for name in IMAGES})
        yield "networks.yaml", _ADMIN
        for first in range(0, self.nodes, 100):
            some = range(first, min(first + 100, self.nodes))
            folder = f"nodes/{first // (100 * PER_FOLDER):03d}/{first // 100 % PER_FOLDER:03d}.yaml"
            yield folder, _plural("Nodes", {node_name(n): _node(self.node(n)) for n in some})
        yield "packages.yaml", _plural("Packages", {name: _package(sizes) for name, sizes in PACKAGES.items()})
        for tenant in range(self.tenants):
            yield from self._tenant(tenant)

    def _datacenter(self) -> str:
        return (
            f"apiVersion: trueup/v1\nkind: Datacenter\nmetadata: {{name: {self.name}}}\nspec:\n"
            f"  id: {self.datacenter_id}\n  follow: approve\n  drift: heal\n"
            f"  nicTags: {{admin: {{}}, fabric: {{mtu: {MTU}}}}}\n"
            f"  dns: {{resolvers: [{', '.join(RESOLVERS)}], search: [{', '.join(SEARCH)}]}}\n"
            "  placement: {overprovision: {cpu: 4}}\n"
        )

    def _tenant(self, tenant: int) -> Iterator[tuple[str, str]]:
        name = tenant_name(tenant)
        folder = f"tenants/{name}"
        yield (
            f"{folder}/_defaults.yaml",
            f'"*": {{metadata: {{tenant: {name}}}}}\nMachine: {{spec: {{sshKeys: tenant}}}}\n',
        )
        numbers = self.numbers(tenant)
        per_folder = PER_FOLDER * self.per_file
        for first in range(numbers.start, numbers.stop, self.per_file):
            some = [Machine(self, number) for number in range(first, min(first + self.per_file, numbers.stop))]
            part = (first - numbers.start) // per_folder
            file = some[0].name if self.per_file == 1 else f"machines-{(first - numbers.start) // self.per_file:05d}"
            yield f"{folder}/{part:03d}/{file}.yaml", "---\n".join(machine.document() for machine in some)
        yield f"{folder}/networks.yaml", _app(tenant)
        lines = "".join(f"    {who}: {line}\n" for who, line in keys(tenant).items())
        yield (
            f"{folder}/tenant.yaml",
            f"apiVersion: trueup/v1\nkind: Tenant\nmetadata: {{name: {name}}}\nspec:\n"
            f"  email: {name}@example.org\n  keys:\n{lines}",
        )


def tenant_name(tenant: int) -> str:
    return f"tenant-{tenant:03d}"


def node_name(node: int) -> str:
    return f"node-{node:05d}"


def network_ref(name: str, tenant: int) -> Ref:
    return Ref("Network/admin") if name == "admin" else Ref(f"Network/{tenant_name(tenant)}/{name}")


def keys(tenant: int) -> dict[str, str]:
    """Public keys of a tenant, by holder: spelled like keys, belonging to nobody."""
    return {
        who: f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{digest([tenant, who])}{digest([who, tenant])[:12]} {who}"
        for who in ("ci", "ops")
    }


@cache
def image_digest(name: str) -> str:
    return f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"


def image(name: str) -> Resource:
    body = {"digest": image_digest(name), "type": "rootfs", "os": "linux"}
    return Resource(ref=Ref(f"Image/{name}"), digest="", body=canonical(body))


def network(ref: Ref, tenant: int) -> Resource:
    """The shared network, or a tenant's own."""
    body: dict[str, Any] = {"nicTag": "admin", "vlan": 10, "subnet": "172.16.0.0/12", "gateway": "172.16.0.1"}
    if ref != "Network/admin":
        subnet = f"10.{tenant}.0.0/16"
        body = {"nicTag": "fabric", "vlan": 100 + tenant, "subnet": subnet, "gateway": f"10.{tenant}.0.1", "mtu": MTU}
    return Resource(ref=ref, digest="", body=canonical({**body, "nat": False}))


_ADMIN = """\
apiVersion: trueup/v1
kind: Network
metadata: {name: admin}
spec: {nicTag: admin, vlan: 10, subnet: 172.16.0.0/12, range: 172.16.1.0-172.31.255.250, gateway: 172.16.0.1}
"""


def _app(tenant: int) -> str:
    net = f"10.{tenant}"
    return (
        "apiVersion: trueup/v1\nkind: Network\nmetadata: {name: app}\n"
        f"spec: {{nicTag: fabric, vlan: {100 + tenant}, subnet: {net}.0.0/16, range: {net}.1.0-{net}.255.250, "
        f"gateway: {net}.0.1}}\n"
    )


def _plural(kind: str, items: Mapping[str, str]) -> str:
    lines = "".join(f"  {name}: {{{spec}}}\n" for name, spec in items.items())
    return f"apiVersion: trueup/v1\nkind: {kind}\nitems:\n{lines}"


def _image(name: str) -> str:
    url = f"https://img.example.org/{name}.tar.zst"
    return f'os: linux, type: rootfs, source: {{url: "{url}"}}, digest: "{image_digest(name)}"'


def _node(node: NodeWant) -> str:
    nics = ", ".join(f"{tag}: {interface}" for tag, interface in node.nics.items())
    return f'driver: sim, address: "{node.address}", rack: {node.rack}, nics: {{{nics}}}'


def _package(sizes: Mapping[str, Any]) -> str:
    told = [f"{key}: {sizes[key] // Mi}Mi" for key in ("memory", "swap", "disk")]
    return ", ".join([f"cpu: {sizes['cpu'] / 1000:g}", *told])
