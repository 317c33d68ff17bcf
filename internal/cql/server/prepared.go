package server

import (
	"container/list"
	"crypto/md5"
	"sync"
	"sync/atomic"

	"spoor/internal/cql"
	"spoor/internal/cql/frame"
)

// statementID is Cassandra's id of a prepared statement. Drivers expect the same
// id from every server of a cluster. MD5 is not trusted with anything: put
// refuses another statement of the same id.
func statementID(keyspace, text string) [16]byte {
	return md5.Sum([]byte(keyspace + text))
}

// preparedCache keeps the prepared statements used last.
type preparedCache struct {
	max int
	// generation counts the invalidations, so that a statement prepared during
	// one is not kept.
	generation atomic.Uint64

	mu    sync.Mutex
	byID  map[[16]byte]*list.Element // of *Prepared
	order *list.List                 // the last used first
}

func newPreparedCache(max int) *preparedCache {
	return &preparedCache{max: max, byID: map[[16]byte]*list.Element{}, order: list.New()}
}

func (c *preparedCache) size() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.byID)
}

// get finds a statement; the error is Unprepared.
func (c *preparedCache) get(id []byte) (*Prepared, *cql.Error) {
	if len(id) == 16 {
		c.mu.Lock()
		e := c.byID[[16]byte(id)]
		if e != nil {
			c.order.MoveToFront(e)
		}
		c.mu.Unlock()
		if e != nil {
			return e.Value.(*Prepared), nil
		}
	}
	return nil, cql.Unprepared(append([]byte(nil), id...))
}

// put registers a statement in place of one with the same id. It refuses another
// statement of that id: MD5 lets one be made on purpose. It reports false, and
// keeps nothing, when the schema has changed since generation.
func (c *preparedCache) put(p *Prepared, generation uint64) (bool, *cql.Error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.generation.Load() != generation {
		return false, nil
	}
	if e := c.byID[p.ID]; e != nil {
		if old := e.Value.(*Prepared); old.Statement.Text != p.Statement.Text || old.Keyspace != p.Keyspace {
			return false, cql.Invalid("Another prepared statement has the same id")
		}
		c.order.Remove(e)
	}
	c.byID[p.ID] = c.order.PushFront(p)
	for len(c.byID) > c.max {
		last := c.order.Back()
		c.order.Remove(last)
		delete(c.byID, last.Value.(*Prepared).ID)
	}
	return true, nil
}

// invalidate forgets the statements that a schema change touches.
func (c *preparedCache) invalidate(change frame.SchemaChange) {
	if change.Type == frame.Created {
		return // no statement could be prepared on what was not there
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.generation.Add(1)
	for id, e := range c.byID {
		for _, t := range e.Value.(*Prepared).tables {
			if t.Keyspace == change.Keyspace && (change.Target != frame.TargetTable || t.Name == change.Name) {
				c.order.Remove(e)
				delete(c.byID, id)
				break
			}
		}
	}
}
