"""The parts that need no host: configuration both ways, caps' order and units, marks' proof, names."""

from __future__ import annotations

import fcntl
import itertools
import os
from pathlib import Path
from typing import Any

import pytest

from drivers.local import config, images, marks
from drivers.local.cgroups import Cgroups, legacy_lines, shares_to_weight, unified_lines
from drivers.local.firewall import Firewall, Port
from drivers.local.guest import Missing, Told, read, write
from drivers.local.locks import Locks, Stuck
from drivers.local.place import Place
from drivers.local.verbs import merged
from reconciler.core.observed import Claim, Marks
from reconciler.core.refs import Ref, Uid
from tests.drivers.local.deadly import Death, Points

PLACE = Place(Path("/var/lib/trueup/x/local/edge1"))
NIC = {
    "ip": "10.0.0.10/24",
    "mac": "02:00:00:00:00:01",
    "primary": True,
    "tag": "app",
    "vlan": 7,
    "gateway": "10.0.0.1",
}
FIELDS: dict[str, Any] = {
    "hostname": "web",
    "memory": 1 << 26,
    "swap": 1 << 25,
    "cpu": 1500,
    "cpuShares": 333,
    "threads": 99,
    "nics": {"app": NIC, "back": {**NIC, "primary": False, "ip": "fd00::2/64", "mtu": 1400}},
}
MARKS = Marks(Uid("u1"), Ref("Machine/acme/web"), "dc", 1, 2, 3, "tree:1", "digest")


def _rendered(fields: dict[str, Any]) -> str:
    plugs = {name: config.Attachment(f"br-{name}") for name in fields.get("nics", {})}
    boot = config.Boot(Path("/pool/zones/u1"), binds=[(Path("/pool/a b"), "/data/a", "bind")], attachments=plugs)
    return config.render(PLACE, "u1", fields, boot)


def test_configuration_reads_back_as_it_was_written() -> None:
    written = config.parse(_rendered(FIELDS))
    assert written.fields == FIELDS
    assert written.links == {"app": "br-app", "back": "br-back"}
    assert written.mounts == {"/pool/a b": "/data/a"}


@pytest.mark.parametrize("key", ["memory", "swap", "cpu", "cpuShares", "threads"])
def test_cap_that_is_not_wanted_is_not_written(key: str) -> None:
    fields = {name: value for name, value in FIELDS.items() if name != key}
    assert key not in config.parse(_rendered(fields)).fields


def test_configuration_changed_by_hand_is_read_as_it_stands() -> None:
    text = _rendered(FIELDS).replace("10.0.0.10/24", "10.0.0.99/24")
    assert config.parse(text).fields["nics"]["app"]["ip"] == "10.0.0.99/24"


def test_primary_interface_is_the_first_in_the_zone() -> None:
    nics = {"a": {**NIC, "primary": False}, "z": NIC}
    assert [name for name, _ in config.ordered(nics)] == ["z", "a"]


def test_mount_is_added_once_and_taken_out() -> None:
    text = _rendered({})
    more = config.with_mount(config.with_mount(text, Path("/pool/d"), "/x"), Path("/pool/d"), "/y")
    assert config.parse(more).mounts["/pool/d"] == "/y"
    assert config.without_mount(more, Path("/pool/d")) == text


def test_swap_is_beyond_memory() -> None:
    lines = legacy_lines(FIELDS)
    assert list(lines)[:2] == ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"]
    assert int(lines["memory.memsw.limit_in_bytes"]) == FIELDS["memory"] + FIELDS["swap"]
    assert unified_lines(FIELDS)["memory.swap.max"] == str(FIELDS["swap"])
    assert unified_lines(FIELDS)["cpu.max"] == "150000 100000"


@pytest.mark.parametrize(("shares", "weight"), [(2, 1), (1024, 39), (262144, 10000)])
def test_shares_become_the_kernels_weight(shares: int, weight: int) -> None:
    assert shares_to_weight(shares) == weight


def test_cap_that_cannot_be_read_is_unknown_and_not_absent(tmp_path: Path) -> None:
    mounts = "".join(f"cgroup {tmp_path}/{name} cgroup rw,{name} 0 0\n" for name in ("memory", "cpu", "pids"))
    caps = Cgroups(mounts).caps("gone")
    assert caps.values == {}
    assert set(caps.unknown) >= {"memory", "cpu", "threads"}


@pytest.mark.parametrize(
    ("text", "guid", "name", "counts"),
    [
        (marks.bound(MARKS, "7"), "7", "zones/u1", True),
        (marks.bound(MARKS, "7"), "8", "zones/u1", False),
        (marks.born(MARKS, "pool", "zones/u1"), "9", "zones/u1", True),
        (marks.born(MARKS, "pool", "zones/u1"), "9", "zones/copy", False),
        (marks.born(MARKS, "other", "zones/u1"), "9", "zones/u1", False),
        ("", "7", "zones/u1", False),
        ("{}", "7", "zones/u1", False),
        (None, "7", "zones/u1", False),
    ],
)
def test_mark_counts_only_on_the_thing_it_names(text: str | None, guid: str, name: str, counts: bool) -> None:
    assert marks.proved(text, guid=guid, pool="pool", name=name) == (MARKS if counts else None)


