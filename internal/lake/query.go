package lake

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"spoor/internal/athena/serde"
	"spoor/internal/athena/sql"
	"spoor/internal/call"
	"spoor/internal/engine/duckdb"
	"spoor/internal/journal"
	"spoor/internal/kv"
)

// Limits of queries (CloudTrail user guide, "Quotas in AWS CloudTrail" and
// "CloudTrail Lake queries").
const (
	// MaxQueries is how many queries an account may have under way.
	MaxQueries = 10
	// QueryDays is how long queries and their results are kept.
	QueryDays    = 7
	queryTimeout = time.Hour
	queryWorkers = 2         // queries that run at a time; others are queued
	maxResult    = 256 << 20 // bytes of one result
	flushResult  = 1 << 20
)

// Engine runs queries. duckdb.Engine is one.
type Engine interface {
	Query(ctx context.Context, query string, relations []duckdb.Relation, columns func([]duckdb.ResultColumn) error, row func([]any) error) error
	WriteParquet(ctx context.Context, path string, relation duckdb.Relation) error
}

// The states of a query, by AWS's names.
const (
	QueryQueued    = "QUEUED"
	QueryRunning   = "RUNNING"
	QueryFinished  = "FINISHED"
	QueryFailed    = "FAILED"
	QueryCancelled = "CANCELLED"
	QueryTimedOut  = "TIMED_OUT"
)

// Query is a query over stores.
type Query struct {
	Version  int       `json:"version"`
	ID       string    `json:"id"`
	Account  string    `json:"account"` // who asked
	Region   string    `json:"region"`
	Owner    string    `json:"owner"` // whose store it is
	Stores   []string  `json:"stores"`
	SQL      string    `json:"sql"`
	Params   []string  `json:"params,omitempty"`
	Status   string    `json:"status"`
	Created  time.Time `json:"created"`
	Took     int64     `json:"took"` // milliseconds
	Rows     int64     `json:"rows"`
	Scanned  int64     `json:"scanned"` // events
	Bytes    int64     `json:"bytes"`   // of the events
	ErrorMsg string    `json:"error,omitempty"`
	Ended    time.Time `json:"ended,omitzero"`
	Columns  []string  `json:"columns,omitempty"` // of the result
	// Alias is the template that the query was made from, Refresh the refresh
	// of a dashboard that it was made for.
	Alias    string    `json:"alias,omitempty"`
	Refresh  string    `json:"refresh,omitempty"`
	Delivery *Delivery `json:"delivery,omitempty"`
}

// Going reports whether a query has not ended.
func (q *Query) Going() bool { return q.Status == QueryQueued || q.Status == QueryRunning }

func queryKey(account, region, id string) []byte {
	return kv.Key(kv.SpaceLake, "query", account, region, id)
}

func queryPrefix() []byte { return kv.Key(kv.SpaceLake, "query") }

func resultPrefix(id string) []byte { return kv.Key(kv.SpaceLake, "query-result", id) }

func resultKey(id string, row uint32) []byte {
	return binary.BigEndian.AppendUint32(resultPrefix(id), row)
}

// queries are those under way.
type queries struct {
	sync.Mutex
	ctx     context.Context // nil before RunQueries and after it ended
	group   sync.WaitGroup
	going   map[string]context.CancelFunc
	waiting []*Query // started before RunQueries
	slots   chan struct{}
}

// StartQuery writes a query in the call's transaction and runs it once that is
// durable.
func (m *Manager) StartQuery(c *call.Call, q *Query) {
	q.Version, q.Status, q.Created = formatVersion, QueryQueued, m.Now()
	if q.Delivery != nil {
		q.Delivery.Status = DeliveryPending
	}
	c.Tx.Set(queryKey(q.Account, q.Region, q.ID), kv.MustJSON(q))
	c.Tx.OnCommit(func() { m.launch(q) })
}

// RefuseQuery writes a query that failed before it began.
func (m *Manager) RefuseQuery(c *call.Call, q *Query, message string) {
	q.Version, q.Status, q.ErrorMsg, q.Created = formatVersion, QueryFailed, message, m.Now()
	q.Ended = q.Created
	c.Tx.Set(queryKey(q.Account, q.Region, q.ID), kv.MustJSON(q))
}

