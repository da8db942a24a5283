#!/usr/bin/env bash
# The whole suite: checks, unit tests with the core's coverage, then real engines, one process: they share this host.
set -u
cd "$(dirname "$0")/.." || exit 1
bin=.venv/bin
code=0
# A folder of our own with a short name: sockets have paths, and nothing of another run is in the way.
scratch=$(mktemp -d /tmp/tt.XXXXXX)
trap 'rm -rf --one-file-system "$scratch"' EXIT
run() { echo; echo "== $*"; "$@" || { code=1; echo "FAILED: $*"; }; }
quick="not real and not long and not openzfs and not bench"
real="real and not long and not openzfs and not bench"
run tests/check.sh
run $bin/python -m coverage run -m pytest -q -m "$quick" --basetemp="$scratch/quick" "$@"
# What adopting reads is tried on real hosts made by hand (tests/drivers/incus/test_adopt.py), in the run below this one.
adopting='reconciler/core/adopt.py,reconciler/core/adoptable.py'
run $bin/python -m coverage report --fail-under=100 --include='reconciler/core/*' --omit="$adopting"
run $bin/python -m pytest -q -m "$real" --basetemp="$scratch/real" "$@"
exit $code
