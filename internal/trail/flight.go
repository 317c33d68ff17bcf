package trail

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// maxUploads bounds a trail's uploads under way, and with them the files that
// it has in memory.
const maxUploads = 4

// flight is a planned file from its first attempt until it is noted that the
// bucket has it. Between launch and landing it is the upload's, otherwise the
// follower's.
//
// Several are under way at a time and end in any order; what they did is noted
// in the order of the files. So a file is in the list from which digests are
// made only with all files before it, and what a crash makes to be uploaded
// again, same bytes, same name, is at most the last maxUploads of a stream.
type flight struct {
	s *stream
	plan
	row   uint64
	state flightState
	at    time.Time // delivered; zero when it was given up
	// Of a failed one.
	err      error
	failedAt time.Time
	backoff  time.Duration
	retryAt  time.Time
}

type flightState uint8

const (
	flying flightState = iota
	failed
	landed // the bucket has it, or it was given up
)

// landings are the ends of uploads that the follower has not looked at yet.
type landings struct {
	mu   sync.Mutex
	list []landing
	wake func()
}

type landing struct {
	*flight
	err error
}

func (l *landings) add(x landing) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, x)
	if l.wake != nil {
		l.wake()
	}
}

func (l *landings) take() []landing {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := l.list
	l.list = nil
	return out
}

// onNext has fn called at the next landing, or now when there is one. fn may be
// called more than once, and does not call back.
func (l *landings) onNext(fn func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wake = fn
	if len(l.list) > 0 {
		fn()
	}
}

// deliver looks at the uploads that have ended, notes what the bucket has and
// starts the uploads that may start. It waits for none of them. That the bucket
// does not take a file is shown in the trail's status, and no error.
func (f *follower) deliver(ctx context.Context) error {
	for _, x := range f.ended.take() {
		f.flying--
		x.s.flying--
		if ctx.Err() == nil {
			f.land(x)
		} else {
			x.state = failed
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	regions := f.regions()
	for _, region := range regions {
		if err := f.streams[region].confirm(); err != nil {
			return err
		}
	}
	// A file of each region in turn, so that a busy one does not keep the others
	// waiting.
	for started := true; started; {
		started = false
		for i := range regions {
			if f.flying == maxUploads {
				return nil
			}
			ok, err := f.streams[regions[(f.turn+i)%len(regions)]].launch(ctx)
			if err != nil {
				return err
			}
			started = started || ok
		}
		f.turn++
	}
	return nil
}

// launch starts a stream's next upload, if there is one that may start. A file
// that failed is tried again alone and before any other: what is wrong with the
// bucket is found out with one attempt at a time.
func (s *stream) launch(ctx context.Context) (bool, error) {
	if x := s.failing(); x != nil {
		if s.flying > 0 || s.f.m.cfg.Now().Before(x.retryAt) {
			return false, nil
		}
		_, body, err := s.planned(x.row)
		if err != nil {
			return false, err
		}
		s.fly(ctx, x, body)
		return true, nil
	}
	row := s.head + uint64(len(s.window))
	if row == s.NextFile || len(s.window) == maxUploads {
		return false, nil
	}
	p, body, err := s.planned(row)
	if err != nil {
		return false, err
	}
	if p.Digest && len(s.window) > 0 {
		return false, nil // it comes into the bucket after all that is before it
	}
	x := &flight{s: s, plan: p, row: row}
	s.window = append(s.window, x)
	s.fly(ctx, x, body)
	return true, nil
}

// planned reads a row of the queue.
func (s *stream) planned(row uint64) (plan, []byte, error) {
	raw, err := s.f.m.cfg.Store.Get(fileKey(s.f.arn, s.region, row))
	if err != nil {
		return plan{}, nil, fmt.Errorf("reading planned file %d of %s: %w", row, s.region, err)
	}
	p, body, err := splitRow(raw)
	if err != nil {
		err = fmt.Errorf("planned file %d of %s: %w", row, s.region, err)
	}
	return p, body, err
}

func (s *stream) fly(ctx context.Context, x *flight, body []byte) {
	x.state = flying
	s.flying++
	s.f.flying++
	ended := &s.f.ended
	s.f.uploads.Go(func() { ended.add(landing{x, s.upload(ctx, &x.plan, body)}) })
}

// failing is the stream's first failed file, or nil.
func (s *stream) failing() *flight {
	for _, x := range s.window {
		if x.state == failed {
			return x
		}
	}
	return nil
}

// land looks at an attempt that has ended. After a failure it sets the next
// attempt, or gives the file up.
func (f *follower) land(l landing) {
	x, now := l.flight, f.m.cfg.Now().UTC()
	if l.err == nil {
		x.state, x.at, x.err = landed, now, nil
		return
	}
	x.state, x.err, x.failedAt = failed, l.err, now
	x.backoff = min(max(2*x.backoff, minBackoff), maxBackoff)
	// A fifth more or less, so that trails of one bucket do not come at once.
	x.retryAt = now.Add(x.backoff + time.Duration((rand.Float64()-0.5)*0.4*float64(x.backoff)))
	f.log.Warn("a delivery failed and is tried again", "bucket", x.Bucket, "key", x.Key, "next", x.retryAt, "err", x.err)
	f.statuses.failed(x.s.region, x.Digest, deliveryCode(x.err), now)
	if now.Sub(x.Planned) >= retryFor {
		x.state = landed
		f.log.Error("a file could not be delivered for 30 days and is given up; its records are missing from the bucket",
			"bucket", x.Bucket, "key", x.Key, "first_seq", x.First, "last_seq", x.Last, "err", x.err)
	}
}
