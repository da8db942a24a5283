"""The tables that were copied or generated are still true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from drivers.incus.keys import HELD, LIVE, LIVE_PREFIXES, is_live
from drivers.incus.table import table
from tests.drivers.incus import test_traps
from tests.drivers.incus.harness import IncusHarness

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "guides" / "incus.md"


def test_guide_shows_the_capabilities_as_they_are() -> None:
    assert table() in GUIDE.read_text(), "python -m drivers.incus.table prints the new one"


@pytest.mark.real
def test_copy_of_the_live_keys_agrees_with_a_real_server(host: IncusHarness) -> None:
    """Only Incus tells of its keys which are in force at once."""
    if host.daemons.kind != "incus":
        pytest.skip("LXD 5.0 does not tell")
    groups = host.daemons.query("/1.0/metadata/configuration")["configs"]["instance"]
    said = {
        name: key[name]["liveupdate"] == "yes"
        for group in groups.values()
        for key in group["keys"]
        for name in key
        if "liveupdate" in key[name] and "*" not in name
    }
    assert said
    wrong = {name for name, live in said.items() if live != is_live(name) and not name.startswith(LIVE_PREFIXES)}
    assert wrong == set(), "ours and the server's differ"
    assert HELD - {"cloud-init.vendor-data", "cloud-init.user-data"} <= LIVE


def test_every_trap_names_a_test_that_is_there() -> None:
    said = test_traps.__doc__ or ""
    files = sorted(Path(__file__).parent.glob("test_*.py"))
    there = "".join(path.read_text() for path in files).replace(said, "") + " ".join(path.stem for path in files)
    named = re.findall(r"test_\w+|(?<=…)\w+(?=…)", said)
    assert len(named) > 25
    assert [name for name in named if name not in there] == []
