package lake

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"

	"spoor/internal/athena/sql"
	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/engine/duckdb"
	"spoor/internal/journal"
	"spoor/internal/kv"
	"spoor/internal/record"
	"spoor/internal/trail"
)

const storeID = "123e4567-e89b-12d3-a456-426614174000"

func TestQuoteStores(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ in, want string }{
		{"SELECT * FROM " + storeID, `SELECT * FROM "` + storeID + `"`},
		{"SELECT * FROM " + storeID + ";", `SELECT * FROM "` + storeID + `";`},
		{"SELECT '" + storeID + "', \"" + storeID + "\"", "SELECT '" + storeID + "', \"" + storeID + "\""},
		{"-- " + storeID + "\nSELECT 1 /* " + storeID + " */", "-- " + storeID + "\nSELECT 1 /* " + storeID + " */"},
		{"SELECT a-b FROM x" + storeID, "SELECT a-b FROM x" + storeID},
		{"SELECT 1 FROM " + storeID + "--c", `SELECT 1 FROM "` + storeID + `"--c`},
		{"SELECT 'it''s' FROM " + storeID + " a, (" + storeID + ")", `SELECT 'it''s' FROM "` + storeID + `" a, ("` + storeID + `")`},
		{"'open", "'open"}, {"/* open", "/* open"}, {"", ""},
	} {
		if have := quoteStores(tt.in); have != tt.want {
			t.Errorf("%q becomes %q, want %q", tt.in, have, tt.want)
		}
	}
}

func FuzzQuoteStores(f *testing.F) {
	f.Add("SELECT * FROM " + storeID)
	f.Add("'" + storeID + "/*--\"")
	f.Fuzz(func(t *testing.T, s string) {
		once := quoteStores(s)
		if twice := quoteStores(once); twice != once {
			t.Errorf("%q becomes %q and then %q", s, once, twice)
		}
		if strings.ReplaceAll(once, `"`, "") != strings.ReplaceAll(s, `"`, "") {
			t.Errorf("%q becomes %q", s, once)
		}
	})
}

func FuzzReadLog(f *testing.F) {
	pack := func(s string) []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, err := z.Write([]byte(s))
		if err := errors.Join(err, z.Close()); err != nil {
			f.Fatal(err)
		}
		return b.Bytes()
	}
	f.Add(pack(`{"Records":[{"eventTime":"2026-01-01T00:00:00Z","eventID":"a"}]}`))
	f.Add(pack(`{"Records":[{}]}`))
	f.Add([]byte("x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		events, err := ReadLog(bytes.NewReader(b), time.Time{}, time.Time{})
		if err != nil && !errors.As(err, new(*badFile)) {
			t.Errorf("a file in memory could not be read: %v", err)
		}
		for _, e := range events {
			if e.when.IsZero() || len(e.json) == 0 {
				t.Errorf("an event without a time: %s", e.json)
			}
		}
	})
}

func TestTimes(t *testing.T) {
	t.Parallel()
	find := func(string) (*Store, error) { return &Store{ID: storeID}, nil }
	for _, tt := range []struct{ where, from, to string }{
		{"eventtime > '2026-01-02 03:04:05'", "2026-01-02T03:04:05Z", "9999-12-31T23:59:59Z"},
		{"eventtime >= '2026-01-02' AND '2026-01-05' > eventtime", "2026-01-02T00:00:00Z", "2026-01-05T00:00:00Z"},
		{"eventtime >= '2026-01-02' OR eventname = 'x'", "1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z"},
		{"NOT eventtime >= '2026-01-02'", "1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z"},
		{"eventtime > 'soon'", "1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z"},
	} {
		p, err := makePlan("SELECT 1 FROM "+storeID+" WHERE "+tt.where, nil, find)
		if err != nil {
			t.Errorf("%s: %v", tt.where, err)
			continue
		}
		from, to := p.times("store 0")
		if d := cmp.Diff([]string{tt.from, tt.to}, []string{from.UTC().Format(time.RFC3339), to.UTC().Format(time.RFC3339)}); d != "" {
			t.Errorf("%s: %s", tt.where, d)
		}
	}
}

