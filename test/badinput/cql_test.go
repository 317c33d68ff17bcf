package badinput

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"spoor/internal/cql/frame"
)

const (
	opError        = byte(frame.OpError)
	opAuthenticate = byte(frame.OpAuthenticate)
	opResult       = byte(frame.OpResult)
	opAuthSuccess  = byte(frame.OpAuthSuccess)

	// Error codes (native_protocol_v4.spec, section 9).
	codeProtocol       = 0x000A
	codeBadCredentials = 0x0100
	codeSyntax         = 0x2000
	codeInvalid        = 0x2200
	codeUnprepared     = 0x2500
)

// cqlConn is a client that writes what it wants.
type cqlConn struct{ net.Conn }

func (s *suite) cqlAddr() string { return net.JoinHostPort(s.CQLHost, strconv.Itoa(s.CQLPort)) }

func (s *suite) dial(t *testing.T) cqlConn {
	t.Helper()
	conf, err := s.TLS()
	if err != nil {
		t.Fatal(err)
	}
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", s.cqlAddr(), conf)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return cqlConn{c}
}

// request is a whole frame of version 4.
func cqlFrame(op frame.Opcode, stream int16, flags frame.Flags, body []byte) []byte {
	b := frame.AppendRequestHeader(nil, frame.Header{Version: 4, Flags: flags, Stream: stream, Opcode: op, Length: int32(len(body))})
	return append(b, body...)
}

func (c cqlConn) send(t *testing.T, b []byte) {
	t.Helper()
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
}

// read reads one answer; for an ERROR also its code and message.
func (c cqlConn) read(t *testing.T) (version byte, stream int16, op byte, code int, msg string) {
	t.Helper()
	var h [frame.HeaderSize]byte
	if _, err := io.ReadFull(c, h[:]); err != nil {
		t.Fatalf("no answer: %v", err)
	}
	body := make([]byte, binary.BigEndian.Uint32(h[5:]))
	if _, err := io.ReadFull(c, body); err != nil {
		t.Fatalf("half an answer: %v", err)
	}
	if h[4] == opError {
		code = int(binary.BigEndian.Uint32(body))
		n := int(binary.BigEndian.Uint16(body[4:]))
		msg = string(body[6 : 6+n])
	}
	return h[0], int16(binary.BigEndian.Uint16(h[2:])), h[4], code, msg
}

// closed checks that the server ends the connection.
func (c cqlConn) closed(t *testing.T) {
	t.Helper()
	var b [1]byte
	n, err := c.Read(b[:])
	var ne net.Error
	if n > 0 || err == nil || errors.As(err, &ne) && ne.Timeout() {
		t.Errorf("the connection is still open: %d bytes, %v", n, err)
	}
}

func stringMap(pairs ...string) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(len(pairs)/2))
	for _, s := range pairs {
		b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
		b = append(b, s...)
	}
	return b
}

func longBytes(s string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(s))), s...)
}

func (c cqlConn) startup(t *testing.T, options ...string) {
	t.Helper()
	c.send(t, cqlFrame(frame.OpStartup, 0, 0, stringMap(append([]string{"CQL_VERSION", "3.0.0"}, options...)...)))
	if _, _, op, _, msg := c.read(t); op != opAuthenticate {
		t.Fatalf("STARTUP: opcode %d %s", op, msg)
	}
}

func (c cqlConn) plain(t *testing.T, token string) (op byte, code int, msg string) {
	t.Helper()
	c.send(t, cqlFrame(frame.OpAuthResponse, 0, 0, longBytes(token)))
	_, _, op, code, msg = c.read(t)
	return op, code, msg
}

// login is a connection that is ready.
func (s *suite) login(t *testing.T, options ...string) cqlConn {
	t.Helper()
	c := s.dial(t)
	c.startup(t, options...)
	if op, _, msg := c.plain(t, "\x00"+s.admin.CQLUser+"\x00"+s.admin.CQLPassword); op != opAuthSuccess {
		t.Fatalf("login: opcode %d %s", op, msg)
	}
	return c
}

