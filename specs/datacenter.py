"""Datacenter: the rules of the whole. There is exactly one in a tree."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from specs import rules
from specs.envelope import DriftSwitch, Ip, Model
from specs.network import Mtu, NicTag
from specs.units import Duration, Share

Uuid = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")]
Requires = Annotated[str, AfterValidator(rules.requires)]
"""`>=0.3 <0.5`."""
Kinds = Annotated[list[str], AfterValidator(rules.known_kinds)]


class NicTagFacts(Model):
    mtu: Mtu | None = None
    """What every interface of this tag carries, bytes."""
    description: str | None = None
    """For people."""


class Dns(Model):
    resolvers: list[Ip] = Field(default_factory=list)
    """Asked by every machine that names none itself."""
    search: list[str] = Field(default_factory=list)
    """Domains tried for short names, by machines that name none."""


class Overprovision(Model):
    cpu: Annotated[float, Field(gt=0)] = 1.0
    """`4`: four promised for each one there is."""
    memory: Annotated[float, Field(gt=0)] = 1.0
    """`1.2`: a fifth more is promised than there is."""
    disk: Annotated[float, Field(gt=0)] = 1.0
    """The same for disk."""


class ReservedShares(Model):
    memory: Share | None = None
    """`10%` of a node's memory is promised to nobody."""
    cpu: Share | None = None
    """The same for processors."""
    disk: Share | None = None
    """The same for disk."""


class Placement(Model):
    overprovision: Overprovision = Field(default_factory=Overprovision)
    """How often a thing may be promised."""
    reserve: ReservedShares = Field(default_factory=ReservedShares)
    """Share of each node that is kept free."""


class Allowance(Model):
    """The larger of the two counts."""

    count: Annotated[int, Field(ge=0)] | None = None
    """So many, whatever the whole is."""
    share: Share | None = None
    """`20%` of the machines concerned."""


Allowed = Annotated[
    Allowance, BeforeValidator(rules.allowance, json_schema_input_type=Annotated[int, Field(ge=0)] | Share | Allowance)
]
"""`4`, `20%`, or `{count: 4, share: 20%}`: then the larger of the two."""


class Budget(Model):
    """How many machines may be hit. Shares are of the machines concerned: all, or those of the node, rack or tenant."""

    per_plan: Allowed | None = None
    """In one plan. The loop plans again at once: what bounds it are the hour and the day."""
    per_hour: Allowed | None = None
    """In any hour, whatever plan it was."""
    per_day: Allowed | None = None
    """In any 24 hours, whatever plan it was."""
    per_node: Allowed | None = None
    """In any hour on one node, or member of a cluster."""
    per_rack: Allowed | None = None
    """In any hour in one rack."""
    per_tenant: Allowed | None = None
    """In any hour of one tenant."""


class Budgets(Model):
    destroys: Budget = Field(default_factory=Budget)
    """Machines that go to quarantine or lose a data disk. By default 5 or 10% a plan, 10 or 20% a day."""
    restarts: Budget = Field(default_factory=Budget)
    """Machines that are stopped for a change."""
    creates: Budget = Field(default_factory=Budget)
    """Machines that take room anew: created, or back from quarantine."""


class Policy(Model):
    trusted_signers: str | None = None
    """A file of ssh allowed_signers, within the repository."""
    budgets: Budgets = Field(default_factory=Budgets)
    """How much may be destroyed, restarted, made in a time."""
    quarantine: Duration = 7 * 86400
    """How long a removed thing can be brought back."""
    protect: Kinds = Field(default_factory=list)
    """Kinds whose removal always takes two commits."""


class Datacenter(Model):
    id: Uuid
    """Written by `trueup init`, never changed: all identities come from it."""
    requires: Requires | None = None
    """The versions of trueup that may act here."""
    follow: Literal["auto", "approve", "off"] = "approve"
    """What the loop does with new commits."""
    drift: DriftSwitch = "report"
    """What is done about changes made by hand; a machine may say otherwise."""
    nic_tags: dict[NicTag, NicTagFacts] | None = None
    """The physical networks. Where it is given, no other tag can be used."""
    dns: Dns = Field(default_factory=Dns)
    """Resolvers and search domains of all machines."""
    placement: Placement = Field(default_factory=Placement)
    """How full nodes may become."""
    policy: Policy = Field(default_factory=Policy)
    """Budgets, quarantine, protection, signers."""
