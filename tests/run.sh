#!/usr/bin/env bash
# The whole suite in three lanes side by side, since daemons and file systems are mostly waited for: tests on Incus and LXD,
# which live in namespaces of their own; those on this host's own storage, zones and networks, and on clusters, so that both
# take as long; and checks and tests that need no engine, with the core's coverage. What the first two lanes said is printed
# when the third has ended.
set -u
cd "$(dirname "$0")/.." || exit 1
bin=.venv/bin
code=0
# A folder of our own with a short name: sockets have paths, and nothing of another run is in the way.
scratch=$(mktemp -d /tmp/tt.XXXXXX)
on_daemons='' on_host=''
ended() {  # however: a lane that still runs takes down what it brought up
  [ -z "$on_daemons$on_host" ] || kill $on_daemons $on_host 2>/dev/null
  wait
  rm -rf --one-file-system "$scratch"
}
trap ended EXIT
trap 'exit 143' TERM INT
run() { echo; echo "== $*"; "$@" || { code=1; echo "FAILED: $*"; }; }
quick="not real and not long and not openzfs and not bench"
real="real and not long and not openzfs and not bench"
# Clusters of their own go beside the host's tests, so that both lanes take as long.
daemons=(tests/conformance/test_incus.py)
for file in tests/drivers/incus/test_*.py; do
  case $file in *_story.py | *_downtime.py) ;; *) daemons+=("$file") ;; esac
done
# What adopting reads is tried on real hosts made by hand (tests/drivers/incus/test_adopt.py), in the first lane.
adopting='reconciler/core/adopt.py,reconciler/core/adoptable.py'

lane() {  # name, then what to run: in the background, with what it says in a file
  local name=$1; shift
  "$bin/python" -m pytest -q -m "$real" --durations=8 --basetemp="$scratch/$name" "$@" >"$scratch/$name.txt" 2>&1 &
}
told() {  # name, process
  wait "$2" || { code=1; echo "FAILED: the tests on $1"; }
  echo; echo "== on $1"; cat "$scratch/$1.txt"
}

lane daemons "${daemons[@]}" "$@"; on_daemons=$!
lane host "${daemons[@]/#/--ignore=}" "$@"; on_host=$!
run tests/check.sh
run $bin/python -m coverage run -m pytest -q -m "$quick" --basetemp="$scratch/quick" "$@"
run $bin/python -m coverage report --fail-under=100 --include='reconciler/core/*' --omit="$adopting"
told host $on_host
told daemons $on_daemons
exit $code
