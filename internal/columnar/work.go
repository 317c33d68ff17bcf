package columnar

import (
	"context"
	"sync"
	"time"
)

// Bounds of what waits for the maker; beyond them the next query asks again.
const (
	maxPending = 200_000
	maxDead    = 100_000
	maxShapes  = 1000
	failedFor  = time.Hour // until an object that gave no copy is tried again
)

// work is what waits for the maker.
type work struct {
	mu         sync.Mutex
	shapes     map[string]Shape             // seen since the start
	pending    map[string]map[string]Object // objects by shape and key of the copy
	count      int                          // of pending
	failed     map[string]failure           // by key of the copy
	deadKeys   map[string]bool              // copies whose object was not listed
	distrusted map[string]bool              // packs to forget
	wake       chan struct{}
	due        bool          // something came after the last round began
	running    bool          // a round is under way
	ended      chan struct{} // closed at the end of a round, and made anew
}

type failure struct {
	version
	at time.Time
}

func (w *work) init() {
	w.shapes, w.pending, w.failed = map[string]Shape{}, map[string]map[string]Object{}, map[string]failure{}
	w.deadKeys, w.distrusted = map[string]bool{}, map[string]bool{}
	w.wake, w.ended = make(chan struct{}, 1), make(chan struct{})
}

func (w *work) know(s Shape) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.shapes[s.ID]; ok || len(w.shapes) < maxShapes {
		w.shapes[s.ID] = s
	}
}

func (w *work) wakeUp() {
	w.due = true
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *work) request(shape string, list []Object) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, o := range list {
		if w.count == maxPending {
			break
		}
		k := string(copyKey(shape, o.Bucket, o.Key))
		if w.pending[shape] == nil {
			w.pending[shape] = map[string]Object{}
		}
		if _, ok := w.pending[shape][k]; !ok {
			w.count++
		}
		w.pending[shape][k] = o
	}
	// Also without a miss: what else is due is looked after.
	w.wakeUp()
}

func (w *work) dead(k string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.deadKeys) < maxDead {
		w.deadKeys[k] = true
	}
}

func (w *work) distrust(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.distrusted[id] = true
	w.wakeUp()
}

// take hands the waiting work to a round.
func (w *work) take() (pending map[string]map[string]Object, dead, distrusted map[string]bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	pending, dead, distrusted = w.pending, w.deadKeys, w.distrusted
	w.due, w.running = false, true
	w.pending, w.deadKeys, w.distrusted, w.count = map[string]map[string]Object{}, map[string]bool{}, map[string]bool{}, 0
	return pending, dead, distrusted
}

func (w *work) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running = false
	close(w.ended)
	w.ended = make(chan struct{})
}

// Wait returns when nothing is left that the maker was asked for.
func (c *Cache) Wait(ctx context.Context) error {
	w := &c.work
	for {
		w.mu.Lock()
		idle := !w.running && !w.due
		ended := w.ended
		w.mu.Unlock()
		if idle {
			return nil
		}
		select {
		case <-ended:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (w *work) shape(id string) (Shape, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s, ok := w.shapes[id]
	return s, ok
}

// gaveNone remembers that an object gave no copy.
func (w *work) gaveNone(k string, o *Object, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.failed) == maxDead {
		clear(w.failed)
	}
	w.failed[k] = failure{o.version(), now}
}

func (w *work) hasFailed(k string, o *Object, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	f, ok := w.failed[k]
	return ok && f.version == o.version() && now.Sub(f.at) < failedFor
}
