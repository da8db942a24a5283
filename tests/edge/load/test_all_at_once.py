"""All mistakes of a tree in one run: each once, with its place, its field, what is wrong and how to mend it; and nothing
that only follows from another."""

# ruff: noqa: E501
from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import BASE, CAPABILITIES, HEAD, loaded, mistakes

from reconciler.edge.git import CommitTree, Repository
from reconciler.edge.load import FolderTree, Loader, MemoryTree
from reconciler.edge.load.document import READ_BY_OTHERS
from reconciler.edge.load.doubt import STAND_INS
from reconciler.errors import SpecErrors
from specs.kinds import KINDS


def machine(name: str, spec: str) -> str:
    return f"apiVersion: trueup/v1\nkind: Machine\nmetadata: {{name: {name}}}\nspec: {spec}\n"


MANY: dict[str, str | bytes] = {
    "datacenter.yaml": BASE["datacenter.yaml"] + "  follow: yes\n",
    "nodes.yaml": BASE["nodes.yaml"] + "  n3: {driver: vmware, address: x, lerning: true}\n",
    "networks.yaml": BASE["networks.yaml"]
    + "  wide: {nicTag: lan, vlan: 10, subnet: 10.0.0.0/16, mtu: 9}\n"
    + "  broken: {nicTag: lan, vlan: 12, subnet: 10.0.12.0, range: 10.0.12.5-10.0.12.9}\n",
    "packages.yaml": BASE["packages.yaml"] + "  xl: {memry: 4Gi}\n  l: {memory: 4GB}\n",
    "images.yaml": BASE["images.yaml"] + "  old: {type: rootfs, source: {url: 'https://x/y'}}\n  twice: &t {type: rootfs, source: {debian: x}}\n",
    "acme/alias.yaml": "apiVersion: trueup/v1\nkind: Machine\nmetadata: {name: alias}\nspec:\n  package: *p\n  node: nowhere\n",
    "acme/anchor.yaml": machine("anchor", "\n  package: &p s\n  image: nope"),
    "acme/kind.yaml": machine("kind", "{state: on}").replace("Machine", "Machin"),
    "acme/version.yaml": machine("version", "{nics: [nope]}").replace("trueup/v1", "trueup/v2"),
    "acme/twice.yaml": machine("twice", "\n  state: running\n  state: stopped\n  nics: [{network: app, ip: 10.0.1.1}]"),
    "acme/merge.yaml": machine("merge", "\n  <<: {package: s}\n  image: nope2"),
    "acme/two.yaml": machine("two", "\n  image: \"deb\n  package: nope3") + "---\n" + machine("three", "{package: nope4}"),
    "acme/flow.yaml": machine("flow", "\n  nics: [app\n  package: s"),
    "acme/name.yaml": machine("Bad_Name", "{package: nope5}"),
    "acme/field.yaml": machine("field", "{replicas: x, near: {machines: [nope6]}, nics: [5, {network: app, ip: 10.0.9.9}]}"),
    "acme/uses.yaml": machine("uses", "{package: xl, near: {machines: [field, field-2, two, flow]}, nics: [app, broken]}"),
    "acme/ip1.yaml": machine("ip1", "{nics: [{network: broken, ip: 10.0.12.3}], state: 7}"),
    "acme/ip2.yaml": machine("ip2", "{nics: [{network: broken, ip: 10.0.12.3}]}"),
    "acme/same.yaml": machine("uses", "{drift: 7}"),
    "acme/text.yaml": machine("text", "{state: stopped}").encode() + b"---\n\xff\n---\n" + machine("text2", "{package: nope7}").encode(),
    "acme/bom.yaml": "\ufeff" + machine("bom", "{package: nope8}"),
    "acme/tenant.yaml": BASE["acme/tenant.yaml"].replace("spec: {", "spec: {limits: {machines: 3}, emial: x, "),
    "sub/_defaults.yaml": 'Machine: {spec: {pakage: s}}\n"*": {metadata: {tenant: acme}}\n',
    "sub/a.yaml": machine("a", "{image: deb, nics: [nope9]}"),
    "lost.yaml": machine("lost", "{image: deb, package: nope10}"),
    "lfs.yaml": "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n",
}  # fmt: skip

