"""What a real server answered, kept and answered again.

Owns: a socket that asks a real daemon and keeps its answers, and one that gives them without a daemon.
Must not go here: answers that no server gave.
"""

from __future__ import annotations

import gzip
import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx

Answers = dict[str, Any]
"""By `path?query`, with the query's words in order: what the server answered to a GET."""


def keep(file: Path, answers: Answers) -> None:
    file.write_bytes(gzip.compress(json.dumps(answers, sort_keys=True).encode(), mtime=0))


def kept(file: Path) -> Answers:
    found: Answers = json.loads(gzip.decompress(file.read_bytes()))
    return found


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 64
    answers: Answers
    upstream: httpx.Client | None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def _key(self) -> str:
        parts = urlsplit(self.path)
        query = urlencode(sorted(parse_qsl(parts.query)))
        return f"{parts.path}?{query}" if query else parts.path

    def _answer(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length)
        code, said = self._asked(body) if self.server.upstream else self._kept()
        text = json.dumps(said).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _asked(self, body: bytes) -> tuple[int, Any]:
        assert self.server.upstream is not None
        kept = {name: self.headers[name] for name in ("content-type", "if-match") if name in self.headers}
        answer = self.server.upstream.request(self.command, self.path, content=body, headers=kept)
        if self.command == "GET":
            self.server.answers[self._key()] = answer.json()
        return answer.status_code, answer.json()

    def _kept(self) -> tuple[int, Any]:
        if self.command == "GET" and self._key() in self.server.answers:
            said = self.server.answers[self._key()]
            return said.get("error_code") or 200, said
        told = f"nobody asked for {self.command} {self._key()} when this was recorded"
        return 404, {"type": "error", "error": told, "error_code": 404, "metadata": None}

    do_GET = do_PUT = do_PATCH = do_POST = do_DELETE = _answer

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def _serving(path: Path, answers: Answers, upstream: httpx.Client | None) -> Iterator[Answers]:
    server = _Server(str(path), _Handler)
    server.answers, server.upstream = answers, upstream
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield answers
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        path.unlink()


@contextmanager
def recording(path: Path, upstream: str) -> Iterator[Answers]:
    """A socket at `path` that hands everything on to the daemon at `upstream`; what it answered to each GET."""
    with (
        httpx.Client(transport=httpx.HTTPTransport(uds=upstream), base_url="http://node", timeout=60) as client,
        _serving(path, {}, client) as answers,
    ):
        yield answers


@contextmanager
def replaying(path: Path, answers: Answers) -> Iterator[None]:
    """A socket at `path` that gives these answers, and refuses whatever changes something."""
    with _serving(path, answers, None):
        yield
