"""Where one node's things live: its folder, and the names of what it makes outside of it.

Owns: paths and names, all derived from the folder, so that several instances live side by side on one host.
Must not go here: making, reading or removing any of it.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path

import msgspec


class Place(msgspec.Struct, frozen=True, dict=True):
    """The folder of one node. Every name is unique to it; interface names have at most 15 characters."""

    folder: Path

    @cached_property
    def tag(self) -> str:
        """Six hex digits that tell this instance's bridges, tables and cgroups from any other's."""
        return short(str(self.folder), 6)

    @cached_property
    def seen(self) -> Path:
        """The folder once more, in its namespace: zones whose root is nobody on the host cannot walk through a state
        folder that is closed to others, so what they need is reached this way."""
        return Path("/var/lib/zfs") / f"node-{self.tag}"

    @property
    def lxc(self) -> Path:
        """What LXC is told to be its path: its command sockets are named after it, so it is this instance's alone."""
        return self.inside(self.zones)

    @cached_property
    def mounts(self) -> Path:
        """The private mount namespace is pinned at `ns` in here."""
        return self.folder / "mounts"

    @property
    def pin(self) -> Path:
        return self.mounts / "ns"

    @cached_property
    def pool(self) -> Path:
        """Where the datasets are mounted, as seen in the namespace."""
        return self.seen / "mounts" / "pool"

    @property
    def pool_file(self) -> Path:
        return self.folder / "pool.img"

    @property
    def pool_made(self) -> Path:
        """There once the file was seen to hold a pool: from then on none is ever made in its place."""
        return self.folder / "pool.made"

    @property
    def pool_making(self) -> Path:
        """There from before the file is made until then: what is half a pool may be begun anew."""
        return self.folder / "pool.making"

    @cached_property
    def zones(self) -> Path:
        """A folder per zone with its config, logs and what the guest is told."""
        return self.folder / "zones"

    @property
    def locks(self) -> Path:
        return self.folder / "locks"

    @property
    def cgroup(self) -> str:
        return f"trueup-{self.tag}"

    @property
    def table(self) -> str:
        """Name of the nftables tables (families inet and bridge)."""
        return f"trueup_{self.tag}"

    @property
    def bridges(self) -> str:
        """What the names of this instance's bridges begin with."""
        return f"tu{self.tag}"

    @property
    def veths(self) -> str:
        return f"tv{self.tag}"

    def zone(self, name: str) -> Path:
        return self.zones / name

    def inside(self, path: Path) -> Path:
        """A path under the folder as it is reached from a zone."""
        return self.seen / path.relative_to(self.folder)

    def bridge(self, key: str) -> str:
        return f"{self.bridges}{short(key, 6)}"

    def bridge_mac(self, bridge: str) -> str:
        """The address of a bridge of this instance, locally administered: the same for as long as it has its name."""
        octets = bytes.fromhex(short(f"{self.folder} {bridge}", 10))
        return f"02:{octets.hex(':')}"

    def veth(self, zone: str, index: int) -> str:
        """Host side of a zone's interface: 8 characters of ours, 6 of the zone's, 1 of the index (36 values)."""
        return f"{self.veth_stem(zone)}{'0123456789abcdefghijklmnopqrstuvwxyz'[index]}"

    def veth_stem(self, zone: str) -> str:
        return f"{self.veths}{short(zone, 6)}"


def short(text: str, digits: int) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()[:digits]
