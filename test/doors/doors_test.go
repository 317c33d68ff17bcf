// Package doors holds, with real clients and one running server, that what is
// not granted is denied over every door: the HTTP APIs, S3 in all its forms,
// CQL and Athena's queries. Each denial is answered in its protocol's own form
// with AWS's message, and leaves a record whose errorCode is AccessDenied.
package doors

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/athena"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/keyspaces"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"spoor/test/harness"
)

// world is the server of the test and what its records must show.
type world struct {
	srv   *harness.Server
	admin harness.Clients

	mu   sync.Mutex
	want []denial
}

// denial is a record that must be there: of a request, or of a user's event
// where the client does not learn a request's id.
type denial struct{ door, requestID, user, event string }

func (w *world) expect(d denial) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.want = append(w.want, d)
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// statement is one of a policy; allow and deny make them.
type statement struct {
	Effect    string         `json:"Effect"`
	Action    []string       `json:"Action"`
	Resource  []string       `json:"Resource"`
	Principal any            `json:"Principal,omitempty"`
	Condition map[string]any `json:"Condition,omitempty"`
}

func allow(actions string, resources ...string) statement {
	return statement{Effect: "Allow", Action: strings.Fields(actions), Resource: resources}
}

func deny(actions string, resources ...string) statement {
	return statement{Effect: "Deny", Action: strings.Fields(actions), Resource: resources}
}

func (s statement) when(operator, key string, values ...string) statement {
	s.Condition = map[string]any{operator: map[string]any{key: values}}
	return s
}

func (s statement) to(principal any) statement {
	s.Principal = principal
	return s
}

func document(list ...statement) *string {
	b, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": list})
	if err != nil {
		panic(err) // plain data always encodes
	}
	return aws.String(string(b))
}

// user makes a user with a policy, an access key and a CQL login.
func (w *world) user(t testing.TB, name string, list ...statement) harness.Profile {
	t.Helper()
	ctx := t.Context()
	must[*iam.CreateUserOutput](t)(w.admin.IAM.CreateUser(ctx, &iam.CreateUserInput{UserName: &name}))
	w.policy(t, name, list...)
	key := must[*iam.CreateAccessKeyOutput](t)(w.admin.IAM.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: &name})).AccessKey
	login := must[*iam.CreateServiceSpecificCredentialOutput](t)(w.admin.IAM.CreateServiceSpecificCredential(ctx,
		&iam.CreateServiceSpecificCredentialInput{UserName: &name, ServiceName: aws.String("cassandra.amazonaws.com")})).ServiceSpecificCredential
	return harness.Profile{AccessKeyID: *key.AccessKeyId, SecretAccessKey: *key.SecretAccessKey, CQLUser: *login.ServiceUserName, CQLPassword: *login.ServicePassword}
}

// policy replaces a user's policy.
func (w *world) policy(t testing.TB, name string, list ...statement) {
	t.Helper()
	if len(list) == 0 {
		list = []statement{allow("sts:GetCallerIdentity", "*")}
	}
	must[*iam.PutUserPolicyOutput](t)(w.admin.IAM.PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{UserName: &name, PolicyName: aws.String("p"), PolicyDocument: document(list...)}))
}

func (w *world) arn(service, resource string) string {
	region := w.srv.Region
	if service == "iam" {
		region = ""
	}
	return "arn:aws:" + service + ":" + region + ":" + w.srv.Account + ":" + resource
}

// denied checks an answer of AWS's SDK: 403 or 400 as the protocol has it, its
// code, and the message that names the action and the resource. why is the
// reason that ends it.
func (w *world) denied(t *testing.T, err error, action, resource, why string) {
	t.Helper()
	var api smithy.APIError
	var res *awshttp.ResponseError
	if err == nil || !errors.As(err, &api) || !errors.As(err, &res) {
		t.Errorf("%s on %s: %v, want a denial", action, resource, err)
		return
	}
	if code := strings.TrimSuffix(api.ErrorCode(), "Exception"); code != "AccessDenied" {
		t.Errorf("%s on %s: code %s: %v", action, resource, api.ErrorCode(), err)
		return
	}
	m := api.ErrorMessage()
	if !strings.Contains(m, "is not authorized to perform: "+action) || !strings.Contains(m, resource) || !strings.Contains(m, why) {
		t.Errorf("%s on %s, %q: message %q", action, resource, why, m)
	}
	w.expect(denial{door: action, requestID: res.ServiceRequestID()})
}

