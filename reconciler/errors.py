"""Every error that reaches a person, named for what the caller should do about it.

    TrueupError
    ├── Mend           what was written is wrong: mend it and try again; nothing was changed
    │   ├── SpecErrors        the tree of documents, with every mistake at its file, line and column
    │   ├── UsageError        arguments, settings, the providers' file
    │   ├── RevisionMissing   no such commit, branch or tag in that repository
    │   ├── SourceRefused     what we do not read: a symbolic link, a submodule, a large-file pointer, a foreign owner
    │   ├── PlanMissing       no stored plan has that digest, or several have
    │   ├── SecretMissing     a secret that no provider holds, or that is kept carelessly
    │   ├── FileRefused       an image source outside the configured folders, of another digest, or too large
    │   └── DriverMissing     a driver that is not installed, or cannot be loaded
    ├── TryLater       the world may be better in a while: try again, with patience
    │   ├── SourceUnreadable  the repository could not be read (never taken for an empty one)
    │   ├── FileUnreachable   an image source could not be fetched
    │   └── LockHeld          another process acts on this datacenter
    ├── GiveWay        another controller has taken over: stop at once
    │   └── FenceLost
    └── Repair         the state folder needs a person before anything more is done
        ├── StateUnusable     missing, unwritable, open to others, or of another datacenter
        ├── JournalBroken     the hash chain does not hold, or the file is damaged
        └── JournalUnwritable the disk is full or read-only: what was asked for has not begun

Owns: the tree and the way an error reads. Must not go here: printing, translating foreign errors (done at each seam),
and never a secret's value. `exit_code` is the process's, as documented for the command line.
"""

from __future__ import annotations

import msgspec


class Diagnostic(msgspec.Struct, frozen=True):
    """One mistake in a tree of documents. `line` and `column` count from 1; 0 where there is none to name."""

    file: str
    line: int
    column: int
    field: str
    """`REF:path`, or just the path, or empty."""
    summary: str
    """What is wrong, one sentence without a full stop."""
    fix: str = ""
    """What to write instead."""

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        what = f"{self.field}: {self.summary}" if self.field else self.summary
        return f"{place}: {what}" + (f" ({self.fix})" if self.fix else "")


class TrueupError(Exception):
    """One sentence for people: what, where; `hint` says how to mend it."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class Mend(TrueupError):
    """What was written is wrong. Trying again without an edit gives the same."""


class SpecErrors(Mend):
    """Every mistake of one tree, in order of file and line."""

    def __init__(self, diagnostics: tuple[Diagnostic, ...], *, hint: str = "") -> None:
        self.diagnostics = tuple(sorted(diagnostics, key=lambda found: (found.file, found.line, found.column)))
        super().__init__("\n".join(str(found) for found in self.diagnostics), hint=hint)


class UsageError(Mend):
    """An argument or a setting."""


class RevisionMissing(Mend):
    """The repository is readable and has no such revision."""


class SourceRefused(Mend):
    """The repository holds, or is, something that we do not read."""


class PlanMissing(Mend):
    """No stored plan fits the digest given, or more than one does."""


class PlanUnknown(PlanMissing):
    """No stored plan fits; it may have been read elsewhere, of the same tree and the same nodes."""


class SecretMissing(Mend):
    """A secret has no value. Names are told, values never."""


class FileRefused(Mend):
    """An image source that may not be used as it is."""


class DriverMissing(Mend):
    """No driver of that name can be loaded."""


class TryLater(TrueupError):
    """Nothing was changed and nothing is known to be wrong with what was written."""


class SourceUnreadable(TryLater):
    """The repository could not be read. What it wants is unknown, not nothing."""


class FileUnreachable(TryLater):
    """An image source did not answer."""


class LockHeld(TryLater):
    """Another process acts on this datacenter."""

    exit_code = 5


class GiveWay(TrueupError):
    """Another controller has taken over."""

    exit_code = 5


class FenceLost(GiveWay):
    """Our fence is no longer the highest."""


class Repair(TrueupError):
    """A person has to look at the state folder."""


class StateUnusable(Repair):
    """The state folder cannot be used."""


class JournalBroken(Repair):
    """The journal cannot be trusted."""


class JournalUnwritable(Repair):
    """The journal cannot be added to, so nothing may be done."""
