"""The open node of an Incus or LXD server: observe, apply, close.

Owns: the driver contract, and the proofs before an act: claim, fence, generation, precondition, effect.
Must not go here: verbs (machines, networks, images, volumes), what a listing means (listing, reading).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import anyio
import msgspec

from drivers.incus import forwards, images, leftovers, machines, means, networks, paces, shared, tenants, volumes
from drivers.incus.act import Act, Denied, Outbid
from drivers.incus.api import ApiError, Lost, Refused, Stale
from drivers.incus.culprits import Culprits
from drivers.incus.keys import PRIORITY
from drivers.incus.listing import (
    Inventory,
    Known,
    Views,
    abandoned,
    image_object,
    inventory,
    machine_object,
    network_object,
    reports,
    tenant_object,
    volume_here,
)
from drivers.incus.marks import NodeClaim
from drivers.incus.node import Node, Twins
from drivers.incus.reading import is_volume, users, volumes_at
from drivers.incus.ready import ready
from drivers.incus.records import Network, Server, View
from drivers.incus.shape import IncusShape
from drivers.incus.writing import Unwritable, network_name
from reconciler.core.desired import NodeWant
from reconciler.core.observed import Marks, Report, Unchanged
from reconciler.core.plan import Step
from reconciler.core.refs import Target, Uid, kind_of, name_of
from reconciler.driver import NodeUnreachable, Outcome, Shape, StepContext, outbid

_MOMENT = 0.5
"""Seconds. A machine whose start failed is told to run for some 50 ms by Incus, a tenth of a second later."""
TRIES = 3
"""How often a step is looked at again because somebody changed the object in between."""

Verb = Callable[[Act], Awaitable[None]]
VERBS: Mapping[str, Mapping[str, Verb]] = {
    "Machine": {
        "create": machines.create, "disk": volumes.disk, "destroy-disk": volumes.destroy_disk,
        "configure": machines.configure, "start": machines.start, "stop": machines.stop, "update": machines.update,
        "move": machines.move,
        "snapshot": machines.snapshot, "quarantine": machines.quarantine, "restore": machines.restore,
        "purge": machines.purge, "mark": machines.mark, "ready": ready, "adopt": machines.adopt,
        "forget": machines.forget,
    },
    "Volume": {
        "create": shared.create, "update": shared.update, "mark": shared.mark, "forget": shared.forget,
        "quarantine": shared.quarantine, "restore": shared.restore, "purge": shared.purge,
    },
    "Network": {
        "create": networks.create, "update": networks.update, "mark": networks.mark, "adopt": networks.adopt,
        "forget": networks.forget, "destroy": networks.destroy,
    },
    "Tenant": {
        "create": tenants.create, "update": tenants.update, "mark": tenants.mark, "adopt": tenants.adopt,
        "forget": tenants.forget, "destroy": tenants.destroy,
    },
    "Image": {
        "import": images.bring, "update": images.update, "mark": images.mark, "adopt": images.adopt,
        "forget": images.forget, "destroy": images.destroy,
    },
}  # fmt: skip


class IncusDriver:
    """One host, or one cluster with its members as targets."""

    def __init__(self, want: NodeWant, options: Mapping[str, Any], shape: IncusShape) -> None:
        self.shape: Shape = shape
        self.node = Node(want, options)
        self._known = Known()
        self._culprits = Culprits()

    async def observe(self, *, began: int, since: Mapping[Target, str] | None = None) -> tuple[Report | Unchanged, ...]:
        found = await inventory(self.node)
        for target in self.node.targets():
            await self._measure(target, found)
        answers = await reports(self.node, found, self._known, began=began, since=since or {})
        return tuple(self._accused(answer) for answer in answers)

    def _accused(self, answer: Report | Unchanged) -> Report | Unchanged:
        """With the culprits that events have told of; who did it is no part of a digest."""
        if isinstance(answer, Unchanged) or not self._culprits:
            return answer
        objects = tuple(
            msgspec.structs.replace(thing, culprit=self._culprits.of(thing.kind, thing.native_name))
            for thing in answer.objects
        )
        return msgspec.structs.replace(answer, objects=objects)

    def watch(self) -> AsyncIterator[Target]:
        """See reconciler.driver.watch."""
        from drivers.incus import events

        return events.watch(self.node, self._culprits)

    async def exec(self, uid: Uid, argv: Sequence[str]) -> int:
        """See reconciler.driver.console, as for the two below."""
        from drivers.incus import console

        return await console.run(self.node, uid, argv)

    async def console(self, uid: Uid) -> None:
        from drivers.incus import console

        await console.attach(self.node, uid)

    async def logs(self, uid: Uid, lines: int) -> str:
        from drivers.incus import console

        return await console.logs(self.node, uid, lines)

    async def _measure(self, target: Target, found: Inventory) -> None:
        member = self.node.member(target)
        if member is None or any(each.server_name == member and each.status == "Online" for each in found.members):
            await self._cannot(target)

    async def _cannot(self, target: Target) -> Mapping[str, str]:
        """As in a report. Measured once per opening: what a host has in all does not change while it runs. A target
        that cannot say is asked again the next time."""
        if target not in self._known.means:
            with suppress(ApiError, Lost, Refused):
                self._known.means[target] = await means.measure(self.node, target)
        return self._known.means[target].cannot if target in self._known.means else {}

    async def apply(self, step: Step, context: StepContext) -> Outcome:
        try:
            with anyio.fail_after(context.deadline):
                async with self.node.locked(_subject(step)):
                    return await self._apply(step, context)
        except TimeoutError:
            return Outcome("unconfirmed", f"no answer within {context.deadline:g} s")
        except Lost as lost:
            return Outcome("unconfirmed", str(lost))
        except Outbid as other:
            return other.outcome
        except (NodeUnreachable, Refused, ApiError, Denied, Unwritable) as error:
            return Outcome("failed", str(error))

    async def _apply(self, step: Step, context: StepContext) -> Outcome:
        try:
            marks = msgspec.convert(step.args.get("marks"), Marks)
        except msgspec.ValidationError as error:
            return Outcome("failed", f"the step has no marks to write: {error}")
        if step.target not in self.node.targets():
            return Outcome("failed", f"there is no target {step.target} here")
        api = await self.node.api()
        server = await self.node.server()
        if kind_of(step.ref) == "Node":
            return await self._claim(server, step, marks, context)
        claims: dict[str | None, NodeClaim] = {}
        for place in step.places:
            member = self.node.member(place)
            claim = await self.node.claim(server, member)
            problem = _stale(place, claim, self.node.identity(server, member), marks, context)
            if problem is not None or claim is None:
                return problem or Outcome("deferred")
            claims[member] = claim
        verb = VERBS.get(kind_of(step.ref), {}).get(step.verb)
        if verb is None:
            return Outcome("failed", f"an {server.environment.server} server knows no verb {step.verb}")
        for attempt in range(TRIES):
            guarded = api.guarded(partial(self._raise_all, claims, context))
            act = Act(self.node, guarded, server, step, context, marks, View())
            try:
                outcome = await self._prove(act, max(claim.fence for claim in claims.values()))
                if outcome is not None:
                    return outcome
                return await self._carry_out(act, verb)
            except Twins as error:
                return Outcome("deferred", str(error))
            except Stale:
                context.progress(f"{step.ref} was changed meanwhile: looking again ({attempt + 1})")
        return Outcome("deferred", "it is being changed by somebody else all the time")

    async def _carry_out(self, act: Act, verb: Verb) -> Outcome:
        name = act.object.native_name if act.object else _to_be(act)
        try:
            with self.node.acting(name), self._listed_anew(act.kind):
                await verb(act)
                if act.kind == "Image" and act.object is None:  # what it came to be called is known only now
                    await self._look(act)
            name = act.object.native_name if act.object else name
            self.node.acted(name)
            self._culprits.clear(act.kind, name)
        except Stale:
            raise
        except ApiError as error:
            # "Already running", "already exists": somebody did it, or a call of ours that was cut short.
            if await self._is_so(act):
                await anyio.sleep(_MOMENT)
                if await self._is_so(act):
                    return Outcome("unchanged")
            told = leftovers.explained(paces.explained(str(error)), act.step.target)
            return Outcome("failed", told)
        return Outcome("applied")

    async def _is_so(self, act: Act) -> bool:
        """Whether the step's effect is there, read now."""
        act.node.names = None
        await self._look(act)
        there = act.object if self._place(act) == act.step.target else None
        return act.step.effect.mismatch(there) is None

    @contextmanager
    def _listed_anew(self, kind: str) -> Iterator[None]:
        """What was listed before a step is not good for those that come after it, however it ends."""
        try:
            yield
        finally:
            if kind in ("Network", "Image"):
                self.node.lately_networks.drop()
                self.node.lately_images.drop()

    async def _prove(self, act: Act, fence: int) -> Outcome | None:
        """None if the step may act; else what to answer."""
        await self._look(act, fence=fence)
        step, place = act.step, self._place(act)
        if place not in (None, *step.places):
            return Outcome("deferred", f"it is on {place}, not on {step.source or step.target}")
        marks = act.object.marks if act.object else None
        if marks is not None and marks.generation > act.context.generation:
            newer = marks.generation
            return Outcome("deferred", f"generation {newer} has written it already, this is {act.context.generation}")
        if step.effect.mismatch(act.object if place == step.target else None) is None:
            return Outcome("unchanged")
        mismatch = step.precondition.mismatch(act.object if place == (step.source or step.target) else None)
        return Outcome("deferred", mismatch) if mismatch else None

    def _place(self, act: Act) -> Target | None:
        """The target that the step's object is on; None if there is no such object."""
        if act.object is None:
            return None
        member = self.node.member(act.step.target)
        if member is None or act.found is None:
            return act.step.target
        return Target(f"{self.node.name}/{act.found.instance.location}")

    async def _look(self, act: Act, *, fence: int | None = None) -> None:
        """The object of the step, read now."""
        member = self.node.member(act.step.target)
        seal = str((act.server.config or {}).get("user.trueup.seal") or "")
        suffix = f".{member}" if member else ""
        networks: Mapping[str, Network] = {}
        if act.kind == "Network":
            networks = await self.node.networks()
        elif act.kind == "Tenant" or (act.kind == "Machine" and act.speaks_of("nics")):
            networks = await self.node.lately_networks.get()
        act.view = View(networks, {}, seal, suffix=suffix, base=self.node.project)
        if act.kind == "Network":
            found = await self.node.forwards(networks)
            here = {name: forwards.at(each, suffix.removeprefix(".")) for name, each in found.items()}
            acls = await self.node.acls(networks)
            act.view = msgspec.structs.replace(act.view, acls=acls, forwards=here)
        act.object = None
        if act.kind == "Machine":
            await self._look_machine(act, act.context.fence if fence is None else fence)
        elif act.kind == "Network":
            for network in act.view.networks.values():
                thing = network_object(network, act.view)
                if thing.marks is not None and thing.marks.uid == act.step.uid:
                    act.network, act.object = network, thing
        elif act.kind == "Volume":
            await self._look_volume(act, member)
        elif act.kind == "Tenant":
            await self._look_tenant(act)
        else:
            for image in await self.node.images():
                thing = image_object(image, act.view)
                if thing.marks is not None and thing.marks.uid == act.step.uid:
                    act.image, act.object = image, thing

    async def _look_volume(self, act: Act, member: str | None) -> None:
        every = await self.node.volumes(await self.node.pool())
        here = volumes_at(every, member)
        views = Views(act.view, here, every if member is not None else ())
        twins = [volume for volume in here if (volume.pool, volume.name) in views.of(volume.project).copies]
        for project, name in sorted({(volume.project, name) for volume in twins for name in users(volume.used_by)}):
            await self.node.settle(name, project, act.step.places)  # it may be on its way to where the other one is
        instances = await self.node.instances() if twins else []
        for volume in here:
            thing = volume_here(volume, views, instances)
            if thing is not None and thing.marks is not None and thing.marks.uid == act.step.uid:
                act.volume, act.object, act.view = volume, thing, views.of(volume.project)

    async def _look_tenant(self, act: Act) -> None:
        certificates = await self.node.certificates()
        for project in await self.node.tenants():
            thing = tenant_object(project, certificates, act.view)
            if thing.marks is not None and thing.marks.uid == act.step.uid:
                act.home, act.object = project, thing

    async def _look_machine(self, act: Act, fence: int) -> None:
        also = [self.node.member(place) or "" for place in act.step.places]
        found = await self.node.bearer(act.step.uid, act.view, fence=fence, also=also)
        act.found = found
        name = found.instance.name if found else str(act.step.args.get("fields", {}).get("hostname", ""))
        if name and (act.project, name) not in self.node.touched:
            await self.node.settle(name, act.project, act.step.places)
            if found is None:
                found = await self.node.named(name, act.project, act.step.uid, act.step.ref, act.view.seal)
            else:
                found = await self.node.bearer(act.step.uid, act.view, fence=fence, also=also)
        act.found = found
        await self._look_at_volumes(act)
        if found is None:
            return
        local = self.node.is_local and not self.node.want.members
        kernel = self.node.kernel.limits(act.server, [found.instance]) if local else {}
        cannot = await self._cannot(act.step.target) if PRIORITY in found.instance.expanded_config else ()
        act.view = msgspec.structs.replace(act.view, kernel=kernel, cannot=cannot)
        if abandoned(found.instance, act.view):
            return
        act.object = machine_object(found.instance, act.view)

    async def _look_at_volumes(self, act: Act) -> None:
        """Those of the pools that the machine has devices of, and of ours where the step is of mounts."""
        if not act.speaks_of("disks", "volumes"):
            return
        devices = act.found.instance.expanded_devices.values() if act.found is not None else ()
        pools = {device["pool"] for device in devices if is_volume(device)}
        if (act.step.args.get("fields") or {}).get("volumes") or any(
            path.startswith("/volumes") for path in act.step.args.get("set") or ()
        ):
            pools.add(await self.node.pool())
        member = self.node.member(act.step.target)
        if member is not None and act.found is not None:
            member = act.found.instance.location
        every = [volume for pool in sorted(pools) for volume in await self.node.volumes(pool)]
        act.view = Views(act.view, volumes_at(every, member), every if member is not None else ()).of(act.project)

    async def _raise_all(self, claims: Mapping[str | None, NodeClaim], context: StepContext) -> None:
        for member, claim in claims.items():
            await self._raise(member, claim, context)

    async def _raise(self, member: str | None, claim: NodeClaim, context: StepContext) -> None:
        """Leave our fence and generation on the node ahead of the first write: whoever comes late finds them."""
        if claim.fence >= context.fence and claim.generation >= context.generation:
            return
        async with self.node.locked(f"claim {member}", among="claim-"):
            now = await self.node.claim(await self.node.server(), member) or claim
            if now.fence > context.fence:
                raise Outbid(now.fence, context.fence)
            if now.generation > context.generation:
                raise Denied(f"generation {now.generation} has written here meanwhile, this is {context.generation}")
            if (now.fence, now.generation) == (context.fence, context.generation):
                return  # another step of ours was first
            fresh = msgspec.structs.replace(now, fence=context.fence, generation=context.generation)
            await self.node.write_claim(member, fresh)

    async def _claim(self, server: Server, step: Step, marks: Marks, context: StepContext) -> Outcome:
        """Claim a node or let it go. The claim is no object: it is its own precondition and effect."""
        member = self.node.member(step.target)
        claim = await self.node.claim(server, member)
        identity = self.node.identity(server, member)
        if claim is not None and claim.datacenter != marks.datacenter:
            return Outcome("deferred", f"{step.target} is claimed by the datacenter {claim.datacenter}")
        if claim is not None and context.fence < claim.fence:
            return outbid(claim.fence, context.fence)
        if step.verb in ("release", "forget"):
            if claim is None:
                return Outcome("unchanged")
            await self.node.write_claim(member, None)
            return Outcome("applied")
        if step.verb != "claim":
            return Outcome("failed", f"an {server.environment.server} server knows no verb {step.verb} for itself")
        if step.args.get("identity") != identity:
            return Outcome("deferred", f"{step.target} is {identity}, not {step.args.get('identity')}")
        if claim is not None and claim.identity == identity:
            return Outcome("unchanged")
        await self.node.seal(server)
        await self.node.write_claim(member, NodeClaim(marks.datacenter, identity, context.fence, context.generation))
        return Outcome("applied")

    async def close(self) -> None:
        await self.node.close()