// Query returns a query, or nil.
func (m *Manager) Query(account, region, id string) (*Query, error) {
	b, err := m.cfg.Store.Get(queryKey(account, region, id))
	if errors.Is(err, kv.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	q := &Query{}
	return q, kv.DecodeRow(b, q, &q.Version, formatVersion)
}

// Queries lists the queries of an account in a region; all with an empty
// account.
func (m *Manager) Queries(account, region string) ([]*Query, error) {
	prefix := queryPrefix()
	if account != "" {
		prefix = kv.Key(kv.SpaceLake, "query", account, region)
	}
	var out []*Query
	err := m.cfg.Store.Scan(prefix, func(_, v []byte) (bool, error) {
		q := &Query{}
		out = append(out, q)
		return true, kv.DecodeRow(v, q, &q.Version, formatVersion)
	})
	if err != nil {
		return nil, fmt.Errorf("listing the queries: %w", err)
	}
	return out, nil
}

// Results calls fn for the rows of a finished query from row from on, at most
// limit of them.
func (m *Manager) Results(id string, from, limit int, fn func(row []map[string]string)) error {
	n := 0
	return m.cfg.Store.ScanRange(resultKey(id, uint32(from)), kv.PrefixEnd(resultPrefix(id)), func(_, v []byte) (bool, error) {
		var row []map[string]string
		if err := json.Unmarshal(v, &row); err != nil {
			return false, fmt.Errorf("a result of query %s is damaged: %w", id, err)
		}
		fn(row)
		n++
		return n < limit, nil
	})
}

func (m *Manager) launch(q *Query) {
	m.queries.Lock()
	defer m.queries.Unlock()
	if m.queries.ctx == nil {
		m.queries.waiting = append(m.queries.waiting, q)
		return
	}
	ctx, cancel := context.WithCancel(m.queries.ctx)
	m.queries.going[q.ID] = cancel
	m.queries.group.Go(func() {
		defer func() {
			cancel()
			m.queries.Lock()
			delete(m.queries.going, q.ID)
			m.queries.Unlock()
		}()
		finished := q
		if q.Going() {
			finished = m.inSlot(ctx, q)
		}
		if finished != nil && finished.Delivery != nil {
			if err := m.deliver(ctx, finished); err != nil && !stopped(err) {
				m.cfg.Log.Error("the result of a query cannot be delivered", "query", q.ID, "err", err)
			}
		}
	})
}

// inSlot runs a query once there is room. It returns the query when it has a
// result.
func (m *Manager) inSlot(ctx context.Context, q *Query) *Query {
	select {
	case m.queries.slots <- struct{}{}:
		defer func() { <-m.queries.slots }()
	case <-ctx.Done():
		return nil
	}
	return m.carryOut(ctx, q)
}

// Cancelled ends a query's run once the call that cancelled it is durable.
func (m *Manager) Cancelled(c *call.Call, q *Query) {
	q.Status, q.Ended = QueryCancelled, m.Now()
	q.Took = q.Ended.Sub(q.Created).Milliseconds()
	if q.Delivery != nil {
		q.Delivery.Status = DeliveryCancelled
	}
	c.Tx.Set(queryKey(q.Account, q.Region, q.ID), kv.MustJSON(q))
	c.Tx.OnCommit(func() {
		m.queries.Lock()
		defer m.queries.Unlock()
		if cancel := m.queries.going[q.ID]; cancel != nil {
			cancel()
		}
	})
}

// RunQueries runs queries until ctx ends, and then waits for those under way
// to give up. Queries that a stop or a crash left behind have failed: their
// callers run them again.
func (m *Manager) RunQueries(ctx context.Context) error {
	m.queries.Lock()
	waiting := m.queries.waiting
	m.queries.waiting = nil
	m.queries.Unlock()
	undelivered, err := m.settleLeftOver(waiting)
	if err != nil {
		return err
	}
	m.queries.Lock()
	m.queries.ctx = ctx
	waiting = append(append(waiting, undelivered...), m.queries.waiting...)
	m.queries.waiting = nil
	m.queries.Unlock()
	for _, q := range waiting {
		m.launch(q)
	}
	<-ctx.Done()
	m.queries.Lock()
	m.queries.ctx = nil
	m.queries.Unlock()
	m.queries.group.Wait()
	return nil
}

// settleLeftOver fails the queries that were under way and lists those whose
// results are still to be delivered.
func (m *Manager) settleLeftOver(waiting []*Query) (undelivered []*Query, err error) {
	all, err := m.Queries("", "")
	if err != nil {
		return nil, err
	}
	fresh := map[string]bool{}
	for _, q := range waiting {
		fresh[q.ID] = true
	}
	for _, q := range all {
		switch {
		case q.Going() && !fresh[q.ID]:
			if _, err := m.endQuery(q, QueryFailed, "The server stopped while the query was under way. Run it again."); err != nil {
				return nil, err
			}
		case q.Status == QueryFinished && q.Delivery != nil && q.Delivery.Status == DeliveryPending:
			undelivered = append(undelivered, q)
		}
	}
	return undelivered, nil
}

// setQuery writes a query's state unless it was ended from elsewhere. It
// reports whether it did.
func (m *Manager) setQuery(q *Query) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now, err := m.Query(q.Account, q.Region, q.ID)
	if err != nil || now == nil || !now.Going() {
		return false, err
	}
	b := m.cfg.Store.NewBatch()
	b.Set(queryKey(q.Account, q.Region, q.ID), kv.MustJSON(q))
	return true, m.cfg.Journal.Commit(b)
}

