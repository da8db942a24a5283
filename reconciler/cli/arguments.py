"""The arguments of each command, as functions that add them to a parser.

Owns: options, their metavars and one-line helps. Must not go here: imports of anything heavy, behaviour.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser


def _formats(parser: ArgumentParser) -> None:
    parser.add_argument("--format", choices=("text", "json"), default="text", help="json is for programs, and complete")
    parser.add_argument("--json", dest="format", action="store_const", const="json", help="the same as --format json")


def _detailed(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--detailed-exitcode", action="store_true", help="end with 2 if there are changes, with 0 if there are none"
    )


def _scope(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--only", action="append", metavar="REF|TAG", default=[], help="these only: a ref, or a tag as key=value"
    )


def _revision(parser: ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--revision", metavar="REV", help="a commit, branch or tag (default: the checked-out branch)")
    which.add_argument(
        "--dirty", action="store_true", help="the files as they lie there, uncommitted: can be planned, never applied"
    )


def _reason(parser: ArgumentParser) -> None:
    parser.add_argument("--reason", metavar="TEXT", default="", help="why, for those who read the journal")


def _ref(parser: ArgumentParser, *, many: bool = False, optional: bool = False) -> None:
    nargs = ("*" if optional else "+") if many else ("?" if optional else None)
    helps = "Kind/tenant/name; Machine/ may be left out"
    if nargs is None:
        parser.add_argument("ref", metavar="REF", help=helps)
    else:
        parser.add_argument("refs" if many else "ref", metavar="REF", nargs=nargs, help=helps)


def _yes(parser: ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="do not ask")


def add_plan(parser: ArgumentParser) -> None:
    _revision(parser)
    parser.add_argument("--out", metavar="FILE", help="keep the plan in FILE, to apply exactly that")
    _formats(parser)
    parser.add_argument("--expand", action="store_true", help="tell every change, fold nothing")
    _scope(parser)
    _detailed(parser)
    parser.add_argument("--observation", metavar="FILE", help="what `trueup observe` wrote; no node is asked")


def add_apply(parser: ArgumentParser) -> None:
    parser.add_argument("plan", nargs="?", metavar="FILE|DIGEST", help="a kept plan (default: plan anew, and ask)")
    _revision(parser)
    _scope(parser)
    _yes(parser)
    parser.add_argument(
        "--break-glass", action="store_true", help="a commit that is not merged, once no loop runs; takes --reason"
    )
    _reason(parser)
    parser.add_argument("--expand", action="store_true", help="tell every change, fold nothing")
    _formats(parser)


def add_drift(parser: ArgumentParser) -> None:
    _ref(parser, many=True, optional=True)
    _formats(parser)
    _detailed(parser)
    parser.add_argument("--expand", action="store_true", help="tell every difference, fold nothing")


def add_heal(parser: ArgumentParser) -> None:
    _ref(parser, many=True, optional=True)
    parser.add_argument("--all", action="store_true", help="all that drifted")
    _yes(parser)
    _formats(parser)


def add_explain(parser: ArgumentParser) -> None:
    _ref(parser)
    _formats(parser)


def add_status(parser: ArgumentParser) -> None:
    _formats(parser)


def add_get(parser: ArgumentParser) -> None:
    parser.add_argument("kind", metavar="KIND", help="machine, network, image, node, package, tenant, … or a REF")
    parser.add_argument("--unmanaged", action="store_true", help="what bears no mark of ours: listed, never touched")
    _formats(parser)


def add_observe(parser: ArgumentParser) -> None:
    parser.add_argument("--out", metavar="FILE", required=True, help="where to write the observation")


def add_pause(parser: ArgumentParser) -> None:
    parser.add_argument("subject", metavar="REF|NODE", help="a thing, or Node/name")
    parser.add_argument("--for", dest="length", metavar="TIME", required=True, help="for how long: 30m, 2h, 7d")
    parser.add_argument("--reason", metavar="TEXT", required=True, help="why; every plan shows it until it ends")


def add_resume(parser: ArgumentParser) -> None:
    parser.add_argument(
        "subject", metavar="REF|NODE", help="what was paused, or is on hold after undo, restore or break-glass"
    )


def add_forget(parser: ArgumentParser) -> None:
    parser.add_argument("ref", metavar="REF", help="what is to be left alone for good, or Node/name")
    _yes(parser)


def add_undo(parser: ArgumentParser) -> None:
    _told_only(parser)
    _yes(parser)


def add_restore(parser: ArgumentParser) -> None:
    _ref(parser)
    _told_only(parser)
    _yes(parser)


def _told_only(parser: ArgumentParser) -> None:
    told = "make no commit, only tell it; what it is about is on hold until there is one"
    parser.add_argument("--print", dest="print_only", action="store_true", help=told)


def add_pin(parser: ArgumentParser) -> None:
    _ref(parser, many=True)
    parser.add_argument("--node", action="store_true", help="the node only")
    parser.add_argument("--addresses", action="store_true", help="the addresses only")
    parser.add_argument("--print", dest="print_only", action="store_true", help="only tell what would be written")


def add_adopt(parser: ArgumentParser) -> None:
    parser.add_argument("node", metavar="NODE", help="whose objects are taken over")
    parser.add_argument("--tenant", metavar="NAME", help="whose the machines will be; needed to write documents")
    parser.add_argument("--print", dest="print_only", action="store_true", help="only show the documents")
    _formats(parser)


def add_accept(parser: ArgumentParser) -> None:
    parser.add_argument("revision", metavar="REVISION", nargs="?", help="the commit whose deletions you vouch for")
    parser.add_argument("--clock", action="store_true", help="vouch for the clock: so much time has passed as it says")
    _reason(parser)


def add_journal(parser: ArgumentParser) -> None:
    parser.add_argument("what", choices=("verify", "rebuild", "show"), help="what to do with it")
    parser.add_argument("--last", type=_count, default=20, metavar="N", help="show: how many entries")
    _yes(parser)
    _formats(parser)


def _count(text: str) -> int:
    if not text.isdigit():
        from argparse import ArgumentTypeError

        raise ArgumentTypeError(f"{text!r} is no count: write a whole number")
    return int(text)


def add_exec(parser: ArgumentParser) -> None:
    _ref(parser)
    parser.add_argument("argv", nargs="+", metavar="COMMAND", help="the command and its arguments, after --")


def add_console(parser: ArgumentParser) -> None:
    _ref(parser)


def add_logs(parser: ArgumentParser) -> None:
    _ref(parser)
    parser.add_argument("-n", "--lines", type=_count, default=100, metavar="N", help="how many of the last lines")


def add_run(parser: ArgumentParser) -> None:
    parser.add_argument("--once", action="store_true", help="one cycle, then end: for cron")
    parser.add_argument("--interval", metavar="TIME", default=None, help="look at git and the nodes this often: 60s")
    parser.add_argument(
        "--handlers", action="append", metavar="FILE", default=[], help="Python of your own to call for what happens"
    )


def add_converge(parser: ArgumentParser) -> None:
    _reason(parser)


def add_completion(parser: ArgumentParser) -> None:
    choices = ("bash", "zsh", "fish", "refs")
    parser.add_argument("shell", choices=choices, help="your shell; `refs` is what its script asks when a ref is due")
    parser.add_argument("begun", nargs="?", default="", metavar="BEGUN", help="refs: what was typed so far")


def add_init(parser: ArgumentParser) -> None:
    _borrowed(parser, "init")


def add_validate(parser: ArgumentParser) -> None:
    _borrowed(parser, "validate")


def add_fmt(parser: ArgumentParser) -> None:
    _borrowed(parser, "fmt")


def add_schema(parser: ArgumentParser) -> None:
    _borrowed(parser, "schema")


def add_sim(parser: ArgumentParser) -> None:
    from reconciler.cli.sim import add_arguments

    add_arguments(parser)


def _borrowed(parser: ArgumentParser, command: str) -> None:
    from reconciler.cli.authoring import add_arguments

    add_arguments(parser, command)
