package insights

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"spoor/internal/kv"
)

// How long counts are kept by minute, by five minutes and by hour (API
// reference, "ListInsightsMetricData").
const (
	KeepMinutes     = 15 * 24 * time.Hour
	KeepFiveMinutes = 63 * 24 * time.Hour
	KeepHours       = 90 * 24 * time.Hour
)

// Point is a rate at one time, in calls or errors a minute.
type Point struct {
	Time  time.Time
	Value float64
}

// Metric says which rates are wanted.
type Metric struct {
	Key
	From, To time.Time // To is exclusive
	Period   time.Duration
	Zeros    bool // also where nothing was called
	Max      int
}

// Available is from when on there are points of a period.
func Available(now time.Time, period time.Duration) time.Time {
	keep := KeepHours
	switch period {
	case time.Minute:
		keep = KeepMinutes
	case 5 * time.Minute:
		keep = KeepFiveMinutes
	}
	return now.Add(-keep).Truncate(period)
}

// Head is the journal's last number, for WaitFor.
func (m *Manager) Head() uint64 { return m.cfg.Journal.Head() }

// Points gives a metric's points in the order of time, and from where to ask
// for more, or a zero time.
func (m *Manager) Points(q Metric) (out []Point, next time.Time, err error) {
	step := int64(q.Period / time.Minute)
	from := max((q.From.Unix()+step*60-1)/(step*60)*step, Available(m.cfg.Now(), q.Period).Unix()/60)
	to := (q.To.Unix() + 59) / 60
	at := from // of the next point
	sum := uint64(0)
	// put ends the point under way; it is false when there are enough.
	put := func() bool {
		if sum > 0 || q.Zeros {
			if len(out) == q.Max {
				next = time.Unix(at*60, 0).UTC()
				return false
			}
			out = append(out, Point{time.Unix(at*60, 0).UTC(), float64(sum) / float64(step)})
		}
		sum, at = 0, at+step
		return true
	}
	full := false
	err = m.cfg.Store.ScanRange(q.rowAt(tableCount, from/minutesPerHour), q.rowAt(tableCount, (to+minutesPerHour-1)/minutesPerHour), func(k, v []byte) (bool, error) {
		c, err := decodeCounts(v)
		if err != nil || len(k) < 8 {
			return false, errors.Join(err, errCounts)
		}
		hour := int64(binary.BigEndian.Uint64(k[len(k)-8:]))
		for slot, n := range c.slots {
			minute := hour*minutesPerHour + int64(slot)*c.step
			if n == 0 || minute < at || minute >= to {
				continue
			}
			for minute >= at+step {
				if !q.Zeros && sum == 0 {
					at = minute - minute%step
					break
				}
				if full = !put(); full {
					return false, nil
				}
			}
			sum += n
		}
		return true, nil
	})
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("reading the counts of Insights: %w", err)
	}
	for !full && at < to && (q.Zeros || sum > 0) {
		full = !put()
	}
	return out, next, nil
}

// compactRows bounds the rows of one commit.
const compactRows = 1000

// Compact puts old counts together and removes those that are past keeping.
//
// Crash story: a row is rewritten from itself alone, so doing it again, or in
// part, comes to the same.
func (m *Manager) Compact() error {
	now := m.cfg.Now()
	hour := func(keep time.Duration) int64 { return now.Add(-keep).Unix() / 3600 }
	prefix := kv.Key(kv.SpaceInsight, tableCount)
	for from := prefix; from != nil; {
		b := m.cfg.Store.NewBatch()
		n := 0
		start := from
		from = nil
		err := m.cfg.Store.ScanRange(start, kv.PrefixEnd(prefix), func(k, v []byte) (bool, error) {
			if n++; n > compactRows {
				from = append([]byte(nil), k...)
				return false, nil
			}
			c, err := decodeCounts(v)
			if err != nil || len(k) < 8 {
				return false, errors.Join(err, errCounts)
			}
			switch at := int64(binary.BigEndian.Uint64(k[len(k)-8:])); {
			case at < hour(KeepHours):
				b.Delete(k)
			case at < hour(KeepFiveMinutes) && c.step < 60:
				b.Set(k, c.coarser(60).encode())
			case at < hour(KeepMinutes) && c.step < 5:
				b.Set(k, c.coarser(5).encode())
			}
			return true, nil
		})
		if err != nil {
			return errors.Join(fmt.Errorf("putting old counts of Insights together: %w", err), b.Close())
		}
		if b.Empty() {
			err = b.Close()
		} else {
			err = m.cfg.Journal.Commit(b)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
