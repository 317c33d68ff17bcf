package policy_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"spoor/internal/policy"
)

// TestParseRefuses: what is wrong with a document, in IAM's and S3's words.
func TestParseRefuses(t *testing.T) {
	t.Parallel()
	st := func(members string) string {
		return `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", ` + members + `}]}`
	}
	const id, res, trust = policy.Identity, policy.Resource, policy.Trust
	for name, c := range map[string]struct {
		kind policy.Kind
		doc  string
		iam  string // a part of the message
		s3   string
	}{
		"no JSON":              {id, `{`, "invalid Json", "Policies must be valid JSON and the first byte must be '{'"},
		"a list":               {id, `[]`, "invalid Json", "Policies must be valid JSON and the first byte must be '{'"},
		"text behind":          {id, st(`"Action": "*", "Resource": "*"`) + "x", "invalid Json", "Policies must be valid JSON"},
		"member twice":         {id, st(`"Action": "*", "Action": "s3:*", "Resource": "*"`), "invalid Json", "Policies must be valid JSON"},
		"deep":                 {id, strings.Repeat(`{"a":`, 20) + "1" + strings.Repeat("}", 20), "invalid Json", ""},
		"no statement":         {id, `{"Version": "2012-10-17"}`, "Syntax errors in policy.", ""},
		"no statements":        {id, `{"Statement": []}`, "Syntax errors in policy.", ""},
		"version":              {id, `{"Version": "2012-10-18", "Statement": []}`, "The policy must contain a valid version string", "The policy must contain a valid version string"},
		"unknown element":      {id, st(`"Action": "*", "Resource": "*", "Actions": "*"`), "Syntax errors in policy.", ""},
		"effect":               {id, `{"Statement": {"Effect": "allow", "Action": "*", "Resource": "*"}}`, "Syntax errors in policy.", ""},
		"no effect":            {id, `{"Statement": {"Action": "*", "Resource": "*"}}`, "Syntax errors in policy.", ""},
		"no action":            {id, st(`"Resource": "*"`), "Policy statement must contain actions.", "Missing required field Action"},
		"empty actions":        {id, st(`"Action": [], "Resource": "*"`), "Policy statement must contain actions.", "Missing required field Action"},
		"both actions":         {id, st(`"Action": "*", "NotAction": "s3:*", "Resource": "*"`), "Syntax errors in policy.", ""},
		"action without name":  {id, st(`"Action": "s3", "Resource": "*"`), "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.", "Policy has invalid action"},
		"two colons":           {id, st(`"Action": "s3:a:b", "Resource": "*"`), "Actions/Condition can contain only one colon.", "Policy has invalid action"},
		"wild vendor":          {id, st(`"Action": "s*:GetObject", "Resource": "*"`), "Vendor s* is not valid", "Policy has invalid action"},
		"no resource":          {id, st(`"Action": "*"`), "Policy statement must contain resources.", "Missing required field Resource"},
		"no ARN":               {id, st(`"Action": "*", "Resource": "bucket"`), `Resource bucket must be in ARN format or "*".`, "Policy has invalid resource"},
		"short ARN":            {id, st(`"Action": "*", "Resource": "arn:aws:s3::bucket"`), "The policy failed legacy parsing", "Policy has invalid resource"},
		"partition":            {id, st(`"Action": "*", "Resource": "arn:asw:s3:::bucket"`), `Partition "asw" is not valid for resource "arn:asw:s3:::bucket".`, "Policy has invalid resource"},
		"resource vendor":      {id, st(`"Action": "*", "Resource": "arn:aws:s*:::bucket"`), "Resource vendor must be fully qualified and cannot contain regexes.", "Policy has invalid resource"},
		"IAM region":           {id, st(`"Action": "*", "Resource": "arn:aws:iam:us-east-1:111111111111:user/x"`), "IAM resource arn:aws:iam:us-east-1:111111111111:user/x cannot contain region information.", ""},
		"IAM path":             {id, st(`"Action": "*", "Resource": "arn:aws:iam::111111111111:users/x"`), `IAM resource path must either be "*" or start with user/, federated-user/, role/,`, ""},
		"unwanted principal":   {id, st(`"Principal": "*", "Action": "*", "Resource": "*"`), "Policy document should not specify a principal.", ""},
		"sid":                  {id, st(`"Sid": "a b", "Action": "*", "Resource": "*"`), "Statement IDs (SID) must be alpha-numeric.", ""},
		"operator":             {id, st(`"Action": "*", "Resource": "*", "Condition": {"StringIs": {"aws:username": "x"}}`), "Invalid Condition type : StringIs.", "Invalid Condition type : StringIs"},
		"NullIfExists":         {id, st(`"Action": "*", "Resource": "*", "Condition": {"NullIfExists": {"aws:username": "x"}}`), "Invalid Condition type : NullIfExists.", ""},
		"condition key":        {id, st(`"Action": "*", "Resource": "*", "Condition": {"StringEquals": {"username": "x"}}`), "Actions/Conditions must be prefaced by a vendor", "Policy has an invalid condition key"},
		"condition value":      {id, st(`"Action": "*", "Resource": "*", "Condition": {"StringEquals": {"aws:username": null}}`), "Syntax errors in policy.", ""},
		"no principal":         {res, st(`"Action": "s3:*", "Resource": "*"`), "Missing required field Principal", "Missing required field Principal"},
		"wild principal":       {res, st(`"Principal": {"AWS": "arn:aws:iam::111111111111:user/*"}, "Action": "s3:*", "Resource": "*"`), "Invalid principal in policy", "Invalid principal in policy"},
		"group principal":      {res, st(`"Principal": {"AWS": "arn:aws:iam::111111111111:group/g"}, "Action": "s3:*", "Resource": "*"`), "Invalid principal in policy", "Invalid principal in policy"},
		"principal kind":       {res, st(`"Principal": {"Group": "g"}, "Action": "s3:*", "Resource": "*"`), "Invalid principal in policy", "Invalid principal in policy"},
		"text principal":       {res, st(`"Principal": "111111111111", "Action": "s3:*", "Resource": "*"`), "Invalid principal in policy", ""},
		"trust with resource":  {trust, st(`"Principal": {"AWS": "111111111111"}, "Action": "sts:AssumeRole", "Resource": "*"`), "Has prohibited field Resource", ""},
		"trust of actions":     {trust, st(`"Principal": {"AWS": "111111111111"}, "Action": "s3:GetObject"`), "AssumeRole policy may only specify STS AssumeRole actions.", ""},
		"trust of STS actions": {trust, st(`"Principal": {"AWS": "111111111111"}, "Action": "sts:GetCallerIdentity"`), "AssumeRole policy may only specify STS AssumeRole actions.", ""},
		"trust NotPrincipal":   {trust, st(`"NotPrincipal": {"AWS": "111111111111"}, "Action": "sts:AssumeRole"`), "Allow with NotPrincipal is not allowed.", ""},
		"same sid": {id, `{"Statement": [{"Sid": "a", "Effect": "Deny", "Action": "*", "Resource": "*"}, {"Sid": "a", "Effect": "Deny", "Action": "*", "Resource": "*"}]}`,
			"Statement IDs (SID) in a single policy must be unique.", ""},
		"long": {id, st(`"Action": "*", "Resource": "*"`) + strings.Repeat(" ", policy.MaxDocument), "The policy is too long", ""},
	} {
		_, err := policy.Parse(c.doc, c.kind)
		var e *policy.SyntaxError
		if !errors.As(err, &e) || !errors.Is(err, policy.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !strings.Contains(e.IAM(), c.iam) || !strings.Contains(e.S3(), c.s3) {
			t.Errorf("%s: IAM says %q, S3 %q; want %q and %q", name, e.IAM(), e.S3(), c.iam, c.s3)
		}
	}
}

// TestParseAccepts: forms at the edge of what is right.
func TestParseAccepts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind policy.Kind
		st   string
	}{
		{policy.Identity, `"Action": "*", "Resource": "arn:aws:iam::${aws:PrincipalAccount}:role/${aws:PrincipalTag/a b}"`},
		{policy.Identity, `"Action": "*", "Resource": ["arn:aws:iam::*:*", "arn:aws:iam:*:*:us*", "arn:aws:iam::111111111111:root", "arn:aws-cn:s3:::x", "arn:aws:s3:${aws:RequestedRegion}:${aws:PrincipalAccount}:x"]`},
		{policy.Identity, `"Action": "*", "Resource": "*", "Condition": {"StringEquals": {"aws:PrincipalTag/cost center": "x", "oidc.example.com/id/A1:sub": "y"}}`},
		{policy.Resource, `"Sid": "with blanks", "Principal": {"AWS": ["111111111111", "arn:aws:sts::111111111111:assumed-role/r/s"], "Service": "glue.amazonaws.com"}, "Action": "s3:*", "Resource": "arn:aws:s3:::b"`},
		{policy.Trust, `"Principal": {"Federated": "accounts.example.com"}, "Action": ["sts:AssumeRole*", "sts:TagSession"]`},
		{policy.Trust, `"Principal": {"AWS": "*"}, "Action": "sts:*"`},
	} {
		if _, err := policy.Parse(`{"Version": "2012-10-17", "Statement": {"Effect": "Allow", `+c.st+`}}`, c.kind); err != nil {
			t.Errorf("%s: %v", c.st, err)
		}
	}
}

