package types

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// Token is the Murmur3Partitioner's token of a partition key: the first half of
// MurmurHash3 x64 128 with seed 0, in the variant of Cassandra, which reads the
// bytes of the last, incomplete block as signed. The least token is not a
// key's; it becomes the greatest.
func Token(key []byte) int64 {
	if t := int64(murmur3(key)); t != math.MinInt64 {
		return t
	}
	return math.MaxInt64
}

const (
	murmurC1 = 0x87c37b91114253d5
	murmurC2 = 0x4cf5ad432745937f
)

func murmur3(key []byte) uint64 {
	var h1, h2 uint64
	n := len(key)
	for ; len(key) >= 16; key = key[16:] {
		k1, k2 := binary.LittleEndian.Uint64(key), binary.LittleEndian.Uint64(key[8:])
		h1 ^= bits.RotateLeft64(k1*murmurC1, 31) * murmurC2
		h1 = (bits.RotateLeft64(h1, 27)+h2)*5 + 0x52dce729
		h2 ^= bits.RotateLeft64(k2*murmurC2, 33) * murmurC1
		h2 = (bits.RotateLeft64(h2, 31)+h1)*5 + 0x38495ab5
	}
	var k1, k2 uint64
	for i, c := range key {
		v := uint64(int64(int8(c)))
		if i < 8 {
			k1 ^= v << (8 * i)
		} else {
			k2 ^= v << (8 * (i - 8))
		}
	}
	h2 ^= bits.RotateLeft64(k2*murmurC2, 33) * murmurC1
	h1 ^= bits.RotateLeft64(k1*murmurC1, 31) * murmurC2
	h1 ^= uint64(n)
	h2 ^= uint64(n)
	h1 += h2
	h2 += h1
	h1, h2 = mix(h1), mix(h2)
	return h1 + h2
}

func mix(h uint64) uint64 {
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// MaxKeyComponent is the longest component of a partition key, in bytes, and of
// a clustering key.
const MaxKeyComponent = math.MaxUint16

// AppendKeyComponent appends a component of a composite partition key: length,
// bytes, and a zero. A key of one component is that component's bytes alone.
func AppendKeyComponent(dst, component []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(component)))
	return append(append(dst, component...), 0)
}

// SplitKey splits a partition key of n components; false when it is damaged.
func SplitKey(key []byte, n int, dst [][]byte) ([][]byte, bool) {
	if n == 1 {
		return append(dst, key), true
	}
	for range n {
		if len(key) < 2 {
			return dst, false
		}
		size := int(binary.BigEndian.Uint16(key))
		if len(key) < size+3 {
			return dst, false
		}
		dst = append(dst, key[2:2+size:2+size])
		key = key[size+3:]
	}
	return dst, len(key) == 0
}
