// Package aggregate sums up the data events that trails log: how many events of
// five minutes had which operation, resource or identity.
//
// It stands behind the journal as one of its readers: a goroutine follows the
// journal with the cursor of trail.AggregationCursor, while some trail has
// aggregation templates. The aggregated events become records of the journal,
// each for its trail alone, which puts them into files of their own: digests and
// the Merkle tree cover them as any other record.
//
// What a window has counted is in memory only. The cursor in the store stays in
// front of the first event of the oldest window that is open, so what a crash
// takes is read again. Events of later windows that lie behind it are mixed with
// such that have been summed up already; the state row tells them apart (see
// state).
//
// Sources: CloudTrail user guide, "Aggregating data events" and "CloudTrail
// record contents for aggregated events". How AWS cuts and orders the details is
// not published; here at most maxShown values are named and the rest is one.
package aggregate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"spoor/internal/call"
	"spoor/internal/crashpoint"
	"spoor/internal/journal"
	"spoor/internal/kv"
	"spoor/internal/record"
	"spoor/internal/trail"
)

const (
	// Window is the time that one aggregated event is about.
	Window = 5 * time.Minute
	// grace is how long after its end a window is summed up: a record is numbered
	// some time after its event.
	grace = 10 * time.Second
	// cursorEvery is how many records are read at most before the position is
	// durable, where nothing is counted.
	cursorEvery   = 65_536
	gather        = time.Second
	faultPause    = 5 * time.Second
	formatVersion = 1
)

// Config is what Run needs.
type Config struct {
	Store   *kv.Store
	Journal *journal.Journal
	Trails  *trail.Manager
	Log     *slog.Logger
	Now     func() time.Time
}

// state is the durable part besides the cursor. Events up to Read of windows
// that began before Closed are in aggregated events of the journal; all others
// behind the cursor are in none.
type state struct {
	Version int    `json:"version"`
	Read    uint64 `json:"read"`
	Closed  int64  `json:"closed"` // unix time
}

func stateKey() []byte { return kv.Key(kv.SpaceDeliver, "aggregate") }

