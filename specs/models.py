"""The models of all kinds by name, and what a model that was validated comes to.

Owns: the register of models. Must not go here: fields of any kind; anything that is needed to read a document without
mistakes (plain.py), for importing this takes longer than most commands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from specs.datacenter import Datacenter
from specs.envelope import Metadata, Model, SharedMetadata
from specs.firewall import FirewallRule
from specs.image import Image
from specs.machine import Machine
from specs.network import Network, NetworkPool
from specs.node import Node
from specs.package import Package
from specs.tenant import Tenant
from specs.volume import Volume

if TYPE_CHECKING:
    from specs.plain import Plain

MODELS: dict[str, type[Model]] = {
    model.__name__: model
    for model in (
        Datacenter, Node, Network, NetworkPool, Package, Image, Tenant, Volume, Machine, FirewallRule,
    )
}  # fmt: skip

_ALL: dict[str, type[Model]] = {**MODELS, "Metadata": Metadata, "SharedMetadata": SharedMetadata}


def model_of(record: type[Plain]) -> type[Model]:
    """The model of a kind's plain record, or of metadata's."""
    return _ALL[record.__name__]


def plain_of(value: Any) -> Any:
    """The plain record of a model (and of models in lists and maps): the same fields, the same values."""
    from specs import plain  # which is written from these models

    if isinstance(value, Model):
        fields = {name: plain_of(getattr(value, name)) for name in type(value).model_fields}
        return getattr(plain, type(value).__name__)(**fields)
    if isinstance(value, list):
        return [plain_of(each) for each in value]
    if isinstance(value, dict):
        return {key: plain_of(each) for key, each in value.items()}
    return value
