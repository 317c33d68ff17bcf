package lake

import (
	"errors"
	"maps"
	"slices"

	"spoor/internal/journal"
	"spoor/internal/kv"
	"spoor/internal/record"
	"spoor/internal/trail"
)

// follows are the stores that take events from the journal at one point of it,
// and the changes that lie ahead.
type follows struct {
	run     map[string]*follow
	changes []pendingChange
}

func (f *follows) loadRun(m *Manager) error {
	f.run = map[string]*follow{}
	return m.cfg.Store.Scan(runPrefix(), func(_, v []byte) (bool, error) {
		x := &follow{}
		if err := kv.DecodeRow(v, &x.running, &x.Version, formatVersion); err != nil {
			return false, err
		}
		x.match = trail.NewMatcher(x.Settings.Selectors)
		f.run[x.ID] = x
		return true, nil
	})
}

func (f *follows) loadChanges(m *Manager) error {
	f.changes = f.changes[:0]
	return m.cfg.Store.Scan(changePrefix(), func(k, v []byte) (bool, error) {
		p := pendingChange{key: slices.Clone(k)}
		if err := kv.DecodeRow(v, &p.change, &p.Version, formatVersion); err != nil {
			return false, err
		}
		f.changes = append(f.changes, p)
		return true, nil
	})
}

// due takes the next change if it holds from a record on.
func (f *follows) due(it *journal.Item) *pendingChange {
	if len(f.changes) == 0 || f.changes[0].EventID != it.Field(record.FieldEventID) {
		return nil
	}
	p := &f.changes[0]
	f.changes = f.changes[1:]
	return p
}

// apply makes a change hold.
func (f *follows) apply(p *pendingChange) {
	if !p.Settings.Ingesting {
		delete(f.run, p.ID)
		return
	}
	f.run[p.ID] = &follow{p.running, trail.NewMatcher(p.Settings.Selectors)}
}

// view is what a query reads of the journal: all after the reader's cursor, up
// to the query's begin. What is up to the cursor is in rows and files.
type view struct {
	m        *Manager
	at, head uint64
	follows
}

// look makes a view. The caller holds m.cut, until it has listed the files.
func (m *Manager) look() (*view, error) {
	// The head is taken first: a change whose record is before it is seen.
	v := &view{m: m, head: m.cfg.Journal.Head()}
	if _, err := m.cfg.Store.Get(kv.Key(kv.SpaceCursor, Cursor)); errors.Is(err, kv.ErrNotFound) {
		v.at = v.head // no store takes anything
		return v, nil
	}
	var err error
	if v.at, err = m.cfg.Journal.Cursor(Cursor); err != nil {
		return nil, err
	}
	return v, errors.Join(v.loadRun(m), v.loadChanges(m))
}

// tail calls fn for the records of the view that a store takes, and the events
// that they are there.
func (v *view) tail(store string, fn func(it *journal.Item, event []byte) (bool, error)) error {
	if v.at >= v.head {
		return nil
	}
	f := follows{maps.Clone(v.run), slices.Clone(v.changes)}
	return v.m.cfg.Journal.Read(v.at, v.head, func(it journal.Item) (bool, error) {
		for p := f.due(&it); p != nil; p = f.due(&it) {
			f.apply(p)
		}
		x := f.run[store]
		if x == nil || !x.wants(&it.Entry) {
			return true, nil
		}
		event, err := x.event(&it)
		if err != nil {
			return false, err
		}
		return fn(&it, event)
	})
}

// covers reports whether the view reads an event from the journal, so that its
// row, which came after the view was made, does not count.
func (v *view) covers(o Origin, seq uint64) bool { return o == FromJournal && seq > v.at }
