"""FirewallRule: who may reach what, and how. Fields, not a sentence."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from specs.envelope import Model, Reference, SpecError, Subnet, TagValue

_ALLOW_RE = re.compile(r"any|icmp|(tcp|udp)(/([0-9]{1,5})(-([0-9]{1,5}))?)?")


def _allowed(value: str) -> str:
    match = _ALLOW_RE.fullmatch(value)
    if match is None:
        raise SpecError(f"{value!r} is not a kind of traffic", "tcp/5432, udp/53, tcp/8000-8100, tcp, udp, icmp or any")
    low, high = int(match[3] or 1), int(match[5] or match[3] or 1)
    if not 1 <= low <= high <= 65535:
        raise SpecError(f"{value!r} names no ports", "ports are 1 to 65535, the lower one first")
    return value


Allowed = Annotated[str, AfterValidator(_allowed)]
"""`tcp/5432`, `udp/53`, `tcp/8000-8100`, `tcp`, `udp`, `icmp` or `any`."""


def _values(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: each if isinstance(each, list) else [each] for key, each in value.items()}
    return value


class Party(Model):
    """One of: tags (a machine that has all of them, with any of the values), machines, networks, subnets."""

    tags: Annotated[dict[str, Annotated[list[TagValue], Field(min_length=1)]], BeforeValidator(_values)] = Field(
        default_factory=dict
    )
    machines: list[Reference] = Field(default_factory=list)
    """Machines or groups."""
    networks: list[Reference] = Field(default_factory=list)
    subnets: list[Subnet] = Field(default_factory=list)

    @model_validator(mode="after")
    def _something(self) -> Party:
        if not (self.tags or self.machines or self.networks or self.subnets):
            raise SpecError("this names nobody", "any, or {tags: …}, {machines: […]}, {networks: […]}, {subnets: […]}")
        return self


class FirewallRule(Model):
    from_: Annotated[Literal["any"] | Party, Field(alias="from")]
    to: Literal["any"] | Party
    """What it names takes in only what rules allow; what no rule names takes in everything."""
    allow: Annotated[list[Allowed], Field(min_length=1)]

    @model_validator(mode="after")
    def _to_is_ours(self) -> FirewallRule:
        if isinstance(self.to, Party) and self.to.subnets:
            raise SpecError("a rule lets into machines, and subnets are anybody's", "to: {networks: […]}")
        return self
