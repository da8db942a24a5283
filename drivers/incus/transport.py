"""Connecting: from a node's document to a client of its server.

Owns: client certificates, the pinned server certificate, how a call is addressed. Must not go here: addresses
(address), the API itself, websockets (streams).
"""

from __future__ import annotations

import hashlib
import os
import ssl
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import anyio
import httpcore
import msgspec

from drivers.incus.address import PORT, Misaddressed, socket_of

TIMES = {"connect": 10.0, "read": 30.0, "write": 30.0, "pool": 30.0}
"""Seconds of silence. A list blocks for 20 when a member dies, until the cluster's threshold is over; a `/wait` holds
for 10."""
MOST = 32
KEPT = 16
"""Connections: at a time, and of those between two calls."""
IDLE = 5.0
"""Seconds after which a connection is not used again. Servers give theirs up after longer, and a change that is sent
just then would be one of which nobody knows whether it was made."""
_SAFE = "/%:@!$&'()*+,;=~"


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


class Way(msgspec.Struct, frozen=True):
    """Where the server is: at the `path` of a socket, or behind a port, with what TLS takes."""

    path: str = ""
    host: str = "node"
    port: int | None = None
    context: ssl.SSLContext | None = None

    @property
    def scheme(self) -> str:
        return "https" if self.context else "http"

    @property
    def named(self) -> str:
        """As calls name it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" if self.port else host


class Client:
    """Calls over connections that httpcore keeps. Open until `close`; calls may be made side by side."""

    def __init__(self, way: Way) -> None:
        self.way = way
        self._scheme, self._host = way.scheme.encode(), way.host.encode()
        self._headers = [("Host", way.named), ("User-Agent", "trueup")]
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=way.context, uds=way.path or None,
            max_connections=MOST, max_keepalive_connections=KEPT, keepalive_expiry=IDLE,
        )  # fmt: skip

    async def request(
        self, method: str, target: str, headers: Mapping[str, str], content: bytes | AsyncIterator[bytes] | None
    ) -> httpcore.Response:
        """The whole answer. Raises what httpcore raises."""
        return await self._pool.request(
            method,
            httpcore.URL(scheme=self._scheme, host=self._host, port=self.way.port, target=target),
            headers=[*self._headers, *headers.items()],
            content=content,
            extensions={"timeout": TIMES},
        )

    async def close(self) -> None:
        await self._pool.aclose()


def target(path: str, query: Mapping[str, str]) -> str:
    """What a call asks for, as HTTP spells it."""
    said = quote(path, safe=_SAFE)
    return f"{said}?{urlencode(query)}" if query else said


async def connect(address: str, identity: Identity) -> Client:
    """A client for the address; nothing is asked yet but the certificate that the server shows. Raises
    Misaddressed."""
    path = socket_of(address)
    if path is not None:
        _may_open(path)
        return Client(Way(path=path))
    host, port = _split(address)
    return Client(Way(host=host, port=port, context=await anyio.to_thread.run_sync(_context, host, port, identity)))


def _split(address: str) -> tuple[str, int]:
    """Raises Misaddressed."""
    try:
        url = urlsplit(address)
        if not url.hostname:
            raise ValueError("it names no host")
        return url.hostname.encode("idna").decode(), url.port or PORT
    except ValueError as error:
        raise Misaddressed(f"address: {address!r} is no https://HOST:{PORT}: {error}") from error


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
