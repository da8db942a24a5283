"""The documents of a site as a git repository of one commit, streamed through `git fast-import`.

Owns: talking to git. Must not go here: what is written (site).
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import IO

from drivers.sim.generate.site import Site

FLEET = "fleet.db"
LARGEST_CHECKOUT = 20_000
"""Files. More are left in git, where trueup reads them; only the top of the tree is laid out on disk."""
_WHO = b"trueup sim <sim@example.org> 1790000000 +0000"
_EVERY = 100_000


class RepositoryFailed(OSError):
    """git would not. The text is one sentence for people."""


def write(out: Path, site: Site, progress: Callable[[str], object]) -> str:
    """Make the repository in an empty folder. Gives the id of its tree. Raises RepositoryFailed."""
    _git(out, "init", "-q", "-b", "main")
    files = _import(out, site, progress)
    if files > LARGEST_CHECKOUT:
        _git(out, "sparse-checkout", "set", "--cone", "--sparse-index")
    _git(out, "reset", "-q", "--hard", "main")
    return _git(out, "rev-parse", "HEAD^{tree}")


def _import(out: Path, site: Site, progress: Callable[[str], object]) -> int:
    command = ["git", "-C", str(out), "fast-import", "--quiet", "--done"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as importing:
        assert importing.stdin is not None, "it was asked for"
        assert importing.stderr is not None, "it was asked for"
        try:
            count = _stream(importing.stdin, site, progress)
            importing.stdin.close()
        except BrokenPipeError:
            count = 0
        told = importing.stderr.read().decode(errors="replace").strip()
    if importing.returncode:
        raise RepositoryFailed(f"git fast-import ended with {importing.returncode}: {told}")
    return count


def _stream(pipe: IO[bytes], site: Site, progress: Callable[[str], object]) -> int:
    message = f"{site.machines} machines on {site.nodes} nodes, seed {site.seed}\n".encode()
    pipe.write(b"commit refs/heads/main\ncommitter %b\ndata %d\n%b" % (_WHO, len(message), message))
    count = 0
    for path, text in site.files():
        data = text.encode()
        pipe.write(b"M 100644 inline %b\ndata %d\n%b\n" % (path.encode(), len(data), data))
        count += 1
        if count % _EVERY == 0:
            progress(f"{count} documents written")
    pipe.write(b"\ndone\n")
    return count


def _git(out: Path, *arguments: str) -> str:
    command = ["git", "-C", str(out), "-c", "advice.sparseIndexExpanded=false", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise RepositoryFailed("git is not installed") from error
    if done.returncode:
        raise RepositoryFailed(f"git {arguments[0]} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout.strip()
