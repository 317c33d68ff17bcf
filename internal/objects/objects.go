// Package objects is object storage as the rest of the server uses it: the
// embedded gateway, which keeps each object as a plain file, or any S3. It
// stands behind the S3 front, under trail delivery and Athena's results, and
// gives DuckDB a local path where there is one.
package objects

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
)

var (
	// ErrNoSuchBucket and ErrNoSuchKey say that what was asked for is not there;
	// asking again does not help.
	ErrNoSuchBucket = errors.New("objects: no such bucket")
	ErrNoSuchKey    = errors.New("objects: no such key")
)

// startTimeout bounds the wait for the embedded gateway.
const startTimeout = 20 * time.Second

// elsewhereTimeout bounds the wait for an S3 elsewhere at the start.
const elsewhereTimeout = 5 * time.Second

// versionsSuffix makes the directory of versions from that of objects.
const versionsSuffix = ".versions"

// ErrBadKey says that the storage cannot hold a key as it is.
var ErrBadKey = errors.New("objects: the key has an empty part, or one of dots only")

// maxPart is the longest name of a file, in bytes.
const maxPart = 255

// reserved is the gateway's own directory in each bucket.
const reserved = ".sgwtmp"

// ValidKey reports whether an object can be kept under this key. A key is a
// path for the embedded gateway, which folds "a/../b", "./b" and "a//b" into
// the path of another object: one whose permissions were not asked for. Nor is
// the gateway's own directory an object.
func ValidKey(key string) bool {
	rest := strings.TrimSuffix(key, "/")
	if rest == reserved || strings.HasPrefix(rest, reserved+"/") || strings.IndexByte(key, 0) >= 0 {
		return false
	}
	for part := range strings.SplitSeq(rest, "/") {
		if part == "" || part == "." || part == ".." || len(part) > maxPart {
			return false
		}
	}
	return true
}

// maxSocketPath is the longest path of a unix socket that every system takes.
const maxSocketPath = 100

// Config says where objects live. Either Dir and Command, or Endpoint.
type Config struct {
	// Dir holds the embedded gateway's objects.
	Dir string
	// Command starts the gateway's process: this program and its hidden
	// subcommand.
	Command []string
	// Endpoint is an S3 elsewhere; Access, Secret and Region are for it.
	Endpoint               string
	Access, Secret, Region string
	// Plain says that the S3 elsewhere refuses x-amz-server-side-encryption.
	Plain bool
	Log   *slog.Logger
}

// Store is an open object storage. It is safe for concurrent use.
type Store struct {
	client    *s3.Client
	transport http.RoundTripper
	endpoint  string
	creds     aws.Credentials
	region    string
	plain     bool
	root      string // "" unless embedded
	// defaultLock is DefaultLock's.
	defaultLock func(bucket string, now time.Time) *Lock
	proc        *process
}

// process is the embedded gateway's.
type process struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	dir    string // of the socket, removed at the end
	exited chan struct{}
	err    error // of the exit; valid after exited
}

// Info describes an object.
type Info struct {
	Size         int64
	ETag         string
	LastModified time.Time
	ContentType  string
	Metadata     map[string]string // lower-case names without x-amz-meta-
	Lock         *Lock             // of Head only
}

// PutOptions are an object's headers.
type PutOptions struct {
	ContentType     string
	ContentEncoding string
	Metadata        map[string]string
	// ACL and Encryption are x-amz-acl and x-amz-server-side-encryption; they are
	// for an S3 elsewhere, and the embedded gateway is not asked for them.
	ACL, Encryption string
	// Lock is what nobody can delete the object before; nil leaves it to the
	// bucket's default.
	Lock *Lock
}

// Lock is an object's retention.
type Lock struct {
	Mode  string // GOVERNANCE or COMPLIANCE
	Until time.Time
}

// Item is an object of a listing.
type Item struct {
	Key          string
	Size         int64
	ETag         string
	LastModified time.Time
}

