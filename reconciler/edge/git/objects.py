"""Git processes that stay open: objects by name, and the paths that differ between two trees.

Owns: talking to `git cat-file` and `git diff-tree` over pipes, and what it means when they end.
Must not go here: trees of documents (tree), revisions (repository).

A subprocess costs 2-5 ms and `diff-tree` without the kept-open pipe grows with the index; these answer in 0.1-0.3 ms
whatever the size of the fleet. Thread-safe; a process that ended is started again by the next question.
"""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple

from reconciler.edge.forked import widen
from reconciler.edge.git.command import OPTIONS, clean, environment, failed, missing_git
from reconciler.edge.git.loose import Loose, get_ready
from reconciler.edge.git.trees import Change, Trees, Untold, spelled
from reconciler.errors import SourceUnreadable, TrueupError

NO_INDEX = "/proc/trueup-has-no-index"
"""A path that nobody can make: an index that is not there costs nothing to read."""
_SMALL = 1_000  # paths
_FEW = 64  # objects
_LATELY, _SHORT = 32, 16 << 10  # objects that are kept, bytes of each at most
_ID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


class Found(NamedTuple):
    id: str
    kind: str
    """`commit`, `tree`, `blob` or `tag`."""
    size: int


class PathChange(NamedTuple):
    """One path that differs between two trees, relative to them. A blob is None where the path is not there."""

    path: str
    before: str | None
    after: str | None
    mode: str
    """Git's, of what is there now: `100644`; of what was there, where nothing is."""


