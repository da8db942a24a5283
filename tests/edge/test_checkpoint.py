"""A checkpoint and what came after it are the fold of everything; one that is torn, of another journal or of another
program changes nothing but the time that reading takes."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import anyio
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.binding import Address
from reconciler.core.desired import Demand
from reconciler.core.ledger import (
    Beat,
    Bound,
    Claimed,
    Entry,
    Intent,
    Ledger,
    Moving,
    Paused,
    Quarantined,
    Result,
    Settled,
    Vouched,
)
from reconciler.core.refs import Ref, Target, Uid
from reconciler.edge import chain, checkpoint
from reconciler.edge.chain import Chain, read, set_aside
from reconciler.edge.checkpoint import Checkpoint, head_of, place, rows, taken
from reconciler.edge.clock import SystemClock
from reconciler.edge.journal import Journal
from reconciler.errors import JournalBroken
from tests.edge.test_journal import intent, result, tamper
from tests.properties.test_ledger import entries, memory, recorded, refs, statuses, targets, uids

pytestmark = pytest.mark.anyio

EDGE, APP = Target("edge1"), Ref("Network/acme/app")

_TURNED = {"t1": ("edge2", None, "stopped"), "t2": ("inc/a", "edge1", ""), "t3": ("edge2", None, "running")}
turned = st.sampled_from(sorted(_TURNED))


def _intent(step: str, ref: str, uid: str) -> Intent:
    target, source, turns = _TURNED[step]
    return Intent("p3", step, Target(target), Ref(ref), Uid(uid), Target(source) if source else None, turns)


def _result(step: str, ref: str, status: str, more: bool) -> Result:
    target, source, _ = _TURNED[step]
    return msgspec.convert(
        {"type": "result", "plan": "p3", "step": step, "target": target, "ref": ref, "status": status,
         "source": source, "more": more},
        Result,
    )  # fmt: skip


every: st.SearchStrategy[Entry] = st.one_of(
    entries,
    st.builds(Moving, refs, uids, targets),
    st.builds(Beat, st.sampled_from(["", "b1", "b2"]), st.floats(0, 1e6), st.booleans()),
    st.builds(Vouched),
    st.builds(Quarantined, refs, uids, st.integers(1, 4), targets, st.floats(0, 1e6), st.none() | st.floats(0, 1e6)),
    st.builds(_intent, turned, refs, uids),
    st.builds(_result, turned, refs, statuses, st.booleans()),
)


def over(ledger: Ledger) -> Ledger:
    """The same by way of bytes."""
    return taken(iter([head_of(ledger), *rows(ledger.bindings.single)]))


@given(st.lists(every, max_size=30))
def test_a_checkpoint_and_the_rest_are_the_fold_of_everything_at_every_cut(history: list[Entry]) -> None:
    records = recorded(history)
    known = memory(Ledger(records))
    for cut in range(len(records) + 1):
        pieces = over(Ledger(records[:cut]))
        for record in records[cut:]:
            pieces.fold(record)
        assert memory(pieces) == known
        assert over(pieces).bindings.words.values == pieces.bindings.words.values


def test_what_a_planner_numbered_beside_the_ledger_comes_back_with_its_number() -> None:
    ledger = Ledger()
    words = ledger.bindings.words
    for word in ("n1", Demand(1, 2, 3), (1, 2, 3), (Ref("Image/deb"), Ref("Network/acme/lan")), b"{}"):
        words.number(word)
    again = over(ledger).bindings.words
    assert again.values == words.values
    assert [again.number(word) for word in words.values] == list(range(len(words.values)))


def test_all_that_says_how_entries_are_folded_is_in_the_seal() -> None:
    """Else a checkpoint of a program that folds otherwise would be believed."""
    told = "import sys, reconciler.core.ledger; print(*(n for n in sys.modules if n.startswith('reconciler.core.')))"
    done = subprocess.run([sys.executable, "-c", told], check=True, capture_output=True, text=True)
    assert {name.removeprefix("reconciler.core.") for name in done.stdout.split()} == set(checkpoint.FOLDING)


def machine(number: int) -> tuple[Entry, Entry]:
    ref, uid = Ref(f"Machine/acme/w-{number}"), Uid(f"u{number}")
    address = Address(APP, f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", f"02:00:{number}")
    fields = {"hostname": f"w-{number}", "memory": number % 7}
    return Bound(ref, uid, 1, EDGE, (address,), (1, 2, 3)), Settled(ref, uid, EDGE, fields, "r")


def applied(count: int, first: int = 0) -> list[Entry]:
    made = [entry for number in range(first, first + count) for entry in machine(number)]
    return [Claimed(EDGE, "id"), Bound(APP, Uid("net"), 1, EDGE), *made]


async def closed(path: Path, *batches: list[Entry]) -> None:
    """A journal as who writes leaves it."""
    async with await Journal.open(path, SystemClock()) as journal:
        for batch in batches:
            await journal.append(batch)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a checkpoint is written of a few entries already, and holds several parts."""
    monkeypatch.setattr(checkpoint, "FEW", 4)
    monkeypatch.setattr(checkpoint, "_MANY", 3)
    return tmp_path / "j.db"


