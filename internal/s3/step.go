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
	"os"
	"sort"
	"strconv"
	"strings"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/record"
)

// step is one S3 call on call.Path.
type step struct {
	front     *Front
	c         *call.Call
	req       *http.Request
	target    target
	id        *Identity
	bucket    *Bucket // of the registry, nil when it does not exist
	resource  string
	requestID string
	hostID    string

	body    []byte // a body that was read whole
	deletes *deleteRequest
	denied  []deleteError

	// The answer: either res, streamed from the storage, or status and xml.
	res    *http.Response
	status int
	header http.Header
	out    []byte
}

var _ call.Step = (*step)(nil)

func (s *step) head() bool { return s.req.Method == http.MethodHead }

func (s *step) close() {
	if s.res != nil {
		// The answer is sent; an error of reading the rest changes nothing.
		_ = s.res.Body.Close()
	}
}

func bucketARN(name string) string      { return "arn:aws:s3:::" + name }
func objectARN(name, key string) string { return "arn:aws:s3:::" + name + "/" + key }

// permission makes the permission for a bucket or an object in it, with the
// bucket's policy and owner.
func (s *step) permission(c *call.Call, action, bucket, key string, keys map[string][]string) call.Permission {
	p := call.Permission{Action: action, Resource: bucketARN(bucket), Context: keys}
	if key != "" {
		p.Resource = objectARN(bucket, key)
	}
	if b, ok := s.front.Registry.Bucket(bucket); ok {
		p.ResourceAccount, p.ResourcePolicy = b.Account, b.Policy
		// A block of public access keeps strangers out whatever the policy says.
		if b.PublicAccessBlock != nil && b.PublicAccessBlock.RestrictPublicBuckets && c.Caller.AccountID != b.Account && public(b.Policy) {
			p.ResourcePolicy = ""
		}
	}
	return p
}

// Permissions lists what the caller needs (service authorization reference,
// "Actions, resources, and condition keys for Amazon S3").
func (s *step) Permissions(c *call.Call, dst []call.Permission) ([]call.Permission, error) {
	t := &s.target
	op := t.op
	switch {
	case t.bucket == "":
		// Listing buckets is about all of them.
		return append(dst, call.Permission{Action: op.action, Resource: bucketARN("*")}), nil
	case op.name == "CreateBucket":
		if !validBucket(t.bucket) {
			return dst, failure(http.StatusBadRequest, "InvalidBucketName", "The specified bucket is not valid.")
		}
		return append(dst, call.Permission{Action: op.action, Resource: bucketARN(t.bucket)}), nil
	}
	keys := map[string][]string{"s3:signatureversion": {"AWS4-HMAC-SHA256"}, "s3:authtype": {authType(s.id.Method)}}
	for _, k := range []string{"prefix", "delimiter", "max-keys", "versionId"} {
		if v, ok := t.query[k]; ok {
			keys["s3:"+strings.ToLower(k)] = v[:1]
		}
	}
	for _, h := range []string{"x-amz-acl", "x-amz-copy-source", "x-amz-metadata-directive", "x-amz-storage-class", "x-amz-server-side-encryption", "x-amz-content-sha256"} {
		if v := s.req.Header.Get(h); v != "" {
			keys["s3:"+h] = []string{v}
		}
	}
	if op.name == "DeleteObjects" {
		return dst, s.readDeletes(c, keys)
	}
	key := ""
	if op.object && op.action != "s3:ListBucket" && op.action != "s3:ListBucketMultipartUploads" {
		key = t.key
	}
	dst = append(dst, s.permission(c, op.action, t.bucket, key, keys))
	if src := s.req.Header.Get("X-Amz-Copy-Source"); src != "" && (op.name == "CopyObject" || op.name == "UploadPartCopy") {
		bucket, key, err := copySource(src)
		if err != nil {
			return dst, err
		}
		dst = append(dst, s.permission(c, "s3:GetObject", bucket, key, keys))
	}
	if op.name == "PutObject" || op.name == "CreateMultipartUpload" {
		if s.req.Header.Get("X-Amz-Tagging") != "" {
			dst = append(dst, s.permission(c, "s3:PutObjectTagging", t.bucket, t.key, keys))
		}
	}
	return dst, nil
}

func authType(method string) string {
	if method == "QueryString" {
		return "REST-QUERY-STRING"
	}
	return "REST-HEADER"
}

func copySource(src string) (bucket, key string, err error) {
	path, _, _ := strings.Cut(src, "?versionId=")
	decoded, uerr := url.PathUnescape(path)
	bucket, key, ok := strings.Cut(strings.TrimPrefix(decoded, "/"), "/")
	if uerr != nil || !ok || key == "" || !validBucket(bucket) {
		return "", "", failure(http.StatusBadRequest, "InvalidArgument", "Copy Source must mention the source bucket and key: sourcebucket/sourcekey")
	}
	return bucket, key, nil
}

