package tamper

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"spoor/internal/tree"
	"spoor/internal/verify"
)

// place is a place outside the bucket, in memory.
type place map[string][]byte

var errPlace = errors.New("the place cannot be read")

func (p place) Read(_ context.Context, name string) ([]byte, error) {
	b, ok := p[name]
	switch {
	case ok && b == nil:
		return nil, errPlace
	case !ok:
		return nil, fmt.Errorf("%w: %s", verify.ErrNotFound, name)
	}
	return b, nil
}

// tiles is what the server has put at a place outside by the n-th digest of each
// region, computed from the log files.
func (w *world) tiles(t *testing.T, n int) place {
	t.Helper()
	p := place{}
	for region, keys := range w.digests {
		origin := tree.Origin(account, home, name, region)
		keep := func(x tree.Tile) error { p[origin+"/"+x.Path] = x.Data; return nil }
		var at tree.Tiler
		for _, key := range keys[:n] {
			d := w.files.digest(key)
			older := at.Size
			for _, f := range d.LogFiles {
				for _, leaf := range leavesOf(w.files, f.Object) {
					if err := at.Append(leaf, keep); err != nil {
						t.Fatal(err)
					}
				}
			}
			for _, x := range at.Partial(older) {
				_ = keep(x)
			}
			p[origin+"/checkpoint"] = []byte(d.Extension.Tree.Checkpoint)
		}
	}
	return p
}

