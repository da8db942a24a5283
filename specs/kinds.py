"""The kinds there are, each with its plural and whose it can be.

Owns: the register. Must not go here: fields of any kind, anything that takes long to import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from specs.envelope import Model
    from specs.plain import Plain

Tenancy = Literal["never", "may", "must"]


class Kind(NamedTuple):
    name: str
    tenancy: Tenancy
    plural: str | None
    """None where there is one only."""
    host: bool = False
    """Its name is a host's name: no dots."""

    @property
    def model(self) -> type[Model]:
        """What says all that is wrong with a spec of this kind. Loading the models takes longer than most commands."""
        from specs.models import MODELS

        return MODELS[self.name]

    @property
    def plain(self) -> type[Plain]:
        """What a spec of this kind comes to."""
        from specs.plain import KINDS as RECORDS

        return RECORDS[self.name]


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("Datacenter", "never", None),
        Kind("Node", "never", "Nodes", host=True),
        Kind("Network", "may", "Networks"),
        Kind("NetworkPool", "may", "NetworkPools"),
        Kind("Package", "may", "Packages"),
        Kind("Image", "may", "Images"),
        Kind("Tenant", "never", "Tenants", host=True),
        Kind("Volume", "must", "Volumes", host=True),
        Kind("Machine", "must", "Machines", host=True),
        Kind("FirewallRule", "may", "FirewallRules"),
    )
}
"""In the order in which they depend on each other."""

PLURALS: dict[str, Kind] = {kind.plural: kind for kind in KINDS.values() if kind.plural}
