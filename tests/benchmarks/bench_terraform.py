"""Beside Terraform, whole processes in turn, start-up counted on both sides.

What is compared, and what is not: like for like is "specs and known observed state to an ordered plan". A block says
what a machine's document says, field by field, as input of a `terraform_data`, the resource that Terraform itself
brings. It talks to a provider process and carries graph, schema and state, and looks at nothing; ours fills in
defaults, judges, places, and reads the simulated fleet's file for what is there. `short-` rows give Terraform blocks of
five plain fields instead, a third of what the documents on our side say.
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
from typing import Any

from ruamel.yaml import YAML

from tests.benchmarks import fleets
from tests.benchmarks.bench_fleet import command
from tests.benchmarks.bench_replan import Controller
from tests.benchmarks.fleets import Fleet, fleet
from tests.benchmarks.peers import found, missing, ratio, void
from tests.benchmarks.rows import Measured, Row, interleaved

Blocks = list[dict[str, Any]]

_FIRST = 3
"""Commits that a loop has taken before it is measured: the first starts git, which is asked nothing afterwards."""


# -- their side --------------------------------------------------------------------------------------------------------


def _documents(count: int) -> Blocks:
    """What the machines of the fleet of this size say in git."""
    folder = fleet(count).folder
    paths = fleets.machines(folder, count)
    asked = "".join(f"HEAD:{path}\n" for path in paths)
    told = fleets.run(["git", "-C", str(folder), "cat-file", "--batch=%(objecttype)"], input=asked)
    yaml = YAML(typ="safe")
    return [yaml.load(text) for text in re.split(r"^(?:\n)?blob\n", told, flags=re.MULTILINE)[1:]]


def _short(count: int) -> Blocks:
    """Five plain fields each."""
    fields = {"memory": 2048, "cpu": 1, "image": "debian-12", "network": "app"}
    return [{"name": f"m-{number:05d}", **fields} for number in range(count)]


def _hcl(value: object, indent: int = 2) -> str:
    """A value as people write it in Terraform's language."""
    space = " " * indent
    if isinstance(value, dict):
        lines = "".join(f"{space}  {json.dumps(key)} = {_hcl(each, indent + 2)}\n" for key, each in value.items())
        return f"{{\n{lines}{space}}}"
    if isinstance(value, list):
        return f"[{', '.join(_hcl(each, indent) for each in value)}]"
    return json.dumps(value).replace("${", "$${")


def _kind(value: object) -> object:
    """The type of a value as Terraform's state tells it."""
    if isinstance(value, dict):
        return ["object", {key: _kind(each) for key, each in value.items()}]
    if isinstance(value, list):
        return ["tuple", [_kind(each) for each in value]]
    return "bool" if isinstance(value, bool) else "number" if isinstance(value, int | float) else "string"


def _state(blocks: Blocks) -> str:
    """A state that knows all of them, but for the first, of which it knows one field otherwise."""
    resources = []
    for number, block in enumerate(blocks):
        known = {**block, next(iter(block)): "another"} if number == 0 else block
        typed = {"value": known, "type": _kind(known)}
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
    return json.dumps(
        {
            "version": 4, "terraform_version": "1.11.4", "serial": 1,
            "lineage": "00000000-0000-0000-0000-000000000001", "outputs": {}, "resources": resources,
        }
    )  # fmt: skip


def _terraform(folder: Path, blocks: Blocks, binary: str, *, applied: bool = False) -> Callable[[], None]:
    """`terraform plan` of these blocks; `applied`: with a state that knows them, but for one that differs."""
    texts = (
        f'resource "terraform_data" "m{number}" {{\n  input = {_hcl(block)}\n}}\n'
        for number, block in enumerate(blocks)
    )
    (folder / "main.tf").write_text("".join(texts))
    if applied:
        (folder / "terraform.tfstate").write_text(_state(blocks))
    env = {**os.environ, "CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"}
    words = [binary, f"-chdir={folder}", "plan", "-input=false", "-no-color", *(["-refresh=false"] if applied else [])]
    fleets.run([binary, f"-chdir={folder}", "init", "-input=false"], env=env)
    return lambda: void(words, env)


