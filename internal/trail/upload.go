package trail

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"spoor/internal/crashpoint"
	"spoor/internal/digest"
	"spoor/internal/kv"
	"spoor/internal/tree"
)

const (
	// retryFor is how long an upload is tried again. AWS: 30 days (CloudTrail
	// user guide, "How CloudTrail works").
	retryFor   = 30 * 24 * time.Hour
	minBackoff = time.Second
	maxBackoff = 5 * time.Minute
	// uploadTimeout bounds one attempt.
	uploadTimeout = time.Minute
)

// deliver uploads what is queued, region after region, each in the order in
// which it was planned. It stops at the first failure of the bucket: that is
// shown in the trail's status and tried again later, and is no error.
func (f *follower) deliver(ctx context.Context) error {
	if f.m.cfg.Now().Before(f.retryAt) {
		return nil
	}
	for _, region := range f.regions() {
		s := f.streams[region]
		for s.queued() {
			if ctx.Err() != nil {
				return nil
			}
			ok, err := s.deliverHead(ctx)
			if err != nil {
				return err
			}
			if !ok {
				return nil
			}
			f.backoff, f.retryAt = 0, time.Time{}
		}
	}
	return nil
}

// deliverHead uploads the oldest planned file and notes it. ok is false when
// the bucket did not take it.
func (s *stream) deliverHead(ctx context.Context) (ok bool, err error) {
	key := fileKey(s.f.arn, s.region, s.head)
	row, err := s.f.m.cfg.Store.Get(key)
	if err != nil {
		return false, fmt.Errorf("reading planned file %d of %s: %w", s.head, s.region, err)
	}
	p, body, err := splitRow(row)
	if err != nil {
		return false, fmt.Errorf("planned file %d of %s: %w", s.head, s.region, err)
	}
	now := s.f.m.cfg.Now().UTC()
	if perr := s.upload(ctx, &p, body); perr != nil {
		if ctx.Err() != nil {
			return false, nil
		}
		s.f.failed(s, &p, perr, now)
		if now.Sub(p.Planned) < retryFor {
			return false, nil
		}
		s.f.log.Error("a file could not be delivered for 30 days and is given up; its records are missing from the bucket",
			"bucket", p.Bucket, "key", p.Key, "first_seq", p.First, "last_seq", p.Last, "err", perr)
		return true, s.confirm(key, &p, time.Time{})
	}
	return true, s.confirm(key, &p, s.f.m.cfg.Now().UTC())
}

// upload is one attempt.
func (s *stream) upload(ctx context.Context, p *plan, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, s.f.patience)
	defer cancel()
	t := &State{Account: s.f.account, HomeRegion: s.f.home, Name: s.f.name}
	if err := s.f.m.mayPut(ctx, t, p.Bucket, p.Key); err != nil {
		return err
	}
	o := PutOptions{ContentType: "application/json", ContentEncoding: "gzip", ACL: bucketACL, Encryption: bucketEncryption}
	if p.Digest {
		o.Metadata = map[string]string{digest.MetaSignature: p.Signature, digest.MetaAlgorithm: digest.SignatureAlgorithm}
	} else {
		o.Metadata = map[string]string{
			digest.MetaFirstSeq: strconv.FormatUint(p.First, 10), digest.MetaLastSeq: strconv.FormatUint(p.Last, 10), digest.MetaTrail: s.f.arn,
		}
	}
	var err error
	p.Lock, err = s.f.m.put(ctx, s.f.arn, p.Bucket, p.Key, body, o)
	return err
}

