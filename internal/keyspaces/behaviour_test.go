package keyspaces

import (
	"fmt"
	"strings"
	"testing"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"spoor/internal/cql"
)

// rowsOf gives a query's rows as text: columns joined by |, rows by a space.
func rowsOf(t *testing.T, s *gocql.Session, query string, page int) string {
	t.Helper()
	iter := s.Query(query).PageSize(page).Iter()
	cols := iter.Columns()
	list, err := iter.SliceMap()
	if err != nil {
		return "error: " + err.Error()
	}
	var out []string
	for _, m := range list {
		var row []string
		for _, c := range cols {
			row = append(row, fmt.Sprint(m[c.Name]))
		}
		out = append(out, strings.Join(row, "|"))
	}
	return strings.Join(out, " ")
}

// TestQueries: what each query gives over the same rows, in pages of any size.
func TestQueries(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s := b.dial(nil)
	for _, stmt := range []string{
		"CREATE KEYSPACE ks WITH REPLICATION = {'class': 'SingleRegionStrategy'}",
		"CREATE TABLE ks.t (p int, c int, d text, st text STATIC, v int, PRIMARY KEY (p, c, d)) WITH CLUSTERING ORDER BY (c DESC, d ASC)",
		"INSERT INTO ks.t (p, st) VALUES (9, 'only')",
	} {
		b.must(stmt)
	}
	for p := range 2 {
		for c := range 3 {
			for _, d := range "ab" {
				b.must(fmt.Sprintf("INSERT INTO ks.t (p, c, d, v) VALUES (%d, %d, '%c', %d)", p, c, d, p*10+c))
			}
		}
	}
	b.must("UPDATE ks.t SET st = 's0' WHERE p = 0")
	for _, c := range []struct{ query, want string }{
		{"SELECT c, d FROM ks.t WHERE p = 0", "2|a 2|b 1|a 1|b 0|a 0|b"},
		{"SELECT c, d FROM ks.t WHERE p = 0 ORDER BY c ASC, d DESC", "0|b 0|a 1|b 1|a 2|b 2|a"},
		{"SELECT c, d FROM ks.t WHERE p = 0 AND c > 0", "2|a 2|b 1|a 1|b"},
		{"SELECT c, d FROM ks.t WHERE p = 0 AND c >= 1 AND c < 2", "1|a 1|b"},
		{"SELECT c, d FROM ks.t WHERE p = 0 AND c = 1 AND d > 'a'", "1|b"},
		{"SELECT c, d FROM ks.t WHERE p = 0 AND c IN (0, 2) AND d = 'b'", "2|b 0|b"},
		{"SELECT c, d FROM ks.t WHERE p = 0 AND (c, d) IN ((0, 'a'), (2, 'b'))", "2|b 0|a"},
		{"SELECT p, c, d, st FROM ks.t WHERE p IN (1, 0) AND c = 0 AND d = 'a'", "1|0|a| 0|0|a|s0"},
		{"SELECT c FROM ks.t WHERE p = 0 LIMIT 3", "2 2 1"},
		{"SELECT p, c FROM ks.t WHERE p IN (0, 1) PER PARTITION LIMIT 2", "0|2 0|2 1|2 1|2"},
		{"SELECT p, st FROM ks.t WHERE p = 9", "9|only"},
		{"SELECT v FROM ks.t WHERE p = 9", ""},
		{"SELECT count(*), min(v), max(v), sum(v), avg(v) FROM ks.t WHERE p = 1", "6|10|12|66|11"},
		{"SELECT c FROM ks.t WHERE p = 0 AND v = 1 ALLOW FILTERING", "1 1"},
		{"SELECT p, c FROM ks.t WHERE v = 12 ALLOW FILTERING", "1|2 1|2"},
		{"SELECT v FROM ks.t WHERE p = 0 AND c = 5", ""},
		{"SELECT JSON p, v FROM ks.t WHERE p = 0 AND c = 1 AND d = 'a'", `{"p": 0, "v": 1}`},
		{"SELECT cast(v AS text) FROM ks.t WHERE p = 0 AND c = 1 AND d = 'a'", "1"},
		{"SELECT blobAsInt(intAsBlob(v)) FROM ks.t WHERE p = 0 AND c = 2 AND d = 'a'", "2"},
		{"SELECT ttl(v) FROM ks.t WHERE p = 0 AND c = 2 AND d = 'a'", "0"},
		{"SELECT DISTINCT p FROM ks.t WHERE p IN (0, 1)", "0 1"},
	} {
		for _, page := range []int{1, 2, 5000} {
			if got := rowsOf(t, s, c.query, page); got != c.want {
				t.Errorf("%s in pages of %d: %s, want %s", c.query, page, got, c.want)
			}
		}
	}
	var whole []string
	for _, page := range []int{1, 3, 5000} {
		whole = append(whole, rowsOf(t, s, "SELECT p, c, d, st FROM ks.t", page))
	}
	if whole[0] != whole[1] || whole[1] != whole[2] || strings.Count(whole[0], " ") != 12 {
		t.Errorf("whole table in pages: %q", whole)
	}
	if got := rowsOf(t, s, "SELECT p FROM ks.t WHERE token(p) > 9223372036854775806", 10); got != "" {
		t.Errorf("beyond the last token: %s", got)
	}
	if got := rowsOf(t, s, "SELECT DISTINCT p FROM ks.t WHERE token(p) = token(1)", 10); got != "1" {
		t.Errorf("the token of 1: %s", got)
	}
}

