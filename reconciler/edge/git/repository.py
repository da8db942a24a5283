"""One local repository, bare or not: what its names stand for.

Owns: opening, the repository's identity for people, resolving revisions, ancestry.
Must not go here: contents of trees (tree), remote repositories (mirror).
"""

from __future__ import annotations

import os
import re
from collections import OrderedDict, deque
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypeVar

from reconciler.core.desired import Revision
from reconciler.edge.git.command import Begun, begin, run, without_credentials
from reconciler.edge.git.loose import Loose, bytes_of
from reconciler.edge.git.objects import Objects, TreeDifference
from reconciler.edge.git.trees import Trees
from reconciler.errors import RevisionMissing, SourceRefused, SourceUnreadable

_REMEMBERED = 1_000  # answers about ancestry, and commits' parents: the newest ones
_WALK = 16  # commits to read, at 0.1 ms each, before a process is begun, which takes 2-5 ms
K = TypeVar("K")
V = TypeVar("V")
_HEX = r"[0-9a-f]{40}([0-9a-f]{24})?"


class _Commit(NamedTuple):
    """Ids, as its text has them."""

    tree: str
    parents: tuple[str, ...]


_UNREAD = _Commit("", ())


class Repository:
    """An open repository. Synchronous and thread-safe; `close` ends the git processes that it keeps."""

    def __init__(self, folder: Path, *, git_folder: Path, common: Path, top: Path | None, identity: str) -> None:
        self.folder = folder
        self.git_folder = git_folder
        self.common = common
        """What linked working trees have in common: objects, refs, configuration."""
        self._shallow = f"{common}/shallow"
        self._head_file = f"{git_folder}/HEAD"
        self._loose = Loose(common)
        self.top = top
        """Where the working tree is; None for a bare repository."""
        self.identity = identity
        """The remote it was cloned from, without credentials, else its own path: what lineage calls "the same"."""
        self.objects = Objects(folder)
        self._ancestry: OrderedDict[tuple[str, str], bool] = OrderedDict()
        self._commits: OrderedDict[str, _Commit] = OrderedDict()
        self._difference: TreeDifference | None = None

    @classmethod
    def open(cls, folder: Path, *, identity: str | None = None) -> Repository:
        """The repository that a folder is, or lies in. Raises SourceRefused, SourceUnreadable."""
        return Opening(folder, identity=identity).opened()

    def reopened(self) -> Repository:
        """The same with processes of its own: called in a forked process, where a shared pipe would be fatal."""
        made = Repository(
            self.folder, git_folder=self.git_folder, common=self.common, top=self.top, identity=self.identity
        )
        made.objects.loose = made._loose
        return made

    def close(self) -> None:
        self.objects.close()
        if self._difference is not None:
            self._difference.close()

    def __enter__(self) -> Repository:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def shallow(self) -> bool:
        """Whether some of the history is cut off: as it is now, for it may be fetched at any time."""
        return os.path.exists(self._shallow)

    @property
    def difference(self) -> TreeDifference:
        if self._difference is None:
            self._difference = TreeDifference(self.folder, Trees(self._loose, self._object))
        return self._difference

    def _object(self, id_: str) -> tuple[str, bytes] | None:
        found = self.objects.contents(id_)
        return (found[0].kind, found[1]) if found is not None else None

    def root_of(self, folder: Path) -> str:
        """A folder of the working tree as a root: `""` for the top, `sites/a` beneath it."""
        if self.top is None:
            return ""
        return _root(folder.resolve().relative_to(self.top).as_posix())

    def branch(self) -> str:
        """The branch that HEAD is on: `main`. Raises SourceUnreadable if it is on none."""
        found = self.branch_if_any()
        if found is None:
            raise SourceUnreadable(
                f"{self.folder}: HEAD is on no branch", hint="name the branch to follow, or switch to it"
            )
        return found

    def branch_if_any(self) -> str | None:
        """The branch that HEAD is on; None if it is on none. Raises SourceUnreadable where HEAD cannot be read."""
        try:
            head = bytes_of(self._head_file).decode(errors="surrogateescape").strip()
        except OSError as error:
            raise SourceUnreadable(f"{self.folder}: .git/HEAD cannot be read: {error.strerror}") from error
        if head == "ref: refs/heads/.invalid":  # refs kept in another format: git alone knows
            head = f"ref: {run(self.folder, ('symbolic-ref', 'HEAD')).decode().strip()}"
        return head.removeprefix("ref: refs/heads/") if head.startswith("ref: refs/heads/") else None

    def commit(self, revision: str) -> str:
        """The full id of the commit that a revision names. Raises RevisionMissing."""
        found = None if revision.startswith("-") else self.objects.contents(f"{revision}^{{commit}}")
        if found is None:
            raise RevisionMissing(
                f"{self.identity}: there is no commit {revision!r}",
                hint="the clone is shallow: git fetch --unshallow"
                if self.shallow
                else "git log --oneline shows what is",
            )
        return found[0].id

    def has_commit(self, commit: str) -> bool:
        return bool(re.fullmatch(_HEX, commit)) and self.objects.contents(f"{commit}^{{commit}}") is not None

    def tree(self, commit: str, root: str = "") -> str:
        """The id of the tree at a root. Raises RevisionMissing if there is no such folder in it, SourceUnreadable if a
        commit's own tree is not there."""
        root = _root(root)
        known = self._commits.get(commit) if not root else None
        if known is not None and self._loose.there(known.tree):
            return known.tree
        found = self.objects.find(f"{commit}:{root}" if root else f"{commit}^{{tree}}")
        if found is None and not root:
            raise SourceUnreadable(
                f"{self.identity}: the tree of {commit[:12]} is missing",
                hint="the clone is incomplete or damaged: git fsck, or clone it anew",
            )
        if found is None or found.kind != "tree":
            raise RevisionMissing(f"{self.identity}: revision {commit[:12]} has no folder {root!r}")
        return found.id

    def revision(self, name: str | None, *, ref: str | None = None, root: str = "") -> Revision:
        """The Revision of a name (None: the head of `ref`, which is HEAD's branch unless named).

        `branch` is None if the commit is not part of that ref, or HEAD is on no branch, as where CI checks out: it can
        be planned, never applied (invariant I13).
        """
        branch = ref or self.branch_if_any()
        head = self.commit("HEAD") if branch is None else self._head(branch)
        commit = head if name is None else self.commit(name)
        member = branch is not None and (commit == head or self.is_ancestor(commit, head))
        return Revision(
            commit=commit,
            tree=self.tree(commit, root),
            branch=branch if member else None,
            root=_root(root),
            repository=self.identity,
        )

    def is_ancestor(self, older: str, newer: str) -> bool:
        """Whether a commit is part of another's history (each of its own). Both are full ids; one that is not here is
        part of no history. Raises SourceUnreadable.

        A loop asks this of each new commit about one that is long known: then its parents tell, and no process is
        begun. A shallow clone hides parents and may be deepened: there git is asked, and nothing is remembered.
        """
        if older == newer:
            return True
        if self.shallow:
            return self.has_commit(older) and self._reached(older, newer)
        known = self._ancestry.get((older, newer))
        if known is None:
            known = self._told_by_parents(older, newer)
            if known is None:
                known = self.has_commit(older) and self._reached(older, newer)
            _remember(self._ancestry, (older, newer), known)
        return known

    def _told_by_parents(self, older: str, newer: str) -> bool | None:
        """The same, as far as a short walk through parents and what is remembered of them tell it."""
        if self._ancestry.get((newer, older)):
            return False
        if any(self._ancestry.get((parent, newer)) is False for parent in self._commits.get(older, _UNREAD).parents):
            return False  # a history without a parent is without its children
        near, met = deque([newer]), {newer}
        while near:
            if len(met) > _WALK:
                return None
            try:
                parents = self._parents(near.popleft())
            except SourceUnreadable:
                return None  # not all is here: git can tell how far that matters
            for parent in parents:
                known = parent == older or self._ancestry.get((older, parent))
                if known:
                    return True
                if known is None and parent not in met:
                    met.add(parent)
                    near.append(parent)
        return False

    def _parents(self, commit: str) -> tuple[str, ...]:
        """Raises SourceUnreadable, also where the commit is not here."""
        known = self._commits.get(commit)
        return (known if known is not None else self._keep(commit, self.objects.read(commit))).parents

    def _keep(self, commit: str, content: bytes) -> _Commit:
        tree, *lines = content.partition(b"\n\n")[0].decode(errors="replace").split("\n")
        parents = tuple(line.removeprefix("parent ") for line in lines if line.startswith("parent "))
        kept = _Commit(tree.removeprefix("tree "), parents)
        _remember(self._commits, commit, kept)
        return kept

    def _reached(self, older: str, newer: str) -> bool:
        """The same, by a process that walks as far as it has to."""
        return not run(self.folder, ("rev-list", "--max-count=1", older, f"^{newer}")).strip()

    def _head(self, branch: str) -> str:
        # with its contents: what its tree is, and whose child it is, will be asked next
        lying = self._loose.head(branch)
        if lying is not None:
            if lying in self._commits:
                return lying
            there = self._loose.read(lying)
            if there is not None and there[0] == "commit":
                self._keep(lying, there[1])
                return lying
        found = self.objects.contents(f"refs/heads/{branch}^{{commit}}")
        if found is None:
            raise RevisionMissing(f"{self.identity}: branch {branch} has no commit", hint="commit something, then plan")
        head, content = found
        self._keep(head.id, content)
        return head.id


