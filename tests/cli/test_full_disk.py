"""A state folder on a disk that is full, wherever writing begins to fail: an error in words; all goes on with room."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.cli.exits import Exit

from .conftest import Run, commit, edit

pytestmark = [pytest.mark.real, pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")]


@pytest.fixture
def small(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state folder on a file system of 400 KiB."""
    disk = tmp_path / "small"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "trueup-test", str(disk)], check=True)
    monkeypatch.setenv("TRUEUP_STATE", str(disk / "state"))
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_an_error_in_words_and_the_next_apply_goes_on(run: Run, small: Path) -> None:
    assert run("apply", "--yes").code == Exit.DONE
    filler = small / "filler"
    codes, before = set(), "512Mi"
    for size, free in (("768Mi", 0), ("896Mi", 4), ("960Mi", 8), ("992Mi", 16)):
        edit("packages.yaml", before, size)
        before = size
        commit(f"Grow to {size}")
        room = os.statvfs(small)
        filler.write_bytes(bytes(max(room.f_bavail * room.f_frsize - free * 1024, 0)))
        told = run("apply", "--yes")
        codes.add(told.code)
        if told.code == Exit.ERROR:
            assert "No space left on device" in told.err or "the disk is full" in told.err
        assert "in a way it should not" not in told.err
        filler.unlink()
        assert run("apply", "--yes").code == Exit.DONE
        assert run("plan", "--detailed-exitcode").code == Exit.DONE
        assert size in run("get", "shop/web-3").out
    assert Exit.ERROR in codes
