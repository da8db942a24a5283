"""A plan that was approved and begun is finished, also by a loop that follows nothing: told to stop between any two
steps, and killed while it goes on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest

from reconciler.core.desired import Behaviour, Policy
from reconciler.core.ledger import Entry, Intent, Ledger, Record, Result
from reconciler.core.plan import Plan
from reconciler.core.refs import Ref, Target, Uid
from reconciler.core.rules import Request
from reconciler.runtime.cycle import attempt, means_of, prospect, unfinished
from reconciler.runtime.events import Event, StepStarted
from reconciler.runtime.execute import Execution
from tests.builders import image
from tests.runtime.lab import Lab, on, until

pytestmark = pytest.mark.anyio
APPROVED = Request(now=0)
NEWER = image("newer", content="2")
OLD, NEW = ("sha256:" + content * 8 for content in "12")
REF = Ref("Machine/acme/a")
OTHER = Ref("Machine/acme/b")


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path, policy=Policy(follow="approve"))


async def approved(lab: Lab) -> Plan:
    """Two machines are there; a plan that replaces both was made, and people said yes to it."""
    lab.commit(on("a", "n1"), on("b", "n2"))
    await attempt(lab.ports, lab.nodes, request=APPROVED)
    assert len(lab.machines()) == 2
    newer = [
        on(name, target, uses=NEWER, behaviour=Behaviour(replace=True)) for name, target in (("a", "n1"), ("b", "n2"))
    ]
    lab.commit(NEWER, *newer)
    plan = (await prospect(lab.ports, lab.nodes, request=APPROVED)).plan
    assert {change.ref: change.action for change in plan.changes if change.ref in (REF, OTHER)} == {
        REF: "replace",
        OTHER: "replace",
    }
    await lab.plans.save(plan)
    return plan


async def stopped(lab: Lab, plan: Plan, after: str) -> None:
    """It is carried out until this step has ended: somebody stops it while a driver has it in hand."""
    nodes = lab.nodes
    await nodes.keep(lab.source.history[-1].nodes)
    change = next(change for change in plan.changes if change.ref == REF)
    others = {each.id for each in plan.changes if each.ref not in (REF, OTHER)}
    means = means_of(lab.ports, nodes, lab.source.history[-1])

    def emit(event: Event) -> None:
        if isinstance(event, StepStarted) and event.step == after:
            execution.stop("somebody wants it to end")

    execution = Execution(plan, means, changes={change.id, *others}, emit=emit)
    summary = await execution.run()
    assert summary.stopped
    await nodes.close()


def image_of(lab: Lab, ref: Ref) -> str | None:
    things = [each.object for name in lab.names for each in lab.fleet.objects(name, "Machine")]
    live = [each for each in things if each.lifecycle == "live" and each.marks is not None and each.marks.ref == ref]
    assert len(live) < 2, "two of one name live"
    return live[0].fields["image"] if live else None


async def finishes(lab: Lab, plan: Plan) -> None:
    """A loop that was started just now brings it to its end, and begins nothing that was not begun."""
    async with lab.looping() as loop:
        await until(lambda: image_of(lab, REF) == NEW and not loop.status.reconciling)
        await anyio.sleep(60)
        assert image_of(lab, OTHER) == OLD, "nobody began that, and the loop waits for people"
    ledger = lab.journal.ledger
    assert (ledger.halfway, ledger.in_flight) == ({}, {})
    steps = [entry.step for entry in lab.journalled(Intent) if entry.plan == plan.digest]
    assert len(steps) == len(set(steps)), "no step is begun twice"


async def steps_of(lab: Lab) -> tuple[Plan, list[str]]:
    plan = await approved(lab)
    return plan, [step.id for step in next(change for change in plan.changes if change.ref == REF).steps]


async def test_what_was_begun_is_finished_wherever_it_was_stopped(tmp_path: Path) -> None:
    count: int | None = 0
    while count is not None:
        folder = tmp_path / str(count)
        folder.mkdir()
        lab = Lab(folder, policy=Policy(follow="approve"))
        plan, steps = await steps_of(lab)
        assert len(steps) > 3
        await stopped(lab, plan, steps[count])
        ((kept, changes),) = await unfinished(lab.ports)
        assert (kept, changes) == (plan, {change.id for change in plan.changes if change.ref == REF})
        lab.journal = lab.journal.reopened()
        await finishes(lab, plan)
        count = count + 1 if count + 2 < len(steps) else None


async def test_a_kill_while_it_goes_on_loses_nothing(tmp_path: Path) -> None:
    for number in range(1, 9):
        folder = tmp_path / str(number)
        folder.mkdir()
        lab = Lab(folder, policy=Policy(follow="approve"))
        plan, steps = await steps_of(lab)
        await stopped(lab, plan, steps[1])
        left = number

        def dies(_: Sequence[Entry]) -> None:
            nonlocal left
            left -= 1
            if not left:
                raise Killed

        lab.journal = lab.journal.reopened()
        lab.journal.on_append = dies
        try:
            await attempt(lab.ports, lab.nodes)
        except BaseException as error:
            if not _killed(error):
                raise
        lab.journal = lab.journal.reopened()
        await finishes_all(lab)


def _killed(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(map(_killed, error.exceptions))
    return isinstance(error, Killed)


async def finishes_all(lab: Lab) -> None:
    """A plan that was killed is taken up whole."""

    def ended() -> bool:
        return not lab.journal.ledger.in_flight and not lab.journal.ledger.halfway

    async with lab.looping():
        await until(lambda: image_of(lab, REF) == NEW and ended())


async def test_what_can_not_be_gone_on_with_is_planned_anew_and_waits_for_people(lab: Lab) -> None:
    plan, steps = await steps_of(lab)
    await stopped(lab, plan, steps[1])
    lab.plans.plans.clear()
    assert await unfinished(lab.ports) == ()
    assert lab.journal.ledger.halfway == {}
    assert "follow" in {hold.rule for hold in (await attempt(lab.ports, lab.nodes)).prospect.plan.holds}


def test_another_plan_of_the_same_thing_takes_its_place() -> None:
    here = (Target("n1"), REF)
    done = Result("p1", "s1", *here, "applied", more=True)
    ledger = Ledger(Record(number, 0.0, entry) for number, entry in enumerate([done], 1))
    assert list(ledger.halfway.values()) == [done]
    ledger.fold(Record(2, 0.0, Intent("p2", "t1", *here, Uid("u"))))
    assert not ledger.halfway