// endQuery writes a query's end, unless it was ended from elsewhere. It reports
// whether it did.
func (m *Manager) endQuery(q *Query, status, message string) (bool, error) {
	q.Status, q.ErrorMsg, q.Ended = status, message, m.Now()
	q.Took = q.Ended.Sub(q.Created).Milliseconds()
	if q.Delivery != nil && status != QueryFinished {
		q.Delivery.Status = DeliveryFailed // there is nothing to deliver
	}
	ended, err := m.setQuery(q)
	if status != QueryFinished {
		q.Rows = 0
		b := m.cfg.Store.NewBatch()
		b.DeleteRange(resultPrefix(q.ID), kv.PrefixEnd(resultPrefix(q.ID)))
		err = errors.Join(err, m.cfg.Journal.Commit(b))
	}
	return ended, err
}

// carryOut runs a query and keeps its result.
//
// Crash story: rows are written in batches of their own and count only with
// the query's state FINISHED, which is written last; what a crash leaves of
// them goes when the query is marked as failed.
func (m *Manager) carryOut(ctx context.Context, q *Query) (finished *Query) {
	run := *q
	run.Status = QueryRunning
	if q.Delivery != nil {
		run.Delivery = new(*q.Delivery)
	}
	goes, err := m.setQuery(&run)
	if err == nil && goes {
		timed, cancel := context.WithTimeout(ctx, queryTimeout)
		err = m.execute(timed, &run)
		cancel()
	}
	switch {
	case err == nil && goes:
		if goes, err = m.endQuery(&run, QueryFinished, ""); goes && err == nil {
			return &run
		}
	case err == nil || stopped(err):
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		_, err = m.endQuery(&run, QueryTimedOut, "The query ran longer than 1 hour.")
	case ctx.Err() != nil:
		// Cancelled, or the server stops: the next start says so.
		b := m.cfg.Store.NewBatch()
		b.DeleteRange(resultPrefix(q.ID), kv.PrefixEnd(resultPrefix(q.ID)))
		err = m.cfg.Journal.Commit(b)
	default:
		_, err = m.endQuery(&run, QueryFailed, m.explain(&run, err))
	}
	if err != nil && !stopped(err) {
		m.cfg.Log.Error("a query's end could not be written", "query", q.ID, "err", err)
	}
	return nil
}

func stopped(err error) bool {
	return errors.Is(err, journal.ErrClosed) || errors.Is(err, journal.ErrFailed)
}

// errResult is a result that is too large.
var errResult = errors.New("lake: the result is too large")

