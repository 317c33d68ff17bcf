package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
)

// stored is a tlog.HashReader of every hash of a tree, as tlog itself makes them.
type stored []tlog.Hash

func (s stored) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		out[i] = s[x]
	}
	return out, nil
}

// TestTiler: over a growing tree, the tiles are those that tlog would publish
// from each size to the next, with its bytes, and the edge gives the root.
func TestTiler(t *testing.T) {
	t.Parallel()
	var hashes stored
	var at Tiler
	steps := []uint64{1, 2, 3, 255, 256, 257, 300, 511, 512, 513, 1000, 65535, 65536, 65537, 70000}
	have := map[string][]byte{}
	older := uint64(0)
	for _, size := range steps {
		made := map[string][]byte{}
		keep := func(x Tile) error {
			if _, twice := made[x.Path]; twice {
				t.Errorf("%s is made twice", x.Path)
			}
			made[x.Path] = x.Data
			return nil
		}
		for i := older; i < size; i++ {
			record := fmt.Appendf(nil, "record %d", i)
			more, err := tlog.StoredHashes(int64(i), record, hashes)
			if err != nil {
				t.Fatal(err)
			}
			hashes = append(hashes, more...)
			if err := at.Append(LeafHash(record), keep); err != nil {
				t.Fatal(err)
			}
		}
		for _, x := range at.Partial(older) {
			_ = keep(x)
		}
		want := tlog.NewTiles(TileHeight, int64(older), int64(size))
		for _, w := range want {
			data, err := tlog.ReadTileData(w, hashes)
			if err != nil {
				t.Fatal(err)
			}
			path := TilePath(w.L, uint64(w.N), w.W)
			if !slices.Equal(made[path], data) {
				t.Errorf("%d to %d: %s differs", older, size, path)
			}
		}
		if len(made) != len(want) {
			t.Errorf("%d to %d: %d tiles, want %d", older, size, len(made), len(want))
		}
		root, err := tlog.TreeHash(int64(size), hashes)
		if got, rerr := at.Root(); err != nil || rerr != nil || got != root || !at.Valid() {
			t.Errorf("%d leaves: root %v, want %v (%v, %v)", size, got, root, err, rerr)
		}
		for k, v := range made {
			have[k] = v
		}
		// What stands there so far is readable under the checkpoint, at every
		// size before.
		r := reader(Checkpoint{Size: size, Root: root}, have)
		for _, s := range steps {
			if s > size {
				if _, err := r.RootAt(s); err == nil {
					t.Errorf("a tree of %d leaves has a root at %d", size, s)
				}
				break
			}
			want, _ := tlog.TreeHash(int64(s), hashes)
			if got, err := r.RootAt(s); err != nil || got != want {
				t.Errorf("root at %d of %d: %v, want %v (%v)", s, size, got, want, err)
			}
		}
		older = size
	}
	if c := at.Clone(); !slices.EqualFunc(c.Edge, at.Edge, slices.Equal) || c.Size != at.Size {
		t.Error("a clone differs")
	}
	if bad := (&Tiler{Size: 3, Edge: [][]Hash{{{}}}}); bad.Valid() {
		t.Error("an edge of one hash is valid for three leaves")
	}
}

func reader(c Checkpoint, have map[string][]byte) *Tiles {
	return NewTiles(c, func(path string) ([]byte, error) {
		if data, ok := have[path]; ok {
			return data, nil
		}
		return nil, fs.ErrNotExist
	}, func(err error) bool { return errors.Is(err, fs.ErrNotExist) })
}

