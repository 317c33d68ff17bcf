package lake

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"spoor/internal/athena/serde"
	"spoor/internal/crashpoint"
	"spoor/internal/durable"
	"spoor/internal/engine/duckdb"
	"spoor/internal/kv"
)

// The events of a store are first rows of the key-value store. In the
// background they move into Parquet files, which a query reads far faster: a
// file holds events of one store and one day, under
// account/region/store/day/name.parquet, with all columns and the event as it
// was recorded. Small files of a day become one.
const (
	segmentRows  = 200_000 // events that one file takes from the rows
	segmentBytes = 256 << 20
	// DefaultFileEvents is how many events of a day are worth a file before the
	// day is over; those of a day that is over are always.
	DefaultFileEvents = 20_000
	// DefaultCompactEvery is the pause between two looks for what can move.
	DefaultCompactEvery = time.Minute
	closedAfter         = 26 * time.Hour // after a day's end, for what comes late
	mergeFiles          = 8              // small files of a day that become one
	mergeRows           = 150_000        // a file of this size is not merged any more
)

// segment is a Parquet file with events.
type segment struct {
	Version int    `json:"version"`
	Day     uint32 `json:"day"`
	File    string `json:"file"` // under Config.Dir
	Rows    int64  `json:"rows"`
	Bytes   int64  `json:"bytes"` // of the file
}

func segmentPrefix(store string) []byte { return kv.Key(kv.SpaceLake, "segment", store) }

func segmentKey(store string, s *segment) []byte {
	k := binary.BigEndian.AppendUint32(segmentPrefix(store), s.Day)
	return kv.AppendString(k, s.File)
}

// segments lists the files of a store with events of some days.
func (m *Manager) segments(store string, from, to uint32) ([]segment, error) {
	var out []segment
	lo, hi := binary.BigEndian.AppendUint32(segmentPrefix(store), from), kv.PrefixEnd(segmentPrefix(store))
	err := m.cfg.Store.ScanRange(lo, hi, func(_, v []byte) (bool, error) {
		var s segment
		if err := kv.DecodeRow(v, &s, &s.Version, formatVersion); err != nil {
			return false, err
		}
		if s.Day > to {
			return false, nil
		}
		out = append(out, s)
		return true, nil
	})
	return out, err
}

// RunCompaction moves events into files until ctx ends.
func (m *Manager) RunCompaction(ctx context.Context) error {
	if err := m.removeOrphans(); err != nil {
		return err
	}
	close(m.swept)
	for {
		wait(ctx, m.cfg.CompactEvery, nil)
		if ctx.Err() != nil {
			return nil
		}
		err := m.Compact(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case stopped(err):
			return err
		case err != nil:
			m.cfg.Log.Error("events cannot be moved into files and this is tried again", "pause", m.cfg.CompactEvery, "err", err)
		}
	}
}

// removeOrphans removes the files that no row names: what a crash left of a
// compaction, or of an expiry.
func (m *Manager) removeOrphans() error {
	known := map[string]bool{}
	err := m.cfg.Store.Scan(kv.Key(kv.SpaceLake, "segment"), func(_, v []byte) (bool, error) {
		var s segment
		err := kv.DecodeRow(v, &s, &s.Version, formatVersion)
		known[s.File] = true
		return err == nil, err
	})
	if err != nil {
		return fmt.Errorf("listing the files of event data stores: %w", err)
	}
	return durable.Sweep(m.cfg.Dir, func(rel string) bool { return known[rel] })
}

