package iam

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/iam"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/policy"
	"spoor/internal/record"
)

// TestRequestContext: the global condition keys of each kind of caller.
func TestRequestContext(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	session := &aws.Session{Name: "run", CreationDate: now.Add(-90 * time.Second), IssuerARN: "arn:aws:iam::111122223333:role/etl", SourceIdentity: "ann"}
	user := &aws.Caller{Type: aws.IAMUser, AccountID: "111122223333", PrincipalID: "AIDAX", ARN: "arn:aws:iam::111122223333:user/ann", UserName: "ann", Tags: map[string]string{"Team": "blue"}}
	withMFA := *user
	withMFA.Session, withMFA.MFA = session, true
	withoutMFA := *user
	withoutMFA.Session = session
	role := &aws.Caller{Type: aws.AssumedRole, AccountID: "111122223333", PrincipalID: "AROAX:run", ARN: "arn:aws:sts::111122223333:assumed-role/etl/run", Session: session}
	federated := &aws.Caller{Type: aws.FederatedUser, AccountID: "111122223333", PrincipalID: "111122223333:tom", ARN: "arn:aws:sts::111122223333:federated-user/tom", Session: session}
	service := &aws.Caller{Type: aws.AWSService, InvokedBy: "cloudtrail.amazonaws.com"}
	anonymous := aws.AnonymousCaller()
	plain := call.Call{Region: "eu-west-1", AccountID: "111122223333", SourceIP: "10.1.2.3", UserAgent: "cli"}
	tls := plain
	tls.TLS = &record.TLS{Version: "TLSv1.3"}
	via := plain
	via.ViaService = "athena.amazonaws.com"
	const absent = "-"
	for _, c := range []struct {
		who  *aws.Caller
		call call.Call
		key  string
		want string
	}{
		{user, plain, "aws:PrincipalArn", "arn:aws:iam::111122223333:user/ann"},
		{role, plain, "aws:PrincipalArn", "arn:aws:iam::111122223333:role/etl"},
		{federated, plain, "aws:PrincipalArn", "arn:aws:sts::111122223333:federated-user/tom"},
		{anonymous, plain, "aws:PrincipalArn", absent},
		{user, plain, "aws:PrincipalAccount", "111122223333"},
		{user, plain, "aws:PrincipalType", "User"},
		{role, plain, "aws:PrincipalType", "AssumedRole"},
		{federated, plain, "aws:PrincipalType", "FederatedUser"},
		{anonymous, plain, "aws:PrincipalType", "Anonymous"},
		{service, plain, "aws:PrincipalType", absent},
		{user, plain, "aws:username", "ann"},
		{role, plain, "aws:username", absent},
		{federated, plain, "aws:username", absent},
		{user, plain, "aws:userid", "AIDAX"},
		{role, plain, "aws:userid", "AROAX:run"},
		{federated, plain, "aws:userid", "111122223333:tom"},
		{user, plain, "aws:PrincipalTag/team", "blue"},
		{user, plain, "aws:PrincipalTag/cost", absent},
		{user, plain, "aws:SourceIp", "10.1.2.3"},
		{user, plain, "aws:UserAgent", "cli"},
		{user, plain, "aws:RequestedRegion", "eu-west-1"},
		{user, plain, "aws:SecureTransport", "false"},
		{user, tls, "aws:SecureTransport", "true"},
		{user, plain, "aws:CurrentTime", "2026-03-01T12:00:00Z"},
		{user, plain, "aws:EpochTime", "1772366400"},
		{user, plain, "aws:TokenIssueTime", absent},
		{role, plain, "aws:TokenIssueTime", "2026-03-01T11:58:30Z"},
		{role, plain, "aws:SourceIdentity", "ann"},
		{user, plain, "aws:MultiFactorAuthPresent", absent},
		{&withoutMFA, plain, "aws:MultiFactorAuthPresent", "false"},
		{&withMFA, plain, "aws:MultiFactorAuthPresent", "true"},
		{user, plain, "aws:MultiFactorAuthAge", absent},
		{&withoutMFA, plain, "aws:MultiFactorAuthAge", absent},
		{&withMFA, plain, "aws:MultiFactorAuthAge", "90"},
		{user, plain, "aws:ViaAWSService", "false"},
		{user, via, "aws:ViaAWSService", "true"},
		{user, plain, "aws:CalledVia", absent},
		{user, via, "aws:CalledVia", "athena.amazonaws.com"},
		{user, via, "aws:CalledViaFirst", "athena.amazonaws.com"},
		{user, plain, "aws:PrincipalIsAWSService", "false"},
		{service, plain, "aws:PrincipalIsAWSService", "true"},
		{service, plain, "aws:PrincipalServiceName", "cloudtrail.amazonaws.com"},
		{user, plain, "aws:PrincipalServiceName", absent},
		{user, plain, "aws:ResourceAccount", "999988887777"},
		{user, plain, "s3:prefix", "home/"},
		// There is no organisation here.
		{user, plain, "aws:PrincipalOrgID", absent},
	} {
		c.call.Caller = c.who
		perm := call.Permission{ResourceAccount: "999988887777", Context: map[string][]string{"s3:prefix": {"home/"}}}
		r := requestContext{call: &c.call, perm: &perm, now: func() time.Time { return now }}
		got := absent
		if v, ok := r.Lookup(strings.ToLower(c.key)); ok {
			got = strings.Join(v, ",")
		}
		if got != c.want {
			t.Errorf("%s of %s is %s, want %s", c.key, c.who.ARN, got, c.want)
		}
	}
	if p := principalOf(federated); p.RoleARN != session.IssuerARN {
		t.Errorf("a resource policy cannot name the user behind a federated session: %+v", p)
	}
}

