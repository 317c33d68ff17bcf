package call

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"spoor/internal/aws"
	"spoor/internal/journal"
	"spoor/internal/kv"
	"spoor/internal/record"
)

// selector is a set of selectors that a test switches.
type selector struct {
	version atomic.Uint64
	on      atomic.Bool
}

func (s *selector) Version() uint64             { return s.version.Load() }
func (s *selector) AnyData() bool               { return s.on.Load() }
func (s *selector) Selects(*record.Record) bool { return s.on.Load() }
func (s *selector) set(on bool)                 { s.on.Store(on); s.version.Add(1) }

// allow grants every permission but those on the resource "secret".
type allow struct{}

func (allow) Authorize(_ context.Context, _ *Call, perms []Permission) error {
	for _, p := range perms {
		if p.Resource == "secret" {
			return aws.NewError(aws.Denied, "AccessDenied", "not yours")
		}
	}
	return nil
}

// step is a call with settable parts.
type step struct {
	resource string
	category record.Category
	external bool
	events   int
	handle   func(ctx context.Context, c *Call) error
	handled  int
}

func (s *step) Permissions(_ *Call, dst []Permission) ([]Permission, error) {
	return append(dst, Permission{Action: "test:Do", Resource: s.resource}), nil
}
func (s *step) Handle(ctx context.Context, c *Call) error {
	s.handled++
	if s.handle == nil {
		return nil
	}
	return s.handle(ctx, c)
}
func (s *step) Events() int                  { return max(s.events, 1) }
func (s *step) Category(int) record.Category { return s.category }
func (s *step) External() bool               { return s.external }
func (s *step) Describe(_ *Call, _ int, _ error, r *record.Record) {
	r.EventSource, r.EventName = "test.amazonaws.com", "Do"
}

type fixture struct {
	store *kv.Store
	jr    *journal.Journal
	path  *Path
	sel   *selector
}

