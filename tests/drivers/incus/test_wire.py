"""The driver's calls, against a socket that answers as each test says, byte by byte."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream
from trio.testing import MockClock

from drivers.incus import transport
from drivers.incus.address import Misaddressed
from drivers.incus.api import Api, ApiError, Lost, Refused
from drivers.incus.transport import Client, Identity, Way, connect, target

pytestmark = pytest.mark.anyio

SAID = b'{"type":"sync","status_code":200,"metadata":%d}'


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Asked:
    """One call as it came, and the connection to answer it on."""

    def __init__(self, connection: int, stream: SocketStream, head: bytes, body: bytes) -> None:
        self.connection, self.stream, self.body = connection, stream, body
        self.method, self.target = head.decode().split(" ")[:2]
        self.headers = dict(re.findall(r"(?m)^([\w-]+): (.*)\r$", head.decode().lower()))

    async def answer(self, number: int) -> None:
        said = SAID % number
        with suppress(anyio.BrokenResourceError):  # nobody waits for it any more
            await self.stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(said), said))


@asynccontextmanager
async def server(path: Path, said: Callable[[Asked], Awaitable[object]]) -> AsyncIterator[list[Asked]]:
    """Hands each call to `said`, which answers it; a connection ends when that gives back True."""
    calls: list[Asked] = []
    connections = 0

    async def serve(stream: SocketStream) -> None:
        nonlocal connections
        connections += 1
        number, buffered = connections, BufferedByteReceiveStream(stream)
        async with stream:
            while True:
                try:
                    head = await buffered.receive_until(b"\r\n\r\n", 2**16) + b"\r\n"
                except (anyio.IncompleteRead, anyio.BrokenResourceError):
                    return
                length = re.search(rb"(?i)content-length: (\d+)", head)
                body = await buffered.receive_exactly(int(length[1])) if length and int(length[1]) else b""
                if re.search(rb"(?i)transfer-encoding: chunked", head):
                    body = await buffered.receive_until(b"0\r\n\r\n", 2**20)
                calls.append(Asked(number, stream, head, body))
                if await said(calls[-1]):
                    return

    listener = await anyio.create_unix_listener(path)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, serve)
        yield calls
        group.cancel_scope.cancel()


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    made = Client(Way(path=str(tmp_path / "socket")))
    yield made
    await made.close()


async def test_calls_after_each_other_take_one_connection_and_side_by_side_one_each(client: Client) -> None:
    together, api = anyio.Event(), Api(client)

    async def said(asked: Asked) -> None:
        if asked.target == "/b":
            await together.wait()
        elif asked.target == "/c":
            together.set()
        await asked.answer(1)

    async with server(Path(client.way.path), said) as calls:
        for _ in range(3):
            assert await api.get("/a") == 1
        assert {asked.connection for asked in calls} == {1}
        async with anyio.create_task_group() as group:
            group.start_soon(api.get, "/b")
            group.start_soon(api.get, "/c")
        assert {asked.connection for asked in calls} == {1, 2}
        assert calls[0].headers["host"] == "node"


async def test_answer_in_pieces_of_which_nobody_said_the_length_is_read_whole(client: Client) -> None:
    async def said(asked: Asked) -> bool:
        await asked.stream.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
        if asked.target == "/chunked":
            await asked.stream.send(b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
            await anyio.sleep(0.01)
            await asked.stream.send(b"2\r\nde\r\n0\r\n\r\n")
            return False
        await asked.stream.send(b"Connection: close\r\n\r\nabc")
        await asked.stream.send(b"de")
        return True

    async with server(Path(client.way.path), said) as calls:
        for path in ("/chunked", "/to-the-end", "/chunked"):
            assert await Api(client).text(path) == "abcde"
        assert [asked.connection for asked in calls] == [1, 1, 2], "what the server closes is not used again"


async def test_connection_that_the_server_gave_up_meanwhile_is_passed_over_by_a_change(client: Client) -> None:
    async def said(asked: Asked) -> bool:
        await asked.answer(asked.connection)
        return True  # though it said nothing of that

    async with server(Path(client.way.path), said) as calls:
        await Api(client).get("/a")
        await anyio.sleep(0.05)
        await Api(client).change("POST", "/change", 7)
        assert [(asked.connection, asked.method, asked.body) for asked in calls] == [(1, "GET", b""), (2, "POST", b"7")]


async def test_question_goes_past_a_kept_connection_that_ends_under_it_and_a_change_is_sent_once(
    client: Client,
) -> None:
    async def said(asked: Asked) -> bool:
        if asked.target != "/first" and asked.connection == 1:
            return True  # ends without an answer
        await asked.answer(asked.connection)
        return False

    path, api = Path(client.way.path), Api(client)
    async with server(path, said) as calls:
        await api.get("/first")
        assert await api.get("/second") == 2
        assert [(asked.connection, asked.target) for asked in calls] == [(1, "/first"), (1, "/second"), (2, "/second")]
    await client.close()
    async with server(path, said) as calls:
        await api.get("/first")
        with pytest.raises(Lost, match="without sending a response"):
            await api.change("POST", "/change", 7)
        assert [asked.target for asked in calls] == ["/first", "/change"]


@pytest.mark.parametrize(
    "cut", [b"", b"HTTP/1.1 200 OK\r\nContent-Le", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"]
)
async def test_answer_cut_short_is_none(client: Client, cut: bytes) -> None:
    async def said(asked: Asked) -> bool:
        await asked.stream.send(cut) if cut else None
        return True

    async with server(Path(client.way.path), said) as calls:
        with pytest.raises(Lost, match=r"^the connection broke: "):
            await Api(client).get("/1.0")
        calls.clear()
        with pytest.raises(Lost, match=r"^the connection broke: "):
            await Api(client).change("PUT", "/1.0")
        assert [(asked.method, asked.headers["content-length"]) for asked in calls] == [("PUT", "0")], "it is sent once"


async def test_who_breaks_off_leaves_nothing_for_the_next(client: Client) -> None:
    heard, left, late = anyio.Event(), anyio.Event(), anyio.Event()

    async def said(asked: Asked) -> None:
        if asked.target == "/slow":
            heard.set()
            await left.wait()
            await asked.answer(7)
            late.set()
        else:
            await asked.answer(1)

    async with server(Path(client.way.path), said) as calls:
        await Api(client).get("/a")
        async with anyio.create_task_group() as group:
            group.start_soon(Api(client).get, "/slow")
            await heard.wait()
            group.cancel_scope.cancel()
        left.set()
        await late.wait()
        assert await Api(client).get("/a") == 1
        assert [asked.connection for asked in calls] == [1, 1, 2]


@pytest.mark.parametrize("anyio_backend", [("trio", {"clock": MockClock(autojump_threshold=0.0)})], ids=["virtual"])
async def test_server_that_falls_silent_is_lost_and_one_that_speaks_slowly_is_not(client: Client) -> None:
    longest = transport.TIMES["read"]

    async def said(asked: Asked) -> None:
        text = SAID % 1
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text)
        for piece in (head, text[:9], text[9:20], text[20:]):
            await asked.stream.send(piece)
            await anyio.sleep(longest - 1 if asked.target == "/slow" else longest + 1)

    async with server(Path(client.way.path), said):
        assert await Api(client).get("/slow") == 1
        with pytest.raises(Lost, match="no answer within"):
            await Api(client).get("/silent")


async def test_large_body_that_is_refused_half_way_is_told_in_the_servers_words(client: Client) -> None:
    async def refuse(stream: SocketStream) -> None:
        async with stream:
            await stream.receive(100)
            text = b'{"type":"error","error_code":400,"error":"no room"}'
            await stream.send(b"HTTP/1.1 400 Bad\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))
            await anyio.sleep(0.05)

    async def content() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 2**20

    listener = await anyio.create_unix_listener(client.way.path)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, refuse)
        with pytest.raises(ApiError, match="no room"):
            await Api(client).upload("/1.0/images", content(), {"Content-Length": str(100 * 2**20)})
        group.cancel_scope.cancel()


async def test_body_in_pieces_comes_whole(client: Client) -> None:
    async def content() -> AsyncIterator[bytes]:
        yield b"abc"
        yield b"de"

    async def said(asked: Asked) -> None:
        await asked.answer(1)

    async with server(Path(client.way.path), said) as calls:
        await Api(client).upload("/a", content(), {})
        await Api(client).upload("/a", content(), {"Content-Length": "5"})
        assert [asked.body for asked in calls] == [b"3\r\nabc\r\n2\r\nde\r\n", b"abcde"]
        assert calls[0].connection == calls[1].connection


async def test_operation_that_another_member_forwarded_is_asked_for_with_its_query(client: Client) -> None:
    ended = b'{"type":"sync","metadata":{"status_code":200}}'

    async def said(asked: Asked) -> None:
        await asked.stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(ended), ended))

    async with server(Path(client.way.path), said) as calls:
        await Api(client).wait("/1.0/operations/x?project=a&target=b")
        assert calls[0].target == "/1.0/operations/x/wait?project=a&target=b&timeout=10"


async def test_who_is_not_there_is_refused_and_nothing_was_sent(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"cannot be reached: \S"):
        await Api(Client(Way(path=str(tmp_path / "nobody")))).get("/1.0")


def test_target_says_what_was_meant_in_any_letters() -> None:
    assert target("/1.0/instances", {}) == "/1.0/instances"
    assert target("/1.0/a b/ü?", {"filter": "a=b&c"}) == "/1.0/a%20b/%C3%BC%3F?filter=a%3Db%26c"


def test_calls_name_the_host_as_they_have_to() -> None:
    assert Way(path="/socket").named == "node"
    assert Way(host="fd00::1", port=8443).named == "[fd00::1]:8443"


@pytest.mark.parametrize("address", ["https://", "https://inc:eight", "https://[fd00::1", f"https://{'a' * 64}"])
async def test_address_that_is_none_is_told(address: str) -> None:
    with pytest.raises(Misaddressed, match=r"^address: .* is no https://HOST:8443: "):
        await connect(address, Identity(pin="00"))


def test_driver_is_imported_without_what_few_of_its_steps_need() -> None:
    code = "import sys, drivers.incus.driver; print([name for name in ('httpx', 'httpx_ws') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
