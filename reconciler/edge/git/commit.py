"""Commits that trueup makes for people: `undo`, `restore`, `pin`.

Owns: changing some files in one commit, with nothing else touched: not what is staged, nor what is edited elsewhere.
Must not go here: what to write into the files.

Made from objects: the trees along the changed paths are written anew, so it costs what the change costs. No hook
runs and nothing is signed; where a repository asks for either, the commit is theirs to make (print the edit instead).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from reconciler.edge.git.command import environment, run
from reconciler.edge.git.repository import Repository
from reconciler.errors import SourceRefused, SourceUnreadable, TrueupError, UsageError

_FILE = "100644"
_TREE = "040000"


def commit_files(
    repository: Repository,
    files: Mapping[str, bytes | None],
    message: str,
    *,
    branch: str | None = None,
    author: tuple[str, str] | None = None,
) -> str:
    """Commits the contents of some files (None: removed) on a branch (None: HEAD's); gives the commit's id.

    Paths are from the top of the repository. `author` is (name, email) where the person's own settings shall not be
    asked. If the branch is checked out here, the files and their index entries follow. Raises SourceRefused if one of
    the files has changes that are not committed, or the branch moved meanwhile; then nothing is changed.
    """
    edits = {_parts(path): data for path, data in files.items()}
    target = branch or repository.branch()
    parent = repository.commit(f"refs/heads/{target}")
    here = repository.top is not None and target == _checked_out(repository)
    if here:
        _require_untouched(repository, files)
    tree = _edited(repository, repository.tree(parent), edits)
    if tree == repository.tree(parent):
        raise SourceRefused("nothing to commit: the files already hold that", hint="is the change on another branch?")
    commit = _commit(repository, tree, parent, message, author=author)
    try:
        run(repository.folder, ("update-ref", "-m", f"trueup: {message.partition(chr(10))[0]}",
                                f"refs/heads/{target}", commit, parent))  # fmt: skip
    except SourceUnreadable as error:
        raise SourceRefused(f"branch {target} moved meanwhile; nothing was changed", hint="try again") from error
    if here:
        _follow(repository, files, commit)
    return commit


def _parts(path: str) -> tuple[str, ...]:
    parts = tuple(path.split("/"))
    if any(part in ("", ".", "..") or part.lower() == ".git" or "\0" in part for part in parts):
        raise UsageError(f"{path!r} is no path of a file in the repository")
    return parts


def _checked_out(repository: Repository) -> str | None:
    try:
        return repository.branch()
    except SourceUnreadable:
        return None


def _require_untouched(repository: Repository, files: Mapping[str, bytes | None]) -> None:
    """Neither the index nor the working tree may hold something of its own at these paths."""
    assert repository.top is not None
    paths = tuple(f":(top,literal){path}" for path in files)
    staged = run(repository.top, ("diff-index", "--cached", "--name-only", "-z", "HEAD", "--", *paths))
    changed = staged.decode(errors="replace").split("\0")[:-1]
    for path in files:
        known = _content_at_head(repository, path)
        on_disk = repository.top / path
        if on_disk.is_symlink() or (on_disk.read_bytes() if on_disk.is_file() else None) != known:
            changed.append(path)
    if changed:
        raise SourceRefused(
            f"{', '.join(sorted(set(changed)))}: has changes that are not committed",
            hint="commit or undo them first; nothing was changed",
        )


def _content_at_head(repository: Repository, path: str) -> bytes | None:
    listed = run(repository.folder, ("ls-tree", "-z", "--full-tree", "HEAD", "--", path)).decode(errors="replace")
    mode, kind, blob = listed.partition("\t")[0].split(" ") if listed else ("", "", "")
    if kind not in ("", "blob") or mode == "120000":
        raise SourceRefused(f"{path}: is no regular file in the repository")
    return repository.objects.read(blob) if blob else None


def _edited(repository: Repository, tree: str | None, edits: Mapping[tuple[str, ...], bytes | None]) -> str | None:
    """The id of a tree with the edits made; None if nothing is left in it."""
    entries = _entries(repository, tree)
    below: dict[str, dict[tuple[str, ...], bytes | None]] = {}
    for parts, data in edits.items():
        if len(parts) > 1:
            below.setdefault(parts[0], {})[parts[1:]] = data
        elif data is None:
            entries.pop(parts[0], None)
        else:
            blob = run(repository.folder, ("hash-object", "-w", "-t", "blob", "--no-filters", "--stdin"), stdin=data)
            mode = entries[parts[0]][0] if parts[0] in entries else _FILE
            entries[parts[0]] = (mode, "blob", blob.decode().strip())
    for name, inner in below.items():
        old = entries.get(name)
        inside = _edited(repository, old[2] if old and old[1] == "tree" else None, inner)
        if inside is None:
            entries.pop(name, None)
        else:
            entries[name] = (_TREE, "tree", inside)
    return _written(repository, entries) if entries or tree is None else None


def _entries(repository: Repository, tree: str | None) -> dict[str, tuple[str, str, str]]:
    if tree is None:
        return {}
    listed = run(repository.folder, ("ls-tree", "-z", "--full-tree", tree)).decode(errors="surrogateescape")
    entries = {}
    for line in listed.split("\0")[:-1]:
        head, _, name = line.partition("\t")
        mode, kind, blob = head.split(" ")
        entries[name] = (mode, kind, blob)
    return entries


def _written(repository: Repository, entries: Mapping[str, tuple[str, str, str]]) -> str:
    lines = "".join(f"{mode} {kind} {blob}\t{name}\0" for name, (mode, kind, blob) in entries.items())
    made = run(repository.folder, ("mktree", "-z"), stdin=lines.encode(errors="surrogateescape"))
    return made.decode().strip()


def _commit(
    repository: Repository, tree: str | None, parent: str, message: str, *, author: tuple[str, str] | None
) -> str:
    who = {}
    if author is not None:
        name, email = author
        who = {
            f"GIT_{role}_{key}": value
            for role in ("AUTHOR", "COMMITTER")
            for key, value in (("NAME", name), ("EMAIL", email))
        }
    tree = tree or _written(repository, {})
    try:
        made = run(
            repository.folder,
            ("-c", "user.useConfigOnly=true", "commit-tree", "--no-gpg-sign", "-p", parent, tree),
            stdin=message.encode(),
            env=environment(extra=who),
        )
    except TrueupError as error:
        if "email" in error.message or "name" in error.message or "ident" in error.message:
            raise UsageError(
                "git does not know who makes this commit",
                hint="git config user.name 'Ada Lovelace'; git config user.email ada@example.org",
            ) from error
        raise
    return made.decode().strip()


def _follow(repository: Repository, files: Mapping[str, bytes | None], commit: str) -> None:
    """Brings the working tree's files and their index entries up to the commit that was made."""
    assert repository.top is not None
    lines = []
    for path, data in files.items():
        place = repository.top / path
        if data is None:
            place.unlink(missing_ok=True)
            _prune(place.parent, repository.top)
        else:
            _replace(place, data)
        listed = run(repository.folder, ("ls-tree", "-z", "--full-tree", commit, "--", path)).decode(
            errors="surrogateescape"
        )
        lines.append(listed if listed else f"0 {'0' * 40}\t{path}\0")
    try:
        run(
            repository.top,
            ("update-index", "-z", "--index-info"),
            stdin="".join(lines).encode(errors="surrogateescape"),
        )
    except TrueupError as error:
        raise SourceRefused(
            f"commit {commit[:12]} is made, but the index could not follow: {error.message}",
            hint=f"git reset -q -- {' '.join(files)}",
        ) from error


def _replace(place: Path, data: bytes) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    beside = place.with_name(f".{place.name}.trueup")
    beside.write_bytes(data)
    if place.exists():
        os.chmod(beside, place.stat().st_mode)
    os.replace(beside, place)


def _prune(folder: Path, top: Path) -> None:
    """Folders that the removal of a file left empty: git does not keep them either."""
    while folder != top and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
