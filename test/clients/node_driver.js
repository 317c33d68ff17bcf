// The Node.js driver against a running server.
'use strict';

const assert = require('node:assert');
const fs = require('node:fs');
const cassandra = require('cassandra-driver');

const { types } = cassandra;
const env = process.env;
const ks = 'node_plain';

const columns = [
  ['c_ascii', 'ascii', 'plain'],
  ['c_bigint', 'bigint', types.Long.fromString('-9223372036854775808')],
  ['c_blob', 'blob', Buffer.from([0, 255, 16])],
  ['c_boolean', 'boolean', true],
  ['c_date', 'date', types.LocalDate.fromString('1969-12-31')],
  ['c_decimal', 'decimal', types.BigDecimal.fromString('-12345678901234567890.0123456789')],
  ['c_double', 'double', -0.1],
  ['c_float', 'float', 0.5],
  ['c_inet', 'inet', types.InetAddress.fromString('2001:db8::1')],
  ['c_int', 'int', 2147483647],
  ['c_smallint', 'smallint', -32768],
  ['c_text', 'text', "naïve 🦌 'quoted'"],
  ['c_time', 'time', types.LocalTime.fromString('23:59:59.999999999')],
  ['c_timestamp', 'timestamp', new Date('1960-02-29T12:30:15.123Z')],
  ['c_timeuuid', 'timeuuid', types.TimeUuid.fromString('50554d6e-29bb-11e5-b345-feff819cdc9f')],
  ['c_tinyint', 'tinyint', -128],
  ['c_uuid', 'uuid', types.Uuid.fromString('123e4567-e89b-42d3-a456-426614174000')],
  ['c_varchar', 'varchar', ''],
  ['c_varint', 'varint', types.Integer.fromString('1267650600228229401496703205376')],
  ['c_list', 'list<int>', [3, 1, 2]],
  ['c_set', 'set<text>', ['a', 'b']],
  ['c_map', 'map<text, int>', { k: 1, l: -1 }],
  ['c_frozen', 'frozen<list<frozen<map<text, int>>>>', [{ a: 1 }, { b: 2 }]],
  ['c_tuple', 'tuple<int, text>', new types.Tuple(1, 'one')],
];

function client(password) {
  return new cassandra.Client({
    contactPoints: [`${env.SPOOR_CQL_HOST}:${env.SPOOR_CQL_PORT}`],
    localDataCenter: env.AWS_REGION,
    authProvider: new cassandra.auth.PlainTextAuthProvider(env.SPOOR_CQL_USER, password),
    sslOptions: { ca: [fs.readFileSync(env.SPOOR_CA_FILE)], host: env.SPOOR_CQL_HOST, rejectUnauthorized: true },
    queryOptions: { consistency: types.consistencies.localQuorum, prepare: true },
    socketOptions: { readTimeout: 60000, connectTimeout: 30000 },
  });
}

async function main() {
  const c = client(env.SPOOR_CQL_PASSWORD);
  await c.connect();
  await c.execute(`CREATE KEYSPACE ${ks} WITH replication = {'class': 'SingleRegionStrategy'}`);
  await c.execute(`CREATE TABLE ${ks}.types (id int PRIMARY KEY, ${columns.map(([n, t]) => `${n} ${t}`).join(', ')})`);
  await c.execute(`CREATE TABLE ${ks}.rows (p text, c int, v text, PRIMARY KEY (p, c)) WITH CLUSTERING ORDER BY (c DESC)`);

  const table = await c.metadata.getTable(ks, 'types');
  assert.strictEqual(table.columns.length, columns.length + 1);
  assert.deepStrictEqual(table.partitionKeys.map((k) => k.name), ['id']);
  assert.strictEqual(table.columnsByName.c_map.type.code, types.dataTypes.map);
  const rows = await c.metadata.getTable(ks, 'rows');
  assert.deepStrictEqual(rows.clusteringKeys.map((k) => k.name), ['c']);
  assert.deepStrictEqual(rows.clusteringOrder, ['DESC']);

  const names = columns.map(([n]) => n).join(', ');
  const insert = `INSERT INTO ${ks}.types (id, ${names}) VALUES (?${', ?'.repeat(columns.length)})`;
  await c.execute(insert, [1, ...columns.map(([, , v]) => v)]);
  await c.execute(insert, [2, ...columns.map(() => null)]);
  const select = `SELECT * FROM ${ks}.types WHERE id = ?`;
  const full = (await c.execute(select, [1])).first();
  for (const [name, , want] of columns) {
    const got = full[name];
    if (want && typeof want.equals === 'function' && !Buffer.isBuffer(want)) {
      assert.ok(want.equals(got), `${name}: got ${got}, want ${want}`);
    } else if (name === 'c_tuple') {
      assert.deepStrictEqual(got.values(), want.values(), name);
    } else {
      assert.deepStrictEqual(got, want, name);
    }
  }
  const empty = (await c.execute(select, [2])).first();
  for (const [name] of columns) {
    assert.strictEqual(empty[name], null, name);
  }

  const put = `INSERT INTO ${ks}.rows (p, c, v) VALUES (?, ?, ?)`;
  for (let i = 0; i < 25; i++) {
    await c.execute(put, ['pages', i, `v${i}`]);
  }
  const seen = [];
  const first = await c.execute(`SELECT c FROM ${ks}.rows WHERE p = 'pages'`, [], { fetchSize: 10 });
  assert.strictEqual(first.rows.length, 10);
  let page = first;
  for (;;) {
    seen.push(...page.rows.map((r) => r.c));
    if (!page.pageState) break;
    page = await c.execute(`SELECT c FROM ${ks}.rows WHERE p = 'pages'`, [], { fetchSize: 10, pageState: page.pageState });
  }
  assert.deepStrictEqual(seen, Array.from({ length: 25 }, (_, i) => 24 - i));

  await c.batch([
    { query: put, params: ['batch', 1, 'a'] },
    { query: put, params: ['batch', 2, 'b'] },
  ], { prepare: true });
  const batch = await c.execute(`SELECT v FROM ${ks}.rows WHERE p = 'batch'`);
  assert.deepStrictEqual(batch.rows.map((r) => r.v), ['b', 'a']);

  const once = `INSERT INTO ${ks}.rows (p, c, v) VALUES ('lwt', 1, ?) IF NOT EXISTS`;
  assert.strictEqual((await c.execute(once, ['first'])).wasApplied(), true);
  const second = await c.execute(once, ['second']);
  assert.strictEqual(second.wasApplied(), false);
  assert.strictEqual(second.first().v, 'first');

  await c.execute(`INSERT INTO ${ks}.rows (p, c, v) VALUES ('ttl', 1, 'x') USING TTL 86400`);
  const ttl = (await c.execute(`SELECT ttl(v) AS t FROM ${ks}.rows WHERE p = 'ttl' AND c = 1`)).first().t;
  assert.ok(ttl > 86000 && ttl <= 86400, `TTL ${ttl}`);

  const { responseErrorCodes: codes } = types;
  for (const [bad, code] of [['SELEC 1', codes.syntaxError], [`SELECT nothing FROM ${ks}.rows`, codes.invalid]]) {
    await assert.rejects(c.execute(bad, [], { prepare: false }), (e) => e.code === code, bad);
  }
  await c.execute(`DROP KEYSPACE ${ks}`);
  await c.shutdown();

  const stranger = client('wrong');
  await assert.rejects(stranger.connect(), (e) => Object.values(e.innerErrors || {}).some((x) => x.name === 'AuthenticationError'));
  await stranger.shutdown();
}

main().catch((e) => {
  console.error(e);
  process.exit(1);
});
