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

	sdk "github.com/aws/aws-sdk-go-v2/service/s3"

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
	source    source  // of a copy
	locking   locking // what the request says about locks
	resource  string
	requestID string
	hostID    string

	body    []byte // a body that was read whole
	deletes *deleteRequest
	denied  []deleteError
	deleted []deletedObject // one by one

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
	p.ResourceAccount, p.ResourcePolicy = s.front.Registry.Account(bucket), s.front.Registry.PolicyFor(bucket, c.Caller)
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
		actions := []string{op.action}
		if s.req.Header.Get("X-Amz-Bucket-Object-Lock-Enabled") == "true" {
			actions = append(actions, "s3:PutBucketObjectLockConfiguration", "s3:PutBucketVersioning")
		}
		for _, a := range actions {
			dst = append(dst, call.Permission{Action: a, Resource: bucketARN(t.bucket), Context: s.conditionKeys(c)})
		}
		return dst, nil
	}
	if s.bucket == nil {
		return dst, noSuchBucket(t.bucket) // S3 tells everybody, before it asks for permissions
	}
	if err := s.expectOwner("X-Amz-Expected-Bucket-Owner", s.bucket.Account); err != nil {
		return dst, err
	}
	var err error
	if s.locking, err = s.locks(); err != nil {
		return dst, err
	}
	keys := s.conditionKeys(c)
	if op.name == "DeleteObjects" {
		return dst, s.readDeletes(c, keys)
	}
	key := ""
	if op.object && !strings.HasPrefix(op.action, "s3:ListBucket") {
		key = t.key
	}
	action := op.action
	if op.version != "" && t.query.Has("versionId") {
		action = op.version
	}
	dst = append(dst, s.permission(c, action, t.bucket, key, keys))
	also := func(action string) { dst = append(dst, s.permission(c, action, t.bucket, key, keys)) }
	switch op.name {
	case "CopyObject", "UploadPartCopy":
		src, err := copySource(s.req.Header.Get("X-Amz-Copy-Source"))
		if err != nil {
			return dst, err
		}
		owner := s.front.Registry.Account(src.bucket)
		if owner == "" {
			return dst, noSuchBucket(src.bucket)
		}
		if err := s.expectOwner("X-Amz-Source-Expected-Bucket-Owner", owner); err != nil {
			return dst, err
		}
		s.source = src
		dst = append(dst, s.permission(c, src.action("s3:GetObject"), src.bucket, src.key, keys))
	case "GetObjectAttributes":
		also(strings.TrimSuffix(action, "Attributes"))
	}
	for _, a := range s.locking.actions(op.name) {
		also(a)
	}
	h := s.req.Header
	switch op.name {
	case "PutObject", "CreateMultipartUpload", "CopyObject":
		if h.Get("X-Amz-Tagging") != "" {
			also("s3:PutObjectTagging")
		}
		if h.Get("X-Amz-Acl") != "" {
			also("s3:PutObjectAcl")
		}
	}
	if h.Get("If-Match") != "" && (op.name == "PutObject" || op.name == "CompleteMultipartUpload") {
		also("s3:GetObject") // else the answer would tell what the object is
	}
	return dst, nil
}

// expectOwner refuses a request whose header names another account than the
// bucket's: its sender means not to deal with a bucket that somebody else has
// taken the name of (S3 user guide, "Verifying bucket ownership").
func (s *step) expectOwner(header, owner string) error {
	switch given := s.req.Header.Get(header); {
	case given == "" || given == owner:
		return nil
	case len(given) != 12 || strings.Trim(given, "0123456789") != "":
		return failure(http.StatusBadRequest, "InvalidBucketOwnerAWSAccountID", "The value of the expected bucket owner parameter must be an AWS account ID")
	}
	return failure(http.StatusForbidden, "AccessDenied", "Access Denied")
}

