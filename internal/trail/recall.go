package trail

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/klauspost/compress/gzip"

	"spoor/internal/digest"
	"spoor/internal/tree"
)

// A place that was named late, or that lost what it had, needs leaves that are
// not kept any more. They are in the trail's bucket, in the log files that the
// chain of digests lists. What is read there is held against the chain, whose
// newest hash the server knows, and in the end against the checkpoint.

// maxRecalled bounds a log file's content, which closes at maxFileBytes and one
// record.
const maxRecalled = 64 << 20

// recalling is how far a publisher has come with one tree.
type recalling struct {
	// digests are those that are still needed, the oldest first.
	digests []recalled
	files   []digest.LogFile // of the first of them; nil before it was read again
}

type recalled struct {
	digest.Link
	from uint64 // the tree before it
}

// recall keeps leaves again, from a size of a tree on: those of some log files.
//
// Crash story: the rows are the ones that were there; a crash loses only how far
// this has come, which is found again.
func (p *publisher) recall(ctx context.Context, r *newest, from uint64) error {
	at := p.recalls[r.arn+"/"+r.region]
	known := at != nil && len(at.digests) > 0 && at.digests[0].from <= from
	if !known {
		var err error
		if at, err = p.digestsSince(ctx, r, from); err != nil {
			return err
		}
		p.recalls[r.arn+"/"+r.region] = at
	}
	for len(at.digests) > 1 && at.digests[1].from <= from {
		at.digests, at.files = at.digests[1:], nil
	}
	if at.files == nil {
		d, err := p.digest(ctx, &at.digests[0].Link)
		if err != nil {
			return err
		}
		at.files = d.LogFiles
	}
	b := p.m.cfg.Store.NewBatch()
	kept := 0
	for i := range at.files {
		f := &at.files[i]
		if f.Records == nil || f.Records.Tree == nil || f.Records.Tree.First < from {
			continue
		}
		if f.Records.Tree.First != from {
			break // a file before it was never delivered
		}
		row, err := p.leavesOf(ctx, f)
		if err != nil {
			return errors.Join(err, b.Close())
		}
		b.Set(leavesKey(r.arn, r.region, from), row)
		from += uint64(f.Records.Count)
		if kept += f.Records.Count; kept >= leavesAtOnce {
			break
		}
	}
	if kept == 0 && known { // digests may have come since
		delete(p.recalls, r.arn+"/"+r.region)
		if err := b.Close(); err != nil {
			return err
		}
		return p.recall(ctx, r, from)
	}
	if kept == 0 {
		return errors.Join(fmt.Errorf("no delivered log file has leaf %d: %w", from, errNoLeaves), b.Close())
	}
	return p.m.cfg.Journal.Commit(b)
}

// digestsSince follows the chain of digests back to a size of the tree.
func (p *publisher) digestsSince(ctx context.Context, r *newest, from uint64) (*recalling, error) {
	var s streamState
	if _, err := p.m.cfg.Store.GetRow(streamKey(r.arn, r.region), &s, &s.Version, formatVersion); err != nil {
		return nil, err
	}
	var out []recalled
	for link := s.DeliveredDigest; ; {
		if link == nil {
			return nil, fmt.Errorf("the digests do not go back to leaf %d: %w", from, errNoLeaves)
		}
		d, err := p.digest(ctx, link)
		if err != nil {
			return nil, err
		}
		x := d.Extension
		if x == nil || x.Tree == nil {
			return nil, fmt.Errorf("digest %s says nothing of the tree: %w", link.Object, errNoLeaves)
		}
		if out = append(out, recalled{*link, x.Tree.Before.Size}); x.Tree.Before.Size <= from {
			break
		}
		if link = d.Previous(); link == nil {
			link = x.Prior
		}
	}
	slices.Reverse(out)
	return &recalling{digests: out}, nil
}

// content reads a file of the trail, whose hash is known.
func (p *publisher) content(ctx context.Context, bucket, key, hash string, limit int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	o, ok := p.m.cfg.Bucket.(Opener)
	if !ok {
		return nil, fmt.Errorf("the trail's bucket cannot be read: %w", errNoLeaves)
	}
	body, err := o.Open(ctx, bucket, key)
	if errors.Is(err, ErrNoObject) || errors.Is(err, ErrNoSuchBucket) {
		return nil, fmt.Errorf("%s/%s is gone: %w", bucket, key, errNoLeaves)
	}
	if err != nil {
		return nil, err
	}
	// What cannot be read may be there later; what cannot be decompressed is not
	// what was delivered.
	packed, err := io.ReadAll(io.LimitReader(body, limit+1))
	if err = errors.Join(err, body.Close()); err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("%s/%s: %w (%w)", bucket, key, errNoLeaves, err)
	}
	plain, err := io.ReadAll(io.LimitReader(z, limit+1))
	if err != nil || int64(len(plain)) > limit || digest.Hash(plain) != hash {
		return nil, fmt.Errorf("%s/%s is not as it was delivered: %w", bucket, key, errNoLeaves)
	}
	return plain, nil
}

func (p *publisher) digest(ctx context.Context, link *digest.Link) (*digest.Digest, error) {
	plain, err := p.content(ctx, link.Bucket, link.Object, link.Hash, digest.MaxBytes)
	if err != nil {
		return nil, err
	}
	return digest.Parse(plain)
}

// leavesOf hashes a log file's records.
func (p *publisher) leavesOf(ctx context.Context, f *digest.LogFile) ([]byte, error) {
	plain, err := p.content(ctx, f.Bucket, f.Object, f.Hash, maxRecalled)
	if err != nil {
		return nil, err
	}
	var file struct{ Records []json.RawMessage }
	if err := json.Unmarshal(plain, &file); err != nil || len(file.Records) != f.Records.Count {
		return nil, fmt.Errorf("%s has not the records that its digest says: %w", f.Object, errNoLeaves)
	}
	h := tree.NewHasher()
	leaves := make([]tree.Hash, len(file.Records))
	for i, record := range file.Records {
		leaves[i] = h.Leaf(record)
	}
	return leavesRow(leaves, tree.Sums(f.Records.Tree.First, leaves)), nil
}

// leaves are kept ones, or those that can be kept again.
func (p *publisher) leaves(ctx context.Context, r *newest, from, to uint64) ([]run, error) {
	out, err := p.m.leaves(r.arn, r.region, from, to)
	if !errors.Is(err, errNoLeaves) {
		return out, err
	}
	if err := p.recall(ctx, r, from); err != nil {
		return nil, err
	}
	return p.m.leaves(r.arn, r.region, from, to)
}
