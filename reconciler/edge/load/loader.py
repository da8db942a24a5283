"""The loader: a tree in, Desired out; afterwards only what changed, and what depends on it.

Owns: the public face, and the last good tree. Must not go here: how anything is read or judged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from reconciler.core.desired import Desired, Policy, Revision
from reconciler.core.refs import Ref
from reconciler.driver import Capability
from reconciler.edge.collector import quiet_collector
from reconciler.edge.held import NOTHING_HELD, Held
from reconciler.edge.load.attempt import Attempt, Changes
from reconciler.edge.load.dependants import dependants
from reconciler.edge.load.document import Declared
from reconciler.edge.load.findings import CROWDED, Path, Warning_
from reconciler.edge.load.judging import Judge
from reconciler.edge.load.locate import Locator, Provenance, diagnostics
from reconciler.edge.load.lower import lower_policy
from reconciler.edge.load.reading import Reader
from reconciler.edge.load.records import Records
from reconciler.edge.load.tree import Tree
from reconciler.edge.shares import FORKED, Sorted
from reconciler.errors import SpecErrors

if TYPE_CHECKING:
    from reconciler.edge.load.bulk import Meanwhile, Progress

_NOWHERE = Revision(commit=None, tree="")
WORTHWHILE = 100
"""Files from which looking for machines alike pays."""


class Delta(msgspec.Struct, frozen=True):
    """What a load changed. `desired` holds the whole, whose mappings are live: the next load alters them in place."""

    desired: Desired
    changed: frozenset[Ref]
    """Resources that are new or have another digest."""
    added: frozenset[Ref]
    """Those of them that are new."""
    removed: frozenset[Ref]
    nodes: frozenset[str]
    """Nodes that are new, different or gone."""
    policy: bool
    """The policy, or the datacenter's identity, is another."""
    warnings: tuple[Warning_, ...] = ()


