package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"spoor/internal/digest"
)

// each calls fn for 0 to n-1, cfg.Parallel at a time, and returns the first
// error.
func (v *verifier) each(ctx context.Context, n int, fn func(i int) error) error {
	var next atomic.Int64
	var once sync.Once
	var first error
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	for range min(v.cfg.Parallel, n) {
		wg.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := fn(i); err != nil {
					once.Do(func() { first = err })
					cancel()
					return
				}
			}
		})
	}
	wg.Wait()
	if first == nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return first
}

// logFile is a log file that somebody vouches for.
type logFile struct {
	bucket, key, hash string
	stored            string // hash of the object's bytes, "" when not known
	first, last       uint64
	count             int // records; -1 when not known
	tree              *digest.Leaves
	by                string
}

// files verifies the log files of the sound digests.
func (v *verifier) files(ctx context.Context, r *region, nodes []*node) error {
	var all []logFile
	for _, n := range nodes {
		for i := range n.d.LogFiles {
			f := &n.d.LogFiles[i]
			l := logFile{bucket: f.Bucket, key: f.Object, hash: f.Hash, count: -1, by: n.key}
			if f.Records != nil {
				l.first, l.last, l.count, l.stored, l.tree = f.Records.First, f.Records.Last, f.Records.Count, f.Records.Stored, f.Records.Tree
			}
			_, twice := r.listed[f.Object]
			r.listed[f.Object] = l.last
			if !n.sound {
				continue // the digest's own finding says it
			}
			if twice {
				v.find(Finding{Kind: DigestChain, Region: r.Region, Bucket: f.Bucket, Key: n.key, Detail: "the digest lists " + f.Object + ", which an earlier one lists"})
				continue
			}
			all = append(all, l)
		}
	}
	return v.each(ctx, len(all), func(i int) error { return v.file(ctx, r, &all[i]) })
}

