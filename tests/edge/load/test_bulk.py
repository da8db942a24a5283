"""Loading in bulk, by forked workers or by one here, gives byte for byte what reading file by file gives, mistakes
included."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from pictures import indexes, picture
from trees import BASE, CAPABILITIES

from reconciler.edge.forked import Work
from reconciler.edge.load import Loader, MemoryTree, bulk
from reconciler.edge.load.attempt import Attempt
from reconciler.edge.load.reading import Reader
from reconciler.edge.load.records import Records
from reconciler.edge.shares import shared
from reconciler.errors import SpecErrors

pytestmark = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")


@pytest.fixture(autouse=True)
def _thawed() -> Iterator[None]:
    """What a bulk load froze is the collector's again: other tests look for garbage."""
    yield
    gc.unfreeze()


def test_what_lies_together_is_read_together_and_the_work_is_shared() -> None:
    tenants = [f"tenants/t{tenant:02}/{number % 5}/m{number}.yaml" for tenant in range(20) for number in range(200)]
    plain = [f"machines/m{number}.yaml" for number in range(3000)]
    for paths in (tenants, plain, [f"a/b/{path}" for path in plain], [path.rpartition("/")[2] for path in plain]):
        files = [(index, path, "blob") for index, path in enumerate(sorted(paths))]
        shares = shared(files)
        assert sorted(file for share in shares for file in share) == files
        assert max(map(len, shares)) - min(map(len, shares)) <= 1_024
    whole = [{path.split("/")[1] for _, path, _ in share} for share in shared([(0, path, "") for path in tenants])]
    assert not set.intersection(*whole)


def test_what_machines_name_is_read_first() -> None:
    paths = sorted(
        ["dc.yaml", *(f"a/{n}.yaml" for n in range(50)), "a/nets/n.yaml", *(f"b/{n}.yaml" for n in range(9))]
    )
    first, _ = shared([(index, path, "") for index, path in enumerate(paths)])
    small = {"dc.yaml", "a/nets/n.yaml", *(f"b/{n}.yaml" for n in range(9))}
    assert {path for _, path, _ in first[: len(small)]} == small
    assert [index for index, _, _ in first[len(small) :]] == sorted(index for index, _, _ in first[len(small) :])


def test_in_whatever_order_files_come_they_are_taken_in_by_their_paths() -> None:
    tree = MemoryTree(BASE)
    found = []
    for turned in (False, True):
        attempt = Attempt(Records(), tree, CAPABILITIES)
        reader = Reader(attempt)
        entries = [(path, blob, next(iter(tree.read([blob])))) for path, blob in tree.entries()]
        for each in reversed(entries) if turned else entries:
            reader.begin([each])
        reader.end()
        found.append([list(attempt.entries.over), [one.file for one in attempt.units], list(attempt.nodes.over)])
    assert found[0] == found[1]
    assert found[0][1] == sorted(found[0][1])


def machine(name: str, spec: str, meta: str = "") -> str:
    return f"apiVersion: trueup/v1\nkind: Machine\nmetadata: {{name: {name}{meta}}}\nspec: {spec}\n"


def fleet() -> dict[str, str | bytes]:
    """Some hundred machines of every sort."""
    files: dict[str, str | bytes] = dict(BASE)
    for number in range(300):
        spec = ("{}", "{package: m}", "{nics: [app, public]}", "{disks: {data: {size: 1Gi}}}")[number % 4]
        files[f"acme/{number % 7}/m{number}.yaml"] = machine(f"m{number}", spec)
    for number in range(40):
        files[f"acme/ip{number}.yaml"] = machine(
            f"ip{number}", f"{{nics: [{{network: app, ip: 10.0.1.{number + 2}}}]}}"
        )
    files["acme/group.yaml"] = "---\n".join(
        [machine("g", "{replicas: 3, spread: {}, update: {canary: 1}}"), machine("h", "{replicas: [2, 4], state: any}")]
    )
    files["acme/0/_defaults.yaml"] = "Machine: {spec: {package: m, traits: {ssd: true}}}\n"
    files["acme/near.yaml"] = machine("near", "{near: {machines: [g]}, avoid: {machines: [m1], hard: true}}")
    files["acme/renamed.yaml"] = machine("new", "{}", ", renamedFrom: old")
    files["acme/text.yaml"] = machine("text", "{userData: {file: init.sh}, sshKeys: tenant}")
    files["acme/init.sh"] = "#!/bin/sh\n"
    files["acme/yaml.yaml"] = machine("yaml", "{userData: {file: data.yaml}}")
    files["acme/data.yaml"] = "packages: [a]\n"
    files["acme/ci.yaml"] = machine("ci", "{userData: {file: ci/a.yaml}}")
    files["acme/ci/a.yaml"] = "#cloud-config\na: 1\n"
    files["acme/cloud.yaml"] = "#cloud-config\n" + machine("of-a-guest", "{}")
    files["acme/odd.yaml"] = machine("odd", '{hostname: "odd"}  # a comment\n').replace(
        "kind: Machine", 'kind: "Machine"'
    )
    files["acme/tab.yaml"] = machine("tab", "{metadata: {a: 'x'}}  #\tread by the round trip")
    files["acme/many.yaml"] = "apiVersion: trueup/v1\nkind: Machines\nitems:\n" + "".join(
        f"  p{n}: {{}}\n" for n in range(50)
    )
    return files


FORKED, HERE = 1, 10**9
"""Files from which workers are forked."""
both = pytest.mark.parametrize("fork_from", [FORKED, HERE], ids=["forked", "here"])


