"""A tree read by another process comes to what it comes to here, and every doubt is no answer."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from reconciler.cli.sources import place
from reconciler.edge.apart import Apart
from reconciler.edge.forked import possible
from reconciler.edge.git import Repository
from reconciler.edge.index.known import Laid
from reconciler.edge.index.shelves import Reader, Writer
from reconciler.edge.remembered import TreeMemory
from reconciler.edge.source import GitSource
from reconciler.errors import SpecErrors
from tests.edge.test_source import CAPABILITIES, SITE, machine, ref

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not possible(), reason="NOT RUN: this host has one core, or does not fork"),
]

Clone = Any
MANY = 4_000


@pytest.fixture
def repository(clone: Clone) -> Iterator[Repository]:
    """Two commits: the second takes web-2 away and brings web-3."""
    clone.commit({**SITE, "web-1.yaml": machine("web-1"), "web-2.yaml": machine("web-2")})
    clone.commit({"web-2.yaml": None, "web-3.yaml": machine("web-3")})
    with Repository.open(clone.path) as found:
        yield found


@pytest.fixture
def source(repository: Repository, tmp_path: Path) -> Iterator[GitSource]:
    """One whose head another process reads."""
    made = GitSource(repository, CAPABILITIES)
    made.memory = TreeMemory(tmp_path / "cache")
    found = made.few(None, MANY)
    assert found is not None
    made.apart = Apart(made, *found, place)
    yield made
    made.apart.end()
    made.close()


async def test_it_is_what_is_read_here(source: GitSource, repository: Repository) -> None:
    here = GitSource(repository, CAPABILITIES)
    assert await source.load() == await here.load()
    assert source._loader is None, "nothing was read here"


async def test_it_answers_as_who_read_it_here(source: GitSource, repository: Repository, tmp_path: Path) -> None:
    here = GitSource(repository, CAPABILITIES)
    await here.load()
    await source.load()
    asked = [(ref("web-1"), ("package",)), (ref("web-3"), ()), (ref("none"), ())]
    assert source.apart is not None
    assert source.apart.places(asked) == [place(here, *each) for each in asked] == ["web-1.yaml:4", "web-3.yaml:4", ""]
    before, now = (repository.tree(repository.commit(name)) for name in ("HEAD^", "HEAD"))
    assert source.removed(before, now) == here.removed(before, now) == {ref("web-2")}
    told = []
    for number, one in enumerate((source, here)):
        known = one.documents()
        assert known is not None
        assert isinstance(known, Laid) == (one is source)
        with Writer(tmp_path / str(number)) as writer:
            writer.table("before", {"a": 1})
            writer.whole = known.lay(writer)
        reader = Reader(tmp_path / str(number))
        rows = [bytes(reader.get(*each) or b"") for each in (("before", "a"), ("files", "web-1.yaml"))]
        told.append([reader.whole, *rows])
        told[-1] += [reader.get("resources", ref("web-3")), reader.get("owners", ref("web-1"))]
    assert None not in told[0]
    assert told[0] == told[1]


async def test_what_it_read_is_remembered(source: GitSource, repository: Repository) -> None:
    desired = await source.load()
    assert source.apart is not None
    source.apart.end()
    assert source.memory is not None
    found = source.memory.recall(desired.revision.tree)
    assert found is not None
    assert msgspec.structs.replace(found.desired, revision=desired.revision) == desired


@pytest.mark.parametrize("when", ["before", "after"])
async def test_one_that_has_gone_is_no_answer(source: GitSource, repository: Repository, when: str) -> None:
    here = GitSource(repository, CAPABILITIES)
    apart = source.apart
    assert apart is not None
    assert apart._process is not None
    if when == "after":
        await source.load()
    os.kill(apart._process.pid, signal.SIGKILL)
    before, now = (repository.tree(repository.commit(name)) for name in ("HEAD^", "HEAD"))
    assert await source.load() == await here.load()
    assert apart.places([(ref("web-1"), ())]) is None
    assert source.removed(before, now) == {ref("web-2")}
    assert place(source, ref("web-1"), ()) == "web-1.yaml:4"


async def test_a_mistake_is_told_by_who_reads_it_here(clone: Clone) -> None:
    clone.commit({**SITE, "web-1.yaml": machine("web-1", packages="s")})
    with Repository.open(clone.path) as repository:
        source = GitSource(repository, CAPABILITIES)
        found = source.few(None, MANY)
        assert found is not None
        source.apart = Apart(source, *found, place)
        source.memory = TreeMemory(clone.path / "cache")
        with pytest.raises(SpecErrors, match="packages"):
            await source.load()
        source.apart.end()


def test_a_large_tree_is_not_for_it(repository: Repository) -> None:
    source = GitSource(repository, CAPABILITIES)
    assert source.few(None, len(SITE) + 1) is None
    found = source.few(None, len(SITE) + 2)
    assert found is not None
    assert len(list(found[0].entries())) == len(SITE) + 2
    source.close()