// TestRefusals: codes and texts as Cassandra's.
func TestRefusals(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.must("CREATE KEYSPACE ks WITH REPLICATION = {'class': 'SingleRegionStrategy'}")
	b.must("CREATE TABLE ks.t (p int, c int, v int, PRIMARY KEY (p, c))")
	b.must("CREATE TABLE ks.n (p int PRIMARY KEY, n counter)")
	for _, c := range []struct {
		text string
		code cql.ErrorCode
		want string
	}{
		{"SELECT * FROM ks.none", cql.CodeInvalid, "unconfigured table none"},
		{"SELECT * FROM system.peers_v2", cql.CodeInvalid, "unconfigured table peers_v2"},
		{"SELECT * FROM t", cql.CodeInvalid, "No keyspace has been specified. USE a keyspace, or explicitly specify keyspace.tablename"},
		{"INSERT INTO ks.t (p, c, v) VALUES (1, 'x', 2)", cql.CodeInvalid, `Invalid STRING constant (x) for "c" of type int`},
		{"INSERT INTO ks.t (p, v) VALUES (1, 2)", cql.CodeInvalid, "Some clustering keys are missing: c"},
		{"INSERT INTO ks.t (p, c) VALUES (null, 2)", cql.CodeInvalid, "Invalid null value in condition for column p"},
		{"UPDATE ks.t SET c = 1 WHERE p = 1 AND c = 1", cql.CodeInvalid, "PRIMARY KEY part c found in SET part"},
		{"SELECT * FROM ks.t WHERE v = 1", cql.CodeInvalid, errFiltering.Message},
		{"INSERT INTO ks.n (p, n) VALUES (1, 1)", cql.CodeInvalid, "INSERT statements are not allowed on counter tables, use UPDATE instead"},
		{"INSERT INTO ks.t (p, c) VALUES (1, 1) IF NOT EXISTS USING TIMESTAMP 5", cql.CodeInvalid, "Cannot provide custom timestamp for conditional updates"},
		{"CREATE TABLE ks.t (p int PRIMARY KEY)", cql.CodeAlreadyExists, `Cannot add already existing table "t" to keyspace "ks"`},
		{"CREATE TABLE ks.x (p int)", cql.CodeInvalid, "No PRIMARY KEY specifed (exactly one required)"},
		{"DROP KEYSPACE nope", cql.CodeInvalid, "Keyspace 'nope' does not exist"},
		{"USE nope", cql.CodeInvalid, "Keyspace 'nope' does not exist"},
		{"TRUNCATE ks.t", cql.CodeInvalid, "TRUNCATE is not supported."},
		{"DELETE FROM system.local WHERE key = 'local'", cql.CodeUnauthorized, "system keyspace is not user-modifiable."},
	} {
		if e := b.refused(c.text); e.Code != c.code || e.Message != c.want {
			t.Errorf("%s: %v %q", c.text, e.Code, e.Message)
		}
	}
}

// TestTTL: values end when their time is over, and a row with them; one that was
// written by UPDATE needs a value to be there.
func TestTTL(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.now.Store(1_700_000_000)
	s := b.dial(nil)
	b.must("CREATE KEYSPACE ks WITH REPLICATION = {'class': 'SingleRegionStrategy'}")
	b.must("CREATE TABLE ks.t (p int PRIMARY KEY, v int, w int)")
	b.must("CREATE TABLE ks.d (p int PRIMARY KEY, v int) WITH default_time_to_live = 50")
	b.must("INSERT INTO ks.t (p, v) VALUES (1, 1) USING TTL 100")
	b.must("INSERT INTO ks.t (p, v) VALUES (2, 1)")
	b.must("UPDATE ks.t USING TTL 100 SET v = 2 WHERE p = 2")
	b.must("UPDATE ks.t USING TTL 100 SET v = 3 WHERE p = 3")
	b.must("INSERT INTO ks.d (p, v) VALUES (1, 1)")
	b.must("INSERT INTO ks.d (p, v) VALUES (2, 2) USING TTL 0")
	check := func(query, want string) {
		t.Helper()
		if got := rowsOf(t, s, query, 100); got != want {
			t.Errorf("at %d: %s gives %q, want %q", b.now.Load(), query, got, want)
		}
	}
	check("SELECT p, v, ttl(v) FROM ks.t WHERE p = 1", "1|1|100")
	b.now.Add(40)
	check("SELECT ttl(v) FROM ks.t WHERE p = 1", "60")
	check("SELECT ttl(v) FROM ks.d WHERE p = 1", "10")
	b.now.Add(60)
	check("SELECT p FROM ks.t WHERE p = 1", "")
	check("SELECT p, v FROM ks.t WHERE p = 2", "2|0")
	check("SELECT p FROM ks.t WHERE p = 3", "")
	check("SELECT p FROM ks.d WHERE p = 1", "")
	check("SELECT v FROM ks.d WHERE p = 2", "2")
	b.must("INSERT INTO ks.t (p, v) VALUES (7, 1)")
	b.must("UPDATE ks.t SET v = null WHERE p = 7")
	check("SELECT p, v FROM ks.t WHERE p = 7", "7|0")
	b.must("UPDATE ks.t SET v = 1 WHERE p = 8")
	b.must("UPDATE ks.t SET v = null WHERE p = 8")
	check("SELECT p FROM ks.t WHERE p = 8", "")
}

