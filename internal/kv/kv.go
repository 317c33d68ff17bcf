// Package kv opens the embedded key-value store (Pebble) that holds everything
// the server itself must not lose: the journal, the services' state, CQL rows.
//
// It stands below the journal: a call's writes are collected in a Batch and
// become durable only through journal.Append, in the same batch as the call's
// record. Nothing else writes to the store, except readers of the journal that
// move their own cursors (through journal.Commit).
package kv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// FormatVersion is the version of the key and value layout that this build
// writes. A store with a newer version is refused; an older one is migrated
// step by step (see migrations).
const FormatVersion = 1

// ErrNotFound is returned by Get for an absent key.
var ErrNotFound = errors.New("kv: not found")

// ErrInUse is returned by Open for a store that another process has open.
var ErrInUse = errors.New("kv: another process has the store open")

// Options configure Open. The zero value is for production.
type Options struct {
	// FS is the file system; nil means the disk. Tests pass a crashable one.
	FS vfs.FS
	// CacheBytes is the block cache's size; 0 means 32 MiB, which keeps an idle
	// server small. A server with a large CQL working set wants more.
	CacheBytes int64
	// MemTableBytes is the size of one memtable; 0 means 32 MiB. Records take much
	// of it, so that a smaller one would flush few keys of the index at a time.
	MemTableBytes uint64
	// Merger combines the operands of Batch.Merge; nil means none may be written.
	// Its name is part of the store: a store is only opened with the merger that
	// it was created with.
	Merger *pebble.Merger
	Logger *slog.Logger
	// Fatal is called when the log or, for some time, the tables can no longer be
	// written, and must not return: going on would answer calls without a record. nil means panic,
	// which ends the process; what was acknowledged is on disk and recovery
	// finds it.
	Fatal func(msg string)
}

// separateFrom is the size of values, in bytes, from which on they are kept
// apart from their keys: records, alone or in blocks, are larger.
const separateFrom = 600

// flushedBlock is the size of blocks of level 0 and of values that are kept
// apart, in bytes.
const flushedBlock = 32 << 10

// gatherFlushes is how many flushes that overlap gather in level 0 before they
// are compacted. A flush holds some megabytes of event history's index, whose keys
// come in no order, so that each compaction writes the level below it anew. Over
// two million recorded events that level was written 547 MB with 2, the engine's
// own, 273 MB with 4 and 89 MB with 8, which took 3.7, 2.5 and 1.5 µs of processor
// time an event. The price is that a key which is in no memtable is looked for in
// so many tables more, 1.5 µs each with the tables' filters (BenchmarkGet).
const gatherFlushes = 4

// blobDepth is in how many blob files the values of one table may be before a
// compaction copies them. The engine adds up the flushes that a compaction takes
// in and those that the table below has of them, so that event history's lists
// were copied with nearly every compaction if it were about gatherFlushes. A table
// that is scanned needs a block of each file in the cache, 32 KiB.
const blobDepth = 100

// Store is an open store. It is safe for concurrent use.
type Store struct {
	db *pebble.DB
}

// pebbleLogger passes Pebble's own messages on at debug level: they speak of
// compactions, not of anything an operator can act on.
type pebbleLogger struct {
	l     *slog.Logger
	fatal func(msg string)
}

func (p pebbleLogger) Infof(format string, args ...any) {
	p.l.Debug(fmt.Sprintf(format, args...), "component", "pebble")
}
func (p pebbleLogger) Errorf(format string, args ...any) {
	p.l.Error(fmt.Sprintf(format, args...), "component", "pebble")
}
func (p pebbleLogger) Fatalf(format string, args ...any) {
	p.l.Error(fmt.Sprintf(format, args...), "component", "pebble", "fatal", true)
	p.fatal(fmt.Sprintf(format, args...))
}

