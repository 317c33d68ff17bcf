package tree

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// ErrProof is wrapped by the errors of proofs that cannot be read.
var ErrProof = errors.New("tree: not an inclusion proof")

const (
	proofHead   = "c2sp.org/tlog-proof@v1"
	maxProofLen = 63 // levels of a tree
)

// Proof shows that a record is a leaf of the tree of a signed checkpoint
// (C2SP, tlog-proof).
type Proof struct {
	Index      uint64
	Hashes     []Hash
	Checkpoint string // signed
}

// String is the proof's file.
func (p *Proof) String() string {
	var b strings.Builder
	b.WriteString(proofHead + "\n")
	fmt.Fprintf(&b, "index %d\n", p.Index)
	for _, h := range p.Hashes {
		b.WriteString(base64.StdEncoding.EncodeToString(h[:]) + "\n")
	}
	b.WriteString("\n" + p.Checkpoint)
	return b.String()
}

// ParseProof reads a proof's file.
func ParseProof(text string) (*Proof, error) {
	head, checkpoint, ok := strings.Cut(text, "\n\n")
	lines := strings.Split(head, "\n")
	if !ok || lines[0] != proofHead || len(lines) < 2 || len(checkpoint) > MaxNote {
		return nil, fmt.Errorf("%w: it does not begin with %s, or has no checkpoint", ErrProof, proofHead)
	}
	lines = lines[1:]
	if strings.HasPrefix(lines[0], "extra ") { // opaque, and not ours
		lines = lines[1:]
	}
	if len(lines) == 0 || len(lines) > 1+maxProofLen {
		return nil, fmt.Errorf("%w: %d lines", ErrProof, len(lines))
	}
	number, ok := strings.CutPrefix(lines[0], "index ")
	index, err := strconv.ParseUint(number, 10, 63)
	if !ok || err != nil || strconv.FormatUint(index, 10) != number {
		return nil, fmt.Errorf("%w: the line %q", ErrProof, lines[0])
	}
	p := &Proof{Index: index, Checkpoint: checkpoint}
	for _, l := range lines[1:] {
		h, err := tlog.ParseHash(l)
		if err != nil {
			return nil, fmt.Errorf("%w: the hash %q", ErrProof, l)
		}
		p.Hashes = append(p.Hashes, h)
	}
	return p, nil
}

// Check reports whether the proof holds for a record: nil when it is the leaf
// of that index in the tree of the checkpoint, which one of the keys signed.
func (p *Proof) Check(record []byte, keys []ed25519.PublicKey) (Checkpoint, error) {
	c, err := OpenCheckpoint(p.Checkpoint, keys)
	if err != nil {
		return c, err
	}
	if p.Index >= c.Size {
		return c, fmt.Errorf("the proof is of leaf %d in a tree of %d", p.Index, c.Size)
	}
	if err := tlog.CheckRecord(p.Hashes, int64(c.Size), c.Root, int64(p.Index), LeafHash(record)); err != nil {
		return c, fmt.Errorf("the record is not leaf %d of the tree: %w", p.Index, err)
	}
	return c, nil
}

// Prover collects, while a tree is computed, the subtrees that one leaf's proof
// needs.
type Prover struct {
	size, index uint64
	need        map[int64]bool
	have        map[int64]Hash
}

// NewProver is for a leaf of a tree of the given size.
func NewProver(size, index uint64) (*Prover, error) {
	p := &Prover{size: size, index: index, need: map[int64]bool{}, have: map[int64]Hash{}}
	_, err := tlog.ProveRecord(int64(size), int64(index), tlog.HashReaderFunc(func(indexes []int64) ([]Hash, error) {
		for _, i := range indexes {
			p.need[i] = true
		}
		return make([]Hash, len(indexes)), nil
	}))
	if err != nil {
		return nil, fmt.Errorf("tree: a proof of leaf %d in a tree of %d: %w", index, size, err)
	}
	return p, nil
}

// Made is a Frontier's Made.
func (p *Prover) Made(level int, index uint64, h Hash) {
	if i := tlog.StoredHashIndex(level, int64(index)); p.need[i] {
		p.have[i] = h
	}
}

// Proof is the proof, once the tree was computed.
func (p *Prover) Proof(checkpoint string) (*Proof, error) {
	hashes, err := tlog.ProveRecord(int64(p.size), int64(p.index), tlog.HashReaderFunc(func(indexes []int64) ([]Hash, error) {
		out := make([]Hash, len(indexes))
		for i, x := range indexes {
			h, ok := p.have[x]
			if !ok {
				return nil, errors.New("a part of the tree is not known")
			}
			out[i] = h
		}
		return out, nil
	}))
	if err != nil {
		return nil, fmt.Errorf("tree: a proof of leaf %d in a tree of %d: %w", p.index, p.size, err)
	}
	return &Proof{Index: p.index, Hashes: hashes, Checkpoint: checkpoint}, nil
}
