"""From documents read to Resources and mistakes.

Owns: the order in which things are lowered and checked, names and addresses wanted by two.
Must not go here: what any one rule says (checks.py, machine.py, nics.py).
"""

from __future__ import annotations

import msgspec

from reconciler.core.refs import Ref, kind_of, make_ref, short
from reconciler.edge.load import checks, document, stream
from reconciler.edge.load.attempt import Attempt, Unit, names_of
from reconciler.edge.load.catalog import Catalog
from reconciler.edge.load.document import Declared
from reconciler.edge.load.findings import CERTAIN, Finding
from reconciler.edge.load.firewall import firewalled
from reconciler.edge.load.forwards import check_receivers
from reconciler.edge.load.images import check_images
from reconciler.edge.load.lower import Lowered
from reconciler.edge.load.machine import lower_machine
from reconciler.edge.load.reading import Reader, value_of
from reconciler.edge.load.records import Document
from reconciler.edge.load.tenancy import with_networks


class Judge:
    def __init__(self, attempt: Attempt, reader: Reader) -> None:
        self.attempt = attempt
        self.reader = reader
        self.catalog = Catalog(
            attempt.entries,
            members=attempt.members,
            poisoned=attempt.poisoned,
            broken=attempt.broken,
            capabilities=attempt.capabilities,
        )
        self._read = {declared.kind for unit in attempt.units.values() for declared in unit.reading.declared}
        """Kinds of what this attempt read."""
        self.contested = self._contested()
        if attempt.of_machines_alone:
            self.catalog.frames = attempt.records.frames
        self.catalog.drivers = [name for name, count in attempt.drivers.items() if count]

    def judge(self) -> None:
        for ref, ordered in self.contested.items():
            if ordered[0].ref == ref:
                self.attempt.prefer(ordered[0])
        self.settle_datacenter()
        for unit in self.attempt.units.values():
            for declared in unit.reading.declared:
                self._one(unit, declared)
        self._settle()
        self._foreign_files()
        if self.attempt.held.images:
            self.attempt.findings += check_images(self._all("Image", "digest", "source"), self.attempt.held)
        self._names()
        self._claims()
        self._whole()

    def settle_datacenter(self) -> None:
        known = self.attempt.records.datacenters
        if len(known) == 1 and not self.attempt.datacenters.over and not self.attempt.dubious:
            [self.catalog.datacenter] = [one.spec for one in known.values()]  # as in the last good tree
            return
        dubious = [one for one in self.attempt.dubious if one.kind == "Datacenter"]
        found = sorted([one for _, one in self.attempt.datacenters.items()] + dubious, key=checks.place)
        if found and not found[0].dubious:
            self.catalog.datacenter = found[0].spec
        for extra in found[1:]:
            summary = f"there is a second Datacenter; {found[0].name} is in {found[0].file}"
            self.attempt.findings.append(
                Finding(extra.file, extra.index, ("kind",), summary, "a tree has exactly one", ref=extra.known_as)
            )
        if (
            not found
            and not self.catalog.mentioned("Datacenter")
            and not any(ref.startswith("Datacenter/") for ref in self.attempt.poisoned)
        ):
            self.attempt.findings.append(
                Finding(
                    "datacenter.yaml",
                    0,
                    (),
                    "there is no Datacenter in the tree",
                    "trueup init writes one",
                    line=1,
                    column=1,
                )
            )

    def _one(self, unit: Unit, declared: Declared) -> None:
        made = self.lowered(declared)
        self.attempt.findings += checks.check_tenant(declared, self.catalog)
        if declared.doubt is not CERTAIN or declared.nameless:
            made = _without_consequences(declared, made)
        self.attempt.findings += made.findings
        unit.lowered.resources += made.resources
        unit.lowered.uses |= made.uses
        unit.lowered.claims += made.claims

    def lowered(self, declared: Declared) -> Lowered:
        if declared.kind == "Machine":
            made = lower_machine(declared, self.catalog, self._file)
        else:
            made = checks.lower_thing(declared, self.catalog)
        checks.check_rename(declared, self.catalog, made)
        return made

    def _file(self, path: str) -> str | None:
        blob = self.attempt.others.get(path)
        if blob is None:
            found = self.attempt.files.get(path)
            blob = found.blob if found else None
        if blob is None:
            return None
        return next(self.attempt.tree.read([blob])).decode(errors="replace")

    def _foreign_files(self) -> None:
        """A YAML file without an envelope is fine exactly where a document names it as its file."""
        gone = {key for one in self.attempt.retired for key in one.uses if key.startswith("file:")}
        if not gone and not any([unit.reading.unenveloped for unit in self.attempt.units.values()]):
            return
        named = {key for key in self.attempt.users.fresh() if key.startswith("file:")}
        for unit in self.attempt.units.values():
            key = f"file:{unit.document.file}"
            if (
                unit.reading.unenveloped
                and key not in named
                and not self.attempt.users.still(key, self.attempt.retired)
            ):
                self.attempt.findings += unit.reading.findings
        # and one that no document names any more must not lie there unnoticed
        for key in sorted(gone - named):
            self._abandoned(key.removeprefix("file:"))

    def _abandoned(self, path: str) -> None:
        key = f"file:{path}"
        found = self.attempt.files.get(path)
        if found is None or self.attempt.users.still(key, self.attempt.retired):
            return
        if any(one.refs or one in self.attempt.units for one in found.documents):
            return
        data = next(self.attempt.tree.read([found.blob]))
        for index, chunk in enumerate(stream.cut(path, data)[0]):
            value, slow = value_of(path, index, chunk)
            doubt = CERTAIN
            if slow is not None:
                self.attempt.findings += slow.findings
                doubt = slow.doubt
            self.attempt.findings += document.declare(path, index, value, lambda _: document.NOTHING, doubt).findings

    def _settle(self) -> None:
        """Writes what each document takes into its record."""
        for one, unit in self.attempt.units.items():
            one.refs = tuple(dict.fromkeys(ref for made in unit.reading.declared for ref in names_of(made)))
            one.uses = shared_uses(tuple(sorted(unit.lowered.uses)))
            one.claims = tuple(key for key, _ in unit.lowered.claims)
            self.attempt.users.add(one)
            for made in unit.lowered.resources:
                if self.attempt.resources.get(made.ref) is None:
                    self.attempt.keep(made)

    # -- what two documents want -------------------------------------------------------------------------------------

    def _names(self) -> None:
        for ref, ordered in self.contested.items():
            for other in ordered[1:]:
                self.attempt.findings.append(_name_taken(ref, ordered[0], other))
        for declared in self._changed("Network", "NetworkPool"):
            twin = self.attempt.entries.get(Ref(f"{_OTHER[declared.kind]}/{short(declared.ref)}"))
            if twin is not None:
                first, second = sorted((declared, twin), key=checks.place)
                summary = f"{short(second.ref)} is also a {first.kind} ({first.file}), and both are named alike in nics"
                self.attempt.findings.append(second.finding((), summary, "rename one of them"))

    def _contested(self) -> dict[Ref, list[Declared]]:
        """Names that several documents take, each with those who do, the first in the tree first."""
        wanting: dict[Ref, list[Declared]] = {}
        for unit in self.attempt.units.values():
            for declared in unit.reading.declared:
                for ref in names_of(declared):
                    wanting.setdefault(ref, []).append(declared)
        contested = {}
        for ref, found in wanting.items():
            owner = self.attempt.records.owners.get(ref)
            if owner is not None and owner not in self.attempt.retired:
                found = [*(one for one in self.reader.declare_again(owner).declared if ref in names_of(one)), *found]
            if len(found) > 1:
                contested[ref] = sorted(found, key=checks.place)
        return contested

    def _claims(self) -> None:
        wanted: dict[str, list[Finding]] = {}
        for one, unit in self.attempt.units.items():
            for key, finding in unit.lowered.claims:
                wanted.setdefault(key, []).append(finding)
                if self.attempt.claims.get(key) is None:
                    self.attempt.claims[key] = one
        for key, findings in wanted.items():
            owner = self.attempt.records.claims.get(key)
            if owner is not None and owner not in self.attempt.retired:
                findings = [*self._claims_again(owner, key), *findings]
            ordered = sorted(findings, key=lambda one: (one.file, one.index, one.ref, str(one.path)))
            for other in ordered[1:]:
                by = short(ordered[0].ref) if ordered[0].ref else ordered[0].file
                summary = f"{other.summary} by {by}"
                self.attempt.findings.append(msgspec.structs.replace(other, summary=summary))

    def _claims_again(self, owner: Document, key: str) -> list[Finding]:
        found = [claim for one in self.reader.declare_again(owner).declared for claim in self.lowered(one).claims]
        return [finding for mine, finding in found if mine == key]

    # -- rules over many ---------------------------------------------------------------------------------------------

    def _changed(self, *kinds: str) -> list[Declared]:
        """Things of these kinds that this attempt read."""
        if self._read.isdisjoint(kinds):
            return []
        return [one for unit in self.attempt.units.values() for one in unit.reading.declared if one.kind in kinds]

    def _all(self, kind: str, *fields: str) -> list[Declared]:
        """Everything of a kind whose fields are known, though others of it may be wrong."""
        found = [one for _, one in self.attempt.entries.items() if one.kind == kind]
        found += [one for one in self.attempt.dubious if one.kind == kind]
        return sorted((one for one in found if one.sure(*fields)), key=checks.place)

    def _whole(self) -> None:
        attempt = self.attempt
        if (
            self._read <= _MACHINES
            and attempt.of_machines_alone
            and not (attempt.taken_from.base or attempt.rules.base)
        ):
            self._limits()  # what the others judge is as it was
            return
        if self._changed("Network"):
            attempt.findings += checks.check_overlaps(self._all("Network", "nicTag", "vlan", "subnet"))
        for network in self._changed("Network"):
            attempt.findings += check_receivers(network, attempt.resources)
        if any(one.spec.origin for one in self._changed("Image")) or any(attempt.taken_from.items()):
            attempt.findings += checks.check_cycles(
                self._all("Image", "origin", "source"), self.catalog, self._images_of
            )
        nodes = [one for one in attempt.dubious if one.kind == "Node"]
        if nodes or attempt.capacities.changed():
            packages = self._all("Package", "memory", "disk")
        else:
            packages = [one for one in self._changed("Package") if one.sure("memory", "disk")]
        capacities = [has for has, count in attempt.capacities.items() if count]
        capacities += [checks.capacity(one) for one in nodes if one.sure()]
        attempt.findings += checks.check_packages(packages, capacities)
        self._limits()
        self._abandoned_tenants()
        self._firewall()
        self._projects()

    def _projects(self) -> None:
        """Which networks a tenant may use is told to nodes that keep projects, and only where there are any."""
        attempt = self.attempt
        there, before = attempt.projects.get("nodes"), attempt.records.projects.get("nodes")
        gone = any(kind_of(ref) == "Network" for one in attempt.retired for ref in one.refs)
        same = bool(there) == bool(before) and not gone and not self._changed("Network", "Tenant")
        if same or not (there or before):
            return
        tenants = [made for ref, made in attempt.resources.items() if kind_of(ref) == "Tenant"]
        for ref, made in with_networks(tenants, self._all("Network", "tenants") if there else None).items():
            known = attempt.resources.get(ref)
            if known is None or known.digest != made.digest:
                attempt.resources[ref] = made

    def _firewall(self) -> None:
        """Rules are laid on networks once everything is lowered: they choose machines by what these came to."""
        attempt = self.attempt
        gone = any(kind_of(ref) == "FirewallRule" for one in attempt.retired for ref in one.refs)
        if not gone and not any(attempt.rules.items()):
            return
        rules = self._all("FirewallRule", "from", "to", "allow")
        networks = firewalled(rules, attempt.resources.items(), self.catalog, attempt.findings, attempt.warnings)
        for ref, made in networks.items():
            known = attempt.resources.get(ref)
            if known is None or known.digest != made.digest:
                attempt.resources[ref] = made

    def _images_of(self, machine: Ref) -> list[Ref]:
        found = [self.attempt.resources.get(one) for one in self.attempt.members(machine) or ()]
        return [ref for one in found if one is not None for ref in one.references if kind_of(ref) == "Image"]

    def _limits(self) -> None:
        names = {name for name in self.attempt.totals.changed() if name}
        names |= {one.name for one in self._changed("Tenant")}
        for name in sorted(names):
            tenant = self.attempt.entries.get(make_ref("Tenant", name))
            total = self.attempt.totals.get(name)
            if tenant is not None and total is not None:
                self.attempt.findings += checks.check_limits(tenant, total)

    def _abandoned_tenants(self) -> None:
        """A tenant that went while things of it stay: each of them is told."""
        gone = [ref for one in self.attempt.retired for ref in one.refs if kind_of(ref) == "Tenant"]
        for ref in gone:
            name = short(ref)
            total = self.attempt.totals.get(name)
            if self.attempt.entries.get(ref) is not None or total is None or total.things == 0:
                continue
            stay = {owner for one, owner in self.attempt.records.owners.items() if f"/{name}/" in one}
            for owner in stay - set(self.attempt.retired):
                for declared in self.reader.declare_again(owner).declared:
                    self.attempt.findings += checks.check_tenant(declared, self.catalog)


