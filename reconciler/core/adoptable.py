"""What people made by hand, as the documents that they would have written: minimal, defaults dropped, sizes shared.

Owns: from unmanaged objects to plain documents. Must not go here: files and YAML (cli), taking over (adopt).
What cannot be said in a document without changing the object is left out, with the reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from reconciler.core.desired import NodeWant
from reconciler.core.observed import Object, Report
from reconciler.core.refs import Target, name_of, node_of, tenant_of
from reconciler.core.values import canonical

Document = dict[str, Any]
_UNITS = (("Ti", 2**40), ("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10))
_UNSAID = ("userData", "extra")
"""Fields that a document cannot say as they are: they are left to the node."""
_COUNTS = ("cpu", "cpuShares", "vcpus", "threads", "ioPriority")
_PACES = ("ioRead", "ioWrite")
"""So are these where they are no number, as the processors that a machine is pinned to."""


class Skipped(msgspec.Struct, frozen=True):
    """An object that no document was written for, and what to do so that one can be."""

    kind: str
    name: str
    target: Target
    reason: str


class Draft(msgspec.Struct):
    """Documents of one node, in the order that they are read."""

    documents: list[Document] = []
    skipped: list[Skipped] = []


def draft(node: NodeWant, reports: Mapping[Target, Report], tenant: str) -> Draft:
    """Documents for all unmanaged objects on a node. What several members hold, networks and images, comes once."""
    made = Draft([], [])
    own = {target: report for target, report in reports.items() if node_of(target) == node.name}
    strangers = [
        (target, thing)
        for target, report in sorted(own.items())
        for thing in report.objects
        if thing.marks is None and thing.lifecycle == "live"
    ]
    images = _ours(own.values(), tenant) | _images(made, (pair for pair in strangers if pair[1].kind == "Image"))
    networks = _networks(made, node, (pair for pair in strangers if pair[1].kind == "Network"))
    known = {
        thing.native_name for report in own.values() for thing in report.objects
        if thing.kind == "Network" and thing.marks is not None
    }  # fmt: skip
    packages: dict[bytes, str] = {}
    machines: list[Document] = []
    for target, thing in strangers:
        if thing.kind == "Machine":
            why = _elsewhere(thing, tenant) or _unsayable(thing, images, networks | known)
            if why:
                made.skipped.append(Skipped("Machine", thing.native_name, target, why))
            else:
                machines.append(_machine(thing, target, tenant, images, _package(thing, packages)))
    for key, name in packages.items():
        made.documents.append(_document("Package", name, msgspec.json.decode(key)))
    made.documents.extend(machines)
    return made


def _document(kind: str, name: str, spec: Mapping[str, Any], tenant: str | None = None) -> Document:
    metadata = {"name": name, "tenant": tenant} if tenant else {"name": name}
    return {"apiVersion": "trueup/v1", "kind": kind, "metadata": metadata, "spec": dict(spec)}


def _ours(reports: Iterable[Report], tenant: str) -> dict[str, str]:
    """Digest to name of the images that have a document already, and that a machine of the tenant may name."""
    return {
        str(thing.fields["digest"]): name_of(thing.marks.ref)
        for report in reports
        for thing in report.objects
        if thing.kind == "Image" and thing.marks is not None and tenant_of(thing.marks.ref) in (None, tenant)
    }


def _images(made: Draft, strangers: Iterable[tuple[Target, Object]]) -> dict[str, str]:
    """Digest to the name given."""
    names: dict[str, str] = {}
    for target, thing in strangers:
        digest, system = str(thing.fields.get("digest", "")), str(thing.fields.get("os", "linux"))
        if digest in names:
            continue
        if not digest.startswith("sha256:"):
            made.skipped.append(Skipped("Image", thing.native_name, target, "its content has no digest"))
            continue
        names[digest] = f"{_label(system)}-{digest[7:15]}"
        spec = {"source": {"file": f"images/{digest[7:]}.tar.gz"}, "digest": digest, "type": thing.fields["type"]}
        made.documents.append(_document("Image", names[digest], spec | ({"os": system} if system != "linux" else {})))
    return names


def _label(text: str) -> str:
    return "".join(each if each.isalnum() else "-" for each in text.lower()).strip("-") or "image"


def _networks(made: Draft, node: NodeWant, strangers: Iterable[tuple[Target, Object]]) -> set[str]:
    names: set[str] = set()
    for target, thing in strangers:
        if thing.native_name in names:
            continue
        fields = thing.fields
        interface = fields.get("interface", "none")
        tag = fields.get("tag") or next((tag for tag, held in sorted(node.nics.items()) if held == interface), None)
        if "subnet" not in fields or tag is None:
            reason = "it has no subnet" if tag else f"add a nicTag with the interface {interface} to Node/{node.name}"
            made.skipped.append(Skipped("Network", thing.native_name, target, reason))
            continue
        names.add(thing.native_name)
        spec = {"nicTag": tag, "subnet": fields["subnet"]}
        spec |= {key: fields[key] for key in ("gateway", "mtu", "vlan") if key in fields}
        made.documents.append(
            _document("Network", thing.native_name, spec | ({"nat": True} if fields.get("nat") else {}))
        )
    return names


def _elsewhere(thing: Object, tenant: str) -> str:
    """Where it lives, if that is another tenant's project."""
    project = thing.fields.get("project", tenant)
    return f"it lives in the project {project}: say --tenant {project}" if project != tenant else ""


