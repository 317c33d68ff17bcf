package worm

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"spoor/internal/verify"
	"spoor/test/harness"
)

// startTrail makes a trail over an existing bucket and starts it.
func startTrail(t testing.TB, c harness.Clients, name, bucket string) string {
	t.Helper()
	ctx := t.Context()
	out := must[*cloudtrail.CreateTrailOutput](t)(c.CloudTrail.CreateTrail(ctx, &cloudtrail.CreateTrailInput{Name: &name, S3BucketName: &bucket, EnableLogFileValidation: aws.Bool(true)}))
	must[*cloudtrail.StartLoggingOutput](t)(c.CloudTrail.StartLogging(ctx, &cloudtrail.StartLoggingInput{Name: &name}))
	return *out.TrailARN
}

func (l locks) policy(document string) {
	l.t.Helper()
	must[*s3.PutBucketPolicyOutput](l.t)(l.PutBucketPolicy(l.t.Context(), &s3.PutBucketPolicyInput{Bucket: &l.bucket, Policy: &document}))
}

// versions lists the bucket's objects: each must have one version.
func (l locks) versions() map[string]string {
	l.t.Helper()
	out := must[*s3.ListObjectVersionsOutput](l.t)(l.ListObjectVersions(l.t.Context(), &s3.ListObjectVersionsInput{Bucket: &l.bucket}))
	all := map[string]string{}
	for _, v := range out.Versions {
		if _, twice := all[*v.Key]; twice {
			l.t.Errorf("%s has more than one version", *v.Key)
		}
		all[*v.Key] = *v.VersionId
	}
	return all
}

// report verifies a trail and returns what was found, by key.
func report(t testing.TB, srv *harness.Server, wantCode int, args ...string) *verify.Report {
	t.Helper()
	text, code, err := srv.Spoor(t.Context(), append([]string{"verify", "--output", "json"}, args...)...)
	if err != nil || code != wantCode {
		t.Fatalf("exit %d, want %d (%v)\n%s", code, wantCode, err, text)
	}
	var r verify.Report
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return &r
}

func found(r *verify.Report, kind verify.Kind, key string) bool {
	for _, f := range r.Findings {
		if f.Kind == kind && f.Key == key {
			return true
		}
	}
	return false
}

// TestTrailOverDefault: a bucket's default retention makes a WORM trail. Each
// file has the lock that its digest names, nobody who may not bypass it deletes
// one, and who can bypass it is found out.
func TestTrailOverDefault(t *testing.T) {
	t.Parallel()
	srv := harness.Start(t, "--delivery-interval", "1s", "--digest-interval", "10s")
	admin := srv.AWS(srv.Profiles["admin"])
	l := lockBucket(t, admin, "worm", types.ObjectLockRetentionModeGovernance, 2)
	l.policy(harness.TrailPolicy("worm", srv.Account))
	arn := startTrail(t, admin, "worm", "worm")
	harness.StopTrail(t, srv, "worm")
	var log, digest string
	for key, version := range l.versions() {
		h := l.head(key, version)
		if made := aws.ToTime(h.LastModified); h.ObjectLockMode != types.ObjectLockModeGovernance || aws.ToTime(h.ObjectLockRetainUntilDate).Before(made.Add(2*day)) {
			t.Errorf("%s, made at %v, is locked with %q until %v", key, made, h.ObjectLockMode, h.ObjectLockRetainUntilDate)
		}
		refused(t, l.remove(key, version, false), "AccessDenied", protected)
		if strings.Contains(key, "/CloudTrail-Digest/") {
			digest = key
		} else {
			log = key
		}
	}
	if log == "" || digest == "" {
		t.Fatalf("delivered: %v", l.versions())
	}
	where := []string{"--trail-arn", arn, "--bucket", "worm"}
	if r := report(t, srv, verify.ExitClean, where...); r.Regions[0].Locked != len(l.versions()) {
		t.Errorf("%d files are locked, want all %d", r.Regions[0].Locked, len(l.versions()))
	}
	// A copy has no locks: that is said, and is no finding.
	dir := l.copied(t)
	keys := must[*cloudtrail.ListPublicKeysOutput](t)(admin.CloudTrail.ListPublicKeys(t.Context(), &cloudtrail.ListPublicKeysInput{StartTime: aws.Time(time.Unix(0, 0))}))
	file := filepath.Join(t.TempDir(), "keys.json")
	raw := must[[]byte](t)(json.Marshal(map[string]any{"PublicKeyList": keys.PublicKeyList}))
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	text, _, err := srv.Spoor(t.Context(), "verify", "--trail-arn", arn, "--dir", dir, "--public-keys", file)
	if err != nil || !strings.Contains(text, "were given a retention; a copy does not have it") || strings.Contains(text, "FOUND") {
		t.Errorf("a copy: %v\n%s", err, text)
	}

	if err := l.retain(digest, "", "GOVERNANCE", time.Now().Add(day), true); err != nil {
		t.Fatal(err)
	}
	if r := report(t, srv, verify.ExitFindings, where...); !found(r, verify.RetentionShort, digest) || len(r.Findings) != 1 {
		t.Errorf("a shortened retention: %+v", r.Findings)
	}
	// The default is taken away, a file with it, and the same file comes back.
	must[*s3.PutObjectLockConfigurationOutput](t)(l.PutObjectLockConfiguration(t.Context(), &s3.PutObjectLockConfigurationInput{Bucket: &l.bucket, ObjectLockConfiguration: &types.ObjectLockConfiguration{ObjectLockEnabled: "Enabled"}}))
	o := must[*s3.GetObjectOutput](t)(l.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &l.bucket, Key: &log}))
	body := must[[]byte](t)(io.ReadAll(o.Body))
	if err := l.remove(log, l.versions()[log], true); err != nil {
		t.Fatal(err)
	}
	must[*s3.PutObjectOutput](t)(l.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &l.bucket, Key: &log, Body: bytes.NewReader(body), Metadata: o.Metadata, ContentEncoding: o.ContentEncoding}))
	if r := report(t, srv, verify.ExitFindings, where...); !found(r, verify.RetentionMissing, log) || len(r.Findings) != 2 {
		t.Errorf("a file without its lock: %+v", r.Findings)
	}
}

