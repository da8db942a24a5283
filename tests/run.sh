#!/usr/bin/env bash
# The whole suite in lanes side by side, since daemons and file systems are mostly waited for. Four are on real engines:
# the conformance kit on Incus and LXD; what else is tried on hosts of these; clusters and tenants' projects; and this
# host's own storage, zones and networks. The fifth is checks and tests that need no engine: it takes processors, so it is
# one by one. What the others said is printed when it has ended.
set -u
cd "$(dirname "$0")/.." || exit 1
bin=.venv/bin
code=0
# What one lane compiled of the tests the others take as it is: that is half of collecting them.
unset PYTHONDONTWRITEBYTECODE
# A folder of our own with a short name: sockets have paths, and nothing of another run is in the way.
scratch=$(mktemp -d /tmp/tt.XXXXXX)
declare -A running=()
ended() {  # however: a lane that still runs takes down what it brought up
  [ ${#running[@]} = 0 ] || kill "${running[@]}" 2>/dev/null
  wait
  rm -rf --one-file-system "$scratch"
}
trap ended EXIT
trap 'exit 143' TERM INT
run() { echo; echo "== $*"; "$@" || { code=1; echo "FAILED: $*"; }; }
quick="not real and not long and not openzfs and not bench"
real="real and not long and not openzfs and not bench"
# The core is covered by what is of it alone: tracing makes whatever runs twice as slow, whether it is of the core or not.
core=(tests/core tests/properties)
kit=(tests/conformance/test_incus.py)
daemons=() clusters=(tests/conformance/test_incus_cluster.py tests/conformance/test_incus_in_projects.py)
for file in tests/drivers/incus/test_*.py; do
  case $file in
    *_story.py | *_downtime.py) clusters+=("$file") ;;
    *) daemons+=("$file") ;;
  esac
done
# What adopting reads is tried on real hosts made by hand (tests/drivers/incus/test_adopt.py).
adopting='reconciler/core/adopt.py,reconciler/core/adoptable.py'

lane() {  # name, then what to run: in the background, with what it says in a file
  local name=$1; shift
  "$bin/python" -m pytest -q -m "$real" --durations=8 --basetemp="$scratch/$name" "$@" >"$scratch/$name.txt" 2>&1 &
  running[$name]=$!
}
told() {  # name
  wait "${running[$1]}" || { code=1; echo "FAILED: the tests on $1"; }
  unset "running[$1]"
  echo; echo "== on $1"; cat "$scratch/$1.txt"
}

lane kit "${kit[@]}" "$@"
lane daemons "${daemons[@]}" "$@"
lane clusters "${clusters[@]}" "$@"
others=("${core[@]}" "${kit[@]}" "${daemons[@]}" "${clusters[@]}")
lane host "${others[@]/#/--ignore=}" "$@"
run tests/check.sh
run $bin/python -m coverage run -m pytest -q -m "$quick" --basetemp="$scratch/core" "${core[@]}" "$@"
run $bin/python -m coverage report --fail-under=100 --include='reconciler/core/*' --omit="$adopting"
run $bin/python -m pytest -q -m "$quick" --basetemp="$scratch/quick" "${core[@]/#/--ignore=}" "$@"
for name in host clusters daemons kit; do told $name; done
exit $code
