package notify

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	testTopic = "arn:aws:sns:us-east-1:123456789012:trail-topic"
	testGroup = "arn:aws:logs:us-east-1:123456789012:log-group:ct:*"
)

// testKey is a signing key and its certificate, made once.
var testKey = sync.OnceValues(func() (*rsa.PrivateKey, []byte) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return key, der
})

// received is a post that an endpoint got.
type received struct {
	header http.Header
	body   map[string]string
}

// verify checks a post as SNS's documentation tells receivers to.
func (r *received) verify(t *testing.T) {
	t.Helper()
	_, der := testKey()
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	fields := map[string][]string{
		"Notification":             {"Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"},
		"SubscriptionConfirmation": {"Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"},
	}[r.body["Type"]]
	if fields == nil {
		t.Fatalf("type %q", r.body["Type"])
	}
	text := ""
	for _, f := range fields {
		if v, ok := r.body[f]; ok {
			text += f + "\n" + v + "\n"
		}
	}
	sig, err := base64.StdEncoding.DecodeString(r.body["Signature"])
	if err != nil {
		t.Fatal(err)
	}
	algorithm := map[string]x509.SignatureAlgorithm{"1": x509.SHA1WithRSA, "2": x509.SHA256WithRSA}[r.body["SignatureVersion"]]
	if err := cert.CheckSignature(algorithm, []byte(text), sig); err != nil {
		t.Errorf("the signature of %v does not hold: %v", r.body, err)
	}
	if r.header.Get("x-amz-sns-message-type") != r.body["Type"] || r.header.Get("x-amz-sns-message-id") != r.body["MessageId"] ||
		r.header.Get("x-amz-sns-topic-arn") != r.body["TopicArn"] || r.header.Get("Content-Type") != "text/plain; charset=UTF-8" {
		t.Errorf("headers %v do not fit %v", r.header, r.body)
	}
}

// endpoint is an HTTP receiver. before is asked for each post; what it returns
// is the status, 0 for cutting the connection.
type endpoint struct {
	*httptest.Server
	mu     sync.Mutex
	posts  []received
	status func(n int, r *received) int
}

func newEndpoint(t *testing.T, status func(n int, r *received) int) *endpoint {
	t.Helper()
	e := &endpoint{status: status}
	e.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, err := io.ReadAll(r.Body)
		post := received{header: r.Header.Clone()}
		if err != nil || json.Unmarshal(raw, &post.body) != nil {
			t.Errorf("a post with the body %q, %v", raw, err)
		}
		e.mu.Lock()
		n := len(e.posts)
		e.posts = append(e.posts, post)
		e.mu.Unlock()
		switch status := e.status(n, &post); status {
		case 0:
			panic(http.ErrAbortHandler)
		case http.StatusFound:
			http.Redirect(w, r, "http://127.0.0.1:1/elsewhere", status)
		default:
			w.WriteHeader(status)
		}
	}))
	e.Server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	t.Cleanup(e.Close)
	return e
}

// caFile is a file with the endpoint's certificate.
func (e *endpoint) caFile(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: e.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func (e *endpoint) messages() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []string
	for _, p := range e.posts {
		out = append(out, p.body["Message"])
	}
	return out
}

func accept(int, *received) int { return http.StatusOK }

func (w *world) manager(t *testing.T, s *Settings) *Manager {
	t.Helper()
	key, _ := testKey()
	m, err := Open(Config{Settings: s, DeadLetters: w.dead.Name(), Store: w.store, Commit: committer{w.store}, Log: slog.New(slog.DiscardHandler),
		Now: w.clock.now, SNS: &SNSKey{Private: key, CertificateURL: "https://spoor/_spoor/cert.pem", BaseURL: "https://spoor"}})
	if err != nil {
		t.Fatal(err)
	}
	w.outbox = m.outbox
	return m
}

func (w *world) oweTopic(t *testing.T, m *Manager, texts ...string) {
	t.Helper()
	for _, text := range texts {
		b := w.store.NewBatch()
		done := m.OweTopic(b, testTopic, "owner", Message{ID: NewID(), Time: w.clock.now(), Body: []byte(text)})
		if err := w.store.Apply(b); err != nil {
			t.Fatal(err)
		}
		done()
	}
}

