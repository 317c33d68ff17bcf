package s3

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"spoor/internal/aws"
	"spoor/internal/crashpoint"
)

// maxOriginError bounds an error body of the storage, in bytes.
const maxOriginError = 64 << 10

// forwardedHeaders are the request headers that the storage sees, beside
// x-amz-meta-…; all others are the front's own business.
var forwardedHeaders = []string{"Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Language", "Content-Md5", "Content-Type", "Expires",
	"If-Match", "If-Modified-Since", "If-None-Match", "If-Unmodified-Since", "Range",
	"X-Amz-Checksum-Algorithm", "X-Amz-Sdk-Checksum-Algorithm", "X-Amz-Checksum-Crc32", "X-Amz-Checksum-Crc32c", "X-Amz-Checksum-Crc64nvme", "X-Amz-Checksum-Sha1", "X-Amz-Checksum-Sha256",
	"X-Amz-Checksum-Mode", "X-Amz-Checksum-Type", "X-Amz-Copy-Source-If-Match", "X-Amz-Copy-Source-If-Modified-Since", "X-Amz-Copy-Source-If-None-Match",
	"X-Amz-Copy-Source-If-Unmodified-Since", "X-Amz-Copy-Source-Range", "X-Amz-Metadata-Directive", "X-Amz-Mp-Object-Size", "X-Amz-Object-Attributes", "X-Amz-Max-Parts",
	"X-Amz-Part-Number-Marker", "X-Amz-Storage-Class", "X-Amz-Tagging", "X-Amz-Tagging-Directive", "X-Amz-Website-Redirect-Location"}

// hidden answer headers are the connection's or the storage's own.
var hiddenHeaders = map[string]bool{"Connection": true, "Keep-Alive": true, "Proxy-Authenticate": true, "Te": true, "Trailer": true,
	"Transfer-Encoding": true, "Upgrade": true, "Server": true, "Date": true, "X-Amz-Request-Id": true, "X-Amz-Id-2": true}

// copyAnswerHeaders hands on the storage's headers. S3 writes those of its own
// in lower case, and clients show user metadata as it is spelt on the wire
// (botocore does, and the AWS CLI's validate-logs reads it so).
func copyAnswerHeaders(dst, src http.Header) {
	for k, v := range src {
		switch {
		case hiddenHeaders[k]:
		case strings.HasPrefix(k, "X-Amz-"):
			dst[strings.ToLower(k)] = v
		default:
			dst[k] = v
		}
	}
}

// acceptedACL are the canned ACLs that mean what every bucket has: its owner
// owns all of it.
func acceptedACL(acl string) bool {
	return acl == "" || acl == "private" || acl == "bucket-owner-full-control"
}

