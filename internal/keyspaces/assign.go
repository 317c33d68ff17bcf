package keyspaces

import (
	"bytes"

	"spoor/internal/cql"
	"spoor/internal/cql/types"
	engine "spoor/internal/engine/pebble"
)

// maxCollectionElement is the largest element of a collection that is not
// frozen, in bytes, as in Cassandra's protocol.
const maxCollectionElement = 65535

func (m *modification) cell(c *Column, x engine.Cell) {
	x.Column = c.ID
	if c.Kind == staticColumn {
		m.static.Cells = append(m.static.Cells, x)
	} else {
		m.row.Cells = append(m.row.Cells, x)
	}
}

func (m *modification) live(c *Column, path, value []byte) {
	m.cell(c, engine.Cell{Path: path, Life: m.life, Value: value})
}

func (m *modification) tombstone(c *Column, path []byte) {
	m.cell(c, engine.Cell{Path: path, Tombstone: true, Life: engine.Life{Timestamp: m.at}})
}

// clear deletes a whole collection. Before elements that the same statement
// writes, it reaches up to the timestamp before theirs.
func (m *modification) clear(c *Column, at int64) {
	m.cell(c, engine.Cell{Whole: true, Tombstone: true, Life: engine.Life{Timestamp: at}})
}

// assign sets a column to a value; nil deletes.
func (m *modification) assign(c *Column, v []byte) error {
	if !c.Type.IsMultiCell() {
		if v == nil {
			m.tombstone(c, nil)
		} else {
			m.live(c, nil, v)
		}
		return nil
	}
	if v == nil {
		m.clear(c, m.at)
		return nil
	}
	m.clear(c, m.at-1)
	return m.append(c, v, false)
}

// append adds a value's elements to a collection, or sets a UDT's fields.
func (m *modification) append(c *Column, v []byte, prepend bool) error {
	parts, err := c.Type.Parts(v)
	if err != nil {
		return public(cql.Invalid("%s", err.Error()))
	}
	at := m.s.tick()
	for i := 0; i < len(parts); i++ {
		switch c.Type.Kind {
		case types.List:
			m.live(c, listPath(at, i, prepend), parts[i])
		case types.Set:
			if len(parts[i]) > maxCollectionElement {
				return public(cql.Invalid("The size of an element of %s is more than %d bytes", c.Name, maxCollectionElement))
			}
			m.live(c, elementPath(c.Type, parts[i]), nil)
		case types.Map:
			if len(parts[i]) > maxCollectionElement {
				return public(cql.Invalid("The size of a key of %s is more than %d bytes", c.Name, maxCollectionElement))
			}
			m.live(c, elementPath(c.Type, parts[i]), parts[i+1])
			i++
		case types.UDT:
			if parts[i] != nil {
				m.live(c, fieldPath(i), parts[i])
			}
		}
	}
	return nil
}

// operation carries out one change of a column.
func (m *modification) operation(op *columnOp) error {
	c, t := op.col, op.col.Type
	switch op.kind {
	case opDelete:
		return m.assign(c, nil)
	case opDeleteField:
		m.tombstone(c, fieldPath(op.field))
		return nil
	case opDeleteElement, opSetElement:
		return m.elementOperation(op)
	}
	want := t
	switch {
	case op.kind == opSetField:
		want = t.Args[op.field]
	case op.kind == opSubtract && t.Kind == types.Map:
		want = types.SetOf(t.Args[0])
	}
	v, err := types.Coerce(op.value, want, c.Name, &m.ev.Env)
	if err != nil || v.Unset {
		return err
	}
	switch op.kind {
	case opSet:
		return m.assign(c, v.Data)
	case opSetField:
		if v.Data == nil {
			m.tombstone(c, fieldPath(op.field))
		} else {
			m.live(c, fieldPath(op.field), v.Data)
		}
		return nil
	}
	if t.Kind == types.Counter {
		return m.count(c, v.Data, op.kind == opSubtract)
	}
	if v.Data == nil {
		return nil // nothing to add or remove
	}
	if op.kind == opSubtract {
		return m.subtract(c, want, v.Data)
	}
	return m.append(c, v.Data, op.kind == opPrepend)
}

// count adds to a counter. The caller holds the partition's lock, and current is
// what is there.
func (m *modification) count(c *Column, delta []byte, subtract bool) error {
	if delta == nil {
		return public(cql.Invalid("Invalid null value for counter increment"))
	}
	d := types.Int64(delta)
	if subtract {
		d = -d
	}
	old, at := int64(0), m.at
	if cells := m.current.cells(c); len(cells) > 0 {
		old = types.Int64(cells[0].Value)
		at = max(at, cells[0].Timestamp+1)
	}
	x := engine.Cell{Life: engine.Life{Timestamp: at}, Value: types.AppendInt(nil, old+d, 8)}
	m.cell(c, x)
	m.current.set(c, x)
	return nil
}

// subtract removes elements: a set's and a map's by key, a list's by value.
func (m *modification) subtract(c *Column, given *types.Type, v []byte) error {
	parts, err := given.Parts(v)
	if err != nil {
		return public(cql.Invalid("%s", err.Error()))
	}
	if c.Type.Kind != types.List {
		for _, p := range parts {
			m.tombstone(c, elementPath(c.Type, p))
		}
		return nil
	}
	for _, cell := range m.current.cells(c) {
		for _, p := range parts {
			if bytes.Equal(cell.Value, p) {
				m.tombstone(c, bytes.Clone(cell.Path))
				break
			}
		}
	}
	return nil
}

// elementOperation sets or deletes an element by key or position.
func (m *modification) elementOperation(op *columnOp) error {
	c, t := op.col, op.col.Type
	kt, name := t.Args[0], "key("+c.Name+")"
	if t.Kind == types.List {
		kt, name = types.Scalar(types.Int), "idx("+c.Name+")"
	}
	k, err := types.Coerce(op.key, kt, name, &m.ev.Env)
	if err != nil {
		return err
	}
	if k.Data == nil {
		return public(cql.Invalid("Invalid null or unset value for an element of %s", c.Name))
	}
	path := []byte(nil)
	if t.Kind == types.List {
		cells := m.current.cells(c)
		i := types.Int64(k.Data)
		if len(cells) == 0 {
			return public(cql.Invalid("Attempted to set an element on a list which is null"))
		}
		if i < 0 || i >= int64(len(cells)) {
			return cql.Invalid("List index %d out of bound, list has size %d", i, len(cells))
		}
		path = bytes.Clone(cells[i].Path)
	} else {
		path = elementPath(t, k.Data)
	}
	if op.kind == opDeleteElement {
		m.tombstone(c, path)
		return nil
	}
	v, err := types.Coerce(op.value, t.Args[len(t.Args)-1], "value("+c.Name+")", &m.ev.Env)
	if err != nil || v.Unset {
		return err
	}
	if v.Data == nil {
		m.tombstone(c, path)
	} else {
		m.live(c, path, v.Data)
	}
	return nil
}
