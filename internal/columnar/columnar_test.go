package columnar

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"spoor/internal/engine/duckdb"
	"spoor/internal/journal"
	"spoor/internal/kv"
	"spoor/internal/objects"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// bucket is an object storage in memory. An object's text is its rows.
type bucket struct {
	mu      sync.Mutex
	objects map[string]objects.Item
	text    map[string]string
	clock   int64
	onRead  func(key string)
	hooks   sync.Mutex // held while onRead runs: objects are read several at a time
}

func (b *bucket) put(key, text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.clock++
	b.objects[key] = objects.Item{Key: key, Size: int64(len(text)), ETag: fmt.Sprintf("e%x", text), LastModified: time.Unix(b.clock, 0)}
	b.text[key] = text
}

func (b *bucket) remove(key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.objects, key)
	delete(b.text, key)
}

func (b *bucket) List(_ context.Context, _, prefix, after string, fn func(objects.Item) bool) error {
	b.mu.Lock()
	var items []objects.Item
	for k, it := range b.objects {
		if strings.HasPrefix(k, prefix) && k > after {
			items = append(items, it)
		}
	}
	b.mu.Unlock()
	sort.Slice(items, func(i, j int) bool { return items[i].Key < items[j].Key })
	for _, it := range items {
		if !fn(it) {
			break
		}
	}
	return nil
}

var errBad = errors.New("a bad row")

// read emits a row for each word of an object; the word bad is an error, and
// the word odd a value that no column takes.
func (b *bucket) read(_ context.Context, o Object, emit func([]any) error) error {
	b.mu.Lock()
	text, hook := b.text[o.Key], b.onRead
	b.mu.Unlock()
	if hook != nil {
		b.hooks.Lock()
		hook(o.Key)
		b.hooks.Unlock()
	}
	for _, w := range strings.Fields(text) {
		var v any = w
		switch w {
		case "bad":
			return errBad
		case "odd":
			v = struct{}{}
		}
		if err := emit([]any{v}); err != nil {
			return err
		}
	}
	return nil
}

// world is a cache over a bucket, which may crash.
type world struct {
	t       *testing.T
	fs      *vfs.MemFS
	store   *kv.Store
	journal *journal.Journal
	engine  *duckdb.Engine
	bucket  *bucket
	dir     string
	limit   int64
	now     time.Time
	cache   *Cache
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, fs: vfs.NewCrashableMem(), dir: filepath.Join(t.TempDir(), "columnar"), limit: 1 << 30, now: time.Unix(1_700_000_000, 0),
		bucket: &bucket{objects: map[string]objects.Item{}, text: map[string]string{}},
		engine: duckdb.New(duckdb.Config{MemoryMB: 256, Threads: 2, TempDir: filepath.Join(t.TempDir(), "tmp")})}
	w.open()
	t.Cleanup(func() {
		if err := errors.Join(w.journal.Close(), w.store.Close(), w.engine.Close()); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) open() {
	w.t.Helper()
	var err error
	w.store, err = kv.Open("store", kv.Options{FS: w.fs})
	w.must(err)
	w.journal, err = journal.Open(w.store, quiet)
	w.must(err)
	w.reopen()
}

func (w *world) reopen() {
	w.t.Helper()
	var err error
	w.cache, err = Open(Config{Store: w.store, Journal: w.journal, Engine: w.engine, Objects: w.bucket, Dir: w.dir, Limit: w.limit, Now: func() time.Time { return w.now }, Log: quiet})
	w.must(err)
}

// crash loses all that is not synced and starts again.
func (w *world) crash() {
	w.t.Helper()
	clone := w.fs.CrashClone(vfs.CrashCloneCfg{})
	w.must(errors.Join(w.journal.Close(), w.store.Close()))
	w.fs = clone
	w.open()
}

func (w *world) shape() Shape {
	return Shape{ID: "shape", Columns: []duckdb.Column{{Name: "word", Type: "VARCHAR"}}, Prefixes: []duckdb.Prefix{{Of: "word", Length: 1}}, Read: w.bucket.read}
}

// find looks at the objects below the prefixes.
func (w *world) find(prefixes ...string) *View {
	w.t.Helper()
	var listings []Listing
	for _, p := range prefixes {
		l := Listing{Bucket: "b", Prefix: p}
		w.must(w.bucket.List(w.t.Context(), "b", p, "", func(it objects.Item) bool {
			l.Objects = append(l.Objects, Object{"b", it.Key, it.ETag, it.Size, it.LastModified})
			return true
		}))
		listings = append(listings, l)
	}
	v, err := w.cache.Find(w.shape(), listings)
	w.must(err)
	return v
}

// words reads a view's rows, and says how many objects were read themselves.
func (w *world) words(v *View) (words string, plain int) {
	w.t.Helper()
	rel := duckdb.Relation{Name: "r", Columns: w.shape().Columns, Prefixes: w.shape().Prefixes}
	part := func(i int) duckdb.Part {
		plain++
		return func(ctx context.Context, emit func([]any) error) error { return w.bucket.read(ctx, v.objects[i], emit) }
	}
	stretches, ok := v.Stretches(part, func(int) []any { return nil })
	if rel.Stretches = stretches; !ok {
		rel.Stretches, plain = nil, 0
		for i := range v.objects {
			rel.Parts = append(rel.Parts, part(i))
		}
	}
	var out []string
	w.must(w.engine.Query(w.t.Context(), `SELECT "word", substr("word$1", 1, 1) FROM "r"`, []duckdb.Relation{rel}, func([]duckdb.ResultColumn) error { return nil }, func(row []any) error {
		word := row[0].(string)
		if out = append(out, word); row[1] != word[:1] {
			w.t.Errorf("%s has the prefix %v", word, row[1])
		}
		return nil
	}))
	return strings.Join(out, " "), plain
}

// query is what Athena does; it checks the rows and how many objects had no
// copy.
func (w *world) query(prefix, want string, plain int) {
	w.t.Helper()
	v := w.find(prefix)
	if got, n := w.words(v); got != want || n != plain {
		w.t.Errorf("rows %q with %d objects read themselves, want %q with %d", got, n, want, plain)
	}
	v.Close()
	v.Request()
}

func (w *world) round() error { return w.cache.round(w.t.Context()) }

// files are the packs' files, and names those that rows name.
func (w *world) files() (out []string) {
	w.t.Helper()
	w.must(filepath.WalkDir(w.dir, func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && !d.IsDir() {
			rel, rerr := filepath.Rel(w.dir, p)
			out, err = append(out, rel), rerr
		}
		return err
	}))
	return out
}