// forward sends the request to the storage and keeps its answer.
func (s *step) forward(ctx context.Context) error {
	if !acceptedACL(s.req.Header.Get("X-Amz-Acl")) {
		return failure(http.StatusBadRequest, "AccessControlListNotSupported", "The bucket does not allow ACLs")
	}
	if s.target.op.name == "DeleteObjects" {
		return s.forwardDeletes(ctx)
	}
	if s.id.Length > maxPutBytes {
		return failure(http.StatusBadRequest, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size")
	}
	if err := s.tagsOfCopy(ctx); err != nil {
		return err
	}
	extra, err := s.lockHeaders(ctx)
	if err != nil {
		return err
	}
	body, length := s.id.Body, s.id.Length
	if s.body != nil {
		body, length = bytes.NewReader(s.body), int64(len(s.body))
	}
	if s.target.op.name == "DeleteObject" {
		switch hold, err := s.onHold(ctx, s.target.key, s.target.query.Get("versionId")); {
		case err != nil:
			return err
		case hold:
			return locked()
		}
	}
	res, err := s.send(ctx, body, length, extra)
	if err != nil {
		return s.maybeHidden(ctx, s.uploadError(ctx, err))
	}
	s.res = res
	s.encrypted()
	if name := s.target.op.name; name == "GetObject" || name == "HeadObject" {
		s.addLocks(ctx)
		return s.hideLocks(ctx)
	}
	return s.settle()
}

// uploadError tells an upload that does not exist from one that lacks a part:
// S3 looks for the upload first, the embedded storage for the parts.
func (s *step) uploadError(ctx context.Context, err error) error {
	var e *aws.Error
	if s.target.op.name != "CompleteMultipartUpload" || !errors.As(err, &e) || e.Code != "InvalidPart" {
		return err
	}
	list := *s
	list.req = s.req.Clone(ctx)
	list.req.Method = http.MethodGet
	res, lerr := list.send(ctx, nil, 0, nil)
	if lerr == nil {
		_ = res.Body.Close() // only whether there is one was asked
		return err
	}
	var le *aws.Error
	if errors.As(lerr, &le) && le.Code == "NoSuchUpload" {
		return lerr
	}
	return err
}

// settle makes what the storage acknowledged durable.
func (s *step) settle() error {
	crashpoint.Here("s3.stored")
	switch s.target.op.name {
	case "PutObject", "CopyObject", "CompleteMultipartUpload":
		if err := s.front.Store.Sync(s.target.bucket, s.target.key); err != nil {
			return fmt.Errorf("making an object durable: %w", err)
		}
	case "DeleteObject", "DeleteObjects", "PutBucketVersioning", "PutObjectRetention", "PutObjectLegalHold":
	default:
		return nil
	}
	if b, ok := s.front.Registry.Bucket(s.target.bucket); !ok || !b.Versioned {
		return nil
	}
	if err := s.front.Store.SyncVersions(); err != nil {
		return fmt.Errorf("making a version durable: %w", err)
	}
	return nil
}

// send sends the request with another body, and turns an error answer into an
// error.
func (s *step) send(ctx context.Context, body io.Reader, length int64, extra http.Header) (*http.Response, error) {
	endpoint, creds, region, rt := s.front.Store.Origin()
	u, err := url.Parse(endpoint)
	if err != nil {
		return nil, fmt.Errorf("the storage's endpoint: %w", err)
	}
	u.Path = "/" + s.target.bucket
	if s.target.key != "" {
		u.Path += "/" + s.target.key
	}
	u.RawPath = escapePath(u.Path)
	q := url.Values{}
	for _, k := range strings.Fields(s.target.op.query) {
		if v, ok := s.target.query[k]; ok {
			q[k] = v[:1]
		}
	}
	u.RawQuery = strings.ReplaceAll(q.Encode(), "+", "%20")
	watched := &watchedBody{r: http.NoBody}
	switch {
	case body == nil:
	case length == 0:
		// Nothing is to be sent, but what the signature promised has to hold.
		if _, err := io.Copy(io.Discard, body); err != nil {
			return nil, bodyError(err)
		}
	default:
		watched.r = &heldBody{r: body}
	}
	req, err := http.NewRequestWithContext(ctx, s.req.Method, u.String(), watched)
	if err != nil {
		return nil, fmt.Errorf("forwarding: %w", err)
	}
	req.URL.RawPath = u.RawPath
	req.ContentLength = length
	if length == 0 {
		req.Body = http.NoBody
	}
	s.setHeaders(req, extra)
	if err := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }).SignHTTP(ctx, creds, req, "UNSIGNED-PAYLOAD", "s3", region, time.Now()); err != nil {
		return nil, fmt.Errorf("signing for the storage: %w", err)
	}
	res, err := rt.RoundTrip(req)
	if werr := watched.err; werr != nil {
		// The client's body is at fault, whatever the storage made of it.
		if res != nil {
			_ = res.Body.Close()
		}
		return nil, bodyError(werr)
	}
	if err != nil {
		return nil, &aws.Error{Op: "s3.forward", Kind: aws.Unavailable, Code: "ServiceUnavailable", Message: "The object storage does not answer.", Err: err}
	}
	if res.StatusCode >= http.StatusBadRequest {
		return nil, originFailure(res)
	}
	return res, nil
}

