"""A small sound tree, and ways to spoil it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from reconciler.driver import Capability
from reconciler.edge.load import Loader, MemoryTree
from reconciler.errors import SpecErrors

CAPABILITIES = {
    "local": Capability(frozenset({"Machine", "Network", "Image"}), frozenset({"rootfs"}), frozenset({"zone"})),
    "incus": Capability(
        frozenset({"Machine", "Volume", "FirewallRule", "Tenant"}),
        frozenset({"rootfs", "disk"}),
        frozenset({"zone", "vm"}),
        frozenset({"snapshots"}),
    ),
}

BASE = {
    "datacenter.yaml": """\
apiVersion: trueup/v1
kind: Datacenter
metadata: {name: dc}
spec:
  id: 3f0c1e52-7d5a-4c57-9d0e-6f1b6a1d2c01
  dns: {resolvers: [9.9.9.9], search: [dc.internal]}
""",
    "nodes.yaml": """\
apiVersion: trueup/v1
kind: Nodes
items:
  edge1: {driver: local, nics: {lan: eno1}, rack: r1}
  inc: {driver: incus, address: "https://inc:8443", nics: {lan: eno1, wan: eno2}, members: {a: {}, b: {rack: r2}}}
""",
    "networks.yaml": """\
apiVersion: trueup/v1
kind: Networks
items:
  app: {nicTag: lan, vlan: 10, subnet: 10.0.1.0/24, range: 10.0.1.100-10.0.1.199, gateway: 10.0.1.1}
  public: {nicTag: wan, subnet: 198.51.100.0/26, range: 198.51.100.10-198.51.100.60}
""",
    "packages.yaml": """\
apiVersion: trueup/v1
kind: Packages
items:
  s: {memory: 1Gi, cpu: 1, disk: 10Gi}
  m: {memory: 2Gi, swap: 1Gi, cpu: 1.5, disk: 20Gi}
""",
    "images.yaml": """\
apiVersion: trueup/v1
kind: Images
items:
  deb: {type: rootfs, source: {debian: bookworm}}
  vm: {type: disk, source: {folder: /srv/vm}}
""",
    "acme/_defaults.yaml": """\
"*": {metadata: {tenant: acme}}
Machine: {spec: {image: deb, package: s, nics: [app]}}
""",
    "acme/tenant.yaml": """\
apiVersion: trueup/v1
kind: Tenant
metadata: {name: acme}
spec: {keys: {bob: "ssh-ed25519 BBBB bob", al: "ssh-ed25519 AAAA al"}}
""",
    "acme/web.yaml": """\
apiVersion: trueup/v1
kind: Machine
metadata: {name: web}
spec: {}
""",
}

HEAD = "apiVersion: trueup/v1\nkind: Machine\nmetadata: {name: x}\nspec:\n"
"""Four lines: what follows is line 5."""


def tree(files: Mapping[str, str | bytes | None] | None = None) -> MemoryTree:
    """The sound tree with files replaced, added or (None) removed."""
    merged: dict[str, str | bytes] = dict(BASE)
    for path, text in (files or {}).items():
        if text is None:
            del merged[path]
        else:
            merged[path] = text
    return MemoryTree(merged)


def loaded(files: Mapping[str, str | bytes | None] | None = None) -> Loader:
    loader = Loader(CAPABILITIES)
    loader.load(tree(files))
    return loader


def mistakes(files: Mapping[str, str | bytes | None]) -> list[str]:
    """Every mistake of the spoilt tree, as people see it."""
    with pytest.raises(SpecErrors) as caught:
        loaded(files)
    return [str(found) for found in caught.value.diagnostics]
