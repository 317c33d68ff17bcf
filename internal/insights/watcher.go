package insights

import "slices"

// watcher is the detector: it takes counted calls and the end of each minute,
// and finds where insights start and end. It knows no clock, store or journal;
// all of its state is in its scopes and series.
type watcher struct {
	p      Params
	scopes map[scopeKey]*scope
	series map[Key]*series
	// closed is the last minute that is over.
	closed int64
	active map[*series]bool // with pending minutes
	newID  func() string
	// history tallies a series' calls of the days from one up to, and without,
	// another.
	history func(k *Key, from, to int64) (sketch, error)

	// What came of the last minutes, for the caller to take.
	found   []finding
	rolled  []rolledDay
	dropped []Key
	gone    []scopeKey
	refused int64 // calls of new series beyond MaxSeries
}

// finding is the start or the end of an insight.
type finding struct {
	key     Key
	end     bool
	minute  int64 // of the event
	count   float64
	minutes int64
	values  sketch
	open    openInsight
}

// rolledDay is what the calls of a day that is over are attributed to.
type rolledDay struct {
	key    Key
	day    int64
	values sketch
}

func newWatcher(p Params, newID func() string, history func(k *Key, from, to int64) (sketch, error)) *watcher {
	return &watcher{p: p, scopes: map[scopeKey]*scope{}, series: map[Key]*series{}, active: map[*series]bool{}, newID: newID, history: history}
}

// watch begins a scope, or begins it again when its coverage has changed.
func (w *watcher) watch(k scopeKey, coverage string) {
	if sc := w.scopes[k]; sc != nil {
		if sc.Coverage == coverage {
			return
		}
		w.unwatch(k)
	}
	w.scopes[k] = &scope{scopeKey: k, Coverage: coverage, series: map[*series]bool{}, open: map[*series]bool{}, dirty: true}
}

// unwatch forgets a scope and its series.
func (w *watcher) unwatch(k scopeKey) {
	sc := w.scopes[k]
	for s := range sc.series {
		w.drop(s)
	}
	delete(w.scopes, k)
}

func (w *watcher) drop(s *series) {
	delete(w.series, s.Key)
	delete(w.active, s)
	delete(s.sc.series, s)
	delete(s.sc.open, s)
	w.dropped = append(w.dropped, s.Key)
}

// adopt takes in a series that was read from the store.
func (w *watcher) adopt(s *series) bool {
	s.sc = w.scopes[s.Key.scope()]
	if s.sc == nil {
		return false
	}
	w.series[s.Key] = s
	s.sc.series[s] = true
	if s.Open != nil {
		s.sc.open[s] = true
	}
	if len(s.Pending) > 0 {
		w.active[s] = true
	}
	return true
}

// count counts n calls of a watched scope that are alike.
func (w *watcher) count(k *Key, minute, n int64, v *values) {
	s := w.series[*k]
	if s == nil {
		if len(w.series) >= w.p.MaxSeries {
			w.refused += n
			return
		}
		s = &series{Key: *k}
		if !w.adopt(s) {
			return
		}
	}
	if s.written == nil {
		s.written = map[int64]int64{}
	}
	s.written[minute] += n
	s.dirty = true
	if minute <= w.closed { // it is in the counts, but its minute was judged without it
		if d := s.day(dayOf(minute)); s.Open == nil {
			d.Sum[0] += float64(n)
			d.Squares[0] += float64(n)
		}
		return
	}
	i := slices.IndexFunc(s.Pending, func(p pendingMinute) bool { return p.Minute == minute })
	if i < 0 {
		i = len(s.Pending)
		s.Pending = append(s.Pending, pendingMinute{Minute: minute})
		w.active[s] = true
	}
	s.Pending[i].Count += n
	s.Pending[i].Values.add(v, n)
}

