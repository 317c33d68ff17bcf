package journal

import (
	"errors"
	"sync"

	"spoor/internal/record"
)

// recentBytes bounds the records that are kept in memory for the readers, in
// bytes: some seconds of a busy server, which is more than readers lag.
const recentBytes = 16 << 20

// recent is the journal's end in memory. Event history, delivery and the tail
// all follow closely; without it each of them would read every record back
// from the store and decompress it again.
//
// It holds what is durable only, without gaps: the finisher adds a group
// after its sync.
type recent struct {
	mu    sync.Mutex
	first uint64 // sequence number of items[0]
	items []recentItem
	bytes int
	limit int
}

type recentItem struct {
	streamSeq uint64
	data      []byte // record.AppendEntry's output; never changed
}

// add appends a committed group that begins at seq.
func (r *recent) add(seq uint64, group []recentItem) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.items) == 0 {
		r.first = seq
	}
	r.items = append(r.items, group...)
	for _, x := range group {
		r.bytes += len(x.data)
	}
	n := 0
	for r.bytes > r.limit && n < len(r.items) {
		r.bytes -= len(r.items[n].data)
		r.items[n] = recentItem{}
		n++
	}
	r.items = r.items[n:]
	r.first += uint64(n)
}

// drop forgets the records up to and including seq.
func (r *recent) drop(seq uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.items) > 0 && r.first <= seq {
		r.bytes -= len(r.items[0].data)
		r.items[0] = recentItem{}
		r.items = r.items[1:]
		r.first++
	}
}

// copyTo copies the records after a number into dst and returns how many. When
// that one is not in memory, n is 0 and begin is the first that is, or 0.
func (r *recent) copyTo(dst []recentItem, after uint64) (n int, begin uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.items) == 0 {
		return 0, 0
	}
	if after+1 < r.first {
		return 0, r.first
	}
	at := after + 1 - r.first
	if at >= uint64(len(r.items)) {
		return 0, 0
	}
	return copy(dst, r.items[at:]), r.first
}

// read calls fn for the records in (after, to] that are in memory. It returns
// how far it came and, when it stopped for want of a record, the first one in
// memory after it (0: none).
func (r *recent) read(after, to uint64, fn func(Item) (bool, error)) (at, begin uint64, more bool, err error) {
	var chunk [64]recentItem
	for after < to {
		n, begin := r.copyTo(chunk[:min(uint64(len(chunk)), to-after)], after)
		if n == 0 {
			return after, begin, true, nil
		}
		for _, x := range chunk[:n] {
			it, err := x.item(after + 1)
			if err != nil {
				return after, 0, false, err
			}
			after++
			if more, err := fn(it); err != nil || !more {
				return after, 0, false, err
			}
		}
	}
	return after, 0, true, nil
}

func (x *recentItem) item(seq uint64) (Item, error) {
	e, err := record.DecodeEntry(x.data)
	if err != nil {
		return Item{}, errors.Join(err, record.ErrDamaged)
	}
	return Item{Seq: seq, StreamSeq: x.streamSeq, Entry: e}, nil
}

// get is one record, if it is in memory.
func (r *recent) get(seq uint64) (recentItem, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if seq < r.first || seq-r.first >= uint64(len(r.items)) {
		return recentItem{}, false
	}
	return r.items[seq-r.first], true
}
