package trail

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/torchwood"
	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"spoor/internal/digest"
	"spoor/internal/tree"
)

const origin = "spoor/" + account + "/" + home + "/audit/" + home

// stock is a client of tlog-tiles that knows nothing of this program: checkpoint
// and hashes by torchwood and the Go checksum database's own packages.
type stock struct {
	tree   tlog.Tree
	hashes tlog.HashReader
}

// readStock reads the checkpoint below a URL and checks its signature.
func readStock(t testing.TB, base, key string) stock {
	t.Helper()
	client, err := torchwood.NewTileFetcher(base)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := client.ReadEndpoint(t.Context(), "checkpoint")
	if err != nil {
		t.Fatal(err)
	}
	// In a note the key bears the tree's name.
	public, err := tree.ParseVerifierKey(key)
	if err != nil {
		t.Fatal(err)
	}
	named, err := note.NewEd25519VerifierKey(origin, public)
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(named)
	if err != nil {
		t.Fatal(err)
	}
	n, err := note.Open(raw, note.VerifierList(v))
	if err != nil {
		t.Fatal(err)
	}
	c, err := torchwood.ParseCheckpoint(n.Text)
	if err != nil || c.Origin != origin {
		t.Fatalf("%+v %v", c, err)
	}
	return stock{c.Tree, torchwood.TileHashReaderWithContext(t.Context(), c.Tree, client)}
}

// records are what the bucket's digests prove, in order.
func (r *rig) records() [][]byte {
	r.t.Helper()
	var out [][]byte
	for _, key := range r.delivered().digests {
		d, err := digest.Parse(gunzip(r.t, r.bucket.objects[key].body))
		if err != nil {
			r.t.Fatal(err)
		}
		for _, f := range d.LogFiles {
			var file struct{ Records []json.RawMessage }
			if err := json.Unmarshal(gunzip(r.t, r.bucket.objects[f.Object].body), &file); err != nil {
				r.t.Fatal(err)
			}
			for _, rec := range file.Records {
				out = append(out, rec)
			}
		}
	}
	return out
}

// check proves each record in the tree by the tiles, and the tree before.
func (s stock) check(t testing.TB, records [][]byte, before *tlog.Tree) {
	t.Helper()
	if s.tree.N != int64(len(records)) {
		t.Fatalf("the checkpoint is of %d records, the digests of %d", s.tree.N, len(records))
	}
	indexes := make([]int64, len(records))
	for i := range records {
		indexes[i] = tlog.StoredHashIndex(0, int64(i))
	}
	leaves, err := s.hashes.ReadHashes(indexes)
	if err != nil {
		t.Fatal(err)
	}
	for i, rec := range records {
		if leaves[i] != tlog.RecordHash(rec) {
			t.Fatalf("record %d is another", i)
		}
		if i%100 != 0 && i != len(records)-1 { // each costs some requests
			continue
		}
		p, err := tlog.ProveRecord(s.tree.N, int64(i), s.hashes)
		if err == nil {
			err = tlog.CheckRecord(p, s.tree.N, s.tree.Hash, int64(i), tlog.RecordHash(rec))
		}
		if err != nil {
			t.Fatalf("record %d: %v", i, err)
		}
	}
	if before != nil && before.N > 0 {
		p, err := tlog.ProveTree(s.tree.N, before.N, s.hashes)
		if err == nil {
			err = tlog.CheckTree(p, s.tree.N, s.tree.Hash, before.N, before.Hash)
		}
		if err != nil {
			t.Fatalf("the tree of %d does not continue that of %d: %v", s.tree.N, before.N, err)
		}
	}
}

// dav is a server of files by PUT and GET.
type dav struct {
	mu    sync.Mutex
	files map[string][]byte
}

func (d *dav) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch r.Method {
	case http.MethodPut:
		b, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		d.files[r.URL.Path] = b
		w.WriteHeader(http.StatusCreated)
	default:
		b, ok := d.files[r.URL.Path]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = w.Write(b)
	}
}

// place names places of a rig, anew after each open.
func (r *rig) places(names ...string) {
	r.t.Helper()
	r.m.publishers = nil
	for _, name := range names {
		p, err := newPublisher(r.m, name, true)
		if err != nil {
			r.t.Fatal(err)
		}
		r.m.publishers = append(r.m.publishers, p)
	}
}

// hour records n events, delivers them and makes the digest.
func (r *rig) hour(n int) {
	r.t.Helper()
	for range n {
		r.event(home)
	}
	r.step(0)
	r.step(15 * time.Second)
	r.step(15 * time.Second)
	r.step(time.Hour)
}

