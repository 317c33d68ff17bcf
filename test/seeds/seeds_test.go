// Package seeds provokes, through real clients, every sample event of AWS's
// two pages on logging Athena and Keyspaces calls with CloudTrail, and
// compares what the server delivers with the samples field by field.
//
// Sources: Athena user guide, "Log Amazon Athena API calls with AWS
// CloudTrail"; Keyspaces developer guide, "Logging Amazon Keyspaces API calls
// with AWS CloudTrail". testdata holds the samples' values, with account,
// names of principals and eventVersion as this test's server has them.
package seeds

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"testing"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/athena"
	athenatypes "github.com/aws/aws-sdk-go-v2/service/athena/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sigv4-auth-cassandra-gocql-driver-plugin/sigv4"
	gocqlv1 "github.com/gocql/gocql"

	"spoor/test/harness"
)

// superset are the members that eventVersion 1.11 has and the samples of
// earlier versions lack. A record may have them beyond a sample; nothing else.
var superset = map[string]bool{
	"readOnly": true, "managementEvent": true, "eventCategory": true, "tlsDetails": true, "apiVersion": true,
	"userIdentity.accessKeyId": true, "tlsDetails.keyExchange": true,
}

var patterns = map[string]*regexp.Regexp{
	"<uuid>": regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`),
	"<time>": regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$`),
	"<ip>":   regexp.MustCompile(`^127\.0\.0\.1$`),
	"<any>":  regexp.MustCompile(`.`),
}

func matchString(want, got string) bool {
	if p := patterns[want]; p != nil {
		return p.MatchString(got)
	}
	if strings.HasPrefix(want, "<id ") { // "<id AROA>:alice"
		prefix, rest, _ := strings.Cut(strings.TrimPrefix(want, "<id "), ">")
		return regexp.MustCompile(`^` + prefix + `[A-Z0-9]{16,17}` + regexp.QuoteMeta(rest) + `$`).MatchString(got)
	}
	return want == got
}

// compare lists the differences between a sample and a record.
func compare(path string, want, got any) []string {
	at := strings.TrimPrefix(path, ".")
	differs := func() []string { return []string{fmt.Sprintf("%s: want %v, got %v", at, want, got)} }
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			return differs()
		}
		var out []string
		for k, v := range w {
			x, has := g[k]
			if !has {
				out = append(out, fmt.Sprintf("%s.%s is missing", at, k))
				continue
			}
			out = append(out, compare(path+"."+k, v, x)...)
		}
		for k := range g {
			if _, has := w[k]; !has && !superset[strings.TrimPrefix(path+"."+k, ".")] {
				out = append(out, fmt.Sprintf("%s.%s is not in the sample: %v", at, k, g[k]))
			}
		}
		sort.Strings(out)
		return out
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(w) {
			return differs()
		}
		var out []string
		for i := range w {
			out = append(out, compare(fmt.Sprintf("%s[%d]", path, i), w[i], g[i])...)
		}
		return out
	case string:
		if g, ok := got.(string); !ok || !matchString(w, g) {
			return differs()
		}
		return nil
	}
	if want != got {
		return differs()
	}
	return nil
}

func sample(t *testing.T, name string) map[string]any {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

const adminPolicy = "arn:aws:iam::aws:policy/AdministratorAccess"

// user makes an IAM user that may do everything, with an access key and a
// service-specific credential.
func user(t *testing.T, srv *harness.Server, name string) harness.Profile {
	t.Helper()
	ctx, c := t.Context(), srv.AWS(srv.Profiles["admin"]).IAM
	if _, err := c.CreateUser(ctx, &iam.CreateUserInput{UserName: &name}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.AttachUserPolicy(ctx, &iam.AttachUserPolicyInput{UserName: &name, PolicyArn: aws.String(adminPolicy)}); err != nil {
		t.Fatal(err)
	}
	key, err := c.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: &name})
	if err != nil {
		t.Fatal(err)
	}
	login, err := c.CreateServiceSpecificCredential(ctx, &iam.CreateServiceSpecificCredentialInput{UserName: &name, ServiceName: aws.String("cassandra.amazonaws.com")})
	if err != nil {
		t.Fatal(err)
	}
	return harness.Profile{AccessKeyID: *key.AccessKey.AccessKeyId, SecretAccessKey: *key.AccessKey.SecretAccessKey,
		CQLUser: *login.ServiceSpecificCredential.ServiceUserName, CQLPassword: *login.ServiceSpecificCredential.ServicePassword}
}

