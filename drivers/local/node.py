"""One node, opened: its parts, and bringing them up after a first use, a boot of the host, or the storage's death.

Owns: what belongs together, and the order in which it comes up and goes away.
Must not go here: observing (observe.py), steps (verbs.py).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from drivers.local import config, files, namespace
from drivers.local.cgroups import of_host
from drivers.local.chamber import Chamber, run
from drivers.local.firewall import Bridge, Firewall, Port
from drivers.local.locks import Locks, Stuck
from drivers.local.netlink import Netlink
from drivers.local.network import Networks
from drivers.local.nft import Nft
from drivers.local.place import Place
from drivers.local.storage import HALF, Settings, Storage
from drivers.local.storage.choose import PLAIN, choose, kept
from drivers.local.zones import ZoneFailed, Zones

_UP = Path("/run/zfs/trueup.up")
"""In the namespace's own /run: gone with it."""
_LOOSEN = 12.0
"""Seconds to wait for commands in hand before asking whether their storage hangs."""
_TOOLS = {"lxc-start": "lxc", "ip": "iproute2", "nft": "nftables", "unshare": "util-linux"}


def unusable() -> str | None:
    """Why zones cannot run on this host, in one sentence; None if they can."""
    if os.geteuid() != 0:
        return "zones need root"
    import shutil

    path = f"{os.defpath}:/sbin:/usr/sbin"
    missing = sorted({package for tool, package in _TOOLS.items() if shutil.which(tool, path=path) is None})
    if missing:
        return f"not installed: {', '.join(missing)} (apt-get install --no-install-recommends {' '.join(missing)})"
    if run(["unshare", "--mount", "true"]).code != 0:
        return "this host does not let us make a mount namespace (a container without CAP_SYS_ADMIN?)"
    cgroups = of_host()
    if cgroups.unified is None and not cgroups.legacy:
        return "no control groups are mounted"
    return None


