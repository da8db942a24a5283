"""Tab: what is offered where a ref is due, and how soon."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.cli import completing, completion
from reconciler.edge.load import FolderTree, load

from .conftest import Run, commit

ROOT = Path(__file__).resolve().parents[2]


def offered(run: Run, begun: str = "") -> list[str]:
    found = run("completion", "refs", *([begun] if begun else []))
    assert found.code == 0, found
    return found.out.split()


def test_before_and_after_the_first_plan_the_same_machines_are_offered(folder: Path, run: Run) -> None:
    wanted = load(FolderTree(folder))
    machines = {ref.removeprefix("Machine/") for ref in wanted.resources if ref.startswith("Machine/")}
    others = {ref for ref in wanted.resources if not ref.startswith("Machine/")} | {f"Node/{n}" for n in wanted.nodes}
    assert machines | others <= set(offered(run)), "skimmed"
    assert run("plan").code == 0
    assert set(offered(run)) == machines | others, "remembered"
    assert set(offered(run, "Machine/")) == {f"Machine/{name}" for name in machines}
    one = sorted(machines)[0]
    assert offered(run, one) == [name for name in sorted(machines) if name.startswith(one)]


def test_what_is_in_git_no_more_can_still_be_restored(folder: Path, run: Run) -> None:
    assert run("apply", "--yes").code == 0
    before = set(offered(run))
    gone = (
        "machines.yaml"
        if (folder / "machines.yaml").exists()
        else next(path.name for path in folder.rglob("*.yaml") if "kind: Machine" in path.read_text())
    )
    next(folder.rglob(gone)).unlink()
    commit("Away with them")
    run("plan")
    assert set(offered(run)) == before


def test_where_there_is_nothing_to_name_nothing_is_offered_and_nothing_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert completing.offers(tmp_path, "") == []
    (tmp_path / "a.yaml").write_bytes(b"\xff\x00kind: Machine\nmetadata: {name: x}\n")
    (tmp_path / "b.yaml").symlink_to("/nowhere")
    assert completing.offers(tmp_path, "Machine") in ([], ["Machine/x"])


def test_of_very_many_the_next_part_of_the_name_is_offered(tmp_path: Path) -> None:
    items = "".join(f"  m{number}: {{}}\n" for number in range(completing.MANY + 1))
    (tmp_path / "a.yaml").write_text(f"kind: Machines\nmetadata: {{tenant: acme}}\nitems:\n{items}")
    assert completing.offers(tmp_path, "") == ["acme/"]
    assert "acme/m7" in completing.offers(tmp_path, "acme/m7")


@pytest.mark.parametrize("words", ["explain", "pause", "forget", "restore", "pin", "exec", "plan --only"])
def test_bash_completes_refs(words: str, folder: Path, run: Run) -> None:
    """The real script in a real bash, with the real command."""
    command = folder.parent / "bin/trueup"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m reconciler.cli "$@"\n')
    command.chmod(0o755)
    typed = ["trueup", "-C", str(folder), *words.split(), "Node/e"]
    spelled = " ".join(typed)
    ask = f'COMP_WORDS=({spelled}); COMP_CWORD={len(typed) - 1}; _shtab_trueup; echo "${{COMPREPLY[@]}}"'
    bash = shutil.which("bash")
    assert bash is not None
    done = subprocess.run(
        [bash, "-c", f"{completion.script('bash')}\n{ask}"],
        env=os.environ | {"PATH": f"{command.parent}:{os.environ['PATH']}"},
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["Node/edge1", "Node/edge2"], done.stderr


def test_an_offer_costs_no_reading_of_documents_and_loads_no_driver(folder: Path, run: Run) -> None:
    """What makes it quick, whatever else this host does: a tenth of a second of an idle processor."""
    run("plan")
    heavy = "('pydantic', 'ruamel', 'git', 'httpx', 'specs', 'drivers', 'reconciler.edge.load')"
    script = f"""
import sys
from reconciler.cli.main import main
assert main(["completion", "refs", "Node/"]) == 0
print(*[name for name in sys.modules if name.startswith({heavy})])
"""
    done = subprocess.run([sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": str(ROOT)},
                          check=True, capture_output=True, text=True)  # fmt: skip
    assert done.stdout.split() == ["Node/edge1", "Node/edge2"]