def test_node_mark_reads_back() -> None:
    claim = Claim("dc", "pool", 3, 4)
    assert marks.claim(marks.node_text(claim)) == claim
    assert marks.claim("nonsense") is None


def test_names_are_short_and_this_instances_own() -> None:
    other = Place(Path("/elsewhere"))
    assert len(PLACE.bridge("app/7/10.0.0.0/24")) <= 15
    assert len(PLACE.veth("u1", 35)) <= 15
    assert PLACE.bridge("x") != other.bridge("x")
    assert PLACE.cgroup != other.cgroup


def test_what_the_guest_is_told_reads_back_without_its_secrets(tmp_path: Path) -> None:
    secret = {"secret": "pass", "keyed": "k"}
    told = Told(["10.0.0.1"], ["example.org"], ["ssh-ed25519 A"], {"plain": "1", "hidden": secret}, "#cloud")
    write(tmp_path, told, {"pass": "hush"})
    fields = read(tmp_path)
    assert fields["metadata"] == {"plain": "1", "hidden": "secret:pass:k"}
    assert "hush" not in repr(fields)
    assert (fields["resolvers"], fields["search"], fields["sshKeys"]) == (
        ["10.0.0.1"],
        ["example.org"],
        ["ssh-ed25519 A"],
    )
    with pytest.raises(Missing, match="pass"):
        write(tmp_path, told, {})


def test_changes_are_merged_by_path() -> None:
    assert merged({"nics": {"a": {"ip": "1"}}, "cpu": 1}, {"/nics/a/ip": "2", "/cpu": None}) == {
        "nics": {"a": {"ip": "2"}}
    }


def test_zone_may_send_from_its_own_addresses_alone() -> None:
    class Recorder:
        text = ""

        def run(self, text: str) -> str:
            self.text += text
            return ""

    nft = Recorder()
    Firewall(PLACE, nft).add_ports([Port("tv0", "02:00:00:00:00:01", "10.0.0.10/24")])  # type: ignore[arg-type]
    assert '"tv0" . 10.0.0.10 ' in nft.text
    assert '"tv0" . fe80::ff:fe00:1 ' in nft.text


def test_secret_is_never_read_as_a_value_wherever_its_writer_was_killed(tmp_path: Path) -> None:
    place = Place(tmp_path)
    zone = place.zone("z")
    old = Told(metadata={"token": {"secret": "token"}, "plain": "x" * 90}, user_data={"secret": "script"})
    new = Told(metadata={"token": "told", "plain": {"secret": "token"}}, user_data="open")
    secrets = {"token": "hush", "script": "whisper"}
    killed = 0
    for before, after in ((old, new), (new, old)):
        for point in itertools.count(1):
            write(zone, before, secrets)
            child = os.fork()
            if not child:
                Points(place, point, Death.BEFORE).arm()
                write(zone, after, secrets)
                os._exit(0)
            _, status = os.waitpid(child, 0)
            told = repr(read(zone))
            assert "hush" not in told
            assert "whisper" not in told
            if not os.WIFSIGNALED(status):
                break
            killed += 1
    assert killed >= 8


def test_nobody_fills_an_image_while_the_copying_of_a_killed_process_goes_on(tmp_path: Path) -> None:
    source, root = tmp_path / "source", tmp_path / "root"
    for folder in (source, root, tmp_path / "locks"):
        folder.mkdir()
    for number in range(3000):
        (source / f"{number}").touch()
    locks = Locks(tmp_path / "locks")
    child = os.fork()
    if not child:
        Points(Place(tmp_path), 1, Death.WHILE).arm()
        with locks.object("u"):
            images.fill(root, {"folder": str(source)}, None, locks.held())
        os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    with locks.object("u"):
        commands = [_command(entry) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        assert not [line for line in commands if str(root) in line]


def _command(process: Path) -> str:
    try:
        return (process / "cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def test_who_lowers_the_whole_node_lets_steps_in_and_nobody_who_wants_it_whole(tmp_path: Path) -> None:
    mine, other = Locks(tmp_path), Locks(tmp_path)
    with mine.whole() as lower:
        for taken in (other.whole(patience=0), other.shared(patience=0)):
            with pytest.raises(Stuck), taken:
                raise AssertionError("the node was held whole")
        lower()
        with other.shared(patience=0):
            pass
        with pytest.raises(Stuck), other.whole(patience=0):
            raise AssertionError("a step is in hand")
    with other.whole(patience=0):
        pass


def test_nobody_has_the_node_whole_between_a_fence_and_the_step_under_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where flock gives up the one lock before it takes the other, as its manual says that it may."""
    mine, other, flock = Locks(tmp_path), Locks(tmp_path), fcntl.flock

    def in_two(descriptor: int, operation: int) -> None:
        if operation == fcntl.LOCK_SH:
            flock(descriptor, fcntl.LOCK_UN)
            with pytest.raises(Stuck), other.whole(patience=0):
                raise AssertionError("somebody else raised the fence here")
        flock(descriptor, operation)

    with mine.whole() as lower:
        monkeypatch.setattr(fcntl, "flock", in_two)
        lower()
