package server_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"testing"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
	"github.com/apache/cassandra-gocql-driver/v2/lz4"
	"github.com/apache/cassandra-gocql-driver/v2/snappy"

	"spoor/internal/cql"
	"spoor/internal/cql/server"
)

const insertKV = "INSERT INTO ks.kv (pk, v) VALUES (?, ?)"

// connect opens a session of the Cassandra driver.
func connect(t testing.TB, addr string, change func(*gocql.ClusterConfig)) (*gocql.Session, error) {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	c := gocql.NewCluster(host)
	if c.Port, err = strconv.Atoi(port); err != nil {
		t.Fatal(err)
	}
	c.Timeout, c.ConnectTimeout = 10*time.Second, 10*time.Second
	c.ReconnectInterval = 0
	if change != nil {
		change(c)
	}
	s, err := c.CreateSession()
	if err == nil {
		t.Cleanup(s.Close)
	}
	return s, err
}

func mustConnect(t testing.TB, addr string, change func(*gocql.ClusterConfig)) *gocql.Session {
	t.Helper()
	s, err := connect(t, addr, change)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDriver(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*gocql.ClusterConfig){
		"negotiated": nil,
		"v3":         func(c *gocql.ClusterConfig) { c.ProtoVersion = 3 },
		"v4":         func(c *gocql.ClusterConfig) { c.ProtoVersion = 4 },
		"lz4":        func(c *gocql.ClusterConfig) { c.Compressor = lz4.LZ4Compressor{} },
		"snappy":     func(c *gocql.ClusterConfig) { c.Compressor = snappy.SnappyCompressor{} },
		"keyspace":   func(c *gocql.ClusterConfig) { c.Keyspace = "ks" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := start(t, nil)
			s := mustConnect(t, srv.addr, change)
			const rows = 53
			for i := range rows {
				if err := s.Query(insertKV, fmt.Sprintf("key %02d", i), i).Exec(); err != nil {
					t.Fatal(err)
				}
			}
			if n := srv.fake.prepares(insertKV); n != 1 {
				t.Errorf("%d preparations for one text", n)
			}
			if n := srv.fake.plans.Load(); n != rows {
				t.Errorf("%d executions found their plan, want %d", n, rows)
			}
			iter := s.Query("SELECT pk, v FROM ks.kv").PageSize(10).Iter()
			var pk string
			var v, n int
			for iter.Scan(&pk, &v) {
				if pk != fmt.Sprintf("key %02d", n) || v != n {
					t.Errorf("row %d is %q, %d", n, pk, v)
				}
				n++
			}
			if err := iter.Close(); err != nil || n != rows {
				t.Errorf("%d rows, error %v", n, err)
			}
			if err := s.Query("SELECT pk, v FROM ks.kv WHERE pk = ?", "key 07").Scan(&pk, &v); err != nil || v != 7 {
				t.Errorf("v = %d, error %v", v, err)
			}
			want := cql.Protocol4
			if name == "v3" {
				want = cql.Protocol3
			}
			if last := srv.fake.last.Load(); last.Conn.Protocol != want {
				t.Errorf("the connection is %+v", last.Conn)
			}
			if name == "keyspace" {
				if err := s.Query("SELECT pk, v FROM kv WHERE pk = ?", "key 08").Scan(&pk, &v); err != nil || v != 8 {
					t.Errorf("in the session's keyspace: v = %d, error %v", v, err)
				}
			}
		})
	}
}

func TestDriverBatch(t *testing.T) {
	t.Parallel()
	srv := start(t, nil)
	s := mustConnect(t, srv.addr, nil)
	b := s.Batch(gocql.UnloggedBatch)
	b.Query(insertKV, "a", 1)
	b.Query(insertKV, "b", 2)
	b.Query("INSERT INTO ks.kv (pk, v) VALUES ('c', 3)")
	if err := b.Exec(); err != nil {
		t.Fatal(err)
	}
	var n int
	for iter := s.Query("SELECT pk, v FROM ks.kv").Iter(); iter.Scan(new(string), new(int)); {
		n++
	}
	if n != 3 {
		t.Errorf("%d rows", n)
	}
	if err := s.Query("BEGIN BATCH APPLY BATCH").Exec(); err != nil {
		t.Errorf("an empty batch: %v", err)
	}
	b = s.Batch(gocql.LoggedBatch)
	b.Query("SELECT pk FROM ks.kv")
	var re gocql.RequestError
	if err := b.Exec(); !errors.As(err, &re) || re.Code() != gocql.ErrCodeInvalid {
		t.Errorf("a SELECT in a batch: %v", err)
	}
}

