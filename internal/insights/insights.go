// Package insights is CloudTrail Insights: it counts calls and errors by
// operation and minute, knows what is usual, and records when a rate is not.
//
// It stands behind the journal as one of its readers: a goroutine follows the
// journal with the cursor "insights", while some trail or event data store has
// Insights on. Counts, what was learnt, the Insights events and the cursor come
// into being in one batch, so each event is counted once and each insight
// recorded once. An Insights event is a record of its own in the journal, from
// where trails, event history and the tail take it as any other; those of an
// event data store go straight into the store that takes them.
//
// Sources: CloudTrail user guide, "Working with CloudTrail Insights"; API
// reference, "PutInsightSelectors", "ListInsightsMetricData". How a rate is
// judged is not published by AWS; docs/INSIGHTS.md says how it is here.
package insights

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"spoor/internal/call"
	"spoor/internal/journal"
	"spoor/internal/kv"
	"spoor/internal/lake"
	"spoor/internal/record"
	"spoor/internal/trail"
)

// Cursor is the name of the cursor in the journal. It is there only while
// something has Insights on.
const Cursor = "insights"

const (
	// grace is how long after its end a minute is judged: a record is numbered
	// some time after its event, and a busy disk takes its time.
	grace = 10 * time.Second
	// batchRecords bounds the records that are read between two commits, and with
	// it what a restart reads again.
	batchRecords = 65_536
	// gather is how long records collect after a wake-up.
	gather       = time.Second
	faultPause   = 5 * time.Second
	compactPause = 6 * time.Hour
)

// Config is what a Manager needs.
type Config struct {
	Store   *kv.Store
	Journal *journal.Journal
	Trails  *trail.Manager
	Lake    *lake.Manager
	Params  Params
	Log     *slog.Logger
	Now     func() time.Time
}

// Manager counts and judges, and answers from the counts. It is safe for
// concurrent use.
type Manager struct {
	cfg Config
	// The server did not run in the minutes after ran and up to started.
	ran, started int64

	// fresh guards who waits for the counts to be durable.
	fresh struct {
		sync.Mutex
		wanted, reached uint64
		idle            bool // nothing is counted
		plan            versions
		wake            context.CancelFunc
		moved           chan struct{} // closed when reached moves; nil when nobody waits
	}
}

// Open returns a Manager; Run makes it work. It is called before calls are
// answered: the journal's newest record is then of the time when the server
// ran last.
func Open(c Config) (*Manager, error) {
	m := &Manager{cfg: c, started: minuteOf(c.Now())}
	switch it, err := c.Journal.Get(c.Journal.Head()); {
	case err == nil:
		m.ran = min(minuteOf(it.Time), m.started)
	case !errors.Is(err, kv.ErrNotFound):
		return nil, fmt.Errorf("reading the journal's newest record: %w", err)
	}
	return m, nil
}

