"""The proof of a stencil: none is made of what does not come out of lowering just as it went in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from test_alike import LAYOUTS, written

from reconciler.core.desired import Behaviour, Resource
from reconciler.core.refs import Ref
from reconciler.edge.load.alike import Alike, place_of
from reconciler.edge.load.defaults import KindDefaults
from reconciler.edge.load.document import Declared
from reconciler.edge.load.kindred import Kindred
from reconciler.edge.load.lower import Lowered, resource
from reconciler.edge.load.packing import Packer
from reconciler.edge.load.skeleton import Skeletons


def stencilled(
    lower: Callable[[Declared], Lowered | None], role: str = "web", layout: str = LAYOUTS[0]
) -> tuple[Alike | None, Packer]:
    """What is told of the second machine of its kind, if this is how machines are lowered."""
    packer, skeletons = Packer(), Skeletons()
    given = KindDefaults({"tenant": "acme"}, {"image": "deb", "package": "s"})
    kin = Kindred(packer, skeletons, lambda path: given, lower)
    found = None
    for name in ("a", "b"):
        data = written(layout, name, "acme", (role, "b", "c", "d")).encode()
        place = place_of(data)
        assert place is not None
        found = kin.find(b"", place, "acme/a.yaml")
    return found, packer


def plainly(declared: Declared, **more: Any) -> dict[str, Any]:
    return {"tags": declared.tags, "metadata": declared.spec.metadata} | more


def word_of(declared: Declared) -> str:
    return str(declared.tags["role"])


def test_a_stencil_gives_the_resource_that_lowering_gives() -> None:
    def lower(declared: Declared) -> Lowered:
        return Lowered(resources=[resource(declared.ref, plainly(declared), references=(Ref("Image/deb"),))])

    found, packer = stencilled(lower)
    assert found is not None
    body = {"tags": {"role": "web", "env": "b"}, "metadata": {"role": "c", "app": "d"}}
    told = resource(Ref("Machine/acme/b"), body, references=(Ref("Image/deb"),))
    assert found.named([b"b"]) == ([told.ref], [told.digest])
    batch = packer.batch()
    shared, uses, whole = batch.kinds[found.kind]
    assert Resource(told.ref, told.digest, *batch.shared[shared].parts(batch.bodies[whole])) == told
    assert batch.uses[uses] == ()


@pytest.mark.parametrize(
    "lower",
    [
        lambda one: None,
        lambda one: Lowered(),
        lambda one: Lowered(resources=[resource(one.ref, plainly(one))] * 2),
        lambda one: Lowered(resources=[resource(Ref(one.ref + "-1"), plainly(one))]),
        lambda one: Lowered(resources=[resource(one.ref, {"tags": one.tags})]),
        lambda one: Lowered(resources=[resource(one.ref, plainly(one, role=word_of(one)))]),
        lambda one: Lowered(resources=[resource(one.ref, plainly(one, role=f"a {word_of(one)}"))]),
        lambda one: Lowered(resources=[resource(one.ref, plainly(one, host=one.name))]),
        lambda one: Lowered(resources=[resource(one.ref, plainly(one, host=f"{one.name}.example.org"))]),
        lambda one: Lowered(resources=[resource(one.ref, plainly(one, tags={**one.tags, "role": 1, word_of(one): 1}))]),
        lambda one: Lowered(resources=[resource(one.ref, plainly(one), references=(Ref(word_of(one)),))]),
        lambda one: Lowered(resources=[resource(one.ref, plainly(one))], uses={word_of(one)}),
        lambda one: Lowered(
            resources=[resource(one.ref, plainly(one))], claims=[("mac a", one.finding((), "it is taken"))]
        ),
        lambda one: Lowered(resources=[resource(one.ref, plainly(one), parties=(one.ref,))]),
        lambda one: Lowered(
            resources=[resource(one.ref, plainly(one), behaviour=Behaviour(renamed_from=Ref(f"{one.ref}-1")))]
        ),
    ],
)  # fmt: skip
def test_no_stencil_is_made_of_what_does_not_come_out_as_it_went_in(
    lower: Callable[[Declared], Lowered | None],
) -> None:
    assert stencilled(lower)[0] is None


@pytest.mark.parametrize("field", ["replicas: 1", "userData: {file: init.sh}", "image: No", "near: {machines: []}"])
def test_no_stencil_is_made_of_what_is_no_machine_by_itself(field: str) -> None:
    layout = f"metadata: {{name: NAME}}\nspec: {{{field}}}\n"
    assert stencilled(lambda one: Lowered(resources=[resource(one.ref, {})]), layout=layout)[0] is None


def test_no_stencil_is_made_of_what_was_called_otherwise() -> None:
    def lower(declared: Declared) -> Lowered:
        return Lowered(resources=[resource(declared.ref, {})])

    assert stencilled(lower, layout="metadata: {name: NAME}\nspec: {}\n")[0] is not None
    assert stencilled(lower, layout="metadata: {name: NAME, renamedFrom: old}\nspec: {}\n")[0] is None


def test_words_like_ours_in_the_text_are_as_good_as_any() -> None:
    found, packer = stencilled(lambda one: Lowered(resources=[resource(one.ref, plainly(one))]), role="zzplacezz4zz")
    assert found is not None
    batch = packer.batch()
    assert b'"role":"zzplacezz4zz"' in batch.bodies[batch.kinds[found.kind][2]]
