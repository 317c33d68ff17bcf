package lake

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"spoor/internal/crashpoint"
	"spoor/internal/journal"
	"spoor/internal/kv"
	"spoor/internal/record"
	"spoor/internal/trail"
)

// Cursor is the name of the stores' cursor in the journal. It is there only
// while some store takes events.
const Cursor = "lake"

const (
	batchEvents = 4096    // events of one commit, at most
	batchBytes  = 8 << 20 // of events of one commit, about
	cursorEvery = 16384   // records read without one that a store wants
	expiryPause = time.Hour
	faultPause  = 5 * time.Second
)

// reader fills the stores from the journal.
type reader struct {
	m       *Manager
	loaded  bool
	at      uint64 // read up to here
	durable uint64 // of the cursor
	follows

	// How many events came lately, and whether that is many.
	since     time.Time
	taken     int
	busy      bool
	rowsUntil time.Time // no files before
}

type follow struct {
	running
	match trail.Matcher
}

type pendingChange struct {
	key []byte
	change
}

// Run fills the stores until ctx ends. An error means that the journal cannot
// be written any more.
//
// Crash story: the copies of records, the settings that hold from there on and
// the cursor are one batch. A crash before it repeats the reading, which
// writes the same keys.
func (m *Manager) Run(ctx context.Context) error {
	r := &reader{m: m}
	var expire time.Time
	for ctx.Err() == nil {
		err := r.step(ctx)
		if now := m.cfg.Now(); err == nil && !now.Before(expire) {
			err = m.Expire()
			expire = now.Add(expiryPause)
		}
		if errors.Is(err, journal.ErrClosed) || errors.Is(err, journal.ErrFailed) {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		if err != nil && ctx.Err() == nil {
			m.cfg.Log.Error("the event data stores cannot be filled and are tried again", "pause", faultPause, "err", err)
			r.loaded = false
			wait(ctx, faultPause, nil)
			continue
		}
		if !r.loaded {
			wait(ctx, expiryPause, m.wake)
			continue
		}
		timed, cancel := context.WithTimeout(ctx, expiryPause)
		_, err = m.cfg.Journal.Wait(timed, r.at)
		cancel()
		if err != nil && ctx.Err() == nil && !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
	}
	return nil
}

// wait returns after d, when c has something, or when ctx ends.
func wait(ctx context.Context, d time.Duration, c <-chan struct{}) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c:
	case <-ctx.Done():
	}
}

// load reads the durable state.
func (r *reader) load() (err error) {
	if r.at, err = r.m.cfg.Journal.Cursor(Cursor); err != nil {
		return err
	}
	r.durable = r.at
	err = r.loadRun(r.m)
	r.loaded = err == nil
	return err
}

func (r *reader) loadChanges() error { return r.follows.loadChanges(r.m) }

// step reads up to the journal's head. Without a store that takes events it
// gives the cursor up, so that the journal may be trimmed.
func (r *reader) step(ctx context.Context) error {
	if !r.loaded {
		if err := r.load(); err != nil {
			return err
		}
	}
	for ctx.Err() == nil {
		// The head is taken first: a change whose record is before it is seen.
		head := r.m.cfg.Journal.Head()
		if err := r.loadChanges(); err != nil {
			return err
		}
		if len(r.run) == 0 && len(r.changes) == 0 {
			return r.retire()
		}
		if r.at >= head {
			r.m.reach(r.at, false)
			return nil
		}
		fill := func(context.Context) error { return r.batch(head) }
		if r.streams() {
			fill = r.stream
		}
		if err := fill(ctx); err != nil || !r.loaded {
			return err
		}
	}
	return nil
}

// streams reports whether events are to go into files at once.
func (r *reader) streams() bool {
	now := time.Now()
	if d := now.Sub(r.since); d >= time.Second {
		r.busy = float64(r.taken) >= float64(r.m.stream.rate)*d.Seconds()
		r.since, r.taken = now, 0
	}
	if !r.busy || now.Before(r.rowsUntil) {
		return false
	}
	select {
	case <-r.m.swept: // before, a new file could be taken for one that a crash left
		return true
	default:
		return false
	}
}

// retire drops the cursor, unless a change came in between.
func (r *reader) retire() error {
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	if err := r.loadChanges(); err != nil || len(r.changes) > 0 {
		return err
	}
	b := r.m.cfg.Store.NewBatch()
	journal.DropCursor(b, Cursor)
	if err := r.m.commit(b); err != nil {
		return err
	}
	r.loaded = false
	r.m.reach(r.at, true)
	return nil
}

