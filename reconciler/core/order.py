"""The order of a plan: what must come before what, batches, and cycles.

Owns: edges between changes (dependencies, deletes reversed, what one frees and another takes) and gates of groups.
Must not go here: the order of steps within a change (shapes), how many run side by side (runtime).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter

from reconciler.core.desired import volumes_of
from reconciler.core.plan import Action, Gate
from reconciler.core.refs import PER_TARGET, Ref, Target, kind_of
from reconciler.core.work import Work
from reconciler.core.world import World

REMOVALS = (Action.DESTROY, Action.PURGE, Action.FORGET)


def natural(ref: str) -> tuple[object, ...]:
    """Sort key in which web-2 comes before web-10."""
    return tuple(int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", ref))


def rank(work: Work) -> tuple[int, str, str, int]:
    """Canonical order: claims, images, networks and projects, volumes, machines, then removals in reverse."""
    removed = work.action in REMOVALS
    kind = kind_of(work.ref)
    level = _LEVELS.get(kind, 4)
    return (9 - level if removed else level, work.ref, work.target, work.incarnation)


_LEVELS = {"Node": 0, "Image": 1, "Network": 2, "Tenant": 2, "Volume": 3}


def edges(works: Iterable[Work], claims: Mapping[Target, str], world: World) -> dict[str, set[str]]:
    """Change id to the ids that must have been applied first. `claims`: target to the id of the change claiming it."""
    works = list(works)
    if len(works) == 1:
        return {work.id: set(work.waits_for) for work in works}
    by_place = {(work.ref, work.target): work for work in works if not work.apart}
    made = {work.ref: work.id for work in works if _is_machine(work) and work.action not in REMOVALS}
    """What an image is taken from comes before it, wherever it is."""
    needs: dict[str, set[str]] = {work.id: set() for work in works}
    for work in works:
        claim = claims.get(work.target)
        if claim is not None and work.id != claim:
            needs[work.id].add(claim)
        for reference in _stands_on(work, world):
            other = by_place.get((reference, work.target))
            if other is not None and other.action not in REMOVALS:
                needs[work.id].add(other.id)
        for volume in work.along:
            other = by_place.get((volume, work.source or work.target))
            if other is not None:
                needs[work.id].add(other.id)
        if kind_of(work.ref) == "Image" and work.resource is not None:
            needs[work.id].update(made[ref] for ref in work.resource.references if ref in made)
    _removals_last(works, needs)
    _freed_first(works, needs)
    _moved_addresses(works, needs, world)
    return needs


def _stands_on(work: Work, world: World) -> tuple[Ref, ...]:
    """What must be there before it: networks, images and its project, and the volumes that it mounts."""
    if work.resource is None:
        return ()
    return (*world.needed(work.resource, work.target), *volumes_of(work.resource))


def _removals_last(works: list[Work], needs: dict[str, set[str]]) -> None:
    """A network, an image or a volume goes after every change of a machine on that target: one may still use it."""
    machines: dict[Target, list[str]] = {}
    for work in works:
        if _is_machine(work):
            for target in (work.target, *((work.source,) if work.source is not None else ())):
                machines.setdefault(target, []).append(work.id)
    for work in works:
        if work.action in REMOVALS and kind_of(work.ref) in (*PER_TARGET, "Volume"):
            needs[work.id].update(machines.get(work.target, ()))


def _freed_first(works: list[Work], needs: dict[str, set[str]]) -> None:
    """What fits only into room that others give back waits for all of them."""
    for work in works:
        needs[work.id].update(work.waits_for)


def takes(work: Work, world: World) -> set[tuple[Ref, str]]:
    """The addresses (network, ip) that it has after the change and not before; in quarantine it uses none."""
    after = {(address.network, address.ip) for address in work.addresses}
    lives = work.found is not None and work.found.lifecycle == "live"
    return after - world.has(work.former or work.ref) if after and lives else after


def gives(work: Work, world: World) -> set[tuple[Ref, str]]:
    """The addresses that it has before and not after. In quarantine a machine keeps them, until its purge."""
    if not _is_machine(work) or work.apart or work.action is Action.DESTROY:
        return set()
    return world.has(work.former or work.ref) - {(address.network, address.ip) for address in work.addresses}


def _is_machine(work: Work) -> bool:
    return work.ref.startswith("Machine/")


def _moved_addresses(works: list[Work], needs: dict[str, set[str]], world: World) -> None:
    """An address that one machine gives up and another takes in the same plan."""
    taken = {address: work.id for work in works for address in takes(work, world)}
    for work in works if taken else ():
        for address in gives(work, world):
            taker = taken.get(address)
            if taker is not None and taker != work.id:
                needs[taker].add(work.id)


def cycle(needs: Mapping[str, set[str]]) -> tuple[str, ...]:
    """The ids of one cycle, in order; empty if there is none."""
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        return tuple(sorted(set(error.args[1])))
    return ()


def gates(works: Iterable[Work], last_steps: Mapping[str, str]) -> dict[str, tuple[Gate, ...]]:
    """Change id to its gates. A group's updates and moves go canary first, then batch by batch, each when the one
    before has ended well. What an earlier attempt left unfinished goes first, so that a canary that never answered
    stops all."""
    groups: dict[str, list[Work]] = {}
    for work in works:
        update = work.resource.behaviour.update if work.resource else None
        batched = work.action in (Action.UPDATE, Action.REPLACE, Action.MOVE)
        if update is not None and batched and work.id in last_steps:
            groups.setdefault(update.group, []).append(work)
    found: dict[str, tuple[Gate, ...]] = {}
    for members in groups.values():
        members.sort(key=lambda work: (bool(work.differences), natural(work.ref)))
        found.update(_group_gates(members, last_steps))
    return found


def _group_gates(members: list[Work], last_steps: Mapping[str, str]) -> dict[str, tuple[Gate, ...]]:
    update = members[0].resource.behaviour.update if members[0].resource else None
    assert update is not None, "only members of a group are batched"
    sizes = [update.canary] if update.canary else []
    batches: list[list[Work]] = []
    rest = members
    while rest:
        size = sizes.pop(0) if sizes else max(1, update.batch)
        batches.append(rest[:size])
        rest = rest[size:]
    found: dict[str, tuple[Gate, ...]] = {}
    for index in range(1, len(batches)):
        # With a tolerance all earlier batches count together; without one the last suffices: it waited for the others.
        before = batches[:index] if update.max_failures else batches[index - 1 : index]
        steps = tuple(last_steps[work.id] for batch in before for work in batch)
        gate = Gate(steps, update.max_failures, update.pause)
        found.update({work.id: (gate,) for work in batches[index]})
    return found
