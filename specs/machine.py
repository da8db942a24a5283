"""Machine: a zone, container or virtual machine, or a group of alike ones."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from specs import rules
from specs.envelope import DriftSwitch, Ip, Label, Mac, Model, Reference, Secret, Text, Trait, whole
from specs.tenant import PublicKey
from specs.units import Duration, Size

Place = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]*(/[a-z0-9][a-z0-9-]*)?$")]
"""`edge1`, or a member of a cluster, `inc/a`."""


class Nic(Model):
    network: Reference
    """A network or a pool of them."""
    ip: Ip | None = None
    """Outside the network's `range`; without it one is given out."""
    mac: Mac | None = None
    """A fixed one; else it is derived from the machine's identity."""
    primary: bool | None = None
    """Whose gateway is the default one. Without a word, the first."""


NicEntry = Annotated[Nic, BeforeValidator(rules.nic, json_schema_input_type=Reference | Nic)]


class Disk(Model):
    size: Size | None = None
    """Growing is one line; shrinking is refused."""
    delegated: bool = False
    """The guest manages the dataset itself."""
    path: Annotated[str, StringConstraints(pattern=r"^/")] | None = None
    """Where the guest finds it; `/data/NAME` without a word."""


class Mount(Model):
    path: Annotated[str, StringConstraints(pattern=r"^/.")]
    """Where the guest finds it."""
    read_only: bool = False
    """The guest cannot write there."""


MountEntry = Annotated[Mount, BeforeValidator(rules.mount, json_schema_input_type=str | Mount)]


class Spread(Model):
    over: Literal["node", "rack"] = "node"
    """What counts as one place."""
    hard: bool = False
    """Rather not at all than not apart."""


class Affinity(Spread):
    machines: Annotated[list[Reference], Field(min_length=1)]
    """Machines or groups."""


_PORT = Annotated[int, Field(ge=1, le=65535)]
Http = Annotated[str, BeforeValidator(rules.http, json_schema_input_type=str | int)]


class Ready(Model):
    """When it counts as up: exactly one of http, tcp and exec, within a time."""

    http: Http | None = None
    """`:8080/healthz`: an answer below 400 counts."""
    tcp: _PORT | None = None
    """This port takes a connection."""
    exec: Annotated[list[str], Field(min_length=1)] | None = None
    """A command inside the machine that ends with 0."""
    within: Duration = 60

    _one = whole(rules.one_check)


class Update(Model):
    """How a group is changed."""

    canary: Annotated[int, Field(ge=0)] = 0
    """This many first, and the others only once they are ready."""
    batch: Annotated[int, Field(ge=1)] = 1
    """So many at a time, after the canary."""
    pause: Duration = 0
    """Between batches."""
    max_failures: Annotated[int, Field(ge=0)] = 0
    """More failures than this stop it."""
    replace: Literal["allowed", "refused"] = "refused"
    """Whether a change that needs a new machine may be made."""


class Snapshots(Model):
    """Taken by the node itself: by incus, not by local."""

    schedule: str
    """As in cron: `0 3 * * *`."""
    keep: Annotated[int, Field(ge=1)] = 7
    """So many are kept, older ones go."""

    _cron = whole(rules.five_fields)


class File(Model):
    file: Annotated[str, StringConstraints(min_length=1)]
    """Read at the same revision, beside this document."""


class Data(Model):
    """Text, a file beside the document, or a secret."""

    text: str | None = None
    file: Annotated[str, StringConstraints(min_length=1)] | None = None
    """Read at the same revision."""
    secret: Annotated[str, StringConstraints(min_length=1)] | None = None

    _one = whole(rules.one_of_data)


UserData = Annotated[Data, BeforeValidator(rules.user_data, json_schema_input_type=str | File | Secret)]


class Exceptional(Model):
    """How one of the replicas differs."""

    node: Place | None = None
    """A place of its own."""
    state: Literal["running", "stopped", "any"] | None = None
    """Other than the group's."""
    nics: Annotated[list[NicEntry], Field(min_length=1)] | None = None
    """Other than the group's."""
    package: Reference | None = None
    """Another size."""
    image: Reference | None = None
    """Another image."""


Ordinal = Annotated[int, Field(ge=1, le=100_000)]
Replicas = Annotated[Annotated[int, Field(ge=0, le=100_000)] | list[Ordinal], AfterValidator(rules.replicas)]


Compared = Annotated[str, AfterValidator(rules.compared)]
"""The path of a field that is compared with the node."""


class Machine(Model):
    image: Reference
    """An Image; another one replaces the root, data disks stay."""
    package: Reference
    """A Package: its size."""
    brand: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]*$")] | None = None
    """Only where the image leaves a choice: `zone` or `vm`."""
    hostname: Label | None = None
    """Else its name."""
    replicas: Replicas | None = None
    """How many (NAME-1 to NAME-n), or which: `[1, 3, 4]` drops the second."""
    each: dict[Ordinal, Exceptional] = Field(default_factory=dict)
    """Exceptions by replica: `{2: {node: edge2}}`."""
    nics: list[NicEntry] = Field(default_factory=list)
    """`[app, public]`, or with `{network, ip, mac, primary}`."""
    resolvers: list[Ip] | None = None
    """Instead of its network's or the datacenter's."""
    search: list[str] | None = None
    """Instead of the datacenter's."""
    disks: dict[Label, Disk] = Field(default_factory=dict)
    """By name: a data disk outlives a replace. `root` is the one that it starts from."""
    volumes: dict[Label, MountEntry] = Field(default_factory=dict)
    """Volumes of the tenant, by name, and where they are mounted: `{shop: /srv/shop}`."""
    node: Place | None = None
    """Where; else it is placed."""
    traits: dict[str, Trait] = Field(default_factory=dict)
    """What its node must have."""
    spread: Spread | None = None
    """Keep the replicas of this group apart."""
    near: Affinity | None = None
    """Placed where these machines are."""
    avoid: Affinity | None = None
    """Placed where these machines are not."""
    state: Literal["running", "stopped", "any"] = "running"
    """`any`: whether it runs is the users' business."""
    ssh_keys: Literal["tenant"] | list[PublicKey] = Field(default_factory=list)
    """`tenant`: all keys of the tenant."""
    user_data: UserData | None = None
    """What the guest is given to set itself up with (cloud-init's user data)."""
    metadata: dict[str, Text] = Field(default_factory=dict)
    """Names and values that the guest can read."""
    ready: Ready | None = None
    """How to tell that it serves; what waits for it waits for this."""
    update: Update | None = None
    """In which portions a group changes."""
    snapshots: Snapshots | None = None
    """Taken of its root by a schedule."""
    deletion_protection: bool = False
    """Its removal takes a commit of its own first."""
    drift: DriftSwitch | None = None
    """What is done about changes made by hand, if other than the datacenter says."""
    ignore: list[Compared] = Field(default_factory=list)
    """Fields that are not compared with the node: `/memory`, `/nics/app/mtu`, or all of `/metadata`."""

    _fitting = whole(rules.fits_together)
