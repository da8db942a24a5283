"""Whether the host routes: switched on for the first network that reaches the world, put back after the last.

Owns: the kernel's switches for both families, and what they were before. Must not go here: what may pass (firewall.py).
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from drivers.local import files

_SWITCHES = Path("/proc/sys/net")
_BEFORE = Path("/run/trueup.routing")
"""Switch to what it was, before any node of this host changed it."""


def switch_on(version: int) -> None:
    """The host routes IPv4, or IPv6, from now on."""
    if version == 4:
        _set({"ipv4/ip_forward": "1"})
        return
    # a router ignores what other routers advertise, and the host would lose its own way out: 2 says to listen anyway
    switches = _SWITCHES.glob("ipv6/conf/*/accept_ra")
    listening = [str(each.relative_to(_SWITCHES)) for each in switches if each.read_text().strip() == "1"]
    _set(dict.fromkeys(listening, "2") | {"ipv6/conf/all/forwarding": "1"})


def listen_to_nobody(interface: str) -> None:
    """What zones advertise there is no way out for the host."""
    switch = _SWITCHES / "ipv6/conf" / interface / "accept_ra"
    if switch.exists() and switch.read_text().strip() != "0":
        switch.write_text("0")


def put_back() -> None:
    """As it was before; an interface that is gone needs nothing."""
    for name, value in reversed(_before().items()):
        if (_SWITCHES / name).exists():
            (_SWITCHES / name).write_text(value)
    _BEFORE.unlink(missing_ok=True)


def _set(wanted: dict[str, str]) -> None:
    """Remembered first: killed in between, it can still be put back."""
    found = {name: (_SWITCHES / name).read_text().strip() for name in wanted}
    changes = {name: value for name, value in wanted.items() if found[name] != value}
    if changes:
        before = {name: found[name] for name in changes} | _before()
        files.put(_BEFORE, msgspec.json.encode(before).decode())
    for name, value in changes.items():
        (_SWITCHES / name).write_text(value)


def _before() -> dict[str, str]:
    return msgspec.json.decode(_BEFORE.read_text(), type=dict[str, str]) if _BEFORE.exists() else {}
