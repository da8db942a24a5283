"""Other processes that ask part of a large fleet: what they see comes back as glimpses, a node a message.

Owns: which nodes each is given and when it begins, and both ends of what goes over the pipe. Must not go here: the
process itself (edge), what a glimpse means (core), asking one node (observe).

One asks nodes beside us: we begin with the first of them, it with the last, and whoever is ready takes the next run of
them until none is left. Of a very large fleet many ask all of them, a part each, two at a time: what a process copies
of our memory goes with it. They begin before there is an event loop, and know all that is wanted and remembered by
then. However one goes, nodes that it has not answered for are asked here: what did not come is not taken for absent.
"""

# annotations are types here, not texts of the future: msgspec would compile every text at each start

import os
import selectors
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import Context
from functools import partial
from itertools import chain
from time import monotonic
from typing import NamedTuple, Protocol

import msgspec

from reconciler.core.desired import NodeWant
from reconciler.core.glimpse import Glimpse
from reconciler.core.ledger import Covered, Ledger
from reconciler.core.observed import Report, Told
from reconciler.core.refs import Target
from reconciler.runtime.events import NodeAsked
from reconciler.runtime.nodes import Nodes
from reconciler.runtime.observe import Answer, Asking, asked, coverage, observe_at_once, observe_node

_SHARE = 0.65
"""Of the nodes that are waited for. What it sees still has to be taken in here, which costs a fourth of seeing it."""
_RUNS = 4_096
"""Runs of nodes that are taken, at most: a pipe holds as many bytes wherever there are pipes."""
WHOLE = 50_000
"""So many things are shared out with one process at most."""
PART = 12_500
"""Things for one process of many, at least. It and we copy two KiB for each, and a fork takes 40 ms a GiB."""
_PARTS = 40
_PROCESSES = 2
"""That work side by side. Taking in what these two see is work for this one all the time."""
_LATE = 2
"""More that only wait for nodes which take their time."""


class Process(Protocol):
    """Another process, and the pipe from it."""

    source: int

    def hear(self) -> Iterator[bytes]:
        """Every message that has come whole. Waits for something to come; raises EOFError if the process has gone."""
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


class Glimpses(NamedTuple):
    """How they are made of reports, there, and how they are taken in, here."""

    see: Callable[[Report | Told], Glimpse]
    take: Callable[[Glimpse], object]


class Runs:
    """Nodes that two processes take a run at a time, one from the front, the other from behind. A byte in a pipe stands
    for each run, and who has read one may take his next: so both come to an end where they meet, and nothing is taken
    twice."""

    def __init__(self, nodes: Sequence[NodeWant]) -> None:
        size = len(nodes) // _RUNS + 1
        self._runs = [nodes[at : at + size] for at in range(0, len(nodes), size)]
        self._left, filled = os.pipe()
        os.write(filled, bytes(len(self._runs)))
        os.close(filled)

    def front(self) -> Iterator[Sequence[NodeWant]]:
        return self._taken(self._runs)

    def behind(self) -> Iterator[Sequence[NodeWant]]:
        return self._taken(reversed(self._runs))

    def _taken(self, runs: Iterable[Sequence[NodeWant]]) -> Iterator[Sequence[NodeWant]]:
        return (run for run in runs if os.read(self._left, 1))

    def close(self) -> None:
        os.close(self._left)


