package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"spoor/internal/kv"
	"spoor/internal/record"
)

// Read calls fn for the durable records with sequence numbers in (after, to],
// in order, until fn returns false. The item is valid during the call only.
// A trimmed range is skipped; a gap inside what is kept is an error, since the
// journal never makes one.
func (j *Journal) Read(after, to uint64, fn func(Item) (bool, error)) error {
	to = min(to, j.head.Load())
	for {
		at, begin, more, err := j.recent.read(after, to, fn)
		if err != nil || !more || at >= to {
			return err
		}
		// Older records are read from the store, up to where memory begins; that
		// may move on meanwhile, and then the store is read further.
		end := to
		if begin != 0 {
			end = min(to, begin-1)
		}
		last := at
		err = Read(j.store, at, end, func(it Item) (bool, error) {
			last = it.Seq
			more, err = fn(it)
			return more, err
		})
		if err != nil || !more {
			return err
		}
		if last < end { // all of them are durable: what is not there is lost
			if err := gap(j.store, last+1, end); err != nil {
				return err
			}
		}
		after = end
	}
}

// GapError says that records are missing from the middle of the journal, which
// the journal itself never causes.
type GapError struct{ First, Last uint64 } // their sequence numbers

func (e *GapError) Error() string {
	return fmt.Sprintf("records %d to %d are missing from the journal", e.First, e.Last)
}

// gap is the error for records first to last, which were not found, unless they
// were trimmed. The place of the trim is looked at after the records were
// looked for: they go in one batch, so a trim meanwhile is never taken for a
// gap.
func gap(store *kv.Store, first, last uint64) error {
	to, err := trimmed(store)
	if err == nil && to < last {
		err = &GapError{max(first, to+1), last}
	}
	return err
}

// trimmed is up to where the journal was trimmed, 0 where it never was.
func trimmed(store *kv.Store) (uint64, error) {
	v, err := store.Get(trimKey())
	switch {
	case errors.Is(err, kv.ErrNotFound):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("reading up to where the journal is trimmed: %w", err)
	case len(v) != 8:
		return 0, fmt.Errorf("%w: the place of the journal's trim", record.ErrDamaged)
	}
	return binary.BigEndian.Uint64(v), nil
}

// Read reads a store's journal without a committer, for offline tools. A gap is
// a *GapError; fn has then seen every record before it. That the journal's last
// records are missing is not seen here: only the committer knows its head.
func Read(store *kv.Store, after, to uint64, fn func(Item) (bool, error)) error {
	if to <= after {
		return nil
	}
	it, err := records(store, to)
	if err != nil {
		return err
	}
	return errors.Join(readFrom(store, it, after, to, fn), it.Close())
}

func readFrom(store *kv.Store, it *pebble.Iterator, after, to uint64, fn func(Item) (bool, error)) error {
	ok, err := seek(it, after+1)
	want := after + 1
	var b block
	var buf []byte
	for ; err == nil && ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return fmt.Errorf("reading the journal: %w", err)
		}
		if buf, err = b.open(it.Key(), v, buf); err != nil {
			return err
		}
		if b.next > want {
			if err := gap(store, want, b.next-1); err != nil {
				return err
			}
			want = b.next
		}
		for {
			more, err := b.read()
			if err != nil {
				return err
			}
			if !more || b.next-1 > to {
				break
			}
			if b.next-1 < want {
				continue
			}
			x, err := b.item()
			if err != nil {
				return err
			}
			want++
			if more, err := fn(x); err != nil || !more {
				return err
			}
		}
	}
	return errors.Join(err, it.Error())
}

// Get returns one record, or kv.ErrNotFound.
func (j *Journal) Get(seq uint64) (Item, error) {
	r := j.Reader()
	it, err := r.Get(seq)
	return it, errors.Join(err, r.Close())
}

// Reader returns a reader of single records. Those that were committed together
// are decompressed once for as long as they are asked for one after the other.
// It belongs to one goroutine, which closes it soon: it may not find what is
// committed after its first Get.
func (j *Journal) Reader() *Reader { return &Reader{j: j} }

// Reader reads single records.
type Reader struct {
	j     *Journal
	it    *pebble.Iterator // nil until the store is asked
	first uint64           // of block
	block []recentItem     // the records of the key that was read last; they lie in buf
	buf   []byte
}

// Get returns one record, or kv.ErrNotFound. What it returns stays valid.
func (r *Reader) Get(seq uint64) (Item, error) {
	if n := seq - r.first; seq >= r.first && n < uint64(len(r.block)) {
		return r.item(seq)
	}
	if x, ok := r.j.recent.get(seq); ok {
		return x.item(seq)
	}
	if seq == 0 || seq == ^uint64(0) || seq > r.j.head.Load() {
		return Item{}, kv.ErrNotFound
	}
	if r.it == nil {
		it, err := records(r.j.store, ^uint64(0))
		if err != nil {
			return Item{}, err
		}
		r.it = it
	}
	ok, err := seek(r.it, seq)
	if err != nil {
		return Item{}, err
	}
	if !ok {
		return Item{}, kv.ErrNotFound
	}
	return r.load(seq)
}

