// Package columnar keeps columnar copies of log files: the rows that a table's
// SerDe reads from an object, in Parquet, so that the next query need not read
// the object again. It stands beside Athena's executor, which asks for copies
// of the objects that it has listed and may read, and reads whatever has none
// from the objects themselves.
//
// A copy is bound to what it was made of: the object's bucket, key, ETag, size
// and time, and the shape that it was read in (SerDe and columns). So it holds
// exactly the rows that reading the object gives, whatever the table. Copies
// of many objects share one file, a pack, in the objects' order.
//
// Copies are made in the background after a query has missed them, by one
// goroutine, which alone writes the index. They are a cache: any of them may go
// at any time, and without them the answers are the same.
package columnar

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"spoor/internal/crashpoint"
	"spoor/internal/durable"
	"spoor/internal/engine/duckdb"
	"spoor/internal/journal"
	"spoor/internal/kv"
	"spoor/internal/objects"
)

// formatVersion is the version of every row that this package writes.
const formatVersion = 1

// packFormat is how packs are written. Those of another format are forgotten at
// the start, and made again when a query misses them.
const packFormat = 2

// Engine writes packs.
type Engine interface {
	WritePack(ctx context.Context, path string, r duckdb.Relation) error
}

// Lister lists objects as objects.Store does.
type Lister interface {
	List(ctx context.Context, bucket, prefix, startAfter string, fn func(objects.Item) bool) error
}

// Config is what a Cache needs.
type Config struct {
	Store   *kv.Store
	Journal *journal.Journal
	Engine  Engine
	Objects Lister
	Dir     string // where packs are; the cache's alone
	Limit   int64  // bytes that packs may take together
	Now     func() time.Time
	Log     *slog.Logger
}

// Object is an object as a listing shows it. One without an ETag has no copy.
type Object struct {
	Bucket   string
	Key      string
	ETag     string
	Size     int64
	Modified time.Time
}

// version is what tells an object from one that replaces it.
func (o *Object) version() version { return version{o.ETag, o.Size, o.Modified.UnixNano()} }

// Listing is all objects below a prefix that a query reads, by key.
type Listing struct {
	Bucket, Prefix string
	Objects        []Object
}

// Shape is how rows are made of objects. Shapes with the same ID give the same
// rows and columns.
type Shape struct {
	ID      string
	Columns []duckdb.Column
	// Prefixes are columns that packs have beside these.
	Prefixes []duckdb.Prefix
	// Read emits an object's rows, whose slice is reused. An error means that
	// the object has no copy, whether for now or for good.
	Read func(ctx context.Context, o Object, emit func([]any) error) error
}

type version struct {
	ETag     string `json:"etag"`
	Size     int64  `json:"size"`
	Modified int64  `json:"modified"` // nanoseconds since 1970
}

// copyRow says where the copy of an object is: which source of which pack.
type copyRow struct {
	Version int `json:"version"`
	version
	Pack   string `json:"pack"`
	Source int    `json:"source"`
}

// packRow is a pack. Objects counts the copies that are still in use.
type packRow struct {
	Version int    `json:"version"`
	ID      string `json:"id"`
	Format  int    `json:"format"`
	Shape   string `json:"shape"`
	Sources int    `json:"sources"`
	Named   int    `json:"named"` // copies when it was made
	Objects int    `json:"objects"`
	Input   int64  `json:"input"` // bytes of the objects
	Bytes   int64  `json:"bytes"` // of the file
	Used    int64  `json:"used"`  // seconds since 1970, to the day
}

func (p *packRow) file() string { return filepath.Join(p.Shape, p.ID+".parquet") }

// pack is a pack as this process knows it. Its row is guarded by Cache.mu, the
// rest by work.mu.
type pack struct {
	packRow
	used    time.Time
	readers int
	gone    bool // no row names it; the file goes with its last reader
}

func packPrefix() []byte { return kv.Key(kv.SpaceCopy, "pack") }

