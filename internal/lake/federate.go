package lake

import (
	"errors"
	"fmt"

	"spoor/internal/athena/sql"
	"spoor/internal/engine/duckdb"
)

// ErrNotFederated is wrapped when a store is not there or not federated.
var ErrNotFederated = errors.New("lake: the event data store is not federated")

// Columns are a store's columns as a data catalogue shows them.
func (s *Store) Columns() []sql.Column { return columnsOf(s) }

// Federated gives a federated store to a query of another service, under a
// relation's name in q: what was answered before is in it. Until release is
// called its files stay; release says how many bytes of events were read.
func (m *Manager) Federated(account, region, id, name string, q *sql.Rewritten) (rel duckdb.Relation, release func() int64, err error) {
	s := m.Lookup(ARN(account, region, id))
	if s == nil || !s.Deleted.IsZero() || s.FederationRole == "" {
		return rel, nil, fmt.Errorf("%w: %s", ErrNotFederated, id)
	}
	n := &counters{}
	m.files.RLock()
	list, err := m.relations(&plan{Rewritten: q, stores: map[string]*Store{name: s}}, n)
	if err != nil {
		m.files.RUnlock()
		return rel, nil, err
	}
	return list[0], func() int64 {
		m.files.RUnlock()
		return n.bytes.Load()
	}, nil
}
