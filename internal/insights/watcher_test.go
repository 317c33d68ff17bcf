package insights

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

const (
	account = "123456789012"
	region  = "us-east-1"
	week    = 7 * minutesPerDay
)

// sim is a watcher and the traffic of its operations.
type sim struct {
	t   testing.TB
	w   *watcher
	rng *rand.Rand
	ids int
	// days are the tallies that the reader would keep in rows.
	days map[Key]map[int64]sketch
	all  []finding
}

var begin = time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC).Unix() / 60

func newSim(t testing.TB, p Params, seed uint64) *sim {
	s := &sim{t: t, rng: rand.New(rand.NewPCG(seed, 1)), days: map[Key]map[int64]sketch{}}
	s.w = newWatcher(p, func() string { s.ids++; return fmt.Sprint("shared-", s.ids) }, func(k *Key, from, to int64) (out sketch, err error) {
		for day, v := range s.days[*k] {
			if day >= from && day < to {
				out.merge(&v)
			}
		}
		return out, nil
	})
	s.w.closed = begin - 1
	return s
}

func op(typ, name string) Key {
	return Key{Account: account, Region: region, Type: typ, Source: "test.amazonaws.com", Name: name}
}

// run simulates minutes; traffic gives an operation's calls of one.
func (s *sim) run(minutes int64, keys []Key, traffic func(k *Key, minute int64) int64) []finding {
	s.t.Helper()
	for i := range keys {
		s.w.watch(keys[i].scope(), "")
	}
	from := len(s.all)
	for range minutes {
		m := s.w.closed + 1
		for i := range keys {
			if n := traffic(&keys[i], m-begin); n > 0 {
				s.w.count(&keys[i], m, n, &values{"arn:aws:iam::123456789012:user/usual", "agent/1", "null"})
			}
		}
		if err := s.w.endMinute(); err != nil {
			s.t.Fatal(err)
		}
		s.all = append(s.all, s.w.found...)
		for _, r := range s.w.rolled {
			if s.days[r.key] == nil {
				s.days[r.key] = map[int64]sketch{}
			}
			s.days[r.key][r.day] = r.values
		}
		s.w.found, s.w.rolled, s.w.dropped = nil, nil, nil
	}
	return s.all[from:]
}

// poisson draws from a Poisson distribution.
func poisson(r *rand.Rand, mean float64) int64 {
	n := int64(0)
	for mean > 30 { // in parts, whose product would underflow
		n += poisson(r, 30)
		mean -= 30
	}
	limit, p := math.Exp(-mean), r.Float64()
	for p > limit {
		n++
		p *= r.Float64()
	}
	return n
}

func starts(found []finding) (n int) {
	for i := range found {
		if !found[i].end {
			n++
		}
	}
	return n
}

// kinds of traffic, in calls a minute.
type kind struct {
	name string
	at   func(r *rand.Rand, minute int64) int64
}

func traffics() []kind {
	steady := func(mean float64) func(*rand.Rand, int64) int64 {
		return func(r *rand.Rand, _ int64) int64 { return poisson(r, mean) }
	}
	daily := func(mean float64) func(*rand.Rand, int64) int64 {
		return func(r *rand.Rand, m int64) int64 { // quiet at night
			return poisson(r, mean*(1+0.9*math.Sin(2*math.Pi*float64(m%minutesPerDay)/minutesPerDay)))
		}
	}
	return []kind{
		{"0.01/min", steady(0.01)}, {"0.2/min", steady(0.2)}, {"1/min", steady(1)}, {"5/min", steady(5)}, {"40/min", steady(40)},
		{"1/min by day", daily(1)}, {"20/min by day", daily(20)},
		{"job of 30 each hour", func(r *rand.Rand, m int64) int64 {
			if m%60 == 5 {
				return 30 + poisson(r, 2)
			}
			return poisson(r, 0.1)
		}},
		{"bursts", func(r *rand.Rand, _ int64) int64 { // one in fifty minutes has about eight
			if r.IntN(50) == 0 {
				return poisson(r, 8)
			}
			return 0
		}},
	}
}

// TestFalseAlarms: traffic that is as it always was opens next to no insight.
func TestFalseAlarms(t *testing.T) {
	t.Parallel()
	weeks := int64(26)
	if testing.Short() {
		weeks = 6
	}
	const each = 2 // series of each kind
	total, budget := 0, 0.0
	for n, k := range traffics() {
		s := newSim(t, Defaults(), uint64(n))
		var keys []Key
		for i := range each {
			keys = append(keys, op(CallRate, fmt.Sprint("Op", i)))
		}
		found := s.run(weeks*week, keys, func(_ *Key, m int64) int64 { return k.at(s.rng, m) })
		t.Logf("%-20s %d false alarms in %d weeks of %d series", k.name, starts(found), weeks, each)
		total += starts(found)
		budget += float64(weeks) * each
	}
	t.Logf("together %.4f a series and week", float64(total)/budget)
	if float64(total)/budget > 0.02 {
		t.Errorf("%d false alarms in %g series-weeks", total, budget)
	}
}

