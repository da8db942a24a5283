"""A machine written like another, but for its name or for free text, is not read: what it comes to is what reading it
would have given; where that is not sure it is read."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pictures import indexes, picture
from test_tiers import EXAMPLES, WORDS, lines, plain_equal, simple, texts
from trees import BASE, CAPABILITIES

from reconciler.edge.load import Loader, MemoryTree, events, kindred
from reconciler.edge.load.alike import place_of
from reconciler.edge.load.attempt import Attempt
from reconciler.edge.load.bulk import Bulk
from reconciler.edge.load.findings import Refused
from reconciler.edge.load.packing import Batch
from reconciler.edge.load.reading import Reader
from reconciler.edge.load.records import Records
from reconciler.edge.load.skeleton import Skeletons, taken, whole
from reconciler.edge.load.worker import Setup, Worker
from reconciler.errors import SpecErrors

relaxed = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])

TEXT = "kind: Machine\nmetadata: {name: NAME, tags: {role: web}}\nspec:\n  image: web-1\n"

names = st.one_of(
    st.sampled_from(["a", "web-2", "true", "null", "false", "yes", "no", "on", "y", "inf", "nan", "x" * 63, "x" * 64,
                     "a-", "-a", "1e3", "e1", "0x1", "a.b", "a_b", "a/b", "A", '"a"', "'a'", "a b", "a#b", "a: b", "",
                     "~", "é", "a}", "a, b: c", "a---b", "zzplacezz0zz"]),
    st.from_regex(r"[a-z][a-z0-9-]{0,5}", fullmatch=True),
)  # fmt: skip


# -- what may be taken out of a text -----------------------------------------------------------------------------------


def assert_only_that_place_is_news(text: str, values: list[str]) -> bool:
    """Whether the text's skeleton is understood; then another value in one hole changes what is read there alone."""
    parts = taken(text)
    skeletons, skeleton = Skeletons(), "\0".join(parts[::2])
    assert skeletons.understood(skeleton, parts[::2]) is None, "met for the first time"
    found = skeletons.understood(skeleton, parts[::2])
    if found is None:
        return False
    assert len(found.paths) == len(parts) // 2
    for hole, path in enumerate(found.paths):
        for value in (parts[2 * hole + 1], *values):
            other = parts.copy()
            other[2 * hole + 1] = value
            if taken(whole(other)) != other:
                continue  # no simple value here
            try:
                told = events.read(whole(other))
                before = events.read(text)
            except Refused:
                continue
            alone = events.read(f"- {value}\n")[0] if value[0] != '"' else value[1:-1]
            assert plain_equal(told, _with(before, path, alone)), (text, other)
    return True


def _with(value: object, path: tuple[str | int, ...], new: object) -> object:
    if not path:
        return new
    if isinstance(value, dict):
        return {key: _with(inner, path[1:], new) if key == path[0] else inner for key, inner in value.items()}
    assert isinstance(value, list)
    return [_with(inner, path[1:], new) if at == path[0] else inner for at, inner in enumerate(value)]


@relaxed
@given(lines, st.lists(simple, max_size=4))
def test_among_hostile_lines_only_that_place_is_news(text: str, values: list[str]) -> None:
    assert_only_that_place_is_news(text, values)


@relaxed
@given(texts(), st.lists(simple, max_size=4))
def test_among_drawn_documents_only_that_place_is_news(text: str, values: list[str]) -> None:
    assert_only_that_place_is_news(text, values)


def test_an_ordinary_text_is_understood() -> None:
    assert assert_only_that_place_is_news(TEXT, ["web-2", '"a b"'])


@pytest.mark.parametrize(
    "text",
    [
        "m: {a: 1, b}\n",
        "# name: a\nb: c\n",
        "a: b\n  c: d\n",
        "a: |\n  b: c\n",
        "a: b  # c: d\n",
        "a: {b: c,\u00a0d: e}\n",
    ],
)
def test_a_value_that_is_none_makes_a_text_no_example(text: str) -> None:
    assert not assert_only_that_place_is_news(text, [])


