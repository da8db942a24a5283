"""What clocks prove of the time that something has rested in quarantine, and what is withheld until they do (I8)."""

from __future__ import annotations

import msgspec
import pytest

from reconciler.core.ledger import Beat, Bound, Entry, Forgotten, Ledger, Purged, Quarantined, Record, Settled, Vouched
from reconciler.core.plan import Plan
from reconciler.core.refs import Ref, Target, Uid
from reconciler.core.rests import EVERY, Instant, Rests, passed, stamped, timely
from reconciler.core.rules import unrested
from tests.builders import NOW, Fleet, machine, small_site
from tests.core.test_guard_rules import REMOVED, WEB, actions, only_hold, settled

DAY = 86400.0
WEEK = 7 * DAY
IT = Uid("u1")
PUT = Quarantined(Ref("Machine/acme/web"), IT, 1, Target("edge1"), WEEK)


def at(seconds: float, *, up: float | None = None, boot: str = "a", synced: bool = False) -> Instant:
    """So many seconds after NOW by the wall clock, and by the time since boot where nothing else is said."""
    return Instant(NOW + seconds, boot, 1000.0 + seconds if up is None else up, synced)


def resting(*beats: Instant) -> Rests:
    """It was put away at the first beat."""
    rests = Rests()
    rests.put(IT, WEEK)
    for each in beats:
        rests.beat(each)
    return rests


# -- what two looks prove ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("last", "now", "proved"),
    [
        (at(0), at(DAY), DAY),
        (at(0), at(30 * DAY, up=2000.0), 1000.0),
        (at(0), at(-30 * DAY, up=2000.0), 1000.0),
        (at(0, synced=True), at(30 * DAY, up=2000.0, synced=True), 1000.0),
        (at(0), at(WEEK, boot="b", up=60.0), 60.0),
        (at(0, synced=True), at(WEEK, boot="b", up=60.0), 60.0),
        (at(0), at(WEEK, boot="b", up=60.0, synced=True), 60.0),
        (at(0, synced=True), at(WEEK, boot="b", up=60.0, synced=True), WEEK),
        (at(0, synced=True), at(-WEEK, boot="b", up=60.0, synced=True), 0.0),
        (at(0), at(60, boot="b", up=100 * DAY), 60.0),
        (at(0), at(-60, boot="b", up=100 * DAY), 0.0),
        (at(0), at(WEEK, up=60.0), 60.0),
        (at(0, boot=""), at(WEEK, boot="", up=WEEK), 0.0),
        (at(0, boot=""), at(WEEK, up=WEEK), 0.0),
        (at(0), at(WEEK, boot="", up=0.0), 0.0),
        (at(0, boot="", synced=True), at(WEEK, boot="", synced=True), WEEK),
    ],
    ids=[
        "one boot", "it leapt on", "it leapt back", "in one boot a time server is not asked", "a boot, nothing known",
        "synced before alone", "synced after alone", "synced at both ends", "synced and earlier",
        "another host, that is up for long", "another host, that is behind", "a container that began again",
        "no boot is told", "none was told", "none is told any more", "none is told, synced at both ends",
    ],
)  # fmt: skip
def test_no_more_is_proved_than_passed(last: Instant, now: Instant, proved: float) -> None:
    assert passed(last, now) == pytest.approx(proved)


# -- the account -------------------------------------------------------------------------------------------------------


def test_it_counts_from_the_first_beat_after_it_was_put_away() -> None:
    rests = Rests()
    rests.beat(at(0))
    rests.put(IT, WEEK)
    assert rests.left(IT, at(DAY)) == WEEK
    rests.beat(at(DAY))
    assert rests.left(IT, at(DAY)) == WEEK
    assert rests.left(IT, at(3 * DAY)) == 5 * DAY
    rests.beat(at(3 * DAY))
    assert rests.left(IT, at(8 * DAY)) == 0
    assert rests.left(Uid("other"), at(0)) is None


def test_what_is_put_away_again_begins_again() -> None:
    rests = resting(at(0), at(6 * DAY))
    rests.put(IT, WEEK)
    assert rests.left(IT, at(30 * DAY)) == WEEK


def test_boots_between_synced_looks_cost_nothing_and_others_their_tails() -> None:
    rests = resting(at(0, synced=True))
    rests.beat(at(DAY, boot="b", up=10.0))
    assert rests.left(IT, at(2 * DAY, boot="b", up=10.0 + DAY)) == WEEK - DAY - 10
    assert rests.left(IT, at(2 * DAY, boot="b", up=10.0 + DAY, synced=True)) == 5 * DAY


