package verify

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"
	"time"

	"spoor/internal/digest"
)

// readDigests reads the region's digests, oldest first. What is not a digest
// is a finding and left out.
func (v *verifier) readDigests(ctx context.Context, r *region) ([]*node, error) {
	nodes := make([]*node, len(r.digests))
	err := v.each(ctx, len(r.digests), func(i int) error {
		n, err := v.readDigest(ctx, r, v.cfg.Bucket, r.digests[i])
		nodes[i] = n
		return err
	})
	if err != nil {
		return nil, err
	}
	out := nodes[:0]
	for _, n := range nodes {
		if n != nil {
			out = append(out, n)
		}
	}
	if out, err = v.elsewhere(ctx, r, out); err != nil {
		return nil, err
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].d.EndTime < out[j].d.EndTime })
	return out, nil
}

// elsewhere adds the digests that lie in another bucket or under another prefix
// because the trail was updated: the listing does not have them, links lead to
// them.
func (v *verifier) elsewhere(ctx context.Context, r *region, nodes []*node) ([]*node, error) {
	have := make(map[string]bool, len(nodes))
	for _, n := range nodes {
		have[n.d.Bucket+"/"+n.key] = true
	}
	for i := 0; i < len(nodes) && len(nodes) < maxListed; i++ {
		l := linkOf(nodes[i].d)
		if !nodes[i].sound {
			continue // it lies where another one belongs; so may its link
		}
		if l == nil || have[l.Bucket+"/"+l.Object] || l.Bucket == v.cfg.Bucket && strings.HasPrefix(l.Object, r.place.DigestPrefix()) {
			continue
		}
		if start, err := time.Parse(digest.TimeLayout, nodes[i].d.StartTime); err == nil && !v.within(start) {
			continue // the digest before ends there
		}
		have[l.Bucket+"/"+l.Object] = true
		n, err := v.readDigest(ctx, r, l.Bucket, l.Object)
		if err != nil {
			return nil, err
		}
		if n != nil {
			nodes = append(nodes, n)
		}
	}
	return nodes, nil
}

// readDigest reads one digest and checks what can be said of it alone, except
// the signature, which may have to come from the next one.
func (v *verifier) readDigest(ctx context.Context, r *region, bucket, key string) (*node, error) {
	plain, meta, err := v.get(ctx, bucket, key, digest.MaxBytes)
	bad := func(kind Kind, format string, args ...any) {
		v.findDigest(r, Finding{Kind: kind, Region: r.Region, Bucket: bucket, Key: key, Detail: fmt.Sprintf(format, args...)})
	}
	switch {
	case errors.Is(err, ErrNotFound):
		bad(DigestMissing, "the digest was listed and is gone")
		return nil, nil
	case errors.Is(err, errGzip):
		bad(DigestInvalid, "the digest is truncated or not a gzip file")
		return nil, nil
	case err != nil:
		return nil, err
	}
	d, err := digest.Parse(plain)
	if err != nil {
		bad(DigestInvalid, "%v", err)
		return nil, nil
	}
	n := &node{key: key, hash: digest.Hash(plain), sig: meta[digest.MetaSignature], meta: meta != nil, d: d, sound: true}
	if d.Bucket != bucket || d.Object != key {
		bad(DigestMoved, "the digest says that it is %s/%s", d.Bucket, d.Object)
		n.sound = false
	}
	if d.Extension != nil && d.Extension.TrailARN != v.cfg.TrailARN || d.AccountID != v.account {
		bad(DigestInvalid, "the digest is of another trail or account")
		n.sound = false
	}
	return n, nil
}