// world is a journal with event data stores on one file system.
type world struct {
	t     testing.TB
	store *kv.Store
	jr    *journal.Journal
	m     *Manager
	now   time.Time
	dir   string
}

// files are the names of the files of events.
func (w *world) files() []string {
	w.t.Helper()
	var out []string
	err := filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			out = append(out, path)
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// ask runs a query to its end and returns its rows.
func (w *world) ask(statement string) []string {
	w.t.Helper()
	q := &Query{Version: formatVersion, ID: call.NewID(), Account: "123456789012", Region: "us-east-1", Owner: "123456789012", SQL: statement, Created: w.now}
	if err := w.m.execute(w.t.Context(), q); err != nil {
		w.t.Fatalf("%s: %v", statement, err)
	}
	var out []string
	err := w.m.Results(q.ID, 0, 1000, func(row []map[string]string) {
		line := ""
		for _, cell := range row {
			for _, v := range cell {
				line += v + " "
			}
		}
		out = append(out, strings.TrimSpace(line))
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

func open(t testing.TB, fs vfs.FS) *world {
	t.Helper()
	w := &world{t: t, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), dir: t.TempDir()}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	var err error
	if w.store, err = kv.Open("store", kv.Options{FS: fs}); err != nil {
		t.Fatal(err)
	}
	if w.jr, err = journal.Open(w.store, log); err != nil {
		t.Fatal(err)
	}
	if w.m, err = Open(Config{Store: w.store, Journal: w.jr, Log: log, Now: func() time.Time { return w.now }, Dir: w.dir,
		Engine: duckdb.New(duckdb.Config{MemoryMB: 256, Threads: 2, TempDir: t.TempDir()}), Text: func(v any, _ sql.Type) (string, bool) { return fmt.Sprint(v), v != nil }}); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) close() {
	w.t.Helper()
	if err := errors.Join(w.jr.Close(), w.store.Close()); err != nil {
		w.t.Error(err)
	}
}

// call records an event together with what change writes, as call.Path does.
func (w *world) call(name string, change func(c *call.Call) error) {
	w.t.Helper()
	w.now = w.now.Add(time.Minute)
	c := &call.Call{EventID: call.NewID(), AccountID: "123456789012", Region: "us-east-1", Tx: call.NewTx(w.store)}
	if change != nil {
		if err := change(c); err != nil {
			w.t.Fatal(err)
		}
	}
	r := record.Record{Caller: &aws.Caller{Type: aws.Root}, EventID: c.EventID, EventName: name, AccountID: c.AccountID, Region: c.Region, EventTime: w.now}
	if strings.HasPrefix(name, "Odd") {
		r.RequestParameters = []byte(`{"spaced": true}`)
	}
	e, _ := r.AppendEntry(nil, nil)
	if err := w.jr.Append(journal.Group{Writes: c.Tx.Batch(), Entries: []journal.Entry{{Account: c.AccountID, Region: c.Region, Data: e}}}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) put(s Store) func(c *call.Call) error {
	return func(c *call.Call) error {
		err := w.m.Put(c, &s)
		w.m.replace(s.ARN(), &s, true) // what the commit does
		return err
	}
}

func (w *world) names() []string {
	w.t.Helper()
	var out []string
	err := w.m.Events(storeID, time.Unix(0, 0), w.now.AddDate(1, 0, 0), func(b []byte) (bool, error) {
		_, rest, _ := strings.Cut(string(b), `"eventName":"`)
		name, _, _ := strings.Cut(rest, `"`)
		out = append(out, name)
		return true, nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

func (w *world) cursor() uint64 {
	w.t.Helper()
	n, err := w.jr.Cursor(Cursor)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// TestReader: a change of a store holds from its own record on, whenever the
// reader comes to it, and across a crash that loses nothing durable.
func TestReader(t *testing.T) {
	t.Parallel()
	fs := vfs.NewCrashableMem()
	w := open(t, fs)
	s := management()
	off := s
	off.Settings.Ingesting = false
	w.call("Before", nil)
	w.call("Create", w.put(s))
	w.call("Within", nil)
	w.call("Stop", w.put(off))
	w.call("Off", nil)
	w.call("Start", w.put(s))
	w.call("Again", nil)
	// The server dies before the reader has read anything.
	crashed := fs.CrashClone(vfs.CrashCloneCfg{})
	w.close()
	now := w.now
	w = open(t, crashed)
	defer func() { w.close() }()
	w.now = now
	if w.m.Lookup(s.ARN()) == nil || w.cursor() != 1 {
		t.Fatalf("after the crash: store %v, cursor %d", w.m.Lookup(s.ARN()), w.cursor())
	}
	r := &reader{m: w.m}
	if err := r.step(context.Background()); err != nil {
		t.Fatal(err)
	}
	want := []string{"Create", "Within", "Start", "Again"}
	if d := cmp.Diff(want, w.names()); d != "" {
		t.Error(d)
	}
	// A second reading from the durable cursor adds nothing.
	r = &reader{m: w.m}
	if err := r.step(context.Background()); err != nil {
		t.Fatal(err)
	}
	w.call("Later", nil)
	if err := r.step(context.Background()); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(append(want, "Later"), w.names()); d != "" {
		t.Error(d)
	}
	// Once nothing is taken any more the journal may be trimmed.
	w.call("Stop", w.put(off))
	if err := r.step(context.Background()); err != nil {
		t.Fatal(err)
	}
	if w.cursor() != 0 {
		t.Errorf("the cursor is at %d", w.cursor())
	}
	// Retention, and the end of a deleted store.
	w.now = w.now.AddDate(0, 0, 8)
	if err := w.m.Expire(); err != nil {
		t.Fatal(err)
	}
	if have := w.names(); len(have) != 0 {
		t.Errorf("after their retention: %v", have)
	}
	gone := off
	gone.Deleted = w.now
	w.call("Delete", w.put(gone))
	w.now = w.now.Add(PendingDeletion)
	if w.m.Lookup(s.ARN()) != nil || len(w.m.Stores(s.Account, s.Region)) != 0 {
		t.Error("a store is there seven days after its deletion")
	}
	if err := w.m.Expire(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.store.Get(storeKey(s.Account, s.Region, s.ID)); !errors.Is(err, kv.ErrNotFound) {
		t.Errorf("the row of a store that is gone: %v", err)
	}
}

// management is a store of all management events.
func management() Store {
	return Store{Account: "123456789012", Region: "us-east-1", ID: storeID, Name: "main", RetentionDays: 7, Settings: Settings{Ingesting: true,
		Selectors: trail.Selectors{Advanced: []trail.AdvancedSelector{{Fields: []trail.FieldSelector{{Field: trail.FieldCategory, Equals: []string{"Management"}}}}}}}}
}

// TestCompaction: answers are the same whether events are rows, in files, or
// both; files go with their events.
func TestCompaction(t *testing.T) {
	t.Parallel()
	w := open(t, vfs.NewMem())
	defer w.close()
	ctx := t.Context()
	s := management()
	w.call("Create", w.put(s))
	for i := range 20 {
		w.call(fmt.Sprintf("Call%02d", i), nil)
	}
	r := &reader{m: w.m}
	step := func() {
		t.Helper()
		if err := r.step(ctx); err != nil {
			t.Fatal(err)
		}
	}
	step()
	const everything = "SELECT eventname, useridentity.type, CAST(eventtime AS varchar), json_extract_scalar(eventjson, '$.eventID') = eventid FROM " + storeID + " ORDER BY 1"
	want := w.ask(everything)
	if len(want) != 21 || !strings.HasSuffix(want[0], " true") {
		t.Fatalf("%d rows, the first %q", len(want), want[0])
	}
	same := func(when string, rows, files int) {
		t.Helper()
		if d := cmp.Diff(want, w.ask(everything)); d != "" {
			t.Errorf("%s: %s", when, d)
		}
		if len(w.names()) != rows || len(w.files()) != files {
			t.Errorf("%s: %d rows and %d files, want %d and %d", when, len(w.names()), len(w.files()), rows, files)
		}
	}
	if err := w.m.Compact(ctx); err != nil {
		t.Fatal(err)
	}
	same("a day that is not over", 21, 0)
	w.now = w.now.Add(3 * 24 * time.Hour)
	w.m.files.RLock()
	if err := w.m.Compact(ctx); err != nil {
		t.Fatal(err)
	}
	w.m.files.RUnlock()
	same("while a query reads", 21, 0)
	if err := w.m.Compact(ctx); err != nil {
		t.Fatal(err)
	}
	same("a day that is over", 0, 1)
	// Events that come late for that day, until its files become one.
	late := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for i := range mergeFiles {
		name := fmt.Sprintf("Late%d", i)
		now := w.now
		w.now = late
		w.call(name, nil)
		w.now = now
		step()
		want = append(want, fmt.Sprintf("%s Root 2026-01-01 12:01:00.000 true", name))
		if i == 0 {
			same("rows and files", 1, 1)
		}
		if err := w.m.Compact(ctx); err != nil {
			t.Fatal(err)
		}
	}
	same("files become one", 0, 2)
	// What no row names goes at the next start.
	stray := filepath.Join(w.dir, "123456789012", "stray.parquet.part")
	if err := os.WriteFile(stray, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := w.m.removeOrphans(); err != nil {
		t.Fatal(err)
	}
	same("after a start", 0, 2)
	if d := cmp.Diff([]string{"29"}, w.ask("SELECT count(*) FROM "+storeID+" WHERE eventtime < '2026-01-02'")); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"0"}, w.ask("SELECT count(*) FROM "+storeID+" WHERE eventtime > '2026-01-02'")); d != "" {
		t.Error(d)
	}
	w.now = time.Date(2026, 1, 9, 1, 0, 0, 0, time.UTC)
	if err := w.m.Expire(); err != nil {
		t.Fatal(err)
	}
	if left := w.files(); len(left) != 0 {
		t.Errorf("after their retention: %v", left)
	}
	if rows := w.ask(everything); len(rows) != 0 {
		t.Errorf("after their retention: %v", rows)
	}
}

// BenchmarkQuery asks one question of 100,000 events as rows and in a file.
func BenchmarkQuery(b *testing.B) {
	const events = 100_000
	w := open(b, vfs.NewMem())
	defer w.close()
	w.call("Create", w.put(management()))
	rec := record.Record{Caller: &aws.Caller{Type: aws.IAMUser, ARN: "arn:aws:iam::123456789012:user/u", UserName: "u"}, AccountID: "123456789012",
		Region: "us-east-1", EventTime: w.now, EventSource: "iam.amazonaws.com", SourceIP: "10.0.0.1", UserAgent: "aws-cli/2",
		RequestParameters: []byte(`{"userName":"somebody","path":"/division/"}`)}
	for i := 0; i < events; i += 1000 {
		var list []journal.Entry
		for k := range 1000 {
			rec.EventID, rec.EventName = call.NewID(), fmt.Sprintf("Call%d", (i+k)%40)
			e, _ := rec.AppendEntry(nil, nil)
			list = append(list, journal.Entry{Account: rec.AccountID, Region: rec.Region, Data: e})
		}
		if err := w.jr.Append(journal.Group{Entries: list}); err != nil {
			b.Fatal(err)
		}
	}
	if err := (&reader{m: w.m}).step(b.Context()); err != nil {
		b.Fatal(err)
	}
	ask := func(b *testing.B) {
		for b.Loop() {
			if rows := w.ask("SELECT eventname, count(*) AS n FROM " + storeID + " WHERE useridentity.username = 'u' GROUP BY eventname"); len(rows) != 40 {
				b.Fatalf("%d rows", len(rows))
			}
		}
	}
	b.Run("rows", ask)
	w.now = w.now.Add(3 * 24 * time.Hour)
	if err := w.m.Compact(b.Context()); err != nil {
		b.Fatal(err)
	}
	var size int64
	for _, name := range w.files() {
		info, err := os.Stat(name)
		if err != nil {
			b.Fatal(err)
		}
		size += info.Size()
	}
	b.Run("files", func(b *testing.B) {
		ask(b)
		b.ReportMetric(float64(size)/events, "bytes/event")
	})
}
