"""Generated data centres that rows share: the repository, its fleet, and the state of a controller that knows them.

Owns: making each once (a folder of the host's temporary ones, or $TRUEUP_BENCH) and handing out copies that may be
changed. Must not go here: measuring.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from reconciler.edge.chain import kept
from reconciler.edge.state import State

PER_NODE = 100
"""Machines on a node."""
EDITION = "b"
"""Another letter once `trueup sim generate` writes other documents: fleets made before are of another kind."""

GIT = {
    "GIT_AUTHOR_NAME": "bench", "GIT_AUTHOR_EMAIL": "bench@example.org",
    "GIT_COMMITTER_NAME": "bench", "GIT_COMMITTER_EMAIL": "bench@example.org",
    "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null",
}  # fmt: skip


class Fleet(NamedTuple):
    """`folder`: the repository with its fleet; `state`: the controller's folder, whose journal knows every machine."""

    folder: Path
    state: Path
    machines: int

    @property
    def environment(self) -> dict[str, str]:
        """For commands on it: nothing of the user's, caches of its own."""
        away = ("GIT_", "TRUEUP_", "XDG_", "PYTHONDONTWRITEBYTECODE")  # an installed program is compiled
        kept = {name: value for name, value in os.environ.items() if not name.startswith(away)}
        home = {"HOME": str(self.state.parent), "XDG_CACHE_HOME": str(self.state.parent / "cache")}
        return {**kept, **GIT, **home, "TRUEUP_STATE": str(self.state), "NO_COLOR": "1"}


def where() -> Path:
    named = os.environ.get("TRUEUP_BENCH")
    place = Path(named) if named else Path(tempfile.gettempdir()) / f"trueup-bench-{os.geteuid()}"
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    return place


def fleet(machines: int, *, differing: str = "0%") -> Fleet:
    """The data centre of this size, made if it is not there yet (a million machines: some 8 minutes, 4 GB)."""
    whole = where() / f"{machines}-{differing.rstrip('%')}{EDITION}"
    if not (whole / "done").exists():
        shutil.rmtree(whole, ignore_errors=True)
        whole.mkdir()
        nodes = max(1, machines // PER_NODE)
        trueup = [sys.executable, "-m", "reconciler.cli", "sim", "generate", "--out", str(whole / "site")]
        run([*trueup, "--machines", str(machines), "--nodes", str(nodes), "--differing", differing])
        _remember(whole)
        (whole / "done").touch()
    if not kept(State(whole / "state").journal):
        _remember(whole)  # the checkpoint was of a program that folds otherwise
    return Fleet(whole / "site", whole / "state", machines)


def _remember(whole: Path) -> None:
    run([sys.executable, "-m", "tests.benchmarks.remember", str(whole / "site"), str(whole / "state")])


def forget(here: Fleet) -> None:
    """What earlier plans left for later ones."""
    for name in ("index", "still"):
        (here.state / name).unlink(missing_ok=True)


def copy(folder: Path, machines: int) -> Fleet:
    """A copy with a cache of its own, that may be committed to."""
    original = fleet(machines)
    folder.mkdir(parents=True, exist_ok=True)
    for part in (original.folder, original.state):
        run(["cp", "-a", "--reflink=auto", str(part), str(folder)])
    copied = Fleet(folder / original.folder.name, folder / original.state.name, machines)
    forget(copied)
    return copied


def run(command: list[str], **more: object) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True, **more)  # type: ignore[call-overload]
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:6])} … ended with {done.returncode}: {done.stderr[-500:]}")
    return str(done.stdout)


def git(folder: Path, *arguments: str) -> str:
    return run(["git", "-C", str(folder), *arguments], env={**os.environ, **GIT}).strip()


def commit(folder: Path, changes: Mapping[str, str | None]) -> str:
    """Commit texts by path (None: removed) on main, without a working tree or an index; gives the commit."""
    lines = ["commit refs/heads/main", "committer bench <bench@example.org> 1790000001 +0000", "data 4", "edit"]
    lines.append("from refs/heads/main^0")
    for path, text in changes.items():
        if text is None:
            lines.append(f"D {path}")
        else:
            lines += [f"M 100644 inline {path}", f"data {len(text.encode())}", text]
    stream = "\n".join(lines) + "\n\ndone\n"
    run(
        ["git", "-C", str(folder), "fast-import", "--quiet", "--done", "--force"],
        input=stream,
        env={**os.environ, **GIT},
    )
    return git(folder, "rev-parse", "refs/heads/main")


def machines(folder: Path, count: int) -> list[str]:
    """Paths of that many machines' documents, from the first folders of the site."""
    found: list[str] = []
    for tenant in git(folder, "ls-tree", "--name-only", "HEAD:tenants").splitlines():
        listed = git(folder, "ls-tree", "-r", "--name-only", f"HEAD:tenants/{tenant}").splitlines()
        found += [
            f"tenants/{tenant}/{path}" for path in listed if "/" in path and not path.rpartition("/")[2].startswith("_")
        ]
        if len(found) >= count:
            break
    return found[:count]