class Loader:
    """Holds the last good tree. `capabilities`: driver name → what it can take; known drivers may be missing.

    A load either succeeds whole or raises SpecErrors and leaves the last good one in force.
    """

    def __init__(
        self,
        capabilities: Mapping[str, Capability] | None = None,
        *,
        bulk_from: int = WORTHWHILE,
        fork_from: int = FORKED,
    ) -> None:
        self._bulk_from, self._fork_from = bulk_from, fork_from
        self._capabilities = capabilities if capabilities is not None else {}
        self._records = Records()
        self._tree: Tree | None = None
        self._locator: Locator | None = None
        """Of the tree in force, once somebody asked where a field comes from."""
        self._revision = _NOWHERE
        self._desired: Desired | None = None
        self.held: Held = NOTHING_HELD
        """What images held before (of the tree that was applied last, say): other contents are a mistake."""
        self.progress: Progress | None = None
        """Told (files done, files in all) while a large tree is loaded for the first time."""
        self.meanwhile: Meanwhile | None = None
        self.sorted: Sorted | None = None
        """The files of the tree that is loaded next, where somebody sorted them already."""

    @property
    def records(self) -> Records:
        """Of the last good tree: read only."""
        return self._records

    def resume(self, records: Records, tree: Tree, revision: Revision) -> None:
        """Go on from a tree that was read by another process."""
        self._records, self._tree, self._revision = records, tree, revision
        self._locator = self._desired = None

    def load(self, tree: Tree, revision: Revision = _NOWHERE, *, told: bool = True) -> Delta:
        """Takes a tree into force. Lists it whole and reads what differs from the last good one. `told`: somebody reads
        the warnings, so those about the names of all files are looked for, too."""
        known = self._listing()
        changes: dict[str, str | None] = {}
        paths = []
        for path, blob in tree.entries():
            paths.append(path)
            if known.pop(path, None) != blob:
                changes[path] = blob
        changes.update(dict.fromkeys(known))
        delta = self.update(tree, changes, revision)
        if not told:
            return delta
        return msgspec.structs.replace(delta, warnings=(*crowded(paths), *twins(paths), *delta.warnings))

    def update(self, tree: Tree, changes: Changes, revision: Revision = _NOWHERE) -> Delta:
        """Takes in changed paths (path → blob id, None where gone), counted from the last good tree.

        Raises SpecErrors with every mistake; then the last good tree stays in force, and the next `changes` are still
        counted from that one.
        """
        attempt = self._judged(tree, changes)
        delta = self._delta(attempt)
        attempt.commit()
        self._tree, self._revision, self._locator = tree, revision, None
        if self._desired is not None:
            same = not delta.policy and not attempt.limits.changed()
            self._desired = msgspec.structs.replace(self._desired, revision=revision) if same else None
        return msgspec.structs.replace(delta, desired=self.desired)

    def glance(self, tree: Tree, changes: Changes) -> Delta:
        """What `update` would change, with nothing taken into force (and no `desired`). Raises as it does."""
        return self._delta(self._judged(tree, changes))

    def _judged(self, tree: Tree, changes: Changes) -> Attempt:
        """The changes laid over the last good tree, found to be without mistakes."""
        if not self._records.files and len(changes) >= self._bulk_from:
            whole = self._in_bulk(tree, self._by_name(changes))
            if whole is not None:
                return whole
        attempt = Attempt(self._records, tree, self._capabilities)
        attempt.held = self.held
        reader = Reader(attempt)
        reader.read_changes(changes)
        while found := dependants(attempt, changes):
            reader.reread(found)
        Judge(attempt, reader).judge()
        if attempt.findings:
            raise SpecErrors(diagnostics(attempt.findings, Locator(_contents(attempt))))
        return attempt

    def _by_name(self, changes: Changes) -> Sorted:
        """Changes that are a whole tree."""
        entries = [(path, blob) for path, blob in changes.items() if blob is not None]
        known, self.sorted = self.sorted, None
        return known if known is not None and known.entries == entries else Sorted(entries)

    def _in_bulk(self, tree: Tree, files: Sorted) -> Attempt | None:
        """The first load of a large tree; None if there seems to be a mistake, which the ordinary way tells."""
        from reconciler.edge.load import bulk  # not needed by who only takes up what was read before

        attempt = Attempt(self._records, tree, self._capabilities)
        attempt.held = self.held
        reader = Reader(attempt)
        with quiet_collector():
            try:
                bulk.Bulk(attempt, reader, self._fork_from, self.progress, self.meanwhile).read(files)
            except bulk.Leave:
                return None
            Judge(attempt, reader).judge()
        return attempt if not attempt.findings and bulk.sound(attempt) else None

    def _listing(self) -> dict[str, str]:
        found = {path: record.blob for path, record in self._records.files.items()}
        found.update(self._records.others)
        return found

    def _delta(self, attempt: Attempt) -> Delta:
        changed, added, removed = set[Ref](), set[Ref](), set[Ref]()
        for ref in attempt.resources.changed():
            new, old = attempt.resources.get(ref), self._records.resources.get(ref)
            if new is None:
                if old is not None:
                    removed.add(ref)
            elif old is None:
                added.add(ref)
            elif old.digest != new.digest:
                changed.add(ref)
        nodes = {name for name in attempt.nodes.changed() if attempt.nodes.get(name) != self._records.nodes.get(name)}
        policy = any(
            attempt.datacenters.get(ref) != self._records.datacenters.get(ref) for ref in attempt.datacenters.changed()
        )
        came = frozenset(added)
        both = came | changed if changed else came  # all that is there is new at first: one set of it
        warnings = tuple(attempt.warnings)
        return Delta(_EMPTY, both, came, frozenset(removed), frozenset(nodes), policy, warnings)

    @property
    def desired(self) -> Desired:
        """What the last good tree wants. Before the first load: nothing, of no datacenter."""
        if self._desired is None:
            self._desired = self._in_force()
        return self._desired

    def _in_force(self) -> Desired:
        records = self._records
        for datacenter in records.datacenters.values():
            return Desired(
                datacenter=datacenter.name,
                datacenter_id=datacenter.spec.id,
                revision=self._revision,
                policy=lower_policy(datacenter.spec, records.limits),
                nodes=records.nodes,
                resources=records.resources,
            )
        return _EMPTY

    @property
    def datacenter(self) -> Declared | None:
        """The Datacenter document of the last good tree."""
        return next(iter(self._records.datacenters.values()), None)

    def entry(self, ref: Ref) -> Declared | None:
        """A declared thing other than a machine (a Package, a Tenant …), with its model."""
        return self._records.entries.get(ref)

    def entries(self, kind: str) -> list[Declared]:
        """All declared things of a kind other than Machine, by ref."""
        return [one for ref, one in sorted(self._records.entries.items()) if one.kind == kind]

    def provenance(self, ref: Ref, path: Path) -> Provenance | None:
        """Where a field of a declared thing comes from; `path` within its spec: `("nics", 0)`. None: no such thing.

        Read again from the text. Raises SourceUnreadable as the tree does.
        """
        declared = self.declared(ref)
        if declared is None or self._tree is None:
            return None
        if self._locator is None:
            self._locator = Locator(_contents(Attempt(self._records, self._tree, self._capabilities)))
        return self._locator.provenance(declared.file, declared.index, (*declared.prefix, *path))

    def declared(self, ref: Ref) -> Declared | None:
        """The document behind a ref, a member of a group too; read again from the text, so also for machines."""
        owner = self._records.owners.get(ref)
        if owner is None or self._tree is None:
            return None
        reading = Reader(Attempt(self._records, self._tree, self._capabilities)).declare_again(owner)
        for declared in reading.declared:
            if declared.ref == ref or ref in (self._records.groups.get(declared.ref) or ()):
                return declared
        return None


