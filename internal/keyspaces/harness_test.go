package keyspaces

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/cql"
	"spoor/internal/cql/frame"
	"spoor/internal/cql/parser"
	"spoor/internal/cql/server"
	engine "spoor/internal/engine/pebble"
	"spoor/internal/journal"
	"spoor/internal/kv"
	"spoor/internal/record"
)

// rules are an authoriser and a selector of a test.
type rules struct {
	deny  func(p call.Permission) bool
	mu    sync.Mutex
	asked []call.Permission // by the last call
	quiet bool              // select no data events
}

func (r *rules) Authorize(_ context.Context, _ *call.Call, perms []call.Permission) error {
	r.mu.Lock()
	r.asked = append([]call.Permission(nil), perms...)
	r.mu.Unlock()
	if r.deny == nil {
		return nil
	}
	for _, p := range perms {
		if r.deny(p) {
			return aws.NewError(aws.Denied, "AccessDenied", "User is not authorized to perform: "+p.Action+" on resource: "+p.Resource)
		}
	}
	return nil
}
func (r *rules) Version() uint64             { return 1 }
func (r *rules) AnyData() bool               { return !r.quiet }
func (r *rules) Selects(*record.Record) bool { return !r.quiet }

// bench is a service on a store in memory.
type bench struct {
	t     testing.TB
	fs    *vfs.MemFS
	store *kv.Store
	jour  *journal.Journal
	rules *rules
	now   atomic.Int64 // unix seconds; 0: the real time
	svc   *Service
	sess  *Session
	conn  *server.ConnInfo
	ks    string
}

var quietLog = slog.New(slog.NewTextHandler(io.Discard, nil))

func newBench(t testing.TB) *bench {
	t.Helper()
	b := &bench{t: t, fs: vfs.NewCrashableMem(), rules: &rules{}}
	b.open(b.fs)
	t.Cleanup(b.close)
	caller := &aws.Caller{Type: aws.IAMUser, AccountID: "111122223333", PrincipalID: "AIDA1", ARN: "arn:aws:iam::111122223333:user/alice", UserName: "alice"}
	b.sess = NewSession(caller, nil, "111122223333", "us-east-1")
	b.conn = &server.ConnInfo{ID: 1, Remote: netip.MustParseAddrPort("10.0.0.1:5000"), Local: netip.MustParseAddrPort("127.0.0.1:9142"), Protocol: 4}
	return b
}

func (b *bench) open(fs *vfs.MemFS) {
	b.t.Helper()
	var err error
	if b.store, err = kv.Open("store", kv.Options{FS: fs, Merger: engine.Merger()}); err != nil {
		b.t.Fatal(err)
	}
	if b.jour, err = journal.Open(b.store, quietLog); err != nil {
		b.t.Fatal(err)
	}
	now := func() time.Time {
		if s := b.now.Load(); s != 0 {
			return time.Unix(s, 0)
		}
		return time.Now()
	}
	path := &call.Path{Auth: b.rules, Selector: b.rules, Journal: b.jour, Store: b.store, Now: now, Log: quietLog}
	if b.svc, err = Open(Config{Store: b.store, Path: path, Now: now, Log: quietLog}); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) close() {
	if err := b.jour.Close(); err != nil {
		b.t.Error(err)
	}
	if err := b.store.Close(); err != nil {
		b.t.Error(err)
	}
}

// execute executes a statement and gives its rows, each value as a CQL constant.
func (b *bench) execute(text string, values ...frame.Value) ([][]string, error) {
	b.t.Helper()
	p, err := parser.Parse(text)
	if err != nil {
		return nil, err
	}
	var res frame.Response
	res.Reset(cql.Protocol4, 1)
	req := &server.Request{Conn: b.conn, Session: b.sess, Keyspace: b.ks, Statement: p, Values: values}
	if err := b.svc.Execute(context.Background(), req, &res); err != nil {
		return nil, err
	}
	if res.Kind() == frame.ResultSetKeyspace {
		b.ks = res.Keyspace()
	}
	return nil, nil
}

func (b *bench) must(text string, values ...frame.Value) {
	b.t.Helper()
	if _, err := b.execute(text, values...); err != nil {
		b.t.Fatalf("%s: %v", text, err)
	}
}

// refused executes what must fail and gives the error.
func (b *bench) refused(text string, values ...frame.Value) *cql.Error {
	b.t.Helper()
	_, err := b.execute(text, values...)
	if err == nil {
		b.t.Fatalf("%s was accepted", text)
	}
	return cql.AsError(err)
}

// records gives the records so far.
func (b *bench) records() (out []map[string]any) {
	b.t.Helper()
	err := b.jour.Read(0, 1<<62, func(i journal.Item) (bool, error) {
		var m map[string]any
		out = append(out, m)
		return true, json.Unmarshal(i.JSON, &out[len(out)-1])
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return out
}

// lets lets everyone in.
type lets struct{ sess *Session }

func (l lets) Class() string { return "org.apache.cassandra.auth.PasswordAuthenticator" }
func (l lets) Plain(context.Context, *server.ConnInfo, string, string) (server.Session, error) {
	return l.sess, nil
}
func (l lets) SigV4(context.Context, *server.ConnInfo) (string, func(context.Context, []byte) (server.Session, error), error) {
	return "", nil, cql.BadCredentials("")
}

// dial serves the service and opens a session of the driver.
func (b *bench) dial(change func(*gocql.ClusterConfig)) *gocql.Session {
	b.t.Helper()
	srv, err := server.New(server.Config{Handler: b.svc, Authenticator: lets{b.sess}, Logger: quietLog})
	if err != nil {
		b.t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	host, port, _ := net.SplitHostPort(l.Addr().String())
	c := gocql.NewCluster(host)
	c.Port, _ = strconv.Atoi(port)
	c.Timeout, c.ConnectTimeout = 10*time.Second, 10*time.Second
	c.Authenticator = gocql.PasswordAuthenticator{Username: "u", Password: "p"}
	if change != nil {
		change(c)
	}
	s, err := c.CreateSession()
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		s.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := srv.Shutdown(ctx); err != nil {
			b.t.Error(err)
		}
		<-done
	})
	return s
}
