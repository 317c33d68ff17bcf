package server

import (
	"context"
	"errors"

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

var _ trail.Bucket = trailBucket{}

func (b trailBucket) Policy(_ context.Context, bucket string) (document, owner string, err error) {
	found, ok := b.registry.Bucket(bucket)
	if !ok {
		return "", "", trail.ErrNoSuchBucket
	}
	return found.Policy, found.Account, nil
}

func (b trailBucket) Put(ctx context.Context, bucket, key string, body []byte, o trail.PutOptions) error {
	err := b.store.Put(ctx, bucket, key, body, objects.PutOptions{ContentType: o.ContentType, ContentEncoding: o.ContentEncoding, Metadata: o.Metadata})
	if errors.Is(err, objects.ErrNoSuchBucket) {
		return trail.ErrNoSuchBucket
	}
	return err
}