// TestDenials: who is told why.
func TestDenials(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made, err := w.admin.CreateUser(w.ctx, &sdk.CreateUserInput{UserName: new("alice")})
	w.must(err)
	alice := &aws.Caller{Type: aws.IAMUser, AccountID: testAccount, PrincipalID: *made.User.UserId, ARN: "arn:aws:iam::" + testAccount + ":user/alice", UserName: "alice"}
	for _, c := range []struct {
		who  *aws.Caller
		perm call.Permission
		want string
	}{
		{alice, call.Permission{Action: "s3:GetObject", Resource: "arn:aws:s3:::data/a"},
			"User: arn:aws:iam::" + testAccount + `:user/alice is not authorized to perform: s3:GetObject on resource: "arn:aws:s3:::data/a" because no identity-based policy allows the s3:GetObject action`},
		{alice, call.Permission{Action: "s3:GetObject", Resource: "arn:aws:s3:::theirs/a", ResourceAccount: "999988887777"}, "Access Denied"},
		{aws.AnonymousCaller(), call.Permission{Action: "s3:GetObject", Resource: "arn:aws:s3:::data/a", ResourceAccount: testAccount}, "Access Denied"},
		{alice, call.Permission{Action: "cloudtrail:LookupEvents", Resource: "*"},
			"User: arn:aws:iam::" + testAccount + ":user/alice is not authorized to perform: cloudtrail:LookupEvents because no identity-based policy allows the cloudtrail:LookupEvents action"},
	} {
		err := w.dir.Authorize(w.ctx, &call.Call{Caller: c.who, AccountID: testAccount, Region: "us-east-1"}, []call.Permission{c.perm})
		if e := aws.AsError(err); err == nil || e.Code != "AccessDenied" || e.Message != c.want {
			t.Errorf("%s of %s: %v, want %s", c.perm.Action, c.who.ARN, err, c.want)
		}
	}
}

