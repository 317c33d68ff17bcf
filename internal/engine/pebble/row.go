package pebble

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"slices"
)

// NoTimestamp is the timestamp of a marker or deletion that is not there.
const NoTimestamp = math.MinInt64

// Life is when something was written and how long it lives.
type Life struct {
	Timestamp int64 // microseconds since the epoch
	// Expiry is when it dies, in seconds since the epoch; 0: never.
	Expiry int64
	TTL    int32 // seconds, as given; 0: none
}

func (l Life) present() bool { return l.Timestamp != NoTimestamp }

func (l Life) expired(now int64) bool { return l.Expiry != 0 && l.Expiry <= now }

// Cell is the value of a column, or of an element of a collection or UDT that
// is not frozen.
type Cell struct {
	Column uint32
	// Path is the element's place: a map's or set's key in its ordered form, a
	// list's time, a UDT's field number. nil for a simple column.
	Path []byte
	// Tombstone cells have no value. With Whole a tombstone deletes the whole
	// collection up to its timestamp, and has no Path.
	Tombstone, Whole bool
	Life
	Value []byte
}

// Row is the state of a row, or a change of it: both are the same thing, and two
// of them merge into one by the rules of last write wins.
//
// Cells are in order of column and path, a column's Whole tombstone first.
type Row struct {
	// Marker says that the row exists by itself (INSERT), apart from its cells.
	Marker Life
	// Deleted is the timestamp up to which all of the row is deleted.
	Deleted int64
	Cells   []Cell
}

// Reset makes r empty and keeps the memory.
func (r *Row) Reset() {
	*r = Row{Marker: Life{Timestamp: NoTimestamp}, Deleted: NoTimestamp, Cells: r.Cells[:0]}
}

// Sort brings cells that were appended in any order into theirs. Of cells of
// the same place the one that wins stays.
func (r *Row) Sort() {
	for i := 1; i < len(r.Cells); i++ {
		if compareCells(&r.Cells[i-1], &r.Cells[i]) >= 0 {
			slices.SortStableFunc(r.Cells, func(a, b Cell) int { return compareCells(&a, &b) })
			break
		}
	}
	out := r.Cells[:0]
	for _, c := range r.Cells {
		if n := len(out); n > 0 && compareCells(&out[n-1], &c) == 0 {
			if wins(&c, &out[n-1]) {
				out[n-1] = c
			}
			continue
		}
		out = append(out, c)
	}
	r.Cells = out
}

func compareCells(a, b *Cell) int {
	switch {
	case a.Column != b.Column:
		return boolInt(a.Column > b.Column) - boolInt(a.Column < b.Column)
	case a.Whole != b.Whole:
		return boolInt(b.Whole) - boolInt(a.Whole)
	}
	return bytes.Compare(a.Path, b.Path)
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// wins reports whether a replaces b, both of the same place. The later timestamp
// wins; of equal ones a tombstone, then the greater value, then the longer life.
// That is a total order of what cells hold, so the result does not depend on the
// order of merging. (Cassandra 3.11, Conflicts.resolveRegular.)
func wins(a, b *Cell) bool {
	if a.Timestamp != b.Timestamp {
		return a.Timestamp > b.Timestamp
	}
	if a.Tombstone != b.Tombstone {
		return a.Tombstone
	}
	if c := bytes.Compare(a.Value, b.Value); c != 0 {
		return c > 0
	}
	return longer(a.Life, b.Life)
}

func longer(a, b Life) bool {
	if a.Expiry != b.Expiry {
		return a.Expiry == 0 || b.Expiry != 0 && a.Expiry > b.Expiry
	}
	return a.TTL < b.TTL // the same end with a shorter life was written later
}

// The format of a row, version 1: kind byte, flags byte, base timestamp (8
// bytes), then marker and deletion as the flags say, then cells to the end. A
// timestamp is its zig-zag difference to the base, which is mostly 0.
const (
	kindRow    = 0x01
	kindRanges = 0x02

	rowMarker   = 0x01
	rowExpiring = 0x02 // the marker
	rowDeleted  = 0x04

	cellTombstone = 0x01
	cellWhole     = 0x02
	cellExpiring  = 0x04
	cellPath      = 0x08
)

var errDamaged = errors.New("a CQL row in the store is damaged")

// appendRow appends r's format. Its cells must be sorted.
func appendRow(dst []byte, r *Row) []byte {
	base := r.Deleted
	if len(r.Cells) > 0 {
		base = r.Cells[0].Timestamp
	}
	if r.Marker.present() {
		base = r.Marker.Timestamp
	}
	flags := byte(0)
	if r.Marker.present() {
		flags |= rowMarker
	}
	if r.Marker.Expiry != 0 {
		flags |= rowExpiring
	}
	if r.Deleted != NoTimestamp {
		flags |= rowDeleted
	}
	dst = append(dst, kindRow, flags)
	dst = binary.BigEndian.AppendUint64(dst, uint64(base))
	if flags&rowMarker != 0 && flags&rowExpiring != 0 {
		dst = binary.AppendUvarint(dst, uint64(r.Marker.Expiry))
		dst = binary.AppendUvarint(dst, uint64(r.Marker.TTL))
	}
	if flags&rowDeleted != 0 {
		dst = binary.AppendVarint(dst, r.Deleted-base)
	}
	for i := range r.Cells {
		dst = appendCell(dst, &r.Cells[i], base)
	}
	return dst
}

func appendCell(dst []byte, c *Cell, base int64) []byte {
	flags := byte(0)
	if c.Tombstone {
		flags |= cellTombstone
	}
	if c.Whole {
		flags |= cellWhole
	}
	if c.Expiry != 0 {
		flags |= cellExpiring
	}
	if c.Path != nil {
		flags |= cellPath
	}
	dst = append(binary.AppendUvarint(dst, uint64(c.Column)), flags)
	dst = binary.AppendVarint(dst, c.Timestamp-base)
	if flags&cellPath != 0 {
		dst = append(binary.AppendUvarint(dst, uint64(len(c.Path))), c.Path...)
	}
	if flags&cellExpiring != 0 {
		dst = binary.AppendUvarint(dst, uint64(c.Expiry))
		dst = binary.AppendUvarint(dst, uint64(c.TTL))
	}
	if flags&cellTombstone == 0 {
		dst = append(binary.AppendUvarint(dst, uint64(len(c.Value))), c.Value...)
	}
	return dst
}

// decoder walks a value; after the first failure it gives zeros.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.bad = true
		return 0
	}
	c := d.b[0]
	d.b = d.b[1:]
	return c
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.bad, d.b = true, nil
		return nil
	}
	b := d.b[:n:n]
	d.b = d.b[n:]
	return b
}

