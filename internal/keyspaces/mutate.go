package keyspaces

import (
	"bytes"
	"context"
	"hash/maphash"
	"slices"

	"spoor/internal/call"
	"spoor/internal/cql"
	"spoor/internal/cql/frame"
	"spoor/internal/cql/types"
	engine "spoor/internal/engine/pebble"
)

// lockStripes is the number of locks that the partitions share.
const lockStripes = 1024

// mutate carries out modifications as one: all of them or none, with the
// conditions of all judged on what is there before.
func (s *Service) mutate(ctx context.Context, c *call.Call, list []*modification, req *request, res *frame.Response) error {
	reads, conditional := false, false
	for _, m := range list {
		if err := m.keys(); err != nil {
			return err
		}
		conditional = conditional || m.p.conditional()
		reads = reads || m.p.reads
	}
	if conditional {
		for _, m := range list[1:] {
			if !bytes.Equal(m.partition, list[0].partition) {
				return public(cql.Invalid("Batch with conditions cannot span multiple partitions"))
			}
		}
	}
	if conditional || reads {
		s.lock(c, list)
		if err := s.readCurrent(ctx, list); err != nil {
			return err
		}
	}
	// The time is taken under the lock, so that it is later than what was read.
	at := req.timestamp
	if !req.hasTimestamp || conditional {
		at = s.tick()
	}
	for _, m := range list {
		if err := m.times(at); err != nil {
			return err
		}
	}
	if conditional {
		applied, err := s.judge(list, res)
		if err != nil || !applied {
			return err
		}
	}
	w := engine.NewWriter(c.Tx.Batch())
	defer w.Release()
	for _, m := range list {
		if err := m.build(); err != nil {
			return err
		}
		if err := m.write(w); err != nil {
			return err
		}
	}
	if conditional {
		res.SkipMetadata(false)
		res.Rows(appliedMetadata(list[0].p.t))
		res.Cell([]byte{1})
		res.EndRow()
		return nil
	}
	res.Void()
	return nil
}

// lock takes the locks of the partitions that are read before they are written,
// in the order of the locks, so that no two calls can wait for each other.
func (s *Service) lock(c *call.Call, list []*modification) {
	var stripes []int
	for _, m := range list {
		if m.p.conditional() || m.p.reads {
			stripes = append(stripes, int(maphash.Bytes(s.seed, m.partition)%lockStripes))
		}
	}
	slices.Sort(stripes)
	for _, i := range slices.Compact(stripes) {
		c.Tx.Lock(&s.stripes[i])
	}
}

// readCurrent reads the rows that modifications depend on.
func (s *Service) readCurrent(ctx context.Context, list []*modification) error {
	rows := map[string]*row{}
	for _, m := range list {
		if !m.p.conditional() && !m.p.reads {
			continue
		}
		clustering := m.clustering
		if m.p.statics {
			clustering = nil
		} else if clustering == nil {
			clustering = []byte{}
		}
		id := string(m.partition) + string(clustering)
		if m.p.statics {
			id += "\x00static"
		}
		if m.current = rows[id]; m.current != nil {
			continue
		}
		r := &row{t: m.p.t, now: m.ev.at.Unix()}
		err := engine.Get(ctx, s.store, m.partition, clustering, r.now, func(res *engine.Result) error {
			return r.reset(&engine.Result{Partition: res.Partition, Clustering: bytes.Clone(res.Clustering),
				Row: cloneRow(res.Row), Static: cloneRow(res.Static)})
		})
		if err != nil {
			return err
		}
		m.current, rows[id] = r, r
	}
	return nil
}

func cloneRow(r *engine.Row) *engine.Row {
	n := &engine.Row{}
	n.Reset()
	if r == nil {
		return n
	}
	n.Marker, n.Cells = r.Marker, slices.Clone(r.Cells)
	for i := range n.Cells {
		n.Cells[i].Value, n.Cells[i].Path = bytes.Clone(n.Cells[i].Value), bytes.Clone(n.Cells[i].Path)
	}
	return n
}

// set changes the read copy of a row, for the later statements of a batch.
func (r *row) set(c *Column, x engine.Cell) {
	to := r.res.Row
	if c.Kind == staticColumn {
		to = r.res.Static
	}
	x.Column = c.ID
	to.Cells = slices.DeleteFunc(to.Cells, func(o engine.Cell) bool { return o.Column == c.ID })
	to.Cells = append(to.Cells, x)
	to.Sort()
}

// there reports whether the row of a modification exists.
func (m *modification) there() bool {
	if m.p.statics {
		return m.current.res.Static.Live()
	}
	return m.current.res.Row.Live()
}

// judge judges all conditions, and answers when one does not hold.
func (s *Service) judge(list []*modification, res *frame.Response) (bool, error) {
	applied := true
	for _, m := range list {
		ok, err := m.holds()
		if err != nil {
			return false, err
		}
		applied = applied && ok
	}
	if !applied {
		return false, notApplied(list, res)
	}
	return true, nil
}

func (m *modification) holds() (bool, error) {
	if m.p.notExists && m.there() || m.p.exists && !m.there() {
		return false, nil
	}
	tests, err := compileTests(m.p.t, m.p.conditions, m.ev, true)
	if err != nil {
		return false, err
	}
	for i := range tests {
		if tests[i].cols[0].isKey() {
			return false, public(cql.Invalid("PRIMARY KEY column '%s' cannot have IF conditions", tests[i].cols[0].Name))
		}
		if ok, err := tests[i].holds(m.current); err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}

func appliedColumn(t *Table) frame.ColumnSpec {
	return frame.ColumnSpec{Keyspace: t.Keyspace, Table: t.Name, Name: "[applied]", Type: types.Scalar(types.Boolean)}
}

func appliedMetadata(t *Table) *frame.Metadata {
	return frame.NewMetadata([]frame.ColumnSpec{appliedColumn(t)})
}

// notApplied answers with [applied] = false and, where there are rows, their
// values: of the columns of the conditions, or of all columns when the
// conditions are about existence. A batch adds the primary key.
func notApplied(list []*modification, res *frame.Response) error {
	t := list[0].p.t
	want := make([]bool, len(t.Columns))
	for _, m := range list {
		if len(list) > 1 {
			for i := range len(t.Partition) + len(t.Clustering) {
				want[i] = true
			}
		}
		if m.p.notExists {
			for i := range want {
				want[i] = true
			}
		}
		for _, r := range m.p.conditions {
			if c := t.byName[r.Columns[0].Text]; c != nil {
				want[c.index] = true
			}
		}
	}
	var rows []*row
	for _, m := range list {
		if m.p.conditional() && (m.there() || m.current.res.Static.Live()) && !slices.Contains(rows, m.current) {
			rows = append(rows, m.current)
		}
	}
	specs := []frame.ColumnSpec{appliedColumn(t)}
	var cols []*Column
	for i, c := range t.Columns {
		if want[i] && len(rows) > 0 {
			cols = append(cols, c)
			specs = append(specs, frame.ColumnSpec{Keyspace: t.Keyspace, Table: t.Name, Name: c.Name, Type: c.Type})
		}
	}
	res.SkipMetadata(false)
	res.Rows(frame.NewMetadata(specs))
	if len(rows) == 0 {
		res.Cell([]byte{0})
		res.EndRow()
	}
	for _, r := range rows {
		res.Cell([]byte{0})
		for _, c := range cols {
			v, err := r.value(c)
			if err != nil {
				return err
			}
			res.Cell(v)
		}
		res.EndRow()
	}
	return nil
}
