"""Tenants in projects of their own, on real servers, by the command line; what holders of their certificates try."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.drivers.incus.daemons import Daemons, missing, running
from tests.drivers.incus.desk import TRUEUP
from tests.drivers.incus.harness import MI
from tests.drivers.incus.holder import Holder

pytestmark = pytest.mark.real

SITE = """\
apiVersion: trueup/v1
kind: Datacenter
metadata: {name: dc}
spec:
  id: 8a1d8f6e-35c1-4f0d-9c3b-2b6c1f0e7a13
  follow: auto
  drift: heal
  nicTags: {front: {}}
  policy: {quarantine: 1s, budgets: {destroys: {perPlan: 9, perDay: 99}}}
---
apiVersion: trueup/v1
kind: Node
metadata: {name: inc}
spec:
  driver: incus
  address: "unix:SOCKET"
  tenants: projects
  options: {certificatesOnLxd: true}
  storage: {pool: local}
  nics: {front: none}
---
apiVersion: trueup/v1
kind: Networks
items:
  shared: {nicTag: front, subnet: 10.88.1.0/24, range: 10.88.1.100-10.88.1.199, gateway: 10.88.1.1}
  closed: {nicTag: front, subnet: 10.88.2.0/24, range: 10.88.2.100-10.88.2.199, gateway: 10.88.2.1, tenants: [zeta]}
---
apiVersion: trueup/v1
kind: Image
metadata: {name: busybox}
spec: {source: {busybox: static}, type: rootfs}
---
apiVersion: trueup/v1
kind: Package
metadata: {name: xs}
spec: {cpu: 0.25, memory: 64Mi, disk: 100Mi, threads: 200}
"""
ACME = """\
apiVersion: trueup/v1
kind: Tenant
metadata: {name: acme}
spec:
  limits: {machines: 4, memory: 512Mi, disk: 1Gi}
  certificates:
    HOLDER: |
      PEM
---
apiVersion: trueup/v1
kind: Machine
metadata: {name: web, tenant: acme}
spec:
  image: busybox
  package: xs
  nics: [shared]
  disks: {data: {size: 20Mi, path: /data}}
  ready: {exec: ["true"], within: 20s}
  update: {replace: allowed}
"""
ZETA = """\
apiVersion: trueup/v1
kind: Tenant
metadata: {name: zeta}
---
apiVersion: trueup/v1
kind: Machine
metadata: {name: db, tenant: zeta}
spec: {image: busybox, package: xs, nics: [closed]}
"""
ROOT = {"root": {"type": "disk", "path": "/", "pool": "local", "size": "100MiB"}}
ALL = "/1.0/instances?recursion=1"


class Office:
    """A repository, a controller's state, and a host that it manages."""

    def __init__(self, folder: Path, daemons: Daemons) -> None:
        self.daemons = daemons
        self.repo = folder / "dc"
        self.repo.mkdir()
        self.environment = {**os.environ, "TRUEUP_STATE": str(folder / "state"), "NO_COLOR": "1"}
        address = daemons.listen()
        self.alice = Holder(folder, "alice", address, "acme")
        self.bob = Holder(folder, "bob", address, "acme")
        self.write("site.yaml", SITE.replace("SOCKET", daemons.socket()))
        self.let_in("alice", self.alice)
        self.write("zeta.yaml", ZETA)
        self.git("init", "-q", "-b", "main")

    def let_in(self, name: str, holder: Holder) -> None:
        pem = holder.pem.strip().replace("\n", "\n      ")
        self.write("acme.yaml", ACME.replace("HOLDER", name).replace("PEM", pem))

    def write(self, name: str, text: str) -> None:
        (self.repo / name).write_text(text)

    def git(self, *args: str) -> None:
        who = ["-c", "user.name=you", "-c", "user.email=you@example.org"]
        subprocess.run(["git", *who, *args], cwd=self.repo, check=True, capture_output=True)

    def commit(self, name: str = "", before: str = "", after: str = "") -> None:
        """With a word of a file changed."""
        if name:
            text = (self.repo / name).read_text()
            assert before in text
            self.write(name, text.replace(before, after))
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "as asked")

    def trueup(self, *args: str, code: int = 0) -> str:
        done = subprocess.run(
            [TRUEUP, "-C", str(self.repo), *args], env=self.environment, capture_output=True, text=True, timeout=120,
            check=False,
        )  # fmt: skip
        assert done.returncode == code, f"trueup {' '.join(args)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def holds(self) -> dict[str, str]:
        """Of a plan that changes nothing: its holds, rule by ref."""
        plan = json.loads(self.plan())
        assert plan["changes"] == [], [change["id"] for change in plan["changes"]]
        return {hold["ref"]: hold["rule"] for hold in plan["holds"]}

    def plan(self) -> str:
        done = subprocess.run(
            [TRUEUP, "-C", str(self.repo), "plan", "--format", "json"], env=self.environment, capture_output=True,
            text=True, timeout=120, check=False,
        )  # fmt: skip
        return done.stdout

    def actions(self) -> dict[str, str]:
        return {change["ref"]: change["action"] for change in json.loads(self.plan())["changes"]}

    def config(self, name: str, project: str = "acme") -> dict[str, str]:
        said: dict[str, str] = self.daemons.query(f"/1.0/instances/{name}?project={project}")["config"]
        return said

    def patch(self, name: str, **config: str) -> None:
        spelled = {key.replace("__", "."): value for key, value in config.items()}
        self.daemons.query(f"/1.0/instances/{name}?project=acme", "PATCH", {"config": spelled})


