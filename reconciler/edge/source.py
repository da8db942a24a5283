"""Where the desired state comes from: a git repository, read by object, through the loader.

Owns: the port Source: revision to Desired, lineage, and what every load needs beside: keyed digests of secrets.
Must not go here: YAML (load), git itself (git), version bounds (bounds), the working of the loop.
"""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Callable, Collection, Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import msgspec

from reconciler.core.desired import Desired, Lineage, NodeWant, Resource, Revision
from reconciler.core.ledger import Applied
from reconciler.core.refs import Ref, kind_of
from reconciler.core.values import canonical, digest, plain
from reconciler.driver import Capability
from reconciler.edge.bounds import require
from reconciler.edge.git import CommitTree, Repository, WorkingTree, lineage, snapshot
from reconciler.edge.held import NOTHING_HELD, Held
from reconciler.edge.remembered import Remembered, Told, TreeMemory
from reconciler.edge.shares import Sorted, is_defaults
from reconciler.errors import SpecErrors
from reconciler.waiting import blocking

if TYPE_CHECKING:
    from reconciler.edge.apart import Apart
    from reconciler.edge.git.mirror import Mirror
    from reconciler.edge.index.known import Documents, Laid
    from reconciler.edge.load.loader import Loader

KeyedDigest = Callable[[str], str | None]

_DATACENTER = rb"(?m)^kind: *Datacenter *(#.*)?$"
_ID = rb"\bid: *[\"']?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\b"