func (s *step) setHeaders(req *http.Request, extra http.Header) {
	// One value each, the one that permissions were asked for.
	for _, h := range forwardedHeaders {
		if v := s.req.Header.Get(h); v != "" {
			req.Header.Set(h, v)
		}
	}
	if !s.front.Store.Embedded() {
		for _, h := range []string{"X-Amz-Acl", "X-Amz-Server-Side-Encryption"} {
			if v := s.req.Header.Get(h); v != "" {
				req.Header.Set(h, v)
			}
		}
	}
	if src := s.source; src.bucket != "" {
		v := "/" + src.bucket + "/" + escapePath(src.key)
		if src.version != "" {
			v += "?versionId=" + url.QueryEscape(src.version)
		}
		req.Header.Set("X-Amz-Copy-Source", v)
	}
	for h, v := range s.req.Header {
		if strings.HasPrefix(h, "X-Amz-Meta-") {
			req.Header[h] = v
		}
	}
	if enc := req.Header.Get("Content-Encoding"); strings.Contains(enc, "aws-chunked") {
		var rest []string
		for _, e := range strings.Split(enc, ",") {
			if e = strings.TrimSpace(e); e != "" && e != "aws-chunked" {
				rest = append(rest, e)
			}
		}
		req.Header.Del("Content-Encoding")
		if len(rest) > 0 {
			req.Header.Set("Content-Encoding", strings.Join(rest, ","))
		}
	}
	for h, v := range extra {
		if v == nil {
			req.Header.Del(h)
		} else {
			req.Header[h] = v
		}
	}
	req.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
}

// heldBody keeps the body's last byte back until the body has ended well. The
// storage keeps what it has got whole, and the verdict on a body (its hash, its
// last chunk's signature, its checksum) comes only after its last byte: a
// forged body must end short of its announced length.
type heldBody struct {
	r    io.Reader
	last [1]byte
	has  bool
	err  error
}

func (b *heldBody) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for b.err == nil {
		if !b.has {
			var n int
			n, b.err = b.r.Read(b.last[:])
			b.has = n > 0
			continue
		}
		// What is held goes first; the read's own last byte is held instead.
		n, err := b.r.Read(p)
		b.err = err
		if n > 0 {
			next := p[n-1]
			copy(p[1:n], p[:n-1])
			p[0], b.last[0] = b.last[0], next
			return n, nil
		}
	}
	if b.err == io.EOF && b.has {
		p[0], b.has = b.last[0], false
		return 1, nil
	}
	return 0, b.err
}

// watchedBody remembers why reading the client's body failed.
type watchedBody struct {
	r   io.Reader
	err error
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err != nil && err != io.EOF {
		b.err = err
	}
	return n, err
}

// originFailure turns the storage's error answer into an error.
func originFailure(res *http.Response) error {
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxOriginError))
	if err != nil {
		return &aws.Error{Op: "s3.forward", Kind: aws.Unavailable, Code: "ServiceUnavailable", Message: "The object storage does not answer.", Err: err}
	}
	var e originError
	if xml.Unmarshal(raw, &e) != nil || e.Code == "" {
		e.Code, e.Message = headCodes[res.StatusCode], http.StatusText(res.StatusCode)
		if e.Code == "" {
			e.Code = "InternalError"
		}
	}
	if e.Code == "MalformedXML" {
		e.Message = malformedXML
	}
	return failure(res.StatusCode, e.Code, e.Message)
}