// endMinute ends the next minute.
func (w *watcher) endMinute() error {
	m := w.closed + 1
	w.closed = m
	for _, sc := range w.scopes {
		for i := range sc.Seen {
			sc.Seen[i]++
		}
		sc.dirty = true
	}
	for s := range w.active {
		i := slices.IndexFunc(s.Pending, func(p pendingMinute) bool { return p.Minute == m })
		if i < 0 {
			continue
		}
		p := s.Pending[i]
		if s.Pending = slices.Delete(s.Pending, i, i+1); len(s.Pending) == 0 {
			s.Pending = nil
			delete(w.active, s)
		}
		if err := w.minute(s, m, float64(p.Count), &p.Values); err != nil {
			return err
		}
	}
	for _, sc := range w.scopes {
		for s := range sc.open {
			if s.Open.Last < m && s.Open.judged < m { // without calls in this minute
				if err := w.minute(s, m, 0, &sketch{}); err != nil {
					return err
				}
			}
		}
		for i := range windows {
			if (m+1)%windows[i].minutes != 0 {
				continue
			}
			complete := sc.Seen[i] == windows[i].minutes
			if i > 0 {
				for s := range sc.series {
					if err := w.endBlock(s, i, m, complete); err != nil {
						return err
					}
				}
			}
			if complete {
				sc.day(dayOf(m)).Blocks[i]++
			}
			sc.Seen[i] = 0
		}
	}
	if (m+1)%minutesPerDay == 0 {
		w.endDay(dayOf(m))
	}
	return nil
}

// skipTo ends the minutes up to m without a judgement: nobody watched.
func (w *watcher) skipTo(m int64) {
	if m <= w.closed {
		return
	}
	day := dayOf(w.closed)
	w.closed = m
	for _, sc := range w.scopes {
		sc.Seen, sc.dirty = [numWindows]int64{}, true
	}
	for _, s := range w.series {
		s.Blocks, s.dirty = [numWindows]block{}, true
		s.Pending = slices.DeleteFunc(s.Pending, func(p pendingMinute) bool { return p.Minute <= m })
		if len(s.Pending) == 0 {
			delete(w.active, s)
		}
	}
	if dayOf(m) != day {
		w.endDay(day)
	}
}

// judge makes a series' model at a window, without what of the block under way
// is in it. ok is false while there is too little history.
func (w *watcher) judge(s *series, i int, m int64) (mod model, ok bool) {
	from := w.firstDay(m)
	_, _, minutes := s.baseline(0, from)
	sum, squares, blocks := s.baseline(i, from)
	if minutes < int64(w.p.MinHistory.Minutes()) || blocks < windows[i].blocks {
		return model{}, false
	}
	return fit(sum, squares, blocks), true
}

// firstDay is the first day of the baseline.
func (w *watcher) firstDay(m int64) int64 { return dayOf(m) - int64(w.p.Baseline.Hours()/24) + 1 }

// minute judges one minute of a series that has calls in it, or an open
// insight.
func (w *watcher) minute(s *series, m int64, count float64, v *sketch) error {
	s.dirty = true
	for i := 1; i < numWindows; i++ {
		s.Blocks[i].Sum += count
		s.Blocks[i].Values.merge(v)
	}
	if o := s.Open; o != nil {
		s.leaveOut(m)
		o.judged = m
		o.After += count
		o.AfterValues.merge(v)
		if o.Window == 0 {
			w.goOn(s, m, count)
		}
		if s.Open != nil && m-o.Start+1 >= int64(w.p.MaxDuration.Minutes()) {
			o.confirm(m)
			w.end(s)
			s.relearn(m + 1)
		}
		return nil
	}
	if mod, ok := w.judge(s, 0, m); ok {
		if d := w.p.start(0, mod, count, false); d != usual {
			s.leaveOut(m)
			return w.open(s, 0, m, d, count, v)
		}
	}
	d := s.day(dayOf(m))
	d.Sum[0] += count
	d.Squares[0] += count * count
	for i := 1; i < numWindows; i++ {
		s.Blocks[i].Kept += count
		s.Blocks[i].KeptSquares += count * count
	}
	s.Today.merge(v)
	return nil
}

// leaveOut keeps a minute out of the baseline: what is unusual must not become
// usual while it lasts.
func (s *series) leaveOut(m int64) {
	s.day(dayOf(m)).Out[0]++
	for i := 1; i < numWindows; i++ {
		s.Blocks[i].Out = true
	}
}

