package columnar

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"spoor/internal/call"
	"spoor/internal/crashpoint"
	"spoor/internal/durable"
	"spoor/internal/engine/duckdb"
	"spoor/internal/journal"
	"spoor/internal/kv"
	"spoor/internal/objects"
)

// Sizes of packs, and times.
const (
	packObjects = 4096
	packInput   = 128 << 20 // bytes of the objects of one pack
	mergeLeast  = 4         // small packs that become one
	mergeInput  = packInput / 2

	tidyPause  = 10 * time.Minute
	faultPause = 5 * time.Second
	unusedFor  = 30 * 24 * time.Hour // after which a pack goes
	freshFor   = time.Hour           // for which a pack that was used does not make room
	day        = 24 * time.Hour
)

// Run makes copies until ctx ends. An error means that the journal cannot be
// written any more.
func (c *Cache) Run(ctx context.Context) error {
	for {
		wait(ctx, tidyPause, c.work.wake)
		if ctx.Err() != nil {
			return nil
		}
		err := c.round(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, journal.ErrClosed) || errors.Is(err, journal.ErrFailed):
			return err
		case err != nil:
			c.cfg.Log.Error("columnar copies cannot be made; queries read the log files themselves", "err", err)
			wait(ctx, faultPause, nil)
		}
	}
}

// wait returns after d, when wake has something, or when ctx ends.
func wait(ctx context.Context, d time.Duration, wake <-chan struct{}) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-wake:
	case <-ctx.Done():
	}
}

// round does what is due, once.
func (c *Cache) round(ctx context.Context) error {
	pending, dead, distrusted := c.work.take()
	defer c.work.end()
	if list := c.sorted(func(p *pack) bool { return distrusted[p.ID] }); len(list) > 0 {
		if err := c.forget(list...); err != nil {
			return err
		}
	}
	if err := c.bury(ctx, dead); err != nil {
		return err
	}
	for id, list := range pending {
		shape, ok := c.work.shape(id)
		if !ok {
			continue
		}
		if err := c.makeAll(ctx, shape, slices.SortedFunc(maps.Values(list), byName)); err != nil {
			return err
		}
	}
	if err := c.merge(ctx); err != nil {
		return err
	}
	return c.tidy()
}

