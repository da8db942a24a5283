"""The tree of documents at one commit.

Owns: listing and reading it as the loader wants (edge/load/tree.py), and refusing what only looks like a file.
Must not go here: YAML, the working tree (worktree).
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from reconciler.edge.git.command import OPTIONS, environment, failed, missing_git
from reconciler.edge.git.objects import Objects, TreeDifference
from reconciler.errors import SourceRefused

_POINTER = b"version https://git-lfs.github.com/spec/"
_DOCUMENTS = (".yaml", ".yml")


class CommitTree:
    """Every regular file beneath one tree; whatever lies in or is a name that begins with a dot is left out.

    `id` is the tree's. Symbolic links, submodules and large-file pointers are refused where documents would be:
    followed or skipped they would make documents appear or vanish.
    """

    def __init__(
        self, folder: Path, tree: str, *, extra: Mapping[str, str] | None = None, objects: Objects | None = None
    ) -> None:
        """`extra`: environment of its git processes. `objects`: read through these, which stay open after `close`."""
        self.folder = folder
        self.id = tree
        self._extra = dict(extra or {})
        self._objects = objects or Objects(folder, self._extra)
        self._borrowed = objects is not None

    def close(self) -> None:
        if not self._borrowed:
            self._objects.close()

    def reopened(self) -> CommitTree:
        return CommitTree(self.folder, self.id, extra=self._extra)

    def entries(self) -> Iterator[tuple[str, str]]:
        """(path, blob id) in order of paths. Raises SourceRefused, SourceUnreadable."""
        for mode, blob, path in listing(self.folder, self.id, self._extra):
            if self._counts(path, mode, blob):
                yield path, blob

    def changes(self, difference: TreeDifference, before: str) -> dict[str, str | None]:
        """What `entries` lists otherwise than it does for the tree `before` (an id): path to blob id, None where the
        file is gone. Costs what differs, whatever the size of the trees. Raises as `entries`."""
        found: dict[str, str | None] = {}
        for change in difference.between(before, self.id):
            _require_utf8(change.path)
            if _hidden(change.path):
                continue
            there = change.after is not None and self._counts(change.path, change.mode, change.after)
            # what is there and does not count is gone as well: a file that became a link to one of another kind
            found[change.path] = change.after if there else None
        return found

    def _counts(self, path: str, mode: str, blob: str) -> bool:
        """Whether it is a file to list. Raises SourceRefused for what is none and cannot be passed over."""
        if _hidden(path):
            return False
        if mode == "160000":
            raise SourceRefused(
                f"{path}: this is a submodule, which is not read", hint="put its files into this repository"
            )
        if mode == "120000":
            self._refuse_link(path, blob)
            return False
        return True

    def read(self, blobs: Sequence[str]) -> Iterator[bytes]:
        """The contents of each blob, in the order asked for. Raises SourceUnreadable, SourceRefused."""
        for blob, data in zip(blobs, self._objects.read_many(blobs), strict=True):
            if data.startswith(_POINTER):
                raise SourceRefused(
                    f"blob {blob[:12]} is a Git LFS pointer, not the file itself",
                    hint="keep documents in git as they are: git lfs untrack '*.yaml'",
                )
            yield data

    def _refuse_link(self, path: str, blob: str) -> None:
        """A link is fine where it cannot hide documents: README.md, a link to a file of another kind."""
        suffix = PurePosixPath(path).suffix
        if suffix and suffix not in _DOCUMENTS:
            return
        target = self._objects.read(blob).decode(errors="replace")
        raise SourceRefused(
            f"{path}: this is a symbolic link (to {target}), which is not followed", hint="put the documents themselves"
        )


def listing(folder: Path, tree: str, extra: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """(mode, object id, path) of everything beneath a tree, streamed."""
    command = ["git", "-C", str(folder), *OPTIONS, "ls-tree", "-r", "-z", "--full-tree", tree]
    with tempfile.TemporaryFile() as stderr:
        try:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, env=environment(extra=extra))
        except FileNotFoundError as error:
            raise missing_git() from error
        with process:
            assert process.stdout is not None
            rest = b""
            try:
                while chunk := process.stdout.read(1 << 16):
                    *lines, rest = (rest + chunk).split(b"\0")
                    yield from map(_line, lines)
            except GeneratorExit:
                process.kill()
                raise
        if process.returncode != 0:
            stderr.seek(0)
            raise failed(folder, stderr.read().decode(errors="replace"), doing="ls-tree")


def _line(line: bytes) -> tuple[str, str, str]:
    head, _, path = line.partition(b"\t")
    mode, _, blob = head.decode().split(" ")
    name = path.decode(errors="surrogateescape")
    _require_utf8(name)
    return mode, blob, name


def _require_utf8(path: str) -> None:
    try:
        path.encode()
    except UnicodeEncodeError as error:
        shown = path.encode(errors="surrogateescape").decode(errors="replace")
        raise SourceRefused(f"{shown}: the file's name is not UTF-8") from error


def _hidden(path: str) -> bool:
    return path.startswith(".") or "/." in path
