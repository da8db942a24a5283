"""The open simulated node: observe, apply, close.

Owns: the driver contract. Must not go here: the node's rules (engine), doing the harm that faults ask for (harm), how a
fleet is changed behind our back (world).

Imports no event loop before something waits, and what acts only to act: a look at a file that waits for nothing takes
less than importing those.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping, Sequence

import msgspec

from drivers.sim.shape import SimShape
from drivers.sim.store import Store, TargetRow, acquire, object_of, release
from reconciler.core.observed import Report, Told, Unchanged
from reconciler.core.plan import Step
from reconciler.core.refs import Target, Uid
from reconciler.core.values import digest
from reconciler.driver import NodeUnreachable, Outcome, Shape, StepContext


class SimDriver:
    """One node of a fleet's file, with its members."""

    def __init__(self, address: str, node: str, shape: SimShape, *, root: str = "") -> None:
        """`address` is `sim:FILE`; a relative FILE starts from `root`. Nothing is opened before the first call."""
        self.shape: Shape = shape
        self._rules = shape
        self._address = address
        self._root = root
        self._node = node
        self._opened: Store | None = None

    @property
    def _store(self) -> Store:
        """Raises NodeUnreachable if there is no fleet at the address."""
        if self._opened is None:
            scheme, _, file = self._address.partition(":")
            if scheme != "sim" or not file:
                raise NodeUnreachable(f"the address of a simulated node is sim:FILE, not {self._address!r}")
            path = os.path.join(self._root, file)  # of each node of a fleet: a Path takes ten times as long
            if not os.path.isfile(path):
                raise NodeUnreachable(f"there is no simulated fleet at {path}; `trueup sim add-node` makes one")
            self._opened = acquire(path)
        return self._opened

    async def observe(self, *, began: int, since: Mapping[Target, str] | None = None) -> tuple[Report | Unchanged, ...]:
        return tuple([each.opened() if isinstance(each, Told) else each for each in await self.tell(began, since)])

    async def tell(self, began: int, since: Mapping[Target, str] | None = None) -> tuple[Told | Unchanged, ...]:
        """See `reconciler.driver.prompt`."""
        rows = self._rows()
        if any(map(_waits, rows)):
            from drivers.sim import harm

            await harm.before_look(rows)
        for row in rows if len(rows) == 1 else ():
            if row.broken.unreachable:
                raise NodeUnreachable(f"cannot be reached: {row.broken.unreachable}")
        known = since or {}
        return tuple([self._report(row, began, known.get(Target(row.name))) for row in rows])

    def prompt(self) -> bool:
        """See `reconciler.driver.prompt`: a file is read, unless it says that the node shall take its time."""
        try:
            return not self._store.slow(self._node)
        except (NodeUnreachable, sqlite3.Error):
            return True  # it will be told at once, too

    def _rows(self) -> list[TargetRow]:
        try:
            rows = self._store.targets(self._node)
        except sqlite3.Error as error:
            raise NodeUnreachable(f"the simulated fleet {self._address} cannot be read: {error}") from error
        if not rows:
            raise NodeUnreachable(f"{self._store.path} holds no node {self._node}")
        return rows

    def _report(self, row: TargetRow, began: int, known: str | None) -> Told | Unchanged:
        target = Target(row.name)
        seen = _digest(row)
        if known == seen:
            return Unchanged(target, began, seen)
        broken = row.broken
        written = self._store.written(row.name) if broken.unreachable is None else ()
        if broken.partial is not None:
            written = tuple([each for each in written if object_of(each).native_name not in broken.hide])
        lost = broken.unreachable is not None
        report = Report(
            target=target,
            began=began,
            complete=broken.unreachable is None and broken.partial is None,
            identity=None if lost else row.identity,
            claim=None if lost else row.claim,
            capacity=row.capacity,
            objects=(),
            digest=seen,
            carries=row.carries,
            problem=broken.unreachable or broken.partial,
            facts={"backend": "simulated", "file": self._store.path},
        )
        return Told.of(report, written)

    async def apply(self, step: Step, context: StepContext) -> Outcome:
        from drivers.sim import harm

        try:
            with harm.within(context.deadline):
                return await self._apply(step, context)
        except TimeoutError:
            return Outcome("unconfirmed", f"no answer within {context.deadline:g} s")
        except NodeUnreachable as error:
            return Outcome("failed", str(error))
        except sqlite3.Error as error:
            return Outcome("failed", f"the simulated fleet {self._address} could not be written: {error}")

    async def _apply(self, step: Step, context: StepContext) -> Outcome:
        from drivers.sim import faults, harm
        from drivers.sim.engine import perform

        row = self._store.target(step.target)
        if row is not None and (latency := row.latency.get(step.verb, row.latency.get("*", 0.0))):
            await harm.pause(latency)
        fault = faults.strike(self._store, step)
        if fault is not None and (early := await harm.before(fault)):
            return early
        outcome = perform(self._store, self._rules, step, context)
        if fault is not None and (late := await harm.after(fault)):
            return late
        await harm.pause(0)
        return outcome

    async def logs(self, uid: Uid, lines: int) -> str:
        """What the node was asked about the machine. Raises ConsoleUnavailable if it is not there."""
        from reconciler.driver.console import ConsoleUnavailable

        try:
            rows = self._store.told(uid, lines)
        except (NodeUnreachable, sqlite3.Error) as error:
            raise ConsoleUnavailable(str(error)) from error
        if not rows:
            raise ConsoleUnavailable("the node was never asked anything about this machine")
        return "".join(f"{verb}: {status}{f', {reason}' if reason else ''}\n" for verb, status, reason in rows)

    async def exec(self, uid: Uid, argv: Sequence[str]) -> int:
        from reconciler.driver.console import ConsoleUnavailable

        raise ConsoleUnavailable("a simulated machine runs no commands")

    async def console(self, uid: Uid) -> None:
        from reconciler.driver.console import ConsoleUnavailable

        raise ConsoleUnavailable("a simulated machine has no console")

    async def close(self) -> None:
        if self._opened is not None:
            release(self._opened)
            self._opened = None


def _waits(row: TargetRow) -> bool:
    """Whether a look at it takes its time."""
    return row.broken.hang or bool(row.latency)


def _digest(row: TargetRow) -> str:
    """Over all that a report says of the target, the objects by the sum of their digests."""
    said = (row.identity, row.claim, row.capacity, row.carries, row.broken, row.sum)
    return digest(msgspec.to_builtins(said))
