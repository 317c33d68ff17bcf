package insights

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/journal"
	"spoor/internal/kv"
	"spoor/internal/lake"
	"spoor/internal/record"
	"spoor/internal/trail"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// bucket takes everything; nothing is delivered here.
type bucket struct{ trail.Bucket }

type allowAll struct{}

func (allowAll) Authorize(context.Context, *call.Call, []call.Permission) error { return nil }

// put is a step that changes a trail or a store.
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
	r.EventSource, r.EventName, r.ReadOnly = "cloudtrail.amazonaws.com", "PutInsightSelectors", true
}

// rig is a store with a reader that a test drives.
type rig struct {
	t     *testing.T
	fs    vfs.FS
	now   time.Time
	p     Params
	store *kv.Store
	jr    *journal.Journal
	tr    *trail.Manager
	lk    *lake.Manager
	m     *Manager
	r     *reader
	ids   int
}

func newRig(t *testing.T, fs vfs.FS, p Params) *rig {
	t.Helper()
	r := &rig{t: t, fs: fs, p: p, now: time.Unix(begin*60, 0).UTC()}
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
	if r.lk, err = lake.Open(lake.Config{Store: r.store, Journal: r.jr, Log: quiet, Now: clock}); err != nil {
		r.t.Fatal(err)
	}
	if r.m, err = Open(Config{Store: r.store, Journal: r.jr, Trails: r.tr, Lake: r.lk, Params: r.p, Log: quiet, Now: clock}); err != nil {
		r.t.Fatal(err)
	}
	r.r = newReader(r.m)
}

func (r *rig) close() {
	r.t.Helper()
	if err := errors.Join(r.jr.Close(), r.store.Close()); err != nil {
		r.t.Error(err)
	}
}

// crash loses power: what was not synced is gone. The server is started again
// after some time.
func (r *rig) crash(d time.Duration) {
	r.t.Helper()
	clone := r.fs.(*vfs.MemFS).CrashClone(vfs.CrashCloneCfg{})
	r.close()
	r.fs = clone
	r.now = r.now.Add(d)
	r.open()
}

func (r *rig) change(fn func(c *call.Call) error) {
	r.t.Helper()
	p := &call.Path{Auth: allowAll{}, Selector: call.Selectors{r.tr, r.lk}, Journal: r.jr, Store: r.store, Now: func() time.Time { return r.now }, Log: quiet}
	c := &call.Call{RequestID: "request", EventID: call.NewID(), Region: region, AccountID: account, Caller: &aws.Caller{Type: aws.Root, AccountID: account}}
	if err := p.Run(r.t.Context(), c, &put{do: fn}); err != nil {
		r.t.Fatal(err)
	}
}

// trail puts a trail with insight selectors.
func (r *rig) trail(name string, multi bool, sel trail.Selectors, on ...trail.Insight) {
	r.t.Helper()
	r.change(func(c *call.Call) error {
		r.tr.Lock(c)
		return r.tr.Put(c, &trail.State{Account: account, HomeRegion: region, Name: name,
			Settings: trail.Settings{Logging: true, Bucket: "logs", MultiRegion: multi, GlobalEvents: true, Selectors: sel, Insights: on}})
	})
}