class GitSource:
    """Desired at revisions of one repository and root. Keeps the last good tree, so the next load costs what changed.

    `dirty`: the head is the working tree as it stands; it can be planned, never applied.
    """

    def __init__(
        self,
        repository: Repository,
        capabilities: Mapping[str, Capability],
        *,
        root: str = "",
        dirty: bool = False,
        mirror: Mirror | None = None,
        keyed: KeyedDigest | None = None,
    ) -> None:
        self.repository = repository
        self.root = root
        self.dirty = dirty
        self._loader: Loader | None = None
        self.memory: TreeMemory | None = None
        """Where what trees came to is kept between runs; None: nowhere."""
        self.apart: Apart | None = None
        """Another process that reads the tree, and answers for it as long as nobody here has read it."""
        self._begun: CommitTree | None = None
        """A tree of which git's list was asked for ahead."""
        self.meanwhile: Callable[[], object] | None = None
        """What there is to do while other processes read a large tree."""
        self._unread: Revision | None = None
        """The revision in force, where it was recalled and not read."""
        self._capabilities = capabilities
        self._mirror = mirror
        self.keyed = keyed
        self._head: str | None = None
        """The commit beneath a dirty tree."""
        self._working: WorkingTree | None = None
        self._known: str | None = None
        """Id of the tree in force, where it is one of the repository's."""
        self._secretive: set[Ref] = set()
        """Refs of resources that name a secret."""
        self._nodes: Mapping[str, NodeWant] = {}
        self._news: set[Ref] | None = None
        self._since: Since | None = None
        """What came and went since the tree that was applied last was in force, where it was."""
        self._in_force: Mapping[Ref, Resource] = {}

    @property
    def loader(self) -> Loader:
        """The reader of documents, with the tree in force. Made when it is first needed: importing the models takes
        longer than a plan of a small site. Raises as loading does."""
        if self._loader is None:
            from reconciler.edge.load.loader import Loader

            self._loader = Loader(self._capabilities)
            self._loader.meanwhile = self.meanwhile
            unread, self._unread = self._unread, None
            if unread is not None:
                self._loader.load(self.tree(unread.tree), unread, told=False)
                self._known = unread.tree
        return self._loader

    def documents(self) -> Documents | Laid | None:
        """What was read of the tree in force; None where it was not read, or is none of the repository's."""
        if self._loader is None and self.apart is not None:
            return self.apart.laid()
        if self._loader is None or self._known is None or self._unread is not None:
            return None
        from reconciler.edge.index.known import Documents

        return Documents(self._loader.records, self._loader.desired.revision, frozenset(self._secretive))

    def resume(self, documents: Documents, nodes: Mapping[str, NodeWant]) -> None:
        """Go on from a tree that another process has read, whose nodes these are."""
        from reconciler.edge.load.loader import Loader

        self._loader = Loader(self._capabilities)
        self._loader.resume(documents.records, self.tree(documents.revision.tree), documents.revision)
        self._known, self._nodes, self._news, self._since = documents.revision.tree, nodes, set(), None
        self._secretive = set(documents.secretive)

    def forget(self) -> None:
        """Read everything anew the next time."""
        self._loader = self._known = self._news = self._unread = self._since = None
        self._nodes, self._secretive, self._in_force = {}, set(), {}

    def close(self) -> None:
        """Drop what only a dirty tree has, and what was begun ahead."""
        if self._begun is not None:
            self._begun.close()
        working, self._working = self._working, None
        if working is not None:
            working.close()

    async def load(self, revision: str | None = None, *, since: Applied | None = None) -> Desired:
        """See the port. Raises SpecErrors, RevisionMissing, SourceUnreadable, SourceRefused, UsageError."""
        return await blocking(self._load, revision, since)

    async def lineage(self, desired: Desired, applied: Applied | None, accepted: frozenset[str]) -> Lineage:
        return await blocking(self._lineage, desired, applied, accepted)

    @property
    def mirrored(self) -> bool:
        """Whether the head is a remote one, which has to be fetched."""
        return self._mirror is not None

    @property
    def secrets(self) -> set[str]:
        """The names of the secrets that the tree in force refers to."""
        return {name for ref in self._secretive for name in _named(plain(self._in_force[ref].body))}

    def news(self) -> Collection[Ref] | None:
        """See the port."""
        found, self._news = self._news, set()
        return None if found is None else found | self._secretive

    async def datacenter_id(self, revision: str | None = None) -> str:
        """The id of the datacenter, told also of a tree with mistakes elsewhere. Raises what loading raises, if not
        even that can be read."""
        known = await blocking(self._known_id, revision)
        if known is not None:
            return known
        try:
            return (await self.load(revision)).datacenter_id
        except SpecErrors:
            found = await blocking(self._scanned_id, revision)
            if found is None:
                raise
            return found

    def hinted_id(self, revision: str | None = None) -> str | None:
        """What the tree's `datacenter.yaml` seems to say of the id, where the tree is not known yet: a hint, by which
        to begin what takes long. Raises RevisionMissing, SourceUnreadable."""
        if self.mirrored or (self.dirty and revision is None) or self._known_id(revision) is not None:
            return None
        name = f"{self.repository.revision(revision, root=self.root).tree}:datacenter.yaml"
        told = self.repository.objects.contents(name)
        found = re.search(_ID, told[1]) if told is not None else None
        return found[1].decode() if found else None

    def _known_id(self, revision: str | None) -> str | None:
        if self.memory is None or (self.dirty and revision is None) or self._loader is not None:
            return None
        tree = self.repository.revision(revision, root=self.root).tree
        return self.memory.recall_id(tree) or self._unchanged_id(tree, self.memory)

    def _unchanged_id(self, tree: str, memory: TreeMemory) -> str | None:
        """The id, where the file that told it the last time is what it was."""
        known = memory.recall_place(self._place)
        if known is None:
            return None
        found = self.repository.objects.contents(f"{tree}:{known.path}")
        return known.datacenter_id if found is not None and found[0].id == known.blob else None

    @property
    def _place(self) -> str:
        return f"{self.repository.git_folder}:{self.root}"

    def _scanned_id(self, revision: str | None) -> str | None:
        return scanned_id(self._opened(revision)[0])

    def _load(self, revision: str | None, since: Applied | None) -> Desired:
        if revision is None and self._mirror is not None:
            self._mirror.fetch().close()
        if self._loader is None and self.memory is not None and not (self.dirty and revision is None):
            where = self.repository.revision(revision, root=self.root)
            if not self._held(self.tree(where.tree), since).images:
                recalled = self._recalled(where, self.memory)
                if recalled is not None:
                    return recalled
        tree, where = self._opened(revision)
        if since is not None and since.tree == self._known:
            self._since = Since(since.tree)
        before = self._held(tree, since)
        if not before.images:
            return self._taken(tree, where)
        self.loader.held = before
        try:
            return self._taken(tree, where)
        finally:
            self.loader.held = NOTHING_HELD

    def _held(self, tree: CommitTree, since: Applied | None) -> Held:
        """What images held when a plan was applied last, where their documents are others now."""
        if since is None or since.root != self.root or since.tree == tree.id:
            return NOTHING_HELD
        if self._known is not None and not self._dirty_tree(tree) and self._imageless(tree.id, since, self._known):
            return NOTHING_HELD
        from reconciler.edge.images import held

        committed, declares = not self._dirty_tree(tree), self._declares_image if since.tree == self._known else None
        when = "when a plan was applied last"
        return held(self.repository, since.tree, tree, when=when, committed=committed, declares=declares)

    def _imageless(self, tree: str, since: Applied, known: str) -> bool:
        """Whether no file of the tree `since` that is another in `tree` can have declared an image: told load by load
        of those that differ from the tree in force (`known`), however long nothing was applied."""
        told = self._since
        if self._loader is None or self._unread is not None or told is None or told.tree != since.tree or told.images:
            return False
        differing = self.repository.difference.between(known, tree)
        told.images = any(
            [
                is_defaults(each.path) or (each.before is not None and self._declares_image(each.path))
                for each in differing
            ]
        )
        return not told.images

    def _declares_image(self, path: str) -> bool:
        """Whether a file of the tree in force may: one that was read as documents tells what they declare."""
        record = self.loader.records.files.get(path)
        return record is None or any(kind_of(ref) == "Image" for one in record.documents for ref in one.refs)

    def _recalled(self, where: Revision, memory: TreeMemory) -> Desired | None:
        found = memory.recall(where.tree) if self.apart is None else self.apart.came(where.tree)
        if found is None:
            return None
        require(found.requires)
        self._unread, self._news, self._nodes = where, None, found.desired.nodes
        desired = msgspec.structs.replace(found.desired, revision=where)
        self._secretive = {ref for ref, resource in desired.resources.items() if _names_secret(resource)}
        return self._with_digests(desired)

    def _taken(self, tree: CommitTree, where: Revision) -> Desired:
        """The tree taken into force, at the cost of what differs from the last good one. Raises as loading does."""
        if self._loader is None:
            self._unread = None  # what was recalled before is not in force any more
        before = self._known
        if before is None or self._dirty_tree(tree):
            tree.begin()
            try:
                if self._loader is None:
                    self._reading_begun(tree)
                delta = self.loader.load(tree, where, told=False)
            finally:
                tree.settle()
            self._news = self._since = None
        else:
            delta = self.loader.update(tree, self._changes(tree, before), where)
            if self._since is not None:
                self._since.take(delta.added, delta.removed)
        if self._news is not None:
            self._news.update(delta.changed, delta.removed)
        if self._news is None or delta.nodes:
            # a copy: who compares the nodes of two revisions needs both
            self._nodes = dict(delta.desired.nodes)
        # a dirty tree's objects are not in the repository, so nothing there can be compared with it
        self._known = None if self._dirty_tree(tree) else tree.id
        datacenter = self.loader.datacenter
        requires = datacenter.spec.requires if datacenter is not None else None
        require(requires)
        if before is None and self._known is not None:
            self.remember()
        self._secretive.difference_update(delta.changed, delta.removed)
        self._secretive |= _naming_secrets(delta.changed, delta.desired.resources)
        return self._with_digests(delta.desired)

    def _reading_begun(self, tree: CommitTree) -> None:
        """git reads a large tree while the loader is imported. Raises as listing does."""
        files = Sorted(tree.listed())
        for blobs in files.ahead[:1]:
            tree.soon(blobs)
        self.loader.sorted = files
        for blobs in files.ahead[1:]:
            tree.soon(blobs)

    def remember(self) -> None:
        """What the tree in force came to, for who wants it the next time."""
        desired, datacenter = self.loader.desired, self.loader.datacenter
        if self.memory is None:
            return
        self.memory.keep(desired.revision.tree, Remembered(desired, datacenter.spec.requires if datacenter else None))
        if datacenter is not None:
            blob = self.loader.records.files[datacenter.file].blob
            self.memory.keep_place(self._place, Told(datacenter.file, blob, desired.datacenter_id))

    def _changes(self, tree: CommitTree, before: str) -> dict[str, str | None]:
        return tree.changes(self.repository.difference, before)

    def _dirty_tree(self, tree: CommitTree) -> bool:
        return self._working is not None and tree is self._working.tree

    def _opened(self, revision: str | None) -> tuple[CommitTree, Revision]:
        if self.dirty and revision is None:
            self.close()
            self._working = working = snapshot(self.repository, self.root)
            self._head = working.head
            return working.tree, working.revision
        where = self.repository.revision(revision, root=self.root)
        return self.tree(where.tree), where

    def few(self, revision: str | None, files: int) -> tuple[CommitTree, Revision] | None:
        """The tree of a revision, if it has no more files; git's list of it is not asked for again in any case. Raises
        RevisionMissing, SourceUnreadable, SourceRefused."""
        where = self.repository.revision(revision, root=self.root)
        self._begun = tree = self.tree(where.tree)
        tree.begin()
        return (tree, where) if tree.few(files) else None

    def reopened(self) -> GitSource:
        """One of its own for a forked process, that has read nothing."""
        return GitSource(self.repository.reopened(), self._capabilities, root=self.root)

    def read(self, tree: CommitTree, where: Revision) -> Remembered:
        """What a tree comes to, taken into force. Raises as loading does."""
        desired, datacenter = self._taken(tree, where), self.loader.datacenter
        return Remembered(desired, datacenter.spec.requires if datacenter is not None else None)

    def tree(self, tree: str) -> CommitTree:
        if self._begun is not None and self._begun.id == tree:
            return self._begun
        return CommitTree(self.repository.folder, tree, objects=self.repository.objects)

    def _with_digests(self, desired: Desired) -> Desired:
        """Secrets' keyed digests into the bodies that name them: how a changed value is noticed."""
        resources = self._in_force = desired.resources
        if self.keyed is not None and self._secretive:
            # each time anew: a value changes without a commit
            keyed = {ref: _keyed(resources[ref], self.keyed) for ref in self._secretive}
            resources = ChainMap(keyed, cast("MutableMapping[Ref, Resource]", resources))
        return msgspec.structs.replace(desired, resources=resources, nodes=self._nodes)

    def _lineage(self, desired: Desired, applied: Applied | None, accepted: frozenset[str]) -> Lineage:
        try:
            return lineage(
                self.repository,
                desired.revision,
                applied,
                accepted=accepted,
                removed=self.removed,
                head=self._head if desired.revision.commit is None else None,
            )
        except SpecErrors as error:
            return Lineage(broken=f"what was applied last cannot be read any more ({error.diagnostics[0]})")

    def removed(self, before: str, after: str) -> frozenset[Ref]:
        """Refs whose documents are in one tree and not in the other. Raises SpecErrors of either."""
        if before == after:
            return frozenset()
        if self._loader is None and self.apart is not None:
            told = self.apart.removed(before, after)
            if told is not None:
                return told
        was, now = self._beside(before), self._beside(after)
        return frozenset(ref for ref in was.new | now.gone if was.has(ref) and not now.has(ref))

    def _beside(self, tree: str) -> Beside:
        """A tree's refs, told by how they differ from those in force: at the cost of that difference."""
        in_force = self.loader.desired
        here = in_force.resources
        if tree == in_force.revision.tree:
            return Beside(here, frozenset(), frozenset())
        if self._since is not None and tree == self._since.tree:
            return Beside(here, frozenset(self._since.went), frozenset(self._since.came))
        other = self.tree(tree)
        if self._known is None:
            # what is in force is a dirty tree, which nothing in the repository can be compared with
            from reconciler.edge.load.loader import Loader

            there = Loader(self._capabilities).load(other).desired.resources
            return Beside(here, frozenset(there.keys() - here.keys()), frozenset(here.keys() - there.keys()))
        delta = self.loader.glance(other, self._changes(other, self._known))
        return Beside(here, frozenset(ref for ref in delta.changed if ref not in here), delta.removed)


