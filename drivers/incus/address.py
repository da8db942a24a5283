"""Where a server is, as a node's document says it.

Owns: addresses. Must not go here: connecting (transport).
"""

from __future__ import annotations

import os

SOCKETS = ("/var/lib/incus/unix.socket", "/var/lib/lxd/unix.socket", "/var/snap/lxd/common/lxd/unix.socket")
PORT = 8443


class Misaddressed(Exception):
    """The document does not say how to reach the node. One sentence for people, naming the field."""


def socket_of(address: str) -> str | None:
    """The path of the unix socket that an address names; None for one over the network. Raises Misaddressed."""
    if address.startswith("https://"):
        return None
    if address in ("", "local", "unix:"):
        found = next((path for path in SOCKETS if os.path.exists(path)), None)
        if found is None:
            raise Misaddressed(f"address: there is no Incus or LXD socket at {', '.join(SOCKETS)}")
        return found
    path = address.removeprefix("unix:")
    path = "/" + path.lstrip("/")
    if not address.startswith(("unix:", "/")):
        raise Misaddressed(f"address: {address!r} is neither https://HOST:{PORT} nor unix:/PATH of a socket")
    return path