// Compact moves what is due into files, once.
func (m *Manager) Compact(ctx context.Context) error {
	now := m.cfg.Now()
	for _, s := range m.snap.Load().stores {
		if s.gone(now) {
			continue
		}
		days, err := m.days(s.ID, time.Unix(0, 0), now.AddDate(0, 0, 1))
		if err != nil {
			return err
		}
		for _, day := range days {
			least := m.cfg.FileEvents
			if end := time.Unix(int64(day+1)*86400, 0); now.Sub(end) > closedAfter {
				least = 1
			}
			for more := true; more && ctx.Err() == nil; {
				if more, err = m.moveDay(ctx, s, day, least); err != nil {
					return err
				}
			}
		}
		if err := m.mergeDays(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// moveDay moves up to segmentRows events of a day into a file. It reports
// whether there may be more to move.
func (m *Manager) moveDay(ctx context.Context, s *Store, day uint32, least int) (more bool, err error) {
	// Only the events whose keys are listed here are moved: more may come.
	var keys [][]byte
	size := 0
	err = m.cfg.Store.ScanRange(dayKey(s.ID, day), dayKey(s.ID, day+1), func(k, v []byte) (bool, error) {
		keys = append(keys, slices.Clone(k))
		size += len(v)
		return len(keys) < segmentRows && size < segmentBytes, nil
	})
	if err != nil || len(keys) < least {
		return false, err
	}
	cols := columnsOf(s)
	rel := duckdb.Relation{Name: "events"}
	for _, c := range cols {
		rel.Columns = append(rel.Columns, duckdb.Column{Name: c.Name, Type: c.Type.DuckDB()})
	}
	read := serde.NewEvent(cols)
	rel.Parts = []duckdb.Part{func(_ context.Context, emit func([]any) error) error {
		row := make([]any, len(cols))
		left := keys
		return m.cfg.Store.ScanRange(keys[0], append(slices.Clone(keys[len(keys)-1]), 0), func(k, v []byte) (bool, error) {
			if len(left) == 0 || !bytes.Equal(k, left[0]) {
				return true, nil
			}
			left = left[1:]
			if err := read.Row(v, row); err != nil {
				return false, err
			}
			row[len(row)-1] = string(v) // eventjson, the last column
			return true, emit(row)
		})
	}}
	done, err := m.writeSegment(ctx, s, segment{Day: day, Rows: int64(len(keys))}, rel, func(b *kv.Batch) {
		for _, k := range keys {
			b.Delete(k)
		}
	}, nil)
	return done && len(keys) == segmentRows, err
}

// mergeDays makes one file of the small ones of each day that has many.
func (m *Manager) mergeDays(ctx context.Context, s *Store) error {
	all, err := m.segments(s.ID, 0, ^uint32(0))
	if err != nil {
		return err
	}
	byDay := map[uint32][]segment{}
	for _, x := range all {
		if x.Rows < mergeRows {
			byDay[x.Day] = append(byDay[x.Day], x)
		}
	}
	for day, list := range byDay {
		if len(list) < mergeFiles {
			continue
		}
		rel := duckdb.Relation{Name: "events"}
		for _, c := range columnsOf(s) {
			rel.Columns = append(rel.Columns, duckdb.Column{Name: c.Name, Type: c.Type.DuckDB()})
		}
		one := segment{Day: day}
		for _, x := range list {
			one.Rows += x.Rows
			rel.Parquet = append(rel.Parquet, duckdb.File{Path: filepath.Join(m.cfg.Dir, x.File)})
		}
		if _, err := m.writeSegment(ctx, s, one, rel, func(b *kv.Batch) {
			for i := range list {
				b.Delete(segmentKey(s.ID, &list[i]))
			}
		}, list); err != nil {
			return err
		}
	}
	return nil
}

// writeSegment writes a relation into a new file and puts it in the place of
// what replace removes. It does nothing when a query reads the stores just then,
// and reports whether it did.
//
// Crash story: the file is whole, synced and under its name before the batch
// that names it and removes what it replaces. A crash before the batch leaves a
// file that no row names, which the next start removes; one after it leaves
// files that were replaced, which go the same way.
func (m *Manager) writeSegment(ctx context.Context, s *Store, x segment, rel duckdb.Relation, replace func(b *kv.Batch), old []segment) (bool, error) {
	x.Version = formatVersion
	x.File = segmentFile(s, x.Day)
	path := filepath.Join(m.cfg.Dir, x.File)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return false, fmt.Errorf("creating a directory of events: %w", err)
	}
	part := path + ".part"
	err := m.cfg.Engine.WriteParquet(ctx, part, rel)
	if err == nil {
		crashpoint.Here("lake.parquet-written")
		x.Bytes, err = durable.Settle(part, path, m.cfg.Dir)
	}
	if err != nil {
		return false, errors.Join(fmt.Errorf("writing events of %s: %w", s.ARN(), err), durable.Remove(part))
	}
	// Who reads the stores has listed what there is of rows and files.
	if !m.files.TryLock() {
		return false, durable.Remove(path)
	}
	defer m.files.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.snap.Load().stores[s.ARN()] == nil {
		return false, durable.Remove(path) // removed in between
	}
	b := m.cfg.Store.NewBatch()
	replace(b)
	b.Set(segmentKey(s.ID, &x), kv.MustJSON(x))
	if len(old) > 0 {
		crashpoint.Here("lake.merged")
	} else {
		crashpoint.Here("lake.parquet-not-named")
	}
	if err := m.cfg.Journal.Commit(b); err != nil {
		// Whether the file counts is for the next start to find out.
		return false, err
	}
	if len(old) > 0 {
		crashpoint.Here("lake.merge-committed")
	} else {
		crashpoint.Here("lake.rows-removed")
	}
	return true, m.removeFiles(old)
}

func (m *Manager) removeFiles(list []segment) error {
	var err error
	for _, x := range list {
		err = errors.Join(err, durable.Remove(filepath.Join(m.cfg.Dir, x.File)))
	}
	return err
}

// expireSegments removes a store's files up to and including a day, unless a
// query reads the stores just then. It reports whether they are gone.
func (m *Manager) expireSegments(store string, last uint32) (bool, error) {
	list, err := m.segments(store, 0, last)
	if err != nil || len(list) == 0 {
		return err == nil, err
	}
	if !m.files.TryLock() {
		return false, nil
	}
	defer m.files.Unlock()
	b := m.cfg.Store.NewBatch()
	for i := range list {
		b.Delete(segmentKey(store, &list[i]))
	}
	if err := m.cfg.Journal.Commit(b); err != nil {
		return false, err
	}
	return true, m.removeFiles(list)
}
