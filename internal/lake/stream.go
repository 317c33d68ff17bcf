package lake

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"spoor/internal/call"
	"spoor/internal/crashpoint"
	"spoor/internal/durable"
	"spoor/internal/journal"
	"spoor/internal/kv"
)

// On a busy server events go from the journal into files at once. To be rows
// first, they would be written to the store's log and its tables a second time,
// read back and removed, only to be in a file a minute later: the journal has
// them already, and the cursor moves when the file has them. Queries read what
// is behind the cursor from the journal (see view).

// streamLimits say when events are streamed.
type streamLimits struct {
	rate int           // events a second from which on they are
	rows int           // events of one file
	time time.Duration // for how long a file collects
	idle time.Duration // after how long without an event it is written
	// least is how many events of a store and day are worth a file; fewer become
	// rows.
	least int
}

var defaultStream = streamLimits{rate: 1000, rows: 200_000, time: 10 * time.Second, idle: time.Second, least: 2000}

const (
	sinkBuffer = 256 << 10 // bytes written to a file at a time
	// streamGather is how long events collect after some came.
	streamGather = 5 * time.Millisecond
	// streamRetry is for how long events are rows after a file failed.
	streamRetry = 10 * time.Minute
)

// stream fills files from the journal until they are full or old enough, or
// nothing more comes, and commits them.
//
// Crash story: the files are whole, synced and under their names before the
// batch that names them, holds what became rows, and moves the cursor. A crash
// before it leaves files that no row names, which the next start removes, and
// the events are read again.
func (r *reader) stream(ctx context.Context) (err error) {
	w := &streaming{r: r, b: r.m.cfg.Store.NewBatch(), sinks: map[sinkKey]*sink{}}
	defer func() {
		if err != nil {
			r.busy, r.rowsUntil = false, time.Now().Add(streamRetry)
		}
		err = errors.Join(err, w.abandon())
	}()
	began := time.Now()
	timed, cancel := context.WithTimeout(ctx, r.m.stream.time)
	defer cancel()
	for !w.full {
		head := r.m.cfg.Journal.Head()
		if err := r.loadChanges(); err != nil {
			return err
		}
		if len(r.run) == 0 && len(r.changes) == 0 {
			break
		}
		if err := w.read(head); err != nil {
			return err
		}
		if w.full || timed.Err() != nil {
			break
		}
		quiet, stop := context.WithTimeout(timed, r.m.stream.idle)
		_, err := r.m.cfg.Journal.Wait(quiet, r.at)
		stop()
		if err != nil {
			break
		}
		wait(timed, streamGather, nil)
	}
	if ctx.Err() != nil {
		r.loaded = false // what was read is read again at the next start
		return nil
	}
	if err := w.commit(); err != nil {
		return err
	}
	r.busy = float64(w.taken) >= float64(r.m.stream.rate)*time.Since(began).Seconds()
	r.since, r.taken = time.Now(), 0
	return nil
}

// streaming is one run of stream.
type streaming struct {
	r     *reader
	b     *kv.Batch // rows; nil once committed
	sinks map[sinkKey]*sink
	size  int // bytes of rows
	taken int
	full  bool
}

type sinkKey struct {
	store string
	day   uint32
}

func (w *streaming) read(head uint64) error {
	r, read := w.r, 0
	err := r.m.cfg.Journal.Read(r.at, head, func(it journal.Item) (bool, error) {
		r.at = it.Seq
		read++
		for p := r.due(&it); p != nil; p = r.due(&it) {
			r.apply(w.b, p)
			w.full = true // the change's row goes now, so that it is not loaded again
		}
		return !w.full, w.take(&it)
	})
	if err == nil && r.at < head && read == 0 {
		r.at = head // the rest was trimmed
	}
	return err
}

// take gives a record to the stores that want it.
func (w *streaming) take(it *journal.Item) error {
	for _, f := range w.r.run {
		if !f.wants(&it.Entry) {
			continue
		}
		event, err := f.event(it)
		if err != nil {
			return err
		}
		w.taken++
		s := w.sink(f, it.Time)
		if s == nil {
			w.row(f.ID, it.Time, it.Seq, event)
			continue
		}
		if err := s.add(w, it.Seq, it.Time, event); err != nil {
			return fmt.Errorf("writing events of %s: %w", s.store.ARN(), err)
		}
		w.full = w.full || s.n >= w.r.m.stream.rows
	}
	return nil
}

func (w *streaming) row(store string, t time.Time, seq uint64, event []byte) {
	w.b.Set(eventKey(nil, store, t, FromJournal, binary.BigEndian.AppendUint64(nil, seq)), event)
	w.size += len(event)
	w.full = w.full || w.size >= batchBytes
}

