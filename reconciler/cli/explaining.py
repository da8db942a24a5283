"""What `trueup explain` tells of one ref.

Owns: gathering it from a prospect and from provenance. Must not go here: wording of the page (core.render.explain).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from reconciler.cli.selection import existing, full_ref
from reconciler.cli.session import Looking, Prospect
from reconciler.cli.sources import PACKAGED, package_of, place, told
from reconciler.core.compare import wanted_of
from reconciler.core.desired import Resource
from reconciler.core.explain import Where, users, where
from reconciler.core.plan import Hold
from reconciler.core.refs import Ref, Target, Uid, kind_of, node_of, short
from reconciler.core.render import quantities
from reconciler.core.render.explain import Explanation, Origin
from reconciler.core.render.quantities import moment
from reconciler.core.values import flatten, plain, segments
from reconciler.edge.load.lower import dumped

_OF_THE_NODE = frozenset({"tag", "vlan", "mtu", "gateway"})
_OF_THE_DATACENTER = frozenset({"resolvers", "search"})


def explanation(here: Looking, found: Prospect, name: str) -> Explanation:
    """Raises UsageError if neither git nor a node knows the ref."""
    ref = full_ref(name)
    known = found.world.seen(ref) or found.world.ledger.bindings.of(ref)
    if not known:
        declared = [one.ref for one in here.source.loader.entries(kind_of(ref))]
        ref = existing(found.desired, name, declared)
    resource = found.desired.resources.get(ref)
    seen = found.world.seen(ref)
    target = seen[0][0] if seen else None
    if target is None:
        target = next((change.target for change in found.plan.changes if change.ref == ref), None)
    uid = seen[0][1].marks.uid if seen and seen[0][1].marks else Uid("")
    sited = where(found.planner, ref)
    return Explanation(
        ref,
        exists=_exists(found, ref),
        uid=uid,
        target=target or "",
        source=place(here.source, ref, ()),
        fields=_fields(here, found, ref, resource),
        placement=_placement(found, ref, resource, sited) if sited else "",
        rejected={str(target): why for target, why in sorted(sited.rejected.items())} if sited else {},
        possible=sited.possible if sited else (),
        users=users(found.planner, ref),
        changes=tuple(change for change in found.plan.changes if change.ref == ref),
        holds=tuple(hold for hold in found.plan.holds if _concerns(hold, ref, target)),
        outage=found.world.ledger.outages.last.get(uid),
        down_since=found.world.ledger.outages.down_since(
            uid, runs=bool(seen) and seen[0][1].fields.get("state") == "running"
        ),
    )


def _concerns(hold: Hold, ref: Ref, target: Target | None) -> bool:
    """Its own holds, and that its node is paused, where it is not told by one of them already."""
    return hold.ref == ref or (hold.rule == "paused" and target is not None and hold.ref == f"Node/{node_of(target)}")


def _exists(found: Prospect, ref: Ref) -> str:
    """Where and how it is there, in a sentence."""
    kept = kind_of(ref) == "Tenant" and any(node.projects for node in found.desired.nodes.values())
    if kind_of(ref) not in ("Node", "Machine", "Volume", "Network", "Image") and not kept:
        return "it is nothing of its own on a node: others take from it"
    if kind_of(ref) == "Node":
        states = found.world.standings
        problems = [f"{t}: {states[t].problem}" for t in sorted(states) if t == short(ref) and states[t].problem]
        return "; ".join(problems) or "it answers"
    words = []
    for target, thing in found.world.seen(ref):
        until = thing.marks.quarantined_until if thing.marks else None
        state = f"is {thing.fields['state']}" if "state" in thing.fields else "is there"
        words.append(f"is in quarantine on {target} until {moment(until)}" if until else f"{state} on {target}")
    if words:
        return f"it {', '.join(words)}"
    for binding in found.world.ledger.bindings.of(ref):
        why = found.world.unreadable(binding.target)
        return f"it is bound to {binding.target}, " + (f"of which nothing is known: {why}" if why else "and not there")
    return "it is not there yet"


def _placement(found: Prospect, ref: Ref, resource: Resource | None, sited: Where) -> str:
    moves = next((change for change in found.plan.changes if change.ref == ref and change.source is not None), None)
    if moves is not None:
        return f"it lives on {moves.source} and moves to {moves.target}: {moves.reason.sentence}"
    if found.world.binding(ref) is not None and sited.home is not None:
        return f"it lives on {sited.home}, and stays there unless its document or a drain moves it"
    change = next((change for change in found.plan.changes if change.ref == ref), None)
    if change is None:
        return "no place yet"
    node = resource.constraints.node if resource else None
    why = "the document names it" if node else "the least loaded that can take it"
    return f"it would go to {change.target}: {why}"


def _fields(here: Looking, found: Prospect, ref: Ref, resource: Resource | None) -> dict[str, Origin]:
    """What it resolves to: the normal form where it lives or would live, else its spec."""
    declared = here.source.loader.entry(ref)
    if resource is None and declared is not None:
        said = flatten(dumped(declared.spec))
        return {path: Origin(value, "", place(here.source, ref, segments(path))) for path, value in said.items()}
    if resource is None:
        return {}
    package = package_of(here.source, ref) if kind_of(ref) == "Machine" else None
    body, held = plain(resource.body), _form(found, ref)
    form = {path: _origin(here, ref, path, value, package) for path, value in _leaves(held or body)}
    unheld = PACKAGED & body.keys() - held.keys() if held is not None else ()
    for field in (name for name in unheld if body[name] is not None):
        origin = _origin(here, ref, f"/{field}", body[field], package)
        form[f"/{field}"] = Origin(origin.value, f"not held: {_why_not(found, ref, field)}", origin.where)
    return dict(sorted(form.items()))


def _why_not(found: Prospect, ref: Ref, field: str) -> str:
    """Why nothing keeps what a package says there."""
    home = found.world.where(ref)
    said = found.world.standings[home].cannot.get(field) if home in found.world.standings else None
    return said or "its driver has no such cap"


def _leaves(form: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for path, value in sorted(flatten(form).items()):
        if value not in (None, {}, []):
            yield path, value


_TAKEN = {("Network", "/interface"): "of its node", ("Image", "/digest"): "of its source"}
"""What a kind does not write, and takes from elsewhere."""


def _form(found: Prospect, ref: Ref) -> Mapping[str, object] | None:
    """What its target should hold; None where it has no target yet."""
    change = next((change for change in found.plan.changes if change.ref == ref and change.after), None)
    if change is not None:
        return change.after
    resource, world = found.desired.resources[ref], found.world
    bound = [binding for binding in world.ledger.bindings.of(ref) if binding.target in world.targets]
    if not bound or kind_of(ref) not in world.shape_of(bound[0].target).capability.kinds:
        return None
    context = world.context(resource, bound[0].target, bound[0].addresses)
    return wanted_of(resource, world.shape_of(bound[0].target), context)


def _origin(here: Looking, ref: Ref, path: str, value: object, package: Ref | None) -> Origin:
    parts = segments(path)
    if parts[0] == "nics" and len(parts) > 2:
        if parts[2] in ("ip", "mac"):
            index = _nic(here, ref, parts[1])
            where = place(here.source, ref, ("nics", index, parts[2])) if index is not None else ""
            return Origin(value, "written" if where else "allocated", where)
        return Origin(value, "of its network" if parts[2] in _OF_THE_NODE else "", "")
    if path == "/image":
        name = getattr(getattr(here.source.loader.declared(ref), "spec", None), "image", value)
        how, where = told(here.source, ref, ("image",))
        return Origin(f"{name} ({quantities.value(path, value)})", how, where)
    how, where = told(here.source, ref, (parts[0],))
    if not how and (kind_of(ref), path) in _TAKEN:
        return Origin(value, _TAKEN[kind_of(ref), path], "")
    if not how and package is not None and parts[0] in PACKAGED:
        how, where = told(here.source, package, (parts[0],))
        return Origin(value, package if how else f"default of {package}", where)
    if not how and parts[0] in _OF_THE_DATACENTER:
        datacenter = next(iter(here.source.loader.entries("Datacenter")), None)
        how, where = told(here.source, datacenter.ref, ("dns", parts[0])) if datacenter else ("", "")
        if datacenter is not None and how and list(getattr(datacenter.spec.dns, parts[0])) == value:
            return Origin(value, datacenter.ref, where)
        return Origin(value, "default", "")
    return Origin(value, how or "default", where)


def _nic(here: Looking, ref: Ref, network: str) -> int | None:
    """Which entry of `nics` is authored in full for a network."""
    declared = here.source.loader.declared(ref)
    for index, nic in enumerate(getattr(declared.spec, "nics", None) or () if declared else ()):
        if getattr(nic, "network", None) is not None and str(nic.network).rpartition("/")[2] == network:
            return index
    return None