const noIdentity = "because no identity-based policy allows the "

func TestDoors(t *testing.T) {
	t.Parallel()
	srv := harness.Start(t)
	w := &world{srv: srv, admin: srv.AWS(srv.Profiles["admin"])}
	const trail = "doors-trail"
	harness.StartTrail(t, srv, trail, false, harness.Management(), harness.Data("AWS::S3::Object", ""), harness.Data("AWS::Cassandra::Table", ""))
	w.stockS3(t)
	t.Run("doors", func(t *testing.T) {
		for name, fn := range map[string]func(*testing.T){"http": w.http, "s3": w.s3Objects, "s3 copies": w.s3Copies, "s3 multipart": w.s3Multipart, "s3 presigned": w.s3Presigned,
			"s3 public": w.s3Public, "keys": w.keys, "sessions": w.sessions, "cql": w.cql, "athena": w.athena} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				fn(t)
			})
		}
	})
	w.checkRecords(t, harness.StopTrail(t, srv, trail))
}

// checkRecords finds a record of every denial.
func (w *world) checkRecords(t *testing.T, records []json.RawMessage) {
	byID, byEvent := map[string]string{}, map[string]bool{}
	for _, raw := range records {
		var r struct {
			RequestID, EventName, ErrorCode, ErrorMessage string
			UserIdentity                                  struct{ UserName string }
		}
		if err := json.Unmarshal(raw, &r); err != nil {
			t.Fatal(err)
		}
		byID[r.RequestID] = r.ErrorCode
		if r.ErrorCode == "AccessDenied" && strings.Contains(r.ErrorMessage, "is not authorized") {
			byEvent[r.UserIdentity.UserName+" "+r.EventName] = true
		}
	}
	if len(w.want) < 60 {
		t.Errorf("only %d denials were asked for", len(w.want))
	}
	for _, d := range w.want {
		switch {
		case d.requestID != "" && byID[d.requestID] != "AccessDenied":
			t.Errorf("%s: the record of request %s has errorCode %q", d.door, d.requestID, byID[d.requestID])
		case d.requestID == "" && !byEvent[d.user+" "+d.event]:
			t.Errorf("%s: no record of %s being denied %s", d.door, d.user, d.event)
		}
	}
	t.Logf("%d denials, %d records", len(w.want), len(records))
}

