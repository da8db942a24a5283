"""Images: the root file systems that zones are cloned from.

Owns: filling an image from its source, the busybox system that is built here offline, telling which init it has.
Must not go here: storing it (storage), fetching (the edge hands over checked files).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from drivers.local.chamber import run

SOURCES = frozenset({"file", "url", "folder", "debian", "busybox"})

_INIT = """#!/bin/sh
# The whole of init: answer on port 8080, run /etc/rc if there is one, end at once when asked to.
exec >/dev/console 2>&1 </dev/null
trap 'kill -TERM -1; exit 0' USR2 TERM INT PWR
hostname > /srv/www/index.html
[ -x /etc/rc ] && /etc/rc &
echo "$(hostname) is up"
while :; do
  httpd -f -p 8080 -h /srv/www &
  wait $!
  sleep 1 &
  wait $!
done
"""

_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/os-release": 'ID=busybox\nNAME="busybox, static"\n',
    "srv/www/healthz": "ok\n",
}
_FOLDERS = ("bin", "sbin", "usr/bin", "usr/sbin", "etc", "proc", "sys", "dev", "tmp", "run", "root", "srv/www", "data")

_UNPACK = ("tar", "--numeric-owner", "--xattrs", "--xattrs-include=security.capability")
_WITH_US = ("setpriv", "--pdeathsig", "KILL")
"""Minutes of copying for nobody would keep the next process waiting."""
_DEBIAN_PACKAGES = "systemd-sysv,dbus,iproute2,iputils-ping,netbase,ca-certificates"


class ImageFailed(Exception):
    """The source does not give a root file system; the text is one sentence."""


def fill(root: Path, source: Mapping[str, Any], fetched: str | None, keep: Sequence[int]) -> None:
    """Put the contents into an empty root. `fetched`: local path of what the edge fetched and checked. `keep`:
    descriptors of locks, so that nobody fills the same root while a command of ours does, should we be killed.
    Raises ImageFailed."""
    if source.get("busybox"):
        _busybox(root)
    elif source.get("debian"):
        _debian(root, source["debian"], keep)
    elif fetched is None and not source.get("folder"):
        raise ImageFailed("its contents were not handed over")
    else:
        path = Path(fetched or source["folder"])
        if path.is_dir():
            _must(*_WITH_US, "cp", "-a", "--reflink=auto", f"{path}/.", str(root), keep=keep)
        elif path.is_file():
            _must(*_WITH_US, *_UNPACK, "-C", str(root), "-xpf", str(path), keep=keep)
        else:
            raise ImageFailed(f"{path} is neither a folder nor a file on this node")
    if not os.path.lexists(root / "sbin/init"):
        raise ImageFailed("there is no /sbin/init in it, so nothing would start")


def has_systemd(root: Path) -> bool:
    """Whether its init is systemd, which wants other signals and its own control groups."""
    init = root / "sbin/init"
    return init.is_symlink() and "systemd" in os.readlink(init)


def _busybox(root: Path) -> None:
    binary = shutil.which("busybox", path="/bin:/usr/bin")
    if binary is None:
        raise ImageFailed("busybox is not installed on this node (apt-get install busybox-static)")
    if b"/ld-linux" in Path(binary).read_bytes():
        raise ImageFailed("this node's busybox is not a static one (apt-get install busybox-static)")
    for folder in _FOLDERS:
        (root / folder).mkdir(parents=True, exist_ok=True)
    os.chmod(root / "tmp", 0o1777)
    shutil.copy(binary, root / "bin/busybox")
    os.chmod(root / "bin/busybox", 0o755)
    for applet in run([binary, "--list"]).out.split():
        if applet not in ("busybox", "init"):
            (root / "bin" / applet).symlink_to("busybox")
    for name, text in _FILES.items():
        (root / name).write_text(text)
    (root / "sbin/init").write_text(_INIT)
    os.chmod(root / "sbin/init", 0o755)


def _debian(root: Path, suite: str, keep: Sequence[int]) -> None:
    if shutil.which("mmdebstrap") is None:
        raise ImageFailed("mmdebstrap is not installed on this node (apt-get install mmdebstrap)")
    with tempfile.NamedTemporaryFile(dir="/var/tmp", suffix=".tar") as tar:
        # by way of a tar: dpkg's many small synced writes are slow on a FUSE file system
        sources = _sources(suite)
        options = ["--variant=minbase", f"--include={_DEBIAN_PACKAGES}"]
        _must("mmdebstrap", *options, suite, tar.name, *sources, timeout=1800)
        _must(*_WITH_US, *_UNPACK, "-C", str(root), "-xpf", tar.name, keep=keep)


def _sources(suite: str) -> list[str]:
    """The node's own package sources, where they have that suite; else mmdebstrap's default."""
    folder = Path("/etc/apt/sources.list.d")
    files = [Path("/etc/apt/sources.list"), *sorted(folder.glob("*.sources")), *sorted(folder.glob("*.list"))]
    return [str(file) for file in files if file.exists() and suite in file.read_text()]


def _must(*argv: str, timeout: float = 900, keep: Sequence[int] = ()) -> None:
    done = run(argv, timeout=timeout, keep=keep)
    if done.code != 0:
        raise ImageFailed(done.text)
