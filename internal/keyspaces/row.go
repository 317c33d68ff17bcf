package keyspaces

import (
	"encoding/binary"
	"fmt"

	"spoor/internal/cql/types"
	engine "spoor/internal/engine/pebble"
)

// row is a row of a table during a read: either one of the store, decoded as
// columns are asked for, or one of a system table. It is valid until the next.
type row struct {
	t      *Table
	res    *engine.Result // nil for a system table
	values [][]byte       // of the key columns, or of all of a system table
	keyOK  bool           // values has the clustering key
	now    int64          // seconds since the epoch
	parts  [][]byte
}

// reset makes r the row that a scan gave.
func (r *row) reset(res *engine.Result) error {
	r.res, r.keyOK = res, false
	var ok bool
	if r.parts, ok = types.SplitKey(res.Partition, len(r.t.Partition), r.parts[:0]); !ok {
		return fmt.Errorf("a partition key of table %s.%s is damaged", r.t.Keyspace, r.t.Name)
	}
	n := len(r.t.Partition) + len(r.t.Clustering)
	if cap(r.values) < n {
		r.values = make([][]byte, n)
	}
	r.values = r.values[:n]
	copy(r.values, r.parts)
	return nil
}

// clustering decodes the clustering key.
func (r *row) clustering() error {
	r.keyOK = true
	src := r.res.Clustering
	for i, c := range r.t.Clustering {
		at := len(r.t.Partition) + i
		r.values[at] = nil
		if r.res.Clustering == nil {
			continue // a partition with only static columns
		}
		v, rest, err := c.Type.DecodeOrdered(src, c.Desc)
		if err != nil {
			return fmt.Errorf("a clustering key of table %s.%s: %w", r.t.Keyspace, r.t.Name, err)
		}
		r.values[at], src = v, rest
	}
	return nil
}

// cells gives the cells of a column that is not in the key.
func (r *row) cells(c *Column) []engine.Cell {
	if c.Kind == staticColumn {
		if r.res.Static == nil {
			return nil
		}
		return r.res.Static.Column(c.ID)
	}
	return r.res.Row.Column(c.ID)
}

// value gives a column's wire value; nil is null.
func (r *row) value(c *Column) ([]byte, error) {
	if r.res == nil {
		return r.values[c.index], nil
	}
	if c.isKey() {
		if c.Kind == clusteringKey && !r.keyOK {
			if err := r.clustering(); err != nil {
				return nil, err
			}
		}
		return r.values[c.index], nil
	}
	cells := r.cells(c)
	if len(cells) == 0 {
		return nil, nil
	}
	if !c.Type.IsMultiCell() {
		if cells[0].Value == nil {
			return []byte{}, nil
		}
		return cells[0].Value, nil
	}
	return assemble(c.Type, cells)
}

// assemble makes the value of a collection or UDT of its cells.
func assemble(t *types.Type, cells []engine.Cell) ([]byte, error) {
	var parts [][]byte
	if t.Kind == types.UDT {
		parts = make([][]byte, len(t.Args))
	}
	for i := range cells {
		cell := &cells[i]
		switch t.Kind {
		case types.List:
			parts = append(parts, cell.Value)
		case types.UDT:
			if len(cell.Path) != 2 {
				return nil, fmt.Errorf("the cell of a field of type %s is damaged", t.Name)
			}
			if f := int(binary.BigEndian.Uint16(cell.Path)); f < len(parts) {
				parts[f] = cell.Value
			}
		default:
			key, _, err := t.Args[0].DecodeOrdered(cell.Path, false)
			if err != nil {
				return nil, fmt.Errorf("the cell of an element: %w", err)
			}
			parts = append(parts, key)
			if t.Kind == types.Map {
				parts = append(parts, cell.Value)
			}
		}
	}
	return t.Join(parts), nil
}

// fieldPath is the path of a UDT's field.
func fieldPath(i int) []byte { return binary.BigEndian.AppendUint16(nil, uint16(i)) }

// elementPath is the path of a set's element or of a map's key.
func elementPath(t *types.Type, key []byte) []byte { return t.Args[0].AppendOrdered(nil, key, false) }

// listPath is the path of the i-th of the elements that one operation appends,
// or prepends, to a list. at is the operation's own time, in microseconds: what
// is appended later comes later, what is prepended later comes earlier.
func listPath(at int64, i int, prepend bool) []byte {
	u := uint64(at) | 1<<63
	if prepend {
		u = 1<<63 - uint64(at)
	}
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(nil, u), uint32(i))
}
