package trail

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"sort"
	"sync"
	"time"

	"spoor/internal/digest"
	"spoor/internal/kv"
)

const (
	// keyLifetime is how long a key signs. Its public half is kept for ever.
	keyLifetime = 365 * 24 * time.Hour
	// keyLead is how long before its first signature a key begins to be valid.
	// Two trails may ask for a region's first key at once, and the one that
	// made it need not be the one whose digest ends first.
	keyLead = time.Hour
)

// PublicKey is the public half of a region's signing key.
type PublicKey struct {
	Version     int       `json:"version"`
	Fingerprint string    `json:"fingerprint"`
	Value       []byte    `json:"value"` // PKCS #1 DER
	Start       time.Time `json:"start"`
	End         time.Time `json:"end"`
}

// keyring makes and keeps the signing keys, one at a time in each region.
type keyring struct {
	cfg     Config
	mu      sync.Mutex
	current map[string]signingKey // by region
	// checkpoint holds the keys of checkpoints, by account.
	checkpoint map[string]checkpointSigner
}

type signingKey struct {
	PublicKey
	private *rsa.PrivateKey
}

func newKeyring(c Config) *keyring {
	return &keyring{cfg: c, current: map[string]signingKey{}, checkpoint: map[string]checkpointSigner{}}
}

// signer returns the key that signs in a region at a time.
//
// Crash story: a new key's two halves are one batch, committed before the
// first signature is made with it.
func (k *keyring) signer(region string, at time.Time) (signingKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if c, ok := k.current[region]; ok && !at.Before(c.Start) && at.Before(c.End) {
		return c, nil
	}
	known, err := k.list(region)
	if err != nil {
		return signingKey{}, err
	}
	for _, p := range known {
		if at.Before(p.Start) || !at.Before(p.End) {
			continue
		}
		der, err := k.cfg.Sealer.Get(k.cfg.Store, privateKeyKey(region, p.Fingerprint))
		if err != nil {
			return signingKey{}, fmt.Errorf("opening the digest key of %s: %w", region, err)
		}
		private, err := x509.ParsePKCS1PrivateKey(der)
		if err != nil {
			return signingKey{}, fmt.Errorf("reading the digest key of %s: %w", region, err)
		}
		k.current[region] = signingKey{p, private}
		return k.current[region], nil
	}
	return k.create(region, at)
}

func (k *keyring) create(region string, at time.Time) (signingKey, error) {
	p, private, err := newDigestKey(at.UTC().Truncate(time.Second).Add(-keyLead))
	if err != nil {
		return signingKey{}, err
	}
	b := k.cfg.Store.NewBatch()
	k.keepDigestKey(b, region, p, private)
	if err := k.cfg.Journal.Commit(b); err != nil {
		return signingKey{}, fmt.Errorf("keeping a new digest key: %w", err)
	}
	k.current[region] = signingKey{p, private}
	return k.current[region], nil
}

// newDigestKey makes a key that is valid from a time on.
func newDigestKey(start time.Time) (PublicKey, *rsa.PrivateKey, error) {
	private, err := rsa.GenerateKey(rand.Reader, digest.KeyBits)
	if err != nil {
		return PublicKey{}, nil, fmt.Errorf("making a digest key: %w", err)
	}
	der := digest.EncodePublicKey(&private.PublicKey)
	return PublicKey{Version: formatVersion, Fingerprint: digest.Fingerprint(der), Value: der, Start: start, End: start.Add(keyLifetime)}, private, nil
}

func (k *keyring) keepDigestKey(b *kv.Batch, region string, p PublicKey, private *rsa.PrivateKey) {
	b.Set(publicKeyKey(region, p.Fingerprint), kv.MustJSON(p))
	k.cfg.Sealer.Put(b, privateKeyKey(region, p.Fingerprint), x509.MarshalPKCS1PrivateKey(private))
}

// list gives a region's public keys, the oldest first.
func (k *keyring) list(region string) ([]PublicKey, error) {
	return publicKeys(k.cfg.Store, region)
}

// PublicKeys lists the keys that signed in a region at some time in [from, to],
// the oldest first.
func (m *Manager) PublicKeys(region string, from, to time.Time) ([]PublicKey, error) {
	all, err := m.keys.list(region)
	if err != nil {
		return nil, err
	}
	var out []PublicKey
	for _, p := range all {
		if !p.Start.After(to) && p.End.After(from) {
			out = append(out, p)
		}
	}
	return out, nil
}

func sortKeys(keys []PublicKey) {
	sort.Slice(keys, func(i, j int) bool {
		if !keys[i].Start.Equal(keys[j].Start) {
			return keys[i].Start.Before(keys[j].Start)
		}
		return keys[i].Fingerprint < keys[j].Fingerprint
	})
}

// publicKeys reads a region's public keys, the oldest first.
func publicKeys(store *kv.Store, region string) ([]PublicKey, error) {
	prefix := kv.Key(kv.SpaceState, "cloudtrail", "public-key", region)
	var out []PublicKey
	err := store.Scan(prefix, func(_, v []byte) (bool, error) {
		var p PublicKey
		if err := kv.DecodeRow(v, &p, &p.Version, formatVersion); err != nil {
			return false, err
		}
		out = append(out, p)
		return true, nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the digest keys of %s: %w", region, err)
	}
	sortKeys(out)
	return out, nil
}