func (w *world) check() {
	w.t.Helper()
	counts, named := map[string]int{}, []string{}
	w.must(w.store.Scan(shapePrefix("shape"), func(_, v []byte) (bool, error) {
		var row copyRow
		err := kv.DecodeRow(v, &row, &row.Version, formatVersion)
		counts[row.Pack]++
		return err == nil, err
	}))
	w.must(w.store.Scan(packPrefix(), func(_, v []byte) (bool, error) {
		var row packRow
		err := kv.DecodeRow(v, &row, &row.Version, formatVersion)
		if named = append(named, row.file()); counts[row.ID] != row.Objects || row.Objects == 0 {
			w.t.Errorf("pack %+v has %d copies", row, counts[row.ID])
		}
		delete(counts, row.ID)
		return err == nil, err
	}))
	if len(counts) > 0 {
		w.t.Errorf("copies in packs that are not: %v", counts)
	}
	files := w.files()
	slices.Sort(named)
	if fmt.Sprint(files) != fmt.Sprint(named) {
		w.t.Errorf("files %q, rows name %q", files, named)
	}
}

// TestObjectsChange follows objects that come, are replaced and go.
func TestObjectsChange(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.bucket.put("d/1/a", "a1 a2")
	w.bucket.put("d/1/b", "")
	w.bucket.put("d/2/c", "c1")
	w.bucket.put("d-/e", "e1")
	w.query("d/", "a1 a2 c1", 3)
	w.must(w.round())
	w.query("d/", "a1 a2 c1", 0)
	w.query("d/2/", "c1", 0)
	w.bucket.put("d/1/aa", "aa")
	w.query("d/", "a1 a2 aa c1", 1)
	w.must(w.round())
	w.query("d/", "a1 a2 aa c1", 0)
	w.check()
	// Replaced by the same text: another version all the same.
	w.bucket.put("d/1/a", "a1 a2")
	w.query("d/", "a1 a2 aa c1", 1)
	w.must(w.round())
	w.query("d/", "a1 a2 aa c1", 0)
	w.check()
	w.bucket.remove("d/1/aa")
	w.bucket.remove("d/2/c")
	w.query("d/", "a1 a2", 0)
	w.must(w.round())
	w.check()
	if s := w.cache.Stats(); s.Copies != 2 {
		t.Errorf("%+v", s)
	}
	w.crash()
	w.query("d/", "a1 a2", 0)
	w.query("d", "e1 a1 a2", 1)
	// Two places with the same objects.
	v := w.find("d/1/", "d/")
	if got, n := w.words(v); got != "a1 a2 a1 a2" || n != 0 {
		t.Errorf("%q, %d", got, n)
	}
	v.Close()
	w.must(Discard(w.cache.cfg))
	if files := w.files(); len(files) > 0 {
		t.Errorf("%q", files)
	}
}

