"""A machine taken for one like it must come to what reading it would have given; where that is not sure it is read."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pictures import indexes, picture
from test_tiers import EXAMPLES, lines, texts
from trees import BASE, CAPABILITIES

from reconciler.core.desired import Resource
from reconciler.core.refs import Ref
from reconciler.edge.load import Loader, MemoryTree, events
from reconciler.edge.load.alike import Likenesses, place_of
from reconciler.edge.load.findings import Refused
from reconciler.edge.load.lower import resource
from reconciler.edge.load.skeleton import Skeletons
from reconciler.errors import SpecErrors

relaxed = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])

TEXT = "kind: Machine\nmetadata: {name: NAME, tags: {role: web}}\nspec:\n  image: web-1\n"
SHARED, USES = 3, 4


def machine(name: str) -> Resource:
    return resource(Ref(f"Machine/acme/{name}"), {"memory": 1})


def met(text: str, name: str) -> Likenesses:
    """A text with this name in place of NAME was read."""
    likenesses = Likenesses(Skeletons())
    data = text.replace("NAME", name).encode()
    assert likenesses.first(place_of(b"", data))
    likenesses.learn(place_of(b"", data), data, machine(name), shared=SHARED, uses=USES)
    return likenesses


names = st.one_of(
    st.sampled_from(["a", "web-2", "true", "null", "false", "yes", "no", "on", "y", "inf", "nan", "x" * 63, "x" * 64,
                     "a-", "-a", "1e3", "e1", "0x1", "a.b", "a_b", "a/b", "A", '"a"', "'a'", "a b", "a#b", "a: b", "",
                     "~", "é", "a}", "a, b: c", "a---b", "zzplacezz0zz"]),
    st.from_regex(r"[a-z][a-z0-9-]{0,5}", fullmatch=True),
)  # fmt: skip


def assert_only_the_name_is_news(text: str, name: str) -> bool:
    """Whether the text with this name was taken for its like; then reading it must give just that name."""
    likenesses = met(text, "first") if "NAME" in text else Likenesses(Skeletons())
    data = text.replace("NAME", name).encode()
    found = likenesses.find(place_of(b"", data), data)
    if found is None:
        return False
    before, after = events.read(text.replace("NAME", "first")), events.read(text.replace("NAME", name))
    assert found[1] == after["metadata"]["name"] == name
    before["metadata"]["name"] = name
    assert before == after
    return True


@relaxed
@given(names)
def test_a_machine_of_another_name_reads_as_its_like_does(name: str) -> None:
    assert_only_the_name_is_news(TEXT, name)


@relaxed
@given(names, lines, lines)
def test_among_hostile_lines_only_the_name_is_news(name: str, before: str, after: str) -> None:
    try:
        assert_only_the_name_is_news(f"{before}metadata: {{name: NAME}}\n{after}", name)
    except Refused:
        pytest.fail("what cannot be read was taken for something that can")


@relaxed
@given(names, texts())
def test_among_drawn_documents_only_the_name_is_news(name: str, rest: str) -> None:
    assert_only_the_name_is_news(f"metadata:\n  name: NAME\n  tags: {{}}\n{rest}", name)


def test_likes_are_found() -> None:
    assert assert_only_the_name_is_news(TEXT, "web-22")


@pytest.mark.parametrize(
    "text",
    [
        "metadata: {tags: {name: NAME}, name: other}\n",
        "# name: NAME\nmetadata: {name: other}\n",
        "metadata: {name: other}\nspec: |\n  name: NAME\n",
        'metadata: {name: "NAME"}\n',
        "metadata: {name: NAME}  # name: NAME\n",
        "metadata:\n  name: NAME\n    and more\n",
        "name: NAME\nmetadata: {name: other}\n",
        "metadata: {name: NAME,\u00a0a: b}\n",
    ],
)
def test_a_name_that_stands_elsewhere_is_no_name(text: str) -> None:
    assert not assert_only_the_name_is_news(text, "web-2")


def test_other_defaults_make_another_machine() -> None:
    likenesses = met(TEXT, "web-1")
    data = TEXT.replace("NAME", "web-2").encode()
    assert likenesses.find(place_of(b"other", data), data) is None


def test_what_its_like_came_to_bears_its_own_name_and_digest() -> None:
    data = TEXT.replace("NAME", "web-2").encode()
    found = met(TEXT, "web-1").find(place_of(b"", data), data)
    assert found is not None
    kind, name = found
    own = machine("web-2")
    assert kind.named(name) == (own.ref, own.digest)
    assert (kind.shared, kind.uses) == (SHARED, USES)


def test_a_text_that_was_met_and_not_learned_is_read_again() -> None:
    likenesses = Likenesses(Skeletons())
    first, second = (TEXT.replace("NAME", name).encode() for name in ("a", "b"))
    assert likenesses.first(place_of(b"", first))
    assert not likenesses.first(place_of(b"", second))
    assert likenesses.find(place_of(b"", second), second) is None


# -- through the bulk loader -------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _thawed() -> Iterator[None]:
    import gc

    yield
    gc.unfreeze()


specs = st.sampled_from(
    ["{}", "{package: m}", "{nics: [app, public]}", "{replicas: 2}", "{hostname: a}", "{userData: {file: init.sh}}",
     "{near: {machines: [keep]}}", "{state: any}", "{disks: {data: {size: 1Gi}}}", "{sshKeys: tenant}",
     "{nics: [{network: app, ip: 10.0.1.9}]}", "{nics: [{network: app, mac: '02:00:00:00:00:01'}]}", "{package: nope}"]
)  # fmt: skip
metas = st.sampled_from(["", "", ", tags: {a: b}", ", renamedFrom: old", ", tenant: acme", ", tenant: nobody"])
documents = st.lists(st.tuples(names, st.sampled_from(["acme", "acme/0", "acme/1"]), metas, specs), max_size=6)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents)
def test_fleets_that_are_much_alike_load_in_bulk_as_they_do_one_by_one(drawn: list[tuple[str, str, str, str]]) -> None:
    files: dict[str, str | bytes] = dict(BASE) | {"acme/init.sh": "#!", "acme/0/init.sh": "#!"}
    files["acme/0/_defaults.yaml"] = "Machine: {spec: {package: m}}\n"
    files["acme/keep.yaml"] = "apiVersion: trueup/v1\nkind: Machine\nmetadata: {name: keep}\n"
    for place, (name, folder, meta, spec) in enumerate(drawn):
        for copy, each in enumerate((name, f"{name}-b", f"c-{place}", f"d-{place}")):
            text = f"apiVersion: trueup/v1\nkind: Machine\nmetadata: {{name: {each}{meta}}}\nspec: {spec}\n"
            files[f"{folder}/f{place}-{copy}.yaml"] = text
    outcomes = []
    for bulk, fork in ((1, 1), (1, 10**9), (10**9, 10**9)):
        loader = Loader(CAPABILITIES, bulk_from=bulk, fork_from=fork)
        try:
            loader.load(MemoryTree(files))
            outcomes.append((picture(loader), indexes(loader)))
        except SpecErrors as wrong:
            outcomes.append(wrong.diagnostics)
    assert outcomes[0] == outcomes[1] == outcomes[2]
