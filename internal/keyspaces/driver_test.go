package keyspaces

import (
	"testing"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
)

// TestDriver: the Cassandra driver connects, defines, writes and reads.
func TestDriver(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s := b.dial(func(c *gocql.ClusterConfig) { c.Metadata.CacheMode = gocql.Disabled })
	must := func(stmt string, args ...any) {
		t.Helper()
		if err := s.Query(stmt, args...).Exec(); err != nil {
			t.Fatalf("%s: %v", stmt, err)
		}
	}
	must(`CREATE KEYSPACE ks WITH REPLICATION = {'class': 'SingleRegionStrategy'}`)
	must(`CREATE TABLE ks.t (pk text, ck int, v text, tags set<text>, m map<text, int>, l list<int>, PRIMARY KEY (pk, ck))`)
	for i := range 25 {
		must(`INSERT INTO ks.t (pk, ck, v, tags, m, l) VALUES (?, ?, ?, ?, ?, ?)`, "a", i, "v", []string{"x", "y"}, map[string]int{"k": i}, []int{1, 2})
	}
	iter := s.Query(`SELECT ck, tags, m, l FROM ks.t WHERE pk = ? AND ck >= ?`, "a", 5).PageSize(7).Iter()
	n, ck := 5, 0
	var tags []string
	var m map[string]int
	var l []int
	for iter.Scan(&ck, &tags, &m, &l) {
		if ck != n || len(tags) != 2 || m["k"] != n || len(l) != 2 {
			t.Fatalf("row %d is %d %v %v %v", n, ck, tags, m, l)
		}
		n++
	}
	if err := iter.Close(); err != nil || n != 25 {
		t.Fatalf("%d rows, %v", n, err)
	}
	must(`UPDATE ks.t SET v = ?, tags = tags + ?, l = l + ? WHERE pk = ? AND ck = ?`, "new", []string{"z"}, []int{3}, "a", 3)
	var v string
	if err := s.Query(`SELECT v, tags, l FROM ks.t WHERE pk = ? AND ck = ?`, "a", 3).Scan(&v, &tags, &l); err != nil || v != "new" || len(tags) != 3 || len(l) != 3 || l[2] != 3 {
		t.Fatalf("%q %v %v %v", v, tags, l, err)
	}
	must(`DELETE FROM ks.t WHERE pk = ? AND ck = ?`, "a", 3)
	if err := s.Query(`SELECT v FROM ks.t WHERE pk = ? AND ck = ?`, "a", 3).Scan(&v); err != gocql.ErrNotFound {
		t.Fatalf("a deleted row: %q %v", v, err)
	}
	old := map[string]any{}
	applied, err := s.Query(`INSERT INTO ks.t (pk, ck, v) VALUES (?, ?, ?) IF NOT EXISTS`, "a", 4, "lost").MapScanCAS(old)
	if err != nil || applied || old["v"] != "v" {
		t.Fatalf("applied %t, %v, %v", applied, old, err)
	}
	if applied, err = s.Query(`UPDATE ks.t SET v = ? WHERE pk = ? AND ck = ? IF v = ?`, "won", "a", 4, "v").MapScanCAS(map[string]any{}); err != nil || !applied {
		t.Fatalf("applied %t, %v", applied, err)
	}
	batch := s.Batch(gocql.LoggedBatch)
	batch.Query(`INSERT INTO ks.t (pk, ck, v) VALUES (?, ?, ?)`, "b", 1, "one")
	batch.Query(`INSERT INTO ks.t (pk, ck, v) VALUES (?, ?, ?)`, "b", 2, "two")
	if err := batch.Exec(); err != nil {
		t.Fatal(err)
	}
	var count int
	if err := s.Query(`SELECT count(*) FROM ks.t WHERE pk = 'b'`).Scan(&count); err != nil || count != 2 {
		t.Fatalf("%d rows, %v", count, err)
	}
	must(`CREATE TABLE ks.c (pk int PRIMARY KEY, n counter)`)
	for range 5 {
		must(`UPDATE ks.c SET n = n + ? WHERE pk = ?`, int64(2), 1)
	}
	if err := s.Query(`SELECT n FROM ks.c WHERE pk = 1`).Scan(&count); err != nil || count != 10 {
		t.Fatalf("the counter is %d, %v", count, err)
	}
	if meta, err := s.KeyspaceMetadata("ks"); err != nil || len(meta.Tables) != 2 {
		t.Fatalf("%v %v", meta, err)
	}
	if got := len(b.records()); got < 40 {
		t.Errorf("only %d records", got)
	}
}
