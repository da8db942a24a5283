"""A target's first report told shortly: machines at rest by what they take from the world, all else as it was seen.

Who looks at part of a fleet in somebody's stead (another process) makes glimpses; who knows the whole fleet takes them
in, and finds what he would have found in the reports (I9). What the looker cannot know is whether anybody elsewhere
bears the same ref or the same identity, so who is at rest is the taker's word.

Owns: the record. Must not go here: making one (resting), taking it in (sights, world), processes and pipes.
"""

# annotations are types here, not texts of the future: msgspec would compile every text at each start

import msgspec

from reconciler.core.facts import Resting
from reconciler.core.observed import Report


class Glimpse(msgspec.Struct, frozen=True):
    """`report`: without the objects of the machines that are `resting`, None if none is. `whole`: the block of all of
    its objects, compressed or not."""

    report: Report
    resting: Resting | None
    whole: bytes = b""
    compressed: bool = False
