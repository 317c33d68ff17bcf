package trail

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"spoor/internal/aws"
	"spoor/internal/kv"
)

// edit is a change of a policy's text: what the hint says to do, done.
type edit struct{ old, new string }

// brokenPolicies are bucket policies that do not let a trail deliver, what the
// error says after its first sentence, and the changes that it asks for.
var brokenPolicies = []struct {
	name   string
	change func(t *State)
	broken []edit // of the documented policy
	hint   string // "…" stands for the statements of the documentation
	fix    []edit
}{
	{name: "another trail", broken: []edit{{"trail/audit", "trail/other"}},
		hint: "cloudtrail.amazonaws.com needs s3:GetBucketAcl on arn:aws:s3:::trail-bucket: statement 1 (AclCheck) does not allow it: its condition StringEquals aws:SourceArn asks for arn:aws:cloudtrail:us-east-1:123456789012:trail/other, but the request has " + arn +
			". cloudtrail.amazonaws.com needs s3:PutObject on arn:aws:s3:::trail-bucket/AWSLogs/123456789012/*: statement 2 (Write) does not allow it: its condition StringEquals aws:SourceArn asks for arn:aws:cloudtrail:us-east-1:123456789012:trail/other, but the request has " + arn,
		fix: []edit{{"trail/other", "trail/audit"}}},
	{name: "another region's trail, in the write only", broken: []edit{{`control","aws:SourceArn":"arn:aws:cloudtrail:us-east-1`, `control","aws:SourceArn":"arn:aws:cloudtrail:eu-west-1`}},
		hint: "cloudtrail.amazonaws.com needs s3:PutObject on arn:aws:s3:::trail-bucket/AWSLogs/123456789012/*: statement 2 (Write) does not allow it: its condition StringEquals aws:SourceArn asks for arn:aws:cloudtrail:eu-west-1:123456789012:trail/audit, but the request has " + arn,
		fix:  []edit{{"eu-west-1", "us-east-1"}}},
	{name: "a pattern compared as text", broken: []edit{{"trail/audit", "trail/*"}},
		hint: "cloudtrail.amazonaws.com needs s3:GetBucketAcl on arn:aws:s3:::trail-bucket: statement 1 (AclCheck) does not allow it: its condition StringEquals aws:SourceArn asks for arn:aws:cloudtrail:us-east-1:123456789012:trail/*, but the request has " + arn +
			". cloudtrail.amazonaws.com needs s3:PutObject on arn:aws:s3:::trail-bucket/AWSLogs/123456789012/*: statement 2 (Write) does not allow it: its condition StringEquals aws:SourceArn asks for arn:aws:cloudtrail:us-east-1:123456789012:trail/*, but the request has " + arn,
		fix: []edit{{"trail/*", "trail/audit"}}},
	{name: "another account", broken: []edit{{`"aws:SourceArn":"` + arn + `"`, `"aws:SourceAccount":["111111111111","222222222222"]`}},
		hint: "cloudtrail.amazonaws.com needs s3:GetBucketAcl on arn:aws:s3:::trail-bucket: statement 1 (AclCheck) does not allow it: its condition StringEquals aws:SourceAccount asks for one of 111111111111, 222222222222, but the request has 123456789012" +
			". cloudtrail.amazonaws.com needs s3:PutObject on arn:aws:s3:::trail-bucket/AWSLogs/123456789012/*: statement 2 (Write) does not allow it: its condition StringEquals aws:SourceAccount asks for one of 111111111111, 222222222222, but the request has 123456789012",
		fix: []edit{{"222222222222", "123456789012"}}},
	{name: "another account's path", broken: []edit{{"AWSLogs/123456789012", "AWSLogs/999999999999"}},
		hint: "cloudtrail.amazonaws.com needs s3:PutObject on arn:aws:s3:::trail-bucket/AWSLogs/123456789012/*: statement 2 (Write) does not allow it: its Resource does not cover arn:aws:s3:::trail-bucket/AWSLogs/123456789012/CloudTrail/us-east-1/2026/11/24/*",
		fix:  []edit{{"AWSLogs/999999999999", "AWSLogs/123456789012"}}},
	{name: "no digests", broken: []edit{{"/AWSLogs/123456789012/*", "/AWSLogs/123456789012/CloudTrail/*"}},
		hint: "cloudtrail.amazonaws.com needs s3:PutObject on arn:aws:s3:::trail-bucket/AWSLogs/123456789012/*: statement 2 (Write) does not allow it: its Resource does not cover arn:aws:s3:::trail-bucket/AWSLogs/123456789012/CloudTrail-Digest/us-east-1/2026/11/24/*",
		fix:  []edit{{"/CloudTrail/*", "/*"}}},
	{name: "one region of a trail of all", change: func(t *State) { t.Settings.MultiRegion = true },
		broken: []edit{{"/AWSLogs/123456789012/*", "/AWSLogs/123456789012/*/us-east-1/*"}},
		hint:   "cloudtrail.amazonaws.com needs s3:PutObject on arn:aws:s3:::trail-bucket/AWSLogs/123456789012/*: statement 2 (Write) does not allow it: its Resource does not cover arn:aws:s3:::trail-bucket/AWSLogs/123456789012/CloudTrail/af-south-1/2026/11/24/*",
		fix:    []edit{{"/*/us-east-1/*", "/*"}}},
	{name: "a prefix that is not granted", change: func(t *State) { t.Settings.Prefix = "p" },
		hint: "cloudtrail.amazonaws.com needs s3:PutObject on arn:aws:s3:::trail-bucket/p/AWSLogs/123456789012/*: statement 2 (Write) does not allow it: its Resource does not cover arn:aws:s3:::trail-bucket/p/AWSLogs/123456789012/CloudTrail/us-east-1/2026/11/24/*",
		fix:  []edit{{"/AWSLogs/", "/p/AWSLogs/"}}},
	{name: "the bucket without its objects", broken: []edit{{"trail-bucket/AWSLogs/123456789012/*", "trail-bucket"}},
		hint: "cloudtrail.amazonaws.com needs s3:PutObject on arn:aws:s3:::trail-bucket/AWSLogs/123456789012/*: statement 2 (Write) does not allow it: its Resource does not cover arn:aws:s3:::trail-bucket/AWSLogs/123456789012/CloudTrail/us-east-1/2026/11/24/*",
		fix:  []edit{{`"s3:PutObject","Resource":"arn:aws:s3:::trail-bucket"`, `"s3:PutObject","Resource":"arn:aws:s3:::trail-bucket/AWSLogs/123456789012/*"`}}},
	{name: "another ACL", broken: []edit{{"bucket-owner-full-control", "private"}},
		hint: "cloudtrail.amazonaws.com needs s3:PutObject on arn:aws:s3:::trail-bucket/AWSLogs/123456789012/*: statement 2 (Write) does not allow it: its condition StringEquals s3:x-amz-acl asks for private, but the request has bucket-owner-full-control",
		fix:  []edit{{"private", "bucket-owner-full-control"}}},
	{name: "a key of the caller's organization", broken: []edit{{`"s3:x-amz-acl":"bucket-owner-full-control"`, `"aws:PrincipalOrgID":"o-abcdefghij"`}},
		hint: "cloudtrail.amazonaws.com needs s3:PutObject on arn:aws:s3:::trail-bucket/AWSLogs/123456789012/*: statement 2 (Write) does not allow it: its condition StringEquals aws:PrincipalOrgID asks for o-abcdefghij, but the request does not have that key",
		fix:  []edit{{`"aws:PrincipalOrgID":"o-abcdefghij",`, ""}}},
	{name: "encryption with a key of KMS", broken: []edit{{`"s3:x-amz-acl":"bucket-owner-full-control"`, `"s3:x-amz-server-side-encryption":"aws:kms"`}},
		hint: "cloudtrail.amazonaws.com needs s3:PutObject on arn:aws:s3:::trail-bucket/AWSLogs/123456789012/*: statement 2 (Write) does not allow it: its condition StringEquals s3:x-amz-server-side-encryption asks for aws:kms, but the request has AES256",
		fix:  []edit{{`"aws:kms"`, `"AES256"`}}},
	{name: "the check asks for an ACL", broken: []edit{{`"Condition":{"StringEquals":{"aws:SourceArn"`, `"Condition":{"StringEquals":{"s3:x-amz-acl":"bucket-owner-full-control","aws:SourceArn"`}},
		hint: "cloudtrail.amazonaws.com needs s3:GetBucketAcl on arn:aws:s3:::trail-bucket: statement 1 (AclCheck) does not allow it: its condition StringEquals s3:x-amz-acl asks for bucket-owner-full-control, but the request does not have that key",
		fix: []edit{{`{"s3:x-amz-acl":"bucket-owner-full-control","aws:SourceArn":"arn:aws:cloudtrail:us-east-1:123456789012:trail/audit"}}},
{"Sid":"Write"`, `{"aws:SourceArn":"arn:aws:cloudtrail:us-east-1:123456789012:trail/audit"}}},
{"Sid":"Write"`}}},
	{name: "without the check's action", broken: []edit{{"s3:GetBucketAcl", "s3:GetBucketPolicy"}},
		hint: "cloudtrail.amazonaws.com needs s3:GetBucketAcl on arn:aws:s3:::trail-bucket: statement 1 (AclCheck) does not allow it: its Action does not cover s3:GetBucketAcl",
		fix:  []edit{{`"s3:GetBucketPolicy"`, `["s3:GetBucketPolicy","s3:GetBucketAcl"]`}}},
	{name: "without the right to write", broken: []edit{{"s3:PutObject", "s3:PutObjectAcl"}},
		hint: "cloudtrail.amazonaws.com needs s3:PutObject on arn:aws:s3:::trail-bucket/AWSLogs/123456789012/*: statement 2 (Write) does not allow it: its Action does not cover s3:PutObject",
		fix:  []edit{{"s3:PutObjectAcl", "s3:PutObject"}}},
	{name: "another service", broken: []edit{{"cloudtrail.amazonaws.com", "config.amazonaws.com"}},
		hint: `cloudtrail.amazonaws.com needs s3:GetBucketAcl on arn:aws:s3:::trail-bucket: statement 1 (AclCheck) does not allow it: its Principal has to be {"Service":"cloudtrail.amazonaws.com"}` +
			`. cloudtrail.amazonaws.com needs s3:PutObject on arn:aws:s3:::trail-bucket/AWSLogs/123456789012/*: statement 2 (Write) does not allow it: its Principal has to be {"Service":"cloudtrail.amazonaws.com"}`,
		fix: []edit{{"config.amazonaws.com", "cloudtrail.amazonaws.com"}}},
	{name: "the account's root, and the wrong trail", broken: []edit{{`{"Service":"cloudtrail.amazonaws.com"},"Action":"s3:PutObject"`, `{"AWS":"123456789012"},"Action":"s3:PutObject"`},
		{`control","aws:SourceArn":"arn:aws:cloudtrail:us-east-1`, `control","aws:SourceArn":"arn:aws:cloudtrail:eu-west-1`}},
		hint: `cloudtrail.amazonaws.com needs s3:PutObject on arn:aws:s3:::trail-bucket/AWSLogs/123456789012/*: statement 2 (Write) does not allow it: its Principal has to be {"Service":"cloudtrail.amazonaws.com"}, its condition StringEquals aws:SourceArn asks for arn:aws:cloudtrail:eu-west-1:123456789012:trail/audit, but the request has ` + arn,
		fix:  []edit{{`{"AWS":"123456789012"}`, `{"Service":"cloudtrail.amazonaws.com"}`}, {"eu-west-1", "us-east-1"}}},
	{name: "a deny of everybody", broken: []edit{{`"Statement":[`, `"Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:Put*","Resource":"arn:aws:s3:::trail-bucket/*"},`}},
		hint: `cloudtrail.amazonaws.com needs s3:PutObject on arn:aws:s3:::trail-bucket/AWSLogs/123456789012/*: statement 1 denies it; leave the service out with the condition {"StringNotEquals":{"aws:PrincipalServiceName":"cloudtrail.amazonaws.com"}}`,
		fix:  []edit{{`"arn:aws:s3:::trail-bucket/*"}`, `"arn:aws:s3:::trail-bucket/*","Condition":{"StringNotEquals":{"aws:PrincipalServiceName":"cloudtrail.amazonaws.com"}}}`}}},
	{name: "a deny of what is not encrypted with KMS", broken: []edit{{`"Statement":[`, `"Statement":[{"Sid":"KmsOnly","Effect":"Deny","Principal":"*","Action":"s3:PutObject","Resource":"arn:aws:s3:::trail-bucket/*","Condition":{"StringNotEquals":{"s3:x-amz-server-side-encryption":"aws:kms"},"Bool":{"aws:SecureTransport":"true"}}},`}},
		hint: `cloudtrail.amazonaws.com needs s3:PutObject on arn:aws:s3:::trail-bucket/AWSLogs/123456789012/*: statement 1 (KmsOnly) denies it, since StringNotEquals s3:x-amz-server-side-encryption aws:kms holds (the request has AES256) and Bool aws:SecureTransport true holds (the request has true); leave the service out with the condition {"StringNotEquals":{"aws:PrincipalServiceName":"cloudtrail.amazonaws.com"}}`,
		fix:  []edit{{`{"StringNotEquals":{"s3:x-amz-server-side-encryption":"aws:kms"}`, `{"StringNotEquals":{"s3:x-amz-server-side-encryption":"aws:kms","aws:PrincipalServiceName":"cloudtrail.amazonaws.com"}`}}},
	{name: "a deny of strangers to a network, and no right either", broken: []edit{{`"Statement":[`, `"Statement":[{"Sid":"Office","Effect":"Deny","Principal":"*","Action":"s3:*","Resource":["arn:aws:s3:::trail-bucket","arn:aws:s3:::trail-bucket/*"],"Condition":{"NotIpAddress":{"aws:SourceIp":"192.0.2.0/24"}}},`}, {"s3:GetBucketAcl", "s3:GetBucketPolicy"}},
		hint: `cloudtrail.amazonaws.com needs s3:GetBucketAcl on arn:aws:s3:::trail-bucket: statement 1 (Office) denies it, since NotIpAddress aws:SourceIp 192.0.2.0/24 holds (the request does not have that key); leave the service out with the condition {"StringNotEquals":{"aws:PrincipalServiceName":"cloudtrail.amazonaws.com"}}, and statement 2 (AclCheck) does not allow it: its Action does not cover s3:GetBucketAcl` +
			`. cloudtrail.amazonaws.com needs s3:PutObject on arn:aws:s3:::trail-bucket/AWSLogs/123456789012/*: statement 1 (Office) denies it, since NotIpAddress aws:SourceIp 192.0.2.0/24 holds (the request does not have that key); leave the service out with the condition {"StringNotEquals":{"aws:PrincipalServiceName":"cloudtrail.amazonaws.com"}}`,
		fix: []edit{{`{"NotIpAddress"`, `{"StringNotEquals":{"aws:PrincipalServiceName":"cloudtrail.amazonaws.com"},"NotIpAddress"`}, {"s3:GetBucketPolicy", "s3:GetBucketAcl"}}},
	{name: "others' statements only", broken: []edit{{`"Principal":{"Service":"cloudtrail.amazonaws.com"},"Action":"s3:GetBucketAcl"`, `"Principal":{"AWS":"123456789012"},"Action":"s3:GetObject"`}, {`"Resource":"arn:aws:s3:::trail-bucket",`, `"Resource":"arn:aws:s3:::trail-bucket/x",`}},
		hint: `cloudtrail.amazonaws.com needs s3:GetBucketAcl on arn:aws:s3:::trail-bucket: no statement allows it; add {"Effect":"Allow","Principal":{"Service":"cloudtrail.amazonaws.com"},"Action":"s3:GetBucketAcl","Resource":"arn:aws:s3:::trail-bucket","Condition":{"StringEquals":{"aws:SourceArn":"` + arn + `"}}}`,
		fix:  []edit{{`"Statement":[`, `"Statement":[{"Effect":"Allow","Principal":{"Service":"cloudtrail.amazonaws.com"},"Action":"s3:GetBucketAcl","Resource":"arn:aws:s3:::trail-bucket","Condition":{"StringEquals":{"aws:SourceArn":"` + arn + `"}}},`}}},
	{name: "a time that has passed", broken: []edit{{`{"StringEquals":{"s3:x-amz-acl"`, `{"DateLessThan":{"aws:CurrentTime":"2026-01-01T00:00:00Z"},"StringEquals":{"s3:x-amz-acl"`}},
		hint: "cloudtrail.amazonaws.com needs s3:PutObject on arn:aws:s3:::trail-bucket/AWSLogs/123456789012/*: statement 2 (Write) does not allow it: its condition DateLessThan aws:CurrentTime asks for 2026-01-01T00:00:00Z, but the request has 2026-11-24T09:00:00Z",
		fix:  []edit{{"2026-01-01", "2027-01-01"}}},
}

