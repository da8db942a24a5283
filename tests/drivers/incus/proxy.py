"""A socket before a real daemon's, to be harmed: cut off, turned to another daemon, made to refuse some calls.

Owns: carrying HTTP/1.1 over unix sockets, one thread a connection, independent of any event loop.
Must not go here: answers of its own beside the refusals that a test asks for.
"""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_REFUSAL = (
    b'{"type":"error","status":"","status_code":0,"operation":"","error_code":500,'
    b'"error":"refused on cue","metadata":null}'
)


class Proxy:
    """Listens at `path` until closed. `upstream` is where connections made from now on lead."""

    def __init__(self, path: Path, upstream: str) -> None:
        self.path = path
        self._upstream = upstream
        self._hooks: list[tuple[re.Pattern[str], Callable[[], object]]] = []
        self._refused: list[re.Pattern[str]] = []
        self._rewritten: list[tuple[re.Pattern[str], bytes, bytes]] = []
        self._ears: list[list[str]] = []
        self._down = False
        self._open: set[socket.socket] = set()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    @contextmanager
    def refusing(self, pattern: str) -> Iterator[None]:
        """Calls whose `METHOD path?query` matches are answered with an error of the server's kind."""
        rule = re.compile(pattern)
        self._refused.append(rule)
        try:
            yield
        finally:
            self._refused.remove(rule)

    @contextmanager
    def overheard(self) -> Iterator[list[str]]:
        """The calls that come meanwhile, as `METHOD path?query`."""
        said: list[str] = []
        self._ears.append(said)
        try:
            yield said
        finally:
            self._ears.remove(said)

    @contextmanager
    def rewriting(self, pattern: str, old: bytes, new: bytes) -> Iterator[None]:
        """What the daemon answers to such calls, with these words changed to others of the same length."""
        assert len(old) == len(new)
        rule = (re.compile(pattern), old, new)
        self._rewritten.append(rule)
        try:
            yield
        finally:
            self._rewritten.remove(rule)

    def before(self, pattern: str, hook: Callable[[], object]) -> None:
        """Once: do this when such a call comes, before it is handed on."""
        self._hooks.append((re.compile(pattern), hook))

    @contextmanager
    def turned_to(self, upstream: str) -> Iterator[None]:
        kept, self._upstream = self._upstream, upstream
        self._drop()
        try:
            yield
        finally:
            self._upstream = kept
            self._drop()

    @contextmanager
    def cut(self) -> Iterator[None]:
        """Nobody answers: connections break, and new ones are closed at once."""
        self._down = True
        self._drop()
        try:
            yield
        finally:
            self._down = False

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes who waits there, who else takes what comes for the next one
        self._listener.close()
        self._drop()
        with suppress(FileNotFoundError):
            os.unlink(self.path)

    def _drop(self) -> None:
        for each in list(self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        server = socket.socket(socket.AF_UNIX)
        self._open |= {client, server}
        try:
            if not self._down:
                server.connect(self._upstream)
                self._exchange(client.makefile("rwb"), server.makefile("rwb"))
        except OSError:
            pass
        finally:
            self._open -= {client, server}
            client.close()
            server.close()

    def _exchange(self, client: object, server: object) -> None:
        while head := _head(client):
            words = head.split(b" ", 2)
            call = f"{words[0].decode()} {words[1].decode()}"
            body = _body(client, head)
            for said in self._ears:
                said.append(call)
            for rule, hook in [each for each in self._hooks if each[0].search(call)]:
                self._hooks.remove((rule, hook))
                hook()
            if any(rule.search(call) for rule in self._refused):
                for _ in body:
                    continue
                _send(client, [b"HTTP/1.1 500 Error\r\nContent-Type: application/json\r\n"
                               b"Content-Length: %d\r\n\r\n" % len(_REFUSAL) + _REFUSAL])  # fmt: skip
                if words[2].startswith(b"HTTP/1.0"):  # waits for the end of the connection
                    return
                continue
            _send(server, [head, *body])
            answer = _head(server)
            if not answer:
                return
            if answer.split(b" ", 2)[1] == b"101":
                _send(client, [answer])
                threading.Thread(target=_pump, args=(server, client), daemon=True).start()
                _pump(client, server)
                return
            if answer.startswith(b"HTTP/1.0"):  # ends where the connection does
                _send(client, [answer, self._said(call, server.read())])  # type: ignore[attr-defined]
                return
            _send(client, [answer, self._said(call, b"".join(_body(server, answer)))])

    def _said(self, call: str, answer: bytes) -> bytes:
        for rule, old, new in self._rewritten:
            if rule.search(call):
                answer = answer.replace(old, new)
        return answer


def _pump(source: object, sink: object) -> None:
    """What follows a switch of protocols goes both ways at any time."""
    with suppress(OSError, ValueError):
        while data := source.read1(65536):  # type: ignore[attr-defined]
            _send(sink, [data])


def _head(stream: object) -> bytes:
    lines = []
    while line := stream.readline():  # type: ignore[attr-defined]
        lines.append(line)
        if line == b"\r\n":
            return b"".join(lines)
    return b""


def _body(stream: object, head: bytes) -> Iterator[bytes]:
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    if re.search(rb"(?i)\r\ntransfer-encoding: *chunked", head):
        while True:
            size = stream.readline()  # type: ignore[attr-defined]
            if not size:
                return
            yield size + stream.read(int(size, 16) + 2)  # type: ignore[attr-defined]
            if int(size, 16) == 0:
                return
    left = int(length[1]) if length else 0
    while left > 0:
        data = stream.read(min(left, 65536))  # type: ignore[attr-defined]
        left -= len(data)
        yield data


def _send(stream: object, parts: object) -> None:
    for part in parts:  # type: ignore[attr-defined]
        stream.write(part)  # type: ignore[attr-defined]
    stream.flush()  # type: ignore[attr-defined]
