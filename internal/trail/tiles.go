package trail

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"path"

	"golang.org/x/mod/sumdb/tlog"

	"spoor/internal/crashpoint"
	"spoor/internal/kv"
	"spoor/internal/tree"
)

// Tiles: a place that holds files gets the trees' hashes beside the checkpoints,
// as C2SP's tlog-tiles lays them out, so that whoever reads there can compute
// what a tree was at any size, and any record's proof, without the bucket.
//
// The leaves of a log file are kept with its plan, in the same batch, until
// every place has the tiles over them: the hashes exist at that moment, and
// nobody has to read the file again for them.
//
// Crash story: full tiles are written, then the row that says how far the place
// has come; then the tiles that are not full; then the checkpoint; then that it
// is published. Tiles follow from the leaves alone, so a crash in between writes
// some of them again with the same bytes under the same names, and at no moment
// a checkpoint stands there whose tiles do not.

const (
	// leavesAtOnce is how many leaves are read before their tiles are written
	// and noted: 2 MB, and one tile of the second level.
	leavesAtOnce = 1 << 16
	// tilesAtOnce are written within one publishTimeout.
	tilesAtOnce = 64
)

// tilesRow is how far a place has a tree's tiles.
type tilesRow struct {
	Version int        `json:"version"`
	Tiler   tree.Tiler `json:"tiler"`
	// Published is the size of the last checkpoint whose tiles are all there.
	Published uint64 `json:"published"`
}

// errNoLeaves says that the leaves that a place needs are not kept any more.
var errNoLeaves = errors.New("the hashes of the records before are not kept any more")

// errWithin says that a size is within a log file: no checkpoint is of it.
var errWithin = errors.New("a checkpoint's size is within a log file")

// ErrFork says that a place has a checkpoint which the tree contradicts: it is
// of another log, or of what this one was before its state was lost or changed.
// Nothing is overwritten then, as what stands there may be the evidence.
var ErrFork = errors.New("trail: the place has a checkpoint that this tree does not continue")

// keepLeaves notes a planned file's leaves for the places that take tiles.
func (s *stream) keepLeaves(b *kv.Batch, first uint64, sums []tree.Hash) {
	if s.f.m.wantsTiles() && len(s.leaves) > 0 {
		b.Set(leavesKey(s.f.arn, s.region, first), leavesRow(s.leaves, sums))
	}
}

// leavesRow is a log file's leaves and the sums of their blocks behind each
// other, after the number of leaves.
func leavesRow(leaves, sums []tree.Hash) []byte {
	row := make([]byte, 0, binary.MaxVarintLen64+(len(leaves)+len(sums))*tlog.HashSize)
	row = binary.AppendUvarint(row, uint64(len(leaves)))
	for _, part := range [][]tree.Hash{leaves, sums} {
		for i := range part {
			row = append(row, part[i][:]...)
		}
	}
	return row
}

// run is a log file's leaves.
type run struct {
	leaves []byte
	sums   []tree.Hash
}

func (r *run) count() uint64 { return uint64(len(r.leaves) / tlog.HashSize) }

func parseLeaves(row []byte) (run, error) {
	n, w := binary.Uvarint(row)
	if w <= 0 || len(row[w:])%tlog.HashSize != 0 || n == 0 || n > uint64(len(row[w:])/tlog.HashSize) {
		return run{}, errors.New("the leaves of a file are damaged")
	}
	at := w + int(n)*tlog.HashSize
	r := run{leaves: bytes.Clone(row[w:at])}
	for rest := row[at:]; len(rest) > 0; rest = rest[tlog.HashSize:] {
		r.sums = append(r.sums, tree.Hash(rest[:tlog.HashSize]))
	}
	return r, nil
}

func (m *Manager) wantsTiles() bool {
	for _, p := range m.publishers {
		if p.files != nil {
			return true
		}
	}
	return false
}

// dropLeaves removes leaves that no place wants any more.
func (m *Manager) dropLeaves() error {
	if m.wantsTiles() {
		return nil
	}
	prefix, any := kv.Key(kv.SpaceDeliver, "leaves"), false
	err := m.cfg.Store.Scan(prefix, func(_, _ []byte) (bool, error) { any = true; return false, nil })
	if err != nil || !any {
		return err
	}
	b := m.cfg.Store.NewBatch()
	b.DeleteRange(prefix, kv.PrefixEnd(prefix))
	return m.cfg.Journal.Commit(b)
}

