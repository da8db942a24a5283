"""Values of secrets, from where the person keeps them.

Owns: the providers, the order in which they are asked, keyed digests. Must not go here: where secrets are used.
No value leaves this module but as the result of `resolve`: not in an error, not in a log, not on a command line.

`secrets.yaml` in the state folder (or the file that TRUEUP_SECRETS names) lists providers in the order they are asked:

    providers:
      - environment: TRUEUP_SECRET_            # TRUEUP_SECRET_DB_PASSWORD for db-password
      - folder: /etc/trueup/secrets            # one file a secret, readable by its owner alone
      - file: /etc/trueup/secrets.plain.yaml   # name: value, readable by its owner alone
      - age: /etc/trueup/encrypted             # NAME.age, decrypted with the identity
        identity: /etc/trueup/age.key
      - sops: /srv/dc/secrets.enc.yaml         # name: value, encrypted by sops

Without that file: the environment, then DIR/secrets with NAME and NAME.age (identity DIR/age.key).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from reconciler.edge.providers import AgeFolder, Environment, Folder, PlainFile, Provider, SopsFile, check_name
from reconciler.edge.state import State, write_whole
from reconciler.errors import SecretMissing, StateUnusable, UsageError
from reconciler.waiting import blocking


class ProvidedSecrets:
    """Secrets by name, asked of each provider in turn: the first that has it wins."""

    def __init__(self, providers: Sequence[Provider], key: bytes) -> None:
        """`key` (32 bytes) makes digests that tell nothing to who does not have it."""
        self._providers = tuple(providers)
        self._key = key

    @classmethod
    def of(cls, state: State, environment: Mapping[str, str] = os.environ) -> ProvidedSecrets:
        """As configured for a datacenter. Raises UsageError for a mistake in the providers' file, StateUnusable."""
        configured = Path(environment.get("TRUEUP_SECRETS") or state.folder / "secrets.yaml")
        if configured.exists() or environment.get("TRUEUP_SECRETS"):
            providers = read_providers(configured, environment)
        else:
            providers = [
                Environment("TRUEUP_SECRET_", environment),
                Folder(state.secrets),
                AgeFolder(state.secrets, state.folder / "age.key"),
            ]
        return cls(providers, _key(state.key))

    async def resolve(self, names: frozenset[str]) -> Mapping[str, str]:
        """Values by name. Raises SecretMissing naming all that are missing and where they were looked for."""
        if not names:
            return {}
        return await blocking(self._resolve, names)

    def keyed_digest(self, name: str) -> str | None:
        """32 hex digits that change with the value; None where it cannot be read."""
        try:
            value = self._value(name)
        except SecretMissing:
            return None
        if value is None:
            return None
        import hmac  # only where there are secrets: it loads OpenSSL

        return hmac.new(self._key, f"{name}\0{value}".encode(), "sha256").hexdigest()[:32]

    def _resolve(self, names: frozenset[str]) -> dict[str, str]:
        found = {name: self._value(name) for name in sorted(names)}
        missing = [name for name, value in found.items() if value is None]
        if missing:
            what = "secret" if len(missing) == 1 else "secrets"
            asked = "; ".join(provider.place(missing[0]) for provider in self._providers)
            raise SecretMissing(
                f"no value for {what} {', '.join(missing)}", hint=f"looked for in: {asked or 'nothing'}"
            )
        return {name: value for name, value in found.items() if value is not None}

    def _value(self, name: str) -> str | None:
        check_name(name)
        for provider in self._providers:
            value = provider.find(name)
            if value is not None:
                return value
        return None


def read_providers(path: Path, environment: Mapping[str, str]) -> list[Provider]:
    """The providers that a file lists. Relative paths start at the file's folder. Raises UsageError."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        listed = YAML(typ="safe", pure=True).load(path.read_text())
    except OSError as error:
        raise UsageError(f"{path}: the list of providers cannot be read: {error.strerror}") from error
    except (YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: this is no YAML", hint=" ".join(str(error).split())[:200]) from error
    if not isinstance(listed, dict) or set(listed) != {"providers"} or not isinstance(listed["providers"], list):
        raise UsageError(f"{path}: this is no list of providers", hint="providers: [{environment: TRUEUP_SECRET_}]")
    return [_provider(path, number, entry, environment) for number, entry in enumerate(listed["providers"], 1)]


def _provider(path: Path, number: int, entry: object, environment: Mapping[str, str]) -> Provider:
    if not isinstance(entry, dict) or not all(isinstance(part, str) for pair in entry.items() for part in pair):
        raise UsageError(f"{path}: provider {number} is not of the form `kind: place`")
    given = dict(entry)
    identity = given.pop("identity", None)
    if len(given) != 1 or (identity is not None) != ("age" in given):
        raise UsageError(
            f"{path}: provider {number} needs exactly one of environment, folder, file, age, sops",
            hint="age needs an `identity` beside it, and nothing else has one",
        )
    [(kind, place)] = given.items()
    where = path.parent / place
    if kind == "environment":
        return Environment(place, environment)
    if kind == "folder":
        return Folder(where)
    if kind == "file":
        return PlainFile(where)
    if kind == "age":
        return AgeFolder(where, path.parent / str(identity))
    if kind == "sops":
        return SopsFile(where)
    raise UsageError(f"{path}: provider {number}: {kind!r} is not known", hint="environment, folder, file, age or sops")


def _key(path: Path) -> bytes:
    """The key of this controller's digests. With another key every secret looks changed once, no more."""
    try:
        if not path.exists():
            write_whole(path, os.urandom(32))
        key = path.read_bytes()
    except OSError as error:
        raise StateUnusable(f"{path}: the key of secrets' digests cannot be used: {error.strerror}") from error
    if len(key) != 32:
        raise StateUnusable(f"{path}: the key of secrets' digests is damaged", hint=f"remove it: rm {path}")
    return key
