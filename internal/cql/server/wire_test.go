package server_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	oracle "github.com/datastax/go-cassandra-native-protocol/frame"
	"github.com/datastax/go-cassandra-native-protocol/message"
	"github.com/datastax/go-cassandra-native-protocol/primitive"
	"github.com/google/go-cmp/cmp"

	"spoor/internal/cql"
	"spoor/internal/cql/frame"
	"spoor/internal/cql/server"
)

// client speaks the protocol by an independent codec, one message at a time.
type client struct {
	t testing.TB
	net.Conn
}

func dial(t testing.TB, addr string) *client {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return newClient(t, nc)
}

func newClient(t testing.TB, nc net.Conn) *client {
	t.Helper()
	t.Cleanup(func() { nc.Close() })
	if err := nc.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return &client{t, nc}
}

// dialReady connects and gets past STARTUP.
func dialReady(t testing.TB, addr string, options ...string) *client {
	t.Helper()
	c := dial(t, addr)
	c.expect(message.NewStartup(options...), &message.Ready{})
	return c
}

func (c *client) send(stream int16, m message.Message) {
	c.t.Helper()
	if err := oracle.NewCodec().EncodeFrame(oracle.NewFrame(primitive.ProtocolVersion4, stream, m), c.Conn); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) write(b ...byte) {
	c.t.Helper()
	if _, err := c.Conn.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) receive() (int16, message.Message) {
	c.t.Helper()
	f, err := oracle.NewCodec().DecodeFrame(c.Conn)
	if err != nil {
		c.t.Fatal(err)
	}
	return f.Header.StreamId, f.Body.Message
}

// expect sends a message and compares the answer.
func (c *client) expect(m, want message.Message) {
	c.t.Helper()
	c.send(9, m)
	stream, got := c.receive()
	if diff := cmp.Diff(want, got); stream != 9 || diff != "" {
		c.t.Errorf("%v is answered on stream %d (-want +got):\n%s", m, stream, diff)
	}
}

// expectClosed checks that nothing more comes.
func (c *client) expectClosed() {
	c.t.Helper()
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		c.t.Errorf("the connection is not closed: %d bytes, error %v", n, err)
	}
}

func query(text string) *message.Query {
	return &message.Query{Query: text, Options: &message.QueryOptions{}}
}

// header is a version 4 request's header.
func header(op frame.Opcode, length uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{4, 0, 0, 9, byte(op)}, length)
}

