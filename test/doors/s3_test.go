package doors

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"spoor/test/harness"
)

const (
	bucket    = "doors-data"
	bucketARN = "arn:aws:s3:::" + bucket
)

func object(key string) string { return bucketARN + "/" + key }

// stockS3 makes the bucket: what is under pub/ will be granted, what is under
// priv/ not.
func (w *world) stockS3(t *testing.T) {
	ctx, c := t.Context(), w.admin.S3
	must[*s3.CreateBucketOutput](t)(c.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(bucket)}))
	for key, tags := range map[string]string{"pub/a": "", "pub/gone": "", "pub/tagged": "class=secret", "priv/b": "", "table/f.csv": ""} {
		in := &s3.PutObjectInput{Bucket: aws.String(bucket), Key: &key, Body: strings.NewReader("1\n")}
		if tags != "" {
			in.Tagging = &tags
		}
		must[*s3.PutObjectOutput](t)(c.PutObject(ctx, in))
	}
}

func (w *world) s3Objects(t *testing.T) {
	ctx := t.Context()
	c := w.srv.AWS(w.user(t, "objects", allow("s3:GetObject s3:PutObject s3:DeleteObject", object("pub/*")), allow("s3:GetObjectAttributes", object("pub/*")),
		allow("s3:ListBucket", bucketARN).when("StringLike", "s3:prefix", "pub/*")))
	w.get(t, c, "pub/a")
	w.denied(t, w.tryGet(ctx, c, "priv/b"), "s3:GetObject", object("priv/b"), noIdentity+"s3:GetObject action")
	w.denied(t, w.tryPut(ctx, c, "priv/new"), "s3:PutObject", object("priv/new"), noIdentity)
	name := aws.String(bucket)
	_, err := c.S3.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: name, Key: aws.String("priv/b")})
	w.denied(t, err, "s3:DeleteObject", object("priv/b"), noIdentity)
	_, err = c.S3.GetObject(ctx, &s3.GetObjectInput{Bucket: name, Key: aws.String("pub/a"), VersionId: aws.String("null")})
	w.denied(t, err, "s3:GetObjectVersion", object("pub/a"), noIdentity)
	_, err = c.S3.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: name, Key: aws.String("pub/a"), VersionId: aws.String("null")})
	w.denied(t, err, "s3:DeleteObjectVersion", object("pub/a"), noIdentity)
	_, err = c.S3.GetObjectTagging(ctx, &s3.GetObjectTaggingInput{Bucket: name, Key: aws.String("pub/tagged")})
	w.denied(t, err, "s3:GetObjectTagging", object("pub/tagged"), noIdentity)
	_, err = c.S3.PutObjectTagging(ctx, &s3.PutObjectTaggingInput{Bucket: name, Key: aws.String("pub/a"), Tagging: &types.Tagging{TagSet: []types.Tag{}}})
	w.denied(t, err, "s3:PutObjectTagging", object("pub/a"), noIdentity)
	_, err = c.S3.PutObject(ctx, &s3.PutObjectInput{Bucket: name, Key: aws.String("pub/t"), Body: strings.NewReader("x"), Tagging: aws.String("a=b")})
	w.denied(t, err, "s3:PutObjectTagging", object("pub/t"), noIdentity)
	_, err = c.S3.PutObject(ctx, &s3.PutObjectInput{Bucket: name, Key: aws.String("pub/t"), Body: strings.NewReader("x"), ACL: types.ObjectCannedACLBucketOwnerFullControl})
	w.denied(t, err, "s3:PutObjectAcl", object("pub/t"), noIdentity)
	_, err = c.S3.GetBucketPolicy(ctx, &s3.GetBucketPolicyInput{Bucket: name})
	w.denied(t, err, "s3:GetBucketPolicy", bucketARN, noIdentity)
	_, err = c.S3.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{Bucket: name, Prefix: aws.String("pub/")})
	w.denied(t, err, "s3:ListBucketVersions", bucketARN, noIdentity)
	_, err = c.S3.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: name})
	w.denied(t, err, "s3:ListBucketMultipartUploads", bucketARN, noIdentity)
	// Listing is held to the prefix.
	if err := w.tryList(ctx, c, "pub/"); err != nil {
		t.Error(err)
	}
	w.denied(t, w.tryList(ctx, c, "priv/"), "s3:ListBucket", bucketARN, noIdentity)
	w.denied(t, w.tryList(ctx, c, ""), "s3:ListBucket", bucketARN, noIdentity)
	// A missing key is one that may not be known about, without the right to list.
	w.denied(t, w.tryGet(ctx, c, "pub/missing"), "s3:ListBucket", bucketARN, noIdentity)
	// DeleteObjects answers for each key.
	out := must[*s3.DeleteObjectsOutput](t)(c.S3.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: name, Delete: &types.Delete{Objects: []types.ObjectIdentifier{
		{Key: aws.String("pub/gone")}, {Key: aws.String("priv/b")}, {Key: aws.String("pub/a"), VersionId: aws.String("null")}, {Key: aws.String("pub/../priv/b")}}}}))
	got := map[string]string{}
	for _, e := range out.Errors {
		got[*e.Key] = *e.Code
	}
	if len(out.Deleted) != 1 || *out.Deleted[0].Key != "pub/gone" || got["priv/b"] != "AccessDenied" || got["pub/a"] != "AccessDenied" || got["pub/../priv/b"] != "InvalidArgument" {
		t.Errorf("DeleteObjects: deleted %v, errors %v", out.Deleted, got)
	}
	w.get(t, w.admin, "priv/b")
	// Names that the storage would fold into another object's.
	for _, key := range []string{"pub/../priv/b", "pub//a", "pub/./a", ".sgwtmp/x"} {
		var api smithy.APIError
		if err := w.tryGet(ctx, w.admin, key); !errors.As(err, &api) || api.ErrorCode() != "InvalidURI" {
			t.Errorf("GetObject %s: %v", key, err)
		}
	}
	// An explicit deny of the bucket's policy outdoes the user's own.
	locked := "doors-locked"
	must[*s3.CreateBucketOutput](t)(w.admin.S3.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &locked}))
	must[*s3.PutBucketPolicyOutput](t)(w.admin.S3.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: &locked, Policy: document(
		deny("s3:PutObject", "arn:aws:s3:::"+locked+"/*").to("*"))}))
	_, err = w.admin.S3.PutObject(ctx, &s3.PutObjectInput{Bucket: &locked, Key: aws.String("k"), Body: strings.NewReader("x")})
	w.denied(t, err, "s3:PutObject", "arn:aws:s3:::"+locked+"/k", "with an explicit deny in a resource-based policy")
}

