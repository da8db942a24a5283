"""What another process lays down is what this one would have; whatever becomes of that process, it is laid down."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "load"))

from trees import BASE, CAPABILITIES

from reconciler.core.desired import Revision
from reconciler.core.ledger import Covered, Ledger, Record
from reconciler.core.refs import Ref, Target
from reconciler.edge.forked import possible
from reconciler.edge.index import meanwhile
from reconciler.edge.index.known import Documents
from reconciler.edge.index.meanwhile import Meanwhile, Send
from reconciler.edge.index.planning import BINDINGS
from reconciler.edge.index.shelves import Reader, Shelf, Writer
from reconciler.edge.load import Loader, MemoryTree
from tests.builders import Fleet, machine, node, small_site

pytestmark = pytest.mark.skipif(not possible(), reason="NOT RUN: this host has one core, or does not fork")


class Counted(Documents):
    """Which count how often this process lays them down."""

    here = 0

    def lay(self, writer: Writer) -> object:  # type: ignore[override]
        type(self).here += 1
        return super().lay(writer)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Counted:
    monkeypatch.setattr(Counted, "here", 0)
    made = Loader(CAPABILITIES)
    made.load(MemoryTree(BASE))
    return Counted(made.records, Revision(commit=None, tree=""), frozenset([Ref("Machine/acme/web")]))


@pytest.fixture
def ledger() -> Ledger:
    fleet = Fleet("edge1", "edge2")
    fleet.apply(fleet.plan(small_site(machine("web"), machine("db"), nodes=[node("edge1"), node("edge2")])))
    return fleet.ledger()


def laid_down(folder: Path, what: Documents | Meanwhile, known: Documents) -> dict[str, bytes]:
    """Every file and every owner as it lies there behind what this process wrote, and what is read back at once."""
    with Writer(folder / "index") as writer:
        writer.table("before", {"a": 1})
        whole = what.lay(writer)
        writer.table("after", {"b": 2})
        bound = writer.has("bindings.single")
    reader = Reader(folder / "index")
    if bound:
        rows: Shelf[Ref, bytes] = Shelf.of(reader, "bindings.single", bytes)
        assert isinstance(what, Meanwhile)
        assert {ref: rows[ref] for ref in what.ledger.bindings.single} == what.ledger.bindings.single
        assert all(reader.count(f"bindings.{name}") == len(getattr(what.ledger.bindings, name)) for name in BINDINGS)
    assert bound == (Counted.here == 0)
    asked = [("before", "a"), ("after", "b"), *(("files", path) for path in known.records.files)]
    asked += [("owners", ref) for ref in known.records.owners]
    found = {" ".join(each): bytes(reader.get(*each) or b"") for each in asked}
    assert all(found.values())
    return found | {"whole": bytes(whole)}


def heard(process: meanwhile._Staying) -> list[bytes]:
    """All that it tells, as who asks nodes hears it."""
    found: list[bytes] = []
    while not found:
        found += process.hear()
    process.end()
    return found


def test_another_process_lays_down_the_same(tmp_path: Path, known: Counted, ledger: Ledger) -> None:
    elsewhere = Meanwhile(known, ledger)
    assert heard(elsewhere.fork(lambda send: send(b"a node"))) == [b"a node"]
    found = laid_down(tmp_path, elsewhere, known)
    elsewhere.end()
    assert Counted.here == 0
    assert elsewhere.secretive == known.secretive
    assert found == laid_down(tmp_path, known, known)


@pytest.mark.parametrize("room", [1, 2_048])
def test_what_another_process_cannot_is_done_here(
    tmp_path: Path, known: Counted, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    monkeypatch.setattr(meanwhile, "_ROOM", room)

    def work(send: Send) -> None:
        send(b"a node")
        if room > 1:
            os.kill(os.getpid(), signal.SIGKILL)

    elsewhere = Meanwhile(known, ledger)
    assert heard(elsewhere.fork(work)) == [b"a node"]
    found = laid_down(tmp_path, elsewhere, known)
    elsewhere.end()
    assert Counted.here == 1
    assert found == laid_down(tmp_path, known, known)


def test_bindings_of_a_ledger_that_went_on_are_none_of_its(tmp_path: Path, known: Counted, ledger: Ledger) -> None:
    elsewhere = Meanwhile(known, ledger)
    heard(elsewhere.fork(lambda send: send(b"a node")))
    ledger.fold(Record(ledger.sequence + 1, 0.0, Covered(Target("edge3"))))
    laid_down(tmp_path, elsewhere, known)
    elsewhere.end()
    assert Counted.here == 1


def test_who_has_no_process_lays_it_down_here(tmp_path: Path, known: Counted, ledger: Ledger) -> None:
    assert laid_down(tmp_path, Meanwhile(known, ledger), known) == laid_down(tmp_path, known, known)


@pytest.mark.parametrize("work", [lambda _: signal.pause(), lambda send: send(b"a node" * 1_000_000)])
def test_it_is_gone_when_it_is_ended_whatever_it_does(
    known: Counted, ledger: Ledger, work: Callable[[Send], object]
) -> None:
    elsewhere = Meanwhile(known, ledger)
    process = elsewhere.fork(work)
    process.end()
    os.kill(process.process.pid, 0)
    elsewhere.end()
    with pytest.raises(ProcessLookupError):
        os.kill(process.process.pid, 0)
