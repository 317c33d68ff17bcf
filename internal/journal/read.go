package journal

import (
	"encoding/binary"
	"errors"
	"fmt"

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
	v, err := store.Get(trimKey())
	switch {
	case errors.Is(err, kv.ErrNotFound):
		return &GapError{first, last}
	case err != nil:
		return fmt.Errorf("reading up to where the journal is trimmed: %w", err)
	case len(v) != 8:
		return fmt.Errorf("%w: the place of the journal's trim", record.ErrDamaged)
	}
	if trimmed := binary.BigEndian.Uint64(v); trimmed < last {
		return &GapError{max(first, trimmed+1), last}
	}
	return nil
}

// Read reads a store's journal without a committer, for offline tools. A gap is
// a *GapError; fn has then seen every record before it. That the journal's last
// records are missing is not seen here: only the committer knows its head.
func Read(store *kv.Store, after, to uint64, fn func(Item) (bool, error)) error {
	if to <= after {
		return nil
	}
	want := after + 1
	return store.ScanRange(appendKey(nil, after+1), appendKey(nil, to+1), func(k, v []byte) (bool, error) {
		it, err := decodeItem(k, v)
		if err != nil {
			return false, err
		}
		if it.Seq != want {
			if err := gap(store, want, it.Seq-1); err != nil {
				return false, err
			}
		}
		want = it.Seq + 1
		return fn(it)
	})
}

// Get returns one record, or kv.ErrNotFound.
func (j *Journal) Get(seq uint64) (Item, error) {
	k := appendKey(nil, seq)
	v, err := j.store.Get(k)
	if err != nil {
		return Item{}, err
	}
	return decodeItem(k, v)
}

func decodeItem(k, v []byte) (Item, error) {
	if len(k) != 9 {
		return Item{}, fmt.Errorf("%w: key", record.ErrDamaged)
	}
	seq := binary.BigEndian.Uint64(k[1:])
	n, w := binary.Uvarint(v)
	if w <= 0 {
		return Item{}, fmt.Errorf("%w: record %d", record.ErrDamaged, seq)
	}
	e, err := record.DecodeEntry(v[w:])
	if err != nil {
		return Item{}, fmt.Errorf("record %d: %w", seq, err)
	}
	return Item{Seq: seq, StreamSeq: n, Entry: e}, nil
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
// cursor has not passed, and returns up to where it removed.
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
	if seq == 0 {
		return 0, nil
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
