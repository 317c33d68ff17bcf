// Package worm holds the server to S3's Object Lock, and trails to what it
// promises: files that nobody deletes before their time.
package worm

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	cttypes "github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"spoor/test/harness"
)

const day = 24 * time.Hour

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// refused checks an error's code and a part of its message.
func refused(t testing.TB, err error, code, message string) {
	t.Helper()
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() != code || !strings.Contains(api.ErrorMessage(), message) {
		t.Errorf("%v, want %s: %s", err, code, message)
	}
}

// user makes a user who may do some actions on everything.
func user(t testing.TB, srv *harness.Server, name string, actions ...string) harness.Clients {
	t.Helper()
	ctx, admin := t.Context(), srv.AWS(srv.Profiles["admin"])
	must[*iam.CreateUserOutput](t)(admin.IAM.CreateUser(ctx, &iam.CreateUserInput{UserName: &name}))
	doc := must[[]byte](t)(json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": map[string]any{"Effect": "Allow", "Action": actions, "Resource": "*"}}))
	must[*iam.PutUserPolicyOutput](t)(admin.IAM.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: &name, PolicyName: aws.String("p"), PolicyDocument: aws.String(string(doc))}))
	key := must[*iam.CreateAccessKeyOutput](t)(admin.IAM.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: &name})).AccessKey
	return srv.AWS(harness.Profile{AccessKeyID: *key.AccessKeyId, SecretAccessKey: *key.SecretAccessKey})
}

// locks is a bucket and one who looks at it.
type locks struct {
	*s3.Client
	t      testing.TB
	bucket string
}

func (l locks) put(key, body string, change func(*s3.PutObjectInput)) (version string, err error) {
	in := &s3.PutObjectInput{Bucket: &l.bucket, Key: &key, Body: strings.NewReader(body), ChecksumAlgorithm: types.ChecksumAlgorithmCrc32}
	if change != nil {
		change(in)
	}
	out, err := l.PutObject(l.t.Context(), in)
	if err != nil {
		return "", err
	}
	return aws.ToString(out.VersionId), nil
}

func (l locks) head(key, version string) *s3.HeadObjectOutput {
	l.t.Helper()
	in := &s3.HeadObjectInput{Bucket: &l.bucket, Key: &key}
	if version != "" {
		in.VersionId = &version
	}
	return must[*s3.HeadObjectOutput](l.t)(l.HeadObject(l.t.Context(), in))
}

func (l locks) remove(key, version string, bypass bool) error {
	in := &s3.DeleteObjectInput{Bucket: &l.bucket, Key: &key}
	if version != "" {
		in.VersionId = &version
	}
	if bypass {
		in.BypassGovernanceRetention = aws.Bool(true)
	}
	_, err := l.DeleteObject(l.t.Context(), in)
	return err
}

func (l locks) retain(key, version string, mode types.ObjectLockRetentionMode, until time.Time, bypass bool) error {
	in := &s3.PutObjectRetentionInput{Bucket: &l.bucket, Key: &key, Retention: &types.ObjectLockRetention{Mode: mode, RetainUntilDate: &until}}
	if version != "" {
		in.VersionId = &version
	}
	if bypass {
		in.BypassGovernanceRetention = aws.Bool(true)
	}
	_, err := l.PutObjectRetention(l.t.Context(), in)
	return err
}

func lockBucket(t testing.TB, c harness.Clients, name string, mode types.ObjectLockRetentionMode, days int32) locks {
	t.Helper()
	ctx := t.Context()
	must[*s3.CreateBucketOutput](t)(c.S3.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &name, ObjectLockEnabledForBucket: aws.Bool(true)}))
	if mode != "" {
		must[*s3.PutObjectLockConfigurationOutput](t)(c.S3.PutObjectLockConfiguration(ctx, &s3.PutObjectLockConfigurationInput{Bucket: &name,
			ObjectLockConfiguration: &types.ObjectLockConfiguration{ObjectLockEnabled: types.ObjectLockEnabledEnabled,
				Rule: &types.ObjectLockRule{DefaultRetention: &types.DefaultRetention{Mode: mode, Days: &days}}}}))
	}
	return locks{c.S3, t, name}
}