// conditionKeys are S3's own (service authorization reference, "Condition keys
// for Amazon S3").
func (s *step) conditionKeys(c *call.Call) map[string][]string {
	keys := map[string][]string{}
	if s.id.Method != "" {
		keys["s3:signatureversion"], keys["s3:authtype"] = []string{"AWS4-HMAC-SHA256"}, []string{authType(s.id.Method)}
	}
	if s.bucket != nil {
		keys["s3:resourceaccount"] = []string{s.bucket.Account}
	}
	if !s.id.Signed.IsZero() {
		keys["s3:signatureage"] = []string{strconv.FormatInt(max(0, c.Start.Sub(s.id.Signed).Milliseconds()), 10)}
	}
	if c.TLS != nil {
		keys["s3:tlsversion"] = []string{strings.TrimPrefix(c.TLS.Version, "TLSv")}
	}
	for _, k := range []string{"prefix", "delimiter", "max-keys", "versionId"} {
		if v, ok := s.target.query[k]; ok {
			keys["s3:"+strings.ToLower(k)] = v[:1]
		}
	}
	for _, h := range []string{"x-amz-acl", "x-amz-copy-source", "x-amz-metadata-directive", "x-amz-storage-class", "x-amz-server-side-encryption", "x-amz-content-sha256",
		"x-amz-server-side-encryption-aws-kms-key-id", "x-amz-server-side-encryption-customer-algorithm", "x-amz-website-redirect-location",
		"x-amz-grant-read", "x-amz-grant-write", "x-amz-grant-read-acp", "x-amz-grant-write-acp", "x-amz-grant-full-control", "x-amz-object-ownership",
		"if-match", "if-none-match"} {
		if v := s.req.Header.Get(h); v != "" {
			keys["s3:"+h] = []string{v}
		}
	}
	s.locking.conditionKeys(keys, c.Start)
	if v := s.req.Referer(); v != "" {
		keys["aws:referer"] = []string{v}
	}
	if tags, err := url.ParseQuery(s.req.Header.Get("X-Amz-Tagging")); err == nil {
		for k, v := range tags {
			keys["s3:requestobjecttag/"+strings.ToLower(k)] = v[:1]
			keys["s3:requestobjecttagkeys"] = append(keys["s3:requestobjecttagkeys"], k)
		}
	}
	return keys
}

func authType(method string) string {
	if method == "QueryString" {
		return "REST-QUERY-STRING"
	}
	return "REST-HEADER"
}

// source is what a copy reads.
type source struct{ bucket, key, version string }

func (s source) action(name string) string {
	if s.version == "" {
		return name
	}
	if name == "s3:GetObjectTagging" {
		return "s3:GetObjectVersionTagging"
	}
	return name + "Version"
}

// copySource reads x-amz-copy-source: [/]bucket/key[?versionId=id], where the
// path is URL-encoded.
func copySource(header string) (source, error) {
	path, query, versioned := strings.Cut(header, "?")
	decoded, err := url.PathUnescape(path)
	bucket, key, ok := strings.Cut(strings.TrimPrefix(decoded, "/"), "/")
	if err != nil || !ok || key == "" || !validBucket(bucket) {
		return source{}, failure(http.StatusBadRequest, "InvalidArgument", "Copy Source must mention the source bucket and key: sourcebucket/sourcekey")
	}
	if err := checkKey(key); err != nil {
		return source{}, err
	}
	out := source{bucket: bucket, key: key}
	if versioned {
		q, err := url.ParseQuery(query)
		if err != nil || len(q) != 1 || !identifier(q.Get("versionId")) {
			return source{}, failure(http.StatusBadRequest, "InvalidArgument", "Invalid version id specified")
		}
		out.version = q.Get("versionId")
	}
	return out, nil
}

// refusedHeaders ask for what this server does not do; ignoring one would be a
// promise not kept.
var refusedHeaders = []string{"X-Amz-Server-Side-Encryption-Customer-Algorithm", "X-Amz-Copy-Source-Server-Side-Encryption-Customer-Algorithm",
	"X-Amz-Mfa", "X-Amz-Website-Redirect-Location", "X-Amz-Write-Offset-Bytes", "X-Amz-If-Match-Last-Modified-Time", "X-Amz-If-Match-Size"}

func (s *step) checkHeaders() error {
	h := s.req.Header
	for _, name := range refusedHeaders {
		if h.Get(name) != "" {
			return notOffered()
		}
	}
	if err := checkEncryption(h); err != nil {
		return err
	}
	for name := range h {
		if strings.HasPrefix(name, "X-Amz-Grant-") {
			return failure(http.StatusBadRequest, "AccessControlListNotSupported", "The bucket does not allow ACLs")
		}
	}
	if s.id.Caller.Type == aws.Anonymous {
		for name := range s.target.query {
			if strings.HasPrefix(name, "response-") {
				return failure(http.StatusBadRequest, "InvalidRequest", "Request specific response headers cannot be used for anonymous GET requests.")
			}
		}
	}
	return nil
}

func notOffered() error {
	return failure(http.StatusNotImplemented, "NotImplemented", "A header you provided implies functionality that is not implemented.")
}

// may asks for permissions that only the work itself shows to be needed.
func (s *step) may(ctx context.Context, perms ...call.Permission) error {
	return s.front.Path.Auth.Authorize(ctx, s.c, perms)
}

// maybeHidden is the answer to a missing object: who may not list the bucket
// does not learn that the object is missing (S3 API reference, GetObject,
// "Permissions").
func (s *step) maybeHidden(ctx context.Context, err error) error {
	e := aws.AsError(err)
	bucket := s.target.bucket
	switch s.target.op.name {
	case "CopyObject", "UploadPartCopy":
		bucket = s.source.bucket
	case "GetObject", "HeadObject", "GetObjectAttributes", "GetObjectTagging":
	default:
		return err
	}
	if e.Code != "NoSuchKey" && !(s.head() && e.Status == http.StatusNotFound) {
		return err
	}
	if denied := s.may(ctx, s.permission(s.c, "s3:ListBucket", bucket, "", s.conditionKeys(s.c))); denied != nil {
		return denied
	}
	return err
}