// http: an operation of every API, by a user who may do nothing.
func (w *world) http(t *testing.T) {
	c := w.srv.AWS(w.user(t, "nobody"))
	ctx := t.Context()
	for _, tc := range []struct {
		action, resource string
		call             func() error
	}{
		{"athena:ListWorkGroups", "", func() error {
			_, err := c.Athena.ListWorkGroups(ctx, &athena.ListWorkGroupsInput{})
			return err
		}},
		{"athena:GetWorkGroup", w.arn("athena", "workgroup/primary"), func() error {
			_, err := c.Athena.GetWorkGroup(ctx, &athena.GetWorkGroupInput{WorkGroup: aws.String("primary")})
			return err
		}},
		{"athena:UpdateWorkGroup", w.arn("athena", "workgroup/primary"), func() error {
			_, err := c.Athena.UpdateWorkGroup(ctx, &athena.UpdateWorkGroupInput{WorkGroup: aws.String("primary")})
			return err
		}},
		{"athena:GetTableMetadata", w.arn("athena", "datacatalog/AwsDataCatalog"), func() error {
			_, err := c.Athena.GetTableMetadata(ctx, &athena.GetTableMetadataInput{CatalogName: aws.String("AwsDataCatalog"), DatabaseName: aws.String("d"), TableName: aws.String("t")})
			return err
		}},
		{"cloudtrail:DescribeTrails", "", func() error {
			_, err := c.CloudTrail.DescribeTrails(ctx, &cloudtrail.DescribeTrailsInput{})
			return err
		}},
		{"cloudtrail:LookupEvents", "", func() error {
			_, err := c.CloudTrail.LookupEvents(ctx, &cloudtrail.LookupEventsInput{})
			return err
		}},
		{"iam:ListUsers", "", func() error {
			_, err := c.IAM.ListUsers(ctx, &iam.ListUsersInput{})
			return err
		}},
		{"iam:CreateAccessKey", w.arn("iam", "user/admin"), func() error {
			_, err := c.IAM.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: aws.String("admin")})
			return err
		}},
		{"cassandra:Select", "", func() error {
			_, err := c.Keyspaces.ListKeyspaces(ctx, &keyspaces.ListKeyspacesInput{})
			return err
		}},
		{"cassandra:Create", w.arn("cassandra", "/keyspace/mine/"), func() error {
			_, err := c.Keyspaces.CreateKeyspace(ctx, &keyspaces.CreateKeyspaceInput{KeyspaceName: aws.String("mine")})
			return err
		}},
		{"s3:ListAllMyBuckets", "", func() error {
			_, err := c.S3.ListBuckets(ctx, &s3.ListBucketsInput{})
			return err
		}},
		{"s3:CreateBucket", "arn:aws:s3:::doors-mine", func() error {
			_, err := c.S3.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("doors-mine")})
			return err
		}},
		{"sts:AssumeRole", w.arn("iam", "role/none"), func() error {
			_, err := c.STS.AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: aws.String(w.arn("iam", "role/none")), RoleSessionName: aws.String("session")})
			return err
		}},
	} {
		why := noIdentity + tc.action + " action"
		if tc.action == "sts:AssumeRole" {
			why = ""
		}
		w.denied(t, tc.call(), tc.action, tc.resource, why)
	}
}

// keys: a key that is inactive or deleted opens nothing, with a message that
// tells nothing about its owner.
func (w *world) keys(t *testing.T) {
	p := w.user(t, "keyholder", allow("s3:* athena:*", "*"))
	c, ctx := w.srv.AWS(p), t.Context()
	must[*s3.ListBucketsOutput](t)(c.S3.ListBuckets(ctx, &s3.ListBucketsInput{}))
	refused := func(step string) {
		t.Helper()
		var api smithy.APIError
		if _, err := c.S3.ListBuckets(ctx, &s3.ListBucketsInput{}); !errors.As(err, &api) || api.ErrorCode() != "InvalidAccessKeyId" {
			t.Errorf("S3 with a key that is %s: %v", step, err)
		}
		if _, err := c.Athena.ListWorkGroups(ctx, &athena.ListWorkGroupsInput{}); !errors.As(err, &api) || api.ErrorCode() != "UnrecognizedClientException" {
			t.Errorf("Athena with a key that is %s: %v", step, err)
		}
	}
	must[*iam.UpdateAccessKeyOutput](t)(w.admin.IAM.UpdateAccessKey(ctx, &iam.UpdateAccessKeyInput{UserName: aws.String("keyholder"), AccessKeyId: &p.AccessKeyID, Status: "Inactive"}))
	refused("inactive")
	must[*iam.DeleteAccessKeyOutput](t)(w.admin.IAM.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: aws.String("keyholder"), AccessKeyId: &p.AccessKeyID}))
	refused("deleted")
}

