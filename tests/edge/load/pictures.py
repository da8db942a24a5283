"""All that a loader says, and all that it remembers, in terms that do not depend on how it came about."""

from __future__ import annotations

import msgspec

from reconciler.core.values import canonical
from reconciler.edge.load import Loader


def picture(loader: Loader) -> bytes:
    """Everything that a loader says of its tree."""
    wanted = msgspec.to_builtins(loader.desired)
    wanted["resources"] = dict(sorted(wanted["resources"].items()))
    wanted["policy"]["protect"] = sorted(wanted["policy"]["protect"])
    return canonical(wanted)


def indexes(loader: Loader) -> dict[str, object]:
    """What it keeps for the next load."""
    records = loader._records
    return {
        "owners": {ref: one.file for ref, one in sorted(records.owners.items())},
        "entries": {ref: repr(one) for ref, one in sorted(records.entries.items())},
        "groups": dict(sorted(records.groups.items())),
        "claims": {key: one.file for key, one in sorted(records.claims.items())},
        "users": {
            uses: sorted((one.file, one.refs) for one in found)
            for uses, found in sorted(records.users.documents.items())
        },
        "combinations": {key: sorted(found) for key, found in sorted(records.users.combinations.items())},
        "totals": {name: repr(one) for name, one in sorted(records.totals.items()) if one.things},
        "drivers": {name: count for name, count in sorted(records.drivers.items()) if count},
        "projects": {name: count for name, count in sorted(records.projects.items()) if count},
        "limits": dict(sorted(records.limits.items())),
        "capacities": {has: count for has, count in records.capacities.items() if count},
        "files": {
            path: (one.blob, [(each.digest, each.refs, each.uses, each.claims) for each in one.documents])
            for path, one in sorted(records.files.items())
        },
        "others": dict(sorted(records.others.items())),
    }
