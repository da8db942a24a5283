"""Where secrets are kept: the environment, files, age, sops.

Owns: finding one secret by name in one place, refusing places that others can read. Must not go here: the order of
places, digests. Decrypted values stay in memory as long as the file they came from is unchanged.
"""

from __future__ import annotations

import os
import re
import stat
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import msgspec

from reconciler.errors import SecretMissing

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*"
_TIMEOUT = 30  # seconds: sops may ask a key service


class Provider(Protocol):
    def find(self, name: str) -> str | None:
        """The value, or None if this place does not have it. Raises SecretMissing if it has it and cannot give it."""
        ...

    def place(self, name: str) -> str:
        """Where it would be, for people."""
        ...


def check_name(name: str) -> None:
    """Names become file names and come from a repository. Raises SecretMissing."""
    if not re.fullmatch(_NAME, name) or len(name) > 200:
        raise SecretMissing(f"{name!r} is no name of a secret", hint="letters, digits, `-`, `_`, `.`, parts with `/`")


class Environment:
    def __init__(self, prefix: str, environment: Mapping[str, str]) -> None:
        self._prefix = prefix
        self._environment = environment

    def find(self, name: str) -> str | None:
        return self._environment.get(self.place(name).removeprefix("$"))

    def place(self, name: str) -> str:
        return "$" + self._prefix + re.sub(r"[^A-Z0-9]", "_", name.upper())


class Folder:
    """One file a secret; a line end at its end is not part of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, name: str) -> str | None:
        data = _private(self._folder / name)
        return None if data is None else _text(data, self._folder / name).removesuffix("\n")

    def place(self, name: str) -> str:
        return str(self._folder / name)


class PlainFile:
    """`name: value` in YAML."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._memory = _Memory()

    def find(self, name: str) -> str | None:
        return self._memory.values(self._path, self._read).get(name)

    def place(self, name: str) -> str:
        return f"{self._path} ({name}:)"

    def _read(self) -> dict[str, str]:
        from ruamel.yaml import YAML
        from ruamel.yaml.error import YAMLError

        data = _private(self._path)
        try:
            return _by_name(YAML(typ="safe", pure=True).load(data or b""), self._path)
        except (YAMLError, UnicodeDecodeError):
            # what ruamel says quotes the line, which holds a value
            raise SecretMissing(f"{self._path}: this is no YAML", hint="each line is `name: value`") from None


class AgeFolder:
    """NAME.age, each decrypted with one identity."""

    def __init__(self, folder: Path, identity: Path) -> None:
        self._folder = folder
        self._identity = identity
        self._memories: dict[str, _Memory] = {}

    def find(self, name: str) -> str | None:
        path = self._folder / f"{name}.age"
        if not path.is_file():
            return None

        def decrypt() -> dict[str, str]:
            if _private(self._identity) is None:
                raise SecretMissing(f"{path} cannot be decrypted: there is no identity {self._identity}")
            data = _decrypted(("age", "--decrypt", "--identity", str(self._identity), str(path)), path)
            return {name: _text(data, path).removesuffix("\n")}

        return self._memories.setdefault(name, _Memory()).values(path, decrypt)[name]

    def place(self, name: str) -> str:
        return str(self._folder / f"{name}.age")


class SopsFile:
    """`name: value`, encrypted by sops, whatever keys it uses."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._memory = _Memory()

    def find(self, name: str) -> str | None:
        if not self._path.is_file():
            return None
        return self._memory.values(self._path, self._read).get(name)

    def place(self, name: str) -> str:
        return f"{self._path} ({name}:)"

    def _read(self) -> dict[str, str]:
        data = _decrypted(("sops", "--decrypt", "--output-type", "json", str(self._path)), self._path)
        try:
            return _by_name(msgspec.json.decode(data), self._path)
        except msgspec.DecodeError:
            raise SecretMissing(f"{self._path}: sops gave no JSON") from None


class _Memory:
    """What a file held, until it changes."""

    def __init__(self) -> None:
        self._stamp: object = None
        self._values: dict[str, str] = {}
        self._lock = threading.Lock()

    def values(self, path: Path, read: ReadValues) -> dict[str, str]:
        with self._lock:
            try:
                found = path.stat()
            except OSError:
                return {}
            stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
            if stamp != self._stamp:
                self._values = read()
                self._stamp = stamp
            return self._values


class ReadValues(Protocol):
    def __call__(self) -> dict[str, str]: ...


def _private(path: Path) -> bytes | None:
    """The contents of a file that only its owner can read; None if it is not there."""
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise SecretMissing(f"{path}: other users can read this secret", hint=f"chmod 600 {path}")
            if found.st_uid not in (0, os.geteuid()):
                raise SecretMissing(f"{path}: this secret belongs to another user", hint=f"chown root {path}")
            return file.read(1 << 20)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except OSError as error:
        raise SecretMissing(f"{path}: cannot be read: {error.strerror}") from error


def _text(data: bytes, path: Path) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise SecretMissing(f"{path}: the secret is not text (UTF-8)") from None


def _by_name(values: object, path: Path) -> dict[str, str]:
    """Nested maps as `a/b`."""
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise SecretMissing(f"{path}: secrets are given as `name: value`")
    found: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= {f"{name}/{inner}": text for inner, text in _by_name(value, path).items()}
        elif isinstance(value, str):
            found[str(name)] = value
        else:
            raise SecretMissing(f"{path}: the value of {name} is not text", hint="put it in quotes")
    return found


def _decrypted(command: tuple[str, ...], path: Path) -> bytes:
    """What a decrypting program gives. It gets no terminal: nobody is there to type a passphrase."""
    program = command[0]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT,
            check=False,
            start_new_session=True,
        )
    except FileNotFoundError:
        raise SecretMissing(
            f"{path} cannot be decrypted: {program} is not installed", hint=f"install {program}"
        ) from None
    except subprocess.TimeoutExpired:
        raise SecretMissing(f"{path} cannot be decrypted: {program} took longer than {_TIMEOUT} s") from None
    if done.returncode != 0:
        why, hint = _told(program, done.stderr.decode(errors="replace"), path)
        raise SecretMissing(f"{path} cannot be decrypted: {why}", hint=hint)
    return done.stdout


def _told(program: str, stderr: str, path: Path) -> tuple[str, str]:
    """What the program says, in one sentence, and how to mend it."""
    if "sops metadata not found" in stderr:
        return "it is not encrypted by sops", f"sops --encrypt --in-place {path}"
    if "Failed to get the data key" in stderr:
        return (
            "sops has no key for it here",
            "for age: SOPS_AGE_KEY_FILE names the file with an identity it is encrypted for",
        )
    said = [line.strip() for line in stderr.splitlines() if line.strip()]
    return said[0] if said else f"{program} failed", ""