// batch copies the next records.
func (r *reader) batch(head uint64) error {
	b := r.m.cfg.Store.NewBatch()
	read, copied, size := 0, 0, 0
	var key []byte
	err := r.m.cfg.Journal.Read(r.at, head, func(it journal.Item) (bool, error) {
		r.at = it.Seq
		read++
		for p := r.due(&it); p != nil; p = r.due(&it) {
			r.apply(b, p)
		}
		for _, f := range r.run {
			if !f.wants(&it.Entry) {
				continue
			}
			event, err := f.event(&it)
			if err != nil {
				return false, err
			}
			key = eventKey(key, f.ID, it.Time, FromJournal, binary.BigEndian.AppendUint64(nil, it.Seq))
			b.Set(key, event)
			copied++
			size += len(event)
		}
		return copied < batchEvents && size < batchBytes && read < cursorEvery, nil
	})
	if r.at < head && read == 0 {
		r.at = head // the rest was trimmed
	}
	r.taken += copied
	if err != nil || b.Empty() && r.at-r.durable < cursorEvery {
		return errors.Join(err, b.Close())
	}
	journal.SetCursor(b, Cursor, r.at)
	crashpoint.Here("lake.copied")
	if err := r.m.commit(b); err != nil {
		return fmt.Errorf("filling the event data stores: %w", err)
	}
	crashpoint.Here("lake.rows")
	r.durable = r.at
	return nil
}

// commit makes a step of the reader durable.
func (m *Manager) commit(b *kv.Batch) error {
	m.cut.Lock()
	defer m.cut.Unlock()
	return m.cfg.Journal.Commit(b)
}

func (f *follow) wants(e *record.Entry) bool {
	return e.Is(record.FieldAccount, f.Account) && (f.Settings.MultiRegion || e.Is(record.FieldRegion, f.Region)) && f.match.SelectsEntry(e)
}

// event is a record as the store has it.
func (f *follow) event(it *journal.Item) ([]byte, error) {
	if !f.Settings.Large {
		return it.JSON, nil
	}
	form := f.Settings.form()
	event, err := it.Form(&form)
	if err != nil {
		return nil, fmt.Errorf("record %d: %w", it.Seq, err)
	}
	return event, nil
}

// apply makes a change hold from its own record on.
func (r *reader) apply(b *kv.Batch, p *pendingChange) {
	b.Delete(p.key)
	if p.Settings.Ingesting {
		b.Set(runKey(p.ID), kv.MustJSON(p.running))
	} else {
		b.Delete(runKey(p.ID))
	}
	r.follows.apply(p)
}

// Expire removes events older than their store's retention, and the stores
// whose time to be restored has passed.
func (m *Manager) Expire() error {
	if err := m.expireQueries(); err != nil {
		return err
	}
	now := m.cfg.Now()
	for arn, s := range m.snap.Load().stores {
		if !s.gone(now) {
			b := m.cfg.Store.NewBatch()
			b.DeleteRange(eventPrefix(s.ID), eventKey(nil, s.ID, now.AddDate(0, 0, -s.RetentionDays), 0, nil))
			if err := m.cfg.Journal.Commit(b); err != nil {
				return err
			}
			if _, err := m.expireSegments(s.ID, dayOf(now.AddDate(0, 0, -s.RetentionDays))-1); err != nil {
				return err
			}
			continue
		}
		if err := m.remove(arn, s); err != nil {
			return err
		}
	}
	return nil
}

func (m *Manager) remove(arn string, s *Store) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if cur := m.snap.Load().stores[arn]; cur == nil || !cur.gone(m.cfg.Now()) {
		return nil
	}
	// The files go first: while the store is there they are found.
	if gone, err := m.expireSegments(s.ID, ^uint32(0)); err != nil || !gone {
		return err
	}
	b := m.cfg.Store.NewBatch()
	b.Delete(storeKey(s.Account, s.Region, s.ID))
	b.DeleteRange(eventPrefix(s.ID), kv.PrefixEnd(eventPrefix(s.ID)))
	if err := m.cfg.Journal.Commit(b); err != nil {
		return err
	}
	m.replace(arn, nil, false)
	return nil
}
