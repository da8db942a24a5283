"""What the loader reads: a tree of files, named by path, each with the id of its contents.

Owns: the Tree protocol, and two trees that need no git. Must not go here: git (edge/git.py has that tree).

Paths are relative to the datacenter's root, with slashes. A blob id is any text that is equal exactly when the contents
are; git's object ids are. The loader asks for contents by id alone, so a tree must answer for every id it has listed,
and, while a Loader lives, for the ids that its last good tree listed (git does, being content-addressed).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from reconciler.core.hashes import sha1
from reconciler.edge.refused import Refusal, link, unreadable


class Tree(Protocol):
    def entries(self) -> Iterator[tuple[str, str]]:
        """(path, blob id) of every regular file, in the order of paths."""
        ...

    @property
    def refused(self) -> Mapping[str, Refusal]:
        """What the last listing met and neither followed nor may pass over: told as mistakes of the tree."""
        ...

    def read(self, blobs: Sequence[str]) -> Iterator[bytes]:
        """The contents of each blob, in the order asked for. Raises SourceUnreadable; never answers with less."""
        ...

    def reopened(self) -> Tree:
        """The same tree with handles of its own: called in a forked worker, where a shared pipe would be fatal."""
        ...


def blob_id(data: bytes) -> str:
    """The id that git gives to these contents."""
    return sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


class MemoryTree:
    """A tree in memory: {path: contents}. Contents once added stay readable by id."""

    refused: Mapping[str, Refusal] = MappingProxyType({})

    def __init__(self, files: Mapping[str, str | bytes] | None = None) -> None:
        self._blobs: dict[str, bytes] = {}
        self._paths: dict[str, str] = {}
        for path, data in (files or {}).items():
            self.write(path, data)

    def write(self, path: str, data: str | bytes) -> str:
        contents = data.encode() if isinstance(data, str) else data
        blob = blob_id(contents)
        self._blobs[blob] = contents
        self._paths[path] = blob
        return blob

    def remove(self, path: str) -> None:
        del self._paths[path]

    def text(self, path: str) -> str:
        return self._blobs[self._paths[path]].decode()

    def entries(self) -> Iterator[tuple[str, str]]:
        return iter(sorted(self._paths.items()))

    def read(self, blobs: Sequence[str]) -> Iterator[bytes]:
        return (self._blobs[blob] for blob in blobs)

    def reopened(self) -> MemoryTree:
        return self


class FolderTree:
    """A folder as it stands on disk, hidden folders left out. Contents that were seen stay readable by id."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._paths: dict[str, str] = {}
        self._blobs: dict[str, bytes] = {}
        self.refused: dict[str, Refusal] = {}

    def entries(self) -> Iterator[tuple[str, str]]:
        self.refused.clear()
        found = sorted(self._walk())
        for path in found:
            try:
                data = (self.root / path).read_bytes()
            except OSError as error:
                self.refused[path] = unreadable(error.strerror or "")
                continue
            blob = blob_id(data)
            self._blobs[blob] = data
            yield path, blob

    def _walk(self) -> Iterator[str]:
        for folder, folders, files in os.walk(self.root):
            folders[:] = [name for name in folders if not name.startswith(".")]
            base = Path(folder).relative_to(self.root)
            for name in files:
                path = (base / name).as_posix()
                if (self.root / path).is_symlink():
                    self._link(path)
                elif (self.root / path).is_file():
                    yield path
            for name in folders:
                path = (base / name).as_posix()
                if (self.root / path).is_symlink():
                    self._link(path)

    def _link(self, path: str) -> None:
        said = None if path.startswith(".") or "/." in path else link(path, os.readlink(self.root / path))
        if said is not None:
            self.refused[path] = said

    def read(self, blobs: Sequence[str]) -> Iterator[bytes]:
        return (self._blobs[blob] for blob in blobs)

    def reopened(self) -> FolderTree:
        return self
