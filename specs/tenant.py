"""Tenant: whose machines they are, with which keys, and how much they may take."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from specs import rules
from specs.envelope import Model, Name
from specs.units import Cores, Size

PublicKey = Annotated[str, AfterValidator(rules.public_key)]


Certificate = Annotated[str, AfterValidator(rules.certificate)]


class User(Model):
    email: str | None = None
    """Whom to write to."""
    keys: dict[Name, PublicKey] = Field(default_factory=dict)
    """Public ssh keys by name."""


class Limits(Model):
    """What all machines of the tenant may take together."""

    machines: Annotated[int, Field(ge=0)] | None = None
    """How many, replicas counted."""
    memory: Size | None = None
    """Of all its machines together."""
    cpu: Cores | None = None
    """Cores of all its machines together."""
    disk: Size | None = None
    """Of all its machines together, data disks counted."""


class Tenant(Model):
    email: str | None = None
    """Whom to write to."""
    keys: dict[Name, PublicKey] = Field(default_factory=dict)
    """By the name of who holds them: what `sshKeys: tenant` puts on a machine."""
    users: dict[Name, User] = Field(default_factory=dict)
    """People by name."""
    certificates: dict[Name, Certificate] = Field(default_factory=dict)
    """By the name of who holds them: who may work in the tenant's projects with the engine's own client."""
    limits: Limits = Field(default_factory=Limits)
    """What all its machines together may take."""