@relaxed
@given(names)
def test_a_name_that_is_taken_out_is_a_text_as_it_stands(name: str) -> None:
    text = TEXT.replace("NAME", name).encode()
    place = place_of(text)
    if place is not None:
        word = place.name.decode()
        assert name.startswith(word)
        assert place.whole() == text
        assert events.read(f"{{name: {word}}}") == {"name": word}


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


# -- free text ---------------------------------------------------------------------------------------------------------

SOUND = [
    "web", "prod", "a.b-c", "ops@a.example.org", "https://a.example.org/x", '"x y"', '""', '"1"', '"true"', '"null"',
    "web-1", '"{secret: a}"', "zzplacezz0zz", '"zzplacezz3zz"', '"~"', "on", "x" * 70, '"# no"', '"<<"', '"? a"',
]  # fmt: skip
ODD = [
    "1", "true", "010", "0x1F", "1.5", "2024-01-15", "~", "null", "{secret: a}", '{secret: ""}', "{file: a}", "[a]",
    "'q'", '"x\\n"', '"é"', "é", "*a", "&a b", "!t a", "|\n      x", "a # c", "a: b", "9" * 30, ".inf", '":x"', "",
    "a b", "zz:place:zz0zz", "x" * 17_000,
]  # fmt: skip
free = st.one_of(st.sampled_from(SOUND), st.sampled_from(SOUND), st.sampled_from(ODD), st.sampled_from(WORDS))

LAYOUTS = [
    "metadata:\n  name: NAME\n  tags:\n    role: R\n    env: E\nspec:\n  metadata:\n    role: M\n    app: A\n",
    "metadata: {name: NAME, tags: {role: R, env: E}}\nspec: {metadata: {role: M, app: A}}\n",
    "metadata: {name: NAME, tags: {role: R}}\nspec:\n  package: m\n  nics: [app, own]\n  metadata:\n    a/b~c: E\n    b: M\n",  # noqa: E501
    "spec:\n  metadata: {role: R, text: E, secret: M}\nmetadata:\n  tags:\n    name: A\n  name: NAME\n",
    "metadata: {tags: {name: A}, name: NAME}\nspec: {}\n",
    "metadata: {name: NAME, tenant: TENANT, tags: {role: R}}\nspec: {sshKeys: tenant}\n",
    "metadata: {name: NAME, tags: {role: R}}\nspec: {hostname: NAME, metadata: {a: A}}\n",
    "metadata: {name: NAME, tags: {role: R, E}}\nspec: {}\n",
    "metadata: {name: NAME}\nspec:\n  metadata:\n    a: {secret: A}\n    b: R\n  ready: {exec: [E, M]}\n"
    "  search: [A]\n",
    "metadata: {name: NAME, tags: {role: R}}  # name: E\nspec: {metadata: {a: A}}\n",
    "metadata: {name: NAME}\nspec: {metadata: {app: A, R}}\n",
    "metadata: {name: NAME}\nspec: {metadata: {app: A, env: R}, replicas: 1}\n",
    "metadata: {name: NAME}\nspec: {metadata: {app: A, env: R}, userData: {file: init.sh}}\n",
    "metadata: {name: NAME}\nspec: {metadata: {app: A, env: R}, userData: A}\n",
    "metadata: {name: NAME, tags: {role: R}}\nspec: {nics: [{network: app, mac: '02:00:00:00:00:0ORD'}]}\n",
    "metadata: {name: NAME, renamedFrom: R}\nspec: {metadata: {app: A}}\n",
    "metadata: {name: NAME, tags: {role: R}}\nspec: {near: {machines: [web]}, metadata: {app: A}}\n",
    "metadata: {name: NAME, tenant: acme, tags: {role: R}}\nspec: {nics: [app], metadata: {app: A}}\n",
    "metadata: {name: NAME, tenant: ~, tags: {role: R}}\nspec: {metadata: {app: A}}\n",
    "metadata: {name: NAME, tag: {role: R}}\nspec: {metadata: {app: A}}\n",
    "metadata: {name: NAME, tags: {role: R}}\nspec: {meta: {app: A}}\n",
    "metadata: {name: NAME, tags: {role: R}}\nspec: {package: nope, metadata: {app: A}}\n",
]  # fmt: skip
DEFAULTS = [
    "",
    "Machine: {spec: {metadata: {role: given, app: given}}}\n",
    '"*": {metadata: {tags: {role: given, more: 1}}}\n',
    "Machine: {spec: {metadata: {role: {secret: given}, text: given}}, metadata: {tags: {env: x}}}\n",
    "Machine: {spec: {metadata: {a: zzplacezz0zz}}}\n",
    "Machine: {spec: {replicas: 2}}\n",
    "Machine: {spec: {sshKeys: tenant, hostname: given}}\n",
]


