"""The end of the process: nothing that was said or begun is lost by not taking everything apart."""

from __future__ import annotations

import subprocess
import sys

LARGE = 300_000
"""Bytes: more than a pipe holds."""


def ended(main: str) -> subprocess.CompletedProcess[str]:
    """A process whose `main` is of these lines."""
    lines = "\n    ".join(main.splitlines())
    code = (
        f"import sys, threading, time\nfrom reconciler.cli import main as module\ndef main():\n    {lines}\n"
        "module.main = main\nmodule.process()"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)


def test_a_process_ends_with_the_code_of_its_command() -> None:
    for code in (0, 1, 3, 130):
        assert ended(f"return {code}").returncode == code


def test_what_was_said_is_heard_whole() -> None:
    done = ended(f"sys.stdout.write('x' * {LARGE}); sys.stdout.flush()\nsys.stderr.write('y' * {LARGE})\nreturn 0")
    assert (len(done.stdout), len(done.stderr)) == (LARGE, LARGE)


def test_a_thread_that_must_end_is_waited_for() -> None:
    late = "threading.Thread(target=lambda: (time.sleep(0.3), print('ended'))).start()\nreturn 0"
    assert ended(late).stdout == "ended\n"


def test_a_thread_that_does_not_come_back_is_not_waited_for_for_ever() -> None:
    stuck = "module._PATIENCE = 0.2\nthreading.Thread(target=time.sleep, args=(300,)).start()\nreturn 3"
    assert ended(stuck).returncode == 3


def test_a_thread_that_nobody_waits_for_is_left() -> None:
    idle = "threading.Thread(target=time.sleep, args=(30,), daemon=True).start()\nreturn 0"
    assert ended(idle).returncode == 0


def test_help_comes_whole_through_a_pipe_that_is_closed_early() -> None:
    line = f"{sys.executable} -m reconciler.cli --help | head -1"
    done = subprocess.run(line, shell=True, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("usage: trueup [-C DIR] COMMAND …\n", "")


def test_what_libraries_seldom_need_is_there_once_they_ask() -> None:
    asked = """\
module._import_lightly("msgspec", "subprocess")
before = sorted({"textwrap", "locale", "platform", "typing_extensions"} & sys.modules.keys())
import msgspec, subprocess, uuid
described = msgspec.defstruct("A", [("a", int)], namespace={"__doc__": "One.\\n    Two."})
words = msgspec.json.schema(described)["$defs"]["A"]["description"]
said = subprocess.run([sys.executable, "-c", "print('ä')"], capture_output=True, text=True, encoding=None).stdout
print(before, repr(words), said.strip(), uuid.uuid4().version)
return 0"""
    done = ended(asked)
    assert done.stdout == "[] 'One.\\n    Two.' ä 4\n", done.stderr