const protected = "protected by object lock"

// TestObjectLock: retention and legal holds keep versions, whoever asks; what
// governance lets be bypassed, a permission bypasses.
func TestObjectLock(t *testing.T) {
	t.Parallel()
	srv := harness.Start(t)
	admin := srv.AWS(srv.Profiles["admin"])
	l := lockBucket(t, admin, "locked", types.ObjectLockRetentionModeGovernance, 3)
	t.Run("configuration", l.configuration)
	t.Run("governance", func(t *testing.T) {
		l.governance(t, user(t, srv, "keeper", "s3:GetObject*", "s3:PutObject*", "s3:DeleteObject*").S3)
	})
	t.Run("compliance", l.compliance)
	t.Run("hold", l.hold)
	t.Run("permissions", func(t *testing.T) { l.permissions(t, srv) })
	t.Run("encryption", l.encryption)
	t.Run("records", func(t *testing.T) { records(t, admin) })
}

func (l locks) configuration(t *testing.T) {
	ctx := t.Context()
	l.t = t
	v := must[*s3.GetBucketVersioningOutput](t)(l.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: &l.bucket}))
	if v.Status != types.BucketVersioningStatusEnabled {
		t.Errorf("versioning is %q in a bucket with Object Lock", v.Status)
	}
	conf := must[*s3.GetObjectLockConfigurationOutput](t)(l.GetObjectLockConfiguration(ctx, &s3.GetObjectLockConfigurationInput{Bucket: &l.bucket})).ObjectLockConfiguration
	if r := conf.Rule.DefaultRetention; conf.ObjectLockEnabled != types.ObjectLockEnabledEnabled || r.Mode != types.ObjectLockRetentionModeGovernance || aws.ToInt32(r.Days) != 3 || r.Years != nil {
		t.Errorf("configuration %+v", r)
	}
	_, err := l.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{Bucket: &l.bucket, VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusSuspended}})
	refused(t, err, "InvalidBucketState", "An Object Lock configuration is present on this bucket")
	for _, tt := range []struct {
		conf          types.ObjectLockConfiguration
		code, message string
	}{
		{types.ObjectLockConfiguration{}, "MalformedXML", ""},
		{types.ObjectLockConfiguration{ObjectLockEnabled: "Enabled", Rule: &types.ObjectLockRule{DefaultRetention: &types.DefaultRetention{Mode: "SOFT", Days: aws.Int32(1)}}}, "MalformedXML", ""},
		{types.ObjectLockConfiguration{ObjectLockEnabled: "Enabled", Rule: &types.ObjectLockRule{DefaultRetention: &types.DefaultRetention{Mode: "COMPLIANCE", Days: aws.Int32(1), Years: aws.Int32(1)}}}, "MalformedXML", ""},
		{types.ObjectLockConfiguration{ObjectLockEnabled: "Enabled", Rule: &types.ObjectLockRule{DefaultRetention: &types.DefaultRetention{Mode: "COMPLIANCE", Days: aws.Int32(0)}}}, "InvalidArgument", "positive"},
		{types.ObjectLockConfiguration{ObjectLockEnabled: "Enabled", Rule: &types.ObjectLockRule{DefaultRetention: &types.DefaultRetention{Mode: "COMPLIANCE", Years: aws.Int32(101)}}}, "InvalidArgument", "too large"},
	} {
		_, err := l.PutObjectLockConfiguration(ctx, &s3.PutObjectLockConfigurationInput{Bucket: &l.bucket, ObjectLockConfiguration: &tt.conf})
		refused(t, err, tt.code, tt.message)
	}
	plain := aws.String("plain")
	must[*s3.CreateBucketOutput](t)(l.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: plain}))
	_, err = l.GetObjectLockConfiguration(ctx, &s3.GetObjectLockConfigurationInput{Bucket: plain})
	refused(t, err, "ObjectLockConfigurationNotFoundError", "does not exist for this bucket")
	enable := &s3.PutObjectLockConfigurationInput{Bucket: plain, ObjectLockConfiguration: &types.ObjectLockConfiguration{ObjectLockEnabled: "Enabled"}}
	_, err = l.PutObjectLockConfiguration(ctx, enable)
	refused(t, err, "InvalidBucketState", "Versioning must be 'Enabled'")
	other := locks{l.Client, t, "plain"}
	must[string](t)(other.put("k", "x", nil))
	refused(t, other.retain("k", "", "GOVERNANCE", time.Now().Add(day), false), "InvalidRequest", "Bucket is missing Object Lock Configuration")
	_, err = other.put("k", "x", func(in *s3.PutObjectInput) {
		in.ObjectLockMode, in.ObjectLockRetainUntilDate = "GOVERNANCE", aws.Time(time.Now().Add(day))
	})
	refused(t, err, "InvalidRequest", "Bucket is missing Object Lock Configuration")
	// A bucket with versions can be given it later.
	must[*s3.PutBucketVersioningOutput](t)(l.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{Bucket: plain, VersioningConfiguration: &types.VersioningConfiguration{Status: "Enabled"}}))
	must[*s3.PutObjectLockConfigurationOutput](t)(l.PutObjectLockConfiguration(ctx, enable))
	version := must[string](t)(other.put("k", "x", nil))
	if h := other.head("k", version); h.ObjectLockMode != "" {
		t.Errorf("without a default retention an object is locked: %s", h.ObjectLockMode)
	}
	if err := errors.Join(other.retain("k", version, "GOVERNANCE", time.Now().Add(day), false)); err != nil {
		t.Error(err)
	}
}

