#!/usr/bin/env bash
# The whole suite: checks, then in two lanes side by side, since daemons are mostly waited for: tests on Incus and LXD,
# which live in namespaces of their own; and tests that need no engine, with the core's coverage, followed by those on
# this host's own storage, zones and networks. What the first lane said is printed when the second has ended.
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
incus=(tests/drivers/incus tests/conformance/test_incus.py tests/conformance/test_incus_cluster.py)
# What adopting reads is tried on real hosts made by hand (tests/drivers/incus/test_adopt.py), in the first lane.
adopting='reconciler/core/adopt.py,reconciler/core/adoptable.py'

run tests/check.sh
$bin/python -m pytest -q -m "$real" --durations=8 --basetemp="$scratch/incus" "${incus[@]}" "$@" >"$scratch/incus.txt" 2>&1 &
daemons=$!
run $bin/python -m coverage run -m pytest -q -m "$quick" --basetemp="$scratch/quick" "$@"
run $bin/python -m coverage report --fail-under=100 --include='reconciler/core/*' --omit="$adopting"
run $bin/python -m pytest -q -m "$real" --durations=8 --basetemp="$scratch/real" "${incus[@]/#/--ignore=}" "$@"
wait $daemons || { code=1; echo "FAILED: the tests on Incus and LXD"; }
echo
echo "== on Incus and LXD"
cat "$scratch/incus.txt"
exit $code
