// Package badinput sends a running server what clients must not send: broken
// frames, requests, signatures, bodies and statements, and clients that hold
// connections without using them. Each gets its protocol's own error, leaves a
// record where AWS leaves one, and leaves the server answering and small.
//
// What AWS answers is taken from the services' API references ("Common
// Errors", S3's "Error responses"), what Cassandra answers from
// native_protocol_v4.spec and its sources' messages.
package badinput

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"spoor/test/harness"
)

// patience bounds every wait of a test; it is generous because the machine may
// be busy with other work.
const patience = 60 * time.Second

// maxGrowth is how much larger the process may be after all of it, in bytes:
// far below a declared gigabyte, well above what buffers and caches keep.
const maxGrowth = 256 << 20

// suite is a running server with an eye on its records.
type suite struct {
	*harness.Server
	admin   harness.Profile
	records *records
}

func TestBadInput(t *testing.T) {
	t.Parallel()
	s := start(t, "--data-events", "always", "--query-memory-mb", "256")
	before := rss(t, s.PID())
	t.Run("cql", func(t *testing.T) { s.testCQL(t) })
	t.Run("api", func(t *testing.T) { s.testAPI(t) })
	t.Run("s3", func(t *testing.T) { s.testS3(t) })
	t.Run("athena", func(t *testing.T) { s.testAthena(t) })
	s.answers(t)
	if after := rss(t, s.PID()); after > before+maxGrowth {
		t.Errorf("the server has grown from %d to %d MiB", before>>20, after>>20)
	}
}

func start(t *testing.T, args ...string) *suite {
	srv := harness.Start(t, args...)
	s := &suite{Server: srv, admin: srv.Profiles["admin"]}
	s.records = s.watch(t)
	return s
}

// answers checks that the server still does its work at both doors.
func (s *suite) answers(t *testing.T) {
	t.Helper()
	if _, err := s.AWS(s.admin).STS.GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{}); err != nil {
		t.Fatalf("the server does not answer any more: %v", err)
	}
	c := s.login(t)
	defer c.Close()
	if op, _, msg := c.query(t, "SELECT cluster_name FROM system.local"); op != opResult {
		t.Fatalf("CQL does not answer any more: opcode %d %s", op, msg)
	}
}

// rss is a process's resident memory in bytes.
func rss(t *testing.T, pid int) int64 {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Skipf("no memory figures on this system: %v", err)
	}
	m := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(raw)
	if m == nil {
		t.Fatalf("no VmRSS in %s", raw)
	}
	n, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n << 10
}

// spec is an HTTP request to be made and signed.
type spec struct {
	method  string // default POST
	path    string // default /
	service string // signing name; "" leaves the request unsigned
	region  string
	header  map[string]string
	body    string
	profile *harness.Profile // default admin
	at      time.Time        // of the signature; default now
	payload string           // x-amz-content-sha256; default the body's hash
	after   func(*http.Request)
}

func (s *suite) request(t *testing.T, sp spec) *http.Request {
	t.Helper()
	method, path := sp.method, sp.path
	if method == "" {
		method = http.MethodPost
	}
	if path == "" {
		path = "/"
	}
	req, err := http.NewRequestWithContext(t.Context(), method, s.HTTP+path, strings.NewReader(sp.body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range sp.header {
		req.Header.Set(k, v)
	}
	if sp.service != "" {
		p, at, payload, region := s.admin, sp.at, sp.payload, sp.region
		if sp.profile != nil {
			p = *sp.profile
		}
		if at.IsZero() {
			at = time.Now()
		}
		if payload == "" {
			sum := sha256.Sum256([]byte(sp.body))
			payload = hex.EncodeToString(sum[:])
		}
		if region == "" {
			region = s.Region
		}
		if sp.service == "s3" {
			req.Header.Set("X-Amz-Content-Sha256", payload)
		}
		creds := aws.Credentials{AccessKeyID: p.AccessKeyID, SecretAccessKey: p.SecretAccessKey, SessionToken: p.SessionToken}
		signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = sp.service == "s3" })
		if err := signer.SignHTTP(t.Context(), creds, req, payload, sp.service, region, at); err != nil {
			t.Fatal(err)
		}
	}
	if sp.after != nil {
		sp.after(req)
	}
	return req
}

// answer is what came back.
type answer struct {
	status    int
	code      string
	message   string
	requestID string
	raw       string
}

var (
	xmlCode    = regexp.MustCompile(`<Code>([^<]*)</Code>`)
	xmlMessage = regexp.MustCompile(`<Message>([^<]*)</Message>`)
)

