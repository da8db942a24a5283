"""Volume: data that outlives the machines it is mounted in."""

from __future__ import annotations

from specs.envelope import DriftSwitch, Model
from specs.machine import Place
from specs.units import Size


class Volume(Model):
    size: Size
    """Growing is one line; shrinking is refused."""
    node: Place | None = None
    """Where; else it lies where the machines that mount it are."""
    deletion_protection: bool = False
    """Its removal takes a commit of its own first."""
    drift: DriftSwitch | None = None
    """What is done about changes made by hand, if other than the datacenter says."""
