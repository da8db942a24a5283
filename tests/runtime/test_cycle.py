from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.core.desired import Policy
from reconciler.core.ledger import Applied, Result
from reconciler.core.rules import Request
from reconciler.errors import Diagnostic, SourceUnreadable, SpecErrors
from reconciler.runtime.cycle import Unfinished, attempt, prospect, unfinished
from reconciler.runtime.observe import Asking
from reconciler.runtime.revision import in_force
from tests.builders import machine
from tests.runtime.lab import Lab

pytestmark = pytest.mark.anyio
MISTAKE = SpecErrors((Diagnostic("web.yaml", 3, 1, "spec.memory", "a unit is due"),))


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


async def test_one_attempt_goes_from_a_revision_to_running_machines(lab: Lab) -> None:
    lab.commit(machine("a"), machine("b"))
    done = await attempt(lab.ports, lab.nodes, asking=Asking(emit=lab.events.append))
    assert done.summary.whole, done.summary.failures
    assert set(lab.machines()) == {"Machine/acme/a", "Machine/acme/b"}
    assert lab.events


async def test_the_second_attempt_has_nothing_to_do(lab: Lab) -> None:
    lab.commit(machine("a"))
    await attempt(lab.ports, lab.nodes)
    again = await attempt(lab.ports, lab.nodes)
    assert again.prospect.plan.changes == ()
    assert len(lab.journalled(Applied)) == 1


async def test_a_prospect_changes_nothing(lab: Lab) -> None:
    lab.commit(machine("a"))
    made = await prospect(lab.ports, lab.nodes)
    assert made.plan.changes
    assert lab.machines() == {}


async def test_what_is_carried_out_is_a_stored_plan(lab: Lab) -> None:
    lab.commit(machine("a"))
    done = await attempt(lab.ports, lab.nodes)
    assert set(lab.plans.plans) == {done.prospect.plan.digest}


async def test_a_revision_with_mistakes_leaves_the_last_good_one_in_force(lab: Lab) -> None:
    good = lab.commit(machine("a"))
    await attempt(lab.ports, lab.nodes)
    broken = Refusing(lab, MISTAKE)
    found = await in_force(broken, lab.journal.ledger)
    assert found.desired.revision == good.revision
    assert found.problem is MISTAKE


async def test_a_first_revision_with_mistakes_is_an_error(lab: Lab) -> None:
    with pytest.raises(SpecErrors, match="a unit is due"):
        await in_force(Refusing(lab, MISTAKE), lab.journal.ledger)


async def test_an_unreadable_source_without_a_last_good_revision_is_its_own_error(lab: Lab) -> None:
    lab.source.error = SourceUnreadable("no such host")
    with pytest.raises(SourceUnreadable):
        await attempt(lab.ports, lab.nodes)


async def test_unattended_attempts_leave_intent_alone_unless_git_is_followed(lab: Lab) -> None:
    lab.commit(machine("a"), policy=Policy(follow="approve"))
    done = await attempt(lab.ports, lab.nodes)
    assert lab.machines() == {}
    assert done.prospect.plan.holds
    assert await attempt(lab.ports, lab.nodes, request=Request(now=0)) is not None
    assert set(lab.machines()) == {"Machine/acme/a"}


async def test_intents_whose_plan_is_gone_are_closed_as_unconfirmed(lab: Lab) -> None:
    lab.commit(machine("a"))
    done = await attempt(lab.ports, lab.nodes)
    intent = next(entry for entry in lab.journal.entries if type(entry).__name__ == "Intent")
    await lab.journal.append([intent])
    assert await unfinished(lab.ports) == (Unfinished(done.prospect.plan),)
    lab.plans.plans.clear()
    assert await unfinished(lab.ports) == ()
    assert lab.journal.ledger.in_flight == {}
    assert lab.journalled(Result)[-1].status == "unconfirmed"


class Refusing:
    """A source whose newest revision holds a mistake."""

    def __init__(self, lab: Lab, error: Exception) -> None:
        self.lab = lab
        self.error = error

    async def load(self, revision: str | None = None, *, since: object = None) -> object:
        if revision is None:
            raise self.error
        return await self.lab.source.load(revision)

    def news(self) -> None:
        return None

    async def lineage(self, *more: object) -> object:
        return await self.lab.source.lineage(*more)  # type: ignore[arg-type]
