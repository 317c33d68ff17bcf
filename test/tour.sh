#!/usr/bin/env bash
# Runs the README's tour, as it is printed there, against a fresh server with
# the real AWS CLI and cqlsh, and checks what it printed.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
work=$(mktemp -d)
server=
cleanup() {
  if [ -n "$server" ]; then kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; fi
  rm -rf "$work"
}
trap cleanup EXIT

# The clients come from PyPI; a machine that has them on its PATH uses those.
if ! command -v aws >/dev/null || ! command -v cqlsh >/dev/null; then
  [ -x .venv/bin/python ] || python3 -m venv .venv
  .venv/bin/pip install --quiet awscli cqlsh
  export PATH="$root/.venv/bin:$PATH"
fi

awk '/^```sh tour$/ {on=1; next} /^```$/ {on=0} on' README.md > "$work/tour.sh"
[ -s "$work/tour.sh" ] || { echo "the README has no tour"; exit 1; }

mkdir -p "$work/home/bin"
ln -s "$root/bin/spoor" "$work/home/bin/spoor"
"$root/bin/spoor" serve --data "$work/data" --http 127.0.0.1:0 --cql 127.0.0.1:0 --delivery-interval 1s >"$work/server.log" 2>&1 &
server=$!
for _ in $(seq 100); do
  [ -s "$work/data/endpoints.json" ] && break
  kill -0 "$server" 2>/dev/null || { cat "$work/server.log"; exit 1; }
  sleep 0.1
done

cd "$work/home"
export HOME=$work/home AWS_PAGER= AWS_EC2_METADATA_DISABLED=true
eval "$("$root/bin/spoor" env --data "$work/data")"
if ! bash -euo pipefail "$work/tour.sh" >"$work/out" 2>"$work/err"; then
  echo "the tour failed:"; cat "$work/out" "$work/err" "$work/server.log"; exit 1
fi
cat "$work/out"

# What the tour must have shown.
want() { grep -qE -- "$1" "$work/out" || { echo "the tour did not show: $1"; cat "$work/err"; exit 1; }; }
want 'user/admin'
want '"one"'
want 'StartQueryExecution'
want 'chair'
want '[1-9][0-9]*/[0-9]+ digest files valid'
want '[1-9][0-9]*/[0-9]+ log files valid'
! grep -q INVALID "$work/out" || { echo "validate-logs found something"; exit 1; }
# Exactly the calls that were made, by name, table and number.
diff <(grep -A20 '^eventname  tablename  calls' "$work/out") - <<'ROWS'
eventname  tablename  calls
CreateKeyspace  1
CreateTable  orders  1
Delete  orders  1
Insert  orders  1
Select  orders  1
Update  orders  1
ROWS
echo "tour: 1 passed, 0 failed"