// drain runs the manager's loops, each until its target is owed nothing.
func drain(t *testing.T, w *world, m *Manager) {
	t.Helper()
	for _, l := range m.waiting {
		l.pause = w.clock.pause
		drained(t, l)
	}
}

// TestSNS: both versions of the signature hold, and the message is SNS's.
func TestSNS(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"", "1", "2"} {
		w := newWorld(t)
		e := newEndpoint(t, accept)
		password := filepath.Join(t.TempDir(), "password")
		if err := os.WriteFile(password, []byte("pass\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		m := w.manager(t, &Settings{Topics: []Topic{{ARN: testTopic, Endpoint: e.URL + "/hook", CA: e.caFile(t), SignatureVersion: version,
			User: "u", PasswordFile: password}}})
		b := w.store.NewBatch()
		m.OweTopic(b, testTopic, "o", Message{ID: "id-1", Time: w.clock.now(), Subject: "S & <T>", Body: []byte(`{"s3Bucket":"b","s3ObjectKey":["k"]}`)})
		if err := w.store.Apply(b); err != nil {
			t.Fatal(err)
		}
		drain(t, w, m)
		if len(e.posts) != 1 {
			t.Fatalf("%d posts", len(e.posts))
		}
		p := e.posts[0]
		p.verify(t)
		want := map[string]string{"Type": "Notification", "MessageId": "id-1", "TopicArn": testTopic, "Subject": "S & <T>",
			"Message": `{"s3Bucket":"b","s3ObjectKey":["k"]}`, "Timestamp": "2026-03-01T12:00:00.000Z", "SigningCertURL": "https://spoor/_spoor/cert.pem"}
		for k, v := range want {
			if p.body[k] != v {
				t.Errorf("%s is %q, want %q", k, p.body[k], v)
			}
		}
		if v := p.body["SignatureVersion"]; v != version && (version != "" || v != "2") {
			t.Errorf("signature version %q", v)
		}
		if arn := p.header.Get("x-amz-sns-subscription-arn"); !strings.HasPrefix(arn, testTopic+":") ||
			!strings.Contains(p.body["UnsubscribeURL"], url.QueryEscape(arn)) {
			t.Errorf("subscription %q, unsubscribe %q", arn, p.body["UnsubscribeURL"])
		}
		if auth := p.header.Get("Authorization"); auth != "Basic dTpwYXNz" {
			t.Errorf("authorization %q", auth)
		}
	}
}

// TestSNSFaults: an endpoint that refuses, or takes the message and answers
// with an error, cuts the connection or redirects, gets every message, with the
// same id each time.
func TestSNSFaults(t *testing.T) {
	t.Parallel()
	for _, fault := range []int{0, 302, 429, 500, 503} {
		t.Run(fmt.Sprint(fault), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			e := newEndpoint(t, func(n int, _ *received) int {
				if n == 1 || n == 2 {
					return fault
				}
				return http.StatusOK
			})
			m := w.manager(t, &Settings{Topics: []Topic{{ARN: testTopic, Endpoint: e.URL, CA: e.caFile(t)}}})
			w.oweTopic(t, m, "a", "b", "c")
			drain(t, w, m)
			if got, want := e.messages(), []string{"a", "b", "b", "b", "c"}; !reflect.DeepEqual(got, want) {
				t.Errorf("the endpoint got %v, want %v", got, want)
			}
			if a, b := e.posts[1].body["MessageId"], e.posts[3].body["MessageId"]; a != b || a == e.posts[4].body["MessageId"] {
				t.Errorf("ids %v", []string{a, b})
			}
			if d := w.deadLetters(t); len(d) > 0 {
				t.Errorf("dead letters: %+v", d)
			}
		})
	}
}

