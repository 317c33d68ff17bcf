package iam

import (
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"spoor/internal/aws"
	"spoor/internal/kv"
	"spoor/internal/seal"
)

// sessionDirectory is a directory with one account in memory.
func sessionDirectory(t testing.TB) *Directory {
	t.Helper()
	store, err := kv.Open("store", kv.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	sealer, err := seal.New(random(seal.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	d, err := Open(Config{Store: store, Sealer: sealer, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Bootstrap("111122223333", func(_ Bootstrap, b *kv.Batch) error { return b.Close() }); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestSessionTokensAreBoundToTheirKey(t *testing.T) {
	t.Parallel()
	d := sessionDirectory(t)
	for name, tags := range map[string]map[string]string{"small": nil, "large": {"team": strings.Repeat("abc", 1000)}} {
		c, err := d.Issue(SessionRequest{Account: "111122223333", Type: aws.Root, Duration: time.Hour, Tags: tags})
		if err != nil {
			t.Fatal(err)
		}
		got, err := d.Credential(c.AccessKeyID, c.SessionToken)
		if err != nil || got.Secret != c.SecretAccessKey {
			t.Errorf("%s: %v", name, err)
		}
		if len(c.SessionToken) > 2048 {
			t.Errorf("%s: the token has %d characters", name, len(c.SessionToken))
		}
		if _, err := d.Credential("ASIA"+c.AccessKeyID[4:19]+"A", c.SessionToken); err == nil && !strings.HasSuffix(c.AccessKeyID, "A") {
			t.Errorf("%s: the token serves for another key", name)
		}
	}
}

// FuzzSessionToken looks for tokens that this server did not make and takes,
// and for panics. An empty token stands for one that was made, with a byte
// changed: each process of a fuzzing run has a master key of its own.
func FuzzSessionToken(f *testing.F) {
	d := sessionDirectory(f)
	c, err := d.Issue(SessionRequest{Account: "111122223333", Type: aws.Root, Duration: 24 * time.Hour})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(c.AccessKeyID, c.SessionToken, uint16(0), byte(0))
	f.Add(c.AccessKeyID, c.SessionToken[:len(c.SessionToken)/2], uint16(0), byte(0))
	f.Add("", "", uint16(0), byte(0))
	f.Add("", "", uint16(9), byte(1))
	f.Add("", "", uint16(100), byte(32))
	f.Fuzz(func(t *testing.T, key, token string, at uint16, change byte) {
		if token == "" {
			b := []byte(c.SessionToken)
			b[int(at)%len(b)] ^= change
			key, token = c.AccessKeyID, string(b)
		}
		got, err := d.Credential(key, token)
		if err == nil && (key != c.AccessKeyID || token != c.SessionToken) {
			t.Errorf("the token %q is accepted for %q as %+v", token, key, got.Caller)
		}
		if err != nil && got.Secret != "" {
			t.Error("a refused token gives a secret")
		}
	})
}

// FuzzTokenContent looks for panics in what is read once a token is authentic.
func FuzzTokenContent(f *testing.F) {
	small, err := packToken(&sessionToken{Version: 1, KeyID: "ASIA"})
	if err != nil {
		f.Fatal(err)
	}
	large, err := packToken(&sessionToken{Version: 1, Policies: []string{strings.Repeat("policy", 1000)}})
	if err != nil {
		f.Fatal(err)
	}
	if large[0] != tokenDeflated || len(large) > deflateFrom {
		f.Fatalf("6000 characters take %d bytes", len(large))
	}
	f.Add(small)
	f.Add(large)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, plain []byte) {
		if tok, err := unpackToken(plain); err == nil && tok == nil {
			t.Error("neither a token nor an error")
		}
	})
}
