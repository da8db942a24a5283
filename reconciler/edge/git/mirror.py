"""A remote repository, kept as a bare mirror in the state folder.

Owns: making it, fetching with a limit of time, and what can go wrong on the way. Must not go here: reading it
(repository), when to fetch (runtime).
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from reconciler.core.values import digest
from reconciler.edge.git.command import REMOTE_PROTOCOLS, environment, run, without_credentials
from reconciler.edge.git.repository import Repository
from reconciler.errors import SourceUnreadable, TrueupError, UsageError


class Mirror:
    """The mirror of one URL. Its configuration is ours, not the remote's, so fetching runs nothing of theirs."""

    def __init__(self, url: str, folder: Path) -> None:
        """`folder` is where mirrors are kept; this one gets a folder of its own in it. Raises UsageError."""
        if url.startswith("-") or "::" in url or not url.strip():
            raise UsageError(f"{without_credentials(url)!r} is no URL of a repository")
        self.url = url
        self.shown = without_credentials(url)
        self.path = folder / f"{_slug(self.shown)}-{digest(self.shown)[:8]}.git"

    def fetch(self, *, timeout: float = 120) -> Repository:
        """Brings every branch and tag up to date (forced pushes too: lineage judges those) and opens the mirror.

        Raises SourceUnreadable with what the remote said; the mirror keeps what it had.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _alone(self.path.with_suffix(".lock")):
            fresh = not (self.path / "HEAD").exists()
            if fresh:
                run(self.path.parent, ("init", "--quiet", "--bare", "--initial-branch=main", self.path.name))
            try:
                run(
                    self.path,
                    (
                        "fetch",
                        "--quiet",
                        "--prune",
                        "--no-auto-gc",
                        "--no-write-fetch-head",
                        "--no-recurse-submodules",
                        "--end-of-options",
                        self.url,
                        "+refs/heads/*:refs/heads/*",
                        "+refs/tags/*:refs/tags/*",
                    ),
                    env=environment(protocols=REMOTE_PROTOCOLS),
                    timeout=timeout,
                )
                if fresh:
                    self._take_head(timeout)
            except TrueupError as error:
                raise _unreachable(self.shown, error) from error
        return self.open()

    def _take_head(self, timeout: float) -> None:
        """The remote's HEAD says which branch is meant where nobody names one."""
        told = run(
            self.path,
            ("ls-remote", "--symref", "--end-of-options", self.url, "HEAD"),
            env=environment(protocols=REMOTE_PROTOCOLS),
            timeout=timeout,
        ).decode(errors="replace")
        if told.startswith("ref: refs/heads/"):
            run(self.path, ("symbolic-ref", "HEAD", told.partition("\t")[0].removeprefix("ref: ")))

    def open(self) -> Repository:
        """The mirror as it was fetched last. Raises SourceUnreadable if it never was."""
        if not (self.path / "HEAD").exists():
            raise SourceUnreadable(f"{self.shown}: has not been fetched yet")
        return Repository.open(self.path, identity=self.shown)


class _alone:
    """Two fetches into one mirror would trip over each other's locks."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1

    def __enter__(self) -> None:
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        os.close(self._file)


_CAUSES = (
    (("Could not resolve", "Name or service not known"), "its host has no address", "is the name right, is DNS up?"),
    (
        ("Connection refused", "Connection timed out", "unreachable", "Failed to connect"),
        "its host does not answer",
        "",
    ),
    (
        (
            "Authentication failed",
            "could not read Username",
            "Permission denied (",
            "HTTP 401",
            "error: 401",
            "error: 403",
        ),
        "it does not let us in",
        "a deploy key or a credential helper of the user that runs trueup",
    ),
    (
        ("Host key for",),
        "its host shows another key than the known one",
        "if that is right: ssh-keygen -R HOST, and learn the new one",
    ),
    (("kex_exchange", "Connection closed by", "Connection reset by"), "its host ended the connection", ""),
    (
        ("Host key verification failed",),
        "its host key is not known",
        "check it, then: ssh-keyscan HOST >> ~/.ssh/known_hosts",
    ),
    (("not found", "does not exist", "does not appear to be a git repository"), "there is no such repository", ""),
    (("transport '",), "this kind of URL is not allowed", "https, ssh, git or a local path"),
    (("took longer",), "it did not answer in time", ""),
)
"""Words in git's answer, what they mean, what to do."""


def _unreachable(url: str, error: TrueupError) -> SourceUnreadable:
    text = str(error.message)
    for marks, cause, hint in _CAUSES:
        if any(mark in text for mark in marks):
            return SourceUnreadable(f"{url}: cannot be fetched: {cause}", hint=hint or error.hint)
    said = text.partition(": ")[2] or text
    return SourceUnreadable(f"{url}: cannot be fetched: {said}", hint=error.hint)


def _slug(url: str) -> str:
    name = url.rstrip("/").removesuffix(".git").rpartition("/")[2].rpartition(":")[2]
    return (
        "".join(character if character.isalnum() or character in "-_" else "-" for character in name)[:40] or "mirror"
    )
