"""The tree of documents at one commit.

Owns: listing and reading it as the loader wants (edge/load/tree.py), and refusing what only looks like a file.
Must not go here: YAML, the working tree (worktree).
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from reconciler.edge.git.command import OPTIONS, environment, failed, missing_git
from reconciler.edge.git.objects import Objects, TreeDifference, scratch
from reconciler.edge.refused import NOT_UTF8, SUBMODULE, Refusal, link


class CommitTree:
    """Every regular file beneath one tree; whatever lies in or is a name that begins with a dot is left out.

    `id` is the tree's. Symbolic links and submodules are refused where documents would be: followed or skipped they
    would make documents appear or vanish.
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
        self.refused: dict[str, Refusal] = {}
        """Links and submodules that the last listing met where documents would be."""

    def close(self) -> None:
        if not self._borrowed:
            self._objects.close()

    def reopened(self) -> CommitTree:
        return CommitTree(self.folder, self.id, extra=self._extra)

    def entries(self) -> Iterator[tuple[str, str]]:
        """(path, blob id) in order of paths. Raises SourceUnreadable."""
        self.refused.clear()
        for mode, blob, path in listing(self.folder, self.id, self._extra):
            if self._counts(path, mode, blob):
                yield path, blob

    def changes(self, difference: TreeDifference, before: str) -> dict[str, str | None]:
        """What `entries` lists otherwise than it does for the tree `before` (an id): path to blob id, None where the
        file is gone. Costs what differs, whatever the size of the trees. Raises as `entries`."""
        found: dict[str, str | None] = {}
        self.refused.clear()
        for change in difference.between(before, self.id):
            if _hidden(change.path):
                continue
            there = change.after is not None and self._counts(change.path, change.mode, change.after)
            # what is there and does not count is gone as well: a file that became a link to one of another kind
            found[change.path] = change.after if there else None
        return found

    def _counts(self, path: str, mode: str, blob: str) -> bool:
        """Whether it is a file to list. What is none and cannot be passed over is noted."""
        if _hidden(path):
            return False
        if not _is_utf8(path):
            shown = path.encode(errors="surrogateescape").decode(errors="replace")
            self.refused[shown] = NOT_UTF8
            return False
        if mode == "160000":
            self.refused[path] = SUBMODULE
        elif mode == "120000":
            said = link(path, self._objects.read(blob).decode(errors="replace"))
            if said is not None:
                self.refused[path] = said
        return mode not in ("160000", "120000")

    def read(self, blobs: Sequence[str]) -> Iterator[bytes]:
        """The contents of each blob, in the order asked for. Raises SourceUnreadable."""
        yield from self._objects.read_many(blobs)


def listing(folder: Path, tree: str, extra: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """(mode, object id, path) of everything beneath a tree, streamed."""
    command = ["git", "-C", str(folder), *OPTIONS, "ls-tree", "-r", "-z", "--full-tree", tree]
    with scratch() as stderr:
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
    return mode, blob, name


def _is_utf8(path: str) -> bool:
    return path.isascii() or not any("\udc80" <= letter <= "\udcff" for letter in path)


def _hidden(path: str) -> bool:
    return path.startswith(".") or "/." in path
