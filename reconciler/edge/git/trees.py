"""What differs between two trees of one repository, told by their own bytes.

Owns: reading trees, remembering those read last, and comparing two of them. Must not go here: talking to git's
processes (objects): where too many trees would have to be asked for, `diff-tree` tells sooner.

Of two commits in a row nearly all trees are remembered, and those that the later one made are a file each: a look at
them takes less than a question to another process, which has to wake up first.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import NamedTuple

from reconciler.edge.git.loose import Loose

_LATELY = 64
"""Trees that are remembered."""
_LARGEST = 256 << 10
"""Bytes of one."""
_QUESTIONS = 2
"""Trees that are asked for in one comparison, each a question to git."""
_READ = 64
"""Trees that are read in one comparison: where more differ, git is quicker."""
_ENTRY = {digits: re.compile(rb"([0-7]{5,6}) ([^\0/]+)\0(.{%d})" % (digits // 2), re.DOTALL) for digits in (40, 64)}
"""An entry of a tree, by the digits of an id."""
_TREE = b"40000"
_MODES = {b"100644": "100644", b"100755": "100755", b"120000": "120000", b"160000": "160000", _TREE: "040000"}
"""As git writes them now. Old repositories may hold others, which git reads as one of these."""

Entry = tuple[bytes, str]
"""Mode and id."""
Contents = Callable[[str], tuple[str, bytes] | None]
"""Kind and contents of an object, asked of git; None where there is none."""


class Untold(Exception):
    """git has to tell."""


class Change(NamedTuple):
    """One file that differs; None where it is not there."""

    path: bytes
    before: Entry | None
    after: Entry | None


class _Tree:
    """A tree's bytes: entries one after the other, each a mode, a name and an id."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.ends: list[int] = []
        """Where each entry ends, once that was looked for."""


class Trees:
    """Not thread-safe: whoever asks has a lock."""

    def __init__(self, loose: Loose, contents: Contents) -> None:
        self._loose = loose
        self._contents = contents
        self._lately: OrderedDict[str, _Tree] = OrderedDict()
        self._asked = self._looked = 0
        self._met = ""
        """What was compared last: a loop goes on from there."""

    def between(self, before: str, after: str) -> list[Change]:
        """Files that differ, in order of their paths; links and submodules are such too. Raises Untold, and what asking
        raises."""
        self._asked = self._looked = 0
        entry, met = _ENTRY.get(len(before)), before == self._met or before in self._lately
        self._met = after
        if entry is None or not met:
            raise Untold  # who compares but once asks one question, and reads nothing
        self._entry = entry
        return sorted(self._differing(before, after, b""))

    def _differing(self, before: str | None, after: str | None, above: bytes) -> Iterator[Change]:
        """`above`: the path of the two trees, with a slash. None: there is none."""
        while before is not None and after is not None:
            sole = self._sole(self._read(before), self._read(after))
            if sole is None:
                break
            mode, name, was, now = sole
            if mode != _TREE:
                yield Change(above + name, (mode, was), (mode, now))
                return
            before, after, above = was, now, above + name + b"/"
        left, right = self._unlike(before, after)
        for name in sorted(left.keys() | right.keys()):
            old, new = left.get(name), right.get(name)
            if old == new:
                continue
            inner, beneath = _folder(old), _folder(new)
            if inner is not None or beneath is not None:
                yield from self._differing(inner, beneath, above + name + b"/")
            if (old is not None and inner is None) or (new is not None and beneath is None):
                yield Change(above + name, old if inner is None else None, new if beneath is None else None)

    def _sole(self, was: _Tree, now: _Tree) -> tuple[bytes, bytes, str, str] | None:
        """Mode, name and both ids of the only entry that differs, where it does so in its id alone."""
        old, new = was.data, now.data
        if len(old) != len(new) or not old:
            return None
        ends = self._ends(was)
        low, high = 0, len(ends) - 1
        while low < high:  # for the first entry that differs
            middle = (low + high) // 2
            begin, end = ends[low - 1] if low else 0, ends[middle]
            if old[begin:end] == new[begin:end]:
                low = middle + 1
            else:
                high = middle
        begin, end = ends[low - 1] if low else 0, ends[low]
        found = self._entry.fullmatch(old, begin, end)
        if found is None or found[1] not in _MODES or old[end:] != new[end:]:
            return None
        mode, name, was_id = found.groups()
        now_id = new[found.start(3) : end]
        if old[begin : found.start(3)] != new[begin : found.start(3)] or was_id == now_id:
            return None
        now.ends = ends
        return mode, name, was_id.hex(), now_id.hex()

    def _ends(self, tree: _Tree) -> list[int]:
        """Raises Untold where it is no tree as git writes them."""
        tree.ends = tree.ends or list(accumulate([len(found[0]) for found in self._entry.finditer(tree.data)]))
        if len(tree.data) != (tree.ends[-1] if tree.ends else 0):
            raise Untold
        return tree.ends

    def _unlike(self, before: str | None, after: str | None) -> tuple[dict[bytes, Entry], dict[bytes, Entry]]:
        """The entries of both, without most of those that they share at the beginning and at the end."""
        if before is None or after is None:
            return self._all(before), self._all(after)
        was, now = self._read(before), self._read(after)
        old, new, ends = was.data, now.data, self._ends(was)
        first = bisect_left(ends, 1, key=lambda end: not new.startswith(old[:end]))
        start = ends[first - 1] if first else 0
        begins = [start, *ends[first:]]
        last = bisect_left(begins, 1, key=lambda at: len(new) - start >= len(old) - at and new.endswith(old[at:]))
        tail = len(old) - begins[last]
        left, right = self._entries(old[start : len(old) - tail]), self._entries(new[start : len(new) - tail])
        if [(name, mode) for name, (mode, _) in left.items()] == [(name, mode) for name, (mode, _) in right.items()]:
            now.ends = ends
        return left, right

    def _all(self, tree: str | None) -> dict[bytes, Entry]:
        return {} if tree is None else self._entries(self._read(tree).data)

    def _entries(self, data: bytes) -> dict[bytes, Entry]:
        found = {name: (mode, id_.hex()) for mode, name, id_ in self._entry.findall(data)}
        length = sum(len(mode) + len(name) + 2 + len(id_) // 2 for name, (mode, id_) in found.items())
        if length != len(data) or not _MODES.keys() >= {mode for mode, _ in found.values()}:
            raise Untold
        return found

    def _read(self, id_: str) -> _Tree:
        known = self._lately.get(id_)
        if known is not None:
            self._lately.move_to_end(id_)
            return known
        self._looked += 1
        found = self._loose.read(id_)
        if found is None:
            self._asked += 1
            found = self._contents(id_) if self._asked <= _QUESTIONS else None
        if found is None or found[0] != "tree" or self._looked > _READ:
            raise Untold
        tree = _Tree(found[1])
        if len(tree.data) <= _LARGEST:
            self._lately[id_] = tree
            if len(self._lately) > _LATELY:
                self._lately.popitem(last=False)
        return tree


def _folder(entry: Entry | None) -> str | None:
    """The id of a tree; None for anything else."""
    return entry[1] if entry is not None and entry[0] == _TREE else None


def spelled(mode: bytes) -> str:
    """A mode as git's raw differences have it."""
    return _MODES[mode]
