package insights

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"spoor/internal/journal"
	"spoor/internal/kv"
)

// formatVersion is the version of every row that this package writes.
const formatVersion = 1

// Tables of kv.SpaceInsight. Rows of a series are keyed by Key.parts; those of
// counts and tallies have the hour or day appended, big-endian.
const (
	tableState  = "state"  // the last minute that is over
	tableScope  = "scope"  // by account, trail and type
	tableSeries = "series" // what is learnt of an operation
	tableTally  = "tally"  // a day's callers
	tableCount  = "count"  // an hour's counts by minute
)

func stateKey() []byte { return kv.Key(kv.SpaceInsight, tableState) }

func (k *scopeKey) row() []byte {
	return kv.Key(kv.SpaceInsight, tableScope, k.Account, k.Trail, k.Type)
}

func (k *Key) row(table string) []byte {
	return kv.Key(kv.SpaceInsight, append([]string{table}, k.parts()...)...)
}

func (k *Key) rowAt(table string, at int64) []byte {
	return kv.AppendUint64(k.row(table), uint64(at))
}

// row is the form of a JSON row.
type row[T any] struct {
	Version int `json:"version"`
	Row     T   `json:"row"`
}

func setRow[T any](b *kv.Batch, key []byte, v T) error {
	js, err := json.Marshal(row[T]{formatVersion, v})
	if err != nil {
		return fmt.Errorf("encoding a row of Insights: %w", err)
	}
	b.Set(key, js)
	return nil
}

func getRow[T any](js []byte) (T, error) {
	var r row[T]
	if err := json.Unmarshal(js, &r); err != nil {
		return r.Row, fmt.Errorf("a row of Insights is damaged: %w", err)
	}
	if r.Version != formatVersion {
		return r.Row, fmt.Errorf("a row of Insights has version %d; this program knows version %d", r.Version, formatVersion)
	}
	return r.Row, nil
}

// load reads the durable state. Where there is none, Insights have just been
// turned on, and begin at the journal's head.
func (r *reader) load() error {
	c := &r.m.cfg
	r.w = newWatcher(c.Params, r.newID, r.history)
	r.read, r.ended = 0, 0
	now := minuteOf(c.Now())
	v, err := c.Store.Get(stateKey())
	switch {
	case errors.Is(err, kv.ErrNotFound):
		r.w.closed = now - 1
		r.at = c.Journal.Head()
		r.unseen.from, r.unseen.to = r.w.closed, now // the minute under way began before
		b := c.Store.NewBatch()
		journal.SetCursor(b, Cursor, r.at)
		if err := setRow(b, stateKey(), r.w.closed); err != nil {
			return errors.Join(err, b.Close())
		}
		err = c.Journal.Commit(b)
		r.durable, r.loaded = r.at, err == nil
		return err
	case err != nil:
		return fmt.Errorf("reading the state of Insights: %w", err)
	}
	if r.w.closed, err = getRow[int64](v); err != nil {
		return err
	}
	if r.at, err = c.Journal.Cursor(Cursor); err != nil {
		return err
	}
	r.durable = r.at
	err = c.Store.Scan(kv.Key(kv.SpaceInsight, tableScope), func(_, v []byte) (bool, error) {
		sc, err := getRow[*scope](v)
		if err == nil {
			sc.series, sc.open = map[*series]bool{}, map[*series]bool{}
			r.w.scopes[sc.scopeKey] = sc
		}
		return err == nil, err
	})
	if err != nil {
		return err
	}
	err = c.Store.Scan(kv.Key(kv.SpaceInsight, tableSeries), func(_, v []byte) (bool, error) {
		s, err := getRow[*series](v)
		if err == nil && !r.w.adopt(s) {
			r.w.dropped = append(r.w.dropped, s.Key)
		}
		return err == nil, err
	})
	if err != nil {
		return err
	}
	// While the server did not run nobody called: that is no history. It ran at
	// least until its newest record, which may not be counted yet.
	r.unseen.from, r.unseen.to = max(r.w.closed, r.m.ran), r.m.started
	r.loaded = true
	return nil
}

// history tallies a series' calls of whole days.
func (r *reader) history(k *Key, from, to int64) (out sketch, err error) {
	err = r.m.cfg.Store.ScanRange(k.rowAt(tableTally, max(from, 0)), k.rowAt(tableTally, max(to, 0)), func(_, v []byte) (bool, error) {
		day, err := getRow[sketch](v)
		if err == nil {
			out.merge(&day)
		}
		return err == nil, err
	})
	return out, err
}