func TestDriverErrors(t *testing.T) {
	t.Parallel()
	srv := start(t, nil)
	s := mustConnect(t, srv.addr, nil)
	for statement, code := range map[string]int{
		"SELEC":                                 gocql.ErrCodeSyntax,
		"SELECT a FROM ks.nothing":              gocql.ErrCodeInvalid,
		"CREATE TABLE ks.kv (a int)":            gocql.ErrCodeAlreadyExists,
		"DROP TABLE ks.kv":                      gocql.ErrCodeServer,
		"DROP TYPE ks.t":                        gocql.ErrCodeServer,
		"TRUNCATE ks.kv":                        gocql.ErrCodeServer,
		"INSERT INTO ks.kv (pk, v) VALUES ('a'": gocql.ErrCodeSyntax,
	} {
		err := s.Query(statement).Exec()
		var re gocql.RequestError
		if !errors.As(err, &re) || re.Code() != code {
			t.Errorf("%s: error %v, want code %#x", statement, err, code)
			continue
		}
		if code == gocql.ErrCodeServer && re.Message() != "An internal server error occurred." {
			t.Errorf("%s: the client learns %q", statement, re.Message())
		}
	}
	var syntax int
	for _, r := range srv.rejections() {
		if r.Reason == server.RejectSyntax {
			syntax++
		}
	}
	if syntax != 2 {
		t.Errorf("%d syntax errors were reported, want 2", syntax)
	}
	if err := s.Query("SELECT pk FROM ks.kv").Exec(); err != nil {
		t.Errorf("the server does not go on: %v", err)
	}
}

func TestDriverSchemaChange(t *testing.T) {
	t.Parallel()
	srv := start(t, nil)
	s := mustConnect(t, srv.addr, nil)
	insert := func() {
		t.Helper()
		if err := s.Query(insertKV, "a", 1).Exec(); err != nil {
			t.Fatal(err)
		}
	}
	insert()
	if err := s.Query("ALTER TABLE ks.other ADD x int").Exec(); err != nil {
		t.Fatal(err)
	}
	insert()
	if n := srv.fake.prepares(insertKV); n != 1 {
		t.Errorf("another table's change made %d preparations", n)
	}
	if err := s.Query("ALTER TABLE ks.kv ADD x int").Exec(); err != nil {
		t.Fatal(err)
	}
	insert() // UNPREPARED, which the driver answers by preparing again
	if n := srv.fake.prepares(insertKV); n != 2 {
		t.Errorf("%d preparations after the table's change, want 2", n)
	}
}

func TestDriverAuthentication(t *testing.T) {
	t.Parallel()
	srv := start(t, func(c *server.Config) { c.AllowAll, c.Authenticator = false, new(passwords) })
	login := func(password string) func(*gocql.ClusterConfig) {
		return func(c *gocql.ClusterConfig) {
			c.Authenticator = gocql.PasswordAuthenticator{Username: testUser, Password: password}
			c.ProtoVersion = 4
		}
	}
	s := mustConnect(t, srv.addr, login(testPassword))
	if err := s.Query("SELECT pk FROM ks.kv").Exec(); err != nil {
		t.Fatal(err)
	}
	if got := srv.fake.last.Load().Session; got != testUser {
		t.Errorf("the session is %v", got)
	}
	if _, err := connect(t, srv.addr, login("wrong")); err == nil {
		t.Error("a wrong password connects")
	}
	var found bool
	for _, r := range srv.rejections() {
		if r.Reason == server.RejectAuthentication {
			found = true
			if r.User != testUser || r.Err.Code != cql.CodeBadCredentials ||
				r.Err.Message != "Provided username "+testUser+" and/or password are incorrect" || !r.Conn.Remote.IsValid() {
				t.Errorf("the rejection is %+v", r)
			}
		}
	}
	if !found {
		t.Error("the failed login was not reported")
	}
}

func TestShutdownFinishesRequests(t *testing.T) {
	t.Parallel()
	srv := start(t, nil)
	srv.fake.block, srv.fake.started = make(chan struct{}), make(chan struct{}, 1)
	s := mustConnect(t, srv.addr, nil)
	answered := make(chan error, 1)
	go func() { answered <- s.Query("SELECT pk FROM ks.slow").Exec() }()
	<-srv.fake.started
	done := make(chan error, 1)
	go func() { done <- srv.Shutdown(context.Background()) }()
	close(srv.fake.block)
	if err := <-answered; err != nil {
		t.Errorf("the request under way: %v", err)
	}
	if err := <-done; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if n := srv.Stats(); n.Connections != 0 || n.InFlightBytes != 0 {
		t.Errorf("left over: %+v", n)
	}
}

func TestShutdownGivesUp(t *testing.T) {
	t.Parallel()
	srv := start(t, nil)
	srv.fake.block, srv.fake.started = make(chan struct{}), make(chan struct{}, 1)
	s := mustConnect(t, srv.addr, func(c *gocql.ClusterConfig) { c.ProtoVersion = 4 })
	go func() { _ = s.Query("SELECT pk FROM ks.slow").Exec() }()
	<-srv.fake.started
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := srv.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown: %v", err)
	}
	if srv.fake.running.Load() != 0 {
		t.Error("a handler still runs")
	}
}
