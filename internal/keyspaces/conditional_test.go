package keyspaces

import (
	"sync"
	"testing"

	gocql "github.com/apache/cassandra-gocql-driver/v2"

	"spoor/internal/cql/frame"
	"spoor/internal/cql/parser"
)

// TestConditions: what [applied] says, and what comes with a refusal.
func TestConditions(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s := b.dial(nil)
	b.must("CREATE KEYSPACE ks WITH REPLICATION = {'class': 'SingleRegionStrategy'}")
	b.must("CREATE TABLE ks.t (p int, c int, st int STATIC, v int, m map<text, int>, PRIMARY KEY (p, c))")
	for _, c := range []struct{ query, want string }{
		{"INSERT INTO ks.t (p, c, v) VALUES (1, 1, 5) IF NOT EXISTS", "true"},
		{"INSERT INTO ks.t (p, c, v) VALUES (1, 1, 6) IF NOT EXISTS", "false|1|1|0|map[]|5"},
		{"UPDATE ks.t SET v = 7 WHERE p = 1 AND c = 1 IF v = 6", "false|5"},
		{"UPDATE ks.t SET v = 7 WHERE p = 1 AND c = 1 IF v IN (5, 6)", "true"},
		{"UPDATE ks.t SET v = 7 WHERE p = 1 AND c = 2 IF v = 6", "false"},
		{"UPDATE ks.t SET v = 8 WHERE p = 1 AND c = 2 IF v = null", "true"},
		{"UPDATE ks.t SET v = 9 WHERE p = 1 AND c = 3 IF EXISTS", "false"},
		{"UPDATE ks.t SET m['k'] = 1 WHERE p = 1 AND c = 1 IF v != 8", "true"},
		{"UPDATE ks.t SET v = 10 WHERE p = 1 AND c = 1 IF m['k'] = 1", "true"},
		{"UPDATE ks.t SET st = 1 WHERE p = 1 IF st = null", "true"},
		{"UPDATE ks.t SET st = 2 WHERE p = 1 IF st = 3", "false|1"},
		{"DELETE FROM ks.t WHERE p = 1 AND c = 1 IF v = 1", "false|10"},
		{"DELETE FROM ks.t WHERE p = 1 AND c = 1 IF EXISTS", "true"},
		{"BEGIN BATCH UPDATE ks.t SET v = 1 WHERE p = 1 AND c = 2 IF v = 8; INSERT INTO ks.t (p, c, v) VALUES (1, 9, 9) IF NOT EXISTS; APPLY BATCH", "true"},
		{"BEGIN BATCH UPDATE ks.t SET v = 2 WHERE p = 1 AND c = 2 IF v = 8; INSERT INTO ks.t (p, c, v) VALUES (1, 10, 9); APPLY BATCH", "false|1|2|1"},
		{"SELECT c, v FROM ks.t WHERE p = 1", "2|1 9|9"},
	} {
		if got := rowsOf(t, s, c.query, 100); got != c.want {
			t.Errorf("%s gives %s, want %s", c.query, got, c.want)
		}
	}
}

// TestConcurrentCounts: no increment and no conditional update is lost among
// many callers.
func TestConcurrentCounts(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s := b.dial(nil)
	b.must("CREATE KEYSPACE ks WITH REPLICATION = {'class': 'SingleRegionStrategy'}")
	b.must("CREATE TABLE ks.n (p int PRIMARY KEY, n counter)")
	b.must("CREATE TABLE ks.t (p int PRIMARY KEY, v int)")
	b.must("INSERT INTO ks.t (p, v) VALUES (1, 0)")
	const callers, each = 8, 20
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for range each {
				batch := s.Batch(gocql.CounterBatch)
				batch.Query("UPDATE ks.n SET n = n + 2 WHERE p = 1")
				batch.Query("UPDATE ks.n SET n = n - 1 WHERE p = 1")
				if err := batch.Exec(); err != nil {
					t.Error(err)
				}
				for done := false; !done; {
					v := 0
					if err := s.Query("SELECT v FROM ks.t WHERE p = 1").Scan(&v); err != nil {
						t.Error(err)
						return
					}
					var err error
					if done, err = s.Query("UPDATE ks.t SET v = ? WHERE p = 1 IF v = ?", v+1, v).MapScanCAS(map[string]any{}); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	for _, q := range []string{"SELECT n FROM ks.n WHERE p = 1", "SELECT v FROM ks.t WHERE p = 1"} {
		if got := rowsOf(t, s, q, 10); got != "160" {
			t.Errorf("%s gives %s, want %d", q, got, callers*each)
		}
	}
}

// FuzzStatement: no statement that parses makes the executor panic, whatever is
// bound to its markers.
func FuzzStatement(f *testing.F) {
	for _, s := range []string{
		"SELECT * FROM ks.t WHERE p = ? AND c > ? LIMIT ?", "SELECT token(p), m['a'], ttl(v), cast(v AS text) FROM ks.t",
		"INSERT INTO ks.t (p, c, st, v, m, l, u) VALUES (?, ?, ?, ?, {'a': ?}, [1], {a: 1}) USING TTL ?", "INSERT INTO ks.t JSON ?",
		"UPDATE ks.t SET l[?] = ?, m = m - {'a'}, l = ? + l, u.a = ? WHERE p = 1 AND c = 2 IF m['x'] IN (1, 2)",
		"DELETE l[0], m['a'], u.a FROM ks.t WHERE p = 1 AND c = ? IF EXISTS", "DELETE FROM ks.t WHERE p = 1 AND c >= 1",
		"SELECT * FROM ks.t WHERE (c) IN ((1), (2)) AND p IN ? AND m CONTAINS KEY 'a' ALLOW FILTERING",
		"SELECT DISTINCT p, st FROM ks.t PER PARTITION LIMIT 1", "SELECT count(*), max(v), avg(v) FROM ks.t WHERE token(p) > token(1)",
		"SELECT JSON * FROM system_schema.columns WHERE keyspace_name = 'ks'", "BEGIN BATCH INSERT INTO ks.t (p, c) VALUES (1, 2); DELETE v FROM ks.t WHERE p = 1 AND c = ?; APPLY BATCH",
		"CREATE TABLE ks.x (p int, c text, PRIMARY KEY (p, c)) WITH CLUSTERING ORDER BY (c DESC)", "ALTER TABLE ks.t ADD z int", "DROP TABLE ks.x", "USE ks",
	} {
		f.Add(s, []byte{0, 0, 0, 1})
	}
	f.Fuzz(func(t *testing.T, text string, value []byte) {
		p, err := parser.Parse(text)
		if err != nil || len(text) > 4096 {
			return
		}
		b := newBench(t)
		b.must("CREATE KEYSPACE ks WITH REPLICATION = {'class': 'SingleRegionStrategy'}")
		b.must("CREATE TYPE ks.ut (a int, b text)")
		b.must("CREATE TABLE ks.t (p int, c int, st text STATIC, v int, m map<text, int>, l list<int>, u ut, PRIMARY KEY (p, c))")
		b.must("INSERT INTO ks.t (p, c, v, m, l) VALUES (1, 2, 3, {'a': 1}, [1, 2])")
		values := make([]frame.Value, len(p.Markers))
		for i := range values {
			values[i] = frame.Value{Data: value, Kind: frame.ValueKind(i % 4 / 2)}
		}
		if _, err := b.execute(text, values...); err != nil {
			return
		}
	})
}