// Open starts the embedded gateway, or connects to an S3.
func Open(ctx context.Context, c Config) (*Store, error) {
	s := &Store{endpoint: c.Endpoint, region: c.Region, plain: c.Plain, creds: aws.Credentials{AccessKeyID: c.Access, SecretAccessKey: c.Secret}}
	if s.region == "" {
		s.region = "us-east-1"
	}
	tr := &http.Transport{MaxIdleConnsPerHost: 128, IdleConnTimeout: time.Minute, DisableCompression: true,
		ExpectContinueTimeout: time.Second, ResponseHeaderTimeout: 5 * time.Minute}
	if c.Endpoint == "" {
		if err := s.startGateway(ctx, c, tr); err != nil {
			return nil, err
		}
	}
	s.transport = tr
	s.client = s3.New(s3.Options{
		BaseEndpoint: aws.String(s.endpoint), UsePathStyle: true, Region: s.region, HTTPClient: &http.Client{Transport: tr},
		Credentials: credentials.NewStaticCredentialsProvider(s.creds.AccessKeyID, s.creds.SecretAccessKey, ""),
		// Checksums in trailers cost a second pass and are not every S3's.
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
	})
	if err := s.waitReady(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Store) startGateway(ctx context.Context, c Config, tr *http.Transport) error {
	root, err := filepath.Abs(c.Dir)
	if err != nil {
		return fmt.Errorf("finding the object directory: %w", err)
	}
	if err := os.MkdirAll(root, 0o700); err != nil {
		return fmt.Errorf("creating the object directory: %w", err)
	}
	s.root = root
	// A socket's path is short and its directory nobody else's.
	dir, err := os.MkdirTemp("", "spoor-objects-")
	if err != nil {
		return fmt.Errorf("creating the gateway's socket: %w", err)
	}
	socket := filepath.Join(dir, "s3.sock")
	if len(socket) > maxSocketPath {
		return errors.Join(fmt.Errorf("the path of temporary files %s is too long for a socket; set TMPDIR to a shorter one", dir), os.RemoveAll(dir))
	}
	s.creds = aws.Credentials{AccessKeyID: randomHex(10), SecretAccessKey: randomHex(20)}
	conf, err := json.Marshal(gatewayConfig{Root: root, Sidecar: root + ".meta", Versions: root + versionsSuffix, Socket: socket,
		Access: s.creds.AccessKeyID, Secret: s.creds.SecretAccessKey, Region: s.region})
	if err != nil {
		return fmt.Errorf("encoding the gateway's configuration: %w", err)
	}
	p := &process{cmd: exec.Command(c.Command[0], c.Command[1:]...), dir: dir, exited: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), "GOMEMLIMIT=64MiB", "GOGC=50")
	p.cmd.Stdout, p.cmd.Stderr = logWriter{c.Log}, logWriter{c.Log}
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return errors.Join(fmt.Errorf("starting the gateway: %w", err), os.RemoveAll(dir))
	}
	if err := p.cmd.Start(); err != nil {
		return errors.Join(fmt.Errorf("starting the gateway: %w", err), os.RemoveAll(dir))
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	s.proc = p
	if _, err := p.stdin.Write(append(conf, '\n')); err != nil {
		return errors.Join(fmt.Errorf("configuring the gateway: %w", err), s.Close())
	}
	tr.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	s.endpoint = "http://objects.localhost"
	return nil
}

// logWriter passes on what the gateway prints, which is only trouble.
type logWriter struct{ log *slog.Logger }

func (w logWriter) Write(p []byte) (int, error) {
	for _, line := range strings.Split(strings.TrimSpace(string(p)), "\n") {
		if line != "" && w.log != nil {
			w.log.Debug("object gateway", "output", line)
		}
	}
	return len(p), nil
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // does not fail (Go 1.24)
	return hex.EncodeToString(b)
}

// waitReady waits for the first answer. A storage elsewhere may be starting as
// well, so that a refused connection is tried again for a while; what it answers
// with an error is wrong in the settings.
func (s *Store) waitReady(ctx context.Context) error {
	timeout, every := startTimeout, 2*time.Millisecond
	var exited chan struct{} // never for one elsewhere
	if s.proc != nil {
		exited = s.proc.exited
	} else {
		timeout, every = elsewhereTimeout, 100*time.Millisecond
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		_, err := s.client.ListBuckets(ctx, &s3.ListBucketsInput{}, func(o *s3.Options) { o.RetryMaxAttempts = 1 })
		if err == nil {
			return nil
		}
		var answer smithy.APIError
		if s.proc == nil && errors.As(err, &answer) {
			return fmt.Errorf("the object storage at %s refuses (look at its credentials and region): %w", s.endpoint, err)
		}
		select {
		case <-exited:
			return fmt.Errorf("the object gateway ended at once (%w); run with --log-level debug to see why", s.proc.err)
		case <-ctx.Done():
			if s.proc == nil {
				return fmt.Errorf("the object storage at %s does not answer: %w", s.endpoint, err)
			}
			return fmt.Errorf("the object gateway does not answer: %w", err)
		case <-tick.C:
		}
	}
}

// Failed is closed when the embedded gateway ended by itself; nil without one.
func (s *Store) Failed() <-chan struct{} {
	if s.proc == nil {
		return nil
	}
	return s.proc.exited
}

