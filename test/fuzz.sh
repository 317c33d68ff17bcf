#!/usr/bin/env bash
# Runs every fuzz target of the module for a while: test/fuzz.sh [TIME]
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-10s}
grep -rlE '^func Fuzz[A-Z]' --include='*_test.go' internal | xargs -n1 dirname | sort -u | while read -r dir; do
  grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$dir"/*_test.go | sed 's/^func //' | while read -r target; do
    echo "== $dir $target"
    # -fuzzminimizetime bounds what would otherwise run past the given time.
    go test "./$dir" -run '^$' -fuzz "^${target}\$" -fuzztime "$time" -fuzzminimizetime 5s </dev/null
  done
done
