package tamper

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"spoor/internal/kv"
	"spoor/internal/seal"
	"spoor/internal/verify"
)

// inMemory makes a world that no server has.
func inMemory(t testing.TB) *world {
	t.Helper()
	store, err := kv.Open("store", kv.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := seal.New(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	w := deliver(t, store, sealer, time.Date(2026, 11, 24, 6, 0, 0, 0, time.UTC))
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	return w
}

// tampered is the world's files after a tampering, and how to verify them.
func (w *world) tampered(c *tampering) (files, verify.Config) {
	f, cfg := w.files.clone(), w.cfg
	cfg.Keys, cfg.Anchors = maps.Clone(w.cfg.Keys), maps.Clone(w.cfg.Anchors)
	c.do(w, f, &cfg)
	cfg.Source = f
	return f, cfg
}

// checkpoints are the newest ones, as somebody kept them.
func (w *world) checkpoints() []string {
	var out []string
	for _, list := range w.digests {
		out = append(out, w.files.digest(last(list)).Extension.Tree.Checkpoint)
	}
	return out
}

// alias is a file's name in this package: what it is, of which region, and its
// place from the oldest on.
func (w *world) alias(key string) string {
	for region, list := range w.digests {
		if i := slices.Index(list, key); i >= 0 {
			return fmt.Sprintf("%s digest %d", region, i)
		}
	}
	for region, list := range w.logs {
		if i := slices.Index(list, key); i >= 0 {
			return fmt.Sprintf("%s log %d", region, i)
		}
		if w.pending[region] == key {
			return region + " log after the digests"
		}
	}
	return "an added file"
}

// short is a finding for comparison: kind, file, record numbers.
func (w *world) short(f *verify.Finding) string {
	s := string(f.Kind) + ": "
	if f.Key == "" {
		s += f.Region
	} else {
		s += w.alias(f.Key)
	}
	if f.LastSeq > 0 {
		s += fmt.Sprintf(" records %d-%d", f.FirstSeq, f.LastSeq)
	}
	return s
}

// changed are the keys whose object differs.
func (w *world) changed(f files) []string {
	set := map[string]bool{}
	for k, o := range w.files {
		if n, ok := f[k]; !ok || !bytes.Equal(o.body, n.body) || !maps.Equal(o.meta, n.meta) {
			set[k] = true
		}
	}
	for k := range f {
		if _, ok := w.files[k]; !ok {
			set[k] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}

func TestTampering(t *testing.T) {
	t.Parallel()
	w := inMemory(t)
	cfg := w.cfg
	cfg.Source = w.files
	r, err := verify.Run(t.Context(), cfg)
	if err != nil || r.ExitCode() != verify.ExitClean {
		t.Fatalf("before any change: %+v %v", r, err)
	}
	if n := len(w.logs[home]) + len(w.logs[abroad]); n < 20 || len(w.digests[home]) < 6 {
		t.Fatalf("%d log files and %d digests", n, len(w.digests[home]))
	}
	names := map[string]bool{}
	for i := range tamperings {
		c := &tamperings[i]
		if names[c.name] {
			t.Errorf("%q is there twice", c.name)
		}
		names[c.name] = true
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f, cfg := w.tampered(c)
			r, err := verify.Run(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for i := range r.Findings {
				got = append(got, w.short(&r.Findings[i]))
			}
			slices.Sort(got) // names of files are random
			if !slices.Equal(got, c.want) {
				t.Errorf("found\n\t%q\nwant\n\t%q", got, c.want)
			}
			// Whoever only kept the last checkpoint finds it too, if it is about
			// what the checkpoint covers.
			cfg.Anchors, cfg.Checkpoints = nil, w.checkpoints()
			if r, err := verify.Run(t.Context(), cfg); err != nil || (r.ExitCode() == verify.ExitFindings) == c.afterwards {
				t.Errorf("with a checkpoint alone: %+v %v", r, err)
			}
			for _, key := range w.changed(f) {
				if !named(r, key) && !named(r, w.lists(key)) && !w.covered(r, key) {
					t.Errorf("no finding names or covers %s", w.alias(key))
				}
			}
		})
	}
}

// covered reports whether findings tell of all records that a deleted file
// accounted for: its name may be nowhere left.
func (w *world) covered(r *verify.Report, key string) bool {
	region := strings.Split(key, "/")[3]
	first, last := w.span(key)
	for i := range r.Findings {
		f := &r.Findings[i]
		if f.Region == region && f.FirstSeq <= first && last <= f.LastSeq && f.LastSeq > 0 {
			return true
		}
	}
	return false
}

// lists is the digest that lists a log file, "" when there is none.
func (w *world) lists(key string) string {
	for _, list := range w.digests {
		for _, k := range list {
			if slices.Contains(w.files.listed(k), key) {
				return k
			}
		}
	}
	return ""
}

// span is the records that a file accounts for; an empty digest's is taken to
// be those on either side.
func (w *world) span(key string) (first, last uint64) {
	for _, list := range w.digests {
		for _, k := range list {
			d := w.files.digest(k)
			if k == key {
				if d.Extension.First > d.Extension.Last {
					return d.Extension.Last, d.Extension.First
				}
				return d.Extension.First, d.Extension.Last
			}
			for _, l := range d.LogFiles {
				if l.Object == key {
					return l.Records.First, l.Records.Last
				}
			}
		}
	}
	return 1, 0
}

func named(r *verify.Report, key string) bool {
	if key == "" {
		return false
	}
	for i := range r.Findings {
		if r.Findings[i].Key == key {
			return true
		}
	}
	return false
}