TOLD = """\
acme/alias.yaml:5:12: package: an alias is not used (write it out, or put it into _defaults.yaml)
acme/alias.yaml:6:9: Machine/acme/alias:node: there is no node 'nowhere' (name a node, or a member as node/member)
acme/anchor.yaml:5:12: package: an anchor is not used (write it out, or put it into _defaults.yaml)
acme/anchor.yaml:6:10: Machine/acme/anchor:image: there is no Image 'nope' of acme or of the datacenter (add it, or name another)
acme/bom.yaml:1:1: the file begins with a byte order mark (save it as UTF-8 without one)
acme/bom.yaml:4:17: Machine/acme/bom:package: there is no Package 'nope8' of acme or of the datacenter (add it, or name another)
acme/field.yaml:4:18: Machine/acme/field:replicas: 'x' does not fit here (write a number or a list)
acme/field.yaml:4:39: Machine/acme/field:near.machines.0: there is no Machine 'nope6' of acme or of the datacenter (add it, or name another)
acme/field.yaml:4:55: Machine/acme/field:nics.0: a map is due here, not 5 ({…})
acme/field.yaml:4:77: Machine/acme/field:nics.1.ip: 10.0.9.9 is outside 10.0.1.0/24 of app (take an address in the subnet)
acme/flow.yaml:6:10: not YAML: while parsing a flow sequence that began in line 5, expected ',' or ']', but got ':' (close the bracket, and put commas between the entries)
acme/ip1.yaml:4:57: Machine/acme/ip1:state: 7 is not a choice here (one of running, stopped or any)
acme/ip2.yaml:4:37: Machine/acme/ip2:nics.0.ip: 10.0.12.3 in broken is taken already by acme/ip1 (take another address)
acme/kind.yaml:2:7: kind: 'Machin' is no kind (did you mean Machine? There are Datacenter, Node, Network, NetworkPool, Package, Image, Tenant, Volume, Machine, FirewallRule)
acme/kind.yaml:4:15: Machine/acme/kind:state: 'on' is not a choice here (one of running, stopped or any)
acme/merge.yaml:5:3: spec: merge keys are not used (write it out, or put it into _defaults.yaml)
acme/merge.yaml:6:10: Machine/acme/merge:image: there is no Image 'nope2' of acme or of the datacenter (add it, or name another)
acme/name.yaml:3:18: metadata.name: 'Bad_Name' is not a name (1 to 63 of a-z, 0-9, dot, dash and underscore, beginning and ending with a-z or 0-9)
acme/name.yaml:4:17: package: there is no Package 'nope5' of acme or of the datacenter (add it, or name another)
acme/same.yaml:4:15: Machine/acme/uses:drift: 7 is not a choice here (one of heal, report or off)
acme/tenant.yaml:4:27: Tenant/acme:limits.machines: acme takes 5 machines, its limit is 3 (raise the limit, or remove machines)
acme/tenant.yaml:4:31: Tenant/acme:emial: 'emial' is not a field here (did you mean email?)
acme/text.yaml:6:1: the file is not UTF-8 (save it as UTF-8)
acme/text.yaml:11:17: Machine/acme/text2:package: there is no Package 'nope7' of acme or of the datacenter (add it, or name another)
acme/twice.yaml:6:3: spec: 'state' is here twice, first in line 5 (remove one)
acme/twice.yaml:7:29: Machine/acme/twice:nics.0.ip: 10.0.1.1 is the gateway of app (take another address)
acme/two.yaml:6:12: Machine/acme/two:package: there is no Package 'nope3' of acme or of the datacenter (add it, or name another)
acme/two.yaml:7:1: not YAML: while scanning a quoted scalar that began in line 5, found unexpected end of stream (close the quotes)
acme/two.yaml:11:17: Machine/acme/three:package: there is no Package 'nope4' of acme or of the datacenter (add it, or name another)
acme/uses.yaml:3:18: Machine/acme/uses:metadata.name: Machine/acme/uses is declared already, in acme/same.yaml (rename one of them, or remove it)
acme/version.yaml:1:13: apiVersion: 'trueup/v2' is not known (write trueup/v1)
acme/version.yaml:4:15: Machine/acme/version:nics.0: there is no Network or NetworkPool 'nope' of acme or of the datacenter (add it, or name another)
datacenter.yaml:7:11: Datacenter/dc:follow: 'yes' is not a choice here (one of auto, approve or off)
images.yaml:6:8: Image/old:spec: contents from a url need their digest (digest: sha256:… (sha256sum FILE))
images.yaml:7:10: items.twice: an anchor is not used (write it out, or put it into _defaults.yaml)
lfs.yaml:1:1: this is a Git LFS pointer, not the file itself (keep it in git as it is: git lfs untrack FILE)
lost.yaml:3:11: metadata: a Machine needs a tenant (tenant: NAME here or in the folder's _defaults.yaml)
networks.yaml:6:41: Network/wide:subnet: 10.0.0.0/16 overlaps 10.0.1.0/24 of app on nic tag lan and vlan 10 (give one of them another subnet or vlan)
networks.yaml:6:59: Network/wide:mtu: 9 is too small (at least 576)
networks.yaml:7:43: Network/broken:subnet: '10.0.12.0' has no prefix length, and a subnet needs one (write it as 10.0.12.0/24)
nodes.yaml:6:16: Node/n3:driver: there is no driver 'vmware' (one of incus, local, sim, smartos)
nodes.yaml:6:36: Node/n3:lerning: 'lerning' is not a field here (did you mean learning?)
packages.yaml:6:8: Package/xl:memry: 'memry' is not a field here (did you mean memory?)
packages.yaml:7:15: Package/l:memory: 'GB' is not used: sizes are in powers of 1024 (write 4Gi)
sub/_defaults.yaml:1:18: Machine.pakage: 'pakage' is not a field here (did you mean package?)
sub/a.yaml:4:27: Machine/acme/a:nics.0: there is no Network or NetworkPool 'nope9' of acme or of the datacenter (add it, or name another)
"""


