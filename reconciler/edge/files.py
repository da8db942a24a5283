"""Contents of images, fetched and checked.

Owns: sources on this host (only inside configured folders, invariant I14) and on the web, the digest check, the cache.
Must not go here: unpacking, what an image means. Called by the executor alone: planning fetches nothing.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import anyio.to_thread

from reconciler.errors import FileRefused, FileUnreachable

LARGEST = 64 << 30
"""Bytes: no image we know is larger, and a disk can be filled."""

_CHUNK = 1 << 20
_TRIES = 3


def allowed_folders(state_files: Path, environment: Mapping[str, str] = os.environ) -> tuple[Path, ...]:
    """Where `file` and `folder` sources may lie: $TRUEUP_IMAGES (with colons), else /var/lib/trueup/images."""
    named = environment.get("TRUEUP_IMAGES")
    folders = [Path(part) for part in named.split(":") if part] if named else [Path("/var/lib/trueup/images")]
    return (*folders, state_files / "images")


class CheckedFiles:
    """Contents by digest, `sha256:` with 64 hex digits. A content once checked is not fetched again."""

    def __init__(
        self, cache: Path, folders: Sequence[Path], *, largest: int = LARGEST, timeout: float = 60, pause: float = 1.0
    ) -> None:
        """`folders` are what sources on this host must lie in. Seconds: `timeout` for each piece, not for the whole,
        `pause` before the second try."""
        self._cache = cache
        self._folders = tuple(folders)
        self._largest = largest
        self._timeout = timeout
        self._pause = pause
        self._under_way: dict[str, anyio.Lock] = {}

    async def fetch(self, source: Mapping[str, str], digest: str) -> str:
        """Local path of the contents. A folder's digest is that of `folder_digest`; without one it is only located.

        Raises FileRefused (outside the configured folders, another digest, too large), FileUnreachable.
        """
        if "folder" in source:
            return await anyio.to_thread.run_sync(self._folder, source["folder"], digest)
        hexdigits = _hexdigits(digest)
        if "file" in source:
            return await anyio.to_thread.run_sync(self._file, source["file"], hexdigits)
        if "url" in source:
            return await self._url(source["url"], hexdigits)
        raise FileRefused(f"a source {', '.join(sorted(source)) or 'of nothing'} is not fetched")

    def _file(self, named: str, hexdigits: str) -> str:
        path = self._inside(named)
        if not path.is_file():
            raise FileRefused(f"{named}: there is no such file in {_list(self._folders)}")
        cached = self._cache / f"{hexdigits}.file"
        stamp = _stamp(path)
        if cached.exists() and cached.read_text() == stamp:
            return str(path)
        found = _file_digest(path)
        if found != hexdigits:
            raise _other_contents(str(path), hexdigits, found)
        self._remember(cached, stamp)
        return str(path)

    def _folder(self, named: str, digest: str) -> str:
        path = self._inside(named)
        if not path.is_dir():
            raise FileRefused(f"{named}: there is no such folder in {_list(self._folders)}")
        if digest.startswith("sha256:"):
            found = folder_digest(path)
            if found != digest:
                raise _other_contents(str(path), _hexdigits(digest), found)
        return str(path)

    def _inside(self, named: str) -> Path:
        """The real path, links followed: it must still lie inside."""
        folders = [folder.resolve() for folder in self._folders if folder.is_dir()]
        candidates = [Path(named)] if named.startswith("/") else [folder / named for folder in folders]
        for candidate in candidates:
            real = candidate.resolve()
            if real.exists() and any(real.is_relative_to(folder) for folder in folders):
                return real
        raise FileRefused(
            f"{named}: image sources must lie in {_list(self._folders)}",
            hint="put it there, or name its folder in TRUEUP_IMAGES",
        )

    def _remember(self, cached: Path, text: str) -> None:
        try:
            cached.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            cached.write_text(text)
        except OSError:
            pass  # then it is checked again next time

    async def _url(self, url: str, hexdigits: str) -> str:
        target = self._cache / hexdigits
        async with self._under_way.setdefault(hexdigits, anyio.Lock()):
            if await anyio.Path(target).exists():
                return str(target)
            await self._download(url, target, hexdigits)
        return str(target)

    async def _download(self, url: str, target: Path, hexdigits: str) -> None:
        try:
            self._cache.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle, name = tempfile.mkstemp(prefix="fetching-", dir=self._cache)
        except OSError as error:
            raise FileUnreachable(f"{self._cache}: nothing can be fetched to it: {error.strerror}") from error
        part = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                found = await self._patiently(url, file.fileno())
                if found != hexdigits:
                    raise _other_contents(url, hexdigits, found)
                await anyio.to_thread.run_sync(os.fsync, file.fileno())
            os.replace(part, target)
        except OSError as error:
            full = error.errno == errno.ENOSPC
            raise FileUnreachable(f"{url}: {'the disk is full' if full else error.strerror}") from error
        finally:
            with suppress(FileNotFoundError):
                os.unlink(part)

    async def _patiently(self, url: str, handle: int) -> str:
        """The contents' SHA-256; a connection that breaks is begun again, twice."""
        for attempt in range(1, _TRIES + 1):
            try:
                return await self._once(url, handle)
            except FileUnreachable:
                if attempt == _TRIES:
                    raise
                await anyio.sleep(attempt * self._pause)
        raise AssertionError("unreachable")

    async def _once(self, url: str, handle: int) -> str:
        os.ftruncate(handle, 0)
        os.lseek(handle, 0, os.SEEK_SET)
        seen, hashed = 0, hashlib.sha256()
        async with _opened(url, self._timeout) as (chunks, announced):
            if announced > self._largest:
                raise _too_large(url, announced, self._largest)
            async for chunk in chunks:
                seen += len(chunk)
                if seen > self._largest:
                    raise _too_large(url, seen, self._largest)
                hashed.update(chunk)
                await anyio.to_thread.run_sync(os.write, handle, chunk)
        return hashed.hexdigest()


