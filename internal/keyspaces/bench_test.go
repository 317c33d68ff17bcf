package keyspaces

import (
	"context"
	"encoding/binary"
	"testing"

	"spoor/internal/cql"
	"spoor/internal/cql/frame"
	"spoor/internal/cql/parser"
	"spoor/internal/cql/server"
)

// prepared prepares a statement as the CQL server does.
func (b *bench) prepared(text string) *server.Prepared {
	b.t.Helper()
	p, err := parser.Parse(text)
	if err != nil {
		b.t.Fatal(err)
	}
	info, err := b.svc.Prepare(context.Background(), &server.Request{Conn: b.conn, Session: b.sess, Statement: p})
	if err != nil {
		b.t.Fatal(err)
	}
	out := &server.Prepared{Statement: p, Info: info}
	out.SetPlan(info.Plan)
	return out
}

func benchmarkStatement(b *testing.B, text string, quiet bool) {
	x := newBench(b)
	x.rules.quiet = quiet
	x.must("CREATE KEYSPACE ks WITH REPLICATION = {'class': 'SingleRegionStrategy'}")
	x.must("CREATE TABLE ks.t (p bigint, c int, v text, PRIMARY KEY (p, c))")
	x.must("INSERT INTO ks.t (p, c, v) VALUES (1, 2, 'value')")
	st := x.prepared(text)
	key := make([]byte, 8)
	binary.BigEndian.PutUint64(key, 1)
	values := []frame.Value{{Data: key}, intValue(2), textValue("a value of some length, as rows have")}[:len(st.Statement.Markers)]
	req := server.Request{Conn: x.conn, Session: x.sess, Statement: st.Statement, Prepared: st, Values: values}
	var res frame.Response
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		binary.BigEndian.PutUint64(key, uint64(i))
		if len(values) < 3 {
			binary.BigEndian.PutUint64(key, 1)
		}
		res.Reset(cql.Protocol4, 1)
		if err := x.svc.Execute(context.Background(), &req, &res); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkInsert(b *testing.B) {
	const text = "INSERT INTO ks.t (p, c, v) VALUES (?, ?, ?)"
	b.Run("recorded", func(b *testing.B) { benchmarkStatement(b, text, false) })
	b.Run("quiet", func(b *testing.B) { benchmarkStatement(b, text, true) })
}

func BenchmarkSelect(b *testing.B) {
	const text = "SELECT v FROM ks.t WHERE p = ? AND c = ?"
	b.Run("recorded", func(b *testing.B) { benchmarkStatement(b, text, false) })
	b.Run("quiet", func(b *testing.B) { benchmarkStatement(b, text, true) })
}
