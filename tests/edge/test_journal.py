"""The journal: durable, whole, chained, shared commits, and one clear error for each thing that can be wrong."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from reconciler.core.ledger import Bound, Entry, Intent, Ledger, Paused, Result
from reconciler.core.refs import Ref, Target, Uid
from reconciler.edge.chain import Chain, read, set_aside
from reconciler.edge.clock import SystemClock
from reconciler.edge.journal import Journal
from reconciler.errors import JournalBroken, JournalUnwritable, StateUnusable, TrueupError

pytestmark = pytest.mark.anyio

EDGE = Target("edge1")


def intent(number: int) -> Intent:
    return Intent("plan", f"step-{number}", EDGE, Ref(f"Machine/acme/web-{number}"), Uid(f"uid-{number}"))


def result(number: int) -> Result:
    return Result("plan", f"step-{number}", EDGE, Ref(f"Machine/acme/web-{number}"), "applied")


def written(path: Path, *batches: tuple[Entry, ...]) -> None:
    """A closed journal of one row a batch."""
    chain = Chain.open(path)
    for batch in batches:
        chain.append(batch, 1.0)
    chain.close()


def tamper(path: Path, *statements: str) -> None:
    """What someone with a SQLite shell could do, triggers dropped."""
    db = sqlite3.connect(path)
    for trigger in ("append_only_update", "append_only_delete", "advance", "one_writer"):
        db.execute(f"DROP TRIGGER {trigger}")
    for statement in statements:
        db.execute(statement)
    db.commit()
    db.close()


async def test_what_was_appended_is_there_after_reopening(tmp_path: Path) -> None:
    async with await Journal.open(tmp_path / "j.db", SystemClock()) as journal:
        await journal.append([intent(1), intent(2)])
        await journal.append([result(1)])
        assert journal.ledger.sequence == 3
    async with await Journal.open(tmp_path / "j.db", SystemClock()) as journal:
        assert journal.ledger.sequence == 3
        assert list(journal.ledger.in_flight) == [("plan", "step-2")]
        assert journal.ledger.written == {EDGE: 3}


async def test_every_kind_of_value_survives_the_round_trip(tmp_path: Path) -> None:
    entry = Bound(Ref("Machine/acme/ü"), Uid("u"), 2, EDGE, (), (1, 2, 3))
    async with await Journal.open(tmp_path / "j.db", SystemClock()) as journal:
        await journal.append([entry])
        live = journal.ledger.bindings
    assert read(tmp_path / "j.db").bindings == live


async def test_appends_of_many_tasks_share_commits_and_keep_their_calls_together(tmp_path: Path) -> None:
    async with await Journal.open(tmp_path / "j.db", SystemClock()) as journal:

        async def append(number: int) -> None:
            await journal.append([intent(number), result(number)])

        async with anyio.create_task_group() as group:
            for number in range(300):
                group.start_soon(append, number)
        assert journal.ledger.sequence == 600
    with sqlite3.connect(tmp_path / "j.db") as db:
        rows, smallest = db.execute("SELECT count(*), min(count) FROM journal").fetchone()
    db.close()
    assert rows < 30
    assert smallest % 2 == 0


async def test_the_ledger_is_folded_when_append_returns(tmp_path: Path) -> None:
    async with await Journal.open(tmp_path / "j.db", SystemClock()) as journal:
        for number in range(20):
            await journal.append([intent(number)])
            assert ("plan", f"step-{number}") in journal.ledger.in_flight


async def test_a_cancelled_append_is_written_whole_and_the_next_ones_go_on(tmp_path: Path) -> None:
    async with await Journal.open(tmp_path / "j.db", SystemClock()) as journal:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await journal.append([intent(1), result(1)])
        await journal.append([intent(2)])
        assert journal.ledger.sequence == 3


async def test_one_who_is_cancelled_takes_nobody_along(tmp_path: Path) -> None:
    told = []
    async with await Journal.open(tmp_path / "j.db", SystemClock()) as journal, anyio.create_task_group() as group:

        async def stays() -> None:
            await journal.append([intent(1)])
            told.append(journal.ledger.sequence)

        async def goes(scope: anyio.CancelScope) -> None:
            with scope:
                await journal.append([intent(2)])
                told.append(-1)

        scope = anyio.CancelScope()
        group.start_soon(stays)
        group.start_soon(goes, scope)
        await anyio.lowlevel.checkpoint()
        scope.cancel()
    assert scope.cancelled_caught
    assert told == [2]


def test_one_who_ends_the_loop_leaves_nobody_waiting(tmp_path: Path) -> None:
    """Those who waited for the same commit are resumed all the same, and come to their end as the loop is wound up."""
    told: list[int] = []

    async def main() -> None:
        async with await Journal.open(tmp_path / "j.db", SystemClock()) as journal:

            async def ends(number: int) -> None:
                await journal.append([intent(number)])
                raise SystemExit(number)

            async def stays(number: int) -> None:
                try:
                    await journal.append([intent(number)])
                finally:
                    told.append(journal.ledger.sequence)

            tasks = [asyncio.create_task(each) for each in (stays(1), ends(2), stays(3), stays(4))]
            await asyncio.wait(tasks)

    with pytest.raises(SystemExit, match="2"):
        asyncio.run(main())
    assert told == [4, 4, 4]


async def test_more_than_a_batch_at_once_is_written_in_order(tmp_path: Path) -> None:
    """While one batch is written the next is handed over already, and a third gathers."""
    async with await Journal.open(tmp_path / "j.db", SystemClock()) as journal:
        for number in range(1, 1_001):
            journal.append([intent(number)])
        await journal.append([intent(1_001)])
        assert list(journal.ledger.in_flight) == [("plan", f"step-{number}") for number in range(1, 1_002)]
    assert list(read(tmp_path / "j.db").in_flight) == [("plan", f"step-{number}") for number in range(1, 1_002)]
    with sqlite3.connect(tmp_path / "j.db") as db:
        counts = [count for (count,) in db.execute("SELECT count FROM journal ORDER BY sequence")]
    db.close()
    assert counts == [200, 200, 601]


async def test_what_cannot_be_taken_in_ends_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is durable, but the ledger no longer says what the file does: nothing more may be begun on its word."""

    def broken(_ledger: Ledger, *_: object) -> None:
        raise ValueError("torn")

    async with await Journal.open(tmp_path / "j.db", SystemClock()) as journal:
        with monkeypatch.context() as patched:
            patched.setattr(Ledger, "take", broken)
            with pytest.raises(JournalUnwritable, match="it cannot be taken in: torn"):
                await journal.append([intent(1)])
        with pytest.raises(JournalUnwritable, match="it cannot be taken in"):
            await journal.append([intent(2)])
    assert read(tmp_path / "j.db").sequence == 1