// Run aggregates until ctx ends. An error means that the journal cannot be
// written any more.
//
// Crash story: see reader.flush, the only durable step. Whatever a crash leaves
// in memory only is read again from the journal.
func Run(ctx context.Context, c Config) error {
	r := newReader(c)
	for ctx.Err() == nil {
		err := r.step(ctx)
		if errors.Is(err, journal.ErrClosed) || errors.Is(err, journal.ErrFailed) {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		if err != nil && ctx.Err() == nil {
			c.Log.Error("data events cannot be aggregated and this is tried again", "pause", faultPause, "err", err)
			r.loaded = false // what is in memory may be ahead of the store
			pause(ctx, faultPause)
			continue
		}
		wait := time.Hour
		if r.loaded {
			now := c.Now()
			wait = now.Add(-grace).Truncate(Window).Add(Window + grace).Sub(now)
		}
		timed, cancel := context.WithTimeout(ctx, wait)
		_, err = c.Journal.Wait(timed, r.at)
		if err != nil && timed.Err() == nil {
			cancel()
			return err
		}
		pause(timed, gather)
		cancel()
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// reader follows the journal. It belongs to one goroutine.
type reader struct {
	cfg     Config
	version uint64 // of the trails that takers are of
	takers  []trail.Taker
	loaded  bool
	idle    bool // nothing is aggregated, and the cursor is given up
	at      uint64
	durable uint64 // the cursor in the store
	state   state
	windows map[windowKey]*window
	newID   func() string
}

func newReader(c Config) *reader { return &reader{cfg: c, newID: call.NewID} }

// load reads the durable state.
func (r *reader) load() error {
	r.state = state{Version: formatVersion}
	if _, err := r.cfg.Store.GetRow(stateKey(), &r.state, &r.state.Version, formatVersion); err != nil {
		return err
	}
	var err error
	if r.at, err = r.cfg.Journal.Cursor(trail.AggregationCursor); err != nil {
		return err
	}
	r.durable, r.windows, r.loaded, r.idle = r.at, map[windowKey]*window{}, true, false
	return nil
}

// step reads up to the journal's head and sums up the windows that are over.
func (r *reader) step(ctx context.Context) error {
	if v := r.cfg.Trails.Version(); r.takers == nil || v != r.version {
		r.version, r.takers = v, r.cfg.Trails.WithAggregation()
		r.forget()
	}
	// The head is taken before the clock: what is read up to it has the records
	// of all windows that the clock says are over.
	head := r.cfg.Journal.Head()
	now := r.cfg.Now()
	if len(r.takers) == 0 {
		return r.retire(head)
	}
	if !r.loaded {
		if err := r.load(); err != nil {
			return err
		}
	}
	for r.at < head && ctx.Err() == nil {
		before := r.at
		if err := r.cfg.Journal.Read(r.at, head, func(it journal.Item) (bool, error) {
			// With much to catch up, the records' times say what is over. A clock that
			// was wrong must not close windows that are still to come.
			if at := it.Time.Add(-grace); at.Before(now) {
				if err := r.close(at); err != nil {
					return false, err
				}
			}
			if err := r.take(&it); err != nil {
				return false, err
			}
			r.at = it.Seq
			return ctx.Err() == nil, r.keepUp()
		}); err != nil {
			return fmt.Errorf("reading the journal: %w", err)
		}
		if r.at == before && ctx.Err() == nil {
			r.at = head // the rest was trimmed
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return r.close(now.Add(-grace))
}

// forget drops the windows of trails that do not aggregate any more.
func (r *reader) forget() {
	known := map[string]bool{}
	for i := range r.takers {
		known[r.takers[i].ARN()] = true
	}
	for k := range r.windows {
		if !known[k.trail] {
			delete(r.windows, k)
		}
	}
}

// retire gives up the cursor when no trail aggregates.
func (r *reader) retire(head uint64) error {
	r.at = head
	if r.idle {
		return nil
	}
	done, err := r.cfg.Trails.RetireAggregation(func(b *kv.Batch) { b.Delete(stateKey()) })
	if err != nil {
		return fmt.Errorf("ending aggregation: %w", err)
	}
	r.loaded, r.idle = false, done
	return nil
}

// take counts a record for each trail that aggregates it.
func (r *reader) take(it *journal.Item) error {
	if it.Category != record.Data {
		return nil
	}
	start := it.Time.Truncate(Window).Unix()
	if it.Seq <= r.state.Read && start < r.state.Closed {
		return nil // summed up before a restart
	}
	var v *values
	for i := range r.takers {
		t := &r.takers[i]
		if !it.Is(record.FieldAccount, t.Account) || !t.Takes(&it.Entry) {
			continue
		}
		if v == nil {
			v = valuesOf(&it.Entry)
		}
		k := windowKey{t.ARN(), it.Field(record.FieldRegion), start}
		w := r.windows[k]
		if w == nil {
			w = &window{account: t.Account, first: it.Seq, groups: map[groupKey]*group{}}
			r.windows[k] = w
		}
		for _, name := range t.Settings.Templates {
			w.count(name, it.Field(record.FieldEventSource), v)
		}
	}
	return nil
}

// low is up to where nothing is in memory only.
func (r *reader) low() uint64 {
	low := uint64(math.MaxUint64)
	for _, w := range r.windows {
		low = min(low, w.first-1)
	}
	return min(low, r.at)
}

// keepUp makes a position durable that is far ahead.
func (r *reader) keepUp() error {
	low := r.low()
	if low < r.durable+cursorEvery {
		return nil
	}
	b := r.cfg.Store.NewBatch()
	journal.SetCursor(b, trail.AggregationCursor, low)
	r.durable = low
	return r.cfg.Journal.Commit(b)
}

// close sums up the windows that ended at a time.
func (r *reader) close(at time.Time) error {
	horizon := at.Truncate(Window).Unix()
	for k := range r.windows {
		if k.start < horizon {
			return r.flush(horizon)
		}
	}
	return nil
}

// flush makes aggregated events of the windows that began before a time.
//
// Crash story: the aggregated events, the cursor and the state that says which
// events behind it they hold are one batch. Without it, all is read again from
// the cursor and counted as before; with it, take passes over what was summed
// up. An event that comes late, to a window that was closed, opens it again: the
// window then has a further aggregated event, and no event is in two.
func (r *reader) flush(horizon int64) error {
	horizon = max(horizon, r.state.Closed) // Read holds for all that is before Closed, also when the clock was set back
	var g journal.Group
	var done []windowKey
	for _, k := range r.sorted() {
		if k.start >= horizon {
			continue
		}
		done = append(done, k)
		w := r.windows[k]
		for _, rec := range w.records(k, r.newID) {
			data, err := rec.Entry(k.trail)
			if err != nil {
				return err
			}
			g.Entries = append(g.Entries, journal.Entry{Account: w.account, Region: k.region, Index: len(g.Entries), Data: data})
		}
	}
	for _, k := range done {
		delete(r.windows, k)
	}
	next := state{Version: formatVersion, Read: r.at, Closed: max(r.state.Closed, horizon)}
	low := r.low()
	g.Writes = r.cfg.Store.NewBatch()
	g.Writes.Set(stateKey(), kv.MustJSON(next))
	journal.SetCursor(g.Writes, trail.AggregationCursor, low)
	crashpoint.Here("aggregate.summed")
	if err := r.cfg.Journal.Append(g); err != nil {
		return fmt.Errorf("recording aggregated events: %w", err)
	}
	crashpoint.Here("aggregate.recorded")
	r.state, r.durable = next, low
	return nil
}
