"""The interfaces of a stopped machine, put aside and taken back: in quarantine, and while it is carried over.

Owns: what is put aside, and where. Must not go here: what an interface is (reading, writing), the verbs (machines).

An address is let go of only as the interface goes that bears it. Incus 6.0 leaves the interfaces of a machine that it
carries to another member in place where that was: there the lease goes on, and the reservation stays for as long as the
network is not changed, so that dnsmasq gives the address to nobody else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from drivers.incus import marks as marking
from drivers.incus.act import Act, Denied, write
from drivers.incus.reading import is_nic, stashed
from drivers.incus.records import Config, Devices, Instance

NONE = {"type": "none"}
LEFT_BEHIND = "incus"
"""The server that leaves them. LXD 5.0 takes them away as it carries a machine over."""


def stash(**said: Any) -> Config:
    """The key that bears what was put aside."""
    return {marking.STASH: msgspec.json.encode(said, order="sorted").decode()}


async def put_aside(act: Act) -> None:
    """Before a machine is carried over: its addresses are free where it was. Who reads it meanwhile finds them."""
    instance = act.here.instance
    nics = {
        name: _whole(name, device, instance.config)
        for name, device in instance.expanded_devices.items()
        if is_nic(device) and "network" in device
    }
    if not nics or act.server.environment.server != LEFT_BEHIND:
        return
    devices: Devices = {**instance.devices, **dict.fromkeys(nics, NONE)}
    kept = stash(devices={**stashed(instance).get("devices", {}), **nics})
    await write(act, {**instance.config, **kept}, devices)


def _whole(name: str, device: Mapping[str, str], config: Config) -> dict[str, str]:
    """With what the server has chosen for it: it would choose anew."""
    chosen = {key: config.get(f"volatile.{name}.{key}") for key in ("hwaddr", "name")}
    return {**{key: value for key, value in chosen.items() if value}, **device}


def are_aside(instance: Instance) -> bool:
    return bool(_aside(instance))


def _aside(instance: Instance) -> Devices:
    """Of what is put aside, that which is missing."""
    kept: Devices = stashed(instance).get("devices", {})
    return {name: device for name, device in kept.items() if instance.devices.get(name) == NONE}


def taken_back(instance: Instance) -> tuple[Config, Devices]:
    """Configuration and devices with what was put aside."""
    config = {key: value for key, value in instance.config.items() if key != marking.STASH}
    return config, {**instance.devices, **_aside(instance)}


async def take_back(act: Act) -> None:
    """If a move that was cut short has left them aside."""
    instance = act.here.instance
    if not are_aside(instance):
        return
    await write(act, *taken_back(instance))
    found = await act.node.instance(instance.name, instance.project)
    if found is None:
        raise Denied("it vanished meanwhile")
    act.found = found