// governance: the default retention is each object's own; a version under it
// stays unless it is bypassed by who may.
func (l locks) governance(t *testing.T, keeper *s3.Client) {
	l.t = t
	_, err := l.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &l.bucket, Key: aws.String("unchecked"), Body: strings.NewReader("x")},
		func(o *s3.Options) { o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired })
	refused(t, err, "InvalidRequest", "Content-MD5 OR x-amz-checksum-")

	before := time.Now().Truncate(time.Second)
	first := must[string](t)(l.put("a", "one", nil))
	h := l.head("a", "")
	if until := aws.ToTime(h.ObjectLockRetainUntilDate); h.ObjectLockMode != types.ObjectLockModeGovernance || until.Before(before.Add(3*day)) || until.After(time.Now().Add(3*day)) {
		t.Errorf("the default retention gave %s until %v", h.ObjectLockMode, until)
	}
	// Writing again makes a version, and the first keeps its lock.
	second := must[string](t)(l.put("a", "two", nil))
	if first == second || first == "" {
		t.Fatalf("versions %q and %q", first, second)
	}
	if h := l.head("a", first); h.ObjectLockMode != types.ObjectLockModeGovernance || aws.ToInt64(h.ContentLength) != 3 {
		t.Errorf("the first version has %d bytes and the lock %q until %v after the second", aws.ToInt64(h.ContentLength), h.ObjectLockMode, h.ObjectLockRetainUntilDate)
	}
	low := locks{keeper, t, l.bucket}
	for _, v := range []string{first, second} {
		refused(t, low.remove("a", v, false), "AccessDenied", protected)
		refused(t, low.remove("a", v, true), "AccessDenied", protected) // may not bypass
		refused(t, l.remove("a", v, false), "AccessDenied", protected)  // did not ask to
	}
	list, err := low.DeleteObjects(t.Context(), &s3.DeleteObjectsInput{Bucket: &l.bucket, BypassGovernanceRetention: aws.Bool(true), Delete: &types.Delete{
		Objects: []types.ObjectIdentifier{{Key: aws.String("a"), VersionId: &first}, {Key: aws.String("a"), VersionId: &second}}}})
	if err != nil || len(list.Errors) != 2 || aws.ToString(list.Errors[0].Code) != "AccessDenied" {
		t.Errorf("a list of locked versions: %+v, %v", list, err)
	}
	// The retention can be made longer by anybody who may put one, and shorter
	// only with the bypass.
	if err := low.retain("a", first, "GOVERNANCE", time.Now().Add(9*day), false); err != nil {
		t.Error(err)
	}
	refused(t, low.retain("a", first, "GOVERNANCE", time.Now().Add(day), true), "AccessDenied", protected)
	if err := l.retain("a", first, "GOVERNANCE", time.Now().Add(day), true); err != nil {
		t.Error(err)
	}
	// A delete without a version hides, and deletes nothing.
	if err := low.remove("a", "", false); err != nil {
		t.Error(err)
	}
	if h := l.head("a", second); aws.ToInt64(h.ContentLength) != 3 {
		t.Error("the version under a delete marker is gone")
	}
	if err := l.remove("a", first, true); err != nil {
		t.Errorf("with the permission to bypass: %v", err)
	}
	list, err = l.DeleteObjects(t.Context(), &s3.DeleteObjectsInput{Bucket: &l.bucket, BypassGovernanceRetention: aws.Bool(true), Delete: &types.Delete{
		Objects: []types.ObjectIdentifier{{Key: aws.String("a"), VersionId: &second}}}})
	if err != nil || len(list.Errors) != 0 || len(list.Deleted) != 1 {
		t.Errorf("a list with the permission to bypass: %+v, %v", list, err)
	}
}

