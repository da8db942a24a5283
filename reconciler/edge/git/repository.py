"""One local repository, bare or not: what its names stand for.

Owns: opening, the repository's identity for people, resolving revisions, ancestry.
Must not go here: contents of trees (tree), remote repositories (mirror).
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

from reconciler.core.desired import Revision
from reconciler.edge.git.command import run, without_credentials
from reconciler.edge.git.objects import Objects, TreeDifference
from reconciler.errors import RevisionMissing, SourceRefused, SourceUnreadable

_REMEMBERED = 10_000  # answers about ancestry
_HEX = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


class Repository:
    """An open repository. Synchronous and thread-safe; `close` ends the git processes that it keeps."""

    def __init__(self, folder: Path, *, git_folder: Path, top: Path | None, shallow: bool, identity: str) -> None:
        self.folder = folder
        self.git_folder = git_folder
        self.top = top
        """Where the working tree is; None for a bare repository."""
        self.shallow = shallow
        self.identity = identity
        """The remote it was cloned from, without credentials, else its own path: what lineage calls "the same"."""
        self.objects = Objects(folder)
        self._ancestry: dict[tuple[str, str], bool] = {}
        self._difference: TreeDifference | None = None

    @classmethod
    def open(cls, folder: Path, *, identity: str | None = None) -> Repository:
        """The repository that a folder is, or lies in. Raises SourceRefused, SourceUnreadable."""
        if not os.path.isdir(folder):  # a Path's own question raises for a name that is too long
            raise SourceRefused(f"{str(folder)[:200]}: there is no such folder")
        real = folder.resolve()
        lines = run(
            real,
            (
                "rev-parse",
                "--absolute-git-dir",
                "--git-common-dir",
                "--is-bare-repository",
                "--is-inside-git-dir",
                "--is-shallow-repository",
                "--show-prefix",
            ),
        )
        git_dir, common, bare, inside, shallow, prefix = _six(lines.decode(errors="surrogateescape"), real)
        top = None if bare == "true" or inside == "true" else _above(real, prefix)
        common_folder = (real / common).resolve()
        return cls(
            Path(git_dir) if top is None else real,
            git_folder=Path(git_dir),
            top=top,
            shallow=shallow == "true",
            identity=identity or _identity(real, common_folder),
        )

    def close(self) -> None:
        self.objects.close()
        if self._difference is not None:
            self._difference.close()

    def __enter__(self) -> Repository:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def difference(self) -> TreeDifference:
        if self._difference is None:
            self._difference = TreeDifference(self.folder)
        return self._difference

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
            head = (self.git_folder / "HEAD").read_text().strip()
        except OSError as error:
            raise SourceUnreadable(f"{self.folder}: .git/HEAD cannot be read: {error.strerror}") from error
        if head == "ref: refs/heads/.invalid":  # refs kept in another format: git alone knows
            head = f"ref: {run(self.folder, ('symbolic-ref', 'HEAD')).decode().strip()}"
        return head.removeprefix("ref: refs/heads/") if head.startswith("ref: refs/heads/") else None

    def commit(self, revision: str) -> str:
        """The full id of the commit that a revision names. Raises RevisionMissing."""
        found = None if revision.startswith("-") else self.objects.find(f"{revision}^{{commit}}")
        if found is None:
            raise RevisionMissing(
                f"{self.identity}: there is no commit {revision!r}",
                hint="the clone is shallow: git fetch --unshallow"
                if self.shallow
                else "git log --oneline shows what is",
            )
        return found.id

    def has_commit(self, commit: str) -> bool:
        return bool(_HEX.fullmatch(commit)) and self.objects.find(f"{commit}^{{commit}}") is not None

    def tree(self, commit: str, root: str = "") -> str:
        """The id of the tree at a root. Raises RevisionMissing if there is no such folder in it, SourceUnreadable if a
        commit's own tree is not there."""
        found = self.objects.find(f"{commit}:{_root(root)}" if _root(root) else f"{commit}^{{tree}}")
        if found is None and not _root(root):
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
        """Whether a commit is part of another's history (each of its own). Both are full ids.

        A loop asks this of each new commit about one that is long known: then the commit's parents tell, and no
        process is begun. A shallow clone may be deepened, so there nothing is remembered.
        """
        if older == newer:
            return True
        known = self._ancestry.get((older, newer))
        if known is None and self._ancestry.get((newer, older)):
            known = False
        if known is None and self._follows_known(older, newer):
            known = True
        if known is None:
            known = not run(self.folder, ("rev-list", "--max-count=1", older, f"^{newer}")).strip()
        if not self.shallow:
            if len(self._ancestry) >= _REMEMBERED:
                self._ancestry.clear()
            self._ancestry[older, newer] = known
        return known

    def _follows_known(self, older: str, newer: str) -> bool:
        """Whether a parent of the newer one is the older one, or known to follow it."""
        head = self.objects.read(newer).partition(b"\n\n")[0]
        parents = [line[7:].decode() for line in head.split(b"\n") if line.startswith(b"parent ")]
        return any(parent == older or self._ancestry.get((older, parent)) for parent in parents)

    def _head(self, branch: str) -> str:
        found = self.objects.find(f"refs/heads/{branch}^{{commit}}")
        if found is None:
            raise RevisionMissing(f"{self.identity}: branch {branch} has no commit", hint="commit something, then plan")
        return found.id


def _six(text: str, folder: Path) -> tuple[str, str, str, str, str, str]:
    lines = text.split("\n")
    if len(lines) < 6:
        raise SourceUnreadable(f"{folder}: git did not say where the repository is")
    return lines[0], lines[1], lines[2], lines[3], lines[4], lines[5]


def _above(folder: Path, prefix: str) -> Path:
    """The top of the working tree, given a folder in it and its path from there."""
    for _ in PurePosixPath(prefix).parts:
        folder = folder.parent
    return folder


def _root(root: str) -> str:
    cleaned = root.strip("/")
    if ".." in PurePosixPath(cleaned).parts:
        raise SourceRefused(f"the root {root!r} leads out of the repository")
    return "" if cleaned == "." else cleaned


def _identity(folder: Path, common: Path) -> str:
    try:
        url = run(folder, ("config", "--local", "--get", "remote.origin.url")).decode().strip()
    except SourceUnreadable:
        return str(common)  # no remote: git says so by failing
    return without_credentials(url) or str(common)
