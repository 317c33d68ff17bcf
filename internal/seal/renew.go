package seal

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"

	"spoor/internal/kv"
)

// KeyID names the newest master key without disclosing it.
func (s *Sealer) KeyID() string { return hex.EncodeToString(s.current[:]) }

// Older is how many older keys still open what they sealed.
func (s *Sealer) Older() int { return len(s.aeads) - 1 }

// ForStore loads the master keys of a store from file. For a store without
// secrets, which is new, it makes the file when it is absent. It fails when the
// keys are not those of the store, rather than let a start go on that can open
// half of it.
func ForStore(store *kv.Store, file string) (*Sealer, error) {
	key, sealed, err := anySecret(store)
	if err != nil {
		return nil, err
	}
	if key == nil {
		return LoadOrCreate(file)
	}
	s, err := Load(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the store holds secrets, and the master key that seals them is not there: bring %s back, or name its file with --master-key: %w", file, err)
	}
	if err != nil {
		return nil, err
	}
	if _, err := s.Open(string(key), sealed); err != nil {
		return nil, fmt.Errorf("the master key in %s does not open this store: name the file of the key that sealed it with --master-key: %w", file, err)
	}
	return s, nil
}

// anySecret is one sealed value of the store with its key; nil when there is
// none.
func anySecret(store *kv.Store) (key, value []byte, err error) {
	err = store.Scan([]byte{byte(kv.SpaceSecret)}, func(k, v []byte) (bool, error) {
		key, value = append([]byte(nil), k...), append([]byte(nil), v...)
		return false, nil
	})
	return key, value, err
}

// Renewal is what Renew did.
type Renewal struct {
	KeyID   string // of the new master key
	Secrets int    // how many were sealed anew
}

// Renew seals every secret of a store with a new master key. The keys are read
// from the file from and written to the file to, which may be the same; another
// one must not exist. With keep the older keys stay in the file, so that session
// tokens made before still open; without it they are dropped. No other process
// may have the store open. commit makes a batch durable.
//
// Crash story, by the step after which it stops:
//
//  1. The file to holds the new key and all old ones. Both files open
//     everything. A server that starts with either goes on.
//  2. Every secret is sealed with the new key, in one synced batch: all of them
//     or none. The file to opens everything, whichever happened.
//  3. The old keys are dropped, by replacing the file whole.
//
// So the file to opens everything from step 1 on, and running Renew again
// finishes what was begun.
func Renew(store *kv.Store, from, to string, keep bool, commit func(*kv.Batch) error) (Renewal, error) {
	if _, err := ForStore(store, from); err != nil {
		return Renewal{}, err
	}
	s, err := rotateInto(from, to)
	if err != nil {
		return Renewal{}, err
	}
	out := Renewal{KeyID: s.KeyID()}
	batch := store.NewBatch()
	if out.Secrets, err = s.Rewrap(store, batch); err != nil {
		return out, errors.Join(err, batch.Close())
	}
	if err := commit(batch); err != nil {
		return out, fmt.Errorf("sealing the secrets anew: %w; %s holds the keys that open them, run the command again", err, to)
	}
	if keep {
		return out, nil
	}
	return out, Retire(to)
}

// rotateInto writes a new key and those of from to the file to.
func rotateInto(from, to string) (*Sealer, error) {
	if from == to {
		return Rotate(from)
	}
	old, err := readKeys(from)
	if err != nil {
		return nil, err
	}
	keys := append([][]byte{newKey()}, old...)
	switch have, err := readKeys(to); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case !extends(have, old):
		return nil, fmt.Errorf("the file %s holds other keys: name a file that does not exist", to)
	default:
		keys = have // an earlier run was interrupted after its first step
	}
	if err := writeKeys(to, keys); err != nil {
		return nil, err
	}
	return New(keys...)
}

// extends reports whether have is one new key in front of old.
func extends(have, old [][]byte) bool {
	if len(have) != len(old)+1 {
		return false
	}
	for i := range old {
		if string(have[i+1]) != string(old[i]) {
			return false
		}
	}
	return true
}

// RetireOld drops all keys but the newest from file and returns how many. It
// fails when a secret of the store still needs one.
func RetireOld(store *kv.Store, file string) (int, error) {
	s, err := ForStore(store, file)
	if err != nil {
		return 0, err
	}
	err = store.Scan([]byte{byte(kv.SpaceSecret)}, func(k, v []byte) (bool, error) {
		if !s.IsCurrent(v) {
			return false, fmt.Errorf("the secret %q needs an older master key: a rotation was interrupted, run spoor key rotate again", k)
		}
		return true, nil
	})
	if err != nil {
		return 0, err
	}
	return s.Older(), Retire(file)
}
