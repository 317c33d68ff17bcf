package kv

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// FuzzKey: keys order as their parts do, decode to them, and no key is a
// prefix of another with other parts.
func FuzzKey(f *testing.F) {
	for _, s := range [][4]string{{"", "", "", ""}, {"a", "b", "ab", ""}, {"a\x00", "b", "a", "\x00b"}, {"a\x00\x01", "", "a", "\x01"}, {"\xff", "\x00", "\xff\x00", ""}} {
		f.Add(s[0], s[1], s[2], s[3])
	}
	f.Fuzz(func(t *testing.T, a1, a2, b1, b2 string) {
		ka, kb := Key(SpaceState, a1, a2), Key(SpaceState, b1, b2)
		want := strings.Compare(a1, b1)
		if want == 0 {
			want = strings.Compare(a2, b2)
		}
		if got := bytes.Compare(ka, kb); got != want {
			t.Fatalf("(%q,%q) and (%q,%q) order as %d, want %d", a1, a2, b1, b2, got, want)
		}
		if want != 0 && bytes.HasPrefix(kb, ka) {
			t.Fatalf("(%q,%q) is a prefix of (%q,%q)", a1, a2, b1, b2)
		}
		got, rest, ok := DecodeString(ka[1:])
		if !ok || got != a1 {
			t.Fatalf("%q came back as %q", a1, got)
		}
		if got, rest, ok = DecodeString(rest); !ok || got != a2 || len(rest) != 0 {
			t.Fatalf("%q came back as %q", a2, got)
		}
		_, _, _ = DecodeString([]byte(a1))
	})
}

func TestPrefixEnd(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"a": "b", "a\xff": "b", "\xff\xff": "", "": ""} {
		if got := PrefixEnd([]byte(in)); string(got) != want {
			t.Errorf("PrefixEnd(%q) = %q, want %q", in, got, want)
		}
	}
}

// TestFormat: a store of a newer format, or with a damaged mark, is refused.
func TestFormat(t *testing.T) {
	t.Parallel()
	for name, mark := range map[string][]byte{
		"newer":   binary.BigEndian.AppendUint32(nil, FormatVersion+1),
		"damaged": {1},
	} {
		fs := vfs.NewMem()
		s, err := Open("store", Options{FS: fs})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(s.DB().Set(Key(SpaceMeta, "format"), mark, pebble.Sync), s.Close()); err != nil {
			t.Fatal(err)
		}
		if s, err = Open("store", Options{FS: fs}); err == nil {
			s.Close()
			t.Errorf("%s: the store was opened", name)
		}
	}
}

// TestCompactions: flushes gather before they are compacted, and values are
// written once, however often keys that come in no order are sorted into others.
func TestCompactions(t *testing.T) {
	t.Parallel()
	s, err := Open("store", Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	rnd := rand.New(rand.NewPCG(1, 2))
	value := make([]byte, 2*separateFrom)
	total := func() (compactions int64, flushed, copied uint64) {
		m := s.DB().Metrics()
		for _, l := range m.Levels {
			flushed, copied = flushed+l.BlobBytesFlushed, copied+l.BlobBytesCompacted-l.BlobBytesFlushed // the latter counts both
		}
		return m.Compact.DefaultCount, flushed, copied
	}
	seq, flushes := uint64(0), 0
	for n := int64(0); n < 3; n, _, _ = total() {
		if flushes++; flushes > 40*gatherFlushes {
			t.Fatalf("%d flushes and %d compactions", flushes, n)
		}
		b := s.NewBatch()
		for range 100 {
			seq++
			for i := range value {
				value[i] = byte(rnd.Uint32())
			}
			b.Set(AppendUint64([]byte{byte(SpaceJournal)}, seq), value)
			b.Set(AppendUint64([]byte{byte(SpaceHistory)}, rnd.Uint64()), value[:rnd.IntN(2)*len(value)])
		}
		if err := errors.Join(s.Apply(b), s.DB().Flush()); err != nil {
			t.Fatal(err)
		}
		if flushes == gatherFlushes-1 {
			if n, _, _ := total(); n != 0 {
				t.Errorf("%d compactions after %d flushes", n, flushes)
			}
		}
	}
	n := uint64(0)
	if err := s.Scan([]byte{byte(SpaceJournal)}, func(_, v []byte) (bool, error) { n++; return len(v) == len(value), nil }); err != nil || n != seq {
		t.Errorf("%d of %d values are there: %v", n, seq, err)
	}
	if _, flushed, copied := total(); copied > 0 || flushed < seq*uint64(len(value))*5/4 {
		t.Errorf("of %d bytes of values %d were copied", flushed, copied)
	}
}
