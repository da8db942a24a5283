"""The tree that a commit of everything would make now: for planning what is not committed yet.

Owns: computing it without touching the repository: a copy of the index, and new objects in a folder of their own.
Must not go here: applying (such a Revision has no commit, and is never applied).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from reconciler.core.desired import Revision
from reconciler.edge.git.command import Begun, begin, environment, run
from reconciler.edge.git.repository import Repository
from reconciler.edge.git.tree import CommitTree
from reconciler.errors import RevisionMissing, SourceRefused, SourceUnreadable


class WorkingTree(NamedTuple):
    """`head` is the commit beneath; None in a repository without commits. `revision.commit` is set where nothing is
    changed: then the working tree is that commit."""

    revision: Revision
    tree: CommitTree
    head: str | None
    objects: Path
    """The folder of the objects that only this tree has. Gone after `close`."""

    def close(self) -> None:
        import shutil

        self.tree.close()
        shutil.rmtree(self.objects, ignore_errors=True)


def snapshot(repository: Repository, root: str = "") -> WorkingTree:
    """The working tree as it stands: what is staged, changed and new, but not what is ignored.

    Raises SourceRefused for a bare repository, SourceUnreadable for a file that cannot be read.
    """
    import shutil
    import tempfile

    if repository.top is None:
        raise SourceRefused(f"{repository.identity}: a bare repository has no working tree", hint="name a revision")
    objects = Path(tempfile.mkdtemp(prefix="trueup-tree-"))
    try:
        extra = {
            "GIT_INDEX_FILE": str(objects / "index"),
            "GIT_OBJECT_DIRECTORY": str(objects),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(_object_store(repository)),
        }
        tree = _would_be(repository, objects, extra)
        head = _head(repository)
        unchanged = head is not None and repository.tree(head) == tree
        # the root's own id, so that what changes beside it does not change the plan's digest
        at_root = _subtree(repository.top, tree, root, extra)
        revision = Revision(
            commit=head if unchanged else None,
            tree=at_root,
            branch=repository.branch_if_any(),
            root=root,
            repository=repository.identity,
        )
        return WorkingTree(revision, CommitTree(repository.top, at_root, extra=extra), head, objects)
    except BaseException:
        shutil.rmtree(objects, ignore_errors=True)
        raise


class Uncommitted:
    """git looks whether documents of the working tree are not as in HEAD: YAML beneath the root, in no hidden folder,
    and not ignored. Costs a look at every file, beside whatever is done until that is asked for."""

    def __init__(self, repository: Repository, root: str = "") -> None:
        """Raises SourceUnreadable, SourceRefused."""
        self._beneath = f"{root}/" if root else ""
        self._looking: Begun | None = None
        if repository.top is not None:
            # which are documents is told here: git takes a third longer where it compares each path with a pattern
            within = ("--", f":(top,literal){root}") if root else ()
            command = ("status", "--porcelain", "-z", "--no-renames", "--untracked-files=all", *within)
            self._looking = begin(repository.top, command, env=environment(extra=_without_filters(repository)))

    def told(self, *, timeout: float = 60) -> bool:
        """To be asked once. Raises SourceUnreadable, also when it takes longer than `timeout` (s) from now on."""
        if self._looking is None:
            return False
        found = self._looking.output(timeout=timeout).decode(errors="surrogateescape")
        paths = [entry[3:].removeprefix(self._beneath) for entry in found.split("\0")]
        return any(path.endswith((".yaml", ".yml")) and not path.startswith(".") and "/." not in path for path in paths)

    def close(self) -> None:
        """Nobody asks any more."""
        if self._looking is not None:
            self._looking.close()


def _would_be(repository: Repository, objects: Path, extra: Mapping[str, str]) -> str:
    assert repository.top is not None
    from shutil import copy2

    index = repository.git_folder / "index"
    if index.exists():
        copy2(index, objects / "index")  # it knows which files are unchanged, so they are not read again
    env = environment(extra={**extra, **_without_filters(repository)})
    run(repository.top, ("add", "--all", "--", "."), env=env, timeout=600)
    return run(repository.top, ("write-tree",), env=env).decode().strip()


def _without_filters(repository: Repository) -> dict[str, str]:
    """Settings that switch off each filter the configuration names: `git add` would run them. To be asked each time:
    the configuration may change."""
    if not _may_name_filters(repository):
        return {}
    top = repository.top or repository.folder
    try:
        names = run(
            top, ("config", "--null", "--name-only", "--get-regexp", r"^filter\..*\.(clean|smudge|process|required)$")
        )
    except SourceUnreadable:
        return {}  # none: git says so by failing
    settings: Sequence[tuple[str, str]] = [
        (name, "false" if name.endswith(".required") else "") for name in names.decode().split("\0") if name
    ]
    numbered = {f"GIT_CONFIG_KEY_{place}": name for place, (name, _) in enumerate(settings)}
    numbered |= {f"GIT_CONFIG_VALUE_{place}": value for place, (_, value) in enumerate(settings)}
    return {"GIT_CONFIG_COUNT": str(len(settings)), **numbered}


def _may_name_filters(repository: Repository) -> bool:
    """Whether git has to be asked: which names there are it alone can tell, but where no file that it reads has the
    word, there are none."""
    return any(map(_may_name_filter, _configurations(repository)))


def _configurations(repository: Repository) -> Iterator[Path]:
    """The files that git reads its configuration from when we run it (see command), if they are there."""
    yield repository.common / "config"
    yield repository.git_folder / "config.worktree"
    named, home, xdg = (os.environ.get(name) for name in ("GIT_CONFIG_GLOBAL", "HOME", "XDG_CONFIG_HOME"))
    if named is not None:
        yield Path(named)
        return
    if home:
        yield Path(home, ".gitconfig")
    if xdg or home:
        yield Path(xdg or f"{home}/.config", "git", "config")


def _may_name_filter(file: Path) -> bool:
    try:
        text = file.read_bytes().lower()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return b"filter" in text or b"include" in text


def _object_store(repository: Repository) -> Path:
    path = run(repository.folder, ("rev-parse", "--path-format=absolute", "--git-path", "objects"))
    return Path(path.decode(errors="surrogateescape").rstrip("\n"))


def _head(repository: Repository) -> str | None:
    found = repository.objects.find("HEAD^{commit}")
    return found.id if found else None


def _subtree(top: Path, tree: str, root: str, extra: Mapping[str, str]) -> str:
    if not root:
        return tree
    try:
        return (
            run(top, ("rev-parse", "--verify", "--quiet", f"{tree}:{root}"), env=environment(extra=extra))
            .decode()
            .strip()
        )
    except SourceUnreadable as error:
        raise RevisionMissing(f"{top}: there is no folder {root!r} with anything to commit in it") from error
