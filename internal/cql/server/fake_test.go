package server_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"sort"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"spoor/internal/cql"
	"spoor/internal/cql/ast"
	"spoor/internal/cql/frame"
	"spoor/internal/cql/server"
)

// option is a type as the protocol writes it, the same in every version.
type option string

const (
	typeInt     option = "\x00\x09"
	typeVarchar option = "\x00\x0D"
	typeUUID    option = "\x00\x0C"
	typeInet    option = "\x00\x10"
	typeTextSet option = "\x00\x22\x00\x0D"
)

func (o option) AppendOption(dst []byte, _ cql.ProtocolVersion) []byte { return append(dst, o...) }

// fake keeps rows of one table, ks.kv (pk text PRIMARY KEY, v int), and knows
// as much of the system tables as a driver needs to connect.
type fake struct {
	mu   sync.Mutex
	rows map[string][]byte

	prepared []string     // the texts, in order
	plans    atomic.Int32 // executions that found the plan of their preparation
	last     atomic.Pointer[server.Request]
	block    chan struct{} // when not nil, statements on ks.slow wait for it
	running  atomic.Int32
	started  chan struct{} // receives one for each statement on ks.slow
}

var kvColumns = []frame.ColumnSpec{
	{Keyspace: "ks", Table: "kv", Name: "pk", Type: typeVarchar},
	{Keyspace: "ks", Table: "kv", Name: "v", Type: typeInt},
}

var kvMetadata = frame.NewMetadata(kvColumns)

// prepares counts how often a text was prepared.
func (f *fake) prepares(text string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.prepared {
		if p == text {
			n++
		}
	}
	return n
}

func (f *fake) Prepare(_ context.Context, req *server.Request) (server.PreparedInfo, error) {
	f.mu.Lock()
	f.prepared = append(f.prepared, req.Statement.Text)
	f.mu.Unlock()
	info := server.PreparedInfo{Plan: "plan"}
	bind := func(name string) {
		for i, c := range kvColumns {
			if c.Name == name {
				if i == 0 {
					info.PartitionKey = []uint16{uint16(len(info.Bind))}
				}
				info.Bind = append(info.Bind, c)
			}
		}
	}
	switch st := req.Statement.Statement.(type) {
	case *ast.Insert:
		for i, v := range st.Values {
			if _, ok := v.(*ast.BindMarker); ok {
				bind(st.Columns[i].Text)
			}
		}
	case *ast.Select:
		info.Result = kvMetadata
		for _, r := range st.Where {
			if _, ok := r.Value.(*ast.BindMarker); ok {
				bind(r.Columns[0].Text)
			}
		}
	default:
		return info, cql.Invalid("only DML is prepared")
	}
	return info, nil
}

func (f *fake) Execute(ctx context.Context, req *server.Request, res *frame.Response) error {
	kept := *req
	kept.Values = nil
	f.last.Store(&kept)
	if _, insert := req.Statement.Statement.(*ast.Insert); insert && req.Prepared != nil && req.Prepared.Plan() == "plan" {
		f.plans.Add(1)
	}
	switch st := req.Statement.Statement.(type) {
	case *ast.Use:
		if st.Keyspace != "ks" {
			return cql.Invalid("Keyspace '%s' does not exist", st.Keyspace)
		}
		res.SetKeyspace(st.Keyspace)
	case *ast.Select:
		return f.selectRows(ctx, st, req, res)
	case *ast.Insert:
		f.insert(st, req.Values)
		res.Void()
	case *ast.Batch:
		res.Void()
	case *ast.CreateTable:
		if st.Table.Name == "kv" {
			return cql.AlreadyExists("ks", "kv")
		}
		res.SchemaChange(frame.SchemaChange{Type: frame.Created, Target: frame.TargetTable, Keyspace: "ks", Name: st.Table.Name})
	case *ast.AlterTable:
		res.SchemaChange(frame.SchemaChange{Type: frame.Updated, Target: frame.TargetTable, Keyspace: "ks", Name: st.Table.Name})
	case *ast.Truncate:
		panic("a handler's defect")
	case *ast.DropTable:
		return errors.New("secret: disk on fire")
	case *ast.DropType:
		return nil // no result: a defect too
	default:
		return cql.Invalid("%T is not supported", st)
	}
	return nil
}

func (f *fake) ExecuteBatch(_ context.Context, req *server.BatchRequest, res *frame.Response) error {
	for _, e := range req.Entries {
		f.insert(e.Statement.Statement.(*ast.Insert), e.Values)
	}
	res.Void()
	return nil
}

