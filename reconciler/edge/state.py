"""The state folder of one datacenter's controller: what lies where, and who may look.

Owns: finding the folder, its layout, its permissions, writing small files whole. Must not go here: what the files mean.

    DIR/datacenter       the id of the datacenter it belongs to
    DIR/journal.db       the journal (edge/chain); -wal and -shm beside it are SQLite's, and part of it
    DIR/journal.db-ledger  what it came to, for those who only look; may be lost (edge/checkpoint)
    DIR/lock, DIR/fence  who acts on the datacenter, and how many have before (edge/lock)
    DIR/socket           where a running loop answers (edge/calls)
    DIR/key              the key of secrets' digests (edge/secrets)
    DIR/plans/           stored plans (edge/plans)
    DIR/mirrors/         bare mirrors of remote repositories (edge/git/mirror)
    DIR/files/           fetched image contents, by digest (edge/files)
    DIR/secrets/         secrets, one a file, where no providers are configured (edge/secrets)
"""

from __future__ import annotations

import os
import stat
import uuid
from collections.abc import Mapping
from pathlib import Path

from reconciler.core.hashes import blake2b
from reconciler.errors import StateUnusable


def state_folder(datacenter_id: str, environment: Mapping[str, str] = os.environ) -> Path:
    """$TRUEUP_STATE as it is, else /var/lib/trueup/ID for root and ~/.local/state/trueup/ID (XDG) for others."""
    if named := environment.get("TRUEUP_STATE"):
        return Path(named).absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/trueup") / datacenter_id
    base = environment.get("XDG_STATE_HOME") or str(Path.home() / ".local/state")
    return Path(base) / "trueup" / datacenter_id


class State:
    """An existing, private state folder of one datacenter."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = folder / "journal.db"
        self.lock = folder / "lock"
        self.fence = folder / "fence"
        self.socket = folder / "socket"
        self.key = folder / "key"
        self.plans = folder / "plans"
        self.mirrors = folder / "mirrors"
        self.files = folder / "files"
        self.secrets = folder / "secrets"

    @classmethod
    def open(cls, datacenter_id: str, folder: Path | None = None) -> State:
        """Makes the folder if it is not there (mode 0700). Raises StateUnusable: not ours, open to others, of another
        datacenter, or not writable."""
        _check_id(datacenter_id)
        place = folder or state_folder(datacenter_id)
        try:
            place.mkdir(parents=True, exist_ok=True, mode=0o700)
            _require_private(place)
            _require_same(place / "datacenter", datacenter_id)
        except OSError as error:
            raise StateUnusable(
                f"{place}: the state folder cannot be used: {error.strerror}",
                hint="TRUEUP_STATE names another one; or run as the user whose folder it is",
            ) from error
        return cls(place)


def write_whole(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Replaces a file in one go: readers see the old or the new contents, also after a crash. Raises OSError."""
    _replace(path, data, mode=mode, durable=True)
    sync_folder(path.parent)


def write_sealed(path: Path, data: bytes) -> None:
    """The same for what may be lost, without waiting for the disk: a crash of the host may leave anything there, which
    `unsealed` tells from what was written. Raises OSError."""
    _replace(path, _seal(data) + data, mode=0o600, durable=False)


def unsealed(data: bytes) -> bytes:
    """What `write_sealed` was given. Raises OSError where a file does not hold that, whole."""
    content = data[_SEAL:]
    if data[:_SEAL] != _seal(content):
        raise OSError("this is not what was written")
    return content


_SEAL = 16


def _seal(data: bytes) -> bytes:
    return blake2b(data, digest_size=_SEAL).digest()


def beside(path: Path) -> tuple[int, str]:
    """A new file that is to take a path's place: descriptor and name. As tempfile's, whose import takes as long as all
    that a recalled plan reads. Raises OSError."""
    name = f"{path.parent}/.{path.name}-{os.urandom(8).hex()}"
    return os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), name


def _replace(path: Path, data: bytes, *, mode: int, durable: bool) -> None:
    handle, name = beside(path)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), mode)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Makes what was created or renamed in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _check_id(datacenter_id: str) -> None:
    """The id becomes a folder's name, and comes from a repository."""
    try:
        if str(uuid.UUID(datacenter_id)) == datacenter_id:
            return
    except ValueError:
        pass
    raise StateUnusable(f"the datacenter's id {datacenter_id!r} is no uuid", hint="`trueup init` writes one")


def _require_private(folder: Path) -> None:
    found = folder.stat()
    if found.st_uid != os.geteuid():
        raise StateUnusable(
            f"{folder}: the state folder belongs to user {found.st_uid}, and we are {os.geteuid()}",
            hint="run as that user, or name another folder in TRUEUP_STATE",
        )
    if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        if any(folder.iterdir()):
            raise StateUnusable(
                f"{folder}: the state folder is open to other users", hint=f"if nobody used that: chmod 700 {folder}"
            )
        folder.chmod(0o700)


def _require_same(marker: Path, datacenter_id: str) -> None:
    if not marker.exists():
        write_whole(marker, f"{datacenter_id}\n".encode())
        return
    known = marker.read_text().strip()
    if known != datacenter_id:
        raise StateUnusable(
            f"{marker.parent}: this is the state of datacenter {known}, not of {datacenter_id}",
            hint="each datacenter needs a state folder of its own: is TRUEUP_STATE right?",
        )