// Close stops the embedded gateway.
func (s *Store) Close() error {
	if s.proc == nil {
		return nil
	}
	err := s.proc.stdin.Close()
	select {
	case <-s.proc.exited:
	case <-time.After(10 * time.Second):
		err = errors.Join(err, s.proc.cmd.Process.Kill())
		<-s.proc.exited
	}
	return errors.Join(err, os.RemoveAll(s.proc.dir))
}

// Origin is what the S3 front forwards to: an endpoint, its credentials and
// region, and the way there.
func (s *Store) Origin() (endpoint string, creds aws.Credentials, region string, rt http.RoundTripper) {
	return s.endpoint, s.creds, s.region, s.transport
}

// DefaultLock sets what objects of a bucket are locked with that are put without
// a lock. It is to be called before the store is used.
func (s *Store) DefaultLock(of func(bucket string, now time.Time) *Lock) { s.defaultLock = of }

// Embedded reports whether the storage is the embedded gateway.
func (s *Store) Embedded() bool { return s.root != "" }

// Put stores an object. When it returns, the object is durable.
func (s *Store) Put(ctx context.Context, bucket, key string, body []byte, o PutOptions) error {
	return s.PutFrom(ctx, bucket, key, bytes.NewReader(body), o)
}

// PutFrom is Put of what body holds from where it stands. It may read body
// twice: for the signature, and again when an attempt failed.
func (s *Store) PutFrom(ctx context.Context, bucket, key string, body io.ReadSeeker, o PutOptions) error {
	if !ValidKey(key) {
		return fmt.Errorf("storing %s/%s: %w", bucket, key, ErrBadKey)
	}
	in := &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: body, Metadata: o.Metadata}
	if o.ContentType != "" {
		in.ContentType = &o.ContentType
	}
	if o.ContentEncoding != "" {
		in.ContentEncoding = &o.ContentEncoding
	}
	if !s.Embedded() {
		in.ACL = types.ObjectCannedACL(o.ACL)
		if !s.plain {
			in.ServerSideEncryption = types.ServerSideEncryption(o.Encryption)
		}
	}
	lock := o.Lock
	if lock == nil && s.defaultLock != nil {
		lock = s.defaultLock(bucket, time.Now())
	}
	if lock != nil {
		// S3 takes a lock only with a checksum.
		in.ObjectLockMode, in.ObjectLockRetainUntilDate, in.ChecksumAlgorithm = types.ObjectLockMode(lock.Mode), aws.Time(lock.Until), types.ChecksumAlgorithmCrc32
	}
	if _, err := s.client.PutObject(ctx, in); err != nil {
		return wrap("storing", bucket, key, err)
	}
	return s.Sync(bucket, key)
}

// lockMargin is how long an upload may take: a lock is for at least its
// retention from when the object is there.
const lockMargin = 2 * time.Minute

// PutLocked is Put of an object that is locked as a retention says, of which
// until is when that of an object made at a time ends. It returns the object's
// lock.
//
// It may be called again with the same: what an earlier call has put, with its
// lock, is left as it is, as writing it again would add a version that nobody
// can delete either. An object without its lock, of a put that ended between the
// two, is put again.
func (s *Store) PutLocked(ctx context.Context, bucket, key string, body []byte, o PutOptions, mode string, until func(time.Time) time.Time) (Lock, error) {
	info, err := s.Head(ctx, bucket, key)
	switch {
	case err != nil && !errors.Is(err, ErrNoSuchKey):
		return Lock{}, err
	case err == nil && info.Lock != nil && info.Size == int64(len(body)) && maps.Equal(info.Metadata, o.Metadata) &&
		strings.Trim(info.ETag, `"`) == fmt.Sprintf("%x", md5.Sum(body)) && // S3's ETag of what was put whole
		(info.Lock.Mode == mode || info.Lock.Mode == string(types.ObjectLockModeCompliance)) && !info.Lock.Until.Before(until(info.LastModified)):
		return Lock{info.Lock.Mode, info.Lock.Until.UTC()}, s.Sync(bucket, key)
	}
	// Whole seconds are what a lock has.
	o.Lock = &Lock{Mode: mode, Until: until(time.Now().Add(lockMargin)).UTC().Truncate(time.Second)}
	return *o.Lock, s.Put(ctx, bucket, key, body, o)
}