func edited(t *testing.T, text string, edits []edit) string {
	t.Helper()
	for _, e := range edits {
		if !strings.Contains(text, e.old) {
			t.Fatalf("%q is not in %s", e.old, text)
		}
		text = strings.ReplaceAll(text, e.old, e.new)
	}
	return text
}

// TestCheckBucket: for each broken policy the error says what is wrong, to the
// letter, and the policy passes once that is changed.
func TestCheckBucket(t *testing.T) {
	t.Parallel()
	r := newRig(t, vfs.NewMem(), newMemory())
	defer r.close()
	check := func(document string, change func(*State)) error {
		s := &State{Account: account, HomeRegion: home, Name: "audit", Settings: Settings{Bucket: bucket}}
		if change != nil {
			change(s)
		}
		r.bucket.policy = document
		return r.m.CheckBucket(t.Context(), s)
	}
	for _, tt := range brokenPolicies {
		broken := edited(t, goodPolicy, tt.broken)
		err := check(broken, tt.change)
		var e *aws.Error
		if !errors.As(err, &e) || e.Code != "InsufficientS3BucketPolicyException" {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if want := "Incorrect S3 bucket policy is detected for bucket: trail-bucket. " + tt.hint + ". See " + policyHelp; e.Message != want {
			t.Errorf("%s:\n%s\nwant\n%s", tt.name, e.Message, want)
		}
		if err := check(edited(t, broken, tt.fix), tt.change); err != nil {
			t.Errorf("%s, as the hint says: %v", tt.name, err)
		}
	}
	good := []string{goodPolicy, edited(t, goodPolicy, []edit{{`"aws:SourceArn":"` + arn + `"`, `"aws:SourceAccount":"123456789012"`}}),
		edited(t, goodPolicy, []edit{{"StringEquals", "StringLike"}, {"trail/audit", "*"}})}
	for _, p := range good {
		if err := check(p, nil); err != nil {
			t.Errorf("%v\n%s", err, p)
		}
	}
	if err := check(goodPolicy, func(t *State) { t.Settings.Bucket = "absent" }); aws.AsError(err).Code != "S3BucketDoesNotExistException" {
		t.Errorf("a missing bucket: %v", err)
	}
}

// TestNoPolicy: the statements that the error gives are all that a bucket
// without a policy needs.
func TestNoPolicy(t *testing.T) {
	t.Parallel()
	r := newRig(t, vfs.NewMem(), newMemory())
	defer r.close()
	s := &State{Account: account, HomeRegion: home, Name: "audit", Settings: Settings{Bucket: bucket, Prefix: "a/b"}}
	r.bucket.policy = ""
	err := r.m.CheckBucket(t.Context(), s)
	var statements []json.RawMessage
	for _, part := range strings.Split(err.Error(), "the bucket has no policy; add ")[1:] {
		var one json.RawMessage
		if err := json.NewDecoder(strings.NewReader(part)).Decode(&one); err != nil {
			t.Fatalf("%v in %s", err, part)
		}
		statements = append(statements, one)
	}
	if len(statements) != 2 {
		t.Fatalf("%d statements in %v", len(statements), err)
	}
	r.bucket.policy = string(kv.MustJSON(map[string]any{"Version": "2012-10-17", "Statement": statements}))
	if err := r.m.CheckBucket(t.Context(), s); err != nil {
		t.Error(err)
	}
}