// TestNoCopy: what cannot be copied has no copy, and its neighbours have.
func TestNoCopy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 9 {
		w.bucket.put(fmt.Sprintf("d/%d", i), fmt.Sprintf("w%d", i))
	}
	w.bucket.put("d/3", "w3 bad")
	w.bucket.put("d/5", "w5 odd")
	w.bucket.put("d/7", "w7")
	all := w.find("d/")
	all.Request()
	all.Close()
	w.must(w.round())
	v := w.find("d/")
	var without []string
	for i, c := range v.copies {
		if c.Pack == "" {
			without = append(without, v.objects[i].Key)
		}
	}
	if fmt.Sprint(without) != "[d/3 d/5]" {
		t.Errorf("without a copy: %q", without)
	}
	v.Request()
	v.Close()
	reads := 0
	w.bucket.onRead = func(string) { reads++ }
	w.must(w.round())
	if reads != 0 {
		t.Errorf("what gave no copy was read %d times again", reads)
	}
	w.now = w.now.Add(failedFor)
	w.bucket.onRead = nil
	w.bucket.put("d/3", "w3")
	w.bucket.put("d/5", "w5")
	v = w.find("d/")
	v.Request()
	v.Close()
	w.must(w.round())
	w.query("d/", "w0 w1 w2 w3 w4 w5 w6 w7 w8", 0)
	w.check()
}

// TestReplacedWhileRead: a copy is of what was listed, or is none.
func TestReplacedWhileRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.bucket.put("d/a", "a1")
	w.bucket.put("d/b", "b1")
	w.query("d/", "a1 b1", 2)
	var once sync.Once
	w.bucket.onRead = func(key string) {
		if key == "d/b" {
			once.Do(func() { w.bucket.put("d/b", "b2"); w.bucket.remove("d/a") })
		}
	}
	w.must(w.round())
	w.bucket.onRead = nil
	w.query("d/", "b2", 1)
	w.must(w.round())
	w.query("d/", "b2", 0)
	w.check()
}

// TestFilesStayForReaders: a view's files stay until it is closed.
func TestFilesStayForReaders(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.bucket.put("d/a", "a1")
	w.query("d/", "a1", 1)
	w.must(w.round())
	v := w.find("d/")
	v.Forget()
	w.must(w.round())
	if got, n := w.words(v); got != "a1" || n != 0 {
		t.Errorf("%q, %d", got, n)
	}
	v.Close()
	w.check()
	if files := w.files(); len(files) != 0 {
		t.Errorf("%q", files)
	}
}

// TestMerge: packs that grow one by one become few, and each copy is written
// again only a few times.
func TestMerge(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	reads := 0
	w.bucket.onRead = func(string) { reads++ }
	var want []string
	const objects = 24
	for i := range objects {
		// Between those that are there.
		k := fmt.Sprintf("d/%03d", i*7%objects)
		w.bucket.put(k, "w"+k[2:])
		want = append(want, "w"+k[2:])
		v := w.find("d/")
		v.Request()
		v.Close()
		w.must(w.round())
	}
	slices.Sort(want)
	w.bucket.onRead = nil
	w.query("d/", strings.Join(want, " "), 0)
	w.check()
	if n := w.cache.Stats().Packs; n > 2*mergeLeast || reads > 5*objects {
		t.Errorf("%d packs after %d reads of %d objects", n, reads, objects)
	}
}

// TestLimit: the least recently used go first, and what is in use is not
// pushed out by what is new.
func TestLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	put := func(dir string) string {
		w.bucket.put(dir+"/x", strings.Repeat(dir+" ", 40))
		w.bucket.put(dir+"/y", dir)
		return strings.TrimSpace(strings.Repeat(dir+" ", 41))
	}
	one, two, three := put("one"), put("two"), put("three")
	w.query("one/", one, 2)
	w.must(w.round())
	w.limit = 2*w.cache.Stats().Bytes + 200
	w.reopen()
	w.now = w.now.Add(freshFor)
	w.query("two/", two, 2)
	w.must(w.round())
	w.query("one/", one, 0)
	w.query("two/", two, 0)
	w.query("three/", three, 2)
	w.must(w.round())
	w.query("three/", three, 2)
	w.query("one/", one, 0)
	w.now = w.now.Add(freshFor)
	w.query("two/", two, 0)
	w.query("three/", three, 2)
	w.must(w.round())
	w.query("three/", three, 0)
	w.query("two/", two, 0)
	w.query("one/", one, 2)
	w.check()
	w.now = w.now.Add(unusedFor / 2)
	w.query("two/", two, 0)
	w.must(w.round())
	w.crash()
	w.now = w.now.Add(unusedFor/2 + time.Hour)
	w.must(w.round())
	w.query("two/", two, 0)
	w.query("three/", three, 2)
	w.limit = 1
	w.reopen()
	w.must(w.round())
	if s := w.cache.Stats(); s.Packs != 0 {
		t.Errorf("%+v", s)
	}
	w.check()
}