// forwardDeletes sends the keys that the caller may delete.
func (s *step) forwardDeletes(ctx context.Context) error {
	var answer []byte
	if err := s.deleteMatching(ctx); err != nil {
		return err
	}
	if len(s.deletes.Objects) > 0 {
		body, err := xml.Marshal(s.deletes)
		if err != nil {
			return fmt.Errorf("encoding the keys to delete: %w", err)
		}
		// The client's checksums are of another body.
		extra := http.Header{"Content-Md5": nil, "Content-Type": {"application/xml"}}
		for _, h := range forwardedHeaders {
			if strings.HasPrefix(h, "X-Amz-Checksum-") || strings.HasPrefix(h, "X-Amz-Sdk-") {
				extra[h] = nil
			}
		}
		extra["X-Amz-Checksum-Crc32"] = []string{crc32Base64(body)}
		if s.locking.bypass { // of those that may not, none is in this list
			extra["X-Amz-Bypass-Governance-Retention"] = []string{"true"}
		}
		res, err := s.send(ctx, bytes.NewReader(body), int64(len(body)), extra)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if answer, err = io.ReadAll(io.LimitReader(res.Body, maxXML)); err != nil {
			return &aws.Error{Op: "s3.forward", Kind: aws.Unavailable, Code: "ServiceUnavailable", Message: "The object storage does not answer.", Err: err}
		}
	}
	if len(s.denied)+len(s.deleted) > 0 || answer == nil {
		answer = s.mergeDeletes(answer)
	}
	s.status, s.out = http.StatusOK, answer
	return s.settle()
}

// deleteMatching deletes the objects that are not like the rest of the list:
// those that were named with an ETag, as the storage knows no conditions inside
// a list, and those for which the list's bypass of governance is not permitted.
func (s *step) deleteMatching(ctx context.Context) error {
	plain := s.deletes.Objects[:0]
	for _, o := range s.deletes.Objects {
		if o.ETag == "" && !o.alone {
			plain = append(plain, o)
			continue
		}
		in := &sdk.DeleteObjectInput{Bucket: &s.target.bucket, Key: &o.Key}
		if o.ETag != "" {
			in.IfMatch = &o.ETag
		}
		if s.locking.bypass && !o.alone {
			in.BypassGovernanceRetention = new(true)
		}
		if o.VersionID != "" {
			in.VersionId = &o.VersionID
		}
		out, err := s.front.Store.Client().DeleteObject(ctx, in)
		var api smithy.APIError
		switch {
		case errors.As(err, &api):
			s.denied = append(s.denied, deleteError{o.Key, o.VersionID, api.ErrorCode(), api.ErrorMessage()})
		case err != nil:
			return &aws.Error{Op: "s3.forward", Kind: aws.Unavailable, Code: "ServiceUnavailable", Message: "The object storage does not answer.", Err: err}
		case !s.deletes.Quiet:
			d := deletedObject{Key: o.Key, VersionID: o.VersionID}
			if out.DeleteMarker != nil && *out.DeleteMarker && out.VersionId != nil {
				d.Marker = *out.VersionId
			}
			s.deleted = append(s.deleted, d)
		}
	}
	s.deletes.Objects = plain
	return nil
}

// plainRequest sends a request of the front's own for the bucket.
func (s *step) plainRequest(ctx context.Context, method string, extra http.Header) (status int, err error) {
	saved := s.req
	defer func() { s.req = saved }()
	r := saved.Clone(ctx)
	r.Method, r.Header = method, http.Header{}
	s.req = r
	query := s.target.query
	s.target.query = nil
	defer func() { s.target.query = query }()
	res, err := s.send(ctx, nil, 0, extra)
	if err != nil {
		return aws.AsError(err).Status, err
	}
	return res.StatusCode, res.Body.Close()
}

const upperHex = "0123456789ABCDEF"

// escapePath is S3's canonical encoding of a path.
func escapePath(p string) string {
	var b strings.Builder
	for i := range len(p) {
		c := p[i]
		if c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || strings.IndexByte("-_.~/", c) >= 0 {
			b.WriteByte(c)
		} else {
			b.WriteString("%" + string(upperHex[c>>4]) + string(upperHex[c&15]))
		}
	}
	return b.String()
}

func atoi(s string, def, limit int) (int, error) {
	if s == "" {
		return def, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return 0, failure(http.StatusBadRequest, "InvalidArgument", "Provided value is not an integer or within integer range")
	}
	return min(n, limit), nil
}
