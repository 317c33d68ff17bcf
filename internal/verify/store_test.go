package verify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/journal"
	"spoor/internal/kv"
	"spoor/internal/record"
	"spoor/internal/trail"
)

// deliveryBucket is object storage that a trail delivers to and a verifier
// reads.
type deliveryBucket struct {
	mu      sync.Mutex
	objects map[string]object
	put     chan struct{} // told of each Put, if anybody listens
}

func (b *deliveryBucket) Put(_ context.Context, _, key string, body []byte, o trail.PutOptions) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.objects[key] = object{body: bytes.Clone(body), meta: maps.Clone(o.Metadata)}
	select {
	case b.put <- struct{}{}:
	default:
	}
	return nil
}

func (b *deliveryBucket) Policy(context.Context, string) (string, string, error) {
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"cloudtrail.amazonaws.com"},"Action":"s3:*","Resource":"*"}]}`, account, nil
}

func (b *deliveryBucket) source() *memory {
	b.mu.Lock()
	defer b.mu.Unlock()
	return &memory{objects: maps.Clone(b.objects)}
}

type plainSealer struct{}

func (plainSealer) Put(b *kv.Batch, key, plain []byte)              { b.Set(key, plain) }
func (plainSealer) Get(store *kv.Store, key []byte) ([]byte, error) { return store.Get(key) }

// event is a management call that may change the trail.
type event struct {
	name string
	fn   func(c *call.Call) error
}

func (e *event) Permissions(_ *call.Call, dst []call.Permission) ([]call.Permission, error) {
	return dst, nil
}
func (e *event) Handle(_ context.Context, c *call.Call) error {
	if e.fn == nil {
		return nil
	}
	return e.fn(c)
}
func (e *event) Events() int                  { return 1 }
func (e *event) Category(int) record.Category { return record.Management }
func (e *event) External() bool               { return false }
func (e *event) Describe(_ *call.Call, _ int, _ error, r *record.Record) {
	r.EventSource, r.EventName = "athena.amazonaws.com", e.name
}

type open struct{}

func (open) Authorize(context.Context, *call.Call, []call.Permission) error { return nil }

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// server is a store with a trail that delivers.
type server struct {
	t     *testing.T
	store *kv.Store
	jr    *journal.Journal
	m     *trail.Manager
	path  *call.Path
	stop  func()
}

func startServer(t *testing.T, fs vfs.FS, b *deliveryBucket) *server {
	t.Helper()
	return startWith(t, fs, b, plainSealer{})
}

func startWith(t *testing.T, fs vfs.FS, b *deliveryBucket, sealer trail.Sealer) *server {
	t.Helper()
	s := &server{t: t}
	var err error
	if s.store, err = kv.Open("store", kv.Options{FS: fs}); err != nil {
		t.Fatal(err)
	}
	if s.jr, err = journal.Open(s.store, quiet); err != nil {
		t.Fatal(err)
	}
	s.m, err = trail.Open(trail.Config{Store: s.store, Journal: s.jr, Bucket: b, Sealer: sealer, Log: quiet, Now: time.Now,
		DeliveryInterval: time.Millisecond, DigestInterval: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	s.path = &call.Path{Auth: open{}, Selector: s.m, Journal: s.jr, Store: s.store, Now: time.Now, Log: quiet}
	ctx, cancel := context.WithCancel(context.Background())
	end := make(chan error, 1)
	go func() { end <- s.m.Run(ctx) }()
	s.stop = func() { // the store stays open for FromStore
		cancel()
		if err := errors.Join(<-end, s.jr.Close()); err != nil {
			t.Error(err)
		}
	}
	return s
}

func (s *server) do(region string, e event) {
	s.t.Helper()
	c := &call.Call{RequestID: call.NewID(), EventID: call.NewID(), Region: region, AccountID: account,
		Caller: &aws.Caller{Type: aws.Root, AccountID: account, ARN: "arn:aws:iam::123456789012:root"}}
	if err := s.path.Run(context.Background(), c, &e); err != nil {
		s.t.Error(err)
	}
}

// log turns logging on or off.
func (s *server) log(on bool) {
	s.t.Helper()
	s.do(home, event{"Logging", func(c *call.Call) error {
		s.m.Lock(c)
		return s.m.Put(c, &trail.State{Account: account, HomeRegion: home, Name: "audit",
			Settings: trail.Settings{Logging: on, Bucket: bucket, MultiRegion: true, GlobalEvents: true, Validation: true,
				Templates: []string{"API_ACTIVITY"}, Insights: []trail.Insight{{Type: "ApiCallRateInsight", Categories: []string{record.OnManagement}}}}})
	}})
}

// insight journals an Insights event.
func (s *server) insight() {
	s.t.Helper()
	i := record.InsightRecord{Region: home, AccountID: account, EventID: call.NewID(), SharedEventID: call.NewID(),
		Details: record.InsightDetails{State: "Start", EventSource: "s3.amazonaws.com", EventName: "CreateBucket", InsightType: "ApiCallRateInsight"}}
	data, err := i.Entry(time.Now())
	if err == nil {
		err = s.jr.Append(journal.Group{Entries: []journal.Entry{{Account: account, Region: home, Data: data}}})
	}
	if err != nil {
		s.t.Error(err)
	}
}

// aggregated journals an aggregated event of the trail, and one of another.
func (s *server) aggregated() {
	s.t.Helper()
	for _, arn := range []string{trailARN, trailARN + "2"} {
		a := record.AggregateRecord{AccountID: account, EventID: call.NewID(), Region: home, Source: "s3.amazonaws.com", Start: time.Unix(1795510800, 0), End: time.Unix(1795511100, 0)}
		a.Summary.Primary = record.AggregateDimension{Dimension: "eventName", Statistics: []record.AggregateCount{{Name: "GetObject", Value: 7}}}
		data, err := a.Entry(arn)
		if err == nil {
			err = s.jr.Append(journal.Group{Entries: []journal.Entry{{Account: account, Region: home, Data: data}}})
		}
		if err != nil {
			s.t.Error(err)
		}
	}
}

// TestServerState delivers under load, loses power in the middle, goes on, and
// verifies the bucket against the server's own state: clean, until something
// is taken away.
func TestServerState(t *testing.T) {
	t.Parallel()
	fs := vfs.NewCrashableMem()
	b := &deliveryBucket{objects: map[string]object{}}
	s := startServer(t, fs, b)
	s.log(true)
	load := func() {
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for i := range 150 {
					s.do([]string{home, "eu-west-1"}[i%2], event{name: fmt.Sprint("Event", i)})
				}
			})
		}
		wg.Wait()
		s.insight()
		s.aggregated()
	}
	load()
	// Power is lost between two uploads: what the bucket has at that moment was
	// planned durably before; its confirmation may be lost.
	b.mu.Lock()
	clone, kept := fs.CrashClone(vfs.CrashCloneCfg{}), maps.Clone(b.objects)
	b.mu.Unlock()
	s.stop()
	if err := s.store.Close(); err != nil {
		t.Fatal(err)
	}
	b = &deliveryBucket{objects: kept, put: make(chan struct{}, 1)}
	s = startServer(t, clone, b)
	load()
	late := time.After(30 * time.Second)
	for _, region := range []string{home, "eu-west-1"} {
		for {
			st, err := s.m.Status(trailARN, region)
			if err != nil {
				t.Fatal(err)
			}
			if !st.LatestDigestDelivery.IsZero() {
				break
			}
			select { // the next digest comes in any case, after this one was noted
			case <-b.put:
			case <-late:
				t.Fatalf("no digest of %s was delivered", region)
			}
		}
	}
	s.log(false)
	s.log(true)
	load()
	s.stop()
	defer s.store.Close()
	run := func(change func(c *Config, m *memory)) *Report {
		t.Helper()
		c, found, err := FromStore(s.store, trailARN)
		if err != nil {
			t.Fatal(err)
		}
		m := b.source()
		c.Source = m
		if change != nil {
			change(&c, m)
		}
		r, err := Run(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		r.Add(found...)
		return r
	}
	r := run(nil)
	if r.ExitCode() != ExitClean || len(r.Regions) != 2 || r.Regions[0].Records == 0 {
		t.Fatalf("%+v", r)
	}
	one := func(m *memory, tree string) string {
		for key := range m.objects {
			if strings.Contains(key, tree) {
				return key
			}
		}
		t.Fatal("no file was delivered into " + tree)
		return ""
	}
	anInsight := func(m *memory) string { return one(m, "/CloudTrail-Insight/") }
	anAggregate := func(m *memory) string { return one(m, "/CloudTrail-Aggregated/") }
	for name, change := range map[string]func(c *Config, m *memory){
		"a file of Insights events":   func(_ *Config, m *memory) { delete(m.objects, anInsight(m)) },
		"a file of aggregated events": func(_ *Config, m *memory) { delete(m.objects, anAggregate(m)) },
		"its own files only, with a copied one of aggregated events": func(_ *Config, m *memory) {
			key := anAggregate(m)
			m.objects[strings.TrimSuffix(key, ".json.gz")+"0.json.gz"] = m.objects[key]
		},
		"its own files only, with a copied one of Insights events": func(_ *Config, m *memory) {
			key := anInsight(m)
			m.objects[strings.TrimSuffix(key, ".json.gz")+"0.json.gz"] = m.objects[key]
		},
		"newest digest":             func(c *Config, m *memory) { delete(m.objects, c.Anchors[home].Digest.Object) },
		"newest digest of a region": func(c *Config, m *memory) { delete(m.objects, c.Anchors["eu-west-1"].Digest.Object) },
		"everything":                func(_ *Config, m *memory) { clear(m.objects) },
		"any one object": func(_ *Config, m *memory) {
			keys := slices.Sorted(maps.Keys(m.objects))
			delete(m.objects, keys[len(keys)/2])
		},
	} {
		if r := run(change); r.ExitCode() != ExitFindings {
			t.Errorf("without %s: %+v", name, r)
		}
	}
	// Records that are not delivered yet are taken out of the journal.
	s2 := &server{t: t, store: s.store}
	var err error
	if s2.jr, err = journal.Open(s2.store, quiet); err != nil {
		t.Fatal(err)
	}
	s2.path = &call.Path{Auth: open{}, Selector: s.m, Journal: s2.jr, Store: s2.store, Now: time.Now, Log: quiet}
	for range 3 {
		s2.do(home, event{name: "Late"})
	}
	head := s2.jr.Head()
	if err := s2.jr.Close(); err != nil {
		t.Fatal(err)
	}
	if r := run(nil); r.ExitCode() != ExitClean {
		t.Fatalf("with undelivered records: %+v", r)
	}
	for _, seq := range []uint64{head - 1, head} {
		batch := s.store.NewBatch()
		batch.Delete(kv.AppendUint64([]byte{byte(kv.SpaceJournal)}, seq))
		if err := batch.Raw().Commit(nil); err != nil {
			t.Fatal(err)
		}
		if r := run(nil); len(kinds(r)) == 0 || slices.ContainsFunc(kinds(r), func(k string) bool { return k != "journal-gap" }) {
			t.Errorf("without undelivered record %d of %d: %+v", seq, head, r)
		}
	}
	if _, _, err := FromStore(s.store, trailARN+"x"); err == nil {
		t.Error("an unknown trail has a state")
	}
}