async def test_closing_waits_for_what_was_handed_over_and_refuses_more(tmp_path: Path) -> None:
    journal = await Journal.open(tmp_path / "j.db", SystemClock())
    journal.append([intent(1)])
    journal.append([intent(2)])
    await journal.close()
    assert read(tmp_path / "j.db").sequence == 2
    with pytest.raises(JournalUnwritable, match="closed"):
        await journal.append([intent(3)])


async def test_appending_nothing_writes_nothing(tmp_path: Path) -> None:
    async with await Journal.open(tmp_path / "j.db", SystemClock()) as journal:
        await journal.append([])
        assert journal.ledger.sequence == 0


APPENDER = """
import sys, anyio
from pathlib import Path
from reconciler.core.ledger import Paused
from reconciler.edge.clock import SystemClock
from reconciler.edge.journal import Journal

async def main():
    async with await Journal.open(Path(sys.argv[1]), SystemClock()) as journal:
        number = 0
        async def worker():
            nonlocal number
            while True:
                number += 1
                mine = number
                await journal.append([Paused(f"a{mine}", 0, ""), Paused(f"b{mine}", 0, "")])
                sys.stdout.write(f"{mine}\\n")
                sys.stdout.flush()
        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(worker)

anyio.run(main)
"""


@pytest.mark.parametrize("lines", [1, 7, 60, 400])
def test_a_kill_loses_nothing_that_was_acknowledged(tmp_path: Path, lines: int) -> None:
    path = tmp_path / "j.db"
    child = subprocess.Popen([sys.executable, "-c", APPENDER, str(path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    acknowledged = [child.stdout.readline() for _ in range(lines)]
    os.kill(child.pid, signal.SIGKILL)
    acknowledged += child.stdout.readlines()
    child.stdout.close()
    child.wait()
    pauses = read(path).pauses
    assert {f"a{line.strip()}" for line in acknowledged if line.endswith("\n")} <= set(pauses)
    assert {name[1:] for name in pauses if name[0] == "a"} == {name[1:] for name in pauses if name[0] == "b"}


def test_a_changed_row_is_named(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    written(path, (intent(1),), (intent(2), result(2)), (intent(3),))
    forged = "CAST(replace(CAST(entries AS TEXT), 'applied', 'failed') AS BLOB)"
    tamper(path, f"UPDATE journal SET entries = {forged} WHERE sequence = 2")
    with pytest.raises(JournalBroken, match=r"row 2 .*changed") as caught:
        read(path)
    assert "trueup journal rebuild" in caught.value.hint


@pytest.mark.parametrize(("row", "text"), [(1, "row 1 .*missing"), (2, "row 2 .*missing"), (4, "row 4 .*missing")])
def test_a_missing_row_is_named_wherever_it_lay(tmp_path: Path, row: int, text: str) -> None:
    path = tmp_path / "j.db"
    written(path, (intent(1),), (intent(2), result(2)), (intent(3),))
    tamper(path, f"DELETE FROM journal WHERE sequence = {row}")
    with pytest.raises(JournalBroken, match=text):
        read(path)


def test_a_row_with_a_forged_hash_breaks_the_next(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    written(path, (intent(1),), (intent(2),))
    tamper(path, "UPDATE journal SET hash = zeroblob(16) WHERE sequence = 1")
    with pytest.raises(JournalBroken, match="row 1 "):
        read(path)


def test_the_file_itself_refuses_edits_and_deletions(tmp_path: Path) -> None:
    written(tmp_path / "j.db", (intent(1),))
    db = sqlite3.connect(tmp_path / "j.db")
    for statement in ("DELETE FROM journal", "UPDATE journal SET at = 0"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            db.execute(statement)
    db.close()


def test_a_second_writer_is_refused_and_nothing_is_mixed(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    first, second = Chain.open(path), Chain.open(path)
    first.append([intent(1)], 1.0)
    with pytest.raises(JournalUnwritable, match="another process wrote"):
        second.append([intent(2)], 1.0)
    first.append([intent(3)], 1.0)
    first.close()
    second.close()
    assert read(path).sequence == 2


def test_people_can_read_it_with_sql(tmp_path: Path) -> None:
    written(tmp_path / "j.db", (intent(1), result(1)), (Paused("Node/edge1", 5, "disk swap"),))
    db = sqlite3.connect(tmp_path / "j.db")
    rows = db.execute("SELECT sequence, json_extract(entry, '$.type') FROM readable ORDER BY sequence").fetchall()
    db.close()
    assert rows == [(1, "intent"), (2, "result"), (3, "paused")]


@pytest.mark.parametrize("damage", [b"not a database, but long enough to be looked at" * 40, b"x"])
def test_a_file_that_is_no_journal_is_told(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "j.db"
    path.write_bytes(damage)
    with pytest.raises(TrueupError) as caught:
        read(path)
    assert "j.db" in str(caught.value)


def test_damage_anywhere_is_told_or_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    written(path, *(tuple(intent(n) for n in range(number, number + 20)) for number in range(30)))
    whole, sound = path.read_bytes(), read(path).in_flight
    chance = random.Random(5)
    told: list[str] = []
    for _ in range(150):
        data = bytearray(whole)
        size = chance.choice([1, 8, 512, 4096])
        place = chance.randrange(len(data) - size)
        data[place : place + size] = chance.randbytes(size)
        path.write_bytes(data)
        try:
            assert read(path).in_flight == sound
        except TrueupError as error:
            told.append(error.message)
    assert len(told) > 100
    assert all("j.db" in message and len(message) < 300 for message in told)


def test_a_newer_format_asks_for_the_newer_trueup(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    written(path, (intent(1),))
    tamper(path, "PRAGMA user_version = 9")
    with pytest.raises(StateUnusable, match="format 9"):
        Chain.open(path)


def test_another_database_is_not_taken_for_a_journal(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE other (x)")
    db.commit()
    db.close()
    with pytest.raises(JournalBroken, match="no journal of trueup"):
        Chain.open(path)


async def test_a_full_disk_fails_the_append_and_leaves_the_journal_whole(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    chain = Chain.open(path)
    chain._db.execute(f"PRAGMA max_page_count = {chain._db.execute('PRAGMA page_count').fetchone()[0] + 2}")
    journal = Journal(chain, Ledger(), SystemClock())
    await journal.append([intent(1)])
    with pytest.raises(JournalUnwritable, match="disk is full"):
        await journal.append([intent(n) for n in range(1000)])
    assert journal.ledger.sequence == 1
    await journal.append([result(1)])
    await journal.close()
    assert read(path).sequence == 2


def test_an_unreachable_path_is_told(tmp_path: Path) -> None:
    with pytest.raises(StateUnusable, match="cannot be opened"):
        Chain.open(tmp_path / "missing" / "j.db")


def test_readers_see_an_empty_ledger_where_nothing_was_done_yet(tmp_path: Path) -> None:
    assert read(tmp_path / "j.db").sequence == 0
    assert not (tmp_path / "j.db").exists()


async def test_readers_look_while_a_writer_writes(tmp_path: Path) -> None:
    async with await Journal.open(tmp_path / "j.db", SystemClock()) as journal:
        for number in range(3):
            await journal.append([intent(number)])
            assert read(tmp_path / "j.db").sequence == number + 1


@pytest.mark.parametrize("gone", ["removed", "emptied"])
async def test_a_journal_that_is_gone_is_not_an_empty_one(tmp_path: Path, now: float, gone: str) -> None:
    path = tmp_path / "j.db"
    written(path, (intent(1),))
    path.unlink() if gone == "removed" else path.write_bytes(b"")
    with pytest.raises(JournalBroken, match="the journal is gone"):
        read(path)
    with pytest.raises(JournalBroken, match="the journal is gone"):
        await Journal.open(path, SystemClock())
    set_aside(path, now)
    async with await Journal.open(path, SystemClock()) as journal:
        assert journal.ledger.sequence == 0


def test_a_broken_journal_is_set_aside_and_never_overwritten(tmp_path: Path, now: float) -> None:
    path = tmp_path / "j.db"
    for content in (b"broken", b"broken again"):
        path.write_bytes(content)
        assert set_aside(path, now) is not None
    asides = sorted(tmp_path.glob("j-aside-*.db"))
    assert {aside.read_bytes() for aside in asides} == {b"broken", b"broken again"}
    assert set_aside(path, now) is None


def test_the_journal_is_private(tmp_path: Path) -> None:
    written(tmp_path / "j.db", (intent(1),))
    assert (tmp_path / "j.db").stat().st_mode & 0o077 == 0


def test_what_came_after_a_known_row_is_read_alone(tmp_path: Path) -> None:
    written(tmp_path / "j.db", (intent(1), intent(2)))
    chain = Chain.open(tmp_path / "j.db")
    head = chain.head
    assert chain.records_after(*head) == []
    chain.append([result(1)], 2.0)
    assert [(each.sequence, each.entry) for each in chain.records_after(*head)] == [(3, result(1))]
    assert [each.entry for each in chain.records_after(0, b"")] == [intent(1), intent(2), result(1)]
    for sequence, known in ((2, b"another"), (1, head[1]), (3, head[1])):
        with pytest.raises(JournalBroken):
            chain.records_after(sequence, known)
    chain.close()
