package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
)

// S3 is what a bucket is read with; an s3.Client is one.
type S3 interface {
	ListObjectsV2(context.Context, *s3.ListObjectsV2Input, ...func(*s3.Options)) (*s3.ListObjectsV2Output, error)
	GetObject(context.Context, *s3.GetObjectInput, ...func(*s3.Options)) (*s3.GetObjectOutput, error)
}

// NewS3 reads over the S3 API.
func NewS3(client S3) Source { return s3Source{client} }

type s3Source struct{ client S3 }

func (s s3Source) List(ctx context.Context, bucket, prefix string, fn func(key string) error) error {
	in := &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &prefix}
	for {
		out, err := s.client.ListObjectsV2(ctx, in)
		if err != nil {
			return fmt.Errorf("listing bucket %s: %w", bucket, err)
		}
		for i := range out.Contents {
			if err := fn(awssdk.ToString(out.Contents[i].Key)); err != nil {
				return err
			}
		}
		if !awssdk.ToBool(out.IsTruncated) || out.NextContinuationToken == nil {
			return nil
		}
		in.ContinuationToken = out.NextContinuationToken
	}
}

func (s s3Source) Get(ctx context.Context, bucket, key string) (io.ReadCloser, map[string]string, error) {
	// The storage's own checksum would end the reading of an object that was
	// changed behind its back, with nothing said about what and where.
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key},
		func(o *s3.Options) { o.ResponseChecksumValidation = awssdk.ResponseChecksumValidationWhenRequired })
	var e smithy.APIError
	if errors.As(err, &e) && (e.ErrorCode() == "NoSuchKey" || e.ErrorCode() == "NotFound") {
		return nil, nil, fmt.Errorf("%w: %s/%s", ErrNotFound, bucket, key)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading %s/%s: %w", bucket, key, err)
	}
	meta := map[string]string{}
	for k, v := range out.Metadata {
		meta[strings.ToLower(k)] = v
	}
	return out.Body, meta, nil
}

// NewDir reads a copy of a bucket in a directory, as `aws s3 sync` makes one.
// The copy has no metadata: signatures are then taken from the digests that
// follow, and that of the newest digest needs an anchor.
func NewDir(dir string) (Source, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the copy: %w", err)
	}
	return &dirSource{root}, nil
}

type dirSource struct{ root *os.Root }

// Copy says that objects are without their metadata.
func (d *dirSource) Copy() bool { return true }

// Close gives the directory back.
func (d *dirSource) Close() error { return d.root.Close() }

func (d *dirSource) List(ctx context.Context, _, prefix string, fn func(key string) error) error {
	// Only the tree that the prefix is in; its last part may be incomplete.
	top := "."
	if i := strings.LastIndexByte(prefix, '/'); i > 0 {
		top = prefix[:i]
	}
	err := fs.WalkDir(d.root.FS(), filepath.ToSlash(top), func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !e.Type().IsRegular() || !strings.HasPrefix(path, prefix) {
			return nil
		}
		return fn(path)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (d *dirSource) Get(_ context.Context, bucket, key string) (io.ReadCloser, map[string]string, error) {
	f, err := d.root.Open(filepath.FromSlash(key))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("%w: %s/%s", ErrNotFound, bucket, key)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading %s: %w", key, err)
	}
	return f, nil, nil
}
