package journal

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/klauspost/compress/s2"

	"spoor/internal/kv"
	"spoor/internal/record"
)

// Records that are committed together stand together: a block holds up to
// blockBytes of them, compressed, under the first one's sequence number. The
// store's log, its memory and its tables then carry a sixth of the bytes, and
// one key instead of some twenty. A record that is alone in its commit, or
// large, has a key and a value of its own, as has each of a store that an
// earlier build wrote:
//
//	one record:  stream's number (uvarint, from 1), record.AppendEntry's output
//	a block:     0, how many (uvarint, from 2), S2 of: for each record the stream's number (uvarint), the length (uvarint) and the output
//
// A block is one value of one batch, so it is on disk whole or not at all.

// blockBytes bounds a block before compression. To read one record costs the
// decompression of its block, some 10 us; with half the size records take a
// quarter more space.
const blockBytes = 32 << 10

// blockMark is the first byte of a block's value; no stream's number is 0.
const blockMark = 0

// maxBlockBytes bounds what a reader takes for a block's size; a writer's are
// smaller.
const maxBlockBytes = 2 * blockBytes

// blockWriter collects a group's records into a batch. Its memory is used again
// for the next group.
type blockWriter struct {
	raw, packed, key []byte
	n                int
	first            uint64 // sequence number of the first record collected
	streamSeq        uint64 // of the first one
	data             []byte // of the first one
}

// add takes the record after the last one.
func (w *blockWriter) add(b *pebble.Batch, seq, streamSeq uint64, data []byte) error {
	if w.n > 0 && len(w.raw)+len(data)+2*binary.MaxVarintLen64 > blockBytes {
		if err := w.flush(b); err != nil {
			return err
		}
	}
	if w.n == 0 {
		w.first, w.streamSeq, w.data = seq, streamSeq, data
	}
	w.n++
	if w.n == 1 && len(data) > blockBytes {
		return w.flush(b)
	}
	w.raw = binary.AppendUvarint(w.raw, streamSeq)
	w.raw = binary.AppendUvarint(w.raw, uint64(len(data)))
	w.raw = append(w.raw, data...)
	return nil
}

// flush writes what was collected, if anything.
func (w *blockWriter) flush(b *pebble.Batch) error {
	if w.n == 0 {
		return nil
	}
	w.key = appendKey(w.key[:0], w.first)
	n, raw := w.n, w.raw
	w.n, w.raw = 0, w.raw[:0]
	if n == 1 {
		err := setEntry(b, w.key, w.streamSeq, w.data)
		w.data = nil
		return err
	}
	w.data = nil
	if most := s2.MaxEncodedLen(blockBytes); cap(w.packed) < most {
		w.packed = make([]byte, most)
	}
	packed := s2.Encode(w.packed[:cap(w.packed)], raw)
	var head [1 + binary.MaxVarintLen64]byte
	head[0] = blockMark
	k := 1 + binary.PutUvarint(head[1:], uint64(n))
	op := b.SetDeferred(len(w.key), k+len(packed))
	copy(op.Key, w.key)
	copy(op.Value[copy(op.Value, head[:k]):], packed)
	return op.Finish()
}

// setEntry writes a record into a batch without an intermediate copy.
func setEntry(b *pebble.Batch, key []byte, streamSeq uint64, data []byte) error {
	var head [binary.MaxVarintLen64]byte
	n := binary.PutUvarint(head[:], streamSeq)
	op := b.SetDeferred(len(key), n+len(data))
	copy(op.Key, key)
	copy(op.Value[copy(op.Value, head[:n]):], data)
	return op.Finish()
}

// keySeq is the sequence number in a key.
func keySeq(k []byte) (uint64, error) {
	if len(k) != 9 {
		return 0, fmt.Errorf("%w: a key of the journal has %d bytes", record.ErrDamaged, len(k))
	}
	return binary.BigEndian.Uint64(k[1:]), nil
}

// span is the first and the last sequence number of a key's records.
func span(k, v []byte) (first, last uint64, err error) {
	if first, err = keySeq(k); err != nil {
		return 0, 0, err
	}
	if len(v) == 0 || v[0] != blockMark {
		return first, first, nil
	}
	n, w := binary.Uvarint(v[1:])
	if w <= 0 || n < 2 || n > maxBlockBytes || first+n-1 < first {
		return 0, 0, fmt.Errorf("%w: the block of record %d", record.ErrDamaged, first)
	}
	return first, first + n - 1, nil
}