// sink is where events of a store and day go, or nil when they become rows.
func (w *streaming) sink(f *follow, t time.Time) *sink {
	k := sinkKey{f.ID, dayOf(t)}
	if s, ok := w.sinks[k]; ok {
		return s
	}
	var s *sink
	if store := w.r.m.snap.Load().stores[ARN(f.Account, f.Region, f.ID)]; store != nil && !ofActivity(store) {
		s = newSink(w.r.m, store, k.day)
	}
	w.sinks[k] = s
	return s
}

func (w *streaming) commit() error {
	m := w.r.m
	for k, s := range w.sinks {
		if s == nil {
			continue
		}
		for _, e := range s.held {
			w.row(k.store, e.time, e.seq, e.json)
		}
		if err := s.finish(); err != nil {
			return fmt.Errorf("writing events of %s: %w", s.store.ARN(), err)
		}
	}
	crashpoint.Here("lake.streamed")
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range w.sinks {
		if s == nil || s.x.Bytes == 0 || m.snap.Load().stores[s.store.ARN()] == nil {
			continue // nothing, or removed in between
		}
		w.b.Set(segmentKey(s.store.ID, &s.x), kv.MustJSON(s.x))
		s.kept = true
	}
	journal.SetCursor(w.b, Cursor, w.r.at)
	b := w.b
	w.b = nil
	if err := m.commit(b); err != nil {
		// Whether the files count is for the next start to find out.
		w.sinks = nil
		return fmt.Errorf("filling the event data stores: %w", err)
	}
	crashpoint.Here("lake.stream-committed")
	w.r.durable = w.r.at
	m.reach(w.r.at, false)
	return nil
}

// abandon ends what is under way and removes the files that do not count.
func (w *streaming) abandon() error {
	var errs []error
	for _, s := range w.sinks {
		if s != nil {
			errs = append(errs, s.abandon())
		}
	}
	if w.b != nil {
		errs = append(errs, w.b.Close())
	}
	return errors.Join(errs...)
}

// sink is a file of one store and day that is being written. There is none
// before it is worth it.
type sink struct {
	m     *Manager
	store *Store
	x     segment
	path  string
	held  []heldEvent // before there is a file
	n     int         // events held or in the file
	f     *os.File
	out   *bufio.Writer
	cut   *cutter
	kept  bool
}

type heldEvent struct {
	seq  uint64
	time time.Time
	json []byte
}

func newSink(m *Manager, s *Store, day uint32) *sink {
	x := segment{Version: formatVersion, Day: day, File: segmentFile(s, day)}
	return &sink{m: m, store: s, x: x, path: filepath.Join(m.cfg.Dir, x.File)}
}

func segmentFile(s *Store, day uint32) string {
	return filepath.Join(s.Account, s.Region, s.ID, time.Unix(int64(day)*86400, 0).UTC().Format(time.DateOnly), call.NewID()+".parquet")
}

// add puts an event into the file, or into w's rows when the file cannot hold
// it.
func (s *sink) add(w *streaming, seq uint64, t time.Time, event []byte) error {
	if s.cut == nil {
		s.held = append(s.held, heldEvent{seq, t, bytes.Clone(event)})
		if s.n++; s.n < s.m.stream.least {
			return nil
		}
		return s.start(w)
	}
	taken, err := s.cut.add(event)
	switch {
	case err != nil:
		return err
	case taken:
		s.n++
	default:
		w.row(s.store.ID, t, seq, event)
	}
	return nil
}

// start makes the file and puts into it what is held.
func (s *sink) start(w *streaming) error {
	if err := os.MkdirAll(filepath.Dir(s.path), 0o700); err != nil {
		return fmt.Errorf("creating a directory of events: %w", err)
	}
	f, err := os.OpenFile(s.part(), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	s.f, s.out = f, bufio.NewWriterSize(f, sinkBuffer)
	s.cut = newCutter(s.out, s.store)
	held := s.held
	s.held, s.n = nil, 0
	for _, e := range held {
		if err := s.add(w, e.seq, e.time, e.json); err != nil {
			return err
		}
	}
	return nil
}

func (s *sink) part() string { return s.path + ".part" }

// finish makes the file whole and durable, if there is one.
func (s *sink) finish() error {
	if s.f == nil {
		return nil
	}
	err := errors.Join(s.cut.close(), s.out.Flush(), s.f.Close())
	s.f = nil
	if err != nil || s.n == 0 {
		return err
	}
	s.x.Rows = int64(s.n)
	s.x.Bytes, err = durable.Settle(s.part(), s.path, s.m.cfg.Dir)
	return err
}

func (s *sink) abandon() error {
	var err error
	if s.f != nil {
		err = s.f.Close()
	}
	if s.cut == nil || s.kept {
		return err
	}
	return errors.Join(err, durable.Remove(s.part()), durable.Remove(s.path))
}
