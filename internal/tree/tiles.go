package tree

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/tlog"
)

// TileHeight is the height that C2SP's tlog-tiles gives every tile: a full one
// has 256 hashes.
const TileHeight = 8

const tileWidth = 1 << TileHeight

// MaxTile is how many bytes a tile has at most.
const MaxTile = tileWidth * tlog.HashSize

// CheckpointPath is where tlog-tiles has a log's newest checkpoint.
const CheckpointPath = "checkpoint"

// Tile is one tile and where tlog-tiles has it, below the log's own place.
type Tile struct {
	Path string
	Data []byte
}

// TilePath is where tlog-tiles has a tile: tile/<L>/<N>, or tile/<L>/<N>.p/<W>
// of one that is not full.
func TilePath(level int, n uint64, width int) string {
	name := fmt.Sprintf("%03d", n%1000)
	for n >= 1000 {
		n /= 1000
		name = fmt.Sprintf("x%03d/%s", n%1000, name)
	}
	if width < tileWidth {
		name += fmt.Sprintf(".p/%d", width)
	}
	return fmt.Sprintf("tile/%d/%s", level, name)
}

// Tiler makes the tiles of a tree that grows leaf by leaf. It knows the last
// tile of each level, as far as it is filled; that is all it needs to go on.
type Tiler struct {
	Size uint64 `json:"size"`
	// Edge are the hashes of each level's last tile that is not full.
	Edge [][]Hash `json:"edge,omitempty"`
}

// Valid reports whether the edge has as many hashes as the size needs.
func (t *Tiler) Valid() bool {
	size := t.Size
	for _, level := range t.Edge {
		if uint64(len(level)) != size%tileWidth {
			return false
		}
		size /= tileWidth
	}
	return size == 0
}

// Clone is a copy that shares nothing.
func (t *Tiler) Clone() Tiler {
	c := Tiler{Size: t.Size, Edge: make([][]Hash, len(t.Edge))}
	for i := range t.Edge {
		c.Edge[i] = slices.Clone(t.Edge[i])
	}
	return c
}

// Extend adds a run of leaves, as they stand one behind the other, and tells full
// of each tile that they fill. sums are those of the run's Blocks: what is
// computed already is not again. full may be nil.
func (t *Tiler) Extend(leaves []byte, sums []Hash, full func(Tile) error) error {
	known, err := tileSums(t.Size, uint64(len(leaves)/tlog.HashSize), sums)
	if err != nil {
		return err
	}
	for ; len(leaves) >= tlog.HashSize; leaves = leaves[tlog.HashSize:] {
		var sum *Hash
		if (t.Size+1)%tileWidth == 0 {
			if h, ok := known[t.Size/tileWidth]; ok {
				sum = &h
			}
		}
		if err := t.add(Hash(leaves[:tlog.HashSize]), sum, full); err != nil {
			return err
		}
	}
	return nil
}

// tileSums are the hashes over the tiles of level 0 that a run of leaves has
// whole, as far as they follow from its blocks.
func tileSums(first, count uint64, sums []Hash) (map[uint64]Hash, error) {
	blocks := Blocks(first, count)
	if len(blocks) != len(sums) {
		return nil, fmt.Errorf("tree: %d leaves from %d on have %d blocks, not %d", count, first, len(blocks), len(sums))
	}
	out := map[uint64]Hash{}
	var f Frontier
	for i, b := range blocks {
		if b.Level > TileHeight {
			continue
		}
		if b.First%tileWidth == 0 {
			f = Frontier{}
		} else if f.Size != b.First%tileWidth {
			continue // the tile begins before the run
		}
		if err := f.Append(b.Level, sums[i]); err != nil {
			return nil, err
		}
		if f.Size == tileWidth {
			out[b.First/tileWidth] = f.Hashes[0]
		}
	}
	return out, nil
}

// Append adds a leaf and tells full of each tile that it fills. full may be nil.
func (t *Tiler) Append(leaf Hash, full func(Tile) error) error { return t.add(leaf, nil, full) }

// add is Append; sum, if it is known, is that of the tile of level 0 that the
// leaf fills.
func (t *Tiler) add(leaf Hash, sum *Hash, full func(Tile) error) error {
	h := leaf
	for level := 0; ; level++ {
		if level == len(t.Edge) {
			t.Edge = append(t.Edge, make([]Hash, 0, tileWidth))
		}
		t.Edge[level] = append(t.Edge[level], h)
		if len(t.Edge[level]) < tileWidth {
			break
		}
		if full != nil {
			n := t.Size >> (TileHeight * (level + 1))
			if err := full(Tile{TilePath(level, n, tileWidth), tileData(t.Edge[level])}); err != nil {
				return err
			}
		}
		if level == 0 && sum != nil {
			h = *sum
		} else {
			h = Sum(t.Edge[level])
		}
		t.Edge[level] = t.Edge[level][:0]
	}
	t.Size++
	return nil
}