def upto(path: Path) -> int | None:
    """The last entry that is in it."""
    found = Checkpoint.open(path)
    if found is not None:
        found.close()
    return found.row[0] if found is not None else None


def everything(path: Path) -> dict[str, object]:
    """What the whole journal folds to."""
    opened = Chain.open(path, read_only=True)
    try:
        return memory(opened.ledger())
    finally:
        opened.close()


def spoil(path: Path) -> None:
    """An old row says something else: whoever folds everything is told."""
    tamper(path, "UPDATE journal SET at = 7 WHERE sequence = 1")


async def test_who_looks_goes_by_it_and_who_writes_verifies_every_row(path: Path) -> None:
    await closed(path, applied(10), [Paused("Machine/acme/w-1", 2e9, "why")])
    folded = everything(path)
    spoil(path)
    assert chain.kept(path)
    assert memory(read(path)) == folded
    with pytest.raises(JournalBroken, match=r"row 1 .*changed"):
        await Journal.open(path, SystemClock())
    with pytest.raises(JournalBroken, match=r"row 1 .*changed"):
        everything(path)


async def test_what_came_after_it_is_verified_and_folded(path: Path) -> None:
    await closed(path, applied(40))
    await closed(path, [Paused("Machine/acme/w-1", 2e9, "why")], [Claimed(EDGE, "other")])
    assert upto(path) == 82, "two more are not worth another one"
    assert memory(read(path)) == everything(path)
    assert read(path).claims == {EDGE: "other"}
    tamper(path, "UPDATE journal SET at = 7 WHERE sequence = 84")
    with pytest.raises(JournalBroken, match=r"row 84 .*changed"):
        read(path)


async def test_rows_that_are_missing_from_the_end_are_noticed(path: Path) -> None:
    await closed(path, applied(40))
    await closed(path, [Claimed(EDGE, "other")])
    tamper(path, "DELETE FROM journal WHERE sequence = 83")
    with pytest.raises(JournalBroken, match="row 83"):
        read(path)


@pytest.mark.parametrize("sound", [True, False])
async def test_damage_anywhere_in_it_changes_nothing(path: Path, *, sound: bool) -> None:
    """`sound`: else an old row is damaged as well, and whoever cannot use the checkpoint says so."""
    await closed(path, applied(20))
    await closed(path, [Claimed(EDGE, "other")])
    known, whole = memory(read(path)), place(path).read_bytes()
    if not sound:
        spoil(path)
    chance, told = random.Random(7), 0
    for number in range(200):
        data = bytearray(whole)
        size = chance.choice([1, 4, 64])
        start = chance.randrange(len(data) - size)
        if number % 4 == 3:
            del data[start:]
        elif number % 4 == 2:
            del data[start : start + size]
        elif number % 4 == 1:
            data[start] ^= 1 << chance.randrange(8)
        else:
            data[start : start + size] = bytes(each ^ 0x55 for each in data[start : start + size])
        place(path).write_bytes(data)
        try:
            assert memory(read(path)) == known
        except JournalBroken:
            told += 1
    assert told == (0 if sound else 200), "not one of them was believed"


