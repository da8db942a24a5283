"""Firewall rules: as ACLs of the servers, pure, and in force on real hosts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.incus import acl
from reconciler.core.desired import Resource
from reconciler.core.refs import Ref
from reconciler.core.values import plain
from reconciler.testing.harness import resource
from reconciler.testing.rehearsal import Rehearsal
from reconciler.testing.scene import fresh_name
from tests.drivers.incus.harness import IncusHarness

HOSTS = st.lists(st.integers(0, 255).map(lambda number: f"10.9.0.{number}"), max_size=6, unique=True).map(sorted)
RULES = st.lists(
    st.fixed_dictionaries(
        {"allow": st.lists(st.sampled_from(["tcp/80", "udp/53-60", "icmp", "any", "tcp"]), min_size=1, unique=True)},
        optional={"from": HOSTS, "to": HOSTS},
    ),
    min_size=1,
)


def _spans(rules: list[dict[str, str]]) -> set[int]:
    """The last bytes that rules without a protocol and a source let into."""
    found: set[int] = set()
    for rule in rules:
        if rule.keys() == {"action", "state", "destination"} and rule["destination"] != "10.9.0.0/24":
            for span in rule["destination"].split(","):
                first, _, last = span.partition("-")
                found |= set(range(int(first.rpartition(".")[2]), int((last or first).rpartition(".")[2]) + 1))
    return found


@given(RULES)
def test_what_no_rule_names_stays_open_and_what_one_names_is_closed(firewall: list[dict[str, Any]]) -> None:
    closed = [rule for rule in firewall if "any" not in rule["allow"] or "from" in rule]
    covered = {int(ip.rpartition(".")[2]) for rule in closed for ip in rule.get("to", ())}
    whole = any("to" not in rule for rule in closed)
    open_ones = _spans(acl.ingress("10.9.0.0/24", closed)) if closed else set(range(256))
    assert open_ones == (set() if whole else set(range(256)) - covered)


@given(RULES)
def test_acl_is_read_as_it_was_written(firewall: list[dict[str, Any]]) -> None:
    made = acl.content("app", "10.9.0.0/24", firewall)
    assert acl.read({**made, "ingress": made["ingress"][::-1]}, acl.DEFAULTS, "10.9.0.0/24") == firewall
    assert acl.read({**made, "egress": [{"action": "drop"}]}, acl.DEFAULTS, "10.9.0.0/24") == acl.CHANGED
    assert acl.read(made, {}, "10.9.0.0/24") == acl.CHANGED


def test_acl_that_people_wrote_is_no_firewall_of_git() -> None:
    assert acl.read({"ingress": [{"action": "allow"}]}, acl.DEFAULTS, "10.9.0.0/24") == acl.CHANGED
    assert acl.read({"config": {acl.SAID: '{"a":1}'}}, acl.DEFAULTS, "10.9.0.0/24") == acl.CHANGED


def guarded(network: Resource, *rules: dict[str, Any]) -> Resource:
    body = {**plain(network.body), "firewall": list(rules)} if rules else plain(network.body)
    parties = {Ref(who) for rule in rules for side in ("from", "to") for who in rule[side] or ()}
    return resource(network.ref, body, parties=tuple(sorted(parties)))


def reached(host: IncusHarness, name: str, ip: str, port: int) -> bool:
    """Whether a machine gets a connection."""
    try:
        host.daemons.client("exec", name, "--", "sh", "-c", f"echo | nc -w 2 {ip} {port} >/dev/null")
    except AssertionError:
        return False
    return True


@pytest.mark.real
@pytest.mark.anyio
async def test_rule_lets_one_in_and_keeps_the_others_out_and_is_healed(host: IncusHarness) -> None:
    async with Rehearsal(host) as life:
        web, other = host.machine(fresh_name("fw")), host.machine(fresh_name("fo"))
        behind = [{"networks": ["Network/net1"], "primary": True}]
        db, free = host.machine(fresh_name("fd"), nics=behind), host.machine(fresh_name("ff"), nics=behind)
        ground = (host.image(), host.network(0), web, other, db, free)
        rule = {"from": [web.ref], "to": [db.ref], "allow": ["tcp/5432"]}
        life.want(*ground, guarded(host.network(1), rule))
        await life.converge()
        (report,) = await life.observe()
        seen = {thing.marks.ref: thing for thing in report.objects if thing.marks is not None}
        name = {key: seen[each.ref].native_name for key, each in (("web", web), ("other", other))}
        ip = {
            key: seen[each.ref].fields["nics"]["net1"]["ip"].partition("/")[0]
            for key, each in (("db", db), ("free", free))
        }
        for each in (db, free):
            host.daemons.client("exec", seen[each.ref].native_name, "--", "sh", "-c", "httpd -p 5432; httpd -p 81")

        def force() -> tuple[bool, ...]:
            return (
                reached(host, name["web"], ip["db"], 5432),
                reached(host, name["web"], ip["db"], 81),
                reached(host, name["other"], ip["db"], 5432),
                reached(host, name["other"], ip["free"], 81),
            )

        assert force() == (True, False, False, True)
        native = seen["Network/net1"].native_name

        # By hand: everything is let in. It is drift, and healed.
        host.daemons.client("network", "acl", "rule", "add", acl.name_of_acl(native), "ingress", "action=allow")
        plan = await life.converge()
        assert [(change.ref, step.verb) for change in plan.changes for step in change.steps] == [
            ("Network/net1", "update")
        ]
        assert force() == (True, False, False, True)
        host.daemons.client("network", "unset", native, acl.ATTACHED)
        assert len((await life.converge()).steps) == 1
        assert force() == (True, False, False, True)

        # The rule goes, and nothing of it is left.
        life.want(*ground, host.network(1))
        await life.converge()
        assert force() == (True, True, True, True)
        assert host.daemons.query("/1.0/network-acls") == []
