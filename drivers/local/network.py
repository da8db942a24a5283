"""Networks on this host: a bridge each, with the gateway's address where no uplink has one.

Owns: which bridge a network is, making and reading it. Must not go here: what may pass (firewall.py), zones' ends.

A nic tag's interface in the node's document says what a network of that tag is made of:
- `none`, `bridge`, `internal`, or nothing: a bridge of ours per network, with the gateway's address on the host;
- a bridge of the host: zones are plugged into it as it is (by VLAN id, if it filters by VLAN);
- another interface: a bridge of ours with that interface in it; VLANs by a filtering bridge where the kernel has it,
  else a bridge per VLAN. The gateway is then somebody else.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec

from drivers.local import forwards, guards, routing
from drivers.local.chamber import run
from drivers.local.config import Attachment
from drivers.local.firewall import Bridge, Firewall, Passing, Port
from drivers.local.netlink import Link
from drivers.local.place import Place
from drivers.local.shape import INTERNAL

_MTU = 1500
_ROUTED = ("nat", "firewall", "forwards")
"""What a network has only where this host is its router."""


class NetworkFailed(Exception):
    """The kernel or the host's own set-up does not allow it; the text is one sentence."""


class Segment(msgspec.Struct, frozen=True):
    """The layer-2 segment of a network on this host. `uplink` None: it has none. `ours`: we make and remove it."""

    bridge: str
    uplink: str | None = None
    vlan: int | None = None
    ours: bool = True
    filtering: bool = False

    @property
    def attachment(self) -> Attachment:
        return Attachment(self.bridge, self.vlan if self.filtering else None)


class Looking(Protocol):
    """What is asked of the kernel while a node is looked at."""

    def link(self, name: str) -> Link | None: ...

    def addresses(self, link: Link) -> list[str]: ...

    def passing(self) -> Passing | None: ...