// flush makes everything since the last one durable.
//
// Crash story: the counts, what was learnt, the open insights, the records of
// those that start or end, and the cursor are one batch. Without it, the
// records since the cursor are read again, and the insights that were found in
// them are found again, under new ids that nobody has seen. With it, they are
// in the journal and the state that found them is past them.
func (r *reader) flush() error {
	c := &r.m.cfg
	b := c.Store.NewBatch()
	entries, err := r.fill(b)
	if err != nil {
		return errors.Join(err, b.Close())
	}
	journal.SetCursor(b, Cursor, r.at)
	if err := c.Journal.Append(journal.Group{Writes: b, Entries: entries}); err != nil {
		return fmt.Errorf("keeping the counts of Insights: %w", err)
	}
	r.durable, r.read, r.ended = r.at, 0, 0
	w := r.w
	if w.refused > 0 && c.Now().Sub(r.full) > minutesPerHour*60e9 {
		c.Log.Warn("more operations are called than Insights may watch; further ones are not", "limit", c.Params.MaxSeries, "calls", w.refused)
		r.full = c.Now()
	}
	w.found, w.rolled, w.dropped, w.gone, w.refused = nil, nil, nil, nil, 0
	for _, s := range w.series {
		if s.dirty {
			s.dirty, s.written = false, nil
		}
	}
	for _, sc := range w.scopes {
		sc.dirty = false
	}
	return nil
}

// fill writes what is to be kept into b and returns the records of insights.
func (r *reader) fill(b *kv.Batch) (entries []journal.Entry, err error) {
	w := r.w
	for i := range w.gone {
		b.Delete(w.gone[i].row())
	}
	for i := range w.dropped {
		k := &w.dropped[i]
		b.Delete(k.row(tableSeries))
		tallies := k.row(tableTally)
		b.DeleteRange(tallies, kv.PrefixEnd(tallies))
	}
	for i := range w.rolled {
		x := &w.rolled[i]
		if err := setRow(b, x.key.rowAt(tableTally, x.day), x.values); err != nil {
			return nil, err
		}
		tallies := x.key.row(tableTally)
		b.DeleteRange(tallies, x.key.rowAt(tableTally, max(0, x.day-int64(w.p.Baseline.Hours()/24))))
	}
	for _, sc := range w.scopes {
		if sc.dirty {
			if err := setRow(b, sc.row(), sc); err != nil {
				return nil, err
			}
		}
	}
	for _, s := range w.series {
		if !s.dirty {
			continue
		}
		if err := r.putCounts(b, s); err != nil {
			return nil, err
		}
		if err := setRow(b, s.row(tableSeries), s); err != nil {
			return nil, err
		}
	}
	for i := range w.found {
		more, err := r.record(b, &w.found[i])
		if err != nil {
			return nil, err
		}
		entries = append(entries, more...)
	}
	return entries, setRow(b, stateKey(), w.closed)
}

// putCounts adds a series' new counts to the rows of their hours.
func (r *reader) putCounts(b *kv.Batch, s *series) error {
	hours := map[int64]*counts{}
	for minute, n := range s.written {
		hour := minute / minutesPerHour
		c := hours[hour]
		if c == nil {
			v, err := r.m.cfg.Store.Get(s.rowAt(tableCount, hour))
			if err != nil && !errors.Is(err, kv.ErrNotFound) {
				return err
			}
			if c, err = decodeCounts(v); err != nil {
				return err
			}
			hours[hour] = c
		}
		c.slots[minute%minutesPerHour/c.step] += uint64(n)
	}
	for hour, c := range hours {
		b.Set(s.rowAt(tableCount, hour), c.encode())
	}
	return nil
}

// counts are an hour's counts, by minute or by what the minutes were put
// together to.
type counts struct {
	step  int64 // minutes of a slot: 1, 5 or 60
	slots [minutesPerHour]uint64
}

// errCounts says that a row of counts is damaged.
var errCounts = errors.New("insights: a row of counts is damaged")

// decodeCounts reads a row: version, step, then each slot that is not zero, as
// how far it is from the last one and its count. No row at all is an hour
// without calls.
func decodeCounts(v []byte) (*counts, error) {
	c := &counts{step: 1}
	if len(v) == 0 {
		return c, nil
	}
	if len(v) < 2 || v[0] != formatVersion || !slices.Contains([]byte{1, 5, 60}, v[1]) {
		return nil, errCounts
	}
	c.step = int64(v[1])
	slot := -1
	for v = v[2:]; len(v) > 0; {
		gap, n := binary.Uvarint(v)
		if n <= 0 || gap == 0 || gap > minutesPerHour {
			return nil, errCounts
		}
		count, m := binary.Uvarint(v[n:])
		if slot += int(gap); m <= 0 || int64(slot) >= minutesPerHour/c.step {
			return nil, errCounts
		}
		c.slots[slot] = count
		v = v[n+m:]
	}
	return c, nil
}

func (c *counts) encode() []byte {
	out := []byte{formatVersion, byte(c.step)}
	last := -1
	for slot, n := range c.slots {
		if n > 0 {
			out = binary.AppendUvarint(binary.AppendUvarint(out, uint64(slot-last)), n)
			last = slot
		}
	}
	return out
}

// coarser puts slots together.
func (c *counts) coarser(step int64) *counts {
	out := &counts{step: step}
	for slot, n := range c.slots {
		if n > 0 {
			out.slots[int64(slot)*c.step/step] += n
		}
	}
	return out
}
