"""The published normalised forms of the kinds: what a target should hold, in terms that every driver shares.

Owns: from a Resource's body to normalised fields. A driver's Shape takes these, drops what it cannot hold
(on both sides: native and observed), and adds nothing that people did not write.
Must not go here: how a field is stored on a node, what a change takes.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any

from reconciler.core.desired import Resource
from reconciler.core.ledger import Address
from reconciler.core.refs import kind_of, name_of
from reconciler.core.values import Fields, digest, plain
from reconciler.driver import NativeContext

_MACHINE_PLAIN = ("memory", "swap", "cpu", "cpuShares", "vcpus", "threads", "ioPriority", "disk", "brand", "hostname")
_NETWORK_PLAIN = ("vlan", "subnet", "gateway", "mtu")


def native_form(resource: Resource, context: NativeContext) -> dict[str, Any]:
    """The form of a Machine, Network or Image. Raises KeyError for a kind that has no form."""
    return _FORMS[kind_of(resource.ref)](resource, context)


def only(fields: Fields, keys: Iterable[str]) -> dict[str, Any]:
    """The fields that a driver can hold."""
    kept = frozenset(keys)
    return {key: value for key, value in fields.items() if key in kept}


def secret_leaf(name: str, keyed_digest: str | None) -> str:
    """How a secret stands in a form: `secret:<name>:<keyed digest>`, never its value."""
    return f"secret:{name}:{keyed_digest or ''}"


def machine(resource: Resource, context: NativeContext) -> dict[str, Any]:
    """See the module `reconciler.driver.forms` and docs/concepts/forms.md for the keys and their units."""
    body = plain(resource.body)
    form: dict[str, Any] = {key: body[key] for key in _MACHINE_PLAIN if body.get(key) is not None}
    form["image"] = body["image"]["digest"]
    form["state"] = "stopped" if body.get("state") == "stopped" else "running"
    nics = {
        name_of(address.network): _nic(address, want, context.references[address.network], context)
        for address, want in zip(context.addresses, body.get("nics", ()), strict=True)
    }
    if nics:
        form["nics"] = nics
    if body.get("disks"):
        form["disks"] = {name: dict(disk) for name, disk in body["disks"].items()}
    for key in ("resolvers", "search", "sshKeys"):
        if body.get(key):
            form[key] = list(body[key])
    if body.get("userData") is not None:
        form["userData"] = _opaque(body["userData"])
    if body.get("metadata"):
        form["metadata"] = {key: _leaf(value) for key, value in body["metadata"].items()}
    return form


def _leaf(value: Any) -> str:
    if isinstance(value, dict):
        return secret_leaf(value["secret"], value.get("keyed"))
    return str(value)


def _opaque(value: Any) -> str:
    """Long text stands in a form as its digest; a secret as its leaf."""
    return _leaf(value) if isinstance(value, dict) else f"text:{digest(str(value))}"


def _nic(address: Address, want: dict[str, Any], network: Resource, context: NativeContext) -> dict[str, Any]:
    body = plain(network.body)
    prefix = ipaddress.ip_network(body["subnet"]).prefixlen
    nic: dict[str, Any] = {
        "ip": f"{address.ip}/{prefix}",
        "mac": address.mac,
        "primary": bool(want.get("primary")),
        "tag": body["nicTag"],
    }
    if want.get("primary") and body.get("gateway"):
        nic["gateway"] = body["gateway"]
    for key in ("vlan", "mtu"):
        if body.get(key) is not None:
            nic[key] = body[key]
    return nic


def network(resource: Resource, context: NativeContext) -> dict[str, Any]:
    body = plain(resource.body)
    form: dict[str, Any] = {key: body[key] for key in _NETWORK_PLAIN if body.get(key) is not None}
    form["tag"] = body["nicTag"]
    form["nat"] = bool(body.get("nat"))
    interface = context.node.nics.get(body["nicTag"])
    if interface:
        form["interface"] = interface
    return form


def image(resource: Resource, context: NativeContext) -> dict[str, Any]:
    body = plain(resource.body)
    form = {"digest": body["digest"], "type": body["type"], "os": body["os"]}
    if body.get("origin"):
        form["origin"] = body["origin"]
    return form


_FORMS = {"Machine": machine, "Network": network, "Image": image}
