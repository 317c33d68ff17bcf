package trail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/klauspost/compress/gzip"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/journal"
	"spoor/internal/kv"
	"spoor/internal/notify"
	"spoor/internal/record"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

const (
	account = "123456789012"
	home    = "us-east-1"
	bucket  = "trail-bucket"
	arn     = "arn:aws:cloudtrail:us-east-1:123456789012:trail/audit"
)

const goodPolicy = `{"Version":"2012-10-17","Statement":[
{"Sid":"AclCheck","Effect":"Allow","Principal":{"Service":"cloudtrail.amazonaws.com"},"Action":"s3:GetBucketAcl","Resource":"arn:aws:s3:::trail-bucket",
 "Condition":{"StringEquals":{"aws:SourceArn":"arn:aws:cloudtrail:us-east-1:123456789012:trail/audit"}}},
{"Sid":"Write","Effect":"Allow","Principal":{"Service":"cloudtrail.amazonaws.com"},"Action":"s3:PutObject","Resource":"arn:aws:s3:::trail-bucket/AWSLogs/123456789012/*",
 "Condition":{"StringEquals":{"s3:x-amz-acl":"bucket-owner-full-control","aws:SourceArn":"arn:aws:cloudtrail:us-east-1:123456789012:trail/audit"}}}]}`

// object is an object in a memory bucket.
type object struct {
	body []byte
	opts PutOptions
}

// fault is what happens to a Put.
type fault uint8

const (
	works      fault = iota
	notApplied       // fails and the object is not there
	applied          // fails and the object is there
	hangs            // takes the object and does not answer
)

// memory is a Bucket in memory whose faults a test chooses.
type memory struct {
	mu      sync.Mutex
	policy  string
	missing bool
	objects map[string]object
	puts    int
	fault   func(n int) fault // of the n-th Put
	clashes []string          // objects written again with other bytes
}

func newMemory() *memory { return &memory{policy: goodPolicy, objects: map[string]object{}} }

var errInjected = errors.New("injected")

func (m *memory) Put(ctx context.Context, b, key string, body []byte, o PutOptions) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.missing || b != bucket {
		return ErrNoSuchBucket
	}
	m.puts++
	what := works
	if m.fault != nil {
		what = m.fault(m.puts)
	}
	if what == notApplied {
		return errInjected
	}
	if old, ok := m.objects[key]; ok && (!bytes.Equal(old.body, body) || !maps.Equal(old.opts.Metadata, o.Metadata)) {
		m.clashes = append(m.clashes, key)
	}
	m.objects[key] = object{bytes.Clone(body), o}
	if what == applied {
		return errInjected
	}
	if what == hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func (m *memory) Open(_ context.Context, b, key string) (io.ReadCloser, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.missing || b != bucket {
		return nil, ErrNoSuchBucket
	}
	o, ok := m.objects[key]
	if !ok {
		return nil, ErrNoObject
	}
	return io.NopCloser(bytes.NewReader(o.body)), nil
}

func (m *memory) Policy(_ context.Context, b string) (string, string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.missing || b != bucket {
		return "", "", ErrNoSuchBucket
	}
	return m.policy, account, nil
}

func gunzip(t testing.TB, b []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	z.Multistream(false)
	out, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// plainSealer keeps secrets as they are: what is sealed is not tested here.
type plainSealer struct{}

func (plainSealer) Put(b *kv.Batch, key, plain []byte)              { b.Set(key, plain) }
func (plainSealer) Get(store *kv.Store, key []byte) ([]byte, error) { return store.Get(key) }

// allowAll lets every call through.
type allowAll struct{}

func (allowAll) Authorize(context.Context, *call.Call, []call.Permission) error { return nil }

// rig is a store, a journal and a manager whose follower a test drives.
type rig struct {
	t      testing.TB
	fs     vfs.FS
	bucket *memory
	now    time.Time
	store  *kv.Store
	jr     *journal.Journal
	m      *Manager
	path   *call.Path
	f      *follower
	ids    int
	// notifications are declared when there are settings.
	settings *notify.Settings
	notify   *notify.Manager
	roles    fakeRoles
}

// fakeRoles are roles that may do anything but what a test takes away.
type fakeRoles struct{ untrusted, denied *string }

func (f fakeRoles) MayAssume(role, _, _ string) (bool, error) {
	return f.untrusted == nil || *f.untrusted != role, nil
}

func (f fakeRoles) May(role string, use RoleUse) (bool, error) {
	return f.denied == nil || *f.denied != role || use.Action != "logs:PutLogEvents", nil
}

func newRig(t testing.TB, fs vfs.FS, b *memory) *rig {
	t.Helper()
	r := &rig{t: t, fs: fs, bucket: b, now: time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)}
	r.open()
	return r
}

