"""What another process folded is what this one would have; what it cannot tell is read here, and told as ever."""

from __future__ import annotations

import os
import select
import signal
import threading
from pathlib import Path

import pytest

from reconciler.core.binding import Address
from reconciler.core.ledger import Applied, Bound, Claimed, Entry, Intent, Ledger, Paused, Quarantined, Settled, Spent
from reconciler.core.refs import Ref, Target, Uid
from reconciler.edge import chain, folded
from reconciler.edge.chain import Chain
from reconciler.edge.clock import SystemClock
from reconciler.edge.folded import Folding
from reconciler.edge.forked import Forked
from reconciler.edge.journal import Journal
from reconciler.errors import JournalBroken

pytestmark = pytest.mark.anyio

EDGE, APP = Target("edge1"), Ref("Network/acme/app")


def entries() -> list[Entry]:
    found: list[Entry] = [Claimed(EDGE, "id"), Bound(APP, Uid("net"), 1, EDGE)]
    for number in range(7):
        ref, uid = Ref(f"Machine/acme/w-{number}"), Uid(f"u{number}")
        found.append(Bound(ref, uid, 1 + number % 2, EDGE, (Address(APP, f"10.0.0.{number}", "02:00"),), (1, 2, 3)))
        found.append(Settled(ref, uid, EDGE, {"hostname": f"w-{number}"}, "r", protected=number == 3))
    return [
        *found, Quarantined(Ref("Machine/acme/w-1"), Uid("u1"), 2, EDGE, 60.0),
        Applied("plan", 1, 1, "c", "t", "main", "", "repo"), Paused("Machine/acme/w-2", 2e9, "why"),
        Intent("plan", "s", EDGE, Ref("Machine/acme/w-4"), Uid("u4")),
        Spent("restart", Ref("Machine/acme/w-5"), EDGE),
    ]  # fmt: skip


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A journal that counts as large, and comes back in several messages."""
    monkeypatch.setattr("reconciler.edge.chain.LARGE", 1)
    monkeypatch.setattr("reconciler.edge.checkpoint._MANY", 3)
    chain = Chain.open(tmp_path / "j.db")
    for entry in entries():
        chain.append([entry], 5.0)
    chain.close()
    return tmp_path / "j.db"


def memory(ledger: Ledger) -> dict[str, object]:
    plain = {name: value for name, value in vars(ledger).items() if name != "runs"}
    runs = {plan: (run.generation, run.outcomes) for plan, run in ledger.runs.items()}
    return {**plain, "runs": runs, "past": ledger.bindings.past, "spread": ledger.bindings.spread}


@pytest.mark.parametrize("ahead", [0, 5, 1_000])
def test_it_is_the_same_ledger(path: Path, monkeypatch: pytest.MonkeyPatch, ahead: int) -> None:
    monkeypatch.setattr(folded, "_AHEAD", ahead)
    found = Folding(path).ledger()
    assert found is not None
    chain = Chain.open(path, read_only=True)
    assert memory(found) == memory(chain.ledger())
    assert len(found.bindings) == 8
    chain.close()


def pending(process: Forked) -> bool:
    """Whether something has come, or the process has gone."""
    return bool(select.select([process.source], [], [], 0)[0])


def test_it_runs_ahead_of_who_asks_only_so_far(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody has asked for yet is not kept ready by the gigabyte."""
    monkeypatch.setattr(folded, "_AHEAD", 5)
    folding = Folding(path)
    process = folding._process
    assert process is not None
    for _ in range(50):
        assert not pending(process)
        threading.Event().wait(0.01)
    found = folding.ledger()
    assert found is not None
    assert len(found.bindings) == 8


def test_less_than_that_is_told_before_anybody_asks(path: Path) -> None:
    folding = Folding(path)
    process = folding._process
    assert process is not None
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert pending(process)
    assert folding.ledger() is not None


def test_one_that_is_gone_is_no_answer(path: Path) -> None:
    folding = Folding(path)
    assert folding._process is not None
    os.kill(folding._process.pid, signal.SIGKILL)
    assert folding.ledger() is None


def test_it_is_told_only_where_the_journal_did_not_go_on(path: Path) -> None:
    chain = Chain.open(path)
    folding = Folding(path)
    assert folding.ledger(chain.head) is not None
    assert folding.ledger(chain.head) is None, "it is asked once"
    folding, before = Folding(path), chain.head
    chain.append([Claimed(EDGE, "other")], 6.0)
    assert folding.ledger((before[0], b"another row")) is None
    chain.close()


def test_a_broken_journal_is_no_answer_there_and_an_error_here(path: Path) -> None:
    path.write_bytes(b"no journal at all, but long enough to be taken for a file with something in it")
    assert Folding(path).ledger() is None
    with pytest.raises(JournalBroken):
        chain.read(path)


async def test_a_writer_takes_it_up(path: Path) -> None:
    async with await Journal.open(path, SystemClock()) as opened:
        before = opened.ledger.sequence
        await opened.append([Claimed(EDGE, "other")])
        assert opened.ledger.sequence == before + 1
        assert opened.ledger.bindings.sole(Ref("Machine/acme/w-3")) is not None
    assert chain.read(path).sequence == before + 1


def test_nobody_has_to_ask(path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    folding = Folding(path)
    folding.end()
    folding.end()
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_where_there_is_no_journal_there_is_nothing_to_fold(tmp_path: Path) -> None:
    assert not chain.large(tmp_path / "none.db")