def told(files: Mapping[str, str | bytes]) -> list[str]:
    """The mistakes of these files alone."""
    with pytest.raises(SpecErrors) as caught:
        Loader(CAPABILITIES).load(MemoryTree(files))
    return [str(one) for one in caught.value.diagnostics]


def test_a_tree_with_mistakes_of_every_sort_tells_each_once_and_nothing_that_follows_from_them() -> None:
    assert told({**BASE, **MANY}) == TOLD.splitlines()


def test_each_of_them_has_a_place_a_remedy_and_but_one_line() -> None:
    for line in TOLD.splitlines():
        assert re.fullmatch(r"[\w./]+:\d+:\d+: .+ \(.+\)", line), line


def test_what_names_the_wrong_things_is_told_nothing_else_once_it_is_mended() -> None:
    """`uses` names things that are wrong or could not be read: with all of those mended it has no mistake."""
    sound = {path: text for path, text in MANY.items() if path == "acme/uses.yaml"}
    mended = {
        "packages.yaml": BASE["packages.yaml"] + "  xl: {memory: 4Gi}\n",
        "networks.yaml": BASE["networks.yaml"]
        + "  broken: {nicTag: lan, vlan: 12, subnet: 10.0.12.0/24, range: 10.0.12.5-10.0.12.9}\n",
        **{f"acme/{name}.yaml": machine(name, "{}") for name in ("two", "flow")},
        "acme/field.yaml": machine("field", "{replicas: 2}"),
    }
    assert loaded({**sound, **mended})


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_that_must_be_there_has_a_stand_in(kind: str) -> None:
    fields = KINDS[kind].model.model_fields
    assert set(STAND_INS[kind]) == {field.alias for field in fields.values() if field.is_required()}
    assert READ_BY_OTHERS[kind] <= {field.alias for field in fields.values()}
    assert KINDS[kind].model.model_validate(STAND_INS[kind])


# -- any set of mistakes, anywhere -------------------------------------------------------------------------------------

Slot = tuple[str, str, str, list[tuple[int, int, str]]]
"""(name, sound text, spoilt text, what is told of that: line in it, column, the rest)."""


def slot(name: str, sound: str, spoilt: str, line: int, column: int, rest: str) -> Slot:
    return name, machine(name, sound), machine(name, spoilt), [(line, column, rest)]


