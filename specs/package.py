"""Package: a size that machines share. Editing one is a change to all its users."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from specs.envelope import Model, Trait
from specs.units import Cores, Pace, Size


class Package(Model):
    memory: Size
    swap: Size = 0
    """Beyond memory, not in all."""
    cpu: Cores | None = None
    """The most it may use, in cores; without it there is no cap."""
    cpu_shares: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Weight when cores are short: more is more."""
    vcpus: Annotated[int, Field(ge=1, le=256)] | None = None
    """What a virtual machine sees."""
    disk: Size | None = None
    """What the guest may write, snapshots excluded."""
    threads: Annotated[int, Field(ge=16)] | None = None
    """Threads and processes, in all."""
    io_priority: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Weight for disk input and output: more is more."""
    io_read: Pace | None = None
    """The most that is read from disk in a second; without it there is no cap."""
    io_write: Pace | None = None
    """The most that is written to disk in a second; without it there is no cap."""
    traits: dict[str, Trait] = Field(default_factory=dict)
    """What a node must have."""
