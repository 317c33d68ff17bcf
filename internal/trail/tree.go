package trail

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"

	"spoor/internal/digest"
	"spoor/internal/kv"
	"spoor/internal/tree"
)

// The Merkle tree of a trail in a region.
//
// Its leaves are the records of the log files that go into digests, in the
// order of the files, which is that of the records' numbers in account and
// region. A tree over all records of the account and region would not need the
// trail, but could not be computed from the bucket: a verifier would have to be
// given the hashes of what the trail does not select.
//
// Invariant: the stream's Tree is the tree over all planned files, the chain's
// Tree that over the files of all digests. The first grows in the batch that
// plans a file, the second in the one that plans a digest, so that neither can
// be ahead of, or behind, what will be delivered. What is only in memory, the
// hashes of the file that collects, is read again from the journal with its
// records after a crash, and comes out the same.

// grow adds the file that is being closed to the tree.
func (s *stream) grow(p *plan) error {
	if !p.Listed {
		return nil // in no digest, so proven by nobody
	}
	p.Before = s.Tree.Clone()
	p.Sums = tree.Sums(s.Tree.Size, s.leaves)
	next := s.Tree.Clone()
	if err := next.Extend(uint64(len(s.leaves)), p.Sums); err != nil {
		return err
	}
	s.Tree = next
	return nil
}

// growth is the tree along the files of one digest.
type growth struct{ from, at tree.Frontier }

func newGrowth(from tree.Frontier) *growth { return &growth{from.Clone(), from.Clone()} }

// file adds a listed file.
func (g *growth) file(p *plan) (*digest.Leaves, error) {
	l := &digest.Leaves{First: p.Before.Size, Sums: p.Sums}
	if !p.Before.Equal(&g.at) { // a file before it was given up
		l.Before = slices.Clone(p.Before.Hashes)
		g.at = p.Before.Clone()
	}
	return l, g.at.Extend(uint64(p.Count), p.Sums)
}

// checkpoint signs the tree after a digest's files.
func (s *stream) checkpoint(g *growth) (*digest.Tree, error) {
	key, err := s.f.m.keys.checkpointSigner(s.f.account)
	if err != nil {
		return nil, err
	}
	c := tree.Checkpoint{Origin: tree.Origin(s.f.account, s.f.home, s.f.name, s.region), Size: g.at.Size, Root: g.at.Root()}
	signed, err := c.Sign(key)
	if err != nil {
		return nil, err
	}
	public, err := tree.VerifierKey(checkpointKeyName(s.f.account), key.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, err
	}
	return &digest.Tree{Before: g.from, Checkpoint: signed, Key: public}, nil
}

// checkpointKeyName is the name that a checkpoint key is written with.
func checkpointKeyName(account string) string { return "spoor/" + account }

// checkpointRow is a public checkpoint key.
type checkpointRow struct {
	Version int    `json:"version"`
	Key     string `json:"key"` // as tree.VerifierKey writes it
}

// checkpointSigner is the account's key for checkpoints; the first call makes
// it.
//
// Crash story: both halves are one batch, committed before the first signature.
func (k *keyring) checkpointSigner(account string) (ed25519.PrivateKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if key, ok := k.checkpoint[account]; ok {
		return key, nil
	}
	seed, err := k.cfg.Sealer.Get(k.cfg.Store, checkpointSecretKey(account))
	switch {
	case err == nil && len(seed) == ed25519.SeedSize:
		k.checkpoint[account] = ed25519.NewKeyFromSeed(seed)
		return k.checkpoint[account], nil
	case err == nil:
		return nil, fmt.Errorf("the checkpoint key of %s is damaged", account)
	case !errors.Is(err, kv.ErrNotFound):
		return nil, fmt.Errorf("opening the checkpoint key of %s: %w", account, err)
	}
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, fmt.Errorf("making a checkpoint key: %w", err)
	}
	text, err := tree.VerifierKey(checkpointKeyName(account), public)
	if err != nil {
		return nil, err
	}
	b := k.cfg.Store.NewBatch()
	b.Set(checkpointKeyKey(account), mustJSON(checkpointRow{formatVersion, text}))
	k.cfg.Sealer.Put(b, checkpointSecretKey(account), key.Seed())
	if err := k.cfg.Journal.Commit(b); err != nil {
		return nil, fmt.Errorf("keeping a new checkpoint key: %w", err)
	}
	k.checkpoint[account] = key
	return key, nil
}

// CheckpointKey is the public key that an account's checkpoints are signed
// with, in the signed note format. It makes the key if there is none yet.
func (m *Manager) CheckpointKey(account string) (string, error) {
	key, err := m.keys.checkpointSigner(account)
	if err != nil {
		return "", err
	}
	return tree.VerifierKey(checkpointKeyName(account), key.Public().(ed25519.PublicKey))
}

// ReadCheckpointKey returns an account's public checkpoint key from a store, ""
// when it has none.
func ReadCheckpointKey(store *kv.Store, account string) (string, error) {
	var row checkpointRow
	if _, err := getJSON(store, checkpointKeyKey(account), &row, &row.Version); err != nil {
		return "", fmt.Errorf("reading the checkpoint key of %s: %w", account, err)
	}
	return row.Key, nil
}

// checkpointState is the newest checkpoint of a trail in a region.
type checkpointState struct {
	Version int    `json:"version"`
	Number  uint64 `json:"number"` // of its digest
	Signed  string `json:"signed"`
}

// announce notes a delivered digest's checkpoint, for the places outside too,
// in the batch that confirms the delivery.
func (s *stream) announce(b *kv.Batch, p *plan) {
	s.DeliveredCheckpoint = p.Checkpoint
	b.Set(checkpointKey(s.f.arn, s.region), mustJSON(checkpointState{formatVersion, p.Number, p.Checkpoint}))
}
