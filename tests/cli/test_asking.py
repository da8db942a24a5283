"""What `trueup apply` does with an answer at a real terminal."""

from __future__ import annotations

import os
import pty
import sys
from pathlib import Path

import pytest

from reconciler.cli.exits import Exit

from .conftest import Run

QUESTION = b"is taken for a yes: "


def answered(folder: Path, answer: bytes) -> tuple[int, bytes]:
    """Exit code and all that was said, where a person answers so."""
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(folder)
        os.environ["PYTHONPATH"] = str(Path(__file__).parents[2])
        os.execv(sys.executable, [sys.executable, "-m", "reconciler.cli", "apply"])
    said, asked = b"", False
    while True:
        try:
            said += os.read(terminal, 4096)
        except OSError:  # the other end is closed
            break
        if not asked and said.endswith(QUESTION):
            asked = True
            os.write(terminal, answer)
    os.close(terminal)
    assert asked
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), said


@pytest.mark.parametrize(
    "answer", [b"no\n", b"y\n", b"\n", b"\x04", b"\x03"], ids=["no", "y", "enter", "ctrl-d", "ctrl-c"]
)
def test_only_yes_is_a_yes_and_everything_else_ends_it_at_once(run: Run, folder: Path, answer: bytes) -> None:
    code, said = answered(folder, answer)
    assert (code, said.rstrip().endswith(b"Nothing was done.")) == (Exit.ERROR, True)
    assert "12 changes" in run("plan").out


def test_yes_is_a_yes(run: Run, folder: Path) -> None:
    code, said = answered(folder, b"yes\n")
    assert (code, b"Done: 12 changes" in said) == (Exit.DONE, True)
    assert run("plan", "--detailed-exitcode").code == Exit.DONE