// endBlock judges a block of a longer window.
func (w *watcher) endBlock(s *series, i int, m int64, complete bool) error {
	b := s.Blocks[i]
	if s.Open != nil && s.Open.Window == i && s.Open.Last < m {
		if complete {
			w.goOn(s, m, b.Sum)
		}
	} else if mod, ok := w.judge(s, i, m); ok && complete && !b.Out && s.Open == nil {
		if d := w.p.start(i, mod, b.Sum, s.Type == CallRate); d != usual {
			s.takeBack(i, m)
			b.Out = true
			if err := w.open(s, i, m, d, b.Sum, &b.Values); err != nil {
				return err
			}
		}
	}
	if complete && b.Out {
		s.day(dayOf(m)).Out[i]++
		s.dirty = true
	} else if complete && b.Sum > 0 {
		d := s.day(dayOf(m))
		d.Sum[i] += b.Sum
		d.Squares[i] += b.Sum * b.Sum
		s.dirty = true
	}
	if b.Sum > 0 || b.Out {
		s.Blocks[i] = block{}
		s.dirty = true
	}
	return nil
}

// takeBack removes a block's minutes from the baseline that they went into.
func (s *series) takeBack(i int, m int64) {
	b := &s.Blocks[i]
	d := s.day(dayOf(m))
	d.Sum[0] -= b.Kept
	d.Squares[0] -= b.KeptSquares
	d.Out[0] += windows[i].minutes
	s.Today.take(&b.Values)
	for j := i + 1; j < numWindows; j++ {
		s.Blocks[j].Out = true
		s.Blocks[j].Kept -= b.Kept
		s.Blocks[j].KeptSquares -= b.KeptSquares
	}
	s.dirty = true
}

// open starts an insight with the block that ends with minute m.
func (w *watcher) open(s *series, i int, m int64, d direction, count float64, v *sketch) error {
	o := &openInsight{SharedID: w.newID(), Window: i, Direction: d, Start: m - windows[i].minutes + 1, Last: m, Count: count, judged: m}
	o.Values.merge(v)
	sum, _, minutes := s.baseline(0, w.firstDay(m))
	o.Average, o.Minutes = rate(sum, minutes), minutes
	past, err := w.history(&s.Key, max(w.firstDay(m), dayOf(s.Since)), dayOf(m))
	if err != nil {
		return err
	}
	past.merge(&s.Today)
	for a := range past {
		o.Baseline[a] = past[a].top(minutes)
	}
	s.Open = o
	s.sc.open[s] = true
	s.dirty = true
	w.found = append(w.found, finding{key: s.Key, minute: o.Start, count: count, minutes: windows[i].minutes, values: clone(v), open: *o})
	return nil
}

// goOn judges a block of the window that opened the insight.
func (w *watcher) goOn(s *series, m int64, count float64) {
	o := s.Open
	mod, ok := w.judge(s, o.Window, m)
	if ok && w.p.goesOn(o.Window, mod, count, o.Direction) {
		o.confirm(m)
		return
	}
	if o.Quiet++; o.Quiet >= windows[o.Window].quiet {
		w.end(s)
	}
}

// confirm extends the insight to a minute.
func (o *openInsight) confirm(m int64) {
	o.Last, o.Quiet = m, 0
	o.Count += o.After
	o.Values.merge(&o.AfterValues)
	o.After = 0
	o.AfterValues.reset()
}

func (w *watcher) end(s *series) {
	o := s.Open
	w.found = append(w.found, finding{key: s.Key, end: true, minute: o.Last + 1, count: o.Count, minutes: o.duration(), values: clone(&o.Values), open: *o})
	s.Open = nil
	s.dirty = true
	delete(s.sc.open, s)
}

func clone(v *sketch) (out sketch) {
	for i := range v {
		out[i] = slices.Clone(v[i])
	}
	return out
}

// endDay turns the day's tallies into rows, and forgets what the baseline no
// longer reaches.
func (w *watcher) endDay(day int64) {
	first := day + 2 - int64(w.p.Baseline.Hours()/24) // of the baseline from now on
	for _, sc := range w.scopes {
		sc.Days = slices.DeleteFunc(sc.Days, func(d watchDay) bool { return d.Day < first })
		sc.dirty = true
	}
	for _, s := range w.series {
		if len(s.Today[0]) > 0 {
			w.rolled = append(w.rolled, rolledDay{s.Key, day, clone(&s.Today)})
			s.Today.reset()
			s.dirty = true
		}
		n := len(s.Days)
		s.Days = slices.DeleteFunc(s.Days, func(d dayCounts) bool { return d.Day < first })
		s.dirty = s.dirty || len(s.Days) != n
		if len(s.Days) == 0 && s.Open == nil && len(s.Pending) == 0 && len(s.written) == 0 {
			w.drop(s)
		}
	}
}
