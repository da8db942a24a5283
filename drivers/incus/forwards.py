"""Forwards of a network: one object of the servers for each address, on the member where it leads to a machine. Pure.

Owns: from a network's `forwards` to those objects and back. Must not go here: sending (networks), which machine is
where (the form tells).

Those of people are left alone: ours bear a key. That a network has any stands in its own configuration, so that no
other network is asked for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

LISTED = "user.trueup.forwards"
"""In the configuration of a network, with the suffix of the member."""
OURS = "user.trueup"


def content(listen: str, said: Mapping[str, str]) -> dict[str, Any]:
    """The object as it is to be sent."""
    ports = []
    for what, to in sorted(said.items()):
        protocol, _, listened = what.partition("/")
        if protocol != "any":
            address, inside = _target(to)
            port = {"protocol": protocol, "listen_port": listened, "target_address": address}
            ports.append(port | ({"target_port": inside} if inside else {}))
    whole = {"target_address": said["any"]} if "any" in said else {}
    return {"listen_address": listen, "description": "", "config": {OURS: "true", **whole}, "ports": ports}


def _target(to: str) -> tuple[str, str]:
    """(address, port); without a port the one that was listened on."""
    if to.startswith("["):
        address, _, rest = to[1:].partition("]")
        return address, rest.removeprefix(":")
    address, _, port = to.partition(":") if to.count(":") == 1 else (to, "", "")
    return address, port


def read(found: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """The `forwards` that objects of ours stand for."""
    return {each["listen_address"]: _said(each) for each in found if OURS in (each.get("config") or {})}


def _said(each: Mapping[str, Any]) -> dict[str, str]:
    said = {}
    if (each.get("config") or {}).get("target_address"):
        said["any"] = each["config"]["target_address"]
    for port in each.get("ports") or ():
        address, inside = port.get("target_address", ""), port.get("target_port", "")
        if inside and inside != port["listen_port"]:
            address = f"[{address}]:{inside}" if ":" in address else f"{address}:{inside}"
        said[f"{port['protocol']}/{port['listen_port']}"] = address
    return said


def wanted(fields: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """What the fields of a network say, as far as anything is forwarded."""
    said: Mapping[str, Any] = fields.get("forwards") or {}
    return {listen: dict(ports) for listen, ports in said.items() if ports}


def at(found: Iterable[Mapping[str, Any]], member: str) -> list[Mapping[str, Any]]:
    """Those of one member; a host of its own has no members."""
    return [each for each in found if not member or each.get("location") in (member, "none", "", None)]