@asynccontextmanager
async def _opened(url: str, timeout: float) -> AsyncIterator[tuple[AsyncIterator[bytes], int]]:
    """The body's pieces as they come over the wire, and its announced length (0: not announced)."""
    import httpx  # 70-140 ms: only who fetches pays for it

    if not url.startswith(("https://", "http://")):
        raise FileRefused(f"{url}: only https and http are fetched")
    try:
        async with (
            httpx.AsyncClient(timeout=timeout, follow_redirects=True, max_redirects=5) as client,
            client.stream("GET", url, headers={"Accept-Encoding": "identity"}) as response,
        ):
            if response.status_code in (404, 410, 401, 403):
                raise FileRefused(f"{url}: the server says {response.status_code} {response.reason_phrase}")
            response.raise_for_status()
            length = response.headers.get("Content-Length", "")
            yield response.aiter_raw(_CHUNK), int(length) if length.isdigit() else 0
    except httpx.HTTPStatusError as error:
        raise FileUnreachable(f"{url}: the server says {error.response.status_code}") from error
    except httpx.InvalidURL as error:
        raise FileRefused(f"{url}: {error}") from error
    except httpx.HTTPError as error:
        raise FileUnreachable(f"{url}: {str(error) or type(error).__name__}") from error


def folder_digest(folder: Path) -> str:
    """`sha256:…` over a folder: names, kinds, permissions, contents and link targets, in order; not owners or times."""
    hashed = hashlib.sha256()
    for path, found in _walk(folder):
        name = path.relative_to(folder).as_posix()
        if stat.S_ISREG(found.st_mode):
            content = _file_digest(path)
        elif stat.S_ISLNK(found.st_mode):
            content = os.readlink(path)
        else:
            content = ""
        hashed.update(f"{name}\0{found.st_mode:o}\0{content}\0".encode(errors="surrogateescape"))
    return f"sha256:{hashed.hexdigest()}"


def _walk(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    for path in sorted(folder.iterdir(), key=lambda each: each.name):
        found = path.lstat()
        yield path, found
        if stat.S_ISDIR(found.st_mode):
            yield from _walk(path)


def _file_digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise FileRefused(f"{path}: cannot be read: {error.strerror}") from error


def _stamp(path: Path) -> str:
    found = path.stat()
    return f"{path}\n{found.st_dev} {found.st_ino} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"


def _hexdigits(digest: str) -> str:
    kind, _, rest = digest.partition(":")
    if kind != "sha256" or len(rest) != 64 or not set(rest) <= set("0123456789abcdef"):
        raise FileRefused(f"{digest!r} is no digest of contents", hint="sha256:… (sha256sum FILE)")
    return rest


def _other_contents(name: str, wanted: str, found: str) -> FileRefused:
    return FileRefused(
        f"{name}: the contents have digest sha256:{found.removeprefix('sha256:')}, not sha256:{wanted}",
        hint="images are immutable: if the new contents are meant, add them under a new name",
    )


def _too_large(name: str, size: int, largest: int) -> FileRefused:
    return FileRefused(f"{name}: {size} bytes or more, and {largest} is the most that is fetched")


def _list(folders: Sequence[Path]) -> str:
    return " or ".join(map(str, folders)) or "no folder at all"


def free_cache(cache: Path, keep: frozenset[str]) -> None:
    """Drops fetched contents that no image names any more; `keep` holds digests."""
    wanted = {digest.removeprefix("sha256:") for digest in keep}
    for path in cache.glob("*"):
        if path.is_file() and path.stem not in wanted:
            path.unlink(missing_ok=True)
        elif path.is_dir() and path.name not in wanted and path.name != "images":
            shutil.rmtree(path, ignore_errors=True)
