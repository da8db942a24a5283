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
    cpu: Cores | None = None
    disk: Size | None = None


class Identity(Model):
    """How the node proves that it is itself, and how we prove that we may speak to it."""

    host_key: str | None = None
    certificate: Text | None = None
    key: OnlySecret | None = None
    token: OnlySecret | None = None
    password: OnlySecret | None = None
    pin: str | None = None
    """Fingerprint of the certificate that the node shows."""


class Storage(Model):
    pool: str | None = None
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


class Member(Model):
    rack: Label | None = None
    traits: dict[str, Trait] = Field(default_factory=dict)
    cordon: Reason | None = None
    drain: Drain | None = None


class Node(Model):
    driver: Label
    address: str | None = None
    """Where it is reached: https://… for incus, ssh://… for smartos, sim:FILE; `local` is this host."""
    identity: Identity = Field(default_factory=Identity)
    members: dict[Label, Member] = Field(default_factory=dict)
    """Of a cluster: `inc/a` wherever a node is named."""
    rack: Label | None = None
    traits: dict[str, Trait] = Field(default_factory=dict)
    storage: Storage = Field(default_factory=Storage)
    nics: dict[NicTag, str] = Field(default_factory=dict)
    """nicTag: interface."""
    reserve: Amount = Field(default_factory=Amount)
    """Kept for the host itself."""
    capacity: Amount = Field(default_factory=Amount)
    """What it has in all, where packages are to be checked against it before anything is asked."""
    cordon: Reason | None = None
    """No new machines, with the reason."""
    drain: Drain | None = None
    platform: str | None = None
    learning: bool = False
    """A dirty tree may be applied here. Never on a node that matters."""
    options: dict[str, str | int | bool] = Field(default_factory=dict)
    """What only this driver knows."""