def _remember(memory: OrderedDict[K, V], key: K, value: V) -> None:
    memory[key] = value
    if len(memory) > _REMEMBERED:
        memory.popitem(last=False)


class Opening:
    """git looks for the repository that a folder is, or lies in, beside whatever is done until that is asked for."""

    def __init__(self, folder: Path, *, identity: str | None = None) -> None:
        """Raises SourceRefused, SourceUnreadable."""
        if not os.path.isdir(folder):  # a Path's own question raises for a name that is too long
            raise SourceRefused(f"{str(folder)[:200]}: there is no such folder")
        self._real = folder.resolve()
        self._identity = identity
        self._places = begin(
            self._real,
            (
                "rev-parse",
                "--absolute-git-dir",
                "--git-common-dir",
                "--is-bare-repository",
                "--is-inside-git-dir",
                "--show-prefix",
            ),
        )
        self._objects = Objects(self._real)
        self._objects.begin()
        self._origin = (
            begin(self._real, ("config", "--local", "--default", "", "--get", "remote.origin.url"))
            if not identity
            else None
        )

    def opened(self) -> Repository:
        """Raises SourceRefused, SourceUnreadable."""
        try:
            text, real = self._places.output().decode(errors="surrogateescape"), self._real
            git_dir, common, bare, inside, prefix = _five(text, real)
            top = None if bare == "true" or inside == "true" else _above(real, prefix)
            common_folder = (real / common).resolve()
            repository = Repository(
                Path(git_dir) if top is None else real,
                git_folder=Path(git_dir),
                common=common_folder,
                top=top,
                identity=self._identity or _identity(self._origin, common_folder),
            )
            if repository.folder == real:
                repository.objects, self._objects = self._objects, repository.objects
            repository.objects.loose = repository._loose
            return repository
        finally:
            self.close()

    def close(self) -> None:
        """Nobody asks any more."""
        self._objects.close()
        self._places.close()
        if self._origin is not None:
            self._origin.close()


def _five(text: str, folder: Path) -> tuple[str, str, str, str, str]:
    lines = text.split("\n")
    if len(lines) < 5:
        raise SourceUnreadable(f"{folder}: git did not say where the repository is")
    return lines[0], lines[1], lines[2], lines[3], lines[4]


def _above(folder: Path, prefix: str) -> Path:
    """The top of the working tree, given a folder in it and its path from there."""
    for _ in PurePosixPath(prefix).parts:
        folder = folder.parent
    return folder


def _root(root: str) -> str:
    cleaned = root.strip("/")
    if ".." in cleaned.split("/"):
        raise SourceRefused(f"the root {root!r} leads out of the repository")
    return "" if cleaned == "." else cleaned


def _identity(origin: Begun | None, common: Path) -> str:
    try:
        url = origin.output().decode().strip() if origin is not None else ""
    except SourceUnreadable:
        return str(common)  # the local configuration cannot be read: what else hangs on it says so
    return without_credentials(url) if url else str(common)
