package parquet

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
)

// When a column's values are too many for a dictionary to pay.
const (
	dictionaryMax   = 8192
	dictionaryBytes = 1 << 20
	dictionaryTrial = 2048 // values after which half of them must be known ones
)

// dictionary are the values of a column, each once, as PLAIN writes them.
type dictionary struct {
	fixed int // bytes of a value; 0: each has its own length before it
	seed  maphash.Seed
	table []uint32 // entry + 1 by hash; 0: free
	ends  []uint32 // of the entries in plain
	plain []byte
}

func newDictionary(fixed int) *dictionary {
	return &dictionary{fixed: fixed, seed: maphash.MakeSeed(), table: make([]uint32, 64)}
}

func (d *dictionary) at(i uint32) []byte {
	from := uint32(0)
	if i > 0 {
		from = d.ends[i-1]
	}
	if d.fixed == 0 {
		from += 4
	}
	return d.plain[from:d.ends[i]]
}

// find gives a value's entry and makes it if need be.
func (d *dictionary) find(v []byte) uint32 {
	mask := uint64(len(d.table) - 1)
	h := maphash.Bytes(d.seed, v) & mask
	for ; d.table[h] != 0; h = (h + 1) & mask {
		if i := d.table[h] - 1; bytes.Equal(d.at(i), v) {
			return i
		}
	}
	if d.fixed == 0 {
		d.plain = binary.LittleEndian.AppendUint32(d.plain, uint32(len(v)))
	}
	d.plain = append(d.plain, v...)
	d.ends = append(d.ends, uint32(len(d.plain)))
	d.table[h] = uint32(len(d.ends))
	if 2*len(d.ends) > len(d.table) {
		d.grow()
	}
	return uint32(len(d.ends) - 1)
}

func (d *dictionary) grow() {
	d.table = make([]uint32, 2*len(d.table))
	mask := uint64(len(d.table) - 1)
	for i := range d.ends {
		h := maphash.Bytes(d.seed, d.at(uint32(i))) & mask
		for d.table[h] != 0 {
			h = (h + 1) & mask
		}
		d.table[h] = uint32(i) + 1
	}
}

func (d *dictionary) reset() {
	clear(d.table)
	d.ends, d.plain = d.ends[:0], d.plain[:0]
}

// pays reports whether the dictionary is still worth it for present values. That
// of numbers always is: it is small, and gives bounds.
func (d *dictionary) pays(present int) bool {
	n := len(d.ends)
	return d.fixed > 0 || n <= dictionaryMax && len(d.plain) <= dictionaryBytes && (present < dictionaryTrial || 2*n < present)
}

// bounds are the smallest and the largest value.
func (d *dictionary) bounds(less func(a, b []byte) bool) (lo, hi []byte) {
	for i := range d.ends {
		v := d.at(uint32(i))
		if i == 0 || less(v, lo) {
			lo = v
		}
		if i == 0 || less(hi, v) {
			hi = v
		}
	}
	return lo, hi
}
