package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"

	"spoor/internal/digest"
	"spoor/internal/tree"
)

// Files reads the files of a place outside the bucket, where the server keeps
// checkpoints and tiles. An absent file is ErrNotFound.
type Files interface {
	Read(ctx context.Context, name string) ([]byte, error)
}

// NewFiles reads a place's files from a source: below a prefix of a bucket, or
// a directory.
func NewFiles(s Source, bucket, prefix string) Files { return sourceFiles{s, bucket, prefix} }

type sourceFiles struct {
	Source
	bucket, prefix string
}

func (s sourceFiles) Read(ctx context.Context, name string) ([]byte, error) {
	body, _, err := s.Get(ctx, s.bucket, path.Join(s.prefix, name))
	if err != nil {
		return nil, err
	}
	out, err := io.ReadAll(io.LimitReader(body, tree.MaxNote+1))
	return out, errors.Join(err, body.Close())
}

// NewHTTPFiles reads a place's files below a URL.
func NewHTTPFiles(base string, client *http.Client) Files {
	return httpFiles{strings.TrimSuffix(base, "/"), client}
}

type httpFiles struct {
	base   string
	client *http.Client
}

func (h httpFiles) Read(ctx context.Context, name string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.base+"/"+name, http.NoBody)
	if err != nil {
		return nil, err
	}
	res, err := h.client.Do(req)
	if err != nil {
		return nil, err
	}
	out, err := io.ReadAll(io.LimitReader(res.Body, tree.MaxNote+1))
	err = errors.Join(err, res.Body.Close())
	switch {
	case res.StatusCode == http.StatusNotFound || res.StatusCode == http.StatusGone:
		return nil, fmt.Errorf("%w: %s", ErrNotFound, req.URL)
	case res.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("reading %s: the answer is %s", req.URL, res.Status)
	}
	return out, err
}

// openTiles reads the checkpoint that the place of tiles has for a region. It is
// one from outside like those that are given as files.
func (v *verifier) openTiles(ctx context.Context, r *region) error {
	if v.cfg.Tiles == nil {
		return nil
	}
	origin := tree.Origin(v.account, v.home, v.name, r.Region)
	raw, err := v.cfg.Tiles.Read(ctx, path.Join(origin, tree.CheckpointPath))
	if errors.Is(err, ErrNotFound) {
		if len(r.digests) > 0 {
			v.unproven("the place of tiles has no checkpoint of %s", origin)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the checkpoint beside the tiles: %w", err)
	}
	_, c, err := v.checkpoint(string(raw))
	if err == nil && c.Origin != origin {
		err = fmt.Errorf("it is of %s, not of %s", c.Origin, origin)
	}
	if err != nil {
		return fmt.Errorf("reading the checkpoint beside the tiles: %w", err)
	}
	r.outside = append(r.outside, c)
	r.tiles = tree.NewTiles(c.Checkpoint, func(name string) ([]byte, error) {
		return v.cfg.Tiles.Read(ctx, path.Join(origin, name))
	}, func(err error) bool { return errors.Is(err, ErrNotFound) })
	r.TilesSize = c.Size
	return nil
}

// badTiles notes tiles that are not the checkpoint's, once, and gives them up.
// Any other error is returned.
func (v *verifier) badTiles(r *region, err error) error {
	if !errors.Is(err, tree.ErrTile) {
		return fmt.Errorf("reading the tiles of %s: %w", r.Region, err)
	}
	v.find(Finding{Kind: TilesInvalid, Region: r.Region, Detail: fmt.Sprintf("the tiles outside the bucket do not make the tree of the checkpoint beside them: %v", err)})
	r.tiles = nil
	return nil
}

// keptBefore holds the checkpoints from outside against the tiles: the log that
// stands there must continue each of them.
func (v *verifier) keptBefore(r *region) error {
	for _, c := range r.outside {
		if r.tiles == nil {
			return nil
		}
		if c.Size > r.tiles.Size {
			v.report.Notes = append(v.report.Notes, fmt.Sprintf("the tiles of %s are of %d records, a checkpoint is of %d: the place is behind, or was put back", r.Region, r.tiles.Size, c.Size))
			continue
		}
		root, err := r.tiles.RootAt(c.Size)
		if err != nil {
			if err := v.badTiles(r, err); err != nil {
				return err
			}
			continue
		}
		if root != c.Root {
			v.find(Finding{Kind: TilesInvalid, Region: r.Region, Detail: fmt.Sprintf("the log that the tiles are of does not continue the checkpoint of %d records that was kept: one key signed both, and one of them is forged", c.Size)})
		}
	}
	return nil
}

// meetTiles holds the tree after a digest against the tiles. proven says that
// they are the same.
func (v *verifier) meetTiles(ctx context.Context, r *region, n *node, at *tree.Frontier) (proven bool, err error) {
	if r.tiles == nil || at.Size > r.tiles.Size {
		return false, nil
	}
	root, err := r.tiles.RootAt(at.Size)
	if err != nil {
		return false, v.badTiles(r, err)
	}
	if root == at.Root() {
		return true, nil
	}
	if r.diverged {
		return false, nil // what follows a change has other roots, too
	}
	r.diverged = true
	return false, v.locate(ctx, r, n)
}

// locate finds the first of a digest's records that are not those of the tiles.
func (v *verifier) locate(ctx context.Context, r *region, n *node) error {
	for i := range n.d.LogFiles {
		f := &n.d.LogFiles[i]
		if f.Records == nil || f.Records.Tree == nil {
			continue
		}
		first, sums := f.Records.Tree.First, f.Records.Tree.Sums
		if len(sums) == 0 {
			sums = r.sums[f.Object]
		}
		blocks := tree.Blocks(first, uint64(max(f.Records.Count, 0)))
		if len(blocks) != len(sums) {
			continue
		}
		for j, b := range blocks {
			if b.First+b.Len() > r.tiles.Size {
				break
			}
			have, err := r.tiles.Subtrees([]tree.Block{b})
			if err != nil {
				return v.badTiles(r, err)
			}
			if have[0] != sums[j] {
				return v.diverges(ctx, r, n, f, b)
			}
		}
	}
	v.mismatch(r, n.key, 0, 0, "the tiles outside the bucket are of another tree: what the digest says was before it is not what was signed")
	return nil
}

// diverges reports the record of a log file, within a block of its leaves, from
// which on the tiles have others.
func (v *verifier) diverges(ctx context.Context, r *region, n *node, f *digest.LogFile, b tree.Block) error {
	leaf := b.First
	plain, _, err := v.get(ctx, f.Bucket, f.Object, maxLogFile)
	if err == nil {
		if records, serr := spans(plain); serr == nil && len(records) == f.Records.Count {
			own := leaves(records, plain)[b.First-f.Records.Tree.First:]
			for i := range b.Len() {
				have, err := r.tiles.Subtrees([]tree.Block{{First: b.First + i}})
				if err != nil {
					return v.badTiles(r, err)
				}
				if have[0] != own[i] {
					leaf = b.First + i
					break
				}
			}
		}
	} else if !errors.Is(err, ErrNotFound) && !errors.Is(err, errGzip) {
		return err
	}
	x := f.Records
	from, to := x.First, x.Last
	// Numbers and places go together only where the trail selects every record;
	// a file that lost some says fewer than it has numbers.
	if place := leaf - x.Tree.First; uint64(x.Count) == x.Last-x.First+1 {
		from = x.First + place
	}
	v.mismatch(r, f.Object, from, to, "the tiles outside the bucket have another record at leaf %d: it was changed, removed or put in, and digest %s written to match", leaf, n.key)
	return nil
}