// leaves reads kept leaves from a size on: some whole files' worth, to at most
// the given end.
func (m *Manager) leaves(arn, region string, from, to uint64) ([]run, error) {
	var out []run
	prefix := leavesPrefix(arn, region)
	at := from
	err := m.cfg.Store.ScanRange(leavesKey(arn, region, from), leavesKey(arn, region, to), func(k, v []byte) (bool, error) {
		if len(k) != len(prefix)+8 {
			return false, fmt.Errorf("the key %q is damaged", k)
		}
		if binary.BigEndian.Uint64(k[len(prefix):]) != at {
			return false, nil
		}
		r, err := parseLeaves(v)
		if err != nil {
			return false, err
		}
		out = append(out, r)
		at += r.count()
		return at-from < leavesAtOnce, nil
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading leaves of the Merkle tree: %w", err)
	case at == from:
		return nil, fmt.Errorf("leaf %d: %w", from, errNoLeaves)
	case at > to:
		return nil, fmt.Errorf("leaf %d: %w", to, errWithin)
	}
	return out, nil
}

// tiles brings a place's tiles of one tree to a checkpoint. It returns the row
// to note once the checkpoint itself is published.
func (p *publisher) tiles(ctx context.Context, r *newest, c tree.Checkpoint) (*tilesRow, error) {
	row := &tilesRow{Version: formatVersion}
	if _, err := p.m.cfg.Store.GetRow(tilesKey(p.name, r.arn, r.region), row, &row.Version, formatVersion); err != nil {
		return nil, err
	}
	if !row.Tiler.Valid() {
		return nil, fmt.Errorf("what is known of the tiles at %s is damaged", p.name)
	}
	if err := p.continues(ctx, r, row, c); err != nil {
		return nil, err
	}
	var batch []tree.Tile
	write := func() error {
		if len(batch) == 0 {
			return nil
		}
		err := p.write(ctx, batch)
		batch = batch[:0]
		return err
	}
	full := func(t tree.Tile) error {
		t.Path = path.Join(c.Origin, t.Path)
		if batch = append(batch, t); len(batch) < tilesAtOnce {
			return nil
		}
		return write()
	}
	for row.Tiler.Size < c.Size {
		leaves, err := p.leaves(ctx, r, row.Tiler.Size, c.Size)
		if err != nil {
			return nil, err
		}
		if err := extend(&row.Tiler, leaves, full); err != nil {
			return nil, err
		}
		if err := write(); err != nil {
			return nil, err
		}
		crashpoint.Here("tiles.written")
		if row.Tiler.Size < c.Size { // otherwise the checkpoint notes it
			b := p.m.cfg.Store.NewBatch()
			b.Set(tilesKey(p.name, r.arn, r.region), kv.MustJSON(row))
			if err := p.m.cfg.Journal.Commit(b); err != nil {
				return nil, err
			}
		}
	}
	if root, err := row.Tiler.Root(); err != nil || row.Tiler.Size != c.Size || root != c.Root {
		return nil, fmt.Errorf("the tiles of %s make another tree than its checkpoint of %d records (%w)", c.Origin, c.Size, err)
	}
	for _, t := range row.Tiler.Partial(row.Published) {
		if err := full(t); err != nil {
			return nil, err
		}
	}
	if err := write(); err != nil {
		return nil, err
	}
	crashpoint.Here("tiles.complete")
	row.Published = c.Size
	return row, nil
}

func extend(t *tree.Tiler, runs []run, full func(tree.Tile) error) error {
	for i := range runs {
		if err := t.Extend(runs[i].leaves, runs[i].sums, full); err != nil {
			return err
		}
	}
	return nil
}

// write is one attempt at some files, in any order.
func (p *publisher) write(ctx context.Context, files []tree.Tile) error {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	return p.files.write(ctx, files)
}

// has is the checkpoint that a place has of a tree, nil for none. It is ErrFork
// when the one that is to follow cannot.
func (p *publisher) has(ctx context.Context, c tree.Checkpoint) (*tree.Checkpoint, error) {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	raw, err := p.files.read(ctx, path.Join(c.Origin, tree.CheckpointPath))
	if errors.Is(err, errNoFile) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	has, err := tree.ParseCheckpoint(string(raw))
	if err != nil {
		p.m.cfg.Log.Warn("what stands in the place of a checkpoint is none and is replaced", "place", p.name, "tree", c.Origin, "err", err)
		return nil, nil
	}
	if has.Origin != c.Origin || has.Size > c.Size || has.Size == c.Size && has.Root != c.Root {
		return nil, forks(has, c)
	}
	return &has, nil
}

func forks(has, c tree.Checkpoint) error {
	return fmt.Errorf("%w: it is of %d records in %s, the tree has %d", ErrFork, has.Size, has.Origin, c.Size)
}

// continues looks at the checkpoint that a place has: the tree must continue it.
// Nothing is written before.
func (p *publisher) continues(ctx context.Context, r *newest, row *tilesRow, c tree.Checkpoint) error {
	has, err := p.has(ctx, c)
	if err != nil {
		return err
	}
	if has == nil {
		if row.Published > 0 { // the place was emptied, or is another one under the name
			p.m.cfg.Log.Warn("the place has lost its checkpoint; it gets the tree again", "place", p.name, "tree", c.Origin)
			*row = tilesRow{Version: formatVersion}
		}
		return nil
	}
	if has.Size < row.Tiler.Size {
		return nil // a crash was between tiles and checkpoint; or somebody put an older one back
	}
	// The tree as it was at that size, without writing anything.
	at := row.Tiler.Clone()
	for at.Size < has.Size {
		leaves, err := p.leaves(ctx, r, at.Size, has.Size)
		if errors.Is(err, errWithin) {
			return forks(*has, c)
		}
		if err != nil {
			return err
		}
		if err := extend(&at, leaves, nil); err != nil {
			return err
		}
	}
	if root, err := at.Root(); err != nil || root != has.Root {
		return errors.Join(forks(*has, c), err)
	}
	return nil
}

// prune removes the leaves that every place has tiles over.
func (p *publisher) prune(arn, region string) error {
	low := uint64(math.MaxUint64)
	for _, o := range p.m.publishers {
		if o.files == nil {
			continue
		}
		var row tilesRow
		if _, err := p.m.cfg.Store.GetRow(tilesKey(o.name, arn, region), &row, &row.Version, formatVersion); err != nil {
			return err
		}
		low = min(low, row.Tiler.Size)
	}
	if low == 0 {
		return nil
	}
	b := p.m.cfg.Store.NewBatch()
	b.DeleteRange(leavesKey(arn, region, 0), leavesKey(arn, region, low))
	return p.m.cfg.Journal.Commit(b)
}