_EMPTY = Desired(datacenter="", datacenter_id="", revision=_NOWHERE, policy=Policy(), nodes={}, resources={})


def _contents(attempt: Attempt) -> Callable[[str], bytes | None]:
    """The contents of a file of the tree that the attempt is about."""
    tree = attempt.tree

    def read(path: str) -> bytes | None:
        found = attempt.files.get(path)
        blob = found.blob if found is not None else attempt.others.get(path) or attempt.blobs.get(path)
        return next(iter(tree.read([blob]))) if blob is not None else None

    return read


def crowded(paths: Iterable[str], limit: int = CROWDED) -> tuple[Warning_, ...]:
    """Folders so full that git itself gets slow."""
    counts = Counter([path.rpartition("/")[0] for path in paths])
    fix = "split it into folders of some hundred files"
    return tuple(
        Warning_(folder or ".", f"the folder has {count} files, more than {limit}: every commit rewrites its list", fix)
        for folder, count in sorted(counts.items())
        if count > limit
    )


def twins(paths: Sequence[str]) -> tuple[Warning_, ...]:
    """Files that are one where letter case does not count: in people's clones on macOS and Windows one hides the
    other, and the next commit from there loses it."""
    if len(set(map(str.casefold, paths))) == len(paths):
        return ()
    alike: dict[str, list[str]] = {}
    for path in paths:
        alike.setdefault(path.casefold(), []).append(path)
    return tuple(
        Warning_(path, f"it differs from {first} in letter case alone: some file systems hold only one", "rename one")
        for first, *others in (sorted(each) for _, each in sorted(alike.items()))
        for path in others
    )


def load(tree: Tree, capabilities: Mapping[str, Capability] | None = None, revision: Revision = _NOWHERE) -> Desired:
    """What a tree wants, read once. Raises SpecErrors with every mistake."""
    return Loader(capabilities).load(tree, revision).desired
