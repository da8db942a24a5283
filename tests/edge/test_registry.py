"""Drivers found through entry points, as installed packages give them."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
import zipfile
from pathlib import Path

import pytest

from reconciler.edge import installed
from reconciler.edge.installed import GROUP
from reconciler.edge.registry import Registry
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
        Registry([("x", "a:DRIVER"), ("x", "b:DRIVER")])


def test_nothing_installed_is_told() -> None:
    with pytest.raises(DriverMissing) as caught:
        Registry([]).driver("local")
    assert "installed: none" in caught.value.hint


def test_what_is_installed_is_asked_once_and_again_after_an_installation(
    package: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    first = installed.drivers()
    told = cache / "trueup" / "drivers.json"
    written = told.stat().st_mtime_ns
    assert installed.drivers() == first
    assert told.stat().st_mtime_ns == written
    info = tmp_path / "late-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: late\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\nlate = late:DRIVER\n")
    importlib.invalidate_caches()
    assert ("late", "late:DRIVER") in installed.drivers()


def test_what_others_may_have_written_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    installed.drivers()
    told = tmp_path / "trueup" / "drivers.json"
    told.write_bytes(told.read_bytes().replace(b"drivers.sim:DRIVER", b"drivers.evil:DRIVER"))
    told.chmod(0o666)
    assert ("sim", "drivers.sim:DRIVER") in installed.drivers()


GROUPS = (GROUP, "console_scripts", "pytest11", "distutils.commands")


@pytest.mark.parametrize("group", GROUPS)
def test_packages_say_what_python_itself_hears_them_say(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: str
) -> None:
    second = tmp_path / "more"  # of a package that is there twice the first counts
    for folder, name, place in ((tmp_path, "late", "late:ONE"), (second, "late", "late:TWO"), (second, "odd", "odd:X")):
        info = folder / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        text = f"# {group}\n[other]\na = b:C\n\n[{group}]\n# x = y:Z\n{name}={place}\n  spaced   =  at:Some.where \n"
        text += "[more]\nx = y:Z\n"
        (info / "entry_points.txt").write_text(text)
    (tmp_path / "bare-1.0.dist-info").mkdir()
    monkeypatch.setattr(sys, "path", [*sys.path, str(second), str(tmp_path / "absent")])
    monkeypatch.setattr(installed, "GROUP", group)
    importlib.invalidate_caches()
    theirs = {(point.name, point.value) for point in importlib.metadata.entry_points(group=group)}
    assert set(installed._asked(sys.path)) == theirs
    assert ("late", "late:ONE") in theirs


def test_where_something_on_the_path_is_no_folder_python_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "packages.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("zipped-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: zipped\nVersion: 1.0\n")
        file.writestr("zipped-1.0.dist-info/entry_points.txt", f"[{GROUP}]\nzipped = zipped:DRIVER\n")
    monkeypatch.syspath_prepend(str(archive))
    importlib.invalidate_caches()
    assert ("zipped", "zipped:DRIVER") in set(installed._asked(sys.path))
