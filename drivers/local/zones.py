"""Zones as LXC runs them: starting, stopping, looking inside. LXC's tools, no daemon.

Owns: the lxc-* commands, what a failed start says, cleaning up after a zone that ended badly.
Must not go here: the configuration's text (config.py), caps (cgroups.py), storage.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from drivers.local.cgroups import Cgroups
from drivers.local.chamber import Done, Hung, run
from drivers.local.place import Place

_LINES = 12
_COLOURS = r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]"


class ZoneFailed(Exception):
    """It did not start, or did not stop; the text says why, with the last lines it printed."""


class Zones:
    def __init__(self, place: Place, cgroups: Cgroups) -> None:
        self._place = place
        self._cgroups = cgroups

    def group(self, zone: str) -> str:
        return f"{self._place.cgroup}/{zone}"

    def running(self, zone: str) -> bool:
        """Alive and not frozen: by its control group, so without asking anything that could hang."""
        return self._cgroups.populated(self.group(zone)) and not self._cgroups.frozen(self.group(zone))

    def _lxc(self, tool: str, zone: str, *args: str, timeout: float = 60) -> Done:
        return run([f"lxc-{tool}", "-P", str(self._place.lxc), "-n", zone, *args], timeout=timeout)

    def start(self, zone: str) -> None:
        """Returns once its init runs. Raises ZoneFailed."""
        import shutil

        if self._cgroups.populated(self.group(zone)):
            self._lxc("unfreeze", zone)
            return
        self._clean(zone)
        folder = self._place.zone(zone)
        for log in ("lxc.log", "console.log"):
            (folder / log).unlink(missing_ok=True)
        # newuidmap, where it is installed, would ask /etc/subuid what root may do; unfound, LXC writes the map itself
        argv = [shutil.which("lxc-start") or "/usr/bin/lxc-start", "-P", str(self._place.lxc), "-n", zone, "-d"]
        done = run(argv, path="/usr/sbin:/sbin")
        if done.code != 0 and not self._comes(zone):
            raise ZoneFailed(f"it did not start: {self._errors(zone) or done.text}")

    def _comes(self, zone: str, within: float = 1.0) -> bool:
        """Whether it runs after all: a controller that was killed has left a start behind that goes on by itself."""
        if "already running" not in self._errors(zone):
            return False
        end = time.monotonic() + within
        while not self._cgroups.populated(self.group(zone)) and time.monotonic() < end:
            time.sleep(0.02)
        return self._cgroups.populated(self.group(zone))

    def died(self, zone: str, *, within: float = 0) -> str | None:
        """If it is not running any more, or ends within some seconds: its last words."""
        end = time.monotonic() + within
        while self._cgroups.populated(self.group(zone)):
            if time.monotonic() >= end:
                return None
            time.sleep(0.01)
        return f"it ended right after its start; it said last: {self.last_lines(zone) or 'nothing'}"

    def _errors(self, zone: str) -> str:
        """LXC writes the reason to its log alone: `name time ERROR part - file:function:line - text`."""
        lines = _tail(self._place.zone(zone) / "lxc.log")
        errors = [line.rpartition(" - ")[2] for line in lines if " ERROR " in line]
        return "; ".join(dict.fromkeys(errors[:3]))

    def last_lines(self, zone: str, count: int = _LINES) -> str:
        """Of its console, for people: control characters gone."""
        return "\n".join(re.sub(_COLOURS, "", line) for line in _tail(self._place.zone(zone) / "console.log")[-count:])

    def stop(self, zone: str, *, patience: int = 20) -> None:
        """Asks its init, and after `patience` seconds ends it. Raises ZoneFailed."""
        group = self.group(zone)
        if self._cgroups.frozen(group):
            self._lxc("unfreeze", zone)
        if self._cgroups.populated(group):
            arguments = ["-k"] if patience == 0 else ["-t", str(patience)]
            with suppress(Hung):  # ended the hard way below
                self._lxc("stop", zone, *arguments, timeout=patience + 20)
        if self._cgroups.populated(group):
            self._cgroups.kill(group)
        self._clean(zone)
        if self._cgroups.populated(group):
            raise ZoneFailed("it does not stop: processes of it cannot be killed")

    def _clean(self, zone: str) -> None:
        """What is left of a zone that is not running: a group that is still there gives the next one another name."""
        for group in (self.group(zone), f"{self._place.cgroup}.monitor/{zone}"):
            self._cgroups.remove(group)
        for link in os.listdir("/sys/class/net"):
            if link.startswith(self._place.veth_stem(zone)):
                run(["ip", "link", "del", link])

    def init(self, zone: str) -> int:
        """Process id of its init on the host. Raises ZoneFailed."""
        done = self._lxc("info", zone, "-pH")
        if done.code != 0 or not done.out.strip().isdigit():
            raise ZoneFailed("it is not running")
        return int(done.out)

    def inside(self, zone: str, argv: Sequence[str], *, timeout: float) -> Done:
        """Run a command in the zone, with nothing of our environment. Raises Hung."""
        return self._lxc("attach", zone, "--clear-env", "--", *argv, timeout=timeout)

    def attach(self, zone: str, argv: Sequence[str]) -> int:
        """Run a command in the zone at this process's own terminal; its exit code."""
        command = ["lxc-attach", "-P", str(self._place.lxc), "-n", zone, "--clear-env", "--", *argv]
        return subprocess.run(command, check=False).returncode

    def on_boot(self, zone: str, *, starts: bool) -> None:
        """Whether it starts again when the host, or its storage, comes back."""
        flag = self._place.zone(zone) / "autostart"
        if starts:
            flag.touch()
        else:
            flag.unlink(missing_ok=True)

    def starts_on_boot(self, zone: str) -> bool:
        return (self._place.zone(zone) / "autostart").exists()

    def forget(self, zone: str) -> None:
        """Its folder: configuration, logs, what it was told."""
        import shutil

        shutil.rmtree(self._place.zone(zone), ignore_errors=True)


def _tail(path: Path, size: int = 16384) -> list[str]:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - size))
            return file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return []