// Sync makes an object that the embedded gateway has stored durable: the
// gateway renames files into place and does not sync them. For any other S3
// the answer to the request already says so.
func (s *Store) Sync(bucket, key string) error {
	name, ok := s.LocalPath(bucket, key)
	if !ok {
		return nil
	}
	f, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil // a concurrent delete; there is nothing to keep
	}
	if err != nil {
		return fmt.Errorf("syncing %s/%s: %w", bucket, key, err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("syncing %s/%s: %w", bucket, key, err)
	}
	// The new names too: of the file and of the directories made for it.
	for dir := filepath.Dir(name); len(dir) >= len(s.root); dir = filepath.Dir(dir) {
		if err := syncDir(dir); err != nil {
			return fmt.Errorf("syncing %s/%s: %w", bucket, key, err)
		}
	}
	return nil
}

// SyncVersions makes durable what the embedded gateway has changed in a bucket
// with versions: the new object, the copy of the one it replaced, a marker. It
// lies in several files whose names are the gateway's own, so the whole file
// system is asked.
func (s *Store) SyncVersions() error {
	if s.root == "" {
		return nil
	}
	d, err := os.Open(s.root + versionsSuffix)
	if err != nil {
		return fmt.Errorf("syncing versions: %w", err)
	}
	return errors.Join(syncFileSystem(d), d.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Get opens an object. The caller closes the body.
func (s *Store) Get(ctx context.Context, bucket, key string) (io.ReadCloser, Info, error) {
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return nil, Info{}, wrap("reading", bucket, key, err)
	}
	return out.Body, Info{Size: aws.ToInt64(out.ContentLength), ETag: aws.ToString(out.ETag), LastModified: aws.ToTime(out.LastModified),
		ContentType: aws.ToString(out.ContentType), Metadata: out.Metadata}, nil
}

// Head describes an object.
func (s *Store) Head(ctx context.Context, bucket, key string) (Info, error) {
	out, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return Info{}, wrap("reading", bucket, key, err)
	}
	info := Info{Size: aws.ToInt64(out.ContentLength), ETag: aws.ToString(out.ETag), LastModified: aws.ToTime(out.LastModified),
		ContentType: aws.ToString(out.ContentType), Metadata: out.Metadata}
	if out.ObjectLockMode != "" && out.ObjectLockRetainUntilDate != nil {
		info.Lock = &Lock{string(out.ObjectLockMode), *out.ObjectLockRetainUntilDate}
	}
	return info, nil
}

// List calls fn for every object whose key has the prefix and orders after
// startAfter, in key order, until fn returns false.
func (s *Store) List(ctx context.Context, bucket, prefix, startAfter string, fn func(Item) bool) error {
	in := &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &prefix}
	if startAfter != "" {
		in.StartAfter = &startAfter
	}
	pages := s3.NewListObjectsV2Paginator(s.client, in)
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return wrap("listing", bucket, prefix, err)
		}
		for _, o := range page.Contents {
			if !fn(Item{Key: aws.ToString(o.Key), Size: aws.ToInt64(o.Size), ETag: aws.ToString(o.ETag), LastModified: aws.ToTime(o.LastModified)}) {
				return nil
			}
		}
	}
	return nil
}

// Delete removes an object; removing one that is not there succeeds.
func (s *Store) Delete(ctx context.Context, bucket, key string) error {
	_, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &bucket, Key: &key})
	if err = wrap("deleting", bucket, key, err); errors.Is(err, ErrNoSuchKey) {
		return nil
	}
	return err
}

// LocalPath is the file that holds an object of the embedded gateway, whether
// it exists or not. ok is false for other storage and for keys that no file
// can have.
func (s *Store) LocalPath(bucket, key string) (name string, ok bool) {
	if s.root == "" || !filepath.IsLocal(bucket) || strings.ContainsRune(bucket, '/') || !filepath.IsLocal(key) || !ValidKey(key) {
		return "", false
	}
	return filepath.Join(s.root, bucket, filepath.FromSlash(key)), true
}

func wrap(op, bucket, key string, err error) error {
	if err == nil {
		return nil
	}
	var noBucket *types.NoSuchBucket
	var noKey *types.NoSuchKey
	var notFound *types.NotFound
	var api smithy.APIError
	switch {
	case errors.As(err, &noBucket), errors.As(err, &api) && api.ErrorCode() == "NoSuchBucket":
		return fmt.Errorf("%s %s/%s: %w", op, bucket, key, ErrNoSuchBucket)
	case errors.As(err, &noKey), errors.As(err, &notFound):
		return fmt.Errorf("%s %s/%s: %w", op, bucket, key, ErrNoSuchKey)
	}
	return fmt.Errorf("%s %s/%s: %w", op, bucket, key, err)
}

// Client is the storage's S3 client, for what the methods above do not cover.
func (s *Store) Client() *s3.Client { return s.client }
