"""A large journal is read beside the tree where its place can be guessed; a wrong guess costs time alone."""

from __future__ import annotations

import json
import os
import re
from itertools import product
from pathlib import Path

import pytest

from reconciler.cli import ahead, apart, opened, planning, session
from reconciler.cli.exits import Exit
from reconciler.cli.main import main
from reconciler.edge import chain, checkpoint
from reconciler.edge import state as states
from reconciler.edge.chain import Chain
from reconciler.edge.forked import Forked, possible
from reconciler.edge.load import bulk
from reconciler.errors import UsageError
from tests.cli.conftest import Run, commit, edit

OTHER = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def read(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The journals that were read. The state folder is one that the datacenter's id tells."""
    found: list[Path] = []
    original = chain.read

    def told(path: Path) -> object:
        found.append(path)
        return original(path)

    def by_id(datacenter_id: str) -> Path:
        return folder.parent / "states" / datacenter_id

    for module in (session, ahead):
        monkeypatch.setattr(module, "read", told)
    monkeypatch.setattr(opened, "state_folder", by_id)
    monkeypatch.setattr(states, "state_folder", by_id)
    assert run("apply", "--yes").code == Exit.DONE
    # another tree, so that it is not recalled
    edit("packages.yaml", "512Mi", "513Mi")
    commit("Grow")
    found.clear()
    return found


def test_the_journal_is_read_once(read: list[Path], run: Run) -> None:
    assert "512Mi → 513Mi" in run("plan").out
    assert len(read) == 1


def test_what_looks_like_the_id_and_is_not_misleads_nobody(
    read: list[Path], run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another journal is folded ahead: it is left alone, and the right one is read."""
    monkeypatch.setattr(chain, "LARGE", 1)
    other = folder.parent / "states" / OTHER / "journal.db"
    other.parent.mkdir(mode=0o700)
    Chain.open(other).close()
    (folder / "datacenter.yaml").write_text(f"# was id: {OTHER}\n{(folder / 'datacenter.yaml').read_text()}")
    commit("Remember the old id")
    begun: list[Path] = []

    class Noted(ahead.Ahead):
        def __init__(self, path: Path) -> None:
            begun.append(path)
            super().__init__(path)

    monkeypatch.setattr(ahead, "Ahead", Noted)
    told = run("plan")
    assert told.code == Exit.DONE
    assert "512Mi → 513Mi" in told.out
    assert begun == [other]
    assert [path.parent.name == OTHER for path in read] == [False]


def test_a_large_journal_is_read_by_another_process(
    read: list[Path], run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain, "LARGE", 1)
    text = (folder / "datacenter.yaml").read_text()
    (folder / "datacenter.yaml").write_text(f"# as it was\n{text}")
    commit("Say nothing new of the id")
    assert "512Mi → 513Mi" in run("plan").out
    assert not read


@pytest.mark.skipif(not possible(), reason="NOT RUN: this host has one core, or does not fork")
def test_who_reads_the_tree_ahead_is_left_though_nobody_asked(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "nothing-remembered"))

    async def failing(_: object) -> int:
        raise UsageError("before anything was opened")

    left: list[int] = []
    leave = Forked.leave

    def noted(self: Forked) -> None:
        leave(self)
        left.append(self.pid)

    monkeypatch.setattr(planning, "_plan", failing)
    monkeypatch.setattr(Forked, "leave", noted)
    assert "before anything was opened" in run("plan").err
    assert len(left) == 1
    with pytest.raises(ProcessLookupError):
        os.kill(left[0], 0)


@pytest.mark.skipif(not possible(), reason="NOT RUN: this host has one core, or does not fork")
@pytest.mark.parametrize("misled", [False, True])
def test_a_plan_is_the_same_where_another_process_reads_the_documents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], misled: bool
) -> None:
    site = tmp_path / "site"
    assert main(["sim", "generate", "--machines", "120", "--nodes", "6", "--differing", "20%", "--out", str(site)]) == 0
    if misled:
        monkeypatch.chdir(site)
        Path("datacenter.yaml").write_text(f"# was id: {OTHER}\n{Path('datacenter.yaml').read_text()}")
        commit("Remember the old id")

    def by_id(datacenter_id: str) -> Path:
        return tmp_path / f"states-{number}" / datacenter_id

    monkeypatch.setattr(opened, "state_folder", by_id)
    monkeypatch.setattr(states, "state_folder", by_id)
    told: dict[str, list[object]] = {"--json": [], "--no-color": []}
    ways = ((0, 1), (0, 10**9), (1_000, 10**9))  # one reads documents, none, one reads the tree and answers for it
    for number, (words, (few, files)) in enumerate(product(told, ways)):
        monkeypatch.setattr(apart, "_FEW", few)
        monkeypatch.setattr(bulk, "BESIDE", files)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / f"cache-{number}"))
        capsys.readouterr()
        code = main(["-C", str(site), "plan", words])
        told[words].append((code, re.sub(r'"observed_at": [\d.]+|observed \S+,', "", capsys.readouterr().out)))
    for each in told.values():
        assert each == [each[0]] * len(ways)


def test_a_large_journal_with_a_checkpoint_is_read_here_and_the_plan_is_the_same(
    read: list[Path], run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain, "LARGE", 1)
    plain = run("plan", "--json").out
    journal = next((folder.parent / "states").glob("*/journal.db"))
    assert not chain.kept(journal)
    monkeypatch.setattr(checkpoint, "FEW", 1)
    assert run("pause", "Node/edge1", "--for", "1h", "--reason", "a look").code == Exit.DONE
    assert run("resume", "Node/edge1").code == Exit.DONE
    assert chain.kept(journal)
    read.clear()
    for name in ("index", "still"):
        (journal.parent / name).unlink(missing_ok=True)
    told = run("plan", "--json").out
    assert _steps(told) == _steps(plain)
    assert read == [journal]


def _steps(told: str) -> object:
    return [change["steps"] for change in json.loads(told)["changes"]]


def test_a_broken_journal_is_told_as_ever(read: list[Path], run: Run) -> None:
    assert run("plan").code == Exit.DONE
    read[0].write_bytes(b"no journal at all, but long enough to be taken for a file with something in it")
    edit("packages.yaml", "513Mi", "514Mi")
    commit("Grow more")
    told = run("plan")
    assert told.code == Exit.ERROR
    assert "journal.db" in told.err
    assert "Traceback" not in told.err


def test_mistakes_in_the_tree_are_told_as_ever(read: list[Path], run: Run) -> None:
    edit("packages.yaml", "513Mi", "513")
    commit("A mistake")
    told = run("plan")
    assert told.code == Exit.ERROR
    assert "packages.yaml" in told.err


def test_what_an_apply_leaves_is_taken_up_by_who_looks(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "FEW", 1)
    assert run("apply", "--yes").code == Exit.DONE
    (kept,) = folder.parent.rglob("journal.db-ledger")
    found = checkpoint.Checkpoint.open(kept.with_name("journal.db"))
    assert found is not None
    assert found.ledger() is not None
    found.close()
    for words in (("status",), ("drift",), ("get", "machines"), ("plan",)):
        assert run(*words).code == Exit.DONE, words
