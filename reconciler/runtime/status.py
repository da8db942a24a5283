"""How the loop is doing: three conditions, the last cycle, each node. Folded, never kept twice.

Owns: the records that `status` shows and serves, and the fold that makes the conditions.
Must not go here: gathering (loop, rounds), showing (cli).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from reconciler.runtime.rounds import NodeState
from reconciler.runtime.summary import Summary


class Cycle(msgspec.Struct, frozen=True):
    """One planning: of which commit, when (unix seconds), why, how long it took, and what was found. `begun` changes
    were handed to the executor, `waiting` have their next attempt later, `postponed` wait for their nodes."""

    at: float
    reasons: tuple[str, ...]
    seconds: float
    plan: str
    revision: str | None
    changes: int
    holds: int
    begun: int
    waiting: int
    postponed: int
    unsure: int = 0


class NodeStatus(msgspec.Struct, frozen=True):
    """`seen`: when it was last read whole (unix seconds), 0 if never; `busy`: steps under way or waiting there."""

    name: str
    seen: float
    asked: float
    problem: str | None = None
    failures: int = 0
    busy: int = 0


class Status(msgspec.Struct, frozen=True):
    """`ready`: all is as wanted, or held with a reason. `reconciling`: something is under way or will be tried again.
    `stalled`: why it cannot go on as it should until a person, or the world, mends something."""

    ready: bool
    reconciling: bool
    stalled: tuple[str, ...]
    revision: str | None
    cycles: int
    cycle: Cycle | None
    ended: Summary | None
    """The execution that ended last."""
    nodes: tuple[NodeStatus, ...]


def fold(
    *,
    revision: str | None,
    problems: Collection[str],
    cycles: int,
    cycle: Cycle | None,
    ended: Summary | None,
    nodes: tuple[NodeStatus, ...],
) -> Status:
    """The conditions from the facts."""
    under_way = any(node.busy for node in nodes)
    pending = cycle is not None and bool(cycle.begun or cycle.waiting or cycle.postponed)
    unread = any(node.problem for node in nodes)
    planned = cycle is not None and cycle.revision in (revision, None)
    return Status(
        ready=planned and not (under_way or pending or problems or unread),
        reconciling=under_way or pending,
        stalled=tuple(problems),
        revision=revision,
        cycles=cycles,
        cycle=cycle,
        ended=ended,
        nodes=nodes,
    )


def node_statuses(states: Mapping[str, NodeState], busy: Mapping[str, int]) -> tuple[NodeStatus, ...]:
    """In order of name; nodes that were never asked are not there yet."""
    return tuple(
        NodeStatus(name, state.seen, state.asked, state.problem, state.failures, busy.get(name, 0))
        for name, state in sorted(states.items())
    )
