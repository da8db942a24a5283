"""Tenant: whose machines they are, with which keys, and how much they may take."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from specs.envelope import Model, Name, SpecError
from specs.units import Cores, Size


def _key(value: str) -> str:
    line = value.strip()
    if "PRIVATE KEY" in line:
        raise SpecError("a private key must not stand here", "write the public key: ssh-ed25519 AAAA… name")
    if "\n" in line or len(line.split()) < 2:
        raise SpecError(f"{value[:20]!r}… is not a public key", "one line: ssh-ed25519 AAAA… name")
    return line


PublicKey = Annotated[str, AfterValidator(_key)]


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