// TestSNSRefusals: a message that an endpoint answers with an error of the
// client's is sent once and is then a dead letter, and those behind it go on.
func TestSNSRefusals(t *testing.T) {
	t.Parallel()
	for _, status := range []int{400, 401, 403, 404, 408, 410, 413, 499} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			e := newEndpoint(t, func(n int, _ *received) int {
				if n == 1 {
					return status
				}
				return http.StatusOK
			})
			m := w.manager(t, &Settings{Topics: []Topic{{ARN: testTopic, Endpoint: e.URL, CA: e.caFile(t)}}})
			w.oweTopic(t, m, "a", "b", "c")
			drain(t, w, m)
			if got, want := e.messages(), []string{"a", "b", "c"}; !reflect.DeepEqual(got, want) {
				t.Errorf("the endpoint got %v, want %v", got, want)
			}
			d := w.deadLetters(t)
			if len(d) != 1 || d[0].Message.ID != e.posts[1].body["MessageId"] || d[0].Attempts != 1 || !strings.Contains(d[0].Error, fmt.Sprint(status)) {
				t.Errorf("dead letters: %+v", d)
			}
		})
	}
}

// TestSNSConfirmRefused: an endpoint that refuses to be asked for its
// confirmation makes no message a dead letter before its time.
func TestSNSConfirmRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var m *Manager
	e := newEndpoint(t, func(n int, r *received) int {
		if n == 0 {
			return http.StatusForbidden
		}
		if r.body["Type"] == "SubscriptionConfirmation" {
			m.ServeConfirm(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, r.body["SubscribeURL"], nil))
		}
		return http.StatusOK
	})
	m = w.manager(t, &Settings{Topics: []Topic{{ARN: testTopic, Endpoint: e.URL, CA: e.caFile(t), Confirm: true}}})
	w.oweTopic(t, m, "a")
	drain(t, w, m)
	if d := w.deadLetters(t); len(d) > 0 {
		t.Errorf("dead letters: %+v", d)
	}
	if last := e.posts[len(e.posts)-1].body; last["Type"] != "Notification" || last["Message"] != "a" {
		t.Errorf("the last post is %v", last)
	}
}

// TestSNSUntrusted: a certificate that the settings do not trust gets nothing.
func TestSNSUntrusted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e := newEndpoint(t, accept)
	m := w.manager(t, &Settings{MaxAttempts: 2, Topics: []Topic{{ARN: testTopic, Endpoint: e.URL + "/secret?token=hush"}}})
	w.oweTopic(t, m, "a")
	drain(t, w, m)
	if len(e.posts) > 0 {
		t.Error("it got the message")
	}
	d := w.deadLetters(t)
	if len(d) != 1 || !strings.Contains(d[0].Error, "certificate") || strings.Contains(d[0].Error+d[0].Target, "hush") || strings.Contains(d[0].Error+d[0].Target, "/secret") {
		t.Errorf("dead letters: %+v", d)
	}
	if st, _ := w.board.Get(KindSNS, "owner"); st.LastError != "CertificateInvalid" {
		t.Errorf("status %+v", st)
	}
}

// TestSNSConfirm: an endpoint that must confirm gets nothing else before it
// did, keeps that over a restart, and nobody confirms without the token.
func TestSNSConfirm(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var m *Manager
	visit := func(u string) int {
		rec := httptest.NewRecorder()
		m.ServeConfirm(rec, httptest.NewRequest(http.MethodGet, u, nil))
		return rec.Code
	}
	e := newEndpoint(t, func(n int, r *received) int {
		if n == 1 { // the second request to confirm
			u := r.body["SubscribeURL"]
			if got := visit(strings.Replace(u, "Token=", "Token=0", 1)); got != http.StatusBadRequest {
				t.Errorf("a wrong token: %d", got)
			}
			if got := visit(u); got != http.StatusOK {
				t.Errorf("the token: %d", got)
			}
		}
		return http.StatusOK
	})
	set := &Settings{Topics: []Topic{{ARN: testTopic, Endpoint: e.URL, CA: e.caFile(t), Confirm: true}}}
	m = w.manager(t, set)
	w.oweTopic(t, m, "a", "b")
	drain(t, w, m)
	m = w.manager(t, set)
	w.oweTopic(t, m, "c")
	drain(t, w, m)
	var types []string
	for i := range e.posts {
		e.posts[i].verify(t)
		types = append(types, e.posts[i].body["Type"])
	}
	if want := []string{"SubscriptionConfirmation", "SubscriptionConfirmation", "Notification", "Notification", "Notification"}; !reflect.DeepEqual(types, want) {
		t.Fatalf("posts %v, want %v", types, want)
	}
	if got := e.messages()[2:]; !reflect.DeepEqual(got, []string{"a", "b", "c"}) {
		t.Errorf("messages %v", got)
	}
	if e.posts[0].body["Token"] != e.posts[1].body["Token"] {
		t.Error("the token changed")
	}
	rec := httptest.NewRecorder()
	m.ServeUnsubscribe(rec, httptest.NewRequest(http.MethodGet, e.posts[2].body["UnsubscribeURL"], nil))
	if rec.Code != http.StatusForbidden || !strings.Contains(rec.Body.String(), "<Code>AuthorizationError</Code>") {
		t.Errorf("unsubscribing: %d %s", rec.Code, rec.Body)
	}
}