// tagsOfCopy asks for the rights on tags that a copy takes along: without them
// only objects without tags can be copied (S3 user guide, "Copying objects").
func (s *step) tagsOfCopy(ctx context.Context) error {
	if s.target.op.name != "CopyObject" || strings.EqualFold(s.req.Header.Get("X-Amz-Tagging-Directive"), "REPLACE") {
		return nil
	}
	keys := s.conditionKeys(s.c)
	denied := s.may(ctx, s.permission(s.c, s.source.action("s3:GetObjectTagging"), s.source.bucket, s.source.key, keys),
		s.permission(s.c, "s3:PutObjectTagging", s.target.bucket, s.target.key, keys))
	if denied == nil {
		return nil
	}
	in := &sdk.GetObjectTaggingInput{Bucket: &s.source.bucket, Key: &s.source.key}
	if s.source.version != "" {
		in.VersionId = &s.source.version
	}
	out, err := s.front.Store.Client().GetObjectTagging(ctx, in)
	if err != nil || len(out.TagSet) == 0 {
		return nil // an object without tags, or none: the copy itself will say so
	}
	return denied
}

// Handle does the work: here, or by forwarding.
func (s *step) Handle(ctx context.Context, c *call.Call) error {
	op := s.target.op
	if err := s.checkHeaders(); err != nil {
		return err
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
	return !op.read && !op.refused && (op.object && op.local == nil || op.name == "CreateBucket" || op.name == "DeleteBucket" || op.name == "PutBucketVersioning" || op.name == "PutObjectLockConfiguration")
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
	for _, h := range []string{"x-amz-acl", "x-amz-copy-source", "x-amz-storage-class", "x-amz-server-side-encryption",
		"x-amz-bucket-object-lock-enabled", "x-amz-object-lock-mode", "x-amz-object-lock-retain-until-date", "x-amz-object-lock-legal-hold", "x-amz-bypass-governance-retention"} {
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
	if sse := s.encryptionApplied(); sse != "" && err == nil {
		put("SSEApplied", sse)
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
		ETag      string `xml:"ETag,omitempty"` // what the object has to have
		// Conditions that S3 has for directory buckets only.
		LastModified string `xml:"LastModifiedTime,omitempty"`
		Size         string `xml:"Size,omitempty"`
		// alone is deleted by a request of its own.
		alone bool
	} `xml:"Object"`
}

type deleteError struct {
	Key, VersionID, Code, Message string
}

type deletedObject struct {
	Key, VersionID string
	Marker         string // the version of the marker that was made
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
		if o.Key == "" || checkKey(o.Key) != nil || o.VersionID != "" && !identifier(o.VersionID) {
			s.denied = append(s.denied, deleteError{o.Key, o.VersionID, "InvalidArgument", "The key or version id is not valid."})
			continue
		}
		if o.LastModified != "" || o.Size != "" {
			s.denied = append(s.denied, deleteError{o.Key, o.VersionID, "NotImplemented", notOffered().Error()})
			continue
		}
		action := "s3:DeleteObject"
		if o.VersionID != "" {
			action = "s3:DeleteObjectVersion"
		}
		err := s.may(s.req.Context(), s.permission(c, action, s.target.bucket, o.Key, keys))
		if err == nil && o.VersionID != "" {
			hold, err := s.onHold(s.req.Context(), o.Key, o.VersionID)
			if err != nil {
				return err
			}
			if hold {
				s.denied = append(s.denied, deleteError{o.Key, o.VersionID, "AccessDenied", aws.AsError(locked()).Message})
				continue
			}
			bypass, err := s.bypasses(s.req.Context(), o.Key)
			if err != nil {
				return err
			}
			o.alone = s.locking.bypass && !bypass
		}
		if err == nil {
			allowed.Objects = append(allowed.Objects, o)
			continue
		}
		e := aws.AsError(err)
		if e.Kind != aws.Denied {
			return err
		}
		s.denied = append(s.denied, deleteError{o.Key, o.VersionID, "AccessDenied", e.Message})
	}
	s.deletes = &allowed
	return nil
}

// mergeDeletes adds the keys that did not go to the storage in the list to its
// answer.
func (s *step) mergeDeletes(answer []byte) []byte {
	var b strings.Builder
	for _, d := range s.deleted {
		b.WriteString("<Deleted>")
		element(&b, "Key", d.Key)
		if d.VersionID != "" {
			element(&b, "VersionId", d.VersionID)
		}
		if d.Marker != "" {
			element(&b, "DeleteMarker", "true")
			element(&b, "DeleteMarkerVersionId", d.Marker)
		}
		b.WriteString("</Deleted>")
	}
	for _, d := range s.denied {
		b.WriteString("<Error>")
		element(&b, "Key", d.Key)
		if d.VersionID != "" {
			element(&b, "VersionId", d.VersionID)
		}
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