# -- our side ----------------------------------------------------------------------------------------------------------


def _planning(here: Fleet, cache: Path) -> Callable[[], None]:
    """A plan with nothing remembered but the journal."""
    argv = [sys.executable, "-m", "reconciler.cli", "-C", str(here.folder), "plan"]
    env = {**here.environment, "XDG_CACHE_HOME": str(cache)}

    def plan() -> None:
        fleets.forget(here)
        shutil.rmtree(cache, ignore_errors=True)
        subprocess.run(argv, env=env, stdout=subprocess.DEVNULL, check=True)

    return plan


def _emptied(folder: Path, machines: int) -> Fleet:
    """The site with its nodes claimed and nothing on them."""
    here = fleets.copy(folder, machines)
    sql = "DELETE FROM object; UPDATE target SET sum = '0'"
    subprocess.run([sys.executable, "-c", f"import sqlite3; d = sqlite3.connect({str(here.folder / 'fleet.db')!r}); "
                    f"d.executescript({sql!r}); d.commit()"], check=True)  # fmt: skip
    shutil.rmtree(here.state)
    return here


# -- rows --------------------------------------------------------------------------------------------------------------


def _cold(machines: int, *, short: bool = False, emptied: bool = False) -> Measured:
    """On our side all is there and 1 % differs, or (`emptied`) nothing is; on theirs everything is to be made."""
    binary = found("terraform")
    if binary is None:
        return missing("terraform")
    with tempfile.TemporaryDirectory() as ours, tempfile.TemporaryDirectory() as theirs:
        here = _emptied(Path(ours), machines) if emptied else fleet(machines, differing="1%")
        blocks = _short(machines) if short else _documents(machines)
        candidates = [_planning(here, Path(ours) / "cache"), _terraform(Path(theirs), blocks, binary)]
        return ratio(*interleaved(candidates))


def _one_change(*, loop: bool, short: bool = False) -> Measured:
    binary = found("terraform")
    if binary is None:
        return missing("terraform")
    with ExitStack() as stack:
        blocks = _short(1_000) if short else _documents(1_000)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        theirs = _terraform(folder, blocks, binary, applied=True)
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


ROWS = [
    Row("plan-vs-terraform-10k", 1 / 30, "×", partial(_cold, 10_000),
        "10k machines, cold, 1 % differing, against `terraform plan` of 10k new blocks that say the same"),
    Row("plan-vs-terraform-1k", 1 / 8, "×", partial(_cold, 1_000), "the same with 1,000"),
    Row("create-vs-terraform-10k", 1 / 3, "×", partial(_cold, 10_000, emptied=True),
        "10,000 machines that are all to be made, against as many new blocks"),
    Row("create-vs-terraform-1k", 1 / 3, "×", partial(_cold, 1_000, emptied=True), "the same with 1,000"),
    Row("replan-vs-terraform-loop", 1 / 1000, "×", partial(_one_change, loop=True),
        "one change of 1,000: in the loop, against `terraform plan -refresh=false`"),
    Row("replan-vs-terraform", 1 / 15, "×", partial(_one_change, loop=False),
        "one change of 1,000: a fresh `trueup plan`, against `terraform plan -refresh=false`"),
    Row("short-vs-terraform-10k", 1 / 15, "×", partial(_cold, 10_000, short=True),
        "plan-vs-terraform-10k, but with blocks of five fields"),
    Row("short-vs-terraform-1k", 1 / 5, "×", partial(_cold, 1_000, short=True), "plan-vs-terraform-1k so"),
    Row("short-vs-terraform-loop", 1 / 600, "×", partial(_one_change, loop=True, short=True),
        "replan-vs-terraform-loop so"),
    Row("short-vs-terraform-replan", 1 / 13, "×", partial(_one_change, loop=False, short=True),
        "replan-vs-terraform so"),
]  # fmt: skip
