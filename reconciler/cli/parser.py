"""From the table of commands to an argparse parser, building no more of it than one run needs.

Owns: how help looks, options that every command has, suggestions for what was mistyped.
Must not go here: what commands there are (commands) and their arguments (arguments).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any, NoReturn

from reconciler.cli import arguments as adders
from reconciler.cli.commands import BY_NAME, COMMANDS, Command

_VALUED = ("-C", "--state")
_UNSEEN = partial(argparse.HelpFormatter, width=80)
"""argparse makes one for each argument, to see that it could be shown. Without a width it imports what asks the
terminal."""


class Parser(argparse.ArgumentParser):
    """Usage errors end with 1, like every other error: 2 means "there are changes"."""

    def error(self, message: str) -> NoReturn:
        print(f"Error: {message}\n  See: {self.prog} --help", file=sys.stderr)
        raise SystemExit(1)

    def format_help(self) -> str:
        from textwrap import fill

        self.formatter_class = argparse.RawDescriptionHelpFormatter
        self.description = fill(self.description or "", 79)
        return super().format_help()


def parser(arguments: Sequence[str] | None = None) -> Parser:
    """A parser for these arguments: only the command that they name is built. None: all of them."""
    name = command_name(arguments) if arguments is not None else None
    top = Parser(prog="trueup", allow_abbrev=False, usage="trueup [-C DIR] COMMAND …", formatter_class=_UNSEEN)
    version = "show the version and exit"
    top.add_argument("--version", action=_Version, default=argparse.SUPPRESS, help=version)
    _everywhere(top, default=None)
    if name is not None and name not in BY_NAME:
        top.error(_unknown(name))
    commands = top.add_subparsers(prog="trueup", dest="command", metavar="COMMAND", required=True, parser_class=Parser)
    for command in [BY_NAME[name]] if name else COMMANDS if arguments is None else ():
        _add(commands, command)
    return top


def _add(commands: Any, command: Command) -> None:
    found: Parser = commands.add_parser(
        command.name,
        help=command.summary,
        description=command.paragraph,
        epilog=_examples(command.examples),
        formatter_class=_UNSEEN,
        prog=f"trueup {command.name}",
        allow_abbrev=False,
    )
    found.set_defaults(run=command.run)
    getattr(adders, f"add_{command.name}")(found)
    _everywhere(found, default=argparse.SUPPRESS)


def _examples(lines: Sequence[str]) -> str:
    return "\n".join(["examples:", *(f"  {line}" for line in lines)]) if lines else ""


def _everywhere(found: Parser, default: Any) -> None:
    """Options that may stand before the command or after it."""
    found.add_argument("-C", dest="directory", metavar="DIR", default=default, help="act on the repository in DIR")
    found.add_argument(
        "--state", metavar="DIR", default=default, help="the controller's state folder (journal, lock, plans)"
    )
    found.add_argument(
        "--no-color", action="store_true", default=default or argparse.SUPPRESS, help="no colours, as NO_COLOR asks"
    )


def command_name(arguments: Sequence[str]) -> str | None:
    """The first argument that is neither an option nor an option's value."""
    rest = iter(arguments)
    for argument in rest:
        if argument in _VALUED:
            next(rest, None)
        elif not argument.startswith("-"):
            return argument
    return None


def _unknown(name: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, BY_NAME, n=1)
    return f"there is no command {name!r}" + (f"; did you mean {near[0]!r}?" if near else "")


class _Version(argparse.Action):
    def __init__(self, **more: Any) -> None:
        super().__init__(nargs=0, **more)

    def __call__(self, *_: Any) -> NoReturn:
        from reconciler.cli.version import version

        print(f"trueup {version()}")
        raise SystemExit(0)
