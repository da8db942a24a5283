"""One node as the driver holds it: the connection, the claim, and what is known of its names.

Owns: connecting once, reading and raising the claim, the lock that steps of one object take, finding an object by uid.
Must not go here: verbs (machines, networks, images, volumes), reports (listing).
"""

from __future__ import annotations

import fcntl
import math
import os
import secrets
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import anyio
import msgspec

from drivers.incus import acl, forwards, transport
from drivers.incus import marks as marking
from drivers.incus.address import Misaddressed
from drivers.incus.api import Api, ApiError, Lost, NotFound, Refused
from drivers.incus.cgroups import Kernel
from drivers.incus.lately import Lately
from drivers.incus.marks import NodeClaim
from drivers.incus.reading import instance_marks, unborn_marks, volume_marks
from drivers.incus.records import Certificate, Image, Instance, Member, Network, Pool, Project, Server, View, Volume
from reconciler.core.desired import NodeWant
from reconciler.core.observed import Marks
from reconciler.core.refs import Target, name_of
from reconciler.core.values import digest, plain
from reconciler.driver import NodeUnreachable

_SLOTS = 256
NO_PROJECTS = (
    "leave out `tenants: projects`: a cluster of LXD 5.0 gives a machine in a restricted project another identity as "
    "it moves, and looks at neither limits nor restrictions when one is made"
)
PRESENT = ("Online", "Evacuated")
"""What a member is said to be that is there."""
_MOMENT = 0.1
"""Seconds after which an operation that could not be waited for is looked for again."""
AFTERWARDS = 0.2
"""Seconds that the event of a change of ours may take to come."""
_server = msgspec.json.Decoder(Server)
_instance = msgspec.json.Decoder(Instance)
_raws = msgspec.json.Decoder(list[msgspec.Raw])
_networks = msgspec.json.Decoder(list[Network])
_images = msgspec.json.Decoder(list[Image])
_volumes = msgspec.json.Decoder(list[Volume])
_pools = msgspec.json.Decoder(list[Pool])
_members = msgspec.json.Decoder(list[Member])
_projects = msgspec.json.Decoder(list[Project])
_certificates = msgspec.json.Decoder(list[Certificate])


class Found(msgspec.Struct, frozen=True):
    """An instance as read just now, with the tag that a write of this very step must bear."""

    instance: Instance
    etag: str


