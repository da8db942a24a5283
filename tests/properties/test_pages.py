"""What a page of a plan computes quickly, against the plainest way to compute it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.plan import Action, Change, Gate, Plan, Step
from reconciler.core.render.fold import fold, predicted_seconds, shared_fields
from tests.core.render.test_plan_text import change, plan, step

LANES = 4


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Changes whose steps need any steps that can be done before them, in whatever order the changes stand."""
    lengths = draw(st.lists(st.integers(0, 4), max_size=6))
    chains: list[list[Step]] = [[] for _ in lengths]
    turns = draw(st.permutations([index for index, length in enumerate(lengths) for _ in range(length)]))
    done = ["of another plan"]
    for turn in turns:
        needs = st.lists(st.sampled_from(done), max_size=2, unique=True).map(tuple)
        gates = st.lists(st.builds(Gate, steps=needs, pause=st.sampled_from((0.0, 3.0))), max_size=1).map(tuple)
        name = f"Machine/a/m{turn}@{draw(st.sampled_from(('n1', 'n2')))}"
        seconds = draw(st.sampled_from((0.5, 1.0, 7.0)))
        made = step(name, len(chains[turn]), "v", seconds=seconds, needs=draw(needs), gates=draw(gates))
        chains[turn].append(made)
        done.append(made.id)
    return plan(*(change(f"Machine/a/m{n}", "n1", Action.UPDATE, steps=tuple(each)) for n, each in enumerate(chains)))


def end_of(wanted: Step, steps: Mapping[str, Step], before: Mapping[str, str]) -> float:
    """When a step ends, by asking everything that it waits for."""
    needs = [*wanted.needs, *(name for gate in wanted.gates for name in gate.steps), before.get(wanted.id, "")]
    start = max((end_of(steps[name], steps, before) for name in needs if name in steps), default=0)
    return start + wanted.seconds + max((gate.pause for gate in wanted.gates), default=0)


@given(plans())
def test_a_plan_takes_as_long_as_its_longest_chain_or_its_busiest_node(found: Plan) -> None:
    steps = {each.id: each for each in found.steps}
    before = {
        later.id: earlier.id
        for each in found.changes
        for earlier, later in zip(each.steps, each.steps[1:], strict=False)
    }
    chain = max((end_of(each, steps, before) for each in steps.values()), default=0)
    targets = {each.target for each in steps.values()}
    busy = max((sum(each.seconds for each in steps.values() if each.target == target) for target in targets), default=0)
    assert predicted_seconds(found, LANES) == max(chain, busy / LANES)


_KEYS = st.sampled_from(("ip", "mac", "memory", "nics"))
_LEAVES = st.sampled_from((None, 1, 1.0, True, "a", [], ["a"]))
_FIELDS = st.recursive(
    st.dictionaries(_KEYS, _LEAVES, min_size=1, max_size=3),
    lambda inner: st.dictionaries(_KEYS, inner | _LEAVES, min_size=1, max_size=3),
    max_leaves=6,
)


def created(name: str, after: Mapping[str, Any]) -> Change:
    return change(f"Machine/a/{name}", "n1", Action.CREATE, after=after)


@given(_FIELDS, _FIELDS)
def test_creations_are_told_as_one_only_where_all_that_they_share_is_the_same(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    together = len(fold([created("one", one), created("other", other)])) == 1
    left, right = (
        sorted((path, type(leaf), str(leaf)) for path, leaf in shared_fields(each).items()) for each in (one, other)
    )
    assert not together or left == right
    assert together or left != right or _shape(one) != _shape(other)


def _shape(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The maps alone: what has nothing left but its name still is one."""
    return {key: _shape(value) for key, value in fields.items() if isinstance(value, dict)}
