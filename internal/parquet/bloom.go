package parquet

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
)

// bloomSalt are the constants of the format's split-block Bloom filter.
var bloomSalt = [8]uint32{0x47b6137b, 0x44974d91, 0x8824ad5b, 0xa2b7289d, 0x705495c7, 0x2df1424b, 0x9efc4947, 0x5c6bfb31}

// appendBloom appends a filter of the dictionary's values, header first: of
// 16 bits a value it takes one in a hundred for one that is there.
func appendBloom(b []byte, d *dictionary) []byte {
	size := 32
	for size*8 < 16*len(d.ends) {
		size *= 2
	}
	t := thrift{b: b}
	t.begin()
	t.i32(1, size)
	for id := int16(2); id <= 4; id++ { // split blocks, xxHash, no compression
		t.open(id)
		t.empty(1)
		t.end()
	}
	t.end()
	b = t.b
	at := len(b)
	b = append(b, make([]byte, size)...)
	bits, blocks := b[at:], uint64(size/32)
	for i := range d.ends {
		h := xxhash.Sum64(d.at(uint32(i)))
		block := bits[(h>>32)*blocks>>32*32:]
		for k, salt := range bloomSalt {
			word := block[4*k:]
			binary.LittleEndian.PutUint32(word, binary.LittleEndian.Uint32(word)|1<<(uint32(h)*salt>>27))
		}
	}
	return b
}