// role makes a role that the account may assume, and assumes it as alice.
func role(t *testing.T, srv *harness.Server, name string) harness.Profile {
	t.Helper()
	ctx, c := t.Context(), srv.AWS(srv.Profiles["admin"])
	trust := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::%s:root"},"Action":"sts:AssumeRole"}]}`, srv.Account)
	made, err := c.IAM.CreateRole(ctx, &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: &trust})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.IAM.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: &name, PolicyArn: aws.String(adminPolicy)}); err != nil {
		t.Fatal(err)
	}
	out, err := c.STS.AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: made.Role.Arn, RoleSessionName: aws.String("alice")})
	if err != nil {
		t.Fatal(err)
	}
	return harness.Profile{AccessKeyID: *out.Credentials.AccessKeyId, SecretAccessKey: *out.Credentials.SecretAccessKey, SessionToken: *out.Credentials.SessionToken}
}

func TestSampleEvents(t *testing.T) {
	t.Parallel()
	srv := harness.Start(t, "--delivery-interval", "1s")
	john, alice, session := user(t, srv, "johndoe"), user(t, srv, "alice"), role(t, srv, "Admin")
	harness.StartTrail(t, srv, "seeds", true, harness.Management(), harness.Data("AWS::Cassandra::Table", ""))

	provokeAthena(t, srv, john)
	provokeDDL(t, srv, session)
	provokeDML(t, srv, alice)

	// Newest last; a sample is compared with the record of the call that this
	// test made for it, found by what only that call has.
	var records []map[string]any
	for _, raw := range harness.StopTrail(t, srv, "seeds") {
		var m map[string]any
		if err := json.Unmarshal(raw, &m); err != nil {
			t.Fatal(err)
		}
		records = append(records, m)
	}
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) != 11 {
		t.Fatalf("%d samples (%v), want 11", len(files), err)
	}
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".json")
		t.Run(name, func(t *testing.T) {
			want := sample(t, name)
			var nearest []string
			for _, got := range records {
				if got["eventName"] != want["eventName"] {
					continue
				}
				diff := compare("", want, any(got))
				if len(diff) == 0 {
					return
				}
				if nearest == nil || len(diff) < len(nearest) {
					nearest = diff
				}
			}
			if nearest == nil {
				t.Fatalf("no record named %v was delivered", want["eventName"])
			}
			t.Errorf("the nearest record differs:\n%s", strings.Join(nearest, "\n"))
		})
	}
}

func provokeAthena(t *testing.T, srv *harness.Server, john harness.Profile) {
	t.Helper()
	ctx, c := t.Context(), srv.AWS(john)
	if _, err := c.S3.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("athena-johndoe-test")}); err != nil {
		t.Fatal(err)
	}
	in := &athena.StartQueryExecutionInput{QueryString: aws.String("SELECT 'a secret'"), ClientRequestToken: aws.String("16bc6e70-f972-4260-b18a-db1b623cb35c")}
	in.ResultConfiguration = resultsIn("s3://athena-johndoe-test/test/")
	if _, err := c.Athena.StartQueryExecution(ctx, in); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Athena.StartQueryExecution(ctx, &athena.StartQueryExecutionInput{QueryString: aws.String("SELECT 'a secret'"),
		ClientRequestToken: aws.String("ca0e965f-d6d8-4277-8257-814a57f57446")}); err == nil {
		t.Fatal("a query without an output location was accepted")
	}
	west := srv.AWSIn(john, "us-west-2")
	if _, err := west.Athena.CreateNamedQuery(ctx, &athena.CreateNamedQueryInput{Name: aws.String("johndoetest"), Database: aws.String("default"),
		QueryString: aws.String("SELECT 'a secret'"), ClientRequestToken: aws.String("fc1ad880-69ee-4df0-bb0f-1770d9a539b1")}); err != nil {
		t.Fatal(err)
	}
}