// compliance: nobody shortens it, nobody bypasses it, and more is always
// possible.
func (l locks) compliance(t *testing.T) {
	l.t = t
	until := time.Now().Add(5 * day)
	version := must[string](t)(l.put("c", "x", func(in *s3.PutObjectInput) { in.ObjectLockMode, in.ObjectLockRetainUntilDate = "COMPLIANCE", &until }))
	refused(t, l.remove("c", version, true), "AccessDenied", protected)
	refused(t, l.retain("c", version, "COMPLIANCE", until.Add(-day), true), "AccessDenied", protected)
	refused(t, l.retain("c", version, "GOVERNANCE", until.Add(day), true), "AccessDenied", protected)
	if err := l.retain("c", version, "COMPLIANCE", until.Add(day), false); err != nil {
		t.Error(err)
	}
	r := must[*s3.GetObjectRetentionOutput](t)(l.GetObjectRetention(t.Context(), &s3.GetObjectRetentionInput{Bucket: &l.bucket, Key: aws.String("c"), VersionId: &version})).Retention
	if got := aws.ToTime(r.RetainUntilDate); r.Mode != "COMPLIANCE" || got.Sub(until.Add(day)).Abs() > time.Second {
		t.Errorf("%s until %v, want %v", r.Mode, got, until.Add(day))
	}
	for _, tt := range []struct {
		mode  types.ObjectLockMode
		until *time.Time
		want  string
	}{
		{"COMPLIANCE", nil, "must both be supplied"},
		{"", &until, "must both be supplied"},
		{"SOFT", &until, "Unknown wormMode directive"},
		{"COMPLIANCE", aws.Time(time.Now().Add(-time.Hour)), "must be in the future"},
	} {
		_, err := l.put("c", "x", func(in *s3.PutObjectInput) { in.ObjectLockMode, in.ObjectLockRetainUntilDate = tt.mode, tt.until })
		refused(t, err, "InvalidArgument", tt.want)
	}
	// Copies and uploads in parts get the default too.
	must[*s3.CopyObjectOutput](t)(l.CopyObject(t.Context(), &s3.CopyObjectInput{Bucket: &l.bucket, Key: aws.String("copy"), CopySource: aws.String(l.bucket + "/c")}))
	up := must[*s3.CreateMultipartUploadOutput](t)(l.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: &l.bucket, Key: aws.String("parts")}))
	part := must[*s3.UploadPartOutput](t)(l.UploadPart(t.Context(), &s3.UploadPartInput{Bucket: &l.bucket, Key: aws.String("parts"), UploadId: up.UploadId, PartNumber: aws.Int32(1), Body: strings.NewReader("p")}))
	must[*s3.CompleteMultipartUploadOutput](t)(l.CompleteMultipartUpload(t.Context(), &s3.CompleteMultipartUploadInput{Bucket: &l.bucket, Key: aws.String("parts"), UploadId: up.UploadId,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{{PartNumber: aws.Int32(1), ETag: part.ETag, ChecksumCRC32: part.ChecksumCRC32}}}}))
	for _, key := range []string{"copy", "parts"} {
		if h := l.head(key, ""); h.ObjectLockMode != "GOVERNANCE" || aws.ToTime(h.ObjectLockRetainUntilDate).Before(time.Now().Add(2*day)) {
			t.Errorf("%s is locked with %q until %v", key, h.ObjectLockMode, h.ObjectLockRetainUntilDate)
		}
	}
}

