package kv

import (
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

const (
	// patience is for how long the store may fail to write its tables, on a disk
	// that is full, say, before the process ends: later on every write would
	// wait for ever, and with it every call.
	patience = 10 * time.Second
	// lull is how long after an error the next one counts as new trouble.
	lull = 5 * time.Second
	// retryPause slows the engine down, which tries again at once. It sleeps
	// under the engine's lock; there is nothing left to hold up.
	retryPause = 20 * time.Millisecond
	// sayEvery bounds how often trouble is logged.
	sayEvery = time.Second
)

// trouble watches the engine's background work. What it could not write is
// still in its log, from which the next start takes it.
type trouble struct {
	log   *slog.Logger
	fatal func(msg string)
	now   func() time.Time
	pause func(time.Duration)

	mu                sync.Mutex
	since, last, said time.Time
}

func (t *trouble) listener() *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: t.failed,
		FlushEnd:        func(i pebble.FlushInfo) { t.ended(i.Err) },
		CompactionEnd:   func(i pebble.CompactionInfo) { t.ended(i.Err) },
	}
}

func (t *trouble) ended(err error) {
	if err != nil {
		return // failed is told as well
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.since = time.Time{}
}

func (t *trouble) failed(err error) {
	t.mu.Lock()
	now := t.now()
	if t.since.IsZero() || now.Sub(t.last) > lull {
		t.since = now
	}
	t.last = now
	say := now.Sub(t.said) >= sayEvery
	if say {
		t.said = now
	}
	over := now.Sub(t.since) >= patience
	t.mu.Unlock()
	if over {
		t.fatal(fmt.Sprintf("the store could not be written for %s, so the server ends; what was answered is safe. Free space on its disk and start again: %v", patience, err))
		return
	}
	if say {
		t.log.Error("the store cannot be written; free space on its disk, or the server ends", "within", patience, "err", err.Error())
	}
	t.pause(retryPause)
}