RESOLVER = {"beta": "9.9.9.1", "gamma": "9.9.9.2"}


def acting(tenant: str, defaults: str) -> dict[str, str | bytes]:
    """A tenant, whose machines lie in its folder."""
    return {
        f"{tenant}/_defaults.yaml": f'"*": {{metadata: {{tenant: {tenant}}}}}\n'
        "Machine: {spec: {image: deb, package: s, nics: [own, public], sshKeys: tenant}}\n",
        f"{tenant}/tenant.yaml": "apiVersion: trueup/v1\nkind: Tenant\n"
        f'metadata: {{name: {tenant}}}\nspec: {{keys: {{al: "ssh-ed25519 AAAA {tenant}"}}}}\n',
        f"{tenant}/0/init.sh": "#!/bin/sh\n",
        f"{tenant}/networks.yaml": f"apiVersion: trueup/v1\nkind: Network\nmetadata: {{name: own}}\n"
        f"spec: {{nicTag: lan, vlan: {len(tenant)}, subnet: 10.9.0.0/24, range: 10.9.0.9-10.9.0.99,"
        f" resolvers: [{RESOLVER[tenant]}]}}\n",
    } | ({f"{tenant}/0/_defaults.yaml": defaults} if defaults else {})


def written(layout: str, name: str, tenant: str, words: tuple[str, str, str, str]) -> str:
    text = layout.replace("NAME", name).replace("TENANT", tenant).replace("ORD", name[-1])
    for letter, word in zip("REMA", words, strict=True):
        text = (
            text.replace(f": {letter}", f": {word}")
            .replace(f"[{letter}", f"[{word}")
            .replace(f", {letter}", f", {word}")
        )
    return "apiVersion: trueup/v1\nkind: Machine\n" + text


def outcome(files: dict[str, str | bytes], *, bulk: int, fork: int) -> object:
    loader = Loader(CAPABILITIES, bulk_from=bulk, fork_from=fork)
    try:
        loader.load(MemoryTree(files))
    except SpecErrors as wrong:
        return wrong.diagnostics
    return picture(loader), indexes(loader)


HERE, ONE = {"bulk": 1, "fork": 10**9}, {"bulk": 10**9, "fork": 10**9}

four = st.tuples(free, free, free, free)


@settings(max_examples=EXAMPLES // 10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(LAYOUTS),
    st.sampled_from(DEFAULTS),
    st.sampled_from(DEFAULTS),
    st.lists(four, min_size=1, max_size=4),
    st.lists(names, max_size=1),
)
def test_machines_that_differ_in_free_text_load_as_they_do_one_by_one(
    layout: str, first: str, second: str, told: list[tuple[str, str, str, str]], odd: list[str]
) -> None:
    """Beside sound neighbours of two tenants, so that none is the first of its kind, and with its likes."""
    files: dict[str, str | bytes] = dict(BASE) | acting("beta", first) | acting("gamma", second)
    for tenant in ("beta", "gamma"):
        for at, words in enumerate([("a", "b", "c", "d"), ("e", "f", "g", "h"), *told]):
            for copy, name in enumerate((f"m{at}-{tenant}", f"n{at}-{tenant}", *odd)):
                files[f"{tenant}/0/m{at}-{copy}.yaml"] = written(layout, name, tenant, words)
    assert outcome(files, **HERE) == outcome(files, **ONE)


