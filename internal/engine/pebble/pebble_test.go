package pebble

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	engine "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"spoor/internal/kv"
)

func openStore(t testing.TB) *kv.Store {
	t.Helper()
	s, err := kv.Open("store", kv.Options{FS: vfs.NewMem(), Merger: Merger()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func commit(t testing.TB, s *kv.Store, fn func(w *Writer)) {
	t.Helper()
	b := s.NewBatch()
	w := NewWriter(b)
	fn(w)
	w.Release()
	if err := s.DB().Apply(b.Raw(), engine.Sync); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
}

// write is one random write of the model.
type write struct {
	kind       int // 0 cell, 1 cell tombstone, 2 collection cell, 3 whole collection, 4 row, 5 range, 6 partition, 7 marker, 8 static cell
	c, to      byte
	column     uint32
	path       byte
	at, expiry int64
	value      byte
}

func (w *write) apply(out *Writer, p []byte) {
	r := &Row{}
	r.Reset()
	life := Life{Timestamp: w.at, Expiry: w.expiry}
	if w.expiry != 0 {
		life.TTL = 5
	}
	key := []byte{w.c}
	switch w.kind {
	case 0, 8:
		r.Cells = []Cell{{Column: w.column, Life: life, Value: []byte{w.value}}}
	case 1:
		r.Cells = []Cell{{Column: w.column, Tombstone: true, Life: Life{Timestamp: w.at}}}
	case 2:
		r.Cells = []Cell{{Column: 100, Path: []byte{w.path}, Life: life, Value: []byte{w.value}}}
	case 3:
		r.Cells = []Cell{{Column: 100, Whole: true, Tombstone: true, Life: Life{Timestamp: w.at}}}
	case 4:
		r.Deleted = w.at
	case 5:
		out.DeleteRange(p, []byte{min(w.c, w.to)}, []byte{max(w.c, w.to)}, w.at)
		return
	case 6:
		out.DeletePartition(p, w.at)
		return
	case 7:
		r.Marker = life
	}
	if w.kind == 8 {
		out.Static(p, r)
		return
	}
	out.Row(p, key, r)
}

// covers reports whether the deletion d reaches the row c, and column and path.
func (d *write) covers(c byte, column uint32, static bool) bool {
	switch d.kind {
	case 3:
		return d.c == c && column == 100 && !static
	case 4:
		return d.c == c && !static
	case 5:
		return min(d.c, d.to) <= c && c < max(d.c, d.to) && !static
	case 6:
		return true
	}
	return false
}

// model gives the rows that the writes leave, by looking at all of them for each
// place: the rules of last write wins without any merging.
func model(list []write, now int64) []string {
	type place struct {
		c      byte
		column uint32
		path   byte
		static bool
	}
	best := map[place]write{}
	for _, w := range list {
		p := place{c: w.c, column: w.column, static: w.kind == 8}
		switch w.kind {
		case 0, 1:
		case 8:
			p.c = 0
		case 2:
			p.column, p.path = 100, w.path
		case 7:
			p.column = 1000
		default:
			continue
		}
		old, ok := best[p]
		newer := w.at > old.at
		if ok && w.at == old.at {
			cell := func(w write) Cell {
				life := Life{Timestamp: w.at, Expiry: w.expiry}
				if w.kind == 1 {
					return Cell{Tombstone: true, Life: Life{Timestamp: w.at}}
				}
				if w.kind == 7 {
					return Cell{Life: life}
				}
				return Cell{Life: life, Value: []byte{w.value}}
			}
			a, b := cell(w), cell(old)
			newer = wins(&a, &b)
		}
		if !ok || newer {
			best[p] = w
		}
	}
	rows := map[string][]string{}
	for p, w := range best {
		dead := w.kind == 1 || w.expiry != 0 && w.expiry <= now
		for i := range list {
			dead = dead || list[i].at >= w.at && list[i].covers(p.c, p.column, p.static)
		}
		if !dead {
			id := fmt.Sprintf("row %02x", p.c)
			if p.static {
				id = "static"
			}
			rows[id] = append(rows[id], fmt.Sprintf("%d/%d=%d@%d", p.column, p.path, w.value, w.at))
		}
	}
	return flatten(rows)
}

func flatten(rows map[string][]string) (out []string) {
	for id, cells := range rows {
		slices.Sort(cells)
		out = append(out, id+": "+strings.Join(cells, " "))
	}
	slices.Sort(out)
	return out
}

func read(t *testing.T, s *kv.Store, p []byte, now int64, reverse bool) []string {
	t.Helper()
	rows := map[string][]string{}
	add := func(id string, r *Row) {
		if r.Marker.Timestamp != NoTimestamp {
			rows[id] = append(rows[id], fmt.Sprintf("1000/0=0@%d", r.Marker.Timestamp))
		}
		for _, c := range r.Cells {
			path := byte(0)
			if c.Path != nil {
				path = c.Path[0]
			}
			rows[id] = append(rows[id], fmt.Sprintf("%d/%d=%d@%d", c.Column, path, c.Value[0], c.Timestamp))
		}
	}
	first := true
	err := Scan(context.Background(), s, Query{Partition: p, Now: now, Reverse: reverse}, func(r *Result) (Next, error) {
		if first && r.Static != nil && r.Static.Live() {
			add("static", r.Static)
		}
		first = false
		if r.Clustering != nil {
			add(fmt.Sprintf("row %02x", r.Clustering), r.Row)
		}
		return Continue, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return flatten(rows)
}

// TestModel: whatever is written, in whatever order and however often the store
// has flushed and compacted, the rows are those of the model.
func TestModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		s := openStore(t)
		p := AppendPartition(nil, 7, 42, []byte("a\x00b"))
		var list []write
		for range 60 {
			w := write{kind: rnd.IntN(9), c: byte(rnd.IntN(4)), to: byte(rnd.IntN(5)), column: uint32(1 + rnd.IntN(3)), path: byte(rnd.IntN(3)),
				at: int64(1 + rnd.IntN(30)), value: byte(rnd.IntN(4))}
			if rnd.IntN(4) == 0 {
				w.expiry = int64(50 + rnd.IntN(100))
			}
			if w.kind == 7 {
				w.value = 0
			}
			if w.kind == 1 || w.kind >= 3 && w.kind <= 6 {
				w.expiry = 0
			}
			list = append(list, w)
		}
		shuffled := slices.Clone(list)
		rnd.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		for i, w := range shuffled {
			commit(t, s, func(out *Writer) { w.apply(out, p) })
			if i%20 == 19 {
				if err := s.DB().Flush(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if seed%2 == 0 {
			if err := s.DB().Compact(context.Background(), []byte{0}, []byte{0xFF}, false); err != nil {
				t.Fatal(err)
			}
		}
		for _, now := range []int64{0, 100, 1000} {
			for _, reverse := range []bool{false, true} {
				if d := cmp.Diff(model(list, now), read(t, s, p, now, reverse)); d != "" {
					t.Fatalf("seed %d at %d, reverse %t:\n%s", seed, now, reverse, d)
				}
			}
		}
	}
}

// TestScanOrder: partitions come by token, negative ones first, and a scan goes
// on behind any row.
func TestScanOrder(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	var want []string
	commit(t, s, func(w *Writer) {
		for _, token := range []int64{5, -9, 0, 1 << 62, -1 << 63} {
			for c := range byte(3) {
				r := &Row{}
				r.Reset()
				r.Marker = Life{Timestamp: 1}
				w.Row(AppendPartition(nil, 1, token, []byte{0, byte(token)}), []byte{c}, r)
			}
		}
	})
	for _, token := range []int64{-1 << 63, -9, 0, 5, 1 << 62} {
		for c := range 3 {
			want = append(want, fmt.Sprintf("%d %d", token, c))
		}
	}
	prefix := AppendTable(nil, 1)
	q := Query{From: prefix, To: kv.PrefixEnd(prefix)}
	var got []string
	for more := true; more; {
		more = false
		err := Scan(context.Background(), s, q, func(r *Result) (Next, error) {
			if !slices.Equal(r.Partition, []byte{0, byte(r.Token)}) {
				t.Errorf("the key of token %d is %x", r.Token, r.Partition)
			}
			got = append(got, fmt.Sprintf("%d %d", r.Token, r.Clustering[0]))
			q.After, more = slices.Clone(r.Key), true
			return Stop, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// FuzzRow: a damaged value is an error, never a panic; a good one comes back.
func FuzzRow(f *testing.F) {
	r := &Row{Marker: Life{Timestamp: 5, Expiry: 9, TTL: 4}, Deleted: 3, Cells: []Cell{
		{Column: 1, Life: Life{Timestamp: 5}, Value: []byte("v")}, {Column: 2, Whole: true, Tombstone: true, Life: Life{Timestamp: 4}},
		{Column: 2, Path: []byte("p"), Life: Life{Timestamp: 6, Expiry: 8, TTL: 2}, Value: []byte{}}}}
	f.Add(appendRow(nil, r), appendRow(nil, &Row{Marker: Life{Timestamp: NoTimestamp}, Deleted: 7}))
	f.Add(appendRanges(nil, []rangeDeletion{{from: []byte("a"), to: []byte("b"), at: 4}}), binary.AppendUvarint([]byte{kindRanges}, 1<<40))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		m, err := Merger().Merge(nil, a)
		if err != nil {
			return
		}
		if m.MergeNewer(b) != nil {
			return
		}
		ab, _, err := m.Finish(true)
		if err != nil {
			t.Fatal(err)
		}
		if a[0] == kindRow {
			var row Row
			if err := decodeRow(ab, &row); err != nil {
				t.Fatalf("%x and %x merge to %x: %v", a, b, ab, err)
			}
		}
	})
}
