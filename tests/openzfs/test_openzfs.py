"""The `local` driver on OpenZFS in the kernel and cgroup version 2, which a host need not have: in an emulated machine.

`make test-openzfs`. The machine's disk is built once (build.sh) into $TRUEUP_OPENZFS, else ~/.cache/trueup/openzfs. The
kit is run there in a bounded part: emulation is some twenty times slower than the real thing.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.openzfs, pytest.mark.timeout(3600)]

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
LEFT_OUT = ("mypy*", "ast_serialize*", "librt*", "ruff*", "pip*", "grimp*", "git*", "*.pth", "__pycache__")
"""Of the environment's libraries: what no test imports, by size."""
LIMIT = 1500
"""Seconds for the tests inside; about half of that on two idle cores."""

PART = (
    "created_machine_is",
    "each_size_changes",
    "machine_stops_and_starts",
    "data_disk_is_made",
    "destroyed_machine_lies",
    "purge_is_never_early",
    "forgotten_machine",
    "report_is_dated",
    "drift_of_each_field",
    "machine_stopped_by_hand",
    "copied_marks",
    "stale_fence",
    "two_writers",
    "network_comes",
    "every_step_can_be",
    "reaches",
)


def _missing() -> str | None:
    if os.geteuid() != 0:
        return "building the machine's disk takes root"
    gone = [tool for tool in ("qemu-system-x86_64", "mmdebstrap", "mke2fs") if shutil.which(tool) is None]
    return f"{', '.join(gone)} not installed (qemu-system-x86 mmdebstrap e2fsprogs)" if gone else None


def _machine() -> Path:
    folder = Path(os.environ.get("TRUEUP_OPENZFS", Path.home() / ".cache/trueup/openzfs"))
    if not (folder / "root.img").exists():
        subprocess.run(["nice", str(HERE / "build.sh"), str(folder)], check=True)
    return folder


def _disk(work: Path, tests: list[str]) -> Path:
    """The repository, the libraries that its tests need, and what to run."""
    content = work / "content"
    for name in ("drivers", "reconciler", "specs", "tests"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / name, content / "repository" / name, ignore=ignore)
    shutil.copy(REPOSITORY / "pyproject.toml", content / "repository")
    libraries = Path(pytest.__file__).parents[1]
    shutil.copytree(libraries, content / "site", ignore=shutil.ignore_patterns(*LEFT_OUT))
    command = ["timeout", str(LIMIT), "python3", "-m", "pytest", "-p", "no:cacheprovider", "-v", "-rs", *tests]
    (content / "run").write_text(shlex.join(command) + "\n")
    image = work / "work.img"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", content, image, "12G"], check=True)
    return image


def _run(machine: Path, disk: Path, log: Path) -> str:
    """Boot, run, power off; what was said on the serial line."""
    argv = ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-m", "3072", "-nodefaults", "-display", "none"]
    argv += [
        "-no-reboot",
        "-serial",
        f"file:{log}",
        "-kernel",
        str(machine / "vmlinuz"),
        "-initrd",
        str(machine / "initrd.img"),
    ]
    argv += ["-drive", f"file={machine / 'root.img'},if=virtio,format=raw,snapshot=on"]
    argv += ["-drive", f"file={disk},if=virtio,format=raw,cache=unsafe"]
    argv += ["-append", "root=/dev/vda rw console=ttyS0 quiet panic=-1 init=/inside.sh"]
    subprocess.run(argv, check=True, timeout=LIMIT + 600)
    return log.read_text(errors="replace")


def _with_inside(machine: Path) -> None:
    """The newest inside.sh on the machine's disk, without mounting it."""
    commands = f"rm /inside.sh\nwrite {HERE / 'inside.sh'} /inside.sh\nset_inode_field /inside.sh mode 0100755\n"
    subprocess.run(["debugfs", "-w", "-f", "-", machine / "root.img"], input=commands, text=True, check=True)


def _told(said: str) -> str:
    begin = said.find("BEGIN ")
    return said[begin:] if begin >= 0 else said[-3000:]


def test_conformance_on_openzfs_and_cgroup_2() -> None:
    reason = _missing()
    if reason:
        pytest.skip(f"NOT RUN, OpenZFS in an emulated machine: {reason}")
    machine = _machine()
    _with_inside(machine)
    with tempfile.TemporaryDirectory(prefix="trueup-openzfs-run-", dir="/var/tmp") as folder:
        work = Path(folder)
        tests = [
            "tests/conformance/test_local.py",
            "tests/drivers/local/test_uplinks.py",
            "-k",
            " or ".join(PART),
            "--timeout",
            "600",
        ]
        (work / "content").mkdir()
        said = _run(machine, _disk(work, tests), work / "serial.log")
    print(_told(said))
    ended = re.search(r"^END (\d+)", said, re.MULTILINE)
    assert ended, f"it did not come to its end:\n{said[-3000:]}"
    assert ended.group(1) == "0", _told(said)
    assert re.search(r"(\d+) passed", said), "nothing was run"
