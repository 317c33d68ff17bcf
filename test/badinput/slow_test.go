package badinput

import (
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"spoor/internal/cql/frame"
)

// TestSlowClients holds connections by sending slowly, or not at all, on a
// server that waits for three seconds.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	s := start(t, "--client-timeout", "3s")
	if _, err := s.AWS(s.admin).S3.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("slow-objects")}); err != nil {
		t.Fatal(err)
	}
	t.Run("clients", func(t *testing.T) { s.testSlow(t) })
	s.answers(t)
}

// drip sends one byte every tenth of a second until the server closes the
// connection, and returns what it had to say.
func drip(t *testing.T, c net.Conn, data string) string {
	t.Helper()
	said := make(chan string, 1)
	go func() {
		out, _ := io.ReadAll(c) // an end and a reset are both what is waited for
		said <- string(out)
	}()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(patience)
	for i := 0; ; i++ {
		select {
		case out := <-said:
			return out
		case <-timeout:
			t.Fatalf("the server still waits after %s", patience)
		case <-tick.C:
			if i < len(data) {
				_, _ = c.Write([]byte{data[i]}) // fails once the server has closed
			}
		}
	}
}

func (s *suite) testSlow(t *testing.T) {
	tcp := func(addr string) func(*testing.T) net.Conn {
		return func(t *testing.T) net.Conn {
			t.Helper()
			c, err := net.DialTimeout("tcp", addr, patience)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
	}
	head := "POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: AmazonAthena.ListWorkGroups\r\nContent-Length: 100000\r\n\r\n"
	upload := s.request(t, spec{service: "s3", method: "PUT", path: "/slow-objects/k", body: strings.Repeat("x", 100_000), payload: "UNSIGNED-PAYLOAD"})
	object := fmt.Sprintf("PUT /slow-objects/k HTTP/1.1\r\nHost: %s\r\nContent-Length: 100000\r\n", s.httpAddr())
	for k := range upload.Header {
		object += k + ": " + upload.Header.Get(k) + "\r\n"
	}
	object += "\r\n"
	query := string(cqlFrame(frame.OpQuery, 1, 0, queryBody(strings.Repeat("SELECT ", 1000))))
	login := func(t *testing.T) net.Conn { return s.login(t) }
	tests := []struct {
		name string
		open func(*testing.T) net.Conn
		once string // sent at once
		drip string // sent slowly
		want string
	}{
		{"HTTP silence", tcp(s.httpAddr()), "", "", `^$`},
		{"HTTP headers", tcp(s.httpAddr()), "", "GET / HTTP/1.1\r\nX-A: " + strings.Repeat("a", 1000), `^(HTTP/1\.1 408 .*)?`},
		{"an HTTP body, silent", tcp(s.httpAddr()), head, "", `(?s)^HTTP/1\.1 408 .*RequestTimeoutException`},
		{"an HTTP body, dripping", tcp(s.httpAddr()), head, strings.Repeat(" ", 1000), `(?s)^HTTP/1\.1 408 .*RequestTimeoutException`},
		{"an object, dripping", tcp(s.httpAddr()), object, strings.Repeat("x", 1000), `(?s)^HTTP/1\.1 400 .*<Code>RequestTimeout</Code>`},
		{"a TLS hello", tcp(s.httpAddr()), "\x16\x03\x01", "\x02\x00", `.*`},
		{"CQL silence", tcp(s.cqlAddr()), "", "", `.*`},
		{"a CQL login", func(t *testing.T) net.Conn { return s.dial(t) }, "", string(cqlFrame(frame.OpStartup, 0, 0, stringMap("CQL_VERSION", "3.0.0", "X", strings.Repeat("x", 1000)))), `^$`},
		{"a CQL statement", login, query[:100], "", `^$`},
		{"a CQL statement, dripping", login, query[:100], query[100:], `^$`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := tt.open(t)
			defer c.Close()
			if _, err := c.Write([]byte(tt.once)); err != nil {
				t.Fatal(err)
			}
			if out := drip(t, c, tt.drip); !regexp.MustCompile(tt.want).MatchString(out) {
				t.Errorf("got %q, want %s", shorten(out), tt.want)
			}
		})
	}
}

// idleConns are more than the HTTP door keeps undecided.
const idleConns = 1500

// TestIdleConnections opens connections that never speak; those who do speak
// are served all the same, at once.
func TestIdleConnections(t *testing.T) {
	t.Parallel()
	s := start(t)
	before := rss(t, s.PID())
	for _, addr := range []string{s.httpAddr(), s.cqlAddr()} {
		for i := range idleConns {
			c, err := net.DialTimeout("tcp", addr, patience)
			if err != nil {
				t.Fatalf("connection %d to %s: %v", i, addr, err)
			}
			defer c.Close()
		}
	}
	began := time.Now()
	s.answers(t)
	if d := time.Since(began); d > 10*time.Second {
		t.Errorf("with %d idle connections an answer took %s", 2*idleConns, d)
	}
	if after := rss(t, s.PID()); after > before+maxGrowth/2 {
		t.Errorf("%d idle connections made the server grow from %d to %d MiB", 2*idleConns, before>>20, after>>20)
	} else {
		t.Logf("%d idle connections: from %d to %d MiB", 2*idleConns, before>>20, after>>20)
	}
}
