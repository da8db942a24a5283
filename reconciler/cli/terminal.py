"""The person's terminal: colour or not, questions, lines of progress.

Owns: what depends on being a terminal. Must not go here: wording of plans (core.render).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from reconciler.errors import UsageError

if TYPE_CHECKING:
    from argparse import Namespace

    from reconciler.cli.progress import Counting


def colourful(args: Namespace, stream: TextIO) -> bool:
    """Whether this stream wants colours: a terminal that can, and nobody who said no (NO_COLOR, --no-color)."""
    if getattr(args, "no_color", False) or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


def show(text: str, args: Namespace, stream: TextIO | None = None) -> None:
    """Print a rendered text, coloured where that is wanted."""
    stream = stream or sys.stdout
    if colourful(args, stream):
        from reconciler.core.render.colour import coloured

        text = coloured(text)
    stream.write(text)
    stream.flush()


def say(line: str) -> None:
    """A remark beside the output: what programs read from stdout stays clean."""
    from reconciler.core.render.quantities import clean

    sys.stdout.flush()  # what was printed before comes first, where both go to one place
    print(clean(line), file=sys.stderr, flush=True)


def show_json(value: object) -> None:
    """The value as indented JSON with sorted keys."""
    import msgspec

    data = msgspec.json.format(msgspec.json.encode(value, order="sorted"), indent=1)
    sys.stdout.buffer.write(data + b"\n")
    sys.stdout.buffer.flush()


def confirmed(question: str, *, yes: bool) -> bool:
    """Ask; only `yes` is a yes. Raises UsageError where there is nobody to ask."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise UsageError("there is nobody to ask: this is no terminal", hint="say --yes if you mean it")
    return _answer(f"{question} Only `yes` is taken for a yes: ") == "yes"


def _answer(question: str) -> str:
    """A line from the terminal; Ctrl-C is no answer, from the moment on that the question can be read. Waiting for it
    blocks the event loop, whose own handler would only take note of the signal and go on waiting."""
    import signal

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        sys.stderr.write(question)
        sys.stderr.flush()
        return sys.stdin.readline().strip()
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        return ""
    finally:
        signal.signal(signal.SIGINT, before)


def written(path: Path, data: bytes) -> None:
    """Write a file whole or not at all. Raises UsageError."""
    import tempfile

    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error


def moving() -> Counting:
    """A line on stderr that moves while nodes are asked; silent where there is no terminal."""
    from reconciler.cli.progress import Counting

    return Counting(sys.stderr, live=sys.stderr.isatty() and os.environ.get("TERM") != "dumb")
