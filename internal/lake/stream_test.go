package lake

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
)

// streaming makes a reader that writes events into files at once.
func (w *world) streaming(rows, least int) *reader {
	w.m.stream = streamLimits{rate: 1, rows: rows, time: 50 * time.Millisecond, idle: 50 * time.Millisecond, least: least}
	select {
	case <-w.m.swept:
	default:
		close(w.m.swept)
	}
	return &reader{m: w.m, busy: true, since: time.Now()}
}

// TestStreamIdle: a file does not wait for its time when nothing comes any more.
func TestStreamIdle(t *testing.T) {
	t.Parallel()
	w := open(t, vfs.NewMem())
	defer w.close()
	w.call("Create", w.put(management()))
	for i := range 5 {
		w.call(fmt.Sprint("A", i), nil)
	}
	r := w.streaming(1000, 1)
	w.m.stream.time, w.m.stream.idle = time.Hour, time.Millisecond
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := r.step(ctx); err != nil {
		t.Fatal(err)
	}
	if r.durable != w.m.cfg.Journal.Head() || len(w.files()) == 0 {
		t.Errorf("%d of %d records are in %d files", r.durable, w.m.cfg.Journal.Head(), len(w.files()))
	}
}

// TestStream: a query's answer is the same whether events are in the journal
// only, in a file, or rows; changes hold from their records on; a crash before
// the commit loses and doubles nothing.
func TestStream(t *testing.T) {
	t.Parallel()
	fs := vfs.NewCrashableMem()
	w := open(t, fs)
	s := management()
	off := s
	off.Settings.Ingesting = false
	w.call("Before", nil)
	w.call("Create", w.put(s))
	want := []string{"Create 1.11 true"}
	fill := func(name string, n int) {
		for i := range n {
			w.call(fmt.Sprintf("%s%02d", name, i), nil)
			want = append(want, fmt.Sprintf("%s%02d 1.11 true", name, i))
		}
	}
	const everything = "SELECT eventname, eventversion, json_extract_scalar(eventjson, '$.eventID') = eventid FROM " + storeID + " ORDER BY eventtime"
	same := func(when string, rows, files int) {
		t.Helper()
		if d := cmp.Diff(want, w.ask(everything)); d != "" {
			t.Errorf("%s: %s", when, d)
		}
		if len(w.names()) != rows || len(w.files()) != files {
			t.Errorf("%s: %d rows and %d files, want %d and %d", when, len(w.names()), len(w.files()), rows, files)
		}
	}
	step := func(r *reader) {
		t.Helper()
		if err := r.step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	fill("A", 10)
	w.call("Odd", nil) // not as events are written: a row
	want = append(want, "Odd 1.11 true")
	fill("B", 10)
	same("in the journal", 0, 0)
	// A crash before the commit: the file that was written is nobody's.
	stray := filepath.Join(w.dir, segmentFile(&s, dayOf(w.now)))
	if err := os.MkdirAll(filepath.Dir(stray), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(stray, []byte("whole, but not named"), 0o600); err != nil {
		t.Fatal(err)
	}
	crashed, dir, now := fs.CrashClone(vfs.CrashCloneCfg{}), w.dir, w.now
	w.close()
	w = open(t, crashed)
	defer func() { w.close() }()
	w.m.cfg.Dir, w.dir, w.now = dir, dir, now
	if err := w.m.removeOrphans(); err != nil {
		t.Fatal(err)
	}
	same("after a crash", 0, 0)
	r := w.streaming(100, 5)
	r.busy = false
	step(r) // the change is a row's work: nothing is followed before
	r.busy = true
	if len(w.names()) != 22 {
		t.Fatalf("%d rows", len(w.names()))
	}
	fill("C", 10)
	w.call("Odder", nil)
	want = append(want, "Odder 1.11 true")
	fill("D", 10)
	same("rows and the journal", 22, 0)
	step(r)
	if w.cursor() != w.jr.Head() {
		t.Errorf("the cursor is at %d of %d", w.cursor(), w.jr.Head())
	}
	same("rows and a file", 23, 1)
	// Too few for a file.
	r.busy = true
	fill("E", 3)
	step(r)
	same("few become rows", 26, 1)
	// Settings that change within: what was before is taken, the change's record
	// too, and nothing behind.
	r.busy = true
	fill("F", 6)
	w.call("Stop", w.put(off))
	w.call("Off", nil)
	same("a change in the journal", 26, 1)
	step(r)
	same("a change", 26, 2)
	if w.cursor() != 0 {
		t.Errorf("the cursor is at %d although nothing is followed", w.cursor())
	}
}

// TestStreamStops: a server that stops keeps no half file, and reads again what
// was not committed.
func TestStreamStops(t *testing.T) {
	t.Parallel()
	w := open(t, vfs.NewMem())
	defer w.close()
	w.call("Create", w.put(management()))
	r := w.streaming(1000, 5)
	r.busy = false
	if err := r.step(t.Context()); err != nil {
		t.Fatal(err)
	}
	at := w.cursor()
	for i := range 20 {
		w.call(fmt.Sprintf("Call%02d", i), nil)
	}
	ctx, cancel := context.WithCancel(t.Context())
	w.m.stream.time = time.Minute
	go func() {
		// The stream has read everything and waits for more.
		if _, err := w.jr.Wait(ctx, w.jr.Head()-1); err == nil {
			cancel()
		}
	}()
	if err := r.stream(ctx); err != nil {
		t.Fatal(err)
	}
	if w.cursor() != at || len(w.files()) != 0 || r.loaded {
		t.Errorf("the cursor is at %d, want %d; %d files", w.cursor(), at, len(w.files()))
	}
	r = w.streaming(1000, 5)
	if err := r.step(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(w.ask("SELECT eventname FROM " + storeID)); n != 21 || len(w.files()) != 1 {
		t.Errorf("%d events, %d files", n, len(w.files()))
	}
}

// TestStreamRemoved: a file of a store that was removed meanwhile goes.
func TestStreamRemoved(t *testing.T) {
	t.Parallel()
	w := open(t, vfs.NewMem())
	defer w.close()
	s := management()
	w.call("Create", w.put(s))
	r := w.streaming(1000, 5)
	r.busy = false
	if err := r.step(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		w.call(fmt.Sprintf("Call%02d", i), nil)
	}
	sm := &streaming{r: r, b: w.store.NewBatch(), sinks: map[sinkKey]*sink{}}
	if err := sm.read(w.jr.Head()); err != nil {
		t.Fatal(err)
	}
	w.m.replace(s.ARN(), nil, false)
	if err := sm.commit(); err != nil {
		t.Fatal(err)
	}
	if err := sm.abandon(); err != nil {
		t.Fatal(err)
	}
	list, err := w.m.segments(storeID, 0, ^uint32(0))
	if err != nil || len(list) != 0 || len(w.files()) != 0 {
		t.Errorf("%d files are named, %d are there: %v", len(list), len(w.files()), err)
	}
}
