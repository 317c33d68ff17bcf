package verify

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"spoor/internal/digest"
)

// Keeper is a Source that knows what objects are locked with. A copy does not:
// a lock is the bucket's.
type Keeper interface {
	// Lock is what an object is locked with, nil for nothing. An absent object
	// is ErrNotFound; ErrSecret says that it is not to be known.
	Lock(ctx context.Context, bucket, key string) (*digest.Lock, error)
}

// ErrSecret says that the caller may not know an object's retention.
var ErrSecret = errors.New("verify: no permission to see the retention (s3:GetObjectRetention)")

// lockReader is the part of an S3 client that shows retentions.
type lockReader interface {
	GetObjectRetention(context.Context, *s3.GetObjectRetentionInput, ...func(*s3.Options)) (*s3.GetObjectRetentionOutput, error)
}

var _ Keeper = s3Source{}

func (s s3Source) Lock(ctx context.Context, bucket, key string) (*digest.Lock, error) {
	client, ok := s.client.(lockReader)
	if !ok {
		return nil, ErrSecret
	}
	out, err := client.GetObjectRetention(ctx, &s3.GetObjectRetentionInput{Bucket: &bucket, Key: &key})
	var e smithy.APIError
	switch {
	case err == nil && out.Retention != nil && out.Retention.RetainUntilDate != nil:
		return &digest.Lock{Mode: string(out.Retention.Mode), Until: *out.Retention.RetainUntilDate}, nil
	case err == nil:
		return nil, nil
	case !errors.As(err, &e):
		return nil, fmt.Errorf("reading the retention of %s/%s: %w", bucket, key, err)
	}
	switch e.ErrorCode() {
	case "NoSuchObjectLockConfiguration", "ObjectLockConfigurationNotFoundError", "InvalidRequest": // the last: a bucket without Object Lock
		return nil, nil
	case "NoSuchKey", "NotFound", "MethodNotAllowed": // the last: a delete marker
		return nil, fmt.Errorf("%w: %s/%s", ErrNotFound, bucket, key)
	case "AccessDenied":
		return nil, ErrSecret
	}
	return nil, fmt.Errorf("reading the retention of %s/%s: %w", bucket, key, err)
}

// locked is a file with the lock that it was given, or longer.
type locked struct {
	bucket, key string
	first, last uint64
	want        digest.Lock
}

// lockedFiles are the files of a region that signed digests, or the server, say
// are locked.
func (v *verifier) lockedFiles(r *region, nodes []*node) []locked {
	var out []locked
	listed := map[string]bool{}
	for _, n := range nodes {
		if !n.sound {
			continue
		}
		if x := n.d.Extension; x != nil && x.Retention != nil {
			if end, err := time.Parse(digest.TimeLayout, n.d.EndTime); err == nil { // Parse has checked it
				out = append(out, locked{n.d.Bucket, n.key, 0, 0, digest.Lock{Mode: x.Retention.Mode, Until: x.Retention.Until(end)}})
			}
		}
		for i := range n.d.LogFiles {
			f := &n.d.LogFiles[i]
			listed[f.Object] = true
			if f.Records != nil && f.Records.Lock != nil {
				out = append(out, locked{f.Bucket, f.Object, f.Records.First, f.Records.Last, *f.Records.Lock})
			}
		}
	}
	for _, f := range v.cfg.Anchors[r.Region].Files {
		if f.Lock != nil && !listed[f.Key] {
			out = append(out, locked{f.Bucket, f.Key, f.First, f.Last, *f.Lock})
		}
	}
	return out
}

// retention holds what the files of a WORM trail are locked with against what
// they were given.
func (v *verifier) retention(ctx context.Context, r *region, nodes []*node) error {
	files := v.lockedFiles(r, nodes)
	if len(files) == 0 {
		return nil
	}
	keeper, ok := v.cfg.Source.(Keeper)
	if !ok {
		v.report.Notes = append(v.report.Notes, fmt.Sprintf("%d files of %s were given a retention; a copy does not have it: verify the bucket itself to have it checked", len(files), r.Region))
		return nil
	}
	var held, secret atomic.Int64
	err := v.each(ctx, len(files), func(i int) error {
		f := &files[i]
		has, err := keeper.Lock(ctx, f.bucket, f.key)
		switch {
		case errors.Is(err, ErrSecret):
			secret.Add(1)
			return nil
		case errors.Is(err, ErrNotFound):
			return nil // the file's own finding says it
		case err != nil:
			return err
		case has == nil:
			v.find(Finding{Kind: RetentionMissing, Region: r.Region, Bucket: f.bucket, Key: f.key, FirstSeq: f.first, LastSeq: f.last,
				Detail: "the file was locked with " + words(&f.want) + " and is not locked: it was taken out and put back, or the lock was removed"})
		case !has.Holds(&f.want):
			v.find(Finding{Kind: RetentionShort, Region: r.Region, Bucket: f.bucket, Key: f.key, FirstSeq: f.first, LastSeq: f.last,
				Detail: "the file was locked with " + words(&f.want) + " and is locked with " + words(has)})
		default:
			held.Add(1)
		}
		return nil
	})
	r.Locked = int(held.Load())
	if n := secret.Load(); n > 0 {
		v.unproven("the retention of %d files of %s: the permission s3:GetObjectRetention is missing", n, r.Region)
	}
	return err
}

func words(l *digest.Lock) string {
	return strings.ToUpper(l.Mode) + " until " + l.Until.UTC().Format(digest.TimeLayout)
}
