package trail

import (
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"spoor/internal/tree"
)

// processor is the processor time that the process took.
func processor(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkTiles is what a record costs from its leaf's hash to its tiles in a
// directory, synced: keeping the leaves, reading them, the tree, the files.
func BenchmarkTiles(b *testing.B) {
	const perFile, files = 4096, 64
	for b.Loop() {
		b.StopTimer()
		r := newRig(b, vfs.NewMem(), newMemory())
		r.places("file://" + b.TempDir())
		leaves := make([]tree.Hash, perFile)
		rng := rand.New(rand.NewPCG(1, 2))
		for i := range leaves {
			for j := range leaves[i] {
				leaves[i][j] = byte(rng.Uint32())
			}
		}
		s := &stream{f: &follower{m: r.m, arn: arn}, region: home, leaves: leaves}
		sums := make([][]tree.Hash, files) // the trail computes them for the digest
		for i := range sums {
			sums[i] = tree.Sums(uint64(i*perFile), leaves)
		}
		var t tree.Tiler
		for range files {
			for _, l := range leaves {
				if err := t.Append(l, nil); err != nil {
					b.Fatal(err)
				}
			}
		}
		root, err := t.Root()
		if err != nil {
			b.Fatal(err)
		}
		before := processor(b)
		b.StartTimer()
		for i := range files {
			batch := r.m.cfg.Store.NewBatch()
			s.keepLeaves(batch, uint64(i*perFile), sums[i])
			if err := r.m.cfg.Journal.Commit(batch); err != nil {
				b.Fatal(err)
			}
		}
		kept := processor(b)
		c := tree.Checkpoint{Origin: origin, Size: perFile * files, Root: root}
		row, err := r.m.publishers[0].tiles(b.Context(), &newest{arn: arn, region: home}, c)
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		end := processor(b)
		per := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / (perFile * files) }
		b.ReportMetric(per(kept-before), "keep-ns/record")
		b.ReportMetric(per(end-kept), "tiles-ns/record")
		if row.Published != c.Size {
			b.Fatal("not all is published")
		}
		r.close()
		b.StartTimer()
	}
}