// TestBrokenMessages sends what breaks the protocol. Each is answered with an
// ERROR, the connection closed, the rejection reported, and the server goes on.
func TestBrokenMessages(t *testing.T) {
	t.Parallel()
	const unsupported = "; the lowest supported version is 3 and the greatest is 4"
	startup := "\x00\x01\x00\x0bCQL_VERSION\x00\x053.0.0"
	for name, c := range map[string]struct {
		ready  bool
		in     string
		want   string
		stream int16
	}{
		"version 5":          {false, "\x05\x00\x00\x09\x05\x00\x00\x00\x00", "Invalid or unsupported protocol version (5)" + unsupported, 0},
		"version 66 ready":   {true, "\x42\x00\x00\x09\x05\x00\x00\x00\x00", "Invalid or unsupported protocol version (66)" + unsupported, 0},
		"version 1":          {false, "\x01\x00\x09\x05\x00\x00\x00\x00", "Invalid or unsupported protocol version (1)" + unsupported, 0},
		"TLS":                {false, "\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03 more of a greeting", "Invalid or unsupported protocol version (22)" + unsupported, 0},
		"other version":      {true, "\x03\x00\x00\x09\x05\x00\x00\x00\x00", "Invalid message version. Got 3 but previous messages on this connection had version 4", 9},
		"unknown opcode":     {true, string(header(0x7F, 0)), "Unknown opcode 127", 9},
		"response":           {true, string(header(frame.OpResult, 0)), "Wrong protocol direction, expected REQUEST, got RESPONSE for opcode RESULT", 9},
		"1 GB":               {true, string(header(frame.OpQuery, 1<<30)) + "some", "Request is too big: length 1073741824 exceeds maximum allowed length 16777216.", 9},
		"1 MB before login":  {false, string(header(frame.OpQuery, 1<<20)), "Request is too big: length 1048576 exceeds maximum allowed length 65536.", 9},
		"bad UTF-8":          {true, string(header(frame.OpQuery, 8)) + "\x00\x00\x00\x01\xFF\x00\x01\x00", "Cannot decode string as UTF8", 9},
		"bad prepare":        {true, string(header(frame.OpPrepare, 4)) + "\x00\x00\x00\x01", "Not enough bytes to read the message: it ends before 1 more bytes", 9},
		"bad batch":          {true, string(header(frame.OpBatch, 3)) + "\x07\x00\x00", "Invalid batch type 7", 9},
		"bad payload":        {true, "\x04\x04\x00\x09\x07\x00\x00\x00\x02\x00\x01", "Not enough bytes to read the message: it ends before 2 more bytes", 9},
		"no compression":     {true, "\x04\x01\x00\x09\x07\x00\x00\x00\x04\x00\x00\x00\x00", "Cannot decompress the body: no compression was agreed on", 9},
		"no CQL_VERSION":     {false, string(header(frame.OpStartup, 2)) + "\x00\x00", "Missing value CQL_VERSION in STARTUP message", 9},
		"CQL 2":              {false, string(header(frame.OpStartup, 22)) + strings.Replace(startup, "3.0.0", "2.0.0", 1), "CQL version 2.0.0 is not supported by the binary protocol (supported version are >= 3.0.0)", 9},
		"unknown compressor": {false, string(header(frame.OpStartup, 40)) + "\x00\x02" + startup[2:] + "\x00\x0bCOMPRESSION\x00\x03zip", "Unknown compression algorithm: zip", 9},
		"many options":       {false, string(header(frame.OpStartup, 2)) + "\xFF\xFF", "Too many options: 65535", 9},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := start(t, nil)
			conn := dial(t, srv.addr)
			if c.ready {
				conn.expect(message.NewStartup(), &message.Ready{})
			}
			conn.write([]byte(c.in)...)
			stream, got := conn.receive()
			if diff := cmp.Diff(&message.ProtocolError{ErrorMessage: c.want}, got); diff != "" || stream != c.stream {
				t.Errorf("answered on stream %d (-want +got):\n%s", stream, diff)
			}
			conn.expectClosed()
			if r := srv.rejections(); len(r) != 1 || r[0].Reason != server.RejectProtocol || r[0].Err.Message != c.want {
				t.Errorf("reported: %+v", r)
			}
			dialReady(t, srv.addr).expect(query("INSERT INTO ks.kv (pk, v) VALUES ('a', 1)"), &message.VoidResult{})
		})
	}
}

func TestTruncatedFrame(t *testing.T) {
	t.Parallel()
	srv := start(t, func(c *server.Config) { c.ReadTimeout = 300 * time.Millisecond })
	c := dialReady(t, srv.addr)
	c.write(append(header(frame.OpQuery, 100), "only a part"...)...)
	c.expectClosed() // after the read timeout
	c = dialReady(t, srv.addr)
	c.write(header(frame.OpQuery, 100)[:5]...)
	if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	c.expectClosed()
	dialReady(t, srv.addr).expect(query("USE ks"), &message.SetKeyspaceResult{Keyspace: "ks"})
	if b := srv.Stats().InFlightBytes; b != 0 {
		t.Errorf("%d bytes are still counted", b)
	}
}

func TestTimeouts(t *testing.T) {
	t.Parallel()
	srv := start(t, func(c *server.Config) { c.StartupTimeout = 50 * time.Millisecond })
	dial(t, srv.addr).expectClosed()
	srv = start(t, func(c *server.Config) { c.IdleTimeout = 50 * time.Millisecond })
	dialReady(t, srv.addr).expectClosed()
}