// Run counts until ctx ends. An error means that the journal cannot be written
// any more.
//
// Crash story: see reader.flush, the only durable step. Whatever a crash leaves
// in memory only is read again from the journal.
func (m *Manager) Run(ctx context.Context) error {
	r := newReader(m)
	for ctx.Err() == nil {
		err := r.step(ctx)
		if errors.Is(err, journal.ErrClosed) || errors.Is(err, journal.ErrFailed) {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		if err != nil && ctx.Err() == nil {
			m.cfg.Log.Error("Insights cannot go on and are tried again", "pause", faultPause, "err", err)
			r.loaded = false // what is in memory may be ahead of the store
			pause(ctx, faultPause)
			continue
		}
		// A busy journal moves all the time; once a second is often enough. A
		// quiet one leaves minutes to end.
		wait := time.Hour
		if r.loaded {
			// Until the minute under way can be judged.
			now := m.cfg.Now()
			wait = now.Add(-grace).Truncate(time.Minute).Add(time.Minute + grace).Sub(now)
		}
		timed, cancel := context.WithTimeout(ctx, wait)
		if m.rests(cancel, r) {
			if _, err = m.cfg.Journal.Wait(timed, r.at); err != nil && timed.Err() == nil {
				cancel()
				return err
			}
			pause(timed, gather)
		}
		cancel()
	}
	return nil
}

// WaitFor returns when the selectors of now are in force and the counts of the
// journal up to seq are durable, or nothing is counted, or ctx ends.
func (m *Manager) WaitFor(ctx context.Context, seq uint64) error {
	f := &m.fresh
	for {
		f.Lock()
		if current := m.cfg.versions(); f.plan == current && (f.idle || f.reached >= seq) {
			f.Unlock()
			return nil
		}
		f.wanted = max(f.wanted, seq)
		if f.wake != nil {
			f.wake()
		}
		if f.moved == nil {
			f.moved = make(chan struct{})
		}
		moved := f.moved
		f.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// rests tells who waits how far the counts are. It is false when somebody
// wants more; else wake ends the rest.
func (m *Manager) rests(wake context.CancelFunc, r *reader) bool {
	f := &m.fresh
	f.Lock()
	defer f.Unlock()
	f.reached, f.idle, f.plan, f.wake = r.durable, !r.loaded, r.plan.versions, wake
	if f.moved != nil {
		close(f.moved)
		f.moved = nil
	}
	return f.plan == m.cfg.versions() && (f.idle || f.wanted <= f.reached)
}

// wanted reports whether somebody waits for what is not durable.
func (r *reader) wanted() bool {
	r.m.fresh.Lock()
	defer r.m.fresh.Unlock()
	return r.m.fresh.wanted > r.durable
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// reader is the one that follows the journal. It belongs to one goroutine.
type reader struct {
	m       *Manager
	plan    *plan
	loaded  bool
	at      uint64 // read up to here
	durable uint64 // the cursor in the store
	w       *watcher
	// Minutes after unseen.from and up to unseen.to were not watched: the server
	// did not run.
	unseen  struct{ from, to int64 }
	strings map[string]string
	read    int // records since the last commit
	ended   int // minutes since the last commit
	compact time.Time
	newID   func() string
	full    time.Time // when the bound on series was last told
}

func newReader(m *Manager) *reader {
	return &reader{m: m, newID: call.NewID, strings: map[string]string{}}
}

func minuteOf(t time.Time) int64 { return t.Unix() / 60 }

// step reads up to the journal's head and ends the minutes that are over.
func (r *reader) step(ctx context.Context) error {
	var changed bool
	r.plan, changed = refresh(&r.m.cfg, r.plan)
	if r.plan.empty() {
		return r.retire()
	}
	if !r.loaded {
		if err := r.load(); err != nil {
			return err
		}
		changed = true
	}
	if changed {
		r.cover()
	}
	// The head is taken before the clock: what is read up to it has the records
	// of all minutes that the clock says are over.
	head := r.m.cfg.Journal.Head()
	now := r.m.cfg.Now()
	for r.at < head && ctx.Err() == nil {
		if err := r.batch(head, now); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	if err := r.endMinutes(minuteOf(now.Add(-grace)) - 1); err != nil {
		return err
	}
	if !now.Before(r.compact) {
		if err := r.m.Compact(); err != nil {
			return err
		}
		r.compact = now.Add(compactPause)
	}
	// Without calls of interest the state is made durable each ten minutes only.
	if r.wanted() || r.ended > 0 && (len(r.w.found)+len(r.w.active) > 0 || r.dirty()) || r.ended >= 10 || r.at-r.durable >= batchRecords {
		return r.flush()
	}
	return nil
}

// dirty reports whether some series changed.
func (r *reader) dirty() bool {
	for _, s := range r.w.series {
		if s.dirty {
			return true
		}
	}
	return false
}

// batch reads the next records.
func (r *reader) batch(head uint64, now time.Time) error {
	var failed error
	before := r.at
	err := r.m.cfg.Journal.Read(r.at, head, func(it journal.Item) (bool, error) {
		// A record's time says that the minutes long before it are over, which
		// matters where there is much to catch up. A clock that was wrong must not
		// end minutes that are still to come.
		if at := it.Time.Add(-grace); at.Before(now) {
			if failed = r.endMinutes(minuteOf(at) - 1); failed != nil {
				return false, failed
			}
		}
		r.at = it.Seq
		r.read++
		r.take(&it.Entry)
		return r.read < batchRecords && r.ended < minutesPerHour, nil
	})
	if r.at < head && r.at == before && err == nil {
		r.at = head // the rest was trimmed
	}
	if err == nil && (r.read >= batchRecords || r.ended >= minutesPerHour) {
		return r.flush()
	}
	return err
}

// endMinutes ends the minutes up to one.
func (r *reader) endMinutes(last int64) error {
	for r.w.closed < last {
		m := r.w.closed + 1
		if m > r.unseen.from && m <= r.unseen.to {
			r.w.skipTo(min(r.unseen.to, last))
		} else if err := r.w.endMinute(); err != nil {
			return err
		}
		r.ended++
		if len(r.w.rolled) > 0 { // the next day's baselines read these rows
			if err := r.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// take counts a record.
func (r *reader) take(e *record.Entry) {
	if e.Category != record.Management && (e.Category != record.Data || !r.plan.anyData) {
		return
	}
	failed := !e.Is(record.FieldErrorCode, "")
	if e.Category == record.Management && e.ReadOnly && !failed {
		return
	}
	for account, sources := range r.plan.accounts {
		if e.Is(record.FieldAccount, account) {
			r.takeFor(sources, e, failed)
			return
		}
	}
}

// takeFor counts a record of an account with Insights: once for all that take
// management events, and once for each trail that logs the data event.
func (r *reader) takeFor(sources []source, e *record.Entry, failed bool) {
	category := e.Category.String()
	var counted [2]bool
	for i := range sources {
		s := &sources[i]
		calls := s.wants(CallRate, category) && !counted[0] && (e.Category == record.Data || !e.ReadOnly)
		errs := s.wants(ErrorRate, category) && !counted[1] && failed
		if !calls && !errs || !s.takes(e) {
			continue
		}
		k := Key{Account: s.account, Region: r.intern(e.Field(record.FieldRegion)), Source: r.intern(e.Field(record.FieldEventSource)),
			Name: r.intern(e.Field(record.FieldEventName))}
		if e.Category == record.Data {
			k.Trail = s.trail
		} else {
			counted[0], counted[1] = counted[0] || calls, counted[1] || errs
		}
		v := values{r.intern(orNull(roleOf(e.Field(record.FieldUserARN)))), r.intern(orNull(e.UserAgent())), r.intern(orNull(e.Field(record.FieldErrorCode)))}
		minute := minuteOf(e.Time)
		if calls {
			k.Type = CallRate
			r.w.count(&k, minute, 1, &v)
		}
		if errs {
			k.Type, k.Code = ErrorRate, v[2]
			r.w.count(&k, minute, 1, &v)
		}
	}
}

// internLimit bounds the texts that series share.
const internLimit = 50_000

// intern gives one copy of a text for all that hold it.
func (r *reader) intern(s string) string {
	if known, ok := r.strings[s]; ok {
		return known
	}
	if len(r.strings) >= internLimit {
		clear(r.strings)
	}
	r.strings[s] = s
	return s
}

// cover makes the scopes those of the plan.
func (r *reader) cover() {
	want := r.plan.scopes()
	for k := range r.w.scopes {
		if _, ok := want[k]; !ok {
			r.w.unwatch(k)
			r.w.gone = append(r.w.gone, k)
		}
	}
	for k, coverage := range want {
		r.w.watch(k, coverage)
	}
}

// retire gives up the cursor and what was learnt when nothing has Insights on:
// turned on again, they begin anew, as AWS's do. Counts stay until they expire.
func (r *reader) retire() error {
	if r.plan.retired {
		r.at = r.m.cfg.Journal.Head()
		return nil
	}
	if _, err := r.m.cfg.Store.Get(stateKey()); errors.Is(err, kv.ErrNotFound) {
		r.at = r.m.cfg.Journal.Head()
		r.plan.retired, r.loaded = true, false
		return nil
	} else if err != nil {
		return err
	}
	b := r.m.cfg.Store.NewBatch()
	journal.DropCursor(b, Cursor)
	for _, table := range []string{tableScope, tableSeries, tableTally, tableState} {
		prefix := kv.Key(kv.SpaceInsight, table)
		b.DeleteRange(prefix, kv.PrefixEnd(prefix))
	}
	if err := r.m.cfg.Journal.Commit(b); err != nil {
		return fmt.Errorf("turning Insights off: %w", err)
	}
	r.at = r.m.cfg.Journal.Head()
	r.plan.retired, r.loaded = true, false
	return nil
}
