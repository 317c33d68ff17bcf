package history

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"spoor/internal/aws"
	"spoor/internal/journal"
	"spoor/internal/kv"
	"spoor/internal/record"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

const account = "123456789012"

var start = time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)

type rig struct {
	store *kv.Store
	jr    *journal.Journal
	x     *Index
	mu    sync.Mutex
	now   time.Time
	stop  context.CancelFunc
	ended chan error
}

func newRig(t testing.TB, fs vfs.FS) *rig { return newRigWith(t, fs, 0) }

// newRigWith is newRig with ids that are written so many at a time.
func newRigWith(t testing.TB, fs vfs.FS, idsBatch int) *rig {
	t.Helper()
	r := &rig{now: start, ended: make(chan error, 1)}
	var err error
	if r.store, err = kv.Open("store", kv.Options{FS: fs}); err != nil {
		t.Fatal(err)
	}
	if r.jr, err = journal.Open(r.store, quiet); err != nil {
		t.Fatal(err)
	}
	r.x, err = Open(Config{Store: r.store, Journal: r.jr, Log: quiet, idsBatch: idsBatch, Now: func() time.Time {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.now
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	go func() { r.ended <- r.x.Run(ctx) }()
	return r
}

func (r *rig) close(t testing.TB) {
	t.Helper()
	r.stop()
	if err := errors.Join(<-r.ended, r.jr.Close(), r.store.Close()); err != nil {
		t.Error(err)
	}
}

func (r *rig) advance(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = r.now.Add(d)
}

var root = &aws.Caller{Type: aws.Root, AccountID: account, PrincipalID: account, ARN: "arn:aws:iam::123456789012:root", AccessKeyID: "AKIAROOT"}

func (r *rig) add(t testing.TB, rec record.Record) {
	t.Helper()
	if rec.Caller == nil {
		rec.Caller = root
	}
	if rec.EventTime.IsZero() {
		rec.EventTime = r.x.cfg.Now()
	}
	if rec.Region == "" {
		rec.Region = "us-east-1"
	}
	if rec.EventSource == "" {
		rec.EventSource = "athena.amazonaws.com"
	}
	rec.AccountID = account
	data, _ := rec.AppendEntry(nil, nil)
	if err := r.jr.Append(journal.Group{Entries: []journal.Entry{{Account: account, Region: rec.Region, Data: data}}}); err != nil {
		t.Fatal(err)
	}
}

// ids looks up all pages of size page.
func (r *rig) ids(t testing.TB, q Query, page int) []string {
	t.Helper()
	q.Account, q.Max = account, page
	if q.Region == "" {
		q.Region = "us-east-1"
	}
	out := []string{}
	for {
		p, err := r.x.Lookup(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for i := range p.Items {
			out = append(out, p.Items[i].Field(record.FieldEventID))
		}
		if p.Next == "" {
			return out
		}
		if len(p.Items) != page {
			t.Fatalf("a page of %d with a token, want %d", len(p.Items), page)
		}
		q.Token = p.Next
	}
}

func TestLookup(t *testing.T) {
	t.Parallel()
	r := newRig(t, vfs.NewMem())
	defer r.close(t)
	alice := &aws.Caller{Type: aws.IAMUser, AccountID: account, PrincipalID: "AIDA", ARN: "arn:aws:iam::123456789012:user/alice", UserName: "alice", AccessKeyID: "AKIAALICE"}
	role := &aws.Caller{Type: aws.AssumedRole, AccountID: account, PrincipalID: "AROA:build", ARN: "arn:aws:sts::123456789012:assumed-role/r/build",
		AccessKeyID: "ASIA", Session: &aws.Session{Name: "build", IssuerType: "Role", IssuerARN: "arn:aws:iam::123456789012:role/r"}}
	table := record.Resource{Type: "AWS::Glue::Table", ARN: "arn:aws:glue:us-east-1:123456789012:table/db/events"}
	r.add(t, record.Record{EventID: "1", EventName: "ListWorkGroups", ReadOnly: true})
	r.add(t, record.Record{EventID: "2", EventName: "CreateTable", EventSource: "glue.amazonaws.com", Caller: alice, Resources: []record.Resource{table}})
	r.add(t, record.Record{EventID: "3", EventName: "ListWorkGroups", ReadOnly: true, Region: "eu-west-1"})
	r.add(t, record.Record{EventID: "4", EventName: "Select", Category: record.Data})
	r.advance(49 * time.Hour)
	r.add(t, record.Record{EventID: "5", EventName: "CreateTable", EventSource: "glue.amazonaws.com", Caller: role, Resources: []record.Resource{table}})
	r.add(t, record.Record{EventID: "6", EventName: "ListWorkGroups", ReadOnly: true, Caller: alice})
	tests := []struct {
		name string
		q    Query
		want []string
	}{
		{"all", Query{}, []string{"6", "5", "2", "1"}},
		{"region", Query{Region: "eu-west-1"}, []string{"3"}},
		{"event id", Query{Attribute: ByEventID, Value: "2"}, []string{"2"}},
		{"data event", Query{Attribute: ByEventID, Value: "4"}, []string{}},
		{"event name", Query{Attribute: ByEventName, Value: "CreateTable"}, []string{"5", "2"}},
		{"part of a name", Query{Attribute: ByEventName, Value: "Create"}, []string{}},
		{"read only", Query{Attribute: ByReadOnly, Value: "True"}, []string{"6", "1"}},
		{"writes", Query{Attribute: ByReadOnly, Value: "false"}, []string{"5", "2"}},
		{"user", Query{Attribute: ByUsername, Value: "alice"}, []string{"6", "2"}},
		{"root", Query{Attribute: ByUsername, Value: "root"}, []string{"1"}},
		{"session", Query{Attribute: ByUsername, Value: "build"}, []string{"5"}},
		{"source", Query{Attribute: ByEventSource, Value: "glue.amazonaws.com"}, []string{"5", "2"}},
		{"key", Query{Attribute: ByAccessKeyID, Value: "ASIA"}, []string{"5"}},
		{"resource type", Query{Attribute: ByResourceType, Value: "AWS::Glue::Table"}, []string{"5", "2"}},
		{"resource ARN", Query{Attribute: ByResourceName, Value: table.ARN}, []string{"5", "2"}},
		{"resource name", Query{Attribute: ByResourceName, Value: "events"}, []string{"5", "2"}},
		{"from", Query{Start: start.Add(time.Hour)}, []string{"6", "5"}},
		{"until", Query{End: start}, []string{"2", "1"}},
		{"between", Query{Start: start.Add(time.Second), End: start.Add(48 * time.Hour)}, []string{}},
		{"until, by name", Query{Attribute: ByEventName, Value: "CreateTable", End: start.Add(time.Hour)}, []string{"2"}},
	}
	for _, tt := range tests {
		for _, page := range []int{1, 2, MaxResults} {
			if d := cmp.Diff(tt.want, r.ids(t, tt.q, page)); d != "" {
				t.Errorf("%s, pages of %d: %s", tt.name, page, d)
			}
		}
	}
}

// TestPagesAreStable: events that come in between pages are on none of them.
func TestPagesAreStable(t *testing.T) {
	t.Parallel()
	r := newRig(t, vfs.NewMem())
	defer r.close(t)
	for i := range 20 {
		r.add(t, record.Record{EventID: fmt.Sprint(i), EventName: "A"})
	}
	q := Query{Account: account, Region: "us-east-1", Max: 7}
	var got []string
	for i := 100; ; i++ {
		p, err := r.x.Lookup(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for j := range p.Items {
			got = append(got, p.Items[j].Field(record.FieldEventID))
		}
		if p.Next == "" {
			break
		}
		q.Token = p.Next
		r.add(t, record.Record{EventID: fmt.Sprint(i), EventName: "A"})
	}
	if len(got) != 20 || got[0] != "19" || got[19] != "0" {
		t.Errorf("events %q", got)
	}
	q.Value, q.Attribute = "A", ByEventName
	if _, err := r.x.Lookup(t.Context(), q); !errors.Is(err, ErrToken) {
		t.Errorf("another query's token: %v", err)
	}
	for _, bad := range []string{"x", "AAAA", q.Token + "A"} {
		if _, err := r.x.Lookup(t.Context(), Query{Account: account, Token: bad}); !errors.Is(err, ErrToken) {
			t.Errorf("token %q: %v", bad, err)
		}
	}
}

// TestExpire removes whole days, hides the rest, and trims the journal.
func TestExpire(t *testing.T) {
	t.Parallel()
	r := newRig(t, vfs.NewMem())
	defer r.close(t)
	for day := range 5 {
		r.add(t, record.Record{EventID: fmt.Sprint(day), EventName: "A"})
		r.add(t, record.Record{EventID: fmt.Sprint(day, " data"), EventName: "B", Category: record.Data})
		r.advance(24 * time.Hour)
	}
	if got := r.ids(t, Query{}, 50); len(got) != 5 {
		t.Fatalf("events %q", got)
	}
	r.advance(DefaultRetention - 3*24*time.Hour) // the events of days 0 and 1 are too old, day 2 just
	if got := r.ids(t, Query{}, 50); cmp.Diff([]string{"4", "3", "2"}, got) != "" {
		t.Errorf("before expiry: %q", got)
	}
	if err := r.x.Expire(); err != nil {
		t.Fatal(err)
	}
	if got := r.ids(t, Query{}, 50); cmp.Diff([]string{"4", "3", "2"}, got) != "" {
		t.Errorf("after expiry: %q", got)
	}
	if _, err := r.jr.Get(4); !errors.Is(err, kv.ErrNotFound) {
		t.Errorf("record 4 is still in the journal (%v)", err)
	}
	if _, err := r.jr.Get(5); err != nil {
		t.Errorf("record 5 is gone: %v", err)
	}
	if n := r.keys(t, dayMark); n != 3 {
		t.Errorf("%d days are left, want 3", n)
	}
	if r.keys(t, weekMark) == 0 {
		t.Error("no lists are left")
	}
	r.advance(5 * 24 * time.Hour)
	if got := r.ids(t, Query{}, 50); len(got) != 0 {
		t.Errorf("past retention: %q", got)
	}
	r.advance(weekDays * 24 * time.Hour) // their last week is over
	if err := r.x.Expire(); err != nil {
		t.Fatal(err)
	}
	for _, mark := range []byte{dayMark, weekMark} {
		if n := r.keys(t, mark); n != 0 {
			t.Errorf("%d keys of kind %c are left", n, mark)
		}
	}
}

// keys counts the keys of a kind.
func (r *rig) keys(t testing.TB, mark byte) (n int) {
	t.Helper()
	if err := r.store.Scan([]byte{byte(kv.SpaceHistory), mark}, func(_, _ []byte) (bool, error) { n++; return true, nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

// byDay makes the lists of a store that is not open those of one from before
// they were by week.
func byDay(t testing.TB, fs vfs.FS) {
	t.Helper()
	store, err := kv.Open("store", kv.Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	b := store.NewBatch()
	err = store.Scan([]byte{byte(kv.SpaceHistory), weekMark}, func(k, v []byte) (bool, error) {
		p, err := decodePosition(k[len(k)-16:])
		b.Delete(k)
		b.Set(append(appendDay(nil, dayOfMS(p.ms)), k[6:]...), v)
		return true, err
	})
	if err := errors.Join(err, store.Apply(b), store.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestExpireByDay: a store of before is read, and its lists go with their days.
func TestExpireByDay(t *testing.T) {
	t.Parallel()
	fs := vfs.NewMem()
	r := newRig(t, fs)
	for day := range 5 {
		r.add(t, record.Record{EventID: fmt.Sprint(day), EventName: "A"})
		r.advance(24 * time.Hour)
	}
	now := r.x.cfg.Now()
	r.close(t)
	byDay(t, fs)
	r = newRig(t, fs)
	defer r.close(t)
	r.advance(now.Sub(start))
	if n := r.keys(t, weekMark); n != 0 {
		t.Fatalf("%d keys by week", n)
	}
	r.add(t, record.Record{EventID: "5", EventName: "A"})
	for _, page := range []int{1, 4, 50} {
		if got := r.ids(t, Query{Attribute: ByEventName, Value: "A"}, page); cmp.Diff([]string{"5", "4", "3", "2", "1", "0"}, got) != "" {
			t.Errorf("pages of %d: %q", page, got)
		}
	}
	if got := r.ids(t, Query{Attribute: ByEventID, Value: "1"}, 50); cmp.Diff([]string{"1"}, got) != "" {
		t.Errorf("by id: %q", got)
	}
	r.advance(DefaultRetention - 3*24*time.Hour)
	if err := r.x.Expire(); err != nil {
		t.Fatal(err)
	}
	if got := r.ids(t, Query{}, 50); cmp.Diff([]string{"5", "4", "3", "2"}, got) != "" {
		t.Errorf("after expiry: %q", got)
	}
	if n := r.keys(t, indexMark); n != 3*7 {
		t.Errorf("%d keys by day are left", n)
	}
}

// TestRestart: an index that was not written is made up after a power loss.
func TestRestart(t *testing.T) {
	t.Parallel()
	fs := vfs.NewCrashableMem()
	r := newRig(t, fs)
	for i := range 300 {
		r.add(t, record.Record{EventID: fmt.Sprint(i), EventName: "A"})
	}
	clone := fs.CrashClone(vfs.CrashCloneCfg{})
	r.close(t)
	r = newRig(t, clone)
	defer r.close(t)
	if got := r.ids(t, Query{}, 50); len(got) != 300 {
		t.Errorf("%d events after a restart", len(got))
	}
}

// TestIDs: an event is found by its id whether that is in memory only, written,
// or read again after a power loss or a stop.
func TestIDs(t *testing.T) {
	t.Parallel()
	for _, batch := range []int{1, 7, 1000} {
		fs := vfs.NewCrashableMem()
		r := newRigWith(t, fs, batch)
		n := 0
		add := func() {
			for range 50 {
				r.add(t, record.Record{EventID: fmt.Sprint(n), EventName: "A"})
				n++
			}
		}
		check := func(when string) {
			t.Helper()
			for i := range n {
				if got := r.ids(t, Query{Attribute: ByEventID, Value: fmt.Sprint(i)}, 50); len(got) != 1 || got[0] != fmt.Sprint(i) {
					t.Fatalf("batches of %d, %s: event %d is found as %q", batch, when, i, got)
				}
			}
			if got := r.ids(t, Query{Attribute: ByEventName, Value: "A"}, 50); len(got) != n {
				t.Fatalf("batches of %d, %s: %d events of %d", batch, when, len(got), n)
			}
			if got := r.ids(t, Query{Attribute: ByEventID, Value: "0", End: start.Add(-time.Hour)}, 50); len(got) != 0 {
				t.Fatalf("batches of %d, %s: before its time event 0 is found as %q", batch, when, got)
			}
		}
		add()
		check("at first")
		add()
		check("later")
		clone := fs.CrashClone(vfs.CrashCloneCfg{})
		r.close(t)
		r = newRigWith(t, clone, batch)
		check("after a power loss")
		add()
		check("and later")
		r.close(t)
		r = newRigWith(t, clone, batch)
		if r.x.ids.len() != 0 {
			t.Errorf("%d ids were not written at the stop", r.x.ids.len())
		}
		check("after a stop")
		r.close(t)
	}
}

func TestBareName(t *testing.T) {
	t.Parallel()
	for arn, want := range map[string]string{
		"arn:aws:s3:::bucket":                       "bucket",
		"arn:aws:s3:::bucket/a/b":                   "a/b",
		"arn:aws:iam::1:user/path/alice":            "alice",
		"arn:aws:glue:r:1:table/db/t":               "t",
		"arn:aws:cassandra:r:1:/keyspace/k/table/t": "t",
		"arn:aws:cassandra:r:1:/keyspace/k/":        "k",
		"arn:aws:sns:r:1:topic":                     "topic",
		"name":                                      "name",
	} {
		if got := BareName(arn); got != want {
			t.Errorf("%s: %q, want %q", arn, got, want)
		}
	}
}

func FuzzToken(f *testing.F) {
	q := Query{Account: account, Region: "us-east-1"}
	f.Add(q.token(position{1, 2}))
	f.Fuzz(func(t *testing.T, s string) {
		q := q
		q.Token = s
		if p, err := q.parseToken(); err == nil && q.token(p) != s {
			t.Fatalf("%q does not print back", s)
		}
	})
}

// BenchmarkLookup measures a lookup's two stages: finding positions in the
// index, and reading their records from the journal.
func BenchmarkLookup(b *testing.B) {
	r := newRig(b, vfs.NewMem())
	defer r.close(b)
	const n = 100_000
	for i := 0; i < n; {
		var g journal.Group
		for range 1000 {
			caller := root
			if i%2000 == 7 {
				caller = &aws.Caller{Type: aws.IAMUser, AccountID: account, PrincipalID: "AIDA", ARN: "arn:aws:iam::123456789012:user/user7", UserName: "user7", AccessKeyID: "AKIA"}
			}
			rec := record.Record{Caller: caller, EventID: fmt.Sprint(i), EventName: fmt.Sprintf("Op%d", i%50), EventSource: "athena.amazonaws.com", ReadOnly: i%3 > 0,
				Region: "us-east-1", AccountID: account, EventTime: start.Add(time.Duration(i) * 77 * time.Second)}
			data, _ := rec.AppendEntry(nil, nil)
			g.Entries = append(g.Entries, journal.Entry{Account: account, Region: "us-east-1", Data: data})
			i++
		}
		if err := r.jr.Append(g); err != nil {
			b.Fatal(err)
		}
	}
	r.advance(n * 77 * time.Second)
	if err := errors.Join(r.x.WaitFor(b.Context(), n), r.x.flush(true), r.store.DB().Flush()); err != nil {
		b.Fatal(err)
	}
	for _, bm := range []struct {
		name  string
		q     Query
		found int
	}{
		{"newest", Query{}, 51},
		{"name", Query{Attribute: ByEventName, Value: "Op7"}, 51},
		{"few", Query{Attribute: ByUsername, Value: "user7"}, 50},
		{"id", Query{Attribute: ByEventID, Value: "99"}, 1},
		{"absent", Query{Attribute: ByUsername, Value: "nobody"}, 0},
	} {
		q := bm.q
		q.Account, q.Region, q.Max = account, "us-east-1", MaxResults
		collect := func() ([]position, error) {
			return r.x.collect(q, attributeCode[q.Attribute], position{ms: 1 << 62}, nil, r.x.cfg.Now().Add(-DefaultRetention))
		}
		found, err := collect()
		if err != nil || len(found) != bm.found {
			b.Fatalf("%s: %d events, want %d (%v)", bm.name, len(found), bm.found, err)
		}
		b.Run(bm.name+"/index", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := collect(); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(bm.name+"/records", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.x.page(q, found); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
