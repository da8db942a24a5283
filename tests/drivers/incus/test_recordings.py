"""A thousand healthy objects that were made on real servers in all kinds of ways (record.py), read again without a
daemon: no difference that nobody made."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.drivers.incus.desk import Desk
from tests.drivers.incus.record import DATACENTER
from tests.drivers.incus.replay import Answers, kept, replaying

INSTANCES = "/1.0/instances?all-projects=true&recursion=1"
ADOPTED = 357
"""Of the 500 objects of a server; the others have no document (an address from DHCP, no first interface), or are none
of trueup's kinds alone (profiles, volumes)."""

Host = tuple[Desk, Answers]


@pytest.fixture(scope="module", params=["incus", "lxd"])
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A repository that has documents for all that was recorded, and what the server answers from now on."""
    answers = kept(Path(__file__).with_name("recordings") / f"{request.param}.json.gz")
    folder = tmp_path_factory.mktemp(request.param)
    desk = Desk(folder)
    desk.write("datacenter.yaml", DATACENTER.replace("SOCKET", str(folder / "socket")))
    desk.commit("a node")
    with replaying(folder / "socket", answers):
        told = json.loads(desk.trueup("adopt", "old", "--tenant", "acme", "--json"))
        assert Path(told["file"]).read_text().count("\n---\n") + 1 == len(told["documents"])
        desk.commit("what is there")
        yield desk, answers


def _adoption(desk: Desk, code: int = 0) -> tuple[list[dict[str, Any]], list[str]]:
    """The changes, and the sentences of what is held."""
    plan = json.loads(desk.trueup("adopt", "old", "--json", code=code))
    return plan["changes"], [f"{each['ref']}: {each['sentence']}" for each in plan["holds"]]


def test_nothing_differs_from_the_documents_that_were_written_of_it(host: Host) -> None:
    changes, held = _adoption(host[0])
    assert held == []
    assert {each["action"] for each in changes} == {"adopt"}
    assert [each["ref"] for each in changes if each["differences"]] == []
    assert len(changes) == ADOPTED


def _documented(answers: Answers, key: str, value: str) -> dict[str, Any]:
    """A machine that has a document, since its only interface has a fixed address, and this key."""
    return next(
        each for each in answers[INSTANCES]["metadata"]
        if each["config"].get(key) == value and each["profiles"] == ["default"]
        and each["devices"].get("eth0", {}).get("name") == "eth0"
    )  # fmt: skip


def test_a_limit_that_somebody_changed_is_told(host: Host) -> None:
    desk, answers = host
    machine = _documented(answers, "limits.processes", "200")
    for config in (machine["config"], machine["expanded_config"]):
        config["limits.processes"] = "201"
    _, held = _adoption(desk, code=3)
    assert held == [f"Machine/acme/{machine['name']}: it is not what its document says: /threads is 201, not 200"]
    for config in (machine["config"], machine["expanded_config"]):
        config["limits.processes"] = "200"


def test_what_somebody_said_of_a_disk_is_told(host: Host) -> None:
    """A cap on the root, and a weight of a host that has them."""
    desk, answers = host
    machine = _documented(answers, "limits.disk.priority", "3")
    root = machine["expanded_devices"]["root"]
    for config in (machine["config"], machine["expanded_config"]):
        config["limits.disk.priority"] = "7"
    root["limits.read"] = "5MiB"
    _, held = _adoption(desk, code=3)
    why = "/ioPriority is 700, not 300; /ioRead is 5242880, not None"
    assert held == [f"Machine/acme/{machine['name']}: it is not what its document says: {why}"]
    del root["limits.read"]
    for config in (machine["config"], machine["expanded_config"]):
        config["limits.disk.priority"] = "3"
