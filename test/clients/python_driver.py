"""The Python driver against a running server: by password and by SigV4."""

import datetime
import decimal
import ipaddress
import os
import ssl
import sys
import uuid

from cassandra import ConsistencyLevel, InvalidRequest
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import Cluster, ExecutionProfile, EXEC_PROFILE_DEFAULT, NoHostAvailable
from cassandra.protocol import SyntaxException
from cassandra.query import BatchStatement, SimpleStatement, dict_factory
from cassandra.util import Date, Time
from cassandra_sigv4.auth import SigV4AuthProvider

COLUMNS = [
    ("c_ascii", "ascii", "plain"),
    ("c_bigint", "bigint", -2**63),
    ("c_blob", "blob", b"\x00\xff\x10"),
    ("c_boolean", "boolean", True),
    ("c_date", "date", Date("1969-12-31")),
    ("c_decimal", "decimal", decimal.Decimal("-12345678901234567890.0123456789")),
    ("c_double", "double", -0.1),
    ("c_float", "float", 0.5),
    ("c_inet", "inet", "2001:db8::1"),
    ("c_int", "int", 2**31 - 1),
    ("c_smallint", "smallint", -32768),
    ("c_text", "text", "naïve 🦌 'quoted'"),
    ("c_time", "time", Time("23:59:59.999999999")),
    ("c_timestamp", "timestamp", datetime.datetime(1960, 2, 29, 12, 30, 15, 123000)),
    ("c_timeuuid", "timeuuid", uuid.UUID("50554d6e-29bb-11e5-b345-feff819cdc9f")),
    ("c_tinyint", "tinyint", -128),
    ("c_uuid", "uuid", uuid.UUID("123e4567-e89b-42d3-a456-426614174000")),
    ("c_varchar", "varchar", ""),
    ("c_varint", "varint", 2**100),
    ("c_list", "list<int>", [3, 1, 2]),
    ("c_set", "set<text>", {"b", "a"}),
    ("c_map", "map<text, bigint>", {"k": 1, "l": -1}),
    ("c_frozen", "frozen<list<frozen<map<text, int>>>>", [{"a": 1}, {}]),
    ("c_tuple", "tuple<int, text>", (1, "one")),
]


def equal(got, want, what):
    if got != want:
        raise AssertionError(f"{what}: got {got!r}, want {want!r}")


def connect(auth):
    context = ssl.create_default_context(cafile=os.environ["SPOOR_CA_FILE"])
    profile = ExecutionProfile(consistency_level=ConsistencyLevel.LOCAL_QUORUM, row_factory=dict_factory, request_timeout=60)
    return Cluster([os.environ["SPOOR_CQL_HOST"]], port=int(os.environ["SPOOR_CQL_PORT"]), auth_provider=auth,
                   ssl_context=context, execution_profiles={EXEC_PROFILE_DEFAULT: profile}, connect_timeout=30)


