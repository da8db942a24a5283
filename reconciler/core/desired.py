"""What is wanted: the tree of a revision, lowered to one noun, `Resource`.

Owns: the seam between the spec language and the core. The loader makes these, the core only reads them.
Must not go here: YAML, pydantic models, provenance (recomputed from the blob on demand), decisions.

There may be a million Resources: they and what they hold are out of the collector's sight (`gc=False`), which is sound
because none of them can be part of a cycle.

Beyond design §2 a Resource carries `network` (address facts) and `behaviour` (switches): placement, address
allocation and the rules need them, and the body stays opaque to the core.
"""

# annotations are types here, not texts of the future: msgspec would compile every text at each start

from collections.abc import Mapping
from typing import Literal

import msgspec

from reconciler.core.refs import Ref


class Demand(msgspec.Struct, frozen=True, gc=False):
    """What a machine takes from its target: bytes of memory and disk, thousandths of a core."""

    memory: int = 0
    cpu: int = 0
    disk: int = 0


class NicWant(msgspec.Struct, frozen=True, gc=False):
    """One interface. `networks` are candidates in order (a pool has several); `ip` only when authored."""

    networks: tuple[Ref, ...]
    ip: str | None = None
    mac: str | None = None
    primary: bool = False


class Affinity(msgspec.Struct, frozen=True, gc=False):
    """Keep apart from, or near to, the machines named. `over` is `node` or `rack`. The machine itself may be among them
    (a group shares one record) and is not counted."""

    machines: tuple[Ref, ...]
    over: str = "node"
    hard: bool = False


class Constraints(msgspec.Struct, frozen=True, gc=False):
    """Where a machine may live. `spread` and `avoid` keep apart, `near` keeps together."""

    node: str | None = None
    brand: str = "zone"
    image_type: str = "rootfs"
    traits: Mapping[str, str | bool] = {}
    spread: Affinity | None = None
    near: Affinity | None = None
    avoid: Affinity | None = None
    fields: tuple[str, ...] = ()
    """What is said of it that not every driver can do (`Capability.fields`)."""


class Update(msgspec.Struct, frozen=True, gc=False):
    """How a group is changed: `canary` first, then `batch` at a time, `pause` seconds between batches."""

    group: str
    canary: int = 0
    batch: int = 1
    pause: float = 0
    max_failures: int = 0


class Behaviour(msgspec.Struct, frozen=True, gc=False):
    """Switches of one document that the planner obeys."""

    drift: str | None = None
    """`heal`, `report` or `off`; None takes the datacenter's."""
    ignore: tuple[str, ...] = ()
    """Field paths (`/nics/app/mtu`, or a prefix of one) that are not compared."""
    any_state: bool = False
    """`state: any`: whether it runs is the people's business."""
    replace: bool = False
    """`update.replace: allowed`: a change that needs a new object may be made."""
    update: Update | None = None
    renamed_from: Ref | None = None
    """A ref; FIRST stands for what each machine without `replicas` may have been before (see `Resource.former`)."""


FIRST = Ref("-1")
"""The first of a group of the machine's own name: said so, machines alike share one record."""


class NetworkFacts(msgspec.Struct, frozen=True, gc=False):
    """What placement and address allocation need of a network. Addresses as text, IPv4 or IPv6."""

    nic_tag: str
    subnet: str
    first: str | None = None
    last: str | None = None
    gateway: str | None = None
    reserved: tuple[str, ...] = ()
    vlan: int | None = None
    mtu: int | None = None


class Resource(msgspec.Struct, frozen=True, gc=False):
    """One desired thing. `body` is the resolved spec in canonical bytes, opaque but to a kind's Shape."""

    ref: Ref
    digest: str
    """Over ref, body and every field below: equal digests need no look inside."""
    body: bytes
    references: tuple[Ref, ...] = ()
    demand: Demand = Demand()
    nics: tuple[NicWant, ...] = ()
    constraints: Constraints = Constraints()
    protected: bool = False
    behaviour: Behaviour = Behaviour()
    network: NetworkFacts | None = None
    parties: tuple[Ref, ...] = ()
    """Machines whose addresses its form tells, wherever they live: those of a network's firewall."""

    @property
    def former(self) -> Ref | None:
        """The name that it may have had before."""
        before = self.behaviour.renamed_from
        return Ref(self.ref + FIRST) if before == FIRST else before


