"""Arguments, help, exit codes: what needs no repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from itertools import permutations
from pathlib import Path

import pytest

from reconciler.cli import commands, completion
from reconciler.cli.exits import Exit, worst
from reconciler.cli.failures import report
from reconciler.cli.main import main
from reconciler.cli.parser import command_name, parser
from reconciler.errors import LockHeld, UsageError

OWN = [command.name for command in commands.COMMANDS]


@pytest.mark.parametrize("name", OWN)
def test_every_command_teaches_with_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([name, "--help"])
    told = capsys.readouterr().out
    assert f"usage: trueup {name}" in told
    assert "examples:\n  trueup " in told
    assert "-C DIR" in told


@pytest.mark.parametrize("name", OWN)
def test_every_command_has_code_to_run(name: str) -> None:
    from importlib import import_module

    module, _, function = commands.BY_NAME[name].run.partition(":")
    assert callable(getattr(import_module(module), function))


def test_the_overview_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    told = capsys.readouterr().out
    assert all(f"  {name} " in told for name in OWN)


@pytest.mark.parametrize("argv", [["-C", "/a", "plan"], ["plan", "-C", "/a"], ["-C", "/a", "plan", "--expand"]])
def test_the_directory_may_stand_before_or_after_the_command(argv: list[str]) -> None:
    assert parser(argv).parse_args(argv).directory == "/a"


def test_a_value_of_an_option_is_no_command() -> None:
    assert command_name(["-C", "plan", "--state", "apply", "get"]) == "get"
    assert command_name(["--no-color"]) is None


@pytest.mark.parametrize("argv", [["plam"], ["plan", "--no-such"], ["plan", "--format", "xml"], ["-C", "/"], ["exec"]])
def test_wrong_arguments_end_with_one_and_say_where_help_is(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="1"):
        main(argv)
    told = capsys.readouterr().err
    assert told.startswith("Error: ")
    assert "--help" in told


def test_a_mistyped_command_gets_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["staus"])
    assert "did you mean 'status'?" in capsys.readouterr().err


def test_the_worst_exit_code_wins() -> None:
    order = [Exit.ERROR, Exit.LOST, Exit.INCOMPLETE, Exit.BLOCKED, Exit.PARTIAL, Exit.CHANGES, Exit.DONE]
    for first, second in permutations(order, 2):
        assert worst([first, second]) is min(first, second, key=order.index)
    assert worst([]) is Exit.DONE


def test_an_error_is_one_message_with_its_hint(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(UsageError("no such thing", hint="try another"), [], sys.stderr) is Exit.ERROR
    assert capsys.readouterr().err == "Error: no such thing\n  try another\n"
    assert report(ExceptionGroup("", [LockHeld("busy")]), [], sys.stderr) is Exit.LOST
    assert capsys.readouterr().err == "Error: busy\n"


def test_a_fault_of_ours_goes_to_a_file_not_to_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRUEUP_STATE", str(tmp_path))
    assert report(KeyError("gone"), ["plan"], sys.stderr) is Exit.ERROR
    told = capsys.readouterr().err
    (written,) = tmp_path.glob("trueup-crash-*.txt")
    assert str(written) in told
    assert "Traceback" not in told
    assert "KeyError: 'gone'" in written.read_text()
    assert written.stat().st_mode & 0o077 == 0


def test_a_reader_that_left_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    run = subprocess.run([sys.executable, "-m", "reconciler.cli", "--help"], stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert run.stderr == b""


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; from reconciler.cli.main import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    run = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True)
    loaded = set(run.stderr.split())
    assert not loaded & {"argparse", "asyncio", "msgspec", "pydantic", "git", "ruamel", "anyio", "sqlite3"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_commands_and_options(shell: str, tmp_path: Path) -> None:
    script = completion.script(shell)
    assert "detailed-exitcode" in script
    assert "converge" in script
    assert "trueup completion refs" in script.replace('"${at[@]}" ', "").replace("${at} ", "")
    if shutil.which(shell):
        path = tmp_path / "script"
        path.write_text(script)
        subprocess.run([shell, "-n", str(path)], check=True)


def test_bash_completes_a_command() -> None:
    script = completion.script("bash")
    ask = 'COMP_WORDS=(trueup conv); COMP_CWORD=1; COMP_LINE="trueup conv"; _shtab_trueup; echo "${COMPREPLY[@]}"'
    run = subprocess.run(["bash", "-c", f"{script}\n{ask}"], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["converge"]
