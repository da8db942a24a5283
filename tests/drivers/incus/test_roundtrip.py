"""What is written reads as it was meant, whatever the mix of fields; what the server adds is no difference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.incus import cgroups, paces, reading, units
from drivers.incus import marks as marking
from drivers.incus.records import Instance, Network, View, Volume
from drivers.incus.writing import ALL, Wanted, changed, network_config
from reconciler.core.observed import Marks
from reconciler.core.refs import Ref, Uid

MI = 2**20
VOLATILE = {
    "volatile.uuid": "u",
    "volatile.idmap.base": "0",
    "volatile.idmap.next": "[]",
    "volatile.last_state.power": "RUNNING",
    "volatile.base_image": "ab" * 32,
    "image.os": "busybox",
    "volatile.cloud-init.instance-id": "x",
}
keys = st.lists(st.from_regex(r"ssh-ed25519 [A-Za-z0-9+/]{4,8} [a-z]+", fullmatch=True), min_size=1)
text = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
name = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)
sizes = st.integers(1, 2**44)
NETWORKS = {each: Network(each, managed=True, said={"ipv4.address": "10.0.0.1/24"}) for each in ("app", "back", "pub")}
macs = st.integers(0, 255).map(lambda last: f"02:00:00:00:00:{last:02x}")
nics = st.fixed_dictionaries({"ip": st.integers(2, 254).map(lambda last: f"10.0.0.{last}/24"), "mac": macs})


@st.composite
def machines(draw: st.DrawFn) -> dict[str, Any]:
    fields: dict[str, Any] = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "memory": sizes,
                "threads": st.integers(1, 10**6),
                "ioPriority": st.integers(1, 1000),
                "ioRead": sizes,
                "ioWrite": sizes,
                "vcpus": st.integers(1, 256),
                "disk": sizes,
                "swap": st.just(0),
                "sshKeys": st.lists(
                    st.from_regex(r"ssh-ed25519 [A-Za-z0-9+/]{4,8} [a-z]+", fullmatch=True), min_size=1
                ),
                "metadata": st.dictionaries(name, text, min_size=1, max_size=3),
            },
        )
    )
    if draw(st.booleans()):
        fields |= draw(
            st.sampled_from([{"cpu": draw(st.integers(1, 64_000))}, {"cpuShares": draw(st.integers(1, 65535))}])
        )
    chosen = draw(st.lists(st.sampled_from(sorted(NETWORKS)), unique=True))
    if chosen:
        fields["nics"] = {each: draw(nics) | {"primary": each == chosen[0]} for each in chosen}
    return fields


def _written(fields: dict[str, Any], before: Instance) -> Instance:
    wanted = Wanted(fields, networks={each: each for each in NETWORKS}, pool="local")
    config, devices = changed(before, wanted, ALL - {"disks"})
    whole = {**config, **VOLATILE}
    return Instance(
        "m", "Stopped", said=whole, said_devices=devices, said_expanded=whole, said_expanded_devices=devices
    )


def _read(instance: Instance) -> dict[str, Any]:
    fields = reading.machine(instance, View(NETWORKS)).fields
    return {key: value for key, value in fields.items() if key not in ("brand", "hostname", "state", "image")}


@settings(max_examples=150, deadline=None)
@given(machines())
def test_written_machine_reads_as_it_was_meant(fields: dict[str, Any]) -> None:
    assert _read(_written(fields, Instance("m"))) == fields


@settings(max_examples=150, deadline=None)
@given(machines(), machines())
def test_machine_written_over_another_keeps_nothing_of_it(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert _read(_written(after, _written(before, Instance("m")))) == after


@settings(max_examples=100, deadline=None)
@given(machines())
def test_writing_what_is_there_changes_nothing(fields: dict[str, Any]) -> None:
    instance = _written(fields, Instance("m"))
    again = _written(fields, instance)
    assert (again.config, again.devices) == (instance.config, instance.devices)


ROOT = {"type": "disk", "path": "/", "pool": "local"}
BOTH = frozenset({"ioRead", "ioWrite"})
NONE, NO_OPERATIONS = "9223372036854775807B", "4294967295iops"


@pytest.mark.parametrize(
    ("said", "fields"),
    [
        ({}, {}),
        ({"limits.read": "20MB"}, {"ioRead": 20 * 10**6}),
        ({"limits.read": "0", "limits.write": "100iops"}, {"ioWrite": "100iops"}),
        ({"limits.read": "1MiB", "limits.max": "2MiB"}, {"ioRead": 2 * MI, "ioWrite": 2 * MI}),
    ],
)
def test_one_key_for_both_holds_whatever_the_two_say(said: dict[str, str], fields: dict[str, Any]) -> None:
    assert paces.read(ROOT | said) == fields
    virtual = Instance("m", "Stopped", type="virtual-machine", said_expanded_devices={"root": ROOT | said})
    assert reading.machine(virtual, View()).fields.keys().isdisjoint(BOTH)


def test_key_for_both_is_spelled_as_two_once_one_of_them_is_written() -> None:
    device = ROOT | {"limits.max": "2MiB", "size": "1GiB"}
    paces.write(device, {"ioRead": MI}, frozenset({"memory"}))
    assert device == ROOT | {"limits.max": "2MiB", "size": "1GiB"}
    paces.write(device, {"ioRead": MI}, frozenset({"ioRead"}))
    assert device == ROOT | {"limits.read": "1MiB", "limits.write": "2MiB", "size": "1GiB"}


@pytest.mark.parametrize(
    ("before", "after", "kernel", "first"),
    [
        (None, None, {}, None),
        (None, None, {"ioRead": None}, None),
        (None, None, {"ioRead": MI}, NONE),  # what is left of a key that somebody took away
        (None, "1MiB", {"ioRead": None}, None),
        ("1MiB", None, {}, NONE),
        ("1MiB", "2MiB", {}, None),
        ("1MiB", "2MiB", {"ioRead": 3 * MI}, None),
        ("1MiB", "1MiB", {}, None),
        ("1MiB", "1MiB", {"ioRead": MI}, None),
        ("1MiB", "1MiB", {"ioRead": 3 * MI}, NONE),  # edited in the kernel
        ("1MiB", "1MiB", {"ioRead": None}, NONE),
        ("100iops", "1MiB", {}, NO_OPERATIONS),
        ("100iops", None, {}, NO_OPERATIONS),
        ("100iops", "100iops", {"ioRead": None}, None),
    ],
)
def test_cap_that_would_stay_in_the_kernel_is_lifted_first(
    before: str | None, after: str | None, kernel: dict[str, Any], first: str | None
) -> None:
    old, new = (ROOT | ({"limits.read": said} if said else {}) for said in (before, after))
    expected = {"root": {**new, "limits.read": first}} if first else {}
    assert paces.lifted({"root": old}, {"root": new, "nic": {"type": "nic"}}, BOTH, kernel) == expected
    assert paces.lifted({"root": old}, {"root": new}, frozenset({"memory"}), kernel) == {}


@pytest.mark.parametrize(
    ("weight", "said", "read"),
    [(1, "0", 10), (55, "0", 10), (56, "1", 100), (149, "1", 100), (300, "3", 300), (1000, "10", 1000)],
)
def test_weight_is_the_nearest_of_eleven_and_reads_as_it_was_meant(weight: int, said: str, read: int) -> None:
    plain = Instance("m", "Stopped", said={"limits.disk.priority": said})
    plain.said_expanded = plain.said
    assert reading.machine(plain, View()).fields["ioPriority"] == read, "set by hand"
    config, _ = changed(Instance("m"), Wanted({"ioPriority": weight}), frozenset({"ioPriority"}))
    assert config["limits.disk.priority"] == said
    ours = Instance("m", "Stopped", said=config, said_expanded=config)
    assert reading.machine(ours, View()).fields["ioPriority"] == weight
    edited = {**config, "limits.disk.priority": "7"}
    assert reading.machine(Instance("m", said=edited, said_expanded=edited), View()).fields["ioPriority"] == 700


def test_weight_is_a_key_like_others_where_no_field_stands_for_it() -> None:
    config = {"limits.disk.priority": "3", "user.trueup.io-priority": "300"}
    there = Instance("m", "Stopped", said=config, said_expanded=config)
    machine = Instance("m", "Stopped", type="virtual-machine", said=config, said_expanded=config)
    for instance, view in ((there, View(cannot=("ioPriority",))), (machine, View())):
        fields = reading.machine(instance, view).fields
        assert "ioPriority" not in fields
        assert fields["extra"] == {"limits.disk.priority": "3"}
        assert "limits.disk.priority" not in changed(instance, Wanted({}), frozenset({"extra"}))[0]
    held = reading.machine(there, View()).fields
    assert "extra" not in held
    assert changed(there, Wanted(held), frozenset({"extra"}))[0] == config


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("Cannot apply limits.disk.priority as blkio.weight cgroup controller is missing", "ioPriority: Cannot"),
        ("Cannot apply disk limits as blkio cgroup controller is missing", "ioRead, ioWrite: Cannot"),
        ('Invalid block device "tmpfs"', "ioRead, ioWrite: there is no block device behind this disk: Invalid"),
        ("Disk quota exceeded", "Disk quota exceeded"),
    ],
)
def test_what_a_server_refuses_of_disks_is_told_with_its_field(said: str, told: str) -> None:
    assert paces.explained(said).startswith(told)


def test_cap_of_a_disk_beside_the_root_is_seen_lifted_and_taken_away() -> None:
    disk = {"type": "disk", "pool": "local", "source": "123-data", "path": "/srv"}
    hasty = disk | {"limits.max": "1MiB"}
    instance = Instance("m", "Stopped", said=VOLATILE, said_devices={"data": hasty, "root": ROOT})
    instance.said_expanded_devices = instance.said_devices
    assert reading.machine(instance, View()).fields["extra"] == {"disks.data.limits.max": "1MiB"}
    kept = Wanted({"extra": {"disks.data.limits.max": "1MiB"}})
    assert changed(instance, kept, frozenset({"extra"})) == (VOLATILE, instance.devices)
    config, devices = changed(instance, Wanted({}), frozenset({"extra"}))
    assert (config, devices) == (VOLATILE, {"data": disk, "root": ROOT})
    lifted = {"data": disk | {"limits.read": NONE, "limits.write": NONE}}
    assert paces.lifted(instance.devices, devices, frozenset({"extra"}), {"ioRead": 1}) == lifted


@given(st.integers(1, 2**50))
def test_size_is_read_as_it_was_written(count: int) -> None:
    assert units.size(units.write_size(count)) == count


@given(st.integers(1, 512_000))
def test_cap_is_read_as_it_was_written(cpu: int) -> None:
    assert units.quota(units.write_quota(cpu)) == cpu


@given(
    st.fixed_dictionaries(
        {"subnet": st.integers(0, 255).map(lambda part: f"10.{part}.0.0/24"), "nat": st.booleans(), "tag": name},
        optional={"mtu": st.integers(576, 9216), "vlan": st.integers(1, 4094), "interface": name},
    ),
    st.booleans(),
)
def test_network_is_read_as_it_was_written(fields: dict[str, Any], routed: bool) -> None:
    if routed:
        fields["gateway"] = fields["subnet"].replace(".0/24", ".1")
    assert reading.network(Network("n", managed=True, said=network_config(fields)), View()) == fields


def test_data_disk_is_known_by_the_name_that_its_volume_bears() -> None:
    volume = Volume("123-data", config={"size": "20MiB", "user.trueup.disk": "data"}, pool="local")
    device = {"type": "disk", "pool": "local", "source": "123-data", "path": "/srv"}
    instance = Instance("m", "Stopped", said=VOLATILE, said_devices={"disk-data": device})
    instance.said_expanded_devices = instance.said_devices
    view = View(NETWORKS, {("local", "123-data"): volume})
    assert reading.machine(instance, view).fields["disks"] == {"data": {"size": 20 * MI, "path": "/srv"}}


def _disk(member: str, uid: str, *, name: str = "123-data", disk: bool = True, key: str = "k") -> Volume:
    found = Volume(name, location=member, pool="local", config={"user.trueup.disk": "data"} if disk else {})
    marks = Marks(Uid(uid), Ref("Machine/acme/web"), "dc", 1, 1, 1, "tree:1", "x")
    found.config[marking.MARKS] = marking.write(marks, reading.volume_identity(found), key)
    return found


def test_only_a_volume_of_the_same_machine_and_name_is_a_copy_of_its_disk() -> None:
    own, same = _disk("a", "u"), _disk("b", "u")
    strangers = [
        _disk("c", "other"),
        _disk("d", "u", name="124-data"),
        _disk("e", "u", disk=False),
        _disk("f", "u", key="forged"),
    ]
    every = [own, same, *strangers, Volume("123-data", location="g", pool="local")]
    assert reading.copies(every, [own], "k", "default") == {("local", "123-data"): ["b"]}
    assert reading.copies(every, [same], "k", "default") == {("local", "123-data"): ["a"]}
    assert reading.copies([own, *strangers], [own], "k", "default") == {}
    assert reading.copies((), [own], "k", "default") == {}, "a host of its own has no other members"
    view = View(NETWORKS, {("local", "123-data"): own}, copies={("local", "123-data"): ["b"]})
    device = {"type": "disk", "pool": "local", "source": "123-data", "path": "/srv"}
    instance = Instance("m", "Stopped", said=VOLATILE, said_devices={"data": device})
    instance.said_expanded_devices = instance.said_devices
    assert reading.machine(instance, view).fields["disks"] == {"data": {"path": "/srv", "copies": ["b"]}}


@pytest.mark.parametrize(
    ("files", "caps"),
    [
        ({"blkio/g/blkio.throttle.read_bps_device": "", "blkio/g/blkio.throttle.write_bps_device": "7:1 4096\n"},
         {"ioRead": None, "ioWrite": 4096}),
        ({"blkio/g/blkio.throttle.read_bps_device": f"7:1 {2**63 - 1}\n"}, {"ioRead": None}),
        ({"blkio/g/blkio.throttle.read_bps_device": "7:1 4096\n254:0 8192\n"}, {}),
        ({"blkio/g/blkio.throttle.read_bps_device": f"7:1 4096\n254:0 {2**63 - 1}\n"}, {"ioRead": 4096}),
        ({"g/io.max": "7:1 rbps=20971520 wbps=max riops=100 wiops=max\n"}, {"ioRead": 20 * MI, "ioWrite": None}),
        ({"g/io.max": "7:1 rbps=max wbps=4096 riops=max wiops=max\n"}, {"ioRead": None, "ioWrite": 4096}),
        ({"g/io.max": ""}, {"ioRead": None, "ioWrite": None}),
        ({"g/io.max": "7:1 rbps=1 wbps=2 riops=max wiops=max\n254:0 rbps=3 wbps=4 riops=max wiops=max\n"}, {}),
        ({}, {}),
    ],
)  # fmt: skip
def test_caps_are_read_from_control_groups_of_both_kinds(
    files: dict[str, str], caps: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several devices nobody knows here which is the root's."""
    monkeypatch.setattr(cgroups, "ROOT", str(tmp_path))
    for name, said in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(said)
    assert cgroups.enforced("g") == caps
