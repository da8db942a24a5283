"""What is laid aside of the targets' objects is there when it is asked for, however it was packed."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import partial
from itertools import count

import msgspec

from reconciler.core.blocks import Listed, Unpacked, block
from reconciler.core.plan import to_json
from reconciler.core.planner import Planner
from reconciler.core.refs import Ref, Target, Uid, mint, realisation_uid
from reconciler.core.sights import Sights, at_once
from tests.builders import SHAPES, Fleet, machine, node, request, small_site


def later(data: bytes) -> Callable[[], bytes]:
    return partial(zlib.compress, data, 1)


def test_a_plan_does_not_hang_on_how_it_is_packed() -> None:
    targets = [f"edge{number}" for number in range(15)]
    wanted = small_site(*(machine(f"m{number}") for number in range(30)), nodes=[node(name) for name in targets])
    fleet = Fleet(*targets)
    fleet.apply(fleet.plan(wanted))
    less = small_site(*(machine(f"m{number}") for number in range(29)), nodes=[node(name) for name in targets])
    plans = []
    for way in (at_once, later):
        made = Planner(SHAPES, fleet.ledger(), open_at_most=1, compress=way)
        made.world.take_desired(less)
        for report in fleet.reports():
            made.take_report(report)
        plans.append(to_json(made.plan(request())))
        packed, loose = made.world.sights.blocks()
        assert packed.keys() | loose.keys() == set(targets)
        assert not packed.keys() & loose.keys()
    assert plans[0] == plans[1]


def alike_to_crc32() -> tuple[Uid, Uid]:
    """Two uids of which CRC-32 makes the same number: among a million things there are over a hundred such pairs."""
    met: dict[int, Uid] = {}
    base = mint("00000000-0000-0000-0000-000000000000", Ref("Machine/acme/web"), 1)
    for number in count():
        uid = realisation_uid(base, Target(str(number)))
        known = met.setdefault(zlib.crc32(uid.encode()), uid)
        if known != uid:
            return known, uid
    raise AssertionError("there is no end of numbers")


def bearing(*uids: Uid) -> tuple[Sights, list[Ref]]:
    """What sights know of a target with a machine of each of these uids, and what these machines are called."""
    fleet = Fleet("edge1")
    fleet.apply(fleet.plan(small_site(*(machine(f"m{number}") for number in range(len(uids))))))
    report = next(iter(fleet.reports()))
    made = [(found, found.marks) for found in report.objects if found.kind == "Machine" and found.marks is not None]
    refs = [marks.ref for _, marks in made]
    objects = [
        msgspec.structs.replace(found, marks=msgspec.structs.replace(marks, uid=uid))
        for (found, marks), uid in zip(made, uids, strict=True)
    ]
    sights = Sights(1, lambda ref: ref, at_once)
    sights.take(msgspec.structs.replace(report, objects=tuple(objects)))
    return sights, refs


def test_of_a_large_fleet_no_two_are_taken_for_bearers_of_one_uid() -> None:
    """Who may be is looked for wherever it is: an image on every target of a fleet."""
    one, other = alike_to_crc32()
    sights, refs = bearing(one, other)
    assert [sights.bearers(uid) for uid in (one, other)] == [(ref,) for ref in refs]


def test_who_bears_what_is_no_uuid_is_found_too() -> None:
    sights, refs = bearing(Uid("somebody wrote this by hand"), Uid(""))
    assert sights.bearers(Uid("somebody wrote this by hand")) == (refs[0],)
    assert sights.bearers(Uid("nobody wrote this")) == ()


def test_one_object_out_of_a_block_is_the_one_of_all() -> None:
    fleet = Fleet("edge1")
    fleet.apply(fleet.plan(small_site(*(machine(f"m{number}") for number in range(3)), nodes=[node("edge1")])))
    [report] = fleet.reports()
    unmarked = msgspec.structs.replace(report.objects[0], marks=None, native_id="by-hand")
    twice = msgspec.structs.replace(report.objects[-1], native_id="copied")
    told = Listed((unmarked, *report.objects, twice))
    kept = Unpacked(block(told.objects))
    for ref in (*told.by_ref, Ref("Machine/acme/nobody"), Ref("")):
        assert kept.of(ref) == told.of(ref)
    assert kept.of(next(iter(told.by_ref)))[0] is kept.objects[1]
    assert kept.objects == told.objects
    assert kept.by_ref == told.by_ref
