package history

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"spoor/internal/kv"
)

// TestList: whatever the pieces and wherever a reading begins, a list gives its
// events newest first, each once.
func TestList(t *testing.T) {
	t.Parallel()
	store, err := kv.Open("store", kv.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	random := rand.New(rand.NewPCG(1, 2))
	const day = 20_000
	for round := range 20 {
		name := string(rune('a' + round))
		key := listKey(nil, attributeCode[ByEventName], "123456789012", "us-east-1", name)
		prefix := append(appendWeek(nil, day/weekDays), key...)
		var all []position
		seq, ms := uint64(1), int64(day)*86_400_000
		for range 1 + random.IntN(20) {
			b, l := store.NewBatch(), lists{}
			for range 1 + random.IntN(100) {
				ms = min(max(ms+int64(random.IntN(60))-20, int64(day)*86_400_000), int64(day+1)*86_400_000-1)
				p := position{ms, seq}
				all = append(all, p)
				if random.IntN(10) == 0 { // an event alone, as all once were
					b.Set(p.append(slices.Clone(prefix)), nil)
				} else {
					l.add(key, p)
					l.add(key, p)
				}
				seq += uint64(1 + random.IntN(3))
			}
			l.write(b)
			if err := store.Apply(b); err != nil {
				t.Fatal(err)
			}
		}
		slices.SortFunc(all, func(a, b position) int {
			if a.newer(b) {
				return -1
			}
			return 1
		})
		for range 20 {
			from := all[random.IntN(len(all))]
			switch random.IntN(3) {
			case 0:
				from.ms += int64(random.IntN(2000)) - 1000
			case 1:
				from = position{int64(day+1)*86_400_000 - 1, ^uint64(0)}
			}
			limit := 1 + random.IntN(100)
			var want, got []position
			for _, p := range all {
				if !p.newer(from) && len(want) < limit {
					want = append(want, p)
				}
			}
			it, err := store.DB().NewIter(&pebble.IterOptions{})
			if err != nil {
				t.Fatal(err)
			}
			err = readList(it, prefix, from, func(p position) bool {
				got = append(got, p)
				return len(got) < limit
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := it.Close(); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, got, cmp.AllowUnexported(position{})); d != "" {
				t.Fatalf("round %d from %v: %s", round, from, d)
			}
		}
	}
}

func FuzzPiece(f *testing.F) {
	f.Add(int64(5), uint64(7), []byte{1, 2})
	f.Add(int64(0), uint64(0), []byte{0xff})
	f.Fuzz(func(t *testing.T, ms int64, seq uint64, rest []byte) {
		if ms < 0 {
			return
		}
		p := piece{position{ms, seq}, rest}
		for n := 0; ; n++ {
			before := p.at
			ok, err := p.next()
			if err != nil || !ok {
				return
			}
			if p.at.ms < 0 || p.at.ms > before.ms || n > len(rest) {
				t.Fatalf("from %v to %v", before, p.at)
			}
		}
	})
}