// explain turns a failure into what the caller sees. The engine's texts are
// about the rewritten query: their first line is shown.
func (m *Manager) explain(q *Query, err error) string {
	var de *duckdb.Error
	switch {
	case errors.Is(err, errResult):
		return fmt.Sprintf("The result is larger than %d bytes.", maxResult)
	case errors.Is(err, ErrStatement):
		return strings.TrimPrefix(err.Error(), ErrStatement.Error()+": ")
	case errors.As(err, &de):
		first, _, _ := strings.Cut(de.Message, "\n")
		return first
	}
	m.cfg.Log.Error("a query failed inside the server", "query", q.ID, "err", err)
	return "The query failed because of an internal error."
}

func (m *Manager) execute(ctx context.Context, q *Query) error {
	p, err := makePlan(q.SQL, q.Params, func(id string) (*Store, error) {
		if s := m.Lookup(ARN(q.Owner, q.Region, id)); s != nil && s.Deleted.IsZero() {
			return s, nil
		}
		return nil, fmt.Errorf("%w: the event data store %s is gone", ErrStatement, id)
	})
	if err != nil {
		return err
	}
	m.files.RLock()
	defer m.files.RUnlock()
	counts := &counters{}
	rels, err := m.relations(p, counts)
	if err != nil {
		return err
	}
	w := &resultWriter{m: m, id: q.ID, batch: m.cfg.Store.NewBatch()}
	defer w.close()
	err = m.cfg.Engine.Query(ctx, p.SQL, rels, func(cols []duckdb.ResultColumn) error {
		for i, c := range cols {
			w.names = append(w.names, c.Name)
			t := sql.TrinoType(c.Type)
			if i < len(p.Columns) {
				w.names[i] = p.Columns[i].Name
				if p.Columns[i].Type.Known() {
					t = p.Columns[i].Type
				}
			}
			w.types = append(w.types, t)
		}
		return nil
	}, w.row)
	q.Scanned, q.Bytes = counts.events.Load(), counts.bytes.Load()
	if err != nil {
		return err
	}
	q.Rows, q.Columns = int64(w.rows), w.names
	return w.flush()
}

// resultWriter keeps the rows of a result.
type resultWriter struct {
	m     *Manager
	id    string
	batch *kv.Batch
	names []string
	types []sql.Type
	rows  uint32
	size  int
	total int
}

func (w *resultWriter) row(values []any) error {
	row := make([]map[string]string, 0, len(values))
	for i, v := range values {
		text, ok := w.m.cfg.Text(v, w.types[i])
		if !ok {
			text = "" // CloudTrail Lake shows NULL so
		}
		row = append(row, map[string]string{w.names[i]: text})
	}
	b := kv.MustJSON(row)
	w.batch.Set(resultKey(w.id, w.rows), b)
	w.rows++
	w.size += len(b)
	if w.total += len(b); w.total > maxResult {
		return errResult
	}
	if w.size >= flushResult {
		return w.flush()
	}
	return nil
}

func (w *resultWriter) flush() error {
	b := w.batch
	w.batch, w.size = w.m.cfg.Store.NewBatch(), 0
	return w.m.cfg.Journal.Commit(b)
}

func (w *resultWriter) close() {
	if err := w.batch.Close(); err != nil {
		w.m.cfg.Log.Error("closing a batch", "err", err)
	}
}

type counters struct{ events, bytes atomic.Int64 }

// relations are the stores of a query with all that was answered before it
// began.
func (m *Manager) relations(p *plan, n *counters) ([]duckdb.Relation, error) {
	m.cut.Lock()
	defer m.cut.Unlock()
	v, err := m.look()
	if err != nil {
		return nil, err
	}
	var out []duckdb.Relation
	for name, s := range p.stores {
		rel, err := m.relation(p, v, name, s, n)
		if err != nil {
			return nil, err
		}
		out = append(out, rel)
	}
	return out, nil
}