func TestStates(t *testing.T) {
	t.Parallel()
	srv := start(t, func(c *server.Config) { c.AllowAll, c.Authenticator = false, new(passwords) })
	c := dial(t, srv.addr)
	c.expect(query("SELECT"), &message.ProtocolError{ErrorMessage: "Unexpected message QUERY, expecting STARTUP or OPTIONS"})
	c.expect(&message.AuthResponse{}, &message.ProtocolError{ErrorMessage: "Unexpected message AUTH_RESPONSE, expecting STARTUP or OPTIONS"})
	c.expect(&message.Options{}, &message.Supported{Options: map[string][]string{
		"CQL_VERSION": {"3.4.4"}, "COMPRESSION": {"snappy", "lz4"}, "PROTOCOL_VERSIONS": {"3/v3", "4/v4"}}})
	c.expect(message.NewStartup(), &message.Authenticate{Authenticator: "org.apache.cassandra.auth.PasswordAuthenticator"})
	c.expect(query("SELECT"), &message.ProtocolError{ErrorMessage: "Unexpected message QUERY, expecting SASL_RESPONSE"})
	c.expect(&message.Register{EventTypes: []primitive.EventType{"SCHEMA_CHANGE"}},
		&message.ProtocolError{ErrorMessage: "Unexpected message REGISTER, expecting SASL_RESPONSE"})
	c.expect(&message.AuthResponse{Token: []byte("\x00" + testUser + "\x00" + testPassword)}, &message.AuthSuccess{})
	c.expect(message.NewStartup(), &message.ProtocolError{ErrorMessage: "Unexpected message STARTUP, the connection is already initialized"})
	c.expect(&message.Register{EventTypes: []primitive.EventType{"SCHEMA_CHANGE", "STATUS_CHANGE"}}, &message.Ready{})
	c.expect(query("USE ks"), &message.SetKeyspaceResult{Keyspace: "ks"})
	c.expect(query("INSERT INTO kv (pk, v) VALUES ('a', 1)"), &message.VoidResult{})
	if got := srv.fake.last.Load(); got.Keyspace != "ks" || got.Session != testUser {
		t.Errorf("the request is %+v", got)
	}
	for _, r := range srv.rejections() {
		if r.Err.Code != cql.CodeProtocol {
			t.Errorf("reported: %+v", r)
		}
	}
}

func TestSASL(t *testing.T) {
	t.Parallel()
	auth := new(passwords)
	srv := start(t, func(c *server.Config) { c.AllowAll, c.Authenticator = false, auth })
	login := func() *client {
		c := dial(t, srv.addr)
		c.send(1, message.NewStartup())
		c.receive()
		return c
	}
	for _, c := range map[string]struct{ token, want string }{
		"wrong password": {"\x00alice\x00nonsense", "Provided username alice and/or password are incorrect"},
		"no password":    {"\x00alice\x00", "Password must not be null"},
		"no user":        {"\x00\x00secret", "Authentication ID must not be null"},
		"garbage":        {"garbage", "Malformed SASL PLAIN token"},
		"nothing":        {"", "Malformed SASL PLAIN token"},
	} {
		conn := login()
		conn.expect(&message.AuthResponse{Token: []byte(c.token)}, &message.AuthenticationError{ErrorMessage: c.want})
		conn.expectClosed()
	}
	c := login()
	c.expect(&message.AuthResponse{Token: []byte("SigV4\x00\x00")}, &message.AuthChallenge{Token: []byte("nonce=91703fdc2ef562e19fbdab0f58e42fe5")})
	c.expect(&message.AuthResponse{Token: []byte("signature=abc,access_key=AKID,amzdate=2020-06-09T22:41:51.000Z")}, &message.AuthSuccess{})
	c.expect(query("USE ks"), &message.SetKeyspaceResult{Keyspace: "ks"})
	if got := srv.fake.last.Load().Session; got != "by signature" {
		t.Errorf("the session is %v", got)
	}
	c = login()
	c.expect(&message.AuthResponse{Token: []byte("SigV4\x00\x00")}, &message.AuthChallenge{Token: []byte("nonce=91703fdc2ef562e19fbdab0f58e42fe5")})
	c.expect(&message.AuthResponse{Token: []byte("\x00" + testUser + "\x00" + testPassword)},
		&message.AuthenticationError{ErrorMessage: "Provided username AKID and/or password are incorrect"})
	c.expectClosed()
	if n := len(srv.rejections()); n != 6 {
		t.Errorf("%d rejections, want 6", n)
	}
}

