"""Loading what changed gives, byte for byte, what loading all of it gives; a tree with mistakes changes nothing."""

# ruff: noqa: E501, UP031, PT017
from __future__ import annotations

import os
import random

import pytest
from pictures import indexes, picture
from trees import BASE, CAPABILITIES, tree

from reconciler.edge.load import Loader, MemoryTree
from reconciler.errors import SpecErrors

SEEDS = int(os.environ.get("TRUEUP_INCREMENTAL_SEEDS", "60"))
EDITS = 25


def one(kind: str, name: str, spec: str, meta: str = "") -> str:
    return f"apiVersion: trueup/v1\nkind: {kind}\nmetadata: {{name: {name}{meta}}}\nspec: {spec}\n"


def random_machine(dice: random.Random) -> str:
    fields = {
        "package": ["s", "m", "s", "datacenter/s", "t", "acme/s"],
        "image": ["deb", "deb", "vm", "extra"],
        "nics": ["[app]", "[app, public]", "[{network: app, ip: 10.0.1.%d}]" % dice.randint(2, 9), "[pool]", "[extra]",
                 "[{network: public, mac: '02:00:00:00:00:0%d'}]" % dice.randint(1, 5), "[{network: pool, ip: 10.0.1.7}]"],
        "replicas": ["0", "1", "2", "[1, 3]", "3"],
        "node": ["edge1", "inc", "inc/a"],
        "near": ["{machines: [db]}", "{machines: [web], hard: true}", "{machines: [m1, m2]}"],
        "spread": ["{over: rack}"],
        "sshKeys": ["tenant"],
        "userData": ["{file: init.txt}", "{file: ci.yaml}", "text"],
        "state": ["any", "stopped", "any", "wrong"],
        "deletionProtection": ["true"],
        "disks": ["{data: {size: 1Gi}}"],
    }  # fmt: skip
    chosen = dice.sample(sorted(fields), dice.randint(0, 4))
    return "{" + ", ".join(f"{name}: {dice.choice(fields[name])}" for name in chosen) + "}"


