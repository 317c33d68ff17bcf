// Package pebble keeps CQL rows in the embedded store.
//
// It stands below the statement executor in a call's path: writes go, blind,
// into the call's batch as merge operands and become durable with the call's
// record; reads see the committed state. Conflicts are resolved by timestamp
// when operands merge (last write wins for each cell), so that an INSERT is one
// key and no read.
//
// A key is: space, table id (8 bytes), token (8 bytes, sign flipped), partition
// key (escaped), kind, and for rows the clustering key in its ordered form. So a
// table's partitions are in token order, a partition's rows in clustering order,
// and what holds for a whole partition comes before its rows.
package pebble

import (
	"encoding/binary"
	"sync"

	"spoor/internal/kv"
)

// The kinds of keys in a partition, in their order.
const (
	keyDeletion = 0x01 // the deletion of the whole partition
	keyRanges   = 0x02 // deletions of clustering ranges
	keyStatic   = 0x03
	keyRow      = 0x04
)

const tokenOffset = 1 + 8 // behind space and table id

// AppendTable appends the prefix of all keys of a table.
func AppendTable(dst []byte, table uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, byte(kv.SpaceCQL)), table)
}

// AppendToken appends the prefix of all keys of a table with a token.
func AppendToken(dst []byte, table uint64, token int64) []byte {
	return binary.BigEndian.AppendUint64(AppendTable(dst, table), uint64(token)^1<<63)
}

// AppendPartition appends the prefix of all keys of a partition.
func AppendPartition(dst []byte, table uint64, token int64, key []byte) []byte {
	dst = AppendToken(dst, table, token)
	for _, c := range key {
		dst = append(dst, c)
		if c == 0 {
			dst = append(dst, 0xFF)
		}
	}
	return append(dst, 0, 1)
}

// partitionLen gives the length of the partition prefix of a key; 0 when the key
// is damaged.
func partitionLen(key []byte) int {
	for i := tokenOffset + 8; i+1 < len(key); i++ {
		if key[i] == 0 {
			if key[i+1] == 1 {
				return i + 2
			}
			i++
		}
	}
	return 0
}

// partitionKey gives the partition key of a partition prefix.
func partitionKey(prefix []byte) []byte {
	body := prefix[tokenOffset+8 : len(prefix)-2]
	out := make([]byte, 0, len(body))
	for i := 0; i < len(body); i++ {
		out = append(out, body[i])
		if body[i] == 0 {
			i++
		}
	}
	return out
}

// Writer writes changes of a table's rows to a batch.
type Writer struct {
	Batch      *kv.Batch
	key, value []byte
}

var writers = sync.Pool{New: func() any { return new(Writer) }}

// NewWriter gives a writer to a call's batch; Release gives its memory back.
func NewWriter(b *kv.Batch) *Writer {
	w := writers.Get().(*Writer)
	w.Batch = b
	return w
}

// Release ends the use of w.
func (w *Writer) Release() {
	w.Batch = nil
	writers.Put(w)
}

func (w *Writer) merge(partition []byte, kind byte, clustering []byte, r *Row) {
	w.key = append(append(append(w.key[:0], partition...), kind), clustering...)
	w.value = appendRow(w.value[:0], r)
	w.Batch.Merge(w.key, w.value)
}

// Row merges a change into a row. Its cells must be sorted.
func (w *Writer) Row(partition, clustering []byte, r *Row) { w.merge(partition, keyRow, clustering, r) }

// Static merges a change into a partition's static row.
func (w *Writer) Static(partition []byte, r *Row) { w.merge(partition, keyStatic, nil, r) }

// DeletePartition deletes all of a partition up to a timestamp.
func (w *Writer) DeletePartition(partition []byte, timestamp int64) {
	w.merge(partition, keyDeletion, nil, &Row{Marker: Life{Timestamp: NoTimestamp}, Deleted: timestamp})
}

// DeleteRange deletes the rows from an ordered clustering bound (inclusive) to
// another (exclusive, nil: to the end) up to a timestamp.
func (w *Writer) DeleteRange(partition, from, to []byte, timestamp int64) {
	w.key = append(append(w.key[:0], partition...), keyRanges)
	w.value = appendRanges(w.value[:0], []rangeDeletion{{from: from, to: to, at: timestamp}})
	w.Batch.Merge(w.key, w.value)
}

// DropTable removes all rows of a table for good.
func DropTable(b *kv.Batch, table uint64) {
	prefix := AppendTable(nil, table)
	b.DeleteRange(prefix, kv.PrefixEnd(prefix))
}