// confirm notes that the bucket has a file, or with a zero time that it was
// given up.
//
// Crash story: before the commit the row is still there and the upload is
// repeated, same bytes, same name. After it the row is gone, and a log file is
// in the list from which the next digest is made: no crash lets a delivered
// file miss its digest or be in two.
func (s *stream) confirm(key []byte, p *plan, at time.Time) error {
	b := s.f.m.cfg.Store.NewBatch()
	b.Delete(key)
	owed := func() {}
	if !at.IsZero() {
		owed = s.oweNotification(b, p, at)
		if p.Digest {
			s.LatestDigestDelivery = at
			s.DeliveredDigest = &digest.Link{Bucket: p.Bucket, Object: p.Key, Hash: p.Hash, Signature: p.Signature}
			s.DeliveredLast = p.Last
			s.announce(b, p)
		} else {
			s.LatestDelivery = at
			if p.Listed && s.Chain.Open {
				b.Set(listedKey(s.f.arn, s.region, s.head), kv.MustJSON(p))
			}
		}
	}
	s.save(b)
	if p.Digest {
		crashpoint.Here("digest.uploaded")
	} else {
		crashpoint.Here("trail.uploaded")
	}
	if err := s.f.commit(b); err != nil {
		return err
	}
	if p.Digest {
		crashpoint.Here("digest.confirmed")
	} else {
		crashpoint.Here("trail.confirmed")
	}
	owed()
	s.head++
	if p.Listed {
		s.logs--
	}
	if !at.IsZero() {
		if p.Digest {
			s.f.m.published()
		}
		s.f.succeeded(s, p, at)
	}
	return nil
}

// failed notes a failed attempt and sets the next one.
func (f *follower) failed(s *stream, p *plan, err error, now time.Time) {
	f.backoff = min(max(2*f.backoff, minBackoff), maxBackoff)
	// A fifth more or less, so that trails of one bucket do not come at once.
	f.retryAt = now.Add(f.backoff + time.Duration((rand.Float64()-0.5)*0.4*float64(f.backoff)))
	f.log.Warn("a delivery failed and is tried again", "bucket", p.Bucket, "key", p.Key, "next", f.retryAt, "err", err)
	f.statuses.failed(s.region, p.Digest, deliveryCode(err), now)
}

// deliveryCode is the error as GetTrailStatus names it: S3's code.
func deliveryCode(err error) string {
	switch {
	case errors.Is(err, ErrNoSuchBucket):
		return "NoSuchBucket"
	case errors.Is(err, ErrDenied):
		return "AccessDenied"
	case errors.Is(err, context.DeadlineExceeded):
		return "RequestTimeout"
	}
	var api interface{ ErrorCode() string }
	if errors.As(err, &api) && api.ErrorCode() != "" {
		return api.ErrorCode()
	}
	return "ServiceUnavailable"
}

// digestDue: at the end of the period, or when logging has stopped and every
// file is delivered.
func (s *stream) digestDue(now time.Time) bool {
	return s.Chain.Closing && s.logs == 0 || !now.Before(s.Chain.Start.Add(s.f.m.cfg.DigestInterval))
}

// makeDigest plans the digest of what was delivered since the last one.
//
// Crash story: the digest's bytes, name and signature, the removal of what it
// lists from the list and the state that the next digest is linked by are one
// batch. A crash before leaves the list; after it, the upload is repeated.
func (s *stream) makeDigest(now time.Time) error {
	end := now.UTC().Truncate(time.Second)
	if !end.After(s.Chain.Start) {
		end = s.Chain.Start.Add(time.Second) // names have whole seconds and must differ
	}
	key, err := s.f.m.keys.signer(s.region, end)
	if err != nil {
		return err
	}
	d, after, err := s.buildDigest(end, key.Fingerprint)
	if err != nil {
		return err
	}
	plain, err := d.Encode()
	if err != nil {
		return err
	}
	signature, err := d.Sign(key.private, plain)
	if err != nil {
		return err
	}
	p := plan{Version: formatVersion, Digest: true, Final: d.Extension.Final, Bucket: d.Bucket, Key: d.Object, Hash: digest.Hash(plain),
		Signature: signature, First: d.Extension.First, Last: d.Extension.Last,
		Number: d.Extension.Number, Checkpoint: d.Extension.Tree.Checkpoint, Planned: now.UTC()}
	b := s.f.m.cfg.Store.NewBatch()
	z := newMember()
	if err := z.write(plain); err != nil {
		return errors.Join(err, b.Close())
	}
	body, _, err := z.close()
	if err != nil {
		return errors.Join(err, b.Close())
	}
	s.enqueue(b, &p, body)
	listed := listedPrefix(s.f.arn, s.region)
	b.DeleteRange(listed, kv.PrefixEnd(listed))
	c := &s.Chain
	link := &digest.Link{Bucket: p.Bucket, Object: p.Key, Hash: p.Hash, Signature: signature}
	c.Number, c.LastEnd, c.Start, c.Previous = d.Extension.Number, end, end, link
	c.First, c.Tree = d.Extension.Last+1, after
	if p.Final {
		c.Open, c.Closing, c.Previous, c.Prior = false, false, nil, link
	}
	s.save(b)
	crashpoint.Here("digest.made")
	if err := s.f.commit(b); err != nil {
		return err
	}
	crashpoint.Here("digest.planned")
	return nil
}

