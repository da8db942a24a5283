"""One git command, hardened, with its failures told in one sentence.

Owns: the environment and options that every git process of ours gets, and the translation of its errors.
Must not go here: what the commands are for.

A repository is somebody else's data, its configuration included. What could make git run a program of that
repository's choosing while we read: hooks, `core.fsmonitor`, filters, text converters, and lazy fetches of a partial
clone (`remote.*.uploadpack`). All are off. Replacement objects and grafts would make ids and ancestry lie: off too.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from reconciler.errors import SourceRefused, SourceUnreadable, TrueupError

OPTIONS = (
    "--no-replace-objects",
    "-c",
    "core.fsmonitor=false",
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "protocol.ext.allow=never",
    "-c",
    "core.quotePath=false",
    "-c",
    "core.warnAmbiguousRefs=false",
    "-c",
    "gc.auto=0",
)

_KEPT = ("GIT_SSH", "GIT_SSH_COMMAND", "GIT_SSH_VARIANT", "GIT_ASKPASS", "GIT_CONFIG_GLOBAL", "GIT_EXEC_PATH")
"""The person's own settings for reaching remotes. All else that begins with GIT_ is dropped: it may point to another
repository (we are run from a hook) or switch on what is off here."""
_IDENTITY = frozenset(f"GIT_{who}_{what}" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL", "DATE"))

REMOTE_PROTOCOLS = "https:http:ssh:git:file"


def environment(*, protocols: str = "none", extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a git process sees. `protocols` is what it may fetch by; local reading may fetch nothing."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("GIT_") or key in _KEPT or key in _IDENTITY
    }
    kept |= {
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_GRAFT_FILE": "/dev/null",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_ALLOW_PROTOCOL": protocols,
    }
    return kept | dict(extra or {})


class Begun:
    """A git command that runs, beside whatever is done until its output is asked for."""

    def __init__(self, folder: Path | str, arguments: Sequence[str], process: subprocess.Popen[bytes]) -> None:
        self._folder = folder
        self._doing = arguments[0]
        self._process = process

    def output(self, stdin: bytes | None = None, *, timeout: float = 60) -> bytes:
        """Its standard output, once it has ended. Raises SourceUnreadable, or SourceRefused where the person must
        act."""
        with self._process as process:
            try:
                output, stderr = process.communicate(stdin, timeout=timeout)
            except BaseException as error:
                self._kill()
                if isinstance(error, subprocess.TimeoutExpired):
                    raise SourceUnreadable(
                        f"{self._folder}: `git {self._doing}` took longer than {timeout:.0f} s"
                    ) from error
                raise
        if process.returncode != 0:
            raise failed(self._folder, stderr.decode(errors="replace"), doing=self._doing)
        return output

    def close(self) -> None:
        """Nobody asks for its output any more."""
        if self._process.returncode is None:
            self._kill()
            with self._process:
                pass

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)


def begin(
    folder: Path | str, arguments: Sequence[str], *, asked: bool = False, env: Mapping[str, str] | None = None
) -> Begun:
    """Begin `git -C folder …`; `asked`: it will be given something to read. Raises SourceUnreadable, SourceRefused."""
    try:
        # a session of its own: Ctrl-C is ours to handle, and a time limit ends git's own children (ssh) as well
        process = subprocess.Popen(
            ["git", "-C", str(folder), *OPTIONS, *arguments],
            stdin=subprocess.PIPE if asked else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env if env is not None else environment(),
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise missing_git() from error
    except OSError as error:  # a path longer than the system takes, no more processes
        raise SourceUnreadable(f"{str(folder)[:200]}: git cannot be started: {error.strerror}") from error
    return Begun(folder, arguments, process)


def run(
    folder: Path | str,
    arguments: Sequence[str],
    *,
    stdin: bytes | None = None,
    timeout: float = 60,
    env: Mapping[str, str] | None = None,
) -> bytes:
    """Standard output of `git -C folder …`. Raises SourceUnreadable, or SourceRefused where the person must act."""
    return begin(folder, arguments, asked=stdin is not None, env=env).output(stdin, timeout=timeout)


def missing_git() -> TrueupError:
    return SourceRefused("there is no `git` on this host", hint="install it: apt install git")


def failed(folder: Path | str, stderr: str, *, doing: str) -> TrueupError:
    """What git said, as one error of ours."""
    text = clean(stderr)
    if "dubious ownership" in text:
        return SourceRefused(
            f"{folder}: the repository belongs to another user, so git does not trust it",
            hint=f"if you do: git config --global --add safe.directory {_owned_folder(text, folder)}",
        )
    if "not a git repository" in text.lower():
        if (Path(folder) / ".git").exists():
            return SourceRefused(
                f"{folder}: its .git cannot be used: may we read it, and is it whole?",
                hint="git fsck; or clone it anew",
            )
        return SourceRefused(f"{folder}: this is no git repository", hint="begin one: git init, then trueup init")
    if "Permission denied" in text and "publickey" not in text:
        return SourceRefused(f"{folder}: may not be read: {text}")
    return SourceUnreadable(f"{folder}: git {doing}: {text or 'failed and did not say why'}")


_SSH = ("ssh:", "Host key", "kex_", "Connection ")
"""How the line begins in which ssh says why."""


def clean(stderr: str) -> str:
    """The line of git's answer that says what is wrong, without what could be a password in a URL."""
    lines = [
        line.strip() for line in stderr.splitlines() if line.strip() and not line.startswith(("hint:", "warning:"))
    ]
    telling = [line for line in lines if line.startswith(("fatal:", "error:", "ERROR:", "remote:"))] or lines
    first = telling[0] if telling else ""
    if first == "fatal: Could not read from remote repository.":  # ssh has said why before
        first = next((line for line in lines if line.startswith(_SSH) or "Permission denied (" in line), first)
    return without_credentials(re.sub(r"^(fatal|error|ERROR|remote): *", "", first))


def without_credentials(text: str) -> str:
    """URLs in a text without user and password: both may be tokens. The `git@` of ssh stays."""
    return re.sub(r"(\w+://)(?!git@)[^/@\s]+@", r"\1", text)


def _owned_folder(text: str, folder: Path | str) -> str:
    named = re.search(r"'([^']+)'", text)
    return named.group(1) if named else str(folder)