NO = "of acme or of the datacenter (add it, or name another)"
SLOTS: list[Slot] = [
    slot("s0", "{}", "{package: none}", 4, 17, f"Machine/acme/s0:package: there is no Package 'none' {NO}"),
    slot("s1", "{}", "{state: 5}", 4, 15, "Machine/acme/s1:state: 5 is not a choice here (one of running, stopped or any)"),
    slot("s2", "{}", "{stat: running}", 4, 8, "Machine/acme/s2:stat: 'stat' is not a field here (did you mean state?)"),
    slot("s3", "{}", "{package: &a s}", 4, 17, "package: an anchor is not used (write it out, or put it into _defaults.yaml)"),
    slot("s4", "{}", "{package: *a}", 4, 17, "package: an alias is not used (write it out, or put it into _defaults.yaml)"),
    slot("s5", "{}", "{package: !x s}", 4, 17, "package: a tag (!x) is not used (remove it; quote the value if it is text)"),
    slot("s6", "{}", "{<<: {package: s}}", 4, 8, "spec: merge keys are not used (write it out, or put it into _defaults.yaml)"),
    slot("s7", "{}", "{drift: heal, drift: off}", 4, 21, "spec: 'drift' is here twice, first in line {4} (remove one)"),
    slot("s8", "{}", "\n  node: 'edge1", 6, 1, "not YAML: while scanning a quoted scalar that began in line {5}, found unexpected end of stream (close the quotes)"),
    slot("s9", "{}", "{nics: [app, app]}", 4, 20, "Machine/acme/s9:nics.1: two interfaces would be in app (one interface in each network)"),
    slot("s10", "{replicas: 2}", "{replicas: x}", 4, 18, "Machine/acme/s10:replicas: 'x' does not fit here (write a number or a list)"),
    slot("s11", "{}", "{nics: [{network: app, ip: 10.0.1.1}]}", 4, 34, "Machine/acme/s11:nics.0.ip: 10.0.1.1 is the gateway of app (take another address)"),
    slot("s12", "{}", "{node: gone}", 4, 14, "Machine/acme/s12:node: there is no node 'gone' (name a node, or a member as node/member)"),
    slot("s13", "{}", "5", 4, 7, "spec: spec is a map (spec: {FIELD: …})"),
    ("s14", machine("s14", "{}"), machine("s14", "{}").replace("v1", "v9"), [(1, 13, "apiVersion: 'trueup/v9' is not known (write trueup/v1)")]),
    ("s15", machine("s15", "{}"), machine("s15", "{}").replace("metadata:", "metadat:"), [(3, 1, "metadat: 'metadat' is not a field here (did you mean metadata?)")]),
    ("p1", "apiVersion: trueup/v1\nkind: Package\nmetadata: {name: p1}\nspec: {memory: 1Gi, disk: 1Gi}\n",
     "apiVersion: trueup/v1\nkind: Package\nmetadata: {name: p1}\nspec: {memory: 1}\n",
     [(4, 16, "Package/acme/p1:memory: 1 has no unit, and a size needs one (write 1Mi or 1Gi)")]),
    ("n1", "apiVersion: trueup/v1\nkind: Network\nmetadata: {name: n1}\nspec: {nicTag: lan, vlan: 9, subnet: 10.9.0.0/24}\n",
     "apiVersion: trueup/v1\nkind: Network\nmetadata: {name: n1}\nspec: {nicTag: lan, vlan: 9, subnet: 10.9.0.0}\n",
     [(4, 38, "Network/acme/n1:subnet: '10.9.0.0' has no prefix length, and a subnet needs one (write it as 10.9.0.0/24)")]),
    ("i1", "apiVersion: trueup/v1\nkind: Images\nitems:\n  i1: {type: rootfs, source: {busybox: static}}\n",
     "apiVersion: trueup/v1\nkind: Images\nitems:\n  i1: {type: rootfs, source: {busybox: static}\n",
     [(5, 1, "not YAML: while parsing a flow mapping that began in line {4}, expected ',' or '}}', but got '<stream end>' (close the bracket, and put commas between the entries)")]),
]  # fmt: skip
USERS = machine("user", "{package: p1, image: i1, nics: [{network: n1, ip: 10.9.0.7}]}") + "---\n"
USERS += machine("friend", "{near: {machines: [" + ", ".join(f"s{n}" for n in range(16)) + ", s10-1]}}")
"""They name every one of them."""