func TestNamedValues(t *testing.T) {
	t.Parallel()
	srv := start(t, nil)
	c := dialReady(t, srv.addr)
	one := primitive.NewValue([]byte{0, 0, 0, 1})
	named := func(values map[string]*primitive.Value) *message.QueryOptions {
		return &message.QueryOptions{NamedValues: values}
	}
	c.expect(&message.Query{Query: "INSERT INTO ks.kv (pk, v) VALUES (:k, :n)",
		Options: named(map[string]*primitive.Value{"n": one, "k": primitive.NewValue([]byte("by marker"))})}, &message.VoidResult{})
	c.expect(&message.Query{Query: insertKV,
		Options: named(map[string]*primitive.Value{"v": one, "pk": primitive.NewValue([]byte("by column"))})}, &message.VoidResult{})
	c.expect(&message.Query{Query: insertKV, Options: named(map[string]*primitive.Value{"v": one})},
		&message.Invalid{ErrorMessage: "Invalid amount of bind variables"})
	c.send(3, &message.Prepare{Query: insertKV})
	_, m := c.receive()
	prepared := m.(*message.PreparedResult)
	c.expect(&message.Execute{QueryId: prepared.PreparedQueryId,
		Options: named(map[string]*primitive.Value{"v": one, "pk": primitive.NewValue([]byte("prepared"))})}, &message.VoidResult{})
	c.expect(&message.Execute{QueryId: prepared.PreparedQueryId, Options: &message.QueryOptions{}},
		&message.Invalid{ErrorMessage: "there were 2 markers(?) in CQL but 0 bound variables"})
	for _, k := range []string{"by marker", "by column", "prepared"} {
		if got := srv.fake.rows[k]; !bytes.Equal(got, one.Contents) {
			t.Errorf("row %q is %v", k, got)
		}
	}
}