def scanned_id(tree: CommitTree) -> str | None:
    """The datacenter's id as it seems to stand in a tree that may hold any mistake."""
    blobs = [blob for path, blob in tree.entries() if path.endswith((".yaml", ".yml"))]
    for data in tree.read(blobs):
        found = re.search(_DATACENTER, data) and re.search(_ID, data)
        if found:
            return found[1].decode()
    return None


class Since:
    """How the refs in force differ from those of a tree that once was, load by load."""

    def __init__(self, tree: str) -> None:
        self.tree = tree
        self.came: set[Ref] = set()
        self.went: set[Ref] = set()
        self.images = False
        """Files that may have declared an image are others by now."""

    def take(self, added: Collection[Ref], removed: Collection[Ref]) -> None:
        """One more load."""
        for ref in removed:
            if ref in self.came:
                self.came.discard(ref)
            else:
                self.went.add(ref)
        for ref in added:
            if ref in self.went:
                self.went.discard(ref)
            else:
                self.came.add(ref)


class Beside(NamedTuple):
    """The refs of a tree: those in force, with `new` ones and without those `gone`."""

    in_force: Mapping[Ref, Resource]
    new: frozenset[Ref]
    gone: frozenset[Ref]

    def has(self, ref: Ref) -> bool:
        return ref in self.new or (ref in self.in_force and ref not in self.gone)


