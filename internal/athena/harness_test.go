package athena

import (
	"context"
	"crypto/md5"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/athena"
	"github.com/aws/aws-sdk-go-v2/service/athena/types"
	"github.com/cockroachdb/pebble/v2/vfs"

	"spoor/internal/aws"
	"spoor/internal/awshttp"
	"spoor/internal/call"
	"spoor/internal/engine/duckdb"
	"spoor/internal/glue"
	"spoor/internal/journal"
	"spoor/internal/kv"
	"spoor/internal/objects"
	"spoor/internal/record"
)

var update = flag.Bool("update", false, "rewrite the goldens")

const account, region = "123456789012", "us-east-1"

// rules are an authoriser and a selector of a test.
type rules struct {
	mu    sync.Mutex
	deny  func(p call.Permission) bool
	asked []call.Permission
}

func (r *rules) Authorize(_ context.Context, c *call.Call, perms []call.Permission) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, perms...)
	for _, p := range perms {
		via := p.Via
		if via == "" {
			via = c.ViaService
		}
		if strings.HasPrefix(p.Action, "athena:") != (via == "") {
			return errors.New(p.Action + " was asked via " + via)
		}
		if r.deny != nil && r.deny(p) {
			return aws.NewError(aws.Denied, "AccessDeniedException", "User: "+c.Caller.ARN+" is not authorized to perform: "+p.Action+" on resource: "+p.Resource)
		}
	}
	return nil
}

func (r *rules) set(deny func(p call.Permission) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deny, r.asked = deny, nil
}

func (r *rules) actions() map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]string{}
	for _, p := range r.asked {
		out[p.Action] = p.Resource
	}
	return out
}

func (*rules) Version() uint64             { return 1 }
func (*rules) AnyData() bool               { return false }
func (*rules) Selects(*record.Record) bool { return false }

// store is object storage in a directory; remote hides the files' paths.
type store struct {
	root   string
	remote bool
	fail   atomic.Bool // storing fails
}

func (s *store) path(bucket, key string) string {
	return filepath.Join(s.root, bucket, filepath.FromSlash(key))
}

func (s *store) PutFrom(_ context.Context, bucket, key string, body io.ReadSeeker, _ objects.PutOptions) error {
	if s.fail.Load() {
		return errors.New("no space left")
	}
	p := s.path(bucket, key)
	if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
		return err
	}
	data, err := io.ReadAll(body)
	return errors.Join(err, os.WriteFile(p, data, 0o600))
}

func (s *store) Get(_ context.Context, bucket, key string) (io.ReadCloser, objects.Info, error) {
	f, err := os.Open(s.path(bucket, key))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, objects.Info{}, objects.ErrNoSuchKey
	}
	return f, objects.Info{}, err
}

func (s *store) List(_ context.Context, bucket, prefix, after string, fn func(objects.Item) bool) error {
	var items []objects.Item
	err := filepath.WalkDir(s.path(bucket, ""), func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(s.path(bucket, ""), p)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if key := filepath.ToSlash(rel); err == nil && strings.HasPrefix(key, prefix) && key > after {
			var body []byte
			body, err = os.ReadFile(p)
			items = append(items, objects.Item{Key: key, Size: info.Size(), ETag: fmt.Sprintf("%x", md5.Sum(body)), LastModified: info.ModTime()})
		}
		return err
	})
	sort.Slice(items, func(i, j int) bool { return items[i].Key < items[j].Key })
	for _, i := range items {
		if !fn(i) {
			break
		}
	}
	return err
}

func (s *store) LocalPath(bucket, key string) (string, bool) { return s.path(bucket, key), !s.remote }

// buckets are the buckets of a test, with their policies.
type buckets map[string]string

func (b buckets) Exists(name string) bool                     { _, ok := b[name]; return ok }
func (b buckets) PolicyFor(name string, _ *aws.Caller) string { return b[name] }
func (b buckets) Account(string) string                       { return account }

