"""The one token for a host: another one after every change that a look shows, and of all that a look asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from drivers.incus.marks import CLAIM
from drivers.incus.overview import overview
from reconciler.testing.conformance.expect import made
from reconciler.testing.scene import Scene
from tests.drivers.incus.daemons import Daemons, missing, running
from tests.drivers.incus.desk import one_host
from tests.drivers.incus.harness import MI, IncusHarness
from tests.drivers.incus.proxy import Proxy
from tests.drivers.incus.test_traps import _group, _instance

pytestmark = [pytest.mark.anyio, pytest.mark.real]
MEANS = ("/resources", "/warnings")
"""What a host has in all and can run is asked once per opening, and does not change while its server runs."""


def _token(host: IncusHarness) -> str:
    token = overview(f"unix:{host.proxy.path}")
    assert token is not None
    return token


async def test_token_is_another_after_every_change_that_a_look_shows(host: IncusHarness) -> None:
    async with Scene(host) as scene:
        others = [await made(scene) for _ in range(3)]
        found = others.pop()[1]
        name = found.native_name
        link = _instance(host, found)["config"]["volatile.net0.host_name"]
        client = host.daemons.client
        claim = host.daemons.query("/1.0")["config"][CLAIM]
        image = host.daemons.query("/1.0/images?recursion=1")[0]["fingerprint"][:12]
        hands: Mapping[str, Callable[[], object]] = {
            "a limit": lambda: client("config", "set", name, "limits.memory=80MiB"),
            "a limit in the kernel": lambda: _group(host, found, "pids", "pids.max").write_text("33"),
            "another limit in the kernel": lambda: _group(host, found, "memory", "memory.limit_in_bytes").write_text(
                str(40 * MI)
            ),
            "an interface taken away": lambda: host.daemons.inside("ip", "link", "del", link),
            "a device": lambda: client("config", "device", "set", name, "root", "size=130MiB"),
            "stopped": lambda: client("stop", "--force", name),
            "started": lambda: client("start", name),
            "a network's key": lambda: client("network", "set", "net0", "ipv4.nat=true"),
            "a network": lambda: client("network", "create", "byhand", "ipv4.address=none", "ipv6.address=none"),
            "an image's property": lambda: client("image", "set-property", image, "trueup.os", "other"),
            "and back": lambda: client("image", "set-property", image, "trueup.os", "linux"),
            "a volume": lambda: client("storage", "volume", "create", "local", "byhand"),
            "a volume's size": lambda: client("storage", "volume", "set", "local", "byhand", "size=20MiB"),
            "the claim": lambda: client("config", "unset", CLAIM),
            "claimed again": lambda: client("config", "set", f"{CLAIM}={claim}"),
            "a machine less": lambda: client("delete", "--force", name),
        }
        token, look = _token(host), await scene.look()
        assert {_token(host) for _ in range(8)} == {token}, "nothing is another yet, in whatever order it is told"
        for hand, change in hands.items():
            change()
            before, seen = (token, look.digest), await scene.look()
            token, look = _token(host), seen
            assert look.digest != before[1], f"{hand}: a look shows it"
            assert token != before[0], f"{hand}: the token does not"
            assert _token(host) == token, f"{hand}: and nothing since"
        client("network", "delete", "byhand")
        client("storage", "volume", "delete", "local", "byhand")


async def test_token_is_of_all_that_a_look_asks(host: IncusHarness) -> None:
    """Whatever a look comes to read one day, the token has to be of it."""
    client = host.daemons.client
    async with Scene(host) as scene:
        await made(scene)
        client("network", "acl", "create", "byhand")
        client("network", "set", "net0", "security.acls=byhand", "user.trueup.forwards=true")
        with host.proxy.overheard() as looked:
            await scene.look()
        with host.proxy.overheard() as told:
            _token(host)
        paths = [{call.partition("?")[0] for call in calls} for calls in (looked, told)]
        asked = {path for path in paths[0] if not path.endswith(MEANS)}
        assert {"/network-acls", "/forwards", "/state"} <= {f"/{path.rpartition('/')[2]}" for path in asked}
        assert asked <= paths[1]
        client("network", "unset", "net0", "security.acls")
        client("network", "unset", "net0", "user.trueup.forwards")
        client("network", "acl", "delete", "byhand")


@pytest.mark.parametrize("unanswered", ["/1.0/images", "/1.0/instances", "/1.0/storage-pools/local/volumes"])
async def test_what_is_not_answered_whole_has_no_token(host: IncusHarness, unanswered: str) -> None:
    async with Scene(host) as scene:
        await made(scene)
        with host.proxy.refusing(rf"^GET {unanswered}"):
            assert overview(f"unix:{host.proxy.path}") is None
        with host.proxy.cut():
            assert overview(f"unix:{host.proxy.path}") is None


@pytest.fixture(params=["incus", "lxd"])
def own(request: pytest.FixtureRequest) -> Iterator[tuple[Daemons, Proxy]]:
    if why := missing(request.param):
        pytest.skip(f"NOT RUN on {request.param}: {why}")
    with running(request.param, f"o{request.param[0]}") as daemons:
        proxy = Proxy(daemons.root / "overheard.socket", daemons.socket())
        try:
            yield daemons, proxy
        finally:
            proxy.close()


@pytest.mark.timeout(200)
def test_plan_of_a_host_at_rest_is_recalled_until_something_is_another(
    own: tuple[Daemons, Proxy], tmp_path: Path
) -> None:
    daemons, proxy = own
    desk = one_host(tmp_path, proxy.path)
    desk.trueup("apply", "--yes")
    desk.trueup("plan", "--detailed-exitcode")
    with proxy.overheard() as asked:
        desk.trueup("plan", "--detailed-exitcode")
    assert asked
    assert not any("/1.0/resources" in call for call in asked), "no driver was opened"
    _memory(daemons, "80MiB")
    assert "memory" in desk.trueup("plan", "--detailed-exitcode", code=2)
    _memory(daemons, "64MiB")
    desk.trueup("plan", "--detailed-exitcode")

    _memory(daemons, "80MiB")
    proxy.before(r"^GET /1\.0/instances\?recursion=1", lambda: _memory(daemons, "64MiB"))
    desk.trueup("plan", "--detailed-exitcode")  # it was mended between the token and the look
    _memory(daemons, "80MiB")
    assert "memory" in desk.trueup("plan", "--detailed-exitcode", code=2)


def _memory(daemons: Daemons, value: str) -> None:
    daemons.client("config", "set", "web", f"limits.memory={value}")
