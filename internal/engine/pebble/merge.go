package pebble

import (
	"bytes"
	"encoding/binary"
	"io"
	"slices"

	engine "github.com/cockroachdb/pebble/v2"
)

// mergerName is stored with every store that is created with Merger.
const mergerName = "spoor.cql.v1"

// Merger resolves the operands of a row by last write wins. It is for
// kv.Options.Merger. The merge is commutative and associative, so it does not
// matter in which order, or in how many steps, the store applies it.
func Merger() *engine.Merger {
	return &engine.Merger{Name: mergerName, Merge: func(_, value []byte) (engine.ValueMerger, error) {
		m := &merger{}
		return m, m.add(value)
	}}
}

type merger struct {
	acc, tmp []byte
	n        int
	a, b, to Row
}

func (m *merger) MergeNewer(value []byte) error { return m.add(value) }
func (m *merger) MergeOlder(value []byte) error { return m.add(value) }

func (m *merger) add(value []byte) error {
	m.n++
	if m.n == 1 {
		m.acc = append(m.acc[:0], value...)
		return nil
	}
	if len(value) == 0 || len(m.acc) == 0 || value[0] != m.acc[0] {
		return errDamaged
	}
	if value[0] == kindRanges {
		a, err := decodeRanges(m.acc)
		if err != nil {
			return err
		}
		b, err := decodeRanges(value)
		if err != nil {
			return err
		}
		m.tmp = appendRanges(m.tmp[:0], mergeRanges(a, b))
	} else {
		if err := decodeRow(m.acc, &m.a); err != nil {
			return err
		}
		if err := decodeRow(value, &m.b); err != nil {
			return err
		}
		mergeRows(&m.to, &m.a, &m.b)
		m.tmp = appendRow(m.tmp[:0], &m.to)
	}
	m.acc, m.tmp = m.tmp, m.acc
	return nil
}

func (m *merger) Finish(bool) ([]byte, io.Closer, error) { return m.acc, nil, nil }

// rangeDeletion deletes the rows from a clustering bound to another, up to a
// timestamp.
type rangeDeletion struct {
	from, to []byte // ordered clustering bounds: from inclusive, to exclusive; nil: unbounded
	at       int64
}

func appendRanges(dst []byte, list []rangeDeletion) []byte {
	dst = append(dst, kindRanges)
	for _, r := range list {
		dst = append(binary.AppendUvarint(dst, uint64(len(r.from))), r.from...)
		dst = append(binary.AppendUvarint(dst, uint64(len(r.to))), r.to...)
		dst = binary.BigEndian.AppendUint64(dst, uint64(r.at))
	}
	return dst
}

func decodeRanges(b []byte) ([]rangeDeletion, error) {
	if len(b) == 0 || b[0] != kindRanges {
		return nil, errDamaged
	}
	var list []rangeDeletion
	d := decoder{b: b[1:]}
	for len(d.b) > 0 {
		r := rangeDeletion{from: d.bytes(), to: d.bytes()}
		if d.bad || len(d.b) < 8 {
			return nil, errDamaged
		}
		r.at = int64(binary.BigEndian.Uint64(d.b))
		d.b = d.b[8:]
		list = append(list, r)
	}
	return list, nil
}

// mergeRanges is the union, without those that another one covers.
func mergeRanges(a, b []rangeDeletion) []rangeDeletion {
	all := append(append([]rangeDeletion(nil), a...), b...)
	slices.SortFunc(all, func(x, y rangeDeletion) int {
		if c := bytes.Compare(x.from, y.from); c != 0 {
			return c
		}
		if c := compareEnds(y.to, x.to); c != 0 {
			return c
		}
		return boolInt(x.at < y.at) - boolInt(x.at > y.at)
	})
	var out []rangeDeletion
	for _, r := range all {
		if !slices.ContainsFunc(out, func(o rangeDeletion) bool {
			return o.at >= r.at && bytes.Compare(o.from, r.from) <= 0 && compareEnds(o.to, r.to) >= 0
		}) {
			out = append(out, r)
		}
	}
	return out
}

// compareEnds orders exclusive ends; an empty one is after all others.
func compareEnds(a, b []byte) int {
	if len(a) == 0 || len(b) == 0 {
		return boolInt(len(a) == 0) - boolInt(len(b) == 0)
	}
	return bytes.Compare(a, b)
}

// deletedAt is the latest deletion that covers a clustering key.
func deletedAt(list []rangeDeletion, clustering []byte) int64 {
	at := int64(NoTimestamp)
	for _, r := range list {
		if bytes.Compare(r.from, clustering) <= 0 && (len(r.to) == 0 || bytes.Compare(clustering, r.to) < 0) {
			at = max(at, r.at)
		}
	}
	return at
}