// buildDigest also returns the Merkle tree that the digest's checkpoint is of.
func (s *stream) buildDigest(end time.Time, fingerprint string) (*digest.Digest, tree.Frontier, error) {
	d := &digest.Digest{
		AccountID: s.f.account, StartTime: s.Chain.Start.Format(digest.TimeLayout), EndTime: end.Format(digest.TimeLayout),
		Bucket: s.f.set.Bucket, Object: s.place().DigestKey(s.f.name, s.f.home, end), PublicKeyFingerprint: fingerprint,
		SignatureAlgorithm: digest.SignatureAlgorithm,
		Extension: &digest.Extension{Version: digest.ExtensionVersion, TrailARN: s.f.arn, Number: s.Chain.Number + 1,
			Final: s.Chain.Closing && s.logs == 0, Regions: s.f.deliveredRegions()},
	}
	d.Extension.Retention, _ = s.f.m.retention(s.f.arn, d.Bucket)
	d.SetPrevious(s.Chain.Previous)
	if s.Chain.Previous == nil {
		d.Extension.Prior = s.Chain.Prior
	}
	grow := newGrowth(s.Chain.Tree)
	err := s.f.m.cfg.Store.Scan(listedPrefix(s.f.arn, s.region), func(_, v []byte) (bool, error) {
		var p plan
		if err := kv.DecodeRow(v, &p, &p.Version, formatVersion); err != nil {
			return false, err
		}
		leaves, err := grow.file(&p)
		d.LogFiles = append(d.LogFiles, digest.LogFile{Bucket: p.Bucket, Object: p.Key, Hash: p.Hash, HashAlgorithm: digest.HashAlgorithm,
			NewestEventTime: &p.Newest, OldestEventTime: &p.Oldest,
			Records: &digest.Range{First: p.First, Last: p.Last, Count: p.Count, Skipped: p.Skipped, Stored: p.Stored, Tree: leaves, Lock: p.Lock}})
		return err == nil, err
	})
	if err != nil {
		return nil, tree.Frontier{}, fmt.Errorf("reading what a digest lists: %w", err)
	}
	if d.Extension.Tree, err = s.checkpoint(grow); err != nil {
		return nil, tree.Frontier{}, err
	}
	if len(d.LogFiles) > digest.MaxSummed {
		for i := range d.LogFiles {
			d.LogFiles[i].Records.Tree.Sums = nil
		}
	}
	x := d.Extension
	x.First, x.Last = s.Chain.First, s.Chain.First-1
	if n := len(d.LogFiles); n > 0 {
		x.Last = d.LogFiles[n-1].Records.Last
	}
	return d, grow.at, nil
}

// deliveredRegions lists the regions with a delivered digest.
func (f *follower) deliveredRegions() []string {
	out := []string{}
	for _, r := range f.regions() {
		if f.streams[r].DeliveredDigest != nil {
			out = append(out, r)
		}
	}
	return out
}
