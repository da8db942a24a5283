"""`trueup completion`: a script for the shell, made from the parsers by shtab; and what the script asks for refs.

Owns: the choice of shtab (static scripts: of ours only `completion refs` runs when Tab is pressed, and only where a ref
is due). Must not go here: parsers, finding refs (completing).
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

_BASH = """
_trueup_refs() {
  local at=() place
  for ((place = 1; place < COMP_CWORD; place++)); do
    case "${COMP_WORDS[place]}" in -C | --state) at+=("${COMP_WORDS[place]}" "${COMP_WORDS[place + 1]}") ;; esac
  done
  compgen -W "$(trueup "${at[@]}" completion refs "$1" 2> /dev/null)" -- "$1"
}"""

_ZSH = """
_trueup_refs() {
  local -a at offers
  local place
  for ((place = 2; place < CURRENT; place++)); do
    case "${words[place]}" in -C|--state) at+=("${words[place]}" "${words[place + 1]}") ;; esac
  done
  offers=(${(f)"$(trueup ${at} completion refs "${PREFIX}" 2> /dev/null)"})
  compadd -a offers
}"""

REFS = {
    "bash": "_trueup_refs",
    "zsh": "_trueup_refs",
    "fish": "(trueup completion refs (commandline --current-token) 2> /dev/null)",
    "preamble": {"bash": _BASH, "zsh": _ZSH},
}
"""How each shell completes a ref, in shtab's terms."""


def run(args: Namespace) -> int:
    """Print the completion script of one shell; or the refs that begin with what was typed."""
    if args.shell == "refs":
        from reconciler.cli.completing import offers

        folder = Path(args.directory or ".")
        found = offers(folder.resolve(), args.begun, state=Path(args.state) if args.state else None)
        print("\n".join(found))
        return 0
    print(script(args.shell))
    return 0


def _with_refs(parser: ArgumentParser) -> ArgumentParser:
    """The parser with a word on each argument that is a ref."""
    for action in parser._actions:
        if isinstance(action.choices, dict):
            for inner in action.choices.values():
                _with_refs(inner)
        elif str(action.metavar).startswith("REF"):
            action.complete = REFS  # type: ignore[attr-defined]
    return parser


def script(shell: str) -> str:
    """The script for `bash`, `zsh` or `fish`."""
    import shtab

    from reconciler.cli.parser import parser

    text: str = shtab.complete(_with_refs(parser()), shell=shell)
    return text
