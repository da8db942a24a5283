"""A zone's LXC configuration: written from fields, and read back into them.

Owns: every key of the file, both ways. What is observed of a stopped zone is what stands in here, so a change made by
hand is seen. Must not go here: files beside it (guest.py), starting, live values (cgroups.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from drivers.local.cgroups import legacy_lines, unified_lines
from drivers.local.place import Place
from reconciler.core.values import canonical, plain

_CAPABILITIES = (
    "chown dac_override fowner fsetid kill setgid setuid setpcap "
    "net_bind_service net_raw sys_chroot audit_write setfcap"
)
"""Without mknod, sys_admin, net_admin, sys_time, sys_module, sys_ptrace: what is not here is dropped for ever."""

_DEVICES = tuple(f"c {device} rwm" for device in ("1:3", "1:5", "1:7", "1:8", "1:9", "5:0", "5:1", "5:2", "136:*"))
"""null, zero, full, random, urandom, tty, console, ptmx, pts."""

SECCOMP = """2
denylist
reject_force_umount
[all]
kexec_load errno 1
kexec_file_load errno 1
open_by_handle_at errno 1
init_module errno 1
finit_module errno 1
delete_module errno 1
bpf errno 1
perf_event_open errno 1
keyctl errno 1
add_key errno 1
request_key errno 1
userfaultfd errno 1
unshare errno 1 [0,0x10000000,SCMP_CMP_MASKED_EQ,0x10000000]
clone errno 1 [0,0x10000000,SCMP_CMP_MASKED_EQ,0x10000000]
clone3 errno 38
"""
"""No new user namespaces inside: they would give back what was dropped. clone3 hides its flags from seccomp, so it
does not exist here and libc takes clone."""

_SYSTEMD = (
    "lxc.mount.entry = tmpfs run tmpfs rw,nosuid,nodev,mode=755,size=64m,create=dir 0 0",
    "lxc.mount.entry = tmpfs run/lock tmpfs rw,nosuid,nodev,noexec,size=5m,create=dir 0 0",
    "lxc.mount.entry = tmpfs dev/shm tmpfs rw,nosuid,nodev,create=dir 0 0",
    "lxc.mount.entry = tmpfs tmp tmpfs rw,nosuid,nodev,mode=1777,create=dir 0 0",
)
"""What systemd mounts first of all: it may not, but goes on where it finds it done."""

_NOTE = "# trueup.nic."
_IMAGE = "# trueup.image"


class Attachment(msgspec.Struct, frozen=True):
    """Where an interface is plugged in on the host. `vlan`: id on a bridge that filters by VLAN."""

    link: str
    vlan: int | None = None


class Boot(msgspec.Struct, frozen=True):
    """What a zone needs beside its fields."""

    root: Path
    image: str = ""
    """What the root is a clone of, by its name in the storage."""
    systemd: bool = False
    binds: Sequence[tuple[Path, str, str]] = ()
    """Host path, path in the zone, options."""
    attachments: Mapping[str, Attachment] = {}
    shift: int | None = None
    """First host id of the zone's own range of ids; None: ids are the host's."""
    swap: bool = True


def ordered(nics: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    """The primary interface first, then by name: `net0`, `net1`, … in the zone."""
    return sorted(nics.items(), key=lambda item: (not item[1].get("primary"), item[0]))


def render(place: Place, zone: str, fields: Mapping[str, Any], boot: Boot) -> str:
    """The whole file. Fields that have their own file (keys, resolvers, metadata) come in through `boot.binds`."""
    folder = place.zone(zone)
    lines = [
        f"lxc.uts.name = {fields.get('hostname', zone)}",
        f"lxc.rootfs.path = dir:{boot.root}",
        *([f"{_IMAGE} = {boot.image}"] if boot.image else []),
        "lxc.init.cmd = /sbin/init",
        *([] if boot.systemd else ["lxc.signal.halt = SIGUSR2"]),
        f"lxc.mount.auto = proc:mixed sys:ro{' cgroup:mixed' if boot.systemd else ''}",
        "lxc.autodev = 1",
        *(_SYSTEMD if boot.systemd else ()),
        "lxc.tty.max = 0",
        f"lxc.console.logfile = {folder}/console.log",
        "lxc.console.size = 1MB",
        "lxc.console.rotate = 1",
        "lxc.environment = CONSOLE=/dev/console",  # busybox and sysvinit: what services say goes there, and not nowhere
        "lxc.log.level = WARN",
        f"lxc.log.file = {folder}/lxc.log",
        "lxc.apparmor.profile = unconfined",
        "lxc.no_new_privs = 1",
        f"lxc.cap.keep = {_CAPABILITIES}",
        f"lxc.seccomp.profile = {place.folder}/seccomp",
        f"lxc.cgroup.dir.container = {place.cgroup}/{zone}",
        f"lxc.cgroup.dir.monitor = {place.cgroup}.monitor/{zone}",
        # systemd writes its own groups: they lie below the one with the caps, which the guest then cannot reach
        *(["lxc.cgroup.dir.container.inner = guest"] if boot.systemd else []),
        *_isolation(boot),
        *_caps(fields, boot),
        *(_mount(host, guest, how) for host, guest, how in boot.binds),
    ]
    for index, (name, nic) in enumerate(ordered(fields.get("nics", {}))):
        lines += _nic(place.veth(zone, index), index, name, nic, boot.attachments[name])
    return "\n".join(lines) + "\n"


def _isolation(boot: Boot) -> list[str]:
    lines = []
    for version in ("cgroup", "cgroup2"):
        lines.append(f"lxc.{version}.devices.deny = a")
        lines += [f"lxc.{version}.devices.allow = {device}" for device in _DEVICES]
    if boot.shift is not None:
        lines += [f"lxc.idmap = {kind} 0 {boot.shift} 65536" for kind in "ug"]
        lines.append("lxc.rootfs.options = idmap=container")
    return lines


def _caps(fields: Mapping[str, Any], boot: Boot) -> list[str]:
    """For both versions: each ignores the other's keys, and a host that changes version keeps its caps."""
    legacy = legacy_lines(fields)
    if not boot.swap:
        legacy.pop("memory.memsw.limit_in_bytes", None)
    lines = [f"lxc.cgroup.{key} = {value}" for key, value in legacy.items()]
    return lines + [f"lxc.cgroup2.{key} = {value}" for key, value in unified_lines(fields).items()]