@pytest.fixture(scope="module", params=["incus", "lxd"])
def office(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    if why := missing(request.param):
        pytest.skip(f"NOT RUN on {request.param}: {why}")
    with running(request.param, f"o{request.param[0]}") as daemons:
        made = Office(tmp_path_factory.mktemp("tenants"), daemons)
        made.commit()
        made.trueup("apply", "--yes")
        yield made
        made.alice.close()
        made.bob.close()


def test_each_tenant_lives_in_a_project_that_is_closed_around_it(office: Office) -> None:
    listed = office.daemons.query("/1.0/instances?recursion=1&all-projects=true")
    assert {(each["project"], each["name"], each["status"]) for each in listed} == {
        ("acme", "web", "Running"), ("zeta", "db", "Running"),
    }  # fmt: skip
    acme = office.daemons.query("/1.0/projects/acme")["config"]
    assert acme["restricted"] == "true"
    assert acme["restricted.networks.access"] == "shared"
    assert (acme["limits.instances"], acme["limits.memory"], acme["limits.disk"]) == ("4", "512MiB", "1GiB")
    assert office.daemons.query("/1.0/projects/zeta")["config"]["restricted.networks.access"] == "closed,shared"
    volumes = office.daemons.query("/1.0/storage-pools/local/volumes/custom?recursion=1&all-projects=true")
    assert [each["project"] for each in volumes] == ["acme"]
    assert office.trueup("exec", "acme/web", "--", "hostname") == "web\n"
    assert "acme  inc   as wanted" in office.trueup("get", "tenants")


def test_holder_is_kept_inside(office: Office) -> None:
    alice = office.alice
    assert [each["name"] for each in alice.may("GET", "/1.0/instances?recursion=1")] == ["web"]
    alice.may_not("PATCH", "/1.0/projects/acme", {"config": {"limits.memory": "8GiB"}})
    alice.may_not("PATCH", "/1.0", {"config": {"user.trueup.seal": "x"}})
    for key, value in (("security.privileged", "true"), ("security.nesting", "true"), ("raw.lxc", "lxc.aa_profile=")):
        alice.may_not("PATCH", "/1.0/instances/web", {"config": {key: value}})
    disk = {"type": "disk", "source": "/", "path": "/mnt"}
    alice.may_not("PATCH", "/1.0/instances/web", {"devices": {"host": disk}})
    alice.may_not("PATCH", "/1.0/instances/web", {"devices": {"nic": {"type": "nic", "network": "closed"}}})
    other = office.config("db", "zeta")["volatile.uuid"]
    alice.may_not("PATCH", "/1.0/instances/web", {"config": {"volatile.uuid": other}})
    assert "user.trueup.seal" not in (alice.may("GET", "/1.0").get("config") or {})
    assert office.holds() == {}


def test_forged_copied_and_foreign_marks_move_nothing(office: Office) -> None:
    alice, ours = office.alice, office.config("web")["user.trueup.marks"]
    foreign = office.config("db", "zeta")["user.trueup.marks"]
    config, devices = {"limits.memory": "64MiB"}, {**ROOT, "shared": {"type": "none"}, "data": {"type": "none"}}
    copy = {"name": "copy", "profiles": [], "config": config, "devices": devices}
    alice.may("POST", "/1.0/instances", {**copy, "source": {"type": "copy", "source": "web"}})
    assert alice.config("copy")["user.trueup.marks"] == ours
    assert "acme/copy" in office.trueup("get", "machines", "--unmanaged")
    alice.set("copy", user__trueup__marks=foreign)
    assert office.holds() == {}, "of another tenant"
    alice.set("copy", user__trueup__marks=ours.replace('"generation":', '"generation":9'))
    alice.set("web", user__trueup__marks="")
    assert office.holds() == {"Machine/acme/web": "vanished"}, "taken away, and changed on the copy"
    alice.set("web", user__trueup__marks=foreign)
    assert office.holds() == {"Machine/acme/web": "vanished"}
    alice.set("web", user__trueup__marks=ours)
    alice.may("DELETE", "/1.0/instances/copy")
    assert office.holds() == {}


def test_what_a_holder_changes_is_put_back_and_never_by_a_new_machine(office: Office) -> None:
    alice = office.alice
    alice.set("web", limits__memory="200MiB")
    alice.set("web", image__trueup__digest="sha256:" + "0" * 64, volatile__base_image="0" * 64)
    assert "Machine/acme/web will be updated in place" in office.trueup("apply", "--yes")
    assert office.config("web")["limits.memory"] == "64MiB"
    assert office.holds() == {"Machine/acme/web": "drift"}, "an image does not change: nothing is replaced for that"
    images = office.daemons.query("/1.0/images?recursion=1")
    (image,) = (each for each in images if "trueup.digest" in each["properties"])
    was = image["properties"]["trueup.digest"]
    alice.set("web", image__trueup__digest=was, volatile__base_image=image["fingerprint"])


def test_what_lies_in_quarantine_can_be_damaged_but_not_turned_against_the_host(office: Office) -> None:
    alice = office.alice
    text = (office.repo / "acme.yaml").read_text()
    office.write("acme.yaml", text.partition("\n---\n")[0])
    office.commit()
    office.trueup("apply", "--yes")
    (resting,) = alice.may("GET", "/1.0/instances?recursion=1")
    old = resting["config"]["user.trueup.marks"]
    stash = {"name": "web", "devices": {"host": {"type": "disk", "source": "/", "path": "/mnt"}}}
    alice.set(resting["name"], user__trueup__stash=json.dumps(stash))
    office.write("acme.yaml", text)
    office.commit()
    office.trueup("apply", "--yes")
    assert "host" not in office.daemons.query("/1.0/instances/web?project=acme")["devices"]
    now = office.config("web")["user.trueup.marks"]
    alice.set("web", user__trueup__marks=old)
    assert office.actions() == {"Machine/acme/web": "restore"}, "marks of an earlier day, expired since: no purge"
    alice.set("web", user__trueup__marks=now)
    assert office.holds() == {}


def test_certificates_come_and_go_by_the_plan(office: Office) -> None:
    office.let_in("bob", office.bob)
    office.commit()
    plan = office.trueup("apply", "--yes")
    assert "certificates.alice" in plan
    assert "certificates.bob" in plan
    office.alice.may_not("GET", "/1.0/instances")
    office.bob.may("GET", "/1.0/instances")
    trusted = office.daemons.query("/1.0/certificates?recursion=1")
    fingerprint = next(each["fingerprint"] for each in trusted if each["name"] == "bob")
    office.daemons.query(f"/1.0/certificates/{fingerprint}", "DELETE")
    assert office.actions() == {"Tenant/acme": "update"}, "drift of a project is healed as any"
    office.let_in("alice", office.alice)
    office.commit()
    office.trueup("apply", "--yes")
    office.alice.may("GET", "/1.0/instances")


def test_hand_on_a_project_is_seen_and_healed_and_limits_are_refused_by_name(office: Office) -> None:
    office.daemons.client("project", "set", "acme", "restricted.containers.privilege", "allow")
    office.daemons.client("project", "set", "acme", "limits.memory", "8GiB")
    assert "restricted.containers.privilege" in office.trueup("apply", "--yes")
    assert "restricted.containers.privilege" not in office.daemons.query("/1.0/projects/acme")["config"]
    image = {"type": "image", "fingerprint": office.daemons.query("/1.0/images?recursion=1")[0]["fingerprint"]}
    own = {"name": "own", "profiles": [], "config": {"limits.memory": "400MiB"}, "devices": ROOT, "source": image}
    office.alice.may("POST", "/1.0/instances", own)
    office.commit("acme.yaml", "memory: 512Mi", "memory: 256Mi")
    assert "limits.memory is 256Mi, and 464Mi of it are taken already" in office.trueup("plan", code=3)
    office.git("reset", "-q", "--hard", "HEAD~1")
    office.alice.may("DELETE", "/1.0/instances/own")


def test_kernel_limits_of_a_machine_in_a_project_are_read(office: Office) -> None:
    pid = office.daemons.query("/1.0/instances/web/state?project=acme")["pid"]
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    group = next(line.rpartition("/")[2] for line in lines if "lxc.payload.acme_web" in line)
    limit = Path("/sys/fs/cgroup/memory", group, "memory.limit_in_bytes")
    if not limit.exists():
        pytest.skip("this host has other control groups")
    limit.write_text(str(60 * MI))
    assert "memory  60Mi → 64Mi" in office.trueup("apply", "--yes")
    assert int(limit.read_text()) == 64 * MI


def test_switch_of_the_node_moves_nothing(office: Office) -> None:
    office.commit("site.yaml", "  tenants: projects\n", "")
    text = office.trueup("plan", code=3)
    assert text.count("put `tenants` of Node/inc back") == 2
    assert "Nothing to do. 2 held." in text
    office.git("reset", "-q", "--hard", "HEAD~1")


def test_project_goes_when_it_is_empty_and_not_before(office: Office) -> None:
    body = {"name": "theirs", "profiles": [], "devices": ROOT, "source": {"type": "none"}}
    office.daemons.query("/1.0/instances?project=zeta", "POST", body)
    (office.repo / "zeta.yaml").unlink()
    office.commit("site.yaml", ", tenants: [zeta]", "")
    assert "are in its project" in office.trueup("apply", "--yes", code=3), "what rests there, and what somebody made"
    time.sleep(1.1)
    office.trueup("apply", "--yes", code=3)
    assert office.holds() == {"Tenant/zeta": "in-use"}, "what somebody made is there still"
    office.daemons.query("/1.0/instances/theirs?project=zeta", "DELETE")
    office.trueup("apply", "--yes")
    assert "/1.0/projects/zeta" not in office.daemons.query("/1.0/projects")
    office.trueup("plan", "--detailed-exitcode")


def test_certificate_is_not_given_out_where_it_would_not_hold(office: Office) -> None:
    if office.daemons.kind != "lxd":
        pytest.skip("Incus keeps its holder inside")
    text = (office.repo / "site.yaml").read_text()
    office.write("site.yaml", text.replace("  options: {certificatesOnLxd: true}\n", ""))
    office.let_in("bob", office.bob)
    office.commit()
    assert "LXD 5.0 does not keep the holder" in office.trueup("apply", "--yes", code=1)
    office.bob.may_not("GET", "/1.0/instances")
