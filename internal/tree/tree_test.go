package tree

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
)

func leaf(i int) []byte { return fmt.Appendf(nil, "record %d", i) }

func leaves(from, n int) []Hash {
	out := make([]Hash, n)
	for i := range out {
		out[i] = LeafHash(leaf(from + i))
	}
	return out
}

func TestHasher(t *testing.T) {
	t.Parallel()
	h := NewHasher()
	for i := range 3 {
		if record := bytes.Repeat(leaf(i), 100*i); h.Leaf(record) != LeafHash(record) {
			t.Errorf("the hash of record %d differs", i)
		}
	}
}

// reference is a tree with every hash, made by another implementation.
type reference struct{ stored []Hash }

func (r *reference) ReadHashes(indexes []int64) ([]Hash, error) {
	out := make([]Hash, len(indexes))
	for i, x := range indexes {
		out[i] = r.stored[x]
	}
	return out, nil
}

func newReference(t *testing.T, n int) *reference {
	t.Helper()
	r := &reference{}
	for i := range n {
		h, err := tlog.StoredHashes(int64(i), leaf(i), r)
		if err != nil {
			t.Fatal(err)
		}
		r.stored = append(r.stored, h...)
	}
	return r
}

// TestRoots: however a tree is grown, leaf by leaf or in runs of any length,
// its root is RFC 6962's.
func TestRoots(t *testing.T) {
	t.Parallel()
	const n = 700
	ref := newReference(t, n)
	for _, run := range []int{1, 2, 3, 5, 7, 31, 32, 33, 64, 100, 257, n} {
		var f Frontier
		if f.Root() != Hash(sha256.Sum256(nil)) {
			t.Fatal("the empty tree's root")
		}
		for at := 0; at < n; at += run {
			k := min(run, n-at)
			if err := f.Extend(uint64(k), Sums(uint64(at), leaves(at, k))); err != nil {
				t.Fatal(err)
			}
			want, err := tlog.TreeHash(int64(at+k), ref)
			if err != nil {
				t.Fatal(err)
			}
			if f.Root() != want || !f.Valid() || f.Size != uint64(at+k) {
				t.Fatalf("runs of %d: the root at %d differs", run, at+k)
			}
			raw, err := json.Marshal(&f)
			if err != nil {
				t.Fatal(err)
			}
			var back Frontier
			if err := json.Unmarshal(raw, &back); err != nil || !back.Equal(&f) {
				t.Fatalf("%s: %v", raw, err)
			}
		}
	}
}

// TestBlocks: blocks cover a run without gaps, each where a complete subtree
// may be, and are few.
func TestBlocks(t *testing.T) {
	t.Parallel()
	for _, first := range []uint64{0, 1, 5, 64, 1000, 1 << 40} {
		for _, count := range []uint64{0, 1, 4, 32, 33, 63, 64, 65, 4000, 100_000} {
			at, long := first, 0
			blocks := Blocks(first, count)
			for _, b := range blocks {
				if b.First != at || b.First%b.Len() != 0 {
					t.Fatalf("%d from %d: block %+v at %d", count, first, b, at)
				}
				at += b.Len()
				long = max(long, b.Level)
			}
			if at != first+count {
				t.Fatalf("%d from %d: blocks end at %d", count, first, at)
			}
			if len(blocks) > maxBlocks+2*(long+1) || count <= maxBlocks && long > 0 {
				t.Errorf("%d from %d: %d blocks of up to 2^%d", count, first, len(blocks), long)
			}
		}
	}
}

func TestAppendWrong(t *testing.T) {
	t.Parallel()
	f := Frontier{Size: 3, Hashes: leaves(0, 2)}
	if err := f.Append(1, Hash{}); err == nil {
		t.Error("a pair begins at leaf 3")
	}
	if err := f.Extend(3, leaves(0, 1)); err == nil {
		t.Error("three leaves have one sum")
	}
	if g := (Frontier{Size: 3, Hashes: leaves(0, 1)}); g.Valid() {
		t.Error("a tree of 3 leaves has one subtree")
	}
}

func key(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
}

