"""Machine: a zone, container or virtual machine, or a group of alike ones."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from specs.envelope import DriftSwitch, Ip, Label, Mac, Model, Reference, Secret, SpecError, Text, Trait
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
    primary: bool | None = None
    """Whose gateway is the default one. Without a word, the first."""


def _nic(value: Any) -> Any:
    return {"network": value} if isinstance(value, str) else value


NicEntry = Annotated[Nic, BeforeValidator(_nic, json_schema_input_type=Reference | Nic)]


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


def _mount(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


MountEntry = Annotated[Mount, BeforeValidator(_mount, json_schema_input_type=str | Mount)]


class Spread(Model):
    over: Literal["node", "rack"] = "node"
    hard: bool = False
    """Rather not at all than not apart."""


class Affinity(Spread):
    machines: Annotated[list[Reference], Field(min_length=1)]
    """Machines or groups."""


_PORT = Annotated[int, Field(ge=1, le=65535)]
_HTTP_RE = re.compile(r"(:\d{1,5})?(/.*)?")


def _http(value: Any) -> Any:
    text = f":{value}/" if isinstance(value, int) and not isinstance(value, bool) else value
    if isinstance(text, str) and (not text or not _HTTP_RE.fullmatch(text)):
        raise SpecError(f"{text!r} is not a place to ask", 'write ":8080/healthz"')
    return text


class Ready(Model):
    """When it counts as up: exactly one of http, tcp and exec, within a time."""

    http: Annotated[str, BeforeValidator(_http, json_schema_input_type=str | int)] | None = None
    """`:8080/healthz`: an answer below 400 counts."""
    tcp: _PORT | None = None
    exec: Annotated[list[str], Field(min_length=1)] | None = None
    """A command inside the machine that ends with 0."""
    within: Duration = 60

    @model_validator(mode="after")
    def _exactly_one(self) -> Ready:
        given = [name for name in ("http", "tcp", "exec") if getattr(self, name) is not None]
        if len(given) != 1:
            raise SpecError(
                "ready is exactly one check" + (f", not {' and '.join(given)}" if given else ""), "http, tcp or exec"
            )
        return self


class Update(Model):
    """How a group is changed."""

    canary: Annotated[int, Field(ge=0)] = 0
    """This many first, and the others only once they are ready."""
    batch: Annotated[int, Field(ge=1)] = 1
    pause: Duration = 0
    """Between batches."""
    max_failures: Annotated[int, Field(ge=0)] = 0
    replace: Literal["allowed", "refused"] = "refused"
    """Whether a change that needs a new machine may be made."""


class Snapshots(Model):
    """Taken by the node itself: by incus, not by local."""

    schedule: str
    """As in cron: `0 3 * * *`."""
    keep: Annotated[int, Field(ge=1)] = 7

    @model_validator(mode="after")
    def _five_fields(self) -> Snapshots:
        if len(self.schedule.split()) != 5:
            raise SpecError(f"{self.schedule!r} is not a schedule", 'five fields as in cron: "0 3 * * *"')
        return self


class File(Model):
    file: Annotated[str, StringConstraints(min_length=1)]
    """Read at the same revision, beside this document."""


def _user_data(value: Any) -> Any:
    if isinstance(value, str):
        return {"text": value}
    if isinstance(value, dict) and "text" not in value:
        return value
    raise SpecError("user data is text", "write a text, {file: PATH} or {secret: NAME}")


class Data(Model):
    """Text, a file beside the document, or a secret."""

    text: str | None = None
    file: Annotated[str, StringConstraints(min_length=1)] | None = None
    """Read at the same revision."""
    secret: Annotated[str, StringConstraints(min_length=1)] | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Data:
        if sum(value is not None for value in (self.text, self.file, self.secret)) != 1:
            raise SpecError("user data is exactly one of a text, a file and a secret", "{file: PATH} or {secret: NAME}")
        return self


UserData = Annotated[Data, BeforeValidator(_user_data, json_schema_input_type=str | File | Secret)]


class Exceptional(Model):
    """How one of the replicas differs."""

    node: Place | None = None
    state: Literal["running", "stopped", "any"] | None = None
    nics: Annotated[list[NicEntry], Field(min_length=1)] | None = None
    package: Reference | None = None
    image: Reference | None = None


_ORDINAL = Annotated[int, Field(ge=1, le=100_000)]


def _replicas(value: list[int] | int) -> list[int] | int:
    if isinstance(value, list):
        twice = sorted({n for n in value if value.count(n) > 1})
        if twice:
            raise SpecError(f"{twice[0]} is listed twice", "list each replica once")
    return value


COMPARED: dict[str, frozenset[str] | None] = {
    **dict.fromkeys(
        ("memory", "swap", "cpu", "cpuShares", "vcpus", "threads", "ioPriority", "disk", "brand", "hostname", "image",
         "state", "userData"),
        frozenset[str](),
    ),
    **dict.fromkeys(("resolvers", "search", "sshKeys", "metadata"), None),
    "disks": frozenset({"size", "delegated", "path"}),
    "nics": frozenset({"ip", "mac", "primary", "gateway", "tag", "vlan", "mtu"}),
}  # fmt: skip
"""What of a machine is compared with the node, and what stands beneath: nothing; any one name or number (None); these
fields of each one by name."""


def _compared(path: str) -> str:
    parts = [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")]
    first, beneath = parts[1] if len(parts) > 1 else "", parts[2:]
    if parts[0] or not first:
        near = first or parts[0]
        raise SpecError(f"{path!r} is not a field", f"write /{near}" if near in COMPARED else "write /nics/app/mtu")
    if first == "extra":  # what a driver found that no document can say, in its own words
        return path
    if first not in COMPARED:
        raise SpecError(f"there is no field {path!r} to ignore", _meant(first, COMPARED, "/{}", *beneath))
    fields = COMPARED[first]
    if not beneath or (fields is None and len(beneath) == 1):
        return path
    if not fields:
        raise SpecError(
            f"there is no field {path!r} to ignore",
            f"nothing stands beneath it: write /{'/'.join(parts[1 : 3 if fields is None else 2])}",
        )
    if len(beneath) > 1 and beneath[1] not in fields:
        where = f"/{first}/{beneath[0]}/{{}}"
        raise SpecError(f"there is no field {path!r} to ignore", _meant(beneath[1], fields, where))
    if len(beneath) > 2:
        raise SpecError(f"there is no field {path!r} to ignore", f"write /{'/'.join(parts[1:4])}")
    return path


def _meant(word: str, known: Iterable[str], where: str, *beneath: str) -> str:
    near = get_close_matches(word, known, n=1) or [name for name in known if name.lower() == word.lower()]
    if near:
        return f"did you mean {'/'.join([where.format(near[0]), *beneath])}?"
    return f"there are {', '.join(where.format(name) for name in sorted(known))}"


class Machine(Model):
    image: Reference
    package: Reference
    brand: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]*$")] | None = None
    """Only where the image leaves a choice: `zone` or `vm`."""
    hostname: Label | None = None
    """Else its name."""
    replicas: Annotated[Annotated[int, Field(ge=0, le=100_000)] | list[_ORDINAL], AfterValidator(_replicas)] | None = (
        None
    )
    """How many (NAME-1 to NAME-n), or which: `[1, 3, 4]` drops the second."""
    each: dict[_ORDINAL, Exceptional] = Field(default_factory=dict)
    """Exceptions by replica: `{2: {node: edge2}}`."""
    nics: list[NicEntry] = Field(default_factory=list)
    """`[app, public]`, or with `{network, ip, mac, primary}`."""
    resolvers: list[Ip] | None = None
    search: list[str] | None = None
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
    avoid: Affinity | None = None
    state: Literal["running", "stopped", "any"] = "running"
    """`any`: whether it runs is the users' business."""
    ssh_keys: Literal["tenant"] | list[PublicKey] = Field(default_factory=list)
    """`tenant`: all keys of the tenant."""
    user_data: UserData | None = None
    metadata: dict[str, Text] = Field(default_factory=dict)
    ready: Ready | None = None
    update: Update | None = None
    snapshots: Snapshots | None = None
    deletion_protection: bool = False
    """Its removal takes a commit of its own first."""
    drift: DriftSwitch | None = None
    ignore: list[Annotated[str, AfterValidator(_compared)]] = Field(default_factory=list)
    """Fields that are not compared with the node: `/memory`, `/nics/app/mtu`, or all of `/metadata`."""

    @model_validator(mode="after")
    def _fits_together(self) -> Machine:
        if self.each and self.replicas is None:
            summary, fix = "`each` is for a group, and there is no `replicas`", "add replicas: N, or drop each"
            raise SpecError(summary, fix, fields=("each", "replicas"))
        paths = [mount.path for mount in self.volumes.values()]
        paths += [disk.path or f"/data/{name}" for name, disk in self.disks.items() if name != "root"]
        twice = next((path for path in paths if paths.count(path) > 1), None)
        if twice is not None:
            summary = f"two things would be mounted at {twice}"
            raise SpecError(summary, "give each a path of its own", fields=("disks", "volumes"))
        if self.update is not None and self.replicas is None and (self.update.canary or self.update.batch > 1):
            summary = "`update` with canary or batch is for a group, and there is no `replicas`"
            raise SpecError(summary, "drop them", fields=("update", "replicas"))
        return self
