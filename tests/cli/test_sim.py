"""`trueup sim`, as it is typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.cli.main import main


@pytest.fixture
def fleet(tmp_path: Path) -> list[str]:
    command = ["sim", "-C", str(tmp_path)]
    assert main([*command, "add-node", "edge1", "--memory", "8Gi", "--carries", "admin"]) == 0
    return command


def told(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    capsys.readouterr()
    assert main(arguments) == 0
    return capsys.readouterr().out


def test_things_are_changed_by_hand(fleet: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    told(capsys, [*fleet, "add-unmanaged", "edge1", "Machine", "web", "memory=1Gi", "nics.app.ip=10.0.0.5/24"])
    told(capsys, [*fleet, "drift", "web", "--target", "edge1", "memory=3Gi", "cpu=500", "nics=", "--by", "alice"])
    shown = told(capsys, [*fleet, "list", "edge1", "--json"])
    for part in ('"memory": 3221225472', '"cpu": 500', '"culprit": "alice"'):
        assert part in shown
    assert '"nics": {}' not in shown
    told(capsys, [*fleet, "delete", "web", "--target", "edge1"])
    assert "empty" in told(capsys, [*fleet, "list"])


def test_faults_are_armed_and_disarmed(fleet: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    told(capsys, [*fleet, "fail", "crash-after", "--verb", "start", "--nth", "2"])
    assert "crash-after" in told(capsys, [*fleet, "faults"])
    told(capsys, [*fleet, "disarm"])
    assert told(capsys, [*fleet, "faults"]) == ""


def test_targets_are_broken_slowed_and_repaired(fleet: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    told(capsys, [*fleet, "break", "edge1", "unreachable", "--reason", "cable pulled"])
    told(capsys, [*fleet, "latency", "edge1", "start=0.5", "*=0.1"])
    shown = told(capsys, [*fleet, "list", "--json"])
    assert '"unreachable": "cable pulled"' in shown
    assert '"start": 0.5' in shown
    told(capsys, [*fleet, "repair", "edge1"])
    assert "cable pulled" not in told(capsys, [*fleet, "list", "--json"])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["delete", "acme/web"], "0 targets hold Machine/acme/web"),
        (["repair", "edge9"], "the fleet has no target edge9"),
        (["add-node", "edge2", "--memory", "8GB"], "'GB' is not used: sizes are in powers of 1024"),
        (["latency", "edge1", "start=soon"], "'soon' is not a number of seconds"),
    ],
)
def test_mistakes_are_one_clear_error(
    fleet: list[str], capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    capsys.readouterr()
    assert main([*fleet, *arguments]) == 1
    assert f"Error: {sentence}\n" in capsys.readouterr().err


def test_missing_fleet_is_not_made_by_looking(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sim", "-C", str(tmp_path), "list"]) == 1
    assert "there is no fleet" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_site_is_generated_into_a_new_folder_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["sim", "-C", str(tmp_path), "generate", "--machines", "20", "--nodes", "2", "--out", "big"]
    assert "next: trueup -C" in told(capsys, command)
    assert "2 targets" not in told(capsys, ["sim", "-C", str(tmp_path / "big"), "list"])
    assert main(command) == 1
    assert "not empty" in capsys.readouterr().err
