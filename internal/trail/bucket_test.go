package trail

import (
	"context"
	"errors"
	"strings"
	"testing"

	"spoor/internal/aws"
)

// TestCheckBucket: the policy of AWS's documentation passes, with and without
// its conditions; every part that is missing is named.
func TestCheckBucket(t *testing.T) {
	t.Parallel()
	state := &State{Account: account, HomeRegion: home, Name: "audit", Settings: Settings{Bucket: bucket}}
	swap := func(old, new string) string {
		s := strings.ReplaceAll(goodPolicy, old, new)
		if s == goodPolicy {
			t.Fatalf("%q is not in the policy", old)
		}
		return s
	}
	for _, tt := range []struct {
		name, policy, prefix string
		want                 []string // in the message; none means that it passes
	}{
		{"as documented", goodPolicy, "", nil},
		{"without conditions on the trail", swap(`"aws:SourceArn":"arn:aws:cloudtrail:us-east-1:123456789012:trail/audit"`, `"aws:SourceAccount":"123456789012"`), "", nil},
		{"none", "", "", []string{"the bucket has no policy", "s3:GetBucketAcl", "s3:PutObject"}},
		{"another trail", swap("trail/audit", "trail/other"), "", []string{"s3:GetBucketAcl", "s3:PutObject", "aws:SourceArn=" + arn}},
		{"another account's path", swap("AWSLogs/123456789012", "AWSLogs/999999999999"), "", []string{"s3:PutObject on arn:aws:s3:::trail-bucket/AWSLogs/123456789012/*"}},
		{"another ACL", swap("bucket-owner-full-control", "private"), "", []string{"s3:x-amz-acl=bucket-owner-full-control"}},
		{"without the check", swap("s3:GetBucketAcl", "s3:GetBucketPolicy"), "", []string{"s3:GetBucketAcl"}},
		{"another service", swap("cloudtrail.amazonaws.com", "config.amazonaws.com"), "", []string{"s3:GetBucketAcl", "s3:PutObject"}},
		{"a deny", swap(`"Statement":[`, `"Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:PutObject","Resource":"arn:aws:s3:::trail-bucket/*"},`), "", []string{"s3:PutObject"}},
		{"no digests", swap("/AWSLogs/123456789012/*", "/AWSLogs/123456789012/CloudTrail/*"), "", []string{"s3:PutObject"}},
		{"a prefix that is not granted", goodPolicy, "p", []string{"arn:aws:s3:::trail-bucket/p/AWSLogs/123456789012/*"}},
		{"a prefix", swap("/AWSLogs/", "/p/AWSLogs/"), "p", nil},
	} {
		s := *state
		s.Settings.Prefix = tt.prefix
		err := CheckBucket(context.Background(), &memory{policy: tt.policy}, &s)
		if (err == nil) != (tt.want == nil) {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		var e *aws.Error
		if err != nil && (!errors.As(err, &e) || e.Code != "InsufficientS3BucketPolicyException" ||
			!strings.HasPrefix(e.Message, "Incorrect S3 bucket policy is detected for bucket: "+bucket)) {
			t.Errorf("%s: %v", tt.name, err)
		}
		for _, w := range tt.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %q is not in %v", tt.name, w, err)
			}
		}
	}
	var e *aws.Error
	if err := CheckBucket(context.Background(), &memory{missing: true}, state); !errors.As(err, &e) || e.Code != "S3BucketDoesNotExistException" {
		t.Errorf("a missing bucket: %v", err)
	}
}
