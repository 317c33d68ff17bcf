package history

import (
	"context"
	"fmt"
	"slices"

	"spoor/internal/crashpoint"
	"spoor/internal/journal"
	"spoor/internal/kv"
	"spoor/internal/record"
)

// Events are gathered in memory before they are written, and are looked up
// there meanwhile: the more there are, the fewer keys each takes, and whoever
// looks for the newest ones waits for no sync. What is in memory only is read
// from the journal again after a crash, for the cursor is behind it.
const (
	// absorbRecords is how many records are taken from the journal at a time, while
	// lookups wait.
	absorbRecords = 256
	// flushRecords is how many events with an entry are written at a time, some
	// 10 MiB in memory with their lists.
	flushRecords = 32768
	// cursorEvery is how many records without an index entry are read at most
	// before the cursor moves all the same.
	cursorEvery = 16384
)

// generation is what is written together.
type generation struct {
	lists   lists
	days    map[uint32]uint64 // days seen for the first time, with the first journal number
	records int               // events with an entry
	at      uint64            // journal number up to which this has everything; set when it is full
}

func newGeneration() *generation {
	return &generation{lists: lists{}, days: map[uint32]uint64{}}
}

func (g *generation) empty() bool { return len(g.lists) == 0 && len(g.days) == 0 }

// write puts the generation into a batch.
func (g *generation) write(b *kv.Batch) {
	for day, first := range g.days {
		b.Set(dayKey(day), kv.AppendUint64(nil, first))
	}
	g.lists.write(b)
}

// WaitFor returns when Lookup finds everything up to a journal number.
func (x *Index) WaitFor(ctx context.Context, seq uint64) error {
	if seq == 0 {
		return nil
	}
	if _, err := x.cfg.Journal.Wait(ctx, seq-1); err != nil {
		return err
	}
	return x.absorb(ctx, seq)
}

// absorb takes the journal's records up to a number into memory, and writes
// when there are too many.
func (x *Index) absorb(ctx context.Context, to uint64) error {
	for {
		x.mu.Lock()
		if x.reached >= to {
			x.mu.Unlock()
			return nil
		}
		err := x.absorbBatch(to)
		full := x.fresh.records >= 2*flushRecords || x.ids.len() >= 2*x.cfg.idsBatch
		x.mu.Unlock()
		if err == nil && full { // Run does not keep up
			err = x.flush(false)
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
	}
}

// absorbBatch takes the next records into memory. x.mu is held. When it fails,
// those before the failure are in memory.
func (x *Index) absorbBatch(to uint64) error {
	read, at := 0, x.reached
	err := x.cfg.Journal.Read(x.reached, to, func(it journal.Item) (bool, error) {
		if err := x.add(&it); err != nil {
			return false, err
		}
		at = it.Seq
		read++
		return read < absorbRecords, nil
	})
	if err == nil && read == 0 {
		at = to // the rest was trimmed
	}
	x.reached = at
	if err != nil {
		return fmt.Errorf("indexing event history: %w", err)
	}
	return nil
}

// add takes one record into memory.
func (x *Index) add(it *journal.Item) error {
	var insight *record.InsightRecord
	if it.Category == record.Insight {
		var err error
		if insight, err = record.ParseInsight(it.JSON); err != nil {
			return fmt.Errorf("record %d: %w", it.Seq, err)
		}
	}
	if it.Category == record.Management {
		x.ids.add(it.Field(record.FieldAccount), it.Field(record.FieldRegion), it.Field(record.FieldEventID), position{it.Time.UnixMilli(), it.Seq})
	}
	if it.Seq <= x.durable {
		return nil // but for its id it is in the index
	}
	day := dayOf(it.Time)
	if i, ok := slices.BinarySearch(x.days, day); !ok {
		x.days = slices.Insert(slices.Clone(x.days), i, day) // lookups keep the old ones
		x.fresh.days[day] = it.Seq
	}
	switch it.Category {
	case record.Management:
		x.key = put(x.fresh.lists, x.key, it)
		x.fresh.records++
	case record.Insight:
		x.key = putInsight(x.fresh.lists, x.key, it, insight)
		x.fresh.records++
	}
	return nil
}

// due reports whether what is in memory has reached the size to be written at.
func (x *Index) due() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.writing != nil || x.fresh.records >= flushRecords || x.ids.len() >= x.cfg.idsBatch || x.reached >= x.durable+cursorEvery
}

// gathered reports whether there is anything to write but ids.
func (x *Index) gathered() (lists, ids bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.writing != nil || !x.fresh.empty(), x.ids.len() > 0
}

// flush writes what is in memory; ids only when there are many, or all is set.
// Lookups go on: they find in memory what is being written until it is on disk.
//
// Crash story: the lists and the cursor that says up to where they are written
// go in one batch, and so do ids and theirs. What could not be written stays in
// memory, as what is written first the next time.
func (x *Index) flush(all bool) error {
	x.flushing.Lock()
	defer x.flushing.Unlock()
	return x.flushLocked(all)
}

func (x *Index) flushLocked(all bool) error {
	x.mu.Lock()
	if x.writing == nil {
		if x.fresh.empty() && x.reached < x.durable+cursorEvery && x.ids.len() < x.cfg.idsBatch && (!all || x.ids.len() == 0) {
			x.mu.Unlock()
			return nil
		}
		x.fresh.at = x.reached
		x.writing, x.fresh = x.fresh, newGeneration()
	}
	g, n, durable := x.writing, x.ids.len(), x.durable
	ids := x.ids.list[:n:n] // are not changed any more
	x.mu.Unlock()

	b := x.cfg.Store.NewBatch()
	g.write(b)
	withIDs := n > 0 && (all || n >= x.cfg.idsBatch)
	if withIDs {
		writeIDs(b, ids)
	}
	if withIDs || n == 0 {
		journal.SetCursor(b, idsCursor, g.at)
	}
	durable = max(durable, g.at)
	journal.SetCursor(b, Cursor, durable)
	crashpoint.Here("history.indexed")
	if err := x.cfg.Journal.Commit(b); err != nil {
		return fmt.Errorf("indexing event history: %w", err)
	}
	crashpoint.Here("history.committed")

	x.mu.Lock()
	defer x.mu.Unlock()
	x.durable, x.writing = durable, nil
	if withIDs {
		x.ids.forget(n)
	}
	return nil
}

// newest gives the newest events of a list that are in memory and between two
// positions, at most limit of them, newest first. x.mu is held.
func (x *Index) newest(key []byte, from, to position, limit int) []position {
	var out []position
	for _, g := range [...]*generation{x.fresh, x.writing} {
		if g == nil {
			continue
		}
		list := g.lists[string(key)]
		if list == nil {
			continue
		}
		for i := len(*list) - 1; i >= 0; i-- { // nearly in order, the newest last
			p := (*list)[i]
			if p.newer(from) || to.newer(p) || len(out) == limit && !p.newer(out[limit-1]) {
				continue
			}
			k := len(out)
			for k > 0 && p.newer(out[k-1]) {
				k--
			}
			out = slices.Insert(out, k, p)
			out = out[:min(len(out), limit)]
		}
	}
	return out
}
