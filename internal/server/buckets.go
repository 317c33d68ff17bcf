package server

import (
	"context"
	"errors"
	"fmt"
	"io"

	"spoor/internal/lake"
	"spoor/internal/objects"
	"spoor/internal/s3"
	"spoor/internal/trail"
)

// trailBucket is the object storage as trails see it. Whether the bucket's
// policy lets them write is theirs to check, as on AWS.
type trailBucket struct {
	store    *objects.Store
	registry *s3.Registry
}

var (
	_ trail.Bucket = trailBucket{}
	_ trail.Locker = trailBucket{}
	_ trail.Opener = &lateBucket{}
)

func (b trailBucket) Policy(_ context.Context, bucket string) (document, owner string, err error) {
	found, ok := b.registry.Bucket(bucket)
	if !ok {
		return "", "", trail.ErrNoSuchBucket
	}
	return found.Policy, found.Account, nil
}

func (b trailBucket) Put(ctx context.Context, bucket, key string, body []byte, o trail.PutOptions) error {
	return missing(b.store.Put(ctx, bucket, key, body, options(o)))
}

func options(o trail.PutOptions) objects.PutOptions {
	return objects.PutOptions{ContentType: o.ContentType, ContentEncoding: o.ContentEncoding, Metadata: o.Metadata, ACL: o.ACL, Encryption: o.Encryption}
}

func (b trailBucket) Open(ctx context.Context, bucket, key string) (io.ReadCloser, error) {
	r, _, err := b.store.Get(ctx, bucket, key)
	return r, missing(err)
}

func missing(err error) error {
	switch {
	case errors.Is(err, objects.ErrNoSuchBucket):
		return trail.ErrNoSuchBucket
	case errors.Is(err, objects.ErrNoSuchKey):
		return fmt.Errorf("%w: %w", trail.ErrNoObject, err)
	}
	return err
}

func (b trailBucket) DefaultRetention(bucket string) *trail.Retention {
	l := b.registry.DefaultRetention(bucket)
	if l == nil {
		return nil
	}
	return &trail.Retention{Mode: l.Mode, Days: l.Days, Years: l.Years}
}

func (b trailBucket) PutLocked(ctx context.Context, bucket, key string, body []byte, o trail.PutOptions, r trail.Retention) (trail.Lock, error) {
	lock, err := b.store.PutLocked(ctx, bucket, key, body, options(o), r.Mode, r.Until)
	return trail.Lock{Mode: lock.Mode, Until: lock.Until}, missing(err)
}

// importSource is the object storage as imports of event data stores see it.
// Whether the caller may read the bucket was asked when the import began.
type importSource struct{ store *objects.Store }

var _ lake.Source = importSource{}

func (i importSource) List(ctx context.Context, bucket, prefix, after string, fn func(key string) bool) error {
	return absent(i.store.List(ctx, bucket, prefix, after, func(it objects.Item) bool { return fn(it.Key) }))
}

func (i importSource) Open(ctx context.Context, bucket, key string) (io.ReadCloser, error) {
	r, _, err := i.store.Get(ctx, bucket, key)
	return r, absent(err)
}

func absent(err error) error {
	if errors.Is(err, objects.ErrNoSuchBucket) || errors.Is(err, objects.ErrNoSuchKey) {
		return fmt.Errorf("%w: %w", lake.ErrNoObject, err)
	}
	return err
}
