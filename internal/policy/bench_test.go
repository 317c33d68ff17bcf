package policy_test

import (
	"testing"
	"time"

	"spoor/internal/policy"
)

func must(tb testing.TB, doc string, kind policy.Kind) *policy.Policy {
	tb.Helper()
	p, err := policy.Parse(doc, kind)
	if err != nil {
		tb.Fatalf("%s: %v", doc, err)
	}
	return p
}

// The policies of the benchmarks: an administrator with a boundary and two
// policies that condition, and a user with one narrow policy.
const (
	administrator = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`
	guardrails    = `{"Version":"2012-10-17","Statement":[
		{"Sid":"OnlyTLS","Effect":"Deny","Action":"s3:*","Resource":["arn:aws:s3:::data","arn:aws:s3:::data/*"],"Condition":{"Bool":{"aws:SecureTransport":"false"}}},
		{"Sid":"OnlyOffice","Effect":"Deny","NotAction":["iam:ChangePassword","sts:GetSessionToken"],"Resource":"*","Condition":{"NotIpAddress":{"aws:SourceIp":["10.0.0.0/8","192.0.2.0/24"]},"Bool":{"aws:ViaAWSService":"false"}}},
		{"Sid":"OnlyRegions","Effect":"Deny","NotAction":["iam:*","sts:*","s3:*"],"Resource":"*","Condition":{"StringNotEquals":{"aws:RequestedRegion":["us-east-1","eu-west-1"]}}}]}`
	projects = `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":["s3:GetObject","s3:PutObject","s3:DeleteObject"],"Resource":"arn:aws:s3:::data/${aws:PrincipalTag/team}/*"},
		{"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::data","Condition":{"StringLike":{"s3:prefix":["${aws:PrincipalTag/team}/*"]}}},
		{"Effect":"Deny","Action":"s3:DeleteObject","Resource":"*","Condition":{"DateLessThan":{"aws:CurrentTime":"2020-01-01T00:00:00Z"}}}]}`
	boundary = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:*","athena:*","glue:Get*","cassandra:*","cloudtrail:*"],"Resource":"*"},
		{"Effect":"Deny","Action":["cloudtrail:StopLogging","cloudtrail:DeleteTrail"],"Resource":"*"}]}`
	narrow = `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":["athena:StartQueryExecution","athena:GetQueryExecution","athena:GetQueryResults"],"Resource":"arn:aws:athena:us-east-1:111111111111:workgroup/analysts"},
		{"Effect":"Allow","Action":["cassandra:Select","cassandra:Modify"],"Resource":["arn:aws:cassandra:us-east-1:111111111111:/keyspace/shop/table/orders","arn:aws:cassandra:us-east-1:111111111111:/keyspace/system*"]}]}`
)

var benchContext = policy.Values{"aws:securetransport": {"true"}, "aws:sourceip": {"10.1.2.3"}, "aws:viaawsservice": {"false"}, "aws:requestedregion": {"us-east-1"},
	"aws:principaltag/team": {"blue"}, "aws:currenttime": {time.Unix(1764000000, 0).UTC().Format(time.RFC3339)}}

func BenchmarkEvaluate(b *testing.B) {
	alice := policy.Principal{ARN: "arn:aws:iam::111111111111:user/alice", AccountID: "111111111111"}
	full := policy.Input{Identity: []*policy.Policy{must(b, administrator, policy.Identity), must(b, guardrails, policy.Identity), must(b, projects, policy.Identity)},
		Boundary: must(b, boundary, policy.Identity)}
	small := policy.Input{Identity: []*policy.Policy{must(b, narrow, policy.Identity)}}
	for _, bb := range []struct {
		name, action, resource string
		in                     *policy.Input
		want                   policy.Reason
	}{
		{"typical", "s3:GetObject", "arn:aws:s3:::data/blue/2026/report.csv", &full, policy.AllowedByIdentity},
		{"typical-denied", "cloudtrail:StopLogging", "arn:aws:cloudtrail:us-east-1:111111111111:trail/t", &full, policy.DeniedByBoundary},
		{"narrow", "cassandra:Select", "arn:aws:cassandra:us-east-1:111111111111:/keyspace/shop/table/orders", &small, policy.AllowedByIdentity},
		{"narrow-denied", "s3:GetObject", "arn:aws:s3:::data/blue/2026/report.csv", &small, policy.NoIdentityAllow},
	} {
		b.Run(bb.name, func(b *testing.B) {
			r := policy.Request{Principal: alice, Action: bb.action, Resource: bb.resource, Context: benchContext}
			b.ReportAllocs()
			for b.Loop() {
				if d := policy.Evaluate(&r, bb.in); d.Reason != bb.want {
					b.Fatal(d.Reason)
				}
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		must(b, guardrails, policy.Identity)
	}
}
