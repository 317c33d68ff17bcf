package server_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	oracle "github.com/datastax/go-cassandra-native-protocol/frame"
	"github.com/datastax/go-cassandra-native-protocol/message"
	"github.com/datastax/go-cassandra-native-protocol/primitive"

	"spoor/internal/cql/server"
)

// pipes is a listener whose connections are in memory.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if c, ok := <-p; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (pipes) Close() error   { return nil }
func (pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// panics fails a test when the server logs that it recovered from a panic.
type panics struct {
	slog.Handler
	t *testing.T
}

func (p panics) Enabled(context.Context, slog.Level) bool { return true }

func (p panics) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if text := a.Value.String(); strings.Contains(text, "panic") {
			p.t.Error(text)
		}
		return true
	})
	return nil
}

// FuzzConnection sends arbitrary bytes after STARTUP. Whatever they are, the
// server ends the connection without a panic and keeps none of its budget.
func FuzzConnection(f *testing.F) {
	options := &message.QueryOptions{PositionalValues: []*primitive.Value{primitive.NewValue([]byte{1})}}
	for _, m := range []message.Message{
		query("INSERT INTO t (a) VALUES (1)"), &message.Prepare{Query: insertKV}, &message.Execute{QueryId: make([]byte, 16), Options: options},
		&message.Batch{Children: []*message.BatchChild{{Query: insertKV, Values: options.PositionalValues}}},
		&message.Options{}, &message.Register{EventTypes: []primitive.EventType{"SCHEMA_CHANGE"}}, message.NewStartup(),
	} {
		f.Add(encode(f, m))
	}
	startup := encode(f, message.NewStartup("COMPRESSION", "lz4"))
	f.Fuzz(func(t *testing.T, in []byte) {
		srv, err := server.New(server.Config{Handler: new(nothing), AllowAll: true, Logger: slog.New(panics{slog.DiscardHandler, t})})
		if err != nil {
			t.Fatal(err)
		}
		l := make(pipes)
		go func() { _ = srv.Serve(l) }()
		ours, theirs := net.Pipe()
		l <- theirs
		read := make(chan struct{})
		go func() {
			defer close(read)
			_, _ = io.Copy(io.Discard, ours)
		}()
		if err := ours.SetWriteDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		_, _ = ours.Write(append(bytes.Clone(startup), in...)) // fails when the server hangs up first
		ours.Close()
		<-read
		if err := srv.Shutdown(context.Background()); err != nil {
			t.Fatal(err)
		}
		close(l)
		if n := srv.Stats(); n.InFlightBytes != 0 || n.Connections != 0 {
			t.Fatalf("left over: %+v", n)
		}
	})
}

func encode(t testing.TB, m message.Message) []byte {
	var buf bytes.Buffer
	if err := oracle.NewCodec().EncodeFrame(oracle.NewFrame(primitive.ProtocolVersion4, 1, m), &buf); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}
