// Package accounts tests that accounts and regions of one server never see each
// other, through AWS's SDK and a Cassandra driver.
package accounts

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/athena"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	cttypes "github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/keyspaces"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"

	"spoor/test/harness"
)

const (
	red  = "111111111111"
	blue = "222222222222"
)

var regions = []string{"us-east-1", "eu-west-1"}

// of is a call's answer; its error ends the test.
func of[T any](out T, err error) func(t testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}

// place is an account in a region.
type place struct{ account, region string }

func places() []place {
	var out []place
	for _, a := range []string{red, blue} {
		for _, r := range regions {
			out = append(out, place{a, r})
		}
	}
	return out
}

// start runs a server with the account red by configuration and blue by
// command.
func start(t *testing.T) (*harness.Server, map[string]harness.Profile) {
	t.Helper()
	s := harness.Start(t, "--accounts", red, "--delivery-interval", "1s")
	out, code, err := s.Spoor(t.Context(), "account", "add", blue, "--alias", "team-blue", "--data", s.Dir)
	if err != nil || code != 0 {
		t.Fatalf("account add: %v, exit %d: %s", err, code, out)
	}
	raw, err := os.ReadFile(s.Dir + "/credentials.json")
	if err != nil {
		t.Fatal(err)
	}
	var creds struct {
		Accounts map[string]map[string]harness.Profile `json:"accounts"`
	}
	if err := json.Unmarshal(raw, &creds); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(s.Dir + "/credentials.json"); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("credentials.json: %v, %v", info.Mode(), err)
	}
	return s, map[string]harness.Profile{red: creds.Accounts[red]["admin"], blue: creds.Accounts[blue]["admin"]}
}

// TestSameNamesEverywhere makes things of the same names in two accounts and two
// regions, and looks at what each of the four sees.
func TestSameNamesEverywhere(t *testing.T) {
	t.Parallel()
	s, admin := start(t)
	ctx := t.Context()
	for _, p := range places() {
		c := s.AWSIn(admin[p.account], p.region)
		if id := of(c.STS.GetCallerIdentity(ctx, nil))(t); *id.Account != p.account {
			t.Fatalf("the admin of %s is one of %s", p.account, *id.Account)
		}
		mark := p.account + " " + p.region
		of(c.Athena.CreateWorkGroup(ctx, &athena.CreateWorkGroupInput{Name: new("same"), Description: &mark}))(t)
		of(c.Keyspaces.CreateKeyspace(ctx, &keyspaces.CreateKeyspaceInput{KeyspaceName: new("same")}))(t)
		bucket := fmt.Sprintf("trail-%s-%s", p.account, p.region)
		in := &s3.CreateBucketInput{Bucket: &bucket}
		if p.region != "us-east-1" {
			in.CreateBucketConfiguration = &s3types.CreateBucketConfiguration{LocationConstraint: s3types.BucketLocationConstraint(p.region)}
		}
		of(c.S3.CreateBucket(ctx, in))(t)
		of(c.S3.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: &bucket, Policy: new(harness.TrailPolicy(bucket, p.account))}))(t)
		trail := of(c.CloudTrail.CreateTrail(ctx, &cloudtrail.CreateTrailInput{Name: new("same"), S3BucketName: &bucket}))(t)
		if want := fmt.Sprintf("arn:aws:cloudtrail:%s:%s:trail/same", p.region, p.account); *trail.TrailARN != want {
			t.Errorf("the trail is %s, want %s", *trail.TrailARN, want)
		}
		of(c.CloudTrail.StartLogging(ctx, &cloudtrail.StartLoggingInput{Name: new("same")}))(t)
	}
	for _, account := range []string{red, blue} { // users have no region
		of(s.AWS(admin[account]).IAM.CreateUser(ctx, &iam.CreateUserInput{UserName: new("same")}))(t)
	}

	for _, p := range places() {
		c := s.AWSIn(admin[p.account], p.region)
		mark := p.account + " " + p.region
		if w := of(c.Athena.GetWorkGroup(ctx, &athena.GetWorkGroupInput{WorkGroup: new("same")}))(t); *w.WorkGroup.Description != mark {
			t.Errorf("%s sees the work group of %s", mark, *w.WorkGroup.Description)
		}
		ks := of(c.Keyspaces.GetKeyspace(ctx, &keyspaces.GetKeyspaceInput{KeyspaceName: new("same")}))(t)
		if want := fmt.Sprintf("arn:aws:cassandra:%s:%s:/keyspace/same/", p.region, p.account); *ks.ResourceArn != want {
			t.Errorf("%s sees the keyspace %s", mark, *ks.ResourceArn)
		}
		trails := of(c.CloudTrail.DescribeTrails(ctx, &cloudtrail.DescribeTrailsInput{}))(t)
		if len(trails.TrailList) != 1 || *trails.TrailList[0].S3BucketName != fmt.Sprintf("trail-%s-%s", p.account, p.region) {
			t.Errorf("%s sees the trails %v", mark, trails.TrailList)
		}
		if u := of(c.IAM.GetUser(ctx, &iam.GetUserInput{UserName: new("same")}))(t); !strings.Contains(*u.User.Arn, ":"+p.account+":") {
			t.Errorf("%s sees the user %s", mark, *u.User.Arn)
		}
		for _, b := range of(c.S3.ListBuckets(ctx, &s3.ListBucketsInput{}))(t).Buckets {
			if !strings.Contains(*b.Name, p.account) {
				t.Errorf("%s sees the bucket %s", mark, *b.Name)
			}
		}
	}

	// Deleting one touches no other.
	gone := places()[0]
	c := s.AWSIn(admin[gone.account], gone.region)
	of(c.Athena.DeleteWorkGroup(ctx, &athena.DeleteWorkGroupInput{WorkGroup: new("same")}))(t)
	of(c.Keyspaces.DeleteKeyspace(ctx, &keyspaces.DeleteKeyspaceInput{KeyspaceName: new("same")}))(t)
	of(c.CloudTrail.DeleteTrail(ctx, &cloudtrail.DeleteTrailInput{Name: new("same")}))(t)
	of(c.IAM.DeleteUser(ctx, &iam.DeleteUserInput{UserName: new("same")}))(t)
	for _, p := range places()[1:] {
		c := s.AWSIn(admin[p.account], p.region)
		of(c.Athena.GetWorkGroup(ctx, &athena.GetWorkGroupInput{WorkGroup: new("same")}))(t)
		of(c.Keyspaces.GetKeyspace(ctx, &keyspaces.GetKeyspaceInput{KeyspaceName: new("same")}))(t)
		of(c.CloudTrail.GetTrail(ctx, &cloudtrail.GetTrailInput{Name: new("same")}))(t)
	}
	of(s.AWS(admin[blue]).IAM.GetUser(ctx, &iam.GetUserInput{UserName: new("same")}))(t)

	for _, p := range places() {
		records(t, s, admin, p)
	}
}