// file verifies one log file.
func (v *verifier) file(ctx context.Context, r *region, l *logFile) error {
	bad := func(kind Kind, format string, args ...any) {
		v.find(Finding{Kind: kind, Region: r.Region, Bucket: l.bucket, Key: l.key, FirstSeq: l.first, LastSeq: l.last, Detail: fmt.Sprintf(format, args...)})
	}
	s, meta, err := v.read(ctx, l.bucket, l.key, maxLogFile)
	switch {
	case errors.Is(err, ErrNotFound):
		bad(FileMissing, "the log file is not there; %s lists it", l.by)
		return nil
	case err != nil:
		return err
	}
	defer s.release()
	if err := s.pass.run(s, maxLogFile, v.ids.seed, l.count); err != nil {
		bad(FileTruncated, "%v: %v", errGzip, err)
		return nil
	}
	if s.pass.sum() != l.hash {
		return v.altered(r, l, s)
	}
	if l.stored != "" && s.stored() != l.stored {
		bad(FileAltered, "the log file was compressed again or its gzip header changed; its content is what was delivered")
	}
	ids, err := v.records(r, l, s)
	if err != nil {
		bad(FileAltered, "%v", err)
		return nil
	}
	if l.count >= 0 && len(ids) != l.count {
		bad(FileAltered, "the log file has %d records, its digest says %d", len(ids), l.count)
	}
	if t, ok := meta[digest.MetaTrail]; l.last > 0 && ok && t != v.cfg.TrailARN {
		bad(FileMetadata, "the log file's metadata says that it is of %s", t)
	} else if meta != nil && l.last > 0 && (!ok || meta[digest.MetaFirstSeq] != strconv.FormatUint(l.first, 10) || meta[digest.MetaLastSeq] != strconv.FormatUint(l.last, 10)) {
		bad(FileMetadata, "the log file's metadata says records %s to %s, its digest %d to %d", meta[digest.MetaFirstSeq], meta[digest.MetaLastSeq], l.first, l.last)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	r.Files++
	r.Records += len(ids)
	r.Bytes += s.pass.size
	v.ids.hashes = append(v.ids.hashes, ids...)
	return nil
}

// altered reports a log file whose content is another, and of which records.
func (v *verifier) altered(r *region, l *logFile, s *scratch) error {
	if err := s.gunzip(maxLogFile); err != nil {
		return fmt.Errorf("reading %s again: %w", l.key, err)
	}
	f := Finding{Kind: FileAltered, Region: r.Region, Bucket: l.bucket, Key: l.key, FirstSeq: l.first, LastSeq: l.last,
		Detail: "the log file's content is not what was delivered"}
	if from, to, ok := narrow(l, s.plain); ok {
		if uint64(l.count) == l.last-l.first+1 {
			f.FirstSeq, f.LastSeq = l.first+uint64(from), l.first+uint64(to)-1
		}
		f.Detail += fmt.Sprintf("; it differs at records %d to %d of its %d", from+1, to, l.count)
	}
	v.find(f)
	return nil
}

// tail holds the bucket against what is known from outside of it.
func (v *verifier) tail(ctx context.Context, r *region) error {
	a, ok := v.cfg.Anchors[r.Region]
	if !ok {
		return nil
	}
	bad := func(key, format string, args ...any) {
		f := Finding{Kind: TailTruncated, Region: r.Region, Bucket: v.cfg.Bucket, Key: key, Detail: fmt.Sprintf(format, args...)}
		if a.Last > r.LastSeq {
			f.FirstSeq, f.LastSeq = r.LastSeq+1, a.Last
		}
		r.truncated = true
		v.find(f)
	}
	switch {
	case a.Digest != nil:
		if !v.cfg.End.IsZero() {
			break // the newest digest lies beyond what is looked at
		}
		switch n := r.newest; {
		case n == nil:
			bad(a.Digest.Object, "the newest delivered digest is not there, nor any other that is sound")
		case n.key < a.Digest.Object:
			bad(a.Digest.Object, "the newest delivered digest is not there or not sound; the newest that is, is %s", n.key)
		case n.key == a.Digest.Object && (n.hash != a.Digest.Hash || n.sig != "" && n.sig != a.Digest.Signature):
			f := Finding{Kind: DigestChain, Region: r.Region, Bucket: v.cfg.Bucket, Key: n.key, Detail: "the newest digest is not the one that was delivered"}
			if a.Last > r.LastSeq {
				f.FirstSeq, f.LastSeq = r.LastSeq+1, a.Last
			}
			v.find(f)
		}
	case !a.Time.IsZero() && v.cfg.End.IsZero():
		v.tailByTime(r, a.Time, bad)
	}
	var newer []logFile
	for _, f := range a.Files {
		if _, listed := r.listed[f.Key]; !listed {
			newer = append(newer, logFile{bucket: f.Bucket, key: f.Key, hash: f.Hash, stored: f.Stored, first: f.First, last: f.Last, count: -1, by: "the server"})
		}
	}
	err := v.each(ctx, len(newer), func(i int) error { return v.file(ctx, r, &newer[i]) })
	for _, f := range newer {
		r.listed[f.key] = f.last
	}
	return err
}

// uploadSlack is how long after its end a digest may be delivered, at least. A
// final digest's own period can be as short as a second.
const uploadSlack = time.Minute

// tailByTime: the newest digest cannot be older than the last delivery by a
// whole digest period, or the one that was delivered then is gone.
func (v *verifier) tailByTime(r *region, delivered time.Time, bad func(key, format string, args ...any)) {
	if r.newest == nil {
		bad("", "a digest was delivered at %s; there is none that is sound", delivered.UTC().Format(digest.TimeLayout))
		return
	}
	start, err1 := time.Parse(digest.TimeLayout, r.newest.d.StartTime)
	end, err2 := time.Parse(digest.TimeLayout, r.newest.d.EndTime)
	if err1 != nil || err2 != nil {
		return // Parse has checked both
	}
	if delivered.Sub(end) >= max(end.Sub(start), uploadSlack) {
		bad(r.newest.key, "a digest was delivered at %s; the newest that is there ends at %s, %s before", delivered.UTC().Format(digest.TimeLayout),
			r.newest.d.EndTime, delivered.Sub(end).Round(time.Second))
	}
}

// unlisted looks at the log files that no digest of the trail lists: those of
// other trails, those that wait for their digest, and those that somebody
// added.
func (v *verifier) unlisted(ctx context.Context, r *region) error {
	var rest []string
	for _, key := range r.logs {
		if _, ok := r.listed[key]; !ok {
			rest = append(rest, key)
		}
	}
	if len(rest) == 0 {
		return nil
	}
	others, err := v.otherTrails(ctx, r)
	if err != nil {
		return err
	}
	var newestMinute time.Time
	if r.newest != nil {
		for i := range r.newest.d.LogFiles {
			if m, ok := r.place.ParseLogKey(r.newest.d.LogFiles[i].Object); ok && m.After(newestMinute) {
				newestMinute = m
			}
		}
	}
	return v.each(ctx, len(rest), func(i int) error {
		what, err := v.classify(ctx, r, rest[i], others, newestMinute)
		if err != nil {
			return err
		}
		v.mu.Lock()
		defer v.mu.Unlock()
		switch what {
		case isForeign:
			r.Foreign++
		case isPending:
			r.Pending++
		case isGone:
		default:
			v.report.Findings = append(v.report.Findings, Finding{Kind: FileUnlisted, Region: r.Region, Bucket: v.cfg.Bucket, Key: rest[i],
				Detail: "no digest lists the log file, and it is older than the newest digest or bears no number"})
		}
		return nil
	})
}

// class is what an unlisted log file is.
type class uint8

const (
	isAdded class = iota
	isForeign
	isPending
	isGone
)

// classify tells an unlisted file's class. Files of a region are delivered in
// the order of their record numbers, so one with higher numbers than the newest
// digest covers is newer than it, however late it came.
func (v *verifier) classify(ctx context.Context, r *region, key string, others *neighbours, newestMinute time.Time) (class, error) {
	if others.listed[key] {
		return isForeign, nil
	}
	minute, ok := r.place.ParseLogKey(key)
	if !ok {
		return isAdded, nil
	}
	body, meta, err := v.cfg.Source.Get(ctx, v.cfg.Bucket, key)
	if errors.Is(err, ErrNotFound) {
		return isGone, nil
	}
	if err != nil {
		return 0, err
	}
	if err := body.Close(); err != nil {
		return 0, fmt.Errorf("reading %s: %w", key, err)
	}
	first, err := strconv.ParseUint(meta[digest.MetaFirstSeq], 10, 64)
	if err != nil {
		first = 0
	}
	if t := meta[digest.MetaTrail]; t != "" && t != v.cfg.TrailARN {
		return others.class(t, first, v.cfg.OtherTrails), nil
	}
	if a, ok := v.cfg.Anchors[r.Region]; ok && a.Complete {
		if slices.Contains(a.Waiting, key) {
			return isPending, nil
		}
		return isAdded, nil // the server lists what waits for a digest
	}
	if !v.cfg.End.IsZero() && r.newest != nil && minute.Add(time.Minute).After(v.cfg.End.Add(-digestMargin)) {
		return isPending, nil // its digest may lie beyond what is looked at
	}
	if r.newest == nil {
		return isPending, nil
	}
	if x := r.newest.d.Extension; x != nil && meta != nil {
		if first > x.Last {
			return isPending, nil
		}
		return isAdded, nil
	}
	if end, err := time.Parse(digest.TimeLayout, r.newest.d.EndTime); err == nil && !minute.Before(end.Truncate(time.Minute)) ||
		!newestMinute.IsZero() && !minute.Before(newestMinute) {
		return isPending, nil
	}
	return isAdded, nil
}

// neighbours are the trails that share the place.
type neighbours struct {
	listed map[string]bool   // log files in their sound digests
	last   map[string]uint64 // by ARN, the last record that their digests account for
}

// class tells what a file is that names another trail, which does not list it.
func (n *neighbours) class(arn string, first uint64, known []string) class {
	last, hasDigests := n.last[arn]
	switch {
	case hasDigests && first > last:
		return isForeign // waits for its digest
	case !hasDigests && slices.Contains(known, arn):
		return isForeign // proven by nobody, as that trail wants it
	}
	return isAdded
}

// otherTrails reads the digests of other trails.
func (v *verifier) otherTrails(ctx context.Context, r *region) (*neighbours, error) {
	out := &neighbours{map[string]bool{}, map[string]uint64{}}
	var mu sync.Mutex
	err := v.each(ctx, len(r.foreign), func(i int) error {
		plain, meta, err := v.get(ctx, v.cfg.Bucket, r.foreign[i], digest.MaxBytes)
		if errors.Is(err, ErrNotFound) || errors.Is(err, errGzip) {
			return nil // for the verification of that trail to find
		}
		if err != nil {
			return err
		}
		d, err := digest.Parse(plain)
		if err != nil || d.Object != r.foreign[i] {
			return nil
		}
		if k, ok := r.keys[d.PublicKeyFingerprint]; !v.unsigned(r) && (!ok || meta != nil && d.Verify(k.key, digest.Hash(plain), meta[digest.MetaSignature]) != nil) {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		for j := range d.LogFiles {
			out.listed[d.LogFiles[j].Object] = true
		}
		if x := d.Extension; x != nil {
			out.last[x.TrailARN] = max(out.last[x.TrailARN], x.Last)
		}
		return nil
	})
	return out, err
}
