package trail

import (
	"errors"

	"spoor/internal/call"
	"spoor/internal/journal"
	"spoor/internal/kv"
	"spoor/internal/record"
)

// AggregationCursor is the name of the cursor of who aggregates data events
// (package aggregate). It is there while some trail that logs has templates.
const AggregationCursor = "aggregate"

// WithAggregation lists the trails that log and aggregate data events, of all
// accounts.
func (m *Manager) WithAggregation() []Taker {
	var out []Taker
	for _, list := range m.snap.Load().active {
		for _, a := range list {
			if len(a.trail.Settings.Templates) > 0 {
				out = append(out, Taker{a.trail, a.match})
			}
		}
	}
	return out
}

// keepForAggregation keeps the journal from being trimmed from a call on that
// makes a trail aggregate.
func (m *Manager) keepForAggregation(c *call.Call, s *Settings) error {
	if !s.Logging || len(s.Templates) == 0 {
		return nil
	}
	_, err := m.cfg.Store.Get(kv.Key(kv.SpaceCursor, AggregationCursor))
	if errors.Is(err, kv.ErrNotFound) {
		journal.SetCursor(c.Tx.Batch(), AggregationCursor, m.cfg.Journal.Head())
		return nil
	}
	return err
}

// RetireAggregation drops the cursor of aggregation, and what drop removes,
// unless a trail has templates now. It reports whether it is dropped.
func (m *Manager) RetireAggregation(drop func(*kv.Batch)) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.WithAggregation()) > 0 {
		return false, nil
	}
	if _, err := m.cfg.Store.Get(kv.Key(kv.SpaceCursor, AggregationCursor)); err != nil {
		if errors.Is(err, kv.ErrNotFound) {
			err = nil
		}
		return err == nil, err
	}
	b := m.cfg.Store.NewBatch()
	journal.DropCursor(b, AggregationCursor)
	drop(b)
	return true, m.cfg.Journal.Commit(b)
}

// Taker says what a trail takes.
type Taker struct {
	*State
	match *matcher
}

// WithInsights lists the trails that log and have insight selectors, of all
// accounts.
func (m *Manager) WithInsights() []Taker {
	var out []Taker
	for _, list := range m.snap.Load().active {
		for _, a := range list {
			if len(a.trail.Settings.Insights) > 0 {
				out = append(out, Taker{a.trail, a.match})
			}
		}
	}
	return out
}

// Covers reports whether the trail takes events of a region.
func (t *Taker) Covers(region string) bool {
	return t.Settings.MultiRegion || region == t.HomeRegion
}

// Takes reports whether the trail takes a record of its account.
func (t *Taker) Takes(e *record.Entry) bool {
	x := entryEvent{e: e}
	return t.Settings.inRegion(t.HomeRegion, e.Field(record.FieldRegion), &x) && t.match.matches(&x)
}
