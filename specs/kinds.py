"""The kinds there are, each with its model, its plural and whose it can be.

Owns: the register. Must not go here: fields of any kind.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from specs.datacenter import Datacenter
from specs.envelope import Model
from specs.firewall import FirewallRule
from specs.image import Image
from specs.machine import Machine
from specs.network import Network, NetworkPool
from specs.node import Node
from specs.package import Package
from specs.tenant import Tenant
from specs.volume import Volume

Tenancy = Literal["never", "may", "must"]


class Kind(NamedTuple):
    name: str
    model: type[Model]
    tenancy: Tenancy
    plural: str | None
    """None where there is one only."""
    host: bool = False
    """Its name is a host's name: no dots."""


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("Datacenter", Datacenter, "never", None),
        Kind("Node", Node, "never", "Nodes", host=True),
        Kind("Network", Network, "may", "Networks"),
        Kind("NetworkPool", NetworkPool, "may", "NetworkPools"),
        Kind("Package", Package, "may", "Packages"),
        Kind("Image", Image, "may", "Images"),
        Kind("Tenant", Tenant, "never", "Tenants", host=True),
        Kind("Volume", Volume, "must", "Volumes", host=True),
        Kind("Machine", Machine, "must", "Machines", host=True),
        Kind("FirewallRule", FirewallRule, "may", "FirewallRules"),
    )
}
"""In the order in which they depend on each other."""

PLURALS: dict[str, Kind] = {kind.plural: kind for kind in KINDS.values() if kind.plural}
