package aggregate

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	gocmp "github.com/google/go-cmp/cmp"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/journal"
	"spoor/internal/kv"
	"spoor/internal/record"
	"spoor/internal/trail"
)

const (
	account = "123456789012"
	region  = "us-east-1"
)

var (
	quiet = slog.New(slog.NewTextHandler(io.Discard, nil))
	begin = time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
	all   = []string{APIActivity, ResourceAccess, UserActions}
	data  = trail.Selectors{Basic: []trail.BasicSelector{{ReadWrite: trail.All, DataResources: []trail.DataResource{{Type: "AWS::S3::Object", Values: []string{"arn:aws:s3"}}}}}}
)

type bucket struct{ trail.Bucket }

type allowAll struct{}

func (allowAll) Authorize(context.Context, *call.Call, []call.Permission) error { return nil }

// put is a step that changes a trail.
type put struct {
	record.Record
	do func(c *call.Call) error
}

func (p *put) Permissions(_ *call.Call, dst []call.Permission) ([]call.Permission, error) {
	return dst, nil
}
func (p *put) Handle(_ context.Context, c *call.Call) error { return p.do(c) }
func (p *put) Events() int                                  { return 1 }
func (p *put) Category(int) record.Category                 { return record.Management }
func (p *put) External() bool                               { return false }
func (p *put) Describe(_ *call.Call, _ int, _ error, r *record.Record) {
	r.EventSource, r.EventName = "cloudtrail.amazonaws.com", "PutEventConfiguration"
}

// rig is a store with a reader that a test drives.
type rig struct {
	t     *testing.T
	fs    *vfs.MemFS
	now   time.Time
	store *kv.Store
	jr    *journal.Journal
	tr    *trail.Manager
	r     *reader
	ids   int
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, fs: vfs.NewCrashableMem(), now: begin}
	r.open()
	return r
}

func (r *rig) open() {
	r.t.Helper()
	clock := func() time.Time { return r.now }
	var err error
	if r.store, err = kv.Open("store", kv.Options{FS: r.fs}); err != nil {
		r.t.Fatal(err)
	}
	if r.jr, err = journal.Open(r.store, quiet); err != nil {
		r.t.Fatal(err)
	}
	if r.tr, err = trail.Open(trail.Config{Store: r.store, Journal: r.jr, Bucket: bucket{}, Log: quiet, Now: clock}); err != nil {
		r.t.Fatal(err)
	}
	r.r = newReader(Config{Store: r.store, Journal: r.jr, Trails: r.tr, Log: quiet, Now: clock})
}

func (r *rig) close() {
	r.t.Helper()
	if err := errors.Join(r.jr.Close(), r.store.Close()); err != nil {
		r.t.Error(err)
	}
}

// crash loses power: what was not synced is gone.
func (r *rig) crash() {
	r.t.Helper()
	clone := r.fs.CrashClone(vfs.CrashCloneCfg{})
	r.close()
	r.fs = clone
	r.open()
}

func (r *rig) trail(name string, templates ...string) {
	r.t.Helper()
	p := &call.Path{Auth: allowAll{}, Selector: r.tr, Journal: r.jr, Store: r.store, Now: func() time.Time { return r.now }, Log: quiet}
	c := &call.Call{RequestID: "request", EventID: call.NewID(), Region: region, AccountID: account, Caller: &aws.Caller{Type: aws.Root, AccountID: account}}
	if err := p.Run(r.t.Context(), c, &put{do: func(c *call.Call) error {
		r.tr.Lock(c)
		return r.tr.Put(c, &trail.State{Account: account, HomeRegion: region, Name: name,
			Settings: trail.Settings{Logging: true, Bucket: "logs", MultiRegion: true, GlobalEvents: true, Selectors: data, Templates: templates}})
	}}); err != nil {
		r.t.Fatal(err)
	}
}

