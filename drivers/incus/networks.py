"""What each verb does to a network: a managed bridge.

Owns: one function a verb. Must not go here: a machine's interfaces (machines).

In a cluster a network is one object for all members, and a realisation for each of them that bears its marks: the
first creates it, the last one's destroy removes it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from drivers.incus import acl, forwards
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
    await _make(act, name, fields)
    if wanted := forwards.wanted(fields):
        await _forward(act, name, wanted)


async def _make(act: Act, name: str, fields: Any) -> None:
    there = act.view.networks.get(name)
    if there is not None:
        await _join(act, there, fields)
        return
    blank = Network(name=name, project=_project(act))
    config = {**network_config(fields), **_listing(act, fields), **_marked(act, blank)}
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
    await _put(act, there, {**there.config, **_listing(act, fields), **_marked(act, there)})


def _listing(act: Act, fields: Any) -> dict[str, str]:
    """That it has forwards here."""
    return {forwards.LISTED + act.suffix: "true"} if forwards.wanted(fields) else {}


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
    listed, wanted = forwards.LISTED + act.suffix, forwards.wanted(fields)
    kept = {key: value for key, value in network.config.items() if key not in (*NETWORK_KEYS, listed)}
    config = {**kept, **network_config(fields), **_listing(act, fields), **_marked(act, network)}
    await _filter(act, network.name, fields, config)
    if not wanted and listed in network.config:
        await _forward(act, network.name, {})
    await _put(act, network, config)
    if wanted:
        await _forward(act, network.name, wanted)
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


async def _forward(act: Act, network: str, want: dict[str, dict[str, str]]) -> None:
    """Forward exactly this here; what people forward stays."""
    query = {"project": act.project, **act.node.placed(act.step.target)}
    path = f"/1.0/networks/{network}/forwards"
    member = act.view.suffix.removeprefix(".")
    listed = await act.api.get(path, recursion="1", project=act.project)
    there = {each["listen_address"]: each for each in forwards.at(listed or (), member)}
    for listen, each in sorted(there.items()):
        if listen not in want and forwards.OURS in (each.get("config") or {}):
            with suppress(NotFound):
                await act.api.change("DELETE", f"{path}/{listen}", **query)
    for listen, said in sorted(want.items()):
        body = forwards.content(listen, said)
        if listen not in there:
            await act.api.change("POST", path, body, **query)
        elif forwards.OURS not in (there[listen].get("config") or {}):
            raise Denied(f"somebody forwards {listen} on {network} already")
        elif forwards.read([there[listen]]) != {listen: said}:
            await act.api.change("PUT", f"{path}/{listen}", body, **query)


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
    if forwards.LISTED + act.suffix in network.config:
        await _forward(act, network.name, {})
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
    ours = (marking.MARKS + act.suffix, forwards.LISTED + act.suffix)
    config = {key: value for key, value in network.config.items() if key not in ours}
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
