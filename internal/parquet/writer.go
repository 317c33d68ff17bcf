// Package parquet writes Parquet files of columns that may be nested. It is for
// rows that come one at a time and whose values mostly repeat: a column takes a
// value many times over in one step, and a page is compressed once it is full,
// so that little memory is in use.
//
// Source: the Apache Parquet format, version 2 of its Thrift definitions, of
// which data pages of version 1 with PLAIN and dictionary encodings are
// written, which every reader knows.
package parquet

import (
	"encoding/binary"
	"errors"
	"io"

	"github.com/DataDog/zstd"
)

// GroupRows is how many rows a row group has, but for the last.
const GroupRows = 20480

const magic = "PAR1"

// Writer writes one file. It is not safe for concurrent use.
type Writer struct {
	Columns []*Node
	Leaves  []*Leaf

	w      io.Writer
	schema schema
	z      compressor
	at     int64 // bytes written
	rows   int64
	groups []byte // row groups of the footer
	count  int
	buf    []byte
	err    error
}

// NewWriter begins a file. The columns' levels are set, and their leaves made.
func NewWriter(w io.Writer, columns []*Node) *Writer {
	out := &Writer{w: w, Columns: columns, z: compressor{ctx: zstd.NewCtx()}}
	s := &out.schema
	s.z = &out.z
	s.element("schema", required, len(columns), nil)
	for _, c := range columns {
		s.add(c, nil, 0, 0, false)
	}
	out.Leaves = s.leaves
	out.write([]byte(magic))
	return out
}

func (w *Writer) write(b []byte) {
	if w.err != nil {
		return
	}
	n, err := w.w.Write(b)
	w.at += int64(n)
	w.err = err
}

// Held is how many bytes of the row group are in memory, about.
func (w *Writer) Held() int { return w.z.held }

// Group ends a row group of as many rows, which every leaf has.
func (w *Writer) Group(rows int) error {
	if rows == 0 {
		return w.err
	}
	var t thrift
	begun := w.at
	t.begin()
	t.list(1, wireStruct, len(w.Leaves))
	raw := int64(0)
	for _, l := range w.Leaves {
		l.page(true)
		w.chunk(&t, l)
		raw += int64(l.raw)
		l.reset()
	}
	t.i64(2, raw)
	t.i64(3, int64(rows))
	t.i64(5, begun)
	t.i64(6, w.at-begun)
	t.end()
	w.groups = append(w.groups, t.b...)
	w.count++
	w.rows += int64(rows)
	w.z.held = 0
	w.err = errors.Join(w.err, w.z.err)
	return w.err
}

// chunk writes a leaf's chunk and describes it.
func (w *Writer) chunk(t *thrift, l *Leaf) {
	dictionaryAt, bloomAt, bloomLen := int64(-1), int64(-1), 0
	d := l.dict
	if d == nil {
		d = l.left
	}
	isDictionary := d != nil && len(d.ends) > 0
	if isDictionary {
		if l.dict != nil && l.kind == Text {
			w.buf = appendBloom(w.buf[:0], d)
			bloomAt, bloomLen = w.at, len(w.buf)
			w.write(w.buf)
		}
		w.buf = l.dictionaryPage(w.buf[:0], d)
		dictionaryAt = w.at
		w.write(w.buf)
	}
	pagesAt := w.at
	w.write(l.pages)
	first := pagesAt
	if isDictionary {
		first = dictionaryAt
	}
	t.begin()
	t.i64(2, first)
	t.open(3)
	t.i32(1, l.kind.physical())
	encodings := []int{encodingRLE}
	if isDictionary {
		encodings = append(encodings, encodingPlainDictionary)
	}
	if l.dict == nil || !isDictionary {
		encodings = append(encodings, encodingPlain)
	}
	t.list(2, wireI32, len(encodings))
	for _, e := range encodings {
		t.item(e)
	}
	t.list(3, wireBinary, len(l.path))
	for _, p := range l.path {
		t.text(p)
	}
	t.i32(4, l.codec)
	t.i64(5, int64(l.values))
	t.i64(6, int64(l.raw))
	t.i64(7, w.at-first)
	t.i64(9, pagesAt)
	if isDictionary {
		t.i64(11, dictionaryAt)
	}
	t.open(12)
	t.i64(3, int64(l.values-l.known))
	if isDictionary && l.dict != nil {
		if lo, hi := d.bounds(l.less); len(lo) <= maxStatistic && len(hi) <= maxStatistic {
			t.bytes(5, hi)
			t.bytes(6, lo)
		}
	}
	t.end()
	if bloomLen > 0 {
		t.i64(14, bloomAt)
		t.i32(15, bloomLen)
	}
	t.end()
	t.end()
}

// Close ends the file with its footer. It does not close what is written to.
func (w *Writer) Close() error {
	t := thrift{b: w.buf[:0]}
	t.begin()
	t.i32(1, 1)
	t.list(2, wireStruct, w.schema.elements)
	t.b = append(t.b, w.schema.t.b...)
	t.i64(3, w.rows)
	t.list(4, wireStruct, w.count)
	t.b = append(t.b, w.groups...)
	t.bytes(6, []byte("spoor"))
	// That bounds are in the order of the columns' types: who is not told does not
	// use them.
	t.list(7, wireStruct, len(w.Leaves))
	for range w.Leaves {
		t.begin()
		t.empty(1)
		t.end()
	}
	t.end()
	n := len(t.b)
	t.b = binary.LittleEndian.AppendUint32(t.b, uint32(n))
	t.b = append(t.b, magic...)
	w.write(t.b)
	return w.err
}