// TestDeletes: ranges, partitions, elements; a deletion covers what has its own
// timestamp.
func TestDeletes(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s := b.dial(nil)
	b.must("CREATE KEYSPACE ks WITH REPLICATION = {'class': 'SingleRegionStrategy'}")
	b.must("CREATE TABLE ks.t (p int, c int, m map<text, int>, l list<int>, PRIMARY KEY (p, c))")
	for c := range 6 {
		b.must(fmt.Sprintf("INSERT INTO ks.t (p, c, m, l) VALUES (1, %d, {'a': 1, 'b': 2}, [10, 20, 30, 20])", c))
	}
	check := func(query, want string) {
		t.Helper()
		if got := rowsOf(t, s, query, 100); got != want {
			t.Errorf("%s gives %q, want %q", query, got, want)
		}
	}
	b.must("DELETE FROM ks.t WHERE p = 1 AND c >= 2 AND c < 4")
	check("SELECT c FROM ks.t WHERE p = 1", "0 1 4 5")
	b.must("DELETE m['a'], l[0] FROM ks.t WHERE p = 1 AND c = 0")
	check("SELECT m, l FROM ks.t WHERE p = 1 AND c = 0", "map[b:2]|[20 30 20]")
	b.must("UPDATE ks.t SET l = l - [20], m['z'] = 9 WHERE p = 1 AND c = 0")
	check("SELECT m, l FROM ks.t WHERE p = 1 AND c = 0", "map[b:2 z:9]|[30]")
	b.must("UPDATE ks.t SET l = [1, 2] + l WHERE p = 1 AND c = 0")
	b.must("UPDATE ks.t SET l[1] = 7 WHERE p = 1 AND c = 0")
	check("SELECT l FROM ks.t WHERE p = 1 AND c = 0", "[1 7 30]")
	b.must("INSERT INTO ks.t (p, c, m) VALUES (1, 0, {'only': 1})")
	check("SELECT m FROM ks.t WHERE p = 1 AND c = 0", "map[only:1]")
	b.must("DELETE FROM ks.t WHERE p = 1")
	check("SELECT c FROM ks.t WHERE p = 1", "")
	b.must("BEGIN BATCH USING TIMESTAMP 99999999999999999 INSERT INTO ks.t (p, c) VALUES (2, 1); DELETE FROM ks.t WHERE p = 2 AND c = 1; APPLY BATCH")
	check("SELECT c FROM ks.t WHERE p = 2", "")
}

// TestCrash: a copy of the disk as a crash leaves it has the schema, the rows and
// their records; what was not answered has neither or both.
func TestCrash(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.must("CREATE KEYSPACE ks WITH REPLICATION = {'class': 'SingleRegionStrategy'}")
	b.must("CREATE TYPE ks.addr (street text, no int)")
	b.must("CREATE TABLE ks.t (p int PRIMARY KEY, v int, a addr)")
	const rows = 50
	for i := range rows {
		b.must(fmt.Sprintf("INSERT INTO ks.t (p, v, a) VALUES (%d, %d, {street: 'x', no: 1})", i, i))
	}
	b.must("ALTER TABLE ks.t ADD w text")
	records := len(b.records())
	host := b.svc.hostID
	clone := b.fs.CrashClone(vfs.CrashCloneCfg{})
	b.close()
	b.open(clone)
	if b.svc.hostID != host {
		t.Error("the host id has changed")
	}
	if got := len(b.records()); got != records {
		t.Errorf("%d records after the crash, %d before", got, records)
	}
	s := b.dial(nil)
	if got := rowsOf(t, s, "SELECT count(*), sum(v) FROM ks.t", 10); got != fmt.Sprintf("%d|%d", rows, rows*(rows-1)/2) {
		t.Errorf("after the crash: %s", got)
	}
	b.must("UPDATE ks.t SET w = 'there', a.no = 2 WHERE p = 3")
	if got := rowsOf(t, s, "SELECT w, a.no FROM ks.t WHERE p = 3", 10); got != "there|2" {
		t.Errorf("after the crash: %s", got)
	}
}