// queryBody is a QUERY's body: the text, LOCAL_QUORUM, no flags.
func queryBody(text string) []byte { return append(longBytes(text), 0, 6, 0) }

func (c cqlConn) query(t *testing.T, text string) (op byte, code int, msg string) {
	t.Helper()
	c.send(t, cqlFrame(frame.OpQuery, 1, 0, queryBody(text)))
	_, _, op, code, msg = c.read(t)
	return op, code, msg
}

func (s *suite) testCQL(t *testing.T) {
	t.Run("frames", func(t *testing.T) { t.Parallel(); s.testFrames(t) })
	t.Run("versions", func(t *testing.T) { t.Parallel(); s.testVersions(t) })
	t.Run("transport", func(t *testing.T) { t.Parallel(); s.testTransport(t) })
	t.Run("logins", func(t *testing.T) { t.Parallel(); s.testLogins(t) })
	t.Run("statements", func(t *testing.T) { t.Parallel(); s.testStatements(t) })
}

// testFrames sends frames after which nothing can be read any more: the error,
// then the end of the connection.
func (s *suite) testFrames(t *testing.T) {
	head := func(op frame.Opcode, length uint32) []byte {
		return frame.AppendRequestHeader(nil, frame.Header{Version: 4, Stream: 7, Opcode: op, Length: int32(length)})
	}
	bomb := binary.BigEndian.AppendUint32(nil, 1<<30) // an LZ4 body that declares to become 1 GiB
	tests := []struct {
		name  string
		ready bool // after the login
		lz4   bool
		bytes []byte
		want  string // of the message
	}{
		{"1 GiB before the login", false, false, head(frame.OpStartup, 1<<30), `^Request is too big: length 1073741824 exceeds maximum allowed length 65536\.$`},
		{"1 GiB", true, false, head(frame.OpQuery, 1<<30), `^Request is too big: length 1073741824 exceeds maximum allowed length 16777216\.$`},
		{"a negative length", true, false, head(frame.OpQuery, 1<<32-1), `^Request is too big: length 4294967295 `},
		{"an unknown opcode", true, false, head(0x7F, 0), `^Unknown opcode 127$`},
		{"an answer's opcode", true, false, head(frame.OpResult, 0), `^Wrong protocol direction, expected REQUEST, got RESPONSE for opcode RESULT$`},
		{"an answer", true, false, append([]byte{0x84}, head(frame.OpQuery, 0)[1:]...), `^Wrong protocol direction, expected REQUEST, got RESPONSE$`},
		{"another version midway", true, false, append([]byte{3}, cqlFrame(frame.OpQuery, 7, 0, queryBody("SELECT"))[1:]...), `^Invalid message version\. Got 3 but previous messages on this connection had version 4$`},
		{"an LZ4 bomb", true, true, cqlFrame(frame.OpQuery, 7, frame.FlagCompressed, append(bomb, bytes.Repeat([]byte{0xFF}, 64<<10)...)), `^Cannot decompress the body: `},
		{"broken LZ4", true, true, cqlFrame(frame.OpQuery, 7, frame.FlagCompressed, []byte{0, 0, 0, 9, 0xF0, 1, 2}), `^Cannot decompress the body: `},
		{"compressed without having agreed on it", true, false, cqlFrame(frame.OpQuery, 7, frame.FlagCompressed, []byte{0, 0, 0, 1, 0x10, 'x'}), `^Cannot decompress the body: `},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var c cqlConn
			switch {
			case tt.lz4:
				c = s.login(t, "COMPRESSION", "lz4")
			case tt.ready:
				c = s.login(t)
			default:
				c = s.dial(t)
			}
			defer c.Close()
			before := rss(t, s.PID())
			c.send(t, tt.bytes)
			_, stream, op, code, msg := c.read(t)
			if op != opError || code != codeProtocol || stream != 7 || !regexp.MustCompile(tt.want).MatchString(msg) {
				t.Errorf("got opcode %d on stream %d, %#x %q; want a protocol error %s", op, stream, code, msg, tt.want)
			}
			c.closed(t)
			if after := rss(t, s.PID()); after > before+maxGrowth {
				t.Errorf("the server has grown from %d to %d MiB", before>>20, after>>20)
			}
		})
	}
	for _, cut := range []int{1, 5, 9, 12} {
		t.Run("truncated after "+strconv.Itoa(cut), func(t *testing.T) {
			t.Parallel()
			c := s.login(t)
			c.send(t, cqlFrame(frame.OpQuery, 7, 0, queryBody("SELECT cluster_name FROM system.local"))[:cut])
			if err := c.Conn.(*tls.Conn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			c.closed(t)
			c.Close()
			s.answers(t)
		})
	}
}

