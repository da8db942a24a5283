"""Ordinary arguments, read without argparse, which takes longer to import and set up than all that they say.

Owns: telling ordinary arguments from others. It may only accept: flags spelt out, each with its value behind it, of a
command that needs no more; what it gives is what argparse would. All else, and every mistake, is argparse's (parser).
Must not go here: which arguments there are (arguments), help, messages.
"""

from __future__ import annotations

from reconciler.cli import arguments as adders
from reconciler.cli.commands import BY_NAME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator, Sequence
    from typing import Any


class Unusual(Exception):
    """Somebody else has to read them."""


class Options:
    """Takes what `arguments` would add to a parser. Raises Unusual for what is more than a flag."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self._flags: dict[str, tuple[str, str, Any, Any, object]] = {}
        """Destination, action, constant, choices, and the group of which only one may be given."""
        self._given: dict[object, str] = {}

    def add_mutually_exclusive_group(self, **more: Any) -> Group:
        if more:
            raise Unusual
        return Group(self)

    def __getattr__(self, _: str) -> Any:
        """Whatever else a parser can do."""
        raise Unusual

    def add_argument(self, *names: str, group: object = None, **more: Any) -> None:
        action, default = more.get("action", "store"), more.get("default")
        if more.get("required") or "type" in more or action not in ("store", "store_true", "store_const", "append"):
            raise Unusual
        if names[0][0] != "-":
            if more.get("nargs") not in ("?", "*"):
                raise Unusual
            self.values.setdefault(names[0], [] if more["nargs"] == "*" else default)
            return
        if "nargs" in more:
            raise Unusual
        place = more.get("dest") or names[-1].lstrip("-").replace("-", "_")
        self.values.setdefault(place, False if action == "store_true" else default)
        for name in names:
            self._flags[name] = (place, action, more.get("const"), more.get("choices"), group)

    def take(self, word: str, rest: Iterator[str]) -> None:
        """A word of the line, with as many of the rest as belong to it."""
        place, action, constant, choices, group = self._flags.get(word) or _unusual()
        if group is not None and self._given.setdefault(group, place) != place:
            raise Unusual
        if action == "store_true":
            self.values[place] = True
        elif action == "store_const":
            self.values[place] = constant
        else:
            value = next(rest, "-")
            if value[:1] == "-" or (choices is not None and value not in choices):
                raise Unusual
            self.values[place] = [*self.values[place], value] if action == "append" else value


class Group:
    """Arguments of which one may be given."""

    def __init__(self, options: Options) -> None:
        self._options = options

    def add_argument(self, *names: str, **more: Any) -> None:
        self._options.add_argument(*names, group=self, **more)


class Everywhere(Options):
    """Options that may stand before the command or after it."""

    def __init__(self) -> None:
        super().__init__()
        self.add_argument("-C", dest="directory")
        self.add_argument("--state")
        self.add_argument("--no-color", action="store_true")
        del self.values["no_color"]  # it is there only if it is given


def read(arguments: Sequence[str]) -> Namespace | None:
    """What they say, or None where argparse has to tell."""
    from types import SimpleNamespace

    words, everywhere = iter(arguments), Everywhere()
    try:
        for word in words:
            if word[:1] != "-":
                break
            everywhere.take(word, words)
        else:
            return None
        command, own = BY_NAME.get(word) or _unusual(), Options()
        getattr(adders, f"add_{command.name}")(own)
        for word in words:
            (everywhere if word in ("-C", "--state", "--no-color") else own).take(word, words)
    except Unusual:
        return None
    said: Any = SimpleNamespace(command=command.name, run=command.run, **everywhere.values, **own.values)
    found: Namespace = said
    return found


def _unusual() -> Any:
    raise Unusual
