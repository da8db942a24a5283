"""Over the network: client certificates, the pinned certificate of the server, and one clear sentence when it fails."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from drivers.incus import DRIVER
from reconciler.core.desired import NodeWant
from reconciler.core.refs import Uid
from reconciler.core.values import canonical
from reconciler.driver import Driver, NodeUnreachable
from reconciler.driver.console import Console
from reconciler.driver.watch import Watch
from reconciler.testing.harness import Harness
from reconciler.testing.scene import Scene
from tests.drivers.incus.daemons import missing, running
from tests.drivers.incus.harness import IncusHarness

pytestmark = [pytest.mark.anyio, pytest.mark.real]


class TlsHarness(IncusHarness):
    """The first member of a cluster of one, by its address."""

    def __init__(self, daemons: Any, folder: Path) -> None:
        super().__init__(daemons, members=1)
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-days", "2", "-subj", "/CN=trueup", "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")],
            check=True, capture_output=True,
        )  # fmt: skip
        self.certificate = (folder / "cert.pem").read_text()
        self.key = (folder / "key.pem").read_text()
        self.pin = daemons.query("/1.0")["environment"]["certificate_fingerprint"]

    def node_with(self, **identity: Any) -> NodeWant:
        said = {"certificate": self.certificate, "key": {"secret": "incus-key"}, "pin": self.pin, **identity}
        address = f"https://{self.daemons.address(1)}:8443"
        return msgspec.structs.replace(self.node, address=address, body=canonical({"identity": said}))

    async def open(self) -> Driver:
        return self.opened()

    def opened(self, *, token: str = "", **identity: Any) -> Driver:
        if token:
            identity["token"] = {"secret": "incus-token"}
        secrets = {"incus-key": self.key, "incus-token": token}
        return DRIVER.open(self.node_with(**identity), {"secrets": secrets})

    def token(self) -> str:
        """What the server gives out for a certificate that it will be shown."""
        named = ["trueup"] if self.daemons.kind == "incus" else ["--name", "trueup"]
        return self.daemons.client("config", "trust", "add", *named).split()[-1]

    def distrust(self) -> None:
        for path in self.daemons.query("/1.0/certificates"):
            if self.daemons.query(path)["type"] == "client":
                self.daemons.query(path, "DELETE")

    def trust(self) -> None:
        der = "".join(line for line in self.certificate.splitlines() if "-----" not in line)
        self.daemons.query("/1.0/certificates", "POST", {"type": "client", "name": "trueup", "certificate": der})


@pytest.fixture(scope="module", params=["incus", "lxd"])
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    kind = request.param
    if why := missing(kind):
        pytest.skip(f"NOT RUN on {kind}: {why}")
    with running(kind, f"n{kind[0]}", members=1, pool="dir") as daemons:
        harness = TlsHarness(daemons, tmp_path_factory.mktemp("tls"))
        yield harness
        harness.close()


async def _unreachable(driver: Driver) -> str:
    with pytest.raises(NodeUnreachable) as caught:
        await driver.observe(began=1)
    await driver.close()
    return str(caught.value)


async def test_each_failure_to_get_in_is_one_sentence_with_node_and_field(host: TlsHarness) -> None:
    assert "does not trust our client certificate" in await _unreachable(host.opened())
    assert "identity.pin" in await _unreachable(host.opened(pin="ab" * 32))
    assert "identity.pin" in await _unreachable(host.opened(pin=""))
    assert "identity.key" in await _unreachable(host.opened(key=None))
    assert "do not belong together" in await _unreachable(host.opened(key="nonsense"))
    away = msgspec.structs.replace(host.node_with(), address="https://127.0.0.1:1")
    assert "cannot be reached" in await _unreachable(DRIVER.open(away, {"secrets": {"incus-key": host.key}}))
    odd = msgspec.structs.replace(host.node, address="ftp://x")
    assert "address" in await _unreachable(DRIVER.open(odd, {}))
    gone = msgspec.structs.replace(host.node, address="unix:/nowhere/unix.socket")
    assert "cannot be reached" in await _unreachable(DRIVER.open(gone, {}))


async def test_a_token_is_shown_once_and_then_we_are_known(host: TlsHarness) -> None:
    assert "does not take identity.token" in await _unreachable(host.opened(token="eyJ9"))
    token = host.token()
    driver = host.opened(token=token)
    (report,) = await driver.observe(began=1)
    assert report.identity is not None
    await driver.close()
    again = host.opened(token=token)
    assert (await again.observe(began=2))[0].identity == report.identity
    await again.close()
    host.distrust()


async def test_machine_is_made_over_the_network_and_streams_open(
    host: TlsHarness, capfd: pytest.CaptureFixture[str]
) -> None:
    host.trust()
    small: Harness = host
    async with Scene(small) as scene:
        wanted = scene.fresh()
        await scene.run(scene.change(wanted, None))
        assert (await scene.there(scene.uid(wanted.ref))).fields["state"] == "running"
        assert scene.driver is not None
        await _streams_open(scene.driver, scene.uid(wanted.ref), capfd)


async def _streams_open(driver: Driver, uid: Uid, capfd: pytest.CaptureFixture[str]) -> None:
    """Events, and a command's, which have connections of their own."""
    assert isinstance(driver, Console)
    assert isinstance(driver, Watch)
    async with anyio.create_task_group() as group:

        async def listen() -> None:
            async for _ in driver.watch():
                group.cancel_scope.cancel()

        group.start_soon(listen)
    assert group.cancel_scope.cancel_called
    assert await driver.exec(uid, ["sh", "-c", "echo said; exit 3"]) == 3
    assert capfd.readouterr().out == "said\n"