func newFixture(t *testing.T, fs vfs.FS) *fixture {
	t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	store, err := kv.Open("store", kv.Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	j, err := journal.Open(store, log)
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{store: store, jr: j, sel: &selector{}}
	f.path = &Path{Auth: allow{}, Selector: f.sel, Journal: j, Store: store, Now: time.Now, Log: log}
	return f
}

func (f *fixture) close(t *testing.T) {
	t.Helper()
	if err := errors.Join(f.jr.Close(), f.store.Close()); err != nil {
		t.Error(err)
	}
}

func newCall() *Call {
	return &Call{RequestID: NewID(), EventID: NewID(), Region: "us-east-1", AccountID: "123456789012",
		Caller: &aws.Caller{Type: aws.Root, AccountID: "123456789012", ARN: "arn:aws:iam::123456789012:root"}}
}

// records are the journal's records as "errorCode" texts, in order.
func (f *fixture) records(t *testing.T) []string {
	t.Helper()
	var out []string
	if err := f.jr.Read(0, f.jr.Head(), func(it journal.Item) (bool, error) {
		out = append(out, it.Field(record.FieldEventName)+it.Field(record.FieldErrorCode))
		return true, nil
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

var testKey = kv.Key(kv.SpaceState, "test")

func write(_ context.Context, c *Call) error {
	c.Tx.Set(testKey, []byte("written"))
	return nil
}

func TestRun(t *testing.T) {
	t.Parallel()
	failing := func(_ context.Context, c *Call) error {
		c.Tx.Set(testKey, []byte("must not stay"))
		c.Tx.OnCommit(func() { panic("ran for a call that failed") })
		return aws.NewError(aws.Invalid, "BadInput", "no")
	}
	tests := []struct {
		name     string
		step     step
		selected bool
		always   bool
		wantErr  string
		want     []string
		written  bool
		handled  int
	}{
		{name: "management", step: step{handle: write}, want: []string{"Do"}, written: true, handled: 1},
		{name: "denied", step: step{resource: "secret", handle: write}, wantErr: "AccessDenied", want: []string{"DoAccessDenied"}},
		{name: "failed", step: step{handle: failing}, wantErr: "BadInput", want: []string{"DoBadInput"}, handled: 1},
		{name: "data, not selected", step: step{category: record.Data, handle: write}, written: true, handled: 1},
		{name: "data, selected", step: step{category: record.Data, handle: write}, selected: true, want: []string{"Do"}, written: true, handled: 1},
		{name: "data, always", step: step{category: record.Data, handle: write}, always: true, want: []string{"Do"}, written: true, handled: 1},
		{name: "data, denied", step: step{category: record.Data, resource: "secret"}, selected: true, wantErr: "AccessDenied", want: []string{"DoAccessDenied"}},
		{name: "batch", step: step{category: record.Data, events: 3, handle: write}, selected: true, want: []string{"Do", "Do", "Do"}, written: true, handled: 1},
		{name: "external", step: step{external: true, handle: write}, want: []string{"Do"}, written: true, handled: 1},
		{name: "an error of its own", step: step{handle: func(context.Context, *Call) error { return errors.New("disk on fire") }},
			wantErr: "disk on fire", want: []string{"DoInternalFailure"}, handled: 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, vfs.NewMem())
			defer f.close(t)
			f.sel.set(tt.selected)
			f.path.AlwaysData = tt.always
			err := f.path.Run(t.Context(), newCall(), &tt.step)
			if (err == nil) != (tt.wantErr == "") || err != nil && !strings.Contains(err.Error(), tt.wantErr) {
				t.Errorf("Run returned %v, want %q", err, tt.wantErr)
			}
			if got := f.records(t); strings.Join(got, ",") != strings.Join(tt.want, ",") {
				t.Errorf("records %q, want %q", got, tt.want)
			}
			_, err = f.store.Get(testKey)
			if (err == nil) != tt.written {
				t.Errorf("the write is there: %v, want %v", err == nil, tt.written)
			}
			if tt.step.handled != tt.handled {
				t.Errorf("handled %d times, want %d", tt.step.handled, tt.handled)
			}
		})
	}
}

// TestHangUp: a client that goes away in the middle cannot suppress the record.
func TestHangUp(t *testing.T) {
	t.Parallel()
	f := newFixture(t, vfs.NewMem())
	defer f.close(t)
	ctx, cancel := context.WithCancel(t.Context())
	s := &step{handle: func(ctx context.Context, c *Call) error { cancel(); return write(ctx, c) }}
	if err := f.path.Run(ctx, newCall(), s); err != nil {
		t.Fatal(err)
	}
	if got := f.records(t); len(got) != 1 {
		t.Fatalf("records %q, want one", got)
	}
}

// TestSelectorChange: a selector that changes while a call is under way holds
// for that call, since it is answered after the change.
func TestSelectorChange(t *testing.T) {
	t.Parallel()
	for _, withWrite := range []bool{false, true} {
		f := newFixture(t, vfs.NewMem())
		s := &step{category: record.Data, handle: func(ctx context.Context, c *Call) error {
			if withWrite {
				c.Tx.Set(testKey, nil)
			}
			c.Tx.OnCommit(func() {})
			f.sel.set(true)
			return nil
		}}
		if err := f.path.Run(t.Context(), newCall(), s); err != nil {
			t.Fatal(err)
		}
		if got := f.records(t); len(got) != 1 {
			t.Errorf("with write %v: records %q, want one", withWrite, got)
		}
		f.close(t)
	}
}

// TestNotRecorded: when the journal cannot be written the call fails, its
// write is not visible, and no later call succeeds either.
func TestNotRecorded(t *testing.T) {
	t.Parallel()
	f := newFixture(t, vfs.NewMem())
	defer func() { f.store.Close() }()
	if err := f.jr.Close(); err != nil {
		t.Fatal(err)
	}
	committed := false
	s := &step{handle: func(ctx context.Context, c *Call) error {
		c.Tx.OnCommit(func() { committed = true })
		return write(ctx, c)
	}}
	err := f.path.Run(t.Context(), newCall(), s)
	if !aws.IsKind(err, aws.Unavailable) || committed {
		t.Fatalf("Run returned %v, OnCommit ran: %v", err, committed)
	}
	if _, err := f.store.Get(testKey); !errors.Is(err, kv.ErrNotFound) {
		t.Fatalf("the write of an unrecorded call is visible: %v", err)
	}
	ext := &step{external: true}
	if err := f.path.Run(t.Context(), newCall(), ext); err == nil || ext.handled != 0 {
		t.Fatalf("an external call went out without its intent (%v)", err)
	}
}

// TestFailedSync injects a failing log write and expects the process to stop
// rather than to answer: the store's contract is to panic there.
func TestFailedSync(t *testing.T) {
	t.Parallel()
	var fail atomic.Bool
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if fail.Load() && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSyncTo || op.Kind == errorfs.OpFileWrite) && strings.HasSuffix(op.Path, ".log") {
			return errors.New("injected")
		}
		return nil
	}))
	stopped := make(chan struct{})
	var once sync.Once
	store, err := kv.Open("store", kv.Options{FS: fs, Fatal: func(string) {
		once.Do(func() { close(stopped) })
		select {} // as a process that ends: nothing after this runs
	}})
	if err != nil {
		t.Fatal(err)
	}
	j, err := journal.Open(store, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	p := &Path{Auth: allow{}, Selector: &selector{}, Journal: j, Store: store, Now: time.Now, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	fail.Store(true)
	answered := make(chan error, 1)
	go func() { answered <- p.Run(context.Background(), newCall(), &step{handle: write}) }()
	select {
	case <-stopped:
	case err := <-answered:
		if err == nil {
			t.Fatal("a call was answered although its record's sync failed")
		}
	}
}

// TestLocksAreHeldUntilDurable: two read-modify-writes never lose one.
func TestLocksAreHeldUntilDurable(t *testing.T) {
	t.Parallel()
	f := newFixture(t, vfs.NewMem())
	defer f.close(t)
	var mu sync.Mutex
	var wg sync.WaitGroup
	const n = 50
	for range n {
		wg.Go(func() {
			s := &step{handle: func(_ context.Context, c *Call) error {
				c.Tx.Lock(&mu)
				v, err := f.store.Get(testKey)
				if err != nil && !errors.Is(err, kv.ErrNotFound) {
					return err
				}
				c.Tx.Set(testKey, append(v, 'x'))
				return nil
			}}
			if err := f.path.Run(t.Context(), newCall(), s); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	v, err := f.store.Get(testKey)
	if err != nil || len(v) != n {
		t.Fatalf("%d of %d updates are there (%v)", len(v), n, err)
	}
}
