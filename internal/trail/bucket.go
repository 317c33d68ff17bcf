package trail

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"spoor/internal/aws"
	"spoor/internal/policy"
)

// ErrNoSuchBucket is what a Bucket's methods wrap when the bucket is not there.
// Asking again helps only after somebody made it.
var ErrNoSuchBucket = errors.New("trail: no such bucket")

// ErrDenied is wrapped when the bucket's policy does not let the service write.
var ErrDenied = errors.New("trail: the bucket policy denies the delivery")

// PutOptions are an object's headers. Metadata is user metadata, names without
// "x-amz-meta-".
type PutOptions struct {
	ContentType, ContentEncoding, ACL string
	Metadata                          map[string]string
}

// Bucket is the object storage that trails deliver to. Calls are retried by
// the caller; an implementation must not retry for longer than its context.
type Bucket interface {
	// Put writes an object, whole and durable when it returns nil. After an
	// error the object may be there or not. Writing the same object again must
	// be harmless.
	Put(ctx context.Context, bucket, key string, body []byte, o PutOptions) error
	// Policy returns the bucket's policy document, "" when it has none, and the
	// account that owns it. ErrNoSuchBucket when there is no such bucket.
	Policy(ctx context.Context, bucket string) (document, owner string, err error)
}

// ServicePrincipal is who delivers.
const ServicePrincipal = "cloudtrail.amazonaws.com"

// bucketACL is the header that every delivery carries (CloudTrail user guide,
// "Amazon S3 bucket policy for CloudTrail").
const bucketACL = "bucket-owner-full-control"

const policyHelp = "https://docs.aws.amazon.com/awscloudtrail/latest/userguide/create-s3-bucket-policy-for-cloudtrail.html"

// CheckBucket reports whether a trail may deliver to a bucket: nil, or AWS's
// S3BucketDoesNotExistException or InsufficientS3BucketPolicyException. The
// latter's text says what the policy lacks, which AWS's does not.
func CheckBucket(ctx context.Context, b Bucket, t *State) error {
	doc, owner, err := b.Policy(ctx, t.Settings.Bucket)
	if errors.Is(err, ErrNoSuchBucket) {
		return aws.NewError(aws.NotFound, "S3BucketDoesNotExistException",
			fmt.Sprintf("S3 bucket %s does not exist!", t.Settings.Bucket))
	}
	if err != nil {
		return fmt.Errorf("reading the policy of bucket %s: %w", t.Settings.Bucket, err)
	}
	missing, err := missingGrants(doc, owner, t)
	if err != nil {
		return err
	}
	if len(missing) == 0 {
		return nil
	}
	return aws.NewError(aws.Denied, "InsufficientS3BucketPolicyException", fmt.Sprintf(
		"Incorrect S3 bucket policy is detected for bucket: %s. It must let the service %s %s. See %s",
		t.Settings.Bucket, ServicePrincipal, strings.Join(missing, ", and "), policyHelp))
}

// missingGrants lists in words what a bucket policy does not grant.
func missingGrants(doc, owner string, t *State) ([]string, error) {
	set := &t.Settings
	path := "AWSLogs/" + t.Account + "/"
	if set.Prefix != "" {
		path = set.Prefix + "/" + path
	}
	acl := grant{"s3:GetBucketAcl", "arn:aws:s3:::" + set.Bucket}
	put := grant{"s3:PutObject", "arn:aws:s3:::" + set.Bucket + "/" + path + "*"}
	words := []string{
		fmt.Sprintf("do %s on %s (condition keys sent: aws:SourceArn=%s, aws:SourceAccount=%s)", acl.action, acl.resource, t.ARN(), t.Account),
		fmt.Sprintf("do %s on %s (condition keys sent: s3:x-amz-acl=%s, aws:SourceArn=%s, aws:SourceAccount=%s)",
			put.action, put.resource, bucketACL, t.ARN(), t.Account),
	}
	if strings.TrimSpace(doc) == "" {
		return append([]string{"(the bucket has no policy)"}, words...), nil
	}
	p, err := policy.Parse(doc, policy.Resource)
	if err != nil {
		return nil, fmt.Errorf("reading the policy of bucket %s: %w", set.Bucket, err)
	}
	var missing []string
	if !acl.allowed(p, owner, t) {
		missing = append(missing, words[0])
	}
	// Both trees that deliveries go to, with a name such as they have.
	for _, tree := range []string{"CloudTrail/", "CloudTrail-Digest/"} {
		probe := grant{put.action, strings.TrimSuffix(put.resource, "*") + tree + t.HomeRegion + "/2013/11/01/probe.json.gz"}
		if !probe.allowed(p, owner, t) && !slices.Contains(missing, words[1]) {
			missing = append(missing, words[1])
		}
	}
	return missing, nil
}

// grant is something that a bucket policy must allow.
type grant struct{ action, resource string }

func (g grant) allowed(p *policy.Policy, owner string, t *State) bool {
	ctx := policy.Values{
		"aws:sourcearn":             {t.ARN()},
		"aws:sourceaccount":         {t.Account},
		"aws:principalisawsservice": {"true"},
		"aws:principalservicename":  {ServicePrincipal},
		"aws:securetransport":       {"true"},
		"aws:viaawsservice":         {"false"},
		"aws:resourceaccount":       {owner},
		"s3:resourceaccount":        {owner},
	}
	if g.action == "s3:PutObject" {
		ctx["s3:x-amz-acl"] = []string{bucketACL}
	}
	d := policy.Evaluate(&policy.Request{
		Principal: policy.Principal{Service: ServicePrincipal}, Action: g.action, Resource: g.resource, Context: ctx,
	}, &policy.Input{Resource: p, ResourceAccount: owner})
	return d.Allowed
}

// mayPut checks one delivery against the bucket's policy as it is now.
func mayPut(ctx context.Context, b Bucket, t *State, bucket, key string) error {
	doc, owner, err := b.Policy(ctx, bucket)
	if err != nil {
		return err
	}
	if strings.TrimSpace(doc) == "" {
		return fmt.Errorf("%w: the bucket has no policy", ErrDenied)
	}
	p, err := policy.Parse(doc, policy.Resource)
	if err != nil {
		return fmt.Errorf("reading the bucket policy: %w", err)
	}
	if !(grant{"s3:PutObject", "arn:aws:s3:::" + bucket + "/" + key}).allowed(p, owner, t) {
		return ErrDenied
	}
	return nil
}
