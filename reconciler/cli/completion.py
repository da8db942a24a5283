"""`trueup completion`: a script for the shell, made from the parsers by shtab.

Owns: the choice of shtab (static scripts: nothing of ours runs when Tab is pressed). Must not go here: parsers.
"""

from __future__ import annotations

from argparse import Namespace


def run(args: Namespace) -> int:
    """Print the completion script of one shell."""
    print(script(args.shell))
    return 0


def script(shell: str) -> str:
    """The script for `bash`, `zsh` or `fish`."""
    import shtab

    from reconciler.cli.parser import parser

    text: str = shtab.complete(parser(), shell=shell)
    return text