// TestDetection: what is injected into weeks of usual traffic is found, soon,
// as what it is, and ends when it is over.
func TestDetection(t *testing.T) {
	t.Parallel()
	const trials = 40
	for _, c := range []struct {
		name    string
		base    float64
		factor  float64 // of the rate, while it lasts
		plus    float64 // calls a minute on top
		minutes int64
		want    float64 // share that is found
		within  int64   // minutes to the start, at most
	}{
		{"never called, 6 a minute", 0, 0, 6, 10, 0.95, 15},
		{"0.2/min, 10 more a minute", 0.2, 1, 10, 5, 0.95, 3},
		{"1/min, 10 times", 1, 10, 0, 5, 0.9, 5},
		{"5/min, 5 times", 5, 5, 0, 5, 0.99, 5},
		{"40/min, 3 times", 40, 3, 0, 3, 1, 1},
		{"5/min, 2.5 times for half an hour", 5, 2.5, 0, 30, 0.95, 30},
		{"0.5/min, 3 times for 3 hours", 0.5, 3, 0, 180, 0.9, 180},
		{"1/min, stops", 1, 0, 0, 180, 1, 120},
		{"5/min, stops", 5, 0, 0, 60, 1, 20},
		{"20/min, a third", 20, 0.33, 0, 120, 1, 30},
	} {
		found, late := 0, int64(0)
		for i := range trials {
			s := newSim(t, Defaults(), uint64(1000+i))
			k := []Key{op(CallRate, "Op")}
			s.w.watch(k[0].scope(), "") // a series that is never called is watched too
			normal := func(_ *Key, _ int64) int64 { return poisson(s.rng, c.base) }
			s.run(week/2+int64(i), k, normal)
			at := s.w.closed + 1
			before := len(s.all)
			s.run(c.minutes, k, func(_ *Key, _ int64) int64 { return poisson(s.rng, c.base*c.factor+c.plus) })
			s.run(180, k, normal)
			seen := s.all[before:]
			if len(seen) == 0 {
				continue
			}
			found++
			if want := direction(1); c.factor < 1 && c.plus == 0 {
				want = fewer
				if seen[0].open.Direction != want {
					t.Errorf("%s: direction %d", c.name, seen[0].open.Direction)
				}
			}
			w := seen[0].open.Window
			late = max(late, seen[0].open.Start+windows[w].minutes-at)
			last := seen[len(seen)-1]
			if !last.end || last.minute > at+c.minutes+60 {
				t.Errorf("%s: it ends at minute %d after the begin: %+v", c.name, last.minute-at, last.end)
			}
		}
		t.Logf("%-36s found %d of %d, within %d minutes", c.name, found, trials, late)
		if float64(found) < c.want*trials || late > c.within {
			t.Errorf("%s: found %d of %d within %d minutes, want %.0f%% within %d", c.name, found, trials, late, 100*c.want, c.within)
		}
	}
}

// TestRelearn: an insight that does not end in a day does, and the new rate is
// the baseline then.
func TestRelearn(t *testing.T) {
	t.Parallel()
	s := newSim(t, Defaults(), 7)
	k := []Key{op(CallRate, "Op")}
	s.run(4*minutesPerDay, k, func(_ *Key, _ int64) int64 { return poisson(s.rng, 2) })
	found := s.run(7*minutesPerDay, k, func(_ *Key, _ int64) int64 { return poisson(s.rng, 30) })
	if len(found) != 2 || found[0].end || !found[1].end || found[1].minutes != minutesPerDay {
		t.Fatalf("%d: %+v", len(found), found)
	}
	if avg := found[1].count / float64(found[1].minutes); avg < 29 || avg > 31 {
		t.Errorf("average %g, want 30", avg)
	}
	found = s.run(3*60, k, func(_ *Key, _ int64) int64 { return poisson(s.rng, 2) })
	if len(found) == 0 || found[0].open.Direction != fewer || found[0].open.Average < 29 || found[0].open.Average > 31 {
		t.Errorf("back at the old rate: %+v", found)
	}
}

// TestTally: the frequent values are named, however many rare ones there are.
func TestTally(t *testing.T) {
	t.Parallel()
	var a tally
	for i := range 4000 {
		a = a.add(fmt.Sprint("rare-", i), 1)
		a = a.add(fmt.Sprint("often-", i%4), 2+int64(i%4))
	}
	if len(a) != keptValues {
		t.Errorf("%d values are kept", len(a))
	}
	top := a.top(1000)
	if len(top) != topValues {
		t.Fatalf("%v", top)
	}
	for i, want := range []string{"often-3", "often-2", "often-1", "often-0"} {
		exact := float64(5-i) * 1000 / 1000
		if top[i].Value != want || top[i].Average < exact || top[i].Average > exact+0.5 {
			t.Errorf("%d: %+v, want %s and about %g", i, top[i], want, exact)
		}
	}
}

// TestBound: no more series than allowed are kept; the calls of others are
// told.
func TestBound(t *testing.T) {
	t.Parallel()
	p := Defaults()
	p.MaxSeries = 3
	s := newSim(t, p, 1)
	var keys []Key
	for i := range 5 {
		keys = append(keys, op(CallRate, fmt.Sprint("Op", i)))
	}
	s.run(10, keys, func(_ *Key, _ int64) int64 { return 2 })
	if len(s.w.series) != 3 || s.w.refused != 2*10*2 {
		t.Errorf("%d series, %d calls refused", len(s.w.series), s.w.refused)
	}
}
