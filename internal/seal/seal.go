// Package seal keeps secrets at rest: access keys, signing keys and session
// tokens leave memory only under authenticated encryption.
//
// It stands beside the store. Whoever owns a secret seals it under the name of
// the place it is kept in, so that a sealed value that is moved elsewhere does
// not open. What lies in kv.SpaceSecret is named by its own key, which lets
// Rewrap move all of it to a new master key without knowing what it is.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"errors"
	"fmt"

	"spoor/internal/kv"
)

// KeySize is the length of a master key in bytes: AES-256.
const KeySize = 32

// A sealed value is: format version, id of the master key, then AES-256-GCM's
// random 96-bit nonce, ciphertext and tag. With random nonces one key serves
// for 2^32 values (NIST SP 800-38D, 8.3), which Rotate renews.
const (
	version  = 1
	idSize   = 8
	overhead = 1 + idSize + 12 + 16
)

var (
	// ErrDamaged answers a value that is not a sealed one, was changed, or was
	// sealed under another name.
	ErrDamaged = errors.New("seal: the value is damaged or was sealed for another place")
	// ErrUnknownKey answers a value sealed with a master key that the key file
	// does not hold.
	ErrUnknownKey = errors.New("seal: the value was sealed with a master key that is not in the key file")
)

type keyID [idSize]byte

// Sealer seals with the newest master key and opens with any that it holds. It
// is safe for concurrent use.
type Sealer struct {
	current keyID
	aeads   map[keyID]cipher.AEAD
}

// New makes a Sealer from master keys of KeySize bytes, the newest first.
func New(keys ...[]byte) (*Sealer, error) {
	if len(keys) == 0 {
		return nil, errors.New("seal: no master key")
	}
	s := &Sealer{aeads: make(map[keyID]cipher.AEAD, len(keys))}
	for i, k := range keys {
		if len(k) != KeySize {
			return nil, fmt.Errorf("seal: a master key has %d bytes, want %d", len(k), KeySize)
		}
		block, err := aes.NewCipher(k)
		if err != nil {
			return nil, fmt.Errorf("seal: %w", err)
		}
		aead, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return nil, fmt.Errorf("seal: %w", err)
		}
		id := idOf(k)
		s.aeads[id] = aead
		if i == 0 {
			s.current = id
		}
	}
	return s, nil
}

// idOf names a key without disclosing it.
func idOf(key []byte) keyID {
	sum := sha256.Sum256(append([]byte("spoor master key id\x00"), key...))
	return keyID(sum[:idSize])
}

// Seal encrypts plain for the place called name.
func (s *Sealer) Seal(name string, plain []byte) []byte {
	out := make([]byte, 1+idSize, overhead+len(plain))
	out[0] = version
	copy(out[1:], s.current[:])
	return s.aeads[s.current].Seal(out, nil, plain, additional(name))
}

// Open decrypts what Seal made for name. It returns ErrDamaged or
// ErrUnknownKey.
func (s *Sealer) Open(name string, sealed []byte) ([]byte, error) {
	if len(sealed) < overhead || sealed[0] != version {
		return nil, ErrDamaged
	}
	aead, ok := s.aeads[keyID(sealed[1:1+idSize])]
	if !ok {
		return nil, ErrUnknownKey
	}
	plain, err := aead.Open(nil, nil, sealed[1+idSize:], additional(name))
	if err != nil {
		return nil, ErrDamaged
	}
	return plain, nil
}

func additional(name string) []byte { return append([]byte{version, 0}, name...) }

// IsCurrent reports whether sealed was made with the newest master key.
func (s *Sealer) IsCurrent(sealed []byte) bool {
	return len(sealed) >= overhead && sealed[0] == version && keyID(sealed[1:1+idSize]) == s.current
}

// Put seals plain under key, a key in kv.SpaceSecret, and writes it to b.
func (s *Sealer) Put(b *kv.Batch, key, plain []byte) { b.Set(key, s.Seal(string(key), plain)) }

// Get reads what Put wrote. It returns kv.ErrNotFound for an absent key.
func (s *Sealer) Get(store *kv.Store, key []byte) ([]byte, error) {
	v, err := store.Get(key)
	if err != nil {
		return nil, err
	}
	return s.Open(string(key), v)
}

// Rewrap writes to b every value of kv.SpaceSecret that is not sealed with the
// newest master key, sealed with it, and returns how many those are. Run it
// between Rotate and Retire, with no other writer.
func (s *Sealer) Rewrap(store *kv.Store, b *kv.Batch) (int, error) {
	n := 0
	err := store.Scan([]byte{byte(kv.SpaceSecret)}, func(k, v []byte) (bool, error) {
		if s.IsCurrent(v) {
			return true, nil
		}
		plain, err := s.Open(string(k), v)
		if err != nil {
			return false, fmt.Errorf("opening secret %q: %w", k, err)
		}
		s.Put(b, k, plain)
		n++
		return true, nil
	})
	return n, err
}
