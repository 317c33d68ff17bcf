package trail

import (
	"time"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/kv"
	"spoor/internal/tree"
)

// Rotation of keys. Both kinds are renewed by a call, in the batch of its
// record, and signatures made before stay good: the keys' public halves are
// kept.

// maxAnnounced is how many checkpoint keys may follow each other: every digest
// carries the announcements.
const maxAnnounced = 64

// RotateCheckpointKey gives an account a new key for checkpoints and returns
// its public half. The old key announces the new one, which every digest from
// then on carries; then the old one is forgotten.
//
// Crash story: the new key, its announcement and the end of the old key are one
// batch with the call's record. A checkpoint that is being signed meanwhile has
// the old key, and the next one of its trail the new.
func (m *Manager) RotateCheckpointKey(c *call.Call) (string, error) {
	k := m.keys
	c.Tx.Lock(&k.mu)
	old, err := k.checkpointLocked(c.AccountID)
	if err != nil {
		return "", err
	}
	if len(old.announced) >= maxAnnounced {
		return "", aws.NewError(aws.LimitExceeded, "LimitExceededException", "The account's checkpoint key has been rotated 64 times, which is as often as digests can tell.")
	}
	key, err := makeCheckpointKey(c.AccountID, nil)
	if err != nil {
		return "", err
	}
	text, err := tree.Announce(checkpointKeyName(c.AccountID), old.private, key.private, m.cfg.Now())
	if err != nil {
		return "", err
	}
	key.announced = append(append([]string{}, old.announced...), text)
	k.keepCheckpoint(c.Tx.Batch(), c.AccountID, key)
	c.Tx.OnCommit(func() { k.checkpoint[c.AccountID] = key })
	return key.public, nil
}

// RotateDigestKey ends the key that signs a region's digests and makes the next
// one, which it returns. ListPublicKeys goes on to show the old one, with the
// time to which it signed.
//
// Crash story: the old key's end and the new key's halves are one batch with the
// call's record.
func (m *Manager) RotateDigestKey(c *call.Call, region string) (PublicKey, error) {
	k := m.keys
	c.Tx.Lock(&k.mu)
	// A digest's time is cut to the second, so one that is being made with the
	// old key is of before this.
	now := m.cfg.Now().UTC().Truncate(time.Second).Add(time.Second)
	known, err := k.list(region)
	if err != nil {
		return PublicKey{}, err
	}
	for _, p := range known {
		if p.End.After(now) {
			p.End = now
			if p.Start.After(now) {
				p.Start = now
			}
			c.Tx.Set(publicKeyKey(region, p.Fingerprint), kv.MustJSON(p))
		}
	}
	next, private, err := newDigestKey(now)
	if err != nil {
		return PublicKey{}, err
	}
	k.keepDigestKey(c.Tx.Batch(), region, next, private)
	c.Tx.OnCommit(func() { delete(k.current, region) }) // the store says which key it is at each time
	return next, nil
}
