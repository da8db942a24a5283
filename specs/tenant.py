"""Tenant: whose machines they are, with which keys, and how much they may take."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from specs import rules
from specs.envelope import Model, Name
from specs.units import Cores, Size

PublicKey = Annotated[str, AfterValidator(rules.public_key)]


class User(Model):
    email: str | None = None
    keys: dict[Name, PublicKey] = Field(default_factory=dict)


class Limits(Model):
    """What all machines of the tenant may take together."""

    machines: Annotated[int, Field(ge=0)] | None = None
    memory: Size | None = None
    cpu: Cores | None = None
    disk: Size | None = None


class Tenant(Model):
    email: str | None = None
    keys: dict[Name, PublicKey] = Field(default_factory=dict)
    """By the name of who holds them: what `sshKeys: tenant` puts on a machine."""
    users: dict[Name, User] = Field(default_factory=dict)
    limits: Limits = Field(default_factory=Limits)
