package iam

import (
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/service/iam"
)

// TestServiceRole: what CloudTrail may do with a role is what the role's trust
// policy, its own policies and its boundary say.
func TestServiceRole(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const (
		source = "arn:aws:cloudtrail:us-east-1:111122223333:trail/audit"
		stream = "arn:aws:logs:us-east-1:111122223333:log-group:ct:log-stream:s"
		write  = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"logs:PutLogEvents","Resource":"arn:aws:logs:*:*:log-group:ct:*"}]}`
		other  = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}`
		deny   = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"logs:*","Resource":"*"}]}`
	)
	trust := func(principal, condition string) string {
		return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":` + principal + `,"Action":"sts:AssumeRole"` + condition + `}]}`
	}
	service := `{"Service":"cloudtrail.amazonaws.com"}`
	for name, tc := range map[string]struct {
		trust, policy, boundary string
		assume, may             bool
	}{
		"good":          {trust(service, ""), write, "", true, true},
		"for-the-trail": {trust(service, `,"Condition":{"StringEquals":{"aws:SourceArn":"`+source+`","aws:SourceAccount":"111122223333"}}`), write, "", true, true},
		"for-another":   {trust(service, `,"Condition":{"StringEquals":{"aws:SourceArn":"`+source+`2"}}`), write, "", false, true},
		"of-ec2":        {trust(`{"Service":"ec2.amazonaws.com"}`, ""), write, "", false, true},
		"of-a-user":     {trust(`{"AWS":"111122223333"}`, ""), write, "", false, true},
		"no-policy":     {trust(service, ""), "", "", true, false},
		"other-action":  {trust(service, ""), other, "", true, false},
		"denied":        {trust(service, ""), deny, "", true, false},
		"bounded":       {trust(service, ""), write, "arn:aws:iam::aws:policy/ReadOnlyAccess", true, false},
	} {
		in := &sdk.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: &tc.trust}
		if tc.boundary != "" {
			in.PermissionsBoundary = &tc.boundary
		}
		out, err := w.admin.CreateRole(w.ctx, in)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if tc.policy != "" {
			if _, err := w.admin.PutRolePolicy(w.ctx, &sdk.PutRolePolicyInput{RoleName: &name, PolicyName: new("p"), PolicyDocument: &tc.policy}); err != nil {
				t.Fatal(err)
			}
		}
		assume, err := w.dir.ServiceMayAssume(*out.Role.Arn, ServiceUse{"cloudtrail.amazonaws.com", source, "111122223333"})
		if err != nil || assume != tc.assume {
			t.Errorf("%s: may be assumed: %v, %v", name, assume, err)
		}
		if may, err := w.dir.RoleMay(*out.Role.Arn, RoleUse{Action: "logs:PutLogEvents", Resource: stream}); err != nil || may != tc.may {
			t.Errorf("%s: may: %v, %v", name, may, err)
		}
	}
	for _, arn := range []string{"arn:aws:iam::111122223333:role/absent", "arn:aws:iam::999999999999:role/good", "nonsense", ""} {
		if ok, err := w.dir.ServiceMayAssume(arn, ServiceUse{Service: "cloudtrail.amazonaws.com"}); ok || err != nil {
			t.Errorf("%q may be assumed: %v, %v", arn, ok, err)
		}
		if may, err := w.dir.RoleMay(arn, RoleUse{Action: "logs:PutLogEvents", Resource: stream}); may || err != nil {
			t.Errorf("%q may: %v", arn, err)
		}
	}
}

// TestRoleForImport: a role's policies may ask for whom the service reads, and
// the resource's policy has its say.
func TestRoleForImport(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const (
		store  = "arn:aws:cloudtrail:us-east-1:111122223333:eventdatastore/ce4a2e1c-7b6f-4f0e-9b8e-3f6a1f2b3c4d"
		bucket = "arn:aws:s3:::logs"
	)
	out, err := w.admin.CreateRole(w.ctx, &sdk.CreateRoleInput{RoleName: new("importer"),
		AssumeRolePolicyDocument: new(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"cloudtrail.amazonaws.com"},"Action":"sts:AssumeRole"}]}`)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.admin.PutRolePolicy(w.ctx, &sdk.PutRolePolicyInput{RoleName: new("importer"), PolicyName: new("p"),
		PolicyDocument: new(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:ListBucket","s3:GetBucketAcl"],"Resource":"` + bucket +
			`","Condition":{"StringEquals":{"aws:SourceAccount":"111122223333","aws:SourceArn":"` + store + `"}}}]}`)}); err != nil {
		t.Fatal(err)
	}
	use := func(action, source, owner, document string) RoleUse {
		return RoleUse{Action: action, Resource: bucket, ServiceUse: ServiceUse{"cloudtrail.amazonaws.com", source, "111122223333"}, Owner: owner, Document: document}
	}
	statement := func(effect string) string {
		return `{"Version":"2012-10-17","Statement":[{"Effect":"` + effect + `","Principal":{"AWS":"` + *out.Role.Arn + `"},"Action":"s3:*","Resource":"` + bucket + `"}]}`
	}
	for name, tc := range map[string]struct {
		use RoleUse
		may bool
	}{
		"its own bucket":              {use("s3:ListBucket", store, "", ""), true},
		"for another store":           {use("s3:ListBucket", store+"2", "", ""), false},
		"without a source":            {RoleUse{Action: "s3:ListBucket", Resource: bucket}, false},
		"another action":              {use("s3:GetObject", store, "", ""), false},
		"denied by the bucket":        {use("s3:ListBucket", store, "", statement("Deny")), false},
		"of another account":          {use("s3:ListBucket", store, "999999999999", ""), false},
		"another account's, let in":   {use("s3:ListBucket", store, "999999999999", statement("Allow")), true},
		"another account's, shut out": {use("s3:ListBucket", store, "999999999999", statement("Deny")), false},
	} {
		if may, err := w.dir.RoleMay(*out.Role.Arn, tc.use); err != nil || may != tc.may {
			t.Errorf("%s: %v, %v", name, may, err)
		}
	}
}