var errCrash = errors.New("the machine stops")

// TestCrash stops at each place of the durable steps, of making, of making anew
// and of forgetting: both where a step has not happened and where it has but
// was not answered. What the next start finds is whole.
func TestCrash(t *testing.T) {
	t.Parallel()
	for _, place := range []string{"write", "written", "settled", "commit", "committed"} {
		for nth := 1; nth <= 2; nth++ {
			t.Run(fmt.Sprintf("%s %d", place, nth), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.bucket.put("d/a", "a1 a2")
				w.bucket.put("d/b", "b1")
				w.query("d/", "a1 a2 b1", 2)
				w.must(w.round())
				w.bucket.put("d/c", "c1")
				w.bucket.put("d/a", "a3")
				w.bucket.remove("d/b")
				w.query("d/", "a3 c1", 2)
				n := 0
				w.cache.step = func(p string) error {
					if p == place {
						if n++; n == nth {
							return errCrash
						}
					}
					return nil
				}
				if err := w.round(); !errors.Is(err, errCrash) && n >= nth {
					t.Errorf("the round ended with %v", err)
				}
				w.crash()
				w.check()
				v := w.find("d/")
				if got, _ := w.words(v); got != "a3 c1" {
					t.Errorf("after the crash: %q", got)
				}
				v.Close()
				v.Request()
				w.must(w.round())
				w.query("d/", "a3 c1", 0)
				w.must(w.round())
				w.check()
			})
		}
	}
}

// TestLostFiles: a pack whose file is gone or cut is forgotten at the start.
func TestLostFiles(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.bucket.put("d/a", "a1")
	w.query("d/", "a1", 1)
	w.must(w.round())
	for _, f := range w.files() {
		w.must(os.Truncate(filepath.Join(w.dir, f), 10))
	}
	w.reopen()
	w.check()
	w.query("d/", "a1", 1)
	w.must(w.round())
	w.query("d/", "a1", 0)
}

// TestOldFormat: packs that an older version wrote are forgotten at the start
// with their files, and made again; a crash in between loses nothing.
func TestOldFormat(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.bucket.put("d/a", "a1")
	w.query("d/", "a1", 1)
	w.must(w.round())
	w.bucket.put("d/b", "b1")
	w.query("d/", "a1 b1", 1)
	w.must(w.round())
	b := w.store.NewBatch()
	var oldest *pack
	for _, p := range w.cache.packs {
		if oldest == nil || p.Named < oldest.Named || p.ID < oldest.ID {
			oldest = p
		}
	}
	row := oldest.packRow
	row.Format = 0
	b.Set(packKey(row.ID), kv.MustJSON(&row))
	w.must(w.cache.commit(b, func() {}, nil))
	w.crash()
	w.check()
	if n := len(w.cache.packs); n != 1 || w.cache.packs[row.ID] != nil {
		t.Errorf("%d packs are left, the old one among them: %t", n, w.cache.packs[row.ID] != nil)
	}
	w.query("d/", "a1 b1", 1)
	w.must(w.round())
	w.query("d/", "a1 b1", 0)
	w.check()
}

// TestManyStretches: a table whose copies lie crosswise is read without them.
func TestManyStretches(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.cache
	v := &View{c: c, packs: map[string]pinned{"x": {path: "x", sources: 1 << 20}, "y": {path: "y", sources: 1 << 20}}}
	for i := range maxStretches + 1 {
		v.objects = append(v.objects, Object{Key: fmt.Sprint(i)})
		v.copies = append(v.copies, copyRow{Pack: []string{"x", "y"}[i%2], Source: i + 1})
	}
	none := func(int) []any { return nil }
	if out, ok := v.Stretches(nil, none); ok || out != nil {
		t.Errorf("%d stretches", len(out))
	}
	v.copies, v.objects = v.copies[1:], v.objects[1:]
	if out, ok := v.Stretches(nil, none); !ok || len(out) != maxStretches {
		t.Errorf("%d stretches", len(out))
	}
}

func FuzzObjectOf(f *testing.F) {
	f.Add(copyKey("s", "b", "k"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, k []byte) {
		bucket, key, err := objectOf(k)
		if err == nil && (bucket == "" && key == "" && len(k) < 9) {
			t.Errorf("%q passes", k)
		}
		b, key2, err := objectOf(copyKey("s", bucket, key))
		if err != nil || b != bucket || key2 != key {
			t.Errorf("%q %q: %q %q %v", bucket, key, b, key2, err)
		}
	})
}
