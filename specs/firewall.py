"""FirewallRule: who may reach what, and how. Fields, not a sentence."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from specs import rules
from specs.envelope import Model, Reference, Subnet, TagValue, whole

Traffic = Annotated[str, AfterValidator(rules.traffic)]
"""`tcp/5432`, `udp/53`, `tcp/8000-8100`, `tcp`, `udp`, `icmp` or `any`."""


TagChoice = Annotated[dict[str, Annotated[list[TagValue], Field(min_length=1)]], BeforeValidator(rules.listed)]
"""By tag, one value or several of which each will do."""


class Party(Model):
    """One of: tags (a machine that has all of them, with any of the values), machines, networks, subnets."""

    tags: TagChoice = Field(default_factory=dict)
    """Machines that have all of these tags, with any of the values."""
    machines: list[Reference] = Field(default_factory=list)
    """Machines or groups."""
    networks: list[Reference] = Field(default_factory=list)
    """All machines on these networks."""
    subnets: list[Subnet] = Field(default_factory=list)
    """Addresses from outside."""

    _named = whole(rules.somebody)


class FirewallRule(Model):
    from_: Annotated[Literal["any"] | Party, Field(alias="from")]
    """Who may open connections."""
    to: Literal["any"] | Party
    """What it names takes in only what rules allow; what no rule names takes in everything."""
    allow: Annotated[list[Traffic], Field(min_length=1)]
    """To what: `tcp/5432`, `udp/8000-8100`, `icmp`, `any`."""

    _ours = whole(rules.into_machines)
