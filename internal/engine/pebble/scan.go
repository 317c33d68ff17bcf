package pebble

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"

	engine "github.com/cockroachdb/pebble/v2"

	"spoor/internal/kv"
)

// Next is what a scan does after a row.
type Next uint8

// What a scan does after a row.
const (
	Continue      Next = iota
	NextPartition      // leave out the rest of the partition
	Stop
)

// Range is a range of ordered clustering keys.
type Range struct {
	From []byte // inclusive
	To   []byte // exclusive; nil: to the partition's end
}

// Query says what to scan: one partition, or a range of a table's keys.
type Query struct {
	Partition []byte // a partition's prefix; nil: From and To hold
	From, To  []byte // key prefixes; To is exclusive
	// Ranges are in order and do not overlap; nil: all rows. They hold with
	// Partition only.
	Ranges  []Range
	Reverse bool // with Partition only
	// After is the Result.Key of the row after which to go on, or nil.
	After []byte
	Now   int64 // seconds since the epoch, for what expires
}

// Result is a row as a scan gives it, valid during the call only.
type Result struct {
	Key       []byte // where it is; see Query.After
	Token     int64
	Partition []byte // the partition key
	// Clustering is the ordered clustering key; nil for the result that stands
	// for a partition with nothing but static columns.
	Clustering []byte
	Row        *Row // only what is alive
	Static     *Row // likewise; nil when there is none
}

type scanner struct {
	q      Query
	it     *engine.Iterator
	fn     func(*Result) (Next, error)
	ctx    context.Context
	res    Result
	row    Row
	static Row
	value  []byte // the static row's, copied

	deleted  int64
	ranges   []rangeDeletion
	prefix   []byte
	emitted  bool // the partition has given a row
	hasStart bool // After lies in this partition
	seen     int
}

// Scan calls fn for each row that is alive, in the order of the keys or, within
// a partition, the reverse. A partition of which only the static row is alive
// gives one result without a clustering key.
func Scan(ctx context.Context, store *kv.Store, q Query, fn func(*Result) (Next, error)) (err error) {
	lower, upper := q.From, q.To
	if q.Partition != nil {
		lower, upper = q.Partition, kv.PrefixEnd(q.Partition)
	}
	it, err := store.DB().NewIter(&engine.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return fmt.Errorf("opening an iterator: %w", err)
	}
	s := &scanner{q: q, it: it, fn: fn, ctx: ctx}
	err = s.run(lower)
	if cerr := it.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("reading CQL rows: %w", cerr)
	}
	return err
}

func (s *scanner) run(lower []byte) error {
	start := lower
	if s.q.After != nil && s.q.Partition == nil {
		n := partitionLen(s.q.After)
		if n == 0 || bytes.Compare(s.q.After[:n], lower) < 0 {
			return errDamaged
		}
		start = s.q.After[:n]
	}
	for ok := s.it.SeekGE(start); ok; {
		n := partitionLen(s.it.Key())
		if n == 0 {
			return errDamaged
		}
		s.prefix = append(s.prefix[:0], s.it.Key()[:n]...)
		next, err := s.partition()
		if err != nil || next == Stop {
			return err
		}
		if s.q.Partition != nil {
			break
		}
		// The iterator stands behind the partition already unless rows were left.
		if ok = s.it.Valid(); ok && bytes.HasPrefix(s.it.Key(), s.prefix) {
			ok = s.it.SeekGE(kv.PrefixEnd(s.prefix))
		}
	}
	return s.it.Error()
}

// partition walks one partition, from its first key.
func (s *scanner) partition() (Next, error) {
	s.deleted, s.ranges, s.emitted, s.res.Static = NoTimestamp, nil, false, nil
	s.hasStart = s.q.After != nil && bytes.HasPrefix(s.q.After, s.prefix)
	n := len(s.prefix)
	ok := true
	for ; ok && s.inPartition() && s.it.Key()[n] < keyRow; ok = s.it.Next() {
		if err := s.header(s.it.Key()[n]); err != nil {
			return Stop, err
		}
	}
	s.res.Token = int64(binary.BigEndian.Uint64(s.prefix[tokenOffset:]) ^ 1<<63)
	s.res.Partition = partitionKey(s.prefix)
	if s.hasStart && len(s.q.After) == n+1 && s.q.After[n] == keyStatic {
		return Continue, nil // it had only its static row, and that was given
	}
	next, err := s.rows()
	if err != nil || next != Continue {
		return next, err
	}
	if s.emitted || s.hasStart || s.res.Static == nil || !s.res.Static.Live() {
		return Continue, nil
	}
	s.row.Reset()
	s.res.Row, s.res.Clustering = &s.row, nil
	s.res.Key = append(append([]byte(nil), s.prefix...), keyStatic)
	return s.fn(&s.res)
}

