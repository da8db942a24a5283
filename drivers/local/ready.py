"""Waiting until a machine answers: http or tcp inside its own network, or a command in it.

Owns: the probes and the patience between them. Must not go here: what readiness is good for (core).
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

import anyio

from drivers.local.chamber import Hung, netns_of
from drivers.local.node import Node
from drivers.local.zones import ZoneFailed
from reconciler.driver import StepContext

_PROBE = 2.0
_FIRST, _LONGEST = 0.02, 1.0


async def wait(node: Node, zone: str, want: Mapping[str, Any], context: StepContext) -> None:
    """Until it answers. Raises ZoneFailed when it stopped, or did not answer within the time."""
    within = min(float(want.get("within", 60)), context.deadline)
    pause, reason = _FIRST, "nothing was asked"
    with anyio.move_on_after(within):
        while True:
            reason = await node.chamber.call(probe, node, zone, want)
            if not reason:
                return
            if (words := node.zones.died(zone)) is not None:
                raise ZoneFailed(words)
            context.progress(f"not ready yet: {reason}")
            await anyio.sleep(pause)
            pause = min(pause * 1.5, _LONGEST)
    raise ZoneFailed(f"it was not ready within {within:g} s: {reason}; it said last: {node.zones.last_lines(zone, 4)}")


def probe(node: Node, zone: str, want: Mapping[str, Any]) -> str:
    """Why it is not ready; empty if it is."""
    try:
        if want.get("exec"):
            argv = want["exec"] if isinstance(want["exec"], list) else ["/bin/sh", "-c", want["exec"]]
            done = node.zones.inside(zone, argv, timeout=10)
            return "" if done.code == 0 else f"{argv[0]} ended with {done.code}"
        if want.get("tcp"):
            _connect(node, zone, int(want["tcp"])).close()
            return ""
        return _http(node, zone, str(want["http"]))
    except OSError as error:
        return str(error.strerror or error) or type(error).__name__
    except (ZoneFailed, Hung) as error:
        return str(error)


def _connect(node: Node, zone: str, port: int) -> socket.socket:
    """From within, to its own address: what is asked is the machine, not the way to it."""
    written_ip = _own_address(node, zone)
    with netns_of(node.zones.init(zone)):
        family = socket.AF_INET6 if ":" in written_ip else socket.AF_INET
        found = socket.socket(family, socket.SOCK_STREAM)
    found.settimeout(_PROBE)
    try:
        found.connect((written_ip, port))
    except OSError:
        found.close()
        raise
    return found


def _own_address(node: Node, zone: str) -> str:
    """The primary one; a machine without interfaces has the loopback alone."""
    for line in (node.place.zone(zone) / "config").read_text().splitlines():
        key, _, value = line.partition(" = ")
        if key in ("lxc.net.0.ipv4.address", "lxc.net.0.ipv6.address"):
            return value.partition("/")[0]
    return "127.0.0.1"


def _http(node: Node, zone: str, want: str) -> str:
    from http import client  # a fifth of what this driver takes to import, and most machines have nothing to ask

    place, slash, path = want.partition("/")
    port = int(place.rpartition(":")[2] or 80)
    connection = client.HTTPConnection("zone", port, timeout=_PROBE)
    connection.sock = _connect(node, zone, port)
    try:
        connection.request("GET", slash + path or "/")
        status = connection.getresponse().status
    except client.HTTPException as error:
        return str(error) or type(error).__name__
    finally:
        connection.close()
    return "" if status < 400 else f"http answered {status}"
