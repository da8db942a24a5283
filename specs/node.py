"""Node: a host or a cluster that machines run on, and the driver that speaks to it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from specs.envelope import Label, Model, OnlySecret, Text, Trait
from specs.network import NicTag
from specs.units import Cores, Size

Reason = Annotated[str, StringConstraints(min_length=1)]


class Amount(Model):
    memory: Size | None = None
    """`4Gi`."""
    cpu: Cores | None = None
    """Cores, `0.5` too."""
    disk: Size | None = None
    """`100Gi`."""


class Identity(Model):
    """How the node proves that it is itself, and how we prove that we may speak to it."""

    host_key: str | None = None
    """The ssh host key that the node shows."""
    certificate: Text | None = None
    """Our certificate, PEM; its own is pinned by the claim."""
    key: OnlySecret | None = None
    """The key of our certificate."""
    token: OnlySecret | None = None
    """A trust token of Incus or LXD: shown once, by the first connection on which the server does not know our
    certificate."""
    pin: str | None = None
    """Fingerprint of the certificate that the node shows."""


class Storage(Model):
    pool: str | None = None
    """An existing pool, or the name of the one that is made."""
    file: str | None = None
    """The file that a pool of our own lives on."""
    size: Size | None = None
    """Of that file."""
    backend: Literal["zfs", "zfs-fuse", "btrfs", "copy"] | None = None
    """Else what the host is found to have."""


class Drain(Model):
    """What lives there goes, until this is lifted. Nothing new comes meanwhile, and nothing moves back by itself."""

    how: Literal["move", "stop"]
    """`move`: to other members of the cluster, each as soon as one can take it; `stop`: stopped where it is, and
    started again once this is lifted."""
    by: str | None = None
    """When it has to be done, for people: 2026-12-01, or 2026-12-01T06:00Z (in quotes)."""
    reason: Reason
    """Why, for people who read the plan."""


class Member(Model):
    rack: Label | None = None
    """As of a node."""
    traits: dict[str, Trait] = Field(default_factory=dict)
    """As of a node, for this member."""
    cordon: Reason | None = None
    """No new machines, with the reason."""
    drain: Drain | None = None
    """Everything leaves this member."""


class Node(Model):
    driver: Label
    """`local`, `incus`, `sim`, `smartos`: whose code speaks with it."""
    address: str | None = None
    """Where it is reached: https://… for incus, ssh://… for smartos, sim:FILE; `local` is this host."""
    identity: Identity = Field(default_factory=Identity)
    """Who it is, and who we are to it."""
    members: dict[Label, Member] = Field(default_factory=dict)
    """Of a cluster: `inc/a` wherever a node is named."""
    rack: Label | None = None
    """What `spread: {over: rack}` and budgets go by."""
    traits: dict[str, Trait] = Field(default_factory=dict)
    """What machines may ask for: `{ssd: true}`."""
    storage: Storage = Field(default_factory=Storage)
    """Where roots and disks lie."""
    nics: dict[NicTag, str] = Field(default_factory=dict)
    """nicTag: interface."""
    reserve: Amount = Field(default_factory=Amount)
    """Kept for the host itself."""
    capacity: Amount = Field(default_factory=Amount)
    """What it has in all, where packages are to be checked against it before anything is asked."""
    tenants: Literal["shared", "projects"] = "shared"
    """`projects`: the machines and volumes of each tenant live in a project of their own there."""
    cordon: Reason | None = None
    """No new machines, with the reason."""
    drain: Drain | None = None
    """Everything leaves it."""
    platform: str | None = None
    """Which software it runs, where the driver can choose."""
    learning: bool = False
    """A dirty tree may be applied here. Never on a node that matters."""
    options: dict[str, str | int | bool] = Field(default_factory=dict)
    """What only this driver knows."""
