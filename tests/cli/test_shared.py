"""A large fleet that several processes ask is planned as one that one asks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from reconciler.cli import session
from reconciler.cli.main import main
from reconciler.edge.forked import possible
from reconciler.runtime import sharing


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