// Open opens the store in dir, creating it when dir is empty or absent.
//
// Crash story: Pebble writes the format version in the same synced batch that
// first creates the store, so a directory has either no version (and no data)
// or the version of its data.
func Open(dir string, o Options) (*Store, error) {
	if o.FS == nil {
		o.FS = vfs.Default
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("creating the store's directory: %w", err)
		}
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = 32 << 20
	}
	if o.MemTableBytes == 0 {
		o.MemTableBytes = 32 << 20
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if o.Fatal == nil {
		o.Fatal = func(msg string) { panic("pebble: " + msg) }
	}
	watch := &trouble{log: o.Logger, fatal: o.Fatal, now: time.Now, pause: time.Sleep}
	cache := pebble.NewCache(o.CacheBytes)
	defer cache.Unref()
	po := &pebble.Options{
		FS:                          o.FS,
		Cache:                       cache,
		MemTableSize:                o.MemTableBytes,
		MemTableStopWritesThreshold: 4,
		FormatMajorVersion:          pebble.FormatNewest,
		L0CompactionThreshold:       2 * gatherFlushes, // it compacts at half of that
		L0StopWritesThreshold:       gatherFlushes + 20,
		MaxOpenFiles:                openFiles(),
		Merger:                      o.Merger,
		Logger:                      pebbleLogger{o.Logger, o.Fatal},
		EventListener:               watch.listener(),
	}
	// Records are written in order and never change, so compactions only move
	// their keys: what is large stays in its own file until it is trimmed.
	// Measured when each stood alone: 15 % less CPU for a recorded statement.
	po.Experimental.ValueSeparationPolicy = func() pebble.ValueSeparationPolicy {
		return pebble.ValueSeparationPolicy{Enabled: true, MinimumSize: separateFrom, MaxBlobReferenceDepth: blobDepth,
			RewriteMinimumAge: time.Hour, TargetGarbageRatio: 0.3}
	}
	po.Experimental.SpanPolicyFunc = spans
	// MinLZ takes less time than Snappy and less space. The journal's blocks are
	// compressed already. Records that stand alone are not, and are kept apart when
	// they are flushed, in blocks of level 0's size: some twenty of them in one
	// compress far better than two.
	po.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionFastest })
	for i := range po.Levels {
		po.Levels[i].BlockSize, po.Levels[i].IndexBlockSize = 4<<10, 4<<10
		po.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	po.Levels[0].BlockSize = flushedBlock
	db, err := pebble.Open(dir, po)
	if errors.Is(err, syscall.EAGAIN) {
		return nil, fmt.Errorf("opening the store in %s: %w: %w", filepath.Clean(dir), ErrInUse, err)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the store in %s: %w", filepath.Clean(dir), err)
	}
	s := &Store{db: db}
	if err := s.checkFormat(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

// openFiles is how many files are kept open. To open one takes longer than to
// read a record from it, and ten million records lie in some 5000. Half of what
// the process may have open is left for connections.
func openFiles() int {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 1000
	}
	return int(min(max(l.Cur/2, 256), 8192))
}

// spans keeps the journal's keys in tables of their own. They come in order, so
// such tables never overlap and move down the levels as they are; in one table
// with other keys they would be written again, with their values in time, as
// often as the others are.
func spans(start []byte) (pebble.SpanPolicy, []byte, error) {
	for _, end := range [...]Space{SpaceJournal, SpaceJournal + 1} {
		if start[0] < byte(end) {
			return pebble.SpanPolicy{}, []byte{byte(end)}, nil
		}
	}
	return pebble.SpanPolicy{}, nil, nil
}

func (s *Store) checkFormat() error {
	key := Key(SpaceMeta, "format")
	v, err := s.Get(key)
	switch {
	case errors.Is(err, ErrNotFound):
		return s.db.Set(key, binary.BigEndian.AppendUint32(nil, FormatVersion), pebble.Sync)
	case err != nil:
		return fmt.Errorf("reading the store's format version: %w", err)
	case len(v) != 4:
		return fmt.Errorf("the store's format version is %d bytes long, want 4: the store is damaged", len(v))
	}
	if got := binary.BigEndian.Uint32(v); got != FormatVersion {
		return fmt.Errorf("the store has format version %d and this build knows version %d: use the build that wrote it", got, FormatVersion)
	}
	return nil
}

// Apply makes a batch durable, for offline tools: a server writes through its
// journal. It takes the batch over.
func (s *Store) Apply(b *Batch) error { return errors.Join(b.b.Commit(pebble.Sync), b.Close()) }

// Close closes the store. Iterators and batches must be closed before.
func (s *Store) Close() error { return s.db.Close() }

// DB gives the engine itself to the journal and to the CQL engine, which need
// its iterators and batch format; nobody else should ask for it.
func (s *Store) DB() *pebble.DB { return s.db }

// Get returns a copy of the value of key, or ErrNotFound.
func (s *Store) Get(key []byte) ([]byte, error) {
	v, c, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("reading a key: %w", err)
	}
	out := append([]byte(nil), v...)
	return out, c.Close()
}

// Scan calls fn for each key with the given prefix, in key order, until fn
// returns false or an error. The slices are valid during the call only.
func (s *Store) Scan(prefix []byte, fn func(key, value []byte) (bool, error)) error {
	return s.ScanRange(prefix, PrefixEnd(prefix), fn)
}

// ScanRange is Scan over [from, to).
func (s *Store) ScanRange(from, to []byte, fn func(key, value []byte) (bool, error)) error {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return fmt.Errorf("opening an iterator: %w", err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return errors.Join(fmt.Errorf("reading a value: %w", err), it.Close())
		}
		more, err := fn(it.Key(), v)
		if err != nil || !more {
			return errors.Join(err, it.Close())
		}
	}
	return errors.Join(it.Error(), it.Close())
}

// Batch collects the writes of one call. It belongs to one goroutine until it
// is handed to the journal.
type Batch struct{ b *pebble.Batch }

// NewBatch returns an empty batch.
func (s *Store) NewBatch() *Batch { return &Batch{b: s.db.NewBatch()} }

// Set writes key. The slices are copied. A failure here is a full batch
// (4 GiB) or a closed one, both mistakes of the program, so it panics.
func (b *Batch) Set(key, value []byte) { must(b.b.Set(key, value, nil)) }

// Merge adds an operand to the value of key, which Options.Merger combines with
// the others when the key is read. The slices are copied.
func (b *Batch) Merge(key, operand []byte) { must(b.b.Merge(key, operand, nil)) }

// Delete removes key.
func (b *Batch) Delete(key []byte) { must(b.b.Delete(key, nil)) }

// DeleteRange removes every key in [from, to).
func (b *Batch) DeleteRange(from, to []byte) { must(b.b.DeleteRange(from, to, nil)) }

// Len is the batch's size in bytes.
func (b *Batch) Len() int { return b.b.Len() }

// Empty reports whether nothing was written.
func (b *Batch) Empty() bool { return b == nil || b.b.Empty() }

// Raw is the engine's batch, for the journal's committer and the CQL engine.
func (b *Batch) Raw() *pebble.Batch { return b.b }

// Close gives the batch's memory back. It may be called once, after the commit
// or instead of it.
func (b *Batch) Close() error { return b.b.Close() }

func must(err error) {
	if err != nil {
		panic(fmt.Sprintf("kv: writing to a batch: %v", err))
	}
}
