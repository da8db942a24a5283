"""The `trueup` command: arguments in, an exit code out.

Owns: dispatch. Kept light: everything heavy is imported by the module of the command that was chosen.
Must not go here: commands, wiring, wording.
"""

from __future__ import annotations

import gc
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable
    from types import ModuleType


_INTERRUPTED = 130
_PATIENCE = 10.0
"""Seconds that the process waits for its threads at its end, for all of them together."""
_YOUNG = 100_000
"""Objects made before the collector looks at them: most of what a command makes stays, or goes by itself. What is left
to do for it takes 2 to 3 ms each time."""


def main(argv: list[str] | None = None) -> int:
    """Run one command. Gives the exit code; never raises but SystemExit from help and wrong arguments."""
    arguments = sys.argv[1:] if argv is None else argv
    try:
        return _run(arguments)
    except BrokenPipeError:
        # Who read our output has gone (`| head`). Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        if argv is None:
            # Threads that still wait for a node are waited for at exit; a second Ctrl-C then just ends the process.
            import signal

            signal.signal(signal.SIGINT, signal.SIG_DFL)
        return _INTERRUPTED
    except Exception as error:
        from reconciler.cli.failures import report

        return int(report(error, arguments, sys.stderr))


def process(run: Callable[[], int] | None = None) -> None:
    """The whole process: `main` (or `run`), and an end without taking everything apart.

    Python's own end visits every module and object, which takes a tenth of a small command's time and mends nothing:
    journal, locks, files and git's processes were closed by who opened them. It is left to Python where somebody
    interrupted. Threads that are left (a handler of people's own that does not come back) have their time, no more.
    """
    gc.set_threshold(_YOUNG, 10, 10)
    code = (run or main)()
    if code == _INTERRUPTED:
        sys.exit(code)
    _wait_for_threads()
    sys.stderr.flush()
    os._exit(code)


def _wait_for_threads() -> None:
    threads = sys.modules.get("threading")
    if threads is None:
        return
    from time import monotonic

    end = monotonic() + _PATIENCE
    for each in threads.enumerate():
        if not (each.daemon or each is threads.main_thread()):
            each.join(max(0.0, end - monotonic()))


_SELDOM = ("textwrap", "locale")
"""What msgspec and subprocess import for what a command hardly ever asks them."""


def _import_lightly(*libraries: str) -> None:
    """msgspec asks typing_extensions, where that is installed, for what typing itself has had since Python 3.11, and it
    takes as long to import as all the rest of msgspec; and uuid, which asks platform for the system's name alone.
    What is seldom needed is imported once it is. Whoever needs more of any of them imports it as ever."""
    system = type(sys)("platform")
    system.system = lambda: os.uname().sysname  # type: ignore[attr-defined]
    instead = {"platform": system, **{name: _later(name) for name in _SELDOM}}
    if not sys.modules.keys().isdisjoint(("typing_extensions", *instead)):
        return
    sys.modules["typing_extensions"] = None  # type: ignore[assignment]  # as if it were not installed
    sys.modules.update(instead)
    try:
        for name in libraries:
            __import__(name)
    finally:
        for name in ("typing_extensions", *instead):
            del sys.modules[name]


def _later(name: str) -> ModuleType:
    """A module that is imported when something in it is asked for."""

    def asked(what: str) -> object:
        from importlib import import_module

        return getattr(import_module(name), what)

    module = type(sys)(name)
    module.__getattr__ = asked  # type: ignore[method-assign]
    return module


_LOOKING = frozenset({"plan", "drift"})
"""Commands that ask git first of all, whatever else they are told: it answers, and a small tree is read, while the rest
is imported."""


def _command(args: Namespace) -> Callable[[Namespace], int]:
    """The function at `module:function`. Importing makes many objects that stay: the collector need not look."""
    from importlib import import_module

    module, _, function = args.run.partition(":")
    gc.disable()
    try:
        _import_lightly("msgspec", *(["subprocess"] if args.command in _LOOKING else []))
        if args.command in _LOOKING:
            from reconciler.cli.running import begin

            begin(args)
            from reconciler.cli.placing import place_ahead

            place_ahead(args)
        found: Callable[[Namespace], int] = getattr(import_module(module), function)
    finally:
        gc.freeze()
        gc.enable()
    return found


_HERE = frozenset({"init", "fmt", "schema", "sim"})
"""Commands that act on the very folder they are called in."""


def _site_above() -> str | None:
    """Called somewhere beneath a `datacenter.yaml`, a command means that site, as git means the whole repository."""
    folder = os.getcwd()
    while not os.path.exists(os.path.join(folder, "datacenter.yaml")):
        above = os.path.dirname(folder)
        if above == folder or os.path.exists(os.path.join(folder, ".git")):
            return None
        folder = above
    return None if folder == os.getcwd() else folder


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        from reconciler.cli.commands import overview

        sys.stdout.write(overview())
        return 0
    from reconciler.cli.ordinary import read

    args = read(arguments)
    if args is None:
        from reconciler.cli.parser import parser

        args = parser(arguments).parse_args(arguments)
    if args.directory is None and args.command not in _HERE:
        args.directory = _site_above()
    code: int = _command(args)(args)
    sys.stdout.flush()
    return int(code)


if __name__ == "__main__":
    process()