// chain checks signatures, links and numbers along the digests.
func (v *verifier) chain(r *region, nodes []*node) {
	var prev *node
	for i, n := range nodes {
		var next *node
		if i+1 < len(nodes) {
			next = nodes[i+1]
		}
		v.signature(r, n, next)
		if !n.sound {
			// What an unsigned digest says is nobody's word: it neither vouches
			// for files nor continues the chain. The digest after it misses it.
			continue
		}
		r.Digests++
		v.coverage(r, prev, n, v.link(r, prev, n))
		prev = n
	}
	if prev == nil {
		return
	}
	r.newest, r.NewestDigest = prev, prev.key
}

// signature verifies n's signature, taken from its metadata or, in a copy
// without metadata, from the digest that follows.
func (v *verifier) signature(r *region, n, next *node) {
	bad := func(format string, args ...any) {
		n.sound = false
		v.findDigest(r, Finding{Kind: DigestSignature, Region: r.Region, Bucket: n.d.Bucket, Key: n.key, Detail: fmt.Sprintf(format, args...)})
	}
	if n.meta && n.sig == "" {
		defer func() {
			if n.sound { // the next digest names the signature, or the anchor
				v.find(Finding{Kind: DigestMetadata, Region: r.Region, Bucket: n.d.Bucket, Key: n.key, Detail: "the digest's signature is not in its metadata"})
			}
		}()
	}
	if v.unsigned(r) {
		return
	}
	k, ok := r.keys[n.d.PublicKeyFingerprint]
	if !ok {
		bad("the digest is signed with the unknown key %s", n.d.PublicKeyFingerprint)
		return
	}
	end, err := time.Parse(digest.TimeLayout, n.d.EndTime)
	if err != nil || !k.Start.IsZero() && end.Before(k.Start.Truncate(time.Second)) || !k.End.IsZero() && end.After(k.End) {
		bad("key %s was not valid at %s", n.d.PublicKeyFingerprint, n.d.EndTime)
		return
	}
	if n.sig == "" && next != nil {
		if l := linkOf(next.d); l != nil && l.Object == n.key {
			n.sig = l.Signature
		}
	}
	if n.sig == "" {
		if a, ok := v.cfg.Anchors[r.Region]; ok && a.Digest != nil && a.Digest.Object == n.key {
			n.sig = a.Digest.Signature
		}
	}
	if n.sig == "" {
		if src, ok := v.cfg.Source.(interface{ Copy() bool }); ok && src.Copy() && next == nil {
			v.copied = true
			return
		}
		bad("the digest has no signature")
		return
	}
	if err := n.d.Verify(k.key, n.hash, n.sig); err != nil {
		bad("%v", err)
	}
}

// linkOf is a digest's link to the one before, over stops too.
func linkOf(d *digest.Digest) *digest.Link {
	if l := d.Previous(); l != nil {
		return l
	}
	if d.Extension != nil {
		return d.Extension.Prior
	}
	return nil
}

// link checks that n follows prev, the sound digest before it in the bucket.
// It returns whether it has reported that digests between them are missing.
func (v *verifier) link(r *region, prev, n *node) (missing bool) {
	chain := func(key, format string, args ...any) {
		v.find(Finding{Kind: DigestChain, Region: r.Region, Bucket: n.d.Bucket, Key: key, Detail: fmt.Sprintf(format, args...)})
	}
	l := linkOf(n.d)
	switch {
	case prev == nil && !v.cfg.Start.IsZero():
		return false // what comes before is not looked at
	case l == nil && prev == nil:
		return false
	case l == nil:
		if n.d.Extension != nil { // AWS's digests have no link over a stop
			chain(n.key, "the digest begins a trail, but %s comes before it", prev.key)
		}
		return false
	case prev == nil:
		v.missing(r, nil, n, l, "before "+n.key)
		return true
	case l.Object != prev.key:
		v.missing(r, prev, n, l, "between "+prev.key+" and "+n.key)
		return true
	case l.Hash != prev.hash:
		chain(prev.key, "the digest's content is not what the next digest, %s, was made after", n.key)
	case prev.sig != "" && l.Signature != prev.sig:
		chain(prev.key, "the digest's signature is not the one that the next digest, %s, names", n.key)
	}
	if n.d.Previous() != nil && n.d.StartTime != prev.d.EndTime {
		chain(n.key, "the digest begins at %s and the one before ends at %s", n.d.StartTime, prev.d.EndTime)
	}
	return false
}

