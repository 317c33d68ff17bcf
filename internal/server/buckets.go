package server

import (
	"context"
	"errors"
	"fmt"
	"io"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/iam"
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
// Whether the caller may list the bucket was asked when the import began.
type importSource struct {
	store     *objects.Store
	registry  *s3.Registry
	directory *iam.Directory
}

var _ lake.Source = importSource{}

func (i importSource) List(ctx context.Context, bucket, prefix, after string, fn func(key string) bool) error {
	return absent(i.store.List(ctx, bucket, prefix, after, func(it objects.Item) bool { return fn(it.Key) }))
}

// May asks for each object what StartImport asked for the prefix. CloudTrail goes
// on with the caller's identity: the session that started an import may be over.
func (i importSource) May(ctx context.Context, im *lake.Import, key string) (bool, error) {
	found, ok := i.registry.Bucket(im.Bucket)
	if !ok {
		return false, lake.ErrNoObject
	}
	object := "arn:aws:s3:::" + im.Bucket + "/" + key
	if im.Caller != nil {
		c := &call.Call{Region: im.Region, AccountID: im.Account, Caller: im.Caller, SourceIP: im.SourceIP, UserAgent: im.UserAgent, TLS: im.TLS, ViaService: trail.ServicePrincipal}
		err := i.directory.Authorize(ctx, c, []call.Permission{{Action: "s3:GetObject", Resource: object,
			ResourcePolicy: i.registry.PolicyFor(im.Bucket, im.Caller), ResourceAccount: found.Account}})
		if aws.IsKind(err, aws.Denied) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
	return trailRoles{i.directory}.May(im.Role, trail.RoleUse{Action: "s3:GetObject", Resource: object, SourceARN: im.Store, Account: im.Account,
		Owner: found.Account, Document: found.Policy})
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
