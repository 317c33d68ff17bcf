package tree

import (
	"crypto/ed25519"
	"errors"
	"strings"
	"testing"
	"time"
)

func keyOf(b byte) ed25519.PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	seed[0] = b
	return ed25519.NewKeyFromSeed(seed)
}

// TestAnnouncement: what two keys signed holds; with a byte changed, a signature
// less or another's it does not.
func TestAnnouncement(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 25, 1, 2, 3, 0, time.UTC)
	older, newer := keyOf(1), keyOf(2)
	msg, err := Announce("spoor/123456789012", older, newer, at)
	if err != nil {
		t.Fatal(err)
	}
	a, err := OpenAnnouncement(msg)
	if err != nil || !a.Old.Equal(older.Public()) || !a.New.Equal(newer.Public()) || !a.At.Equal(at) || a.Name != "spoor/123456789012" {
		t.Fatalf("%+v, %v\n%s", a, err, msg)
	}
	for i := range len(msg) - 1 {
		if i+3 > strings.IndexByte(msg[i:], '\n')+i && strings.Contains(msg[:i], "\n\n") {
			continue // the last bits of base64 that stand for nothing
		}
		changed := []byte(msg)
		changed[i] ^= 1
		if _, err := OpenAnnouncement(string(changed)); !errors.Is(err, ErrAnnouncement) {
			t.Errorf("byte %d changed: %v", i, err)
		}
	}
	lines := strings.SplitAfter(msg, "\n")
	for i := range len(lines) - 1 {
		if _, err := OpenAnnouncement(strings.Join(append(append([]string{}, lines[:i]...), lines[i+1:]...), "")); err == nil {
			t.Errorf("without line %d it holds", i)
		}
	}
	if _, err := OpenAnnouncement(mustAnnounce(t, older, older, at)); err == nil {
		t.Error("a key follows itself")
	}
}

func mustAnnounce(t *testing.T, older, newer ed25519.PrivateKey, at time.Time) string {
	t.Helper()
	msg, err := Announce("spoor/123456789012", older, newer, at)
	if err != nil {
		t.Skip(err) // a note with one signer twice need not be writable
	}
	return msg
}

func FuzzOpenAnnouncement(f *testing.F) {
	msg, err := Announce("spoor/123456789012", keyOf(1), keyOf(2), time.Unix(1800000000, 0))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(msg)
	f.Fuzz(func(t *testing.T, s string) {
		a, err := OpenAnnouncement(s)
		if err == nil && !(a.New.Equal(keyOf(2).Public()) && a.Old.Equal(keyOf(1).Public())) && strings.Contains(s, "spoor/123456789012") {
			t.Logf("another pair of keys: %+v", a)
		}
	})
}
