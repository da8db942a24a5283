"""What each verb does to a network: a managed bridge.

Owns: one function a verb. Must not go here: a machine's interfaces (machines).

In a cluster a network is one object for all members, and a realisation for each of them that bears its marks: the
first creates it, the last one's destroy removes it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from drivers.incus import acl
from drivers.incus import marks as marking
from drivers.incus.act import Act, Denied
from drivers.incus.api import NotFound
from drivers.incus.reading import network_identity, users
from drivers.incus.records import Network
from drivers.incus.writing import NETWORK_KEYS, network_config, network_name
from reconciler.core.refs import name_of
from reconciler.core.values import find, replaced


def _here(act: Act) -> Network:
    if act.network is None:
        raise Denied(f"there is no network with the uid {act.step.uid}")
    return act.network


def _marked(act: Act, network: Network) -> dict[str, str]:
    text = marking.write(act.written(), network_identity(network), act.view.seal)
    return {marking.MARKS + act.suffix: text}


async def create(act: Act) -> None:
    fields = act.arg("fields")
    name = network_name(name_of(act.step.ref), act.step.ref)
    there = act.view.networks.get(name)
    if there is not None:
        await _join(act, there, fields)
        return
    blank = Network(name=name, project=_project(act))
    config = {**network_config(fields), **_marked(act, blank)}
    await _filter(act, name, fields, config)
    if act.node.want.members:
        for member in await act.node.members():
            body: dict[str, Any] = {"name": name, "type": "bridge", "config": {}}
            query = {"project": act.project, "target": member.server_name}
            await act.api.change("POST", "/1.0/networks", body, **query)
    await act.api.change(
        "POST", "/1.0/networks", {"name": name, "type": "bridge", "config": config}, project=act.project
    )


def _project(act: Act) -> str:
    """Networks of a project without networks of its own belong to the default one."""
    return next((network.project for network in act.view.networks.values()), "default")


async def _join(act: Act, there: Network, fields: Any) -> None:
    """Another member's realisation made it: ours is to bear our marks too."""
    others = [key for key in there.config if key.startswith(marking.MARKS + ".")]
    if not act.suffix or not others:
        raise Denied(f"there is already a network named {there.name}")
    held = {key: there.config.get(key) for key in NETWORK_KEYS}
    wanted = network_config(fields)
    if {key: value for key, value in held.items() if value is not None} != wanted:
        raise Denied(f"the network {there.name} is already there, and is another")
    await _put(act, there, {**there.config, **_marked(act, there)})


async def _put(act: Act, network: Network, config: dict[str, str]) -> None:
    path = f"/1.0/networks/{network.name}"
    _, etag = await act.api.read(path, project=act.project)
    body = {"config": config, "description": network.description}
    await act.api.change("PUT", path, body, etag=act.network_etag or etag, project=act.project)


async def update(act: Act) -> None:
    network = _here(act)
    fields: Any = act.fields
    for path, value in act.arg("set").items():
        if path.startswith("/subnet") and find(fields, path) != value:
            raise Denied("a network keeps its subnet: make another one")
        fields = replaced(fields, path, value)
    kept = {key: value for key, value in network.config.items() if key not in NETWORK_KEYS}
    config = {**kept, **network_config(fields), **_marked(act, network)}
    await _filter(act, network.name, fields, config)
    await _put(act, network, config)
    if not fields.get("firewall"):
        await _unfilter(act, network.name)


async def _filter(act: Act, network: str, fields: Any, config: dict[str, str]) -> None:
    """Bring the network's ACL to what is wanted, and attach it or take it off in the configuration; ACLs that people
    attached stay."""
    name, firewall = acl.name_of_acl(network), fields.get("firewall")
    others = [each for each in config.get(acl.ATTACHED, "").split(",") if each and each != name]
    config[acl.ATTACHED] = ",".join([*others, name] if firewall else others)
    if not config[acl.ATTACHED]:
        del config[acl.ATTACHED]
    if not others:
        config.update(dict.fromkeys(acl.DEFAULTS, ""))
    config.update(acl.DEFAULTS if firewall else {})
    for key in [key for key in acl.DEFAULTS if config.get(key) == ""]:
        del config[key]
    if firewall:
        await _keep_acl(act, acl.content(network, fields["subnet"], firewall))


async def _keep_acl(act: Act, content: dict[str, Any]) -> None:
    path = f"/1.0/network-acls/{content['name']}"
    try:
        there, etag = await act.api.read(path, project=act.project)
    except NotFound:
        await act.api.change("POST", "/1.0/network-acls", content, project=act.project)
        return
    if acl.SAID not in (there.get("config") or {}):
        raise Denied(f"there is already a network ACL named {content['name']}")
    body = {key: value for key, value in content.items() if key != "name"}
    await act.api.change("PUT", path, body, etag=etag, project=act.project)


async def _unfilter(act: Act, network: str) -> None:
    """Once nothing refers to it any more."""
    name = acl.name_of_acl(network)
    if acl.SAID in (act.view.acls.get(name, {}).get("config") or {}):
        with suppress(NotFound):
            await act.api.change("DELETE", f"/1.0/network-acls/{name}", project=act.project)


async def mark(act: Act) -> None:
    network = _here(act)
    await _put(act, network, {**network.config, **_marked(act, network)})


async def destroy(act: Act) -> None:
    """When nothing uses it."""
    act.unprotected()
    network = _here(act)
    used = users(network.used_by)
    if used:
        raise Denied(f"{network.name} is in use by {used[0]}")
    others = [
        key for key in network.config if key.startswith(marking.MARKS + ".") and key != marking.MARKS + act.suffix
    ]
    if act.suffix and others:
        await forget(act)
        return
    await act.api.change("DELETE", f"/1.0/networks/{network.name}", project=act.project)
    await _unfilter(act, network.name)


async def forget(act: Act) -> None:
    network = _here(act)
    config = {key: value for key, value in network.config.items() if key != marking.MARKS + act.suffix}
    await _put(act, network, config)


async def adopt(act: Act) -> None:
    name = act.arg("native")
    network = act.view.networks.get(name)
    if network is None or network_identity(network) != act.arg("nativeId"):
        raise Denied(f"there is no network {name} with the identity {act.arg('nativeId')}")
    fields = act.step.args.get("fields", {})
    designated = {
        key: str(fields[name]) for name, key in (("tag", marking.TAG), ("vlan", marking.VLAN)) if name in fields
    }
    await _put(act, network, {**network.config, **designated, **_marked(act, network)})