// records looks at the event history of a place: what happened there and
// nothing else. IAM's events are in us-east-1.
func records(t *testing.T, s *harness.Server, admin map[string]harness.Profile, p place) {
	t.Helper()
	c := s.AWSIn(admin[p.account], p.region)
	seen := map[string]int{}
	var token *string
	for {
		out := of(c.CloudTrail.LookupEvents(t.Context(), &cloudtrail.LookupEventsInput{NextToken: token}))(t)
		for _, e := range out.Events {
			var r struct {
				Account  string `json:"recipientAccountId"`
				Region   string `json:"awsRegion"`
				Name     string `json:"eventName"`
				Identity struct {
					Account string `json:"accountId"`
				} `json:"userIdentity"`
			}
			if err := json.Unmarshal([]byte(*e.CloudTrailEvent), &r); err != nil {
				t.Fatal(err)
			}
			if r.Account != p.account || r.Region != p.region {
				t.Errorf("%v sees %s of %s in %s", p, r.Name, r.Account, r.Region)
			}
			if r.Identity.Account != p.account && r.Identity.Account != "" {
				t.Errorf("%v: %s was called by %s", p, r.Name, r.Identity.Account)
			}
			seen[r.Name]++
		}
		if token = out.NextToken; token == nil {
			break
		}
	}
	for _, name := range []string{"CreateWorkGroup", "CreateKeyspace", "CreateTrail", "CreateBucket"} {
		if seen[name] != 1 {
			t.Errorf("%v sees %s %d times, want once", p, name, seen[name])
		}
	}
	want := 0
	if p.region == "us-east-1" {
		want = 1
	}
	if seen["CreateUser"] != want {
		t.Errorf("%v sees CreateUser %d times, want %d", p, seen["CreateUser"], want)
	}
}

