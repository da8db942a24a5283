"""Names of things: Ref, Target, uid.

Owns: how a reference is spelled, taken apart and compared, and how an identity is minted.
Must not go here: looking a reference up (that is the loader's, or the index's).
"""

from __future__ import annotations

import uuid
from typing import NewType

Ref = NewType("Ref", str)
"""`Kind/tenant/name`, or `Kind/name` for what belongs to the datacenter."""

Target = NewType("Target", str)
"""Where a thing can live: a node, `edge1`, or a member of a cluster, `inc/a`."""

Uid = NewType("Uid", str)
"""Identity of the thing itself: 36 characters, minted once at creation and kept on the object."""


SINGLE = frozenset({"Machine", "Volume"})
"""Kinds with at most one realisation, which is placed, holds data, and is destroyed into quarantine."""

PER_TARGET = frozenset({"Network", "Image", "Tenant"})
"""Kinds with one realisation on each target that needs them; of the others there is at most one in all."""


def make_ref(kind: str, name: str, tenant: str | None = None) -> Ref:
    return Ref(f"{kind}/{tenant}/{name}" if tenant else f"{kind}/{name}")


def kind_of(ref: str) -> str:
    return ref.partition("/")[0]


def name_of(ref: str) -> str:
    return ref.rpartition("/")[2]


def tenant_of(ref: str) -> str | None:
    """The tenant, or None for a thing of the datacenter."""
    parts = ref.split("/")
    return parts[1] if len(parts) == 3 else None


def short(ref: str) -> str:
    """The ref without its kind, as people say it: `acme/web-1`."""
    return ref.partition("/")[2]


def node_of(target: str) -> str:
    """The node that a target belongs to: `inc` for `inc/a`."""
    return target.partition("/")[0]


def mint(datacenter: str, ref: Ref, incarnation: int) -> Uid:
    """The uid of the n-th thing of this name in this datacenter (uuid5; `datacenter` is its id, a uuid)."""
    return Uid(str(uuid.uuid5(uuid.UUID(datacenter), f"{ref}#{incarnation}")))


def realisation_uid(machine_or_kind_uid: Uid, target: Target) -> Uid:
    """The uid of one realisation of a thing that has one per target (Network, Image)."""
    return Uid(str(uuid.uuid5(uuid.UUID(machine_or_kind_uid), target)))


def minted(datacenter: str, ref: Ref, incarnation: int, target: Target | None = None) -> Uid:
    """The uid of a thing, or of its one realisation on a target."""
    uid = mint(datacenter, ref, incarnation)
    return uid if target is None else realisation_uid(uid, target)
