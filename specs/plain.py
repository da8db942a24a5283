"""The specs as plain records: what a document comes to once it is found right. Written by `python -m specs.derive`.

They have the fields of the models, and read the same values: quickly, and without a word on what is wrong.
"""

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta, field

from specs import rules, values
from specs.scalars import (
    CertificateByName,
    Compared,
    Cores,
    Duration,
    ForwardedPort,
    Http,
    Ip,
    IpBySubnet,
    Kinds,
    Label,
    Mac,
    Name,
    Pace,
    PublicKey,
    PublicKeyByName,
    Reference,
    Replicas,
    Requires,
    Share,
    Size,
    Span,
    Subnet,
    TagChoice,
    Tags,
    Traffic,
)
from specs.spelled import keys, spelled


class Plain(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A spec, or a part of one."""


class NicTagFacts(Plain, frozen=True, kw_only=True):
    mtu: Annotated[int, Meta(ge=576, le=9216)] | None = None
    description: str | None = None


class Dns(Plain, frozen=True, kw_only=True):
    resolvers: list[Ip] = field(default_factory=list)
    search: list[str] = field(default_factory=list)


class Overprovision(Plain, frozen=True, kw_only=True):
    cpu: Annotated[float, Meta(gt=0, le=1.7976931348623157e308)] = 1.0
    memory: Annotated[float, Meta(gt=0, le=1.7976931348623157e308)] = 1.0
    disk: Annotated[float, Meta(gt=0, le=1.7976931348623157e308)] = 1.0


class ReservedShares(Plain, frozen=True, kw_only=True):
    memory: Share | None = None
    cpu: Share | None = None
    disk: Share | None = None


class Placement(Plain, frozen=True, kw_only=True):
    overprovision: Overprovision = field(default_factory=Overprovision)
    reserve: ReservedShares = field(default_factory=ReservedShares)


class Allowance(Plain, frozen=True, kw_only=True):
    count: Annotated[int, Meta(ge=0)] | None = None
    share: Share | None = None


if TYPE_CHECKING:
    Allowed = Allowance
else:
    Allowed = spelled(Allowance, before=rules.allowance)


class Budget(Plain, frozen=True, kw_only=True):
    per_plan: Allowed | None = None
    per_hour: Allowed | None = None
    per_day: Allowed | None = None
    per_node: Allowed | None = None
    per_rack: Allowed | None = None
    per_tenant: Allowed | None = None


class Budgets(Plain, frozen=True, kw_only=True):
    destroys: Budget = field(default_factory=Budget)
    restarts: Budget = field(default_factory=Budget)
    creates: Budget = field(default_factory=Budget)


class Policy(Plain, frozen=True, kw_only=True):
    trusted_signers: str | None = None
    budgets: Budgets = field(default_factory=Budgets)
    quarantine: Duration = 604800
    protect: Kinds = field(default_factory=list)


class Datacenter(Plain, frozen=True, kw_only=True):
    id: Annotated[str, Meta(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z")]
    requires: Requires | None = None
    follow: Literal["auto", "approve", "off"] = "approve"
    drift: Literal["heal", "report", "off"] = "report"
    nic_tags: dict[Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_]{1,31}\Z")], NicTagFacts] | None = None
    dns: Dns = field(default_factory=Dns)
    placement: Placement = field(default_factory=Placement)
    policy: Policy = field(default_factory=Policy)


class Secret(Plain, frozen=True, kw_only=True):
    secret: Annotated[str, Meta(min_length=1, max_length=200)]


if TYPE_CHECKING:
    Text = str | Secret
else:
    Text = spelled(str | Secret, before=values.text)


if TYPE_CHECKING:
    OnlySecret = Secret
else:
    OnlySecret = spelled(Secret, before=values.only_secret)


class Identity(Plain, frozen=True, kw_only=True):
    host_key: str | None = None
    certificate: Text | None = None
    key: OnlySecret | None = None
    token: OnlySecret | None = None
    pin: str | None = None


class Drain(Plain, frozen=True, kw_only=True):
    how: Literal["move", "stop"]
    by: str | None = None
    reason: Annotated[str, Meta(min_length=1)]


class Member(Plain, frozen=True, kw_only=True):
    rack: Label | None = None
    traits: dict[str, str | bool] = field(default_factory=dict)
    cordon: Annotated[str, Meta(min_length=1)] | None = None
    drain: Drain | None = None


if TYPE_CHECKING:
    MemberByLabel = dict[str, Member]
else:
    MemberByLabel = spelled(dict[str, Member], after=keys(values.label))


class Storage(Plain, frozen=True, kw_only=True):
    pool: str | None = None
    file: str | None = None
    size: Size | None = None
    backend: Literal["zfs", "zfs-fuse", "btrfs", "copy"] | None = None


class Amount(Plain, frozen=True, kw_only=True):
    memory: Size | None = None
    cpu: Cores | None = None
    disk: Size | None = None


class Node(Plain, frozen=True, kw_only=True):
    driver: Label
    address: str | None = None
    identity: Identity = field(default_factory=Identity)
    members: MemberByLabel = field(default_factory=dict)
    rack: Label | None = None
    traits: dict[str, str | bool] = field(default_factory=dict)
    storage: Storage = field(default_factory=Storage)
    nics: dict[Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_]{1,31}\Z")], str] = field(default_factory=dict)
    reserve: Amount = field(default_factory=Amount)
    capacity: Amount = field(default_factory=Amount)
    tenants: Literal["shared", "projects"] = "shared"
    cordon: Annotated[str, Meta(min_length=1)] | None = None
    drain: Drain | None = None
    platform: str | None = None
    learning: bool = False
    options: dict[str, str | int | bool] = field(default_factory=dict)


class Forward(Plain, frozen=True, kw_only=True):
    listen: Ip
    to: Reference
    ports: Annotated[list[ForwardedPort], Meta(min_length=1)] | None = None


class Network(Plain, frozen=True, kw_only=True):
    nic_tag: Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_]{1,31}\Z")]
    vlan: Annotated[int, Meta(ge=0, le=4094)] | None = None
    subnet: Subnet
    range: Span | None = None
    gateway: Ip | None = None
    resolvers: list[Ip] | None = None
    routes: IpBySubnet = field(default_factory=dict)
    mtu: Annotated[int, Meta(ge=576, le=9216)] | None = None
    reserved: list[Ip] = field(default_factory=list)
    nat: bool = False
    tenants: list[Label] | None = None
    forwards: list[Forward] = field(default_factory=list)

    def __post_init__(self) -> None:
        rules.forwards_apart(self)


class NetworkPool(Plain, frozen=True, kw_only=True):
    networks: Annotated[list[Reference], Meta(min_length=1)]


class Package(Plain, frozen=True, kw_only=True):
    memory: Size
    swap: Size = 0
    cpu: Cores | None = None
    cpu_shares: Annotated[int, Meta(ge=1, le=65535)] | None = None
    vcpus: Annotated[int, Meta(ge=1, le=256)] | None = None
    disk: Size | None = None
    threads: Annotated[int, Meta(ge=16)] | None = None
    io_priority: Annotated[int, Meta(ge=1, le=1000)] | None = None
    io_read: Pace | None = None
    io_write: Pace | None = None
    traits: dict[str, str | bool] = field(default_factory=dict)


class Source(Plain, frozen=True, kw_only=True):
    file: str | None = None
    url: Annotated[str, Meta(pattern=r"^https?://")] | None = None
    folder: str | None = None
    machine: Reference | None = None
    debian: Annotated[str, Meta(pattern=r"^[a-z]+\Z")] | None = None
    busybox: Literal["static"] | None = None

    def __post_init__(self) -> None:
        rules.one_source(self)


class Requirements(Plain, frozen=True, kw_only=True):
    min_memory: Size | None = None
    min_disk: Size | None = None
    traits: dict[str, str | bool] = field(default_factory=dict)


class Image(Plain, frozen=True, kw_only=True):
    source: Source
    digest: Annotated[str, Meta(pattern=r"^sha256:[0-9a-f]{64}\Z")] | None = None
    os: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]*\Z")] = "linux"
    type: Literal["rootfs", "disk", "zone-dataset", "lx-dataset", "zvol"]
    requirements: Requirements = field(default_factory=Requirements)
    origin: Reference | None = None
    tenants: list[Label] | None = None

    def __post_init__(self) -> None:
        rules.digest_where_fetched(self)


class User(Plain, frozen=True, kw_only=True):
    email: str | None = None
    keys: PublicKeyByName = field(default_factory=dict)


if TYPE_CHECKING:
    UserByName = dict[str, User]
else:
    UserByName = spelled(dict[str, User], after=keys(values.name))


class Limits(Plain, frozen=True, kw_only=True):
    machines: Annotated[int, Meta(ge=0)] | None = None
    memory: Size | None = None
    cpu: Cores | None = None
    disk: Size | None = None


class Tenant(Plain, frozen=True, kw_only=True):
    email: str | None = None
    keys: PublicKeyByName = field(default_factory=dict)
    users: UserByName = field(default_factory=dict)
    certificates: CertificateByName = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)


class Volume(Plain, frozen=True, kw_only=True):
    size: Size
    node: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]*(/[a-z0-9][a-z0-9-]*)?\Z")] | None = None
    deletion_protection: bool = False
    drift: Literal["heal", "report", "off"] | None = None


class Nic(Plain, frozen=True, kw_only=True):
    network: Reference
    ip: Ip | None = None
    mac: Mac | None = None
    primary: bool | None = None


if TYPE_CHECKING:
    NicEntry = Nic
else:
    NicEntry = spelled(Nic, before=rules.nic)


class Exceptional(Plain, frozen=True, kw_only=True):
    node: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]*(/[a-z0-9][a-z0-9-]*)?\Z")] | None = None
    state: Literal["running", "stopped", "any"] | None = None
    nics: Annotated[list[NicEntry], Meta(min_length=1)] | None = None
    package: Reference | None = None
    image: Reference | None = None


class Disk(Plain, frozen=True, kw_only=True):
    size: Size | None = None
    delegated: bool = False
    path: Annotated[str, Meta(pattern=r"^/")] | None = None


if TYPE_CHECKING:
    DiskByLabel = dict[str, Disk]
else:
    DiskByLabel = spelled(dict[str, Disk], after=keys(values.label))


class Mount(Plain, frozen=True, kw_only=True):
    path: Annotated[str, Meta(pattern=r"^/.")]
    read_only: bool = False


if TYPE_CHECKING:
    MountEntry = Mount
else:
    MountEntry = spelled(Mount, before=rules.mount)


if TYPE_CHECKING:
    MountEntryByLabel = dict[str, MountEntry]
else:
    MountEntryByLabel = spelled(dict[str, MountEntry], after=keys(values.label))


class Spread(Plain, frozen=True, kw_only=True):
    over: Literal["node", "rack"] = "node"
    hard: bool = False


class Affinity(Plain, frozen=True, kw_only=True):
    over: Literal["node", "rack"] = "node"
    hard: bool = False
    machines: Annotated[list[Reference], Meta(min_length=1)]


class Data(Plain, frozen=True, kw_only=True):
    text: str | None = None
    file: Annotated[str, Meta(min_length=1)] | None = None
    secret: Annotated[str, Meta(min_length=1)] | None = None

    def __post_init__(self) -> None:
        rules.one_of_data(self)


if TYPE_CHECKING:
    UserData = Data
else:
    UserData = spelled(Data, before=rules.user_data)


class Ready(Plain, frozen=True, kw_only=True):
    http: Http | None = None
    tcp: Annotated[int, Meta(ge=1, le=65535)] | None = None
    exec: Annotated[list[str], Meta(min_length=1)] | None = None
    within: Duration = 60

    def __post_init__(self) -> None:
        rules.one_check(self)


class Update(Plain, frozen=True, kw_only=True):
    canary: Annotated[int, Meta(ge=0)] = 0
    batch: Annotated[int, Meta(ge=1)] = 1
    pause: Duration = 0
    max_failures: Annotated[int, Meta(ge=0)] = 0
    replace: Literal["allowed", "refused"] = "refused"


class Snapshots(Plain, frozen=True, kw_only=True):
    schedule: str
    keep: Annotated[int, Meta(ge=1)] = 7

    def __post_init__(self) -> None:
        rules.five_fields(self)


class Machine(Plain, frozen=True, kw_only=True):
    image: Reference
    package: Reference
    brand: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]*\Z")] | None = None
    hostname: Label | None = None
    replicas: Replicas | None = None
    each: dict[Annotated[int, Meta(ge=1, le=100000)], Exceptional] = field(default_factory=dict)
    nics: list[NicEntry] = field(default_factory=list)
    resolvers: list[Ip] | None = None
    search: list[str] | None = None
    disks: DiskByLabel = field(default_factory=dict)
    volumes: MountEntryByLabel = field(default_factory=dict)
    node: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]*(/[a-z0-9][a-z0-9-]*)?\Z")] | None = None
    traits: dict[str, str | bool] = field(default_factory=dict)
    spread: Spread | None = None
    near: Affinity | None = None
    avoid: Affinity | None = None
    state: Literal["running", "stopped", "any"] = "running"
    ssh_keys: Literal["tenant"] | list[PublicKey] = field(default_factory=list)
    user_data: UserData | None = None
    metadata: dict[str, Text] = field(default_factory=dict)
    ready: Ready | None = None
    update: Update | None = None
    snapshots: Snapshots | None = None
    deletion_protection: bool = False
    drift: Literal["heal", "report", "off"] | None = None
    ignore: list[Compared] = field(default_factory=list)

    def __post_init__(self) -> None:
        rules.fits_together(self)


class Party(Plain, frozen=True, kw_only=True):
    tags: TagChoice = field(default_factory=dict)
    machines: list[Reference] = field(default_factory=list)
    networks: list[Reference] = field(default_factory=list)
    subnets: list[Subnet] = field(default_factory=list)

    def __post_init__(self) -> None:
        rules.somebody(self)


class FirewallRule(Plain, frozen=True, kw_only=True):
    from_: Literal["any"] | Party = field(name="from")
    to: Literal["any"] | Party
    allow: Annotated[list[Traffic], Meta(min_length=1)]

    def __post_init__(self) -> None:
        rules.into_machines(self)


class Metadata(Plain, frozen=True, kw_only=True):
    name: Name
    tenant: Label | None = None
    tags: Tags = field(default_factory=dict)
    renamed_from: Reference | None = None


class SharedMetadata(Plain, frozen=True, kw_only=True):
    tenant: Label | None = None
    tags: Tags = field(default_factory=dict)


_ALL: tuple[type[Plain], ...] = (
    Datacenter, Node, Network, NetworkPool, Package, Image, Tenant, Volume, Machine, FirewallRule,
)  # fmt: skip
KINDS = {kind.__name__: kind for kind in _ALL}
