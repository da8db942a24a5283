"""The published normalised forms of the kinds: what a target should hold, in terms that every driver shares.

Owns: from a Resource's body to normalised fields. A driver's Shape takes these, drops what it cannot hold
(on both sides: native and observed), and adds nothing that people did not write.
Must not go here: how a field is stored on a node, what a change takes.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from reconciler.core.desired import Resource
from reconciler.core.ledger import Address
from reconciler.core.refs import Ref, kind_of, name_of, tenant_of
from reconciler.core.values import Fields, digest, plain
from reconciler.driver import NativeContext

_MACHINE_PLAIN = (
    *("memory", "swap", "cpu", "cpuShares", "vcpus", "threads", "ioPriority", "ioRead", "ioWrite", "disk"),
    *("brand", "hostname"),
)
_PROJECT_LIMITS = ("machines", "memory", "disk")
"""A node counts what its machines are allowed. Cores are not among it: a cap says how long, not on how many."""
_NETWORK_PLAIN = ("vlan", "subnet", "gateway", "mtu")


def native_form(resource: Resource, context: NativeContext) -> dict[str, Any]:
    """The form of a Machine, Volume, Network, Image or Tenant. Raises KeyError for a kind that has no form."""
    return _FORMS[kind_of(resource.ref)](resource, context)


def only(fields: Fields, keys: Iterable[str]) -> dict[str, Any]:
    """The fields that a driver can hold."""
    kept = keys if isinstance(keys, frozenset) else frozenset(keys)
    if fields.keys() <= kept:
        return dict(fields)
    return {key: value for key, value in fields.items() if key in kept}


def secret_leaf(name: str, keyed_digest: str | None) -> str:
    """How a secret stands in a form: `secret:<name>:<keyed digest>`, never its value."""
    return f"secret:{name}:{keyed_digest or ''}"


@lru_cache(maxsize=1024)
def _opened(body: bytes) -> Any:
    """The value of a body, read once for all that have the same: not to be altered."""
    return plain(body)


def machine(resource: Resource, context: NativeContext) -> dict[str, Any]:
    """See the module `reconciler.driver.forms` and docs/concepts/forms.md for the keys and their units. A body without
    `hostname` is of a machine whose host is called as it is itself, so that machines alike have one body."""
    alike, wants = _alike(resource.body)
    form = dict(alike)
    if "hostname" not in form:
        form["hostname"] = name_of(resource.ref)
    _in_project(form, resource, context)
    if wants:
        form["nics"] = {
            name_of(address.network): _nic(address, want, context.references[address.network].body)
            for address, want in zip(context.addresses, wants, strict=True)
        }
    return form


@lru_cache(maxsize=1024)
def _alike(body: bytes) -> tuple[dict[str, Any], list[dict[str, Any]] | None]:
    """What machines of one body have in common: all but the name and the interfaces; and what these are to be. Not to
    be altered."""
    said = plain(body)
    form: dict[str, Any] = {key: said[key] for key in _MACHINE_PLAIN if said.get(key) is not None}
    form["image"] = said["image"]["digest"]
    form["state"] = "stopped" if said.get("state") == "stopped" else "running"
    if said.get("disks"):
        form["disks"] = {name: dict(disk) for name, disk in said["disks"].items()}
    if said.get("snapshots"):
        form["snapshots"] = dict(said["snapshots"])
    if said.get("volumes"):
        form["volumes"] = {name: dict(mount) for name, mount in said["volumes"].items()}
    for key in ("resolvers", "search", "sshKeys"):
        if said.get(key):
            form[key] = list(said[key])
    if said.get("userData") is not None:
        form["userData"] = _opaque(said["userData"])
    if said.get("metadata"):
        form["metadata"] = {key: _leaf(value) for key, value in said["metadata"].items()}
    return form, said.get("nics")


def _in_project(form: dict[str, Any], resource: Resource, context: NativeContext) -> None:
    """Where each tenant has a project of its own, what is the tenant's says so."""
    tenant = tenant_of(resource.ref) if context.node.projects else None
    if tenant is not None:
        form["project"] = tenant


def _leaf(value: Any) -> str:
    if isinstance(value, dict):
        return secret_leaf(value["secret"], value.get("keyed"))
    return str(value)


def _opaque(value: Any) -> str:
    """Long text stands in a form as its digest; a secret as its leaf."""
    return _leaf(value) if isinstance(value, dict) else f"text:{digest(str(value))}"