// TestDocumentsAreBounded: policies that come with calls do not fill memory.
func TestDocumentsAreBounded(t *testing.T) {
	t.Parallel()
	d := newDocuments()
	pad := strings.Repeat(" ", 24<<10)
	for i := range 1000 {
		text := fmt.Sprintf(`{"Id":"%d","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}%s}`, i, pad)
		p, err := d.get(text, policy.Identity)
		if err != nil {
			t.Fatal(err)
		}
		if again, _ := d.get(text, policy.Identity); again != p {
			t.Fatal("a document is compiled twice")
		}
		size := 0
		for k := range d.parsed {
			size += len(k.text)
		}
		if size != d.size || size > maxDocumentBytes {
			t.Fatalf("%d bytes of text are kept, counted as %d", size, d.size)
		}
	}
}

// BenchmarkAuthorize is a decision with all that leads to it: a user with
// AdministratorAccess, two policies with conditions and a boundary, and one with
// a narrow policy.
func BenchmarkAuthorize(b *testing.B) {
	const statement = `{"Version":"2012-10-17","Statement":[%s]}`
	add := func(u *user, name, statements string) {
		if u.Inline == nil {
			u.Inline = map[string]string{}
		}
		u.Inline[name] = fmt.Sprintf(statement, statements)
		if err := u.compile(); err != nil {
			b.Fatal(err)
		}
	}
	managed, err := loadManaged()
	if err != nil {
		b.Fatal(err)
	}
	d := &Directory{now: time.Now, managed: managed, docs: newDocuments()}
	typical := &user{ID: "AIDAT", Name: "typical", grants: grants{Attached: []string{"arn:aws:iam::aws:policy/AdministratorAccess"}}, Boundary: "arn:aws:iam::aws:policy/PowerUserAccess"}
	add(typical, "guardrails", `{"Effect":"Deny","NotAction":["iam:ChangePassword"],"Resource":"*","Condition":{"NotIpAddress":{"aws:SourceIp":["10.0.0.0/8","192.0.2.0/24"]},"Bool":{"aws:ViaAWSService":"false"}}},
		{"Effect":"Deny","NotAction":["iam:*","sts:*","s3:*"],"Resource":"*","Condition":{"StringNotEquals":{"aws:RequestedRegion":["us-east-1","eu-west-1"]}}}`)
	add(typical, "projects", `{"Effect":"Allow","Action":["s3:GetObject","s3:PutObject"],"Resource":"arn:aws:s3:::data/${aws:PrincipalTag/team}/*"},
		{"Effect":"Deny","Action":"s3:DeleteObject","Resource":"*","Condition":{"DateLessThan":{"aws:CurrentTime":"2020-01-01T00:00:00Z"}}}`)
	narrow := &user{ID: "AIDAN", Name: "narrow"}
	add(narrow, "rows", `{"Effect":"Allow","Action":["cassandra:Select","cassandra:Modify"],"Resource":"arn:aws:cassandra:us-east-1:111122223333:/keyspace/shop/table/*"}`)
	d.current.Store(&snapshot{accounts: map[string]*account{"111122223333": {settings: &settings{ID: "111122223333"},
		users: map[string]*user{"typical": typical, "narrow": narrow}, ids: map[string]string{"AIDAT": "typical", "AIDAN": "narrow"}}}})
	for _, bb := range []struct {
		user *user
		perm call.Permission
	}{
		{typical, call.Permission{Action: "s3:GetObject", Resource: "arn:aws:s3:::data/blue/report.csv"}},
		{narrow, call.Permission{Action: "cassandra:Select", Resource: "arn:aws:cassandra:us-east-1:111122223333:/keyspace/shop/table/orders"}},
	} {
		b.Run(bb.user.Name, func(b *testing.B) {
			c := &call.Call{Region: "us-east-1", AccountID: "111122223333", SourceIP: "10.1.2.3", Caller: &aws.Caller{Type: aws.IAMUser, AccountID: "111122223333",
				PrincipalID: bb.user.ID, ARN: "arn:aws:iam::111122223333:user/" + bb.user.Name, UserName: bb.user.Name, Tags: map[string]string{"team": "blue"}}}
			perms := []call.Permission{bb.perm}
			ctx := context.Background()
			b.ReportAllocs()
			for b.Loop() {
				if err := d.Authorize(ctx, c, perms); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
