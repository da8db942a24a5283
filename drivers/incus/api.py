"""The REST API of Incus and LXD over a unix socket or HTTPS, as the driver needs it.

Owns: the envelope, errors in words, ETags, and waiting for operations to their real end.
Must not go here: what an object means, retries of a whole step, connecting (transport).

Traps kept out here: an operation URL forwarded by a cluster member carries a query of its own, which `/wait` must not
be glued to, so paths never carry one; a finished operation vanishes within seconds; an HTTP code says little (LXD gives
400 where Incus gives 500), so only 404 and 412 are told apart.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import httpcore
import msgspec

from drivers.incus.transport import Client, target

WAIT = 10
"""Seconds that one `/wait` may hold a connection; asked again until the operation has ended."""
_DONE = 200
_IDLE = 17
"""How many connections may have been kept open from before the server was started anew. Asking again changes nothing,
so a GET tries past all of them."""
_UNKNOWN_OPERATION = ("not found", "operation not found")
Before = Callable[[], Awaitable[None]]


class ApiError(Exception):
    """The server said no. The text is its own, on one line; `code` the HTTP status, or the operation's."""

    def __init__(self, text: str, code: int = 0) -> None:
        super().__init__(" ".join(text.split()) or f"the server answered {code} without a word")
        self.code = code


class NotFound(ApiError):
    """404: no such object."""


class Stale(ApiError):
    """412: it was changed since it was read."""


class Lost(Exception):
    """The answer did not come: the call may or may not have been carried out. One sentence for people."""


class Refused(Exception):
    """No connection: the call was certainly not carried out. One sentence for people."""


class Envelope(msgspec.Struct):
    """What every answer is wrapped in."""

    type: str = ""
    status_code: int = 0
    operation: str = ""
    error_code: int = 0
    error: str = ""
    metadata: msgspec.Raw = msgspec.Raw(b"null")


class Operation(msgspec.Struct):
    """What became of a long call."""

    id: str = ""
    status: str = ""
    status_code: int = 0
    err: str = ""
    description: str = ""
    resources: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None


_envelope = msgspec.json.Decoder(Envelope)
_operation = msgspec.json.Decoder(Operation)


class Api:
    """One server. What is said of it stands after the node's name."""

    def __init__(self, client: Client, before: Callable[[], Awaitable[None]] | None = None) -> None:
        self.client = client
        self._before = before

    def guarded(self, before: Before) -> Api:
        """The same server for one step: `before` is called once, ahead of the first call that changes anything."""
        return Api(self.client, before)

    async def _about_to_change(self) -> None:
        if self._before is not None:
            before, self._before = self._before, None
            await before()

    async def get(self, path: str, **query: str) -> Any:
        """The metadata, as plain values. Raises NotFound, ApiError, Lost, Refused (as every method here)."""
        return msgspec.json.decode((await self._call("GET", path, query=query)).metadata)

    async def raw(self, path: str, **query: str) -> msgspec.Raw:
        """The metadata undecoded, for a reader that knows its type."""
        return (await self._call("GET", path, query=query)).metadata

    async def read(self, path: str, **query: str) -> tuple[Any, str]:
        """The metadata with its ETag, to be used within this step and then forgotten."""
        answer = await self._send("GET", path, query=query)
        return msgspec.json.decode(_unwrap(answer).metadata), _etag(answer)

    async def change(self, method: str, path: str, data: Any = None, *, etag: str = "", **query: str) -> Operation:
        """PATCH, PUT, POST or DELETE, waited for to its end."""
        await self._about_to_change()
        headers = {"If-Match": etag} if etag else {}
        body = None if data is None else msgspec.json.encode(data)
        return await self._finish(await self._call(method, path, query=query, headers=headers, content=body))

    async def begin(self, path: str, data: Any, **query: str) -> Operation:
        """POST of something that goes on, with its operation as it began: consoles and commands."""
        await self._about_to_change()
        answer = await self._call("POST", path, query=query, content=msgspec.json.encode(data))
        return _operation.decode(answer.metadata)

    async def upload(
        self, path: str, content: AsyncIterator[bytes], headers: Mapping[str, str], **query: str
    ) -> Operation:
        """POST of a large body, waited for."""
        await self._about_to_change()
        answer = await self._send("POST", path, query=query, headers=headers, content=content)
        return await self._finish(_unwrap(answer))

    async def text(self, path: str, **query: str) -> str:
        """A file of the server's, which has no envelope."""
        answer = await self._send("GET", path, query=query)
        if answer.status >= 400:
            _unwrap(answer)
        return answer.content.decode(errors="replace")

    async def wait(self, operation: str) -> Operation:
        """Until an operation has ended. Its URL may carry a query, as one forwarded from another member does."""
        path, _, said = operation.partition("?")
        query = {key: value for key, _, value in (part.partition("=") for part in said.split("&")) if key}
        while True:
            try:
                answer = await self._call("GET", f"{path}/wait", query={**query, "timeout": str(WAIT)})
            except NotFound as error:
                # Incus answers 404 for an operation that failed because a file was missing, too: its words tell.
                if str(error).lower() not in _UNKNOWN_OPERATION:
                    raise ApiError(str(error), error.code) from error
                raise Lost("the operation is no longer known, so what became of it is not either") from error
            done = _operation.decode(answer.metadata)
            if done.status_code < _DONE:
                continue
            if done.status_code > _DONE:
                raise ApiError(done.err or done.status, done.status_code)
            return done

    async def _finish(self, answer: Envelope) -> Operation:
        return await self.wait(answer.operation) if answer.type == "async" else Operation(status_code=_DONE)

    async def _call(self, method: str, path: str, **more: Any) -> Envelope:
        return _unwrap(await self._send(method, path, **more))

    async def _send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str],
        headers: Mapping[str, str] | None = None,
        content: bytes | AsyncIterator[bytes] | None = None,
    ) -> httpcore.Response:
        start = time.monotonic()
        where = target(path, query)
        if content is None and method != "GET":
            content = b""  # said to be empty
        left = _IDLE if method == "GET" else 0
        try:
            while True:
                try:
                    return await self.client.request(method, where, headers or {}, content)
                except (httpcore.RemoteProtocolError, httpcore.ReadError, httpcore.WriteError):
                    if left == 0:
                        raise
                    left -= 1
        except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
            raise Refused(f"cannot be reached: {str(error) or type(error).__name__}") from error
        except httpcore.TimeoutException as error:
            seconds = time.monotonic() - start
            raise Lost(f"no answer within {seconds:.0f} s") from error
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise Lost(f"the connection broke: {str(error) or type(error).__name__}") from error


def _etag(answer: httpcore.Response) -> str:
    return next((value.decode() for name, value in answer.headers if name.lower() == b"etag"), "")


def _unwrap(answer: httpcore.Response) -> Envelope:
    try:
        envelope = _envelope.decode(answer.content)
    except msgspec.DecodeError as error:
        raise ApiError(f"this is no answer of an Incus or LXD server ({answer.status})", answer.status) from error
    if envelope.type != "error" and answer.status < 400:
        return envelope
    code = envelope.error_code or answer.status
    kind = {404: NotFound, 412: Stale}.get(code, ApiError)
    raise kind(envelope.error, code)
