"""Steps as data, by one-line builders."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from drivers.sim import DRIVER
from drivers.sim.world import World
from reconciler.core.desired import NodeWant
from reconciler.core.observed import Marks, Object
from reconciler.core.plan import Expect, Step
from reconciler.core.refs import Ref, Target, Uid
from reconciler.driver import Driver, StepContext

DATACENTER = "5f0c1a52-6d7e-4f2b-9a34-1f3c5b7d9e01"
GI = 2**30


def marks(uid: str, ref: str, **more: Any) -> Marks:
    return msgspec.structs.replace(Marks(Uid(uid), Ref(ref), DATACENTER, 1, 1, 1, "tree:1", ""), **more)


def step(verb: str, uid: str = "u1", ref: str = "Machine/acme/web", **more: Any) -> Step:
    """`before` and `after` are Expects; the rest are arguments of the verb."""
    before, after = more.pop("before", Expect("live")), more.pop("after", Expect("live", applied="done"))
    target = Target(more.pop("target", "edge1"))
    args = {"marks": msgspec.to_builtins(marks(uid, ref)), **more}
    return Step(f"{ref}@{target}:1-{verb}", target, Ref(ref), Uid(uid), verb, args, before, after, verb)


def context(**more: Any) -> StepContext:
    return msgspec.structs.replace(StepContext(fence=1, generation=1, now=1000.0), **more)


def machine(world: World, uid: str = "u1", *, target: str = "edge1", **fields: Any) -> Object:
    """A stopped machine of ours, there already."""
    whole: Mapping[str, Any] = {"image": "sha256:a", "memory": GI, "disk": 5 * GI, "state": "stopped", **fields}
    thing = Object("Machine", uid, "", whole, digest="", marks=marks(uid, f"Machine/acme/{uid}"))
    return world.put(target, thing).object


def opened(file: Path, node: str = "edge1") -> Driver:
    return DRIVER.open(NodeWant(node, "sim", "", f"sim:{file}"), {})
