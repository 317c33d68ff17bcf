package trail

import (
	"context"
	"errors"
	"io"
)

// ErrNoSuchBucket is what a Bucket's methods wrap when the bucket is not there.
// Asking again helps only after somebody made it.
var ErrNoSuchBucket = errors.New("trail: no such bucket")

// ErrNoObject is what Open wraps for an absent object.
var ErrNoObject = errors.New("trail: no such object")

// ErrDenied is wrapped when the bucket's policy does not let the service write.
var ErrDenied = errors.New("trail: the bucket policy denies the delivery")

// PutOptions are an object's headers. Metadata is user metadata, names without
// "x-amz-meta-".
type PutOptions struct {
	ContentType, ContentEncoding, ACL string
	// Encryption is x-amz-server-side-encryption.
	Encryption string
	Metadata   map[string]string
}

// Bucket is the object storage that trails deliver to. Calls are retried by
// the caller; an implementation must not retry for longer than its context.
type Bucket interface {
	// Put writes an object, whole and durable when it returns nil. After an
	// error the object may be there or not. Writing the same object again must
	// be harmless.
	Put(ctx context.Context, bucket, key string, body []byte, o PutOptions) error
	// Policy returns the bucket's policy document, "" when it has none, and the
	// account that owns it. ErrNoSuchBucket when there is no such bucket.
	Policy(ctx context.Context, bucket string) (document, owner string, err error)
}

// Opener is a Bucket that can be read.
type Opener interface {
	// Open reads an object as it is stored: ErrNoObject when it is not there.
	Open(ctx context.Context, bucket, key string) (io.ReadCloser, error)
}

// ServicePrincipal is who delivers.
const ServicePrincipal = "cloudtrail.amazonaws.com"

// Headers that every delivery carries (CloudTrail user guide, "Amazon S3 bucket
// policy for CloudTrail" and "Encrypting CloudTrail log files": without a key of
// KMS, files are encrypted with SSE-S3). Bucket policies ask for them.
const (
	bucketACL        = "bucket-owner-full-control"
	bucketEncryption = "AES256"
)
