package iam

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/smithy-go"
	"github.com/cockroachdb/pebble/v2/vfs"

	"spoor/internal/awshttp"
	"spoor/internal/call"
	"spoor/internal/journal"
	"spoor/internal/kv"
	"spoor/internal/record"
	"spoor/internal/seal"
)

const testAccount = "111122223333"

// world is IAM behind the HTTP handler, with AWS's own client in front. Keys
// are looked up, signatures are not checked; policies are.
type world struct {
	t    *testing.T
	ctx  context.Context
	fs   vfs.FS
	st   *kv.Store
	jr   *journal.Journal
	dir  *Directory
	boot Bootstrap
	url  string
	h    http.Handler

	mu  sync.Mutex
	now time.Time

	root, admin *sdk.Client
}

type nothingSelected struct{}

func (nothingSelected) Version() uint64             { return 0 }
func (nothingSelected) AnyData() bool               { return false }
func (nothingSelected) Selects(*record.Record) bool { return false }

// byKey takes whoever names a key for its holder.
type byKey struct{ w *world }

func (b byKey) Authenticate(r *http.Request, _ []byte, _ string, _ bool) (*awshttp.Identity, error) {
	_, scope, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	p := strings.Split(scope, "/")
	cred, err := b.w.dir.Credential(p[0], r.Header.Get("X-Amz-Security-Token"))
	if err != nil {
		return nil, &awshttp.AuthError{Claimed: cred.Caller, Region: p[2], Err: err}
	}
	b.w.dir.NoteUse(cred.Caller, p[3], p[2])
	return &awshttp.Identity{Caller: cred.Caller, Region: p[2], Service: p[3]}, nil
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, ctx: t.Context(), fs: vfs.NewMem(), now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	w.open()
	if err := w.dir.Bootstrap(testAccount, func(b Bootstrap, batch *kv.Batch) error {
		w.boot = b
		return w.jr.Append(journal.Group{Writes: batch})
	}); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.h.ServeHTTP(rw, r) }))
	w.url = srv.URL
	t.Cleanup(func() {
		srv.Close()
		w.close()
	})
	w.root, w.admin = w.client(w.boot.RootAccessKeyID, ""), w.client(w.boot.AdminKeyID, "")
	return w
}

func (w *world) open() {
	w.t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	var err error
	if w.st, err = kv.Open("store", kv.Options{FS: w.fs}); err != nil {
		w.t.Fatal(err)
	}
	if w.jr, err = journal.Open(w.st, log); err != nil {
		w.t.Fatal(err)
	}
	sealer, err := seal.New(make([]byte, seal.KeySize))
	if err != nil {
		w.t.Fatal(err)
	}
	if w.dir, err = Open(Config{Store: w.st, Sealer: sealer, Log: log, Now: w.clock}); err != nil {
		w.t.Fatal(err)
	}
	w.dir.iterations = 2 // the derivation is what it is; its cost is not under test
	w.h = w.handler()
}

func (w *world) close() {
	if err := errors.Join(w.jr.Close(), w.st.Close()); err != nil {
		w.t.Error(err)
	}
}

// restart opens the store anew: what is not there after was never durable.
func (w *world) restart() {
	w.t.Helper()
	w.close()
	w.open()
}

func (w *world) handler() http.Handler {
	w.t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	path := &call.Path{Auth: w.dir, Selector: nothingSelected{}, Journal: w.jr, Store: w.st, Now: w.clock, Log: log}
	h, err := awshttp.NewHandler(awshttp.Config{Path: path, Auth: byKey{w}, Services: []*call.Service{w.dir.Service()}, S3: http.NotFoundHandler(),
		Log: log, Region: "us-east-1", Account: testAccount})
	if err != nil {
		w.t.Fatal(err)
	}
	return h
}

// client calls with an access key.
func (w *world) client(key, token string) *sdk.Client {
	return sdk.New(sdk.Options{BaseEndpoint: &w.url, Region: "us-east-1", Retryer: awssdk.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider(key, "secret", token)})
}

// user makes a user with an inline policy of these statements and gives a
// client that calls as it.
func (w *world) user(name, statements string) *sdk.Client {
	w.t.Helper()
	w.must(drop(w.admin.CreateUser(w.ctx, &sdk.CreateUserInput{UserName: &name})))
	if statements != "" {
		w.must(drop(w.admin.PutUserPolicy(w.ctx, &sdk.PutUserPolicyInput{UserName: &name, PolicyName: new("inline"), PolicyDocument: document(statements)})))
	}
	k, err := w.admin.CreateAccessKey(w.ctx, &sdk.CreateAccessKeyInput{UserName: &name})
	w.must(err)
	return w.client(*k.AccessKey.AccessKeyId, "")
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func document(statements string) *string {
	return new(`{"Version":"2012-10-17","Statement":[` + statements + `]}`)
}

const (
	allowAll  = `{"Effect":"Allow","Action":"*","Resource":"*"}`
	trustRoot = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:root"},"Action":"sts:AssumeRole"}]}`
)

// drop leaves an answer's error.
func drop[O any](_ *O, err error) error { return err }

// said is an error as its code and message, "" for none.
func said(err error) string {
	var e smithy.APIError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &e):
		return e.ErrorCode() + ": " + e.ErrorMessage()
	}
	return err.Error()
}

// attempt is one call and the error that it must get: the beginning of code
// and message, or "" for success.
type attempt struct {
	name string
	do   func() error
	want string
}

// try makes the calls one after another.
func (w *world) try(attempts []attempt) {
	w.t.Helper()
	for _, a := range attempts {
		got := said(a.do())
		if a.want == "" && got != "" || a.want != "" && !strings.HasPrefix(got, a.want) {
			w.t.Errorf("%s: got %q, want %q", a.name, got, a.want)
		}
	}
}

// records are all records so far, as JSON.
func (w *world) records() []string {
	w.t.Helper()
	var out []string
	if err := w.jr.Read(0, w.jr.Head(), func(i journal.Item) (bool, error) {
		out = append(out, string(i.JSON))
		return true, nil
	}); err != nil {
		w.t.Fatal(err)
	}
	return out
}

// lastRecord is the record of the last call.
func (w *world) lastRecord() map[string]any {
	w.t.Helper()
	all := w.records()
	if len(all) == 0 {
		w.t.Fatal("there is no record")
	}
	var m map[string]any
	w.must(json.Unmarshal([]byte(all[len(all)-1]), &m))
	return m
}

// pages calls list until there is no marker, and counts the calls.
func pages(t *testing.T, list func(marker *string) (names []string, next *string, more bool, err error)) (names []string, calls int) {
	t.Helper()
	var marker *string
	for {
		part, next, more, err := list(marker)
		if err != nil {
			t.Fatal(err)
		}
		calls++
		names = append(names, part...)
		if more != (next != nil) {
			t.Errorf("IsTruncated is %v with marker %v", more, next)
		}
		if marker = next; marker == nil || calls > 100 {
			return names, calls
		}
	}
}

func tagsFrom(pairs ...string) []types.Tag {
	var out []types.Tag
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, types.Tag{Key: &pairs[i], Value: &pairs[i+1]})
	}
	return out
}