// TestCQLByTheNameOfTheServer makes the same table in two accounts and two
// regions; the region is in the name that the client asks TLS for.
func TestCQLByTheNameOfTheServer(t *testing.T) {
	t.Parallel()
	s, admin := start(t)
	for _, p := range places() {
		cluster := of(s.Cluster(admin[p.account]))(t)
		cluster.SslOpts.Config.ServerName = "cassandra." + p.region + ".amazonaws.com"
		session := of(cluster.CreateSession())(t)
		defer session.Close()
		for _, cql := range []string{
			"CREATE KEYSPACE IF NOT EXISTS shop WITH REPLICATION = {'class': 'SingleRegionStrategy'}",
			"CREATE TABLE shop.orders (id int PRIMARY KEY, place text)",
			"INSERT INTO shop.orders (id, place) VALUES (1, '" + p.account + " " + p.region + "')",
		} {
			if err := session.Query(cql).Exec(); err != nil {
				t.Fatalf("%v: %s: %v", p, cql, err)
			}
		}
	}
	for _, p := range places() {
		cluster := of(s.Cluster(admin[p.account]))(t)
		cluster.SslOpts.Config.ServerName = "cassandra." + p.region + ".amazonaws.com"
		session := of(cluster.CreateSession())(t)
		defer session.Close()
		var got string
		if err := session.Query("SELECT place FROM shop.orders WHERE id = 1").Scan(&got); err != nil || got != p.account+" "+p.region {
			t.Errorf("%v reads %q, %v", p, got, err)
		}
		tables := of(s.AWSIn(admin[p.account], p.region).Keyspaces.ListTables(t.Context(), &keyspaces.ListTablesInput{KeyspaceName: new("shop")}))(t)
		if len(tables.Tables) != 1 || !strings.Contains(*tables.Tables[0].ResourceArn, ":"+p.region+":"+p.account+":") {
			t.Errorf("%v sees the tables %v", p, tables.Tables)
		}
		events := of(s.AWSIn(admin[p.account], p.region).CloudTrail.LookupEvents(t.Context(), &cloudtrail.LookupEventsInput{
			LookupAttributes: []cttypes.LookupAttribute{{AttributeKey: cttypes.LookupAttributeKeyEventName, AttributeValue: new("CreateTable")}}}))(t)
		if len(events.Events) != 1 {
			t.Errorf("%v sees CreateTable %d times, want once", p, len(events.Events))
		}
	}
}

func TestAccountAdd(t *testing.T) {
	s, admin := start(t)
	ctx := context.Background()
	run := func(args ...string) (string, int) {
		out, code, err := s.Spoor(ctx, append(args, "--data", s.Dir)...)
		if err != nil {
			t.Fatal(err)
		}
		return out, code
	}
	for _, tt := range []struct{ id, alias, want string }{
		{blue, "", "EntityAlreadyExists"},
		{"333333333333", "team-blue", "EntityAlreadyExists"},
		{"33", "", "ValidationError"},
		{"333333333333", "Not An Alias", "ValidationError"},
	} {
		if out, code := run("account", "add", tt.id, "--alias", tt.alias); code == 0 || !strings.Contains(out, tt.want) {
			t.Errorf("account add %s %q: exit %d, %s", tt.id, tt.alias, code, out)
		}
	}
	aliases := of(s.AWS(admin[blue]).IAM.ListAccountAliases(ctx, nil))(t)
	if !slices.Equal(aliases.AccountAliases, []string{"team-blue"}) {
		t.Errorf("the aliases are %v", aliases.AccountAliases)
	}
	out, code := run("env", "--account", blue, "--profile", "root")
	if code != 0 || !strings.Contains(out, "SPOOR_ACCOUNT_ID='"+blue+"'") || !strings.Contains(out, "AWS_SECRET_ACCESS_KEY=") {
		t.Errorf("env: exit %d, %s", code, out)
	}
	if out, code := run("env", "--account", "999999999999"); code == 0 || !strings.Contains(out, "account add 999999999999") {
		t.Errorf("env of no account: exit %d, %s", code, out)
	}
	// The call is recorded, for the account that made it, without a secret.
	events := of(s.AWS(s.Profiles["admin"]).CloudTrail.LookupEvents(ctx, &cloudtrail.LookupEventsInput{
		LookupAttributes: []cttypes.LookupAttribute{{AttributeKey: cttypes.LookupAttributeKeyEventName, AttributeValue: new("CreateAccount")}}}))(t)
	if len(events.Events) != 5 { // the first, and four refusals
		t.Errorf("CreateAccount is recorded %d times, want 5", len(events.Events))
	}
	for _, e := range events.Events {
		if strings.Contains(*e.CloudTrailEvent, admin[blue].SecretAccessKey) {
			t.Error("the record holds a secret")
		}
	}

	// Everything survives a restart; a stopped server makes no account.
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if out, code := run("account", "add", "333333333333"); code == 0 || !strings.Contains(out, "--accounts 333333333333") {
		t.Errorf("account add without a server: exit %d, %s", code, out)
	}
	out, code = run("key", "rotate", "--to", s.Dir+"/../master.key")
	if code != 0 || !strings.Contains(out, "--master-key") {
		t.Fatalf("key rotate: exit %d, %s", code, out)
	}
	if err := s.Start(ctx); err == nil {
		t.Fatal("the server starts with the old key")
	}
	if !strings.Contains(s.Log(), "--master-key") {
		t.Errorf("the log does not say what to do: %s", s.Log())
	}
	t.Setenv("SPOOR_MASTER_KEY", s.Dir+"/../master.key")
	if err := s.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if id := of(s.AWS(admin[blue]).STS.GetCallerIdentity(ctx, nil))(t); *id.Account != blue {
		t.Errorf("after the restart the admin of blue is one of %s", *id.Account)
	}
	if out, code := run("key", "rotate"); code == 0 || !strings.Contains(out, "stop it") {
		t.Errorf("key rotate under a running server: exit %d, %s", code, out)
	}
}