def in_bulk(files: dict[str, str | bytes], fork_from: int = FORKED) -> Loader:
    loader = Loader(CAPABILITIES, bulk_from=1, fork_from=fork_from)
    loader.load(MemoryTree(files))
    return loader


def in_one(files: dict[str, str | bytes]) -> Loader:
    loader = Loader(CAPABILITIES, bulk_from=10**9)
    loader.load(MemoryTree(files))
    return loader


@both
def test_bulk_gives_what_one_process_gives(fork_from: int) -> None:
    bulk, one = in_bulk(fleet(), fork_from), in_one(fleet())
    assert picture(bulk) == picture(one)
    assert indexes(bulk) == indexes(one)


@both
def test_bulk_takes_the_bulk_way(fork_from: int) -> None:
    told: list[tuple[int, int]] = []
    loader = Loader(CAPABILITIES, bulk_from=1, fork_from=fork_from)
    loader.progress = lambda done, whole: told.append((done, whole))
    loader.load(MemoryTree(fleet()))
    assert told
    assert told[-1][0] == told[-1][1]


@both
def test_what_there_is_to_do_meanwhile_is_done_once_where_others_read(fork_from: int) -> None:
    done: list[str] = []
    loader = Loader(CAPABILITIES, bulk_from=1, fork_from=fork_from)
    loader.meanwhile = lambda: done.append("once")
    loader.load(MemoryTree(fleet()))
    loader.load(MemoryTree(fleet() | {"acme/more.yaml": machine("more", "{}")}))
    assert done == (["once"] if fork_from == FORKED else [])


def test_one_process_reads_a_smaller_tree_where_there_is_something_to_do_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And none where there is not."""
    monkeypatch.setattr(bulk, "BESIDE", 1)
    begun: list[bulk._Process] = []

    class Process(bulk._Process):
        def __init__(self, work: Work) -> None:
            super().__init__(work)
            begun.append(self)

    monkeypatch.setattr(bulk, "_Process", Process)
    found: list[str] = []
    ways: list[Callable[[], object] | None] = [None, lambda: found.append("done")]
    for meanwhile in ways:
        loader = Loader(CAPABILITIES, bulk_from=1, fork_from=HERE)
        loader.meanwhile = meanwhile
        loader.load(MemoryTree(fleet()))
        assert picture(loader) == picture(in_one(fleet()))
        assert indexes(loader) == indexes(in_one(fleet()))
        assert len(begun) == len(found)
    assert found == ["done"]


@both
def test_a_bulk_load_goes_on_at_the_cost_of_what_changed(fork_from: int) -> None:
    files = fleet()
    bulk = in_bulk(files, fork_from)
    files["packages.yaml"] = str(files["packages.yaml"]).replace("1Gi, cpu: 1,", "3Gi, cpu: 1,")
    del files["acme/g.yaml" if "acme/g.yaml" in files else "acme/group.yaml"], files["acme/near.yaml"]
    bulk.load(MemoryTree(files))
    one = in_one(files)
    assert picture(bulk) == picture(one)
    assert indexes(bulk) == indexes(one)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("acme/x.yaml", machine("m7", "{}")),
        ("acme/x.yaml", machine("x", "{nics: [{network: app, ip: 10.0.1.5}]}")),
        ("acme/x.yaml", machine("x", "{package: nope}")),
        ("acme/x.yaml", machine("g-2", "{}")),
        ("acme/x.yaml", "a: ["),
        ("acme/x.yaml", machine("x", "{}", ", tenant: nobody")),
        ("acme/x.yaml", machine("x", "{}", ", renamedFrom: m7")),
        ("acme/x.yaml", 'apiVersion: trueup/v1\nkind: "Machine"\nmetadata: {name: m7}\n'),
        ("acme/x.yaml", machine("x", "{near: {machines: [m7]}, nics: [{network: app, ip: 10.0.1.5}]}")),
        ("acme/tenant.yaml", BASE["acme/tenant.yaml"].replace("}}\n", "}, limits: {machines: 9}}\n")),
        ("nodes.yaml", "a: 1"),
        ("acme/data.yaml", "a: ["),
    ],
)
@both
def test_mistakes_are_told_as_one_process_tells_them(fork_from: int, path: str, text: str) -> None:
    files = fleet() | {path: text}
    with pytest.raises(SpecErrors) as bulk:
        in_bulk(files, fork_from)
    with pytest.raises(SpecErrors) as one:
        in_one(files)
    assert bulk.value.diagnostics == one.value.diagnostics


class _Slow(MemoryTree):
    """Its workers take long to read, and say who they are."""

    def __init__(self, files: dict[str, str | bytes], pipe: int) -> None:
        super().__init__(files)
        self.pipe = pipe
        self.inner = False

    def reopened(self) -> MemoryTree:
        self.inner = True
        return self

    def read(self, blobs: Sequence[str]) -> Iterator[bytes]:
        if self.inner:
            os.write(self.pipe, f"{os.getpid()}\n".encode())
            time.sleep(30)
        return super().read(blobs)


def test_a_worker_that_dies_costs_time_only() -> None:
    read, write = os.pipe()

    def kill() -> None:
        os.kill(int(os.read(read, 100).split()[0]), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    loader = Loader(CAPABILITIES, bulk_from=1, fork_from=FORKED)
    began = time.monotonic()
    loader.load(_Slow(fleet(), write))
    killer.join()
    os.close(read)
    os.close(write)
    assert time.monotonic() - began < 20
    assert picture(loader) == picture(in_one(fleet()))


def _children() -> set[str]:
    return {child for task in Path("/proc/self/task").iterdir() for child in (task / "children").read_text().split()}


def test_no_worker_is_left_behind() -> None:
    before = _children()
    in_bulk(fleet())
    assert _children() <= before
