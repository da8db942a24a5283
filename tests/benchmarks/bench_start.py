"""How long it takes to say hello: `trueup --help` against the bare interpreter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.benchmarks.rows import Measured, Row, interleaved


def _help() -> Measured:
    python, trueup = sys.executable, str(Path(sys.executable).with_name("trueup"))

    def run(*argv: str) -> None:
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)

    ours, bare = interleaved([lambda: run(trueup, "--help"), lambda: run(python, "-c", "pass")], rounds=15)
    return Measured(ours / bare, f"{ours * 1000:.0f} ms against {bare * 1000:.0f} ms")


ROWS = [Row("help", 3.0, "×", _help, "`trueup --help` against `python -c pass`, whole processes")]
