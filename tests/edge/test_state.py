"""The state folder: private, of one datacenter, and the lock and fence in it."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from reconciler.edge.forked import Forked, framed
from reconciler.edge.lock import DatacenterLock, holder
from reconciler.edge.state import State, state_folder, unsealed, write_sealed, write_whole
from reconciler.errors import LockHeld, StateUnusable

ID = "6f2b8d3e-5a41-4c6b-9f0e-2d7c1a9b8e10"


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State.open(ID, tmp_path / "state")


def test_the_folder_is_where_people_expect_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert state_folder(ID, {"TRUEUP_STATE": "/srv/state"}) == Path("/srv/state")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert state_folder(ID, {}) == Path("/var/lib/trueup") / ID
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert state_folder(ID, {}) == Path.home() / ".local/state/trueup" / ID
    assert state_folder(ID, {"XDG_STATE_HOME": "/x"}) == Path("/x/trueup") / ID


def test_it_is_made_private_and_found_again(state: State) -> None:
    assert state.folder.stat().st_mode & 0o777 == 0o700
    assert State.open(ID, state.folder).journal == state.folder / "journal.db"


def test_an_empty_folder_is_closed_and_one_in_use_that_is_open_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir(mode=0o755)
    state = State.open(ID, tmp_path / "s")
    assert state.folder.stat().st_mode & 0o777 == 0o700
    state.folder.chmod(0o750)
    with pytest.raises(StateUnusable, match="open to other users"):
        State.open(ID, state.folder)


def test_another_datacenters_state_is_refused(state: State) -> None:
    other = "00000000-0000-4000-8000-000000000000"
    with pytest.raises(StateUnusable, match=f"state of datacenter {ID}"):
        State.open(other, state.folder)


@pytest.mark.parametrize("name", ["../../etc", "", "x", ID.upper(), "{" + ID + "}"])
def test_an_id_that_is_no_uuid_never_becomes_a_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(StateUnusable, match="no uuid"):
        State.open(name, tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateUnusable, match="cannot be used"):
        State.open(ID, tmp_path / "file" / "s")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_a_folder_of_another_user_is_refused(state: State) -> None:
    os.chown(state.folder, 12345, 12345)
    with pytest.raises(StateUnusable, match="belongs to user 12345"):
        State.open(ID, state.folder)


def test_a_file_is_replaced_whole_and_privately(tmp_path: Path) -> None:
    write_whole(tmp_path / "f", b"one")
    write_whole(tmp_path / "f", b"two")
    assert (tmp_path / "f").read_bytes() == b"two"
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


@pytest.mark.parametrize(
    "left",
    [
        pytest.param(lambda whole: b"", id="nothing"),
        pytest.param(lambda whole: whole[:-1], id="not all of it"),
        pytest.param(lambda whole: bytes(len(whole)), id="zeros"),
        pytest.param(lambda whole: whole[:20] + bytes(len(whole) - 20), id="a beginning, then zeros"),
        pytest.param(lambda whole: b"two" * 10, id="something else"),
    ],
)
def test_what_a_crash_left_of_a_sealed_file_is_not_taken_for_it(tmp_path: Path, left: Callable[[bytes], bytes]) -> None:
    write_sealed(tmp_path / "f", b"one and two")
    assert unsealed((tmp_path / "f").read_bytes()) == b"one and two"
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
    with pytest.raises(OSError, match="not what was written"):
        unsealed(left((tmp_path / "f").read_bytes()))


def test_each_holder_has_a_higher_fence(state: State) -> None:
    fences = []
    for _ in range(3):
        with DatacenterLock.acquire(state, purpose="trueup apply") as lock:
            fences.append(lock.fence)
            assert not lock.lost()
    assert fences == [1, 2, 3]


def test_a_second_holder_is_told_who_the_first_is(state: State) -> None:
    with DatacenterLock.acquire(state, purpose="trueup run"):
        assert holder(state) == f"process {os.getpid()} (trueup run)"
        with pytest.raises(LockHeld, match=rf"process {os.getpid()} \(trueup run\)"):
            DatacenterLock.acquire(state, purpose="trueup apply")
    assert holder(state) is None
    DatacenterLock.acquire(state, purpose="trueup apply").release()


def test_one_who_only_looks_does_not_keep_others_from_acting(state: State) -> None:
    DatacenterLock.acquire(state, purpose="trueup apply").release()
    with state.lock.open() as look:
        fcntl.flock(look, fcntl.LOCK_SH)  # as `holder` does
        ended = threading.Timer(0.1, fcntl.flock, (look, fcntl.LOCK_UN))
        ended.start()
        DatacenterLock.acquire(state, purpose="trueup apply").release()
        ended.join()


def test_a_process_that_was_forked_meanwhile_does_not_keep_the_lock(state: State) -> None:
    lock = DatacenterLock.acquire(state, purpose="trueup apply")
    forked = Forked(works_until_it_is_left)
    assert forked.answer() == b"I am here"
    lock.release()
    DatacenterLock.acquire(state, purpose="trueup apply").release()
    forked.leave()


def works_until_it_is_left(source: BinaryIO, sink: BinaryIO) -> None:
    sink.write(framed(b"I am here"))
    sink.flush()
    source.read()


HOLDER = """
import sys, time
from pathlib import Path
from reconciler.edge.lock import DatacenterLock
from reconciler.edge.state import State
lock = DatacenterLock.acquire(State.open(sys.argv[1], Path(sys.argv[2])), purpose="trueup run")
print(lock.fence, flush=True)
time.sleep(60)
"""


def test_a_killed_holder_leaves_the_lock_free_and_its_fence_behind(state: State) -> None:
    child = subprocess.Popen([sys.executable, "-c", HOLDER, ID, str(state.folder)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    fence = int(child.stdout.readline())
    with pytest.raises(LockHeld, match=f"process {child.pid}"):
        DatacenterLock.acquire(state, purpose="trueup apply")
    child.kill()
    child.wait()
    child.stdout.close()
    with DatacenterLock.acquire(state, purpose="trueup apply") as lock:
        assert lock.fence == fence + 1


def test_a_lock_file_removed_by_hand_is_noticed_by_the_old_holder(state: State) -> None:
    with DatacenterLock.acquire(state, purpose="trueup run") as old:
        state.lock.unlink()
        with DatacenterLock.acquire(state, purpose="trueup run") as new:
            assert old.lost()
            assert not new.lost()
            assert new.fence > old.fence


def test_a_released_lock_is_lost(state: State) -> None:
    lock = DatacenterLock.acquire(state, purpose="trueup run")
    lock.release()
    assert lock.lost()


def test_the_fence_can_be_raised_past_what_a_node_remembers(state: State) -> None:
    with DatacenterLock.acquire(state, purpose="trueup journal rebuild") as lock:
        assert lock.raise_above(41) == 42
        assert lock.raise_above(7) == 42
        assert not lock.lost()
    with DatacenterLock.acquire(state, purpose="trueup run") as lock:
        assert lock.fence == 43


@pytest.mark.parametrize("content", ["", "x", "-"])
def test_a_damaged_fence_is_an_error_and_never_counts_from_one(state: State, content: str) -> None:
    state.fence.write_text(content)
    with pytest.raises(StateUnusable, match="fence cannot be read"):
        DatacenterLock.acquire(state, purpose="trueup run")
    assert holder(state) is None
