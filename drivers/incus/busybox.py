"""A small system of this host's static busybox, made without any network: it boots, asks for an address, shuts down.

Owns: building it as an image. Must not go here: sending it anywhere.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import shutil
import subprocess
import tarfile
from pathlib import Path

INIT = """\
#!/bin/sh
export PATH=/bin
trap 'exit 0' PWR TERM USR1 USR2 INT RTMIN+3
mountpoint -q /proc || mount -t proc proc /proc
hostname -F /etc/hostname 2>/dev/null
ip link set lo up
for d in /sys/class/net/eth*; do
  i=${d##*/}
  [ -e $d ] && { ip link set $i up; udhcpc -i $i -b -t 20 -T 1 -S -s /usr/share/udhcpc/s >/dev/null 2>&1 & }
done
[ -x /etc/rc.local ] && /etc/rc.local &
while :; do sleep 3600 & wait $!; done
"""
LEASE = """\
#!/bin/sh
case $1 in bound|renew)
  ip addr flush dev $interface; ip addr add $ip/${mask:-24} dev $interface
  for r in $router; do ip route add default via $r dev $interface; done;;
esac
"""
METADATA = """\
architecture: x86_64
creation_date: 1700000000
properties: {description: busybox, os: busybox, release: "%s"}
templates:
  /etc/hostname: {when: [create, copy, rename], create_only: false, template: hostname.tpl, properties: {}}
"""
FOLDERS = (
    "bin", "sbin", "etc", "proc", "sys", "dev", "tmp", "root", "run", "usr", "usr/bin", "usr/share", "usr/share/udhcpc",
)  # fmt: skip


class NoBusybox(Exception):
    """There is no static busybox on this host. One sentence for people."""


def build(path: Path, release: str = "1", *, plain: bool = False) -> str:
    """Write the image; gives its `sha256:…`. `plain`: a bare root filesystem, as for engines without metadata. Blocks.
    Raises NoBusybox."""
    program = shutil.which("busybox")
    if program is None:
        raise NoBusybox("there is no busybox on this host: install busybox-static")
    prefix = "" if plain else "rootfs/"
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.GNU_FORMAT) as tar:
        if not plain:
            _file(tar, "metadata.yaml", METADATA % release)
            _folder(tar, "templates")
            _file(tar, "templates/hostname.tpl", "{{ container.name }}\n")
            _folder(tar, "rootfs")
        for folder in FOLDERS:
            _folder(tar, prefix + folder)
        _file(tar, prefix + "bin/busybox", Path(program).read_bytes(), 0o755)
        for name in _applets(program):
            _link(tar, f"{prefix}bin/{name}", "/bin/busybox")
        _file(tar, prefix + "etc/passwd", "root:x:0:0::/root:/bin/sh\n")
        _file(tar, prefix + "etc/group", "root:x:0:\n")
        _file(tar, prefix + "etc/release", release + "\n")
        _file(tar, prefix + "sbin/init", INIT, 0o755)
        _file(tar, prefix + "usr/share/udhcpc/s", LEASE, 0o755)
    data = gzip.compress(raw.getvalue(), 6, mtime=0)
    path.write_bytes(data)
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _applets(program: str) -> list[str]:
    listed = subprocess.run([program, "--list"], check=True, capture_output=True, text=True).stdout
    return [name for name in listed.split() if name != "busybox"]


def _info(name: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.mtime = 1_700_000_000
    return info


def _folder(tar: tarfile.TarFile, name: str) -> None:
    info = _info(name)
    info.type, info.mode = tarfile.DIRTYPE, 0o755
    tar.addfile(info)


def _file(tar: tarfile.TarFile, name: str, content: str | bytes, mode: int = 0o644) -> None:
    data = content.encode() if isinstance(content, str) else content
    info = _info(name)
    info.size, info.mode = len(data), mode
    tar.addfile(info, io.BytesIO(data))


def _link(tar: tarfile.TarFile, name: str, to: str) -> None:
    info = _info(name)
    info.type, info.linkname = tarfile.SYMTYPE, to
    tar.addfile(info)
