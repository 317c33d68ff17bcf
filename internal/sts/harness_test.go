package sts_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	sdkaws "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdkiam "github.com/aws/aws-sdk-go-v2/service/iam"
	sdksts "github.com/aws/aws-sdk-go-v2/service/sts"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"
	"github.com/cockroachdb/pebble/v2/vfs"

	"spoor/internal/aws"
	"spoor/internal/awshttp"
	"spoor/internal/call"
	"spoor/internal/iam"
	"spoor/internal/journal"
	"spoor/internal/kv"
	"spoor/internal/record"
	"spoor/internal/seal"
	"spoor/internal/sigv4"
	"spoor/internal/sts"
)

const (
	account = "111122223333"
	other   = "444455556666"
)

// nothing selects no data event.
type nothing struct{}

func (nothing) Version() uint64             { return 1 }
func (nothing) AnyData() bool               { return false }
func (nothing) Selects(*record.Record) bool { return false }

// signatures authenticates with the directory.
type signatures struct{ d *iam.Directory }

func (s signatures) Authenticate(r *http.Request, body []byte, service string, query bool) (*awshttp.Identity, error) {
	var caller *aws.Caller
	sum := sha256.Sum256(body)
	v, err := sigv4.Verify(r, func(key, token string) (string, error) {
		c, err := s.d.Credential(key, token)
		caller = c.Caller
		return c.Secret, err
	}, sigv4.Options{Now: time.Now(), Skew: time.Minute, Service: service, BodySHA256: hex.EncodeToString(sum[:])})
	var se *sigv4.Error
	if errors.As(err, &se) {
		err = se.API(query)
	}
	if err != nil {
		return nil, &awshttp.AuthError{Claimed: caller, Err: err}
	}
	return &awshttp.Identity{Caller: caller, Region: v.Region, Service: v.Service}, nil
}

// world is a server of IAM and STS.
type world struct {
	t     testing.TB
	dir   *iam.Directory
	jour  *journal.Journal
	url   string
	later atomic.Int64 // nanoseconds that the directory's clock is ahead
	boot  map[string]iam.Bootstrap
}

func newWorld(t testing.TB, issuers sts.Verifier) *world {
	t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	store, err := kv.Open("store", kv.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, boot: map[string]iam.Bootstrap{}}
	if w.jour, err = journal.Open(store, log); err != nil {
		t.Fatal(err)
	}
	sealer, err := seal.New([]byte("an example key of 32 bytes......"))
	if err != nil {
		t.Fatal(err)
	}
	now := func() time.Time { return time.Now().Add(time.Duration(w.later.Load())) }
	if w.dir, err = iam.Open(iam.Config{Store: store, Sealer: sealer, Now: now, Log: log}); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{account, other} {
		if err := w.dir.Bootstrap(id, func(b iam.Bootstrap, batch *kv.Batch) error {
			w.boot[id] = b
			return w.jour.Commit(batch)
		}); err != nil {
			t.Fatal(err)
		}
	}
	path := &call.Path{Auth: w.dir, Selector: nothing{}, Journal: w.jour, Store: store, Now: time.Now, Log: log}
	h, err := awshttp.NewHandler(awshttp.Config{Path: path, Auth: signatures{w.dir}, S3: http.NotFoundHandler(), Log: log, Region: "us-east-1", Account: account,
		Services: []*call.Service{w.dir.Service(), sts.New(sts.Config{Directory: w.dir, Issuers: issuers})}})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(h)
	w.url = srv.URL
	t.Cleanup(func() {
		srv.Close()
		if err := errors.Join(w.jour.Close(), store.Close()); err != nil {
			t.Error(err)
		}
	})
	return w
}

// client is the SDK with one credential.
type client struct {
	*sdksts.Client
	iam *sdkiam.Client
	w   *world
	// header is that of the last answer.
	header *atomic.Pointer[http.Header]
}

type keepHeader struct {
	http.RoundTripper
	to *atomic.Pointer[http.Header]
}

func (k keepHeader) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := k.RoundTripper.RoundTrip(r)
	if res != nil {
		k.to.Store(new(res.Header.Clone()))
	}
	return res, err
}

