package trail

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"spoor/internal/call"
	"spoor/internal/journal"
	"spoor/internal/kv"
	"spoor/internal/notify"
	"spoor/internal/record"
)

// Sealer keeps the private keys of digests at rest. seal.Sealer is one.
type Sealer interface {
	// Put seals plain under key, a key of kv.SpaceSecret, and writes it to b.
	Put(b *kv.Batch, key, plain []byte)
	// Get reads what Put wrote; kv.ErrNotFound when there is nothing.
	Get(store *kv.Store, key []byte) ([]byte, error)
}

// Config is what a Manager needs.
type Config struct {
	Store   *kv.Store
	Journal *journal.Journal
	Bucket  Bucket
	Sealer  Sealer
	Log     *slog.Logger
	Now     func() time.Time
	// DeliveryInterval is how long a log file collects records, DigestInterval
	// the time between digests.
	DeliveryInterval, DigestInterval time.Duration
	// CheckpointTo are the places that checkpoints are published to (ParsePlace).
	CheckpointTo []string
	// NoTiles leaves the trees' tiles out there.
	NoTiles bool
	// Notify brings notifications out; nil where trails have none.
	Notify *notify.Manager
	// Roles are asked before a trail sends to a log group.
	Roles Roles
	// Retention are settings of what files are locked with, each
	// [ARN=]MODE:DAYS.
	Retention []string
}

// Manager knows the trails and runs their delivery. It is safe for concurrent
// use. It is the server's call.Selector.
type Manager struct {
	cfg        Config
	keys       *keyring
	publishers []*publisher
	retentions retentions

	// mu is the lock of every call that changes a trail, held until the change
	// is durable (call.Tx.Lock). A follower takes it to retire.
	mu sync.Mutex

	snap    atomic.Pointer[snapshot]
	version atomic.Uint64

	run struct {
		sync.Mutex
		ctx       context.Context // nil before Run and after it ended
		wg        sync.WaitGroup
		followers map[string]*follower
		failed    chan error
	}
}

var _ call.Selector = (*Manager)(nil)

// snapshot is all trails at one moment. It does not change.
type snapshot struct {
	trails  map[string]*State
	active  map[string][]activeTrail // by account; logging ones only
	anyData bool
}

type activeTrail struct {
	trail *State
	match *matcher
}

func newSnapshot(trails map[string]*State) *snapshot {
	s := &snapshot{trails: trails, active: map[string][]activeTrail{}}
	for _, t := range trails {
		if t.Settings.Logging {
			m := compile(t.Settings.Selectors)
			s.active[t.Account] = append(s.active[t.Account], activeTrail{t, m})
			s.anyData = s.anyData || m.anyData
		}
	}
	return s
}