func (s *scanner) inPartition() bool {
	k := s.it.Key()
	return len(k) > len(s.prefix) && bytes.HasPrefix(k, s.prefix)
}

func (s *scanner) header(kind byte) error {
	v, err := s.it.ValueAndErr()
	if err != nil {
		return fmt.Errorf("reading a CQL partition: %w", err)
	}
	switch kind {
	case keyDeletion:
		if err := decodeRow(v, &s.row); err != nil {
			return err
		}
		s.deleted = s.row.Deleted
	case keyRanges:
		if s.ranges, err = decodeRanges(append([]byte(nil), v...)); err != nil {
			return err
		}
	case keyStatic:
		s.value = append(s.value[:0], v...)
		if err := decodeRow(s.value, &s.static); err != nil {
			return err
		}
		s.static.resolve(s.deleted, s.q.Now)
		s.res.Static = &s.static
	default:
		return errDamaged
	}
	return nil
}

// rows walks the rows of the partition that the iterator is in.
func (s *scanner) rows() (Next, error) {
	ranges := s.q.Ranges
	if ranges == nil || s.q.Partition == nil {
		ranges = []Range{{}}
	}
	for i := range ranges {
		r := ranges[i]
		if s.q.Reverse {
			r = ranges[len(ranges)-1-i]
		}
		next, err := s.walk(r)
		if err != nil || next != Continue {
			return next, err
		}
	}
	return Continue, nil
}

// checkEvery is after how many rows a scan looks whether its client is gone.
const checkEvery = 1024

func (s *scanner) walk(r Range) (Next, error) {
	n := len(s.prefix) + 1
	from := append(append(append(make([]byte, 0, n+len(r.From)), s.prefix...), keyRow), r.From...)
	to := append(append([]byte(nil), s.prefix...), keyRow+1)
	if r.To != nil {
		to = append(append(append(to[:0], s.prefix...), keyRow), r.To...)
	}
	if s.hasStart {
		if s.q.Reverse && bytes.Compare(s.q.After, to) < 0 {
			to = s.q.After
		}
		if after := append(append([]byte(nil), s.q.After...), 0); !s.q.Reverse && bytes.Compare(after, from) > 0 {
			from = after
		}
	}
	if bytes.Compare(from, to) >= 0 {
		return Continue, nil
	}
	var ok bool
	switch {
	case s.q.Reverse:
		ok = s.it.SeekLT(to)
	case s.it.Valid() && bytes.Compare(s.it.Key(), from) >= 0 && s.q.Ranges == nil:
		ok = true
	default:
		ok = s.it.SeekGE(from)
	}
	for ok {
		k := s.it.Key()
		if s.q.Reverse && bytes.Compare(k, from) < 0 || !s.q.Reverse && bytes.Compare(k, to) >= 0 {
			break
		}
		next, err := s.emit(k)
		if err != nil || next != Continue {
			return next, err
		}
		if s.q.Reverse {
			ok = s.it.Prev()
		} else {
			ok = s.it.Next()
		}
	}
	return Continue, s.it.Error()
}

func (s *scanner) emit(k []byte) (Next, error) {
	if s.seen++; s.seen%checkEvery == 0 && s.ctx.Err() != nil {
		return Stop, fmt.Errorf("scanning: %w", context.Cause(s.ctx))
	}
	v, err := s.it.ValueAndErr()
	if err != nil {
		return Stop, fmt.Errorf("reading a CQL row: %w", err)
	}
	if err := decodeRow(v, &s.row); err != nil {
		return Stop, err
	}
	s.res.Clustering = k[len(s.prefix)+1:]
	deleted := s.deleted
	if s.ranges != nil {
		deleted = max(deleted, deletedAt(s.ranges, s.res.Clustering))
	}
	s.row.resolve(deleted, s.q.Now)
	if !s.row.Live() {
		return Continue, nil
	}
	s.emitted = true
	s.res.Key, s.res.Row = k, &s.row
	return s.fn(&s.res)
}

// Get reads one row and its partition's static row and calls fn with them; with
// an empty Row when there is none. A nil clustering reads the static row alone.
func Get(ctx context.Context, store *kv.Store, partition, clustering []byte, now int64, fn func(*Result) error) error {
	q := Query{Partition: partition, Now: now, Ranges: []Range{}}
	if clustering != nil {
		q.Ranges = []Range{{From: clustering, To: append(append([]byte(nil), clustering...), 0)}}
	}
	found := false
	err := Scan(ctx, store, q, func(r *Result) (Next, error) {
		found = true
		return Stop, fn(r)
	})
	if err != nil || found {
		return err
	}
	empty := &Row{Marker: Life{Timestamp: NoTimestamp}, Deleted: NoTimestamp}
	return fn(&Result{Partition: partitionKey(partition), Row: empty})
}
