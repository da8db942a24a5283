"""Connecting: from a node's document to an HTTP client.

Owns: client certificates, the pinned server certificate. Must not go here: addresses (address), the API itself.
"""

from __future__ import annotations

import hashlib
import os
import ssl
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import httpx
import msgspec

from drivers.incus.address import PORT, Misaddressed, socket_of

TIMEOUT = httpx.Timeout(30.0, connect=10.0)
"""A list blocks for 20 s when a member dies, until the cluster's threshold is over; a `/wait` holds for 10 s."""
LIMITS = httpx.Limits(max_connections=32, max_keepalive_connections=16)


class Identity(msgspec.Struct, frozen=True):
    """How we show who we are, and how the server does: PEM texts, and the server's fingerprint (sha256, hex). `token`:
    shown once to a server that does not know the certificate."""

    certificate: str = ""
    key: str = ""
    pin: str = ""
    token: str = ""


def _may_open(path: str) -> None:
    """That a socket is not there, or nobody listens, is told when it is tried. Raises Misaddressed."""
    try:
        os.stat(path)
    except PermissionError:
        allowed = False
    except OSError:
        return
    else:
        allowed = os.access(path, os.R_OK | os.W_OK)
    if not allowed:
        who = f"uid {os.geteuid()}"
        raise Misaddressed(f"address: {path} may not be opened by {who}: be root, or in the group that owns it")


async def connect(address: str, identity: Identity) -> httpx.AsyncClient:
    """A client for the address; nothing is asked yet but the certificate that the server shows. Raises
    Misaddressed."""
    path = socket_of(address)
    if path is not None:
        _may_open(path)
        transport = httpx.AsyncHTTPTransport(uds=path, limits=LIMITS)
        return httpx.AsyncClient(transport=transport, base_url="http://node", timeout=TIMEOUT)
    url = httpx.URL(address)
    url = url if url.port else url.copy_with(port=PORT)
    context = await anyio.to_thread.run_sync(_context, url.host, url.port or PORT, identity)
    transport = httpx.AsyncHTTPTransport(verify=context, limits=LIMITS)
    return httpx.AsyncClient(transport=transport, base_url=str(url).rstrip("/"), timeout=TIMEOUT)


def _context(host: str, port: int, identity: Identity) -> ssl.SSLContext:
    """Trusts exactly the certificate whose fingerprint is pinned, whatever name it was made for."""
    pin = identity.pin.lower().replace(":", "").removeprefix("sha256")
    if not pin:
        raise Misaddressed("identity.pin: say the fingerprint of the certificate that the server shows")
    try:
        shown = ssl.get_server_certificate((host, port), timeout=10)
    except OSError as error:
        raise Misaddressed(f"address: {host}:{port} cannot be reached: {error}") from error
    found = hashlib.sha256(ssl.PEM_cert_to_DER_cert(shown)).hexdigest()
    if found != pin:
        raise Misaddressed(f"identity.pin: the server shows the certificate {found}, not the pinned {pin}")
    context = ssl.create_default_context(cadata=shown)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if identity.certificate:
        _load(context, identity)
    return context


def _load(context: ssl.SSLContext, identity: Identity) -> None:
    """Python takes a client's certificate from a file alone: one that only we can read, gone at once."""
    if not identity.key:
        raise Misaddressed("identity.key: the private key of the client certificate is missing")
    descriptor, name = tempfile.mkstemp()
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(identity.certificate.rstrip() + "\n" + identity.key.rstrip() + "\n")
        context.load_cert_chain(name)
    except ssl.SSLError as error:
        raise Misaddressed("identity.certificate and identity.key do not belong together, or are no PEM") from error
    finally:
        os.unlink(name)


async def identity_of(document: Mapping[str, Any], options: Mapping[str, Any]) -> Identity:
    """From `identity` of a node's document. Texts may stand there, or in files beside it (`options["root"]`); secrets
    come from `options["secrets"]` by name, or are asked of `options["resolve"]`. Raises Misaddressed."""
    said = document.get("identity") or {}
    names = frozenset(str(value["secret"]) for value in said.values() if isinstance(value, Mapping))
    secrets = dict(options.get("secrets") or {})
    if names - secrets.keys() and "resolve" in options:
        try:
            secrets.update(await options["resolve"](names))
        except Exception as error:  # a provider's own, in words for people
            raise Misaddressed(f"identity: {error}") from error
    root = str(options.get("root", ""))
    return Identity(
        certificate=_text(said.get("certificate"), "certificate", secrets, root),
        key=_text(said.get("key"), "key", secrets, root),
        pin=str(said.get("pin") or ""),
        token=_text(said.get("token"), "token", secrets, root).strip(),
    )


def _text(value: Any, field: str, secrets: Mapping[str, str], root: str) -> str:
    if not isinstance(value, Mapping):
        text = str(value or "")
        file = Path(root, text)
        return file.read_text() if text and "\n" not in text and os.path.isfile(file) else text
    name = value.get("secret")
    if name not in secrets:
        raise Misaddressed(f"identity.{field}: no value was handed over for the secret {name}")
    return secrets[str(name)]