// Open reads the trails. Delivery starts with Run.
func Open(c Config) (*Manager, error) {
	m := &Manager{cfg: c, keys: newKeyring(c)}
	for _, name := range c.CheckpointTo {
		p, err := newPublisher(m, name, !c.NoTiles)
		if err != nil {
			return nil, err
		}
		m.publishers = append(m.publishers, p)
	}
	var err error
	if m.retentions, err = parseRetentions(c.Retention); err != nil {
		return nil, err
	}
	trails := map[string]*State{}
	err = c.Store.Scan(trailPrefix(), func(_, v []byte) (bool, error) {
		t := &State{}
		if err := kv.DecodeRow(v, t, &t.Version, formatVersion); err != nil {
			return false, err
		}
		trails[t.ARN()] = t
		return true, nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the trails: %w", err)
	}
	m.snap.Store(newSnapshot(trails))
	m.version.Store(1)
	m.run.followers = map[string]*follower{}
	m.run.failed = make(chan error, 1)
	return m, m.followAllLogs()
}

// Version implements call.Selector.
func (m *Manager) Version() uint64 { return m.version.Load() }

// AnyData implements call.Selector.
func (m *Manager) AnyData() bool { return m.snap.Load().anyData }

// Selects implements call.Selector.
func (m *Manager) Selects(r *record.Record) bool {
	for _, a := range m.snap.Load().active[r.AccountID] {
		e := (*recordEvent)(r)
		if a.trail.Settings.inRegion(a.trail.HomeRegion, r.Region, e) && a.match.matches(e) {
			return true
		}
	}
	return false
}

// Trail returns a trail by its ARN, or nil.
func (m *Manager) Trail(arn string) *State { return m.snap.Load().trails[arn] }

// Trails lists an account's trails, ordered by home region and name.
func (m *Manager) Trails(account string) []*State {
	var out []*State
	for _, t := range m.snap.Load().trails {
		if t.Account == account {
			out = append(out, t)
		}
	}
	sort.Slice(out, func(i, j int) bool {
		if out[i].HomeRegion != out[j].HomeRegion {
			return out[i].HomeRegion < out[j].HomeRegion
		}
		return out[i].Name < out[j].Name
	})
	return out
}

// Lock takes the trails' lock for a call, until its writes are durable. A call
// that is about to change a trail does this before it reads it.
func (m *Manager) Lock(c *call.Call) { c.Tx.Lock(&m.mu) }

// Now is the manager's clock, in whole seconds as CloudTrail's API shows times.
func (m *Manager) Now() time.Time { return m.cfg.Now().UTC().Truncate(time.Second) }

// Put writes a new or changed trail in the call's transaction. The change
// holds for every call answered after this one, and for delivery from this
// call's own record on. The caller holds Lock.
//
// Crash story: the trail's row, the change for its follower and, for a trail
// that nobody follows yet, a cursor that keeps the journal from being trimmed
// are one batch with the call's record. Without that batch nothing happened;
// with it, the next start finds the change and the record that marks its place.
func (m *Manager) Put(c *call.Call, t *State) error {
	t.Version = formatVersion
	old := m.Trail(t.ARN())
	c.Tx.Set(trailKey(t.Account, t.HomeRegion, t.Name), kv.MustJSON(t))
	before := Settings{}
	if old != nil {
		before = old.Settings
	}
	if t.Settings.Topic != "" && t.Settings.Topic != before.Topic {
		m.validateTopic(c, t)
	}
	if (before.sendsLogs() || t.Settings.sendsLogs()) && !reflect.DeepEqual(before, t.Settings) {
		if err := m.putLogChange(c, t.ARN(), t.Settings); err != nil {
			return err
		}
	}
	if err := m.keepForAggregation(c, &t.Settings); err != nil {
		return err
	}
	delivers := (before.Logging || t.Settings.Logging) && !reflect.DeepEqual(before, t.Settings)
	if delivers {
		if err := m.putChange(c, t.ARN(), t.Settings); err != nil {
			return err
		}
	}
	c.Tx.OnCommit(func() { m.replace(t.ARN(), t, delivers) })
	return nil
}

// Delete removes a trail in the call's transaction. What was recorded until
// then is still delivered, with a final digest. The caller holds Lock.
func (m *Manager) Delete(c *call.Call, t *State) error {
	c.Tx.Delete(trailKey(t.Account, t.HomeRegion, t.Name))
	if t.Settings.Logging {
		s := t.Settings
		s.Logging = false
		if err := m.putChange(c, t.ARN(), s); err != nil {
			return err
		}
		if t.Settings.sendsLogs() {
			if err := m.putLogChange(c, t.ARN(), s); err != nil {
				return err
			}
		}
	}
	c.Tx.OnCommit(func() { m.replace(t.ARN(), nil, t.Settings.Logging) })
	return nil
}

func (m *Manager) putChange(c *call.Call, arn string, s Settings) error {
	head := m.cfg.Journal.Head()
	switch _, err := m.cfg.Store.Get(kv.Key(kv.SpaceCursor, CursorName(arn))); {
	case errors.Is(err, kv.ErrNotFound):
		journal.SetCursor(c.Tx.Batch(), CursorName(arn), head)
	case err != nil:
		return err
	}
	// Changes order by the head at their time; two of one head differ in their
	// event id, but their calls held the lock one after the other and so have
	// different heads: the first one's record is in between.
	key := kv.AppendUint64(changePrefix(arn), head)
	c.Tx.Set(key, kv.MustJSON(change{Version: formatVersion, EventID: c.EventID, Settings: s}))
	return nil
}

// replace puts a trail into the snapshot, or removes it, and sees that a change
// of its delivery is followed. The trails' lock is held.
func (m *Manager) replace(arn string, t *State, delivers bool) {
	old := m.snap.Load()
	trails := make(map[string]*State, len(old.trails)+1)
	for k, v := range old.trails {
		trails[k] = v
	}
	if t == nil {
		delete(trails, arn)
	} else {
		trails[arn] = t
	}
	m.snap.Store(newSnapshot(trails))
	m.version.Add(1)
	if delivers {
		m.follow(arn)
	}
}

// follow starts the follower of a trail that has something to deliver and none
// that runs.
func (m *Manager) follow(arn string) {
	m.run.Lock()
	defer m.run.Unlock()
	if m.run.ctx == nil || m.run.followers[arn] != nil {
		return
	}
	f := newFollower(m, arn)
	m.run.followers[arn] = f
	ctx := m.run.ctx
	m.run.wg.Go(func() {
		if err := f.run(ctx); err != nil && ctx.Err() == nil {
			select {
			case m.run.failed <- fmt.Errorf("delivery of %s: %w", arn, err):
			default:
			}
		}
	})
}

// Run delivers until ctx ends; then it waits for the followers, which stop at
// their next durable step, and returns nil. An error means that the journal
// cannot be written any more.
func (m *Manager) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// From here on a change starts its own follower; those before it are listed.
	m.run.Lock()
	m.run.ctx = ctx
	m.run.Unlock()
	if err := m.dropLeaves(); err != nil {
		return err
	}
	for _, p := range m.publishers {
		m.run.wg.Go(func() {
			if err := p.run(ctx); err != nil {
				m.cfg.Log.Error("checkpoints are not published any more", "place", p.name, "err", err)
			}
		})
	}
	arns, err := m.followed()
	for _, arn := range arns {
		m.follow(arn)
	}
	if err != nil {
		select {
		case m.run.failed <- err:
		default:
		}
	}
	select {
	case <-ctx.Done():
	case err = <-m.run.failed:
	}
	cancel()
	m.run.Lock()
	m.run.ctx = nil
	m.run.Unlock()
	m.run.wg.Wait()
	return err
}