// testVersions offers versions that are not spoken, as drivers do that
// negotiate: the answer is of the greatest one that is, names it, and is on
// stream 0.
func (s *suite) testVersions(t *testing.T) {
	for _, v := range []byte{1, 2, 5, 6, 65, 66} {
		t.Run(strconv.Itoa(int(v)), func(t *testing.T) {
			t.Parallel()
			c := s.dial(t)
			defer c.Close()
			c.send(t, append([]byte{v}, cqlFrame(frame.OpOptions, 9, 0, nil)[1:]...))
			version, stream, op, code, msg := c.read(t)
			want := "Invalid or unsupported protocol version (" + strconv.Itoa(int(v)) + "); the lowest supported version is 3 and the greatest is 4"
			if version != 0x84 || stream != 0 || op != opError || code != codeProtocol || msg != want {
				t.Errorf("got version %#x, stream %d, opcode %d, %#x %q", version, stream, op, code, msg)
			}
			c.closed(t)
		})
	}
}

// testTransport sends what is not TLS, or not CQL inside it.
func (s *suite) testTransport(t *testing.T) {
	garbage := bytes.Repeat([]byte{0xDE, 0xAD, 0xBE, 0xEF}, 64)
	for name, data := range map[string][]byte{
		"garbage":       garbage,
		"TLS garbage":   append([]byte{0x16, 3, 1, 0, 200}, garbage[:200]...),
		"plain CQL":     cqlFrame(frame.OpOptions, 0, 0, nil),
		"plain HTTP":    []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		"half a hello":  {0x16, 3, 1},
		"an SSLv2 helo": {0x80, 0x2E, 1, 0, 2, 0, 0x15, 0, 0, 0, 0x10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if out := raw(t, s.cqlAddr(), data, true); len(out) > 32 {
				t.Errorf("the server answered %q", out)
			}
		})
	}
	t.Run("HTTP inside TLS", func(t *testing.T) {
		t.Parallel()
		c := s.dial(t)
		defer c.Close()
		c.send(t, []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
		if _, _, op, code, _ := c.read(t); op != opError || code != codeProtocol {
			t.Errorf("got opcode %d, %#x", op, code)
		}
		c.closed(t)
	})
}

