"""What cannot be done because something else is withheld, or has not come yet.

Owns: from all works and holds of a plan to the works that must fall, each with its Hold. One look; the planner looks
again until nothing falls. Must not go here: the order of what remains (order), rules that look at one ref (rules).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from reconciler.core import order
from reconciler.core.desired import volumes_of
from reconciler.core.plan import Action, Hold
from reconciler.core.refs import PER_TARGET, Ref, Target, kind_of, name_of, node_of
from reconciler.core.rules import is_single
from reconciler.core.tenancy import overfull
from reconciler.core.values import segments
from reconciler.core.work import Work
from reconciler.core.world import World

Fall = tuple[Work, Hold]


def falling(works: Sequence[Work], holds: Sequence[Hold], world: World) -> list[Fall]:
    """The works that fall in this round. The first check that finds any ends it: what falls may free the others."""
    for check, concerned in (
        (_unclaimed, world.unclaimed),
        (_named, world.sights.strangers),
        (_needy, holds),
        (_unmounted, any([work.resource is not None and volumes_of(work.resource) for work in works])),
        (_roomless, any([work.waits_for for work in works])),
        (overfull, True),
        (_addressless, any([work.addresses for work in works])),
        (_in_use, any([work.action is Action.DESTROY for work in works])),
    ):
        found = list(check(works, holds, world)) if concerned else ()
        if found:
            return list(found)
    return []


def claims(works: Sequence[Work]) -> dict[Target, str]:
    """The id of the change that claims a target."""
    return {work.target: work.id for work in works if kind_of(work.ref) == "Node"}


def _unclaimed(works: Sequence[Work], holds: Sequence[Hold], world: World) -> Iterator[Fall]:
    """Nothing is done on a node that is not claimed, and is not about to be."""
    claimed = claims(works)
    for work in works:
        if work.target in world.unclaimed and work.target not in claimed:
            sentence = f"{work.target} is not claimed, and its claim is held"
            yield work, Hold(work.ref, "claim", sentence, "see the hold of its node", work.target, work.action)


def _named(works: Sequence[Work], holds: Sequence[Hold], world: World) -> Iterator[Fall]:
    """What would get a name that something has already which nobody marked. On members of a node that is so of machines
    alone: what they share is seen without marks where it is not realised yet."""
    places: dict[str, list[Target]] = {}
    for target in sorted(world.sights.strangers):
        places.setdefault(node_of(target), []).append(target)
    for work in works:
        kind, node = kind_of(work.ref), node_of(work.target)
        if not _takes_a_name(work) or kind not in world.shape_of(work.target).capability.names:
            continue
        named = _native(work)
        for place in places.get(node, ()) if kind == "Machine" or work.target == node else ():
            if f"{kind}/{named}" in world.sights.strangers[place].names:
                sentence = f"{place} has a {kind.lower()} {named} already, which is not managed"
                lifts = f"trueup adopt {node}, or give one of the two another name"
                yield work, Hold(work.ref, "name", sentence, lifts, work.target, work.action)
                break


def _takes_a_name(work: Work) -> bool:
    made = work.action in (Action.CREATE, Action.RESTORE)
    return made or any(difference.path == "/hostname" for difference in work.differences)


def _native(work: Work) -> str:
    if kind_of(work.ref) != "Machine":
        return name_of(work.ref)
    after = work.after or {}
    hostname, project = after.get("hostname", name_of(work.ref)), after.get("project")
    return f"{project}/{hostname}" if project else str(hostname)


def _needy(works: Sequence[Work], holds: Sequence[Hold], world: World) -> Iterator[Fall]:
    """A machine cannot be made, or given a nic, where its image, network or project is held and not there, or cannot
    become what git says of it: the machine would stand on what is not."""
    held = {(hold.ref, hold.target): hold for hold in holds if kind_of(hold.ref) in PER_TARGET}
    for work in works if held else ():
        if work.resource is None or not _asks_for_more(work):
            continue
        needed = [ref for ref in world.needed(work.resource, work.target) if (ref, work.target) in held]
        missing = next((ref for ref in needed if not _there(world, ref, work.target)), None)
        missing = missing or next((ref for ref in needed if _stuck(held[ref, work.target], work)), None)
        if missing is not None:
            sentence = f"it needs {missing} on {work.target}, which is held"
            lifts = held[missing, work.target].lifts
            yield work, Hold(work.ref, "needs", sentence, lifts, work.target, work.action)


_MADE = (Action.CREATE, Action.RESTORE, Action.REPLACE, Action.MOVE)
"""What comes to a target that it was not on."""


def _asks_for_more(work: Work, field: str = "/nics") -> bool:
    return work.action in _MADE or any(difference.path.startswith(field) for difference in work.differences)


def _unmounted(works: Sequence[Work], holds: Sequence[Hold], world: World) -> Iterator[Fall]:
    """A volume is mounted where it is: not on another target, and not before it is there."""
    comes = {work.ref: work.target for work in works if work.resource is not None}
    comes |= {volume: work.target for work in works for volume in work.along}
    for work in works:
        mounts = volumes_of(work.resource) if work.resource is not None else ()
        for volume in mounts if mounts and _asks_for_more(work, "/volumes") else ():
            place = comes.get(volume) or (world.where(volume) if world.lives(volume) else None)
            if place != work.target:
                sentence = f"it mounts {volume}, which is {f'on {place}' if place else 'not there'}"
                lifts = "see what holds that back" if place is None else "make another volume, or another machine there"
                yield work, Hold(work.ref, "needs", sentence, lifts, work.target, work.action)
                break


def _stuck(hold: Hold, work: Work) -> bool:
    """It cannot become what git says, and the change takes of it: what is made takes all, an update the network of a
    nic that changes."""
    if hold.rule != "impossible":
        return False
    if work.action in _MADE:
        return True
    nics = {segments(difference.path)[1] for difference in work.differences if difference.path.startswith("/nics/")}
    return kind_of(hold.ref) == "Network" and name_of(Ref(hold.ref)) in nics


def _there(world: World, ref: Ref, target: Target) -> bool:
    return bool(world.seen_on(ref, target))


def _roomless(works: Sequence[Work], holds: Sequence[Hold], world: World) -> Iterator[Fall]:
    """What waits for room that a change would have given back which is withheld by now."""
    there = {work.id for work in works}
    for work in works:
        if not there.issuperset(work.waits_for):
            sentence = f"the room that it would take on {work.target} is given back by a change that is held"
            yield work, Hold(work.ref, "capacity", sentence, "see the other holds there", work.target, work.action)


def _addressless(works: Sequence[Work], holds: Sequence[Hold], world: World) -> Iterator[Fall]:
    """An address that another machine has, and keeps, cannot be taken."""
    by_ref = {work.ref: work for work in works if is_single(work.ref)}
    by_former = {work.former: work for work in works if work.former is not None}
    for work in works:
        for network, ip in sorted(order.takes(work, world)):
            for other in world.holders[network].of(ip) if network in world.holders else ():
                if other in (work.ref, work.former):
                    continue
                rival = by_ref.get(other) or by_former.get(other)
                sentence = _taken(world, work, (network, ip), other, rival)
                if sentence is not None:
                    yield (
                        work,
                        Hold(
                            work.ref,
                            "address",
                            sentence,
                            f"wait for {other}, or take another",
                            work.target,
                            work.action,
                        ),
                    )
                    break
            else:
                continue
            break


def _taken(world: World, work: Work, address: tuple[Ref, str], other: Ref, rival: Work | None) -> str | None:
    """Why the address is not to be had; None if it is, or will be in time."""
    if address not in world.has(other):
        first = rival is not None and address in order.takes(rival, world) and other < work.ref
        return f"{address[1]} is taken by {other}" if first else None
    if rival is not None and address in order.gives(rival, world):
        return None
    if world.resource(other) is None:
        return f"{address[1]} stays reserved for {other} until its purge"
    return f"{address[1]} is still held by {other}"


def _in_use(works: Sequence[Work], holds: Sequence[Hold], world: World) -> Iterator[Fall]:
    """A network goes only once nothing on the target has an address on it any more."""
    by_ref: Mapping[Ref, Work] = {work.ref: work for work in works if is_single(work.ref)}
    for work in works:
        if work.action is not Action.DESTROY or kind_of(work.ref) != "Network":
            continue
        for user in sorted(world.homes.get(work.target, ())):
            own = {(network, ip) for network, ip in world.has(user) if network == work.ref}
            other = by_ref.get(user)
            leaves = other is not None and (other.action in order.REMOVALS or own <= order.gives(other, world))
            if own and not leaves and world.lives(user):
                sentence = f"{user} is on it still"
                yield work, Hold(work.ref, "in-use", sentence, "see what holds that back", work.target, work.action)
                break


def circular(works: Sequence[Work], needs: Mapping[str, set[str]]) -> Iterator[Fall]:
    """Those that wait for each other. `needs`: the edges between the works, of which none falls otherwise."""
    circle = order.cycle(needs) if any(needs.values()) else ()
    for work in works if circle else ():
        if work.id in circle:
            others = ", ".join(other for other in circle if other != work.id)
            sentence = f"it waits for {others}, which waits for it"
            yield work, Hold(work.ref, "cycle", sentence, "make the change in two commits", work.target, work.action)
