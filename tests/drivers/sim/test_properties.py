"""Whatever happens to a fleet, its bookkeeping holds."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import anyio
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.sim.world import NoSuch, World
from reconciler.core.plan import Expect
from tests.drivers.sim.samples import DATACENTER, GI, context, machine, opened, step

NAMES = st.sampled_from(["u1", "u2", "u3"])


def deeds() -> st.SearchStrategy[Callable[[World], object]]:
    """Things that people, tools and we ourselves do."""

    def act(world: World, verb: str, uid: str, generation: int) -> None:
        after = {"start": "running", "stop": "stopped"}[verb]
        deed = step(verb, uid, f"Machine/acme/{uid}", after=Expect("live", {"/state": after}))
        driver = opened(Path(world.store.path))
        anyio.run(driver.apply, deed, context(generation=generation))

    return st.one_of(
        st.builds(lambda uid: lambda world: machine(world, uid), NAMES),
        st.builds(
            lambda uid, size: lambda world: world.drift("edge1", uid, "/memory", size * GI), NAMES, st.integers(1, 4)
        ),
        st.builds(lambda uid: lambda world: world.delete("edge1", uid), NAMES),
        st.builds(lambda uid, other: lambda world: world.copy("edge1", uid, f"{other}-copy"), NAMES, NAMES),
        st.builds(lambda uid: lambda world: world.set_gauges("edge1", uid, used=GI), NAMES),
        st.builds(
            lambda verb, uid, generation: lambda world: act(world, verb, uid, generation),
            st.sampled_from(["start", "stop"]),
            NAMES,
            st.integers(1, 3),
        ),
    )


@settings(max_examples=25, deadline=None)
@given(st.lists(deeds(), max_size=12))
def test_sum_of_digests_is_that_of_the_objects(happened: list[Callable[[World], object]]) -> None:
    with tempfile.TemporaryDirectory() as folder, World(Path(folder, "fleet.db")) as world:
        world.add_node("edge1")
        world.claim("edge1", DATACENTER)
        for deed in happened:
            try:
                deed(world)
            except NoSuch:
                continue
        total = sum(int(thing.digest, 16) for thing in world.store.objects("edge1"))
        assert world.target("edge1").sum == f"{total % 2**128:x}"


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=8))
def test_writes_that_were_done_never_go_back_in_fence_or_generation(writers: list[tuple[int, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder, World(Path(folder, "fleet.db")) as world:
        world.add_node("edge1")
        world.claim("edge1", DATACENTER)
        machine(world)
        driver, done = opened(Path(world.store.path)), []
        for number, (fence, generation) in enumerate(writers):
            mark = step("update", set={"/threads": number + 1}, after=Expect("live", {"/threads": number + 1}))
            outcome = anyio.run(driver.apply, mark, context(fence=fence, generation=generation))
            if outcome.status == "applied":
                done.append((fence, generation))
        assert done == sorted(done)
        assert [fence for fence, _ in done] == sorted(fence for fence, _ in done)
        assert [generation for _, generation in done] == sorted(generation for _, generation in done)