// TestTilesTampered: a tile that was changed, cut or removed is told from one
// that could not be read; a full tile stands in for a partial one.
func TestTilesTampered(t *testing.T) {
	t.Parallel()
	have := map[string][]byte{}
	keep := func(x Tile) error { have[x.Path] = x.Data; return nil }
	var at Tiler
	for i := range 600 {
		if err := at.Append(LeafHash(fmt.Appendf(nil, "%d", i)), keep); err != nil {
			t.Fatal(err)
		}
	}
	for _, x := range at.Partial(0) {
		_ = keep(x)
	}
	root, err := at.Root()
	if err != nil {
		t.Fatal(err)
	}
	c := Checkpoint{Size: 600, Root: root}
	blocks := []Block{{0, 3}, {8, 0}, {512, 4}, {599, 0}}
	if got, err := reader(c, have).Subtrees(blocks); err != nil || got[1] != LeafHash([]byte("8")) || got[3] != LeafHash([]byte("599")) {
		t.Fatalf("%v %v", got, err)
	}
	if _, err := reader(c, have).Subtrees([]Block{{592, 4}}); err == nil {
		t.Error("a subtree that is not in the tree")
	}
	for path, data := range have {
		changed := map[string][]byte{}
		for k, v := range have {
			changed[k] = v
		}
		look := func(what string, want error) {
			t.Helper()
			_, err := reader(c, changed).Subtrees([]Block{{0, 0}, {256, 0}, {599, 0}})
			if !errors.Is(err, want) || want == nil && err != nil {
				t.Errorf("%s %s: %v, want %v", path, what, err, want)
			}
		}
		changed[path] = slices.Clone(data)
		changed[path][7] ^= 1
		look("changed", ErrTile)
		changed[path] = data[:len(data)-1]
		look("cut", ErrTile)
		delete(changed, path)
		look("removed", ErrTile)
		if len(data) < MaxTile {
			full := TilePath(int(path[len("tile/")]-'0'), map[byte]uint64{'0': 2, '1': 0}[path[len("tile/")]], tileWidth)
			changed[full] = append(slices.Clone(data), make([]byte, MaxTile-len(data))...)
			look("full", nil)
		}
	}
	broken := errors.New("broken")
	r := NewTiles(c, func(string) ([]byte, error) { return nil, broken }, func(error) bool { return false })
	if _, err := r.RootAt(5); !errors.Is(err, broken) || errors.Is(err, ErrTile) {
		t.Errorf("%v", err)
	}
}

// TestTilerExtend: runs of any length make the same tiles as their leaves one by
// one; sums that are not the run's are refused, or give another root.
func TestTilerExtend(t *testing.T) {
	t.Parallel()
	var one, run Tiler
	var ones, runs []Tile
	keep := func(to *[]Tile) func(Tile) error {
		return func(x Tile) error { *to = append(*to, x); return nil }
	}
	n := 0
	for _, count := range []int{1, 5, 250, 256, 256, 32, 1000, 33, 4096, 3, 9000, 20000, 0, 7} {
		var leaves []Hash
		for range count {
			leaf := LeafHash(fmt.Appendf(nil, "%d", n))
			n++
			leaves = append(leaves, leaf)
			if err := one.Append(leaf, keep(&ones)); err != nil {
				t.Fatal(err)
			}
		}
		sums := Sums(run.Size, leaves)
		if count > 0 {
			if err := (&Tiler{Size: run.Size}).Extend(tileData(leaves), sums[1:], nil); err == nil {
				t.Errorf("%d leaves with a sum less", count)
			}
		}
		if err := run.Extend(tileData(leaves), sums, keep(&runs)); err != nil {
			t.Fatal(err)
		}
		a, err := one.Root()
		b, rerr := run.Root()
		if err != nil || rerr != nil || a != b || one.Size != run.Size {
			t.Fatalf("after %d: %v and %v (%v, %v)", n, a, b, err, rerr)
		}
	}
	if !slices.EqualFunc(ones, runs, func(a, b Tile) bool { return a.Path == b.Path && slices.Equal(a.Data, b.Data) }) {
		t.Errorf("%d and %d tiles", len(ones), len(runs))
	}
}

func TestTilePath(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		level int
		n     uint64
		width int
		want  string
	}{
		{0, 0, 256, "tile/0/000"}, {0, 999, 256, "tile/0/999"}, {1, 1000, 256, "tile/1/x001/000"},
		{2, 1234067, 8, "tile/2/x001/x234/067.p/8"}, {3, 5, 1, "tile/3/005.p/1"},
	} {
		if got := TilePath(c.level, c.n, c.width); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
}

func BenchmarkTiler(b *testing.B) {
	var at Tiler
	leaf := LeafHash([]byte("x"))
	for b.Loop() {
		if err := at.Append(leaf, nil); err != nil {
			b.Fatal(err)
		}
	}
}
