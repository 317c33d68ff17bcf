package server

import (
	"errors"
	"sync"
	"sync/atomic"
)

// budget bounds a sum of bytes. Who takes holds nothing else of it, so that
// waiting cannot become a deadlock.
type budget struct {
	max  int64
	used atomic.Int64

	waiting atomic.Int32
	mu      sync.Mutex
	free    *sync.Cond
	closed  bool
}

var errClosed = errors.New("the server is closing")

func newBudget(max int64) *budget {
	b := &budget{max: max}
	b.free = sync.NewCond(&b.mu)
	return b
}

func (b *budget) tryTake(n int64) bool {
	if b.used.Add(n) <= b.max {
		return true
	}
	b.used.Add(-n)
	return false
}

// take waits until n bytes fit, with n at most max.
func (b *budget) take(n int64) error {
	if b.tryTake(n) {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting.Add(1)
	defer b.waiting.Add(-1)
	for !b.tryTake(n) {
		if b.closed {
			return errClosed
		}
		b.free.Wait()
	}
	return nil
}

func (b *budget) give(n int64) {
	b.used.Add(-n)
	if b.waiting.Load() > 0 {
		b.mu.Lock()
		b.free.Broadcast()
		b.mu.Unlock()
	}
}

// close lets those who wait fail.
func (b *budget) close() {
	b.mu.Lock()
	b.closed = true
	b.free.Broadcast()
	b.mu.Unlock()
}
