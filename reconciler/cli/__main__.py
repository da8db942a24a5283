"""`python -m reconciler.cli`, the same as `trueup`. Nothing else goes here."""

from reconciler.cli.main import process

process()
