"""Whether anything at all is another on a host: one token for all that a look at it reads.

Owns: asking what the listing asks, and what the kernel enforces, without reading it. Must not go here: what it means.

A token is equal only where the server answers everything in the same bytes, but for the order of users; whatever the
driver reads of them is then the same, too. It takes no event loop and no HTTP client, whose imports would cost more
than the answers.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from hashlib import sha256

import msgspec

from drivers.incus import forwards
from drivers.incus.address import Misaddressed, socket_of
from drivers.incus.cgroups import Kernel
from drivers.incus.records import Instance, Network, Pool, Project, Server

PATIENCE = 30.0
"""Seconds that an answer may take, as for any call."""
_SERVER, _INSTANCES = "/1.0", "/1.0/instances?all-projects=true&recursion=1"
_PROJECTS, _POOLS = "/1.0/projects?recursion=1", "/1.0/storage-pools?recursion=1"
_CERTIFICATES = "/1.0/certificates?recursion=1"


class _Said(msgspec.Struct):
    metadata: msgspec.Raw


class _Bridge(msgspec.Struct):
    upper_devices: list[str] | None = None


class _State(msgspec.Struct):
    """Of a network. The rest of it is counters."""

    bridge: _Bridge | None = None


class _Doubt(Exception):
    """An answer that is none."""


def overview(address: str) -> str | None:
    """None where the server is not on this host, where it is a cluster (whose lists block while a member dies: they are
    waited for once, not twice), and where it does not answer everything."""
    try:
        path = socket_of(address)
        return _token(path) if path is not None else None
    except (OSError, Misaddressed, _Doubt, msgspec.MsgspecError):
        return None


def _token(path: str) -> str | None:
    said = _ask(path, [_SERVER, _INSTANCES, _PROJECTS, _POOLS, _CERTIFICATES])
    server = msgspec.json.decode(said[_SERVER], type=Server)
    if server.auth != "trusted" or server.environment.server_clustered:
        return None
    projects = msgspec.json.decode(said[_PROJECTS], type=list[Project])
    pools = msgspec.json.decode(said[_POOLS], type=list[Pool])
    listed = {name: f"/1.0/networks?recursion=1&project={name}" for name in _having("networks", projects)}
    more = [
        *listed.values(),
        *(f"/1.0/network-acls?recursion=1&project={name}" for name in listed),
        *(f"/1.0/images?recursion=1&project={name}" for name in _having("images", projects)),
        *(f"/1.0/storage-pools/{pool.name}/volumes/custom?recursion=1&all-projects=true" for pool in pools),
    ]
    said |= _ask(path, more)
    networks = {name: msgspec.json.decode(said[query], type=list[Network]) for name, query in listed.items()}
    states = [query for name, found in networks.items() for query in _states(name, found)]
    said |= _ask(path, [query for name, found in networks.items() for query in _forwards(name, found)])
    attached = {query: msgspec.json.decode(answer, type=_State) for query, answer in _ask(path, states).items()}
    kernel = Kernel().limits(server, msgspec.json.decode(said[_INSTANCES], type=list[Instance]))
    upper = {query: sorted((state.bridge and state.bridge.upper_devices) or ()) for query, state in attached.items()}
    token = sha256(msgspec.json.encode([upper, kernel], order="sorted"))
    for query in sorted(said):
        answer = _in_order(said[query])
        token.update(b"\0%d %s\0" % (len(answer), query.encode()))
        token.update(answer)
    return token.hexdigest()


def _in_order(answer: msgspec.Raw) -> bytes:
    """Who uses a thing is told in any order."""
    said = bytes(answer)
    if b'"used_by":["' not in said:
        return said
    things = msgspec.json.decode(said)
    for thing in things:
        if thing.get("used_by"):
            thing["used_by"].sort()
    return msgspec.json.encode(things)


def _having(what: str, projects: Sequence[Project]) -> Iterator[str]:
    """Projects with networks, or images, of their own; the others see those of `default`."""
    for project in projects:
        if project.name == "default" or project.config.get(f"features.{what}") in ("true", "1"):
            yield project.name


def _states(project: str, networks: Sequence[Network]) -> Iterator[str]:
    """Which interfaces are really there is told of bridges alone, one by one."""
    for network in networks:
        if network.managed and network.type == "bridge":
            yield f"/1.0/networks/{network.name}/state?project={project}"


def _forwards(project: str, networks: Sequence[Network]) -> Iterator[str]:
    for network in networks:
        if any(key.startswith(forwards.LISTED) for key in network.config):
            yield f"/1.0/networks/{network.name}/forwards?recursion=1&project={project}"


def _ask(path: str, queries: Sequence[str]) -> dict[str, msgspec.Raw]:
    """Side by side, a connection each. By HTTP/1.0, where an answer ends as its connection does."""
    with ExitStack() as opened:
        calls = {}
        for query in queries:
            calls[query] = opened.enter_context(socket.socket(socket.AF_UNIX))
            calls[query].settimeout(PATIENCE)
            calls[query].connect(path)
            calls[query].sendall(f"GET {query} HTTP/1.0\r\nHost: node\r\n\r\n".encode())
        return {query: _answer(call) for query, call in calls.items()}


def _answer(call: socket.socket) -> msgspec.Raw:
    """Cut short, it is no JSON. Raises _Doubt, MsgspecError."""
    head, _, body = b"".join(iter(partial(call.recv, 2**16), b"")).partition(b"\r\n\r\n")
    if head.split(b" ", 2)[1:2] != [b"200"]:
        raise _Doubt
    return msgspec.json.decode(body, type=_Said).metadata
