#!/usr/bin/env bash
# Real clients, unmodified, against a fresh server: test/clients/run.sh [CLIENT…]
#
# CLIENTs are python, node, java, gocql, cqlsh and sdk; default is all. What
# they need is installed from PyPI, npm and Maven Central into a directory
# outside the repository (SPOOR_CLIENTS_DIR). A client that cannot be had fails
# the run, unless SKIP names it: SKIP="java node".
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD here=$PWD/test/clients
kept=${SPOOR_CLIENTS_DIR:-${TMPDIR:-/tmp}/spoor-clients}
mkdir -p "$kept"
work=$(mktemp -d)
server=
cleanup() {
  if [ -n "$server" ]; then kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; fi
  rm -rf "$work"
}
trap cleanup EXIT

python_packages=(cassandra-driver==3.30.1 cassandra-sigv4==4.0.2 boto3==1.44.8 PyAthena==4.2.1)
shell_packages=(cqlsh==6.2.2) expansion_packages=(cqlsh-expansion==0.9.6)
node_driver=4.10.0

need() { command -v "$1" >/dev/null || { echo "needs $1, which is not on the PATH"; return 1; }; }

# venv NAME PACKAGE…: a Python environment with exactly these.
venv() {
  local dir=$kept/$1
  shift
  need python3 || return 1
  [ "$(cat "$dir/.done" 2>/dev/null)" = "$*" ] && return
  python3 -m venv --clear "$dir" && "$dir/bin/pip" install --quiet --disable-pip-version-check "$@" && echo "$*" >"$dir/.done"
}
get_python() { venv python "${python_packages[@]}"; }
get_sdk() { get_python; }
get_cqlsh() { venv cqlsh "${shell_packages[@]}" && venv expansion "${expansion_packages[@]}"; }
get_node() {
  need node && need npm || return 1
  [ "$(cat "$kept/node/.done" 2>/dev/null)" = "$node_driver" ] && return
  mkdir -p "$kept/node" && npm install --silent --no-audit --no-fund --prefix "$kept/node" "cassandra-driver@$node_driver" && echo "$node_driver" >"$kept/node/.done"
}
get_java() {
  need javac && need mvn && need keytool || return 1
  cmp -s "$here/pom.xml" "$kept/java/.done" && return
  rm -rf "$kept/java" && mkdir -p "$kept/java" && cp "$here/pom.xml" "$kept/java/" &&
    mvn -q -B -f "$kept/java/pom.xml" dependency:copy-dependencies -DoutputDirectory="$kept/java/lib" && cp "$here/pom.xml" "$kept/java/.done"
}
get_gocql() { need go; }

run_python() { "$kept/python/bin/python" "$here/python_driver.py"; }
run_sdk() { "$kept/python/bin/python" "$here/aws_sdk.py"; }
run_cqlsh() { CQLSH=$kept/cqlsh/bin/cqlsh CQLSH_EXPANSION=$kept/expansion/bin/cqlsh-expansion "$here/cqlsh.sh"; }
run_node() { NODE_PATH="$kept/node/node_modules" node "$here/node_driver.js"; }
run_java() {
  export TRUSTSTORE=$work/trust.p12
  keytool -importcert -noprompt -alias spoor -file "$SPOOR_CA_FILE" -keystore "$TRUSTSTORE" -storetype PKCS12 -storepass changeit 2>/dev/null
  mkdir -p "$work/java"
  javac -nowarn -d "$work/java" -cp "$kept/java/lib/*" "$here/JavaDriver.java"
  java -cp "$work/java:$kept/java/lib/*" JavaDriver
}
run_gocql() { go test -count=1 ./test/clients; }

[ -x bin/spoor ] || { echo "build bin/spoor first: make build"; exit 1; }
bin/spoor serve --data "$work/data" --http 127.0.0.1:0 --cql 127.0.0.1:0 >"$work/server.log" 2>&1 &
server=$!
for _ in $(seq 300); do
  [ -s "$work/data/endpoints.json" ] && break
  kill -0 "$server" 2>/dev/null || { cat "$work/server.log"; exit 1; }
  sleep 0.1
done
# No configuration of the user's may leak in.
export AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null AWS_EC2_METADATA_DISABLED=true AWS_PAGER=
eval "$("$root/bin/spoor" env --data "$work/data")"

passed=0 failed=0 skipped=0
clients=("$@")
[ ${#clients[@]} -gt 0 ] || clients=(python node java gocql cqlsh sdk)
for client in "${clients[@]}"; do
  if [[ " ${SKIP:-} " == *" $client "* ]]; then
    echo "skip $client, as SKIP says"
    skipped=$((skipped + 1))
    continue
  fi
  begin=$SECONDS
  if ! (set -e; "get_$client") >"$work/$client.log" 2>&1; then
    echo "FAIL $client cannot be had (SKIP=$client leaves it out):"
  else
    got=$((SECONDS - begin))
    # A subshell of its own keeps errexit, which a condition would turn off.
    set +e
    (set -euo pipefail; "run_$client") >>"$work/$client.log" 2>&1
    code=$?
    set -e
    if [ $code = 0 ]; then
      echo "ok   $client ($((SECONDS - begin))s, of which ${got}s to install)"
      passed=$((passed + 1))
      continue
    fi
    echo "FAIL $client:"
  fi
  tail -40 "$work/$client.log"
  failed=$((failed + 1))
done
if [ $failed -gt 0 ]; then grep -E 'level=(WARN|ERROR)' "$work/server.log" | tail -20 || true; fi
echo "clients: $passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
