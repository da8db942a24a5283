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
from pathlib import Path
from typing import NamedTuple

PER_NODE = 100
"""Machines on a node."""

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
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "TRUEUP_", "XDG_"))}
        home = {"HOME": str(self.state.parent), "XDG_CACHE_HOME": str(self.state.parent / "cache")}
        return {**kept, **GIT, **home, "TRUEUP_STATE": str(self.state), "NO_COLOR": "1"}


def where() -> Path:
    named = os.environ.get("TRUEUP_BENCH")
    place = Path(named) if named else Path(tempfile.gettempdir()) / f"trueup-bench-{os.geteuid()}"
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    return place


def fleet(machines: int, *, differing: str = "0%") -> Fleet:
    """The data centre of this size, made if it is not there yet (a million machines: some 8 minutes, 5 GB)."""
    whole = where() / f"{machines}-{differing.rstrip('%')}"
    if not (whole / "done").exists():
        shutil.rmtree(whole, ignore_errors=True)
        whole.mkdir()
        nodes = max(1, machines // PER_NODE)
        trueup = [sys.executable, "-m", "reconciler.cli", "sim", "generate", "--out", str(whole / "site")]
        run([*trueup, "--machines", str(machines), "--nodes", str(nodes), "--differing", differing])
        run([sys.executable, "-m", "tests.benchmarks.remember", str(whole / "site"), str(whole / "state")])
        (whole / "done").touch()
    return Fleet(whole / "site", whole / "state", machines)


def copy(original: Fleet, into: Path) -> Fleet:
    """One that may be changed. Where the file system can, its files share their contents with the original."""
    for name in (original.folder.name, original.state.name):
        subprocess.run(["cp", "-a", "--reflink=auto", str(original.folder.parent / name), str(into)], check=True)
    return Fleet(into / original.folder.name, into / original.state.name, original.machines)


def run(command: list[str], **more: object) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True, **more)  # type: ignore[call-overload]
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:6])} … ended with {done.returncode}: {done.stderr[-500:]}")
    return str(done.stdout)


def git(folder: Path, *arguments: str) -> str:
    return run(["git", "-C", str(folder), *arguments], env={**os.environ, **GIT}).strip()


def edit(folder: Path, path: str, text: str | None, *, message: str = "edit") -> str:
    """Commit one file's new text (None: removed) without touching a working tree; gives the commit."""
    index = Path(tempfile.mkdtemp()) / "index"
    env = {**os.environ, **GIT, "GIT_INDEX_FILE": str(index)}
    try:
        # plumbing on trees alone: an index of the whole fleet would cost its size
        tree = _with(folder, "HEAD^{tree}", path.split("/"), text, env)
        commit = run(["git", "-C", str(folder), "commit-tree", tree, "-p", "HEAD", "-m", message], env=env).strip()
        run(["git", "-C", str(folder), "update-ref", "refs/heads/main", commit], env=env)
        return commit
    finally:
        shutil.rmtree(index.parent, ignore_errors=True)


def _with(folder: Path, tree: str, parts: list[str], text: str | None, env: dict[str, str]) -> str:
    """The id of the tree with one path changed."""
    name, *rest = parts
    listed = run(["git", "-C", str(folder), "ls-tree", "-z", tree], env=env).split("\0")[:-1]
    entries = {line.partition("\t")[2]: line.partition("\t")[0] for line in listed}
    if rest:
        entries[name] = f"040000 tree {_with(folder, entries[name].split()[2], rest, text, env)}"
    elif text is None:
        del entries[name]
    else:
        command = ["git", "-C", str(folder), "hash-object", "-w", "--stdin"]
        entries[name] = f"100644 blob {run(command, env=env, input=text).strip()}"
    lines = "".join(f"{head}\t{entry}\0" for entry, head in entries.items())
    return run(["git", "-C", str(folder), "mktree", "-z"], env=env, input=lines).strip()
