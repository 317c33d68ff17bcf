// Package tree is the Merkle tree over a trail's records: RFC 6962's hashing,
// C2SP's signed checkpoints and inclusion proofs.
//
// A tree belongs to one trail and region. Its leaves are the records of the log
// files that digests list, as their bytes stand in the file, in the order in
// which they were delivered, which is that of their sequence numbers. So the
// bucket alone determines the tree: whoever has the log files can compute it
// again, and whoever has a checkpoint can hold them to it.
//
// The package is pure. Delivery grows a Frontier with it, the verifier computes
// the same again.
package tree

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

// Hash is SHA-256, base64 in JSON.
type Hash = tlog.Hash

// LeafHash is a record's hash.
func LeafHash(record []byte) Hash { return tlog.RecordHash(record) }

// Hasher hashes many records, without a copy of each. It serves one goroutine.
type Hasher struct{ h hash.Hash }

// NewHasher makes a Hasher.
func NewHasher() *Hasher { return &Hasher{sha256.New()} }

// leafPrefix keeps leaves and inner nodes apart (RFC 6962, section 2.1).
var leafPrefix = []byte{0}

// Leaf is LeafHash.
func (s *Hasher) Leaf(record []byte) (out Hash) {
	s.h.Reset()
	s.h.Write(leafPrefix) // never fails (hash.Hash)
	s.h.Write(record)
	s.h.Sum(out[:0])
	return out
}

// Frontier is a tree of which only the right edge is known: the hashes of its
// complete subtrees, from the largest, which is the leftmost, on. It is all
// that is needed to append.
type Frontier struct {
	Size   uint64 `json:"size"`
	Hashes []Hash `json:"hashes,omitempty"`
	// Made, if set, is told of each complete subtree that Append makes or is
	// given: the leaves [index<<level, (index+1)<<level).
	Made func(level int, index uint64, h Hash) `json:"-"`
}

// Valid reports whether the hashes are as many as the size needs.
func (f *Frontier) Valid() bool { return len(f.Hashes) == bits.OnesCount64(f.Size) }

// Clone is a copy that shares nothing but Made.
func (f *Frontier) Clone() Frontier {
	return Frontier{Size: f.Size, Hashes: append([]Hash(nil), f.Hashes...), Made: f.Made}
}

// Equal reports whether two frontiers are of the same tree.
func (f *Frontier) Equal(g *Frontier) bool {
	if f.Size != g.Size || len(f.Hashes) != len(g.Hashes) {
		return false
	}
	for i := range f.Hashes {
		if f.Hashes[i] != g.Hashes[i] {
			return false
		}
	}
	return true
}

// Append adds a complete subtree of 1<<level leaves. The size must be a
// multiple of that.
func (f *Frontier) Append(level int, h Hash) error {
	if f.Size&(1<<level-1) != 0 || level >= 63 {
		return fmt.Errorf("tree: a subtree of 2^%d leaves does not begin at leaf %d", level, f.Size)
	}
	index := f.Size >> level
	if f.Made != nil {
		f.Made(level, index, h)
	}
	f.Size += 1 << level
	for index&1 == 1 {
		h = tlog.NodeHash(f.Hashes[len(f.Hashes)-1], h)
		f.Hashes = f.Hashes[:len(f.Hashes)-1]
		level, index = level+1, index>>1
		if f.Made != nil {
			f.Made(level, index, h)
		}
	}
	f.Hashes = append(f.Hashes, h)
	return nil
}

