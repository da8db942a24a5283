"""What trueup writes on objects and on the node, and the proof that it may be trusted. Pure.

Owns: the keys `user.trueup.*`, how marks are spelled and sealed, the node's claim.
Must not go here: reading or writing them on a server.

An object's marks name its own native identity, so that a copy's do not count (`incus copy` carries `user.*`), and bear
a seal made with a key that only unrestricted clients can read (it lies in the server's configuration), so that the
holder of a certificate restricted to one project can damage marks but not make any. Marks that they have from
elsewhere say another tenant's name, and count in no project but that tenant's.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

import msgspec

from reconciler.core.observed import Claim, Marks
from reconciler.core.values import canonical

PREFIX = "user.trueup."
MARKS = PREFIX + "marks"
REF = PREFIX + "ref"
"""For people's listings only: `incus list -c n,user.trueup.ref`."""
CLAIM = PREFIX + "claim"
SEAL = PREFIX + "seal"
STASH = PREFIX + "stash"
"""What quarantine took away, to be put back by a restore; or a move, for as long as it takes."""
SHARES = PREFIX + "cpu-shares"
"""The shares that were written: the servers keep them as a percentage only."""
PRIORITY = PREFIX + "io-priority"
"""The weight that was written: the servers have eleven."""
KEEP = PREFIX + "keep"
"""How many snapshots are to be kept, where the schedule is ours: the servers know only how long."""
SECRETS = PREFIX + "secrets"
DISK = PREFIX + "disk"
TAG = PREFIX + "tag"
VLAN = PREFIX + "vlan"
DIGEST = "trueup.digest"
"""A property of an image, which its instances inherit as `image.trueup.digest`."""
IMAGE_MARKS = "trueup.marks"
IMAGE_TYPE = "trueup.type"


class NodeClaim(msgspec.Struct, frozen=True, omit_defaults=True):
    """What lies on the node: the claim, and the highest generation that has written there."""

    datacenter: str
    identity: str
    fence: int = 0
    generation: int = 0

    def claim(self) -> Claim:
        return Claim(self.datacenter, self.identity, self.fence, self.generation)


class _Sealed(msgspec.Struct, frozen=True, omit_defaults=True):
    marks: Marks
    native: str
    seal: str = ""


def write(marks: Marks, native: str, key: str) -> str:
    """Marks as text, bound to the object with this native identity."""
    return msgspec.json.encode(_Sealed(marks, native, _seal(marks, native, key))).decode()


def read(text: str | None, native: str, key: str) -> Marks | None:
    """The marks, if they are this object's own and unforged; else None."""
    if not text:
        return None
    try:
        sealed = msgspec.json.decode(text, type=_Sealed)
    except msgspec.DecodeError:
        return None
    if sealed.native != native or not hmac.compare_digest(sealed.seal, _seal(sealed.marks, native, key)):
        return None
    return sealed.marks


def _seal(marks: Marks, native: str, key: str) -> str:
    said = canonical([native, msgspec.to_builtins(marks)])
    return hmac.new(key.encode(), said, hashlib.sha256).hexdigest()[:32]


def read_claim(text: str | None) -> NodeClaim | None:
    try:
        return msgspec.json.decode(text, type=NodeClaim) if text else None
    except msgspec.DecodeError:
        return None


def write_claim(claim: NodeClaim) -> str:
    return msgspec.json.encode(claim).decode()


def unborn(project: str, name: str) -> str:
    """What stands for the identity of an instance that is being made. Marks bound to this alone say that it is not made
    whole."""
    return f"unborn:{project}/{name}"


def bound(config: Mapping[str, Any], native: str, key: str, suffix: str = "") -> Marks | None:
    """The marks in an object's configuration. `suffix`: of a cluster's member, for what all members share."""
    return read(config.get(MARKS + suffix), native, key)