func (w *world) s3Copies(t *testing.T) {
	ctx := t.Context()
	c := w.srv.AWS(w.user(t, "copier", allow("s3:GetObject s3:PutObject", object("pub/*"))))
	copyTo := func(source, key string, set ...func(*s3.CopyObjectInput)) error {
		in := &s3.CopyObjectInput{Bucket: aws.String(bucket), Key: &key, CopySource: aws.String(bucket + "/" + source)}
		for _, f := range set {
			f(in)
		}
		_, err := c.S3.CopyObject(ctx, in)
		return err
	}
	if err := copyTo("pub/a", "pub/copy"); err != nil {
		t.Error(err)
	}
	w.denied(t, copyTo("priv/b", "pub/stolen"), "s3:GetObject", object("priv/b"), noIdentity)
	w.denied(t, copyTo("pub/a", "priv/planted"), "s3:PutObject", object("priv/planted"), noIdentity)
	w.denied(t, copyTo("pub/a?versionId=null", "pub/copy2"), "s3:GetObjectVersion", object("pub/a"), noIdentity)
	w.denied(t, copyTo("pub/tagged", "pub/copy3"), "s3:GetObjectTagging", object("pub/tagged"), noIdentity)
	w.denied(t, copyTo("pub/a", "pub/copy4", func(in *s3.CopyObjectInput) {
		in.TaggingDirective, in.Tagging = types.TaggingDirectiveReplace, aws.String("a=b")
	}), "s3:PutObjectTagging", object("pub/copy4"), noIdentity)
	for _, source := range []string{"pub/../priv/b", "pub%2F..%2Fpriv%2Fb"} {
		var api smithy.APIError
		if err := copyTo(source, "pub/stolen"); !errors.As(err, &api) || api.ErrorCode() != "InvalidURI" {
			t.Errorf("a copy of %s: %v", source, err)
		}
	}
}