// publish runs each publisher once and returns how many have to wait.
func (r *rig) publish() (waiting int) {
	r.t.Helper()
	for _, p := range r.m.publishers {
		d, err := p.round(r.t.Context())
		if err != nil {
			r.t.Fatal(err)
		}
		if d > 0 {
			waiting++
		}
	}
	return waiting
}

func (r *rig) checkpointKey() string {
	r.t.Helper()
	key, err := r.m.CheckpointKey(account)
	if err != nil {
		r.t.Fatal(err)
	}
	return key
}

func (r *rig) keptLeaves() (rows int) {
	r.t.Helper()
	if err := r.m.cfg.Store.Scan(leavesPrefix(arn, home), func(_, _ []byte) (bool, error) { rows++; return true, nil }); err != nil {
		r.t.Fatal(err)
	}
	return rows
}

// TestTiles: over digests and a restart, a stock client proves every record and
// that each tree continues the one before, at a directory, a bucket and a server
// of files; the leaves go once every place has them.
func TestTiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	web := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer web.Close()
	store := &dav{files: map[string][]byte{}}
	davs := httptest.NewServer(store)
	defer davs.Close()
	names := []string{"file://" + dir, "s3://" + bucket + "/kept", "put+" + davs.URL + "/kept/"}
	r := newRig(t, vfs.NewMem(), newMemory())
	defer func() { r.close() }()
	second := newMemory() // its objects are not the trail's
	open := func() {
		r.places(names...)
		p := r.m.publishers[1]
		p.files = bucketFiles{second, bucket, "kept"}
		p.place = filesPlace{p.files}
	}
	open()
	r.start()
	var before *tlog.Tree
	for i, n := range []int{3, 252, 1, 300, 0} {
		r.hour(n)
		if i == 2 {
			r.close()
			r.open()
			open()
		}
		if r.keptLeaves() == 0 && n > 0 {
			t.Error("no leaves are kept before they are published")
		}
		if w := r.publish(); w != 0 {
			t.Fatalf("%d places wait", w)
		}
		records := r.records()
		at := readStock(t, web.URL+"/"+origin, r.checkpointKey())
		at.check(t, records, before)
		other := readStock(t, davs.URL+"/kept/"+origin, r.checkpointKey())
		other.check(t, records, before)
		before = &at.tree
		if r.keptLeaves() != 0 {
			t.Errorf("%d rows of leaves are kept after they were published", r.keptLeaves())
		}
	}
	// The three places have the same files.
	count := 0
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		count++
		rel, _ := filepath.Rel(dir, name)
		want, err := os.ReadFile(name)
		if got := second.objects["kept/"+rel]; string(got.body) != string(want) {
			t.Errorf("%s differs in the bucket", rel)
		}
		if got := store.files["/kept/"+rel]; string(got) != string(want) {
			t.Errorf("%s differs at the server", rel)
		}
		return err
	})
	if err != nil || count < 12 {
		t.Errorf("%d files (%v)", count, err)
	}
	if o := second.objects["kept/"+origin+"/tile/0/000"].opts.ContentType; o != "application/octet-stream" {
		t.Errorf("a tile is %s", o)
	}
}

// faulty is a place whose n-th file fails.
type faulty struct {
	files
	fault func(n int) fault
	n     int
	wrote []string
}

func (f *faulty) write(ctx context.Context, what []tree.Tile) error {
	for _, x := range what {
		f.n++
		how := f.fault(f.n)
		if how == notApplied {
			return errInjected
		}
		if err := f.files.write(ctx, []tree.Tile{x}); err != nil {
			return err
		}
		f.wrote = append(f.wrote, x.Path)
		if how == applied {
			return errInjected
		}
	}
	return nil
}

// TestTilesFaults: whichever file of a place fails, not written or written but
// reported as failed, and whether or not the process ends there, no checkpoint
// stands there without its tiles, and the next attempt completes it.
func TestTilesFaults(t *testing.T) {
	t.Parallel()
	for _, how := range []fault{notApplied, applied} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d,%v", how, restart), func(t *testing.T) {
				t.Parallel()
				for n := 1; n < 50; n++ {
					if !faultAt(t, how, n, restart) {
						if n < 8 {
							t.Errorf("only %d files were written", n)
						}
						return
					}
				}
				t.Error("there is no end of files")
			})
		}
	}
}