// missing reports the digests that should lie between prev, which may be nil,
// and n: by the name that n has of the last of them, by how many they are and
// by the records that they account for. If that one was found to be unsound,
// the finding of it is told the records instead.
func (v *verifier) missing(r *region, prev, n *node, l *digest.Link, where string) {
	f := Finding{Kind: DigestMissing, Region: r.Region, Bucket: l.Bucket, Key: l.Object, Detail: "the digest " + where + " is not there or not sound"}
	if x := n.d.Extension; x != nil {
		var number, last uint64
		if prev != nil && prev.d.Extension != nil {
			number, last = prev.d.Extension.Number, prev.d.Extension.Last
		}
		if count := int64(x.Number) - int64(number) - 1; count > 1 {
			f.Detail = fmt.Sprintf("the %d digests, numbers %d to %d, %s are not there or not sound; this is the last of them", count, number+1, x.Number-1, where)
		}
		if x.First > last+1 {
			f.FirstSeq, f.LastSeq = last+1, x.First-1
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if i, ok := r.unsound[l.Object]; ok {
		known := &v.report.Findings[i]
		known.FirstSeq, known.LastSeq = f.FirstSeq, f.LastSeq
		return
	}
	v.report.Findings = append(v.report.Findings, f)
}

// coverage checks the numbers: of digests, and of the records that the log
// files account for. missing says that digests are known to be missing before n.
func (v *verifier) coverage(r *region, prev, n *node, missing bool) {
	x := n.d.Extension
	if x == nil {
		if prev != nil && prev.d.Extension != nil {
			v.find(Finding{Kind: DigestChain, Region: r.Region, Bucket: n.d.Bucket, Key: n.key, Detail: "the digest has no numbers, the one before it has"})
		}
		return
	}
	if r.FirstSeq == 0 {
		r.FirstSeq = x.First
	}
	r.LastSeq = max(r.LastSeq, x.Last)
	found := func(kind Kind, from, to uint64, format string, args ...any) {
		if from > to {
			from, to = 0, 0
		}
		v.find(Finding{Kind: kind, Region: r.Region, Bucket: n.d.Bucket, Key: n.key, FirstSeq: from, LastSeq: to, Detail: fmt.Sprintf(format, args...)})
	}
	switch {
	case missing:
	case prev == nil:
		if x.Number != 1 && v.cfg.Start.IsZero() {
			found(DigestChain, 1, x.First-1, "the digest begins a trail and has number %d: the %d before it are not there", x.Number, x.Number-1)
		}
	case prev.d.Extension != nil:
		p := prev.d.Extension
		if x.Number != p.Number+1 {
			found(DigestChain, p.Last+1, x.First-1, "digest %d follows number %d", x.Number, p.Number)
		} else if x.First != p.Last+1 && (n.d.Previous() != nil || x.First < p.Last+1) {
			// A starting digest may begin later: what was delivered while log
			// file validation was off is in no digest.
			found(RecordGap, p.Last+1, x.First-1, "the digest covers from %d, the one before to %d", x.First, p.Last)
		}
	}
	at := x.First
	for i := range n.d.LogFiles {
		f := n.d.LogFiles[i].Records
		if f == nil {
			continue
		}
		if b := f.Begin(); b != at {
			found(RecordGap, at, b-1, "log file %s continues at %d, not at %d: what lies between was given up or never delivered", n.d.LogFiles[i].Object, b, at)
		}
		at = f.Last + 1
	}
	if at != x.Last+1 {
		found(RecordGap, at, x.Last, "the digest covers to %d, its log files to %d", x.Last, at-1)
	}
}
