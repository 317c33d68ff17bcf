package trail

import (
	"sync"
	"time"
)

// Status is how delivery of a trail in a region stands. Zero times mean never.
type Status struct {
	LatestDelivery       time.Time
	LatestAttempt        time.Time
	LatestAttemptOK      time.Time
	Error                string // S3's code for the last attempt's failure, or ""
	LatestDigestDelivery time.Time
	DigestError          string
}

// statusBoard is what a follower shows of itself to other goroutines.
type statusBoard struct {
	mu sync.Mutex
	m  map[string]Status
}

func (b *statusBoard) update(region string, fn func(*Status)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.m == nil {
		b.m = map[string]Status{}
	}
	s := b.m[region]
	fn(&s)
	b.m[region] = s
}

func (b *statusBoard) get(region string) Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.m[region]
}

func (b *statusBoard) failed(region string, isDigest bool, code string, at time.Time) {
	b.update(region, func(s *Status) {
		if isDigest {
			s.DigestError = code
			return
		}
		s.LatestAttempt, s.Error = later(s.LatestAttempt, at), code
	})
}

func (f *follower) succeeded(s *stream, x *flight) {
	f.statuses.update(s.region, func(st *Status) {
		if x.Digest {
			st.LatestDigestDelivery, st.DigestError = s.LatestDigestDelivery, ""
			return
		}
		st.LatestDelivery, st.LatestAttempt, st.LatestAttemptOK, st.Error = s.LatestDelivery, later(st.LatestAttempt, x.at), s.LatestDelivery, ""
	})
}

// publish shows what the store says.
func (f *follower) publish() {
	for region, s := range f.streams {
		f.statuses.update(region, func(st *Status) { *st = s.status() })
	}
}

func (s *streamState) status() Status {
	return Status{LatestDelivery: s.LatestDelivery, LatestAttempt: s.LatestDelivery, LatestAttemptOK: s.LatestDelivery,
		LatestDigestDelivery: s.LatestDigestDelivery}
}

// Status returns how a trail's delivery stands in a region.
func (m *Manager) Status(arn, region string) (Status, error) {
	m.run.Lock()
	f := m.run.followers[arn]
	m.run.Unlock()
	if f != nil {
		if st := f.statuses.get(region); st != (Status{}) {
			return st, nil
		}
	}
	var s streamState
	found, err := m.cfg.Store.GetRow(streamKey(arn, region), &s, &s.Version, formatVersion)
	if err != nil || !found {
		return Status{}, err
	}
	return s.status(), nil
}
