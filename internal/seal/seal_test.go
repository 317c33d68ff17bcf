package seal

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"spoor/internal/kv"
)

func newSealer(t testing.TB) *Sealer {
	t.Helper()
	s, err := New(bytes.Repeat([]byte{7}, KeySize))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSealOpen(t *testing.T) {
	t.Parallel()
	s := newSealer(t)
	plain := []byte("wJalrXUtnFEMI")
	sealed := s.Seal("a", plain)
	if bytes.Contains(sealed, plain) {
		t.Fatal("the sealed value shows the secret")
	}
	if again := s.Seal("a", plain); bytes.Equal(again, sealed) {
		t.Fatal("two seals of one value are equal: the nonce is not fresh")
	}
	got, err := s.Open("a", sealed)
	if err != nil || !bytes.Equal(got, plain) {
		t.Fatalf("Open = %q, %v", got, err)
	}
	if _, err := s.Open("b", sealed); !errors.Is(err, ErrDamaged) {
		t.Fatalf("opened under another name: %v", err)
	}
	other, err := New(bytes.Repeat([]byte{8}, KeySize))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Open("a", sealed); !errors.Is(err, ErrUnknownKey) {
		t.Fatalf("opened with another key: %v", err)
	}
}

// TestTampering changes every bit and every length of a sealed value.
func TestTampering(t *testing.T) {
	t.Parallel()
	s := newSealer(t)
	sealed := s.Seal("name", []byte("secret"))
	for i := range sealed {
		for bit := range 8 {
			bad := bytes.Clone(sealed)
			bad[i] ^= 1 << bit
			if _, err := s.Open("name", bad); err == nil {
				t.Fatalf("byte %d, bit %d was flipped and the value opened", i, bit)
			}
		}
	}
	for n := range sealed {
		if _, err := s.Open("name", sealed[:n]); !errors.Is(err, ErrDamaged) {
			t.Fatalf("the first %d bytes opened: %v", n, err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	s := newSealer(f)
	// Sealed once and for all: fuzzing workers are processes of their own, and
	// each would seal with another nonce.
	good, err := base64.StdEncoding.DecodeString("AQOazBGbP8l0WP6+6OzUcMWSxb6NEOwS4E5s2GFaiuWnHCNau8iOZ4Usgg==")
	if err != nil {
		f.Fatal(err)
	}
	if plain, err := s.Open("name", good); err != nil || string(plain) != "secret" {
		f.Fatalf("the seed opens as %q: %v", plain, err)
	}
	f.Add(good)
	f.Add([]byte{})
	f.Add([]byte{version})
	f.Fuzz(func(t *testing.T, b []byte) {
		if plain, err := s.Open("name", b); err == nil && !bytes.Equal(b, good) {
			t.Fatalf("a forged value opened as %q", plain)
		}
	})
}

func TestKeyFiles(t *testing.T) {
	t.Parallel()
	b64 := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{1}, KeySize))
	tests := []struct {
		name    string
		content string
		mode    fs.FileMode
		ok      bool
	}{
		{"raw", string(bytes.Repeat([]byte{0x0a}, KeySize)), 0o600, true},
		{"base64", b64 + "\n", 0o600, true},
		{"two keys", b64 + "\n\n" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{2}, KeySize)), 0o400, true},
		{"readable by the group", b64, 0o640, false},
		{"empty", "", 0o600, false},
		{"short", "c2hvcnQ=", 0o600, false},
		{"not base64", "password", 0o600, false},
		{"too long", string(bytes.Repeat([]byte("\n"), maxKeyFile+1)), 0o600, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "master.key")
			if err := os.WriteFile(file, []byte(tt.content), tt.mode); err != nil {
				t.Fatal(err)
			}
			if _, err := Load(file); (err == nil) != tt.ok {
				t.Fatalf("Load: %v, want success %v", err, tt.ok)
			}
		})
	}
}

func TestLoadOrCreate(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "keys", "master.key")
	if _, err := Load(file); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("Load of an absent file: %v", err)
	}
	s, err := LoadOrCreate(file)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	again, err := LoadOrCreate(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := again.Open("x", s.Seal("x", []byte("y"))); err != nil {
		t.Fatalf("the second start made another key: %v", err)
	}
}

// TestRotation: at each step of a rotation everything opens, and after Retire
// the old key is of no use.
func TestRotation(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "master.key")
	old, err := LoadOrCreate(file)
	if err != nil {
		t.Fatal(err)
	}
	store, err := kv.Open("store", kv.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	commit := func(fill func(b *kv.Batch)) {
		t.Helper()
		b := store.NewBatch()
		fill(b)
		if err := b.Raw().Commit(pebble.Sync); err != nil {
			t.Fatal(err)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	key := kv.Key(kv.SpaceSecret, "test", "one")
	commit(func(b *kv.Batch) { old.Put(b, key, []byte("secret")) })

	for round := range 2 { // the second finds nothing left to do
		s, err := Load(file)
		if round == 0 {
			s, err = Rotate(file)
		}
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.Get(store, key); err != nil || string(got) != "secret" {
			t.Fatalf("round %d: %q, %v", round, got, err)
		}
		commit(func(b *kv.Batch) {
			n, err := s.Rewrap(store, b)
			if err != nil || n != 1-round {
				t.Fatalf("round %d: Rewrap = %d, %v", round, n, err)
			}
		})
	}
	if err := Retire(file); err != nil {
		t.Fatal(err)
	}
	s, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Get(store, key); err != nil || string(got) != "secret" {
		t.Fatalf("after Retire: %q, %v", got, err)
	}
	if _, err := old.Get(store, key); !errors.Is(err, ErrUnknownKey) {
		t.Fatalf("the old key still opens: %v", err)
	}
}

func BenchmarkOpen(b *testing.B) {
	s := newSealer(b)
	sealed := s.Seal("name", make([]byte, 512))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Open("name", sealed); err != nil {
			b.Fatal(err)
		}
	}
}
