// Package journal is the ordered, durable log of records, and the only way
// into the store.
//
// It is the "record" step of a call's path: Append makes a call's record and
// the call's own writes durable in one batch with one sync, and returns only
// then. Everything else, event history, delivery, the live tail, follows by
// reading the journal forward with a cursor of its own.
//
// One committer goroutine takes what is waiting, numbers it and writes it to
// the store's log as one group, so that many callers share a sync; a second one
// waits for the syncs and answers, so that the next group is made meanwhile.
// Sequence numbers are contiguous, over the whole journal and for each account
// and region.
package journal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"spoor/internal/crashpoint"
	"spoor/internal/kv"
	"spoor/internal/record"
)

// MaxGroupBytes bounds one commit, so that a burst of large calls does not
// hold up the small ones behind it.
const MaxGroupBytes = 8 << 20

var (
	// ErrClosed answers an Append after Close.
	ErrClosed = errors.New("journal: closed")
	// ErrFailed is wrapped by every Append after a commit has failed. Whether
	// the failed group is on disk is not known then, so nothing more may be
	// numbered; a restart reads the truth from the store.
	ErrFailed = errors.New("journal: a commit failed; restart the server to recover")
)

// Entry is one record to append.
type Entry struct {
	Account, Region string // the stream that numbers it
	Index           int    // the caller's own mark; not stored
	// Data is record.AppendEntry's output. The journal keeps it; the caller must
	// not change it any more.
	Data []byte
}

// Group is what one call appends: all of it or nothing.
type Group struct {
	// Writes are the call's own writes, or nil. Append takes the batch over and
	// closes it.
	Writes  *kv.Batch
	Entries []Entry
	// Done is the intent that the entries resolve, or nil.
	Done *Intent
}

// Intent is a durable note of a call whose effect lies outside the store.
type Intent struct{ key []byte }

// Item is one record of the journal, as readers see it.
type Item struct {
	Seq       uint64 // position in the journal, from 1, without gaps
	StreamSeq uint64 // position within its account and region, from 1, without gaps
	record.Entry
}

// Journal is an open journal. It is safe for concurrent use.
type Journal struct {
	store *kv.Store
	log   *slog.Logger
	head  atomic.Uint64 // last durable sequence number

	mu     sync.Mutex
	queue  []*waiter
	closed bool
	wake   chan struct{}
	done   chan struct{} // closed when both goroutines have ended

	notifyMu sync.Mutex
	notify   chan struct{} // closed at the next commit; nil when nobody waits

	intents atomic.Uint64
	recent  recent

	failed  atomic.Pointer[error]
	written chan *written // from committer to finisher

	// Owned by the committer.
	seq     uint64
	streams map[stream]uint64
	blocks  blockWriter
}

// written is a group that is in the store's log and not yet known to be synced.
type written struct {
	group       []*waiter
	batch       *kv.Batch // nil when err is set
	items       []recentItem
	first, last uint64 // sequence numbers; none when last < first
	err         error
}

type stream struct{ account, region string }

type waiter struct {
	g    Group
	size int
	err  error
	done chan struct{}
}

var waiters = sync.Pool{New: func() any { return &waiter{done: make(chan struct{}, 1)} }}

// Open reads the journal's end from the store, turns the intents that a crash
// left behind into records, and starts the committer.
//
// Crash story: an intent and the record that resolves it are removed and
// written in one batch, both here and in normal running, so a crash during
// recovery leaves each intent either untouched or resolved.
func Open(store *kv.Store, log *slog.Logger) (*Journal, error) {
	j := &Journal{
		store:   store,
		log:     log,
		wake:    make(chan struct{}, 1),
		done:    make(chan struct{}),
		streams: make(map[stream]uint64),
		written: make(chan *written, 1),
		recent:  recent{limit: recentBytes},
	}
	last, err := lastSeq(store)
	if err != nil {
		return nil, err
	}
	j.seq = last
	j.head.Store(last)
	go j.commit()
	go j.finish()
	if err := j.recoverIntents(); err != nil {
		return nil, errors.Join(err, j.Close())
	}
	return j, nil
}

func lastSeq(store *kv.Store) (last uint64, err error) {
	it, err := records(store, ^uint64(0))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	if it.Last() {
		v, err := it.ValueAndErr()
		if err != nil {
			return 0, fmt.Errorf("finding the journal's end: %w", err)
		}
		if _, last, err = span(it.Key(), v); err != nil {
			return 0, err
		}
	}
	if err := it.Error(); err != nil {
		return 0, fmt.Errorf("finding the journal's end: %w", err)
	}
	// A trimmed journal may be empty; the mark keeps its numbers from starting
	// again.
	to, err := trimmed(store)
	return max(last, to), err
}

