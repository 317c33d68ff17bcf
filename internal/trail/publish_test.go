package trail

import (
	"crypto/ed25519"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"spoor/internal/digest"
	"spoor/internal/tree"
)

// sink is an HTTP place that fails as often as it is told.
type sink struct {
	mu    sync.Mutex
	fails int
	got   []string
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fails > 0 {
		s.fails--
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	b, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	s.got = append(s.got, r.Method+" "+string(b))
}

// TestPublish: each place gets each delivered digest's checkpoint once, also
// over failures of a place and a restart; a failing place holds up nothing.
func TestPublish(t *testing.T) {
	t.Parallel()
	out := &sink{fails: 2}
	srv := httptest.NewServer(out)
	defer srv.Close()
	dir := t.TempDir()
	places := []string{"file://" + dir, "s3://" + bucket + "/kept", srv.URL + "/checkpoints"}
	r := newRig(t, vfs.NewMem(), newMemory())
	defer func() { r.close() }()
	open := func() {
		t.Helper()
		r.m.publishers = nil
		for _, name := range places {
			p, err := newPublisher(r.m, name, true)
			if err != nil {
				t.Fatal(err)
			}
			r.m.publishers = append(r.m.publishers, p)
		}
	}
	round := func() (waits []time.Duration) {
		t.Helper()
		for _, p := range r.m.publishers {
			d, err := p.round(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			waits = append(waits, d)
		}
		return waits
	}
	open()
	r.start()
	r.event(home)
	r.step(15 * time.Second)
	r.step(15 * time.Second)
	if round(); len(out.got) != 0 {
		t.Fatal("a checkpoint before the first digest")
	}
	r.step(time.Hour)
	select {
	case <-r.m.publishers[0].wake:
	default:
		t.Error("a delivered digest does not wake the publishers")
	}
	for i, want := range []time.Duration{minBackoff, 2 * minBackoff, 0, 0} {
		if w := round(); w[0] != 0 || w[1] != 0 || w[2] != want {
			t.Errorf("round %d: waits %v, want %v for the failing place", i, w, want)
		}
	}
	key, err := r.m.CheckpointKey(account)
	if err != nil {
		t.Fatal(err)
	}
	public, err := tree.ParseVerifierKey(key)
	if err != nil {
		t.Fatal(err)
	}
	origin := "spoor/" + account + "/" + home + "/audit/" + home
	file, err := os.ReadFile(filepath.Join(dir, origin, "checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := tree.OpenCheckpoint(string(file), []ed25519.PublicKey{public})
	if err != nil || c.Size != 2 || c.Origin != origin {
		t.Errorf("%+v %v", c, err)
	}
	if _, err := os.Stat(filepath.Join(dir, origin, "checkpoints", "00000000000000000002")); err != nil {
		t.Error(err)
	}
	if got := string(r.bucket.objects["kept/"+origin+"/checkpoint"].body); got != string(file) {
		t.Errorf("the bucket has %q", got)
	}
	if len(out.got) != 1 || out.got[0] != "POST "+string(file) {
		t.Errorf("posted %q", out.got)
	}
	// After a restart only what is new is published.
	r.close()
	r.open()
	open()
	if round(); len(out.got) != 1 {
		t.Errorf("posted again after a restart: %q", out.got)
	}
	r.event(home)
	r.step(15 * time.Second)
	r.step(15 * time.Second)
	r.step(time.Hour)
	if round(); len(out.got) != 2 {
		t.Errorf("posted %q", out.got)
	}
	// The key is the same one.
	if again, err := r.m.CheckpointKey(account); err != nil || again != key {
		t.Errorf("after a restart the key is %q, was %q (%v)", again, key, err)
	}
}

func TestParsePlace(t *testing.T) {
	t.Parallel()
	for name, ok := range map[string]bool{
		"file:///var/lib/x": true, "s3://b": true, "s3://b/p/q": true, "http://h:1/x": true, "https://h/": true, "put+https://h/p": true, "put+http://h:1": true, "put+http://": false, "put+https://h/?x": false,
		"": false, "file://host/x": false, "relative": false, "s3://": false, "ftp://h/x": false, "http:///x": false, "file:x": false, ":": false,
	} {
		if _, err := ParsePlace(name, nil); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// TestTreeGap: a log file that is given up leaves a hole in the tree; the next
// one says what the tree was behind it, and the checkpoint is of all of it.
func TestTreeGap(t *testing.T) {
	t.Parallel()
	r := newRig(t, vfs.NewMem(), newMemory())
	defer r.close()
	r.start()
	r.event(home)
	r.bucket.fault = func(int) fault { return notApplied }
	r.step(0)
	r.step(15 * time.Second)
	r.step(retryFor + time.Hour) // gives the file up
	r.bucket.fault = nil
	r.event(home)
	for range 3 {
		r.step(maxBackoff + time.Minute)
	}
	r.step(2 * time.Hour)
	var found bool
	for _, key := range r.delivered().digests {
		d, err := digest.Parse(gunzip(t, r.bucket.objects[key].body))
		if err != nil {
			t.Fatal(err)
		}
		at := d.Extension.Tree.Before
		for _, f := range d.LogFiles {
			l := f.Records.Tree
			if l.First != at.Size {
				found = true
				at = tree.Frontier{Size: l.First, Hashes: l.Before}
			}
			if !at.Valid() {
				t.Fatalf("%s: the tree before leaf %d is not given", key, l.First)
			}
			if err := at.Extend(uint64(f.Records.Count), l.Sums); err != nil {
				t.Fatal(err)
			}
		}
		c, err := tree.ParseCheckpoint(d.Extension.Tree.Checkpoint)
		if err != nil || c.Size != at.Size || c.Root != at.Root() {
			t.Errorf("%s: checkpoint %+v, the tree has %d leaves (%v)", key, c, at.Size, err)
		}
	}
	if !found {
		t.Error("no digest has a hole in its tree")
	}
}
