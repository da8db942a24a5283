"""Network and NetworkPool: where machines' interfaces are, and which addresses there are to give."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from specs import rules
from specs.envelope import Ip, Label, Model, Reference, Span, Subnet, whole

NicTag = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_]{1,31}$")]
Mtu = Annotated[int, Field(ge=576, le=9216)]


ForwardedPort = Annotated[str, AfterValidator(rules.forwarded)]
"""`tcp/443`, `udp/6000-6100`, or `tcp/8443:443`, which is 443 inside."""


class Forward(Model):
    """What comes in at an address goes on to a machine of the network, on the node where that machine lives."""

    listen: Ip
    """An address of the node, or one that is routed to it. It is one network's alone."""
    to: Reference
    """A machine on this network, one of a group by its own name."""
    ports: Annotated[list[ForwardedPort], Field(min_length=1)] | None = None
    """`tcp/443`, `udp/6000-6100`, `tcp/8443:443` (443 inside); without them, everything that no other forward of the
    address takes."""


class Network(Model):
    nic_tag: NicTag
    """The physical network it runs on; a node says which of its interfaces that is."""
    vlan: Annotated[int, Field(ge=0, le=4094)] | None = None
    """0 or absent: untagged."""
    subnet: Subnet
    """`10.1.0.0/24` or an IPv6 one."""
    range: Span | None = None
    """From which addresses are given out; authored ones lie outside it."""
    gateway: Ip | None = None
    """What machines on it route through; on a network of the node itself, the node's own address."""
    resolvers: list[Ip] | None = None
    """Asked by machines whose first NIC is on it."""
    routes: dict[Subnet, Ip] = Field(default_factory=dict)
    """Other ways: subnet to gateway."""
    mtu: Mtu | None = None
    """Else the nic tag's."""
    reserved: list[Ip] = Field(default_factory=list)
    """Never given out."""
    nat: bool = False
    """Whether what leaves it bears the node's address."""
    tenants: list[Label] | None = None
    """Who may use it; without it, everybody who can name it."""
    forwards: list[Forward] = Field(default_factory=list)
    """What comes in from outside, and to whom."""

    _apart = whole(rules.forwards_apart)


class NetworkPool(Model):
    networks: Annotated[list[Reference], Field(min_length=1)]
    """In order: the first with a free address is taken."""
