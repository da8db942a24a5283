#!/usr/bin/env bash
# Style, types, layers, size bars. Every check runs; the first failure decides the exit code.
set -u
cd "$(dirname "$0")/.." || exit 1
bin=.venv/bin
code=0
run() { echo "== $*"; "$@" || code=1; }
run $bin/ruff check .
run $bin/ruff format --check .
run $bin/mypy
run $bin/lint-imports
run $bin/python tests/contract/sizes.py
exit $code