// load reads the records of the iterator's key and returns one of them. Only
// that one is decoded, and only its bytes outlive the next key: a page of
// records from as many blocks would otherwise hold all of these.
func (r *Reader) load(seq uint64) (Item, error) {
	v, err := r.it.ValueAndErr()
	if err != nil {
		return Item{}, fmt.Errorf("reading the journal: %w", err)
	}
	first, last, err := span(r.it.Key(), v)
	if err != nil {
		return Item{}, err
	}
	if first > seq {
		return Item{}, kv.ErrNotFound
	}
	r.block = r.block[:0]
	var b block
	buf, err := b.open(r.it.Key(), v, r.buf)
	if err != nil {
		return Item{}, err
	}
	if first == last { // in the engine's memory, which is valid until the next key
		if _, err := b.read(); err != nil {
			return Item{}, err
		}
		x := recentItem{b.streamSeq, slices.Clone(b.data)}
		return x.item(seq)
	}
	r.first, r.buf = first, buf
	for {
		more, err := b.read()
		if err != nil {
			r.block = r.block[:0]
			return Item{}, err
		}
		if !more {
			return r.item(seq)
		}
		r.block = append(r.block, recentItem{b.streamSeq, b.data})
	}
}

// item decodes one of the block's records.
func (r *Reader) item(seq uint64) (Item, error) {
	x := r.block[seq-r.first]
	x.data = slices.Clone(x.data)
	return x.item(seq)
}

// Close ends the reader.
func (r *Reader) Close() error {
	if r.it == nil {
		return nil
	}
	return r.it.Close()
}

// Cursor returns the position that a reader has durably reached; 0 for a new
// reader.
func (j *Journal) Cursor(name string) (uint64, error) {
	v, err := j.store.Get(cursorKey(name))
	if errors.Is(err, kv.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading cursor %s: %w", name, err)
	}
	if len(v) != 8 {
		return 0, fmt.Errorf("cursor %s is damaged", name)
	}
	return binary.BigEndian.Uint64(v), nil
}

// Cursors returns the durable positions of all readers by name.
func (j *Journal) Cursors() (map[string]uint64, error) {
	out := map[string]uint64{}
	prefix := kv.Key(kv.SpaceCursor)
	err := j.store.Scan(prefix, func(k, v []byte) (bool, error) {
		name, rest, ok := kv.DecodeString(k[len(prefix):])
		if !ok || len(rest) != 0 || len(v) != 8 {
			return false, fmt.Errorf("%w: the cursor %q", record.ErrDamaged, k)
		}
		out[name] = binary.BigEndian.Uint64(v)
		return true, nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the cursors: %w", err)
	}
	return out, nil
}

// SetCursor writes a reader's position into b, so that it moves together with
// what the reader made of the records.
func SetCursor(b *kv.Batch, name string, seq uint64) {
	b.Set(cursorKey(name), kv.AppendUint64(nil, seq))
}

// DropCursor removes a reader.
func DropCursor(b *kv.Batch, name string) { b.Delete(cursorKey(name)) }

func cursorKey(name string) []byte { return kv.Key(kv.SpaceCursor, name) }

// Trim removes the records up to and including seq, but none that a reader's
// cursor has not passed, nor any that stand in a block with a later one, and
// returns up to where it removed.
func (j *Journal) Trim(seq uint64) (uint64, error) {
	prefix := kv.Key(kv.SpaceCursor)
	err := j.store.Scan(prefix, func(_, v []byte) (bool, error) {
		if len(v) == 8 {
			seq = min(seq, binary.BigEndian.Uint64(v))
		}
		return true, nil
	})
	if err != nil {
		return 0, fmt.Errorf("reading the cursors: %w", err)
	}
	seq = min(seq, j.head.Load())
	first, last, ok, err := holding(j.store, seq)
	if err != nil {
		return 0, err
	}
	if ok && last > seq {
		seq = first - 1
	}
	already, err := trimmed(j.store)
	if err != nil || seq <= already {
		return min(seq, already), err
	}
	b := j.store.NewBatch()
	b.DeleteRange(appendKey(nil, 0), appendKey(nil, seq+1))
	b.Set(trimKey(), kv.AppendUint64(nil, seq))
	if err := j.Commit(b); err != nil {
		return seq, err
	}
	j.recent.drop(seq)
	return seq, nil
}