def random_edit(dice: random.Random, files: dict[str, str]) -> None:
    """One edit as a person might make it, right or wrong."""
    machine = dice.choice(["m1", "m2", "m3", "web", "web-1", "db"])
    edits = {
        "machine": lambda: files.__setitem__(
            f"acme/{machine}.yaml",
            one("Machine", dice.choice([machine, machine, "m1", "m9"]), random_machine(dice),
                dice.choice(["", "", ", renamedFrom: m2", ", renamedFrom: old", ", tags: {a: b}", ", tenant: ops"])),
        ),
        "many": lambda: files.__setitem__(
            "acme/many.yaml",
            "---\n".join(one("Machine", dice.choice(["n1", "n2", "n3", "n4", "m1"]), random_machine(dice))
                         for _ in range(dice.randint(1, 3))),
        ),
        "plural": lambda: files.__setitem__(
            "ops/all.yaml",
            "apiVersion: trueup/v1\nkind: Machines\nmetadata: {tenant: %s}\nitems:\n" % dice.choice(["ops", "acme"])
            + "".join(f"  p{n}: {{image: deb, package: s}}\n" for n in range(dice.randint(1, 3))),
        ),
        "remove": lambda: files.pop(dice.choice(sorted(files))),
        "tenant": lambda: files.__setitem__("ops/tenant.yaml", one("Tenant", "ops", "{}")),
        "limits": lambda: files.__setitem__(
            "acme/tenant.yaml", one("Tenant", "acme", "{keys: {bob: 'ssh-ed25519 %s bob'}, limits: {machines: %d}}"
                                    % (dice.choice("ABC"), dice.randint(2, 9)))),
        "package": lambda: files.__setitem__(
            "packages.yaml", BASE["packages.yaml"].replace("1Gi, cpu: 1", f"{dice.randint(1, 3)}Gi, cpu: 1")
            + dice.choice(["", "  t: {memory: 1Gi}\n"])),
        "own package": lambda: files.__setitem__("acme/p.yaml", one("Package", dice.choice(["s", "t"]), "{memory: 3Gi}")),
        "network": lambda: files.__setitem__(
            "networks.yaml", BASE["networks.yaml"].replace("10.0.1.100-", f"10.0.1.{dice.choice([5, 100, 101])}-")
            + dice.choice(["", "  extra: {nicTag: lan, vlan: 11, subnet: 10.0.3.0/24, range: 10.0.3.5-10.0.3.9}\n"])),
        "pool": lambda: files.__setitem__(
            "pool.yaml", one("NetworkPool", "pool", dice.choice(["{networks: [app]}", "{networks: [app, public]}", "{networks: [no]}"]))),
        "image": lambda: files.__setitem__(
            "image.yaml", one("Image", "extra", dice.choice(["{type: rootfs, source: {debian: trixie}, origin: deb}",
                                                             "{type: zvol, source: {folder: /x}}"]))),
        "nodes": lambda: files.__setitem__(
            "nodes.yaml", BASE["nodes.yaml"].replace("driver: incus", dice.choice(["driver: incus", "driver: smartos", "driver: sim"]))
            .replace("members: {a", dice.choice(["members: {a", "tenants: projects, members: {a"]))
            .replace("rack: r1", dice.choice(["rack: r1", "rack: r9", "capacity: {memory: 2Gi, disk: 30Gi}"]))),
        "datacenter": lambda: files.__setitem__(
            "datacenter.yaml", BASE["datacenter.yaml"].replace("9.9.9.9", dice.choice(["9.9.9.9", "8.8.8.8"]))
            + dice.choice(["", "  drift: heal\n", "  nicTags: {lan: {mtu: 9000}, wan: {}}\n", "  nicTags: {lan: {}}\n"])),
        "defaults": lambda: files.__setitem__(
            "acme/_defaults.yaml", BASE["acme/_defaults.yaml"].replace("package: s", dice.choice(["package: s", "package: m", "package: t"]))),
        "root defaults": lambda: files.__setitem__("_defaults.yaml", dice.choice(["Machine: {spec: {state: stopped}}\n", "Machin: {}\n", "{}\n"])),
        "file": lambda: files.__setitem__("acme/init.txt", f"v{dice.randint(1, 3)}"),
        "yaml file": lambda: files.__setitem__("acme/ci.yaml", dice.choice(["packages: [a]\n", "packages: [b]\n", "#cloud-config\na: 1\n"])),
        "broken": lambda: files.__setitem__(f"acme/{machine}.yaml", dice.choice(["a: [", "apiVersion: trueup/v1\nkind: Nope\n", "x: 1\n"])),
        "mend": lambda: files.update({path: BASE[path] for path in dice.sample(sorted(BASE), 3)}),
    }  # fmt: skip
    edits[dice.choice(sorted(edits))]()


def test_many_of_the_random_edits_are_right() -> None:
    """Else the property beneath would prove little."""
    right = 0
    for seed in range(40):
        files: dict[str, str] = dict(BASE)
        random_edit(random.Random(seed), files)
        try:
            Loader(CAPABILITIES).load(MemoryTree(files))
            right += 1
        except SpecErrors:
            pass
    assert right >= 15


@pytest.mark.parametrize("seed", range(SEEDS))
def test_loading_changes_equals_loading_all(seed: int) -> None:
    dice = random.Random(seed)
    files: dict[str, str] = dict(BASE)
    kept = Loader(CAPABILITIES)
    kept.load(tree())
    for _ in range(EDITS):
        previous = dict(files)
        for _ in range(dice.choice([1, 1, 2, 3])):
            random_edit(dice, files)
        before = picture(kept)
        try:
            fresh = Loader(CAPABILITIES)
            fresh.load(MemoryTree(files))
        except SpecErrors as wrong:
            with pytest.raises(SpecErrors) as caught:
                kept.load(MemoryTree(files))
            assert [str(x) for x in caught.value.diagnostics] == [str(x) for x in wrong.diagnostics]
            assert picture(kept) == before
            if dice.random() < 0.85:
                files = previous
            continue
        old = dict(kept.desired.resources)
        delta = kept.load(MemoryTree(files))
        assert picture(kept) == picture(fresh)
        assert indexes(kept) == indexes(fresh)
        new = kept.desired.resources
        assert delta.changed == {ref for ref in new if ref not in old or old[ref].digest != new[ref].digest}
        assert delta.removed == old.keys() - new.keys()
