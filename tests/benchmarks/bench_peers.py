"""Beside what people use today, whole processes in turn, start-up counted on both sides.

What is compared, and what is not: like for like is "specs and known observed state to an ordered plan". Terraform talks
to a provider process and carries graph, schema and state; its `terraform_data` blocks are trivial, ours are machines of
18 lines with defaults, networks and addresses. Salt's `test.nop` states read nothing. Kustomize renders and does not
judge. Ours reads the simulated fleet's file for what is there. Terraform, Ansible, Salt and kubectl are used where they
are found: on PATH, or in the virtual environment that $TRUEUP_PEERS names; else the row says so and counts as not run.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from itertools import cycle
from pathlib import Path

from tests.benchmarks import fleets
from tests.benchmarks.bench_fleet import command
from tests.benchmarks.bench_replan import Controller
from tests.benchmarks.fleets import Fleet, fleet
from tests.benchmarks.rows import Measured, Row, interleaved


def found(name: str) -> str | None:
    peers = os.environ.get("TRUEUP_PEERS")
    return (
        shutil.which(name, path=f"{peers}/bin")
        if peers and shutil.which(name, path=f"{peers}/bin")
        else shutil.which(name)
    )


def missing(name: str) -> Measured:
    return Measured(None, f"{name} is not on this machine")


def ratio(ours: float, theirs: float, what: str = "") -> Measured:
    words = f"{ours:.2f} s against {theirs:.2f} s, 1/{theirs / ours:.1f}"
    return Measured(ours / theirs, f"{words}{what}")


# -- Terraform ---------------------------------------------------------------------------------------------------------


def _terraform(folder: Path, count: int, binary: str, *, applied: bool) -> Callable[[], None]:
    """`terraform plan` of as many blocks; `applied`: with a state that knows all of them, but for one that differs."""
    blocks, resources = [], []
    for number in range(count):
        value = {"name": f"m-{number:05d}", "memory": 2048, "cpu": 1, "image": "debian-12", "network": "app"}
        fields = "\n".join(f"    {key} = {json.dumps(field)}" for key, field in value.items())
        blocks.append(f'resource "terraform_data" "m{number}" {{\n  input = {{\n{fields}\n  }}\n}}\n')
        known = {**value, "memory": 1024} if number == 0 else value
        kinds = {key: "number" if isinstance(field, int) else "string" for key, field in known.items()}
        typed = {"value": known, "type": ["object", kinds]}
        attributes = {
            "id": f"00000000-0000-0000-0000-{number:012d}", "input": typed, "output": typed, "triggers_replace": None,
        }  # fmt: skip
        resources.append(
            {
                "mode": "managed", "type": "terraform_data", "name": f"m{number}",
                "provider": 'provider["terraform.io/builtin/terraform"]',
                "instances": [{"schema_version": 0, "attributes": attributes, "sensitive_attributes": []}],
            }
        )  # fmt: skip
    (folder / "main.tf").write_text("".join(blocks))
    if applied:
        state = {
            "version": 4, "terraform_version": "1.11.4", "serial": 1,
            "lineage": "00000000-0000-0000-0000-000000000001", "outputs": {}, "resources": resources,
        }  # fmt: skip
        (folder / "terraform.tfstate").write_text(json.dumps(state))
    env = {**os.environ, "CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"}
    words = [binary, f"-chdir={folder}", "plan", "-input=false", "-no-color", *(["-refresh=false"] if applied else [])]
    fleets.run([binary, f"-chdir={folder}", "init", "-input=false"], env=env)
    return lambda: void(words, env)


def void(words: list[str], env: dict[str, str]) -> None:
    done = subprocess.run(words, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    if done.returncode:
        raise RuntimeError(f"{words[0]} ended with {done.returncode}: {done.stderr.decode()[-300:]}")


def _plan_from_nothing(machines: int, rounds: int) -> Measured:
    """Everything is to be made, on both sides."""
    binary = found("terraform")
    if binary is None:
        return missing("terraform")
    with tempfile.TemporaryDirectory() as ours, tempfile.TemporaryDirectory() as theirs:
        here = emptied(Path(ours), machines)

        def plan() -> None:
            fleets.forget(here)
            shutil.rmtree(here.state.parent / "cache", ignore_errors=True)
            subprocess.run(
                [sys.executable, "-m", "reconciler.cli", "-C", str(here.folder), "plan"], env=here.environment,
                stdout=subprocess.DEVNULL, check=True,
            )  # fmt: skip

        return ratio(*interleaved([plan, _terraform(Path(theirs), machines, binary, applied=False)], rounds=rounds))


def emptied(folder: Path, machines: int) -> Fleet:
    """The site with its nodes claimed and nothing on them."""
    here = fleets.copy(folder, machines)
    sql = "DELETE FROM object; UPDATE target SET sum = '0'"
    subprocess.run([sys.executable, "-c", f"import sqlite3; d = sqlite3.connect({str(here.folder / 'fleet.db')!r}); "
                    f"d.executescript({sql!r}); d.commit()"], check=True)  # fmt: skip
    shutil.rmtree(here.state)
    return here


def _cold_plan(machines: int, rounds: int) -> Measured:
    """All is there on our side, 1 % differs, nothing is cached; on theirs everything is to be made."""
    binary = found("terraform")
    if binary is None:
        return missing("terraform")
    known = fleet(machines, differing="1%")
    with tempfile.TemporaryDirectory() as cache, tempfile.TemporaryDirectory() as theirs:
        argv = [sys.executable, "-m", "reconciler.cli", "-C", str(known.folder), "plan"]

        def plan() -> None:
            fleets.forget(known)
            shutil.rmtree(cache)
            subprocess.run(
                argv, env={**known.environment, "XDG_CACHE_HOME": cache}, stdout=subprocess.DEVNULL, check=True
            )

        return ratio(*interleaved([plan, _terraform(Path(theirs), machines, binary, applied=False)], rounds=rounds))


_FIRST = 3
"""Commits that a loop has taken before it is measured: the first starts git, which is asked nothing afterwards."""


def _one_change(*, loop: bool) -> Measured:
    binary = found("terraform")
    if binary is None:
        return missing("terraform")
    with ExitStack() as stack:
        theirs = _terraform(Path(stack.enter_context(tempfile.TemporaryDirectory())), 1_000, binary, applied=True)
        here = fleets.copy(Path(stack.enter_context(tempfile.TemporaryDirectory())), 1_000)
        if loop:
            controller = Controller(here)
            stack.callback(controller.close)
            for _ in range(_FIRST):
                controller.ask("edit")
            took: list[float] = []
            _, peer = interleaved([lambda: took.append(controller.ask("edit")["seconds"]), theirs])
            ours = sorted(took)[len(took) // 2]
            return Measured(ours / peer, f"{ours * 1000:.1f} ms against {peer:.2f} s, 1/{peer / ours:.0f}")
        path = fleets.machines(here.folder, 1)[0]
        plan = command(here, "plan")
        plan()
        sizes = cycle(("l", "m"))
        times: list[float] = []

        def change() -> None:
            text = fleets.git(here.folder, "show", f"HEAD:{path}") + "\n"
            fleets.commit(here.folder, {path: re.sub(r"package: \w+", f"package: {next(sizes)}", text)})
            fleets.git(here.folder, "reset", "--quiet", "--hard")  # as where somebody edits and commits
            times.append(interleaved([plan], rounds=1)[0])

        _, peer = interleaved([change, theirs])
        return ratio(sorted(times)[len(times) // 2], peer)


# -- the others --------------------------------------------------------------------------------------------------------


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
    Row("plan-vs-terraform-10k", 1 / 30, "×", partial(_cold_plan, 10_000, 3),
        "10k machines, cold, 1 % differing, against `terraform plan` of 10k new blocks"),
    Row("plan-vs-terraform-1k", 1 / 8, "×", partial(_cold_plan, 1_000, 5), "the same with 1,000"),
    Row("create-vs-terraform-1k", 1 / 8, "×", partial(_plan_from_nothing, 1_000, 5),
        "1,000 machines that are all to be made, against as many new blocks"),
    Row("create-vs-terraform-10k", 1 / 30, "×", partial(_plan_from_nothing, 10_000, 3),
        "10,000 machines that are all to be made, against as many new blocks"),
    Row("replan-vs-terraform-loop", 1 / 1000, "×", partial(_one_change, loop=True),
        "one change of 1,000: in the loop, against `terraform plan -refresh=false`"),
    Row("replan-vs-terraform", 1 / 15, "×", partial(_one_change, loop=False),
        "one change of 1,000: a fresh `trueup plan`, against `terraform plan -refresh=false`"),
    Row("plan-vs-salt", 1 / 3, "×", _salt, "10k, nothing to do, cold, against `salt-call state.apply test=True`"),
    Row("render-vs-kustomize", 1 / 3, "×", _kustomize, "1,000 documents read and judged, against `kubectl kustomize`"),
]  # fmt: skip
