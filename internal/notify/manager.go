package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"spoor/internal/kv"
)

// Config is what a Manager needs.
type Config struct {
	Settings *Settings // nil when there is no file
	// DeadLetters is the dead-letter file where the settings name none.
	DeadLetters string
	Store       *kv.Store
	Commit      Committer
	SNS         *SNSKey // needed when there are topics
	Log         *slog.Logger
	Now         func() time.Time
}

// Manager runs the loops of all targets. It is safe for concurrent use.
type Manager struct {
	cfg           Config
	retry         Retry
	outbox        *Outbox
	board         *Board
	dead          *DeadLetters
	subscriptions []*subscription
	groups        map[string]*logSink // by LogGroupID

	mu      sync.Mutex
	ctx     context.Context // nil before Run and after it ended
	loops   map[string]*Loop
	waiting []*Loop          // added before Run
	next    map[string]*Loop // added while one for the target runs, which may be about to end
	wg      sync.WaitGroup
	failed  chan error
}

// Open reads what is owed and prepares the targets of the settings.
func Open(c Config) (*Manager, error) {
	if c.Settings == nil {
		c.Settings = &Settings{}
	}
	m := &Manager{cfg: c, retry: Retry{MaxAge: time.Duration(c.Settings.MaxAge), MaxAttempts: c.Settings.MaxAttempts}.orDefault(),
		board: NewBoard(c.Store), groups: map[string]*logSink{}, loops: map[string]*Loop{}, next: map[string]*Loop{}, failed: make(chan error, 1)}
	name := c.Settings.DeadLetters
	if name == "" {
		name = c.DeadLetters
	}
	m.dead = OpenDeadLetters(name)
	var err error
	if c.Settings.DeadLetters != "" { // a name that cannot be written to shows at the start
		if err := m.dead.file.append(nil); err != nil {
			return nil, fmt.Errorf("deadLetters: %w", err)
		}
	}
	if m.outbox, err = OpenOutbox(c.Store); err != nil {
		return nil, err
	}
	for i := range c.Settings.Topics {
		s, err := newSubscription(c.Settings.Topics[i], &m.cfg, c.SNS)
		if err != nil {
			return nil, fmt.Errorf("topics[%d]: %w", i, err)
		}
		m.subscriptions = append(m.subscriptions, s)
		m.Add(&Loop{Target: s.target, Kind: KindSNS, Source: m.outbox.Source(s.target), Sender: s})
	}
	files := map[string]*sharedFile{}
	for i := range c.Settings.LogGroups {
		g := &c.Settings.LogGroups[i]
		if m.groups[LogGroupID(g.ARN)], err = newLogSink(g, files, c.Now); err != nil {
			return nil, fmt.Errorf("logGroups[%d]: %w", i, err)
		}
	}
	if err := m.adopt(); err != nil {
		return nil, err
	}
	// What was owed to a subscription that is not declared any more waits for
	// its return, or becomes dead letters of its age.
	for _, target := range m.outbox.Targets() {
		if strings.HasPrefix(target, topicTarget("")) {
			m.addUndeclared(target)
		}
	}
	return m, nil
}

// Outbox is what is owed by rows.
func (m *Manager) Outbox() *Outbox { return m.outbox }

// Board is how sending stands, by owner.
func (m *Manager) Board() *Board { return m.board }

// adopt gives what topics and their former subscriptions are owed to who comes
// in their place: to the subscriptions that are new since the last start, and
// what is owed to a topic that had none, to all it has now. So an endpoint that
// was mistyped misses nothing once it is put right.
//
// Crash story: rows move in one batch, and the note of who was known comes after
// it.
func (m *Manager) adopt() error {
	declared := map[string]bool{}
	fresh, all := map[string][]string{}, map[string][]string{} // by topic
	for _, s := range m.subscriptions {
		declared[s.target] = true
		all[s.topic.ARN] = append(all[s.topic.ARN], s.target)
		if s.state.Version == 0 {
			fresh[s.topic.ARN] = append(fresh[s.topic.ARN], s.target)
		}
	}
	for _, target := range m.outbox.Targets() {
		rest, isTopic := strings.CutPrefix(target, topicTarget(""))
		if !isTopic || declared[target] {
			continue
		}
		arn, _, had := strings.Cut(rest, "/")
		heirs := fresh[arn]
		if !had {
			heirs = all[arn]
		}
		if len(heirs) == 0 {
			continue
		}
		b := m.cfg.Store.NewBatch()
		if err := m.outbox.move(b, target, heirs); err != nil {
			return errors.Join(err, b.Close())
		}
		if err := m.cfg.Commit.Commit(b); err != nil {
			return fmt.Errorf("handing on what is owed: %w", err)
		}
	}
	for _, s := range m.subscriptions {
		if s.state.Version == 0 {
			if err := s.save(subscriptionRow{Version: formatVersion}); err != nil {
				return fmt.Errorf("noting a subscription: %w", err)
			}
		}
	}
	return nil
}

