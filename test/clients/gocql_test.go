// Package clients runs unmodified clients against a running server. The Go
// driver is here; run.sh runs those of other languages.
package clients

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
	"github.com/apache/cassandra-gocql-driver/v2/lz4"
	"github.com/apache/cassandra-gocql-driver/v2/snappy"
	"gopkg.in/inf.v0"

	"spoor/test/harness"
)

type column struct {
	name, cql string
	value     any
}

func parseUUID(t *testing.T, s string) gocql.UUID {
	t.Helper()
	u, err := gocql.ParseUUID(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func columns(t *testing.T) []column {
	t.Helper()
	dec, ok := new(inf.Dec).SetString("-12345678901234567890.0123456789")
	if !ok {
		t.Fatal("no decimal")
	}
	return []column{
		{"c_ascii", "ascii", "plain"},
		{"c_bigint", "bigint", int64(math.MinInt64)},
		{"c_blob", "blob", []byte{0, 255, 16}},
		{"c_boolean", "boolean", true},
		{"c_date", "date", time.Date(1969, 12, 31, 0, 0, 0, 0, time.UTC)},
		{"c_decimal", "decimal", dec},
		{"c_double", "double", -0.1},
		{"c_float", "float", float32(0.5)},
		{"c_inet", "inet", net.ParseIP("2001:db8::1")},
		{"c_int", "int", math.MaxInt32},
		{"c_smallint", "smallint", int16(math.MinInt16)},
		{"c_text", "text", "naïve 🦌 'quoted'"},
		{"c_time", "time", 24*time.Hour - 1},
		{"c_timestamp", "timestamp", time.Date(1960, 2, 29, 12, 30, 15, 123e6, time.UTC)},
		{"c_timeuuid", "timeuuid", parseUUID(t, "50554d6e-29bb-11e5-b345-feff819cdc9f")},
		{"c_tinyint", "tinyint", int8(-128)},
		{"c_uuid", "uuid", parseUUID(t, "123e4567-e89b-42d3-a456-426614174000")},
		{"c_varchar", "varchar", ""},
		{"c_varint", "varint", new(big.Int).Lsh(big.NewInt(1), 100)},
		{"c_list", "list<int>", []int{3, 1, 2}},
		{"c_set", "set<text>", []string{"a", "b"}},
		{"c_map", "map<text, bigint>", map[string]int64{"k": 1, "l": -1}},
		{"c_frozen", "frozen<list<frozen<map<text, int>>>>", []map[string]int{{"a": 1}, {"b": 2}}},
	}
}

func TestGocql(t *testing.T) {
	t.Parallel()
	srv := harness.Start(t)
	for _, compressor := range []gocql.Compressor{nil, lz4.LZ4Compressor{}, snappy.SnappyCompressor{}} {
		name := "plain"
		if compressor != nil {
			name = compressor.Name()
		}
		t.Run(name, func(t *testing.T) {
			cluster, err := srv.Cluster(srv.Profiles["admin"])
			if err != nil {
				t.Fatal(err)
			}
			cluster.Compressor = compressor
			cluster.ProtoVersion = 0 // negotiate
			s, err := cluster.CreateSession()
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			client{t, s, "gocql_" + name}.run()
		})
	}
	t.Run("a wrong password", func(t *testing.T) {
		p := srv.Profiles["admin"]
		p.CQLPassword = "wrong"
		cluster, err := srv.Cluster(p)
		if err != nil {
			t.Fatal(err)
		}
		if s, err := cluster.CreateSession(); err == nil {
			s.Close()
			t.Error("it was accepted")
		} else if !strings.Contains(err.Error(), "and/or password are incorrect") {
			t.Error(err)
		}
	})
}

type client struct {
	*testing.T
	s  *gocql.Session
	ks string
}

func (c client) exec(text string, args ...any) {
	c.Helper()
	if err := c.s.Query(text, args...).Exec(); err != nil {
		c.Fatalf("%s: %v", text, err)
	}
}

func (c client) run() {
	cols := columns(c.T)
	defs := make([]string, len(cols))
	names := make([]string, len(cols))
	for i, x := range cols {
		defs[i], names[i] = x.name+" "+x.cql, x.name
	}
	c.exec("CREATE KEYSPACE " + c.ks + " WITH replication = {'class': 'SingleRegionStrategy'}")
	c.exec("CREATE TABLE " + c.ks + ".types (id int PRIMARY KEY, " + strings.Join(defs, ", ") + ")")
	c.exec("CREATE TABLE " + c.ks + ".rows (p text, c int, v text, PRIMARY KEY (p, c)) WITH CLUSTERING ORDER BY (c DESC)")
	c.schema(len(cols))
	c.types(cols, names)
	c.rows()
	c.errors()
	c.exec("DROP KEYSPACE " + c.ks)
}

// schema reads what the driver knows of the schema. It learns of changes by the
// server's events, some time after the statement is answered.
func (c client) schema(n int) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(time.Minute)
	var meta *gocql.KeyspaceMetadata
	for meta == nil || meta.Tables["types"] == nil || meta.Tables["rows"] == nil {
		var err error
		if meta, err = c.s.KeyspaceMetadata(c.ks); err != nil && !errors.Is(err, gocql.ErrKeyspaceDoesNotExist) {
			c.Fatal(err)
		}
		select {
		case <-tick.C:
		case <-timeout:
			c.Fatalf("the driver was not told of the new tables; it knows %+v", meta)
		}
	}
	if got := len(meta.Tables["types"].Columns); got != n+1 {
		c.Errorf("%d columns, want %d", got, n+1)
	}
	rows := meta.Tables["rows"]
	if len(rows.ClusteringColumns) != 1 || rows.ClusteringColumns[0].Name != "c" || rows.ClusteringColumns[0].Order != gocql.DESC {
		c.Errorf("clustering: %+v", rows.ClusteringColumns)
	}
}

func (c client) types(cols []column, names []string) {
	insert := "INSERT INTO " + c.ks + ".types (id, " + strings.Join(names, ", ") + ") VALUES (?" + strings.Repeat(", ?", len(cols)) + ")"
	full, none := []any{1}, []any{2}
	dest := make([]any, len(cols))
	for i, x := range cols {
		full, none = append(full, x.value), append(none, nil)
		dest[i] = reflect.New(reflect.TypeOf(x.value)).Interface()
	}
	c.exec(insert, full...)
	c.exec(insert, none...)
	sel := "SELECT " + strings.Join(names, ", ") + " FROM " + c.ks + ".types WHERE id = ?"
	if err := c.s.Query(sel, 1).Scan(dest...); err != nil {
		c.Fatal(err)
	}
	for i, x := range cols {
		if got := reflect.ValueOf(dest[i]).Elem().Interface(); !same(got, x.value) {
			c.Errorf("%s: got %v, want %v", x.name, got, x.value)
		}
	}
	row := map[string]any{}
	if err := c.s.Query("SELECT id, c_text, c_list FROM "+c.ks+".types WHERE id = ?", 2).MapScan(row); err != nil {
		c.Fatal(err)
	}
	if row["c_text"] != "" || len(row["c_list"].([]int)) != 0 {
		c.Errorf("a row of nothing: %v", row)
	}
}

func same(got, want any) bool {
	switch w := want.(type) {
	case time.Time:
		return w.Equal(got.(time.Time))
	case *inf.Dec:
		return w.Cmp(got.(*inf.Dec)) == 0
	case *big.Int:
		return w.Cmp(got.(*big.Int)) == 0
	case net.IP:
		return w.Equal(got.(net.IP))
	}
	return reflect.DeepEqual(got, want)
}

func (c client) rows() {
	put := "INSERT INTO " + c.ks + ".rows (p, c, v) VALUES (?, ?, ?)"
	for i := range 25 {
		c.exec(put, "pages", i, fmt.Sprint("v", i))
	}
	iter := c.s.Query("SELECT c FROM " + c.ks + ".rows WHERE p = 'pages'").PageSize(10).Iter()
	if iter.NumRows() != 10 || len(iter.PageState()) == 0 {
		c.Errorf("the first page has %d rows", iter.NumRows())
	}
	n, want := 0, 24
	for iter.Scan(&n) {
		if n != want {
			c.Errorf("got row %d, want %d", n, want)
		}
		want--
	}
	if err := iter.Close(); err != nil || want != -1 {
		c.Errorf("pages ended before %d: %v", want, err)
	}

	batch := c.s.Batch(gocql.LoggedBatch).Query(put, "batch", 1, "a").Query(put, "batch", 2, "b")
	if err := batch.Exec(); err != nil {
		c.Fatal(err)
	}
	var v string
	if err := c.s.Query("SELECT v FROM "+c.ks+".rows WHERE p = ? AND c = ?", "batch", 2).Scan(&v); err != nil || v != "b" {
		c.Errorf("batch: %q, %v", v, err)
	}

	once := "INSERT INTO " + c.ks + ".rows (p, c, v) VALUES ('lwt', 1, ?) IF NOT EXISTS"
	for i, text := range []string{"first", "second"} {
		was := map[string]any{}
		applied, err := c.s.Query(once, text).MapScanCAS(was)
		if err != nil || applied != (i == 0) || i == 1 && was["v"] != "first" {
			c.Errorf("conditional insert %d: %v, %v, %v", i, applied, was, err)
		}
	}

	c.exec("INSERT INTO " + c.ks + ".rows (p, c, v) VALUES ('ttl', 1, 'x') USING TTL 86400")
	var ttl int
	if err := c.s.Query("SELECT ttl(v) FROM " + c.ks + ".rows WHERE p = 'ttl' AND c = 1").Scan(&ttl); err != nil || ttl <= 86000 || ttl > 86400 {
		c.Errorf("TTL %d, %v", ttl, err)
	}
}

func (c client) errors() {
	for text, code := range map[string]int{
		"SELEC 1": gocql.ErrCodeSyntax, "SELECT nothing FROM " + c.ks + ".rows": gocql.ErrCodeInvalid,
		"CREATE KEYSPACE " + c.ks + " WITH replication = {'class': 'SingleRegionStrategy'}": gocql.ErrCodeAlreadyExists,
	} {
		var e gocql.RequestError
		if err := c.s.Query(text).Exec(); !errors.As(err, &e) || e.Code() != code {
			c.Errorf("%s: got %v, want %#x", text, err, code)
		}
	}
}
