package server_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"

	oracle "github.com/datastax/go-cassandra-native-protocol/frame"
	"github.com/datastax/go-cassandra-native-protocol/message"
	"github.com/datastax/go-cassandra-native-protocol/primitive"

	"spoor/internal/cql/frame"
	"spoor/internal/cql/server"
)

// nothing answers every statement at once, so that what is measured is the
// protocol.
type nothing struct{ fake }

func (*nothing) Execute(_ context.Context, _ *server.Request, res *frame.Response) error {
	res.Void()
	return nil
}

func (*nothing) ExecuteBatch(_ context.Context, _ *server.BatchRequest, res *frame.Response) error {
	res.Void()
	return nil
}

// BenchmarkLoopback sends statements over loopback TCP connections, a number of
// them at a time on each, and reads the answers. The client shares the machine.
func BenchmarkLoopback(b *testing.B) {
	srv, err := server.New(server.Config{Handler: new(nothing), AllowAll: true, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	go func() { _ = srv.Serve(l) }()
	b.Cleanup(func() {
		if err := srv.Shutdown(context.Background()); err != nil {
			b.Error(err)
		}
	})
	values := []*primitive.Value{primitive.NewValue(make([]byte, 16)), primitive.NewValue([]byte{0, 0, 0, 1})}
	for _, kind := range []string{"execute", "query"} {
		for _, shape := range []struct{ conns, inFlight int }{{1, 1}, {1, 64}, {16, 1}, {16, 16}} {
			b.Run(fmt.Sprintf("%s/conns=%d/inflight=%d", kind, shape.conns, shape.inFlight), func(b *testing.B) {
				c := dialReady(b, l.Addr().String())
				c.send(1, &message.Prepare{Query: insertKV})
				_, m := c.receive()
				options := &message.QueryOptions{Consistency: primitive.ConsistencyLevelLocalQuorum, PositionalValues: values}
				var request message.Message = &message.Execute{QueryId: m.(*message.PreparedResult).PreparedQueryId, Options: options}
				if kind == "query" {
					request = &message.Query{Query: insertKV, Options: options}
				}
				benchmarkShape(b, l.Addr().String(), request, shape.conns, shape.inFlight)
			})
		}
	}
}

func benchmarkShape(b *testing.B, addr string, m message.Message, conns, inFlight int) {
	var burst bytes.Buffer
	for i := range inFlight {
		if err := oracle.NewCodec().EncodeFrame(oracle.NewFrame(primitive.ProtocolVersion4, int16(i), m), &burst); err != nil {
			b.Fatal(err)
		}
	}
	clients := make([]*client, conns)
	for i := range clients {
		clients[i] = dialReady(b, addr)
	}
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for _, c := range clients {
		wg.Go(func() {
			answers := make([]byte, inFlight*(frame.HeaderSize+4)) // RESULT void
			for n := 0; n < b.N; n += conns * inFlight {
				if _, err := c.Write(burst.Bytes()); err != nil {
					b.Error(err)
					return
				}
				if _, err := io.ReadFull(c.Conn, answers); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
}