// faultAt lets the n-th write fail; false when there are not so many.
func faultAt(t *testing.T, how fault, n int, restart bool) bool {
	dir := t.TempDir()
	web := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer web.Close()
	r := newRig(t, vfs.NewMem(), newMemory())
	defer func() { r.close() }()
	name := "file://" + dir
	hit := false
	place := &faulty{files: dirFiles(dir), fault: func(i int) fault {
		if i == n {
			hit = true
			return how
		}
		return works
	}}
	open := func() {
		r.places(name)
		r.m.publishers[0].files, r.m.publishers[0].place = place, filesPlace{place}
	}
	open()
	r.start()
	for _, events := range []int{20, 250} {
		r.hour(events)
		for tries := 0; r.publish() > 0; tries++ {
			if tries > 1 {
				t.Fatalf("fault at %d: it does not end", n)
			}
			if _, err := os.Stat(filepath.Join(dir, origin, "checkpoint")); err == nil {
				s := readStock(t, web.URL+"/"+origin, r.checkpointKey())
				s.check(t, r.records()[:s.tree.N], nil)
			}
			if restart {
				r.close()
				r.open()
				open()
			}
		}
	}
	readStock(t, web.URL+"/"+origin, r.checkpointKey()).check(t, r.records(), nil)
	for i, p := range place.wrote {
		if strings.HasSuffix(p, "/checkpoint") && i == 0 {
			t.Error("a checkpoint before its tiles")
		}
	}
	return hit
}

// TestTilesLate: a place that is named late, that was emptied, or that comes back
// gets the tree from the log files; where those are gone it gets checkpoints.
func TestTilesLate(t *testing.T) {
	t.Parallel()
	first, late := t.TempDir(), t.TempDir()
	web := httptest.NewServer(http.FileServer(http.Dir(late)))
	defer web.Close()
	r := newRig(t, vfs.NewMem(), newMemory())
	defer r.close()
	r.places("file://" + first)
	r.start()
	for _, n := range []int{5, 270, 40} {
		r.hour(n)
		if r.publish() != 0 {
			t.Fatal("it waits")
		}
	}
	r.places("file://"+first, "file://"+late)
	r.publish()
	readStock(t, web.URL+"/"+origin, r.checkpointKey()).check(t, r.records(), nil)
	if r.keptLeaves() != 0 {
		t.Errorf("%d rows of leaves are kept", r.keptLeaves())
	}
	// Emptied.
	if err := os.RemoveAll(filepath.Join(late, "spoor")); err != nil {
		t.Fatal(err)
	}
	r.hour(3)
	r.publish()
	readStock(t, web.URL+"/"+origin, r.checkpointKey()).check(t, r.records(), nil)
	// A log file is not as it was: no tiles are made of it.
	var log string
	for k := range r.bucket.objects {
		if strings.Contains(k, "/CloudTrail/") {
			log = k
			break
		}
	}
	was := r.bucket.objects[log]
	delete(r.bucket.objects, log)
	third := t.TempDir()
	r.places("file://"+first, "file://"+third)
	if r.publish() != 0 {
		t.Error("a place without tiles waits")
	}
	if _, err := os.Stat(filepath.Join(third, origin, "checkpoint")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(third, origin, "tile", "1")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("tiles of records that are gone: %v", err)
	}
	// It is there again, and so is the server.
	r.bucket.objects[log] = was
	r.places("file://"+first, "file://"+third)
	r.hour(1)
	r.publish()
	web.Config.Handler = http.FileServer(http.Dir(third))
	readStock(t, web.URL+"/"+origin, r.checkpointKey()).check(t, r.records(), nil)
}

// TestTilesNamedBetweenDigests: a place that is named while delivered files are
// in no digest yet gets their tiles with the next one.
func TestTilesNamedBetweenDigests(t *testing.T) {
	t.Parallel()
	late := t.TempDir()
	web := httptest.NewServer(http.FileServer(http.Dir(late)))
	defer web.Close()
	r := newRig(t, vfs.NewMem(), newMemory())
	defer r.close()
	r.start()
	r.hour(5)
	for range 7 {
		r.event(home)
	}
	r.step(0)
	r.step(15 * time.Second)
	r.step(15 * time.Second)
	r.places("file://" + late)
	r.publish()
	r.hour(3)
	r.publish()
	readStock(t, web.URL+"/"+origin, r.checkpointKey()).check(t, r.records(), nil)
}