// Subtree is Append of the i-th leaf of a complete subtree that begins at the
// frontier's size, for a frontier that knows nothing to its left: Made is told
// of the subtrees within.
func (f *Frontier) Subtree(i uint64, leaf Hash) error {
	if i == 0 {
		f.Hashes = f.Hashes[:0]
	}
	first := f.Size - i
	level, index := 0, i
	h := leaf
	if f.Made != nil {
		f.Made(0, f.Size, h)
	}
	for index&1 == 1 {
		if len(f.Hashes) == 0 {
			return fmt.Errorf("tree: leaf %d of a subtree is not the next one", i)
		}
		h = tlog.NodeHash(f.Hashes[len(f.Hashes)-1], h)
		f.Hashes = f.Hashes[:len(f.Hashes)-1]
		level, index = level+1, index>>1
		if f.Made != nil {
			f.Made(level, (first+i)>>level, h)
		}
	}
	f.Hashes = append(f.Hashes, h)
	f.Size++
	return nil
}

// Tell calls Made for the subtrees that the frontier holds.
func (f *Frontier) Tell() {
	at := uint64(0)
	for i, h := range f.Hashes {
		level := nth(f.Size, i)
		f.Made(level, at>>level, h)
		at += 1 << level
	}
}

// nth is the place of the i-th set bit of n, from the highest on.
func nth(n uint64, i int) int {
	for ; ; i-- {
		level := bits.Len64(n) - 1
		if i == 0 {
			return level
		}
		n &^= 1 << level
	}
}

// Root is the tree's hash (RFC 6962, section 2.1).
func (f *Frontier) Root() Hash {
	if f.Size == 0 {
		return tlog.Hash(emptyRoot)
	}
	h := f.Hashes[len(f.Hashes)-1]
	for i := len(f.Hashes) - 2; i >= 0; i-- {
		h = tlog.NodeHash(f.Hashes[i], h)
	}
	return h
}

// emptyRoot is SHA-256 of nothing.
var emptyRoot = [32]byte{0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
	0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55}

// maxBlocks is how many blocks a run of leaves is split into, besides its
// edges: few enough to be carried along, enough to tell which of its records
// were tampered with.
const maxBlocks = 32

// Block is a complete subtree: the leaves [First, First+1<<Level).
type Block struct {
	First uint64
	Level int
}

// Len is the number of leaves.
func (b Block) Len() uint64 { return 1 << b.Level }

// Blocks splits the leaves [first, first+count) into complete subtrees, from
// left to right. The split depends on nothing but the two numbers; of a short
// run every block is one leaf.
func Blocks(first, count uint64) []Block {
	limit := max(0, bits.Len64(count/maxBlocks))
	if count <= maxBlocks {
		limit = 0
	}
	var out []Block
	for end := first + count; first < end; {
		level := min(limit, bits.Len64(end-first)-1)
		if first != 0 {
			level = min(level, bits.TrailingZeros64(first))
		}
		out = append(out, Block{first, level})
		first += 1 << level
	}
	return out
}

// Sum is the hash of a complete subtree over leaves, whose number must be a
// power of two. It uses leaves for its work.
func Sum(leaves []Hash) Hash {
	for n := len(leaves); n > 1; n /= 2 {
		for i := range n / 2 {
			leaves[i] = tlog.NodeHash(leaves[2*i], leaves[2*i+1])
		}
	}
	return leaves[0]
}

// Sums gives the hash of each block of a run of leaves that begins at first.
func Sums(first uint64, leaves []Hash) []Hash {
	blocks := Blocks(first, uint64(len(leaves)))
	out := make([]Hash, len(blocks))
	work := make([]Hash, 0, 64)
	for i, b := range blocks {
		at := b.First - first
		work = append(work[:0], leaves[at:at+b.Len()]...)
		out[i] = Sum(work)
	}
	return out
}

// Extend appends a run of count leaves whose blocks have the given sums.
func (f *Frontier) Extend(count uint64, sums []Hash) error {
	blocks := Blocks(f.Size, count)
	if len(blocks) != len(sums) {
		return fmt.Errorf("tree: %d leaves from %d on have %d blocks, not %d", count, f.Size, len(blocks), len(sums))
	}
	for i, b := range blocks {
		if err := f.Append(b.Level, sums[i]); err != nil {
			return err
		}
	}
	return nil
}
