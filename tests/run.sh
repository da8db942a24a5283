#!/usr/bin/env bash
# The whole suite: checks, unit tests with the core's coverage, then real engines, one process: they share this host.
set -u
cd "$(dirname "$0")/.." || exit 1
bin=.venv/bin
code=0
run() { echo; echo "== $*"; "$@" || { code=1; echo "FAILED: $*"; }; }
run tests/check.sh
run $bin/python -m coverage run -m pytest -q -m "not real and not long and not openzfs and not bench" "$@"
run $bin/python -m coverage report --fail-under=100 --include='reconciler/core/*'
run $bin/python -m pytest -q -m "real and not long and not openzfs and not bench" "$@"
exit $code