func TestContextKeys(t *testing.T) {
	t.Parallel()
	p := must(t, `{"Version": "2012-10-17", "Statement": [
		{"Effect": "Allow", "Action": "*", "Resource": "arn:aws:s3:::${aws:username}/*", "Condition": {"StringLike": {"aws:SourceIp": "${aws:PrincipalTag/Team}", "AWS:UserName": "x"}}},
		{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"Bool": {"aws:SecureTransport": "true"}}}]}`, policy.Identity)
	if got := fmt.Sprint(p.ContextKeys()); got != "[aws:username aws:SourceIp aws:PrincipalTag/Team aws:SecureTransport]" {
		t.Error(got)
	}
}

// TestExplain: statements that decide, where they stand, and what is missing.
func TestExplain(t *testing.T) {
	t.Parallel()
	doc := `{
  "Version": "2012-10-17",
  "Statement": [
    {"Effect": "Allow", "Action": "s3:*", "Resource": "*", "Condition": {"StringEquals": {"aws:username": "alice"}}},
    {
      "Effect": "Allow", "Action": "s3:Get*", "Resource": "arn:aws:s3:::é/*"
    },
    {"Effect": "Deny", "Action": "s3:DeleteObject", "Resource": "*", "Condition": {"Bool": {"aws:SecureTransport": "false"}}}
  ]
}`
	p := must(t, doc, policy.Identity)
	one := must(t, `{"Statement":{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}}`, policy.Identity)
	for _, c := range []struct {
		action   string
		ctx      policy.Values
		boundary *policy.Policy
		reason   policy.Reason
		matches  string // statement:from-to
		missing  string
		bounded  bool
	}{
		{"s3:GetObject", policy.Values{"aws:username": {"alice"}}, nil, policy.AllowedByIdentity, "0:4:6-4:117 1:5:6-7:6 0:1:15-1:71", "[]", true},
		{"s3:GetObject", nil, nil, policy.AllowedByIdentity, "1:5:6-7:6 0:1:15-1:71", "[aws:username]", true},
		{"s3:DeleteObject", nil, nil, policy.NoIdentityAllow, "", "[aws:username aws:SecureTransport]", true},
		{"s3:DeleteObject", policy.Values{"aws:username": {"alice"}, "aws:securetransport": {"false"}}, nil, policy.DeniedByIdentity, "2:8:6-8:126", "[]", true},
		{"s3:PutObject", policy.Values{"aws:username": {"alice"}}, one, policy.NoBoundaryAllow, "0:4:6-4:117", "[]", false},
		{"iam:GetUser", nil, nil, policy.NoIdentityAllow, "", "[]", true},
	} {
		x := policy.Explain(&policy.Request{Principal: policy.Principal{ARN: "arn:aws:iam::111111111111:user/alice", AccountID: "111111111111"},
			Action: c.action, Resource: "arn:aws:s3:::é/k", Context: c.ctx}, &policy.Input{Identity: []*policy.Policy{p, one}, Boundary: c.boundary})
		var matches []string
		for _, m := range x.Matches {
			a, b := m.Policy.Positions(m.Statement)
			matches = append(matches, fmt.Sprintf("%d:%d:%d-%d:%d", m.Statement, a.Line, a.Column, b.Line, b.Column))
		}
		if got := strings.Join(matches, " "); x.Decision.Reason != c.reason || got != c.matches || fmt.Sprint(x.Missing) != c.missing || x.BoundaryAllows != c.bounded {
			t.Errorf("%s %v: %v by %s, missing %v, boundary %v; want %v by %s, missing %s, boundary %v",
				c.action, c.ctx, x.Decision.Reason, got, x.Missing, x.BoundaryAllows, c.reason, c.matches, c.missing, c.bounded)
		}
	}
}