// relation is a store as the engine reads it: the columns that the query
// names, and of the days that its bounds on eventtime leave the files and the
// events that are in none yet: the rows of each day are a part, and what the
// journal has is one.
func (m *Manager) relation(p *plan, v *view, name string, s *Store, n *counters) (duckdb.Relation, error) {
	rel := duckdb.Relation{Name: name}
	var cols []sql.Column
	whole := -1
	for _, c := range columnsOf(s) {
		// Every name in a rewritten query is quoted.
		if !strings.Contains(p.SQL, `"`+c.Name+`"`) {
			continue
		}
		if c.Name == wholeEvent {
			whole = len(cols)
		}
		cols = append(cols, c)
		rel.Columns = append(rel.Columns, duckdb.Column{Name: c.Name, Type: c.Type.DuckDB()})
	}
	read := serde.NewEvent(cols)
	from, to := p.times(name)
	list, err := m.segments(s.ID, dayOf(from), dayOf(to))
	if err != nil {
		return rel, err
	}
	for _, x := range list {
		n.events.Add(x.Rows)
		n.bytes.Add(x.Bytes)
		rel.Parquet = append(rel.Parquet, duckdb.File{Path: filepath.Join(m.cfg.Dir, x.File)})
	}
	days, err := m.days(s.ID, from, to)
	if err != nil {
		return rel, err
	}
	// part makes a part of what each calls its argument with.
	part := func(each func(fn func(event []byte) (bool, error)) error) duckdb.Part {
		return func(ctx context.Context, emit func([]any) error) error {
			row := make([]any, len(cols))
			return each(func(event []byte) (bool, error) {
				n.events.Add(1)
				n.bytes.Add(int64(len(event)))
				if err := read.Row(event, row); err != nil {
					return false, err
				}
				if whole >= 0 {
					row[whole] = string(event)
				}
				return ctx.Err() == nil, emit(row)
			})
		}
	}
	for _, day := range days {
		rel.Parts = append(rel.Parts, part(func(fn func([]byte) (bool, error)) error { return m.dayEvents(v, s.ID, day, fn) }))
	}
	if v.at < v.head {
		rel.Parts = append(rel.Parts, part(func(fn func([]byte) (bool, error)) error {
			return v.tail(s.ID, func(it *journal.Item, event []byte) (bool, error) {
				if d := dayOf(it.Time); d < dayOf(from) || d > dayOf(to) {
					return true, nil
				}
				return fn(event)
			})
		}))
	}
	return rel, nil
}

func dayKey(store string, day uint32) []byte {
	return binary.BigEndian.AppendUint32(eventPrefix(store), day)
}

// days lists the days between two times of which a store has events.
func (m *Manager) days(store string, from, to time.Time) ([]uint32, error) {
	var out []uint32
	prefix := eventPrefix(store)
	last := dayOf(to)
	for next := dayOf(from); next <= last; {
		found := false
		err := m.cfg.Store.ScanRange(dayKey(store, next), dayKey(store, last+1), func(k, _ []byte) (bool, error) {
			if len(k) < len(prefix)+4 {
				return false, fmt.Errorf("the key %q is damaged", k)
			}
			next, found = binary.BigEndian.Uint32(k[len(prefix):]), true
			return false, nil
		})
		if err != nil || !found {
			return out, err
		}
		out = append(out, next)
		next++
	}
	return out, nil
}

// dayEvents calls fn for the events of a day that are rows and that a view does
// not read from the journal.
func (m *Manager) dayEvents(v *view, store string, day uint32, fn func(event []byte) (bool, error)) error {
	from := dayKey(store, day)
	return m.cfg.Store.ScanRange(from, dayKey(store, day+1), func(k, event []byte) (bool, error) {
		if id := k[len(from):]; len(id) == 9 && v.covers(Origin(id[0]), binary.BigEndian.Uint64(id[1:])) {
			return true, nil
		}
		return fn(event)
	})
}

// expireQueries removes queries and results of more than seven days ago.
func (m *Manager) expireQueries() error {
	all, err := m.Queries("", "")
	if err != nil {
		return err
	}
	before := m.cfg.Now().AddDate(0, 0, -QueryDays)
	for _, q := range all {
		if q.Going() || q.Created.After(before) {
			continue
		}
		b := m.cfg.Store.NewBatch()
		b.Delete(queryKey(q.Account, q.Region, q.ID))
		b.DeleteRange(resultPrefix(q.ID), kv.PrefixEnd(resultPrefix(q.ID)))
		if err := m.cfg.Journal.Commit(b); err != nil {
			return err
		}
	}
	return nil
}