func (w *world) s3Multipart(t *testing.T) {
	ctx, name, key := t.Context(), aws.String(bucket), aws.String("pub/multi")
	c := w.srv.AWS(w.user(t, "uploader", allow("s3:GetObject s3:PutObject", object("pub/*"))))
	other := w.srv.AWS(w.user(t, "bystander", allow("s3:GetObject", object("*"))))
	id := must[*s3.CreateMultipartUploadOutput](t)(c.S3.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: name, Key: key})).UploadId
	part := func(c harness.Clients) (*s3.UploadPartOutput, error) {
		return c.S3.UploadPart(ctx, &s3.UploadPartInput{Bucket: name, Key: key, UploadId: id, PartNumber: aws.Int32(1), Body: strings.NewReader("part")})
	}
	partCopy := func(source string) error {
		_, err := c.S3.UploadPartCopy(ctx, &s3.UploadPartCopyInput{Bucket: name, Key: key, UploadId: id, PartNumber: aws.Int32(2), CopySource: aws.String(bucket + "/" + source)})
		return err
	}
	_, err := c.S3.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: name, Key: aws.String("priv/multi")})
	w.denied(t, err, "s3:PutObject", object("priv/multi"), noIdentity)
	etag := must[*s3.UploadPartOutput](t)(part(c)).ETag
	if err := partCopy("pub/a"); err != nil {
		t.Error(err)
	}
	w.denied(t, partCopy("priv/b"), "s3:GetObject", object("priv/b"), noIdentity)
	_, err = part(other)
	w.denied(t, err, "s3:PutObject", object("pub/multi"), noIdentity)
	complete := func(c harness.Clients) error {
		_, err := c.S3.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{Bucket: name, Key: key, UploadId: id,
			MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{{PartNumber: aws.Int32(1), ETag: etag}}}})
		return err
	}
	w.denied(t, complete(other), "s3:PutObject", object("pub/multi"), noIdentity)
	_, err = other.S3.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: name, Key: key, UploadId: id})
	w.denied(t, err, "s3:AbortMultipartUpload", object("pub/multi"), noIdentity)
	_, err = other.S3.ListParts(ctx, &s3.ListPartsInput{Bucket: name, Key: key, UploadId: id})
	w.denied(t, err, "s3:ListMultipartUploadParts", object("pub/multi"), noIdentity)
	// The policy changes while the upload is open.
	w.policy(t, "uploader", allow("s3:GetObject", object("pub/*")))
	_, err = part(c)
	w.denied(t, err, "s3:PutObject", object("pub/multi"), noIdentity)
	w.denied(t, complete(c), "s3:PutObject", object("pub/multi"), noIdentity)
	w.policy(t, "uploader", allow("s3:PutObject", object("pub/*")))
	if err := complete(c); err != nil {
		t.Error(err)
	}
}

// do sends a request as a browser would.
func do(t *testing.T, method, url, contentType string, body io.Reader) (status int, code, requestID string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var e struct{ Code string }
	_ = xml.Unmarshal(raw, &e) // not every answer is an error
	return res.StatusCode, e.Code, res.Header.Get("x-amz-request-id")
}

