"""What the servers say of their objects, as far as we read it. Pure.

Owns: one record a kind of answer. Must not go here: what it means.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

Config = dict[str, str]
Devices = dict[str, dict[str, str]]


class Instance(msgspec.Struct):
    name: str
    status: str = ""
    type: str = "container"
    location: str = ""
    project: str = "default"
    said: Config | None = msgspec.field(default=None, name="config")
    """None: the server could not tell. So it is, with status `Error`, while the instance's member is lately gone."""
    said_devices: Devices | None = msgspec.field(default=None, name="devices")
    said_expanded: Config | None = msgspec.field(default=None, name="expanded_config")
    said_expanded_devices: Devices | None = msgspec.field(default=None, name="expanded_devices")
    profiles: list[str] | None = None
    architecture: str = ""
    description: str = ""
    ephemeral: bool = False
    stateful: bool = False

    @property
    def config(self) -> Config:
        return self.said or {}

    @property
    def devices(self) -> Devices:
        return self.said_devices or {}

    @property
    def expanded_config(self) -> Config:
        return self.said_expanded or {}

    @property
    def expanded_devices(self) -> Devices:
        return self.said_expanded_devices or {}

    @property
    def native_id(self) -> str:
        return self.config.get("volatile.uuid", "")

    @property
    def unit(self) -> str:
        """Its name among all of the server: that of its control group."""
        return self.name if self.project == "default" else f"{self.project}_{self.name}"


class Network(msgspec.Struct):
    name: str
    type: str = ""
    managed: bool = False
    status: str = ""
    description: str = ""
    said: Config | None = msgspec.field(default=None, name="config")
    """None: the server could not tell, as while a cluster's member is lately gone."""
    used_by: list[str] | None = None
    project: str = "default"

    @property
    def config(self) -> Config:
        return self.said or {}


class Image(msgspec.Struct):
    fingerprint: str
    type: str = "container"
    properties: dict[str, str] | None = None
    size: int = 0
    project: str = "default"


class Volume(msgspec.Struct):
    name: str
    type: str = "custom"
    content_type: str = "filesystem"
    location: str = ""
    config: Config = {}
    used_by: list[str] | None = None
    project: str = "default"
    pool: str = ""
    """Not the server's word: which pool we asked."""


class Project(msgspec.Struct):
    name: str
    config: Config = {}
    description: str = ""
    used_by: list[str] | None = None


class Certificate(msgspec.Struct):
    """What the server trusts. `projects`: those that a restricted one may work in."""

    fingerprint: str
    name: str = ""
    type: str = ""
    restricted: bool = False
    projects: list[str] | None = None


class Pool(msgspec.Struct):
    name: str
    driver: str = ""
    status: str = ""
    config: Config = {}


class Environment(msgspec.Struct):
    server: str = "lxd"
    driver: str = ""
    """What it can run: `lxc`, `lxc | qemu`."""
    server_version: str = ""
    server_name: str = ""
    server_pid: int = 0
    server_clustered: bool = False
    kernel_architecture: str = ""
    certificate: str = ""
    certificate_fingerprint: str = ""
    kernel_version: str = ""
    storage: str = ""
    project: str = ""


class Server(msgspec.Struct):
    """GET /1.0. `auth` is `untrusted` for a client that the server does not know."""

    environment: Environment = msgspec.field(default_factory=Environment)
    api_extensions: frozenset[str] = frozenset()
    auth: str = ""
    config: dict[str, Any] | None = None

    def said(self, key: str) -> str:
        value = (self.config or {}).get(key)
        return value if isinstance(value, str) else ""


class Member(msgspec.Struct):
    server_name: str
    status: str = ""
    message: str = ""
    url: str = ""
    roles: list[str] | None = None
    config: Config | None = None


class View(msgspec.Struct, frozen=True):
    """What one instance is read against: networks by native name, volumes by (pool, name), and the seal's key."""

    networks: Mapping[str, Network] = {}
    volumes: Mapping[tuple[str, str], Volume] = {}
    seal: str = ""
    attached: Mapping[str, frozenset[str]] | None = None
    """Host-side interfaces that are really in each bridge, by its native name; None: not asked."""
    kernel: Mapping[str, Mapping[str, Any]] = {}
    """Limits that the kernel enforces, by native name, where they could be read."""
    acls: Mapping[str, Mapping[str, Any]] = {}
    """Network ACLs by name."""
    forwards: Mapping[str, Sequence[Mapping[str, Any]]] = {}
    """Forwards of each network that has any of ours, on this member."""
    suffix: str = ""
    """Of the member whose marks count, on what all members share."""
    base: str = "default"
    """The project that machines live in where a tenant has none of its own; volumes here are of one project."""
    cannot: Collection[str] = ()
    """Fields that this host does not hold."""
    copies: Mapping[tuple[str, str], Sequence[str]] = {}
    """Other members of the cluster on which a data disk lies too, by (pool, name)."""
