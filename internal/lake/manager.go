// Package lake is CloudTrail Lake's event data stores: which events each one
// takes, and the durable copy of them that queries read.
//
// It stands behind the journal as one of its readers: a goroutine follows the
// journal with the cursor "lake" and copies each record that a store selects.
// A store's events outlive the journal's: they go when the store's retention
// has passed, or seven days after it was deleted. Events that come by a
// channel are written with the call that put them, those of an import by the
// import's own worker.
//
// The stores count for call.Selector: a data event that one selects is
// recorded.
//
// Source: CloudTrail API reference and user guide, "AWS CloudTrail Lake".
package lake

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"spoor/internal/athena/sql"
	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/journal"
	"spoor/internal/kv"
	"spoor/internal/record"
	"spoor/internal/trail"
)

// Config is what a Manager needs.
type Config struct {
	Store   *kv.Store
	Journal *journal.Journal
	Source  Source // what imports read; nil when there are none
	Engine  Engine // what queries run on
	Dir     string // where files of events are; the stores' alone
	// CompactEvery is how often events move into files, FileEvents how many of a
	// day are worth one before the day is over; 0 means the defaults.
	CompactEvery time.Duration
	FileEvents   int
	// Bucket is where results of queries are delivered, Sign signs them.
	Bucket trail.Bucket
	Sign   Signer
	// Text gives a value's text in results; ok is false for NULL.
	Text func(v any, t sql.Type) (text string, ok bool)
	Log  *slog.Logger
	Now  func() time.Time
}

// Manager knows the event data stores and fills them. It is safe for
// concurrent use.
type Manager struct {
	cfg Config

	// mu is the lock of every call that changes a store or what belongs to
	// one, held until the change is durable (call.Tx.Lock).
	mu sync.Mutex

	snap    atomic.Pointer[snapshot]
	version atomic.Uint64
	wake    chan struct{} // a change came while nothing was followed
	imports chan struct{} // an import came

	queries queries

	// files is held for reading while a query reads rows and files of events,
	// and for writing while what is a row becomes part of a file.
	files sync.RWMutex

	// cut is held while the reader moves its cursor, and while a query finds out
	// what is on which side of it.
	cut    sync.Mutex
	stream streamLimits  // defaultStream; tests change it
	swept  chan struct{} // closed when files that a crash left are gone

	// pos guards how far the stores are filled.
	pos struct {
		sync.Mutex
		idle    bool // no store takes anything
		reached uint64
		moved   chan struct{}
	}
}

var _ call.Selector = (*Manager)(nil)

// snapshot is all stores at one moment. It does not change.
type snapshot struct {
	stores  map[string]*Store        // by ARN
	active  map[string][]activeStore // by account
	anyData bool
	wanted  map[string]*wanted // by account; nil when nobody wants more than standard events
}

// wanted is what the stores of an account want of records.
type wanted struct {
	everywhere *record.Wanted // by stores of all regions; nil for nothing
	regions    map[string]*record.Wanted
}

// want adds a store's wishes.
func (s *snapshot) want(x *Store) {
	if !x.Settings.Large {
		return
	}
	if s.wanted == nil {
		s.wanted = map[string]*wanted{}
	}
	w := s.wanted[x.Account]
	if w == nil {
		w = &wanted{regions: map[string]*record.Wanted{}}
		s.wanted[x.Account] = w
	}
	at := func(r *record.Wanted) *record.Wanted {
		if r == nil {
			r = &record.Wanted{}
		}
		r.RequestKeys = union(r.RequestKeys, x.Settings.RequestKeys)
		r.TagKeys = union(r.TagKeys, x.Settings.TagKeys)
		return r
	}
	if !x.Settings.MultiRegion {
		w.regions[x.Region] = at(w.regions[x.Region])
		return
	}
	w.everywhere = at(w.everywhere)
}

// settle adds to each region what is wanted everywhere.
func (w *wanted) settle() {
	if w.everywhere == nil {
		return
	}
	for _, r := range w.regions {
		r.RequestKeys = union(r.RequestKeys, w.everywhere.RequestKeys)
		r.TagKeys = union(r.TagKeys, w.everywhere.TagKeys)
	}
}