func packKey(id string) []byte { return kv.Key(kv.SpaceCopy, "pack", id) }

func shapePrefix(shape string) []byte { return kv.Key(kv.SpaceCopy, "copy", shape) }

func copyKey(shape, bucket, key string) []byte {
	return kv.Key(kv.SpaceCopy, "copy", shape, bucket, key)
}

// belowPrefix is the start of the keys of all copies whose object has the
// prefix: a key of the store without its terminator.
func belowPrefix(shape, bucket, prefix string) []byte {
	k := copyKey(shape, bucket, prefix)
	return k[:len(k)-2]
}

// objectOf takes bucket and key from a copy's key.
func objectOf(k []byte) (bucket, key string, err error) {
	var parts [4]string
	rest := k[min(1, len(k)):]
	for i := range parts {
		var ok bool
		if parts[i], rest, ok = kv.DecodeString(rest); !ok {
			return "", "", fmt.Errorf("the key %q of a columnar copy is damaged", k)
		}
	}
	return parts[2], parts[3], nil
}

// Cache is the columnar copies. It is safe for concurrent use.
type Cache struct {
	cfg Config

	// mu guards packs, and holds off readers of the index while it changes.
	mu    sync.RWMutex
	packs map[string]*pack

	work work
	read atomic.Int64 // copies that queries have read
	// step, in tests, is called at the named places of the durable steps; what
	// it returns is returned there.
	step func(place string) error
}

