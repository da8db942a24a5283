"""Image contents: from configured folders and the web, checked against their digest, kept once."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import anyio
import pytest

from reconciler.edge.files import CheckedFiles, allowed_folders, folder_digest, free_cache
from reconciler.errors import FileRefused, FileUnreachable

pytestmark = pytest.mark.anyio

CONTENT = b"a root file system, say" * 1000
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
OTHER = f"sha256:{'0' * 64}"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    (folder / "debian").mkdir(parents=True)
    (folder / "rootfs.tar").write_bytes(CONTENT)
    (folder / "debian/etc").mkdir()
    (folder / "debian/etc/hostname").write_text("x")
    return folder


@pytest.fixture
def files(tmp_path: Path, images: Path) -> CheckedFiles:
    return CheckedFiles(tmp_path / "cache", [images], largest=1 << 20, timeout=30, pause=0.01)


class Web(BaseHTTPRequestHandler):
    """`/ok`, `/moved`, `/gone`, `/broken` (breaks off once), `/endless`, `/large`."""

    asked: list[str]

    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        times = self.server.asked.count(self.path)  # type: ignore[attr-defined]
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/ok")
            self.end_headers()
        elif self.path == "/gone":
            self.send_error(404)
        elif self.path == "/busy":
            self.send_error(503)
        elif self.path == "/large":
            self.send_response(200)
            self.send_header("Content-Length", str(1 << 40))
            self.end_headers()
        elif self.path == "/endless":
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(b"x" * 65536)
            except OSError:
                pass
        else:
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            broken = self.path == "/broken" and times == 1
            self.wfile.write(CONTENT[:100] if broken else CONTENT)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web() -> Iterator[tuple[str, list[str]]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    server.asked = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", server.asked  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()
    thread.join()


def content(path: str) -> bytes:
    return Path(path).read_bytes()


async def test_a_file_inside_a_configured_folder_is_checked_and_used_where_it_lies(
    files: CheckedFiles, images: Path
) -> None:
    assert await files.fetch({"file": "rootfs.tar"}, DIGEST) == str(images / "rootfs.tar")
    assert await files.fetch({"file": str(images / "rootfs.tar")}, DIGEST) == str(images / "rootfs.tar")
    (images / "rootfs.tar").write_bytes(b"changed since")
    with pytest.raises(FileRefused, match="the contents have digest"):
        await files.fetch({"file": "rootfs.tar"}, DIGEST)


@pytest.mark.parametrize("name", ["/etc/passwd", "../secret", "debian/../../secret", "link", "missing.tar"])
@pytest.mark.parametrize("kind", ["file", "folder"])
async def test_what_lies_outside_is_refused_whatever_the_way_there(
    files: CheckedFiles, images: Path, name: str, kind: str
) -> None:
    (images.parent / "secret").write_bytes(CONTENT)
    (images / "link").symlink_to(images.parent / "secret")
    with pytest.raises(FileRefused, match="must lie in"):
        await files.fetch({kind: name}, DIGEST)


async def test_a_folder_is_located_and_checked_where_it_has_a_digest(files: CheckedFiles, images: Path) -> None:
    assert await files.fetch({"folder": "debian"}, "") == str(images / "debian")
    digest = folder_digest(images / "debian")
    assert await files.fetch({"folder": "debian"}, digest) == str(images / "debian")
    (images / "debian/etc/hostname").write_text("y")
    with pytest.raises(FileRefused, match="the contents have digest"):
        await files.fetch({"folder": "debian"}, digest)


def test_a_folders_digest_sees_names_modes_contents_and_links(images: Path) -> None:
    seen = {folder_digest(images / "debian")}
    (images / "debian/etc/hostname").chmod(0o600)
    seen.add(folder_digest(images / "debian"))
    (images / "debian/etc/hostname").rename(images / "debian/etc/name")
    seen.add(folder_digest(images / "debian"))
    (images / "debian/link").symlink_to("a")
    seen.add(folder_digest(images / "debian"))
    (images / "debian/link").unlink()
    (images / "debian/link").symlink_to("b")
    seen.add(folder_digest(images / "debian"))
    assert len(seen) == 5


async def test_a_url_is_fetched_once_and_kept_by_its_digest(
    files: CheckedFiles, web: tuple[str, list[str]], tmp_path: Path
) -> None:
    base, asked = web
    path = await files.fetch({"url": f"{base}/moved"}, DIGEST)
    assert content(path) == CONTENT
    assert await files.fetch({"url": f"{base}/elsewhere"}, DIGEST) == path
    assert asked == ["/moved", "/ok"]
    assert [each.name for each in (tmp_path / "cache").iterdir()] == [DIGEST.removeprefix("sha256:")]


async def test_tasks_that_want_the_same_contents_share_one_download(
    files: CheckedFiles, web: tuple[str, list[str]]
) -> None:
    base, asked = web
    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(files.fetch, {"url": f"{base}/ok"}, DIGEST)
    assert asked == ["/ok"]


async def test_a_connection_that_breaks_is_begun_again(files: CheckedFiles, web: tuple[str, list[str]]) -> None:
    base, asked = web
    assert content(await files.fetch({"url": f"{base}/broken"}, DIGEST)) == CONTENT
    assert asked == ["/broken", "/broken"]


@pytest.mark.parametrize(
    ("path", "digest", "words"),
    [
        ("/ok", OTHER, "the contents have digest"),
        ("/gone", DIGEST, "404"),
        ("/large", DIGEST, "the most that is fetched"),
        ("/endless", DIGEST, "the most that is fetched"),
    ],
)
async def test_wrong_contents_are_refused_and_leave_nothing(
    files: CheckedFiles, web: tuple[str, list[str]], tmp_path: Path, path: str, digest: str, words: str
) -> None:
    with pytest.raises(FileRefused, match=words):
        await files.fetch({"url": web[0] + path}, digest)
    assert list((tmp_path / "cache").iterdir()) == []


async def test_a_server_that_is_not_there_or_busy_may_be_tried_later(
    files: CheckedFiles, web: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileUnreachable, match="503"):
        await files.fetch({"url": f"{web[0]}/busy"}, DIGEST)
    with pytest.raises(FileUnreachable):
        await files.fetch({"url": "http://127.0.0.1:1/x"}, DIGEST)


@pytest.mark.parametrize("url", ["ftp://x/y", "file:///etc/passwd", "https://", "http://[::1"])
async def test_other_urls_are_refused(files: CheckedFiles, url: str) -> None:
    with pytest.raises((FileRefused, FileUnreachable)):
        await files.fetch({"url": url}, DIGEST)


@pytest.mark.parametrize("digest", ["", "sha256:", "md5:abc", "sha256:../../x", "sha256:" + "G" * 64])
async def test_a_digest_that_is_none_is_refused(files: CheckedFiles, digest: str) -> None:
    with pytest.raises(FileRefused, match="no digest"):
        await files.fetch({"url": "http://127.0.0.1:1/x"}, digest)


def test_the_folders_are_configured_by_the_environment(tmp_path: Path) -> None:
    assert allowed_folders(tmp_path, {"TRUEUP_IMAGES": "/a:/b"}) == (Path("/a"), Path("/b"), tmp_path / "images")
    assert allowed_folders(tmp_path, {})[0] == Path("/var/lib/trueup/images")


async def test_the_cache_drops_what_no_image_names(
    files: CheckedFiles, web: tuple[str, list[str]], tmp_path: Path
) -> None:
    await files.fetch({"url": f"{web[0]}/ok"}, DIGEST)
    free_cache(tmp_path / "cache", frozenset({DIGEST}))
    assert len(list((tmp_path / "cache").iterdir())) == 1
    free_cache(tmp_path / "cache", frozenset())
    assert list((tmp_path / "cache").iterdir()) == []