// Partial are the tiles that are not full and that a tree of the given older
// size did not have, or had with fewer hashes.
func (t *Tiler) Partial(older uint64) []Tile {
	var out []Tile
	for level, hashes := range t.Edge {
		now, then := t.Size>>(TileHeight*level), older>>(TileHeight*level)
		if len(hashes) > 0 && now != then {
			out = append(out, Tile{TilePath(level, now/tileWidth, len(hashes)), tileData(hashes)})
		}
	}
	return out
}

// Root is the tree's hash.
func (t *Tiler) Root() (Hash, error) {
	var f Frontier
	for level, hashes := range slices.Backward(t.Edge) {
		for _, h := range hashes {
			if err := f.Append(TileHeight*level, h); err != nil {
				return Hash{}, err
			}
		}
	}
	if f.Size != t.Size {
		return Hash{}, fmt.Errorf("tree: the tiles' edge is of %d leaves, not %d", f.Size, t.Size)
	}
	return f.Root(), nil
}

func tileData(hashes []Hash) []byte {
	out := make([]byte, 0, len(hashes)*tlog.HashSize)
	for i := range hashes {
		out = append(out, hashes[i][:]...)
	}
	return out
}

// ErrTile is wrapped by the errors of tiles that are not those of the tree whose
// checkpoint they stand beside.
var ErrTile = errors.New("tree: not the tiles of the checkpoint")

// Tiles reads a tree from its tiles. What it returns is proven by the
// checkpoint; it serves one goroutine.
type Tiles struct {
	Checkpoint
	tiles tileReader
}

// maxKept bounds the tiles that are kept in memory, 8 KB each.
const maxKept = 4096

// NewTiles is for the tree of a checkpoint. get reads a tile by its path; its
// error for one that is not there must be such that absent reports it.
func NewTiles(c Checkpoint, get func(path string) ([]byte, error), absent func(error) bool) *Tiles {
	return &Tiles{c, tileReader{get: get, absent: absent, kept: map[string][]byte{}}}
}

// RootAt is the root that the tree had at a smaller or the same size.
func (t *Tiles) RootAt(size uint64) (Hash, error) {
	if size == 0 {
		return tlog.Hash(emptyRoot), nil
	}
	if size > t.Size {
		return Hash{}, fmt.Errorf("tree: the tiles are of %d leaves, not of %d", t.Size, size)
	}
	h, err := tlog.TreeHash(int64(size), t)
	return h, err
}

// Subtrees are the hashes of complete subtrees within the tree.
func (t *Tiles) Subtrees(blocks []Block) ([]Hash, error) {
	indexes := make([]int64, len(blocks))
	for i, b := range blocks {
		if b.First+b.Len() > t.Size {
			return nil, fmt.Errorf("tree: the tiles are of %d leaves, not of %d", t.Size, b.First+b.Len())
		}
		indexes[i] = tlog.StoredHashIndex(b.Level, int64(b.First>>b.Level))
	}
	return t.ReadHashes(indexes)
}

// ReadHashes implements tlog.HashReader.
func (t *Tiles) ReadHashes(indexes []int64) ([]Hash, error) {
	t.tiles.failed = nil
	out, err := tlog.TileHashReader(tlog.Tree{N: int64(t.Size), Hash: t.Root}, &t.tiles).ReadHashes(indexes)
	if err != nil && t.tiles.failed == nil { // read, and not what they should be
		err = fmt.Errorf("%w: %w", ErrTile, err)
	}
	return out, err
}

// tileReader implements tlog.TileReader.
type tileReader struct {
	get    func(path string) ([]byte, error)
	absent func(error) bool
	kept   map[string][]byte
	failed error // of the last reading
}

func (r *tileReader) Height() int { return TileHeight }

func (r *tileReader) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	out := make([][]byte, len(tiles))
	for i, tile := range tiles {
		data, err := r.tile(tile)
		if err != nil {
			r.failed = err
			return nil, err
		}
		out[i] = data
	}
	return out, nil
}

// tile reads one. A full tile stands in for a partial one, which a log may
// remove once it is full (tlog-tiles, "Partial Tiles").
func (r *tileReader) tile(tile tlog.Tile) ([]byte, error) {
	path := TilePath(tile.L, uint64(tile.N), tile.W)
	if data, ok := r.kept[path]; ok {
		return data, nil
	}
	want := tile.W * tlog.HashSize
	data, err := r.get(path)
	if err != nil && r.absent(err) && tile.W < tileWidth {
		if data, err = r.get(TilePath(tile.L, uint64(tile.N), tileWidth)); err == nil && len(data) == MaxTile {
			data = data[:want]
		}
	}
	switch {
	case err != nil && r.absent(err):
		return nil, fmt.Errorf("%w: %s is not there", ErrTile, path)
	case err != nil:
		return nil, err
	case len(data) != want:
		return nil, fmt.Errorf("%w: %s has %d bytes, not %d", ErrTile, path, len(data), want)
	}
	return data, nil
}

// SaveTiles keeps tiles that were found to be the checkpoint's.
func (r *tileReader) SaveTiles(tiles []tlog.Tile, data [][]byte) {
	if len(r.kept) > maxKept {
		clear(r.kept)
	}
	for i, tile := range tiles {
		r.kept[TilePath(tile.L, uint64(tile.N), tile.W)] = data[i]
	}
}
