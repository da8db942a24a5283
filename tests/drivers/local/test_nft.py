"""Asking nftables in this process: what its library keeps of the host's rules is given back."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.drivers.local.probe import needs

SCRIPT = """
import subprocess
from pathlib import Path
from drivers.local.nft import Nft

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

TABLES, CONTEXTS = 100, 60
chain = "add chain inet t{0} c {{ type filter hook input priority 0; }}"
lines = [f"add table inet t{n}\\n" + chain.format(n) for n in range(TABLES)]
lines += [f"add rule inet t{n} c ip saddr 10.{k}.0.0/16 accept" for n in range(TABLES) for k in range(25)]
subprocess.run(["nft", "-f", "-"], input="\\n".join(lines) + "\\n", text=True, check=True)

def grown(*, closed):
    kept, before = [], resident()
    for _ in range(CONTEXTS):
        other = Nft()
        assert "10.24.0.0/16" in other.run("list table inet t7")
        kept.append(other)
        if closed:
            other.close()
    return resident() - before

grown(closed=True)
closed, kept = grown(closed=True), grown(closed=False)
assert closed < kept / 4, (closed, kept)
nft = Nft()
for _ in range(2):
    assert "table inet t7" in nft.run("list table inet t7"), "it is opened anew"
    nft.close()
"""


@pytest.mark.real
def test_closing_gives_back_what_the_library_keeps() -> None:
    needs()
    told = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False, timeout=120
    )
    assert told.returncode == 0, told.stderr
