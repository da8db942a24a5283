"""The driver of this host: observe, and apply one step.

Owns: bringing the node up, again when its storage died; who looks at it; its console. Light: most commands only look.
Must not go here: how a step is judged and done (acting.py), what is seen (observe.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from time import monotonic
from typing import TYPE_CHECKING

from drivers.local import lookout, namespace
from drivers.local.cgroups import CapsRefused
from drivers.local.chamber import Hung
from drivers.local.locks import Stuck
from drivers.local.network import NetworkFailed
from drivers.local.nft import FirewallFailed
from drivers.local.node import Node, unusable
from drivers.local.observe import Observer
from drivers.local.place import Place
from drivers.local.shape import LocalShape
from drivers.local.storage import Settings, StorageDead, StorageFailed
from drivers.local.zones import ZoneFailed
from reconciler.core.observed import Report, Unchanged
from reconciler.core.plan import Step
from reconciler.core.refs import Target, Uid
from reconciler.driver import NodeUnreachable, Outcome, StepContext
from reconciler.driver.console import ConsoleUnavailable

if TYPE_CHECKING:
    import anyio

    from drivers.local.acting import Acting

_FAILURES = CapsRefused, FirewallFailed, Hung, NetworkFailed, StorageFailed, Stuck, ZoneFailed
"""What bringing the node up may raise; the text is one sentence."""
_PATIENCE, _QUICK = 0.25, 0.05
"""Seconds: how long a look is waited for that should take one or two thousandths; and what the next one may be expected
to take again, since nobody else has a turn meanwhile."""


class LocalDriver:
    """Opened without touching the host; the first call brings the node up."""

    def __init__(self, name: str, place: Place, settings: Settings, interfaces: Mapping[str, str]) -> None:
        self.shape = LocalShape()
        self._target = Target(name)
        self._node = Node(place, settings, interfaces)
        self._observer = Observer(self._node, self.shape)
        self._up: bool | None = None
        self._took = 0.0
        """Seconds, by the last look."""

    @property
    def node(self) -> Node:
        """The parts, for tests and tools that look beneath."""
        return self._node

    @cached_property
    def _rising(self) -> anyio.Lock:
        import anyio

        return anyio.Lock()

    @cached_property
    def _acting(self) -> Acting:
        from drivers.local.acting import Acting

        return Acting(self._node, self._observer)

    async def _rise(self, *, again: bool = False) -> None:
        """Bring the node up, once; `again` after the storage died. Raises NodeUnreachable."""
        import anyio.to_thread

        async with self._rising:
            if self._up and not again:
                return
            reason = None if namespace.present(self._node.place) else unusable()
            if reason:
                raise NodeUnreachable(reason)
            try:
                if self._up is None:
                    made = await anyio.to_thread.run_sync(self._node.enter)
                    self._up = False
                else:
                    made = False
                await self._node.chamber.call(self._node.bring_up, made)
            except _FAILURES as error:
                raise NodeUnreachable(str(error)) from None
            except OSError as error:
                raise NodeUnreachable(error.strerror or str(error)) from None
            self._up = True

    # Observing

    async def observe(self, *, began: int, since: Mapping[Target, str] | None = None) -> tuple[Report | Unchanged, ...]:
        report = self._at_once(began)
        if report is None:
            report = await self._patiently(began)
        if since is not None and since.get(self._target) == report.digest:
            return (Unchanged(self._target, began, report.digest),)
        return (report,)

    def prompt(self) -> bool:
        """See `reconciler.driver.prompt`: plain files of a node that is up are read, unless that took long before."""
        return self._took < _QUICK and self._node.plain() and namespace.present(self._node.place)

    def _at_once(self, began: int) -> Report | None:
        """None: it has to be brought up, or takes its time, or something is wrong. Then it is looked at as any other,
        and told of what is wrong."""
        if not self.prompt():
            return None
        start = monotonic()
        try:
            return lookout.look(self._node.place.pin, partial(self._glance, began), patience=_PATIENCE)
        except (lookout.Late, StorageFailed, OSError):
            return None
        finally:
            self._took = monotonic() - start

    def _glance(self, began: int) -> Report | None:
        return self._observer.report(self._target, began) if self._node.is_up() else None

    async def _patiently(self, began: int) -> Report:
        """In a thread of its own, after bringing it up. Raises NodeUnreachable."""
        await self._rise()
        for again in (False, True):
            start = monotonic()
            try:
                report = await self._node.chamber.call(self._observer.report, self._target, began)
                self._took = monotonic() - start
                return report
            except (StorageDead, Stuck) as error:
                if again:
                    raise NodeUnreachable(str(error)) from None
                await self._rise(again=True)
            except (StorageFailed, Hung, OSError) as error:
                raise NodeUnreachable(str(error)) from None
        raise AssertionError("unreachable")

    # Applying

    async def apply(self, step: Step, context: StepContext) -> Outcome:
        from drivers.local.acting import FAILURES

        try:
            await self._rise()
            for again in (False, True):
                try:
                    return await self._acting.apply(step, context)
                except (StorageDead, Stuck) as error:
                    if again:
                        return Outcome("failed", str(error))
                    await self._rise(again=True)
        except NodeUnreachable as error:
            return Outcome("failed", str(error))
        except FAILURES as error:
            return Outcome("failed", str(error))
        except Exception as error:  # the contract: nothing but cancellation is raised
            return Outcome("failed", f"unexpected, please report it: {type(error).__name__}: {error}")
        raise AssertionError("unreachable")

    async def close(self) -> None:
        if self._up is not None:
            self._node.close()
            self._up = None

    # Console: getting into a machine, for people

    async def exec(self, uid: Uid, argv: Sequence[str]) -> int:
        zone = await self._running(uid)
        return await self._node.chamber.call(self._node.zones.attach, zone, list(argv))

    async def console(self, uid: Uid) -> None:
        """A shell: zones have no terminal of their own."""
        zone = await self._running(uid)
        await self._node.chamber.call(self._node.zones.attach, zone, ["/bin/sh"])

    async def logs(self, uid: Uid, lines: int) -> str:
        return self._node.zones.last_lines(await self._zone(uid), lines)

    async def _zone(self, uid: Uid) -> str:
        try:
            await self._rise()
            seen = await self._node.chamber.call(self._observer.one, uid, "Machine")
        except (NodeUnreachable, StorageFailed) as error:
            raise ConsoleUnavailable(str(error)) from None
        if seen.volume is None:
            raise ConsoleUnavailable("there is no such machine on this node")
        return seen.volume.name.partition("/")[2]

    async def _running(self, uid: Uid) -> str:
        zone = await self._zone(uid)
        if not self._node.zones.running(zone):
            raise ConsoleUnavailable("the machine is not running")
        return zone

    # Beneath the contract

    async def tear_down(self) -> None:
        """Remove everything of this node from the host: zones, pool (if it is ours), bridges, rules, folder. What
        trueup manages elsewhere is not touched. For demonstrations and tests; never part of a plan."""
        import anyio.to_thread

        if not self._node.place.folder.exists():
            return
        if self._up is None:
            await anyio.to_thread.run_sync(self._node.enter)
        await self._node.chamber.call(self._node.tear_down)
        await anyio.to_thread.run_sync(self._node.leave)
        self._up = None