def run(auth, ks):
    cluster = connect(auth)
    session = cluster.connect()
    session.execute(f"CREATE KEYSPACE {ks} WITH replication = {{'class': 'SingleRegionStrategy'}}")
    table = ", ".join(f"{n} {t}" for n, t, _ in COLUMNS)
    session.execute(f"CREATE TABLE {ks}.types (id int PRIMARY KEY, {table})")
    session.execute(f"CREATE TABLE {ks}.rows (p text, c int, v text, PRIMARY KEY (p, c)) WITH CLUSTERING ORDER BY (c DESC)")
    cluster.refresh_schema_metadata()
    meta = cluster.metadata.keyspaces[ks].tables["types"]
    equal([c.name for c in meta.primary_key], ["id"], "primary key")
    equal(len(meta.columns), len(COLUMNS) + 1, "columns")
    equal(meta.columns["c_map"].cql_type, "map<text, bigint>", "type in the schema")
    equal(meta.columns["c_frozen"].cql_type, "frozen<list<frozen<map<text, int>>>>", "frozen type in the schema")
    rows_meta = cluster.metadata.keyspaces[ks].tables["rows"]
    equal([c.name for c in rows_meta.clustering_key], ["c"], "clustering key")
    equal(rows_meta.columns["c"].is_reversed, True, "clustering order")

    names = ", ".join(n for n, _, _ in COLUMNS)
    insert = session.prepare(f"INSERT INTO {ks}.types (id, {names}) VALUES (?{', ?' * len(COLUMNS)})")
    session.execute(insert, [1] + [v for _, _, v in COLUMNS])
    session.execute(insert, [2] + [None] * len(COLUMNS))
    select = session.prepare(f"SELECT * FROM {ks}.types WHERE id = ?")
    row = session.execute(select, [1]).one()
    for name, _, want in COLUMNS:
        got = row[name]
        if name == "c_inet":
            got, want = ipaddress.ip_address(got), ipaddress.ip_address(want)
        if name in ("c_list", "c_frozen"):
            got = [dict(x) if name == "c_frozen" else x for x in got]
        if name == "c_set":
            got = set(got)
        if name == "c_map":
            got = dict(got)
        equal(got, want, name)
    row = session.execute(select, [2]).one()
    for name, _, _ in COLUMNS:
        equal(row[name], None, name + " of nothing")

    put = session.prepare(f"INSERT INTO {ks}.rows (p, c, v) VALUES (?, ?, ?)")
    for i in range(25):
        session.execute(put, ["pages", i, f"v{i}"])
    paged = SimpleStatement(f"SELECT c FROM {ks}.rows WHERE p = 'pages'", fetch_size=10)
    result = session.execute(paged)
    equal(len(result.current_rows), 10, "first page")
    equal([r["c"] for r in result], list(range(24, -1, -1)), "paging")

    batch = BatchStatement(consistency_level=ConsistencyLevel.LOCAL_QUORUM)
    batch.add(put, ["batch", 1, "a"])
    batch.add(put, ["batch", 2, "b"])
    batch.add(SimpleStatement(f"DELETE FROM {ks}.rows WHERE p = 'pages' AND c = 0"))
    session.execute(batch)
    equal([r["v"] for r in session.execute(f"SELECT v FROM {ks}.rows WHERE p = 'batch'")], ["b", "a"], "batch")

    once = f"INSERT INTO {ks}.rows (p, c, v) VALUES ('lwt', 1, %s) IF NOT EXISTS"
    equal(session.execute(once, ["first"]).was_applied, True, "the first conditional insert")
    second = session.execute(once, ["second"])
    equal(second.was_applied, False, "the second conditional insert")
    equal(session.execute(f"UPDATE {ks}.rows SET v = 'x' WHERE p = 'lwt' AND c = 1 IF v = 'first'").was_applied, True, "conditional update")

    session.execute(f"INSERT INTO {ks}.rows (p, c, v) VALUES ('ttl', 1, 'x') USING TTL 86400")
    ttl = session.execute(f"SELECT ttl(v) AS t, writetime(v) AS w FROM {ks}.rows WHERE p = 'ttl' AND c = 1").one()
    if not 86000 < ttl["t"] <= 86400 or not ttl["w"] > 1_600_000_000_000_000:
        raise AssertionError(f"TTL: {ttl}")

    for bad, kind in [("SELEC 1", SyntaxException), (f"SELECT nothing FROM {ks}.rows", InvalidRequest),
                      (f"SELECT * FROM {ks}.nothing", InvalidRequest)]:
        try:
            session.execute(bad)
        except kind:
            continue
        raise AssertionError(f"{bad} was accepted")
    session.execute(f"DROP KEYSPACE {ks}")
    cluster.shutdown()


def refused():
    cluster = connect(PlainTextAuthProvider(os.environ["SPOOR_CQL_USER"], "wrong"))
    try:
        cluster.connect()
    except NoHostAvailable as e:
        if "AuthenticationFailed" not in str(e):
            raise
        return
    finally:
        cluster.shutdown()
    raise AssertionError("a wrong password was accepted")


run(PlainTextAuthProvider(os.environ["SPOOR_CQL_USER"], os.environ["SPOOR_CQL_PASSWORD"]), "python_plain")
run(SigV4AuthProvider(aws_access_key_id=os.environ["AWS_ACCESS_KEY_ID"], aws_secret_access_key=os.environ["AWS_SECRET_ACCESS_KEY"],
                      region_name=os.environ["AWS_REGION"]), "python_sigv4")
refused()
print("python driver: PLAIN and SigV4", file=sys.stderr)