// Handle does the work: here, or by forwarding.
func (s *step) Handle(ctx context.Context, c *call.Call) error {
	op := s.target.op
	if s.bucket == nil && s.target.bucket != "" && op.name != "CreateBucket" {
		return noSuchBucket(s.target.bucket)
	}
	if op.refused {
		return failure(http.StatusNotImplemented, "NotImplemented", "A header or query you provided implies functionality that is not implemented.")
	}
	if op.local != nil {
		return op.local(s.front, s)
	}
	return s.forward(ctx)
}

func (s *step) Events() int { return 1 }

func (s *step) Category(int) record.Category {
	if s.target.op.object {
		return record.Data
	}
	return record.Management
}

// External: everything that changes objects or creates and deletes buckets
// happens in the storage.
func (s *step) External() bool {
	op := s.target.op
	return !op.read && !op.refused && (op.object && op.local == nil || op.name == "CreateBucket" || op.name == "DeleteBucket")
}

// Describe fills in an S3 event (S3 user guide, "Amazon S3 CloudTrail events").
func (s *step) Describe(c *call.Call, _ int, err error, r *record.Record) {
	op := s.target.op
	r.EventSource, r.EventName, r.ReadOnly = "s3.amazonaws.com", op.eventName(), op.read
	r.RequestParameters = s.parameters(r.RequestParameters[:0])
	r.AdditionalEventData = s.additional(err)
	if b := s.target.bucket; b != "" {
		owner := s.front.Registry.Account(b)
		if owner == "" {
			owner = c.AccountID
		}
		if s.target.key != "" {
			r.Resources = append(r.Resources, record.Resource{Type: "AWS::S3::Object", ARN: objectARN(b, s.target.key), AccountID: owner})
		} else if op.object {
			r.Resources = append(r.Resources, record.Resource{Type: "AWS::S3::Object", ARN: objectARN(b, s.target.query.Get("prefix")), AccountID: owner})
		}
		r.Resources = append(r.Resources, record.Resource{Type: "AWS::S3::Bucket", ARN: bucketARN(b), AccountID: owner})
	}
	if err == nil && s.res != nil && !op.read {
		r.ResponseElements = responseElements(s.res.Header)
	}
}

// parameters are bucketName, Host, key and the query's own parameters; those
// of a signature are secrets and left out.
func (s *step) parameters(b []byte) []byte {
	b = append(b, '{')
	put := func(k, v string) {
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(record.AppendString(b, k), ':')
		b = record.AppendString(b, v)
	}
	if s.target.bucket != "" {
		put("bucketName", s.target.bucket)
	}
	put("Host", s.req.Host)
	if s.target.key != "" {
		put("key", s.target.key)
	}
	names := make([]string, 0, len(s.target.query))
	for k := range s.target.query {
		if !strings.HasPrefix(strings.ToLower(k), "x-amz-") && k != "x-id" {
			names = append(names, k)
		}
	}
	sort.Strings(names)
	for _, k := range names {
		put(k, s.target.query.Get(k))
	}
	for _, h := range []string{"x-amz-acl", "x-amz-copy-source", "x-amz-storage-class", "x-amz-server-side-encryption"} {
		if v := s.req.Header.Get(h); v != "" {
			put(h, v)
		}
	}
	return append(b, '}')
}

func (s *step) additional(err error) []byte {
	b := []byte(`{"SignatureVersion":"SigV4"`)
	put := func(k, v string) {
		b = append(b, ',')
		b = append(record.AppendString(b, k), ':')
		b = record.AppendString(b, v)
	}
	if s.id != nil && s.id.Method != "" {
		put("AuthenticationMethod", s.id.Method)
	}
	put("x-amz-id-2", s.hostID)
	in, out := int64(0), int64(len(s.out))
	if s.id != nil && s.id.Length > 0 {
		in = s.id.Length
	}
	if s.res != nil && err == nil && s.res.ContentLength > 0 && !s.head() {
		out = s.res.ContentLength
	}
	b = append(b, `,"bytesTransferredIn":`...)
	b = strconv.AppendInt(b, in, 10)
	b = append(b, `,"bytesTransferredOut":`...)
	b = strconv.AppendInt(b, out, 10)
	return append(b, '}')
}

func responseElements(h http.Header) []byte {
	b := []byte("{")
	for _, k := range []string{"x-amz-server-side-encryption", "x-amz-version-id", "x-amz-expiration"} {
		if v := h.Get(k); v != "" {
			if len(b) > 1 {
				b = append(b, ',')
			}
			b = append(record.AppendString(b, k), ':')
			b = record.AppendString(b, v)
		}
	}
	if len(b) == 1 {
		return nil
	}
	return append(b, '}')
}