def _unsayable(thing: Object, images: Mapping[str, str], networks: set[str]) -> str:
    """Why no document can say what this machine is; empty if one can."""
    if thing.unknown:
        return f"{sorted(thing.unknown)[0]} cannot be read"
    if thing.fields.get("image") not in images:
        return "the image that it was made from is not there any more"
    nics = thing.fields.get("nics", {})
    if nics and not any(nic.get("primary", True) for nic in nics.values()):
        return "none of its interfaces is its first one, which trueup calls eth0: give one that name"
    for name, nic in sorted(nics.items()):
        if name not in networks:
            return f"its network {name} has no document"
        if not nic.get("ip"):
            return f"its address on {name} comes from DHCP and is no part of its configuration: give it a fixed one"
    if not isinstance(thing.fields.get("memory", 0), int) or not isinstance(thing.fields.get("disk", 0), int):
        return "its memory or disk is no number of bytes"
    return ""


def _size(count: int) -> str:
    return next((f"{count // unit}{name}" for name, unit in _UNITS if count and count % unit == 0), f"{count}B")


def _package(thing: Object, packages: dict[bytes, str]) -> str:
    """The size of a machine, shared by all of the same size. One without a limit of memory has to be given some, for
    placement, and it is not compared."""
    fields = thing.fields
    memory = fields.get("memory", 2**30)
    spec: dict[str, Any] = {"memory": _size(memory)}
    spec["swap"] = _size(fields["swap"]) if fields.get("swap") else ("0" if "swap" in fields else _size(memory))
    spec |= {key: fields[key] for key in _COUNTS if isinstance(fields.get(key), int)}
    if "cpu" in spec:
        spec["cpu"] /= 1000
    if "disk" in fields:
        spec["disk"] = _size(fields["disk"])
    spec |= {key: _size(fields[key]) for key in _PACES if isinstance(fields.get(key), int)}
    if spec["swap"] == "0":
        del spec["swap"]
    key = canonical(spec)
    name = "-".join(["m" + spec["memory"].lower(), *([f"c{spec['cpu']:g}".replace(".", "-")] if "cpu" in spec else [])])
    taken = set(packages.values())
    if key not in packages:
        packages[key] = name if name not in taken else f"{name}-{sum(each.startswith(name) for each in taken) + 1}"
    return packages[key]


def _machine(thing: Object, target: Target, tenant: str, images: Mapping[str, str], package: str) -> Document:
    fields = thing.fields
    spec: dict[str, Any] = {"image": images[fields["image"]], "package": package, "node": str(target)}
    nics = sorted(fields.get("nics", {}).items(), key=lambda pair: (not pair[1].get("primary"), pair[0]))
    if nics:
        spec["nics"] = [
            {"network": name, "ip": str(nic["ip"]).partition("/")[0], **({"mac": nic["mac"]} if nic.get("mac") else {})}
            for name, nic in nics
        ]
    if fields.get("disks"):
        spec["disks"] = {
            name: {"size": _size(disk["size"]), "path": disk.get("path")} if "size" in disk else {"path": disk["path"]}
            for name, disk in sorted(fields["disks"].items())
        }
    if fields.get("state") == "stopped":
        spec["state"] = "stopped"
    for key in ("sshKeys", "metadata"):
        if fields.get(key):
            spec[key] = fields[key]
    ignored = [f"/{key}" for key in _UNSAID if key in fields]
    ignored += [f"/{key}" for key in (*_COUNTS, *_PACES) if not isinstance(fields.get(key, 0), int)]
    ignored += [] if "memory" in fields else ["/memory"]
    if ignored:
        spec["ignore"] = ignored
    return _document("Machine", thing.native_name.rpartition("/")[2], spec, tenant)
