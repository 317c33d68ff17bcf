package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"spoor/internal/crashpoint"
	"spoor/internal/journal"
	"spoor/internal/kv"
)

const (
	// DefaultMaxAge and DefaultMaxAttempts are EventBridge's (user guide, "How
	// EventBridge retries delivering events").
	DefaultMaxAge      = 24 * time.Hour
	DefaultMaxAttempts = 185

	minBackoff = time.Second
	maxBackoff = 8 * time.Minute // so that all attempts take about the greatest age
	// faultPause is the pause after an error that is not the target's.
	faultPause = 5 * time.Second
)

// Retry is how long a message is tried. Zero values are the defaults.
type Retry struct {
	MaxAge      time.Duration
	MaxAttempts int
}

func (r Retry) orDefault() Retry {
	if r.MaxAge == 0 {
		r.MaxAge = DefaultMaxAge
	}
	if r.MaxAttempts == 0 {
		r.MaxAttempts = DefaultMaxAttempts
	}
	return r
}

// ErrDone is what a Source's Next returns when its target will never be owed
// anything again: its loop ends.
var ErrDone = errors.New("nothing is owed any more")

// Waker is a Sender that knows when it is worth trying again before the pause
// after a failure is over.
type Waker interface{ Ready() <-chan struct{} }

// Committer makes batches durable. journal.Journal is one.
type Committer interface{ Commit(b *kv.Batch) error }

// Loop sends what one target is owed.
type Loop struct {
	Target string // names the target: in the log, in the dead-letter file and in Board
	Kind   string // what Board files results under: KindSNS, KindLogs, KindRule
	Source Source
	Sender Sender
	Retry  Retry

	Store   *kv.Store
	Commit  Committer
	Dead    *DeadLetters
	Board   *Board
	Log     *slog.Logger
	Now     func() time.Time
	backoff time.Duration
	head    headState
	// pause waits; tests replace it.
	pause func(ctx context.Context, d time.Duration, ready <-chan struct{}) bool
}

// headState is the durable part of a loop: how often what is owed first was
// tried. A restart does not begin the count again.
type headState struct {
	Version  int    `json:"version"`
	ID       string `json:"id"` // of the first message
	Attempts int    `json:"attempts"`
}

func headKey(target string) []byte { return kv.Key(kv.SpaceDeliver, "notify-head", target) }

// Run sends until ctx ends; it closes the sender. An error means that the store
// cannot be written any more.
func (l *Loop) Run(ctx context.Context) (err error) {
	defer func() {
		if cerr := l.Sender.Close(); cerr != nil {
			l.Log.Warn("a target could not be closed", "target", l.Target, "err", cerr)
		}
	}()
	l.Retry = l.Retry.orDefault()
	if l.pause == nil {
		l.pause = pause
	}
	if _, err := l.Store.GetRow(headKey(l.Target), &l.head, &l.head.Version, formatVersion); err != nil {
		return err
	}
	var ready <-chan struct{}
	if w, ok := l.Sender.(Waker); ok {
		ready = w.Ready()
	}
	for ctx.Err() == nil {
		wait, err := l.step(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ErrDone):
			return nil
		case errors.Is(err, journal.ErrClosed) || errors.Is(err, journal.ErrFailed):
			return err
		case err != nil:
			l.Log.Error("notifications cannot go on and are tried again", "target", l.Target, "pause", faultPause, "err", err)
			wait = faultPause
		case wait == 0:
			continue
		case wait < 0:
			if err := l.Source.Wait(ctx); err != nil && ctx.Err() == nil {
				return err
			}
			continue
		}
		l.pause(ctx, wait, ready)
	}
	return nil
}

// step sends one batch. It returns how long to rest before the next: 0 for not
// at all, less for until there is something.
func (l *Loop) step(ctx context.Context) (time.Duration, error) {
	batch, err := l.Source.Next(ctx)
	if err != nil {
		return 0, err
	}
	if len(batch.Messages) == 0 {
		if batch.Done == nil {
			return -1, nil
		}
		return -1, l.commit(batch, 0, nil)
	}
	err = l.Sender.Send(ctx, batch.Messages)
	crashpoint.Here("notify.sent")
	now := l.Now().UTC()
	var rejected *RejectedError
	switch {
	case err == nil:
		l.backoff = 0
		return 0, l.commit(batch, len(batch.Messages), func(b *kv.Batch) { l.Board.succeeded(b, l.Kind, batch.Owner, now) })
	case ctx.Err() != nil:
		return 0, nil
	case errors.As(err, &rejected):
		return 0, l.rejected(batch, rejected, now)
	case errors.Is(err, ErrPermanent):
		l.Log.Error("a target refuses a message for good; it goes to the dead letters", "target", l.Target,
			"id", batch.Messages[0].ID, "messages", len(batch.Messages), "err", err)
		return 0, l.giveUp(batch, len(batch.Messages), l.attempts(batch)+1, err, now)
	}
	return l.failed(ctx, batch, err, now)
}

