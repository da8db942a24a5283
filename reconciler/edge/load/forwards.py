"""Forwards of a network: what comes in at an address from outside, and to which machine it goes.

Owns: what must hold of them, without asking any node. Must not go here: that one address and port goes to one machine
(specs), which addresses machines have, how a driver forwards.
"""

from __future__ import annotations

import ipaddress
from typing import Protocol

from reconciler.core.desired import Resource
from reconciler.core.refs import Ref, short
from reconciler.core.values import plain
from reconciler.edge.load.catalog import idle, within
from reconciler.edge.load.document import Declared
from reconciler.edge.load.findings import Finding, Path
from reconciler.edge.load.lower import Lowering, receivers
from specs.plain import Network


class Resources(Protocol):
    def get(self, key: Ref, /) -> Resource | None: ...


def check_forwards(lowering: Lowering) -> None:
    """Its addresses, and that the nodes that carry the network can do it. A mistake in one of them is told once."""
    spec: Network = lowering.declared.spec
    if not spec.forwards or not lowering.declared.sure("forwards", "subnet"):
        return
    claimed: set[str] = set()
    for position, forward in enumerate(spec.forwards):
        here: Path = ("forwards", position, "listen")
        _address(lowering, forward.listen, spec.subnet, here)
        if forward.listen not in claimed:
            claimed.add(forward.listen)
            summary = f"{forward.listen} is forwarded already"
            lowering.claim(f"forward {forward.listen}", here, summary, "an address is one network's: take another")
    for node, driver, where, fix in idle(lowering.catalog, spec.nic_tag, "forwards"):
        who = short(lowering.declared.ref)
        lowering.wrong(("forwards",), f"{node} carries {who}{where}, and its driver {driver} forwards nothing", fix)


def _address(lowering: Lowering, listen: str, subnet: str, here: Path) -> None:
    address, network = ipaddress.ip_address(listen), ipaddress.ip_network(subnet)
    if address.version != network.version:
        summary = f"{listen} is IPv{address.version}, and {subnet} is not"
        lowering.wrong(here, summary, "forward an address of the network's own kind")
    elif within(listen, subnet):
        lowering.wrong(
            here, f"{listen} is in {subnet} itself", "take an address outside: the node's, or one routed to it"
        )
    elif address.is_loopback or address.is_multicast or address.is_unspecified:
        lowering.wrong(here, f"nothing comes in from outside at {listen}", "take an address of the node")


def check_receivers(declared: Declared, resources: Resources) -> list[Finding]:
    """That the machines which a network forwards to are on it. It is asked again whenever one of them changes."""
    made = resources.get(declared.ref) if declared.spec.forwards else None
    findings = []
    for ref in receivers(plain(made.body)) if made is not None else ():
        machine = resources.get(ref)
        if machine is None or any(declared.ref in nic.networks for nic in machine.nics):
            continue
        written = [position for position, forward in enumerate(declared.spec.forwards) if _meant(forward.to, ref)]
        here: Path = ("forwards", written[0], "to") if written else ("forwards",)
        summary = f"{short(ref)} has no interface in {short(declared.ref)}"
        findings.append(declared.finding(here, summary, "forward to a machine of the network, or give it one there"))
    return findings


def _meant(written: str, ref: Ref) -> bool:
    return ref.endswith(f"/{written.rpartition('/')[2]}")
