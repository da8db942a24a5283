"""The ledger is a fold: whatever comes, in whatever pieces, on whichever side of the disk, it is the same memory."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.core.compact import compacted
from reconciler.core.ledger import (
    Accepted,
    Address,
    Applied,
    Bound,
    Claimed,
    Covered,
    Entry,
    Forgotten,
    Held,
    Intent,
    Ledger,
    Paused,
    Purged,
    Quarantined,
    Record,
    Released,
    Renamed,
    Result,
    Resumed,
    Run,
    Settled,
    Spent,
)
from reconciler.core.refs import Ref, Target, Uid
from reconciler.edge.chain import Chain

refs = st.sampled_from(["Machine/acme/a", "Machine/acme/b", "Machine/acme/c", "Network/app"])
uids = st.sampled_from(["u1", "u2", "u3"])
targets = st.sampled_from(["edge1", "edge2", "inc/a"])
plans = st.sampled_from(["p1", "p2"])
_AT = {"s1": "edge1", "s2": "edge1", "s3": "inc/a"}
steps = st.sampled_from(sorted(_AT))
words = st.text(max_size=8)
leaves = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | words | st.lists(words, max_size=2)
fields = st.dictionaries(
    words, st.recursive(leaves, lambda inner: st.dictionaries(words, inner, max_size=2)), max_size=3
)
addresses = st.lists(st.builds(Address, refs, words, words, st.booleans()), max_size=2).map(tuple)
some_refs = st.lists(refs, max_size=3).map(tuple)
statuses = st.sampled_from(["applied", "unchanged", "deferred", "failed", "unconfirmed"])

entries: st.SearchStrategy[Entry] = st.one_of(
    st.builds(Bound, refs, uids, st.integers(1, 4), targets, addresses, st.tuples(*[st.integers(0, 2**40)] * 3)),
    st.builds(Settled, refs, uids, targets, fields, words, st.booleans()),
    st.builds(Quarantined, refs, uids, st.integers(1, 4), targets, st.floats(0, 1e6)),
    st.builds(Purged, refs, uids, targets),
    st.builds(Renamed, uids, refs, refs),
    st.builds(Forgotten, refs, uids, targets),
    st.builds(Claimed, targets, words),
    st.builds(Released, targets),
    st.builds(Covered, targets),
    st.builds(
        Applied, plans, st.integers(1, 9), st.integers(1, 9), words, words, words, words, words, some_refs, some_refs
    ),
    st.builds(Accepted, words),
    st.builds(Spent, st.sampled_from(["destroys", "restarts"]), refs, targets),
    st.builds(Paused, refs, st.floats(0, 1e9), words),
    st.builds(Resumed, refs),
    st.builds(Held, refs, words, words),
    # a step's target is part of what it is
    steps.flatmap(lambda step: st.builds(Intent, plans, st.just(step), st.just(_AT[step]), refs, uids)),
    steps.flatmap(
        lambda step: st.builds(
            Result, plans, st.just(step), st.just(_AT[step]), refs, statuses, words, st.none(), st.booleans()
        )
    ),
)
histories = st.lists(entries, max_size=40)


def recorded(history: list[Entry], start: int = 1) -> list[Record]:
    return [Record(sequence, float(sequence), entry) for sequence, entry in enumerate(history, start)]


def memory(ledger: Ledger) -> dict[str, Any]:
    """All that the ledger knows, in plain values."""
    known = {name: getattr(ledger, name) for name in vars(ledger) if name != "runs"}
    known["runs"] = {plan: (run.generation, run.outcomes) for plan, run in ledger.runs.items()}
    return copy.deepcopy(known)


@given(histories, st.data())
def test_a_history_in_two_pieces_is_the_history_in_one(history: list[Entry], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(history)))
    records = recorded(history)
    pieces = Ledger(records[:cut])
    for record in records[cut:]:
        pieces.fold(record)
    assert memory(pieces) == memory(Ledger(records))


@given(
    refs,
    fields,
    addresses,
    st.lists(st.sampled_from(["a", "b", '"', ":", "10.0.0.1", "\x00", "\x01", "é"]), max_size=4),
)
def test_fields_applied_are_told_as_they_were_however_they_look_like_names(
    ref: Ref, given: dict[str, Any], held: tuple[Address, ...], more: list[str]
) -> None:
    told = {**given, "hostname": ref.rpartition("/")[2], "ips": [each.ip for each in held], "more": more}
    entries = [Bound(ref, Uid("u1"), 1, Target("edge1"), held), Settled(ref, Uid("u1"), Target("edge1"), told, "r")]
    ledger = Ledger(recorded(entries))
    assert ledger.bindings.of(ref)[0].applied == told
    other = Ref(f"{ref}-renamed")
    ledger.fold(Record(3, 0, Renamed(Uid("u1"), ref, other)))
    assert ledger.bindings.of(other)[0].applied == told
    moved = tuple(Address(each.network, "10.9.9.9", each.mac) for each in held)
    ledger.fold(Record(4, 0, Bound(other, Uid("u1"), 1, Target("edge1"), moved)))
    assert ledger.bindings.of(other)[0].applied == told


def test_what_is_on_two_targets_and_gone_from_one_is_on_the_other() -> None:
    app, uid, one, two = Ref("Network/app"), Uid("u1"), Target("edge1"), Target("edge2")
    entries: list[Entry] = [Bound(app, uid, 1, one), Bound(app, uid, 1, two), Purged(app, uid, one)]
    assert set(Ledger(recorded(entries)).bindings.targets(app)) == {two}


def test_machines_alike_share_what_was_applied() -> None:
    entries: list[Entry] = []
    for number in range(2):
        ref, uid, at = Ref(f"Machine/acme/w-{number}"), Uid(f"u{number}"), Target("edge1")
        address = Address(Ref("Network/app"), f"10.0.0.{number}", f"02:00:00:00:00:0{number}")
        nic = {"ip": f"{address.ip}/24", "mac": address.mac}
        told = {"memory": 1, "hostname": f"w-{number}", "nics": {"app": nic}}
        entries += [Bound(ref, uid, 1, at, (address,)), Settled(ref, uid, at, told, "r")]
    first, second = Ledger(recorded(entries)).bindings.values()
    assert first.sealed is second.sealed
    assert first.applied != second.applied


@given(histories, st.data())
def test_what_was_read_back_from_disk_is_what_was_folded_live(history: list[Entry], data: st.DataObject) -> None:
    path = Path(data.draw(st.just("/dev/shm"))) / f"trueup-ledger-{id(history)}.db"
    chain = Chain.open(path)
    try:
        live = Ledger()
        rest = list(history)
        while rest:
            size = data.draw(st.integers(1, len(rest)))
            batch, rest = rest[:size], rest[size:]
            live.take(chain.append(batch, float(len(rest))), float(len(rest)), batch)
        chain.close()
        chain = Chain.open(path, read_only=True)
        assert memory(Ledger(chain.records())) == memory(live)
        assert memory(chain.ledger()) == memory(live)
    finally:
        chain.close()
        for each in path.parent.glob(path.name + "*"):
            each.unlink()


@given(entries)
def test_an_entry_survives_its_json(entry: Entry) -> None:
    assert msgspec.json.decode(msgspec.json.encode([entry]), type=tuple[Entry, ...]) == (entry,)


@given(histories)
def test_the_indexes_agree_with_the_bindings(history: list[Entry]) -> None:
    ledger = Ledger(recorded(history))
    assert {(ref, target) for ref in ledger.bindings.refs for target in ledger.bindings.targets(ref)} == set(
        ledger.bindings
    )
    for (ref, target), binding in ledger.bindings.items():
        assert (binding.ref, binding.target) == (ref, target)
        assert ledger.bindings.incarnations[ref] >= binding.incarnation
    for target in ("edge1", "edge2", "inc/a"):
        flying = sum(intent.target == target for intent in ledger.in_flight.values())
        assert ledger.flying.get(target, 0) == flying


@given(histories, entries)
def test_an_incarnation_once_known_is_never_forgotten(history: list[Entry], last: Entry) -> None:
    before = Ledger(recorded(history)).bindings.incarnations
    after = Ledger(recorded([*history, last])).bindings.incarnations
    assert all(after[ref] >= incarnation for ref, incarnation in before.items())


@given(histories)
def test_every_intent_has_a_result_or_is_in_flight(history: list[Entry]) -> None:
    ledger = Ledger(recorded(history))
    last: dict[tuple[str, str], Entry] = {}
    for entry in history:
        if isinstance(entry, Intent | Result):
            last[entry.plan, entry.step] = entry
    assert set(ledger.in_flight) == {key for key, entry in last.items() if isinstance(entry, Intent)}


@given(histories, entries)
def test_an_entry_about_one_ref_leaves_the_others_as_they_were(history: list[Entry], last: Entry) -> None:
    if isinstance(last, Renamed):
        touched = {last.before, last.after}
    elif isinstance(last, Bound | Settled | Quarantined | Purged | Forgotten):
        touched = {last.ref}
    else:
        touched = set()
    before = Ledger(recorded(history)).bindings
    after = Ledger(recorded([*history, last])).bindings
    assert {key: each for key, each in before.items() if key[0] not in touched} == {
        key: each for key, each in after.items() if key[0] not in touched
    }


@given(histories, entries)
def test_the_same_entry_again_changes_no_binding(history: list[Entry], last: Entry) -> None:
    if isinstance(last, Quarantined):
        return  # counts its time from its record
    once = Ledger(recorded([*history, last]))
    twice = Ledger(recorded([*history, last, last]))
    assert (once.bindings, once.claims, once.covered, once.witnessed) == (
        twice.bindings,
        twice.claims,
        twice.covered,
        twice.witnessed,
    )


@settings(max_examples=100)
@given(histories)
def test_compacted_records_fold_to_the_same_memory(history: list[Entry]) -> None:
    ledger = Ledger(recorded(history))
    short = Ledger(compacted(ledger))
    for ref in (*ledger.bindings.refs, *short.bindings.refs):
        assert set(short.bindings.targets(ref)) == set(ledger.bindings.targets(ref))
    assert short.bindings.incarnations == ledger.bindings.incarnations
    for name in ("claims", "covered", "witnessed", "accepted", "pauses", "lifted", "held", "spent"):
        if name != "witnessed" or ledger.applied is not None:
            assert getattr(short, name) == getattr(ledger, name), name
    assert _timely(short, ledger.last_at) == _timely(ledger, ledger.last_at)
    assert short.generation == ledger.generation


def _timely(ledger: Ledger, now: float) -> dict[Any, Any]:
    """Bindings, with a quarantine that is over told as just over."""
    return {
        key: msgspec.structs.replace(each, quarantined_until=max(each.quarantined_until, now))
        if each.quarantined_until is not None
        else each
        for key, each in ledger.bindings.items()
    }


def test_a_run_counts_its_results_and_tells_the_latest_of_each_step() -> None:
    run = Run(7, {"a": "applied", "b": "failed"})
    run.tell("c", "applied")
    assert len(run) == 3
    run.tell("b", "applied")
    run.tell("c", "unconfirmed")
    assert run.outcomes == {"a": "applied", "b": "applied", "c": "unconfirmed"}