// decodeRow reads a row's format into r, whose slices are then parts of b.
func decodeRow(b []byte, r *Row) error {
	r.Reset()
	if len(b) < 10 || b[0] != kindRow {
		return errDamaged
	}
	flags, base := b[1], int64(binary.BigEndian.Uint64(b[2:]))
	d := decoder{b: b[10:]}
	if flags&rowMarker != 0 {
		r.Marker.Timestamp = base
		if flags&rowExpiring != 0 {
			r.Marker.Expiry, r.Marker.TTL = int64(d.uvarint()), int32(d.uvarint())
		}
	}
	if flags&rowDeleted != 0 {
		r.Deleted = base + d.varint()
	}
	for len(d.b) > 0 {
		r.Cells = append(r.Cells, Cell{})
		c := &r.Cells[len(r.Cells)-1]
		c.Column = uint32(d.uvarint())
		f := d.byte()
		c.Tombstone, c.Whole = f&cellTombstone != 0, f&cellWhole != 0
		c.Timestamp = base + d.varint()
		if f&cellPath != 0 {
			c.Path = d.bytes()
		}
		if f&cellExpiring != 0 {
			c.Expiry, c.TTL = int64(d.uvarint()), int32(d.uvarint())
		}
		if !c.Tombstone {
			c.Value = d.bytes()
		}
	}
	if d.bad {
		return errDamaged
	}
	return nil
}

// mergeRows makes dst the state after a and b, in whichever order they were
// written. What a deletion covers is dropped, the deletion itself stays, for
// writes with a client's older timestamp may still come.
func mergeRows(dst, a, b *Row) {
	dst.Reset()
	dst.Deleted = max(a.Deleted, b.Deleted)
	dst.Marker = a.Marker
	if b.Marker.Timestamp > a.Marker.Timestamp || b.Marker.Timestamp == a.Marker.Timestamp && longer(b.Marker, a.Marker) {
		dst.Marker = b.Marker
	}
	if dst.Marker.Timestamp <= dst.Deleted {
		dst.Marker = Life{Timestamp: NoTimestamp}
	}
	var whole struct {
		column uint32
		at     int64
	}
	whole.at = NoTimestamp
	i, j := 0, 0
	for i < len(a.Cells) || j < len(b.Cells) {
		var c *Cell
		switch {
		case i == len(a.Cells):
			c, j = &b.Cells[j], j+1
		case j == len(b.Cells):
			c, i = &a.Cells[i], i+1
		default:
			switch order := compareCells(&a.Cells[i], &b.Cells[j]); {
			case order < 0:
				c, i = &a.Cells[i], i+1
			case order > 0:
				c, j = &b.Cells[j], j+1
			default:
				if c = &a.Cells[i]; wins(&b.Cells[j], c) {
					c = &b.Cells[j]
				}
				i, j = i+1, j+1
			}
		}
		if c.Timestamp <= dst.Deleted {
			continue
		}
		switch {
		case c.Whole:
			whole.column, whole.at = c.Column, c.Timestamp
		case whole.column == c.Column && c.Timestamp <= whole.at:
			continue
		}
		dst.Cells = append(dst.Cells, *c)
	}
}

// resolve leaves of r what is alive at now (seconds since the epoch) and not
// deleted up to the timestamp deleted by what lies above the row.
func (r *Row) resolve(deleted, now int64) {
	deleted = max(deleted, r.Deleted)
	if r.Marker.Timestamp <= deleted || r.Marker.expired(now) {
		r.Marker = Life{Timestamp: NoTimestamp}
	}
	whole, column := int64(NoTimestamp), uint32(0)
	out := r.Cells[:0]
	for i := range r.Cells {
		c := &r.Cells[i]
		if c.Whole {
			whole, column = c.Timestamp, c.Column
			continue
		}
		if c.Tombstone || c.Timestamp <= deleted || c.Column == column && c.Timestamp <= whole || c.expired(now) {
			continue
		}
		out = append(out, *c)
	}
	r.Cells = out
}

// Live reports whether the row is there: a row of a read has only what is alive.
func (r *Row) Live() bool { return r.Marker.present() || len(r.Cells) > 0 }

// Column gives the cells of a column.
func (r *Row) Column(id uint32) []Cell {
	from := 0
	for from < len(r.Cells) && r.Cells[from].Column < id {
		from++
	}
	to := from
	for to < len(r.Cells) && r.Cells[to].Column == id {
		to++
	}
	return r.Cells[from:to]
}