func union(a, b []string) []string {
	out := slices.Concat(a, b)
	slices.Sort(out)
	return slices.Compact(out)
}

var _ call.Wants = (*Manager)(nil)

// Wanted implements call.Wants.
func (m *Manager) Wanted(account, region string) *record.Wanted {
	snap := m.snap.Load()
	if snap.wanted == nil {
		return nil
	}
	w := snap.wanted[account]
	if w == nil {
		return nil
	}
	if r := w.regions[region]; r != nil {
		return r
	}
	return w.everywhere
}

type activeStore struct {
	store *Store
	match trail.Matcher
}

func newSnapshot(stores map[string]*Store) *snapshot {
	s := &snapshot{stores: stores, active: map[string][]activeStore{}}
	for _, x := range stores {
		if x.inForce().Ingesting {
			m := trail.NewMatcher(x.Settings.Selectors)
			s.active[x.Account] = append(s.active[x.Account], activeStore{x, m})
			s.anyData = s.anyData || m.AnyData()
			s.want(x)
		}
	}
	for _, w := range s.wanted {
		w.settle()
	}
	return s
}

// Open reads the stores. They are filled by Run.
func Open(c Config) (*Manager, error) {
	c.CompactEvery = cmp.Or(c.CompactEvery, DefaultCompactEvery)
	c.FileEvents = cmp.Or(c.FileEvents, DefaultFileEvents)
	m := &Manager{cfg: c, wake: make(chan struct{}, 1), imports: make(chan struct{}, 1), stream: defaultStream, swept: make(chan struct{})}
	m.queries.going, m.queries.slots = map[string]context.CancelFunc{}, make(chan struct{}, queryWorkers)
	stores := map[string]*Store{}
	err := c.Store.Scan(storePrefix(), func(_, v []byte) (bool, error) {
		x := &Store{}
		if err := kv.DecodeRow(v, x, &x.Version, formatVersion); err != nil {
			return false, err
		}
		stores[x.ARN()] = x
		return true, nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the event data stores: %w", err)
	}
	m.snap.Store(newSnapshot(stores))
	m.version.Store(1)
	return m, nil
}

// Version implements call.Selector.
func (m *Manager) Version() uint64 { return m.version.Load() }

// AnyData implements call.Selector.
func (m *Manager) AnyData() bool { return m.snap.Load().anyData }

// Selects implements call.Selector.
func (m *Manager) Selects(r *record.Record) bool {
	for _, a := range m.snap.Load().active[r.AccountID] {
		if (a.store.Region == r.Region || a.store.Settings.MultiRegion) && a.match.Selects(r) {
			return true
		}
	}
	return false
}

// Lookup returns a store by its ARN, or nil.
func (m *Manager) Lookup(arn string) *Store {
	s := m.snap.Load().stores[arn]
	if s == nil || s.gone(m.cfg.Now()) {
		return nil
	}
	return s
}

// Permission is an action on a store, under the policy of the store, which may
// be another account's, and with its tags as they are now.
func (m *Manager) Permission(action, arn string) call.Permission {
	p := call.Permission{Action: action, Resource: arn}
	if a, err := aws.ParseARN(arn); err == nil {
		p.ResourceAccount = a.Account
	}
	if s := m.Lookup(arn); s != nil {
		p.ResourcePolicy, p.Context = s.Policy, trail.ResourceTags(s.Tags)
	}
	return p
}

// Stores lists the stores of an account in a region, the oldest first.
func (m *Manager) Stores(account, region string) []*Store {
	var out []*Store
	now := m.cfg.Now()
	for _, s := range m.snap.Load().stores {
		if s.Account == account && s.Region == region && !s.gone(now) {
			out = append(out, s)
		}
	}
	sort.Slice(out, func(i, j int) bool {
		if !out[i].Created.Equal(out[j].Created) {
			return out[i].Created.Before(out[j].Created)
		}
		return out[i].ID < out[j].ID
	})
	return out
}

// Lock takes the stores' lock for a call, until its writes are durable. A call
// that is about to change a store, or what hangs on one, does this first.
func (m *Manager) Lock(c *call.Call) { c.Tx.Lock(&m.mu) }

// Change commits what fn writes under the stores' lock: a change that no call
// makes.
func (m *Manager) Change(fn func(b *kv.Batch) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := m.cfg.Store.NewBatch()
	if err := fn(b); err != nil {
		return errors.Join(err, b.Close())
	}
	return m.cfg.Journal.Commit(b)
}

// Now is the manager's clock.
func (m *Manager) Now() time.Time { return m.cfg.Now().UTC().Truncate(time.Millisecond) }

// Put writes a new or changed store in the call's transaction. The caller
// holds Lock.
//
// Crash story: the store's row, the change for the reader and, when nothing is
// followed yet, a cursor that keeps the journal from being trimmed are one
// batch with the call's record.
func (m *Manager) Put(c *call.Call, s *Store) error {
	s.Version = formatVersion
	c.Tx.Set(storeKey(s.Account, s.Region, s.ID), kv.MustJSON(s))
	changed := !sameSettings(m.snap.Load().stores[s.ARN()].inForce(), s.inForce())
	if changed {
		if err := m.putChange(c, s); err != nil {
			return err
		}
	}
	c.Tx.OnCommit(func() { m.replace(s.ARN(), s, changed) })
	return nil
}

func (m *Manager) putChange(c *call.Call, s *Store) error {
	head := m.cfg.Journal.Head()
	switch _, err := m.cfg.Store.Get(kv.Key(kv.SpaceCursor, Cursor)); {
	case errors.Is(err, kv.ErrNotFound):
		journal.SetCursor(c.Tx.Batch(), Cursor, head)
	case err != nil:
		return err
	}
	c.Tx.Set(changeKey(head, s.ID), kv.MustJSON(change{EventID: c.EventID,
		running: running{Version: formatVersion, Account: s.Account, Region: s.Region, ID: s.ID, Settings: s.inForce()}}))
	return nil
}

// replace puts a store into the snapshot, or removes it. The lock is held.
func (m *Manager) replace(arn string, s *Store, followed bool) {
	old := m.snap.Load()
	stores := make(map[string]*Store, len(old.stores)+1)
	for k, v := range old.stores {
		stores[k] = v
	}
	if s == nil {
		delete(stores, arn)
	} else {
		stores[arn] = s
	}
	m.snap.Store(newSnapshot(stores))
	m.version.Add(1)
	if followed {
		m.pos.Lock()
		m.pos.idle = false
		m.pos.Unlock()
		select {
		case m.wake <- struct{}{}:
		default:
		}
	}
}

// Append writes an event into a store, in the call's transaction. id tells it
// from others of its origin.
func (m *Manager) Append(c *call.Call, s *Store, t time.Time, o Origin, id, event []byte) {
	c.Tx.Set(eventKey(nil, s.ID, t, o, id), event)
}

// WaitFor returns when the stores hold what they select of the journal up to
// seq, or ctx ends.
func (m *Manager) WaitFor(ctx context.Context, seq uint64) error {
	for {
		m.pos.Lock()
		if m.pos.idle || m.pos.reached >= seq {
			m.pos.Unlock()
			return nil
		}
		if m.pos.moved == nil {
			m.pos.moved = make(chan struct{})
		}
		moved := m.pos.moved
		m.pos.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (m *Manager) reach(seq uint64, idle bool) {
	m.pos.Lock()
	defer m.pos.Unlock()
	m.pos.reached, m.pos.idle = seq, idle
	if m.pos.moved != nil {
		close(m.pos.moved)
		m.pos.moved = nil
	}
}

// Events calls fn for the events of a store between two times, in no
// particular order, until fn returns false. Days are exact, times within them
// are the caller's to compare. The slice is valid during the call only.
func (m *Manager) Events(store string, from, to time.Time, fn func(event []byte) (bool, error)) error {
	lo := eventKey(nil, store, from, 0, nil)
	hi := eventKey(nil, store, to.Add(24*time.Hour), 0, nil)
	return m.cfg.Store.ScanRange(lo, hi, func(_, v []byte) (bool, error) { return fn(v) })
}