// event journals a data event at the clock's time less what it is late.
func (r *rig) event(late time.Duration, change func(x *record.Record)) {
	r.t.Helper()
	r.ids++
	x := record.Record{Category: record.Data, EventTime: r.now.Add(-late), EventSource: "s3.amazonaws.com", EventName: "GetObject",
		EventID: fmt.Sprint("event-", r.ids), Region: region, AccountID: account, SourceIP: "10.0.0.1", UserAgent: "agent/1",
		Caller:    &aws.Caller{Type: aws.IAMUser, AccountID: account, ARN: "arn:aws:iam::" + account + ":user/alice"},
		Resources: []record.Resource{{Type: "AWS::S3::Object", ARN: fmt.Sprint("arn:aws:s3:::b/", r.ids)}, {Type: "AWS::S3::Bucket", ARN: "arn:aws:s3:::b"}}}
	if change != nil {
		change(&x)
	}
	entry, _ := x.AppendEntry(nil, nil)
	if err := r.jr.Append(journal.Group{Entries: []journal.Entry{{Account: account, Region: x.Region, Data: entry}}}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) step(d time.Duration) {
	r.t.Helper()
	r.now = r.now.Add(d)
	if err := r.r.step(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

type aggregated struct {
	trail string
	ID    string `json:"eventId"`
	Win   struct {
		Start string `json:"windowStart"`
	} `json:"timeWindow"`
	Summary record.AggregateSummary
}

// found are the aggregated events of the journal.
func (r *rig) found() (out []aggregated, raw []string) {
	r.t.Helper()
	if err := r.jr.Read(0, r.jr.Head(), func(it journal.Item) (bool, error) {
		if it.Category != record.Aggregated {
			return true, nil
		}
		var a aggregated
		var err error
		if a.trail, err = it.OnlyFor(); err != nil {
			return false, err
		}
		raw = append(raw, string(it.JSON))
		err = json.Unmarshal(it.JSON, &a)
		out = append(out, a)
		return true, err
	}); err != nil {
		r.t.Fatal(err)
	}
	return out, raw
}

// TestGolden: the whole of the aggregated events of one window.
func TestGolden(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	defer r.close()
	n := 0
	r.r.newID = func() string { n++; return fmt.Sprint("id-", n) }
	r.trail("audit", all...)
	r.event(0, nil)
	r.event(0, func(x *record.Record) { x.EventName, x.UserAgent = "PutObject", "agent/2" })
	r.event(0, func(x *record.Record) { x.ErrorCode, x.SourceIP = "AccessDenied", "10.0.0.2" })
	r.event(0, func(x *record.Record) { x.Category = record.Management })
	r.event(0, func(x *record.Record) {
		x.EventSource, x.Resources = "cassandra.amazonaws.com", []record.Resource{{Type: "AWS::Cassandra::Table", ARN: "arn:t"}}
	}) // the trail does not log it
	r.step(time.Minute)
	if _, raw := r.found(); len(raw) != 0 {
		t.Fatalf("before the window's end there are %s", raw)
	}
	r.step(5 * time.Minute)
	_, raw := r.found()
	head := func(id int) string {
		return fmt.Sprintf(`{"eventVersion":"1.0","accountId":"123456789012","eventId":"id-%d","eventCategory":"Aggregated","eventType":"AwsAggregatedEvent","awsRegion":"us-east-1",`+
			`"eventSource":"s3.amazonaws.com","timeWindow":{"windowStart":"2026-11-24T09:00:00Z","windowEnd":"2026-11-24T09:05:00Z","windowSize":"PT5M"},"summary":{"primaryDimension":`, id)
	}
	dim := func(name string, pairs ...any) string {
		var list []string
		for i := 0; i < len(pairs); i += 2 {
			list = append(list, fmt.Sprintf(`{"name":"%s","value":%d}`, pairs[i], pairs[i+1]))
		}
		return `{"dimension":"` + name + `","statistics":[` + strings.Join(list, ",") + `]}`
	}
	const b, alice = "arn:aws:s3:::b", "arn:aws:iam::123456789012:user/alice"
	want := []string{
		head(1) + dim("eventName", "GetObject", 2) + `,"details":[` + strings.Join([]string{dim("resourceARN", b, 2), dim("userIdentity", alice, 2),
			dim("sourceIpAddress", "10.0.0.1", 1, "10.0.0.2", 1), dim("userAgent", "agent/1", 2), dim("errorCodes", "AccessDenied", 1)}, ",") + `]}}`,
		head(2) + dim("eventName", "PutObject", 1) + `,"details":[` + strings.Join([]string{dim("resourceARN", b, 1), dim("userIdentity", alice, 1),
			dim("sourceIpAddress", "10.0.0.1", 1), dim("userAgent", "agent/2", 1)}, ",") + `]}}`,
		head(3) + dim("resourceARN", b, 3) + `,"details":[` + strings.Join([]string{dim("eventName", "GetObject", 2, "PutObject", 1), dim("userIdentity", alice, 3),
			dim("sourceIpAddress", "10.0.0.1", 2, "10.0.0.2", 1), dim("userAgent", "agent/1", 2, "agent/2", 1), dim("errorCodes", "AccessDenied", 1)}, ",") + `]}}`,
		head(4) + dim("userIdentity", alice, 3) + `,"details":[` + strings.Join([]string{dim("eventName", "GetObject", 2, "PutObject", 1), dim("resourceARN", b, 3),
			dim("sourceIpAddress", "10.0.0.1", 2, "10.0.0.2", 1), dim("userAgent", "agent/1", 2, "agent/2", 1), dim("errorCodes", "AccessDenied", 1)}, ",") + `]}}`,
	}
	if d := gocmp.Diff(want, raw); d != "" {
		t.Error(d)
	}
}

// TestBounds: more values than are kept or shown are one, and sums are right.
func TestBounds(t *testing.T) {
	t.Parallel()
	w := &window{account: account, groups: map[groupKey]*group{}}
	const n = 2500
	for i := range n {
		w.count(APIActivity, "s3.amazonaws.com", &values{eventName: "GetObject", userIdentity: fmt.Sprint("user-", i), resourceARN: "arn"})
		w.count(UserActions, "s3.amazonaws.com", &values{eventName: "GetObject", userIdentity: fmt.Sprint("user-", i), resourceARN: "arn"})
	}
	recs := w.records(windowKey{"trail", region, begin.Unix()}, call.NewID)
	if len(recs) != 1+maxGroups+1 {
		t.Fatalf("%d aggregated events", len(recs))
	}
	sums := map[string]uint64{}
	for _, r := range recs {
		sums[r.Summary.Primary.Dimension] += r.Summary.Primary.Statistics[0].Value
		for _, d := range r.Summary.Details {
			if len(d.Statistics) > maxShown+1 {
				t.Errorf("%d values are shown", len(d.Statistics))
			}
			var sum uint64
			for _, s := range d.Statistics {
				sum += s.Value
			}
			if sum != r.Summary.Primary.Statistics[0].Value {
				t.Errorf("%s adds up to %d of %d", d.Dimension, sum, r.Summary.Primary.Statistics[0].Value)
			}
		}
		if data, err := r.Entry("trail"); err != nil || len(data) > record.MaxEvent {
			t.Errorf("an aggregated event has %d bytes: %v", len(data), err)
		}
	}
	if d := gocmp.Diff(map[string]uint64{"eventName": n, "userIdentity": n}, sums); d != "" {
		t.Error(d)
	}
}

// TestMemoryBound: clients that make up new values for each call cannot fill
// memory; what is counted still adds up.
func TestMemoryBound(t *testing.T) {
	t.Parallel()
	w := &window{account: account, groups: map[groupKey]*group{}}
	const n = 3 * maxKept
	for i := range n {
		w.count(APIActivity, "s3.amazonaws.com", &values{eventName: fmt.Sprint("Op", i%500), userAgent: fmt.Sprint("agent/", i), sourceIP: "10.0.0.1"})
	}
	kept := 0
	for _, g := range w.groups {
		var agents uint64
		for _, m := range g.counts {
			kept += len(m)
		}
		for _, c := range g.counts[userAgent] {
			agents += c
		}
		if agents != g.n || g.counts[sourceIP]["10.0.0.1"]+g.counts[sourceIP][others] != g.n {
			t.Fatalf("%d user agents of %d events", agents, g.n)
		}
	}
	if w.kept != maxKept || kept > maxKept+2*len(w.groups) {
		t.Errorf("%d values are kept, by its own count %d", kept, w.kept)
	}
}

// TestExactlyOnce: however often the server loses power, early, late or in the
// middle of a window, and however late events come, each is counted once, in
// its own window.
func TestExactlyOnce(t *testing.T) {
	t.Parallel()
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(seed, 7))
			r := newRig(t)
			defer func() { r.close() }()
			r.trail("audit", APIActivity)
			r.trail("other", ResourceAccess, APIActivity)
			want := map[string]uint64{}
			crashes, latest := 0, r.now
			for range 250 {
				if r.now.After(latest) {
					latest = r.now
				}
				switch k := rnd.IntN(21); {
				case k < 13:
					late := time.Duration(0)
					if rnd.IntN(3) == 0 {
						late = time.Duration(rnd.IntN(900)) * time.Second
					}
					name := []string{"GetObject", "PutObject"}[rnd.IntN(2)]
					r.event(late, func(x *record.Record) { x.EventName = name })
					want[r.now.Add(-late).Truncate(Window).Format(time.RFC3339)+" "+name]++
				case k < 18:
					r.step(time.Duration(rnd.IntN(120)) * time.Second)
				case k < 20:
					r.crash()
					crashes++
				case seed%2 == 1: // the clock is set back
					r.now = r.now.Add(-time.Duration(rnd.IntN(1200)) * time.Second)
				}
			}
			r.now = latest
			r.step(time.Hour)
			r.crash()
			r.step(time.Hour)
			got := map[string]map[string]uint64{}
			ids := map[string]bool{}
			list, _ := r.found()
			for _, a := range list {
				p := a.Summary.Primary
				if ids[a.ID] {
					t.Errorf("the id %s is there twice", a.ID)
				}
				ids[a.ID] = true
				if p.Dimension != "eventName" {
					continue
				}
				name := a.trail[strings.LastIndexByte(a.trail, '/')+1:]
				if got[name] == nil {
					got[name] = map[string]uint64{}
				}
				got[name][a.Win.Start+" "+p.Statistics[0].Name] += p.Statistics[0].Value
			}
			if d := gocmp.Diff(map[string]map[string]uint64{"audit": want, "other": want}, got); d != "" {
				t.Errorf("after %d crashes: %s", crashes, d)
			}
			if cursor, err := r.jr.Cursor(trail.AggregationCursor); err != nil || cursor > r.jr.Head() || len(r.r.windows) != 0 {
				t.Errorf("cursor %d of %d, %d windows, %v", cursor, r.jr.Head(), len(r.r.windows), err)
			}
		})
	}
}

