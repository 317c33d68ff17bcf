package kv

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2"
)

// BenchmarkGet: one key of the lowest level, with as many flushes above it as
// gather, each with keys around it.
func BenchmarkGet(b *testing.B) {
	for flushes := range gatherFlushes {
		b.Run(fmt.Sprintf("flushes=%d", flushes), func(b *testing.B) {
			s, err := Open(b.TempDir(), Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer func() {
				if err := s.Close(); err != nil {
					b.Error(err)
				}
			}()
			const keys = 100_000
			key := func(n uint64) []byte { return binary.BigEndian.AppendUint64([]byte{0x70}, n*0x9e3779b97f4a7c15) }
			fill := func(from, n uint64) {
				batch := s.NewBatch()
				for i := range n {
					batch.Set(key(from+i), make([]byte, 200))
				}
				if err := batch.Raw().Commit(pebble.NoSync); err != nil {
					b.Fatal(err)
				}
				if err := s.DB().Flush(); err != nil {
					b.Fatal(err)
				}
			}
			fill(0, keys)
			if err := s.DB().Compact(b.Context(), []byte{0}, []byte{0xff}, false); err != nil {
				b.Fatal(err)
			}
			for i := range flushes {
				fill(uint64(keys*(i+2)), keys/10)
			}
			if got := s.DB().Metrics().Levels[0].Sublevels; int(got) != flushes {
				b.Fatalf("level 0 has %d sublevels", got)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Get(key(rand.Uint64N(keys))); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
