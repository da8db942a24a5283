"""An image that is taken from a machine: made where the machine is, after it, while it runs."""

from __future__ import annotations

import pytest

from reconciler.core.desired import Resource
from reconciler.core.refs import Ref
from reconciler.core.values import plain
from reconciler.testing.harness import resource
from reconciler.testing.rehearsal import Rehearsal
from reconciler.testing.scene import fresh_name
from tests.drivers.incus.harness import IncusHarness

pytestmark = [pytest.mark.anyio, pytest.mark.real]


def taken(machine: Resource) -> Resource:
    body = {"source": {"machine": machine.ref}, "digest": f"recipe:{machine.ref}", "type": "rootfs", "os": "linux"}
    return resource(Ref("Image/golden"), body, references=(machine.ref,))


def from_image(host: IncusHarness, name: str, image: Resource) -> Resource:
    plain_one = host.machine(name)
    look = plain(image.body)
    body = {
        **plain(plain_one.body),
        "image": {"name": "golden", **{key: look[key] for key in ("digest", "type", "os")}},
    }
    return resource(plain_one.ref, body, references=(image.ref, *plain_one.references[1:]), nics=plain_one.nics)


async def test_machine_becomes_an_image_that_others_start_from(host: IncusHarness) -> None:
    async with Rehearsal(host) as life:
        first = host.machine(fresh_name("pa"))
        ground = (host.image(), host.network(), first)
        life.want(*ground)
        await life.converge()
        (report,) = await life.observe()
        name = next(each.native_name for each in report.objects if each.marks and each.marks.ref == first.ref)
        host.daemons.client("exec", name, "--", "sh", "-c", "echo golden > /said")
        image = taken(first)
        second = from_image(host, fresh_name("pb"), image)
        life.want(*ground, image, second)
        await life.converge()
        (report,) = await life.observe()
        other = next(each.native_name for each in report.objects if each.marks and each.marks.ref == second.ref)
        assert host.daemons.client("exec", other, "--", "cat", "/said") == "golden\n"
        assert host.daemons.query(f"/1.0/instances/{name}/snapshots") == []
        # The new machine bears the marks of its own, none that came with the image.
        assert sum(each.marks is not None and each.kind == "Machine" for each in report.objects) == 2
