"""Stories that read as prose, run as they stand: a command after `    $ `, then what it prints.

In the expected lines `…` stands for anything in that line, and alone for any number of lines. `[3]` at the end is the
exit code where it is not 0. Lines that begin with `    > ` go on with the command. Everything else is for people.
Each story runs in a folder of its own with git and trueup on the path, and `$SITE`, the specs that it starts from.

`TRUEUP_GOLDEN=write pytest tests/scenarios` shows what would be printed, in place of what was expected; read the diff.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
STORIES = sorted(HERE.glob("*.txt"))
INDENT = "    "


class Act(NamedTuple):
    line: int
    command: str
    expected: list[str]
    code: int


def acts(text: str) -> Iterator[Act]:
    """The commands of a story, each with what it should print."""
    lines = text.split("\n")
    at = 0
    while at < len(lines):
        if not lines[at].startswith(f"{INDENT}$ "):
            at += 1
            continue
        first, command = at + 1, [lines[at][6:]]
        at += 1
        while at < len(lines) and lines[at].startswith(f"{INDENT}> "):
            command.append(lines[at][6:])
            at += 1
        expected: list[str] = []
        while at < len(lines) and not lines[at].startswith(f"{INDENT}$ ") and (lines[at].startswith(INDENT)):
            expected.append(lines[at][4:])
            at += 1
            while at + 1 < len(lines) and not lines[at] and lines[at + 1].startswith(INDENT):
                if lines[at + 1].startswith(f"{INDENT}$ "):
                    break
                expected.append("")
                at += 1
        code = 0
        if expected and re.fullmatch(r"\[\d+\]", expected[-1]):
            code = int(expected.pop()[1:-1])
        yield Act(first, "\n".join(command), expected, code)


def matches(expected: list[str], printed: list[str]) -> bool:
    """Whether the lines are as expected, `…` standing for anything."""
    pattern = ""
    for line in expected:
        if line.strip() == "…":
            pattern += r"(?:[^\n]*\n)*?"
        else:
            pattern += ".*?".join(re.escape(part) for part in line.rstrip().split("…")) + r"[ ]*\n"
    return re.fullmatch(pattern, "".join(f"{line.rstrip()}\n" for line in printed)) is not None


_VOLATILE = (
    (re.compile(r"observed \d\d:\d\d:\d\dZ"), "observed …"),
    (re.compile(r"\b(plan|apply) [0-9a-f]{8}\b"), r"\1 …"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\dZ"), "…"),
    (re.compile(r"file: /\S+"), "file: …"),
    (re.compile(r"\bin (under )?\d+(\.\d+)? s\b"), "in …"),
)


def softened(lines: list[str]) -> list[str]:
    """What differs from run to run as `…`: times, digests of plans, the order of steps that run side by side."""
    soft: list[str] = []
    for line in lines:
        if line.startswith(("  ✓ ", "  = ")):
            soft += [] if soft and soft[-1] == "…" else ["…"]
            continue
        for pattern, instead in _VOLATILE:
            line = pattern.sub(instead, line)
        soft.append(line)
    return soft


def environment(folder: Path) -> dict[str, str]:
    """Nothing of the person's own: home, settings, state and identity are the story's."""
    tools = folder / "bin"
    tools.mkdir()
    wrapper = tools / "trueup"
    wrapper.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m reconciler.cli "$@"\n')
    wrapper.chmod(0o755)
    who = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in IDENTITY.items()}
    return {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "HOME": str(folder),
        "TRUEUP_STATE": str(folder / "state"),
        "SITE": str(HERE / "site"),
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        **who,
    }


IDENTITY = {"NAME": "Alice", "EMAIL": "alice@example.org", "DATE": "2026-11-20T10:00:00Z"}


@pytest.mark.parametrize("story", STORIES, ids=lambda path: path.stem)
@pytest.mark.timeout(300)
def test_the_story_is_true(story: Path, tmp_path: Path) -> None:
    env = environment(tmp_path)
    work = tmp_path / "work"
    work.mkdir()
    text = story.read_text()
    told = text.split("\n")
    wrong: list[str] = []
    moved = 0
    for act in acts(text):
        script = (
            f"cd {work}; . {work}/.here 2>/dev/null\n{act.command}\ncode=$?; echo cd $PWD > {work}/.here; exit $code"
        )
        run = subprocess.run(
            ["bash", "-c", script], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120
        )
        printed = [line.replace(str(tmp_path), "~") for line in run.stdout.split("\n")]
        printed = printed[:-1] if printed[-1] == "" else printed
        if run.returncode != act.code or not matches(act.expected, printed):
            shown = [*softened(printed), *([f"[{run.returncode}]"] if run.returncode else [])]
            wrong.append(f"{story.name}:{act.line}: $ {act.command}\n" + "\n".join(f"    {line}" for line in shown))
            moved = _rewrite(told, act, shown, moved)
            if os.environ.get("TRUEUP_GOLDEN") != "write":
                break
    if os.environ.get("TRUEUP_GOLDEN") == "write":
        story.write_text("\n".join(told))
    assert not wrong, "\n".join(wrong)


def _rewrite(told: list[str], act: Act, shown: list[str], moved: int) -> int:
    """Put what was printed in place of what was expected; gives by how many lines the story has grown so far."""
    start = act.line + act.command.count("\n") + moved
    length = len(act.expected) + bool(act.code)
    told[start : start + length] = [f"{INDENT}{line}".rstrip() for line in shown]
    return moved + len(shown) - length


def test_a_story_s_lines_are_told_apart() -> None:
    story = "Prose.\n\n    $ echo a\n    > b\n    a\n\n    c\n    [3]\n\nMore.\n    $ true\n"
    assert list(acts(story)) == [Act(3, "echo a\nb", ["a", "", "c"], 3), Act(11, "true", [], 0)]
    assert matches(["a … c", "…", "z"], ["a b c", "1", "2", "z"])
    assert not matches(["a"], ["a", "b"])