// bury removes copies whose object is gone or was replaced, and makes their
// packs anew without their rows.
func (c *Cache) bury(ctx context.Context, keys map[string]bool) error {
	rows := map[string]copyRow{}
	var list []Object
	for k := range keys {
		raw, err := c.cfg.Store.Get([]byte(k))
		if errors.Is(err, kv.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		var row copyRow
		if err := kv.DecodeRow(raw, &row, &row.Version, formatVersion); err != nil {
			return err
		}
		bucket, key, err := objectOf([]byte(k))
		if err != nil {
			return err
		}
		rows[k] = row
		list = append(list, Object{bucket, key, row.ETag, row.Size, time.Unix(0, row.Modified)})
	}
	if len(list) == 0 {
		return nil
	}
	slices.SortFunc(list, byName)
	alive, err := c.unchanged(ctx, list)
	if err != nil {
		return err
	}
	living := map[string]bool{}
	for i, o := range list {
		living[o.Bucket+"/"+o.Key] = alive[i]
	}
	b := c.cfg.Store.NewBatch()
	less := map[string]int{}
	for k, row := range rows {
		bucket, key, err := objectOf([]byte(k))
		if err != nil {
			return errors.Join(err, b.Close())
		}
		if !living[bucket+"/"+key] {
			b.Delete([]byte(k))
			less[row.Pack]++
		}
	}
	known, gone := c.shrink(b, less)
	if err := c.commit(b, known, gone); err != nil {
		return err
	}
	return c.remake(ctx, c.sorted(func(p *pack) bool { return p.Objects < p.Named }))
}

// shrink takes copies off packs, in a batch that removes or moves them.
func (c *Cache) shrink(b *kv.Batch, less map[string]int) (known func(), gone []*pack) {
	rows := map[*pack]packRow{}
	c.mu.RLock()
	defer c.mu.RUnlock()
	for id, n := range less {
		p := c.packs[id]
		if p == nil {
			continue
		}
		row := p.packRow
		if row.Objects -= n; row.Objects <= 0 {
			b.Delete(packKey(id))
			gone = append(gone, p)
			continue
		}
		b.Set(packKey(id), kv.MustJSON(&row))
		rows[p] = row
	}
	return func() {
		for p, row := range rows {
			p.packRow = row
		}
	}, gone
}

// remake makes packs anew from the objects that they still have copies of, as
// one where they are of one shape. Reading the objects again proves once more
// that the copies are theirs.
func (c *Cache) remake(ctx context.Context, list []*pack) error {
	shapes := map[string][]*pack{}
	for _, p := range list {
		shapes[p.Shape] = append(shapes[p.Shape], p)
	}
	for id, packs := range shapes {
		shape, ok := c.work.shape(id)
		if !ok {
			continue // no query has used it since the start
		}
		old := map[string]bool{}
		for _, p := range packs {
			old[p.ID] = true
		}
		var objects []Object
		err := c.cfg.Store.Scan(shapePrefix(id), func(k, v []byte) (bool, error) {
			var row copyRow
			if err := kv.DecodeRow(v, &row, &row.Version, formatVersion); err != nil {
				return false, err
			}
			bucket, key, err := objectOf(k)
			if err == nil && old[row.Pack] {
				objects = append(objects, Object{bucket, key, row.ETag, row.Size, time.Unix(0, row.Modified)})
			}
			return err == nil, err
		})
		if err != nil {
			return err
		}
		for _, chunk := range chunks(objects) {
			if err := c.makePack(ctx, shape, chunk); err != nil {
				return err
			}
		}
		// What is still in them is of objects that have changed meanwhile.
		if left := c.sorted(func(p *pack) bool { return old[p.ID] }); len(left) > 0 {
			if err := c.forget(left...); err != nil {
				return err
			}
		}
	}
	return nil
}

// merge makes one of many small packs.
func (c *Cache) merge(ctx context.Context) error {
	shapes := map[string][]*pack{}
	for _, p := range c.sorted(func(p *pack) bool { return p.Input < mergeInput && p.Objects < packObjects/2 }) {
		shapes[p.Shape] = append(shapes[p.Shape], p)
	}
	for _, list := range shapes {
		if group := mergeable(list); len(group) > 0 {
			if err := c.remake(ctx, group); err != nil {
				return err
			}
		}
	}
	return nil
}

// mergeable picks the smallest packs, up to one that is large beside them: so
// that each copy is written again only a few times while packs grow.
func mergeable(list []*pack) []*pack {
	slices.SortFunc(list, func(a, b *pack) int { return cmp.Or(cmp.Compare(a.Input, b.Input), strings.Compare(a.ID, b.ID)) })
	var input int64
	var objects, n int
	for _, p := range list {
		if n >= mergeLeast && p.Input > 2*input || input+p.Input > packInput || objects+p.Objects > packObjects {
			break
		}
		input, objects, n = input+p.Input, objects+p.Objects, n+1
	}
	if n < mergeLeast {
		return nil
	}
	return list[:n]
}

// chunks splits objects, which are sorted, into those of one pack each.
func chunks(list []Object) [][]Object {
	var out [][]Object
	from, size := 0, int64(0)
	for i, o := range list {
		if i > from && (i-from == packObjects || size+o.Size > packInput) {
			out = append(out, list[from:i])
			from, size = i, 0
		}
		size += o.Size
	}
	if from < len(list) {
		out = append(out, list[from:])
	}
	return out
}

// makeAll makes copies of the objects that still lack one, as far as there is
// room.
func (c *Cache) makeAll(ctx context.Context, shape Shape, list []Object) error {
	var due []Object
	now := c.cfg.Now()
	for _, o := range list {
		k := copyKey(shape.ID, o.Bucket, o.Key)
		if c.work.hasFailed(string(k), &o, now) {
			continue
		}
		raw, err := c.cfg.Store.Get(k)
		if err != nil && !errors.Is(err, kv.ErrNotFound) {
			return err
		}
		if err == nil {
			var row copyRow
			if err := kv.DecodeRow(raw, &row, &row.Version, formatVersion); err != nil {
				return err
			}
			if row.version == o.version() {
				continue // another query's request has made it
			}
		}
		due = append(due, o)
	}
	for _, chunk := range chunks(due) {
		ok, err := c.makeRoom(inputOf(chunk))
		if err != nil {
			return err
		}
		if !ok {
			c.cfg.Log.Warn("columnar copies have no room left, so queries read log files themselves; see --columnar-mb", "bytes", c.cfg.Limit)
			return nil
		}
		if err := c.makePack(ctx, shape, chunk); err != nil {
			return err
		}
	}
	return nil
}

func inputOf(list []Object) (n int64) {
	for _, o := range list {
		n += o.Size
	}
	return n
}

// makePack makes a pack of objects, which are sorted.
//
// Crash story: the file is whole, synced and under its name before one batch
// names it and its copies. A crash before the batch leaves a file that no row
// names, which the next start removes. The objects are listed once more before
// the batch: a copy of an object that was replaced while it was read has no row.
func (c *Cache) makePack(ctx context.Context, shape Shape, list []Object) error {
	p := &pack{used: c.cfg.Now(), packRow: packRow{Version: formatVersion, Format: packFormat, ID: call.NewID(), Shape: shape.ID, Sources: len(list), Input: inputOf(list)}}
	p.Used = p.used.Unix()
	read, err := c.write(ctx, p, shape, list)
	var refused *duckdb.Error
	switch {
	case errors.As(err, &refused) && ctx.Err() == nil && !strings.HasPrefix(refused.Message, "IO Error"):
		// Some object has what no copy can hold.
		if len(list) == 1 {
			c.cfg.Log.Debug("an object has no columnar copy", "bucket", list[0].Bucket, "key", list[0].Key, "err", err)
			c.work.gaveNone(string(copyKey(shape.ID, list[0].Bucket, list[0].Key)), &list[0], c.cfg.Now())
			return nil
		}
		half := len(list) / 2
		return errors.Join(c.makePack(ctx, shape, list[:half]), c.makePack(ctx, shape, list[half:]))
	case err != nil:
		return err
	}
	same, err := c.unchanged(ctx, list)
	if err != nil {
		return errors.Join(err, durable.Remove(c.path(p)))
	}
	b := c.cfg.Store.NewBatch()
	less := map[string]int{}
	for i, o := range list {
		k := copyKey(shape.ID, o.Bucket, o.Key)
		if read[i] != nil {
			c.work.gaveNone(string(k), &o, c.cfg.Now())
		}
		if read[i] != nil || !same[i] {
			continue
		}
		if old, err := c.cfg.Store.Get(k); err == nil {
			var row copyRow
			if err := kv.DecodeRow(old, &row, &row.Version, formatVersion); err != nil {
				return errors.Join(err, b.Close())
			}
			less[row.Pack]++
		} else if !errors.Is(err, kv.ErrNotFound) {
			return errors.Join(err, b.Close())
		}
		b.Set(k, kv.MustJSON(&copyRow{Version: formatVersion, version: o.version(), Pack: p.ID, Source: i + 1}))
		p.Named++
	}
	if p.Objects = p.Named; p.Named == 0 {
		return errors.Join(b.Close(), durable.Remove(c.path(p)))
	}
	b.Set(packKey(p.ID), kv.MustJSON(&p.packRow))
	known, gone := c.shrink(b, less)
	err = c.commit(b, func() { known(); c.packs[p.ID] = p }, gone)
	if err == nil {
		c.cfg.Log.Debug("made columnar copies", "objects", p.Named, "bytes", p.Bytes)
	}
	return err
}

// write writes the pack's file. read says why an object gave no rows, or not
// all of them.
func (c *Cache) write(ctx context.Context, p *pack, shape Shape, list []Object) (read []error, err error) {
	path := c.path(p)
	part := path + ".part"
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("creating a directory of columnar copies: %w", err)
	}
	read = make([]error, len(list))
	rel := duckdb.Relation{Name: "pack", Columns: append(slices.Clone(shape.Columns), duckdb.Column{Name: duckdb.SourceColumn, Type: "INTEGER"}), Prefixes: shape.Prefixes}
	for i, o := range list {
		rel.Parts = append(rel.Parts, func(ctx context.Context, emit func([]any) error) error {
			row := make([]any, len(shape.Columns)+1)
			row[len(shape.Columns)] = int32(i + 1)
			var ended error
			read[i] = shape.Read(ctx, o, func(values []any) error {
				copy(row, values)
				ended = emit(row)
				return ended
			})
			return cmp.Or(ended, ctx.Err())
		})
	}
	err = c.step("write")
	if err == nil {
		err = c.cfg.Engine.WritePack(ctx, part, rel)
	}
	if err == nil {
		crashpoint.Here("columnar.written")
		err = c.step("written")
	}
	if err == nil {
		p.Bytes, err = durable.Settle(part, path, c.cfg.Dir)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("writing columnar copies: %w", err), durable.Remove(part))
	}
	crashpoint.Here("columnar.settled")
	return read, c.step("settled")
}