def _nic(address: Address, want: dict[str, Any], network: bytes) -> dict[str, Any]:
    prefix, gateway, rest = _wire(network)
    primary = bool(want.get("primary"))
    nic: dict[str, Any] = {"ip": f"{address.ip}/{prefix}", "mac": address.mac, "primary": primary, **rest}
    if primary and gateway:
        nic["gateway"] = gateway
    return nic


@lru_cache(maxsize=1024)
def _wire(network: bytes) -> tuple[int, str | None, dict[str, Any]]:
    """What every interface in a network takes from it (its body): prefix length, gateway, and tag, vlan and mtu."""
    body = _opened(network)
    rest = {"tag": body["nicTag"]} | {key: body[key] for key in ("vlan", "mtu") if body.get(key) is not None}
    return ipaddress.ip_network(body["subnet"]).prefixlen, body.get("gateway"), rest


def network(resource: Resource, context: NativeContext) -> dict[str, Any]:
    body = _opened(resource.body)
    form: dict[str, Any] = {key: body[key] for key in _NETWORK_PLAIN if body.get(key) is not None}
    form["tag"] = body["nicTag"]
    form["nat"] = bool(body.get("nat"))
    if body.get("firewall"):
        form["firewall"] = [_rule(rule, resource, context) for rule in body["firewall"]]
    if body.get("forwards") and (forwards := _forwards(body["forwards"], resource, context)):
        form["forwards"] = forwards
    interface = context.node.nics.get(body["nicTag"])
    if interface:
        form["interface"] = interface
    return form


def _forwards(said: list[dict[str, Any]], resource: Resource, context: NativeContext) -> dict[str, dict[str, str]]:
    """By address what is forwarded (`tcp/443`, `udp/6000-6100`, `any`), and where to: an address, or address and port.
    Only to machines that are on this target, and have an address on this network."""
    found: dict[str, dict[str, str]] = {}
    for forward in said:
        machine = Ref(forward["to"])
        held = context.parties.get(machine, ()) if machine in context.residents else ()
        ip = next((ip for network, ip in held if network == resource.ref), None)
        for port in forward["ports"] if ip is not None else ():
            what, _, inside = port.partition(":")
            to = f"{f'[{ip}]' if ':' in str(ip) else ip}:{inside}" if inside else str(ip)
            found.setdefault(forward["listen"], {})[what] = to
    return found


def _rule(rule: dict[str, Any], resource: Resource, context: NativeContext) -> dict[str, Any]:
    """One rule with the addresses that its machines have: on any network where it lets from, on this one where it lets
    to. Nobody named is None, everybody; somebody named who has no address yet is nobody."""

    def addresses(who: str, *, here: bool) -> list[str]:
        if not who.startswith("Machine/"):
            return [who]
        held = context.parties.get(Ref(who), ())
        return [ip for network, ip in held if not here or network == resource.ref]

    sides: dict[str, Any] = {"allow": list(rule["allow"])}
    for side in ("from", "to"):
        named = rule.get(side)
        if named is not None:
            sides[side] = sorted({ip for who in named for ip in addresses(who, here=side == "to")})
    return sides


def image(resource: Resource, context: NativeContext) -> dict[str, Any]:
    body = _opened(resource.body)
    form = {"digest": body["digest"], "type": body["type"], "os": body["os"]}
    if body.get("origin"):
        form["origin"] = body["origin"]
    return form


def volume(resource: Resource, context: NativeContext) -> dict[str, Any]:
    form = {"size": _opened(resource.body)["size"]}
    _in_project(form, resource, context)
    return form


def tenant(resource: Resource, context: NativeContext) -> dict[str, Any]:
    """The project that a node keeps for a tenant: what it may take, whose certificates let in (by fingerprint), and the
    networks, by ref, that may be used there."""
    body = _opened(resource.body)
    form: dict[str, Any] = {"limits": {key: each for key, each in body["limits"].items() if key in _PROJECT_LIMITS}}
    form["certificates"] = {name: held["fingerprint"] for name, held in body["certificates"].items()}
    form["networks"] = list(body.get("networks", ()))
    return {key: each for key, each in form.items() if each}


_FORMS = {"Machine": machine, "Volume": volume, "Network": network, "Image": image, "Tenant": tenant}