// TestTiles: a place outside finds what a forger with all keys and the bucket
// did, in any digest, and says from which record on; one that was itself changed
// is found as well.
func TestTiles(t *testing.T) {
	t.Parallel()
	w := inMemory(t)
	all := len(w.digests[home])
	if n := len(w.digests[abroad]); n != all {
		t.Fatalf("%d and %d digests", all, n)
	}
	key := []ed25519.PublicKey{w.notes.Public().(ed25519.PublicKey)}
	run := func(f files, p place, change func(*verify.Config)) (*verify.Report, error) {
		cfg := w.cfg
		cfg.Source, cfg.Anchors, cfg.Checkpoints, cfg.Tiles, cfg.CheckpointKeys = f, nil, nil, p, key
		if change != nil {
			change(&cfg)
		}
		return verify.Run(t.Context(), cfg)
	}
	// Untouched, with the place up to date or behind, with or without other keys.
	for n := 1; n <= all; n++ {
		for what, change := range map[string]func(*verify.Config){
			"all keys":       nil,
			"no digest keys": func(c *verify.Config) { c.Keys = nil },
			"a kept checkpoint": func(c *verify.Config) {
				c.Checkpoints = []string{w.files.digest(w.digests[home][0]).Extension.Tree.Checkpoint}
			},
		} {
			if r, err := run(w.files, w.tiles(t, n), change); err != nil || r.ExitCode() != verify.ExitClean || r.Regions[0].TilesSize == 0 {
				t.Errorf("%d digests, %s: %+v %v", n, what, r, err)
			}
		}
	}
	full := w.tiles(t, all)
	// The tiles alone vouch, where no key is known.
	if r, err := run(w.files, full, func(c *verify.Config) { c.Keys, c.CheckpointKeys = nil, nil }); err != nil || r.ExitCode() != verify.ExitClean {
		t.Errorf("without any key: %+v %v", r, err)
	}
	forged := func(name string) files {
		t.Helper()
		for i := range tamperings {
			if tamperings[i].name == name {
				f, _ := w.tampered(&tamperings[i])
				return f
			}
		}
		t.Fatalf("no tampering is called %q", name)
		return nil
	}
	const removed = "with both keys: a record removed from a log file, its digest and checkpoint written to match"
	const left = "with both keys: the newest log file of the newest digest left out, all written to match"
	for _, tt := range []struct {
		name string
		n    int
		want []string
	}{
		{removed, all, []string{"tree-mismatch: us-east-1 log 17 records", "tail-truncated: us-east-1 records"}},
		{left, all, []string{"tail-truncated: us-east-1 records"}},
		{removed, all - 1, nil}, // the place is behind: it knows nothing of the newest digest
	} {
		r, err := run(forged(tt.name), w.tiles(t, tt.n), nil)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for i := range r.Findings {
			got = append(got, w.short(&r.Findings[i]))
		}
		for _, want := range tt.want {
			if !slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, want) }) {
				t.Errorf("%s: %q, want %q", tt.name, got, want)
			}
		}
		if len(tt.want) == 0 && len(got) > 0 {
			t.Errorf("%s, with old tiles: %q", tt.name, got)
		}
	}
	// The whole bucket gone, but not the place.
	if r, err := run(files{}, full, nil); err != nil || len(r.Findings) == 0 || r.Findings[0].Kind != verify.TailTruncated {
		t.Errorf("an empty bucket: %+v %v", r, err)
	}
	// The place changed.
	newest, err := tree.ParseCheckpoint(string(full[tree.Origin(account, home, name, home)+"/checkpoint"]))
	if err != nil || newest.Size >= 256 {
		t.Fatalf("%+v %v", newest, err)
	}
	tile := newest.Origin + "/" + tree.TilePath(0, 0, int(newest.Size)) // older partial tiles are not read
	data := full[tile]
	if len(data) == 0 {
		t.Fatalf("there is no %s", tile)
	}
	for what, change := range map[string]func(place){
		"changed": func(p place) { b := slices.Clone(data); b[3] ^= 1; p[tile] = b },
		"cut":     func(p place) { p[tile] = data[:len(data)-32] },
		"removed": func(p place) { delete(p, tile) },
	} {
		p := maps.Clone(full)
		change(p)
		r, err := run(w.files, p, nil)
		if err != nil || !slices.ContainsFunc(r.Findings, func(f verify.Finding) bool { return f.Kind == verify.TilesInvalid }) {
			t.Errorf("%s %s: %+v %v", tile, what, r, err)
		}
	}
	p := maps.Clone(full)
	p[tile] = nil
	if _, err := run(w.files, p, nil); !errors.Is(err, errPlace) {
		t.Errorf("%s cannot be read: %v", tile, err)
	}
	// A checkpoint there of nobody's, or of another tree.
	at := tree.Origin(account, home, name, home) + "/checkpoint"
	for what, text := range map[string]string{
		"another key":  mustSign(t, tree.Checkpoint{Origin: strings.TrimSuffix(at, "/checkpoint"), Size: 2}, ed25519.NewKeyFromSeed(make([]byte, 32))),
		"another tree": string(full[tree.Origin(account, home, name, abroad)+"/checkpoint"]),
		"nonsense":     "nonsense",
	} {
		p := maps.Clone(full)
		p[at] = []byte(text)
		if _, err := run(w.files, p, nil); err == nil {
			t.Errorf("a checkpoint of %s passes", what)
		}
	}
	// One key signed two logs: the tiles' and a kept checkpoint.
	c := tree.Checkpoint{Origin: strings.TrimSuffix(at, "/checkpoint"), Size: 10, Root: tree.LeafHash(nil)}
	r, err := run(w.files, full, func(cfg *verify.Config) { cfg.Checkpoints = []string{mustSign(t, c, w.notes)} })
	if err != nil || !slices.ContainsFunc(r.Findings, func(f verify.Finding) bool { return f.Kind == verify.TilesInvalid }) {
		t.Errorf("a kept checkpoint that the tiles do not continue: %+v %v", r, err)
	}
	// Nothing there: not proven.
	if r, err := run(w.files, place{}, nil); err != nil || r.ExitCode() != verify.ExitUnknown {
		t.Errorf("an empty place: %+v %v", r, err)
	}
}

func mustSign(t *testing.T, c tree.Checkpoint, key ed25519.PrivateKey) string {
	t.Helper()
	s, err := c.Sign(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
