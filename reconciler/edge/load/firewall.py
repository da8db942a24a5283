"""Firewall rules, laid on the networks that they let into.

Owns: from all FirewallRules of a tree to the `firewall` of each Network's body. A network is where rules are in force,
so a rule is no thing of its own on a node. Must not go here: which addresses machines have (the planner knows; machines
stand here as refs, and in `Resource.parties`), how a driver filters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from reconciler.core.desired import Resource
from reconciler.core.refs import Ref, kind_of, short, tenant_of
from reconciler.core.values import plain
from reconciler.edge.load.catalog import Catalog, idle
from reconciler.edge.load.document import Declared
from reconciler.edge.load.findings import Finding, Warning_
from reconciler.edge.load.lower import Lowering, drop_none, receivers, resource
from specs.plain import FirewallRule, Party

SIDES = (("from", "from_"), ("to", "to"))


def check_rule(lowering: Lowering) -> None:
    """That what it names is there."""
    spec: FirewallRule = lowering.declared.spec
    for side, name in SIDES:
        party = getattr(spec, name)
        if party == "any":
            continue
        for kind, field in (("Machine", "machines"), ("Network", "networks")):
            for position, written in enumerate(getattr(party, field)):
                lowering.reference((kind,), written, (side, field, position))


def firewalled(
    rules: Iterable[Declared],
    resources: Iterable[tuple[Ref, Resource]],
    catalog: Catalog,
    findings: list[Finding],
    warnings: list[Warning_],
) -> dict[Ref, Resource]:
    """Every network as it is with these rules; what they cannot do is told."""
    found = dict(resources)
    machines = {ref: one for ref, one in sorted(found.items()) if kind_of(ref) == "Machine"}
    networks = {ref: one for ref, one in sorted(found.items()) if kind_of(ref) == "Network"}
    laid: dict[Ref, list[dict[str, Any]]] = {ref: [] for ref in networks}
    for rule in sorted(rules, key=lambda one: one.ref):
        sources = _from(rule, machines, networks, catalog)
        for network, who in _to(rule, machines, networks, catalog).items():
            laid[network].append({"from": sources, "to": who, "allow": sorted(set(rule.spec.allow))})
            findings += _unfiltered(rule, networks[network], catalog)
            if _inside(sources, network, machines):
                summary = f"{rule.name}: machines in {short(network)} reach each other whatever rules say"
                fix = "rules are in force between networks: put those that shall be kept apart into two"
                warnings.append(Warning_(rule.file, summary, fix))
    return {ref: _with(networks[ref], said) for ref, said in laid.items()}


def _unfiltered(rule: Declared, network: Resource, catalog: Catalog) -> list[Finding]:
    """Nodes that carry the network and let everything through."""
    tag = network.network.nic_tag if network.network is not None else ""
    return [
        rule.finding(
            ("to",), f"{node} carries {short(network.ref)}{where}, and its driver {driver} filters nothing", fix
        )
        for node, driver, where, fix in idle(catalog, tag, "FirewallRule")
    ]


def _inside(sources: list[str] | None, network: Ref, machines: Mapping[Ref, Resource]) -> bool:
    """Whether a source lies in the network itself, where nothing stands between."""
    return any(network in nic.networks for ref in sources or () if ref in machines for nic in machines[Ref(ref)].nics)


def _with(network: Resource, said: list[dict[str, Any]]) -> Resource:
    body = plain(network.body)
    body["firewall"] = said or None
    parties = {Ref(who) for rule in said for side in ("from", "to") for who in rule[side] or () if "/" in who}
    parties = {who for who in parties if kind_of(who) == "Machine"}.union(receivers(body))
    return resource(
        network.ref, drop_none(body), network=network.network, behaviour=network.behaviour,
        parties=tuple(sorted(parties)),
    )  # fmt: skip


def _from(
    rule: Declared, machines: Mapping[Ref, Resource], networks: Mapping[Ref, Resource], catalog: Catalog
) -> list[str] | None:
    """Subnets, and refs of machines; None is anybody."""
    party = rule.spec.from_
    if party == "any":
        return None
    named = {catalog.network(ref).subnet for ref in _networks(rule, party, networks, catalog)}
    return sorted({*party.subnets, *named, *_machines(rule, party, machines, catalog)})


def _to(
    rule: Declared, machines: Mapping[Ref, Resource], networks: Mapping[Ref, Resource], catalog: Catalog
) -> dict[Ref, list[str] | None]:
    """By network the machines there that it lets into; None is all of the network."""
    party = rule.spec.to
    if party == "any":
        own = [ref for ref in networks if rule.tenant in (None, tenant_of(ref))]
        party, whole = None, own
    else:
        whole = list(_networks(rule, party, networks, catalog))
    found: dict[Ref, list[str] | None] = dict.fromkeys(whole)
    chosen = _machines(rule, party, machines, catalog) if party is not None else _of_tenant(rule, machines)
    for ref in chosen:
        for network in {network for nic in machines[ref].nics for network in nic.networks if network in networks}:
            known = found.setdefault(network, [])
            if known is not None:
                known.append(ref)
    return found


def _networks(rule: Declared, party: Party, networks: Mapping[Ref, Resource], catalog: Catalog) -> list[Ref]:
    refs = (catalog.find(("Network",), rule.tenant, written) for written in party.networks)
    return [ref for ref in refs if isinstance(ref, str) and ref in networks]


def _of_tenant(rule: Declared, machines: Mapping[Ref, Resource]) -> list[Ref]:
    return [ref for ref in machines if rule.tenant in (None, tenant_of(ref))]


def _machines(rule: Declared, party: Party, machines: Mapping[Ref, Resource], catalog: Catalog) -> list[Ref]:
    chosen: set[Ref] = set()
    for written in party.machines:
        ref = catalog.find(("Machine",), rule.tenant, written)
        chosen.update(catalog.members(ref) or () if isinstance(ref, str) else ())
    if party.tags:
        chosen.update(ref for ref in _of_tenant(rule, machines) if _tagged(machines[ref], party.tags))
    return sorted(ref for ref in chosen if ref in machines)


def _tagged(machine: Resource, wanted: Mapping[str, list[Any]]) -> bool:
    tags = plain(machine.body).get("tags") or {}
    return all(key in tags and tags[key] in values for key, values in wanted.items())
