"""The generated reference is current, and tells of everything there is."""

from __future__ import annotations

import pytest

from reconciler.cli import reference
from reconciler.cli.commands import COMMANDS


@pytest.mark.parametrize("name", ["commands.md", "kinds.md"])
def test_the_generated_page_is_current(name: str) -> None:
    written = (reference.FOLDER / name).read_text(encoding="utf-8")
    assert written == reference.pages()[name], "run `python -m reconciler.cli.reference`"


def test_the_reference_tells_of_every_command() -> None:
    page = reference.commands_page()
    assert all(f"### trueup {command.name}\n" in page for command in COMMANDS)