def _without_consequences(declared: Declared, made: Lowered) -> Lowered:
    """What is left of it once that is gone which only follows from what is in doubt."""
    doubt, begin = declared.doubt, len(declared.prefix)

    def follows(found: Finding) -> bool:
        return found.path[:begin] == declared.prefix and doubt.covers(found.path[begin:])

    counted = not declared.nameless and declared.sure("replicas", "package", "disks", "each")
    return Lowered(
        resources=made.resources if counted else [],
        uses=made.uses,
        findings=[one for one in made.findings if not follows(one)],
        claims=[(key, one) for key, one in made.claims if not follows(one)],
    )


_MACHINES = frozenset({"Machine"})
_OTHER = {"Network": "NetworkPool", "NetworkPool": "Network"}
_USES: dict[tuple[str, ...], tuple[str, ...]] = {}


def shared_uses(uses: tuple[str, ...]) -> tuple[str, ...]:
    """Machines of a kind use the same things: one tuple for all of them."""
    if len(_USES) > 100_000:
        _USES.clear()
    return _USES.setdefault(uses, uses)


def _name_taken(ref: Ref, first: Declared, second: Declared) -> Finding:
    where = f"{first.file}"
    if first.ref != ref or second.ref != ref:
        group = first if first.ref != ref else second
        summary = f"{short(ref)} is a replica of {short(group.ref)} as well"
        if first.ref == ref or second.ref == ref:
            return _at_name(second, f"{summary} ({where})", "rename one of them")
    return _at_name(second, f"{ref} is declared already, in {where}", "rename one of them, or remove it")


def _at_name(declared: Declared, summary: str, fix: str) -> Finding:
    file, index, ref = declared.file, declared.index, declared.ref
    if declared.prefix == ("spec",):
        return Finding(file, index, ("metadata", "name"), summary, fix, ref=ref)
    return Finding(file, index, declared.prefix, summary, fix, "key", ref)
