package iam

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
)

const (
	readData = `{
  "Version": "2012-10-17",
  "Statement": [
    {"Effect": "Allow", "Action": "s3:Get*", "Resource": "arn:aws:s3:::data/*"},
    {"Effect": "Deny", "Action": "s3:*", "Resource": "arn:aws:s3:::data/secret/*"}
  ]
}`
	office = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"athena:*","Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"},"StringEquals":{"aws:PrincipalTag/team":"blue"}}}}`
)

// outcome prints a result: the decision, then what matched and what is missing.
func outcome(d types.PolicyEvaluationDecisionType, m []types.Statement, missing []string, b *types.PermissionsBoundaryDecisionDetail) string {
	var out []string
	for _, s := range m {
		out = append(out, fmt.Sprintf("%s[%s] %d:%d-%d:%d", *s.SourcePolicyId, s.SourcePolicyType, s.StartPosition.Line, s.StartPosition.Column, s.EndPosition.Line, s.EndPosition.Column))
	}
	text := string(d) + " " + strings.Join(out, ", ")
	if len(missing) > 0 {
		text += " missing " + strings.Join(missing, ",")
	}
	if b != nil {
		text += fmt.Sprintf(" boundary %v", b.AllowedByPermissionsBoundary)
	}
	return text
}

func outcomes(rs []types.EvaluationResult) (out []string) {
	for _, r := range rs {
		out = append(out, *r.EvalActionName+" "+*r.EvalResourceName+": "+outcome(r.EvalDecision, r.MatchedStatements, r.MissingContextValues, r.PermissionsBoundaryDecisionDetail))
		for _, x := range r.ResourceSpecificResults {
			out = append(out, "  "+*x.EvalResourceName+": "+outcome(x.EvalResourceDecision, x.MatchedStatements, x.MissingContextValues, x.PermissionsBoundaryDecisionDetail))
		}
		if len(r.EvalDecisionDetails) > 0 {
			out = append(out, fmt.Sprint("  ", r.EvalDecisionDetails))
		}
	}
	return out
}

func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s:\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestSimulateCustomPolicy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ask := func(in *sdk.SimulateCustomPolicyInput) []string {
		t.Helper()
		out, err := w.admin.SimulateCustomPolicy(w.ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		return outcomes(out.EvaluationResults)
	}
	same(t, "one document on everything", ask(&sdk.SimulateCustomPolicyInput{PolicyInputList: []string{office}, ActionNames: []string{"athena:GetWorkGroup", "s3:GetObject"}}), []string{
		"athena:GetWorkGroup *: implicitDeny  missing aws:SourceIp,aws:PrincipalTag/team",
		"s3:GetObject *: implicitDeny ",
	})
	same(t, "with its context", ask(&sdk.SimulateCustomPolicyInput{PolicyInputList: []string{readData, office}, ActionNames: []string{"athena:GetWorkGroup"}, ContextEntries: []types.ContextEntry{
		{ContextKeyName: new("aws:sourceip"), ContextKeyType: types.ContextKeyTypeEnumIp, ContextKeyValues: []string{"10.1.1.1"}},
		{ContextKeyName: new("aws:PrincipalTag/Team"), ContextKeyType: types.ContextKeyTypeEnumString, ContextKeyValues: []string{"blue"}},
	}}), []string{"athena:GetWorkGroup *: allowed PolicyInputList.2[IAM Policy] 1:38-1:" + fmt.Sprint(len(office))})
	same(t, "one resource", ask(&sdk.SimulateCustomPolicyInput{PolicyInputList: []string{readData}, ActionNames: []string{"s3:GetObject"}, ResourceArns: []string{"arn:aws:s3:::data/a"}}), []string{
		"s3:GetObject arn:aws:s3:::data/a: allowed PolicyInputList.1[IAM Policy] 4:6-4:80",
		"  arn:aws:s3:::data/a: allowed PolicyInputList.1[IAM Policy] 4:6-4:80",
	})
	same(t, "several resources", ask(&sdk.SimulateCustomPolicyInput{PolicyInputList: []string{readData, readData}, ActionNames: []string{"s3:GetObject"},
		ResourceArns: []string{"arn:aws:s3:::data/a", "arn:aws:s3:::data/secret/a", "arn:aws:s3:::other/a"}}), []string{
		"s3:GetObject arn:aws:s3:::${BucketName}/${KeyName}: explicitDeny ",
		"  arn:aws:s3:::data/a: allowed PolicyInputList.1[IAM Policy] 4:6-4:80, PolicyInputList.2[IAM Policy] 4:6-4:80",
		"  arn:aws:s3:::data/secret/a: explicitDeny PolicyInputList.1[IAM Policy] 5:6-5:83, PolicyInputList.2[IAM Policy] 5:6-5:83",
		"  arn:aws:s3:::other/a: implicitDeny ",
	})
	bounded := &sdk.SimulateCustomPolicyInput{PolicyInputList: []string{`{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`}, ActionNames: []string{"s3:GetObject", "s3:PutObject", "iam:GetUser"},
		PermissionsBoundaryPolicyInputList: []string{`{"Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"},{"Effect":"Deny","Action":"s3:PutObject","Resource":"*"}]}`}}
	same(t, "a boundary", ask(bounded), []string{
		"s3:GetObject *: allowed PolicyInputList.1[IAM Policy] 1:15-1:60 boundary true",
		"s3:PutObject *: explicitDeny PermissionsBoundaryPolicyInputList.1[Permissions Boundary Policy] 1:66-1:121 boundary false",
		"iam:GetUser *: implicitDeny PolicyInputList.1[IAM Policy] 1:15-1:60 boundary false",
	})
	resource := `{"Statement":{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::` + testAccount + `:user/x"},"Action":"s3:*","Resource":"arn:aws:s3:::box/*"}}`
	shared := &sdk.SimulateCustomPolicyInput{PolicyInputList: []string{`{"Statement":{"Effect":"Allow","Action":"athena:*","Resource":"*"}}`}, ActionNames: []string{"s3:GetObject"},
		ResourceArns: []string{"arn:aws:s3:::box/a"}, ResourcePolicy: &resource, CallerArn: new("arn:aws:iam::" + testAccount + ":user/x")}
	matched := fmt.Sprintf("ResourcePolicy[Resource Policy] 1:15-1:%d", len(resource))
	same(t, "a resource policy of the same account", ask(shared), []string{
		"s3:GetObject arn:aws:s3:::box/a: allowed " + matched, "  arn:aws:s3:::box/a: allowed " + matched})
	shared.ResourceOwner = new("arn:aws:iam::999988887777:root")
	same(t, "a resource policy of another account", ask(shared), []string{
		"s3:GetObject arn:aws:s3:::box/a: implicitDeny " + matched, "  arn:aws:s3:::box/a: implicitDeny " + matched,
		"  map[IAM Policy:implicitDeny Resource Policy:allowed]"})
	shared.PolicyInputList = []string{`{"Statement":{"Effect":"Allow","Action":"s3:GetObject","Resource":"*","Condition":{"StringEquals":{"aws:username":"x"}}}}`}
	if got := ask(shared); !strings.Contains(got[0], ": allowed PolicyInputList.1") {
		t.Errorf("both sides allow: %v", got)
	}

	var all []string
	in := &sdk.SimulateCustomPolicyInput{PolicyInputList: []string{office}, ActionNames: []string{"a:A", "a:B", "a:C", "a:D", "a:E"}, MaxItems: new(int32(2))}
	pages := sdk.NewSimulateCustomPolicyPaginator(w.admin, in)
	for n := 0; pages.HasMorePages(); n++ {
		out, err := pages.NextPage(w.ctx)
		if err != nil {
			t.Fatal(err)
		}
		if out.IsTruncated != (n < 2) || len(out.EvaluationResults) > 2 {
			t.Errorf("page %d has %d results, truncated %v", n, len(out.EvaluationResults), out.IsTruncated)
		}
		for _, r := range out.EvaluationResults {
			all = append(all, *r.EvalActionName)
		}
	}
	if fmt.Sprint(all) != "[a:A a:B a:C a:D a:E]" {
		t.Errorf("the pages hold %v", all)
	}
}

func TestSimulateRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	doc := []string{office}
	for name, c := range map[string]struct {
		in   *sdk.SimulateCustomPolicyInput
		code string
	}{
		"a wildcard in the action":       {&sdk.SimulateCustomPolicyInput{PolicyInputList: doc, ActionNames: []string{"s3:*"}}, "InvalidInput"},
		"no service in the action":       {&sdk.SimulateCustomPolicyInput{PolicyInputList: doc, ActionNames: []string{"GetObject"}}, "InvalidInput"},
		"a resource that is no ARN":      {&sdk.SimulateCustomPolicyInput{PolicyInputList: doc, ActionNames: []string{"s3:GetObject"}, ResourceArns: []string{"bucket"}}, "InvalidInput"},
		"a policy that does not parse":   {&sdk.SimulateCustomPolicyInput{PolicyInputList: []string{"{"}, ActionNames: []string{"s3:GetObject"}}, "InvalidInput"},
		"a resource policy without user": {&sdk.SimulateCustomPolicyInput{PolicyInputList: doc, ActionNames: []string{"s3:GetObject"}, ResourcePolicy: new(`{"Statement":{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"*"}}`)}, "InvalidInput"},
		"a role as the caller":           {&sdk.SimulateCustomPolicyInput{PolicyInputList: doc, ActionNames: []string{"s3:GetObject"}, CallerArn: new("arn:aws:iam::" + testAccount + ":role/r")}, "InvalidInput"},
		"two boundaries":                 {&sdk.SimulateCustomPolicyInput{PolicyInputList: doc, ActionNames: []string{"s3:GetObject"}, PermissionsBoundaryPolicyInputList: []string{office, office}}, "InvalidInput"},
		"two values of a single key": {&sdk.SimulateCustomPolicyInput{PolicyInputList: doc, ActionNames: []string{"s3:GetObject"}, ContextEntries: []types.ContextEntry{
			{ContextKeyName: new("aws:x"), ContextKeyType: types.ContextKeyTypeEnumString, ContextKeyValues: []string{"a", "b"}}}}, "InvalidInput"},
		"a marker of another kind": {&sdk.SimulateCustomPolicyInput{PolicyInputList: doc, ActionNames: []string{"s3:GetObject"}, Marker: new("!")}, "ValidationError"},
	} {
		_, err := w.admin.SimulateCustomPolicy(w.ctx, c.in)
		if err == nil || !strings.Contains(err.Error(), c.code) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for arn, want := range map[string]string{
		"arn:aws:iam::" + testAccount + ":user/nobody": "NoSuchEntity", "arn:aws:iam::999988887777:user/admin": "InvalidInput",
		"arn:aws:iam::" + testAccount + ":policy/p": "InvalidInput", "arn:aws:sts::" + testAccount + ":assumed-role/r/s": "InvalidInput",
	} {
		_, err := w.admin.SimulatePrincipalPolicy(w.ctx, &sdk.SimulatePrincipalPolicyInput{PolicySourceArn: &arn, ActionNames: []string{"s3:GetObject"}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", arn, err)
		}
	}
}

// TestSimulatePrincipalPolicy: a user's own, attached and group policies, its
// boundary, and what is known of it; then a role.
func TestSimulatePrincipalPolicy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	done := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	c, ctx := w.admin, w.ctx
	name := new("ann")
	user, err := c.CreateUser(ctx, &sdk.CreateUserInput{UserName: name, Path: new("/dev/"), Tags: []types.Tag{{Key: new("team"), Value: new("blue")}}})
	done(nil, err)
	done(c.PutUserPolicy(ctx, &sdk.PutUserPolicyInput{UserName: name, PolicyName: new("office"), PolicyDocument: new(office)}))
	done(c.PutUserPolicy(ctx, &sdk.PutUserPolicyInput{UserName: name, PolicyName: new("home"),
		PolicyDocument: new(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:PutObject","Resource":"arn:aws:s3:::home/${aws:username}/*"}}`)}))
	done(c.AttachUserPolicy(ctx, &sdk.AttachUserPolicyInput{UserName: name, PolicyArn: new("arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess")}))
	arn := user.User.Arn
	ask := func(in *sdk.SimulatePrincipalPolicyInput) []string {
		t.Helper()
		out, err := c.SimulatePrincipalPolicy(ctx, in)
		done(out, err)
		return outcomes(out.EvaluationResults)
	}
	got := ask(&sdk.SimulatePrincipalPolicyInput{PolicySourceArn: arn, ActionNames: []string{"s3:PutObject", "athena:GetWorkGroup"}, ResourceArns: []string{"arn:aws:s3:::home/ann/x"}})
	same(t, "inline policies", []string{got[1], got[3]}, []string{
		"  arn:aws:s3:::home/ann/x: allowed user_ann_home[IAM Policy] 1:38-1:128",
		"  arn:aws:s3:::home/ann/x: implicitDeny  missing aws:SourceIp",
	})
	got = ask(&sdk.SimulatePrincipalPolicyInput{PolicySourceArn: arn, ActionNames: []string{"s3:GetObject", "iam:GetUser"},
		PolicyInputList: []string{`{"Statement":{"Effect":"Allow","Action":"iam:*","Resource":"*"}}`}})
	if len(got) != 2 || !strings.HasPrefix(got[0], "s3:GetObject *: allowed AmazonS3ReadOnlyAccess[IAM Policy] ") || got[1] != "iam:GetUser *: allowed PolicyInputList.1[IAM Policy] 1:15-1:64" {
		t.Errorf("attached and given policies: %q", got)
	}
	done(c.PutUserPermissionsBoundary(ctx, &sdk.PutUserPermissionsBoundaryInput{UserName: name, PermissionsBoundary: new("arn:aws:iam::aws:policy/AmazonAthenaFullAccess")}))
	got = ask(&sdk.SimulatePrincipalPolicyInput{PolicySourceArn: arn, ActionNames: []string{"s3:DeleteBucket", "athena:GetWorkGroup"}, ContextEntries: []types.ContextEntry{
		{ContextKeyName: new("aws:SourceIp"), ContextKeyType: types.ContextKeyTypeEnumIp, ContextKeyValues: []string{"10.0.0.1"}}}})
	if !strings.HasSuffix(got[0], "implicitDeny  boundary false") || !strings.Contains(got[1], "allowed user_ann_office") || !strings.HasSuffix(got[1], "boundary true") {
		t.Errorf("the user's boundary: %q", got)
	}
	got = ask(&sdk.SimulatePrincipalPolicyInput{PolicySourceArn: arn, ActionNames: []string{"athena:GetWorkGroup"},
		PermissionsBoundaryPolicyInputList: []string{`{"Statement":{"Effect":"Deny","Action":"athena:*","Resource":"*"}}`}})
	if !strings.Contains(got[0], "explicitDeny PermissionsBoundaryPolicyInputList.1[Permissions Boundary Policy]") {
		t.Errorf("another boundary: %q", got)
	}

	trust := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"Service":"glue.amazonaws.com"},"Action":"sts:AssumeRole"}}`
	role, err := c.CreateRole(ctx, &sdk.CreateRoleInput{RoleName: new("etl"), AssumeRolePolicyDocument: &trust})
	done(nil, err)
	done(c.PutRolePolicy(ctx, &sdk.PutRolePolicyInput{RoleName: new("etl"), PolicyName: new("read"), PolicyDocument: new(readData)}))
	got = ask(&sdk.SimulatePrincipalPolicyInput{PolicySourceArn: role.Role.Arn, ActionNames: []string{"s3:GetObject"}, ResourceArns: []string{"arn:aws:s3:::data/a"}})
	if !strings.Contains(got[1], "allowed role_etl_read[IAM Policy] 4:6-4:80") {
		t.Errorf("a role: %q", got)
	}
	// The positions are those of the document that the caller reads back.
	doc, err := c.GetRolePolicy(ctx, &sdk.GetRolePolicyInput{RoleName: new("etl"), PolicyName: new("read")})
	done(nil, err)
	if text, err := url.QueryUnescape(*doc.PolicyDocument); err != nil || text != readData || !json.Valid([]byte(text)) {
		t.Errorf("the document is %q %v", text, err)
	}

	// Who may not simulate is told so, and on what.
	key, err := c.CreateAccessKey(ctx, &sdk.CreateAccessKeyInput{UserName: name})
	done(nil, err)
	_, err = w.client(*key.AccessKey.AccessKeyId, "").SimulatePrincipalPolicy(ctx, &sdk.SimulatePrincipalPolicyInput{PolicySourceArn: role.Role.Arn, ActionNames: []string{"s3:GetObject"}})
	if err == nil || !strings.Contains(err.Error(), "not authorized to perform: iam:SimulatePrincipalPolicy on resource: "+*role.Role.Arn+" because no") {
		t.Error(err)
	}
}
