"""A written observation: what `trueup observe` leaves for planning where no node can be reached.

Owns: the file's format. Must not go here: observing, planning.

It holds what nodes reported, the journal's essence (who is where, what was applied last) and keyed digests of secrets;
never a secret's value. Who can read it sees the shape of the datacenter, as in the specs themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from reconciler.core.ledger import Record
from reconciler.core.observed import Report
from reconciler.core.refs import Target
from reconciler.errors import UsageError

FORMAT = "trueup-observation/1"


class Observation(msgspec.Struct, frozen=True):
    """`at` in unix seconds. `records` fold to the ledger of that time."""

    datacenter_id: str
    at: float
    reports: tuple[Report, ...]
    records: tuple[Record, ...]
    secrets: Mapping[str, str] = {}
    """Names to keyed digests."""
    format: str = FORMAT

    def by_target(self) -> dict[Target, Report]:
        return {report.target: report for report in self.reports}


def encoded(observation: Observation) -> bytes:
    return msgspec.json.encode(observation, order="sorted") + b"\n"


def read(path: Path) -> Observation:
    """Raises UsageError if it is not there, or no observation."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Observation)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise UsageError(f"{path} is no observation: {error}", hint="trueup observe --out FILE makes one") from error
    if found.format != FORMAT:
        raise UsageError(f"{path} is of another version of trueup ({found.format})")
    return found
