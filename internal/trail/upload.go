package trail

import (
	"context"
	"errors"
	"fmt"
	"slices"
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

// confirm notes, in their order, the files that the bucket has, or that were
// given up, up to the first of which that is not known.
//
// Crash story: before the commit the rows are still there and the uploads are
// repeated, same bytes, same names. After it the rows are gone, and the log
// files are in the list from which the next digest is made: no crash lets a
// delivered file miss its digest or be in two. What landed behind a file that
// did not is not noted: its row stays, and no digest can list it before the
// other.
func (s *stream) confirm() error {
	n := 0
	for n < len(s.window) && s.window[n].state == landed {
		n++
	}
	if n == 0 {
		return nil
	}
	b := s.f.m.cfg.Store.NewBatch()
	var owed []func()
	logs, digests := false, false
	for _, x := range s.window[:n] {
		owed = append(owed, s.note(b, x))
		logs, digests = logs || !x.Digest, digests || x.Digest
	}
	s.save(b)
	if digests {
		crashpoint.Here("digest.uploaded")
	}
	if logs {
		crashpoint.Here("trail.uploaded")
	}
	if err := s.f.commit(b); err != nil {
		return err
	}
	if digests {
		crashpoint.Here("digest.confirmed")
	}
	if logs {
		crashpoint.Here("trail.confirmed")
	}
	for i, x := range s.window[:n] {
		owed[i]()
		if x.Listed {
			s.logs--
		}
		if x.at.IsZero() {
			continue
		}
		if x.Digest {
			s.f.m.published()
		}
		s.f.succeeded(s, x)
	}
	s.head += uint64(n)
	s.window = slices.Delete(s.window, 0, n)
	if x := s.failing(); x != nil { // a later one: the last attempt was no success
		s.f.statuses.failed(s.region, x.Digest, deliveryCode(x.err), x.failedAt)
	}
	return nil
}

// note writes into b what becomes of a file that is through. The notification
// that it returns is to be called after the commit.
func (s *stream) note(b *kv.Batch, x *flight) (owed func()) {
	b.Delete(fileKey(s.f.arn, s.region, x.row))
	if x.at.IsZero() {
		return func() {}
	}
	// Times are those of the attempts, which may end in another order.
	if x.Digest {
		s.LatestDigestDelivery = later(s.LatestDigestDelivery, x.at)
		s.DeliveredDigest = &digest.Link{Bucket: x.Bucket, Object: x.Key, Hash: x.Hash, Signature: x.Signature}
		s.DeliveredLast = x.Last
		s.announce(b, &x.plan)
	} else {
		s.LatestDelivery = later(s.LatestDelivery, x.at)
		if x.Listed && s.Chain.Open {
			b.Set(listedKey(s.f.arn, s.region, x.row), kv.MustJSON(&x.plan))
		}
	}
	return s.oweNotification(b, &x.plan, x.at)
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
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

// digestDue: when logging has stopped and every file is delivered, or at the end
// of the period, with the files that were planned in it as far as the bucket
// takes them.
func (s *stream) digestDue(now time.Time) bool {
	if s.Chain.Closing && s.logs == 0 {
		return true
	}
	if now.Before(s.Chain.Start.Add(s.f.m.cfg.DigestInterval)) {
		s.ending = false
		return false
	}
	if !s.ending {
		s.ending, s.endsAt = true, s.NextFile
	}
	return s.head >= s.endsAt || s.failing() != nil
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
	s.ending = false
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