// block are the records of a key, read one after the other.
type block struct {
	rest      []byte
	next      uint64 // sequence number
	last      uint64
	single    bool
	streamSeq uint64 // of the record that was read last
	data      []byte // of it; a part of what open was given, or of buf
}

// open begins to read a key's records and returns the buffer for the next
// block: buf, or a larger one. What next gives lies in v and in that buffer.
func (b *block) open(k, v, buf []byte) ([]byte, error) {
	first, last, err := span(k, v)
	if err != nil {
		return buf, err
	}
	*b = block{next: first, last: last, single: first == last, rest: v}
	if b.single {
		return buf, nil
	}
	_, w := binary.Uvarint(v[1:])
	packed := v[1+w:]
	if n, err := s2.DecodedLen(packed); err != nil || n > maxBlockBytes {
		return buf, fmt.Errorf("%w: the block of record %d", record.ErrDamaged, first)
	}
	out, err := s2.Decode(buf[:cap(buf)], packed)
	if err != nil {
		return buf, fmt.Errorf("%w: the block of record %d: %w", record.ErrDamaged, first, err)
	}
	b.rest = out
	return out, nil
}

// read reads the next record; ok is false after the last one.
func (b *block) read() (ok bool, err error) {
	if b.next > b.last {
		if len(b.rest) > 0 {
			return false, b.damaged()
		}
		return false, nil
	}
	var w int
	if b.streamSeq, w = binary.Uvarint(b.rest); w <= 0 || b.streamSeq == 0 {
		return false, b.damaged()
	}
	b.rest = b.rest[w:]
	n := uint64(len(b.rest))
	if !b.single {
		if n, w = binary.Uvarint(b.rest); w <= 0 || n > uint64(len(b.rest)-w) {
			return false, b.damaged()
		}
		b.rest = b.rest[w:]
	}
	b.data, b.rest = b.rest[:n:n], b.rest[n:]
	b.next++
	return true, nil
}

func (b *block) damaged() error {
	return fmt.Errorf("%w: the block of records up to %d, at record %d", record.ErrDamaged, b.last, b.next)
}

// item is the record that was read last.
func (b *block) item() (Item, error) {
	e, err := record.DecodeEntry(b.data)
	if err != nil {
		return Item{}, fmt.Errorf("record %d: %w", b.next-1, err)
	}
	return Item{Seq: b.next - 1, StreamSeq: b.streamSeq, Entry: e}, nil
}

// records iterates over the journal's keys up to and including a number.
func records(store *kv.Store, to uint64) (*pebble.Iterator, error) {
	upper := appendKey(nil, to+1)
	if to == ^uint64(0) {
		upper = []byte{byte(kv.SpaceJournal) + 1}
	}
	it, err := store.DB().NewIter(&pebble.IterOptions{LowerBound: appendKey(nil, 0), UpperBound: upper})
	if err != nil {
		return nil, fmt.Errorf("reading the journal: %w", err)
	}
	return it, nil
}

// seek moves an iterator to the key that holds a record, or to the first one
// after it where none does.
func seek(it *pebble.Iterator, seq uint64) (bool, error) {
	at := it.SeekLT(appendKey(nil, seq+1))
	if !at {
		return it.First(), it.Error()
	}
	v, err := it.ValueAndErr()
	if err != nil {
		return false, fmt.Errorf("reading the journal: %w", err)
	}
	_, last, err := span(it.Key(), v)
	if err != nil {
		return false, err
	}
	if last < seq {
		at = it.Next()
	}
	return at, it.Error()
}

// holding is the span of the key that holds a record; ok is false when none
// does.
func holding(store *kv.Store, seq uint64) (first, last uint64, ok bool, err error) {
	it, err := records(store, seq)
	if err != nil {
		return 0, 0, false, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	if ok, err = seek(it, seq); err != nil || !ok {
		return 0, 0, false, err
	}
	v, err := it.ValueAndErr()
	if err != nil {
		return 0, 0, false, fmt.Errorf("reading the journal: %w", err)
	}
	first, last, err = span(it.Key(), v)
	return first, last, err == nil && first <= seq && seq <= last, err
}