// copied writes the bucket's objects to a directory.
func (l locks) copied(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for key := range l.versions() {
		o := must[*s3.GetObjectOutput](t)(l.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &l.bucket, Key: &key}))
		body := must[[]byte](t)(io.ReadAll(o.Body))
		name := filepath.Join(dir, filepath.FromSlash(key))
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestTrailRetention: the server's own setting is asked for with each file, so
// the bucket's policy has to let it, and the bucket has to have Object Lock.
func TestTrailRetention(t *testing.T) {
	t.Parallel()
	srv := harness.Start(t, "--delivery-interval", "1s", "--trail-retention", "compliance:3")
	admin := srv.AWS(srv.Profiles["admin"])
	ctx := t.Context()
	l := lockBucket(t, admin, "worm", "", 0)
	plain := harness.TrailPolicy("worm", srv.Account)
	l.policy(plain)
	_, err := admin.CloudTrail.CreateTrail(ctx, &cloudtrail.CreateTrailInput{Name: aws.String("worm"), S3BucketName: aws.String("worm")})
	refused(t, err, "InsufficientS3BucketPolicyException", "needs s3:PutObjectRetention on arn:aws:s3:::worm/AWSLogs/")
	l.policy(strings.Replace(plain, `"s3:PutObject"`, `["s3:PutObject","s3:PutObjectRetention"]`, 1))
	arn := startTrail(t, admin, "worm", "worm")
	harness.StopTrail(t, srv, "worm")
	for key, version := range l.versions() {
		h := l.head(key, version)
		if h.ObjectLockMode != types.ObjectLockModeCompliance || aws.ToTime(h.ObjectLockRetainUntilDate).Before(aws.ToTime(h.LastModified).Add(3*day)) {
			t.Errorf("%s is locked with %q until %v", key, h.ObjectLockMode, h.ObjectLockRetainUntilDate)
		}
		refused(t, l.remove(key, version, true), "AccessDenied", protected)
	}
	if r := report(t, srv, verify.ExitClean, "--trail-arn", arn, "--bucket", "worm"); r.Regions[0].Locked < 2 {
		t.Errorf("%d files are locked", r.Regions[0].Locked)
	}
	// A bucket without Object Lock takes nothing, and the trail says so.
	open := locks{admin.S3, t, "open"}
	must[*s3.CreateBucketOutput](t)(admin.S3.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &open.bucket}))
	open.policy(strings.ReplaceAll(strings.Replace(plain, `"s3:PutObject"`, `["s3:PutObject","s3:PutObjectRetention"]`, 1), ":::worm", ":::open"))
	startTrail(t, admin, "open", "open")
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); ; <-tick.C {
		st := must[*cloudtrail.GetTrailStatusOutput](t)(admin.CloudTrail.GetTrailStatus(ctx, &cloudtrail.GetTrailStatusInput{Name: aws.String("open")}))
		if code := aws.ToString(st.LatestDeliveryError); code == "InvalidRequest" {
			break
		} else if time.Now().After(end) {
			t.Fatalf("delivery error %q", code)
		}
	}
}
