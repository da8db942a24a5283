"""A second process that asks part of a large fleet: what it sees comes back as glimpses, a node a message.

Owns: which nodes it is given, and both ends of what goes over the pipe. Must not go here: the process itself (edge),
what a glimpse means (core), asking one node (observe).

It begins before there is an event loop, and knows all that is wanted and remembered by then. However it goes, nodes
that it has not answered for are asked here: what did not come is not taken for absent.
"""

# annotations are types here, not texts of the future: msgspec would compile every text at each start

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import Context
from functools import partial
from time import monotonic
from typing import Protocol

import msgspec

from reconciler.core.desired import NodeWant
from reconciler.core.glimpse import Glimpse
from reconciler.core.ledger import Covered, Ledger
from reconciler.core.observed import Report
from reconciler.core.refs import Target
from reconciler.runtime.events import NodeAsked
from reconciler.runtime.nodes import Nodes
from reconciler.runtime.observe import Answer, Asking, asked, coverage, observe_at_once, observe_node

_SHARE = 0.65
"""Of the nodes. What it sees still has to be taken in here, which costs a third of seeing it."""
_RUN = 50
"""Nodes in a row that are cut in two."""


class Process(Protocol):
    """Another process, and the pipe from it."""

    source: int

    def hear(self) -> Iterator[bytes]:
        """Every message that has come whole. Waits for something to come; raises EOFError if the process has gone."""
        ...

    def pending(self) -> bool:
        """Whether `hear` need not wait."""
        ...

    def end(self) -> None: ...


Send = Callable[[bytes], object]
Work = Callable[[Send], object]
"""What the process does, with the way back to us."""
Fork = Callable[[Work], Process]


class Share(msgspec.Struct, frozen=True):
    """What one node came to. `listed`: its targets whose complete listing can be trusted for the first time."""

    asked: NodeAsked
    glimpses: tuple[Glimpse, ...]
    listed: tuple[Target, ...]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Share).decode


class Sharing:
    """`see` makes a glimpse of a report, there; `take` takes it in, here."""

    def __init__(
        self,
        fork: Fork,
        nodes: Nodes,
        ledger: Ledger,
        datacenter: str,
        *,
        see: Callable[[Report], Glimpse],
        take: Callable[[Glimpse], object],
    ) -> None:
        self.at_once = round(Asking().nodes * _SHARE)
        self._fork, self._nodes, self._ledger, self._datacenter = fork, nodes, ledger, datacenter
        self._see, self._take = see, take
        self._away: dict[str, NodeWant] = {}
        self._process: Process | None = None

    @property
    def source(self) -> int:
        assert self._process is not None, "it was begun"
        return self._process.source

    def begin(self, nodes: Sequence[NodeWant]) -> list[NodeWant]:
        ours, theirs = shares(nodes)
        self._away = {node.name: node for node in theirs}
        self._process = self._fork(partial(self._work, theirs))
        return ours

    def heard(self, *, wait: bool = False) -> list[Answer]:
        found: list[Answer] = []
        if self._process is not None and (wait or self._process.pending()):
            for data in self._process.hear():
                share = _decode(data)
                for glimpse in share.glimpses:
                    self._take(glimpse)
                kept = [msgspec.structs.replace(glimpse.report, objects=()) for glimpse in share.glimpses]
                found.append(Answer(share.asked, tuple(kept), tuple(map(Covered, share.listed))))
                del self._away[share.asked.node]
        return found

    def left(self) -> list[NodeWant]:
        return list(self._away.values())

    def end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.end()

    # -- in the other process

    def _work(self, nodes: list[NodeWant], send: Send) -> None:
        waiting = deque(nodes)
        for _ in nodes:
            node, start = waiting.popleft(), monotonic()
            reports = observe_at_once(node, self._nodes, began=self._ledger.sequence)
            if reports is None:
                waiting.append(node)
            else:
                self._tell(node, reports, monotonic() - start, send)
        if waiting:
            import anyio

            Context().run(anyio.run, self._ask_all, waiting, send)  # a context that knows of no loop

    async def _ask_all(self, waiting: deque[NodeWant], send: Send) -> None:
        import anyio

        async def ask() -> None:
            while waiting:
                node, start = waiting.popleft(), anyio.current_time()
                reports = await observe_node(node, self._nodes, began=self._ledger.sequence)
                self._tell(node, reports, anyio.current_time() - start, send)

        async with anyio.create_task_group() as group:
            for _ in range(min(self.at_once, len(waiting))):
                group.start_soon(ask)

    def _tell(self, node: NodeWant, reports: Mapping[Target, Report], seconds: float, send: Send) -> None:
        listed = tuple([entry.target for entry in coverage(reports.values(), self._ledger, self._datacenter)])
        glimpses = tuple(map(self._see, reports.values()))
        send(_encode(Share(asked(node, reports, seconds), glimpses, listed)))


def shares(nodes: Sequence[NodeWant]) -> tuple[list[NodeWant], list[NodeWant]]:
    """Ours, and those of the other process. Neighbours mostly go the same way, for what machines have in common each
    process makes for itself; and of every fifty some go either way, for parts of a fleet may be unlike."""
    ours, theirs = list[NodeWant](), list[NodeWant]()
    for begin in range(0, len(nodes), _RUN):
        run = nodes[begin : begin + _RUN]
        cut = round(len(run) * (1 - _SHARE))
        ours += run[:cut]
        theirs += run[cut:]
    return ours, theirs
