"""A target's first report told shortly: machines at rest by what they take from the world, all else as it was seen.

Who looks at part of a fleet in somebody's stead (another process) makes glimpses; who knows the whole fleet takes them
in, and finds what he would have found in the reports (I9). What the looker cannot know is whether anybody elsewhere
bears the same ref or the same identity, so who is at rest is the taker's word.

Owns: the record. Must not go here: making one (resting), taking it in (sights, world), processes and pipes.
"""

# annotations are types here, not texts of the future: msgspec would compile every text at each start

from collections.abc import Iterator

import msgspec

from reconciler.core.desired import Demand
from reconciler.core.facts import Facts
from reconciler.core.observed import Report
from reconciler.core.refs import Ref


class Kind(msgspec.Struct, frozen=True, array_like=True):
    """What machines take from the world alike; the addresses on these networks are each one's own."""

    demand: Demand
    networks: tuple[Ref, ...]
    needs: tuple[Ref, ...]


class Resting(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A machine that is at rest if nobody else bears its ref or its identity. `identity`: the sum of its uid; `kind`:
    the number of its kind; `ips`: in the order of the kind's networks."""

    ref: Ref
    identity: int
    kind: int
    ips: tuple[str, ...]


class Glimpse(msgspec.Struct, frozen=True):
    """`report`: without the objects of machines at rest; `whole`: all of its objects, packed."""

    report: Report
    kinds: tuple[Kind, ...]
    resting: tuple[Resting, ...]
    whole: bytes

    def facts(self) -> Iterator[tuple[Resting, Facts]]:
        """The machines at rest, and what each of them takes."""
        target = self.report.target
        for each in self.resting:
            kind = self.kinds[each.kind]
            held = tuple(zip(kind.networks, each.ips, strict=True))
            yield each, Facts(target, kind.demand, held, held, kind.needs)