// Add starts a loop, now or with Run. What all loops share is filled in. While
// a target has a loop, another one waits for its end.
func (m *Manager) Add(l *Loop) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l.Store, l.Commit, l.Dead, l.Board, l.Log, l.Now = m.cfg.Store, m.cfg.Commit, m.dead, m.board, m.cfg.Log, m.cfg.Now
	if l.Retry == (Retry{}) {
		l.Retry = m.retry
	}
	switch {
	case m.loops[l.Target] != nil:
		m.next[l.Target] = l
	case m.ctx == nil:
		m.loops[l.Target] = l
		m.waiting = append(m.waiting, l)
	default:
		m.loops[l.Target] = l
		m.start(l)
	}
}

// start runs a loop; mu is held.
func (m *Manager) start(l *Loop) {
	ctx := m.ctx
	m.wg.Go(func() {
		err := l.Run(ctx)
		m.mu.Lock()
		delete(m.loops, l.Target)
		if n := m.next[l.Target]; n != nil && m.ctx != nil {
			delete(m.next, l.Target)
			m.loops[l.Target] = n
			m.start(n)
		}
		m.mu.Unlock()
		if err != nil && ctx.Err() == nil {
			select {
			case m.failed <- fmt.Errorf("notifications to %s: %w", l.Target, err):
			default:
			}
		}
	})
}

// Run sends until ctx ends; then it waits for the loops and returns nil. An
// error means that the store cannot be written any more.
func (m *Manager) Run(ctx context.Context) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	m.mu.Lock()
	m.ctx = ctx
	for _, l := range m.waiting {
		m.start(l)
	}
	m.waiting = nil
	m.mu.Unlock()
	select {
	case <-ctx.Done():
	case err = <-m.failed:
	}
	cancel()
	m.mu.Lock()
	m.ctx = nil
	m.mu.Unlock()
	m.wg.Wait()
	for _, g := range m.groups {
		err = errors.Join(err, g.close())
	}
	return errors.Join(err, m.dead.Close())
}

// HasTopic reports whether the settings declare a topic.
func (m *Manager) HasTopic(arn string) bool {
	for _, s := range m.subscriptions {
		if s.topic.ARN == arn {
			return true
		}
	}
	return false
}

// HasLogGroup reports whether the settings declare a log group.
func (m *Manager) HasLogGroup(arn string) bool { return m.groups[LogGroupID(arn)] != nil }

// OweTopic notes in b that all subscriptions of a topic are owed a message. A
// topic that the settings do not have is owed it too, once. The returned
// function is called after b's commit.
func (m *Manager) OweTopic(b *kv.Batch, arn, owner string, msg Message) (committed func()) {
	var done []func()
	for _, s := range m.subscriptions {
		if s.topic.ARN == arn {
			done = append(done, m.outbox.Owe(b, s.target, owner, msg))
		}
	}
	if len(done) == 0 {
		done = append(done, m.outbox.Owe(b, topicTarget(arn), owner, msg), func() { m.addUndeclared(topicTarget(arn)) })
	}
	return func() {
		for _, fn := range done {
			fn()
		}
	}
}

func (m *Manager) addUndeclared(target string) {
	m.Add(&Loop{Target: target, Kind: KindSNS, Source: m.outbox.Source(target), Sender: undeclared{}})
}

// undeclared stands for a target that the settings do not have. It may be back
// after the next start, so nothing is given up before its time.
type undeclared struct{}

func (undeclared) Send(context.Context, []Message) error { return ErrNotDeclared }
func (undeclared) Close() error                          { return nil }