def spoken(files: dict[str, str | bytes]) -> tuple[set[str], set[str]]:
    """The paths of machines that a worker here took for others' likes, and of those that it read."""
    attempt = Attempt(Records(), MemoryTree(files), CAPABILITIES)
    bulk = Bulk(attempt, Reader(attempt), fork_from=10**9)
    wanted = bulk.reader.wanted(dict(MemoryTree(files).entries()))
    paths = [path for path, blob in wanted.items() if blob is not None]
    bulk.files = [(path, str(wanted[path])) for path in paths]
    worker = Worker(attempt.tree, [(at, *file) for at, file in enumerate(bulk.files)], CAPABILITIES)
    for message in worker.sort_out():
        bulk._read_here(message.files)  # type: ignore[union-attr]
    names = ("defaults", "entries", "datacenters", "drivers", "others")
    batches = list(worker.lower(Setup({name: dict(getattr(attempt, name).over) for name in names})))
    found = [batch for batch in batches if isinstance(batch, Batch)]
    likes = {paths[at] for batch in found for at in batch.likes.files}
    return likes, {paths[at] for batch in found for at, _ in batch.files}


def fleet(
    layout: str, *words: tuple[str, str, str, str], defaults: str = "", others: str | None = None
) -> dict[str, str | bytes]:
    """Machines of two tenants with these words, four of each. `others`: the defaults of the second."""
    second = defaults if others is None else others
    files: dict[str, str | bytes] = dict(BASE) | acting("beta", defaults) | acting("gamma", second)
    for tenant in ("beta", "gamma"):
        for at, each in enumerate(words):
            for copy in range(4):
                name = f"m{at}-of-{tenant}-{copy}"
                files[f"{tenant}/0/{name}.yaml"] = written(layout, name, tenant, each)
    return files


WORDS_OF_OURS = ("a", "b", "c", "d"), ("e", '"f g"', "h@i.example.org", "j")


@pytest.mark.parametrize("layout", [*LAYOUTS[:3], LAYOUTS[5]])
def test_only_the_first_of_a_kind_is_read(layout: str) -> None:
    files = fleet(layout, *WORDS_OF_OURS)
    likes, read = spoken(files)
    assert len(read - {"acme/web.yaml"}) == 1
    assert len(likes) == 15
    assert outcome(files, **HERE) == outcome(files, **ONE)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_fleets_of_two_tenants_load_as_they_do_one_by_one(layout: str) -> None:
    for at, defaults in enumerate(DEFAULTS):
        for others in (defaults, DEFAULTS[at - 2]):
            files = fleet(layout, *WORDS_OF_OURS, defaults=defaults, others=others)
            assert outcome(files, **HERE) == outcome(files, **ONE), (defaults, others)


def test_a_machine_may_say_that_it_is_of_another_tenant_than_its_neighbours() -> None:
    theirs = next(layout for layout in LAYOUTS if "tenant: acme" in layout)
    for first, second in ((LAYOUTS[0], theirs), (theirs, LAYOUTS[0])):
        files = fleet(first, *WORDS_OF_OURS)
        for tenant in ("beta", "gamma"):
            for at in range(4):
                name = f"other-{tenant}-{at}"
                files[f"{tenant}/0/{name}.yaml"] = written(second, name, tenant, ("a", "b", "c", "d"))
                again = f"more-{tenant}-{at}"
                files[f"{tenant}/0/{again}.yaml"] = written(first, again, tenant, ("a", "b", f"{at}x", "d"))
        if first == theirs:
            files = {path: text for path, text in files.items() if not path.startswith("gamma/0/m")}
        told = outcome(files, **HERE)
        assert told == outcome(files, **ONE)
        assert isinstance(told, tuple)
        assert isinstance(told[0], bytes)


def test_a_folder_whose_tenant_is_no_text_is_told() -> None:
    files = fleet(LAYOUTS[0], *WORDS_OF_OURS, defaults="Machine: {spec: {nics: [app]}}\n")
    files["five.yaml"] = 'apiVersion: trueup/v1\nkind: Tenant\nmetadata: {name: "5"}\n'
    files |= {path.replace("gamma/", "other/"): text for path, text in files.items() if path.startswith("gamma/0/")}
    for tenant, sound in (('"5"', True), ("5", False)):
        files["other/_defaults.yaml"] = str(files["beta/_defaults.yaml"]).replace("tenant: beta", f"tenant: {tenant}")
        told = outcome(files, **HERE)
        assert told == outcome(files, **ONE)
        assert (isinstance(told, tuple) and isinstance(told[0], bytes)) == sound


