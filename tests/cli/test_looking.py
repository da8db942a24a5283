"""`trueup get REF` and `explain REF`, of every kind and in every state."""

from __future__ import annotations

import pytest

from reconciler.cli.exits import Exit

from .conftest import Run, commit, git


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("Node/edge1", "claimed"),
        ("Package/s", "512Mi"),
        ("Tenant/shop", "declared"),
        ("Network/front", "10.77.1.0/24"),
        ("Machine/shop/web-1", "running"),
        ("shop/ci", "in quarantine until"),
    ],
)
def test_one_thing_of_any_kind_is_one_row(run: Run, name: str, cell: str) -> None:
    run("apply", "--yes")
    git("rm", "-q", "shop/ci.yaml")
    commit("No ci")
    run("apply", "--yes")
    told = run("get", name)
    assert told.code == Exit.DONE
    assert cell in told.out
    rows = [line for line in told.out.split("\n\n")[0].splitlines()[1:] if line]
    assert len(rows) == (2 if name == "Network/front" else 1)


@pytest.mark.parametrize("name", ["Node/edge9", "Package/zz", "shop/nope"])
def test_what_nobody_knows_is_an_error(run: Run, name: str) -> None:
    assert run("get", name).code == Exit.ERROR


def test_explain_tells_what_was_taken_from_elsewhere(run: Run) -> None:
    run("apply", "--yes")
    told = run("explain", "Network/front").out
    assert any(line.split() == ["interface", "eth0", "of", "its", "node"] for line in told.splitlines())
    git("rm", "-q", "shop/ci.yaml")
    commit("No ci")
    run("apply", "--yes")
    assert "it is in quarantine on" in run("explain", "shop/ci").out
