package trail

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"spoor/internal/aws"
	"spoor/internal/kv"
	"spoor/internal/policy"
)

const policyHelp = "https://docs.aws.amazon.com/awscloudtrail/latest/userguide/create-s3-bucket-policy-for-cloudtrail.html"

// CheckBucket reports whether a trail may deliver to its bucket: nil, or AWS's
// S3BucketDoesNotExistException or InsufficientS3BucketPolicyException. The
// latter's text goes on, where AWS's ends, with what of the policy has to be
// changed.
func (m *Manager) CheckBucket(ctx context.Context, t *State) error {
	doc, owner, err := m.cfg.Bucket.Policy(ctx, t.Settings.Bucket)
	if errors.Is(err, ErrNoSuchBucket) {
		return aws.NewError(aws.NotFound, "S3BucketDoesNotExistException",
			fmt.Sprintf("S3 bucket %s does not exist!", t.Settings.Bucket))
	}
	if err != nil {
		return fmt.Errorf("reading the policy of bucket %s: %w", t.Settings.Bucket, err)
	}
	missing, err := missingGrants(doc, m.delivery(t, t.Settings.Bucket, owner))
	if err != nil {
		return err
	}
	if len(missing) == 0 {
		return nil
	}
	return aws.NewError(aws.Denied, "InsufficientS3BucketPolicyException", fmt.Sprintf(
		"Incorrect S3 bucket policy is detected for bucket: %s. %s. See %s", t.Settings.Bucket, strings.Join(missing, ". "), policyHelp))
}

// delivery is what the service does in a bucket for a trail, as a bucket policy
// sees it.
type delivery struct {
	trail         *State
	bucket, owner string
	now           time.Time
	retention     *Retention // that the service asks for
}

func (m *Manager) delivery(t *State, bucket, owner string) *delivery {
	d := &delivery{trail: t, bucket: bucket, owner: owner, now: m.cfg.Now()}
	if r, explicit := m.retention(t.ARN(), bucket); explicit {
		d.retention = r
	}
	return d
}

// path is the part of the bucket that the trail's files go to.
func (d *delivery) path() string {
	path := "AWSLogs/" + d.trail.Account + "/"
	if p := d.trail.Settings.Prefix; p != "" {
		path = p + "/" + path
	}
	return path
}

func (d *delivery) object(key string) string { return "arn:aws:s3:::" + d.bucket + "/" + key }

// missingGrants says in words what a bucket policy does not grant, and why.
func missingGrants(doc string, d *delivery) ([]string, error) {
	var p *policy.Policy
	if strings.TrimSpace(doc) != "" {
		var err error
		if p, err = policy.Parse(doc, policy.Resource); err != nil {
			return nil, fmt.Errorf("reading the policy of bucket %s: %w", d.bucket, err)
		}
	}
	var missing []string
	for _, n := range d.needs() {
		for _, probe := range n.probes {
			g := grant{n.action, probe}
			if p != nil && g.allowed(p, d) {
				continue
			}
			missing = append(missing, fmt.Sprintf("%s needs %s on %s: %s", ServicePrincipal, n.action, n.resource, g.why(p, n.resource, d)))
			break // the next probe would say nearly the same
		}
	}
	return missing, nil
}

// need is a permission that the documented policy gives, and the resources that
// it is tried with.
type need struct {
	action, resource string
	probes           []string
}

func (d *delivery) needs() []need {
	bucket := "arn:aws:s3:::" + d.bucket
	// Every tree that deliveries go to, with a name such as they have.
	regions := []string{d.trail.HomeRegion}
	if d.trail.Settings.MultiRegion {
		for _, r := range aws.Regions() {
			if r != d.trail.HomeRegion {
				regions = append(regions, r)
			}
		}
		slices.Sort(regions[1:])
	}
	var files []string
	for _, r := range regions {
		for _, tree := range []string{"CloudTrail/", "CloudTrail-Digest/"} {
			files = append(files, d.object(d.path()+tree+r+"/"+d.now.UTC().Format("2006/01/02")+"/"))
		}
	}
	needs := []need{{"s3:GetBucketAcl", bucket, []string{bucket}}, {"s3:PutObject", d.object(d.path() + "*"), files}}
	if d.retention != nil {
		needs = append(needs, need{"s3:PutObjectRetention", d.object(d.path() + "*"), files})
	}
	return needs
}

// grant is something that a bucket policy must allow.
type grant struct{ action, resource string }

// request is the grant as the policy is asked for it, with the condition keys
// that a request of the service has.
func (g grant) request(d *delivery) *policy.Request {
	ctx := policy.Values{
		"aws:sourcearn":                 {d.trail.ARN()},
		"aws:sourceaccount":             {d.trail.Account},
		"aws:principalisawsservice":     {"true"},
		"aws:principalservicename":      {ServicePrincipal},
		"aws:principalservicenameslist": {ServicePrincipal},
		"aws:securetransport":           {"true"},
		"aws:viaawsservice":             {"false"},
		"aws:resourceaccount":           {d.owner},
		"aws:currenttime":               {d.now.UTC().Format(time.RFC3339)},
		"aws:epochtime":                 {fmt.Sprint(d.now.Unix())},
		"s3:resourceaccount":            {d.owner},
		"s3:signatureversion":           {"AWS4-HMAC-SHA256"},
		"s3:authtype":                   {"REST-HEADER"},
	}
	if g.action != "s3:GetBucketAcl" { // one request is judged for both permissions
		ctx["s3:x-amz-acl"] = []string{bucketACL}
		ctx["s3:x-amz-server-side-encryption"] = []string{bucketEncryption}
		if d.retention != nil {
			lockContext(ctx, d.retention, d.now)
		}
	}
	return &policy.Request{Principal: policy.Principal{Service: ServicePrincipal}, Action: g.action, Resource: g.resource, Context: ctx}
}

