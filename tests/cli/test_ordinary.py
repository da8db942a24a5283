"""What is read without argparse is what argparse reads; everything else is left to it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.cli import commands
from reconciler.cli.ordinary import read
from reconciler.cli.parser import parser

ROOT = Path(__file__).parents[2]

ORDINARY = [
    ["plan"],
    ["-C", "/a", "plan"],
    ["plan", "-C", "/a", "--no-color"],
    ["-C", "/a", "plan", "-C", "/b", "--expand", "--detailed-exitcode"],
    ["--state", "s", "plan", "--json", "--out", "x"],
    ["plan", "--format", "json", "--only", "a", "--only", "b"],
    ["plan", "--dirty", "--dirty"],
    ["drift"],
    ["status", "--format", "text"],
    ["apply", "--yes"],
    ["run", "--once"],
]
UNUSUAL = [
    [],
    ["--help"],
    ["--version"],
    ["plam"],
    ["-C"],
    ["-C", "/a"],
    ["plan", "--help"],
    ["plan", "--no-such"],
    ["plan", "--format", "xml"],
    ["plan", "--format=json"],
    ["plan", "--out"],
    ["plan", "--out", "-"],
    ["plan", "--out", "--expand"],
    ["plan", "--dirty", "--revision", "x"],
    ["plan", "--"],
    ["plan", "x"],
    ["--expand", "plan"],
    ["plan", "--exp"],
    ["apply", "abcd"],
    ["drift", "acme/web"],
    ["get", "machine"],
    ["observe", "--out", "x"],
    ["logs", "-n", "3"],
    ["sim", "drift"],
]


def as_argparse(argv: list[str]) -> dict[str, object]:
    return vars(parser(argv).parse_args(argv))


@pytest.mark.parametrize("argv", ORDINARY, ids=" ".join)
def test_the_ordinary_is_read_as_argparse_reads_it(argv: list[str]) -> None:
    found = read(argv)
    assert found is not None
    assert vars(found) == as_argparse(argv)


@pytest.mark.parametrize("argv", UNUSUAL, ids=" ".join)
def test_all_else_is_left_to_argparse(argv: list[str]) -> None:
    assert read(argv) is None


WORDS = [
    *(command.name for command in commands.COMMANDS),
    *("-C", "--state", "--no-color", "--revision", "--dirty", "--out", "--format", "--json", "--expand", "--only"),
    *(
        "--detailed-exitcode",
        "--observation",
        "--yes",
        "--reason",
        "--all",
        "--print",
        "--once",
        "--interval",
        "--last",
    ),
    *(
        "--unmanaged",
        "--node",
        "--clock",
        "--lines",
        "-n",
        "--",
        "-",
        "",
        "x",
        "json",
        "text",
        "-x",
        "--format=json",
        "3",
    ),
]


@given(st.lists(st.sampled_from(WORDS), max_size=7))
def test_whatever_is_read_is_what_argparse_reads(argv: list[str]) -> None:
    found = read(argv)
    if found is not None:
        assert vars(found) == as_argparse(argv)


@given(
    st.sampled_from(["plan", "apply", "drift", "heal", "status", "run"]), st.lists(st.sampled_from(WORDS), max_size=4)
)
def test_options_of_a_command_are_what_argparse_reads(command: str, more: list[str]) -> None:
    found = read([command, *more])
    if found is not None:
        assert vars(found) == as_argparse([command, *more])


def test_values_that_were_not_given_are_nobody_elses() -> None:
    first, second = read(["plan"]), read(["plan"])
    assert first is not None
    assert second is not None
    first.only.append("x")
    assert second.only == []


def test_a_plan_needs_no_argparse(tmp_path: Path) -> None:
    code = "import sys; from reconciler.cli.main import main; main(['plan']); print('argparse' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)}, cwd=tmp_path,
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stdout == "False\n"