// TestAdopt: an endpoint that was put right gets what its topic was owed
// before, and one that goes on gets nothing twice.
func TestAdopt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.oweTopic(t, w.manager(t, &Settings{}), "a") // declared nowhere
	stays, right := newEndpoint(t, accept), newEndpoint(t, accept)
	one := Topic{ARN: testTopic, Endpoint: stays.URL, CA: stays.caFile(t)}
	m := w.manager(t, &Settings{Topics: []Topic{one, {ARN: testTopic, Endpoint: "https://127.0.0.1:1/mistyped"}}})
	w.oweTopic(t, m, "b")
	m = w.manager(t, &Settings{Topics: []Topic{one, {ARN: testTopic, Endpoint: right.URL, CA: right.caFile(t)}}})
	w.oweTopic(t, m, "c")
	drain(t, w, m)
	for _, e := range []*endpoint{stays, right} {
		if got, want := e.messages(), []string{"a", "b", "c"}; !reflect.DeepEqual(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
}

// TestUndeclared: what is owed to a topic that is declared nowhere ends as a
// dead letter of its age.
func TestUndeclared(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.manager(t, &Settings{})
	w.oweTopic(t, m, "a")
	if len(m.waiting) != 1 {
		t.Fatalf("%d loops", len(m.waiting))
	}
	drain(t, w, m)
	if d := w.deadLetters(t); len(d) != 1 || d[0].Target != "sns:"+testTopic {
		t.Errorf("dead letters: %+v", d)
	}
	if age := w.clock.now().Sub(newClock().now()); age < 20*time.Hour || age > 25*time.Hour {
		t.Errorf("given up after %s", age)
	}
}

// TestRun: the loops run side by side, a message is sent without being asked
// for, and a loop that is done makes room for the next of its target.
func TestRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	got := make(chan string, 10)
	e := newEndpoint(t, func(_ int, r *received) int { got <- r.body["Message"]; return http.StatusOK })
	m := w.manager(t, &Settings{Topics: []Topic{{ARN: testTopic, Endpoint: e.URL, CA: e.caFile(t)}}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	for _, text := range []string{"a", "b"} {
		w.oweTopic(t, m, text)
		if g := <-got; g != text {
			t.Errorf("got %q, want %q", g, text)
		}
	}
	ended := make(chan int, 2)
	for i := range 2 {
		m.Add(&Loop{Target: "once", Sender: undeclared{}, Source: sourceFunc(func() (Batch, error) { ended <- i; return Batch{}, ErrDone })})
	}
	if a, b := <-ended, <-ended; a != 0 || b != 1 {
		t.Errorf("loops %d and %d ran", a, b)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

type sourceFunc func() (Batch, error)

func (f sourceFunc) Next(context.Context) (Batch, error) { return f() }
func (sourceFunc) Wait(ctx context.Context) error        { <-ctx.Done(); return ctx.Err() }

func TestCode(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		err  error
		want string
	}{
		{nil, ""}, {&StatusError{Status: 503}, "HTTP 503"}, {fmt.Errorf("x: %w", &StatusError{Status: 400, Code: "Nope"}), "Nope"},
		{ErrNotDeclared, "NotFound"}, {context.DeadlineExceeded, "RequestTimeout"}, {errors.New("/a/secret/path"), "ServiceUnavailable"},
	} {
		if got := Code(tc.err); got != tc.want {
			t.Errorf("Code(%v) is %q, want %q", tc.err, got, tc.want)
		}
	}
}