func (g grant) allowed(p *policy.Policy, d *delivery) bool {
	return policy.Evaluate(g.request(d), &policy.Input{Resource: p, ResourceAccount: d.owner}).Allowed
}

// why says why a policy, nil for none, does not allow the grant: the statements
// that deny it, and the one that comes nearest to allowing it. documented is the
// resource of the statement that would.
func (g grant) why(p *policy.Policy, documented string, d *delivery) string {
	add := "add " + g.statement(documented, d)
	if p == nil {
		return "the bucket has no policy; " + add
	}
	var reasons []string
	var near *policy.Diagnosis
	allowed := false
	all := p.Diagnose(g.request(d))
	for i := range all {
		switch x := &all[i]; {
		case x.Deny && x.Applies():
			reasons = append(reasons, whyDenied(x))
		case x.Deny:
		case x.Applies():
			allowed = true
		case nearly(x) && (near == nil || x.Misses() < near.Misses()):
			near = x
		}
	}
	switch {
	case allowed:
	case near == nil:
		reasons = append(reasons, "no statement allows it; "+add)
	default:
		reasons = append(reasons, g.whyNot(near))
	}
	return strings.Join(reasons, ", and ")
}

// nearly reports whether a statement is about the grant but for one of its
// elements, whatever its conditions say: it is likely the one that was meant.
func nearly(x *policy.Diagnosis) bool {
	n := 0
	for _, holds := range []bool{x.Principal, x.Action, x.Resource} {
		if !holds {
			n++
		}
	}
	return n <= 1
}

func nameOf(x *policy.Diagnosis) string {
	if x.Sid == "" {
		return fmt.Sprintf("statement %d", x.Statement+1)
	}
	return fmt.Sprintf("statement %d (%s)", x.Statement+1, x.Sid)
}

// whyDenied is about a statement that denies the grant. What it advises is true
// whatever else the statement says: conditions are all to hold.
func whyDenied(x *policy.Diagnosis) string {
	s := nameOf(x) + " denies it"
	for i := range x.Conditions {
		word := ", since"
		if i > 0 {
			word = " and"
		}
		c := &x.Conditions[i]
		s += fmt.Sprintf("%s %s %s %s holds (%s)", word, c.Operator, c.Key, values(c.Want), has(c))
	}
	return s + `; leave the service out with the condition {"StringNotEquals":{"aws:PrincipalServiceName":"` + ServicePrincipal + `"}}`
}

// whyNot is about a statement that nearly allows the grant.
func (g grant) whyNot(x *policy.Diagnosis) string {
	var parts []string
	if !x.Principal {
		parts = append(parts, `its Principal has to be {"Service":"`+ServicePrincipal+`"}`)
	}
	if !x.Action {
		parts = append(parts, "its Action does not cover "+g.action)
	}
	if !x.Resource {
		parts = append(parts, "its Resource does not cover "+g.cover())
	}
	for i := range x.Conditions {
		if c := &x.Conditions[i]; !c.Holds {
			parts = append(parts, fmt.Sprintf("its condition %s %s asks for %s, but %s", c.Operator, c.Key, values(c.Want), has(c)))
		}
	}
	return nameOf(x) + " does not allow it: " + strings.Join(parts, ", ")
}

// cover is the grant's resource as a statement has to cover it.
func (g grant) cover() string {
	if strings.HasSuffix(g.resource, "/") {
		return g.resource + "*"
	}
	return g.resource
}

func values(v []string) string {
	if len(v) == 1 {
		return v[0]
	}
	return "one of " + strings.Join(v, ", ")
}

func has(c *policy.ConditionDiagnosis) string {
	if c.Have == nil {
		return "the request does not have that key"
	}
	return "the request has " + strings.Join(c.Have, ", ")
}

// statement is the statement of AWS's documentation that gives the grant.
func (g grant) statement(resource string, d *delivery) string {
	type equals map[string]string
	when := equals{"aws:SourceArn": d.trail.ARN()}
	if g.action != "s3:GetBucketAcl" {
		when["s3:x-amz-acl"] = bucketACL
	}
	return string(kv.MustJSON(struct {
		Effect    string
		Principal map[string]string
		Action    string
		Resource  string
		Condition map[string]equals
	}{"Allow", map[string]string{"Service": ServicePrincipal}, g.action, resource, map[string]equals{"StringEquals": when}}))
}

// mayPut checks one delivery against the bucket's policy as it is now.
func (m *Manager) mayPut(ctx context.Context, t *State, bucket, key string) error {
	doc, owner, err := m.cfg.Bucket.Policy(ctx, bucket)
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
	d := m.delivery(t, bucket, owner)
	grants := []grant{{"s3:PutObject", d.object(key)}}
	if d.retention != nil {
		grants = append(grants, grant{"s3:PutObjectRetention", d.object(key)})
	}
	for _, g := range grants {
		if !g.allowed(p, d) {
			return fmt.Errorf("%w: %s on %s: %s", ErrDenied, g.action, g.resource, g.why(p, g.resource, d))
		}
	}
	return nil
}
