"""A data centre lives through anything that hypothesis can think of, and keeps its invariants (I1 … I13)."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.core.desired import Affinity, Behaviour, Constraints, Drain, Lineage, Policy, Resource, volumes_of
from reconciler.core.plan import Plan
from reconciler.core.refs import Ref, name_of
from tests.builders import GiB, image, machine, network, volume
from tests.properties.life import POLICY, Life

NAMES = ("web", "web-1", "web-2", "db", "job")
TARGETS = ("edge1", "inc/a", "inc/b")
DRAINS = (None, None, Drain("move", "new fans"), Drain("stop", "power"))
OTHER = image("alpine", content="2")


def machines() -> st.SearchStrategy[Resource]:
    def make(name: str, memory: int, nics: tuple[str, ...], ip: str | None, more: dict[str, Any]) -> Resource:
        ips = {"Network/acme/app": ip} if ip and nics else None
        return machine(name, memory=memory * GiB, nics=nics, ips=ips, **more)

    more = st.fixed_dictionaries(
        {},
        optional={
            "protected": st.booleans(),
            "uses": st.just(OTHER),
            "mounts": st.sampled_from([("Volume/acme/shop",), ("Volume/acme/shop", "Volume/acme/media")]),
            "body": st.sampled_from(
                [{"hostname": "x"}, {"state": "stopped"}, {"disks": {"data": {"size": GiB, "path": "/data"}}}]
            ),
            "behaviour": st.builds(
                Behaviour,
                drift=st.sampled_from([None, "heal", "off"]),
                replace=st.booleans(),
                renamed_from=st.sampled_from([None, Ref("Machine/acme/web"), Ref("Machine/acme/web-1")]),
            ),
            "constraints": st.builds(
                Constraints,
                node=st.sampled_from([None, "edge1", "inc/a", "inc"]),
                spread=st.sampled_from([None, Affinity((Ref("Machine/acme/db"), Ref("Machine/acme/job")), hard=True)]),
            ),
        },
    )
    nics = st.sampled_from([(), ("Network/acme/app",), ("Network/acme/app", "Network/acme/db")])
    ips = st.sampled_from([None, None, "10.0.1.2", "10.0.1.3"])
    return st.builds(make, st.sampled_from(NAMES), st.integers(1, 12), nics, ips, more)


def volumes() -> st.SearchStrategy[Resource]:
    def make(name: str, size: int, node: str | None, protected: bool) -> Resource:
        return volume(name, size=size * GiB, constraints=Constraints(node=node), protected=protected)

    return st.builds(
        make, st.sampled_from(VOLUMES), st.integers(1, 4), st.sampled_from([None, None, "edge2"]), st.booleans()
    )


class Story:
    """A life, its plans, and chance for the executor."""

    def __init__(self, random: Random, policy: Policy = POLICY) -> None:
        self.life = Life(*TARGETS, policy=policy)
        self.life.want(OTHER)
        self.random = random
        self.plans: list[Plan] = []
        self.life.look_all()

    def cycle(self, dies_after: int | None = None) -> Plan:
        self.life.resume(self.random, self.plans)
        plan = self.life.plan()
        self.plans.append(plan)
        self.life.carry_out(plan, self.random, dies_after=dies_after)
        return plan

    def settle(self) -> Plan:
        """Every node answers, nobody dies: it comes to rest soon, but for what is held."""
        for _ in range(8):
            self.life.resume(self.random, self.plans)
            self.life.look_all()
            plan = self.cycle()
            if not plan.changes and not plan.entries:
                return plan
            self.life.now += 1
        raise AssertionError(f"it does not come to rest: {[change.id for change in plan.changes]} {plan.entries}")


VOLUMES = ("shop", "media")
Deed = Callable[[Story], object]


def no_clash(story: Story, one: Resource) -> None:
    """What the loader refuses is not wanted: two with one address, a rename to a name that is still there."""
    ips = {nic.ip for nic in one.nics if nic.ip}
    for ref, other in list(story.life.wanted.items()):
        if ref != one.ref and ips & {nic.ip for nic in other.nics if nic.ip}:
            del story.life.wanted[ref]
        if other.behaviour.renamed_from is not None and other.behaviour.renamed_from == one.behaviour.renamed_from:
            story.life.wanted.pop(ref, None)
    for ref in volumes_of(one):
        if ref not in story.life.wanted:
            story.life.want(volume(name_of(ref)))
    story.life.want(one)


def honest() -> st.SearchStrategy[Deed]:
    """What happens to everybody: commits, time, nodes that do not answer, drift, losses, crashes."""
    targets = st.sampled_from(TARGETS)
    names = st.sampled_from(
        [Ref(f"Machine/acme/{name}") for name in NAMES] + [Ref(f"Volume/acme/{name}") for name in VOLUMES]
    )
    want = st.builds(lambda one: lambda story: no_clash(story, one), machines())
    return st.one_of(
        want,
        want,
        st.builds(lambda one: lambda story: story.life.want(one), volumes()),
        st.builds(lambda ref: lambda story: story.life.drop(ref), names),
        st.just(lambda story: story.cycle()),
        st.builds(lambda many: lambda story: story.cycle(many), st.integers(0, 25)),
        st.just(lambda story: (story.life.look_all(), story.cycle(), story.life.look_all())),
        st.builds(lambda target: lambda story: story.life.look(target), targets),
        st.builds(lambda target, some: lambda story: story.life.look(target, partial=some), targets, st.integers(0, 4)),
        st.builds(lambda target: lambda story: story.life.look(target, silent=True), targets),
        st.builds(lambda target, much: lambda story: story.life.drift(target, "/memory", much * GiB), targets,
                  st.integers(1, 3)),
        st.builds(lambda target: lambda story: story.life.drift(target, "/state", "stopped"), targets),
        st.builds(lambda target: lambda story: story.life.hide(target, "/memory"), targets),
        st.builds(lambda target: lambda story: story.life.lose(target), targets),
        st.builds(lambda target, how: lambda story: story.life.drain(target, how), targets, st.sampled_from(DRAINS)),
        st.builds(lambda seconds: lambda story: setattr(story.life, "now", story.life.now + seconds),
                  st.sampled_from([10.0, 4000.0])),
        st.builds(lambda heals: lambda story: setattr(story.life, "heals", heals), st.booleans()),
        st.builds(lambda mtu: lambda story: story.life.want(network(mtu=mtu)), st.sampled_from([1500, 9000])),
        st.just(lambda story: story.life.forget_all()),
        st.builds(lambda subject, seconds: lambda story: story.life.pause(subject, seconds),
                  st.one_of(names, st.just("Node/edge1")), st.sampled_from([5.0, 60.0, 5000.0])),
        st.builds(lambda ref: lambda story: story.life.unpause(ref), names),
        st.just(lambda story: story.settle()),
    )  # fmt: skip


def wicked() -> st.SearchStrategy[Deed]:
    """What happens to some: copies with all marks, nodes that come back empty, histories without lineage."""
    targets = st.sampled_from(TARGETS)
    return st.one_of(
        honest(),
        st.builds(lambda source, target: lambda story: story.life.copy(source, target), targets, targets),
        st.builds(lambda target: lambda story: story.life.reimage(target), targets),
        st.sampled_from([None, Lineage(broken="a force push"), Lineage(older=True)]).map(
            lambda lineage: lambda story: setattr(story.life, "lineage", lineage)
        ),
    )


chance = st.randoms(use_true_random=False)


@settings(deadline=None)
@given(st.lists(honest(), min_size=6, max_size=30), chance)
def test_whatever_happens_it_comes_to_rest_and_keeps_the_rules(happened: list[Deed], random: Random) -> None:
    story = Story(random)
    for deed in happened:
        deed(story)
        story.life.check_truth()
    story.settle()


@settings(deadline=None)
@given(st.lists(wicked(), min_size=6, max_size=30), chance)
def test_copies_reimaged_nodes_and_broken_histories_break_no_rule(happened: list[Deed], random: Random) -> None:
    story = Story(random)
    for deed in happened:
        deed(story)
        story.life.check_truth()
    story.settle()
