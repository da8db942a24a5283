"""`trueup sim`: make a simulated fleet and let things happen to it.

Owns: arguments, parsing of values, printing. Must not go here: what happens to a fleet (the driver's World), nor an
import of a driver: the fleet is reached through the registry.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

BREAKS = ("unreachable", "partial", "hang", "reimaged", "unclaimed")
FAULTS = (
    *("fail", "slow", "hang-before", "hang-after", "unconfirmed-before", "unconfirmed-after"),
    *("crash-before", "crash-after"),
)
EXAMPLES = """\
examples:
  trueup sim add-node edge1 --memory 64Gi --cpu 16 --carries admin,public
  trueup sim drift acme/web-1 memory=3Gi --by alice
  trueup sim fail --verb start --ref 'Machine/acme/*' --nth 2
  trueup sim break edge1 unreachable --reason 'cable pulled'
  trueup sim generate --machines 1000 --nodes 20 --out ./big
"""

_ON_NODES = ("Machine", "Volume", "Network", "Image", "Tenant")


def add_arguments(parser: ArgumentParser) -> None:
    parser.epilog = EXAMPLES
    parser.add_argument("--fleet", metavar="FILE", default="fleet.db", help="the fleet's file (default: fleet.db)")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)

    def verb(name: str, summary: str) -> ArgumentParser:
        found: ArgumentParser = verbs.add_parser(name, help=summary, description=summary, prog=f"trueup sim {name}")
        return found

    _add_nodes(verb)
    _add_things(verb)
    _add_faults(verb)
    _add_generate(verb("generate", "write a realistic repository and its fleet, converged"))


def _add_nodes(verb: Callable[[str, str], ArgumentParser]) -> None:
    add = verb("add-node", "add a node, or a cluster with members")
    add.add_argument("node", metavar="NAME")
    add.add_argument("--members", metavar="A,B", default="", help="members of a cluster")
    add.add_argument("--memory", metavar="SIZE", default="64Gi")
    add.add_argument("--cpu", metavar="CORES", default="16", type=float)
    add.add_argument("--disk", metavar="SIZE", default="2Ti")
    add.add_argument("--carries", metavar="TAG,TAG", help="nicTags that really exist there (default: the declared)")
    verb("drop-node", "take a node out of the fleet, with all it holds").add_argument("node", metavar="NAME")
    listing = verb("list", "show the fleet, or what a target holds")
    listing.add_argument("target", metavar="TARGET", nargs="?")
    listing.add_argument("--json", action="store_true", help="for programs")
    latency = verb("latency", "make a target slow")
    latency.add_argument("target", metavar="TARGET")
    latency.add_argument(
        "seconds", metavar="VERB=SECONDS", nargs="*", help="`observe`, a verb, or * (none: fast again)"
    )
    broken = verb("break", "break a target")
    broken.add_argument("target", metavar="TARGET")
    broken.add_argument("how", choices=BREAKS)
    broken.add_argument("--reason", default="on cue")
    broken.add_argument("--hide", metavar="NAME", action="append", default=[], help="partial: leave these out")
    verb("repair", "take every break of a target back").add_argument("target", metavar="TARGET")


def _add_things(verb: Callable[[str, str], ArgumentParser]) -> None:
    def thing(name: str, summary: str) -> ArgumentParser:
        found = verb(name, summary)
        found.add_argument("name", metavar="REF", help="a ref, a uid or a native name")
        found.add_argument("--target", metavar="TARGET", help="where (default: wherever it is)")
        return found

    drift = thing("drift", "change fields by hand, behind trueup's back")
    drift.add_argument("changes", metavar="FIELD=VALUE", nargs="+", help="memory=3Gi, nics.app.ip=…; no value: remove")
    drift.add_argument("--by", metavar="WHO", help="the culprit, as the node tells it")
    thing("stop", "stop a machine by hand")
    thing("delete", "delete an object by hand")
    copy = thing("copy", "copy an object with its marks, which do not count on a copy")
    copy.add_argument("native", metavar="NAME")
    unreadable = thing("unreadable", "make a field unreadable, or readable again")
    unreadable.add_argument("field", metavar="FIELD")
    unreadable.add_argument("--over", action="store_true", help="readable again")
    ready = thing("ready", "whether a machine becomes ready")
    ready.add_argument("answer", choices=("yes", "no"))
    stranger = verb("add-unmanaged", "add an object that is not ours")
    stranger.add_argument("target", metavar="TARGET")
    stranger.add_argument("kind", choices=_ON_NODES)
    stranger.add_argument("name", metavar="NAME")
    stranger.add_argument("changes", metavar="FIELD=VALUE", nargs="*")


def _add_faults(verb: Callable[[str, str], ArgumentParser]) -> None:
    fail = verb("fail", "let steps go wrong")
    fail.add_argument("how", choices=FAULTS, nargs="?", default="fail")
    for pattern in ("target", "verb", "ref"):
        dest = "of_verb" if pattern == "verb" else pattern
        fail.add_argument(f"--{pattern}", metavar="PATTERN", default="*", dest=dest)
    fail.add_argument("--nth", metavar="N", type=int, default=1, help="from the n-th matching call on")
    fail.add_argument("--times", metavar="N", type=int, default=1, help="so many times (0: for ever)")
    fail.add_argument("--seconds", metavar="S", type=float, default=0.0, help="slow: how much longer")
    fail.add_argument("--reason", default="the node said no (on cue)")
    verb("faults", "show the faults that are armed")
    verb("disarm", "take faults back").add_argument("number", metavar="N", type=int, nargs="?", help="default: all")
    log = verb("log", "show what the nodes were asked, and what they answered")
    log.add_argument("--last", metavar="N", type=int, default=20)


def _add_generate(parser: ArgumentParser) -> None:
    parser.add_argument("--machines", metavar="N", type=int, default=1000)
    parser.add_argument("--nodes", metavar="M", type=int, default=20)
    parser.add_argument(
        "--out", metavar="DIR", required=True, help="a new folder: the repository, and fleet.db beside it"
    )
    parser.add_argument("--per-file", metavar="K", type=int, default=1, help="machines in one file")
    parser.add_argument("--differing", metavar="SHARE", default="0%", help="machines whose fleet differs from git: 1%%")
    parser.add_argument("--seed", metavar="N", type=int, default=1)


def run(args: Namespace) -> int:
    """Raises UsageError for what the fleet does not have."""
    from reconciler.errors import UsageError

    if args.verb == "generate":
        return _generate(args)
    file = Path(args.directory or ".", args.fleet)
    if args.verb != "add-node" and not file.is_file():
        raise UsageError(
            f"there is no fleet at {file}", hint="trueup sim add-node NAME makes one; --fleet names another"
        )
    with _entry().world(file) as world:
        try:
            return int(_VERBS[args.verb](world, args) or 0)
        except LookupError as error:
            raise UsageError(str(error), hint="trueup sim list shows what there is") from error


def _entry() -> Any:
    from reconciler.edge.registry import Registry

    return Registry().driver("sim")


def _add_node(world: Any, args: Namespace) -> None:
    names = world.add_node(
        args.node,
        members=[member for member in args.members.split(",") if member],
        memory=_size(args.memory),
        cpu=round(args.cpu * 1000),
        disk=_size(args.disk),
        carries=None if args.carries is None else [tag for tag in args.carries.split(",") if tag],
    )
    print(f"{args.fleet} holds {', '.join(names)}")


def _list(world: Any, args: Namespace) -> None:
    from reconciler.cli.terminal import show_json

    if args.target:
        found = world.objects(world.target(args.target).name)
        if args.json:
            show_json([each.object for each in found])
        for each in () if args.json else found:
            thing = each.object
            whose = thing.marks.ref if thing.marks else "unmanaged"
            print(f"{thing.kind:<8} {thing.native_name:<40} {whose:<32} {thing.fields.get('state', thing.lifecycle)}")
        return
    rows = world.targets()
    if args.json:
        show_json(rows)
    for row in () if args.json else rows:
        counts = world.counts(row.name)
        told = ", ".join(f"{count} {kind}" for kind, count in counts.items()) or "empty"
        print(f"{row.name:<24} {row.claim.datacenter if row.claim else 'unclaimed':<38} {told}")


def _latency(world: Any, args: Namespace) -> None:
    pairs = [each.partition("=") for each in args.seconds]
    world.set_latency(args.target, {name: _number(value) for name, _, value in pairs})


def _number(text: str) -> float:
    from reconciler.errors import UsageError

    try:
        return float(text)
    except ValueError:
        raise UsageError(f"{text!r} is not a number of seconds", hint="write VERB=SECONDS, as in start=0.5") from None


def _break(world: Any, args: Namespace) -> None:
    world.break_target(args.target, args.how, reason=args.reason, hide=args.hide)


def _drift(world: Any, args: Namespace) -> None:
    target, name = _named(world, args)
    for path, value in _changes(args.changes).items():
        world.drift(target, name, path, value, by=args.by)


def _thing(method: str) -> Callable[[Any, Namespace], None]:
    def act(world: Any, args: Namespace) -> None:
        getattr(world, method)(*_named(world, args))

    return act


def _copy(world: Any, args: Namespace) -> None:
    world.copy(*_named(world, args), args.native)


def _unreadable(world: Any, args: Namespace) -> None:
    reason = None if args.over else "permission denied (on cue)"
    world.unreadable(*_named(world, args), _path(args.field), reason)


def _ready(world: Any, args: Namespace) -> None:
    world.set_gauges(*_named(world, args), ready=args.answer == "yes")


def _add_unmanaged(world: Any, args: Namespace) -> None:
    from reconciler.core.values import replaced

    fields: dict[str, Any] = {}
    for path, value in _changes(args.changes).items():
        fields = replaced(fields, path, value)
    world.add_unmanaged(args.target, args.kind, args.name, fields)


def _fail(world: Any, args: Namespace) -> None:
    more = {key: getattr(args, key) for key in ("target", "ref", "nth", "times", "seconds", "reason")}
    print(f"fault {world.fail(args.how, verb=args.of_verb, **more)} is armed")


def _faults(world: Any, args: Namespace) -> None:
    for number, fault in world.faults():
        print(
            f"{number:>3}  {fault.how:<18} {fault.verb} {fault.ref} on {fault.target}, call {fault.nth}, {fault.times}x"
        )


def _log(world: Any, args: Namespace) -> None:
    for target, verb, ref, status in world.acts()[-args.last :]:
        print(f"{target:<16} {verb:<12} {ref:<40} {status}")


def _named(world: Any, args: Namespace) -> tuple[str, str]:
    """Target and name; `acme/web-1` is short for `Machine/acme/web-1`."""
    name = args.name
    whole = name if name.split("/")[0] in _ON_NODES else f"Machine/{name}"
    if args.target:
        return args.target, whole if "/" in name else name
    return world.where(whole), whole


def _changes(pairs: list[str]) -> dict[str, Any]:
    return {
        _path(path): _value(value) if sign else None for path, sign, value in (each.partition("=") for each in pairs)
    }


def _path(field: str) -> str:
    return field if field.startswith("/") else "/" + field.replace(".", "/")


def _value(text: str) -> Any:
    """A size as bytes, JSON as it is, anything else as text."""
    import json

    if text[:1].isdigit() and text[-1:] == "i":
        return _size(text)
    try:
        return json.loads(text)
    except ValueError:
        return text


def _size(text: str) -> int:
    from specs.quantities import parse_size

    return int(_parsed(parse_size, text))


def _share(text: str) -> float:
    from specs.quantities import parse_share

    return float(_parsed(parse_share, text))


def _parsed(parse: Callable[[str], Any], text: str) -> Any:
    from reconciler.errors import UsageError
    from specs.values import SpecError

    try:
        return parse(text)
    except SpecError as error:
        raise UsageError(error.summary, hint=error.fix) from error


def _generate(args: Namespace) -> int:
    from reconciler.errors import UsageError

    out = Path(args.directory or ".", args.out)
    if out.exists() and any(out.iterdir()):
        raise UsageError(f"{out} is there already, and not empty", hint="name a new folder")
    numbers = {key: getattr(args, key) for key in ("machines", "nodes", "per_file", "seed")}
    try:
        told = _entry().generate(out, print, differing=_share(args.differing), **numbers)
    except ValueError as error:
        raise UsageError(str(error), hint="see trueup sim generate --help") from error
    except OSError as error:
        raise UsageError(f"{out} could not be written: {error}", hint="look at the disk, and at git") from error
    print(told)
    return 0


_VERBS: dict[str, Callable[[Any, Namespace], int | None]] = {
    "add-node": _add_node,
    "drop-node": lambda world, args: world.drop_node(args.node),
    "list": _list,
    "latency": _latency,
    "break": _break,
    "repair": lambda world, args: world.repair(args.target),
    "drift": _drift,
    "stop": _thing("stop"),
    "delete": _thing("delete"),
    "copy": _copy,
    "unreadable": _unreadable,
    "ready": _ready,
    "add-unmanaged": _add_unmanaged,
    "fail": _fail,
    "faults": _faults,
    "disarm": lambda world, args: world.disarm(args.number),
    "log": _log,
}
