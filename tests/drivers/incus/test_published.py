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
    return resource(Ref(f"Image/{fresh_name('golden')}"), body, references=(machine.ref,))


def from_image(host: IncusHarness, name: str, image: Resource) -> Resource:
    plain_one = host.machine(name)
    look = plain(image.body)
    body = {
        **plain(plain_one.body),
        "image": {"name": image.ref.rpartition("/")[2], **{key: look[key] for key in ("digest", "type", "os")}},
    }
    return resource(plain_one.ref, body, references=(image.ref, *plain_one.references[1:]), nics=plain_one.nics)


async def test_machine_becomes_an_image_that_others_start_from(anywhere: IncusHarness) -> None:
    async with Rehearsal(anywhere) as life:
        first = anywhere.machine(fresh_name("pa"))
        ground = (anywhere.image(), anywhere.network(), first)
        life.want(*ground)
        await life.converge()
        (report,) = await life.observe()
        source = next(each for each in report.objects if each.marks and each.marks.ref == first.ref)
        await anywhere.hand_shell(source, "echo golden > /said")
        image = taken(first)
        second = from_image(anywhere, fresh_name("pb"), image)
        life.want(*ground, image, second)
        await life.converge()
        (report,) = await life.observe()
        other = next(each for each in report.objects if each.marks and each.marks.ref == second.ref)
        assert await anywhere.hand_shell(other, "cat /said") == "golden\n"
        project, _, name = source.native_name.rpartition("/")
        path = f"/1.0/instances/{name}/snapshots?project={project or 'default'}"
        assert anywhere.daemons.query(path) == []
        # The new machine bears the marks of its own, none that came with the image.
        assert sum(each.marks is not None and each.kind == "Machine" for each in report.objects) == 2
