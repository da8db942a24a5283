"""A large fleet that several processes ask is planned as one that one asks."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from reconciler.cli import apart, session
from reconciler.cli.main import main
from reconciler.edge.forked import possible
from reconciler.edge.index.known import Laid
from reconciler.edge.index.shelves import Writer
from reconciler.runtime import sharing
from tests.benchmarks import fleets


@pytest.mark.skipif(not possible(), reason="NOT RUN: this host has one core, or does not fork")
@pytest.mark.parametrize(("differing", "processes"), [("0%", 1), ("20%", 1), ("20%", 3)])
def test_plan_is_the_same_with_other_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], differing: str, processes: int
) -> None:
    site = str(tmp_path / "site")
    numbers = ["--machines", "120", "--nodes", "12", "--differing", differing]
    assert main(["sim", "generate", *numbers, "--out", site]) == 0
    begun: list[int] = []
    fork = session.telling

    def telling(work: sharing.Work) -> sharing.Process:
        process = fork(work)
        begun.append(process.pid)
        return process

    monkeypatch.setattr(session, "telling", telling)
    told = []
    if processes > 1:
        monkeypatch.setattr(sharing, "WHOLE", 100)
        monkeypatch.setattr(sharing, "PART", 60)
    for shared in (1, 10_000):
        monkeypatch.setattr(session, "SHARED", shared)
        monkeypatch.setenv("TRUEUP_STATE", str(tmp_path / f"state-{len(told)}"))
        capsys.readouterr()
        code = main(["-C", site, "plan", "--json"])
        told.append((code, re.sub(r'"observed_at": [\d.]+', "", capsys.readouterr().out)))
    assert told[0] == told[1]
    assert len(begun) == processes


@pytest.mark.skipif(not possible(), reason="NOT RUN: this host has one core, or does not fork")
def test_what_another_process_lays_down_is_gone_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    site = tmp_path / "site"
    assert (
        main(["sim", "generate", "--machines", "120", "--nodes", "12", "--differing", "20%", "--out", str(site)]) == 0
    )
    monkeypatch.setattr(apart, "_FEW", 0)
    lay, took = Laid.lay, list[Laid]()

    def taken(laid: Laid, writer: Writer) -> msgspec.Raw:
        took.append(laid)
        return lay(laid, writer)

    monkeypatch.setattr(Laid, "lay", taken)
    states = [tmp_path / "elsewhere", tmp_path / "here"]
    for shared, state in zip((1, 10_000), states, strict=True):
        monkeypatch.setattr(session, "SHARED", shared)
        monkeypatch.setenv("XDG_CACHE_HOME", f"{state}-cache")  # the tree is read, not remembered
        assert main(["-C", str(site), "plan", "--state", str(state)]) == 0
        assert (state / "index").exists()
    assert len(took) == 1
    path = fleets.machines(site, 1)[0]
    text = fleets.git(site, "show", f"HEAD:{path}") + "\n"
    fleets.commit(site, {path: re.sub(r"package: \w+", "package: l", text)})
    monkeypatch.setattr(session.Looking, "prospect", None)
    told = []
    for state in states:
        capsys.readouterr()
        assert main(["-C", str(site), "plan", "--json", "--state", str(state)]) == 0
        told.append(re.sub(r'"observed_at": [\d.]+', "", capsys.readouterr().out))
    assert '"/memory"' in told[0]
    assert told[0] == told[1]