func (f *fake) insert(st *ast.Insert, values []frame.Value) {
	cell := func(e ast.Expr) []byte {
		switch e := e.(type) {
		case *ast.BindMarker:
			return bytes.Clone(values[e.Index].Data)
		case *ast.Literal:
			if e.Kind == ast.IntegerLiteral {
				n, err := strconv.Atoi(e.Text)
				if err != nil {
					panic(err)
				}
				return binary.BigEndian.AppendUint32(nil, uint32(n))
			}
			return []byte(e.Text)
		}
		panic("unknown value")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rows[string(cell(st.Values[0]))] = cell(st.Values[1])
}

func (f *fake) selectRows(ctx context.Context, st *ast.Select, req *server.Request, res *frame.Response) error {
	switch st.Table.Keyspace + "." + st.Table.Name {
	case "system.local":
		local(st, res)
		return nil
	case "system.peers":
		res.Rows(frame.NewMetadata([]frame.ColumnSpec{{Keyspace: "system", Table: "peers", Name: "peer", Type: typeInet}}))
		return nil
	case "ks.slow":
		f.running.Add(1)
		defer f.running.Add(-1)
		if f.started != nil {
			f.started <- struct{}{}
		}
		select {
		case <-f.block:
			res.Rows(kvMetadata)
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	case "ks.kv", ".kv":
	default:
		return cql.Invalid("unconfigured table %s", st.Table.Name)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	keys := make([]string, 0, len(f.rows))
	for k := range f.rows {
		if len(st.Where) == 0 || k == string(req.Values[0].Data) {
			keys = append(keys, k)
		}
	}
	sort.Strings(keys)
	res.Rows(kvMetadata)
	n := int32(0)
	for _, k := range keys {
		if k <= string(req.PagingState) {
			continue
		}
		if n++; req.PageSize > 0 && n > req.PageSize {
			break
		}
		res.Cell([]byte(k))
		res.CloseCell(append(res.OpenCell(), f.rows[k]...))
		res.EndRow()
		if n == req.PageSize && k != keys[len(keys)-1] {
			res.PagingState([]byte(k))
		}
	}
	return nil
}

func local(st *ast.Select, res *frame.Response) {
	uuid := bytes.Repeat([]byte{0x11}, 16)
	var columns []frame.ColumnSpec
	var cells [][]byte
	add := func(name string, t option, cell []byte) {
		if len(st.Selectors) > 0 && st.Selectors[0].Expr.(*ast.ColumnRef).Name != name {
			return
		}
		columns = append(columns, frame.ColumnSpec{Keyspace: "system", Table: "local", Name: name, Type: t})
		cells = append(cells, cell)
	}
	add("host_id", typeUUID, uuid)
	add("schema_version", typeUUID, uuid)
	add("data_center", typeVarchar, []byte("us-east-1"))
	add("rack", typeVarchar, []byte("r"))
	add("release_version", typeVarchar, []byte("3.11.2"))
	add("cluster_name", typeVarchar, []byte("Amazon Keyspaces"))
	add("partitioner", typeVarchar, []byte("org.apache.cassandra.dht.Murmur3Partitioner"))
	add("rpc_address", typeInet, []byte{127, 0, 0, 1})
	add("broadcast_address", typeInet, []byte{127, 0, 0, 1})
	add("tokens", typeTextSet, append([]byte{0, 0, 0, 1, 0, 0, 0, 1}, '0'))
	res.Rows(frame.NewMetadata(columns))
	for _, c := range cells {
		res.Cell(c)
	}
	res.EndRow()
}

// passwords is an authenticator of one user; a session is the user's name.
type passwords struct{ nonces atomic.Int32 }

const (
	testUser     = "alice-at-123456789012"
	testPassword = "correct horse"
)

func (*passwords) Class() string { return "org.apache.cassandra.auth.PasswordAuthenticator" }

func (*passwords) Plain(_ context.Context, _ *server.ConnInfo, user, password string) (server.Session, error) {
	if user != testUser || password != testPassword {
		return nil, cql.BadCredentials(user)
	}
	return user, nil
}

func (p *passwords) SigV4(context.Context, *server.ConnInfo) (string, func(context.Context, []byte) (server.Session, error), error) {
	nonce := "91703fdc2ef562e19fbdab0f58e42fe5"
	p.nonces.Add(1)
	return nonce, func(_ context.Context, response []byte) (server.Session, error) {
		if !bytes.HasPrefix(response, []byte("signature=")) {
			return nil, cql.BadCredentials("AKID")
		}
		return "by signature", nil
	}, nil
}

// testServer is a server on a loopback port, with what it refused.
type testServer struct {
	*server.Server
	addr     string
	fake     *fake
	mu       sync.Mutex
	rejected []server.Rejection
}

func (s *testServer) rejections() []server.Rejection {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]server.Rejection(nil), s.rejected...)
}

// start runs a server until the test ends. change may alter its configuration.
func start(t testing.TB, change func(*server.Config)) *testServer {
	t.Helper()
	s := &testServer{fake: &fake{rows: map[string][]byte{}}}
	cfg := server.Config{Handler: s.fake, AllowAll: true, Logger: slog.New(slog.DiscardHandler),
		Rejected: func(_ context.Context, r server.Rejection) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.rejected = append(s.rejected, r)
		}}
	if change != nil {
		change(&cfg)
	}
	var err error
	if s.Server, err = server.New(cfg); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = l.Addr().String()
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("shutting down: %v", err)
		}
		if err := <-served; !errors.Is(err, server.ErrServerClosed) {
			t.Errorf("Serve returned %v", err)
		}
	})
	return s
}
