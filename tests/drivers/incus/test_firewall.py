"""Firewall rules as ACLs of the servers, pure; what they do on real hosts is the conformance kit's."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from drivers.incus import acl

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