// unchanged lists objects, which are sorted, once more: is each still what it
// was?
func (c *Cache) unchanged(ctx context.Context, list []Object) ([]bool, error) {
	same := make([]bool, len(list))
	for i := 0; i < len(list); {
		bucket, dir := list[i].Bucket, list[i].Key[:strings.LastIndexByte(list[i].Key, '/')+1]
		left := map[string]int{}
		for ; i < len(list) && list[i].Bucket == bucket && list[i].Key[:strings.LastIndexByte(list[i].Key, '/')+1] == dir; i++ {
			left[list[i].Key] = i
		}
		err := c.cfg.Objects.List(ctx, bucket, dir, "", func(it objects.Item) bool {
			if k, ok := left[it.Key]; ok {
				delete(left, it.Key)
				now := Object{bucket, it.Key, it.ETag, it.Size, it.LastModified}
				same[k] = now.version() == list[k].version()
			}
			return len(left) > 0 && ctx.Err() == nil
		})
		if err == nil {
			err = ctx.Err()
		}
		if err != nil && !errors.Is(err, objects.ErrNoSuchBucket) {
			return nil, fmt.Errorf("listing objects that have columnar copies: %w", err)
		}
	}
	return same, nil
}

// makeRoom forgets packs until one more of about size bytes fits: the least
// recently used first, but none that was used just now. It reports whether it
// fits.
func (c *Cache) makeRoom(size int64) (bool, error) {
	return c.shed(size, func(p *pack) bool { return c.cfg.Now().Sub(p.used) >= freshFor })
}