// TestPublic: what S3 calls public.
func TestPublic(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		st   string
		want bool
	}{
		{`"Effect": "Allow", "Principal": "*"`, true},
		{`"Effect": "Allow", "Principal": {"AWS": ["111111111111", "*"]}`, true},
		{`"Effect": "Allow", "NotPrincipal": {"AWS": "111111111111"}`, true},
		{`"Effect": "Deny", "Principal": "*"`, false},
		{`"Effect": "Allow", "Principal": {"AWS": "111111111111"}`, false},
		{`"Effect": "Allow", "Principal": {"Service": "cloudtrail.amazonaws.com"}`, false},
		{`"Effect": "Allow", "Principal": "*", "Condition": {"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}}`, false},
		{`"Effect": "Allow", "Principal": "*", "Condition": {"IpAddress": {"aws:SourceIp": ["203.0.113.0/24", "0.0.0.0/1"]}}`, true},
		{`"Effect": "Allow", "Principal": "*", "Condition": {"IpAddress": {"aws:SourceIp": "2000::/3"}}`, true},
		{`"Effect": "Allow", "Principal": "*", "Condition": {"NotIpAddress": {"aws:SourceIp": "203.0.113.0/24"}}`, true},
		{`"Effect": "Allow", "Principal": "*", "Condition": {"Bool": {"aws:SecureTransport": "true"}}`, true},
		{`"Effect": "Allow", "Principal": "*", "Condition": {"StringEquals": {"aws:PrincipalAccount": "111111111111"}}`, false},
		{`"Effect": "Allow", "Principal": "*", "Condition": {"StringEqualsIfExists": {"aws:PrincipalAccount": "111111111111"}}`, true},
		{`"Effect": "Allow", "Principal": "*", "Condition": {"StringLike": {"aws:PrincipalAccount": "1*"}}`, true},
		{`"Effect": "Allow", "Principal": "*", "Condition": {"StringEquals": {"aws:PrincipalAccount": "${aws:ResourceAccount}"}}`, true},
		{`"Effect": "Allow", "Principal": "*", "Condition": {"ArnLike": {"aws:SourceArn": "arn:aws:cloudtrail:us-east-1:111111111111:trail/t"}}`, false},
		{`"Effect": "Allow", "Principal": "*", "Condition": {"ForAllValues:StringEquals": {"aws:SourceAccount": "111111111111"}}`, true},
		{`"Effect": "Allow", "Principal": "*", "Condition": {"StringEquals": {"aws:Referer": "https://example.com"}}`, true},
	} {
		p := must(t, `{"Version": "2012-10-17", "Statement": {`+c.st+`, "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*"}}`, policy.Resource)
		if p.Public() != c.want {
			t.Errorf("%s: public is %v", c.st, !c.want)
		}
	}
}
