"""Whatever is done to a host's clocks, nothing is purged before its time has really passed, and all is at last (I8)."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.core.ledger import Entry
from reconciler.core.plan import Plan
from reconciler.core.rests import Instant, stamped
from tests.builders import NOW, Fleet, machine, small_site
from tests.core.test_guard_rules import REMOVED

HOUR, DAY = 3600.0, 86400.0
WEEK = 7 * DAY
"""As long as the policy of the builders keeps things."""


class Host(Fleet):
    """One node and its controller. `true` is the time that really passed, which nobody here can read."""

    def __init__(self) -> None:
        super().__init__()
        self.true = 0.0
        self.wrong = 0.0
        """What the wall clock is ahead."""
        self.boot, self.booted = 1, -DAY
        self.server = True
        """Whether a time server can be reached: then the wall clock is right, and the kernel says so."""
        self.away: float | None = None
        """When it was put into quarantine, in true time."""
        self.cycle(wanted=True)
        self.cycle(wanted=False)

    @property
    def clock(self) -> Instant:
        synced = self.server and not self.wrong
        return Instant(NOW + self.true + self.wrong, f"boot {self.boot}", self.true - self.booted, synced)

    def journal(self, *entries: Entry, at: float = NOW) -> None:
        now = self.clock
        super().journal(*stamped(entries, now), at=now.at)

    def planned(self, *, wanted: bool = False) -> Plan:
        site = small_site(machine()) if wanted else small_site()
        return self.plan(site, now=self.clock.at, clock=self.clock, lineage=REMOVED)

    def cycle(self, *, wanted: bool = False) -> None:
        """A controller that plans and applies: `run --once`, or a loop that was started just now."""
        plan = self.planned(wanted=wanted)
        for change in plan.changes:
            if change.action == "purge":
                assert self.away is not None
                assert self.true - self.away >= WEEK - 1e-3, f"purged after {(self.true - self.away) / DAY} days"
                self.away = None
            elif change.action in ("destroy", "restore"):
                self.away = self.true if change.action == "destroy" else None
        self.apply(plan, now=self.clock.at)

    @property
    def there(self) -> bool:
        return any(found.kind == "Machine" for here in self.objects.values() for found in here.values())

    def passes(self, seconds: float) -> None:
        self.true += seconds

    def jumps(self, seconds: float) -> None:
        """Somebody, or a bad battery, sets the wall clock: no time server does now."""
        self.server, self.wrong = False, self.wrong + seconds

    def puts_away(self, wrong: float) -> None:
        """The machine comes back, if it is there, and is put away again, by a clock that is wrong."""
        if wrong:
            self.jumps(wrong)
        self.cycle(wanted=True)
        self.cycle()

    def synchronises(self) -> None:
        self.server, self.wrong = True, 0.0

    def reboots(self, off: float, drifted: float) -> None:
        """It is off for a while; its wall clock goes on as it likes, and no time server has been asked yet."""
        self.true += off
        self.boot, self.booted = self.boot + 1, self.true
        self.jumps(drifted)


def deeds() -> st.SearchStrategy[Callable[[Host], object]]:
    lengths = st.sampled_from([1.0, HOUR, 0.4 * DAY, DAY, 3 * DAY, WEEK])
    leaps = st.sampled_from([-400 * DAY, -WEEK, -HOUR, HOUR, DAY, 6.9 * DAY, WEEK, 400 * DAY])
    return st.one_of(
        st.builds(lambda seconds: lambda host: host.passes(seconds), lengths),
        st.just(lambda host: host.cycle()),
        st.just(lambda host: host.cycle()),
        st.builds(lambda wrong: lambda host: host.puts_away(wrong), st.just(0.0) | leaps),
        st.builds(lambda wrong: lambda host: host.puts_away(wrong), leaps),
        st.builds(lambda seconds: lambda host: host.jumps(seconds), leaps),
        st.builds(
            lambda seconds, leap: (
                lambda host: (host.passes(seconds), host.puts_away(0.0), host.jumps(leap), host.cycle())
            ),
            lengths,
            leaps,
        ),
        st.just(lambda host: host.synchronises()),
        st.just(lambda host: (host.reboots(HOUR, 0.0), host.synchronises(), host.cycle())),
        st.builds(lambda off, drifted: lambda host: host.reboots(off, drifted), lengths, st.just(0.0) | leaps),
    )


@settings(deadline=None)
@given(st.lists(deeds(), min_size=2, max_size=25))
def test_nothing_is_purged_early_and_everything_at_last(story: list[Callable[[Host], object]]) -> None:
    host = Host()
    for deed in story:
        deed(host)
    host.cycle()
    for _ in range(2):
        # The first time the wall clock may lie before what it said in the boot before: nothing of this one counts yet.
        marks = [found.marks for here in host.objects.values() for found in here.values() if found.marks is not None]
        host.passes(
            max(WEEK, 0.0, *(mark.quarantined_until - host.clock.at for mark in marks if mark.quarantined_until))
        )
        host.cycle()
    assert not host.there


@settings(deadline=None, max_examples=15)
@given(st.lists(deeds(), max_size=12), st.booleans())
def test_weekly_cron_purges_within_a_week_of_its_time_on_a_host_that_reboots(
    story: list[Callable[[Host], object]], before: bool
) -> None:
    """As long as a time server is reached each time; whatever was done to the clock before."""
    host = Host()
    for deed in story if before else ():
        deed(host)
    host.synchronises()
    host.cycle(wanted=True)
    host.cycle()
    for _ in range(2):
        host.passes(HOUR)
        host.reboots(WEEK, 0.0)
        host.synchronises()
        host.cycle()
    assert not host.there


@settings(deadline=None, max_examples=10)
@given(st.lists(deeds(), max_size=15))
def test_beats_of_a_host_that_looks_often_are_one_an_hour(story: list[Callable[[Host], object]]) -> None:
    host = Host()
    for deed in story:
        deed(host)
    host.cycle(wanted=True)
    host.cycle()
    rows = len(host.records)
    for _ in range(10 * 24):
        host.passes(HOUR / 10)
        host.cycle()
    assert len(host.records) - rows <= 25