func (r *rig) open() {
	r.t.Helper()
	var err error
	if r.store, err = kv.Open("store", kv.Options{FS: r.fs}); err != nil {
		r.t.Fatal(err)
	}
	if r.jr, err = journal.Open(r.store, quiet); err != nil {
		r.t.Fatal(err)
	}
	clock := func() time.Time { return r.now }
	if r.settings != nil {
		if r.notify, err = notify.Open(notify.Config{Settings: r.settings, Store: r.store, Commit: r.jr, Log: quiet, Now: clock, SNS: &notify.SNSKey{}}); err != nil {
			r.t.Fatal(err)
		}
	}
	r.m, err = Open(Config{Notify: r.notify, Roles: r.roles,
		Store: r.store, Journal: r.jr, Bucket: r.bucket, Sealer: plainSealer{}, Log: quiet, Now: clock,
		DeliveryInterval: 15 * time.Second, DigestInterval: time.Hour})
	if err != nil {
		r.t.Fatal(err)
	}
	r.path = &call.Path{Auth: allowAll{}, Selector: r.m, Journal: r.jr, Store: r.store, Now: clock, Log: quiet}
	r.newFollower()
}

func (r *rig) newFollower() {
	r.t.Helper()
	r.f = newFollower(r.m, arn)
	if err := r.f.load(); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) close() {
	r.t.Helper()
	if err := errors.Join(r.jr.Close(), r.store.Close()); err != nil {
		r.t.Error(err)
	}
}

// step advances the clock and runs the follower until no upload is under way.
func (r *rig) step(d time.Duration) bool {
	r.t.Helper()
	r.now = r.now.Add(d)
	done, err := r.settle()
	if err != nil {
		r.t.Fatal(err)
	}
	return done
}

// settle runs the follower until no upload is under way, also after an error.
func (r *rig) settle() (done bool, err error) {
	for {
		if _, done, err = r.f.step(r.t.Context()); err != nil {
			r.f.uploads.Wait()
			return false, err
		}
		if done || r.f.flying == 0 {
			return done, nil
		}
		r.f.await()
	}
}

// await returns when an upload has ended that was not looked at yet.
func (f *follower) await() {
	ended := make(chan struct{})
	f.ended.onNext(sync.OnceFunc(func() { close(ended) }))
	<-ended
}

// testStep is a call that runs fn in its transaction.
type testStep struct {
	category record.Category
	name     string
	source   string
	readOnly bool
	res      []record.Resource
	fn       func(c *call.Call) error
}

func (s *testStep) Permissions(_ *call.Call, dst []call.Permission) ([]call.Permission, error) {
	return dst, nil
}
func (s *testStep) Handle(_ context.Context, c *call.Call) error {
	if s.fn == nil {
		return nil
	}
	return s.fn(c)
}
func (s *testStep) Events() int                  { return 1 }
func (s *testStep) Category(int) record.Category { return s.category }
func (s *testStep) External() bool               { return false }
func (s *testStep) Describe(_ *call.Call, _ int, _ error, rec *record.Record) {
	rec.EventSource, rec.EventName, rec.ReadOnly = s.source, s.name, s.readOnly
	rec.Resources = append(rec.Resources, s.res...)
	if rec.EventSource == "" {
		rec.EventSource = "athena.amazonaws.com"
	}
}

// do makes one call in a region and returns its event id.
func (r *rig) do(region string, s *testStep) string {
	r.t.Helper()
	r.ids++
	id := fmt.Sprintf("%08x-0000-4000-8000-000000000000", r.ids)
	c := &call.Call{RequestID: id, EventID: id, Region: region, AccountID: account,
		Caller: &aws.Caller{Type: aws.Root, AccountID: account, PrincipalID: account, ARN: "arn:aws:iam::123456789012:root"}}
	if err := r.path.Run(context.Background(), c, s); err != nil {
		r.t.Fatal(err)
	}
	return id
}

func (r *rig) event(region string) string { return r.do(region, &testStep{name: "ListWorkGroups"}) }

// put changes the trail through a call, as the service does.
func (r *rig) put(name string, change func(t *State)) string {
	r.t.Helper()
	return r.do(home, &testStep{name: name, source: "cloudtrail.amazonaws.com", fn: func(c *call.Call) error {
		r.m.Lock(c)
		t := State{Account: account, HomeRegion: home, Name: "audit", Settings: Settings{Bucket: bucket, GlobalEvents: true, Validation: true}}
		if old := r.m.Trail(arn); old != nil {
			t = *old
		}
		change(&t)
		return r.m.Put(c, &t)
	}})
}

func (r *rig) start() string {
	return r.put("StartLogging", func(t *State) { t.Settings.Logging = true })
}
func (r *rig) stop() string {
	return r.put("StopLogging", func(t *State) { t.Settings.Logging = false })
}

// waitFor polls for a state that another goroutine brings about.
func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("timed out")
		}
	}
}