def _naming_secrets(refs: Collection[Ref], resources: Mapping[Ref, Resource]) -> set[Ref]:
    """Those whose bodies name a secret. Machines that are alike share their bodies: each is looked at once."""
    secret = {body for body in {resources[ref].body for ref in refs} if b'"secret":' in body}
    return {ref for ref in refs if resources[ref].body in secret} if secret else set()


def _names_secret(resource: Resource) -> bool:
    return b'"secret":' in resource.body


def _keyed(resource: Resource, keyed: KeyedDigest) -> Resource:
    body = plain(resource.body)
    if not _fill(body, keyed):
        return resource
    data = canonical(body)
    return msgspec.structs.replace(resource, body=data, digest=digest([resource.digest, digest(data)]))


_BY_NAME = frozenset({"metadata", "tags", "traits"})
"""Maps whose keys people choose: one of them may be called `secret`."""


def _fill(value: Any, keyed: KeyedDigest, *, by_name: bool = False) -> bool:
    """Put `keyed` beside every `{secret: name}`. True if anything was put."""
    if isinstance(value, list):
        return any([_fill(inner, keyed) for inner in value])
    if not isinstance(value, dict):
        return False
    name = value.get("secret")
    if not by_name and isinstance(name, str):
        found = keyed(name)
        if found is not None:
            value["keyed"] = found
        return found is not None
    return any([_fill(inner, keyed, by_name=key in _BY_NAME) for key, inner in value.items()])


def _named(value: Any, *, by_name: bool = False) -> Iterator[str]:
    """The names behind every `{secret: name}`."""
    if isinstance(value, list):
        for inner in value:
            yield from _named(inner)
    elif isinstance(value, dict):
        name = value.get("secret")
        if not by_name and isinstance(name, str):
            yield name
        else:
            for key, inner in value.items():
                yield from _named(inner, by_name=key in _BY_NAME)