@given(
    st.sets(st.sampled_from(range(len(SLOTS)))), st.lists(st.integers(0, 3), min_size=len(SLOTS), max_size=len(SLOTS))
)
def test_of_any_set_of_mistakes_all_are_told_and_only_they(spoilt: set[int], where: list[int]) -> None:
    files: dict[str, str] = {}
    expected = []
    for number, (_, good, bad, lines) in enumerate(SLOTS):
        path = f"acme/f{where[number]}.yaml"
        text = files.get(path, "")
        first = text.count("\n") + 1  # of the line with ---
        files[path] = text + "---\n" + (bad if number in spoilt else good)
        if number in spoilt:
            for line, column, rest in lines:
                rest = re.sub(r"\{(\d)\}", lambda found: str(first + int(found[1])), rest).replace("}}", "}")  # noqa: B023
                expected.append(f"{path}:{first + line}:{column}: {rest}")
    whole = {**BASE, **files, "acme/users.yaml": USERS}
    if expected:
        assert sorted(told(whole)) == sorted(expected)
        with pytest.raises(SpecErrors) as caught:  # and the same from a tree that was right
            loaded().load(MemoryTree(whole))
        assert sorted(map(str, caught.value.diagnostics)) == sorted(expected)
    else:
        Loader(CAPABILITIES).load(MemoryTree(whole))


# -- defaults, files ---------------------------------------------------------------------------------------------------


def test_of_defaults_that_cannot_be_read_nothing_that_they_may_give_is_missed() -> None:
    spoilt = 'Machine: {spec: {image: deb, package: s, nics: [app]}\n"*": {metadata: {tenant: acme}}\n'
    assert [line.split(": ")[0] for line in mistakes({"acme/_defaults.yaml": spoilt})] == ["acme/_defaults.yaml:2:1"]


def test_a_link_and_a_submodule_hide_nothing(clone: Any) -> None:
    clone.commit({**BASE, "acme/x.yaml": HEAD + "  package: nope\n"})
    (clone.path / "acme/y.yaml").symlink_to("x.yaml")
    (clone.path / "more").symlink_to("acme")
    head = clone.commit()
    clone.git("update-index", "--add", "--cacheinfo", f"160000,{head},vendor")
    clone.git("commit", "--quiet", "-m", "a submodule")
    with Repository.open(clone.path) as repository:
        at = CommitTree(clone.path, repository.tree(repository.commit("HEAD")))
        with pytest.raises(SpecErrors) as caught:
            Loader(CAPABILITIES).load(at)
        at.close()
    links = [
        "acme/x.yaml:5:12: Machine/acme/x:package: there is no Package 'nope' of acme or of the datacenter (add it, or name another)",
        "acme/y.yaml:1:1: this is a symbolic link (to x.yaml), which is not followed (put the documents themselves)",
        "more:1:1: this is a symbolic link (to acme), which is not followed (put the documents themselves)",
    ]
    assert [str(one) for one in caught.value.diagnostics] == [
        *links,
        "vendor:1:1: this is a submodule, which is not read (put its files into this repository)",
    ]
    with pytest.raises(SpecErrors) as caught:
        Loader(CAPABILITIES).load(FolderTree(clone.path))
    assert [str(one) for one in caught.value.diagnostics] == links


def test_a_link_that_came_with_a_later_commit_leaves_the_last_good_tree(clone: Any) -> None:
    before = clone.commit(BASE)
    (clone.path / "acme/y.yaml").symlink_to("web.yaml")
    clone.commit()
    with Repository.open(clone.path) as repository:
        loader = Loader(CAPABILITIES)
        good, bad = (CommitTree(clone.path, repository.tree(one)) for one in (before, "HEAD"))
        loader.load(good)
        with pytest.raises(SpecErrors, match="symbolic link"):
            loader.update(bad, bad.changes(repository.difference, good.id))
        assert "Machine/acme/web" in loader.desired.resources
        good.close()
        bad.close()
