"""Commands for those who write specs: init, validate, fmt, schema.

Owns: their arguments and what they print. Must not go here: reading or judging documents (edge/load), schemas (specs).
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from reconciler.cli.exits import Exit
from reconciler.errors import UsageError


def add_arguments(parser: ArgumentParser, command: str) -> None:
    """The arguments of one of these commands."""
    _ARGUMENTS[command](parser)


def _init_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("folder", nargs="?", metavar="DIR", help="where to; its name becomes the datacenter's")
    parser.add_argument("--name", metavar="NAME", help="the datacenter's name, if not the folder's")


def _validate_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("folder", nargs="?", metavar="DIR", help="the tree's folder, as with -C")
    parser.add_argument("--revision", metavar="REV", help="a commit, branch or tag (default: the files as they stand)")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="json is for programs, and complete")
    parser.add_argument("--json", dest="format", action="store_const", const="json", help="the same as --format json")


def _fmt_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("paths", nargs="*", metavar="PATH", help="files or folders (default: the whole tree)")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if a file would be changed")


def _schema_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("kind", nargs="?", metavar="KIND", help="Machine, Network, … (default: one schema over all)")
    parser.add_argument("--write", metavar="DIR", help="write every schema into DIR")


_ARGUMENTS = {
    "init": _init_arguments,
    "validate": _validate_arguments,
    "fmt": _fmt_arguments,
    "schema": _schema_arguments,
}


def _root(args: Namespace) -> Path:
    from reconciler.cli.remotes import is_remote

    root = Path(args.directory or ".")
    if is_remote(args.directory or "."):
        raise UsageError("the files of a remote repository cannot be changed here", hint="clone it, and name the clone")
    if not root.is_dir():
        raise UsageError(f"{root} is not a folder", hint="name one with -C DIR")
    return root


# -- init ------------------------------------------------------------------------------------------------------------


def init(args: Namespace) -> int:
    """Write a small tree to start from. Refuses to write over anything."""
    from reconciler.cli import starter

    base = Path(args.directory or ".")
    folder = base / args.folder if args.folder else base
    made = starter.write(folder, args.name or folder.resolve().name)
    for path in made:
        print(f"wrote {path}")
    print(f"\nNext: look through the files, then: trueup -C {folder} validate && trueup -C {folder} plan --dirty")
    return Exit.DONE


# -- validate --------------------------------------------------------------------------------------------------------


def validate(args: Namespace) -> int:
    """Tell every mistake of the tree."""
    from reconciler.cli import validating
    from reconciler.cli.remotes import mirror_of

    if args.folder is not None:
        args.directory = _site(args.folder)
    mirror = mirror_of(args.directory or ".", args.state)
    return validating.validate(
        mirror if mirror is not None else _root(args),
        revision=args.revision,
        as_json=args.format == "json",
        state=Path(args.state).absolute() if args.state and mirror is None else None,
    )


def _site(named: str) -> str:
    """A folder that is a tree of its own. Raises UsageError for a part of one."""
    path = Path(named)
    if (path / "datacenter.yaml").is_file():
        return named
    raise UsageError(
        f"{named} is no tree of its own" if path.exists() else f"there is no {named}",
        hint="documents refer to one another, so a tree is validated whole: trueup validate, or trueup -C DIR validate",
    )


# -- fmt -------------------------------------------------------------------------------------------------------------


def fmt(args: Namespace) -> int:
    """Bring files into one layout; or, with --check, name those that are not in it."""
    from reconciler.edge.load.layout import Unreadable, formatted

    root = _root(args)
    changed, wrong = 0, 0
    for path in _files(root, args.paths):
        try:
            before = _read(path)
            after = formatted(before)
        except Unreadable as error:
            print(f"{path}:{error}", file=sys.stderr)
            wrong += 1
            continue
        if after == before:
            continue
        changed += 1
        print(f"would change {path}" if args.check else f"changed {path}")
        if not args.check:
            _write(path, after)
    return Exit.ERROR if wrong or (args.check and changed) else Exit.DONE


def _files(root: Path, paths: list[str]) -> list[Path]:
    """The documents to write anew. Nothing else is ever touched: neither what lies outside the tree, nor what is not
    YAML by its name. Raises UsageError."""
    found: list[Path] = []
    for path in [root / path for path in paths] or [root]:
        if not path.resolve().is_relative_to(root.resolve()):
            raise UsageError(f"{path} lies outside the tree at {root.resolve()}", hint="name the tree with -C DIR")
        if path.is_dir():
            found += sorted(one for one in path.rglob("*.y*ml") if _ours(one.relative_to(path)) and _regular(one))
        elif not path.exists():
            raise UsageError(f"{path} does not exist", hint="name files or folders of the tree")
        elif path.suffix not in _YAML or not _regular(path):
            raise UsageError(f"{path} is no YAML file", hint="documents are regular files that end in .yaml or .yml")
        else:
            found.append(path)
    return found


_YAML = (".yaml", ".yml")


def _regular(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _ours(path: Path) -> bool:
    return path.suffix in _YAML and not any(part.startswith(".") for part in path.parts)


def _read(path: Path) -> str:
    """The text, as far as it can be one of documents. Raises Unreadable, UsageError."""
    from reconciler.edge.load import stream
    from reconciler.edge.load.layout import Unreadable

    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    _, findings = stream.cut(str(path), data)
    if findings:
        found = findings[0]
        raise Unreadable(f"{found.line}:{found.column}: {found.summary} ({found.fix})")
    return data.decode()


def _write(path: Path, text: str) -> None:
    from reconciler.cli.terminal import written

    mode = path.stat().st_mode
    written(path, text.encode())
    path.chmod(mode)


# -- schema ----------------------------------------------------------------------------------------------------------


def schema(args: Namespace) -> int:
    """Print a JSON Schema, or write all of them."""
    from specs.kinds import KINDS
    from specs.schema import COMBINED, FOLDER, copy

    if args.write is not None:
        try:
            paths = copy(Path(args.write))
        except OSError as error:
            raise UsageError(f"{args.write} cannot be written: {error.strerror}") from error
        for path in paths:
            print(f"wrote {path}")
        return Exit.DONE
    name = COMBINED
    if args.kind is not None:
        kind = next((known for known in KINDS if known.lower() == args.kind.lower()), None)
        if kind is None:
            raise UsageError(f"there is no kind {args.kind!r}", hint=f"there are {', '.join(KINDS)}")
        name = f"{kind.lower()}.schema.json"
    sys.stdout.write((FOLDER / name).read_text(encoding="utf-8"))
    return Exit.DONE
