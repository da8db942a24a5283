"""What a person sees when a command fails: one clear message, never a traceback.

Owns: printing errors and writing crash reports. Must not go here: translating foreign errors (done at each seam).
"""

from __future__ import annotations

import os
import sys
from typing import TextIO

from reconciler.cli.exits import Exit


def report(error: Exception, argv: list[str], stream: TextIO) -> Exit:
    """Print the error, and give the exit code that it asks for."""
    if (
        isinstance(error, BaseExceptionGroup)
        and len(error.exceptions) == 1
        and isinstance(error.exceptions[0], Exception)
    ):
        return report(error.exceptions[0], argv, stream)
    message = getattr(error, "message", None)
    if message is None:
        return _crashed(error, argv, stream)
    print(f"Error: {_clean(message)}", file=stream)
    hint = getattr(error, "hint", "")
    if hint:
        print("\n".join(f"  {line}" for line in _clean(hint).split("\n")), file=stream)
    return Exit(getattr(error, "exit_code", Exit.ERROR))


def _clean(text: str) -> str:
    from reconciler.core.render.quantities import clean

    return "\n".join(clean(line) for line in text.split("\n"))


def _crashed(error: Exception, argv: list[str], stream: TextIO) -> Exit:
    """A fault of ours: one line, and where the details went. Arguments are kept, values of variables are not."""
    where = _written(error, argv)
    told = f"The details are in {where}; please send that file with your report." if where else ""
    print(f"Error: trueup failed in a way it should not: {type(error).__name__}.", file=stream)
    print(f"  {told or 'The details could not be written anywhere.'}", file=stream)
    return Exit.ERROR


def _written(error: Exception, argv: list[str]) -> str | None:
    import tempfile
    import traceback

    from reconciler.cli.version import version

    text = (
        f"trueup {version()}, Python {sys.version.split()[0]}, {sys.platform}\narguments: {argv}\n\n"
        f"{''.join(traceback.format_exception(error))}"
    )
    for folder in (os.environ.get("TRUEUP_STATE"), None):
        try:
            descriptor, path = tempfile.mkstemp(prefix="trueup-crash-", suffix=".txt", dir=folder)
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as file:
                file.write(text)
        except OSError:
            continue
        return path
    return None