// Open reads which packs there are. A pack whose file is not as it was written,
// or of another format, is forgotten.
func Open(cfg Config) (*Cache, error) {
	c := &Cache{cfg: cfg, packs: map[string]*pack{}, step: func(string) error { return nil }}
	c.work.init()
	var lost, old []*pack
	err := cfg.Store.Scan(packPrefix(), func(_, v []byte) (bool, error) {
		p := &pack{}
		if err := kv.DecodeRow(v, &p.packRow, &p.Version, formatVersion); err != nil {
			return false, err
		}
		p.used = time.Unix(p.Used, 0)
		c.packs[p.ID] = p
		if p.Format != packFormat {
			old = append(old, p)
		} else if info, err := os.Stat(c.path(p)); err != nil || info.Size() != p.Bytes {
			lost = append(lost, p)
		}
		return true, nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the columnar copies: %w", err)
	}
	if len(lost) > 0 {
		cfg.Log.Warn("columnar copies are not as they were written and are made again", "packs", len(lost), "dir", cfg.Dir)
	}
	if old = append(old, lost...); len(old) > 0 {
		if err := c.forget(old...); err != nil {
			return nil, err
		}
	}
	return c, c.sweep()
}

// Discard removes all copies, for a server that keeps none.
func Discard(cfg Config) error {
	c, err := Open(cfg)
	if err != nil {
		return err
	}
	if err := c.forget(c.sorted(func(*pack) bool { return true })...); err != nil {
		return err
	}
	return os.RemoveAll(cfg.Dir)
}

// sweep removes the files that no row names: what a crash left of making or
// forgetting a pack.
func (c *Cache) sweep() error {
	named := map[string]bool{}
	for _, p := range c.packs {
		named[p.file()] = true
	}
	if err := durable.Sweep(c.cfg.Dir, func(rel string) bool { return named[rel] }); err != nil {
		return fmt.Errorf("removing left-over columnar copies: %w", err)
	}
	return nil
}

func (c *Cache) path(p *pack) string { return filepath.Join(c.cfg.Dir, p.file()) }

// Dir is where the packs are.
func (c *Cache) Dir() string { return c.cfg.Dir }

// Stats are figures of a cache.
type Stats struct {
	Packs  int
	Copies int   // in use
	Bytes  int64 // of the packs
	Read   int64 // copies that queries were given since the start
}

// Stats counts what there is.
func (c *Cache) Stats() Stats {
	s := Stats{Read: c.read.Load()}
	for _, p := range c.sorted(func(*pack) bool { return true }) {
		s.Packs, s.Copies, s.Bytes = s.Packs+1, s.Copies+p.Objects, s.Bytes+p.Bytes
	}
	return s
}

// View is the copies of the objects that one query reads. Their files stay
// until Close.
type View struct {
	c       *Cache
	shape   Shape
	packs   map[string]pinned
	copies  []copyRow // of each object of the listings; Pack is "" where there is none
	objects []Object
}

// pinned is a pack whose file a view keeps.
type pinned struct {
	*pack
	path    string
	sources int
}

// Find finds the copies of a query's objects.
func (c *Cache) Find(shape Shape, listings []Listing) (*View, error) {
	c.work.know(shape)
	v := &View{c: c, shape: shape, packs: map[string]pinned{}}
	c.mu.RLock()
	defer c.mu.RUnlock()
	for i := range listings {
		if err := c.find(v, shape.ID, &listings[i]); err != nil {
			return nil, err
		}
	}
	// What is pinned here is so under the lock that a pack's end takes.
	c.work.mu.Lock()
	defer c.work.mu.Unlock()
	for _, p := range v.packs {
		p.readers++
		p.used = c.cfg.Now()
	}
	return v, nil
}

// find takes the copies below a listing's prefix. Copies of what is not listed
// any more are left to the maker.
func (c *Cache) find(v *View, shape string, l *Listing) error {
	from := len(v.objects)
	v.objects = append(v.objects, l.Objects...)
	v.copies = append(v.copies, make([]copyRow, len(l.Objects))...)
	var at map[string]int
	prefix := belowPrefix(shape, l.Bucket, l.Prefix)
	return c.cfg.Store.ScanRange(prefix, kv.PrefixEnd(prefix), func(k, raw []byte) (bool, error) {
		if at == nil {
			at = make(map[string]int, len(l.Objects))
			for i := range l.Objects {
				at[l.Objects[i].Key] = from + i
			}
		}
		_, key, err := objectOf(k)
		if err != nil {
			return false, err
		}
		var row copyRow
		if err := kv.DecodeRow(raw, &row, &row.Version, formatVersion); err != nil {
			return false, err
		}
		i, listed := at[key]
		if !listed || v.objects[i].version() != row.version {
			c.work.dead(string(k))
			return true, nil
		}
		if c.pin(v, row.Pack) {
			v.copies[i] = row
			c.read.Add(1)
		}
		return true, nil
	})
}

// pin keeps a pack's file for a view. One that was removed behind the server's
// back is forgotten.
func (c *Cache) pin(v *View, id string) bool {
	if _, ok := v.packs[id]; ok {
		return true
	}
	p := c.packs[id]
	if p == nil {
		return false
	}
	path := c.path(p)
	if _, err := os.Stat(path); err != nil {
		c.work.distrust(id)
		return false
	}
	v.packs[id] = pinned{p, path, p.Sources}
	return true
}

// Close lets the files of the view go.
func (v *View) Close() {
	v.c.work.mu.Lock()
	var drop []string
	for _, p := range v.packs {
		if p.readers--; p.gone && p.readers == 0 {
			drop = append(drop, p.path)
		}
	}
	v.c.work.mu.Unlock()
	v.packs = nil
	for _, path := range drop {
		if err := durable.Remove(path); err != nil {
			v.c.cfg.Log.Warn("a columnar copy that is not used any more cannot be removed; the next start does", "err", err)
		}
	}
}

// Request asks for copies of the view's objects that have none.
func (v *View) Request() {
	var missing []Object
	for i, row := range v.copies {
		if row.Pack == "" && v.objects[i].ETag != "" {
			missing = append(missing, v.objects[i])
		}
	}
	v.c.work.request(v.shape.ID, missing)
}

// maxStretches bounds the pieces that a query reads a table in. Only packs
// whose objects lie between each other's give many, until they are made one.
const maxStretches = 256

// Stretches are the rows of the view's objects, in the listings' order, from
// their copies or from part. values are an object's values of the relation's
// extra columns, as part emits them; there are none without extra columns. ok is
// false where there is no copy, or the pieces are too many.
func (v *View) Stretches(part func(i int) duckdb.Part, values func(i int) []any) (out []duckdb.Stretch, ok bool) {
	var at []string // the stretches' packs
	for i, row := range v.copies {
		if n := len(out) - 1; n >= 0 && at[n] == row.Pack {
			s := &out[n]
			if row.Pack == "" {
				s.Parts = append(s.Parts, part(i))
				continue
			}
			if s.Sources[len(s.Sources)-1].N < row.Source {
				s.Sources = append(s.Sources, duckdb.Source{N: row.Source, Values: values(i)})
				continue
			}
		}
		if len(out) == maxStretches {
			return nil, false
		}
		at = append(at, row.Pack)
		if row.Pack == "" {
			out = append(out, duckdb.Stretch{Parts: []duckdb.Part{part(i)}})
			continue
		}
		ok = true
		out = append(out, duckdb.Stretch{Pack: v.packs[row.Pack].path, Sources: []duckdb.Source{{N: row.Source, Values: values(i)}}})
	}
	for i := range out {
		if p, ok := v.packs[at[i]]; ok && len(out[i].Sources) == p.sources && len(out[i].Sources[0].Values) == 0 {
			out[i].Sources = nil // all of it
		}
	}
	return out, ok
}

// Forget drops the packs of a view: what they gave was not what the objects do.
func (v *View) Forget() {
	for id := range v.packs {
		v.c.work.distrust(id)
	}
}

func byName(a, b Object) int {
	return cmp.Or(strings.Compare(a.Bucket, b.Bucket), strings.Compare(a.Key, b.Key))
}

// forget takes packs out of the index, with all their copies.
//
// Crash story: rows go first, in one batch, then the files, which the next
// start removes if a crash comes in between.
func (c *Cache) forget(list ...*pack) error {
	doomed, shapes := map[string]bool{}, map[string]bool{}
	b := c.cfg.Store.NewBatch()
	for _, p := range list {
		doomed[p.ID], shapes[p.Shape] = true, true
		b.Delete(packKey(p.ID))
	}
	for shape := range shapes {
		err := c.cfg.Store.Scan(shapePrefix(shape), func(k, v []byte) (bool, error) {
			var row copyRow
			err := kv.DecodeRow(v, &row, &row.Version, formatVersion)
			if err == nil && doomed[row.Pack] {
				b.Delete(k)
			}
			return err == nil, err
		})
		if err != nil {
			return errors.Join(err, b.Close())
		}
	}
	return c.commit(b, func() {}, list)
}

// commit makes a change of the index durable and then known: known is called
// when it is durable, and files of packs that are gone go.
func (c *Cache) commit(b *kv.Batch, known func(), gone []*pack) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.step("commit"); err != nil {
		return errors.Join(err, b.Close())
	}
	if err := c.cfg.Journal.Commit(b); err != nil {
		return err
	}
	crashpoint.Here("columnar.committed")
	if err := c.step("committed"); err != nil {
		return err
	}
	known()
	c.work.mu.Lock()
	defer c.work.mu.Unlock()
	var err error
	for _, p := range gone {
		delete(c.packs, p.ID)
		if p.gone = true; p.readers == 0 {
			err = errors.Join(err, durable.Remove(c.path(p)))
		}
	}
	return err
}

// sorted gives the packs that pass, least recently used first.
func (c *Cache) sorted(pass func(*pack) bool) []*pack {
	c.mu.RLock()
	defer c.mu.RUnlock()
	c.work.mu.Lock()
	defer c.work.mu.Unlock()
	var out []*pack
	for _, p := range c.packs {
		if pass(p) {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b *pack) int { return cmp.Or(a.used.Compare(b.used), strings.Compare(a.ID, b.ID)) })
	return out
}