// testLogins fails to log in. Every failure is recorded with the name that was
// claimed, and ends the connection.
func (s *suite) testLogins(t *testing.T) {
	const refused = "and/or password are incorrect"
	tests := []struct {
		name, token, user string
		want              string
	}{
		{"a wrong password", "\x00" + s.admin.CQLUser + "\x00wrong", s.admin.CQLUser, refused},
		{"an unknown user", "\x00nobody-at-" + s.Account + "\x00x", "nobody-at-" + s.Account, refused},
		{"no user", "\x00\x00x", "", "Authentication ID must not be null"},
		{"no password", "\x00bob\x00", "", "Password must not be null"},
		{"not PLAIN", "hello", "", "Malformed SASL PLAIN token"},
		{"a long name", "\x00" + strings.Repeat("n", 30_000) + "\x00x", strings.Repeat("n", 16), refused},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := s.dial(t)
			defer c.Close()
			c.startup(t)
			op, code, msg := c.plain(t, tt.token)
			if op != opError || code != codeBadCredentials || !strings.Contains(msg, tt.want) {
				t.Errorf("got opcode %d, %#x %q, want %q", op, code, msg, tt.want)
			}
			c.closed(t)
			if tt.user == "" {
				return
			}
			e := s.records.find(t, "the login", func(e map[string]any) bool {
				id, _ := e["userIdentity"].(map[string]any)
				name, _ := id["userName"].(string)
				return e["eventName"] == "Authenticate" && strings.HasPrefix(name, tt.user)
			})
			if e["errorCode"] != "AccessDenied" || e["eventSource"] != "cassandra.amazonaws.com" {
				t.Errorf("recorded as %v", e)
			}
		})
	}
	t.Run("a forged SigV4 answer", func(t *testing.T) {
		t.Parallel()
		c := s.dial(t)
		defer c.Close()
		c.startup(t)
		if op, _, msg := c.plain(t, "SigV4\x00\x00"); op != byte(frame.OpAuthChallenge) {
			t.Fatalf("opcode %d %s", op, msg)
		}
		op, code, _ := c.plain(t, "signature=00,access_key="+s.admin.AccessKeyID+",amzdate=2020-01-01T00:00:00.000Z")
		if op != opError || code != codeBadCredentials {
			t.Errorf("got opcode %d, %#x", op, code)
		}
		c.closed(t)
	})
	t.Run("a statement before the login", func(t *testing.T) {
		t.Parallel()
		c := s.dial(t)
		defer c.Close()
		op, code, msg := c.query(t, "SELECT cluster_name FROM system.local")
		if op != opError || code != codeProtocol || msg != "Unexpected message QUERY, expecting STARTUP or OPTIONS" {
			t.Errorf("got opcode %d, %#x %q", op, code, msg)
		}
		c.startup(t)
		if op, code, _ = c.query(t, "SELECT cluster_name FROM system.local"); op != opError || code != codeProtocol {
			t.Errorf("got opcode %d, %#x", op, code)
		}
	})
}

