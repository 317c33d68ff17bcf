package crash

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// fault is what the proxy does to a request that changes something.
type fault string

const (
	healthy     fault = "healthy"
	refuse      fault = "503 before applying"
	reset       fault = "reset before applying"
	failApplied fault = "500 after applying"
	lose        fault = "reset after applying"
	hang        fault = "no answer after applying"
	hangLong    fault = "no answer until the upload times out"
	slow        fault = "slow"
	noBucket    fault = "bucket is gone"
	denied      fault = "storage denies"
	// policyDenies is no doing of the proxy: the bucket's policy denies CloudTrail
	// for a while, as its owner may.
	policyDenies fault = "bucket policy denies"
)

var faults = []fault{healthy, refuse, reset, failApplied, lose, hang, slow, noBucket, denied, policyDenies}

// longHold is longer than the server waits for an upload (trail.uploadTimeout).
const longHold = 65 * time.Second

// spell is how long a fault that hits every request lasts.
const spell = 1500 * time.Millisecond

// proxy stands between the server and its S3.
type proxy struct {
	addr string
	pass *httputil.ReverseProxy

	mu     sync.Mutex
	rng    *rand.Rand
	fault  fault
	since  time.Time
	hold   time.Duration // of a request that gets no answer
	at     string        // where to kill: see point; "" for nowhere
	kill   func()
	killed bool
	counts map[fault]int // requests that were hit
}

// startProxy serves on loopback and passes on to a unix socket.
func startProxy(t *testing.T, socket string, rng *rand.Rand) *proxy {
	t.Helper()
	to := &url.URL{Scheme: "http", Host: "objects.localhost"}
	p := &proxy{rng: rng, fault: healthy, hold: time.Second, counts: map[fault]int{}}
	p.pass = &httputil.ReverseProxy{
		// The signature is over the host that the server names.
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = to.Scheme, to.Host, r.In.Host
		},
		Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.addr = "http://" + l.Addr().String()
	srv := &http.Server{Handler: p}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return p
}

// set changes what happens from here on: the fault, and the point at which kill
// is called.
func (p *proxy) set(f fault, at string, kill func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault, p.since, p.at, p.kill, p.killed = f, time.Now(), at, kill, false
}

// kindOf says what a request uploads, for the names of points.
func kindOf(r *http.Request) string {
	switch {
	case r.Method != http.MethodPut && r.Method != http.MethodPost && r.Method != http.MethodDelete:
		return ""
	case strings.Contains(r.URL.Path, "/CloudTrail-Digest/"):
		return "digest"
	case strings.Contains(r.URL.Path, "/CloudTrail/"):
		return "log"
	case strings.Contains(r.URL.Path, "/load/"):
		return "object"
	case strings.Contains(r.URL.Path, "/results/"):
		return "result"
	}
	return ""
}

// strike decides what happens to a request.
func (p *proxy) strike(kind string) (fault, time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.fault
	switch f {
	case healthy, policyDenies:
		return healthy, 0
	case noBucket, denied:
		if time.Since(p.since) > spell {
			return healthy, 0
		}
	default:
		if p.rng.IntN(2) == 0 {
			return healthy, 0
		}
	}
	p.counts[f]++
	if f == hangLong {
		return hang, longHold
	}
	return f, p.hold
}

// reached kills the server if this is the point for it.
func (p *proxy) reached(kind, stage string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.at != "" && p.at == kind+" "+stage && !p.killed {
		p.killed = true
		p.kill()
	}
}

// struck reports whether the kill came.
func (p *proxy) struck() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.killed
}

// ServeHTTP implements http.Handler.
func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	kind := kindOf(r)
	if kind == "" {
		p.pass.ServeHTTP(w, r)
		return
	}
	p.reached(kind, "arrived")
	f, hold := p.strike(kind)
	switch f {
	case refuse:
		s3Error(w, r, http.StatusServiceUnavailable, "ServiceUnavailable")
		return
	case noBucket:
		s3Error(w, r, http.StatusNotFound, "NoSuchBucket")
		return
	case denied:
		s3Error(w, r, http.StatusForbidden, "AccessDenied")
		return
	case reset:
		panic(http.ErrAbortHandler) // closes the connection
	case slow:
		<-time.After(hold / 6)
	}
	// The answer is kept back until the kill that may come here.
	answer := &kept{header: http.Header{}}
	p.pass.ServeHTTP(answer, r)
	p.reached(kind, "applied")
	switch f {
	case failApplied:
		s3Error(w, r, http.StatusInternalServerError, "InternalError")
		return
	case hang:
		select {
		case <-r.Context().Done():
		case <-time.After(hold):
		}
		panic(http.ErrAbortHandler)
	case lose:
		panic(http.ErrAbortHandler)
	}
	answer.send(w)
}

func s3Error(w http.ResponseWriter, r *http.Request, status int, code string) {
	_, _ = io.Copy(io.Discard, r.Body) // so that the connection can go on
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>`+code+`</Code><Message>as the test wants it</Message></Error>`) // the server may be gone
}

// kept is an answer in memory; those to uploads are short.
type kept struct {
	header http.Header
	status int
	body   []byte
}

func (k *kept) Header() http.Header { return k.header }
func (k *kept) WriteHeader(status int) {
	if status >= http.StatusOK {
		k.status = status
	}
}
func (k *kept) Write(b []byte) (int, error) {
	k.body = append(k.body, b...)
	return len(b), nil
}

func (k *kept) send(w http.ResponseWriter) {
	for h, v := range k.header {
		w.Header()[h] = v
	}
	if k.status != 0 {
		w.WriteHeader(k.status)
	}
	_, _ = w.Write(k.body) // the server may be gone
}