// hold: a legal hold outlasts a retention.
func (l locks) hold(t *testing.T) {
	l.t = t
	ctx := t.Context()
	end := time.Now().Add(1500 * time.Millisecond)
	version := must[string](t)(l.put("h", "x", func(in *s3.PutObjectInput) {
		in.ObjectLockMode, in.ObjectLockRetainUntilDate, in.ObjectLockLegalHoldStatus = "COMPLIANCE", &end, "ON"
	}))
	held := must[*s3.GetObjectLegalHoldOutput](t)(l.GetObjectLegalHold(ctx, &s3.GetObjectLegalHoldInput{Bucket: &l.bucket, Key: aws.String("h")}))
	if held.LegalHold.Status != "ON" {
		t.Errorf("legal hold %q", held.LegalHold.Status)
	}
	<-time.After(time.Until(end.Add(time.Second))) // S3 keeps whole seconds
	refused(t, l.remove("h", version, true), "AccessDenied", protected)
	list, err := l.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: &l.bucket, Delete: &types.Delete{Objects: []types.ObjectIdentifier{{Key: aws.String("h"), VersionId: &version}}}})
	if err != nil || len(list.Errors) != 1 || aws.ToString(list.Errors[0].Code) != "AccessDenied" {
		t.Errorf("%+v, %v", list, err)
	}
	must[*s3.PutObjectLegalHoldOutput](t)(l.PutObjectLegalHold(ctx, &s3.PutObjectLegalHoldInput{Bucket: &l.bucket, Key: aws.String("h"), VersionId: &version, LegalHold: &types.ObjectLockLegalHold{Status: "OFF"}}))
	if err := l.remove("h", version, false); err != nil {
		t.Errorf("after hold and retention: %v", err)
	}
}