func (w *world) client(key, secret, token string) client {
	h := &atomic.Pointer[http.Header]{}
	cfg := sdkaws.Config{Region: "us-east-1", BaseEndpoint: &w.url, RetryMaxAttempts: 1,
		HTTPClient:  &http.Client{Transport: keepHeader{http.DefaultTransport, h}},
		Credentials: credentials.NewStaticCredentialsProvider(key, secret, token)}
	return client{sdksts.NewFromConfig(cfg), sdkiam.NewFromConfig(cfg), w, h}
}

func (w *world) session(c *ststypes.Credentials) client {
	return w.client(*c.AccessKeyId, *c.SecretAccessKey, *c.SessionToken)
}

func (w *world) admin(id string) client {
	return w.client(w.boot[id].AdminKeyID, w.boot[id].AdminSecret, "")
}
func (w *world) root(id string) client {
	return w.client(w.boot[id].RootAccessKeyID, w.boot[id].RootSecret, "")
}

// role makes a role with a trust policy's statements and inline policy's
// statements.
func (w *world) role(id, name, trust, policy string) string {
	w.t.Helper()
	c := w.admin(id)
	out, err := c.iam.CreateRole(ctx, &sdkiam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: new(document(trust)), MaxSessionDuration: new(int32(7200))})
	if err != nil {
		w.t.Fatal(err)
	}
	if policy != "" {
		if _, err := c.iam.PutRolePolicy(ctx, &sdkiam.PutRolePolicyInput{RoleName: &name, PolicyName: new("p"), PolicyDocument: new(document(policy))}); err != nil {
			w.t.Fatal(err)
		}
	}
	return *out.Role.Arn
}

// user makes a user with an inline policy and a key.
func (w *world) user(id, name, policy string) client {
	w.t.Helper()
	c := w.admin(id)
	if _, err := c.iam.CreateUser(ctx, &sdkiam.CreateUserInput{UserName: &name}); err != nil {
		w.t.Fatal(err)
	}
	if policy != "" {
		if _, err := c.iam.PutUserPolicy(ctx, &sdkiam.PutUserPolicyInput{UserName: &name, PolicyName: new("p"), PolicyDocument: new(document(policy))}); err != nil {
			w.t.Fatal(err)
		}
	}
	k, err := c.iam.CreateAccessKey(ctx, &sdkiam.CreateAccessKeyInput{UserName: &name})
	if err != nil {
		w.t.Fatal(err)
	}
	return w.client(*k.AccessKey.AccessKeyId, *k.AccessKey.SecretAccessKey, "")
}

var ctx = context.Background()

func document(statements string) string {
	return `{"Version":"2012-10-17","Statement":[` + statements + `]}`
}

// trustAccount lets an account's principals do the given things.
func trustAccount(id string, actions ...string) string {
	return `{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::` + id + `:root"},"Action":["` + strings.Join(actions, `","`) + `"]}`
}

func allow(action string) string {
	return `{"Effect":"Allow","Action":"` + action + `","Resource":"*"}`
}

// wantError checks an error's code, and that its message holds a text.
func wantError(t testing.TB, err error, code, text string) {
	t.Helper()
	var ae smithy.APIError
	switch {
	case err == nil:
		t.Errorf("it succeeded, want %s", code)
	case !errors.As(err, &ae):
		t.Errorf("the error is %v, want %s", err, code)
	case ae.ErrorCode() != code || !strings.Contains(ae.ErrorMessage(), text):
		t.Errorf("the error is %s: %s\nwant %s: …%s…", ae.ErrorCode(), ae.ErrorMessage(), code, text)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// lastRecord is the newest record of an event in the journal.
func (w *world) lastRecord(event string) map[string]any {
	w.t.Helper()
	var last map[string]any
	must(w.t, w.jour.Read(0, w.jour.Head(), func(it journal.Item) (bool, error) {
		var r map[string]any
		if err := json.Unmarshal(it.JSON, &r); err != nil {
			return false, err
		}
		if r["eventName"] == event {
			last = r
		}
		return true, nil
	}))
	if last == nil {
		w.t.Fatalf("there is no record of %s", event)
	}
	return last
}

// at follows names into a record.
func at(r any, names ...string) any {
	for _, n := range names {
		m, ok := r.(map[string]any)
		if !ok {
			return nil
		}
		r = m[n]
	}
	return r
}
