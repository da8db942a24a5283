"""Tenants as things of their own on nodes that give each a project.

Owns: the body of a Tenant, the networks that it may use there, and what a node must be to have projects.
Must not go here: how much the tenant's machines take (checks.py), how a project is kept (drivers).
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from reconciler.core.desired import Resource
from reconciler.core.hashes import sha256
from reconciler.core.refs import Ref, name_of
from reconciler.core.values import plain
from reconciler.edge.load.catalog import may_use
from reconciler.edge.load.document import Declared
from reconciler.edge.load.lower import Lowering, drop_none, resource
from specs.plain import Node, Tenant
from specs.rules import der


def lower_tenant(lowering: Lowering) -> None:
    """Its Resource; the networks are laid on it once all are known."""
    declared = lowering.declared
    spec: Tenant = declared.spec
    certificates = {}
    for name, text in spec.certificates.items():
        fingerprint = sha256(der(text)).hexdigest()
        certificates[name] = {"fingerprint": fingerprint, "pem": text}
        summary, fix = f"the certificate {fingerprint[:12]} is used already", "a holder has one, and is of one tenant"
        lowering.claim(f"certificate:{fingerprint}", ("certificates", name), summary, fix)
    limits = drop_none(msgspec.structs.asdict(spec.limits))
    lowering.out.resources.append(resource(declared.ref, {"limits": limits, "certificates": certificates}))


def check_node(lowering: Lowering) -> None:
    """That its driver keeps projects, where it is to have any."""
    spec: Node = lowering.declared.spec
    if spec.tenants != "projects" or not lowering.declared.sure("driver", "tenants"):
        return
    if not lowering.catalog.makes("Tenant", spec.driver):
        fix = "leave `tenants` out, or choose a node that does, as with incus"
        lowering.wrong(("tenants",), f"driver {spec.driver} keeps no projects", fix)
    elif "project" in spec.options:
        summary = "one project for all and one for each tenant exclude each other"
        lowering.wrong(("options", "project"), summary, "leave out one of `options.project` and `tenants: projects`")


def with_networks(tenants: Iterable[Resource], networks: Iterable[Declared] | None) -> dict[Ref, Resource]:
    """Each tenant as it is with the networks that it may use: its own, and those of the datacenter that let it. None:
    nobody asks for them any more."""
    every = list(networks or ())
    common = [one for one in every if one.tenant is None]
    own: dict[str, list[Ref]] = {}
    for one in every:
        if one.tenant is not None:
            own.setdefault(one.tenant, []).append(one.ref)
    found = {}
    for tenant in tenants:
        name = name_of(tenant.ref)
        refs = [one.ref for one in common if may_use(one.spec.tenants, name)] + own.get(name, [])
        body = {**plain(tenant.body), "networks": sorted(refs) if networks is not None else None}
        found[tenant.ref] = resource(tenant.ref, drop_none(body))
    return found