def test_what_was_put_away_before_the_clock_was_synced_gains_nothing_of_the_time_before() -> None:
    rests = Rests()
    rests.beat(at(-WEEK, boot="0", synced=True))
    rests.put(IT, WEEK)
    rests.beat(at(0, up=10.0))
    assert rests.left(IT, at(60, up=70.0, synced=True)) == WEEK - 60


def test_a_beat_is_due_hourly_while_something_rests_that_is_not_proved() -> None:
    assert not Rests().due(at(0))
    rests = Rests()
    rests.put(IT, WEEK)
    assert rests.due(at(0)), "it counts from none yet"
    rests = resting(at(0))
    assert not rests.due(at(EVERY - 1))
    assert rests.due(at(EVERY))
    assert rests.due(at(WEEK - 1))
    assert not rests.due(at(WEEK)), "all is proved"
    rests.drop(IT)
    assert not rests.due(at(EVERY))


def test_a_new_boot_is_noted_once_the_clock_can_be_believed() -> None:
    rests = resting(at(0, synced=True))
    assert not rests.due(at(DAY, boot="b", up=10.0))
    assert rests.due(at(DAY, boot="b", up=10.0, synced=True))
    assert rests.due(at(DAY, boot="b", up=EVERY))


def test_a_persons_word_lets_the_wall_clock_count_for_what_was_before_it() -> None:
    rests = resting(at(0), at(5 * DAY, up=1100.0))
    rests.vouch(NOW + 5 * DAY)
    assert rests.left(IT, at(6 * DAY, up=1100.0 + DAY)) == DAY
    assert rests.left(IT, at(60 * DAY, up=1100.0 + DAY)) == DAY, "what it says later is not vouched for"
    rests.vouch(NOW - DAY)
    assert rests.left(IT, at(5 * DAY, up=1100.0)) == 2 * DAY, "it never makes it longer"


def test_stamps_stand_after_what_is_put_away_and_before_a_persons_word() -> None:
    now = at(0, synced=True)
    beat = Beat("a", 1000.0, synced=True)
    said, word = Forgotten(PUT.ref, IT, PUT.target), Vouched("I looked")
    assert stamped([PUT, said], now) == [PUT, said, beat]
    assert stamped([PUT, Beat()], now) == [PUT, beat]
    assert stamped([PUT, word], now) == [PUT, beat, word]
    assert stamped([Beat(), PUT], now) == [beat, PUT, beat]
    assert stamped([said], now) == [said]
    assert (timely([said]), timely([said, PUT]), timely([word]), timely([Beat()])) == (False, True, True, True)


def ledger(*entries: Entry) -> Ledger:
    return Ledger(Record(number, NOW, entry) for number, entry in enumerate(entries, 1))


@pytest.mark.parametrize(
    "ends",
    [
        Purged(PUT.ref, IT, PUT.target),
        Forgotten(PUT.ref, IT, PUT.target),
        Bound(PUT.ref, IT, 1, PUT.target),
        Settled(PUT.ref, IT, PUT.target, {}, ""),
    ],
)
def test_what_rests_no_more_is_counted_no_more(ends: Entry) -> None:
    for entries in ((PUT,), (PUT, Beat("a", 1.0))):
        assert ledger(*entries).rests.left(IT, at(0)) is not None
        assert ledger(*entries, ends).rests.left(IT, at(0)) is None


# -- what is withheld --------------------------------------------------------------------------------------------------