// session opens a CQL session whose TLS is what the samples show.
func session(t *testing.T, srv *harness.Server, p harness.Profile, version uint16, suite uint16) *gocql.Session {
	t.Helper()
	conf, err := srv.Cluster(p)
	if err != nil {
		t.Fatal(err)
	}
	conf.SslOpts.Config.MinVersion, conf.SslOpts.Config.MaxVersion = version, version
	if suite != 0 {
		conf.SslOpts.Config.CipherSuites = []uint16{suite}
	}
	if p.CQLUser == "" {
		conf.Authenticator = sasl{sigv4.AwsAuthenticator{Region: srv.Region, AccessKeyId: p.AccessKeyID,
			SecretAccessKey: p.SecretAccessKey, SessionToken: p.SessionToken}}
	}
	s, err := conf.CreateSession()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func provokeDDL(t *testing.T, srv *harness.Server, p harness.Profile) {
	t.Helper()
	s := session(t, srv, p, tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256)
	for _, name := range []string{"create-keyspace", "create-table", "drop-table", "drop-keyspace"} {
		raw := sample(t, "keyspaces-"+name)["requestParameters"].(map[string]any)["rawQuery"].(string)
		if err := s.Query(raw).Exec(); err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
	}
}

func provokeDML(t *testing.T, srv *harness.Server, p harness.Profile) {
	t.Helper()
	s := session(t, srv, p, tls.VersionTLS13, 0)
	must := func(stmt string, args ...any) {
		t.Helper()
		if err := s.Query(stmt, args...).Exec(); err != nil {
			t.Fatalf("%s: %v", stmt, err)
		}
	}
	must(`CREATE KEYSPACE my_keyspace WITH REPLICATION = {'class': 'SingleRegionStrategy'}`)
	must(`CREATE TABLE my_keyspace.my_table (pk text, ck int, region text, PRIMARY KEY (pk, ck))`)
	must(`INSERT INTO my_keyspace.my_table (pk, ck, region) VALUES (?, ?, ?) USING TTL 20000`, "p", 1008, "test")
	must(`SELECT pk, ck, region FROM my_keyspace.my_table WHERE pk = 'p' AND ck < 3000 AND region = 'test' ALLOW FILTERING`)
	must(`DROP TABLE my_keyspace.my_table`)
	must(`CREATE TABLE my_keyspace.my_table (pk text, ck text, nonkey int, PRIMARY KEY (pk, ck))`)
	must(`UPDATE my_keyspace.my_table SET nonkey = ? WHERE pk = ? AND ck = ? IF nonkey < ?`, 12, "test", "string", 1007)
	must(`DROP TABLE my_keyspace.my_table`)
	must(`CREATE TABLE my_keyspace.my_table (pk int, ck int, m text, s text, PRIMARY KEY (pk, ck))`)
	must(`DELETE m, s FROM my_keyspace.my_table WHERE pk = 1 AND ck = 2`)
}

// sasl lends AWS's own SigV4 plugin, which is made for the driver's first
// version, to the second.
type sasl struct{ inner gocqlv1.Authenticator }

func (s sasl) Challenge(req []byte) ([]byte, gocql.Authenticator, error) {
	out, next, err := s.inner.Challenge(req)
	if next == nil {
		return out, nil, err
	}
	return out, sasl{next}, err
}

func (s sasl) Success(data []byte) error { return s.inner.Success(data) }

func resultsIn(location string) *athenatypes.ResultConfiguration {
	return &athenatypes.ResultConfiguration{OutputLocation: &location}
}

// TestIdentities: a call by each type of identity, a failed and a denied call,
// each recorded with who it was and how it ended.
func TestIdentities(t *testing.T) {
	t.Parallel()
	srv := harness.Start(t, "--delivery-interval", "1s")
	bob, assumed := user(t, srv, "bob"), role(t, srv, "Worker")
	ctx, admin := t.Context(), srv.AWS(srv.Profiles["admin"])
	eve := "eve"
	if _, err := admin.IAM.CreateUser(ctx, &iam.CreateUserInput{UserName: &eve}); err != nil {
		t.Fatal(err)
	}
	key, err := admin.IAM.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: &eve})
	if err != nil {
		t.Fatal(err)
	}
	nobody := harness.Profile{AccessKeyID: *key.AccessKey.AccessKeyId, SecretAccessKey: *key.AccessKey.SecretAccessKey}
	harness.StartTrail(t, srv, "who", true, harness.Management())

	list := func(p harness.Profile, name string) error {
		_, err := srv.AWS(p).Athena.GetWorkGroup(ctx, &athena.GetWorkGroupInput{WorkGroup: &name})
		return err
	}
	for name, p := range map[string]harness.Profile{"root": srv.Profiles["root"], "bob": bob, "assumed": assumed} {
		if err := list(p, "primary"); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	if err := list(bob, "no-such-workgroup"); err == nil {
		t.Fatal("an unknown workgroup was found")
	}
	if err := list(nobody, "primary"); err == nil {
		t.Fatal("a user without a policy was let in")
	}
	forged := bob
	forged.SecretAccessKey = "not" + forged.SecretAccessKey
	if err := list(forged, "primary"); err == nil {
		t.Fatal("a wrong signature was let in")
	}

	type want struct{ typ, arn, code, message string }
	arn := func(service, rest string) string { return "arn:aws:" + service + "::" + srv.Account + ":" + rest }
	missing := map[want]bool{
		{"Root", arn("iam", "root"), "", ""}:                                                      true,
		{"IAMUser", arn("iam", "user/bob"), "", ""}:                                               true,
		{"AssumedRole", arn("sts", "assumed-role/Worker/alice"), "", ""}:                          true,
		{"IAMUser", arn("iam", "user/bob"), "InvalidRequestException", "WorkGroup is not found."}: true,
		{"IAMUser", arn("iam", "user/eve"), "AccessDenied", fmt.Sprintf("User: %s is not authorized to perform: athena:GetWorkGroup on resource: arn:aws:athena:us-east-1:%s:workgroup/primary because no identity-based policy allows the athena:GetWorkGroup action", arn("iam", "user/eve"), srv.Account)}: true,
	}
	forgedSeen := false
	for _, raw := range harness.StopTrail(t, srv, "who") {
		var r struct {
			EventName, ErrorCode, ErrorMessage string
			UserIdentity                       struct{ Type, ARN, AccessKeyID string }
		}
		if err := json.Unmarshal(raw, &r); err != nil {
			t.Fatal(err)
		}
		if r.EventName != "GetWorkGroup" {
			continue
		}
		delete(missing, want{r.UserIdentity.Type, r.UserIdentity.ARN, r.ErrorCode, r.ErrorMessage})
		if r.ErrorCode == "InvalidSignatureException" {
			// The key was named, not proven: the record must not say it was bob.
			forgedSeen = r.UserIdentity.AccessKeyID == bob.AccessKeyID && r.UserIdentity.Type == "Unknown"
		}
	}
	for w := range missing {
		t.Errorf("no record of %+v", w)
	}
	if !forgedSeen {
		t.Error("no record of the wrong signature, or one that names its user as proven")
	}
}
