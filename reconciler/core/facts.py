"""What is known of the world: Present, Absent or Unknown (invariant I1).

Owns: the three answers. Must not go here: how a fact was obtained.
Nothing in core may turn an Unknown into an Absent; only a complete listing makes an Absent.
"""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")


class Present(msgspec.Struct, Generic[T], frozen=True):
    value: T


class Absent(msgspec.Struct, frozen=True):
    """Proved missing: a complete listing that began after our last write does not have it."""


class Unknown(msgspec.Struct, frozen=True):
    """Could not be read, with the reason in words for people."""

    reason: str


Fact = Present[T] | Absent | Unknown