// testStatements sends statements that do not parse, on one connection, which
// goes on.
func (s *suite) testStatements(t *testing.T) {
	tests := []struct {
		name string
		text string
		code int
		want string
	}{
		{"a misspelt keyword", "SELEC * FROM system.local", codeSyntax, `^line 1:0 no viable alternative at input 'SELEC'`},
		{"nothing", "", codeSyntax, `^line 1:0 no viable alternative at input '<EOF>'$`},
		{"half", "SELECT * FROM", codeSyntax, `^line 1:13 no viable alternative at input '<EOF>'$`},
		{"two statements", "SELECT * FROM system.local; SELECT * FROM system.local", codeSyntax, `^line 1:28 missing EOF at 'SELECT'`},
		{"an open string", "SELECT * FROM system.local WHERE key = 'x", codeSyntax, `^line `},
		{"NUL bytes", "SELECT \x00 FROM system.local", codeSyntax, `^line 1:7 no viable alternative at character`},
		{"parentheses", "SELECT " + strings.Repeat("(", 500_000), codeSyntax, `.`},
		{"brackets", "INSERT INTO a.b (c) VALUES (" + strings.Repeat("[", 500_000) + strings.Repeat("]", 500_000) + ")", codeSyntax, `.`},
		{"frozen types", "CREATE TABLE a.b (c " + strings.Repeat("frozen<", 100_000) + "int" + strings.Repeat(">", 100_000) + " PRIMARY KEY)", codeSyntax, `.`},
		{"two million tokens", "SELECT a FROM b.c WHERE d IN (" + strings.Repeat("1,", 1_000_000) + "1)", codeInvalid, `^The statement has more than \d+ tokens$`},
		{"a number of a million digits", "SELECT * FROM system.local WHERE key = " + strings.Repeat("9", 1_000_000), codeInvalid, `.`},
		{"a literal of 8 MiB", "SELECT * FROM system.local WHERE key = " + "0x" + strings.Repeat("ab", 4<<20), codeInvalid, `.`},
		{"a limit beyond an int", "SELECT * FROM system.local LIMIT 99999999999999999999", codeInvalid, `.`},
		{"an unknown table", "SELECT * FROM nowhere.nothing", codeInvalid, `.`},
	}
	c := s.login(t)
	defer c.Close()
	for _, tt := range tests {
		op, code, msg := c.query(t, tt.text)
		if op != opError || code != tt.code || !regexp.MustCompile(tt.want).MatchString(msg) {
			t.Errorf("%s: got opcode %d, %#x %q; want %#x %s", tt.name, op, code, shorten(msg), tt.code, tt.want)
		}
	}
	if op, _, msg := c.query(t, "SELECT cluster_name FROM system.local"); op != opResult {
		t.Fatalf("the connection does not go on: opcode %d %s", op, msg)
	}
	// A statement that parses is a call, and recorded although it fails.
	e := s.records.find(t, "the failed SELECT", func(e map[string]any) bool {
		p, _ := e["requestParameters"].(map[string]any)
		return e["eventSource"] == "cassandra.amazonaws.com" && p["keyspaceName"] == "nowhere"
	})
	if code, _ := e["errorCode"].(string); e["eventName"] != "Select" || code == "" {
		t.Errorf("recorded as %v %v", e["eventName"], e["errorCode"])
	}
	bodies := []struct {
		name string
		op   frame.Opcode
		body []byte
		code int
		ends bool
	}{
		{"invalid UTF-8", frame.OpQuery, queryBody("SELECT '\xff\xfe' FROM system.local"), codeProtocol, true},
		{"a string longer than its frame", frame.OpQuery, []byte{0x7F, 0xFF, 0xFF, 0xFF, 'S'}, codeProtocol, true},
		{"a negative string", frame.OpQuery, []byte{0xFF, 0xFF, 0xFF, 0xFF, 'S'}, codeProtocol, true},
		{"an empty body", frame.OpQuery, nil, codeProtocol, true},
		{"values that are not there", frame.OpQuery, append(longBytes("SELECT * FROM system.local WHERE key = ?"), 0, 6, 1, 0xFF, 0xFF), codeProtocol, true},
		{"an unknown consistency", frame.OpQuery, append(longBytes("SELECT * FROM system.local"), 0xEE, 0xEE, 0), codeProtocol, true},
		{"an unknown prepared statement", frame.OpExecute, append([]byte{0, 2, 0xAB, 0xCD}, 0, 6, 0), codeUnprepared, false},
		{"too few values", frame.OpQuery, queryBody("SELECT * FROM system.local WHERE key = ?"), codeInvalid, false},
		{"an unknown kind in a batch", frame.OpBatch, []byte{0, 0, 1, 9, 0, 0}, codeProtocol, true},
		{"a batch of type 9", frame.OpBatch, []byte{9, 0, 0, 0, 6, 0}, codeProtocol, true},
	}
	for _, tt := range bodies {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := s.login(t)
			defer c.Close()
			c.send(t, cqlFrame(tt.op, 3, 0, tt.body))
			_, stream, op, code, msg := c.read(t)
			if op != opError || code != tt.code || stream != 3 {
				t.Errorf("got opcode %d on stream %d, %#x %q; want %#x", op, stream, code, msg, tt.code)
			}
			if !tt.ends {
				if op, _, msg := c.query(t, "SELECT cluster_name FROM system.local"); op != opResult {
					t.Errorf("the connection does not go on: opcode %d %s", op, msg)
				}
			}
		})
	}
}

func shorten(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}
