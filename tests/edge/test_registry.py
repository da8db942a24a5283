"""Drivers found through entry points, as installed packages give them."""

from __future__ import annotations

import importlib
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from reconciler.edge.registry import GROUP, Registry
from reconciler.errors import DriverMissing

DRIVER = """
from reconciler.driver import Capability

class Shape:
    capability = Capability(frozenset({"Machine"}), frozenset({"rootfs"}), frozenset({"zone"}))

class Entry:
    name = "theirs"
    shape = Shape()

DRIVER = Entry()
NOT_ONE = object()
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A driver that somebody else ships, installed as a wheel would be."""
    name = f"theirs_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(DRIVER)
    info = tmp_path / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[{GROUP}]\n{name} = {name}:DRIVER\nbroken = {name}:NOT_ONE\nabsent = no_such:X\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    return name


def test_an_installed_driver_is_found_and_says_what_it_takes(package: str) -> None:
    registry = Registry()
    assert package in registry
    assert registry[package].brands == frozenset({"zone"})
    assert registry.driver(package).name == "theirs"


def test_a_driver_is_imported_only_when_it_is_asked_for(package: str) -> None:
    registry = Registry()
    assert package in list(registry)
    assert package not in sys.modules
    registry.driver(package)
    assert package in sys.modules


def test_an_unknown_driver_is_told_with_what_is_installed(package: str) -> None:
    with pytest.raises(DriverMissing, match="no driver 'nope'") as caught:
        Registry().driver("nope")
    assert package in caught.value.hint
    assert "nope" not in Registry()
    assert Registry().get("nope") is None


@pytest.mark.parametrize(("name", "words"), [("broken", "AttributeError"), ("absent", "No module named")])
def test_a_driver_that_cannot_be_loaded_is_told(package: str, name: str, words: str) -> None:
    with pytest.raises(DriverMissing, match=words):
        Registry().driver(name)


def test_two_drivers_of_one_name_are_told() -> None:
    with pytest.raises(DriverMissing, match="two drivers are called x"):
        Registry([EntryPoint("x", "a:DRIVER", GROUP), EntryPoint("x", "b:DRIVER", GROUP)])


def test_nothing_installed_is_told() -> None:
    with pytest.raises(DriverMissing) as caught:
        Registry([]).driver("local")
    assert "installed: none" in caught.value.hint
