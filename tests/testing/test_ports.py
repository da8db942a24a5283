"""The ports in memory behave as the real ones promise."""

from __future__ import annotations

import anyio
import msgspec
import pytest

from reconciler.core.desired import Desired, Policy, Resource, Revision
from reconciler.core.ledger import Applied, Claimed
from reconciler.core.refs import Ref, Target
from reconciler.errors import PlanMissing, RevisionMissing, SecretMissing
from reconciler.testing.ports import MemoryJournal, MemoryPlans, StaticSecrets, StaticSource, VirtualClock

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def revision(commit: str, *refs: str) -> Desired:
    resources = {Ref(ref): Resource(Ref(ref), ref, b"{}") for ref in refs}
    return Desired("dc", "id", Revision(commit, f"tree-{commit}"), Policy(), {}, resources)


def applied(commit: str) -> Applied:
    return Applied("", 1, 1, commit, "", "main", "", "")


async def test_lineage_is_read_off_the_history() -> None:
    source = StaticSource(revision("a", "Machine/t/x", "Machine/t/y"), revision("b", "Machine/t/y"))
    head = await source.load()
    assert head.revision.commit == "b"
    assert (await source.lineage(head, applied("a"), frozenset())).removed == {"Machine/t/x"}
    first = await source.load("a")
    assert (await source.lineage(first, applied("b"), frozenset())).older
    assert (await source.lineage(head, applied("z"), frozenset())).broken
    with pytest.raises(RevisionMissing):
        await source.load("nowhere")


async def test_journal_folds_what_it_keeps_and_a_kill_keeps_nothing() -> None:
    def killed(entries: object) -> None:
        raise RuntimeError("killed")

    journal = MemoryJournal()
    await journal.append([Claimed(Target("edge1"), "guid")])
    journal.on_append = killed
    with pytest.raises(RuntimeError):
        await journal.append([Claimed(Target("edge2"), "guid")])
    again = journal.reopened()
    assert (again.ledger.sequence, again.ledger.claims) == (1, {"edge1": "guid"})


def test_virtual_time_follows_the_loops_clock() -> None:
    trio = pytest.importorskip("trio.testing")

    async def a_day() -> float:
        clock = VirtualClock()
        start = clock.now()
        await clock.sleep(86_400)
        clock.advance(60)
        return clock.now() - start

    options = {"clock": trio.MockClock(autojump_threshold=0)}
    assert anyio.run(a_day, backend="trio", backend_options=options) == pytest.approx(86_460)


def test_time_stands_still_outside_of_a_loop() -> None:
    clock = VirtualClock(start=5.0)
    clock.advance(2.0)
    assert clock.now() == 7.0


async def test_secrets_are_told_by_name_and_missed_by_name() -> None:
    secrets = StaticSecrets({"pg": "hush"})
    assert await secrets.resolve(frozenset({"pg"})) == {"pg": "hush"}
    assert "hush" not in (secrets.keyed_digest("pg") or "")
    assert secrets.keyed_digest("web") is None
    with pytest.raises(SecretMissing, match="web"):
        await secrets.resolve(frozenset({"pg", "web"}))


async def test_stored_plan_is_found_by_what_its_digest_begins_with() -> None:
    from reconciler.core.plan import Plan, plan_digest

    plans = MemoryPlans()
    plan = Plan("dc", "id", "tree", (), (), plan_digest("id", "tree", ()), 1)
    await plans.save(plan)
    await plans.save(msgspec.structs.replace(plan, digest=f"{plan.digest[:4]}x"))
    assert await plans.find(plan.digest) == plan
    for prefix in (plan.digest[:4], "nothing"):
        with pytest.raises(PlanMissing):
            await plans.find(prefix)