func readAnswer(t *testing.T, res *http.Response) answer {
	t.Helper()
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answer{status: res.StatusCode, raw: string(raw), requestID: res.Header.Get("x-amzn-RequestId")}
	if a.requestID == "" {
		a.requestID = res.Header.Get("x-amz-request-id")
	}
	if bytes.HasPrefix(raw, []byte("{")) {
		var body struct {
			Type    string `json:"__type"`
			Message string `json:"message"` // encoding/json takes Message as well
		}
		if err := json.Unmarshal(raw, &body); err != nil {
			t.Fatalf("%v: %s", err, raw)
		}
		a.code, a.message = body.Type, body.Message
		return a
	}
	if m := xmlCode.FindSubmatch(raw); m != nil {
		a.code = string(m[1])
	}
	if m := xmlMessage.FindSubmatch(raw); m != nil {
		a.message = strings.NewReplacer("&#39;", "'", "&#34;", `"`, "&amp;", "&", "&lt;", "<", "&gt;", ">").Replace(string(m[1]))
	}
	return a
}

func (s *suite) do(t *testing.T, sp spec) answer {
	t.Helper()
	res, err := http.DefaultClient.Do(s.request(t, sp))
	if err != nil {
		t.Fatal(err)
	}
	return readAnswer(t, res)
}

// records follows the journal's tail.
type records struct {
	mu      sync.Mutex
	changed chan struct{} // closed and replaced at each record
	all     []map[string]any
}

func (s *suite) watch(t *testing.T) *records {
	t.Helper()
	req := s.request(t, spec{method: http.MethodGet, path: "/_spoor/tail?after=0", service: "cloudtrail"})
	ctx, cancel := context.WithCancel(context.Background())
	res, err := http.DefaultClient.Do(req.WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK {
		t.Fatalf("tail: %s", res.Status)
	}
	t.Cleanup(func() {
		cancel()
		res.Body.Close()
	})
	r := &records{changed: make(chan struct{})}
	go func() {
		lines := bufio.NewScanner(res.Body)
		lines.Buffer(nil, 4<<20)
		for lines.Scan() {
			var line struct{ Event map[string]any }
			if json.Unmarshal(lines.Bytes(), &line) == nil {
				r.mu.Lock()
				r.all = append(r.all, line.Event)
				close(r.changed)
				r.changed = make(chan struct{})
				r.mu.Unlock()
			}
		}
	}()
	return r
}

// find waits for a record.
func (r *records) find(t *testing.T, what string, match func(map[string]any) bool) map[string]any {
	t.Helper()
	timeout := time.After(patience)
	for seen := 0; ; {
		r.mu.Lock()
		all, changed := r.all, r.changed
		r.mu.Unlock()
		for ; seen < len(all); seen++ {
			if match(all[seen]) {
				return all[seen]
			}
		}
		select {
		case <-changed:
		case <-timeout:
			t.Fatalf("no record of %s after %s", what, patience)
		}
	}
}

func byRequest(id string) func(map[string]any) bool {
	return func(e map[string]any) bool { return e["requestID"] == id }
}

// recorded checks that an answer has its record with that error code, or, for
// "", that it has none.
func (s *suite) recorded(t *testing.T, a answer, errorCode string) {
	t.Helper()
	if a.requestID == "" {
		t.Fatalf("no request id in %d %s", a.status, a.raw)
	}
	if errorCode != "" {
		e := s.records.find(t, a.requestID, byRequest(a.requestID))
		if e["errorCode"] != errorCode {
			t.Errorf("recorded as %v, want %s", e["errorCode"], errorCode)
		}
		return
	}
	// A record is on disk before its answer, so none comes after this one's.
	mark := s.do(t, spec{service: "sts", header: form, body: "Action=GetCallerIdentity&Version=2011-06-15"})
	s.records.find(t, "the mark", byRequest(mark.requestID))
	s.records.mu.Lock()
	defer s.records.mu.Unlock()
	for _, e := range s.records.all {
		if e["requestID"] == a.requestID {
			t.Errorf("recorded: %v", e)
		}
	}
}

// raw sends bytes to an address and returns all that comes back until the
// server closes the connection. half says that nothing more will be sent.
func raw(t *testing.T, addr string, data []byte, half bool) string {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	// The server may end the connection before everything is written.
	_, _ = c.Write(data)
	if half {
		_ = c.(*net.TCPConn).CloseWrite()
	}
	out, err := io.ReadAll(c)
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		t.Fatalf("the server keeps the connection open; it sent %q", out)
	}
	return string(out)
}

func (s *suite) httpAddr() string { return strings.TrimPrefix(s.HTTP, "http://") }