func (l *Loop) attempts(batch Batch) int {
	if l.head.ID != batch.Messages[0].ID {
		return 0
	}
	return l.head.Attempts
}

// failed notes a failed attempt. Whatever is too old is given up with it, as
// the target was asked just now: a queue that nobody takes from cannot grow
// beyond what the greatest age allows.
func (l *Loop) failed(ctx context.Context, batch Batch, cause error, now time.Time) (time.Duration, error) {
	l.backoff = min(max(2*l.backoff, minBackoff), maxBackoff)
	// A fifth more or less, so that targets on one host do not come at once.
	wait := l.backoff + time.Duration((rand.Float64()-0.5)*0.4*float64(l.backoff))
	attempts := l.attempts(batch) + 1
	l.Log.Warn("a notification failed and is tried again", "target", l.Target, "id", batch.Messages[0].ID, "attempts", attempts,
		"next", now.Add(wait), "err", cause)
	if attempts >= l.Retry.MaxAttempts {
		return wait, l.giveUp(batch, len(batch.Messages), attempts, cause, now)
	}
	for {
		n := 0
		for n < len(batch.Messages) && now.Sub(batch.Messages[n].Time) > l.Retry.MaxAge {
			n++
		}
		if n == 0 {
			break
		}
		if err := l.giveUp(batch, n, attempts, cause, now); err != nil || ctx.Err() != nil {
			return wait, err
		}
		attempts = 0 // of those behind, which were not sent
		var err error
		if batch, err = l.Source.Next(ctx); err != nil || len(batch.Messages) == 0 {
			return wait, err
		}
	}
	l.head = headState{formatVersion, batch.Messages[0].ID, attempts}
	return wait, l.commit(batch, 0, func(b *kv.Batch) {
		b.Set(headKey(l.Target), kv.MustJSON(&l.head))
		l.Board.failed(b, l.Kind, batch.Owner, now, cause)
	})
}

// giveUp moves the first n messages to the dead letters.
//
// Crash story: the lines are synced before the messages stop being owed. A
// crash in between leaves them owed: they are sent, or given up, again.
func (l *Loop) giveUp(batch Batch, n, attempts int, cause error, now time.Time) error {
	if err := l.Dead.Add(l.Target, attempts, cause, now, batch.Messages[:n]); err != nil {
		return fmt.Errorf("writing dead letters: %w", err)
	}
	crashpoint.Here("notify.given-up")
	l.Log.Error("notifications were given up and are in the dead-letter file", "target", l.Target, "messages", n,
		"file", l.Dead.Name(), "err", cause)
	return l.commit(batch, n, func(b *kv.Batch) { l.Board.failed(b, l.Kind, batch.Owner, now, cause) })
}

// rejected moves what a target will never take of a batch to the dead letters;
// the rest is acknowledged. The crash story is giveUp's.
func (l *Loop) rejected(batch Batch, cause *RejectedError, now time.Time) error {
	var dead []Message
	for _, i := range cause.Indexes {
		dead = append(dead, batch.Messages[i])
	}
	if err := l.Dead.Add(l.Target, l.attempts(batch)+1, cause, now, dead); err != nil {
		return fmt.Errorf("writing dead letters: %w", err)
	}
	l.Log.Error("a target rejected messages; they are in the dead-letter file", "target", l.Target, "messages", len(dead),
		"of", len(batch.Messages), "file", l.Dead.Name(), "err", cause)
	l.backoff = 0
	return l.commit(batch, len(batch.Messages), func(b *kv.Batch) { l.Board.succeeded(b, l.Kind, batch.Owner, now) })
}

// commit makes durable that the first n messages of a batch are done with.
func (l *Loop) commit(batch Batch, n int, more func(b *kv.Batch)) error {
	b := l.Store.NewBatch()
	batch.Done(b, n)
	if n > 0 && l.head.ID != "" {
		l.head = headState{}
		b.Delete(headKey(l.Target))
	}
	if more != nil {
		more(b)
	}
	if b.Empty() {
		return b.Close()
	}
	return l.Commit.Commit(b)
}

// pause is false when ctx ended.
func pause(ctx context.Context, d time.Duration, ready <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ready:
		return true
	case <-ctx.Done():
		return false
	}
}