class Node:
    """The parts. `storage` and `chamber` are there once it has been brought up."""

    storage: Storage
    chamber: Chamber

    def __init__(self, place: Place, settings: Settings, interfaces: Mapping[str, str]) -> None:
        self.place = place
        self._settings = settings
        self.locks = Locks(place.locks)
        self.cgroups = of_host()
        self.zones = Zones(place, self.cgroups)
        self.firewall = Firewall(place, Nft())
        self.networks = Networks(place, self.firewall, interfaces, self._ports)

    def enter(self) -> bool:
        """Folders, the namespace, and the threads in it; True if the namespace had to be made. Blocks; runs in the
        host's own namespace. Raises StorageFailed, Stuck."""
        for folder in (self.place.folder, self.place.zones, self.place.locks):
            folder.mkdir(parents=True, exist_ok=True)
            os.chmod(folder, 0o711)  # a shifted root walks through to its own files
        with self.locks.entering():
            files.put(self.place.folder / "seccomp", config.SECCOMP)
            made = namespace.ensure(self.place, self.locks.held())
        self.chamber = Chamber(self.place.pin)
        return made

    def plain(self) -> bool:
        """Whether its storage is plain files, read without a command that could hang. Touches nothing else."""
        return (self._settings.backend or kept(self.place)) == PLAIN

    def is_up(self) -> bool:
        """Whether it was brought up since the host's boot, and can be read. In its namespace. Raises StorageFailed."""
        self._chosen()
        return _UP.exists()

    def bring_up(self, made: bool) -> None:
        """In a thread of the chamber. Raises StorageFailed, NetworkFailed."""
        try:
            with self.locks.whole(_LOOSEN):
                self._bring_up(made)
        except Stuck:
            # commands of a controller that was killed wait for a storage that hangs, and hold their locks meanwhile
            self._chosen().loosen()
            with self.locks.whole():
                self._bring_up(made)

    def _chosen(self) -> Storage:
        if not hasattr(self, "storage"):
            self.storage = choose(self.place, self.locks, self._settings)
        return self.storage

    def _bring_up(self, made: bool) -> None:
        known = hasattr(self, "storage")
        storage = self._chosen()
        if _UP.exists() and not made and not known:
            return  # brought up since the host's boot; if it died meanwhile, the first reading tells
        if _UP.exists() and known and storage.alive():
            return  # another process was faster
        _UP.unlink(missing_ok=True)  # killed from here on, the next one begins anew
        storage.bring_up()
        self._revive()
        _UP.touch()

    def _revive(self) -> None:
        """What ran before runs again: networks first. A zone whose root died under it is started anew; half an image,
        which nobody is filling now, goes."""
        volumes = self.storage.read().volumes
        for name in volumes:
            if name.endswith(HALF):
                self.storage.destroy(name)
        forms = list(self.network_forms().values())
        if self.firewall.read() is None:
            self.firewall.lay(self._bridges(forms), self._ports())
        for form in forms:
            self.networks.ensure(form, form.get("name", "network"))
        self.networks.sweep(forms)
        for name in volumes:
            folder, _, zone = name.partition("/")
            if folder == "zones":
                # One that cannot be brought back keeps no other from it: it is seen stopped, or as nobody can read it.
                with suppress(OSError, ValueError, ZoneFailed):
                    self._revive_zone(name, zone)

    def _revive_zone(self, name: str, zone: str) -> None:
        was = self.cgroups.populated(self.zones.group(zone))
        if was and self._lives(name, zone):
            return
        if was:
            self.zones.stop(zone, patience=0)
        if was or self.zones.starts_on_boot(zone):
            written = config.parse((self.place.zone(zone) / "config").read_text())
            for each in (name, *self.mounted(written, "disks", "volumes")):
                self.storage.mount(each)
            self.zones.start(zone)

    def _lives(self, name: str, zone: str) -> bool:
        """Whether a running zone's root is the one that is mounted here: it answers, and is no former daemon's."""
        try:
            root = os.stat(f"/proc/{self.zones.init(zone)}/root")
            return root.st_dev == os.stat(self.storage.path(name)).st_dev
        except (OSError, ZoneFailed):
            return False

    def network_forms(self) -> dict[str, Mapping[str, Any]]:
        """What is said of each network, by the name of its volume."""
        volumes = self.storage.read().volumes
        return {
            name: volume.record
            for name, volume in volumes.items()
            if name.startswith("networks/") and {"tag", "subnet"} <= volume.record.keys()
        }

    def mounted(self, written: config.Written, *folders: str) -> list[str]:
        """What a configuration mounts of these: `disks`, `volumes`."""
        found = []
        for folder in folders:
            top = str(self.storage.path(f"{folder}/x")).rpartition(f"{folder}/x")[0] + f"{folder}/"
            found += [
                f"{folder}/{path[len(top) :].partition('/')[0]}" for path in written.mounts if path.startswith(top)
            ]
        return found

    def _bridges(self, forms: list[Mapping[str, Any]]) -> list[Bridge]:
        return [bridge for form in forms if (bridge := self.networks.bridge_of(form)) is not None]

    def _ports(self) -> list[Port]:
        """Of a zone that goes at this moment, or whose configuration nobody can read, none: it may send nothing."""
        found: list[Port] = []
        for file in self.place.zones.glob("*/config"):
            with suppress(OSError, ValueError):
                found += ports(config.parse(file.read_text()))
        return found

    def tear_down(self) -> None:
        """Every zone, mount, bridge, table and group of this instance, and its pool if that was ours. In a thread of
        the chamber; the folder itself and the namespace are the caller's to remove."""
        for folder in sorted(self.place.zones.iterdir()) if self.place.zones.exists() else []:
            self.zones.stop(folder.name, patience=0)
        self._chosen().tear_down()  # it may be that it cannot be brought up
        with Netlink() as netlink:
            ours = [name for name in netlink.links() if name.startswith((self.place.bridges, self.place.veths))]
        for name in ours:
            run(["ip", "link", "del", name])
        self.firewall.remove()
        for group in (self.place.cgroup, f"{self.place.cgroup}.monitor"):
            self.cgroups.remove(group)
        self.networks.let_go()

    def close(self) -> None:
        """Give back threads and what libraries keep. The node stays as it is."""
        self.chamber.close()
        self.firewall.close()

    def leave(self) -> None:
        """After `tear_down`, in the host's own namespace: the namespace and the folder."""
        import shutil

        self.close()
        namespace.remove(self.place)
        shutil.rmtree(self.place.folder, ignore_errors=True)


def ports(written: config.Written) -> list[Port]:
    """What a zone may send, from its configuration."""
    nics = written.fields["nics"]
    return [Port(written.veths[name], nic["mac"], nic["ip"]) for name, nic in nics.items() if nic["mac"] and nic["ip"]]
