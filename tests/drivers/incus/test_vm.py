"""Virtual machines: where a host can run them they live as containers do; where it cannot it says so, and gets none."""

from __future__ import annotations

import msgspec
import pytest

from reconciler.core.desired import Constraints
from reconciler.core.observed import Report
from reconciler.testing.conformance.expect import at_rest, made
from reconciler.testing.rehearsal import Rehearsal
from reconciler.testing.scene import Scene, edited, fresh_name
from tests.drivers.incus.harness import MI, IncusHarness

pytestmark = [pytest.mark.anyio, pytest.mark.real]


async def told(host: IncusHarness) -> Report:
    driver = await host.open()
    (report,) = await driver.observe(began=1)
    await driver.close()
    assert isinstance(report, Report)
    return report


async def test_host_that_cannot_run_them_says_why_and_none_is_placed_there(host: IncusHarness) -> None:
    report = await told(host)
    if "vm" not in report.cannot:
        pytest.skip("NOT RUN: this host runs virtual machines")
    why = report.cannot["vm"]
    assert why.startswith("it runs no virtual machines: ")
    assert "KVM" in why or "QEMU" in why or "vsock" in why, why
    assert report.facts["vm"] == why, "trueup get node shows it"
    async with Rehearsal(host) as life:
        machine = host.machine(fresh_name("vm"), brand="vm")
        machine = msgspec.structs.replace(machine, constraints=Constraints(brand="vm", image_type="rootfs"))
        beside = host.machine(fresh_name("ct"))
        life.want(host.image(), host.network(), machine, beside)
        plan = await life.converge()
        assert beside.ref in {change.ref for change in plan.changes}, "the others go on"
        (held,) = [hold for hold in plan.holds if hold.ref == machine.ref]
        assert held.rule == "placement"
        assert why in held.sentence


async def test_step_of_one_fails_in_the_servers_words_and_leaves_nothing(host: IncusHarness) -> None:
    """As when QEMU went away between the plan and the step."""
    if "vm" not in (await told(host)).cannot:
        pytest.skip("NOT RUN: this host runs virtual machines")
    async with Scene(host) as scene:
        wanted = scene.fresh(brand="vm")
        change = scene.change(wanted, None)
        outcome = await scene.apply(change.steps[0])
        assert outcome.status == "failed", outcome
        assert outcome.reason
        assert await scene.find(change.uid) is None


async def test_virtual_machine_is_made_grown_and_put_away(host: IncusHarness) -> None:
    report = await told(host)
    if "vm" in report.cannot:
        pytest.skip(f"NOT RUN: {report.cannot['vm']}")
    async with Scene(host) as scene:
        wanted, found = await made(scene, brand="vm", memory=256 * MI)
        assert (found.fields["brand"], found.fields["state"]) == ("vm", "running")
        larger = edited(host, wanted, memory=512 * MI)
        change = scene.change(larger, found)
        assert [step.verb for step in change.steps] == ["stop", "configure", "start"]
        await at_rest(scene, larger, await scene.run(change))
