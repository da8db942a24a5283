"""The programs that rows are measured against.

Owns: finding and running them. They are used where they are found: on PATH, or in the virtual environment that
$TRUEUP_PEERS names; else the row says so and counts as not run. Must not go here: what they are given to do.
"""

from __future__ import annotations

import os
import shutil
import subprocess

from tests.benchmarks.rows import Measured


def found(name: str) -> str | None:
    peers = os.environ.get("TRUEUP_PEERS")
    own = shutil.which(name, path=f"{peers}/bin") if peers else None
    return own or shutil.which(name)


def missing(name: str) -> Measured:
    return Measured(None, f"{name} is not on this machine")


def ratio(ours: float, theirs: float, what: str = "") -> Measured:
    words = f"{ours:.2f} s against {theirs:.2f} s, 1/{theirs / ours:.1f}"
    return Measured(ours / theirs, f"{words}{what}")


def void(words: list[str], env: dict[str, str]) -> None:
    """Run it for nothing but its time."""
    done = subprocess.run(words, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    if done.returncode:
        raise RuntimeError(f"{words[0]} ended with {done.returncode}: {done.stderr.decode()[-300:]}")