func (c *Cache) shed(size int64, may func(*pack) bool) (bool, error) {
	total := size
	for _, p := range c.sorted(func(*pack) bool { return true }) {
		total += p.Bytes
	}
	if total <= c.cfg.Limit {
		return true, nil
	}
	var doomed []*pack
	for _, p := range c.sorted(may) {
		if total <= c.cfg.Limit {
			break
		}
		total -= p.Bytes
		doomed = append(doomed, p)
	}
	if len(doomed) == 0 {
		return false, nil
	}
	return total <= c.cfg.Limit, c.forget(doomed...)
}

// tidy forgets what is beyond the limit or has not been used for long, and
// writes down, once a day, which packs are used.
func (c *Cache) tidy() error {
	now := c.cfg.Now()
	if list := c.sorted(func(p *pack) bool { return now.Sub(p.used) >= unusedFor }); len(list) > 0 {
		if err := c.forget(list...); err != nil {
			return err
		}
	}
	if _, err := c.shed(0, func(*pack) bool { return true }); err != nil {
		return err
	}
	b := c.cfg.Store.NewBatch()
	rows := map[*pack]packRow{}
	c.sorted(func(p *pack) bool {
		if row := p.packRow; p.used.Unix()-row.Used >= int64(day/time.Second) {
			row.Used = p.used.Unix()
			rows[p] = row
			b.Set(packKey(p.ID), kv.MustJSON(&row))
		}
		return false
	})
	if len(rows) == 0 {
		return b.Close()
	}
	return c.commit(b, func() {
		for p, row := range rows {
			p.packRow = row
		}
	}, nil)
}
