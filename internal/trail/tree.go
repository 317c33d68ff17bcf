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
func (s *stream) grow(b *kv.Batch, p *plan) error {
	if !p.Listed {
		return nil // in no digest, so proven by nobody
	}
	p.Before = s.Tree.Clone()
	p.Sums = tree.Sums(s.Tree.Size, s.leaves)
	next := s.Tree.Clone()
	if err := next.Extend(uint64(len(s.leaves)), p.Sums); err != nil {
		return err
	}
	s.keepLeaves(b, s.Tree.Size, p.Sums)
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
	signed, err := c.Sign(key.private)
	if err != nil {
		return nil, err
	}
	return &digest.Tree{Before: g.from, Checkpoint: signed, Key: key.public, Announced: key.announced}, nil
}

// checkpointKeyName is the name that a checkpoint key is written with.
func checkpointKeyName(account string) string { return tree.KeyName(account) }

// checkpointRow is a public checkpoint key.
type checkpointRow struct {
	Version int    `json:"version"`
	Key     string `json:"key"` // as tree.VerifierKey writes it
	// Announced are the announcements of the keys so far, the oldest first.
	Announced []string `json:"announced,omitempty"`
}

// checkpointSigner is a checkpoint key in use.
type checkpointSigner struct {
	private   ed25519.PrivateKey
	public    string // as tree.VerifierKey writes it
	announced []string
}

// checkpointSigner is the account's key for checkpoints; the first call makes
// it.
//
// Crash story: both halves are one batch, committed before the first signature.
func (k *keyring) checkpointSigner(account string) (checkpointSigner, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.checkpointLocked(account)
}

func (k *keyring) checkpointLocked(account string) (checkpointSigner, error) {
	if key, ok := k.checkpoint[account]; ok {
		return key, nil
	}
	seed, err := k.cfg.Sealer.Get(k.cfg.Store, checkpointSecretKey(account))
	switch {
	case err == nil && len(seed) == ed25519.SeedSize:
		var row checkpointRow
		if _, err := k.cfg.Store.GetRow(checkpointKeyKey(account), &row, &row.Version, formatVersion); err != nil {
			return checkpointSigner{}, fmt.Errorf("reading the checkpoint key of %s: %w", account, err)
		}
		key, err := newCheckpointSigner(account, ed25519.NewKeyFromSeed(seed), row.Announced)
		if err != nil {
			return key, err
		}
		k.checkpoint[account] = key
		return key, nil
	case err == nil:
		return checkpointSigner{}, fmt.Errorf("the checkpoint key of %s is damaged", account)
	case !errors.Is(err, kv.ErrNotFound):
		return checkpointSigner{}, fmt.Errorf("opening the checkpoint key of %s: %w", account, err)
	}
	key, err := makeCheckpointKey(account, nil)
	if err != nil {
		return key, err
	}
	b := k.cfg.Store.NewBatch()
	k.keepCheckpoint(b, account, key)
	if err := k.cfg.Journal.Commit(b); err != nil {
		return checkpointSigner{}, fmt.Errorf("keeping a new checkpoint key: %w", err)
	}
	k.checkpoint[account] = key
	return key, nil
}

func makeCheckpointKey(account string, announced []string) (checkpointSigner, error) {
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return checkpointSigner{}, fmt.Errorf("making a checkpoint key: %w", err)
	}
	return newCheckpointSigner(account, private, announced)
}

func newCheckpointSigner(account string, private ed25519.PrivateKey, announced []string) (checkpointSigner, error) {
	text, err := tree.VerifierKey(checkpointKeyName(account), private.Public().(ed25519.PublicKey))
	return checkpointSigner{private, text, announced}, err
}

func (k *keyring) keepCheckpoint(b *kv.Batch, account string, key checkpointSigner) {
	b.Set(checkpointKeyKey(account), kv.MustJSON(checkpointRow{formatVersion, key.public, key.announced}))
	k.cfg.Sealer.Put(b, checkpointSecretKey(account), key.private.Seed())
}

// CheckpointKey is the public key that an account's checkpoints are signed
// with, in the signed note format. It makes the key if there is none yet.
func (m *Manager) CheckpointKey(account string) (string, error) {
	key, err := m.keys.checkpointSigner(account)
	return key.public, err
}

// ReadCheckpointKeys returns an account's public checkpoint keys from a store,
// the newest first; none when it has none.
func ReadCheckpointKeys(store *kv.Store, account string) ([]ed25519.PublicKey, error) {
	var row checkpointRow
	found, err := store.GetRow(checkpointKeyKey(account), &row, &row.Version, formatVersion)
	if err != nil || !found {
		return nil, err
	}
	key, err := tree.ParseVerifierKey(row.Key)
	if err != nil {
		return nil, fmt.Errorf("reading the checkpoint key of %s: %w", account, err)
	}
	keys := []ed25519.PublicKey{key}
	for _, text := range slices.Backward(row.Announced) {
		a, err := tree.OpenAnnouncement(text)
		if err != nil {
			return nil, fmt.Errorf("reading the checkpoint keys of %s: %w", account, err)
		}
		keys = append(keys, a.Old)
	}
	return keys, nil
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
	b.Set(checkpointKey(s.f.arn, s.region), kv.MustJSON(checkpointState{formatVersion, p.Number, p.Checkpoint}))
}