// TestTilesOfOthers: what is wrong with one tree holds up no other, and is tried
// again.
func TestTilesOfOthers(t *testing.T) {
	t.Parallel()
	const before = "eu-central-1" // is published before the home region
	dir := t.TempDir()
	r := newRig(t, vfs.NewMem(), newMemory())
	defer r.close()
	r.places("file://" + dir)
	r.put("StartLogging", func(t *State) { t.Settings.Logging, t.Settings.MultiRegion = true, true })
	// A file is where the tree's directory belongs.
	wrong := filepath.Join(dir, strings.TrimSuffix(origin, home)+before)
	if err := os.MkdirAll(filepath.Dir(wrong), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(wrong, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r.event(before)
	r.hour(20)
	if r.publish() != 1 {
		t.Error("the tree at fault is not tried again")
	}
	if _, err := os.Stat(filepath.Join(dir, origin, "checkpoint")); err != nil {
		t.Errorf("another tree waits: %v", err)
	}
	if err := os.Remove(wrong); err != nil {
		t.Fatal(err)
	}
	if r.publish() != 0 {
		t.Error("a tree waits without a fault")
	}
	if _, err := os.Stat(filepath.Join(wrong, "checkpoint")); err != nil {
		t.Error(err)
	}
}

// TestTilesFork: a place that has another log's checkpoint under the name keeps
// it, whether that log is longer, as long, or shorter.
func TestTilesFork(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 9, 20, 300} {
		dir := t.TempDir()
		one, two := newRig(t, vfs.NewMem(), newMemory()), newRig(t, vfs.NewMem(), newMemory())
		one.places("file://" + dir)
		one.start()
		one.hour(19)
		one.publish()
		before := snapshotOf(t, dir)
		two.places("file://" + dir)
		two.start()
		two.hour(n)
		if two.publish() != 1 {
			t.Errorf("%d records: another log's checkpoint is overwritten", n)
		}
		if after := snapshotOf(t, dir); !slices.Equal(before, after) {
			t.Errorf("%d records: the place is another one", n)
		}
		// Nor where it would get no tiles; a longer log has nothing to show then.
		two.m.publishers[0].bare[origin] = true
		if n < 19 && two.publish() != 1 || !slices.Equal(before, snapshotOf(t, dir)) && n < 19 {
			t.Errorf("%d records: another log's checkpoint is overwritten without tiles", n)
		}
		one.hour(2)
		if one.publish() != 0 {
			t.Error("the log itself cannot go on")
		}
		one.close()
		two.close()
	}
}

func snapshotOf(t *testing.T, dir string) (out []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(name)
		out = append(out, name+" "+string(b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestTilesGap: what was given up is in no log file, but in the tree and so in
// the tiles.
func TestTilesGap(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	web := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer web.Close()
	r := newRig(t, vfs.NewMem(), newMemory())
	defer r.close()
	r.places("file://" + dir)
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
	if r.publish() != 0 {
		t.Fatal("it waits")
	}
	s := readStock(t, web.URL+"/"+origin, r.checkpointKey())
	records := r.records()
	if int(s.tree.N) <= len(records) {
		t.Fatalf("the tree has %d records, the digests %d", s.tree.N, len(records))
	}
	last := int64(s.tree.N - 1)
	p, err := tlog.ProveRecord(s.tree.N, last, s.hashes)
	if err != nil || tlog.CheckRecord(p, s.tree.N, s.tree.Hash, last, tlog.RecordHash(records[len(records)-1])) != nil {
		t.Errorf("the last record is not proven: %v", err)
	}
}

// TestTilesOff: without places for files nothing is kept, and what was is removed.
func TestTilesOff(t *testing.T) {
	t.Parallel()
	r := newRig(t, vfs.NewMem(), newMemory())
	defer r.close()
	r.places("file://" + t.TempDir())
	r.start()
	r.hour(5)
	if r.keptLeaves() == 0 {
		t.Fatal("no leaves are kept")
	}
	r.places("http://127.0.0.1:1/post")
	if err := r.m.dropLeaves(); err != nil || r.keptLeaves() != 0 {
		t.Errorf("%d rows of leaves are kept (%v)", r.keptLeaves(), err)
	}
	r.hour(5)
	if r.keptLeaves() != 0 {
		t.Error("leaves are kept for nobody")
	}
}

// FuzzLeavesRow: no row of the store makes parseLeaves fail otherwise than by its
// error, and what it reads is what leavesRow writes.
func FuzzLeavesRow(f *testing.F) {
	f.Add(leavesRow([]tree.Hash{{1}, {2}, {3}}, []tree.Hash{{4}, {5}}))
	f.Add(leavesRow(nil, nil))
	f.Add([]byte{2, 0})
	f.Fuzz(func(t *testing.T, row []byte) {
		r, err := parseLeaves(row)
		if err != nil {
			return
		}
		var leaves []tree.Hash
		for b := r.leaves; len(b) > 0; b = b[tlog.HashSize:] {
			leaves = append(leaves, tree.Hash(b[:tlog.HashSize]))
		}
		again, err := parseLeaves(leavesRow(leaves, r.sums))
		if err != nil || string(again.leaves) != string(r.leaves) || !slices.Equal(again.sums, r.sums) || r.count() == 0 {
			t.Errorf("%v %v", again, err)
		}
	})
}
