package bridge

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"spoor/internal/journal"
	"spoor/internal/kv"
	"spoor/internal/notify"
)

// cursorPrefix begins the names of the readers' cursors.
const cursorPrefix = "rule/"

// Config is what rules need to run.
type Config struct {
	Rules   []Rule
	Journal *journal.Journal
	Store   *kv.Store
	Log     *slog.Logger
	Now     func() time.Time
}

// Loops makes the loop of each target of each rule, for notify.Manager. A target
// that was not there at the last start begins with what is recorded from now
// on.
//
// Crash story: new and removed cursors are written in one batch, before the
// first call is answered. A crash before it leaves the cursors of the last start.
func Loops(c Config) ([]*notify.Loop, error) {
	cursors, err := c.Journal.Cursors()
	if err != nil {
		return nil, err
	}
	b := c.Store.NewBatch()
	var loops []*notify.Loop
	declared := map[string]bool{}
	head := c.Journal.Head()
	for i := range c.Rules {
		r := &c.Rules[i]
		if r.State == Disabled {
			continue
		}
		for j := range r.Targets {
			name := cursorPrefix + r.Name + "/" + r.Targets[j].ID
			declared[name] = true
			at, ok := cursors[name]
			if !ok {
				at = head
				journal.SetCursor(b, name, at)
			}
			l, err := c.loop(r, &r.Targets[j], name, at)
			if err != nil {
				return nil, errors.Join(fmt.Errorf("rules[%d] (%s), target %s: %w", i, r.Name, r.Targets[j].ID, err), b.Close(), closeAll(loops))
			}
			loops = append(loops, l)
		}
	}
	for name, at := range cursors {
		if strings.HasPrefix(name, cursorPrefix) && !declared[name] {
			// It would hold the journal for ever.
			c.Log.Warn("a rule's target is not declared any more, or disabled; it gets nothing of what it has not read", "target", name, "behind", head-at)
			journal.DropCursor(b, name)
		}
	}
	if b.Empty() {
		return loops, b.Close()
	}
	if err := c.Journal.Commit(b); err != nil {
		return nil, errors.Join(fmt.Errorf("writing the rules' cursors: %w", err), closeAll(loops))
	}
	return loops, nil
}

func closeAll(loops []*notify.Loop) error {
	var err error
	for _, l := range loops {
		err = errors.Join(err, l.Sender.Close())
	}
	return err
}

// loop makes a target's loop. Nothing is connected before there is something to
// send.
func (c *Config) loop(r *Rule, t *Target, name string, at uint64) (*notify.Loop, error) {
	src := &source{rule: r, target: t, cursor: name, journal: c.Journal, log: c.Log, now: c.Now, durable: at, scanned: at,
		filter: r.pattern.Filter(known...)}
	if t.InputPath != "" {
		var err error
		if src.steps, err = parsePath(t.InputPath); err != nil {
			return nil, err
		}
	}
	s := &sender{source: src}
	l := &notify.Loop{Target: name, Kind: notify.KindRule, Source: src, Sender: s}
	s.loop = l
	var err error
	switch {
	case t.Webhook != nil:
		s.to, src.limit, err = newWebhook(t.Webhook, c.Now)
	case t.SQS != nil:
		s.to, src.limit, err = newQueue(t.SQS, c.Now)
	case t.Kafka != nil:
		s.to, src.limit, err = newTopic(t.Kafka, c.Now)
	default:
		s.to, src.limit, err = newSubject(t.NATS, c.Now)
	}
	return l, err
}