// permissions: each lock has its own right, and only who may know it is told.
func (l locks) permissions(t *testing.T, srv *harness.Server) {
	l.t = t
	ctx := t.Context()
	writer := locks{user(t, srv, "writer", "s3:GetObject", "s3:PutObject", "s3:DeleteObject*").S3, t, l.bucket}
	version := must[string](t)(writer.put("p", "x", nil)) // the default needs no right
	if h := writer.head("p", ""); h.ObjectLockMode != "" || h.ObjectLockRetainUntilDate != nil {
		t.Errorf("who may not get the retention is told %s until %v", h.ObjectLockMode, h.ObjectLockRetainUntilDate)
	}
	if h := l.head("p", version); h.ObjectLockMode != "GOVERNANCE" {
		t.Errorf("the default is %q", h.ObjectLockMode)
	}
	until := time.Now().Add(day)
	_, err := writer.put("p", "x", func(in *s3.PutObjectInput) { in.ObjectLockMode, in.ObjectLockRetainUntilDate = "GOVERNANCE", &until })
	refused(t, err, "AccessDenied", "s3:PutObjectRetention")
	_, err = writer.put("p", "x", func(in *s3.PutObjectInput) { in.ObjectLockLegalHoldStatus = "ON" })
	refused(t, err, "AccessDenied", "s3:PutObjectLegalHold")
	refused(t, writer.retain("p", "", "GOVERNANCE", until, false), "AccessDenied", "s3:PutObjectRetention")
	_, err = writer.GetObjectRetention(ctx, &s3.GetObjectRetentionInput{Bucket: &l.bucket, Key: aws.String("p")})
	refused(t, err, "AccessDenied", "s3:GetObjectRetention")
	_, err = writer.GetObjectLockConfiguration(ctx, &s3.GetObjectLockConfigurationInput{Bucket: &l.bucket})
	refused(t, err, "AccessDenied", "s3:GetBucketObjectLockConfiguration")
	maker := user(t, srv, "maker", "s3:CreateBucket")
	_, err = maker.S3.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("made"), ObjectLockEnabledForBucket: aws.Bool(true)})
	refused(t, err, "AccessDenied", "s3:PutBucketObjectLockConfiguration")

	// A policy can say how long a retention has to be.
	policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:PutObjectRetention","Resource":"arn:aws:s3:::locked/*",
		"Condition":{"NumericLessThan":{"s3:object-lock-remaining-retention-days":"7"}}},
		{"Effect":"Deny","Principal":"*","Action":"s3:PutObjectRetention","Resource":"arn:aws:s3:::locked/*","Condition":{"StringEquals":{"s3:object-lock-mode":"COMPLIANCE"}}}]}`
	must[*s3.PutBucketPolicyOutput](t)(l.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: &l.bucket, Policy: &policy}))
	refused(t, l.retain("p", version, "GOVERNANCE", time.Now().Add(5*day), false), "AccessDenied", "explicit deny")
	refused(t, l.retain("p", version, "COMPLIANCE", time.Now().Add(9*day), false), "AccessDenied", "explicit deny")
	if err := l.retain("p", version, "GOVERNANCE", time.Now().Add(7*day), false); err != nil {
		t.Error(err)
	}
	must[*s3.DeleteBucketPolicyOutput](t)(l.DeleteBucketPolicy(ctx, &s3.DeleteBucketPolicyInput{Bucket: &l.bucket}))
}

// encryption: every object is said to be encrypted as S3 says it, and keys that
// do not exist are answered as KMS does.
func (l locks) encryption(t *testing.T) {
	ctx := t.Context()
	for _, asked := range []types.ServerSideEncryption{"", "AES256"} {
		put := must[*s3.PutObjectOutput](t)(l.PutObject(ctx, &s3.PutObjectInput{Bucket: &l.bucket, Key: aws.String("sse"), Body: strings.NewReader("x"), ChecksumAlgorithm: "CRC32", ServerSideEncryption: asked}))
		got := must[*s3.GetObjectOutput](t)(l.GetObject(ctx, &s3.GetObjectInput{Bucket: &l.bucket, Key: aws.String("sse")}))
		if err := got.Body.Close(); err != nil || put.ServerSideEncryption != "AES256" || got.ServerSideEncryption != "AES256" {
			t.Errorf("asked for %q: put %q, got %q, %v", asked, put.ServerSideEncryption, got.ServerSideEncryption, err)
		}
	}
	_, err := l.put("sse", "x", func(in *s3.PutObjectInput) {
		in.ServerSideEncryption, in.SSEKMSKeyId = "aws:kms", aws.String("alias/mine")
	})
	refused(t, err, "KMS.NotFoundException", "Key 'alias/mine' does not exist")
	_, err = l.put("sse", "x", func(in *s3.PutObjectInput) { in.ServerSideEncryption = "ROT13" })
	refused(t, err, "InvalidEncryptionAlgorithmError", "The valid value is AES256.")
	_, err = l.put("sse", "x", func(in *s3.PutObjectInput) { in.ACL = "public-read" })
	refused(t, err, "AccessControlListNotSupported", "does not allow ACLs")
	if _, err = l.put("sse", "x", func(in *s3.PutObjectInput) { in.ACL = "bucket-owner-full-control" }); err != nil {
		t.Error(err)
	}
}

// records: the bucket's operations are management events by CloudTrail's names.
func records(t *testing.T, c harness.Clients) {
	for _, name := range []string{"PutBucketObjectLockConfiguration", "GetBucketObjectLockConfiguration"} {
		out := must[*cloudtrail.LookupEventsOutput](t)(c.CloudTrail.LookupEvents(context.Background(), &cloudtrail.LookupEventsInput{
			LookupAttributes: []cttypes.LookupAttribute{{AttributeKey: cttypes.LookupAttributeKeyEventName, AttributeValue: &name}}}))
		if !slices.ContainsFunc(out.Events, func(e cttypes.Event) bool {
			return strings.Contains(aws.ToString(e.CloudTrailEvent), `"bucketName":"locked"`)
		}) {
			t.Errorf("no record of %s", name)
		}
	}
}