def _to_be(act: Act) -> str:
    """The native name of what is to be made."""
    if act.kind == "Network":
        return network_name(name_of(act.step.ref), act.step.ref)
    hostname = str((act.step.args.get("fields") or {}).get("hostname", ""))
    return hostname if act.project == act.node.project else f"{act.project}/{hostname}"


def _subject(step: Step) -> str:
    """What only one step at a time may touch: what members share is one thing for all of them."""
    kind = kind_of(step.ref)
    return {"Machine": step.uid, "Volume": step.uid, "Node": step.target}.get(kind, step.ref)


def _stale(target: str, claim: NodeClaim | None, identity: str, marks: Marks, context: StepContext) -> Outcome | None:
    """Why nothing of ours may act on this target, if so: wrong node, or a newer controller has been here."""
    if claim is None:
        return Outcome("deferred", f"{target} bears no claim: it may be another node, or a new one")
    if claim.datacenter != marks.datacenter:
        return Outcome("deferred", f"{target} is claimed by the datacenter {claim.datacenter}")
    if claim.identity != identity:
        said = f"it is {identity}, the claim names {claim.identity}"
        return Outcome("deferred", f"{target} is not the node that was claimed: {said}")
    if context.fence < claim.fence:
        return outbid(claim.fence, context.fence)
    if context.generation < claim.generation:
        return Outcome("deferred", f"generation {claim.generation} has written here, this is {context.generation}")
    return None
