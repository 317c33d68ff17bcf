#!/usr/bin/env bash
# Runs every fuzz target of the module for a while: test/fuzz.sh [TIME [JOBS]]
#
# Each package's tests are built once, and JOBS targets (default: one for each
# processor) run at a time with one worker each, while the next are being built. A target that fails leaves its
# input in the package's testdata/fuzz, where `go test` runs it ever after.
set -euo pipefail
cd "$(dirname "$0")/.."
export FUZZ_TIME=${1:-10s} FUZZ_WORK
jobs=${2:-$(getconf _NPROCESSORS_ONLN)}
FUZZ_WORK=$(mktemp -d)
trap 'rm -rf "$FUZZ_WORK"' EXIT
FUZZ_CACHE=$(go env GOCACHE)/fuzz
export FUZZ_CACHE

# run DIR TARGET: one target in its package's directory, silent unless it fails.
run() {
  local out=$FUZZ_WORK/$(tr / _ <<<"$1")-$2.log begin=$SECONDS
  # -test.fuzzminimizetime bounds what would otherwise run past the given time.
  if (cd "$1" && "$FUZZ_WORK/$(tr / _ <<<"$1").test" -test.run '^$' -test.fuzz "^$2\$" -test.fuzztime "$FUZZ_TIME" \
    -test.fuzzminimizetime 5s -test.parallel 1 -test.fuzzcachedir "$FUZZ_CACHE/spoor/$1") >"$out" 2>&1 </dev/null; then
    echo "ok   $1 $2 ($((SECONDS - begin))s, $(grep -oE 'execs: [0-9]+' "$out" | tail -1))"
  elif grep -q 'context deadline exceeded' "$out" && ! grep -qE 'Failing input|seed corpus entry|panic|fatal error' "$out"; then
    # The fuzzer takes the end of its time, when it falls into a call, for a
    # failure of the target (a known fault of Go); there is no failing input.
    echo "ok   $1 $2 ($((SECONDS - begin))s, ended within a call)"
  else
    echo "FAIL $1 $2"
    cat "$out"
    return 1
  fi
}
export -f run

# build: names each package's targets as soon as they can run. The linker leaves
# out what only a debugger reads, and `make lint` has vetted the packages.
build() {
  local dir
  grep -rlE '^func Fuzz[A-Z]' --include='*_test.go' internal | xargs -n1 dirname | sort -u | while read -r dir; do
    go test -c -fuzz=. -vet=off -ldflags='-s -w' -o "$FUZZ_WORK/$(tr / _ <<<"$dir").test" "./$dir"
    grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$dir"/*_test.go | sed "s|^func |$dir |"
  done
}

targets=$FUZZ_WORK/targets
build | tee "$targets" | xargs -r -P "$jobs" -L1 bash -c 'run "$0" "$1"'
echo "fuzz: $(wc -l <"$targets") passed, 0 failed"