class Clocked(Fleet):
    """A fleet of one node with a journal that is stamped: what `apply` writes bears what the clocks say."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = at(0)
        self.apply(self.planned(machine()))

    def planned(self, *machines: object) -> Plan:
        wanted = small_site(*machines)  # type: ignore[arg-type]
        return self.plan(wanted, now=self.clock.at, clock=self.clock, lineage=REMOVED)

    def journal(self, *entries: Entry, at: float = NOW) -> None:
        super().journal(*stamped(entries, self.clock), at=self.clock.at)

    def cycle(self, clock: Instant, *machines: object) -> Plan:
        self.clock = clock
        plan = self.planned(*machines)
        self.apply(plan, now=clock.at)
        return plan


def test_a_purge_waits_until_its_time_is_proved_whatever_the_clock_says() -> None:
    fleet = Clocked()
    fleet.cycle(at(0))
    leapt = fleet.cycle(at(30 * DAY, up=1000.0 + DAY))
    hold = only_hold(leapt)
    assert (hold.rule, hold.lifts) == ("clock", "time; or, if the clock is right: trueup accept --clock")
    assert "6 d of it are not proved" in hold.sentence
    assert leapt.entries == (Beat(),)
    assert only_hold(fleet.cycle(at(36 * DAY, up=1000.0 + 7 * DAY - 1))).rule == "clock"
    assert actions(fleet.cycle(at(36 * DAY, up=1000.0 + 7 * DAY))) == [("purge", WEB)]


def test_a_persons_word_on_the_clock_lifts_the_hold() -> None:
    fleet = Clocked()
    fleet.cycle(at(0))
    fleet.cycle(at(8 * DAY, boot="b", up=10.0))
    fleet.journal(Vouched("it was off"))
    assert actions(fleet.cycle(at(8 * DAY, boot="b", up=11.0))) == [("purge", WEB)]


def test_the_executor_looks_again_before_a_purge() -> None:
    fleet = Clocked()
    fleet.cycle(at(0))
    step = fleet.planned().steps
    assert not step
    fleet.clock = at(8 * DAY)
    (purge,) = fleet.planned().steps
    assert unrested(fleet.ledger(), purge, at(8 * DAY)) is None
    assert "not proved" in (unrested(fleet.ledger(), purge, at(8 * DAY, up=2000.0)) or "")
    assert "another controller" in (unrested(Ledger(), purge, at(8 * DAY)) or "")
    assert unrested(Ledger(), purge, at(8 * DAY, synced=True)) is None


def test_a_new_ledger_lets_rest_as_long_as_one_that_is_put_away_now() -> None:
    """Its clock may be of a host that was set up just now: nothing proves how long things have rested."""
    fleet = Clocked()
    fleet.cycle(at(0))
    fleet.records.clear()
    late = at(20 * DAY)
    plan = fleet.cycle(late)
    assert only_hold(plan).rule == "clock"
    counted = [entry for entry in plan.entries if isinstance(entry, Quarantined)]
    assert [(entry.seconds, entry.said) for entry in counted] == [(WEEK, 0.0)]
    assert fleet.ledger().bindings.of(WEB)[0].quarantined_until == late.at, "what it says itself is still told"
    assert only_hold(fleet.cycle(at(27 * DAY - 1))).rule == "clock"
    assert actions(fleet.cycle(at(27 * DAY))) == [("purge", WEB)]


def test_a_new_ledger_believes_the_marks_where_a_time_server_vouches_for_the_clock() -> None:
    fleet = Clocked()
    fleet.cycle(at(0))
    fleet.records.clear()
    assert not fleet.cycle(at(6 * DAY, synced=True)).changes
    assert actions(fleet.cycle(at(7 * DAY, synced=True))) == [("purge", WEB)]


def test_a_persons_word_counts_for_what_another_controller_put_away() -> None:
    fleet = Clocked()
    fleet.cycle(at(0))
    fleet.records.clear()
    assert only_hold(fleet.cycle(at(20 * DAY))).rule == "clock"
    fleet.journal(Vouched())
    assert actions(fleet.cycle(at(20 * DAY + 1))) == [("purge", WEB)]


def test_an_old_incarnation_that_nobody_counts_is_counted_from_now_on() -> None:
    """It lies beside the thing that bears the name now, so the ledger remembers no binding of it."""
    fleet = Clocked()
    fleet.cycle(at(0))
    fleet.apply(fleet.plan(small_site(machine()), now=fleet.clock.at, clock=None))
    old = next(found for found in fleet.objects[Target("edge1")].values() if found.kind == "Machine")
    assert old.marks is not None
    assert old.lifecycle == "live", "it was restored"
    apart = msgspec.structs.replace(old.marks, uid=Uid("old"), incarnation=0, quarantined_until=NOW)
    fleet.objects[Target("edge1")]["old"] = msgspec.structs.replace(
        old, marks=apart, native_id="old", native_name="old", lifecycle="quarantined", digest="old"
    )
    plan = fleet.cycle(at(DAY), machine())
    assert only_hold(plan).rule == "clock"
    assert [entry.uid for entry in plan.entries if isinstance(entry, Quarantined)] == ["old"]
    assert not [entry for entry in fleet.cycle(at(2 * DAY), machine()).entries if isinstance(entry, Quarantined)]
    assert [action for action, _ in actions(fleet.cycle(at(8 * DAY), machine()))] == ["purge"]


def test_who_vouches_for_the_time_is_believed() -> None:
    fleet, _ = settled(machine())
    fleet.apply(fleet.plan(small_site(), lineage=REMOVED))
    assert actions(fleet.plan(small_site(), now=NOW + WEEK)) == [("purge", WEB)]
