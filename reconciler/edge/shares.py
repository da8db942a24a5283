"""How the documents of a large tree are shared out among the processes that read them.

Owns: which files are documents, by their names alone, and whose share each is. Light: git is asked for their contents
before the modules that read them are imported. Must not go here: reading (load), processes (forked), git itself (git).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cached_property

from reconciler.edge.forked import possible

DEFAULTS = "_defaults.yaml"
FORKED = 4_000
"""Documents from which the start of forked workers (and the memory that they write to) is paid back."""
WORKERS = 2
_STRIPE, _LONGEST = 256, 1_024
"""Files in a row that go to one worker: neighbours lie together in a git pack and are much alike, and large files are
shared out. What lies beneath one folder of the second level stays together up to the larger number: who has read a
machine need not read its likes."""
_SMALL = 16
"""Files of a folder up to which they are hardly all machines."""
_YAML = (".yaml", ".yml")

File = tuple[int, str, str]
"""(index, path, blob)."""


def is_document(path: str) -> bool:
    """Whether a file is read as documents: YAML, in no hidden folder, and not the defaults."""
    return (
        path.endswith(_YAML)
        and not (path.endswith(DEFAULTS) and is_defaults(path))
        and "/." not in path
        and path[:1] != "."
    )


def is_defaults(path: str) -> bool:
    return path.endswith(DEFAULTS) and path.rpartition("/")[2] == DEFAULTS


def shared(files: Sequence[File]) -> list[list[File]]:
    """The files, in order of their paths, shared out among the workers.

    In each share those of small folders come first: what machines name is likely there, and all machines wait for it.
    """
    folders = [path.rpartition("/")[0] for _, path, _ in files]
    small = {folder for folder, count in Counter(folders).items() if count <= _SMALL}
    first: list[list[File]] = [[] for _ in range(WORKERS)]
    found: list[list[File]] = [[] for _ in range(WORKERS)]
    begin, turn, before = 0, 0, ""
    for at, (file, folder) in enumerate(zip(files, folders, strict=True)):
        long = at - begin
        if long >= _LONGEST or (long >= _STRIPE and _apart(before, folder)):
            begin, turn = at, turn + 1
        before = folder
        (first if folder in small else found)[turn % WORKERS].append(file)
    return [few + many for few, many in zip(first, found, strict=True)]


def _apart(one: str, other: str) -> bool:
    """Whether files of these folders lie beneath different ones of the second level; there each file is by itself."""
    return "/" not in other or (one != other and one.split("/", 2)[:2] != other.split("/", 2)[:2])


class Sorted:
    """The files of a tree (path, blob; in order of their paths) by what they seem to be."""

    def __init__(self, entries: Sequence[tuple[str, str]]) -> None:
        self.entries = entries
        self.documents: list[tuple[str, str]] = []
        self.defaults: dict[str, str] = {}
        self.others: dict[str, str] = {}
        documents = self.documents
        for entry in entries:
            path, blob = entry
            if is_document(path):
                documents.append(entry)
            elif is_defaults(path):
                self.defaults[path] = blob
            else:
                self.others[path] = blob

    @cached_property
    def shares(self) -> list[list[File]]:
        return shared(self.numbered)

    @cached_property
    def ahead(self) -> list[list[str]]:
        """The blobs of each share, where forked processes are worth while."""
        many = len(self.documents) >= FORKED and possible()
        return [[blob for _, _, blob in share] for share in self.shares] if many else []

    @property
    def numbered(self) -> list[File]:
        return [(index, path, blob) for index, (path, blob) in enumerate(self.documents)]