class Pipe:
    """A git process with a question-and-answer protocol on its standard streams."""

    def __init__(self, folder: Path, arguments: Sequence[str], extra: Mapping[str, str]) -> None:
        self.folder = folder
        self.lock = threading.RLock()
        self._doing = arguments[0]
        self._command = ["git", "-C", str(folder), *OPTIONS, *arguments]
        self._extra = dict(extra)
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr: IO[bytes] | None = None

    def begin(self) -> None:
        """So that the first question finds it running."""
        with self.lock:
            if self._process is None:
                self._start()

    def ask(self, question: bytes) -> IO[bytes]:
        """Writes the question, gives what to read the answer from."""
        process = self._process
        if process is None or process.poll() is not None:
            process = self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(question)
            process.stdin.flush()
        except OSError as error:
            raise self.ended() from error
        return process.stdout

    def ended(self) -> TrueupError:
        """Why the process is gone; it is started anew by the next question."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            _reap(process)
        text = ""
        if self._stderr is not None:
            with suppress(OSError, ValueError):
                self._stderr.seek(0)
                text = self._stderr.read().decode(errors="replace")
            self._stderr.close()
            self._stderr = None
        return failed(self.folder, text or "the reading process ended", doing=self._doing)

    def close(self) -> None:
        with self.lock:
            process, self._process = self._process, None
            if process is not None:
                _reap(process)
            if self._stderr is not None:
                self._stderr.close()
                self._stderr = None

    def _start(self) -> subprocess.Popen[bytes]:
        self.close()
        # a file, not a pipe: nobody reads it until the process has ended, and a full pipe would stop it
        self._stderr = scratch()
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                env=environment(extra=self._extra),
                start_new_session=True,  # Ctrl-C is ours to handle; the end of our pipe ends it
            )
        except FileNotFoundError as error:
            raise missing_git() from error
        return self._process


class Objects:
    """Objects of one repository by id or by name (`main^{commit}`, `HEAD:sites/a`).

    Two processes that stay open: one that gives contents, which most questions need, and one for names of what may be
    large, begun by the first of them.
    """

    def __init__(self, folder: Path, extra: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.extra = dict(extra or {})
        self.loose: Loose | None = None
        """Where objects lie as files, if that is known: what is there needs no question."""
        self._contents = Pipe(folder, ("cat-file", "--batch"), self.extra)
        self._names = Pipe(folder, ("cat-file", "--batch-check"), self.extra)
        self._lately: OrderedDict[str, bytes] = OrderedDict()
        """What was read last, by id: a page that tells where fields come from asks for the same few files again."""

    def begin(self) -> None:
        """Contents will be asked for soon."""
        self._contents.begin()

    def close(self) -> None:
        self._contents.close()
        self._names.close()

    def find(self, name: str) -> Found | None:
        """What a name stands for, or None. Raises SourceUnreadable."""
        if _is_no_name(name):
            return None
        with self._names.lock:
            answer = self._names.ask(name.encode(errors="surrogateescape") + b"\n").readline()
            if not answer.endswith(b"\n"):
                raise self._names.ended()
        return _header(answer)

    def read(self, name: str) -> bytes:
        """The contents of one object. Raises SourceUnreadable, also when it is not there."""
        return self._few((name,))[0]

    def _few(self, names: Sequence[str]) -> list[bytes]:
        """So many as the process that stays open can be asked for at once: the question fits into its pipe."""
        with self._contents.lock:
            found = {name: data for name in names if (data := self._near(name)) is not None}
            lacking = [name for name in dict.fromkeys(names) if name not in found]
            if lacking:
                answers = self._contents.ask("".join([f"{name}\n" for name in lacking]).encode())
                try:
                    told = [_answer(answers) for _ in lacking]  # all of them, though one be missing
                except EOFError as error:
                    raise self._contents.ended() from error
                for name, answer in zip(lacking, told, strict=True):
                    if answer is None:
                        raise _missing(name, self.folder)
                    found[name] = self._noted(name, answer[1])
            return [found[name] for name in names]

    def _near(self, name: str) -> bytes | None:
        """What was read lately, or lies in a file."""
        known = self._lately.get(name)
        if known is not None:
            return known
        lying = self.loose.read(name) if self.loose is not None else None
        return self._noted(name, lying[1]) if lying is not None else None

    def _noted(self, name: str, data: bytes) -> bytes:
        if len(data) <= _SHORT and _ID.fullmatch(name):
            self._lately[name] = data
            if len(self._lately) > _LATELY:
                self._lately.popitem(last=False)
        return data

    def contents(self, name: str) -> tuple[Found, bytes] | None:
        """What a name stands for, with its contents, in one question; None as `find`. Raises SourceUnreadable."""
        if _is_no_name(name):
            return None
        with self._contents.lock:
            try:
                return _answer(self._contents.ask(name.encode(errors="surrogateescape") + b"\n"))
            except EOFError as error:
                raise self._contents.ended() from error

    def read_many(self, names: Sequence[str]) -> Iterator[bytes]:
        """The contents of many objects in order, streamed by a process of its own: 13 us each, against 40 and more."""
        if len(names) <= _FEW:
            yield from self._few(names)
        else:
            yield from self.many(names).contents()

    def many(self, names: Sequence[str]) -> Many:
        """The same, begun now."""
        return Many(self.folder, names, self.extra)


class Many:
    """Many objects being read by a process of its own, beside whatever is done until they are asked for."""

    def __init__(self, folder: Path, names: Sequence[str], extra: Mapping[str, str]) -> None:
        self._folder = folder
        self.names = names
        command = ["git", "-C", str(folder), *OPTIONS, "cat-file", "--batch", "--buffer"]
        self._stderr = scratch()
        with scratch() as questions:
            questions.write("".join(f"{name}\n" for name in names).encode())
            questions.seek(0)
            self._process = subprocess.Popen(
                command, stdin=questions, stdout=subprocess.PIPE, stderr=self._stderr, env=environment(extra=extra)
            )
        assert self._process.stdout is not None
        widen(self._process.stdout.fileno())

    def contents(self) -> Iterator[bytes]:
        """The contents in order, once. Raises SourceUnreadable."""
        process, stream = self._process, self._process.stdout
        assert stream is not None
        with self._stderr, process:
            readline, read = stream.readline, stream.read
            try:
                for name in self.names:
                    told = readline().split()
                    if len(told) != 3 or not told[2].isdigit():
                        raise _missing(name, self._folder) if told else EOFError
                    size = int(told[2])
                    data = read(size + 1)
                    if len(data) <= size:
                        raise EOFError
                    yield data[:-1]
            except EOFError as error:
                self._stderr.seek(0)
                text = clean(self._stderr.read().decode(errors="replace"))
                raise SourceUnreadable(f"{self._folder}: {text or 'git ended while objects were read'}") from error
            finally:
                process.kill()  # a reader that stops early leaves it in the middle of an answer

    def close(self) -> None:
        """Nobody asks, or who did was another process."""
        with self._stderr:
            _reap(self._process)


class TreeDifference:
    """What differs between two trees of one repository, in time that follows the difference."""

    def __init__(self, folder: Path, trees: Trees, extra: Mapping[str, str] | None = None) -> None:
        self._trees = trees
        # an index would be read, at a cost that grows with the fleet; the answer does not need it
        away = {"GIT_INDEX_FILE": NO_INDEX, **(extra or {})}
        self._pipe = Pipe(folder, ("diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-ext-diff", "--stdin"), away)
        self._last: tuple[str, str, list[PathChange]] | None = None
        """The last answer, if it is small: who takes a commit in asks twice, each for its own."""

    def begin(self) -> None:
        """It will be asked for soon."""
        self._pipe.begin()

    def close(self) -> None:
        self._pipe.close()

    def between(self, before: str, after: str) -> list[PathChange]:
        """Paths that differ, in order. Both are ids of trees. Raises SourceUnreadable."""
        if before == after:
            return []
        with self._pipe.lock:
            if self._last is not None and self._last[:2] == (before, after):
                return list(self._last[2])
            try:
                found = [_path_change(each) for each in self._trees.between(before, after)]
            except Untold:
                found = self._told_by_git(before, after)
            self._last = (before, after, list(found)) if len(found) <= _SMALL else None
            return found

    def _told_by_git(self, before: str, after: str) -> list[PathChange]:
        # a line that is no object id is echoed and flushed: it marks the end of the answer
        answer = self._pipe.ask(f"{before} {after}\nend\n".encode())
        get_ready()  # beside git: whoever compares again reads trees
        head = answer.readline()
        if head.split() != [before.encode(), after.encode()]:
            raise self._pipe.ended()
        return list(self._changes(answer))

    def _changes(self, answer: IO[bytes]) -> Iterator[PathChange]:
        rest = b""
        # every difference is two parts, each ended by a zero: a path called "end\n" comes after an odd number of them
        while not rest.endswith(b"end\n") or rest[-5:-4] not in (b"", b"\0") or rest.count(b"\0") % 2:
            line = answer.readline()
            if not line:
                raise self._pipe.ended()
            rest += line
        parts = rest[:-4].split(b"\0")
        for raw, path in zip(parts[0::2], parts[1::2], strict=False):
            was, now, old, new, _ = raw.decode().split(" ")
            mode = was.removeprefix(":") if _id(new) is None else now
            yield PathChange(path.decode(errors="surrogateescape"), _id(old), _id(new), mode)


def _path_change(change: Change) -> PathChange:
    before, after = change.before, change.after
    there = after or before
    assert there is not None, "what differs is there, or was"
    path, mode = change.path.decode(errors="surrogateescape"), spelled(there[0])
    return PathChange(path, before and before[1], after and after[1], mode)


def _id(text: str) -> str | None:
    return None if text.strip("0") == "" else text


def _is_no_name(name: str) -> bool:
    return not name or "\n" in name or "\0" in name


def _header(line: bytes) -> Found | None:
    parts = line.split()
    if len(parts) != 3 or not parts[2].isdigit():
        return None  # "… missing", "… ambiguous"
    return Found(parts[0].decode(), parts[1].decode(), int(parts[2]))


def _missing(name: str, folder: Path) -> SourceUnreadable:
    return SourceUnreadable(
        f"{folder}: object {name} is missing", hint="the clone is incomplete or damaged: git fsck, or clone it anew"
    )


def _answer(stream: IO[bytes]) -> tuple[Found, bytes] | None:
    line = stream.readline()
    if not line:
        raise EOFError
    found = _header(line)
    if found is None:
        return None
    data = stream.read(found.size + 1)
    if len(data) != found.size + 1:
        raise EOFError
    return found, data[:-1]


def scratch() -> IO[bytes]:
    """A file that has no name and lies in no folder, gone when it is closed."""
    return open(os.memfd_create("trueup"), "w+b")


def _reap(process: subprocess.Popen[bytes]) -> None:
    """It only reads, so nothing is lost by not waiting until it notices that nobody asks any more."""
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with suppress(OSError):
                stream.close()
    process.kill()
    process.wait()