// TestBeforeAndAfterTheBatch: a crash right before the batch repeats it with the
// same counts, a crash right after it does not.
func TestBeforeAndAfterTheBatch(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	defer func() { r.close() }()
	r.trail("audit", APIActivity)
	for range 5 {
		r.event(0, nil)
	}
	r.step(time.Minute)
	// What flush does before its batch is in memory only.
	if err := r.jr.Close(); err != nil {
		t.Fatal(err)
	}
	r.now = r.now.Add(10 * time.Minute)
	if err := r.r.step(t.Context()); !errors.Is(err, journal.ErrClosed) {
		t.Fatalf("the batch went to a closed journal: %v", err)
	}
	clone := r.fs.CrashClone(vfs.CrashCloneCfg{})
	if err := r.store.Close(); err != nil {
		t.Fatal(err)
	}
	r.fs = clone
	r.open()
	for range 3 {
		r.step(0)
		list, _ := r.found()
		if len(list) != 1 || list[0].Summary.Primary.Statistics[0].Value != 5 {
			t.Fatalf("aggregated events %+v", list)
		}
		r.crash()
	}
}

// TestOff: without a template there is no cursor; with one it is there with the
// call that brings it, so that nothing after the answer is missed.
func TestOff(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	defer func() { r.close() }()
	cursors := func() []string {
		c, err := r.jr.Cursors()
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for name := range c {
			if !strings.HasPrefix(name, "trail/") {
				out = append(out, name)
			}
		}
		slices.SortFunc(out, cmp.Compare[string])
		return out
	}
	r.trail("audit")
	r.event(0, nil)
	r.step(10 * time.Minute)
	if c := cursors(); len(c) != 0 {
		t.Fatalf("cursors %v", c)
	}
	r.trail("audit", APIActivity)
	if c := cursors(); !slices.Equal(c, []string{trail.AggregationCursor}) {
		t.Fatalf("cursors %v", c)
	}
	r.event(0, nil)
	r.crash()
	r.step(10 * time.Minute)
	if list, _ := r.found(); len(list) != 1 || list[0].Summary.Primary.Statistics[0].Value != 1 {
		t.Fatalf("aggregated events %+v", list)
	}
	r.event(0, nil)
	r.step(0)
	r.trail("audit")
	r.step(10 * time.Minute)
	if list, _ := r.found(); len(list) != 1 || len(cursors()) != 0 || len(r.r.windows) != 0 {
		t.Fatalf("aggregated events %+v, cursors %v", list, cursors())
	}
}