func (w *world) s3Presigned(t *testing.T) {
	ctx := t.Context()
	c := w.srv.AWS(w.user(t, "signer", allow("s3:GetObject s3:PutObject", object("pub/*"))))
	sign := s3.NewPresignClient(c.S3)
	url := func(key string) string {
		r, err := sign.PresignGetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(bucket), Key: &key})
		if err != nil {
			t.Fatal(err)
		}
		return r.URL
	}
	get := func(url string, want int, wantCode string) {
		t.Helper()
		status, code, id := do(t, http.MethodGet, url, "", nil)
		if status != want || code != wantCode {
			t.Errorf("GET %.60s: %d %s, want %d %s", url, status, code, want, wantCode)
		}
		if wantCode == "AccessDenied" {
			w.expect(denial{door: "presigned", requestID: id})
		}
	}
	granted, forbidden := url("pub/a"), url("priv/b")
	get(granted, http.StatusOK, "")
	get(forbidden, http.StatusForbidden, "AccessDenied")
	get(strings.Replace(granted, "/pub/a", "/priv/b", 1), http.StatusForbidden, "SignatureDoesNotMatch")
	// The URL carries what its maker may do now, not what it might then.
	w.policy(t, "signer", allow("s3:PutObject", object("pub/*")))
	get(granted, http.StatusForbidden, "AccessDenied")
	put, err := sign.PresignPutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String("pub/put"), ContentLength: aws.Int64(1)})
	if err != nil {
		t.Fatal(err)
	}
	w.policy(t, "signer")
	status, code, id := do(t, http.MethodPut, put.URL, "", strings.NewReader("x"))
	if status != http.StatusForbidden || code != "AccessDenied" {
		t.Errorf("a presigned PUT after the policy changed: %d %s", status, code)
	}
	w.expect(denial{door: "presigned PUT", requestID: id})
	// A browser's form is not offered.
	var form bytes.Buffer
	m := multipart.NewWriter(&form)
	for k, v := range map[string]string{"key": "pub/form", "acl": "private"} {
		if err := m.WriteField(k, v); err != nil {
			t.Fatal(err)
		}
	}
	f, err := m.CreateFormFile("file", "f")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if status, code, _ := do(t, http.MethodPost, w.srv.HTTP+"/"+bucket, m.FormDataContentType(), &form); status != http.StatusMethodNotAllowed || code != "MethodNotAllowed" {
		t.Errorf("a form's POST: %d %s", status, code)
	}
}

// s3Public: nobody reads without a credential but by a public policy, and the
// block of public access outdoes that.
func (w *world) s3Public(t *testing.T) {
	ctx, c, name := t.Context(), w.admin.S3, aws.String("doors-public")
	must[*s3.CreateBucketOutput](t)(c.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: name}))
	must[*s3.PutObjectOutput](t)(c.PutObject(ctx, &s3.PutObjectInput{Bucket: name, Key: aws.String("k"), Body: strings.NewReader("x")}))
	url := w.srv.HTTP + "/doors-public/k"
	closed := func(method, url string) {
		t.Helper()
		status, code, id := do(t, method, url, "", nil)
		if status != http.StatusForbidden || code != "AccessDenied" {
			t.Errorf("anonymous %s %s: %d %s", method, url, status, code)
		}
		w.expect(denial{door: "anonymous", requestID: id})
	}
	closed(http.MethodGet, url)
	closed(http.MethodPut, url)
	closed(http.MethodDelete, url)
	closed(http.MethodGet, w.srv.HTTP+"/doors-public")
	open := &s3.PutBucketPolicyInput{Bucket: name, Policy: document(allow("s3:GetObject", "arn:aws:s3:::doors-public/*").to("*"))}
	var api smithy.APIError
	if _, err := c.PutBucketPolicy(ctx, open); !errors.As(err, &api) || api.ErrorCode() != "AccessDenied" || !strings.Contains(api.ErrorMessage(), "BlockPublicPolicy") {
		t.Errorf("a public policy on a new bucket: %v", err)
	}
	must[*s3.DeletePublicAccessBlockOutput](t)(c.DeletePublicAccessBlock(ctx, &s3.DeletePublicAccessBlockInput{Bucket: name}))
	must[*s3.PutBucketPolicyOutput](t)(c.PutBucketPolicy(ctx, open))
	if status, _, _ := do(t, http.MethodGet, url, "", nil); status != http.StatusOK {
		t.Errorf("an object of a public bucket: %d", status)
	}
	if status, code, _ := do(t, http.MethodGet, url+"?response-content-type=text/html", "", nil); status != http.StatusBadRequest || code != "InvalidRequest" {
		t.Errorf("an anonymous caller chose the content type: %d %s", status, code)
	}
	closed(http.MethodPut, url)
	closed(http.MethodGet, url+"?acl")
	restrict := &s3.PutPublicAccessBlockInput{Bucket: name, PublicAccessBlockConfiguration: &types.PublicAccessBlockConfiguration{RestrictPublicBuckets: aws.Bool(true)}}
	must[*s3.PutPublicAccessBlockOutput](t)(c.PutPublicAccessBlock(ctx, restrict))
	closed(http.MethodGet, url)
	if _, err := c.HeadObject(context.WithoutCancel(ctx), &s3.HeadObjectInput{Bucket: name, Key: aws.String("k")}); err != nil {
		t.Errorf("the owner of a restricted bucket: %v", err)
	}
}