class Node:
    """Open for as long as the driver is. Nothing is asked before the first call."""

    def __init__(self, want: NodeWant, options: Mapping[str, Any]) -> None:
        self.want = want
        self.name = want.name
        self._document: dict[str, Any] = plain(want.body)
        self._options = options
        self._api: Api | None = None
        self._token = ""
        self._opening = anyio.Lock()
        self._listing = anyio.Lock()
        said = self._document.get("options") or {}
        self.project = str(said.get("project", "default"))
        """Where machines live whose tenant has no project of its own, and what all share."""
        self.projects = want.projects
        self.trusts_lxd = said.get("certificatesOnLxd") is True
        self._pool = str((self._document.get("storage") or {}).get("pool") or "")
        self.names: dict[str, tuple[str, str]] | None = None
        """Where each uid of a machine was seen last (project, name); None: not listed whole since we may write."""
        self.fence_of_names = -1
        self._dumb: set[str] = set()
        self.doubts: list[str] = []
        """Of the last listing: instances that may be another one's half, in words."""
        self.touched: set[tuple[str, str]] = set()
        self.kernel = Kernel()
        self._read: dict[bytes, Instance] = {}
        """Instances by the very bytes that told of them last: what is said in the same words is read once."""
        self._ours: dict[str, float] = {}
        self.lately_networks = Lately(self.networks)
        """Listing them makes a server look at every instance. Steps of machines ask which network is which, and that
        changes by steps of ours, after which they are listed anew."""
        self.lately_images = Lately(self.images)

    # -- connecting

    async def api(self) -> Api:
        """Raises NodeUnreachable."""
        async with self._opening:
            if self._api is None:
                try:
                    identity = await transport.identity_of(self._document, self._options)
                    client = await transport.connect(self.want.address, identity)
                except Misaddressed as error:
                    raise NodeUnreachable(str(error)) from error
                self._api, self._token = Api(client), identity.token
            return self._api

    @property
    def is_local(self) -> bool:
        """Reached by a socket: the server is on this host, or in a namespace of it."""
        return not self.want.address.startswith("https://")

    async def close(self) -> None:
        if self._api is not None:
            await self._api.client.close()
            self._api = None

    # -- the server

    async def server(self) -> Server:
        """Raises NodeUnreachable, Lost, ApiError."""
        api = await self.api()
        try:
            server = _server.decode(await api.raw("/1.0"))
            if server.auth != "trusted" and self._token:
                await self._show_token(api)
                server = _server.decode(await api.raw("/1.0"))
        except Refused as error:
            raise NodeUnreachable(f"address: {self.want.address or 'its socket'} {error}") from error
        if server.auth != "trusted":
            raise NodeUnreachable(
                "it does not trust our client certificate: add it there, or mend identity.certificate"
            )
        if "instances" not in server.api_extensions:
            version = server.environment.server_version or "of no known version"
            raise NodeUnreachable(f"it runs {server.environment.server} {version}, which is too old")
        if self.projects and server.environment.server == "lxd" and server.environment.server_clustered:
            raise NodeUnreachable(NO_PROJECTS)
        return server

    async def _show_token(self, api: Api) -> None:
        """Has our certificate taken in by a server that gave out the token for it. A token is good for one time: if
        another connection of ours was first, the server knows us by now. Raises NodeUnreachable, Lost."""
        token, self._token = self._token, ""
        given = {"type": "client", "trust_token": token, "password": token}  # Incus reads the one, LXD 5.0 the other
        try:
            await api.change("POST", "/1.0/certificates", given)
        except ApiError as error:
            if "already in trust store" not in str(error):
                raise NodeUnreachable(
                    f"it does not take identity.token: {error}; ask it for a new one, or add the certificate there"
                ) from error

    def member(self, target: Target) -> str | None:
        """The cluster's member behind a target; None on a host of its own."""
        return name_of(target) if "/" in target else None

    def targets(self) -> tuple[Target, ...]:
        if not self.want.members:
            return (Target(self.name),)
        return tuple(Target(f"{self.name}/{member}") for member in self.want.members)

    def placed(self, target: Target) -> dict[str, str]:
        """The query that sends a call to the target's member."""
        member = self.member(target)
        return {"target": member} if member else {}

    def identity(self, server: Server, member: str | None) -> str:
        """The server made its certificate for itself alone; members of a cluster share one, and have names."""
        own = server.environment.certificate_fingerprint[:32]
        return f"{own}/{member}" if member else own

    async def claim(self, server: Server, member: str | None) -> NodeClaim | None:
        if member is None:
            return marking.read_claim(server.said(marking.CLAIM))
        said = await (await self.api()).get(f"/1.0/cluster/members/{member}")
        return marking.read_claim((said.get("config") or {}).get(marking.CLAIM))

    async def write_claim(self, member: str | None, claim: NodeClaim | None) -> None:
        """The caller has looked at what is there, under the node's lock."""
        api = await self.api()
        path = "/1.0" if member is None else f"/1.0/cluster/members/{member}"
        text = marking.write_claim(claim) if claim else ""
        if member is None:
            await api.change("PATCH", path, {"config": {marking.CLAIM: text}})
            return
        said, etag = await api.read(path)
        config = {**(said.get("config") or {}), marking.CLAIM: text}
        if not text:
            del config[marking.CLAIM]
        body = {key: said.get(key) for key in ("roles", "failure_domain", "description", "groups") if key in said}
        await api.change("PUT", path, {**body, "config": config}, etag=etag)

    async def seal(self, server: Server) -> str:
        """The key that marks are sealed with; made when the node is first claimed, and kept when it is let go. Members
        of a cluster, which share it, may be claimed side by side: the first one's stays."""
        key = server.said(marking.SEAL)
        if key:
            return key
        async with self.locked("seal", among="seal-"):
            key = (await self.server()).said(marking.SEAL)
            if not key:
                key = secrets.token_hex(16)
                await (await self.api()).change("PATCH", "/1.0", {"config": {marking.SEAL: key}})
            return key

    # -- listings

    async def instances(self) -> list[Instance]:
        """Those of every project, unless all is to be done in one that the document names."""
        api = await self.api()
        found = _raws.decode(await api.raw("/1.0/instances", recursion="1", **self._everywhere()))
        known, self._read = self._read, {}
        for raw in found:
            said = bytes(raw)
            self._read[said] = known.get(said) or _instance.decode(said)
        kept, self.doubts = without_halves(self._read.values())
        return kept

    def _everywhere(self) -> dict[str, str]:
        return {"all-projects": "true"} if self.project == "default" else {"project": self.project}

    def sees(self, thing: Instance | Volume, seal: str) -> bool:
        """Whether it is of interest: in what is ours to look at, or ours wherever it is."""
        if self.projects or thing.project == self.project:
            return True
        if isinstance(thing, Volume):
            return volume_marks(thing, seal, self.project) is not None
        return thing.said is None or instance_marks(thing, seal, self.project) is not None

    async def networks(self) -> dict[str, Network]:
        api = await self.api()
        found = _networks.decode(await api.raw("/1.0/networks", recursion="1", project=self.project))
        managed = {network.name: network for network in found if network.managed}
        dumb = next((name for name, network in managed.items() if network.said is None), None)
        if dumb is not None:
            raise ApiError(f"the server does not tell what the network {dumb} is now")
        return managed

    async def acls(self, networks: Mapping[str, Network]) -> dict[str, dict[str, Any]]:
        """Network ACLs by name; none is asked for where no network of these has any."""
        if not any(network.config.get(acl.ATTACHED) for network in networks.values()):
            return {}
        found = await (await self.api()).get("/1.0/network-acls", recursion="1", project=self.project)
        return {each["name"]: each for each in found or ()}

    async def forwards(self, networks: Mapping[str, Network]) -> dict[str, list[dict[str, Any]]]:
        """Forwards, on all members, of the networks that have any of ours."""
        found = {}
        for name, network in networks.items():
            if any(key.startswith(forwards.LISTED) for key in network.config):
                path = f"/1.0/networks/{name}/forwards"
                found[name] = await (await self.api()).get(path, recursion="1", project=self.project) or []
        return found

    async def images(self) -> list[Image]:
        api = await self.api()
        return _images.decode(await api.raw("/1.0/images", recursion="1", project=self.project))

    async def volumes(self, pool: str) -> list[Volume]:
        api = await self.api()
        path = f"/1.0/storage-pools/{pool}/volumes/custom"
        found = _volumes.decode(await api.raw(path, recursion="1", **self._everywhere()))
        for volume in found:
            volume.pool = pool
            if self.project != "default":
                volume.project = self.project
        return found

    async def tenants(self) -> list[Project]:
        """Projects other than the one that all share."""
        found = _projects.decode(await (await self.api()).raw("/1.0/projects", recursion="1"))
        return [project for project in found if project.name != self.project]

    async def certificates(self) -> list[Certificate]:
        return _certificates.decode(await (await self.api()).raw("/1.0/certificates", recursion="1"))

    async def pools(self) -> list[Pool]:
        return _pools.decode(await (await self.api()).raw("/1.0/storage-pools", recursion="1"))

    async def members(self) -> list[Member]:
        return _members.decode(await (await self.api()).raw("/1.0/cluster/members", recursion="1"))

    async def pool(self) -> str:
        """Where instances and volumes are made: the one that the document names, or the only one there is."""
        if not self._pool:
            names = [pool.name for pool in await self.pools()]
            if len(names) != 1:
                raise ApiError(f"storage.pool: say which of {', '.join(sorted(names)) or 'no pools'} to use")
            self._pool = names[0]
        return self._pool

    async def known_pool(self) -> str | None:
        """The same; None where nobody has said which, and so nothing of ours can be in any."""
        try:
            return await self.pool()
        except ApiError:
            return None

    # -- one machine

    async def instance(self, name: str, project: str) -> Found | None:
        api = await self.api()
        try:
            answer, etag = await api.read(f"/1.0/instances/{name}", project=project)
        except NotFound:
            return None
        return Found(msgspec.convert(answer, Instance), etag)

    async def bearer(self, uid: str, view: View, *, fence: int, also: Iterable[str] = ()) -> Found | None:
        """The instance whose marks bear the uid. Raises Twins if there are several. `also`: members beside the view's
        own that it may be on.

        A name that we remember is checked; that there is none is believed only of a listing made since no older
        controller could write any more (the fence that we found on the node is ours).
        """
        async with self._listing:  # steps begin side by side: one of them lists for all
            if self.names is None or self.fence_of_names != fence:
                await self._list(view.seal, fence)
        assert self.names is not None, "it was listed a line ago"
        place = self.names.get(uid)
        if place is None:
            if self.doubts or self._dumb & {view.suffix.removeprefix("."), *also, "none", ""}:
                self.names = None
                raise ApiError("not every machine there could be read, so none can be said to be missing")
            return None
        found = await self.instance(place[1], place[0])
        if found is not None and self._bears(found.instance, uid, view.seal):
            return found
        await self._list(view.seal, fence)
        place = self.names.get(uid)
        return await self.instance(place[1], place[0]) if place else None

    async def named(self, name: str, project: str, uid: str, ref: str, seal: str) -> Found | None:
        """The instance of this name, if it bears the uid: a call of ours that was cut short made it since we listed. Or
        what was never made whole of one that the ref stood for before: a call that came when nobody waited for it."""
        found = await self.instance(name, project)
        if found is None:
            return None
        if not self._bears(found.instance, uid, seal):
            marks = unborn_marks(found.instance, seal, self.project)
            return found if marks is not None and marks.ref == ref else None
        if self.names is not None:
            self.names[uid] = (project, name)
        return found

    def _bears(self, instance: Instance, uid: str, seal: str) -> bool:
        marks = self._marks(instance, seal)
        return marks is not None and marks.uid == uid

    def _marks(self, instance: Instance, seal: str) -> Marks | None:
        """What is not made whole bears them too: it is found, and made again."""
        return instance_marks(instance, seal, self.project) or unborn_marks(instance, seal, self.project)

    async def _list(self, seal: str, fence: int) -> None:
        self.remember(await self.instances(), seal, fence)

    def remember(self, instances: list[Instance], seal: str, fence: int) -> None:
        names: dict[str, tuple[str, str]] = {}
        self._dumb = {instance.location for instance in instances if instance.said is None}
        for instance in instances:
            marks = self._marks(instance, seal)
            if marks is None:
                continue
            if marks.uid in names:
                raise Twins(f"{names[marks.uid][1]} and {instance.name} bear the uid {marks.uid}: neither is touched")
            names[marks.uid] = (instance.project, instance.name)
        self.names, self.fence_of_names = names, fence

    async def settle(self, name: str, project: str, places: Iterable[Target]) -> None:
        """Wait for what an earlier, interrupted call still does to an instance or a volume. Once per name, until a call
        of ours is interrupted again: the others are waited for when they are made. Raises ApiError, Lost.

        A member that was cut off goes on with what it was told before, and may take back what it seems to have made. A
        cluster leaves out, without a word, operations of members that do not answer: so those of `places` must."""
        if (project, name) in self.touched:
            return
        await self._answer(places)
        api = await self.api()
        while True:
            running = (await api.get("/1.0/operations", recursion="1", project=project) or {}).get("running") or []
            ours = [each["id"] for each in running if _is_of(each, name)]
            for operation in ours:
                with suppress(ApiError, Lost):
                    await api.wait(f"/1.0/operations/{operation}")
            if not ours:
                break
            await anyio.sleep(_MOMENT)
        await self._answer(places)
        self.touched.add((project, name))

    async def _answer(self, places: Iterable[Target]) -> None:
        """Raises ApiError where a member is not counted among those that are there, or does not answer."""
        api = await self.api()
        for member in filter(None, map(self.member, places)):
            said = await api.get(f"/1.0/cluster/members/{member}")
            if said["status"] not in PRESENT:
                raise ApiError(f"member {member} is {said['status']}: {said['message']}")
            await api.get("/1.0", target=member)

    # -- whose changes they are

    @contextmanager
    def acting(self, name: str) -> Iterator[None]:
        """While inside, and for a moment after, what happens to the object of this name is our own doing. What is
        broken off here may go on on the server, and is waited for before the next step."""
        self._ours[name] = math.inf
        try:
            yield
        except BaseException:
            self.touched.clear()
            raise
        finally:
            self.acted(name)

    def acted(self, name: str) -> None:
        """The events of what we did there may still be on their way."""
        self._ours[name] = anyio.current_time() + AFTERWARDS

    def is_ours(self, name: str) -> bool:
        until = self._ours.get(name)
        if until is not None and until < anyio.current_time():
            del self._ours[name]
            return False
        return until is not None

    @asynccontextmanager
    async def locked(self, thing: str, *, among: str = "") -> AsyncIterator[None]:
        """One step at a time on one thing, over all processes of this controller host; others are kept out by the
        fence, by ETags and by the server's own refusal of a name that is taken. `among`: a family of locks of its own,
        for what is locked while another is held: things of one family may share a lock."""
        folder = os.path.join("/run" if os.geteuid() == 0 else tempfile.gettempdir(), f"trueup-{os.geteuid()}")
        os.makedirs(folder, mode=0o700, exist_ok=True)
        slot = int(digest([self.want.address, thing])[:8], 16) % _SLOTS
        descriptor = os.open(os.path.join(folder, f"incus-{among}{slot}"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    await anyio.sleep(0.003)
            yield
        finally:
            os.close(descriptor)


_LOOKED_INTO = ("Executing command", "Showing console")
"""What somebody does inside an instance for as long as they like, and makes nothing of it."""


def _is_of(operation: Mapping[str, Any], name: str) -> bool:
    if operation.get("description") in _LOOKED_INTO:
        return False
    named = [path for paths in (operation.get("resources") or {}).values() for path in paths or ()]
    return any(path.partition("?")[0].rpartition("/")[2] == name for path in named)


HALVES = ("lxd-move-of-", "incus-move-of-")
"""What a machine is called where it is carried to, with its identity, until it bears its own name there."""


def without_halves(instances: Iterable[Instance]) -> tuple[list[Instance], list[str]]:
    """The instances that are machines, and in words those of which nobody can tell.

    LXD copies a machine to where it goes, under a name of its own, takes the first one away, and gives the copy its
    name. Who dies in between leaves both: then the first is the machine, and the copy nothing yet. Or the copy alone,
    which is the machine then. While some instance cannot be read, it might be the other half."""
    every = list(instances)
    names = {each.name for each in every if is_half(each)}
    if not names:
        return every, []
    whole = [each for each in every if each.name not in names]
    if any(each.said is None for each in whole):
        return whole, [f"{name} may be half of a move, and its other half could not be read" for name in sorted(names)]
    known = {each.native_id for each in whole}
    return [each for each in every if each.name not in names or each.native_id not in known], []


def is_half(instance: Instance) -> bool:
    return bool(instance.native_id) and instance.name in {f"{prefix}{instance.native_id}" for prefix in HALVES}


class Twins(Exception):
    """Two objects bear one uid. One sentence for people."""