// calls journals n calls that are alike, at the clock's time.
func (r *rig) calls(n int, change func(x *record.Record)) {
	r.t.Helper()
	var g journal.Group
	for range n {
		r.ids++
		x := record.Record{Category: record.Management, EventTime: r.now, EventSource: "athena.amazonaws.com", EventName: "CreateWorkGroup",
			EventID: fmt.Sprint("event-", r.ids), Region: region, AccountID: account, UserAgent: "agent/1",
			Caller: &aws.Caller{Type: aws.AssumedRole, AccountID: account, ARN: "arn:aws:sts::" + account + ":assumed-role/deploy/session"}}
		if change != nil {
			change(&x)
		}
		data, _ := x.AppendEntry(nil, nil)
		g.Entries = append(g.Entries, journal.Entry{Account: account, Region: x.Region, Data: data})
	}
	if err := r.jr.Append(g); err != nil {
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

// insights reads the Insights records of the journal.
func (r *rig) insights() (out []*record.InsightRecord) {
	r.t.Helper()
	err := r.jr.Read(0, r.jr.Head(), func(it journal.Item) (bool, error) {
		if it.Category != record.Insight {
			return true, nil
		}
		x, err := record.ParseInsight(it.JSON)
		out = append(out, x)
		return err == nil, err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

func (r *rig) points(k Key, period time.Duration, zeros bool) []Point {
	r.t.Helper()
	out, next, err := r.m.Points(Metric{Key: k, From: time.Unix(begin*60, 0), To: r.now.Add(time.Minute), Period: period, Zeros: zeros, Max: 21600})
	if err != nil || !next.IsZero() {
		r.t.Fatal(err, next)
	}
	return out
}

func sum(points []Point, period time.Duration) (total float64) {
	for _, p := range points {
		total += p.Value * period.Minutes()
	}
	return total
}

// small are settings under which half an hour is history enough.
func small() Params {
	p := Defaults()
	p.MinHistory = 30 * time.Minute
	return p
}

func management(types ...string) (out []trail.Insight) {
	for _, t := range types {
		out = append(out, trail.Insight{Type: t, Categories: []string{record.OnManagement}})
	}
	return out
}

func workGroups(typ string) Key {
	return Key{Account: account, Region: region, Type: typ, Source: "athena.amazonaws.com", Name: "CreateWorkGroup"}
}

// TestInsight: a burst of calls, some of which fail, opens an insight on the
// rate of calls and one on that of errors; both end when it is over. What is
// counted is what was called.
func TestInsight(t *testing.T) {
	t.Parallel()
	r := newRig(t, vfs.NewMem(), small())
	defer r.close()
	r.step(0)
	r.calls(7, nil) // before Insights are on
	r.trail("audit", true, trail.Selectors{}, management(CallRate, ErrorRate)...)
	r.step(0)
	for i := range 40 {
		r.step(time.Minute)
		if i%10 == 3 {
			r.calls(1, nil)
		}
		r.calls(1, func(x *record.Record) { x.ReadOnly, x.EventName = true, "ListWorkGroups" })
	}
	start := r.now.Add(time.Minute)
	for range 3 {
		r.step(time.Minute)
		r.calls(20, nil)
		r.calls(8, func(x *record.Record) {
			x.ErrorCode, x.UserAgent = "AccessDenied", `agent/"2"`
		})
		r.calls(9, func(x *record.Record) { x.ErrorCode, x.ReadOnly, x.EventName = "Throttled", true, "ListWorkGroups" })
	}
	for range 10 {
		r.step(time.Minute)
	}
	got := r.insights()
	byType := map[string][]*record.InsightRecord{}
	for _, x := range got {
		byType[x.Details.InsightType+x.Details.ErrorCode] = append(byType[x.Details.InsightType+x.Details.ErrorCode], x)
	}
	if len(byType) != 3 || len(got) != 6 {
		t.Fatalf("%d insights of %d kinds: %+v", len(got), len(byType), byType)
	}
	for kind, x := range byType {
		s, e := x[0], x[1]
		if s.Details.State != "Start" || e.Details.State != "End" || s.SharedEventID != e.SharedEventID || s.EventID == e.EventID || s.SharedEventID == s.EventID {
			t.Errorf("%s: %+v\n%+v", kind, s, e)
		}
		if s.EventTime != start.Format(time.RFC3339) || e.EventTime != start.Add(3*time.Minute).Format(time.RFC3339) {
			t.Errorf("%s: from %s to %s, want from %s for 3 minutes", kind, s.EventTime, e.EventTime, start.Format(time.RFC3339))
		}
		if st := e.Details.Context.Statistics; st.InsightDuration != 3 || st.BaselineDuration < 38 || st.BaselineDuration > 41 {
			t.Errorf("%s: statistics %+v", kind, st)
		}
	}
	calls := byType[CallRate][0].Details.Context
	if calls.Statistics.Insight.Average != 28 || calls.Statistics.Baseline.Average < 0.09 || calls.Statistics.Baseline.Average > 0.12 || calls.Statistics.InsightDuration != 1 {
		t.Errorf("statistics %+v", calls.Statistics)
	}
	role := "arn:aws:sts::" + account + ":assumed-role/deploy"
	for i, want := range [][]record.InsightValue{{{Value: role, Average: 28}}, {{Value: "agent/1", Average: 20}, {Value: `agent/"2"`, Average: 8}},
		{{Value: "null", Average: 20}, {Value: "AccessDenied", Average: 8}}} {
		if a := calls.Attributions[i]; a.Attribute != attributes[i] || !slices.Equal(a.Insight, want) || len(a.Baseline) != 1 {
			t.Errorf("attribution %+v, want %v", a, want)
		}
	}
	if d := byType[ErrorRate+"AccessDenied"][0].Details; d.EventName != "CreateWorkGroup" || d.Context.Statistics.Baseline.Average != 0 || len(d.Context.Attributions[0].Baseline) != 0 {
		t.Errorf("error rate %+v", d)
	}
	if n := sum(r.points(workGroups(CallRate), time.Minute, false), time.Minute); n != 4+3*28 {
		t.Errorf("%g calls counted, want %d", n, 4+3*28)
	}
	k := workGroups(ErrorRate)
	k.Code = "AccessDenied"
	for _, period := range []time.Duration{time.Minute, 5 * time.Minute, time.Hour} {
		if n := sum(r.points(k, period, true), period); n != 24 {
			t.Errorf("%g errors counted by %v, want 24", n, period)
		}
	}
}

// TestCrash: power is lost at any minute of a burst; each call is counted once
// and each insight recorded once.
func TestCrash(t *testing.T) {
	t.Parallel()
	for at := range 12 {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, vfs.NewCrashableMem(), small())
			defer func() { r.close() }()
			r.trail("audit", false, trail.Selectors{}, management(CallRate)...)
			r.step(0)
			want := 0
			for range 40 {
				r.step(time.Minute)
			}
			for i := range 12 {
				n := 1
				if i > 2 && i < 6 {
					n = 30
				}
				r.calls(n, nil)
				want += n
				if i == at {
					if i%2 == 0 { // some records are counted, their minute is not over
						r.step(time.Second)
						r.calls(1, nil)
						want++
					}
					r.crash(0)
				}
				r.step(time.Minute)
			}
			for range 8 {
				r.step(time.Minute)
			}
			if n := sum(r.points(workGroups(CallRate), time.Minute, false), time.Minute); n != float64(want) {
				t.Errorf("%g calls counted, want %d", n, want)
			}
			states := ""
			for _, x := range r.insights() {
				states += x.Details.State
			}
			if states != "StartEnd" {
				t.Errorf("insights %q", states)
			}
		})
	}
}

// TestUnseen: the time in which the server did not run is no history, and no
// drop.
func TestUnseen(t *testing.T) {
	t.Parallel()
	r := newRig(t, vfs.NewCrashableMem(), small())
	defer func() { r.close() }()
	r.trail("audit", false, trail.Selectors{}, management(CallRate)...)
	r.step(0)
	for range 18 * 60 {
		r.calls(5, nil)
		r.step(time.Minute)
	}
	watched := func() int64 {
		_, _, n := r.r.w.series[workGroups(CallRate)].baseline(0, 0)
		return n
	}
	before := watched()
	r.crash(3*24*time.Hour + 17*time.Minute)
	for range 3 * 60 {
		r.calls(5, nil)
		r.step(time.Minute)
	}
	if n := watched(); n < before+150 || n > before+185 {
		t.Errorf("watched %d minutes, and then %d", before, n)
	}
	if got := r.insights(); len(got) != 0 {
		t.Errorf("%+v", got[0])
	}
	// With the server running, silence is told.
	for range 3 * 60 {
		r.step(time.Minute)
	}
	if got := r.insights(); len(got) == 0 || got[0].Details.Context.Statistics.Insight.Average != 0 || len(got[0].Details.Context.Attributions[0].Insight) != 0 {
		t.Errorf("%+v", got)
	}
}

// TestSelection: what is counted follows the selectors; data events are each
// trail's own; turning off forgets what was learnt and gives up the cursor.
func TestSelection(t *testing.T) {
	t.Parallel()
	r := newRig(t, vfs.NewMem(), small())
	defer r.close()
	objects := trail.Selectors{Advanced: []trail.AdvancedSelector{
		{Fields: []trail.FieldSelector{{Field: trail.FieldCategory, Equals: []string{"Data"}}, {Field: trail.FieldResourceType, Equals: []string{"AWS::S3::Object"}}}},
	}}
	noAthena := trail.Selectors{Basic: []trail.BasicSelector{{ReadWrite: trail.All, IncludeManagement: true, ExcludeSources: []string{"athena.amazonaws.com"}}}}
	r.trail("data", false, objects, trail.Insight{Type: CallRate, Categories: []string{record.OnData}})
	r.trail("audit", false, noAthena, management(CallRate)...)
	r.step(0)
	r.step(time.Minute)
	r.calls(3, nil)
	r.calls(2, func(x *record.Record) { x.EventSource, x.EventName = "glue.amazonaws.com", "CreateTable" })
	r.calls(2, func(x *record.Record) {
		x.EventSource, x.EventName, x.Region = "glue.amazonaws.com", "CreateTable", "eu-west-1"
	})
	r.calls(4, func(x *record.Record) {
		x.Category, x.ReadOnly, x.EventSource, x.EventName = record.Data, true, "s3.amazonaws.com", "GetObject"
		x.Resources = []record.Resource{{Type: "AWS::S3::Object", ARN: "arn:aws:s3:::b/k"}}
	})
	r.calls(4, func(x *record.Record) {
		x.Category, x.EventSource, x.EventName = record.Data, "cassandra.amazonaws.com", "Insert"
		x.Resources = []record.Resource{{Type: "AWS::Cassandra::Table", ARN: "arn:aws:cassandra:::t"}}
	})
	r.step(2 * time.Minute)
	key := func(region, trail, source, name string) Key {
		return Key{Account: account, Region: region, Trail: trail, Type: CallRate, Source: source, Name: name}
	}
	data := trail.ARN(account, region, "data")
	for _, c := range []struct {
		key  Key
		want float64
	}{
		{workGroups(CallRate), 0}, {key(region, "", "glue.amazonaws.com", "CreateTable"), 2}, {key("eu-west-1", "", "glue.amazonaws.com", "CreateTable"), 0},
		{key(region, data, "s3.amazonaws.com", "GetObject"), 4}, {key(region, "", "s3.amazonaws.com", "GetObject"), 0},
		{key(region, data, "cassandra.amazonaws.com", "Insert"), 0},
	} {
		if n := sum(r.points(c.key, time.Minute, false), time.Minute); n != c.want {
			t.Errorf("%+v: %g, want %g", c.key, n, c.want)
		}
	}
	if len(r.r.w.series) != 2 {
		t.Errorf("%d series", len(r.r.w.series))
	}
	r.trail("audit", false, noAthena)
	r.trail("data", false, objects)
	r.step(time.Minute)
	if _, err := r.store.Get(kv.Key(kv.SpaceCursor, Cursor)); !errors.Is(err, kv.ErrNotFound) {
		t.Errorf("the cursor stays: %v", err)
	}
	if n := sum(r.points(key(region, data, "s3.amazonaws.com", "GetObject"), time.Minute, false), time.Minute); n != 4 {
		t.Errorf("the counts are %g after turning off", n)
	}
}

// TestCompact: counts become coarser with age, and go.
func TestCompact(t *testing.T) {
	t.Parallel()
	r := newRig(t, vfs.NewMem(), small())
	defer r.close()
	r.trail("audit", false, trail.Selectors{}, management(CallRate)...)
	r.step(0)
	for range 90 {
		r.step(time.Minute)
		r.calls(2, nil)
	}
	r.step(2 * time.Minute)
	k := workGroups(CallRate)
	for _, c := range []struct {
		days                 int
		minutes, fives, hour int
	}{{14, 90, 19, 2}, {16, 0, 19, 2}, {64, 0, 0, 2}, {91, 0, 0, 0}} {
		r.now = time.Unix(begin*60, 0).UTC().AddDate(0, 0, c.days)
		if err := r.m.Compact(); err != nil {
			t.Fatal(err)
		}
		for period, want := range map[time.Duration]int{time.Minute: c.minutes, 5 * time.Minute: c.fives, time.Hour: c.hour} {
			got := r.points(k, period, false)
			if len(got) != want || want > 0 && sum(got, period) != 180 {
				t.Errorf("after %d days %d points of %v with %g calls, want %d", c.days, len(got), period, sum(got, period), want)
			}
		}
	}
	left := 0
	if err := r.store.Scan(kv.Key(kv.SpaceInsight, tableCount), func(_, _ []byte) (bool, error) { left++; return true, nil }); err != nil || left != 0 {
		t.Errorf("%d rows are left after 91 days (%v)", left, err)
	}
}

// TestPoints: pages, zeros and bounds.
func TestPoints(t *testing.T) {
	t.Parallel()
	r := newRig(t, vfs.NewMem(), small())
	defer r.close()
	r.trail("audit", false, trail.Selectors{}, management(CallRate)...)
	r.step(0)
	for i := range 180 {
		r.step(time.Minute)
		if i%7 == 0 {
			r.calls(1+i%3, nil)
		}
	}
	r.step(2 * time.Minute)
	from := time.Unix(begin*60, 0).UTC()
	for _, zeros := range []bool{false, true} {
		for _, period := range []time.Duration{time.Minute, 5 * time.Minute, time.Hour} {
			q := Metric{Key: workGroups(CallRate), From: from, To: from.Add(3 * time.Hour), Period: period, Zeros: zeros, Max: 1000}
			all, next, err := r.m.Points(q)
			if err != nil || !next.IsZero() {
				t.Fatal(err, next)
			}
			if want := int(3 * time.Hour / period); zeros && len(all) != want {
				t.Errorf("%d points of %v, want %d", len(all), period, want)
			}
			var paged []Point
			for q.Max = 2; ; q.From = next {
				var some []Point
				if some, next, err = r.m.Points(q); err != nil {
					t.Fatal(err)
				}
				paged = append(paged, some...)
				if next.IsZero() {
					break
				}
			}
			if !slices.Equal(all, paged) {
				t.Errorf("period %v, zeros %t: in pages %v\nat once %v", period, zeros, paged, all)
			}
		}
	}
	got, _, err := r.m.Points(Metric{Key: workGroups(CallRate), From: from.Add(61 * time.Second), To: from.Add(9 * time.Minute), Period: time.Minute, Zeros: true, Max: 1000})
	if err != nil || len(got) != 7 || !got[0].Time.Equal(from.Add(2*time.Minute)) {
		t.Errorf("%v %v", got, err)
	}
}

func FuzzCounts(f *testing.F) {
	c := counts{step: 5}
	c.slots[3], c.slots[11] = 7, 1<<40
	f.Add(c.encode())
	f.Fuzz(func(t *testing.T, v []byte) {
		c, err := decodeCounts(v)
		if err != nil {
			return
		}
		again, err := decodeCounts(c.encode())
		if err != nil || *again != *c {
			t.Errorf("%v: %+v and %+v", err, c, again)
		}
	})
}
