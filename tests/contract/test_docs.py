"""The docs keep their word: links lead somewhere, commands exist, YAML loads."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from reconciler.cli.commands import COMMANDS
from reconciler.edge.load import MemoryTree, load

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)]*)?\)")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def names(pages: list[Path]) -> list[str]:
    return [str(page.relative_to(ROOT)) for page in pages]


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_links_lead_somewhere(page: Path) -> None:
    dead = [
        link for link, _ in LINK.findall(page.read_text()) if "://" not in link and not (page.parent / link).exists()
    ]
    assert not dead


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_commands_shown_exist(page: Path) -> None:
    known = {command.name for command in COMMANDS}
    unknown = []
    for _, text in BLOCK.findall(page.read_text()):
        for line in text.splitlines():
            words = line.strip().removeprefix("$ ").split()
            if words[:1] == ["trueup"]:
                rest = [word for word in words[1:] if not word.startswith("-")]
                given = rest[0] if rest else ""
                if words[1:2] == ["-C"]:
                    given = rest[1] if len(rest) > 1 else ""
                if given and given not in known and given != "COMMAND":
                    unknown.append(line.strip())
    assert not unknown


def test_make_targets_shown_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    shown = {
        word
        for page in PAGES
        for command in re.findall(r"`make ([a-z-]+)[^`]*`", page.read_text())
        for word in shlex.split(command)
    }
    assert shown <= targets


def test_the_first_document_of_the_guide_has_a_schema_that_loads() -> None:
    """Each YAML block that is a whole document parses; fragments are left to the eye."""
    page = ROOT / "docs" / "guides" / "writing-specs.md"
    whole = [text for language, text in BLOCK.findall(page.read_text()) if language == "yaml" and "apiVersion" in text]
    assert len(whole) >= 2
    site = {path.name: path.read_text() for path in (ROOT / "examples" / "quickstart").glob("*.yaml")}
    packages = next(text for text in whole if "kind: Packages" in text)
    tree = MemoryTree({**site, "packages.yaml": packages})
    assert load(tree).resources


def test_the_quickstart_loads_with_the_simulated_node_it_offers() -> None:
    page = (ROOT / "docs" / "getting-started" / "quickstart.md").read_text()
    (block,) = (text for language, text in BLOCK.findall(page) if language == "yaml")
    site = ROOT / "examples" / "quickstart"
    files = {str(path.relative_to(site)): path.read_text() for path in site.rglob("*.yaml")}
    written = block.partition("spec:\n")[2]
    files["nodes.yaml"], count = re.subn(r"  driver: local.*\n", written, files["nodes.yaml"])
    assert count == 1
    assert [node.driver for node in load(MemoryTree(files)).nodes.values()] == ["sim"]
