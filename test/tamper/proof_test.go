package tamper

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"spoor/internal/tree"
	"spoor/internal/verify"
)

// records are a log file's records, as their bytes stand in it.
func records(t *testing.T, f files, key string) map[string]json.RawMessage {
	t.Helper()
	var log struct{ Records []json.RawMessage }
	if err := json.Unmarshal(unzip(f[key].body), &log); err != nil {
		t.Fatal(err)
	}
	out := map[string]json.RawMessage{}
	for _, r := range log.Records {
		var x struct{ EventID string }
		if err := json.Unmarshal(r, &x); err != nil {
			t.Fatal(err)
		}
		out[x.EventID] = r
	}
	return out
}

// TestProofs proves every record that a digest covers; a stranger with nothing
// but the public key checks it, and no other record passes for it.
func TestProofs(t *testing.T) {
	t.Parallel()
	w := inMemory(t)
	cfg := w.cfg
	cfg.Source = w.files
	keys := []ed25519.PublicKey{w.notes.Public().(ed25519.PublicKey)}
	proven := 0
	for _, region := range []string{home, abroad} {
		for _, key := range w.logs[region] {
			for id, record := range records(t, w.files, key) {
				p, err := verify.Prove(t.Context(), cfg, id)
				if err != nil {
					t.Fatal(err)
				}
				if p.Key != key || p.Region != region || string(p.Record) != string(record) {
					t.Fatalf("record %s was found in %s", id, p.Key)
				}
				if first, last := w.span(key); p.Sequence != 0 && (p.Sequence < first || p.Sequence > last) {
					t.Errorf("record %s has number %d, its file %d to %d", id, p.Sequence, first, last)
				}
				proof, err := tree.ParseProof(p.String())
				if err != nil {
					t.Fatal(err)
				}
				if _, err := proof.Check(record, keys); err != nil {
					t.Errorf("record %s: %v", id, err)
				}
				if _, err := proof.Check(append(record, ' '), keys); err == nil {
					t.Errorf("record %s: another record passes", id)
				}
				proven++
			}
		}
	}
	if proven < 100 {
		t.Errorf("%d records were proven", proven)
	}
	for id := range records(t, w.files, w.pending[home]) {
		if _, err := verify.Prove(t.Context(), cfg, id); !errors.Is(err, verify.ErrNoRecord) {
			t.Errorf("a record that no digest lists yet: %v", err)
		}
	}
	// A proof needs the digests, and of the log files only the record's own.
	f := w.files.clone()
	f.remove(w.logs[home][2:]...)
	cfg.Source = f
	for id := range records(t, w.files, w.logs[home][1]) {
		if _, err := verify.Prove(t.Context(), cfg, id); err != nil {
			t.Errorf("with other log files gone: %v", err)
		}
	}
}

// TestCheckpointAlone verifies with neither digest keys nor the server: with
// the checkpoint key, or a checkpoint that somebody kept, in a bucket and in a
// copy on disk.
func TestCheckpointAlone(t *testing.T) {
	t.Parallel()
	w := inMemory(t)
	dir := t.TempDir()
	for key, o := range w.files {
		name := filepath.Join(dir, filepath.FromSlash(key))
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, o.body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	copied, err := verify.NewDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	key := []ed25519.PublicKey{w.notes.Public().(ed25519.PublicKey)}
	for name, source := range map[string]verify.Source{"bucket": w.files, "copy": copied} {
		cfg := verify.Config{Source: source, TrailARN: trailARN, Bucket: bucket, OtherTrails: []string{otherARN}}
		for what, set := range map[string]func(c verify.Config) verify.Config{
			"the key": func(c verify.Config) verify.Config { c.CheckpointKeys = key; return c },
			"a checkpoint": func(c verify.Config) verify.Config {
				c.Checkpoints = w.checkpoints()
				return c
			},
			"both": func(c verify.Config) verify.Config {
				c.CheckpointKeys, c.Checkpoints = key, w.checkpoints()
				return c
			},
		} {
			r, err := verify.Run(t.Context(), set(cfg))
			if err != nil || r.ExitCode() != verify.ExitClean {
				t.Errorf("%s with %s: %+v %v", name, what, r, err)
			}
		}
		// An old checkpoint proves what was there then, and says so of the rest.
		cfg.Checkpoints = []string{w.files.digest(w.digests[home][2]).Extension.Tree.Checkpoint}
		if r, err := verify.Run(t.Context(), cfg); err != nil || r.ExitCode() != verify.ExitUnknown || len(r.Findings) > 0 {
			t.Errorf("%s with an old checkpoint: %+v %v", name, r, err)
		}
		cfg.CheckpointKeys = []ed25519.PublicKey{ed25519.NewKeyFromSeed(make([]byte, 32)).Public().(ed25519.PublicKey)}
		if _, err := verify.Run(t.Context(), cfg); err == nil {
			t.Errorf("%s: a checkpoint passes that another key signed", name)
		}
		cfg.Checkpoints = []string{strings.Replace(w.checkpoints()[0], "spoor/", "else/", 1)}
		cfg.CheckpointKeys = nil
		if _, err := verify.Run(t.Context(), cfg); err == nil {
			t.Errorf("%s: a checkpoint of another tree passes", name)
		}
	}
	// The same with a changed record: the checkpoint finds it, though nothing
	// checks the digests' signatures.
	f := w.files.clone()
	rewrite(w, f)
	for what, cfg := range map[string]verify.Config{"the key": {CheckpointKeys: key}, "a checkpoint": {Checkpoints: w.checkpoints()}} {
		cfg.Source, cfg.TrailARN, cfg.Bucket, cfg.OtherTrails = f, trailARN, bucket, []string{otherARN}
		if r, err := verify.Run(t.Context(), cfg); err != nil || r.ExitCode() != verify.ExitFindings {
			t.Errorf("a record removed, with %s: %+v %v", what, r, err)
		}
	}
}