// Append makes g durable and returns. On an error nothing of g may be
// answered for: either it is not on disk, or that is not known and the journal
// accepts nothing more (ErrFailed).
func (j *Journal) Append(g Group) error {
	w := waiters.Get().(*waiter)
	w.g, w.err = g, nil
	w.size = 64
	if g.Writes != nil {
		w.size += g.Writes.Len()
	}
	for _, e := range g.Entries {
		w.size += len(e.Data)
	}
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		waiters.Put(w)
		return errors.Join(ErrClosed, closeBatch(g.Writes))
	}
	j.queue = append(j.queue, w)
	select { // under the lock, so that Close cannot close the channel in between
	case j.wake <- struct{}{}:
	default:
	}
	j.mu.Unlock()
	<-w.done
	err := w.err
	w.g = Group{}
	waiters.Put(w)
	return err
}

// Commit makes writes durable that belong to no call: a reader's cursor, a
// query's progress. It takes the batch over.
func (j *Journal) Commit(b *kv.Batch) error { return j.Append(Group{Writes: b}) }

// Intend makes entries durable as what recovery is to record if no Append with
// the returned Intent follows.
func (j *Journal) Intend(entries []Entry) (*Intent, error) {
	key := kv.AppendUint64(kv.AppendUint64([]byte{byte(kv.SpaceIntent)}, j.head.Load()), j.intents.Add(1))
	b := j.store.NewBatch()
	b.Set(key, encodeEntries(entries))
	if err := j.Commit(b); err != nil {
		return nil, err
	}
	return &Intent{key: key}, nil
}

// Close commits what waits and stops the committer. The store stays open.
func (j *Journal) Close() error {
	j.mu.Lock()
	if !j.closed {
		j.closed = true
		close(j.wake)
	}
	j.mu.Unlock()
	<-j.done
	return nil
}

// commit writes groups until Close.
func (j *Journal) commit() {
	defer close(j.written)
	for range j.wake {
		j.drain()
	}
	j.drain() // what was queued between the last wake-up and Close
}

// drain writes groups until the queue is empty. Handing a group over waits
// while two are on their way to disk: what arrives meanwhile is one group then.
func (j *Journal) drain() {
	for {
		j.mu.Lock()
		n, size := 0, 0
		for n < len(j.queue) && (n == 0 || size+j.queue[n].size <= MaxGroupBytes) {
			size += j.queue[n].size
			n++
		}
		group := j.queue[:n:n]
		j.queue = j.queue[n:]
		if len(j.queue) == 0 {
			j.queue = nil
		}
		j.mu.Unlock()
		if n == 0 {
			return
		}
		w := &written{group: group}
		if w.err = j.failure(); w.err == nil {
			if err := j.write(w); err != nil {
				w.err = j.fail(err)
			}
		}
		j.written <- w
	}
}

// write numbers the group and writes it to the store's log.
//
// Crash story: the batch is the only durable step. Before its sync returns,
// nobody was answered; after it, every call of the group is on disk with its
// number. A crash in between leaves the whole group or none of it, since
// Pebble's log replays batches whole and in order: no group survives without
// those before it, and Open continues after the last one.
func (j *Journal) write(out *written) error {
	b := j.store.NewBatch()
	out.batch, out.first = b, j.seq+1
	seq := j.seq
	touched := make(map[stream]uint64, 1)
	for _, w := range out.group {
		if w.g.Writes != nil {
			if err := b.Raw().Apply(w.g.Writes.Raw(), nil); err != nil {
				return fmt.Errorf("gathering a group: %w", err)
			}
		}
		if w.g.Done != nil {
			b.Delete(w.g.Done.key)
		}
		for _, e := range w.g.Entries {
			s := stream{e.Account, e.Region}
			n, ok := touched[s]
			if !ok {
				var err error
				if n, err = j.streamSeq(s); err != nil {
					return err
				}
			}
			seq++
			n++
			touched[s] = n
			if err := j.blocks.add(b.Raw(), seq, n, e.Data); err != nil {
				return fmt.Errorf("gathering a group: %w", err)
			}
			out.items = append(out.items, recentItem{n, e.Data})
		}
	}
	if err := j.blocks.flush(b.Raw()); err != nil {
		return fmt.Errorf("gathering a group: %w", err)
	}
	for s, n := range touched {
		b.Set(streamKey(s), binary.BigEndian.AppendUint64(nil, n))
	}
	crashpoint.Here("journal.numbered")
	if err := j.store.DB().ApplyNoSyncWait(b.Raw(), pebble.Sync); err != nil {
		return fmt.Errorf("committing a group: %w", err)
	}
	for s, n := range touched {
		j.streams[s] = n
	}
	j.seq, out.last = seq, seq
	return nil
}

