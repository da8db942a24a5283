"""How long things have really rested in quarantine, as far as that can be proved (invariant I8, decision 0015).

Owns: what two looks at the clocks prove about the time between them, and the account of it for each thing.
Must not go here: reading clocks (edge), withholding a purge (rules), what else is remembered of a thing (ledger).

Wall time says anything after a wrong hand, a dead battery or a bad server. What counts is what passed surely:
- between two looks in one boot, what the time since boot grew by;
- across a boot, what the new one has lasted, unless the wall clock says less;
- across a boot, what the wall clock says, if it was disciplined by a time server at both ends.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from reconciler.core.entries import Beat, Entry, Quarantined, Vouched
from reconciler.core.refs import Uid

EVERY = 3600.0
"""Seconds between two beats: what the end of a boot costs of proof at most. A row an hour, while something rests."""


class Instant(msgspec.Struct, frozen=True):
    """What a host's clocks say at one instant. `at`: unix seconds. `boot`: which boot this is, empty where the host
    does not tell. `up`: seconds since it began, sleep included. `synced`: a time server disciplines the clock."""

    at: float
    boot: str = ""
    up: float = 0.0
    synced: bool = False

    def follows(self, last: Instant) -> bool:
        """Whether it is of the same boot, so that the time since boot tells what lies between them."""
        return bool(self.boot) and self.boot == last.boot and self.up >= last.up


class Rest(msgspec.Struct, frozen=True):
    """What rests for so many `seconds`, from `start` on, when the account of proved time stood at `since`. `said`: by
    its own word it is this much."""

    seconds: float
    said: float
    since: float
    start: Instant


class Rests(msgspec.Struct):
    """The account: a fold of the journal."""

    last: Instant | None = None
    """The last beat."""
    proved: float = 0.0
    """Seconds that have surely passed from the first beat to the last."""
    dated: dict[Uid, Rest] = {}
    undated: dict[Uid, tuple[float, float]] = {}
    """Put away after the last beat: they count from the next one on. (seconds, said)."""

    def put(self, uid: Uid, seconds: float, said: float | None = None) -> None:
        self.dated.pop(uid, None)
        self.undated[uid] = (seconds, seconds if said is None else said)

    def drop(self, uid: Uid) -> None:
        """It rests no more."""
        if self.dated or self.undated:
            self.dated.pop(uid, None)
            self.undated.pop(uid, None)

    def beat(self, now: Instant) -> None:
        if self.last is not None:
            self.proved += passed(self.last, now)
        self.last = now
        self.dated.update({uid: Rest(*each, self.proved, now) for uid, each in self.undated.items()})
        self.undated = {}

    def vouch(self, now: float) -> None:
        """A person's word: what the wall clock says has passed. Comes right after a beat."""
        for uid, rest in self.dated.items():
            assert self.last is not None, "what is dated is so by a beat"
            left = min(self._left(rest, self.last), max(0.0, rest.start.at + rest.said - now))
            self.dated[uid] = Rest(left, left, self.proved, self.last)

    def left(self, uid: Uid, now: Instant) -> float | None:
        """Seconds of its time that are still to be proved; None for what nobody here knows to rest."""
        rest = self.dated.get(uid)
        if rest is not None:
            return self._left(rest, now)
        return self.undated[uid][0] if uid in self.undated else None

    def _left(self, rest: Rest, now: Instant) -> float:
        assert self.last is not None, "what is dated is so by a beat"
        sure = self.proved + passed(self.last, now) - rest.since
        if now.boot != rest.start.boot and now.synced and rest.start.synced:
            sure = max(sure, now.at - rest.start.at)
        return max(0.0, rest.seconds - sure)

    def unproved(self, uid: Uid, now: Instant) -> float | None:
        """Seconds for which it may not be purged yet: 0 if its time is over, None if nobody here counts it. What is not
        counted rests until the moment that it bears itself, if the clock can be trusted."""
        left = self.left(uid, now)
        return 0.0 if left is None and now.synced else left

    def due(self, now: Instant) -> bool:
        """Whether a beat is to be written: something rests whose time is not proved, and the last one is too old.

        Early in a boot the clock may not have been disciplined yet, and what it says then could not be taken back: one
        beat would give away what the next can prove.
        """
        if self.undated:
            return True
        if not self.dated or self.last is None:
            return False
        early = not now.follows(self.last) and not now.synced and now.up < EVERY
        if early or (now.follows(self.last) and now.up - self.last.up < EVERY):
            return False
        return any(self._left(rest, now) > 0 for rest in self.dated.values())


def passed(last: Instant, now: Instant) -> float:
    """Seconds that have surely passed between two looks at the clocks, never more than really did."""
    if now.follows(last):
        return now.up - last.up
    said = max(0.0, now.at - last.at)
    if last.synced and now.synced:
        return said
    return min(now.up, said) if last.boot and now.boot else 0.0


_TIMELY = frozenset({Beat, Vouched, Quarantined})


def timely(entries: Iterable[Entry]) -> bool:
    """Whether `stamped` would add to them anything at all. Quick: it is asked of everything that is written."""
    return not _TIMELY.isdisjoint(map(type, entries))


def stamped(entries: Iterable[Entry], now: Instant) -> list[Entry]:
    """The entries as they are written now: beats with what the clocks say, and one where the account needs it. Before a
    person's word on the clock, so that it is about all that came before; after what is put away, so that nothing
    counts that was before."""
    beat = Beat(now.boot, now.up, now.synced)
    found: list[Entry] = []
    open_ = False
    for entry in entries:
        if isinstance(entry, Vouched):
            found.append(beat)
        found.append(beat if isinstance(entry, Beat) else entry)
        open_ = isinstance(entry, Quarantined) or (open_ and not isinstance(entry, Beat | Vouched))
    return [*found, beat] if open_ else found