// bench is a service behind its HTTP front, on a store in memory.
type bench struct {
	t       testing.TB
	fs      *vfs.MemFS
	kv      *kv.Store
	journal *journal.Journal
	rules   *rules
	objects *store
	now     atomic.Int64 // nanoseconds; 0: the real time
	svc     *Service
	api     *sdk.Client
	url     string
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func newBench(t testing.TB, set ...func(*bench)) *bench {
	t.Helper()
	b := &bench{t: t, fs: vfs.NewCrashableMem(), rules: &rules{}, objects: &store{root: t.TempDir()}}
	for _, f := range set {
		f(b)
	}
	if err := os.MkdirAll(b.objects.path("b", ""), 0o700); err != nil {
		t.Fatal(err)
	}
	b.open()
	t.Cleanup(b.close)
	return b
}

func (b *bench) time() time.Time {
	if n := b.now.Load(); n != 0 {
		return time.Unix(0, n)
	}
	return time.Now()
}

// signed takes every signature for alice's.
type signed struct{}

func (signed) Authenticate(*http.Request, []byte, string, bool) (*awshttp.Identity, error) {
	return &awshttp.Identity{Region: region, Caller: &aws.Caller{Type: aws.IAMUser, AccountID: account, PrincipalID: "AIDA1", ARN: "arn:aws:iam::123456789012:user/alice", UserName: "alice"}}, nil
}

func (b *bench) open() {
	b.t.Helper()
	must := func(err error) {
		b.t.Helper()
		if err != nil {
			b.t.Fatal(err)
		}
	}
	var err error
	b.kv, err = kv.Open("store", kv.Options{FS: b.fs})
	must(err)
	b.journal, err = journal.Open(b.kv, quiet)
	must(err)
	catalog, err := glue.Open(b.kv)
	must(err)
	b.svc, err = Open(Config{Store: b.kv, Journal: b.journal, Auth: b.rules, Catalog: catalog, Objects: b.objects, Buckets: buckets{"b": ""}, Workers: 2, Now: b.time, Log: quiet,
		Engine: duckdb.New(duckdb.Config{MemoryMB: 256, Threads: 2, TempDir: filepath.Join(b.t.TempDir(), "tmp")})})
	must(err)
	path := &call.Path{Auth: b.rules, Selector: b.rules, Journal: b.journal, Store: b.kv, Now: b.time, Log: quiet}
	h, err := awshttp.NewHandler(awshttp.Config{Path: path, Auth: signed{}, Services: []*call.Service{b.svc.HTTP()}, S3: http.NotFoundHandler(), Log: quiet, Region: region, Account: account})
	must(err)
	srv := httptest.NewServer(h)
	b.t.Cleanup(srv.Close)
	b.url = srv.URL
	b.api = sdk.New(sdk.Options{BaseEndpoint: &srv.URL, Region: region, RetryMaxAttempts: 1, Credentials: credentials.NewStaticCredentialsProvider("AKIA", "s", "")})
}

func (b *bench) close() {
	if err := errors.Join(b.svc.Close(context.Background()), b.journal.Close(), b.kv.Close()); err != nil {
		b.t.Error(err)
	}
}

func (b *bench) put(key, body string) {
	b.t.Helper()
	if err := b.objects.PutFrom(context.Background(), "b", key, strings.NewReader(body), objects.PutOptions{}); err != nil {
		b.t.Fatal(err)
	}
}

// start starts a query in the database default.
func (b *bench) start(query string, params ...string) (string, error) {
	b.t.Helper()
	out, err := b.api.StartQueryExecution(b.t.Context(), &sdk.StartQueryExecutionInput{QueryString: &query, ExecutionParameters: params,
		QueryExecutionContext: &types.QueryExecutionContext{Database: new("default")}, ResultConfiguration: &types.ResultConfiguration{OutputLocation: new("s3://b/out/")}})
	if err != nil {
		return "", err
	}
	return *out.QueryExecutionId, nil
}

// run runs a query to its end.
func (b *bench) run(query string, params ...string) *types.QueryExecution {
	b.t.Helper()
	id, err := b.start(query, params...)
	if err != nil {
		b.t.Fatalf("%s: %v", query, err)
	}
	b.svc.wg.Wait()
	return b.get(id)
}

func (b *bench) get(id string) *types.QueryExecution {
	b.t.Helper()
	out, err := b.api.GetQueryExecution(b.t.Context(), &sdk.GetQueryExecutionInput{QueryExecutionId: &id})
	if err != nil {
		b.t.Fatal(err)
	}
	return out.QueryExecution
}

// must runs a query that succeeds and gives its result's object.
func (b *bench) must(query string, params ...string) string {
	b.t.Helper()
	q := b.run(query, params...)
	if q.Status.State != types.QueryExecutionStateSucceeded {
		b.t.Fatalf("%s: %s %s", query, q.Status.State, str(q.Status.StateChangeReason))
	}
	return b.object(strings.TrimPrefix(*q.ResultConfiguration.OutputLocation, "s3://b/"))
}

func (b *bench) object(key string) string {
	b.t.Helper()
	body, err := os.ReadFile(b.objects.path("b", key))
	if err != nil {
		b.t.Fatal(err)
	}
	return string(body)
}

// refused runs a query that fails and gives the reason.
func (b *bench) refused(query string) string {
	b.t.Helper()
	q := b.run(query)
	if q.Status.State != types.QueryExecutionStateFailed || q.Status.AthenaError == nil || str(q.Status.AthenaError.ErrorMessage) != str(q.Status.StateChangeReason) {
		b.t.Fatalf("%s ended as %s with %+v", query, q.Status.State, q.Status.AthenaError)
	}
	return *q.Status.StateChangeReason
}