@pytest.mark.parametrize(("layout", "place"), [(LAYOUTS[0], 0), (LAYOUTS[0], 3), (LAYOUTS[1], 1), (LAYOUTS[1], 2)])
def test_one_odd_word_among_sound_ones_is_taken_or_told_as_one_by_one(layout: str, place: int) -> None:
    for word in (*SOUND, *ODD):
        words = ["a", "b", "c", "d"]
        words[place] = word
        files = dict(BASE) | acting("beta", "")
        for at, each in enumerate((*WORDS_OF_OURS, tuple(words), tuple(words))):
            files[f"beta/0/m{at}.yaml"] = written(layout, f"m{at}", "beta", each)  # type: ignore[arg-type]
        assert outcome(files, **HERE) == outcome(files, **ONE), word


@pytest.mark.parametrize("secret", ['""', "x" * 201], ids=["empty", "long"])
def test_what_a_secret_is_called_is_not_free(secret: str) -> None:
    layout = LAYOUTS[8].replace("  search: [A]\n", "")
    assert "a: {secret: A}" in layout
    files = fleet(layout, *WORDS_OF_OURS, ("a", "b", "c", secret))
    told = outcome(files, **HERE)
    assert told == outcome(files, **ONE)
    assert isinstance(told, tuple)
    assert not isinstance(told[0], bytes)


def test_a_file_that_is_not_utf8_is_told() -> None:
    files = fleet(LAYOUTS[0], *WORDS_OF_OURS)
    files["beta/0/odd.yaml"] = written(LAYOUTS[0], "odd", "beta", WORDS_OF_OURS[0]).encode() + b"# \xff\n"
    assert outcome(files, **HERE) == outcome(files, **ONE)


def test_a_tag_called_name_is_not_the_name() -> None:
    files = dict(BASE) | acting("beta", "")
    for at in range(8):
        files[f"beta/0/m{at}.yaml"] = written(LAYOUTS[4], f"m{at}", "beta", ("a", "b", "c", f"t{at % 3}"))
    likes, _ = spoken(files)
    assert not likes
    assert outcome(files, **HERE) == outcome(files, **ONE)


def test_a_tag_that_is_no_text_makes_another_kind() -> None:
    files = fleet(
        LAYOUTS[0], *WORDS_OF_OURS, ("1", "true", "a", "b"), ("2", "true", "a", "b"), ("2", '"true"', "a", "b")
    )
    likes, _ = spoken(files)
    assert len(likes) == 39
    assert outcome(files, **HERE) == outcome(files, **ONE)


@pytest.mark.parametrize("layout", [LAYOUTS[9], *LAYOUTS[11:13], LAYOUTS[14], LAYOUTS[16]])
def test_what_hangs_on_more_than_its_text_is_read(layout: str) -> None:
    likes, _ = spoken(fleet(layout, *WORDS_OF_OURS))
    assert not likes


def test_a_skeleton_that_proves_of_no_use_is_not_tried_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[object] = []
    made = kindred.Kindred._made

    def counted(self: kindred.Kindred, text: kindred._Text) -> object:
        tried.append(text)
        return made(self, text)

    monkeypatch.setattr(kindred.Kindred, "_made", counted)
    layout = "metadata: {name: NAME, tags: {role: R}}\nspec: {replicas: 1, disks: {data: {size: SIZEGi}}}\n"
    files: dict[str, str | bytes] = dict(BASE) | acting("beta", "")
    for at in range(1, 40):
        files[f"beta/0/m{at}.yaml"] = written(layout.replace("SIZE", str(at)), f"m{at}", "beta", ("a", "b", "c", "d"))
    likes, read = spoken(files)
    assert not likes
    assert len(read) == 40
    assert 0 < len(tried) < 6


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kindred, "_MOST", 1)
    files = fleet(LAYOUTS[0], *WORDS_OF_OURS, ("1", "true", "a", "b"))
    assert outcome(files, **HERE) == outcome(files, **ONE)
