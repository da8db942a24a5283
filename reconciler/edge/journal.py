"""The journal as the runtime uses it: append, durable on return, folded into the ledger.

Owns: group commit, the thread that writes, and at which moments a checkpoint may be written. Must not go here: the
format on disk (chain, checkpoint), what entries mean (core.ledger).

One thread owns the file. Entries that come while it commits gather in the open batch, which is its next one: so the
cost of a durable commit (0.15-0.3 ms here) is shared by all who wait, and nobody waits for more than three of them.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from reconciler.core.ledger import Entry, Ledger
from reconciler.core.rests import stamped, timely
from reconciler.edge.chain import Chain, encoded, whole
from reconciler.edge.checkpoint import Checkpoint, Checkpoints
from reconciler.errors import JournalUnwritable, TrueupError
from reconciler.ports import Clock

_LARGEST = 5_000  # entries a commit: bounds the write-ahead log and the time that one batch takes
_ENOUGH = 200  # entries for which the writer is not kept waiting: it commits while the loop goes on
_AHEAD = 2  # batches handed over and not settled: one it writes, and one that it finds without being woken for it


class _Durable(asyncio.Future[None]):
    """Done once a batch is durable, for all who wait for it: one object for them, where an event makes one for each.
    Who is cancelled while waiting hears of it once the commit has ended, and takes nobody along.

    Who waits goes on at once, one after the other, in the loop's callback that tells it: a callback for each, as a
    future makes them, took longer than what most do until they wait again.
    """

    def __init__(self) -> None:
        super().__init__()
        self._waiting: deque[tuple[Callable[[_Durable], object], Context | None]] = deque()

    def cancel(self, msg: Any = None) -> bool:
        return False

    def add_done_callback(self, fn: Callable[[_Durable], object], /, *, context: Context | None = None) -> None:
        if self.done():
            super().add_done_callback(fn, context=context)
        else:
            self._waiting.append((fn, context))

    def settle(self, error: TrueupError | None) -> None:
        """To be called by the loop itself, where no task is running."""
        if error is None:
            self.set_result(None)
        else:
            self.set_exception(error)
            self.exception()  # it is known: nobody has to wait for it
        try:
            while self._waiting:
                fn, context = self._waiting.popleft()
                if context is None:
                    fn(self)
                else:
                    context.run(fn, self)
        finally:
            # one of them ended the loop: the others are left to whoever winds it up
            while self._waiting:
                fn, context = self._waiting.popleft()
                super().add_done_callback(fn, context=context)


class _Batch:
    __slots__ = ("at", "done", "entries", "error", "first", "text")

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.done = _Durable()
        self.error: TrueupError | None = None
        self.first = 0
        self.at = 0.0
        self.text: bytes | None = None
        """The entries as they are stored, unless the clocks have a word in them yet."""


class Journal:
    """An open journal, in asyncio's loop. Use as `async with await Journal.open(path, clock) as journal:`; one writer
    at a time, which the datacenter's lock sees to.

    All methods belong to the event loop's thread; `ledger` changes there alone.
    """

    def __init__(self, chain: Chain, ledger: Ledger, clock: Clock, kept: int = 0) -> None:
        """`kept`: the entry up to which there is a checkpoint."""
        self._chain = chain
        self._checkpoints = Checkpoints(chain.path, kept)
        self._ledger = ledger
        self._clock = clock
        self._open = _Batch()
        self._queue: queue.SimpleQueue[_Batch | None] = queue.SimpleQueue()
        self._handed = 0
        self._called = False
        self._thread: threading.Thread | None = None
        self._loop = asyncio.get_running_loop()
        self._nothing = _Durable()
        self._nothing.set_result(None)
        self._failed: TrueupError | None = None
        self._torn: TrueupError | None = None

    @classmethod
    async def open(cls, path: Path, clock: Clock) -> Journal:
        """Opens or begins one, replays and verifies all of it.

        Raises JournalBroken naming the row, JournalUnwritable, StateUnusable.
        """
        chain, ledger, kept = await anyio.to_thread.run_sync(_open, path)
        return cls(chain, ledger, clock, kept)

    @property
    def ledger(self) -> Ledger:
        return self._ledger

    async def __aenter__(self) -> Journal:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def append(self, entries: Sequence[Entry]) -> Awaitable[None]:
        """Durable and folded when what it returns is done; all of them or none. Raises JournalUnwritable, there or at
        once. The entries are handed over in any case, also if nobody waits, or whoever does is cancelled."""
        if self._failed is not None:
            raise self._failed
        if not entries:
            return self._nothing
        batch = self._open
        batch.entries.extend(entries)
        if len(batch.entries) >= (_ENOUGH if self._handed < _AHEAD else _LARGEST):
            self._hand_over()
        elif not self._handed and not self._called:
            # Not at once: all who were woken by the commit before write in this same round of the loop.
            self._called = True
            self._loop.call_soon(self._round_ended)
        return batch.done

    async def close(self) -> None:
        """Waits for what was handed over, then closes the file; leaves a checkpoint where it is worth it."""
        self._hand_over()
        thread, self._thread = self._thread, None
        self._failed = self._failed or JournalUnwritable(f"{self._chain.path}: the journal was closed")
        if thread is None:
            self._chain.close()
        else:
            self._queue.put(None)
        with anyio.CancelScope(shield=True):
            await _ended(thread)
            self._checkpoint()
            await _ended(self._checkpoints.thread)

    def _checkpoint(self) -> None:
        """Writes one if it is worth it; at rest, when all that was written is folded."""
        if self._torn is None:
            self._checkpoints.offer(self._ledger, self._chain.head)

    def _round_ended(self) -> None:
        self._called = False
        if not self._handed:
            self._hand_over()

    def _hand_over(self) -> None:
        """Gives the open batch to the writer and opens the next."""
        if not self._open.entries:
            return
        batch, self._open = self._open, _Batch()
        self._handed += 1
        if not timely(batch.entries):
            # here, where they were made a moment ago: the writer's core would have to fetch them, and this one again
            batch.text = encoded(batch.entries)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="journal", daemon=True)
            self._thread.start()
        self._queue.put(batch)

    def _work(self) -> None:
        """The writer's thread: one commit a batch, until told to end."""
        while (batch := self._queue.get()) is not None:
            try:
                self._written(batch)
            except TrueupError as error:
                batch.error = error
            except Exception as error:  # whatever it is, nobody may wait for ever
                batch.error = JournalUnwritable(f"{self._chain.path}: {error}")
            try:
                self._loop.call_soon_threadsafe(self._settle, batch)
            except RuntimeError:  # the loop is gone: what was written is durable, and nobody waits
                break
        self._chain.close()

    def _written(self, batch: _Batch) -> None:
        text = batch.text
        if text is None:
            now = self._clock.instant()
            batch.at, batch.entries = now.at, stamped(batch.entries, now)
            text = encoded(batch.entries)
        else:
            batch.at = self._clock.now()
        batch.first, batch.text = self._chain.add(text, len(batch.entries), batch.at), None

    def _settle(self, batch: _Batch) -> None:
        """Back in the loop's thread: fold, send off what has gathered, and wake those who wait."""
        if batch.error is None:
            try:
                self._ledger.take(batch.first, batch.at, batch.entries)
            except Exception as error:  # the ledger no longer says what the file does: nothing is done on its word
                self._failed = self._torn = JournalUnwritable(f"{self._chain.path}: it cannot be taken in: {error}")
        self._handed -= 1
        if not self._handed or len(self._open.entries) >= _ENOUGH:
            self._hand_over()
        if not self._handed and not self._ledger.in_flight:
            self._checkpoint()
        batch.done.settle(batch.error or self._torn)


async def _ended(thread: threading.Thread | None) -> None:
    while thread is not None and thread.is_alive():
        await anyio.to_thread.run_sync(thread.join, 1)


def _open(path: Path) -> tuple[Chain, Ledger, int]:
    """Every row is verified, whatever a checkpoint says. That is looked at, so that one which cannot be used is
    written anew: to the last entry in it, 0 if there is none."""
    chain = Chain.open(path)
    try:
        ledger, kept = whole(chain), Checkpoint.open(path)
        if kept is None:
            return chain, ledger, 0
        try:
            return chain, ledger, kept.row[0] if chain.ended(*kept.row) and kept.whole() else 0
        finally:
            kept.close()
    except BaseException:
        chain.close()
        raise