def volumes_of(resource: Resource) -> tuple[Ref, ...]:
    """The volumes that a machine mounts."""
    return tuple([ref for ref in resource.references if ref.startswith("Volume/")])


class Budget(msgspec.Struct, frozen=True):
    """How much harm is allowed: the larger of a count and a share (0…1) of the machines concerned."""

    per_plan: int | None = None
    per_plan_share: float = 0
    per_hour: int | None = None
    per_hour_share: float = 0
    per_day: int | None = None
    per_day_share: float = 0
    per_node: int | None = None
    per_node_share: float = 0
    per_rack: int | None = None
    per_rack_share: float = 0
    per_tenant: int | None = None
    per_tenant_share: float = 0


class Limits(msgspec.Struct, frozen=True):
    """What all machines of a tenant may take together: a count, bytes, thousandths of a core. None: not limited."""

    machines: int | None = None
    memory: int | None = None
    cpu: int | None = None
    disk: int | None = None


class Policy(msgspec.Struct, frozen=True):
    """The datacenter's rules. Seconds for times; `overprovision` factors; `reserve` shares of a target."""

    follow: str = "approve"
    drift: str = "report"
    destroys: Budget = Budget(per_plan=5, per_plan_share=0.1, per_day=10, per_day_share=0.2)
    restarts: Budget = Budget()
    creates: Budget = Budget()
    quarantine: int = 7 * 86400
    protect: frozenset[str] = frozenset()
    overprovision: Mapping[str, float] = {}
    reserve: Mapping[str, float] = {}
    limits: Mapping[str, Limits] = {}
    """By tenant, of those that have any."""


class Drain(msgspec.Struct, frozen=True):
    """A target that people want empty (`move`) or quiet (`stop`), until this is lifted. `by` is for people: when."""

    how: Literal["move", "stop"]
    reason: str
    by: str | None = None

    @property
    def sentence(self) -> str:
        return f"is being drained{f' by {self.by}' if self.by else ''}: {self.reason}"


class NodeMember(msgspec.Struct, frozen=True):
    """What is its own; what is said of the node holds for each of its members too."""

    rack: str | None = None
    traits: Mapping[str, str | bool] = {}
    cordon: str | None = None
    drain: Drain | None = None


class NodeWant(msgspec.Struct, frozen=True):
    """A node as declared. `members` maps a member's name to its own rack, traits, cordon and drain."""

    name: str
    driver: str
    digest: str
    address: str = ""
    nics: Mapping[str, str] = {}
    """nicTag: interface."""
    rack: str | None = None
    traits: Mapping[str, str | bool] = {}
    reserve: Mapping[str, int] = {}
    cordon: str | None = None
    drain: Drain | None = None
    members: Mapping[str, NodeMember] = {}
    projects: bool = False
    """Each tenant has a project of its own there."""
    body: bytes = b"{}"
    """The resolved spec: what the node's driver is opened with."""


class Revision(msgspec.Struct, frozen=True):
    """Where the desired state came from. `commit` is None for a dirty tree; `tree` always identifies the content."""

    commit: str | None
    tree: str
    branch: str | None = None
    root: str = ""
    repository: str = ""


class Desired(msgspec.Struct, frozen=True):
    """All that one revision wants."""

    datacenter: str
    """The datacenter's name."""
    datacenter_id: str
    """`Datacenter.spec.id`, a uuid."""
    revision: Revision
    policy: Policy
    nodes: Mapping[str, NodeWant]
    resources: Mapping[Ref, Resource]


class Lineage(msgspec.Struct, frozen=True):
    """What witnesses deletions (invariant I13): the range from the last applied revision to this one.

    `removed` holds the refs whose documents that range removed. `broken` says in words why there is no
    lineage (force push, shallow clone, other root …); then every deletion is a Hold.
    """

    removed: frozenset[Ref] = frozenset()
    broken: str | None = None
    older: bool = False
    """The revision is an ancestor of what was applied last: intent is held (invariant I12)."""
    accepted: bool = False
    """A person took this revision without lineage: whatever has no document in it is removed."""
