package history

import (
	"cmp"
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"spoor/internal/kv"
)

// A list is the events of one attribute's value in one week, newest first. It is
// kept in pieces: a key ends in the position of its newest event, its value holds
// the other events of the piece, each as what it is older by: milliseconds, then
// the number (zigzag), both varints. A busy server's events of one commit that
// have a value in common so take one key instead of one each.
//
// A piece lies within one slot of time, so that whoever begins reading at a
// position finds all pieces with older events behind the end of its slot.
const slotMS = 1000

// newer orders events, the newest first.
func (p position) newer(o position) bool {
	return p.ms > o.ms || p.ms == o.ms && p.seq > o.seq
}

// compare is newer for sorting.
func compare(a, b position) int {
	return cmp.Or(cmp.Compare(b.ms, a.ms), cmp.Compare(b.seq, a.seq))
}

// slotEnd is the newest position in p's slot.
func (p position) slotEnd() position {
	return position{p.ms/slotMS*slotMS + slotMS - 1, ^uint64(0)}
}

// lists are what is gathered in memory, by listKey, in the journal's order.
type lists map[string]*[]position

func (l lists) add(key []byte, p position) {
	have := l[string(key)] // does not allocate
	switch {
	case have == nil:
		l[string(key)] = &[]position{p}
	case (*have)[len(*have)-1] != p: // or an event has the value twice
		*have = append(*have, p)
	}
}

// write puts the lists into a batch, each as a piece a slot.
func (l lists) write(b *kv.Batch) {
	var k, v []byte
	var list []position
	for key, gathered := range l {
		list = append(list[:0], *gathered...) // which lookups read
		slices.SortFunc(list, compare)
		for len(list) > 0 {
			n := 1
			for v = v[:0]; n < len(list) && list[n].ms/slotMS == list[0].ms/slotMS; n++ {
				v = binary.AppendUvarint(v, uint64(list[n-1].ms-list[n].ms))
				v = binary.AppendVarint(v, int64(list[n-1].seq-list[n].seq))
			}
			k = append(appendWeek(k[:0], dayOfMS(list[0].ms)/weekDays), key...)
			k = list[0].append(k)
			b.Set(k, v)
			list = list[n:]
		}
	}
}

var errPiece = errors.New("history: a value of the index is damaged")

// piece is a piece that is being read.
type piece struct {
	at   position
	rest []byte
}

// next goes to the next older event; ok is false behind the last one.
func (p *piece) next() (ok bool, err error) {
	if len(p.rest) == 0 {
		return false, nil
	}
	ms, n := binary.Uvarint(p.rest)
	if n <= 0 || ms > uint64(p.at.ms) {
		return false, errPiece
	}
	seq, k := binary.Varint(p.rest[n:])
	if k <= 0 {
		return false, errPiece
	}
	p.at.ms -= int64(ms)
	p.at.seq -= uint64(seq)
	p.rest = p.rest[n+k:]
	return true, nil
}

// pieces is a heap, the piece with the newest event first.
type pieces []piece

func (h pieces) Len() int           { return len(h) }
func (h pieces) Less(i, j int) bool { return h[i].at.newer(h[j].at) }
func (h pieces) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *pieces) Push(x any)        { *h = append(*h, x.(piece)) }
func (h *pieces) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}

// readList calls fn for the events of a list that are not newer than from,
// newest first, until fn returns false. Pieces of different commits may overlap.
func readList(it *pebble.Iterator, prefix []byte, from position, fn func(position) bool) error {
	var open pieces
	seek := from.slotEnd().append(slices.Clone(prefix))
	for ok := it.SeekGE(seek); ; {
		for ok && hasPrefix(it.Key(), prefix) {
			p, err := decodePosition(it.Key()[len(prefix):])
			if err != nil {
				return err
			}
			if len(open) > 0 && !p.newer(open[0].at) {
				break
			}
			v, err := it.ValueAndErr()
			if err != nil {
				return fmt.Errorf("reading event history: %w", err)
			}
			if len(open) == 0 && len(v) == 0 { // an event alone, as most are on a quiet server
				if !p.newer(from) && !fn(p) {
					return nil
				}
			} else {
				heap.Push(&open, piece{p, slices.Clone(v)})
			}
			ok = it.Next()
		}
		if len(open) == 0 {
			return it.Error()
		}
		if at := open[0].at; !at.newer(from) && !fn(at) {
			return nil
		}
		more, err := open[0].next()
		switch {
		case err != nil:
			return err
		case more:
			heap.Fix(&open, 0)
		default:
			heap.Pop(&open)
		}
	}
}
