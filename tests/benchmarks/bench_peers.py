"""Beside Salt and Kustomize, whole processes in turn, start-up counted on both sides.

What is compared, and what is not: like for like is "specs and known observed state to an ordered plan". Salt's
`test.nop` states read nothing. Kustomize renders and does not judge. Ours reads the simulated fleet's file for what is
there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.benchmarks import fleets
from tests.benchmarks.bench_fleet import command
from tests.benchmarks.fleets import fleet
from tests.benchmarks.peers import found, missing, ratio, void
from tests.benchmarks.rows import Measured, Row, interleaved


def _salt() -> Measured:
    binary = found("salt-call")
    if binary is None:
        return missing("salt-call")
    known = fleet(10_000)
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as cache:
        root = Path(folder)
        (root / "top").mkdir()
        states = "".join(f"n{number}:\n  test.nop: []\n" for number in range(10_000))
        (root / "top" / "many.sls").write_text(states)
        words = [
            binary, "--local", f"--config-dir={root}", f"--file-root={root / 'top'}", f"--cachedir={root / 'cache'}",
            f"--log-file={root / 'log'}", "--out=quiet", "state.apply", "many", "test=True",
        ]  # fmt: skip
        argv = [sys.executable, "-m", "reconciler.cli", "-C", str(known.folder), "plan"]

        def plan() -> None:
            fleets.forget(known)
            shutil.rmtree(cache)
            subprocess.run(
                argv, env={**known.environment, "XDG_CACHE_HOME": cache}, stdout=subprocess.DEVNULL, check=True
            )

        return ratio(*interleaved([plan, lambda: void(words, dict(os.environ))], rounds=5))


def _kustomize() -> Measured:
    binary = found("kubectl")
    if binary is None:
        return missing("kubectl")
    known = fleet(1_000)
    with tempfile.TemporaryDirectory() as folder:
        names = []
        for number in range(1_000):
            names.append(f"m{number:04d}.yaml")
            (Path(folder) / names[-1]).write_text(
                f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: web-{number:05d}, labels: {{role: web}}}}\n"
                'data:\n  image: nginx-1-28\n  package: s\n  ready: ":8080/healthz"\n'
            )
        listed = "".join(f"- {name}\n" for name in names)
        (Path(folder) / "kustomization.yaml").write_text(f"namePrefix: x-\nresources:\n{listed}")
        theirs = [binary, "kustomize", folder]
        return ratio(*interleaved([command(known, "validate"), lambda: void(theirs, dict(os.environ))], rounds=5))


ROWS = [
    Row("plan-vs-salt", 1 / 3, "×", _salt, "10k, nothing to do, cold, against `salt-call state.apply test=True`"),
    Row("render-vs-kustomize", 1 / 3, "×", _kustomize, "1,000 documents read and judged, against `kubectl kustomize`"),
]  # fmt: skip
