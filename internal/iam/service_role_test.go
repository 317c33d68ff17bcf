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
		if may := w.dir.RoleMay(*out.Role.Arn, "logs:PutLogEvents", stream); may != tc.may {
			t.Errorf("%s: may: %v", name, may)
		}
	}
	for _, arn := range []string{"arn:aws:iam::111122223333:role/absent", "arn:aws:iam::999999999999:role/good", "nonsense", ""} {
		if ok, err := w.dir.ServiceMayAssume(arn, ServiceUse{Service: "cloudtrail.amazonaws.com"}); ok || err != nil {
			t.Errorf("%q may be assumed: %v, %v", arn, ok, err)
		}
		if w.dir.RoleMay(arn, "logs:PutLogEvents", stream) {
			t.Errorf("%q may", arn)
		}
	}
}
