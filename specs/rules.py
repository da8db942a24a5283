"""What each kind asks of its values beyond their types, and what they come to.

Owns: the rules of single kinds, as functions. Free of any library of models, as values.py is: the models and the plain
records read with the same functions. Must not go here: fields, how values of several kinds are written.

Each function raises SpecError; those about several fields take the record or the model as it stands.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from typing import Any

from specs.kinds import KINDS
from specs.values import SpecError

# -- Datacenter ---------------------------------------------------------------------------------------------------

_BOUND = re.compile(r"(>=|<=|==|>|<)\d+(\.\d+)*")


def requires(value: str) -> str:
    for part in value.replace(",", " ").split():
        if not _BOUND.fullmatch(part):
            raise SpecError(f"{part!r} is not a bound on versions", 'write ">=0.3 <0.5"')
    return value


def allowance(value: Any) -> Any:
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return {"count": value}
    return {"share": value} if isinstance(value, str) else value


def known_kinds(value: list[str]) -> list[str]:
    for kind in value:
        if kind not in KINDS:
            raise SpecError(f"{kind!r} is no kind", f"one of {', '.join(KINDS)}")
    return value


# -- Tenant -----


def public_key(value: str) -> str:
    line = value.strip()
    if "PRIVATE KEY" in line:
        raise SpecError("a private key must not stand here", "write the public key: ssh-ed25519 AAAA… name")
    if "\n" in line or len(line.split()) < 2:
        raise SpecError(f"{value[:20]!r}… is not a public key", "one line: ssh-ed25519 AAAA… name")
    return line


_PEM = re.compile(r"-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----")


def certificate(value: str) -> str:
    """The one certificate in it as PEM, without what may stand around it."""
    if "PRIVATE KEY" in value:
        raise SpecError("a private key must not stand here", "write the certificate alone")
    found = list(_PEM.finditer(value))
    if len(found) != 1 or not der(found[0][0]).startswith(b"\x30"):
        raise SpecError(f"{value[:20]!r}… is not a certificate", "the text of a PEM file: -----BEGIN CERTIFICATE-----")
    return found[0][0]


def der(text: str) -> bytes:
    """The bytes of a certificate; empty if it holds none."""
    match = _PEM.search(text)
    try:
        return base64.b64decode("".join(match[1].split()), validate=True) if match else b""
    except ValueError:
        return b""


# -- Image -----

SOURCES = ("file", "url", "folder", "machine", "debian", "busybox")
FETCHED = ("file", "url")


def one_source(source: Any) -> None:
    given = [name for name in SOURCES if getattr(source, name) is not None]
    if len(given) != 1:
        raise SpecError(
            "a source is exactly one thing" + (f", not {' and '.join(given)}" if given else ""),
            f"one of {', '.join(SOURCES)}",
        )


def digest_where_fetched(image: Any) -> None:
    fetched = [name for name in FETCHED if getattr(image.source, name) is not None]
    if fetched and image.digest is None:
        summary, fix = f"contents from a {fetched[0]} need their digest", "digest: sha256:… (sha256sum FILE)"
        raise SpecError(summary, fix, fields=("source", "digest"))


# -- Network -----

_FORWARDED = re.compile(r"(tcp|udp)/([0-9]{1,5})(?:-([0-9]{1,5})|:([0-9]{1,5}))?")


def forwarded(value: str) -> str:
    match = _FORWARDED.fullmatch(value)
    if match is None:
        raise SpecError(f"{value!r} is not a port to forward", "tcp/443, udp/6000-6100, or tcp/8443:443 (443 inside)")
    low, high, inside = int(match[2]), int(match[3] or match[2]), int(match[4] or 1)
    if not 1 <= low <= high <= 65535 or not 1 <= inside <= 65535:
        raise SpecError(f"{value!r} names no ports", "ports are 1 to 65535, the lower one first")
    return value


def _span(port: str) -> tuple[str, int, int]:
    protocol, _, ports = port.partition(":")[0].partition("/")
    low, _, high = ports.partition("-")
    return protocol, int(low), int(high or low)


def forwards_apart(network: Any) -> None:
    """One address and port goes to one machine, and one way: an engine that forwards all of an address to a machine
    takes no ports of it to the same."""
    taken: dict[str, list[tuple[str, str, int, int]]] = {}
    whole = {forward.listen: forward.to for forward in network.forwards if not forward.ports}
    for forward in network.forwards:
        if forward.ports and whole.get(forward.listen) == forward.to:
            summary = f"all of {forward.listen} goes to {forward.to} already"
            raise SpecError(summary, "leave the ports out, or name those that go there", fields=("forwards",))
        for port in forward.ports or ["any/0"]:
            protocol, low, high = _span(port)
            known = taken.setdefault(forward.listen, [])
            if any(one[1] == protocol and low <= one[3] and one[2] <= high for one in known):
                what = "everything else" if protocol == "any" else port
                summary = f"{what} of {forward.listen} is forwarded twice"
                raise SpecError(summary, "one address and port goes to one machine", fields=("forwards",))
            known.append((forward.to, protocol, low, high))


# -- FirewallRule -----

_TRAFFIC = re.compile(r"any|icmp|(tcp|udp)(/([0-9]{1,5})(-([0-9]{1,5}))?)?")


def traffic(value: str) -> str:
    match = _TRAFFIC.fullmatch(value)
    if match is None:
        raise SpecError(f"{value!r} is not a kind of traffic", "tcp/5432, udp/53, tcp/8000-8100, tcp, udp, icmp or any")
    low, high = int(match[3] or 1), int(match[5] or match[3] or 1)
    if not 1 <= low <= high <= 65535:
        raise SpecError(f"{value!r} names no ports", "ports are 1 to 65535, the lower one first")
    return value


def listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: each if isinstance(each, list) else [each] for key, each in value.items()}
    return value


def somebody(party: Any) -> None:
    if not (party.tags or party.machines or party.networks or party.subnets):
        raise SpecError("this names nobody", "any, or {tags: …}, {machines: […]}, {networks: […]}, {subnets: […]}")


def into_machines(rule: Any) -> None:
    if rule.to != "any" and rule.to.subnets:
        raise SpecError("a rule lets into machines, and subnets are anybody's", "to: {networks: […]}")


# -- Machine -----


def nic(value: Any) -> Any:
    return {"network": value} if isinstance(value, str) else value


def mount(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


_PLACE = re.compile(r"(:\d{1,5})?(/.*)?")


def http(value: Any) -> Any:
    text = f":{value}/" if isinstance(value, int) and not isinstance(value, bool) else value
    if isinstance(text, str) and (not text or not _PLACE.fullmatch(text)):
        raise SpecError(f"{text!r} is not a place to ask", 'write ":8080/healthz"')
    return text


def one_check(ready: Any) -> None:
    given = [name for name in ("http", "tcp", "exec") if getattr(ready, name) is not None]
    if len(given) != 1:
        raise SpecError(
            "ready is exactly one check" + (f", not {' and '.join(given)}" if given else ""), "http, tcp or exec"
        )


def five_fields(snapshots: Any) -> None:
    if len(snapshots.schedule.split()) != 5:
        raise SpecError(f"{snapshots.schedule!r} is not a schedule", 'five fields as in cron: "0 3 * * *"')


def user_data(value: Any) -> Any:
    if isinstance(value, str):
        return {"text": value}
    if isinstance(value, dict) and "text" not in value:
        return value
    raise SpecError("user data is text", "write a text, {file: PATH} or {secret: NAME}")


def one_of_data(data: Any) -> None:
    if sum(value is not None for value in (data.text, data.file, data.secret)) != 1:
        raise SpecError("user data is exactly one of a text, a file and a secret", "{file: PATH} or {secret: NAME}")


def replicas(value: list[int] | int) -> list[int] | int:
    if isinstance(value, list):
        twice = sorted({n for n in value if value.count(n) > 1})
        if twice:
            raise SpecError(f"{twice[0]} is listed twice", "list each replica once")
    return value


COMPARED: dict[str, frozenset[str] | None] = {
    **dict.fromkeys(
        ("memory", "swap", "cpu", "cpuShares", "vcpus", "threads", "ioPriority", "ioRead", "ioWrite", "disk",
         "brand", "hostname", "image", "state", "userData"),
        frozenset[str](),
    ),
    **dict.fromkeys(("resolvers", "search", "sshKeys", "metadata"), None),
    "disks": frozenset({"size", "delegated", "path"}),
    "nics": frozenset({"ip", "mac", "primary", "gateway", "tag", "vlan", "mtu"}),
}  # fmt: skip
"""What of a machine is compared with the node, and what stands beneath: nothing; any one name or number (None); these
fields of each one by name."""


def compared(path: str) -> str:
    parts = [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")]
    first, beneath = parts[1] if len(parts) > 1 else "", parts[2:]
    if parts[0] or not first:
        near = first or parts[0]
        raise SpecError(f"{path!r} is not a field", f"write /{near}" if near in COMPARED else "write /nics/app/mtu")
    if first == "extra":  # what a driver found that no document can say, in its own words
        return path
    if first not in COMPARED:
        raise SpecError(f"there is no field {path!r} to ignore", _meant(first, COMPARED, "/{}", *beneath))
    fields = COMPARED[first]
    if not beneath or (fields is None and len(beneath) == 1):
        return path
    if not fields:
        raise SpecError(
            f"there is no field {path!r} to ignore",
            f"nothing stands beneath it: write /{'/'.join(parts[1 : 3 if fields is None else 2])}",
        )
    if len(beneath) > 1 and beneath[1] not in fields:
        where = f"/{first}/{beneath[0]}/{{}}"
        raise SpecError(f"there is no field {path!r} to ignore", _meant(beneath[1], fields, where))
    if len(beneath) > 2:
        raise SpecError(f"there is no field {path!r} to ignore", f"write /{'/'.join(parts[1:4])}")
    return path


def _meant(word: str, known: Iterable[str], where: str, *beneath: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(word, known, n=1) or [name for name in known if name.lower() == word.lower()]
    if near:
        return f"did you mean {'/'.join([where.format(near[0]), *beneath])}?"
    return f"there are {', '.join(where.format(name) for name in sorted(known))}"


def fits_together(machine: Any) -> None:
    if machine.each and machine.replicas is None:
        summary, fix = "`each` is for a group, and there is no `replicas`", "add replicas: N, or drop each"
        raise SpecError(summary, fix, fields=("each", "replicas"))
    paths = [mount.path for mount in machine.volumes.values()]
    paths += [disk.path or f"/data/{name}" for name, disk in machine.disks.items() if name != "root"]
    twice = next((path for path in paths if paths.count(path) > 1), None)
    if twice is not None:
        summary = f"two things would be mounted at {twice}"
        raise SpecError(summary, "give each a path of its own", fields=("disks", "volumes"))
    if machine.update is not None and machine.replicas is None and (machine.update.canary or machine.update.batch > 1):
        summary = "`update` with canary or batch is for a group, and there is no `replicas`"
        raise SpecError(summary, "drop them", fields=("update", "replicas"))
