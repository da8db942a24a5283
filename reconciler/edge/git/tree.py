"""The tree of documents at one commit.

Owns: listing and reading it as the loader wants (edge/load/tree.py), and refusing what only looks like a file.
Must not go here: YAML, the working tree (worktree).
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path

from reconciler.edge.forked import widen
from reconciler.edge.git.command import OPTIONS, environment, failed, missing_git
from reconciler.edge.git.objects import Many, Objects, TreeDifference, scratch
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
        self._begun: Listing | None = None
        self._fetched: Iterable[tuple[str, bytes]] | None = None
        self._contents: dict[str, bytes] = {}
        """By id, what was fetched ahead."""
        self._listed: list[tuple[str, str]] | None = None
        """What `entries` will tell, where it was asked before."""
        self._soon: list[Many] = []
        """Blobs that are being read already, each by a git of its own."""
        self.refused: dict[str, Refusal] = {}
        """Links and submodules that the last listing met where documents would be."""

    def begin(self) -> None:
        """`entries` will be asked for soon. Raises as they do."""
        if self._begun is None:
            self._begun = self._listing()

    def _listing(self) -> Listing:
        return Listing(self.folder, self.id, self._extra)

    def listed(self) -> list[tuple[str, str]]:
        """What `entries` tells the next time, told before. Raises as that does."""
        if self._listed is None:
            self._listed = list(self.entries())
        return self._listed

    def soon(self, blobs: Sequence[str]) -> None:
        """Just these will be asked for with one `read`, here or in a forked process: git begins. For many of them."""
        self._soon.append(self._objects.many(blobs))

    def settle(self) -> None:
        """What was begun by `soon` has been asked for by now, or never will be."""
        soon, self._soon = self._soon, []
        for each in soon:
            each.close()

    def close(self) -> None:
        self.settle()
        begun, self._begun = self._begun, None
        if begun is not None:
            begun.close()
        if not self._borrowed:
            self._objects.close()

    def few(self, most: int) -> bool:
        """Whether `begin` has found no more than so many files and links; waits until that is known."""
        return self._begun is not None and self._begun.few(most)

    def reopened(self) -> CommitTree:
        made = CommitTree(self.folder, self.id, extra=self._extra)
        made._begun, made._soon = self._begun, self._soon
        return made

    def entries(self) -> Iterator[tuple[str, str]]:
        """(path, blob id) in order of paths. Raises SourceUnreadable."""
        listed, self._listed = self._listed, None
        if listed is not None:
            yield from listed
            return
        self.refused.clear()
        begun, self._begun = self._begun, None
        for mode, blob, path in (begun or self._listing()).entries():
            usual = mode == "100644" and path.isascii() and path[0] != "." and "/." not in path
            if usual or self._counts(path, mode, blob):
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

    def fetch(self) -> None:
        """All that `begin` has found will be read soon. It is kept, so this is for few files."""
        begun = self._begun
        if begun is not None:
            ids = [blob for mode, blob, path in begun.known() if not _hidden(path) and mode != "160000"]
            self._fetched = zip(ids, self._objects.many(ids).contents(), strict=True)

    def read(self, blobs: Sequence[str]) -> Iterator[bytes]:
        """The contents of each blob, in the order asked for. Raises SourceUnreadable."""
        if self._fetched is not None:
            fetched, self._fetched = self._fetched, None
            self._contents = dict(fetched)
        for each in self._soon:
            if each.names == blobs:
                self._soon.remove(each)
                yield from each.contents()
                return
        known = self._contents
        lacking = [blob for blob in blobs if blob not in known]
        others = self._objects.read_many(lacking)
        for blob in blobs:
            yield known[blob] if blob in known else next(others)


class Listing:
    """git lists everything beneath a tree, beside whatever is done until it is asked for."""

    def __init__(self, folder: Path, tree: str, extra: Mapping[str, str]) -> None:
        self._folder = folder
        command = ["git", "-C", str(folder), *OPTIONS, "ls-tree", "-r", "-z", "--full-tree", tree]
        self._read: list[bytes] = []
        """What of it was read already."""
        self._stderr = scratch()
        try:
            self._process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=self._stderr, env=environment(extra=extra)
            )
        except FileNotFoundError as error:
            self._stderr.close()
            raise missing_git() from error
        assert self._process.stdout is not None
        widen(self._process.stdout.fileno())

    def few(self, most: int) -> bool:
        """Whether there are no more than so many entries; waits until that is known."""
        stream, count = self._process.stdout, 0
        assert stream is not None
        while chunk := stream.read(1 << 16):
            self._read.append(chunk)
            count += chunk.count(b"\0")
            if count > most:
                return False
        self._process.wait()
        return True

    def known(self) -> Iterator[tuple[str, str, str]]:
        """As `entries`, as far as was read ahead."""
        return iter(_lines(b"".join(self._read).rpartition(b"\0")[0]))

    def entries(self) -> Iterator[tuple[str, str, str]]:
        """(mode, object id, path), streamed; once. Raises SourceUnreadable, SourceRefused."""
        process, stream = self._process, self._process.stdout
        assert stream is not None
        rest = b""
        try:
            for chunk in chain(self._read, iter(partial(stream.read, 1 << 16), b"")):
                whole, zero, rest = (rest + chunk).rpartition(b"\0")
                if zero:
                    yield from _lines(whole)
            if process.wait() != 0:
                self._stderr.seek(0)
                raise failed(self._folder, self._stderr.read().decode(errors="replace"), doing="ls-tree")
        finally:
            self.close()

    def close(self) -> None:
        """Nobody asks, or goes on asking."""
        with self._process, self._stderr:
            if self._process.returncode is None:
                self._process.kill()


def _lines(data: bytes) -> list[tuple[str, str, str]]:
    """(mode, object id, path) of each line: `100644 blob ID<tab>PATH`."""
    lines = data.decode(errors="surrogateescape").split("\0") if data else []
    parted = [line.partition("\t") for line in lines]
    return [(head[:6], head.rpartition(" ")[2], path) for head, _, path in parted]


def _is_utf8(path: str) -> bool:
    return path.isascii() or not any("\udc80" <= letter <= "\udcff" for letter in path)


def _hidden(path: str) -> bool:
    return path.startswith(".") or "/." in path