// followed lists the trails that have something to deliver: those with a
// cursor, deleted ones among them.
func (m *Manager) followed() ([]string, error) {
	var out []string
	prefix := kv.Key(kv.SpaceCursor)
	err := m.cfg.Store.Scan(prefix, func(k, _ []byte) (bool, error) {
		name, _, ok := kv.DecodeString(k[len(prefix):])
		if arn, isTrail := cutCursor(name); ok && isTrail {
			out = append(out, arn)
		}
		return true, nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the trails' cursors: %w", err)
	}
	return out, nil
}

func cutCursor(name string) (arn string, ok bool) {
	const p = "trail/"
	if len(name) <= len(p) || name[:len(p)] != p {
		return "", false
	}
	return name[len(p):], true
}

// retire ends a follower that has nothing left to do, unless a change came in
// between. It reports whether the follower is retired.
func (m *Manager) retire(f *follower) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	changes, err := f.loadChanges()
	if err != nil || len(changes) > 0 {
		return false, err
	}
	b := m.cfg.Store.NewBatch()
	journal.DropCursor(b, CursorName(f.arn))
	if err := m.cfg.Journal.Commit(b); err != nil {
		return false, err
	}
	m.run.Lock()
	delete(m.run.followers, f.arn)
	m.run.Unlock()
	return true, nil
}

// stopped reports errors after which a follower cannot go on in this process.
func stopped(err error) bool {
	return errors.Is(err, journal.ErrClosed) || errors.Is(err, journal.ErrFailed)
}
