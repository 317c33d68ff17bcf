package verify

import (
	"context"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"spoor/internal/call"
	"spoor/internal/digest"
	"spoor/internal/kv"
	"spoor/internal/trail"
	"spoor/internal/tree"
)

// spy sees the private keys that are sealed.
type spy struct {
	plainSealer
	mu    sync.Mutex
	rsa   map[string]*rsa.PrivateKey
	notes []ed25519.PrivateKey
}

func (s *spy) Put(b *kv.Batch, key, plain []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(plain) == ed25519.SeedSize {
		s.notes = append(s.notes, ed25519.NewKeyFromSeed(plain))
	} else if k, err := x509.ParsePKCS1PrivateKey(plain); err == nil {
		s.rsa[digest.Fingerprint(digest.EncodePublicKey(&k.PublicKey))] = k
	}
	s.plainSealer.Put(b, key, plain)
}

// rotated is a trail's bucket over a rotation of both its keys.
type rotated struct {
	bucket *deliveryBucket
	cfg    Config
	keys   *spy
	after  []string // the digests with the new checkpoint key
}

func rotate(t *testing.T) *rotated {
	t.Helper()
	w := &rotated{bucket: &deliveryBucket{objects: map[string]object{}, put: make(chan struct{}, 1)}, keys: &spy{rsa: map[string]*rsa.PrivateKey{}}}
	s := startWith(t, vfs.NewMem(), w.bucket, w.keys)
	digests := func() (out []string) {
		for key := range w.bucket.source().objects {
			if strings.Contains(key, "CloudTrail-Digest/"+home) {
				out = append(out, key)
			}
		}
		slices.Sort(out)
		return out
	}
	until := func(n int) {
		t.Helper()
		late := time.After(30 * time.Second)
		for len(digests()) < n {
			select {
			case <-w.bucket.put:
			case <-late:
				t.Fatalf("%d digests, want %d", len(digests()), n)
			}
		}
	}
	s.log(true)
	s.do(home, event{name: "Before"})
	until(2)
	s.do(home, event{"RotateCheckpointKey", func(c *call.Call) error { _, err := s.m.RotateCheckpointKey(c); return err }})
	s.do(home, event{"RotateDigestKey", func(c *call.Call) error { _, err := s.m.RotateDigestKey(c, home); return err }})
	s.do(home, event{name: "After"})
	until(len(digests()) + 3)
	s.log(false)
	s.stop()
	var found []Finding
	var err error
	if w.cfg, found, err = FromStore(s.store, trailARN); err != nil || len(found) > 0 {
		t.Fatalf("%+v %v", found, err)
	}
	if err := s.store.Close(); err != nil {
		t.Fatal(err)
	}
	now, err := tree.VerifierKey(tree.KeyName(account), w.keys.notes[1].Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range digests() {
		if w.digest(t, w.bucket.source(), key).Extension.Tree.Key == now {
			w.after = append(w.after, key)
		}
	}
	if len(w.after) == 0 || len(w.after) == len(digests()) || len(w.cfg.Keys[home]) != 2 {
		t.Fatalf("%d of %d digests have the new key; %d digest keys", len(w.after), len(digests()), len(w.cfg.Keys[home]))
	}
	return w
}

func (w *rotated) digest(t *testing.T, m *memory, key string) *digest.Digest {
	t.Helper()
	v := verifier{cfg: Config{Source: m}}
	plain, _, err := v.get(t.Context(), bucket, key, digest.MaxBytes)
	if err != nil {
		t.Fatal(err)
	}
	d, err := digest.Parse(plain)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// forge changes the digests from the rotation on and signs them again, as one
// who has the key for digests can.
func (w *rotated) forge(t *testing.T, change func(x *digest.Tree)) *memory {
	t.Helper()
	m := w.bucket.source()
	var before *digest.Link
	for _, key := range w.after {
		d := w.digest(t, m, key)
		change(d.Extension.Tree)
		if before != nil {
			d.SetPrevious(before)
		}
		plain, err := d.Encode()
		if err != nil {
			t.Fatal(err)
		}
		sig, err := d.Sign(w.keys.rsa[d.PublicKeyFingerprint], plain)
		if err != nil {
			t.Fatal(err)
		}
		o := m.objects[key]
		meta := maps.Clone(o.meta)
		meta[digest.MetaSignature] = sig
		m.objects[key] = object{body: zip(plain), meta: meta}
		before = &digest.Link{Bucket: d.Bucket, Object: d.Object, Hash: digest.Hash(plain), Signature: sig}
	}
	return m
}

// TestRotation: a chain over the rotation of both keys holds, whichever
// checkpoint key a verifier was given; a key that was not announced, or was
// announced otherwise, is found.
func TestRotation(t *testing.T) {
	t.Parallel()
	w := rotate(t)
	public := func(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }
	seed := make([]byte, ed25519.SeedSize)
	forger := ed25519.NewKeyFromSeed(seed)
	older, newer := w.keys.notes[0], w.keys.notes[1]
	announce := func(from, to ed25519.PrivateKey) string {
		text, err := tree.Announce(tree.KeyName(account), from, to, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	forged := func(x *digest.Tree) { // checkpoints signed by the forger's key
		c, err := tree.ParseCheckpoint(x.Checkpoint)
		if err == nil {
			x.Checkpoint, err = c.Sign(forger)
		}
		if err == nil {
			x.Key, err = tree.VerifierKey(tree.KeyName(account), public(forger))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	given := map[string][]ed25519.PublicKey{"none": nil, "old": {public(older)}, "new": {public(newer)}, "both": {public(older), public(newer)}}
	for _, tt := range []struct {
		name   string
		change func(x *digest.Tree)
		bad    []string // the given keys with which it is found
	}{
		{"as delivered", nil, nil},
		{"no announcement", func(x *digest.Tree) { x.Announced = nil }, []string{"none", "old", "new", "both"}},
		{"the announcement altered", func(x *digest.Tree) { x.Announced = []string{strings.Replace(x.Announced[0], "-", "+", 1)} }, []string{"none", "old", "new", "both"}},
		{"a forger's key that is not announced", func(x *digest.Tree) { x.Announced = nil; forged(x) }, []string{"none", "old", "new", "both"}},
		{"a forger's key announced by itself", func(x *digest.Tree) { x.Announced = []string{announce(forger, newer)}; forged(x) }, []string{"none", "old", "new", "both"}},
		{"with the old key: another key announced", func(x *digest.Tree) { x.Announced = []string{announce(older, forger)}; forged(x) }, []string{"new"}},
		{"with the old key: two keys announced", func(x *digest.Tree) { x.Announced = append(x.Announced[:1:1], announce(older, forger)); forged(x) }, []string{"none", "old", "new", "both"}},
		{"with the old key: the rotation undone", func(x *digest.Tree) {
			x.Announced = nil
			c, err := tree.ParseCheckpoint(x.Checkpoint)
			if err == nil {
				x.Checkpoint, err = c.Sign(older)
			}
			if err == nil {
				x.Key, err = tree.VerifierKey(tree.KeyName(account), public(older))
			}
			if err != nil {
				t.Fatal(err)
			}
		}, []string{"new"}},
	} {
		for name, keys := range given {
			cfg := w.cfg
			cfg.Source, cfg.CheckpointKeys, cfg.Anchors, cfg.Checkpoints = w.bucket.source(), keys, nil, nil
			cfg.AllCheckpointKeys = false
			if tt.change != nil {
				cfg.Source = w.forge(t, tt.change)
			}
			r, err := Run(context.Background(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			if tt.change == nil {
				cfg.Keys = nil // the checkpoint keys alone have to do
				if alone, err := Run(context.Background(), cfg); keys != nil && (err != nil || !alone.Clean) {
					t.Errorf("the keys %s alone: %v %+v", name, err, alone)
				}
			}
			// The link to the rewritten digests is the forger's own work, but for
			// the first: the digest before it is untouched.
			var invalid int
			for _, f := range r.Findings {
				if f.Kind != CheckpointInvalid {
					t.Errorf("%s, given %s: %+v", tt.name, name, f)
				}
				invalid++
			}
			if (invalid > 0) != slices.Contains(tt.bad, name) {
				t.Errorf("%s, given %s: %+v", tt.name, name, r.Findings)
			}
		}
	}
	// The server's own state has all keys, and checkpoints of both.
	cfg := w.cfg
	cfg.Source = w.bucket.source()
	if r, err := Run(context.Background(), cfg); err != nil || len(r.Findings) > 0 {
		t.Errorf("%v %+v", err, r)
	}
	// A checkpoint that was kept before the rotation holds under the new key.
	for _, keys := range [][]ed25519.PublicKey{{public(newer)}, {public(forger)}} {
		cfg := w.cfg
		cfg.Source, cfg.CheckpointKeys, cfg.Anchors, cfg.AllCheckpointKeys = w.bucket.source(), keys, nil, false
		all := slices.Sorted(maps.Keys(w.bucket.source().objects))
		i := slices.IndexFunc(all, func(k string) bool { return strings.Contains(k, "CloudTrail-Digest/"+home) })
		cfg.Checkpoints = []string{w.digest(t, w.bucket.source(), all[i]).Extension.Tree.Checkpoint}
		r, err := Run(context.Background(), cfg)
		if keys[0].Equal(public(newer)) != (err == nil && len(r.Findings) == 0) {
			t.Errorf("a checkpoint of before the rotation, with %x: %v %+v", keys[0][:4], err, r)
		}
	}
	var _ trail.Sealer = w.keys
}