class Networks:
    """`interfaces`: nic tag to interface, as declared for the node."""

    def __init__(
        self, place: Place, firewall: Firewall, interfaces: Mapping[str, str], ports: Callable[[], Iterable[Port]]
    ) -> None:
        """`ports`: what zones may send, for rules that have to be laid anew."""
        self._place = place
        self._firewall = firewall
        self._ports = ports
        self._interfaces = interfaces
        self._filters: bool | None = None

    def segment(self, tag: str, vlan: int | None, subnet: str) -> Segment:
        """Networks of one tag without an uplink are kept apart even if their documents name no VLAN."""
        uplink = self._interfaces.get(tag, "none")
        vlan = vlan or None
        if uplink in INTERNAL:
            return Segment(self._place.bridge(f"{tag}/{vlan}/{subnet}"))
        settings = Path("/sys/class/net") / uplink / "bridge"
        if settings.is_dir():
            switch = settings / "vlan_filtering"  # not in every kernel
            filtering = switch.exists() and switch.read_text().strip() == "1"
            return Segment(uplink, uplink, vlan, ours=False, filtering=filtering and vlan is not None)
        if vlan is not None and self._filtering():
            return Segment(self._place.bridge(f"{tag}"), uplink, vlan, filtering=True)
        return Segment(self._place.bridge(f"{tag}/{vlan}"), uplink, vlan)

    def carries(self) -> tuple[str, ...]:
        """The nic tags whose interface really is there."""
        return tuple(
            sorted(
                tag
                for tag, interface in self._interfaces.items()
                if interface in INTERNAL or os.path.exists(f"/sys/class/net/{interface}")
            )
        )

    def _filtering(self) -> bool:
        """Whether the kernel's bridges can filter by VLAN."""
        if self._filters is None:
            probe = self._place.bridge("probe")
            self._filters = run(["ip", "link", "add", probe, "type", "bridge", "vlan_filtering", "1"]).code == 0
            if self._filters:
                run(["ip", "link", "del", probe])
        return self._filters

    def ensure(self, form: Mapping[str, Any], name: str) -> None:
        """Make it as its form says; what is right already stays untouched. Raises NetworkFailed."""
        segment = self._segment_of(form)
        if not segment.ours:
            if segment.vlan is not None and not segment.filtering:
                raise NetworkFailed(f"{segment.bridge} does not filter by VLAN, and {name} is on VLAN {segment.vlan}")
            return
        commands = [] if _exists(segment.bridge) else [f"link add {segment.bridge} type bridge"]
        # left to itself a bridge takes the lowest address of its ports: zones would lose their gateway as others come
        mac = self._place.bridge_mac(segment.bridge)
        commands.append(f"link set {segment.bridge} address {mac} addrgenmode none alias {name}")
        if segment.uplink is not None:
            commands += self._plug(segment)
        _ip([*commands, f"link set {segment.bridge} mtu {form.get('mtu', _MTU)} up"])
        routing.listen_to_nobody(segment.bridge)  # a new one has no zone on it yet
        if segment.filtering:
            done = run(["bridge", "vlan", "add", "vid", str(segment.vlan), "dev", str(segment.uplink)])
            if done.code != 0:
                raise NetworkFailed(f"VLAN {segment.vlan} on {segment.uplink}: {done.text}")
        if segment.uplink is None:
            self._gateway(segment.bridge, form)
            self._pass(segment.bridge, form)
            return
        for field in _ROUTED:
            if form.get(field):
                why = f"{name} has an uplink, {segment.uplink}, and {field} is for networks that have none"
                raise NetworkFailed(why)

    def _segment_of(self, form: Mapping[str, Any]) -> Segment:
        return self.segment(form["tag"], form.get("vlan"), form["subnet"])

    def _plug(self, segment: Segment) -> list[str]:
        uplink = segment.uplink
        assert uplink is not None
        if not _exists(uplink):
            raise NetworkFailed(f"there is no interface {uplink} on this host")
        if segment.vlan is not None and not segment.filtering:
            port = _port(segment)
            add = [] if _exists(port) else [f"link add link {uplink} name {port} type vlan id {segment.vlan}"]
            return [*add, f"link set {uplink} up", f"link set {port} master {segment.bridge} up"]
        if _addresses(uplink):
            raise NetworkFailed(
                f"{uplink} carries the host's own address, which a bridge would take away; "
                "make a bridge of it in the host's configuration and name that one"
            )
        commands = [f"link set {uplink} master {segment.bridge} up"]
        if segment.filtering:
            commands.append(f"link set {segment.bridge} type bridge vlan_filtering 1")
        return commands

    def _gateway(self, bridge: str, form: Mapping[str, Any]) -> None:
        want = _gateway_address(form)
        found = _addresses(bridge)
        commands = [f"addr del {address} dev {bridge}" for address in found if address != want]
        if want and want not in found:
            # IPv6: nobody else has it, and trying it first would take a second after the first zone is plugged in
            commands.append(f"addr add {want} dev {bridge}{' nodad' if ':' in want else ''}")
        if want and ":" in want:
            # what comes from elsewhere has no address on this link, and without one nobody is asked where a zone is
            commands.append(f"addr replace fe80::1/64 dev {bridge} nodad")
        _ip(commands)

    def _pass(self, bridge: str, form: Mapping[str, Any]) -> None:
        """Isolated from every other network; out into the world only with `nat`."""
        if self._firewall.read() is None:
            self._firewall.lay([], self._ports())  # other networks are found missing, and put back, by themselves
        self._firewall.remove_nat(form["subnet"])
        self._firewall.add_bridge(_bridge(bridge, form))
        if any(form.get(field) for field in _ROUTED):
            routing.switch_on(ipaddress.ip_network(form["subnet"]).version)

    def let_go(self) -> None:
        """After our rules are gone: the host routes as before, unless another node on it still has networks."""
        if not self._firewall.others():
            routing.put_back()

    def bridge_of(self, form: Mapping[str, Any]) -> Bridge | None:
        """For laying the firewall: None where the segment has an uplink."""
        segment = self._segment_of(form)
        if segment.uplink is not None:
            return None
        return _bridge(segment.bridge, form)

    def chains(self, form: Mapping[str, Any]) -> dict[str, str]:
        """How its chains read now, by what they are kept as; none where its form has no use for any."""
        passing = self._firewall.read() if form.get("firewall") or form.get("forwards") else None
        if passing is None:
            return {}
        bridge = self._segment_of(form).bridge
        found = {"guard": passing.guards.get(bridge), "inward": passing.inward.get(bridge)}
        return {key: value for key, value in found.items() if value is not None}

    def moved(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
        """Whether the network is another bridge now."""
        return self._segment_of(before).bridge != self._segment_of(after).bridge

    def destroy(self, form: Mapping[str, Any], others: Iterable[Mapping[str, Any]] = ()) -> None:
        """A bridge that zones are still plugged into is refused; one that `others` share stays. Raises
        NetworkFailed."""
        segment = self._segment_of(form)
        if not segment.ours or not _exists(segment.bridge):
            return
        if any(self._segment_of(other) == segment for other in others):
            return
        ports = [port for port in os.listdir(f"/sys/class/net/{segment.bridge}/brif") if port.startswith("tv")]
        shared = any(self._segment_of(other).bridge == segment.bridge for other in others)
        if ports and not shared:
            raise NetworkFailed(f"{len(ports)} interfaces of zones are still on it")
        if segment.filtering:
            run(["bridge", "vlan", "del", "vid", str(segment.vlan), "dev", segment.uplink or ""])
        elif segment.uplink is None:
            self._firewall.remove_bridge(segment.bridge, form["subnet"] if form.get("nat") else None)
        elif segment.vlan is not None:
            run(["ip", "link", "del", _port(segment)])
        if not shared:
            _ip([f"link del {segment.bridge}"])

    def sweep(self, forms: Iterable[Mapping[str, Any]]) -> None:
        """Bridges of ours that no network has any more: one moved, and the last zone has left the old one."""
        known = {self._segment_of(form).bridge for form in forms}
        for link in os.listdir("/sys/class/net"):
            if not link.startswith(self._place.bridges) or link in known:
                continue
            if not any(port.startswith("tv") for port in os.listdir(f"/sys/class/net/{link}/brif")):
                self._firewall.remove_bridge(link, None)
                run(["ip", "link", "del", link])

    def observed(self, form: Mapping[str, Any], seen: Looking) -> dict[str, Any]:
        """The form as it really is: empty where the bridge, or the firewall that keeps it apart, is gone."""
        segment = self._segment_of(form)
        bridge = seen.link(segment.bridge)
        if bridge is None:
            return {}
        fields = {key: form[key] for key in ("tag", "vlan", "subnet", "interface", "gateway") if key in form}
        fields["nat"] = bool(form.get("nat"))
        if not segment.ours:
            return fields | ({"mtu": form["mtu"]} if "mtu" in form else {})
        if bridge.mtu != _MTU or "mtu" in form:
            fields["mtu"] = bridge.mtu
        if segment.uplink is not None:
            port = seen.link(_port(segment))
            if port is None or port.master != bridge.index:
                fields.pop("interface", None)
            return fields
        passing = seen.passing()
        if passing is None or segment.bridge not in passing.bridges or not bridge.up:
            return {}
        fields["nat"] = form["subnet"] in passing.nat
        chains = {"firewall": ("guard", passing.guards), "forwards": ("inward", passing.inward)}
        for field, (kept, chain) in chains.items():
            there = chain.get(segment.bridge)
            if there is not None or form.get(field):
                right = form.get(field) and there == form.get(kept)
                fields[field] = form[field] if right else guards.CHANGED
        found, want = seen.addresses(bridge), _gateway_address(form)
        if found != ([want] if want else []):
            fields.pop("gateway", None)
            if found:
                fields["gateway"] = ", ".join(address.partition("/")[0] for address in found)
        return fields


def _bridge(name: str, form: Mapping[str, Any]) -> Bridge:
    guard = guards.rules(form["subnet"], form["firewall"]) if form.get("firewall") else ()
    said: Mapping[str, Any] = form.get("forwards") or {}
    nat = form["subnet"] if form.get("nat") else None
    inner = form["subnet"] if said else None
    return Bridge(name, nat, tuple(guard), tuple(forwards.rules(said)), frozenset(said), inner)


def subnet_of(ip: str) -> str:
    """`10.0.1.0/24` for `10.0.1.10/24`."""
    return str(ipaddress.ip_interface(ip).network)


def _gateway_address(form: Mapping[str, Any]) -> str | None:
    if "gateway" not in form:
        return None
    return f"{form['gateway']}/{ipaddress.ip_network(form['subnet']).prefixlen}"


def _port(segment: Segment) -> str:
    """The interface that is put into a bridge of ours: the uplink, or its part for one VLAN."""
    if segment.vlan is None or segment.filtering:
        return segment.uplink or ""
    return f"{segment.uplink}.{segment.vlan}"[-15:]


def _exists(link: str) -> bool:
    return os.path.exists(f"/sys/class/net/{link}")


def _addresses(link: str) -> list[str]:
    done = run(["ip", "-o", "addr", "show", "dev", link, "scope", "global"])
    return [line.split()[3] for line in done.out.splitlines()]


def _ip(commands: list[str]) -> None:
    """All in one call. Raises NetworkFailed at the first that fails."""
    if not commands:
        return
    done = run(["ip", "-batch", "-"], stdin="\n".join(commands) + "\n")
    if done.code != 0:
        raise NetworkFailed(f"ip: {done.text}")