async def test_a_void_one_is_written_anew_by_who_writes_next(path: Path) -> None:
    await closed(path, applied(10))
    whole = place(path).read_bytes()
    for torn in (b"", whole[:-1], whole[:-40] + whole[-39:]):
        place(path).write_bytes(torn)
        await closed(path)
        assert place(path).read_bytes() == whole


async def test_that_of_another_journal_is_none(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    await closed(path, applied(10))
    await closed(other, applied(10, first=100))
    shutil.copy2(place(other), place(path))
    assert not chain.kept(path)
    known = everything(path)
    assert memory(read(path)) == known
    await closed(path)
    assert chain.kept(path)
    assert memory(read(path)) == known


@pytest.mark.parametrize("onward", [0, 1, 30])
async def test_an_older_journal_put_back_beneath_a_newer_one(path: Path, tmp_path: Path, onward: int) -> None:
    """Also where it went on another way, past the row that the checkpoint is of."""
    await closed(path, applied(3))
    shutil.copy2(path, tmp_path / "old.db")
    await closed(path, [entry for number in range(20, 30) for entry in machine(number)])
    newer = place(path).read_bytes()
    shutil.copy2(tmp_path / "old.db", path)
    written = Chain.open(path)
    for number in range(onward):
        written.append(machine(50 + number), 1.0)
    written.close()
    place(path).write_bytes(newer)
    assert not chain.kept(path)
    found = read(path)
    assert memory(found) == everything(path)
    assert not found.bindings.targets(Ref("Machine/acme/w-20"))


async def test_an_older_one_beneath_a_newer_journal_still_serves(path: Path) -> None:
    """As from a backup that took the two at different moments."""
    await closed(path, applied(3))
    older = place(path).read_bytes()
    await closed(path, [entry for number in range(20, 30) for entry in machine(number)])
    place(path).write_bytes(older)
    assert chain.kept(path)
    assert memory(read(path)) == everything(path)


async def test_another_program_does_not_believe_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await closed(path, applied(10))
    monkeypatch.setattr(checkpoint, "_seed", lambda: bytes(16))
    assert upto(path) is None
    assert len(read(path).bindings) == 11


async def test_it_is_private_and_what_others_may_have_written_is_not_believed(path: Path) -> None:
    await closed(path, applied(10))
    assert place(path).stat().st_mode & 0o777 == 0o600
    place(path).chmod(0o660)
    assert upto(path) is None
    assert len(read(path).bindings) == 11


async def test_one_that_cannot_be_written_hinders_nobody(path: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"of somebody else")
    place(path).with_name(f"{place(path).name}-new").symlink_to(elsewhere)
    await closed(path, applied(10))
    assert not place(path).exists()
    assert elsewhere.read_bytes() == b"of somebody else"
    assert len(read(path).bindings) == 11


async def test_a_journal_that_is_put_aside_takes_it_along(path: Path, now: float) -> None:
    await closed(path, applied(10))
    assert set_aside(path, now) is not None
    assert not place(path).exists()
    await closed(path, [Claimed(EDGE, "new")])
    assert not read(path).bindings


async def test_it_is_written_once_it_is_worth_it(path: Path) -> None:
    """A few entries never are, and no more than one entry in eight of what lies there already."""
    written: list[int] = []
    async with await Journal.open(path, SystemClock()) as journal:
        for number in range(100):
            await journal.append([machine(number)[0]])
            await anyio.to_thread.run_sync(lambda: (thread := journal._checkpoints.thread) and thread.join())
            last = upto(path)
            if last is not None and last not in written:
                written.append(last)
    steps = [after - before for before, after in zip([0, *written], written, strict=False)]
    assert written[0] == 4
    assert all(step >= max(4, before // 8) for before, step in zip([0, *written], steps, strict=False))
    assert 10 < len(written) < 20


async def test_while_steps_are_under_way_none_is_written(path: Path) -> None:
    async with await Journal.open(path, SystemClock()) as journal:
        for number in range(10):
            await journal.append([intent(number)])
        assert not place(path).exists()
        for number in range(10):
            await journal.append([result(number)])
        thread = journal._checkpoints.thread
        assert thread is not None, "at rest it is written while the journal is open"
        await anyio.to_thread.run_sync(thread.join)
        assert upto(path) == 20


async def test_what_a_stop_leaves_in_flight_is_in_it(path: Path) -> None:
    await closed(path, [intent(number) for number in range(10)])
    assert chain.kept(path)
    assert len(read(path).in_flight) == 10


async def test_a_ledger_that_is_torn_leaves_none(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with await Journal.open(path, SystemClock()) as journal:
        monkeypatch.setattr(journal.ledger, "take", lambda *_: 1 / 0)
        with pytest.raises(Exception, match="cannot be taken in"):
            await journal.append(applied(10))
    assert not place(path).exists()
    assert len(read(path).bindings) == 11


async def write_on(path: Path) -> None:
    """Until it is killed: a checkpoint an entry or two. A line when it begins, and one after each entry."""
    checkpoint.FEW, checkpoint._SHARE, checkpoint._MANY = 1, 1_000_000, 50
    async with await Journal.open(path, SystemClock()) as journal:
        first = len(journal.ledger.bindings)
        print("begun", flush=True)
        for number in range(first, first + 100_000):
            await journal.append(machine(number))
            print(flush=True)


@pytest.fixture
def writer(path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.edge.test_checkpoint", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def test_readers_look_while_it_is_written(path: Path, writer: subprocess.Popen[str]) -> None:
    assert writer.stdout is not None
    assert writer.stdout.readline() == "begun\n"
    found: list[Exception | int] = []

    def look() -> None:
        last = 0
        for _ in range(60):
            try:
                ledger = read(path)
            except Exception as error:
                found.append(error)
                return
            if ledger.sequence < last or len(ledger.bindings) * 2 != ledger.sequence:
                found.append(ledger.sequence)
            last = ledger.sequence

    readers = [threading.Thread(target=look) for _ in range(2)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert not found


def test_a_kill_at_any_moment_leaves_a_journal_that_reads_as_ever(path: Path) -> None:
    chance, used = random.Random(3), 0
    for _ in range(8):
        command = [sys.executable, "-m", "tests.edge.test_checkpoint", str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(chance.randrange(1, 60)):  # entries, so that a busy host gets as far
                process.stdout.readline()
            threading.Event().wait(chance.random() / 50)
            os.kill(process.pid, signal.SIGKILL)
        used += chain.kept(path)
        assert memory(read(path)) == everything(path)
    assert used > 4, "and nearly always there is one"
    assert len(list(path.parent.glob("j.db-ledger*"))) <= 2, "what kills leave does not pile up"


async def test_a_large_fleet_is_taken_up_without_reading_what_came_before(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    written = Chain.open(path)
    for first in range(0, 30_000, 2_500):
        written.append(applied(2_500, first), 1.0)
    written.close()
    await closed(path)
    spoil(path)
    found = read(path)
    assert len(found.bindings) == 30_001
    for number in (0, 20_000, 29_999):
        binding = found.bindings.sole(Ref(f"Machine/acme/w-{number}"))
        assert binding is not None
        assert binding.applied == {"hostname": f"w-{number}", "memory": number % 7}


if __name__ == "__main__":
    anyio.run(write_on, Path(sys.argv[1]))