// answer sends what Handle prepared.
func (s *step) answer(w http.ResponseWriter) {
	h := w.Header()
	if s.res == nil {
		for k, v := range s.header {
			h[k] = v
		}
		if len(s.out) > 0 {
			h.Set("Content-Type", contentTypeOf(s.header))
		}
		if s.status != http.StatusNoContent {
			h.Set("Content-Length", strconv.Itoa(len(s.out)))
		}
		w.WriteHeader(s.status)
		if !s.head() {
			_, _ = w.Write(s.out) // a client that is gone does not read its answer
		}
		return
	}
	copyAnswerHeaders(h, s.res.Header)
	w.WriteHeader(s.res.StatusCode)
	if !s.head() {
		// The status is sent; a failing copy ends the connection short of its
		// announced length, which is how the client learns of it.
		if _, err := io.Copy(w, s.res.Body); err != nil {
			s.front.Log.Debug("an object's transfer ended early", "request_id", s.requestID, "err", err)
		}
	}
}

func contentTypeOf(h http.Header) string {
	if t := h.Get("Content-Type"); t != "" {
		return t
	}
	return "application/xml"
}

// reply prepares an XML answer.
func (s *step) reply(status int, root, content string) error {
	s.status = status
	s.out = []byte(xml.Header + "<" + root + ` xmlns="http://s3.amazonaws.com/doc/2006-03-01/">` + content + "</" + root + ">")
	return nil
}

// done prepares an answer without a body.
func (s *step) done(status int) error {
	s.status = status
	return nil
}

// readBody reads a body of at most maxXML bytes whole.
func (s *step) readBody() ([]byte, error) {
	if s.body != nil {
		return s.body, nil
	}
	b, err := io.ReadAll(io.LimitReader(s.id.Body, maxXML+1))
	if err != nil {
		return nil, bodyError(err)
	}
	if len(b) > maxXML {
		return nil, failure(http.StatusBadRequest, "MaxMessageLengthExceeded", "Your request was too big.")
	}
	s.body = b
	return b, nil
}

// bodyError is the answer to a body that could not be read: what the signature
// promised did not hold, or the client went away.
func bodyError(err error) error {
	var e *aws.Error
	if errors.As(err, &e) {
		return e
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &aws.Error{Op: "s3.read", Kind: aws.Invalid, Code: "RequestTimeout", Status: http.StatusBadRequest, Err: err,
			Message: "Your socket connection to the server was not read from or written to within the timeout period. Idle connections will be closed."}
	}
	return &aws.Error{Op: "s3.read", Kind: aws.Invalid, Code: "IncompleteBody", Status: http.StatusBadRequest,
		Message: "You did not provide the number of bytes specified by the Content-Length HTTP header.", Err: err}
}

// deleteRequest is the body of DeleteObjects.
type deleteRequest struct {
	XMLName xml.Name `xml:"Delete"`
	Quiet   bool     `xml:"Quiet,omitempty"`
	Objects []struct {
		Key       string `xml:"Key"`
		VersionID string `xml:"VersionId,omitempty"`
	} `xml:"Object"`
}

type deleteError struct {
	Key, Code, Message string
}

// maxDeletes is the number of keys that one DeleteObjects may name.
const maxDeletes = 1000

// readDeletes reads the keys and decides on each: S3 answers per key.
func (s *step) readDeletes(c *call.Call, keys map[string][]string) error {
	body, err := s.readBody()
	if err != nil {
		return err
	}
	var d deleteRequest
	if err := xml.Unmarshal(body, &d); err != nil || len(d.Objects) == 0 || len(d.Objects) > maxDeletes {
		return failure(http.StatusBadRequest, "MalformedXML", malformedXML)
	}
	allowed := d
	allowed.Objects = nil
	for _, o := range d.Objects {
		err := s.front.Path.Auth.Authorize(s.req.Context(), c, []call.Permission{s.permission(c, "s3:DeleteObject", s.target.bucket, o.Key, keys)})
		if err == nil {
			allowed.Objects = append(allowed.Objects, o)
			continue
		}
		e := aws.AsError(err)
		if e.Kind != aws.Denied {
			return err
		}
		s.denied = append(s.denied, deleteError{o.Key, "AccessDenied", e.Message})
	}
	s.deletes = &allowed
	return nil
}

// mergeDenied adds the denied keys to the storage's answer.
func (s *step) mergeDenied(answer []byte) []byte {
	var b strings.Builder
	for _, d := range s.denied {
		b.WriteString("<Error>")
		element(&b, "Key", d.Key)
		element(&b, "Code", d.Code)
		element(&b, "Message", d.Message)
		b.WriteString("</Error>")
	}
	if len(answer) == 0 {
		return []byte(xml.Header + `<DeleteResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">` + b.String() + "</DeleteResult>")
	}
	i := bytes.LastIndex(answer, []byte("</DeleteResult>"))
	if i < 0 {
		return answer
	}
	return []byte(fmt.Sprintf("%s%s%s", answer[:i], b.String(), answer[i:]))
}
