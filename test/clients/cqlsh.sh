#!/usr/bin/env bash
# cqlsh against a running server: statements, and COPY in both directions.
# DESCRIBE is for CQLSH_EXPANSION, Amazon's build for Keyspaces: since 6.1,
# Cassandra's own leaves it to servers of version 4, and says so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/rc" <<RC
[ssl]
certfile = $SPOOR_CA_FILE
validate = true
[connection]
request_timeout = 60
timeout = 30
RC
cql() { "$CQLSH" "$SPOOR_CQL_HOST" "$SPOOR_CQL_PORT" --cqlshrc="$work/rc" -u "$SPOOR_CQL_USER" -p "$SPOOR_CQL_PASSWORD" --ssl "$@"; }
want() { grep -qF -- "$2" <<<"$1" || { printf '%s did not show %q; it showed:\n%s\n' "$CQLSH" "$2" "$1"; exit 1; }; }

cql -e "CREATE KEYSPACE shell WITH replication = {'class': 'SingleRegionStrategy'}"
cql -e "CREATE TABLE shell.t (p text, c int, v text, l list<int>, m map<text, int>, PRIMARY KEY (p, c)) WITH CLUSTERING ORDER BY (c DESC)"
cql -e "CONSISTENCY LOCAL_QUORUM; INSERT INTO shell.t (p, c, v, l, m) VALUES ('a', 1, 'x, \"y\"', [1, 2], {'k': 3}); INSERT INTO shell.t (p, c) VALUES ('a', 2)"
out=$(cql -e "SELECT * FROM shell.t")
want "$out" "(2 rows)"
want "$out" "{'k': 3}"
want "$(cql -e "SHOW VERSION")" "CQL spec 3.4"
want "$(cql -e "DESCRIBE CLUSTER" 2>&1)" "DESCRIBE"

# COPY uses processes of its own, the token map and prepared statements.
copy() {
  cql -e "DROP TABLE IF EXISTS shell.copied"
  cql -e "CREATE TABLE shell.copied (p text, c int, v text, l list<int>, m map<text, int>, PRIMARY KEY (p, c))"
  want "$(cql -e "CONSISTENCY LOCAL_QUORUM; COPY shell.t TO '$work/t.csv' WITH HEADER = true" 2>&1)" "2 rows exported"
  [ "$(wc -l <"$work/t.csv")" = 3 ] || { cat "$work/t.csv"; exit 1; }
  want "$(cql -e "CONSISTENCY LOCAL_QUORUM; COPY shell.copied FROM '$work/t.csv' WITH HEADER = true" 2>&1)" "2 rows imported"
  cql -e "SELECT p, c, v, l, m FROM shell.t" 2>&1 | sort >"$work/one"
  cql -e "SELECT p, c, v, l, m FROM shell.copied" 2>&1 | sort >"$work/two"
  want "$(cat "$work/two")" "(2 rows)"
  diff "$work/one" "$work/two"
}
copy

if cql -e "SELEC 1" >"$work/out" 2>&1; then echo "a statement that does not parse was accepted"; exit 1; fi
want "$(cat "$work/out")" "SyntaxException"
if SPOOR_CQL_PASSWORD=wrong cql -e "SELECT * FROM shell.t" >"$work/out" 2>&1; then echo "a wrong password was accepted"; exit 1; fi
want "$(cat "$work/out")" "AuthenticationFailed"

CQLSH=$CQLSH_EXPANSION
out=$(cql -e "DESCRIBE KEYSPACE shell")
want "$out" "CREATE KEYSPACE shell"
want "$out" "CREATE TABLE shell.t ("
want "$out" "PRIMARY KEY (p, c)"
want "$out" "CLUSTERING ORDER BY (c DESC)"
want "$(cql -e "DESCRIBE KEYSPACES")" "shell"
want "$(cql -e "DESCRIBE TABLES")" "Keyspace shell"
want "$(cql -e "DESCRIBE TABLE shell.t")" "m map<text, int>"
want "$(cql -e "DESCRIBE CLUSTER")" "Cluster: Amazon Keyspaces"
copy
cql -e "DROP KEYSPACE shell"
