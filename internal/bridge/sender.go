package bridge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"spoor/internal/notify"
)

// attemptTimeout bounds one attempt of one batch, connecting included.
const attemptTimeout = 30 * time.Second

// destination is one kind of target.
type destination interface {
	// send sends a batch and returns a result for each of its messages. nil means
	// that the target acknowledged it, notify.ErrPermanent in the chain that it
	// never will.
	send(ctx context.Context, batch []notify.Message) []error
	close() error
}

// sender is a destination as a loop sees it. Messages of a batch that were taken
// are not sent again because others were not; one that is refused for good goes
// to the dead letters alone.
type sender struct {
	to     destination
	source *source
	loop   *notify.Loop
}

// Send implements notify.Sender.
func (s *sender) Send(ctx context.Context, batch []notify.Message) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	var failed error
	results := s.to.send(ctx, batch)
	for i, err := range results {
		if errors.Is(err, notify.ErrPermanent) && len(batch) > 1 {
			// The line is synced before the message counts as settled.
			if derr := s.loop.Dead.Add(s.loop.Target, 1, err, s.loop.Now(), batch[i:i+1]); derr != nil {
				err = fmt.Errorf("writing a dead letter: %w", derr)
			} else {
				s.loop.Log.Error("a target refuses a message for good; it is in the dead-letter file", "target", s.loop.Target,
					"id", batch[i].ID, "file", s.loop.Dead.Name(), "err", err)
				err = nil
			}
		}
		if err == nil {
			s.source.settle(batch[i].ID)
		} else if failed == nil {
			failed = err
		}
	}
	return failed
}

// Close implements notify.Sender.
func (s *sender) Close() error { return s.to.close() }

// all gives every message of a batch the same result.
func all(batch []notify.Message, err error) []error {
	out := make([]error, len(batch))
	for i := range out {
		out[i] = err
	}
	return out
}