func TestPreparedID(t *testing.T) {
	t.Parallel()
	srv := start(t, func(c *server.Config) { c.MaxPrepared = 2 })
	c := dialReady(t, srv.addr)
	c.expect(query("USE ks"), &message.SetKeyspaceResult{Keyspace: "ks"})
	prepare := func(text string) []byte {
		c.send(1, &message.Prepare{Query: text})
		_, m := c.receive()
		return m.(*message.PreparedResult).PreparedQueryId
	}
	id := prepare("INSERT INTO kv (pk, v) VALUES ('a', 1)")
	// printf '%s' "ksINSERT INTO kv (pk, v) VALUES ('a', 1)" | md5sum
	want := []byte{0xba, 0xc3, 0xf9, 0x1d, 0xb3, 0x59, 0xe1, 0xc7, 0x21, 0x2f, 0x84, 0xe9, 0x60, 0xdf, 0x1f, 0xa1}
	if !bytes.Equal(id, want) {
		t.Errorf("id %x, want %x", id, want)
	}
	execute := &message.Execute{QueryId: id, Options: &message.QueryOptions{}}
	c.expect(execute, &message.VoidResult{})
	prepare("INSERT INTO kv (pk, v) VALUES ('a', 2)")
	c.expect(execute, &message.VoidResult{}) // now the other is the one used longest ago
	prepare("INSERT INTO kv (pk, v) VALUES ('a', 3)")
	c.expect(execute, &message.VoidResult{})
	prepare("INSERT INTO kv (pk, v) VALUES ('a', 4)")
	prepare("INSERT INTO kv (pk, v) VALUES ('a', 5)")
	c.send(2, execute)
	_, m := c.receive()
	if u, ok := m.(*message.Unprepared); !ok || !bytes.Equal(u.Id, id) {
		t.Errorf("an evicted statement is answered %v", m)
	}
	if n := srv.Stats().Prepared; n != 2 {
		t.Errorf("%d statements are kept", n)
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	srv := start(t, nil)
	listener, deaf, c := dialReady(t, srv.addr), dialReady(t, srv.addr), dialReady(t, srv.addr)
	listener.expect(&message.Register{EventTypes: []primitive.EventType{"SCHEMA_CHANGE"}}, &message.Ready{})
	listener.expect(&message.Register{EventTypes: []primitive.EventType{"TOPOLOGY_CHANGE", "STATUS_CHANGE"}}, &message.Ready{})
	listener.send(9, query("USE nowhere"))
	listener.receive()
	want := &message.SchemaChangeEvent{ChangeType: "CREATED", Target: "TABLE", Keyspace: "ks", Object: "new"}
	c.expect(query("CREATE TABLE ks.new (a int PRIMARY KEY)"),
		&message.SchemaChangeResult{ChangeType: "CREATED", Target: "TABLE", Keyspace: "ks", Object: "new"})
	if stream, m := listener.receive(); stream != -1 || !cmp.Equal(want, m) {
		t.Errorf("on stream %d: %v", stream, m)
	}
	srv.SchemaChanged("", frame.SchemaChange{Type: frame.Dropped, Target: frame.TargetKeyspace, Keyspace: "ks"})
	if _, m := listener.receive(); !cmp.Equal(&message.SchemaChangeEvent{ChangeType: "DROPPED", Target: "KEYSPACE", Keyspace: "ks"}, m) {
		t.Errorf("event %v", m)
	}
	deaf.expect(query("USE ks"), &message.SetKeyspaceResult{Keyspace: "ks"}) // and no event before
}

// TestEventsOfOthers: a connection hears nothing of a schema that is not its
// user's.
func TestEventsOfOthers(t *testing.T) {
	t.Parallel()
	srv := start(t, func(c *server.Config) { c.AllowAll, c.Authenticator = false, tenants{new(passwords)} })
	login := func(user string) *client {
		c := dial(t, srv.addr)
		c.expect(message.NewStartup(), &message.Authenticate{Authenticator: "org.apache.cassandra.auth.PasswordAuthenticator"})
		c.expect(&message.AuthResponse{Token: []byte("\x00" + user + "\x00" + testPassword)}, &message.AuthSuccess{})
		return c
	}
	alice, listens, bob := login("alice"), login("alice"), login("bob")
	for _, c := range []*client{listens, bob} {
		c.expect(&message.Register{EventTypes: []primitive.EventType{"SCHEMA_CHANGE"}}, &message.Ready{})
	}
	alice.expect(query("CREATE TABLE ks.new (a int PRIMARY KEY)"),
		&message.SchemaChangeResult{ChangeType: "CREATED", Target: "TABLE", Keyspace: "ks", Object: "new"})
	if _, m := listens.receive(); !cmp.Equal(&message.SchemaChangeEvent{ChangeType: "CREATED", Target: "TABLE", Keyspace: "ks", Object: "new"}, m) {
		t.Errorf("event %v", m)
	}
	srv.SchemaChanged("alice", frame.SchemaChange{Type: frame.Dropped, Target: frame.TargetKeyspace, Keyspace: "ks"})
	srv.SchemaChanged("bob", frame.SchemaChange{Type: frame.Created, Target: frame.TargetKeyspace, Keyspace: "bobs"})
	if _, m := bob.receive(); !cmp.Equal(&message.SchemaChangeEvent{ChangeType: "CREATED", Target: "KEYSPACE", Keyspace: "bobs"}, m) {
		t.Errorf("bob's first event is %v", m)
	}
}

// tenants lets everybody in, each with a schema named as the user is.
type tenants struct{ *passwords }

type tenant string

func (t tenant) SchemaName() string { return string(t) }

func (tenants) Plain(_ context.Context, _ *server.ConnInfo, user, _ string) (server.Session, error) {
	return tenant(user), nil
}

// TestConcurrency checks that requests of one connection overtake each other,
// and what happens beyond the limit.
func TestConcurrency(t *testing.T) {
	t.Parallel()
	srv := start(t, func(c *server.Config) { c.MaxRequests = 2 })
	srv.fake.block, srv.fake.started = make(chan struct{}), make(chan struct{}, 3)
	c := dialReady(t, srv.addr, "THROW_ON_OVERLOAD", "1")
	c.send(1, query("SELECT pk FROM ks.slow"))
	<-srv.fake.started
	c.expect(query("USE ks"), &message.SetKeyspaceResult{Keyspace: "ks"})
	c.send(2, query("SELECT pk FROM ks.slow"))
	<-srv.fake.started
	c.expect(query("USE ks"), &message.Overloaded{ErrorMessage: "Too many requests are being executed for this connection (2)"})

	patient := dialReady(t, srv.addr)
	for stream := range int16(3) {
		patient.send(stream, query("SELECT pk FROM ks.slow"))
	}
	<-srv.fake.started
	<-srv.fake.started
	if n := srv.fake.running.Load(); n != 4 {
		t.Errorf("%d statements run, want 2 for each connection", n)
	}
	close(srv.fake.block)
	for range 2 {
		c.receive()
	}
	for range 3 { // the third was waiting, not refused
		if _, m := patient.receive(); m.GetOpCode() != primitive.OpCodeResult {
			t.Errorf("answered %v", m)
		}
	}
}

func TestConnectionLimit(t *testing.T) {
	t.Parallel()
	srv := start(t, func(c *server.Config) { c.MaxConnections = 1 })
	first := dialReady(t, srv.addr)
	dial(t, srv.addr).expectClosed()
	first.expect(query("USE ks"), &message.SetKeyspaceResult{Keyspace: "ks"})
}

// TestSlowReader has a client that sends requests and reads no answer: it must
// hold up nobody else, and be cut off.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	srv := start(t, func(c *server.Config) { c.WriteTimeout = 200 * time.Millisecond })
	srv.fake.rows["big"] = bytes.Repeat([]byte{1}, 1<<20)
	c := dialReady(t, srv.addr)
	for stream := range int16(64) {
		c.send(stream, query("SELECT pk, v FROM ks.kv"))
	}
	dialReady(t, srv.addr).expect(query("USE ks"), &message.SetKeyspaceResult{Keyspace: "ks"})
	for srv.Stats().InFlightBytes > 0 { // until the last response has been given up
		dialReady(t, srv.addr).expect(query("USE ks"), &message.SetKeyspaceResult{Keyspace: "ks"})
	}
	n, err := io.Copy(io.Discard, c.Conn)
	if n >= 64<<20 {
		t.Errorf("the client still got %d bytes, then %v", n, err)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	srv := start(t, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cert, pool := certificate(t, "cassandra.us-east-1.amazonaws.com")
	go func() { _ = srv.Serve(tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}})) }()
	nc, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{RootCAs: pool, ServerName: "cassandra.us-east-1.amazonaws.com"})
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(t, nc)
	c.expect(message.NewStartup("DRIVER_NAME", "a driver", "DRIVER_VERSION", "1.2"), &message.Ready{})
	c.expect(query("USE ks"), &message.SetKeyspaceResult{Keyspace: "ks"})
	info := srv.fake.last.Load().Conn
	if info.TLS == nil || info.TLS.ServerName != "cassandra.us-east-1.amazonaws.com" || info.DriverName != "a driver" || info.DriverVersion != "1.2" {
		t.Errorf("the connection is %+v", info)
	}
	c.write(header(0x7F, 0)...)
	if _, m := c.receive(); m.GetOpCode() != primitive.OpCodeError {
		t.Errorf("answered %v", m)
	}
	c.expectClosed()
	// What is not TLS ends by itself.
	plain := dial(t, l.Addr().String())
	plain.write(header(frame.OpOptions, 0)...)
	if _, err := io.Copy(io.Discard, plain.Conn); err != nil {
		t.Errorf("a connection without TLS: %v", err)
	}
}

func certificate(t *testing.T, name string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestConfig(t *testing.T) {
	t.Parallel()
	f := &fake{}
	for name, cfg := range map[string]server.Config{
		"no handler":       {AllowAll: true},
		"no authenticator": {Handler: f},
		"both":             {Handler: f, AllowAll: true, Authenticator: new(passwords)},
		"small body":       {Handler: f, AllowAll: true, MaxBody: 10},
		"large body":       {Handler: f, AllowAll: true, MaxBody: frame.MaxBody + 1},
		"small budget":     {Handler: f, AllowAll: true, MaxInFlightBytes: 10},
		"negative limit":   {Handler: f, AllowAll: true, MaxRequests: -1},
		"negative timeout": {Handler: f, AllowAll: true, IdleTimeout: -1},
	} {
		if _, err := server.New(cfg); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}