func TestCheckpoint(t *testing.T) {
	t.Parallel()
	k := key(1)
	pub := k.Public().(ed25519.PublicKey)
	c := Checkpoint{Origin: Origin("123456789012", "us-east-1", "audit", "eu-west-1"), Size: 7, Root: LeafHash(leaf(0))}
	msg, err := c.Sign(k)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(msg, "spoor/123456789012/us-east-1/audit/eu-west-1\n7\n") || !strings.Contains(msg, "\n\n— spoor/123456789012/us-east-1/audit/eu-west-1 ") {
		t.Errorf("%s", msg)
	}
	if got, err := OpenCheckpoint(msg, []ed25519.PublicKey{key(2).Public().(ed25519.PublicKey), pub}); err != nil || got != c {
		t.Errorf("%+v %v", got, err)
	}
	for name, bad := range map[string]string{
		"size":      strings.Replace(msg, "\n7\n", "\n8\n", 1),
		"origin":    strings.ReplaceAll(msg, "audit", "other"),
		"signature": msg[:len(msg)-4] + "AA=\n",
		"none":      c.Text() + "\n",
		"text only": c.Text(),
	} {
		if _, err := OpenCheckpoint(bad, []ed25519.PublicKey{pub}); err == nil {
			t.Errorf("%s: passes", name)
		}
	}
	if _, err := OpenCheckpoint(msg, []ed25519.PublicKey{key(2).Public().(ed25519.PublicKey)}); err == nil {
		t.Error("another key passes")
	}
	for seed := range byte(40) { // keys with a '+' in their base64 among them
		pub := key(seed).Public().(ed25519.PublicKey)
		text, err := VerifierKey("spoor/123456789012", pub)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := ParseVerifierKey(text + "\n"); err != nil || !back.Equal(pub) {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, bad := range []string{"", "a+b", "name+00000000+AQ=="} {
		if _, err := ParseVerifierKey(bad); err == nil {
			t.Errorf("%q is a key", bad)
		}
	}
}

// TestProof proves every leaf of trees of several sizes, from the blocks of
// runs alone, and a stranger checks it.
func TestProof(t *testing.T) {
	t.Parallel()
	k := key(1)
	pubs := []ed25519.PublicKey{k.Public().(ed25519.PublicKey)}
	for _, n := range []int{1, 2, 3, 8, 13, 100, 200} {
		for i := range n {
			p, err := NewProver(uint64(n), uint64(i))
			if err != nil {
				t.Fatal(err)
			}
			f := Frontier{Made: p.Made}
			for at := 0; at < n; at += 40 {
				run := min(40, n-at)
				if i >= at && i < at+run {
					for _, h := range leaves(at, run) { // the leaf's own run in full
						if err := f.Append(0, h); err != nil {
							t.Fatal(err)
						}
					}
					continue
				}
				if err := f.Extend(uint64(run), Sums(uint64(at), leaves(at, run))); err != nil {
					t.Fatal(err)
				}
			}
			msg, err := Checkpoint{Origin: "a/b", Size: uint64(n), Root: f.Root()}.Sign(k)
			if err != nil {
				t.Fatal(err)
			}
			proof, err := p.Proof(msg)
			if err != nil {
				t.Fatal(err)
			}
			back, err := ParseProof(proof.String())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := back.Check(leaf(i), pubs); err != nil {
				t.Errorf("leaf %d of %d: %v", i, n, err)
			}
			if _, err := back.Check(leaf(i+1), pubs); err == nil {
				t.Errorf("leaf %d of %d: another record passes", i, n)
			}
			back.Index++
			if _, err := back.Check(leaf(i), pubs); err == nil {
				t.Errorf("leaf %d of %d passes as another one", i, n)
			}
		}
	}
	if _, err := NewProver(5, 5); err == nil {
		t.Error("leaf 5 of 5 can be proven")
	}
	p, err := NewProver(8, 3)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Proof(""); err == nil {
		t.Error("a proof without its hashes")
	}
}

// TestTell: a frontier alone tells the subtrees that it holds.
func TestTell(t *testing.T) {
	t.Parallel()
	got := map[string]Hash{}
	f := Frontier{}
	for _, h := range leaves(0, 13) {
		if err := f.Append(0, h); err != nil {
			t.Fatal(err)
		}
	}
	f.Made = func(level int, index uint64, h Hash) { got[fmt.Sprint(level, index)] = h }
	f.Tell()
	if len(got) != 3 || got["3 0"] != f.Hashes[0] || got["2 2"] != f.Hashes[1] || got["0 12"] != f.Hashes[2] {
		t.Errorf("%v", got)
	}
}

func FuzzParseProof(f *testing.F) {
	f.Add("c2sp.org/tlog-proof@v1\nindex 1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\na/b\n2\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n— a/b AAAA\n")
	f.Add("c2sp.org/tlog-proof@v1\nextra YQ==\nindex 0\n\na\n1\n")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParseProof(text)
		if err != nil {
			return
		}
		back, err := ParseProof(p.String())
		if err != nil || back.Index != p.Index || len(back.Hashes) != len(p.Hashes) || back.Checkpoint != p.Checkpoint {
			t.Fatalf("%q: %v", p.String(), err)
		}
		if _, err := p.Check([]byte("x"), nil); err == nil {
			t.Fatal("a proof without a key passes")
		}
	})
}