class _Looker:
    """One process, and the nodes that it has not answered for."""

    def __init__(self, process: Process, nodes: Sequence[NodeWant], at_once: int) -> None:
        self.process = process
        self.away = {node.name: node for node in nodes}
        self._late = min(at_once, len(nodes) // 4)

    @property
    def works(self) -> bool:
        """Whether it does more than wait for the last of them."""
        return len(self.away) > self._late


class Sharing:
    """`things`: how many there are on all nodes."""

    def __init__(
        self,
        fork: Fork,
        nodes: Nodes,
        ledger: Ledger,
        datacenter: str,
        glimpses: Glimpses,
        *,
        things: int,
    ) -> None:
        self._things, self._many = things, things > WHOLE
        self.at_once = Asking().nodes if self._many else round(Asking().nodes * _SHARE)
        self._each = self.at_once // (_PROCESSES if self._many else 1)
        self._fork, self._nodes, self._ledger, self._datacenter = fork, nodes, ledger, datacenter
        self._see, self._take = glimpses
        self._parts: deque[Sequence[NodeWant]] = deque()
        self._runs: Runs | None = None
        self._ours: Iterator[Sequence[NodeWant]] = iter(())
        """What is left to us of the nodes of the one process."""
        self._patience = 0
        """Of so many at most that need an event loop."""
        self._lost: list[NodeWant] = []
        self._lookers: dict[int, _Looker] = {}
        """By the pipe from them."""
        self._news = selectors.DefaultSelector()

    @property
    def source(self) -> int:
        return self._news.fileno()

    @property
    def forks(self) -> bool:
        return bool(self._parts)

    @property
    def busy(self) -> bool:
        return bool(self._parts) or any(looker.away for looker in self._lookers.values())

    def begin(self, nodes: Sequence[NodeWant]) -> None:
        if self._many:
            size = max(1, len(nodes) * max(PART, self._things // _PARTS) // self._things)
            self._parts.extend([nodes[at : at + size] for at in range(0, len(nodes), size)])
        elif nodes:
            self._parts.append(nodes)
            self._runs = Runs(nodes)
            self._ours, self._patience = self._runs.front(), round(len(nodes) * (1 - _SHARE))
        self._fill()

    def claim(self, late: int) -> Sequence[NodeWant]:
        run = next(self._ours, ()) if late < self._patience else ()
        for looker in self._lookers.values() if run else ():
            for node in run:
                del looker.away[node.name]
        return run

    def heard(self, *, wait: bool = False) -> list[Answer]:
        found: list[Answer] = []
        for key, _ in self._news.select(None if wait and self._lookers else 0):
            looker = self._lookers[key.fd]
            try:
                found += [self._answer(looker, data) for data in looker.process.hear()]
            except EOFError:
                self._lose(looker.away.values())
                self._ended(looker)
        self._fill()
        return found

    def lost(self) -> list[NodeWant]:
        lost, self._lost = self._lost, []
        return lost

    def end(self) -> None:
        self._parts.clear()
        for looker in list(self._lookers.values()):
            self._ended(looker)
        self._news.close()
        if self._runs is not None:
            self._runs.close()

    def _answer(self, looker: _Looker, data: bytes) -> Answer:
        share = _decode(data)
        for glimpse in share.glimpses:
            self._take(glimpse)
        kept = [msgspec.structs.replace(glimpse.report, objects=()) for glimpse in share.glimpses]
        del looker.away[share.asked.node]
        return Answer(share.asked, tuple(kept), tuple(map(Covered, share.listed)))

    def _fill(self) -> None:
        """Begin as many as may work side by side. Where none can be had, we ask ourselves."""
        while self._parts and len(self._lookers) < _PROCESSES + _LATE:
            if sum(looker.works for looker in self._lookers.values()) >= _PROCESSES:
                return
            part = self._parts.popleft()
            runs = self._runs.behind() if self._runs is not None else iter([part])
            try:
                process = self._fork(partial(self._work, runs))
            except OSError:
                self._lose([*part, *chain.from_iterable(self._parts)])
                self._parts.clear()
                return
            self._lookers[process.source] = _Looker(process, part, self._each)
            self._news.register(process.source, selectors.EVENT_READ)

    def _lose(self, nodes: Iterable[NodeWant]) -> None:
        """No process will answer for these."""
        self._lost += nodes
        self._ours = iter(())  # those that nobody has taken are among them

    def _ended(self, looker: _Looker) -> None:
        del self._lookers[looker.process.source]
        self._news.unregister(looker.process.source)
        looker.process.end()

    # -- in the other process

    def _work(self, runs: Iterator[Sequence[NodeWant]], send: Send) -> None:
        waiting = deque[NodeWant]()
        for node in chain.from_iterable(runs):
            start = monotonic()
            reports = observe_at_once(node, self._nodes, began=self._ledger.sequence, unread=True)
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
            for _ in range(min(self._each, len(waiting))):
                group.start_soon(ask)

    def _tell(self, node: NodeWant, reports: Mapping[Target, Report | Told], seconds: float, send: Send) -> None:
        listed = tuple([entry.target for entry in coverage(reports.values(), self._ledger, self._datacenter)])
        glimpses = tuple(map(self._see, reports.values()))
        send(_encode(Share(asked(node, reports, seconds), glimpses, listed)))