def _nic(veth: str, index: int, name: str, nic: Mapping[str, Any], attachment: Attachment) -> list[str]:
    family = "ipv6" if ":" in nic["ip"] else "ipv4"
    note = {key: nic[key] for key in ("primary", "tag", "vlan", "mtu") if key in nic} | {"name": name}
    key = f"lxc.net.{index}"
    lines = [
        f"{_NOTE}{index} = {canonical(note).decode()}",
        f"{key}.type = veth",
        f"{key}.veth.pair = {veth}",
        f"{key}.link = {attachment.link}",
        f"{key}.flags = up",
        f"{key}.name = net{index}",
        f"{key}.hwaddr = {nic['mac']}",
        f"{key}.{family}.address = {nic['ip']}",
    ]
    if attachment.vlan is not None:
        lines.append(f"{key}.veth.vlan.id = {attachment.vlan}")
    if "gateway" in nic:
        lines.append(f"{key}.{family}.gateway = {nic['gateway']}")
    if "mtu" in nic:
        lines.append(f"{key}.mtu = {nic['mtu']}")
    return lines


def _escaped(path: Path) -> str:
    return str(path).replace(" ", "\\040")


def with_mount(text: str, host: Path, guest: str) -> str:
    """The configuration with one more data disk, mounted at the next boot."""
    return without_mount(text, host) + _mount(host, guest, "bind,create=dir") + "\n"


def without_mount(text: str, host: Path) -> str:
    begin = f"lxc.mount.entry = {_escaped(host)} "
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith(begin))


def _mount(host: Path, guest: str, how: str) -> str:
    return f"lxc.mount.entry = {_escaped(host)} {guest.lstrip('/')} none {how} 0 0"


class Written(msgspec.Struct, frozen=True):
    """What a configuration says: the fields that it holds, and where each interface is plugged in."""

    fields: Mapping[str, Any]
    links: Mapping[str, str]
    """Interface's network name to the bridge."""
    veths: Mapping[str, str]
    """Interface's network name to the name of the host's end."""
    mounts: Mapping[str, str] = {}
    """Path on the host to the path in the zone."""
    read_only: frozenset[str] = frozenset()
    """Of those on the host, what the zone may not write to."""
    image: str = ""
    """What its root was a clone of when this was written: what to ask for beside it, never what it is."""


def parse(text: str) -> Written:
    """Raises ValueError if it is none of ours."""
    values: dict[str, str] = {}
    mounts: dict[str, str] = {}
    read_only = set()
    for line in text.splitlines():
        key, _, value = line.partition("=")
        values[key.strip()] = value.strip()
        if key.strip() == "lxc.mount.entry":
            host, guest, _, how, *_ = value.split()
            mounts[host.replace("\\040", " ")] = f"/{guest}"
            if "ro" in how.split(","):
                read_only.add(host.replace("\\040", " "))
    fields: dict[str, Any] = {}
    if "lxc.uts.name" in values:
        fields["hostname"] = values["lxc.uts.name"]
    fields.update(_read_caps(values))
    nics, links, veths = {}, {}, {}
    index = 0
    while f"lxc.net.{index}.type" in values:
        note = plain(values[f"{_NOTE}{index}"].encode()) if f"{_NOTE}{index}" in values else {"name": f"net{index}"}
        name = note.pop("name")
        nics[name] = _read_nic(values, index, note)
        links[name] = values.get(f"lxc.net.{index}.link", "")
        veths[name] = values.get(f"lxc.net.{index}.veth.pair", "")
        index += 1
    fields["nics"] = nics
    return Written(fields, links, veths, mounts, frozenset(read_only), values.get(_IMAGE, ""))


def _read_nic(values: Mapping[str, str], index: int, note: Mapping[str, Any]) -> dict[str, Any]:
    key = f"lxc.net.{index}"
    nic: dict[str, Any] = dict(note)
    nic.pop("mtu", None)
    nic["ip"] = values.get(f"{key}.ipv4.address") or values.get(f"{key}.ipv6.address") or ""
    nic["mac"] = values.get(f"{key}.hwaddr", "")
    gateway = values.get(f"{key}.ipv4.gateway") or values.get(f"{key}.ipv6.gateway")
    if gateway:
        nic["gateway"] = gateway
    if f"{key}.mtu" in values:
        nic["mtu"] = int(values[f"{key}.mtu"])
    return nic


def _read_caps(values: Mapping[str, str]) -> dict[str, int]:
    """From the keys of version 2, which every value is written to without loss but the shares."""
    caps: dict[str, int] = {}
    for name, key in (("memory", "memory.max"), ("swap", "memory.swap.max"), ("threads", "pids.max")):
        value = values.get(f"lxc.cgroup2.{key}", "")
        if value.isdigit():
            caps[name] = int(value)
    quota, _, period = values.get("lxc.cgroup2.cpu.max", "").partition(" ")
    if quota.isdigit() and period.isdigit():
        caps["cpu"] = int(quota) * 1000 // int(period)
    shares = values.get("lxc.cgroup.cpu.shares", "")
    if shares.isdigit():
        caps["cpuShares"] = int(shares)
    return caps