// sessions: session policies and boundaries narrow; a revocation by issue time
// and the role's end take effect on sessions that are there.
func (w *world) sessions(t *testing.T) {
	ctx := t.Context()
	user := w.srv.AWS(w.user(t, "assumer", allow("sts:AssumeRole", "*")))
	role := "doors-role"
	must[*iam.CreateRoleOutput](t)(w.admin.IAM.CreateRole(ctx, &iam.CreateRoleInput{RoleName: &role, AssumeRolePolicyDocument: aws.String(
		fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"%s"},"Action":"sts:AssumeRole"}]}`, w.arn("iam", "user/assumer")))}))
	put := func(name string, list ...statement) {
		must[*iam.PutRolePolicyOutput](t)(w.admin.IAM.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: &role, PolicyName: &name, PolicyDocument: document(list...)}))
	}
	put("all", allow("s3:*", "*"))
	assume := func(session string, policy *string) harness.Clients {
		out := must[*sts.AssumeRoleOutput](t)(user.STS.AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: aws.String(w.arn("iam", "role/"+role)), RoleSessionName: &session, Policy: policy}))
		return w.srv.AWS(harness.Profile{AccessKeyID: *out.Credentials.AccessKeyId, SecretAccessKey: *out.Credentials.SecretAccessKey, SessionToken: *out.Credentials.SessionToken})
	}
	whole, narrow := assume("whole", nil), assume("narrow", document(allow("s3:GetObject", object("pub/*"))))
	w.get(t, whole, "priv/b")
	w.get(t, narrow, "pub/a")
	w.denied(t, w.tryGet(ctx, narrow, "priv/b"), "s3:GetObject", object("priv/b"), "because no session policy allows the s3:GetObject action")
	w.denied(t, w.tryList(ctx, narrow, "pub/"), "s3:ListBucket", bucketARN, "because no session policy allows the s3:ListBucket action")

	must[*iam.CreateUserOutput](t)(w.admin.IAM.CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String("bounded"), PermissionsBoundary: aws.String("arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess")}))
	w.policy(t, "bounded", allow("s3:*", "*"))
	key := must[*iam.CreateAccessKeyOutput](t)(w.admin.IAM.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: aws.String("bounded")})).AccessKey
	bounded := w.srv.AWS(harness.Profile{AccessKeyID: *key.AccessKeyId, SecretAccessKey: *key.SecretAccessKey})
	w.get(t, bounded, "priv/b")
	w.denied(t, w.tryPut(ctx, bounded, "pub/bounded"), "s3:PutObject", object("pub/bounded"), "because no permissions boundary allows the s3:PutObject action")

	put("AWSRevokeOlderSessions", deny("*", "*").when("DateLessThan", "aws:TokenIssueTime", "2999-01-01T00:00:00Z"))
	w.denied(t, w.tryGet(ctx, whole, "pub/a"), "s3:GetObject", object("pub/a"), "with an explicit deny in an identity-based policy")
	for _, name := range []string{"all", "AWSRevokeOlderSessions"} {
		must[*iam.DeleteRolePolicyOutput](t)(w.admin.IAM.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: &role, PolicyName: &name}))
	}
	must[*iam.DeleteRoleOutput](t)(w.admin.IAM.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: &role}))
	var api smithy.APIError
	if err := w.tryGet(ctx, whole, "pub/a"); !errors.As(err, &api) || api.ErrorCode() != "InvalidToken" {
		t.Errorf("a session of a deleted role: %v", err)
	}
}

func (w *world) tryGet(ctx context.Context, c harness.Clients, key string) error {
	out, err := c.S3.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(bucket), Key: &key})
	if err == nil {
		err = out.Body.Close()
	}
	return err
}

func (w *world) get(t *testing.T, c harness.Clients, key string) {
	t.Helper()
	if err := w.tryGet(t.Context(), c, key); err != nil {
		t.Errorf("reading %s, which is granted: %v", key, err)
	}
}

func (w *world) tryPut(ctx context.Context, c harness.Clients, key string) error {
	_, err := c.S3.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(bucket), Key: &key, Body: strings.NewReader("x")})
	return err
}

func (w *world) tryList(ctx context.Context, c harness.Clients, prefix string) error {
	in := &s3.ListObjectsV2Input{Bucket: aws.String(bucket)}
	if prefix != "" {
		in.Prefix = &prefix
	}
	_, err := c.S3.ListObjectsV2(ctx, in)
	return err
}