// finish waits for each group's sync, in order, and answers its callers.
func (j *Journal) finish() {
	defer close(j.done)
	for w := range j.written {
		err := w.err
		if err == nil {
			if serr := w.batch.Raw().SyncWait(); serr != nil {
				err = j.fail(fmt.Errorf("committing a group: %w", serr))
			} else if err = j.failure(); err == nil && w.last >= w.first {
				crashpoint.Here("journal.committed")
				j.recent.add(w.first, w.items)
				j.head.Store(w.last)
				j.broadcast()
			}
		}
		if w.batch != nil {
			err = errors.Join(err, w.batch.Close())
		}
		for _, c := range w.group {
			c.err = errors.Join(err, closeBatch(c.g.Writes))
			c.done <- struct{}{}
		}
	}
}

func (j *Journal) failure() error {
	if err := j.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// fail makes the first failure that of every group from here on.
func (j *Journal) fail(err error) error {
	failed := fmt.Errorf("%w: %w", ErrFailed, err)
	if j.failed.CompareAndSwap(nil, &failed) {
		j.log.Error("the journal cannot be written; every call is refused until a restart", "err", err)
	}
	return j.failure()
}

func (j *Journal) streamSeq(s stream) (uint64, error) {
	if n, ok := j.streams[s]; ok {
		return n, nil
	}
	v, err := j.store.Get(streamKey(s))
	if errors.Is(err, kv.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading a stream's last number: %w", err)
	}
	if len(v) != 8 {
		return 0, fmt.Errorf("the last number of stream %s/%s is damaged", s.account, s.region)
	}
	n := binary.BigEndian.Uint64(v)
	j.streams[s] = n
	return n, nil
}

func (j *Journal) broadcast() {
	j.notifyMu.Lock()
	defer j.notifyMu.Unlock()
	if j.notify != nil {
		close(j.notify)
		j.notify = nil
	}
}

// recoverIntents records every call that was under way when the server ended.
func (j *Journal) recoverIntents() error {
	prefix := []byte{byte(kv.SpaceIntent)}
	var left []Group
	err := j.store.Scan(prefix, func(k, v []byte) (bool, error) {
		entries, err := decodeEntries(append([]byte(nil), v...))
		if err != nil {
			return false, fmt.Errorf("reading an intent: %w", err)
		}
		left = append(left, Group{Entries: entries, Done: &Intent{key: append([]byte(nil), k...)}})
		return true, nil
	})
	if err != nil {
		return err
	}
	for _, g := range left {
		if err := j.Append(g); err != nil {
			return fmt.Errorf("recording a call of unknown outcome: %w", err)
		}
	}
	if len(left) > 0 {
		j.log.Warn("calls were under way when the server ended; each is recorded with an unknown outcome", "calls", len(left))
	}
	return nil
}

func closeBatch(b *kv.Batch) error {
	if b == nil {
		return nil
	}
	return b.Close()
}

func appendKey(dst []byte, seq uint64) []byte {
	return kv.AppendUint64(append(dst, byte(kv.SpaceJournal)), seq)
}

func streamKey(s stream) []byte { return kv.Key(kv.SpaceStream, s.account, s.region) }

func trimKey() []byte { return kv.Key(kv.SpaceMeta, "journal-trim") }

// encodeEntries is the intents' value: account, region, length and data of
// each entry, every part length-prefixed.
func encodeEntries(entries []Entry) []byte {
	var b []byte
	put := func(p []byte) { b = append(binary.AppendUvarint(b, uint64(len(p))), p...) }
	for _, e := range entries {
		put([]byte(e.Account))
		put([]byte(e.Region))
		put(e.Data)
	}
	return b
}

func decodeEntries(b []byte) ([]Entry, error) {
	var out []Entry
	for len(b) > 0 {
		var parts [3][]byte
		for i := range parts {
			n, w := binary.Uvarint(b)
			if w <= 0 || n > uint64(len(b)-w) {
				return nil, record.ErrDamaged
			}
			parts[i], b = b[w:w+int(n)], b[w+int(n):]
		}
		out = append(out, Entry{Account: string(parts[0]), Region: string(parts[1]), Data: parts[2]})
	}
	return out, nil
}

// Head is the last durable sequence number, 0 when the journal is empty.
func (j *Journal) Head() uint64 { return j.head.Load() }

// Wait returns once Head is above after, with the new head, or with ctx's
// error.
func (j *Journal) Wait(ctx context.Context, after uint64) (uint64, error) {
	for {
		j.notifyMu.Lock()
		if h := j.head.Load(); h > after {
			j.notifyMu.Unlock()
			return h, nil
		}
		if j.notify == nil {
			j.notify = make(chan struct{})
		}
		ch := j.notify
		j.notifyMu.Unlock()
		select {
		case <-ch:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}
